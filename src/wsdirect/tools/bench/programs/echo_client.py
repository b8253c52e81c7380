"""Round trips of 64 bytes on a plain socket, timed by the batch.

With the word `new` each on a connection of its own. The clock does not show in so long a batch.
"""

from __future__ import annotations

import socket

from wsdirect.tools.bench.programs.pacing import measure, port, words

BATCH = 100

if __name__ == "__main__":
    address = "127.0.0.1", port()
    data = bytes(64)
    kept = socket.create_connection(address)
    kept.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def on_one() -> None:
        """A batch on the connection that is kept."""
        for _ in range(BATCH):
            kept.sendall(data)
            kept.recv(64)

    def on_new() -> None:
        """A batch of connections."""
        for _ in range(BATCH):
            with socket.create_connection(address) as sock:
                sock.sendall(data)
                sock.recv(64)

    measure(on_new if "new" in words() else on_one, each=BATCH)
