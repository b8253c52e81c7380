"""Two programs that talk: `serve HOST PORT COUNT` and `ask HOST PORT`.

The server prints "ready" and its port when it accepts, and at the end which path each connection
took; the client sends data of all sizes, wants them back, and prints its path.  Both as JSON lines.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import sys

SIZES = (1, 64, 5000, 700_000)


def path_of(sock) -> str:
    enable = sys.modules.get("wsdirect.front.enable")
    if enable is None:
        return "plain"
    info = enable.info(sock)
    return info["path"] if info["path"] != "tcp" else info["reason"]


def say(value) -> None:
    print(json.dumps(value), flush=True)


def serve(host, port, count):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as server:
        server.settimeout(0.01)
        with contextlib.suppress(TimeoutError):
            server.accept()
        server.settimeout(30)
        say(server.getsockname()[1])
        paths = []
        for _ in range(count):
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as lines:
                connection.settimeout(30)
                while line := lines.readline():
                    data = lines.read(int(line))
                    connection.sendall(hashlib.sha256(data).digest() + data)
                paths.append(path_of(connection))
        say(paths)


def ask(host, port):
    with socket.create_connection((host, port), timeout=30) as client:
        with client.makefile("rb") as back:
            for size in SIZES:
                data = os.urandom(size)
                client.sendall(b"%d\n" % size + data)
                assert back.read(32 + size) == hashlib.sha256(data).digest() + data
        path = path_of(client)  # at the end: it may have moved meanwhile
    return path


def main() -> None:
    verb, host, port, *rest = sys.argv[1:]
    if verb == "serve":
        serve(host, int(port), int(*rest))
    else:
        say(ask(host, int(port)))


if __name__ == "__main__":
    main()
