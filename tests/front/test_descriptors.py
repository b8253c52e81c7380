"""What cannot be done with the descriptor of a switched connection fails clearly, and at once."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import contextlib, errno, os, socket
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
try:
    socket.send_fds(left, [b"x"], [writer, accepted.fileno()])
except OSError as error:
    print(error.errno == errno.EOPNOTSUPP)
client.sendall(b"and the connection goes on")
print(accepted.recv(100).decode())
"""


def test_a_switched_connection_cannot_be_passed_on():
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
        "True",
        "and the connection goes on",
    ]
