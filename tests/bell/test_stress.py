"""Two processes, plain level-triggered epoll on the kernel sockets, and nothing hooked.

Both directions at once, random sizes, small and large rings.  Every byte is compared with what must
stand at its place.  A wake that is lost shows as a poll that times out; readiness that is not true
is counted.  BELL_STRESS=60 in the environment makes each test run for about that many seconds.
"""

import json
import os
import random
import select
import signal
import socket
import sys
import time
from dataclasses import asdict, dataclass

import pytest

from tests.core.pairs import End, exit_status, fork_pair, make_pair

SECONDS = float(os.environ.get("BELL_STRESS", "0"))
#: Nobody waits this long for a peer that is alive: the wake was lost.
WATCHDOG = 20.0
PATTERN = random.Random(1).randbytes(1 << 18)
SKEW = len(PATTERN) - 4093  # so that the pattern does not repeat with the ring


def expected(position: int, length: int) -> bytes:
    """The bytes that stand at `position` of every stream of these tests."""
    out = b""
    while length > 0:
        at = position % SKEW
        piece = PATTERN[at : min(at + length, SKEW)]
        out += piece
        position += len(piece)
        length -= len(piece)
    return out


@dataclass
class Report:
    sent: int = 0
    received: int = 0
    waits: int = 0
    false_in: int = 0  # polled readable, and recv would block
    false_out: int = 0  # polled writable, and send would block
    end: str = ""


class LostWakeError(Exception):
    """Nothing came within the watchdog's time."""


def transfer(end: End, total: int, seed: int, largest: int, until: float = 0.0) -> Report:
    """Send `total` bytes (or until that time) and receive until the peer's end, both by epoll."""
    rng = random.Random(seed)
    stream, report = end.stream, Report()
    poller = select.epoll()
    wanted = select.EPOLLIN | select.EPOLLOUT
    poller.register(end.bell, wanted)
    sending, receiving = True, True
    while sending or receiving:
        mask = (select.EPOLLIN if receiving else 0) | (select.EPOLLOUT if sending else 0)
        poller.modify(end.bell, mask)
        ready = poller.poll(WATCHDOG)
        report.waits += 1
        if not ready:
            raise LostWakeError(f"{stream.available()=} {stream.queued()=} {asdict(report)}")
        events = ready[0][1]
        try:
            if receiving and events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                try:
                    # sometimes all that is there, sometimes one piece and then the poll again
                    for _ in range(rng.choice((1, 1, 1, 1000))):
                        data = stream.recv(rng.randrange(1, largest), 0)
                        if not data:
                            receiving = False
                            break
                        assert data == expected(report.received, len(data)), "damaged"
                        report.received += len(data)
                        events &= ~select.EPOLLIN
                except BlockingIOError:
                    report.false_in += bool(events & select.EPOLLIN)
            if sending and events & (select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR):
                try:
                    for _ in range(rng.choice((1, 1, 1, 1000))):
                        if report.sent >= total and time.monotonic() >= until:
                            stream.shutdown(socket.SHUT_WR)
                            sending = False
                            break
                        size = rng.randrange(1, largest)
                        report.sent += stream.send(expected(report.sent, size), 0)
                        events &= ~select.EPOLLOUT
                except BlockingIOError:
                    report.false_out += bool(events & select.EPOLLOUT)
        except (ConnectionError, BrokenPipeError) as error:
            report.end = type(error).__name__
            break
    poller.close()
    return report


def run_pair(ring: int, total: int, largest: int, seed: int, cpus: set[int] | None = None) -> None:
    """Two processes that transfer both ways; their reports have to agree."""
    until = time.monotonic() + SECONDS
    result, child_result = os.pipe()

    def peer(end: End) -> None:
        if cpus:
            os.sched_setaffinity(0, cpus)
        report = transfer(end, total, seed + 1, largest, until)
        os.write(child_result, json.dumps(asdict(report)).encode())
        end.close()

    before = os.sched_getaffinity(0)
    end, pid = fork_pair(peer, ring)
    os.close(child_result)
    try:
        if cpus:
            os.sched_setaffinity(0, cpus)
        ours = transfer(end, total, seed, largest, until)
        assert exit_status(pid) == 0
    finally:
        os.sched_setaffinity(0, before)
    theirs = Report(**json.loads(os.read(result, 10_000)))
    os.close(result)
    assert not ours.end
    assert not theirs.end
    assert ours.received == theirs.sent >= total
    assert theirs.received == ours.sent >= total
    # The protocol alone has none (tests/bell/model.py).  A process that loses its CPU in the middle
    # of a step for longer than the others' patience may cause one.
    for report in (ours, theirs):
        assert report.false_in + report.false_out <= 2 + report.waits // 1000, (ours, theirs)
    end.close()


