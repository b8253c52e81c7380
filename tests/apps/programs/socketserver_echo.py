"""A server that reads until its client has no more to say, then says all of it again.

socketserver_echo.py threading|forking PORT
"""

import socketserver
import sys


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.read())


kind = {
    "threading": socketserver.ThreadingTCPServer,
    "forking": socketserver.ForkingTCPServer,
}[sys.argv[1]]
kind.allow_reuse_address = True
kind.request_queue_size = 50
with kind(("127.0.0.1", int(sys.argv[2])), Handler) as server:
    server.serve_forever()
