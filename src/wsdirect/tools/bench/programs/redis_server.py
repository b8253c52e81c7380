"""As much of a Redis server as GET and SET need: RESP2, a thread for each connection."""

from __future__ import annotations

import socketserver
from io import BufferedIOBase

from wsdirect.tools.bench.programs.pacing import announce

store: dict[bytes, bytes] = {}


def command(stream: BufferedIOBase) -> list[bytes]:
    """The next command's words; none at the end of the connection."""
    head = stream.readline()
    if not head:
        return []
    words = []
    for _ in range(int(head[1:])):
        size = int(stream.readline()[1:])
        words.append(stream.read(size + 2)[:-2])
    return words


class Handler(socketserver.StreamRequestHandler):
    """Answers commands in their order."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Serve a connection."""
        while words := command(self.rfile):
            name = words[0].upper()
            if name == b"GET":
                value = store.get(words[1])
                reply = b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)
            else:
                if name == b"SET":
                    store[words[1]] = words[2]
                reply = b"+OK\r\n"  # also for what a client says when it connects
            self.request.sendall(reply)


class Server(socketserver.ThreadingTCPServer):
    """Its threads end with it."""

    daemon_threads = True
    allow_reuse_address = True


if __name__ == "__main__":
    with Server(("127.0.0.1", 0), Handler) as server:
        announce(server.server_address[1])
        server.serve_forever()
