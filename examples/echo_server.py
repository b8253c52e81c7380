"""An ordinary echo server: it knows `socket` and nothing else."""

import socket
import threading


def serve(connection: socket.socket) -> None:
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connection.recv(65536):
            connection.sendall(data)


with socket.create_server(("127.0.0.1", 7007)) as server:
    print("serving on port 7007", flush=True)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()
