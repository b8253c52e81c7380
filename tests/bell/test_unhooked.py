"""Blocking calls, and a poll() of libc that nothing has hooked: what C libraries do to a socket.

The socket is strict (its number was taken): the kernel tells the truth of it at any rest.
"""

import ctypes
import random
import select
import socket
import threading
import time

import pytest

from tests.bell.test_stress import expected
from tests.core.pairs import End, exit_status, fork_pair, make_pair
from wsdirect._core import native

PATIENCE = 20.0  # seconds; only a bound against hangs
RING = 4096


class PollFd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


libc = ctypes.CDLL(None, use_errno=True)


def c_poll(end: End, events: int, seconds: float = PATIENCE) -> int:
    one = PollFd(end.bell.fileno(), events, 0)
    assert libc.poll(ctypes.byref(one), 1, int(seconds * 1000)) >= 0
    return int(one.revents)


def asleep(call: object) -> tuple[threading.Thread, list[object]]:
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(call()))  # type: ignore[operator]
    thread.start()
    return thread, results


def leave_unannounced(a: End, b: End) -> None:
    """b has bytes in its ring that its descriptor does not tell of: the hole of the hybrid mode."""
    b.stream.unarm()  # as a blocking recv that spins
    a.stream.send(b"12345", 0)
    assert b.stream.recv(1, PATIENCE) == b"1"
    assert b.stream.available() == 4
    assert not b.readable()


@pytest.mark.parametrize("peer", ["in recv", "at its next call", "at its next poll"])
def test_bytes_unannounced_when_the_number_is_taken(peer: str) -> None:
    a, b = make_pair(RING)
    leave_unannounced(a, b)
    thread = None
    if peer == "in recv":
        thread, results = asleep(lambda: a.stream.recv(10, PATIENCE))
        time.sleep(0.02)
    b.stream.strict = True
    if peer == "at its next call":
        a.stream.send(b"", 0)
        with pytest.raises(BlockingIOError):
            a.stream.recv(1, 0)
    elif peer == "at its next poll":
        assert a.readable(), "it is woken"
        a.stream.arm()
        assert a.events() == select.POLLOUT, "for nothing, once"
    assert c_poll(b, select.POLLIN) == select.POLLIN
    assert b.stream.recv(10, 0) == b"2345"
    assert b.events() == select.POLLOUT
    if thread is not None:
        b.stream.send(b"answer", 0)
        thread.join(PATIENCE)
        assert results == [b"answer"]
        assert a.events() == select.POLLOUT


def test_a_strict_socket_with_nothing_to_read_asks_nobody() -> None:
    a, b = make_pair()
    b.stream.strict = True
    assert a.events() == b.events() == select.POLLOUT


def test_a_full_ring_is_never_writable() -> None:
    a, b = make_pair(RING)
    a.stream.strict = True
    sent = 0
    while sent < RING:  # as a blocking call that fits, and then one that does not
        sent += a.stream.send(bytes(1000), PATIENCE)
    assert c_poll(a, select.POLLOUT, 0) == 0
    with pytest.raises(TimeoutError):
        a.stream.send(b"x", 0.01)
    assert c_poll(a, select.POLLOUT, 0) == 0
    assert len(b.stream.recv(RING, 0)) == RING
    assert c_poll(a, select.POLLOUT) == select.POLLOUT


def answer(end: End) -> None:
    """The peer: blocking, hybrid; sends back as many bytes as it is asked for, in random pieces."""
    rng = random.Random(1)
    at = 0
    while head := end.stream.recv(4, None):
        while len(head) < 4:
            head += end.stream.recv(4 - len(head), None)
        left = int.from_bytes(head, "big")
        while left:
            piece = expected(at, min(left, rng.randrange(1, 3000)))
            sent = end.stream.send(piece, None)
            at += sent
            left -= sent
    end.close()


@pytest.mark.parametrize("largest", [200, 20_000])
def test_requests_and_answers(largest: int) -> None:
    """Never asleep on data, never awake for nothing."""
    end, pid = fork_pair(answer, RING)
    while end.stream.state != native.ATTACHED:
        time.sleep(0.001)
    end.stream.strict = True
    rng = random.Random(largest)
    at = false_in = waits = 0
    for _ in range(1500 if largest < 1000 else 300):
        left = rng.randrange(1, largest)
        end.stream.send(left.to_bytes(4, "big"), None)
        while left:
            polled = rng.random() < 0.5  # else recv itself waits, and leaves a part perhaps
            if polled:
                assert c_poll(end, select.POLLIN) & select.POLLIN, "asleep on data"
                waits += 1
            try:
                size = rng.randrange(1, 2000)
                data = end.stream.recv(size, 0 if polled and rng.random() < 0.1 else None)
            except BlockingIOError:
                false_in += 1
                continue
            assert data == expected(at, len(data))
            at += len(data)
            left -= len(data)
        assert end.events() == select.POLLOUT, "at rest"
    end.stream.shutdown(socket.SHUT_WR)
    assert exit_status(pid) == 0
    # none by the protocol; a process that loses its CPU in the middle of a step may cause one
    assert false_in <= 2 + waits // 1000


def test_both_directions_under_load() -> None:
    """Each end has a thread that sends and one that receives, each after its own poll()."""
    total = 1_500_000

    def both(end: End) -> None:
        end.stream.strict = True

        def sending() -> None:
            at, rng = 0, random.Random(2)
            while at < total:
                assert c_poll(end, select.POLLOUT) & select.POLLOUT
                piece = expected(at, min(total - at, rng.randrange(1, 3000)))
                at += end.stream.send(piece, PATIENCE)

        def receiving() -> None:
            at, rng = 0, random.Random(3)
            while at < total:
                assert c_poll(end, select.POLLIN) & select.POLLIN, "asleep on data"
                data = end.stream.recv(rng.randrange(1, 3000), PATIENCE)
                assert data == expected(at, len(data))
                at += len(data)

        failed: list[BaseException] = []
        threads = []
        for part in (sending, receiving):

            def run(part: object = part) -> None:
                try:
                    part()  # type: ignore[operator]
                except BaseException as error:
                    failed.append(error)

            threads.append(threading.Thread(target=run))
            threads[-1].start()
        for thread in threads:
            thread.join(3 * PATIENCE)
            assert not thread.is_alive()
        if failed:
            raise failed[0]

    end, pid = fork_pair(both, RING)
    while end.stream.state != native.ATTACHED:
        time.sleep(0.001)
    both(end)
    assert exit_status(pid) == 0
