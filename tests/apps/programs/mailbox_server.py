"""As much of POP3 and IMAP as their clients in the standard library need, with socketserver."""

import base64
import socketserver
import sys

from parts import MB, blob

MAIL = base64.encodebytes(blob(MB)).replace(b"\n", b"\r\n")


class Pop(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"+OK here\r\n")
        for line in self.rfile:
            word = line.split()[0]
            if word == b"RETR":
                self.wfile.write(b"+OK\r\n" + MAIL + b".\r\n")
            elif word == b"STAT":
                self.wfile.write(b"+OK 1 %d\r\n" % len(MAIL))
            else:
                self.wfile.write(b"+OK\r\n")
            if word == b"QUIT":
                return


class Imap(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"* OK here\r\n")
        for line in self.rfile:
            tag, word, *_ = line.split()
            if word == b"CAPABILITY":
                self.wfile.write(b"* CAPABILITY IMAP4rev1\r\n")
            elif word == b"SELECT":
                self.wfile.write(b"* 1 EXISTS\r\n")
            elif word == b"FETCH":
                self.wfile.write(b"* 1 FETCH (RFC822 {%d}\r\n" % len(MAIL) + MAIL + b")\r\n")
            elif word == b"APPEND":
                self.wfile.write(b"+ go on\r\n")
                size = int(line.rstrip()[:-1].rpartition(b"{")[2])
                good = self.rfile.read(size + 2) == MAIL + b"\r\n"
                self.wfile.write(tag + (b" OK kept\r\n" if good else b" NO others\r\n"))
                continue
            self.wfile.write(tag + b" OK done\r\n")
            if word == b"LOGOUT":
                return


socketserver.ThreadingTCPServer.allow_reuse_address = True
handler = {"pop": Pop, "imap": Imap}[sys.argv[1]]
socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[2])), handler).serve_forever()
