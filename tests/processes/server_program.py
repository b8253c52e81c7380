"""Servers of one file, started in the ways that operators start them.

`server_program.py sockets`  takes its listener as systemd passes it (LISTEN_FDS, descriptor 3);
`server_program.py restarts` executes itself anew on SIGHUP and keeps its listener.
Both answer as `served.py` expects it, and end on SIGTERM.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from served import body_for


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = body_for(int(self.path.rpartition("?")[2]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def main() -> None:
    if sys.argv[1] == "sockets":
        assert os.environ["LISTEN_PID"] == str(os.getpid()), "systemd names the process it started"
        assert os.environ["LISTEN_FDS"] == "1"
        listener = socket.socket(fileno=3)
    elif len(sys.argv) > 2:
        listener = socket.socket(fileno=int(sys.argv[2]))
    else:
        listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    server = HTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    again = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, lambda *_: again.append(True))
    print(f"{os.getpid()} {listener.getsockname()[1]}", flush=True)
    server.timeout = 0.1
    while not again:
        server.handle_request()
    os.set_inheritable(listener.fileno(), True)
    os.execv(sys.executable, [sys.executable, __file__, "restarts", str(listener.fileno())])


if __name__ == "__main__":
    main()
