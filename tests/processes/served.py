"""A WSGI and an ASGI application, and `served.py PORT COUNT [CLIENTS]`, which asks them.

The answer starts with the number of the process that gave it.  The client checks every byte and
prints, as JSON, how often each path was taken and each process answered, and what went wrong.
"""

from __future__ import annotations

import os
import sys

SIZES = (0, 100, 5000, 300_000)


def body_for(size: int) -> bytes:
    return b"%d\n" % os.getpid() + b"x" * size


def wsgi(environ, start_response):
    body = body_for(int(environ["QUERY_STRING"] or 0))
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = body_for(int(scope["query_string"] or 0))
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    import collections
    import http.client
    import json
    import threading

    import wsdirect

    port, count, clients = (int(word) for word in sys.argv[1:])
    paths: dict[str, int] = collections.Counter()
    pids: dict[str, int] = collections.Counter()
    wrong: list[str] = []

    def ask() -> None:
        for _ in range(count):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                for size in SIZES:
                    connection.request("GET", f"/?{size}")
                    if size == 0:
                        paths[wsdirect.info(connection.sock)["path"]] += 1
                    pid, _, rest = connection.getresponse().read().partition(b"\n")
                    pids[pid.decode()] += 1
                    if rest != b"x" * size:
                        wrong.append(f"{len(rest)} bytes for {size}")
            except Exception as error:
                wrong.append(repr(error))
            finally:
                connection.close()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"paths": paths, "pids": pids, "wrong": wrong}))


if __name__ == "__main__":
    main()
