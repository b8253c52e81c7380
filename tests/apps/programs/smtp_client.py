"""smtplib: a large mail and some small ones; the server's answer has their digest."""

import smtplib
import sys
from email.message import EmailMessage

from parts import MB, blob, digest, finish


def send(smtp, body):
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "bytes", "a@here", "b@here"
    mail.set_content("see there")
    mail.add_attachment(body, "application", "octet-stream", filename="bytes", cte="base64")
    mail.set_boundary("same-every-time")
    text = mail.as_bytes(policy=mail.policy.clone(linesep="\r\n"))
    smtp.mail("a@here")
    smtp.rcpt("b@here")
    code, said = smtp.data(text)
    if (code, said.decode()) != (250, digest(text)):
        raise SystemExit(f"the mail did not arrive as it was: {code} {said!r}")


with smtplib.SMTP("127.0.0.1", int(sys.argv[1]), timeout=30) as smtp:
    smtp.ehlo("there")
    for size in (MB, *range(100, 2000, 100)):
        send(smtp, blob(size))
    finish(greeting=smtp.noop()[0])
