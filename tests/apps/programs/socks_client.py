"""requests through a SOCKS proxy (PySocks, a subclass of socket.socket), to a server of its own."""

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests
from parts import MB, blob, finish, same


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = blob(int(self.path.rpartition("/")[2]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
time.sleep(0.2)  # for it to begin: an earlier connection would stay on TCP
url = f"http://127.0.0.1:{server.server_port}/blob"
session = requests.Session()
session.proxies = {"http": f"socks5h://127.0.0.1:{sys.argv[1]}"}
same(session.get(f"{url}/{MB}", timeout=30).content, blob(MB))
for size in range(20):
    same(session.get(f"{url}/{size}", timeout=30).content, blob(size))
finish(asked=21)
