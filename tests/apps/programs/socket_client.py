"""Plain sockets in threads: say all, shut down, hear all of it again."""

import socket
import sys
from concurrent.futures import ThreadPoolExecutor

from parts import blob, digest, finish, same


def echo(number):
    body = blob(50_000 * number, number)
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30) as sock:
        sock.sendall(body)
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile("rb") as file:
            got = file.read()
    same(got, body)
    return digest(got)


with ThreadPoolExecutor(4) as threads:
    finish(digests=list(threads.map(echo, range(1, 13))))
