"""A bell that nobody listens to is silent; whoever begins to listen hears what comes next."""

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tests.core.pairs import End, make_pair
from wsdirect._core import native


def rings() -> int:
    return native.process_counters()["rings"]


def fall_silent(a: End, b: End) -> None:
    a.stream.send(b"first", 0)
    assert b.readable(), "a new connection announces"
    assert b.stream.recv(5) == b"first"
    assert not b.readable()


def test_only_the_first_message_rings() -> None:
    a, b = make_pair()
    fall_silent(a, b)
    before = rings()
    for i in range(100):
        a.stream.send(b"%d" % i, 0)
        assert not b.readable()
        assert b.stream.readable()
        assert b.stream.recv(9) == b"%d" % i
    assert rings() == before


LISTENING: dict[str, Callable[[End], object]] = {
    "strict": lambda b: setattr(b.stream, "strict", True),
    "a poller": lambda b: b.stream.watch(True),
    "another process": lambda b: b.stream.share(),
}


@pytest.mark.parametrize("who", LISTENING)
def test_somebody_may_listen(who: str) -> None:
    a, b = make_pair()
    fall_silent(a, b)
    LISTENING[who](b)
    if who == "another process":
        a.stream.send(b"!", 0)
        assert b.stream.recv(1) == b"!", "known at the next call"
    for _ in range(3):
        a.stream.send(b"x", 0)
        assert b.readable()
        assert b.stream.recv(9) == b"x"
        assert not b.readable()


def test_an_exact_call_ends_the_silence() -> None:
    a, b = make_pair()
    fall_silent(a, b)
    with pytest.raises(BlockingIOError):
        b.stream.recv(1, 0)
    a.stream.send(b"x", 0)
    assert b.readable()


def test_data_that_came_in_silence_are_known_of_when_somebody_listens() -> None:
    a, b = make_pair()
    native.table_bind(b.bell.fileno(), b.stream)
    try:
        fall_silent(a, b)
        a.stream.send(b"silent", 0)
        b.stream.arm()
        assert not b.readable()
        assert native.unannounced() == [b.bell.fileno()]
        a.stream.send(b", loud", 0)
        assert b.readable()
        assert b.stream.recv(99) == b"silent, loud"
    finally:
        native.table_drop(b.bell.fileno())


@pytest.mark.parametrize("unread", [b"", b"the last bytes"])
def test_an_end_is_never_silent(unread: bytes) -> None:
    a, b = make_pair()
    fall_silent(a, b)
    if unread:
        a.stream.send(unread, 0)
    a.stream.shutdown(socket.SHUT_WR)
    assert b.readable()
    if unread:
        assert b.stream.recv(99) == unread
    assert b.events() & select.POLLRDHUP
    assert b.stream.recv(1) == b""


@pytest.fixture
def peer_elsewhere() -> Iterator[End]:
    """An end whose peer has been seen on another CPU, so that spinning makes sense."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("needs two CPUs")
    there, here = sorted(allowed)[:2]
    a, b = make_pair()
    try:
        os.sched_setaffinity(0, {there})
        a.stream.send(b"x", 0)
        os.sched_setaffinity(0, {here})
        assert b.stream.recv(1) == b"x"
        yield b
    finally:
        os.sched_setaffinity(0, allowed)


def test_spinning_stays_within_its_budget(peer_elsewhere: End) -> None:
    b = peer_elsewhere
    percent, saved = 5, 0.1  # seconds in which an empty budget comes back
    lasted = -time.monotonic()
    before = native.process_counters()["spin_ns"]
    native.set_cpu_budget(percent)
    try:
        for _ in range(400):
            assert not b.stream.wait_readable(0.001)
    finally:
        native.set_cpu_budget(100)
    lasted += time.monotonic()
    spun = (native.process_counters()["spin_ns"] - before) / 1e9
    longest = 0.02  # one spin; more than 300 us when it lost its CPU meanwhile
    assert 0 < spun <= (lasted + saved) * percent / 100 + longest
    native.set_cpu_budget(0)
    try:
        before = native.process_counters()["spin_ns"]
        assert not b.stream.wait_readable(0.001)
        assert native.process_counters()["spin_ns"] == before
    finally:
        native.set_cpu_budget(100)


PROGRAM = """
import socket, sys, threading
import wsdirect
server = socket.create_server(("127.0.0.1", 0))
accepted = []
thread = threading.Thread(target=lambda: accepted.append(server.accept()[0]))
thread.start()
while True:  # until the server accepts on the SAN, too
    client = socket.create_connection(server.getsockname())
    thread.join()
    if wsdirect.info(client)["path"] == "shm":
        break
    client.close(), accepted.pop().close()
    thread = threading.Thread(target=lambda: accepted.append(server.accept()[0]))
    thread.start()
buffer = bytearray(64)
entered = []

def note(frame, event, argument):
    if event == "call":
        entered.append(frame.f_code.co_name)

for timeout in (None, 10, 0):
    client.settimeout(timeout), accepted[0].settimeout(timeout)
    s = accepted[0]
    sys.setprofile(note)
    client.send(b"x" * 64)
    s.recv_into(buffer)
    client.sendall(buffer)
    s.recv(64)
    client.send(memoryview(buffer))
    s.recv_into(memoryview(buffer), 64)
    s.sendmsg([b"ab", b"c"])
    client.recv(3)
    if timeout:
        try:
            client.settimeout(0.01)
            client.recv(1)
        except TimeoutError:
            pass
    sys.setprofile(None)
    assert not entered, (timeout, entered)
server.close(), client.close(), accepted[0].close()
"""


def test_no_python_runs_in_a_call() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wsdirect", "run", "-c", PROGRAM],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
