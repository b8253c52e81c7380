"""ftplib: files down and up, an abort, a directory.

ftp_client.py passive|active PORT      who connects for the data: the client, or the server
"""

import io
import sys
from ftplib import FTP

from parts import MB, blob, finish, same


def fetch(ftp, name):
    pieces = []
    ftp.retrbinary(f"RETR {name}", pieces.append)
    return b"".join(pieces)


ftp = FTP(timeout=30)
ftp.connect("127.0.0.1", int(sys.argv[2]))
ftp.login("user", "secret")
ftp.set_pasv(sys.argv[1] == "passive")
same(fetch(ftp, "file"), blob(2 * MB))
ftp.storbinary("STOR other", io.BytesIO(blob(MB, 3)))
same(fetch(ftp, "other"), blob(MB, 3))
with ftp.transfercmd("RETR file") as data:
    data.recv(1000)
    ftp.abort()
ftp.putcmd("NOOP")
while not ftp.getmultiline().startswith("200"):
    pass  # there is one more answer or two, depending on how far the transfer was
finish(names=sorted(ftp.nlst()))
