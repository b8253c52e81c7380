"""http.server, a thread for each connection, with keep-alive."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from wsdirect.tools.bench.programs.pacing import announce

BODY = b"x" * 1024


class Handler(BaseHTTPRequestHandler):
    """Answers every GET with a kilobyte."""

    protocol_version = "HTTP/1.1"
    # Head and body in one segment. Without these two lines TCP waits for an acknowledgement
    # between them, 40 ms each time, and the comparison would be with that.
    wbufsize = 65536
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """With room for clients that connect faster than threads start."""

    request_queue_size = 128


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    announce(server.server_port)
    server.serve_forever()
