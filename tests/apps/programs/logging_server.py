"""Counts and digests what log handlers send: pickled records, or forms over HTTP.

logging_server.py socket|http PORT
"""

import hashlib
import pickle
import socketserver
import struct
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs

seen = hashlib.sha256()


class Records(socketserver.StreamRequestHandler):
    """Answers nothing, as the handler never reads; tells the digest to who sends nothing."""

    def handle(self):
        while head := self.rfile.read(4):
            size = struct.unpack(">L", head)[0]
            if size == 0:
                self.wfile.write(seen.hexdigest().encode())
                continue
            record = pickle.loads(self.rfile.read(size))
            seen.update(record["msg"].encode())


class Forms(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        seen.update(parse_qs(body.decode())["msg"][0].encode())
        self.send_response(200)
        self.end_headers()

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(seen.hexdigest().encode())

    def log_message(self, *_):
        pass


address = "127.0.0.1", int(sys.argv[2])
socketserver.ThreadingTCPServer.allow_reuse_address = True
if sys.argv[1] == "socket":
    socketserver.ThreadingTCPServer(address, Records).serve_forever()
else:
    HTTPServer(address, Forms).serve_forever()
