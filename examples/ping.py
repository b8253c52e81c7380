"""An ordinary client: sends 64 bytes, waits for them to come back, 20,000 times."""

import socket
import statistics
import time

with socket.create_connection(("127.0.0.1", 7007)) as connection:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    message, seconds = b"x" * 64, []
    for _ in range(20_000):
        start = time.perf_counter()
        connection.sendall(message)
        got = 0
        while got < len(message):
            got += len(connection.recv(64))
        seconds.append(time.perf_counter() - start)

print(f"round trip: median {statistics.median(seconds) * 1e6:.1f} us")
