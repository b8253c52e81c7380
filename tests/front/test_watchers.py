"""A thread that waits in a poller and one that waits in recv share a socket, as on TCP."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import contextlib, select, socket, sys, threading
import wsdirect

server = socket.create_server(("127.0.0.1", 0))
server.settimeout(0.01)
with contextlib.suppress(TimeoutError):
    server.accept()
server.settimeout(20)
client = socket.create_connection(server.getsockname())
accepted, _ = server.accept()
assert wsdirect.is_switched(client)
client.settimeout(None)

def answer():
    while accepted.recv(1):
        accepted.sendall(b"ab")

threading.Thread(target=answer, daemon=True).start()

def with_epoll():
    poller = select.epoll()
    poller.register(client, select.EPOLLIN)
    def wait():
        found = poller.poll(10)
        poller.close()
        return found
    return wait

def with_poll():
    poller = select.poll()
    poller.register(client, select.POLLIN)
    return lambda: poller.poll(10_000)

def with_select():
    return lambda: select.select([client], [], [], 10)[0]

make = {"epoll": with_epoll, "poll": with_poll, "select": with_select}[sys.argv[1]]
for _ in range(40):
    found = []
    wait = make()
    waiter = threading.Thread(target=lambda: found.append(wait()))
    waiter.start()
    client.sendall(b"?")
    # one of two bytes: the other is still there for the poller, whenever it came to wait
    assert client.recv(1) == b"a"
    waiter.join()
    assert found[0], "the poller slept on data"
    assert client.recv(1) == b"b"
print("done")
"""


@pytest.mark.parametrize("poller", ["epoll", "poll", "select"])
def test_a_poller_is_woken_for_what_a_blocking_recv_leaves(poller: str) -> None:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WSDIRECT")}
    done = subprocess.run(
        [sys.executable, "-m", "wsdirect", "run", "-c", PROGRAM, poller],
        capture_output=True, text=True, timeout=100, env=clean, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
