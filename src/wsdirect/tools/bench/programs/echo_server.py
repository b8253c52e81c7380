"""A thread for each connection, which sends back what it receives."""

from __future__ import annotations

import socket
import threading

from wsdirect.tools.bench.programs.pacing import announce


def echo(connection: socket.socket) -> None:
    """Serve a connection."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except ConnectionError:
            pass


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    announce(listener.getsockname()[1])
    while True:
        accepted, _ = listener.accept()
        threading.Thread(target=echo, args=(accepted,), daemon=True).start()
