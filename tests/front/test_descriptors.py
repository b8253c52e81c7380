"""Descriptors of switched connections among others in one message."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import contextlib, os, socket
server = socket.create_server(("127.0.0.1", 0))
server.settimeout(0.01)
with contextlib.suppress(TimeoutError):
    server.accept()
server.settimeout(20)
client = socket.create_connection(server.getsockname())
accepted, _ = server.accept()
left, right = socket.socketpair()
reader, writer = os.pipe()
socket.send_fds(left, [b"x"], [writer])
fds = socket.recv_fds(right, 10, 4)[1]
os.write(fds[0], b"a pipe may be passed")
print(os.read(reader, 100).decode())
client.sendall(b"so may a connection,")
socket.send_fds(left, [b"x"], [writer, accepted.fileno(), client.fileno()])
fds = socket.recv_fds(right, 10, 4)[1]
os.write(fds[0], b"with others")
print(os.read(reader, 100).decode())
copies = [socket.socket(fileno=fd) for fd in fds[1:]]
print(copies[0].recv(100).decode())
copies[1].sendall(b"and both ends of it")
print(accepted.recv(100).decode())
"""


def test_descriptors_in_a_message():
    done = subprocess.run(
        [sys.executable, "-m", "wsdirect", "run", "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "a pipe may be passed",
        "with others",
        "so may a connection,",
        "and both ends of it",
    ]
