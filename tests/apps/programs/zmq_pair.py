"""ZeroMQ, a library in C: a server that answers, and its client.

zmq_pair.py serve|ask PORT
"""

import sys

import zmq
from parts import MB, blob, finish, same

url = f"tcp://127.0.0.1:{sys.argv[2]}"
context = zmq.Context()
if sys.argv[1] == "serve":
    sock = context.socket(zmq.REP)
    sock.bind(url)
    while True:
        sock.send(sock.recv())
sock = context.socket(zmq.REQ)
sock.connect(url)
for number in range(3):
    sock.send(blob(MB, number))
    same(sock.recv(), blob(MB, number))
finish(asked=3)
context.destroy(linger=0)
