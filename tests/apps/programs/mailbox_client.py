"""poplib and imaplib: fetch a large mail, and put one into the mailbox."""

import base64
import imaplib
import poplib
import sys

from parts import MB, blob, digest, finish, same

MAIL = base64.encodebytes(blob(MB)).replace(b"\n", b"\r\n")
port = int(sys.argv[2])
if sys.argv[1] == "pop":
    box = poplib.POP3("127.0.0.1", port, timeout=30)
    box.user("me")
    box.pass_("secret")
    same(b"\r\n".join(box.retr(1)[1]) + b"\r\n", MAIL)
    finish(stat=box.stat(), mail=digest(MAIL))
    box.quit()
else:
    with imaplib.IMAP4("127.0.0.1", port, timeout=30) as box:
        box.login("me", "secret")
        box.select()
        same(box.fetch("1", "(RFC822)")[1][0][1], MAIL)
        said = box.append("INBOX", None, None, MAIL)[0]
        finish(append=said, mail=digest(MAIL))
