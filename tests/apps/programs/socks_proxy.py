"""A SOCKS 5 proxy that moves bytes both ways with select()."""

import select
import socket
import socketserver
import sys


class Proxy(socketserver.BaseRequestHandler):
    def handle(self):
        client = self.request
        _, methods = self.take(2)
        self.take(methods)
        client.sendall(b"\5\0")
        *_, kind = self.take(4)
        host = socket.inet_ntoa(self.take(4)) if kind == 1 else self.take(self.take(1)[0]).decode()
        port = int.from_bytes(self.take(2), "big")
        with socket.create_connection((host, port)) as server:
            client.sendall(b"\5\0\0\1" + bytes(6))
            self.between(client, server)

    def take(self, size):
        return self.request.recv(size, socket.MSG_WAITALL)

    def between(self, client, server):
        while True:
            for sock in select.select([client, server], [], [])[0]:
                data = sock.recv(65536)
                if not data:
                    return
                (server if sock is client else client).sendall(data)


socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Proxy).serve_forever()
