"""A Redis server in Python: fakeredis."""

import sys

from fakeredis import TcpFakeServer

TcpFakeServer.daemon_threads = True
TcpFakeServer(("127.0.0.1", int(sys.argv[1])), server_type="redis").serve_forever()
