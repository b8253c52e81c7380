"""Workers that share a listener: each accepts switched connections of its own, and may die."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import collections, json, os, select, signal, socket, sys, time, wsdirect

server = socket.create_server(("127.0.0.1", 0), backlog=100)

def serve():
    while True:
        if sys.argv[1] == "polls":
            select.select([server], [], [])
            server.setblocking(False)
        try:
            connection, _ = server.accept()
        except BlockingIOError:
            continue
        connection.setblocking(True)
        connection.recv(100)
        answer = f"{os.getpid()} {wsdirect.is_switched(connection)}"
        connection.sendall(answer.encode())
        connection.close()

workers = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        try:
            serve()
        finally:
            os._exit(1)
    workers.append(pid)

def ask():
    with socket.create_connection(server.getsockname(), timeout=20) as client:
        client.sendall(b"who?")
        pid, switched = client.recv(100).decode().split()
        return int(pid), switched == "True"

end = time.monotonic() + 20
while len({pid for pid, switched in (ask() for _ in range(30)) if switched}) < 3:
    assert time.monotonic() < end, "not all workers accept switched connections"
first = collections.Counter(ask() for _ in range(90))
os.kill(workers[0], signal.SIGKILL)
os.waitpid(workers[0], 0)
second = collections.Counter(ask() for _ in range(90))
for pid in workers[1:]:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
print(json.dumps([
    workers,
    [[*key, count] for key, count in first.items()],
    [[*key, count] for key, count in second.items()],
]))
"""


@pytest.mark.parametrize("how", ["blocks", "polls"])
def test_workers(how: str):
    done = subprocess.run(
        [sys.executable, "-m", "wsdirect", "run", "-c", PROGRAM, how],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    workers, first, second = json.loads(done.stdout)
    assert all(switched for _, switched, _ in first + second)
    assert {pid for pid, _, _ in first} == set(workers)
    assert {pid for pid, _, _ in second} == set(workers[1:])
    assert min(count for _, _, count in first) >= 10  # no worker is left out
