"""The standard library's HTTP server with threads: /blob/N gives N bytes, /echo the body again."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from parts import blob


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(blob(int(self.path.rpartition("/")[2])))

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
