"""Threads of one process that meet at a socket: who closes, who comes first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

COMMON = """
import contextlib, json, os, random, select, socket, sys, threading, time, wsdirect

def accepting():
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.01)
    with contextlib.suppress(TimeoutError):
        server.accept()                       # opens the SAN side
    server.settimeout(20)
    return server
"""


def run(program: str) -> Any:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WSDIRECT")}
    done = subprocess.run(
        [sys.executable, "-m", "wsdirect", "run", "-c", COMMON + program],
        capture_output=True,
        text=True,
        timeout=90,
        env=clean,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_nothing_goes_to_the_next_owner_of_a_descriptor_number() -> None:
    """A socket is closed while threads send and receive, and its number is used again at once."""
    program = """
server = accepting()
strange = []
reused = 0
end = time.monotonic() + 3
while time.monotonic() < end:
    a = socket.create_connection(server.getsockname())
    b, _ = server.accept()

    def receive():
        with contextlib.suppress(OSError):
            while b.recv(100_000):
                pass

    def send():
        with contextlib.suppress(OSError):
            while True:
                a.sendall(bytes(200_000))

    threads = [threading.Thread(target=receive), threading.Thread(target=send)]
    for thread in threads:
        thread.start()
    time.sleep(random.random() * 0.002)
    first, second = random.sample((a, b), 2)
    number = first.fileno()
    first.close()
    x, y = socket.socketpair()
    reused += number in (x.fileno(), y.fileno())
    x.sendall(b"to y")
    y.sendall(b"to x")
    time.sleep(0.0005)
    second.close()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "it still waits"
    got = x.recv(100), y.recv(100)
    if got != (b"to x", b"to y"):
        strange.append(repr(got))
    x.close()
    y.close()
print(json.dumps([strange, reused > 20]))
"""
    assert run(program) == [[], True]


def test_close_ends_the_waits_of_other_threads() -> None:
    """On TCP they would go on waiting, perhaps for somebody else's data; here they are told."""
    program = """
server = accepting()
waits = {
    "recv": lambda sock: sock.recv(10),
    "recv with a time-out": lambda sock: (sock.settimeout(30), sock.recv(10)),
    "sendall": lambda sock: sock.sendall(bytes(50_000_000)),
}
answers = {}
for name, wait in waits.items():
    a = socket.create_connection(server.getsockname())
    b, _ = server.accept()
    found = []

    def call():
        try:
            wait(a)
        except OSError as error:
            found.append(error.errno)

    thread = threading.Thread(target=call)
    thread.start()
    time.sleep(0.05)
    a.close()
    thread.join(20)
    answers[name] = found
    with contextlib.suppress(ConnectionResetError):
        while b.recv(1 << 20):
            pass                              # the peer is told, too
    b.close()
print(json.dumps(answers))
"""
    answers = run(program)
    assert list(answers.values()) == [[9]] * 3


def test_a_server_thread_that_is_about_to_accept() -> None:
    """A client in another thread of the program need not be on TCP for coming a moment early."""
    program = """
paths = []
for _ in range(20):
    listening = threading.Event()
    address = []

    def serve():
        with socket.create_server(("127.0.0.1", 0)) as server:
            address.append(server.getsockname())
            listening.set()
            connection, _ = server.accept()
            connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    listening.wait()
    with socket.create_connection(address[0]) as client:
        paths.append(wsdirect.info(client)["path"])
    thread.join()
print(json.dumps(paths))
"""
    # a thread may be kept from running for longer than its client waits
    assert run(program).count("shm") >= 18


def test_a_listener_that_nobody_accepts_on_yet() -> None:
    """Clients that come early, and go before they are accepted, lose nothing and do not wait."""
    program = """
from wsdirect.switch import listening
answers = []
idle = threading.Event()
for thread in (None, threading.Thread(target=idle.wait)):
    if thread is not None:
        thread.start()
    with socket.create_server(("127.0.0.1", 0)) as server:
        for _ in range(2):
            with socket.create_connection(server.getsockname()) as client:
                client.sendall(b"early")
        for _ in range(2):
            connection, _ = server.accept()
            answers.append(connection.recv(10).decode())
            connection.close()
        with socket.create_connection(server.getsockname()) as client:
            answers.append(wsdirect.info(client)["reason"])
        number = server.fileno()
    answers.append(number in listening.early or number in listening.listeners)
idle.set()
print(json.dumps(answers))
"""
    assert run(program) == ["early", "early", "switched", False] * 2


def test_forked_handlers_leave_nothing_behind() -> None:
    """A server that forks for every connection: descriptors, mappings and rows come back."""
    program = """
import gc
from wsdirect import status
from wsdirect._core import native
server = accepting()

def counts():
    gc.collect()
    with open("/proc/self/maps") as maps:
        segments = sum("wsdirect-segment" in line for line in maps)
    rows = status.read_process(os.getpid()).rows
    listening = sum(row.role == "listen" for row in rows)
    return [len(os.listdir("/proc/self/fd")), segments, len(native.table_fds()), listening]

def clients():
    server.close()
    for _ in range(60):
        with socket.create_connection(address) as client:
            client.sendall(b"x")
            assert client.recv(10) == b"X"
            assert client.recv(10) == b""
    os._exit(0)

address = server.getsockname()
asking = os.fork()
if asking == 0:
    clients()
for turn in range(60):
    connection, _ = server.accept()
    pid = os.fork()
    if pid == 0:
        server.close()
        connection.sendall(connection.recv(10).upper())
        connection.close()
        os._exit(0)
    connection.close()
    assert os.waitpid(pid, 0)[1] == 0
    if turn == 10:
        before = counts()
assert os.waitpid(asking, 0)[1] == 0
print(json.dumps([before, counts()]))
"""
    before, after = run(program)
    assert after == before
    assert after[3] == 1  # the children did not take the parent's listener off its page