@pytest.mark.parametrize(
    ("ring", "total", "largest"),
    [
        (4096, 20_000_000, 3000),  # more often full than not
        (4096, 2_000_000, 64),  # more often empty than not
        (4096, 20_000_000, 20_000),  # every send is short
        (1 << 20, 200_000_000, 300_000),
    ],
)
def test_both_directions_at_once(ring: int, total: int, largest: int) -> None:
    run_pair(ring, total, largest, seed=ring + largest)


def test_on_one_cpu() -> None:
    cpu = min(os.sched_getaffinity(0))
    run_pair(4096, 5_000_000, 3000, seed=7, cpus={cpu})


@pytest.mark.parametrize("seed", range(8))
def test_kill(seed: int) -> None:
    """kill -9 in the middle: the other side sees the end, and what it got is right until there."""
    rng = random.Random(seed)
    end, pid = fork_pair(lambda peer: transfer(peer, 1 << 60, seed, 3000) and None)
    waker, wake = os.pipe()
    killer = os.fork()
    if killer == 0:
        select.select([waker], [], [], rng.random() * 0.1)
        os.kill(pid, signal.SIGKILL)
        os._exit(0)
    os.close(waker)
    report = transfer(end, 1 << 60, seed + 1, 3000)
    os.close(wake)
    assert exit_status(killer) == 0
    assert exit_status(pid) == -signal.SIGKILL
    assert report.end in ("ConnectionResetError", "BrokenPipeError")
    # whatever was in the ring is still there to be read, and then it is the end, again and again
    while data := end.stream.recv(1000, 0):
        assert data == expected(report.received, len(data))
        report.received += len(data)
    assert end.stream.recv(1000, 0) == b""
    assert end.readable()


@pytest.mark.parametrize("seed", range(8))
def test_close_in_the_middle(seed: int) -> None:
    """The peer reads a little and closes with bytes unread, or everything and closes."""

    def peer(end: End) -> None:
        got = 0
        stop = random.Random(seed).randrange(1, 15_000)  # less than it is sent in any case
        while got < stop:
            end.stream.wait_readable(WATCHDOG)
            data = end.stream.recv(1000, 0)
            assert data == expected(got, len(data))
            got += len(data)
        if seed % 2:
            while data := end.stream.recv(1000, WATCHDOG):
                got += len(data)
        end.close()

    end, pid = fork_pair(peer)
    report = transfer(end, 20_000 if seed % 2 else 1 << 60, seed, 2000)
    assert exit_status(pid) == 0
    if seed % 2:
        assert report.end == ""
    else:
        assert report.end in ("ConnectionResetError", "BrokenPipeError")


def test_at_rest_there_is_no_token_left() -> None:
    """Zero tolerance: an idle connection that polls readable would be taken for dead by pools."""
    a, b = make_pair()
    rng = random.Random(3)
    poll = select.poll()
    poll.register(a.bell, select.POLLIN)
    poll.register(b.bell, select.POLLIN)
    for _ in range(2000):
        sizes = [rng.randrange(1, 3000) for _ in range(rng.randrange(1, 4))]
        for size in sizes:
            left = size
            while left:
                try:
                    left -= a.stream.send(bytes(left), 0)
                except BlockingIOError:
                    assert not a.writable()
                    b.stream.recv(rng.randrange(1, 5000), 0)
        while b.stream.available():
            assert b.readable()
            b.stream.recv(rng.randrange(1, 5000), 0)
        assert poll.poll(0) == []
        assert a.writable()
    a.close()
    b.close()


def test_the_watchdog_would_bark(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop above notices data whose token has been stolen."""
    monkeypatch.setattr(sys.modules[__name__], "WATCHDOG", 0.05)
    a, b = make_pair()
    a.stream.send(expected(0, 1), 0)
    assert b.bell.recv(1) == b"!"
    with pytest.raises(LostWakeError):
        transfer(b, 0, seed=1, largest=100)


def test_a_false_token_would_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "WATCHDOG", 0.05)
    a, b = make_pair()
    a.bell.send(b"!")
    with pytest.raises(LostWakeError, match="'false_in': 1"):
        transfer(b, 0, seed=1, largest=100)
