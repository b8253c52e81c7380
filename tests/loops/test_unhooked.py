"""Programs that poll the descriptor with code that nobody hooked: poll and epoll by ctypes."""

from __future__ import annotations

import select
import socket
import threading

import pytest

from tests.loops.ends import PATIENCE, RawEpoll, drain, fill, raw_poll, switched_pair

pytestmark = pytest.mark.usefixtures("switch")

IN, OUT, RDHUP = select.POLLIN, select.POLLOUT, 0x2000


@pytest.mark.parametrize("poller", ["poll", "epoll", "edge-triggered"])
def test_truth_under_load(poller: str) -> None:
    """Both directions at once, more than the rings hold: never asleep on data or room, and hardly
    ever awake for nothing."""
    size = 3_000_000

    def run(sock: socket.socket, name: str) -> None:
        sock.setblocking(False)
        fd, sent, got = sock.fileno(), 0, 0
        epoll = RawEpoll() if poller != "poll" else None
        flags = select.EPOLLET if poller == "edge-triggered" else 0
        if epoll is not None:
            epoll.register(fd, IN | OUT | flags)
        waits = idle = 0
        view = memoryview(bytes(100_000))
        while sent < size or got < size:
            mask = (IN if got < size else 0) | (OUT if sent < size else 0)
            if epoll is None:
                events = raw_poll(fd, mask, PATIENCE)
            else:
                if not flags:
                    epoll.modify(fd, mask)
                events = epoll.poll(PATIENCE).get(fd, 0)
            assert events, f"{name} slept with {sent} sent and {got} received"
            waits += 1
            moved = False
            while got < size and events & IN:
                try:
                    count = len(sock.recv(min(70_000, size - got)))
                except BlockingIOError:
                    break
                assert count
                got += count
                moved = True
            while sent < size and events & OUT:
                try:
                    sent += sock.send(view[: min(len(view), size - sent)])
                    moved = True
                except BlockingIOError:
                    break
            idle += not moved
        if epoll is not None:
            epoll.close()
        counts[name] = waits, idle

    counts: dict[str, tuple[int, int]] = {}
    with switched_pair() as pair:
        threads = [
            threading.Thread(target=run, args=(sock, name), daemon=True)
            for sock, name in zip(pair, "ab", strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE * 2)
        assert set(counts) == {"a", "b"}
        if poller != "edge-triggered":  # whose edges tell of both directions at once
            for waits, idle in counts.values():
                assert idle <= 3 + waits // 10
        for sock in pair:
            assert raw_poll(sock.fileno(), IN | OUT) == OUT, "no stale bell at rest"


def test_truth_after_each_small_step() -> None:
    """Sizes around the ring's, with and without part reads, on non-blocking sockets."""
    with switched_pair() as (a, b):
        a.setblocking(False)
        b.setblocking(False)
        one, other = a.fileno(), b.fileno()  # from here on strangers may poll them
        room = fill(a)
        drain(b, room)
        for size in (1, 2, 100, room // 2 - 1, room // 2, room // 2 + 1, room - 1, room):
            for first in (1, size // 2, size):
                assert a.send(bytes(size)) == size
                assert raw_poll(one, OUT) == (OUT if size < room else 0)
                assert raw_poll(other, IN) == IN
                left = size - len(b.recv(max(first, 1)))
                assert raw_poll(other, IN) == (IN if left else 0)
                drain(b, left)
                assert raw_poll(other, IN | OUT) == OUT
                assert raw_poll(one, IN | OUT) == OUT


@pytest.mark.parametrize("end", ["half-close", "close", "reset", "own-half-close"])
def test_ends(end: str) -> None:
    """A raw poller learns of each kind of end, and recv tells which."""
    with switched_pair() as (a, b):
        if end == "half-close":
            b.shutdown(socket.SHUT_WR)
        elif end == "close":
            b.close()
        elif end == "reset":
            a.send(b"unread")
            b.close()
        else:
            a.shutdown(socket.SHUT_WR)
            assert raw_poll(a.fileno(), IN) == 0
            assert raw_poll(b.fileno(), IN | RDHUP) == IN | RDHUP
            assert b.recv(1) == b""
            return
        assert raw_poll(a.fileno(), IN | RDHUP, PATIENCE) & (IN | RDHUP) == IN | RDHUP
        if end == "reset":
            with pytest.raises(ConnectionResetError):
                a.recv(1)
        else:
            assert a.recv(1) == b""
        assert bool(raw_poll(a.fileno(), 0) & select.POLLHUP) == (end != "half-close")


def test_leftovers_of_a_blocking_recv() -> None:
    """Once its number was asked for, a raw poller must not sleep on what a blocking recv left."""
    with switched_pair() as (a, b):
        fd = a.fileno()
        for _ in range(20):
            sender = threading.Timer(0.002, b.sendall, (b"12345678",))
            sender.start()
            assert a.recv(1) == b"1"  # had to wait, so that nobody rang
            sender.join()
            assert raw_poll(fd, IN, 1) == IN
            assert a.recv(7, socket.MSG_WAITALL) == b"2345678"
            assert raw_poll(fd, IN) == 0
