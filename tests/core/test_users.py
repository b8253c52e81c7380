"""Several users of one end: threads and forked processes."""

import errno
import hashlib
import mmap
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.core.pairs import End, exit_status, make_pair
from wsdirect._core import native

RING = 4096


def in_thread(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Run it; the list gets its result, or its exception."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(call())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, outcome


def finished(thread: threading.Thread) -> None:
    thread.join(30)
    assert not thread.is_alive(), "still waiting"


def fill(end: End) -> None:
    while end.stream.writable():
        end.stream.send(b"x" * RING, 0)


WAITS: list[Callable[[End], Any]] = [
    lambda end: end.stream.recv(1),
    lambda end: end.stream.recv_into(bytearray(1), 1000),
    lambda end: end.stream.wait_readable(),
    lambda end: end.stream.send(b"y"),
    lambda end: end.stream.wait_writable(1000),
]


@pytest.mark.parametrize("wait", range(len(WAITS)))
@pytest.mark.parametrize("pause", [0.0, 0.02])
def test_close_ends_the_waits_of_other_threads(wait: int, pause: float) -> None:
    a, _ = make_pair()
    fill(a)
    threads = [in_thread(lambda: WAITS[wait](a)) for _ in range(3)]
    threading.Event().wait(pause)
    a.stream.close()
    for thread, outcome in threads:
        finished(thread)
        # True: closed before it came to wait, and then nothing keeps the next call from failing
        assert getattr(outcome[0], "errno", None) == errno.EBADF or outcome[0] is True


@pytest.mark.parametrize("wait", range(3))
def test_the_peer_s_end_ends_the_waits_of_all(wait: int) -> None:
    a, b = make_pair()
    threads = [in_thread(lambda: WAITS[wait](a)) for _ in range(3)]
    threading.Event().wait(0.02)
    b.stream.shutdown(socket.SHUT_WR)
    for thread, outcome in threads:
        finished(thread)
        assert outcome[0] in (b"", 0, True)


def test_a_stream_that_is_let_go_of_while_a_thread_waits() -> None:
    """The table's reference, and all others, may be dropped in the middle of a grafted call."""
    a, b = make_pair()
    thread, outcome = in_thread(lambda stream=a.stream: stream.recv(10))
    a.stream = None
    threading.Event().wait(0.02)
    b.stream.send(b"x", 0)
    finished(thread)
    assert outcome == [b"x"]


@pytest.mark.parametrize("limit", [None, 0])
def test_threads_share_an_end(limit: float | None) -> None:
    """Three senders, three receivers, and no byte is lost or comes twice."""
    a, b = make_pair()
    native.set_spin_limit(limit)

    def send(mark: int) -> None:
        for _ in range(300):
            left = memoryview(bytes([mark]) * 700)
            while left:
                left = left[a.stream.send(left) :]

    def receive() -> list[int]:
        counts = [0] * 4
        while data := b.stream.recv(999):
            for mark in range(4):
                counts[mark] += data.count(mark)
        return counts

    try:
        senders = [in_thread(lambda mark=mark: send(mark)) for mark in (1, 2, 3)]
        receivers = [in_thread(receive) for _ in range(3)]
        for thread, outcome in senders:
            finished(thread)
            assert outcome == [None]
        a.stream.shutdown(socket.SHUT_WR)
        total = [0] * 4
        for thread, outcome in receivers:
            finished(thread)
            total = [x + y for x, y in zip(total, outcome[0], strict=True)]
    finally:
        native.set_spin_limit(None)
    assert total == [0, 300 * 700, 300 * 700, 300 * 700]


def test_big_copies_leave_the_interpreter_to_others() -> None:
    """Both ends in one process: what is sent is too big for the ring, so the receiver must run."""
    a, b = make_pair(ring=1 << 16)
    data = os.urandom(5_000_000)

    def send() -> None:
        left = memoryview(data)
        while left:
            left = left[a.stream.send(left) :]
        a.stream.shutdown(socket.SHUT_WR)

    thread, _ = in_thread(send)
    digest = hashlib.sha256()
    while piece := b.stream.recv(1_000_000):
        digest.update(piece)
    finished(thread)
    assert digest.digest() == hashlib.sha256(data).digest()


def test_counting_may_end_while_a_thread_moves_bytes() -> None:
    """The buffer that was lent may be unmapped right after count_alone(): nobody writes to it."""
    a, b = make_pair(ring=1 << 20)
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            try:
                a.stream.send(bytes(200_000), 0)
            except BlockingIOError:
                pass

    def receive() -> None:
        while not stop.is_set():
            try:
                b.stream.recv(200_000, 0)
            except BlockingIOError:
                pass

    threads = [in_thread(send), in_thread(receive)]
    total = 0
    for _ in range(300):
        for end in (a, b):
            with mmap.mmap(-1, 4096) as lent:
                end.stream.count_into(lent)
                end.stream.count_alone()
                total += int.from_bytes(lent[:8], "little")
    stop.set()
    for thread, outcome in threads:
        finished(thread)
        assert outcome == [None]
    assert total


def fork(child: Callable[[], None], *shared: End) -> int:
    """A child process that holds the given ends, too."""
    for end in shared:
        end.stream.share()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        native.after_fork_child()
        child()
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def test_an_end_lives_until_its_last_process_closes_it() -> None:
    a, b = make_pair()

    def worker() -> None:
        a.bell.close()
        request = b.stream.recv(100)
        b.stream.send(b"answer to " + request)
        b.close()

    pid = fork(worker, b)
    b.close()
    b.stream = None
    assert not a.readable()
    a.stream.send(b"question", 0)
    assert a.stream.recv(100) == b"answer to question"
    assert a.stream.recv(100) == b""
    assert exit_status(pid) == 0


def test_all_bound_ends_are_shared_by_a_fork() -> None:
    a, b = make_pair()
    native.table_bind(b.bell.fileno(), b.stream)
    try:
        native.before_fork()
        pid = os.fork()
        if pid == 0:
            native.after_fork_child()
            b.stream.send(b"from the child")
            b.stream.close()
            os._exit(0)
        assert exit_status(pid) == 0
        assert a.stream.recv(100, 0) == b"from the child"
        assert not a.stream.ended, "the parent goes on"
        b.stream.send(b"from the parent", 0)
        assert a.stream.recv(100, 0) == b"from the parent"
    finally:
        native.table_drop(b.bell.fileno())


def test_processes_share_an_end() -> None:
    """Three processes read what two processes send through one connection."""
    a, b = make_pair()
    results, result = os.pipe()

    def send() -> None:
        for _ in range(500):
            left = memoryview(b"x" * 500)
            while left:
                left = left[a.stream.send(left) :]

    def receive() -> None:
        count = 0
        while data := b.stream.recv(777):
            count += len(data)
        os.write(result, b"%d\n" % count)

    senders = [fork(send, a) for _ in range(2)]
    receivers = [fork(receive, b) for _ in range(3)]
    assert [exit_status(pid) for pid in senders] == [0, 0]
    a.stream.shutdown(socket.SHUT_WR)
    assert [exit_status(pid) for pid in receivers] == [0, 0, 0]
    os.close(result)
    with open(results) as lines:
        assert sum(map(int, lines)) == 2 * 500 * 500


@pytest.mark.parametrize("seed", range(6))
def test_a_killed_process_leaves_the_end_usable(seed: int) -> None:
    """kill -9 of one of two readers or writers in the middle of it, at any step."""
    a, b = make_pair()
    end = (a, b)[seed % 2]

    parent = os.getpid()

    def storm() -> None:
        while os.getppid() == parent:  # not longer than the test, however that ends
            try:
                if end is a:
                    a.stream.send(b"x" * 900, 0)
                else:
                    b.stream.recv(900, 0)
            except BlockingIOError:
                pass

    pid = fork(storm, end)
    for _ in range(300):
        for call in (lambda: a.stream.send(b"y" * 900, 0), lambda: b.stream.recv(900, 0)):
            try:
                call()
            except BlockingIOError:
                pass
    os.kill(pid, signal.SIGKILL)
    # not waited for yet: a zombie that holds a lock is as dead as any
    for _ in range(3):
        while b.readable():
            try:
                b.stream.recv(RING, 0)
            except BlockingIOError:
                pass
        assert a.writable()
        assert a.stream.send(b"z", 0) == 1
        assert b.readable()
    assert exit_status(pid) == -signal.SIGKILL
    assert not b.stream.ended
