"""A mail server with the old smtpd, which is asyncore's; it answers with the digest of the mail."""

import asyncore
import smtpd
import sys

from parts import digest

LF, CRLF = b"\n", b"\r\n"


class Server(smtpd.SMTPServer):
    def process_message(self, peer, sender, receivers, data, **_):
        # it has made the line ends its own, and left the last one out
        return f"250 {digest(data.replace(LF, CRLF) + CRLF)}"


Server(("127.0.0.1", int(sys.argv[1])), None, data_size_limit=1 << 24)
asyncore.loop()
