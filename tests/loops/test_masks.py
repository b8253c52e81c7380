"""The same steps on a TCP pair and on a switched one: what pollers say must be the same.

Pollers that nobody hooked see two differences, which are meant: a peer that has closed is POLLHUP,
and POLLRDHUP may come only when all data have been read.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.loops.ends import (
    PATIENCE,
    RawEpoll,
    connect_plain,
    connect_switched,
    drain,
    fill,
    hooked_poll,
    listener,
    raw_poll,
)

pytestmark = pytest.mark.usefixtures("switch")

IN, PRI, OUT = select.POLLIN, select.POLLPRI, select.POLLOUT
ERR, HUP, RDHUP = select.POLLERR, select.POLLHUP, 0x2000
MASKS = (IN | PRI | OUT | RDHUP, IN | PRI | RDHUP, IN | OUT, OUT, IN, RDHUP, PRI, 0)
NAMES = {IN: "IN", PRI: "PRI", OUT: "OUT", ERR: "ERR", HUP: "HUP", RDHUP: "RDHUP"}
RESET = struct.pack("ii", 1, 0)
MOMENT = 2.0  # seconds; a loopback needs far less
SMALL = 4096  # TCP's buffers, so that they fill up soon

Pair = list[socket.socket]


def names(mask: int) -> str:
    return "|".join(name for bit, name in NAMES.items() if mask & bit) or "0"


def epoll_once(fd: int, mask: int) -> int:
    with select.epoll() as epoll:
        epoll.register(fd, mask)
        return sum(events for _, events in epoll.poll(0))


def select_once(fd: int) -> list[bool]:
    return [bool(found) for found in select.select([fd], [fd], [fd], 0)]


def raw_epoll_once(fd: int, mask: int) -> int:
    epoll = RawEpoll()
    epoll.register(fd, mask)
    try:
        return sum(epoll.poll().values())
    finally:
        epoll.close()


def answers(sock: socket.socket, left_out: int = 0) -> dict[str, Any]:
    """What every poller says of a socket at this moment."""
    fd = sock.fileno()
    found: dict[str, Any] = {"select": select_once(fd)}
    for mask in MASKS:
        found[f"poll {names(mask)}"] = names(hooked_poll(fd, mask) & ~left_out)
        found[f"epoll {names(mask)}"] = names(epoll_once(fd, mask) & ~left_out)
    for kind, poll in (("poll", raw_poll), ("epoll", raw_epoll_once)):
        found[f"unhooked {kind}"] = names(poll(fd, IN | OUT) & ~(HUP | ERR))
    return found


@contextlib.contextmanager
def both() -> Iterator[tuple[Pair, Pair]]:
    with listener() as server:
        switched = list(connect_switched(server))
    plain = list(connect_plain(SMALL))
    try:
        yield plain, switched
    finally:
        for sock in (*plain, *switched):
            sock.close()


def assert_alike(plain: socket.socket, switched: socket.socket, left_out: int = 0) -> None:
    """TCP's segments take a moment, ours do not."""
    deadline = time.monotonic() + MOMENT
    while True:
        expected, seen = answers(plain, left_out), answers(switched, left_out)
        if expected == seen or time.monotonic() > deadline:
            break
        time.sleep(0.002)
    assert seen == expected


def outcome(call: Callable[..., Any], *args: Any) -> Any:
    try:
        return call(*args)
    except OSError as error:
        return type(error).__name__, error.errno


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


def settle(_: Any = None) -> None:
    time.sleep(0.01)


def partly(sock: socket.socket, blocking: bool) -> bytes:
    sock.setblocking(blocking)
    return sock.recv(1)


#: name -> steps on (a, b); a is looked at
STATES: dict[str, list[Callable[[socket.socket, socket.socket], Any]]] = {
    "idle": [],
    "data": [lambda a, b: b.send(b"xyz")],
    "part-read": [lambda a, b: b.send(b"xyz"), lambda a, b: partly(a, False)],
    "part-read-blocking": [lambda a, b: b.send(b"xyz"), lambda a, b: partly(a, True)],
    "all-read": [lambda a, b: b.send(b"xyz"), lambda a, b: a.recv(3)],
    "peer-half-closed": [lambda a, b: b.shutdown(socket.SHUT_WR)],
    "peer-half-closed-with-data": [
        lambda a, b: b.send(b"x"),
        lambda a, b: b.shutdown(socket.SHUT_WR),
    ],
    "half-closed": [lambda a, b: a.shutdown(socket.SHUT_WR)],
    "deaf": [lambda a, b: a.shutdown(socket.SHUT_RD)],
    "shut": [lambda a, b: a.shutdown(socket.SHUT_RDWR)],
    "peer-deaf": [lambda a, b: b.shutdown(socket.SHUT_RD)],
    "peer-shut": [lambda a, b: b.shutdown(socket.SHUT_RDWR)],
    "both-half-closed": [
        lambda a, b: a.shutdown(socket.SHUT_WR),
        lambda a, b: b.shutdown(socket.SHUT_WR),
    ],
    "peer-closed": [lambda a, b: b.close()],
    "peer-closed-with-data": [lambda a, b: b.send(b"xx"), lambda a, b: b.close()],
    "peer-closed-after-half-close": [
        lambda a, b: a.shutdown(socket.SHUT_WR),
        lambda a, b: b.close(),
    ],
    "peer-closed-unread": [lambda a, b: a.send(b"x"), settle_two := lambda a, b: settle(),
                           lambda a, b: b.close()],
    "reset": [lambda a, b: reset(b)],
    "reset-told": [lambda a, b: reset(b), settle_two, lambda a, b: a.recv(1)],
    "reset-told-by-option": [
        lambda a, b: reset(b),
        settle_two,
        lambda a, b: a.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
        lambda a, b: a.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
    ],
    "sent-to-closed": [lambda a, b: b.close(), settle_two, lambda a, b: a.send(b"x")],
    "broken-pipe": [
        lambda a, b: b.close(), settle_two, lambda a, b: a.send(b"x"), settle_two,
        lambda a, b: a.send(b"x"),
    ],
    "full": [lambda a, b: bool(fill(a))],
    "full-peer-closed": [lambda a, b: bool(fill(a)), lambda a, b: b.close()],
    "full-peer-half-closed": [
        lambda a, b: bool(fill(a)),
        lambda a, b: b.shutdown(socket.SHUT_WR),
    ],
    "full-and-drained": [lambda a, b: drain(b, fill(a))],
    "urgent": [lambda a, b: b.send(b"!", socket.MSG_OOB)],
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_pollers_say_what_tcp_says(state: str) -> None:
    with both() as (plain, switched):
        for step in STATES[state]:
            assert outcome(step, *plain) == outcome(step, *switched)
        if state == "urgent":  # its token is gone when a hooked poller has told of it
            settle()
            for mask in MASKS:
                fd, other = plain[0].fileno(), switched[0].fileno()
                assert names(hooked_poll(other, mask)) == names(hooked_poll(fd, mask))
                assert names(epoll_once(other, mask)) == names(epoll_once(fd, mask))
            return
        assert_alike(plain[0], switched[0])


# a wrong answer takes a moment to be sure of, and shrinking asks for hundreds
NO_SHRINKING = [Phase.explicit, Phase.reuse, Phase.generate]
SIDES = st.integers(0, 1)
STEPS = st.one_of(
    st.tuples(st.just("send"), SIDES, st.integers(1, 300)),
    st.tuples(st.just("recv"), SIDES, st.integers(1, 400)),
    st.tuples(st.just("recv-blocking"), SIDES, st.integers(1, 400)),
    st.tuples(st.just("peek"), SIDES, st.integers(1, 400)),
    st.tuples(st.just("timeout"), SIDES, st.integers(1, 400)),
    st.tuples(st.just("fill-and-drain"), SIDES, st.just(0)),
    st.tuples(st.just("half-close"), SIDES, st.just(0)),
    st.tuples(st.just("close"), SIDES, st.just(0)),
)


class Script:
    """Small steps on both pairs; the answers of all calls are compared, too."""

    def __init__(self, plain: Pair, switched: Pair) -> None:
        self.pairs = plain, switched
        self.flying = [0, 0]  # bytes that each side has sent and the other not received
        self.open = [True, True]
        self.writing = [True, True]

    def do(self, what: str, side: int, size: int) -> None:
        if not self.open[side]:
            return
        peer = 1 - side
        ready = self.flying[peer] > 0 or not self.writing[peer]
        if what == "send":
            if self.open[peer] and self.flying[side] + size < 2000:
                got = self.each(lambda sock: sock.send(bytes(size)), side)
                self.flying[side] += got if isinstance(got, int) else 0
        elif what in ("recv", "recv-blocking", "timeout", "peek"):
            if what == "recv-blocking" and not ready:
                return
            timeout = {"recv-blocking": None, "timeout": 0.005}.get(what, 0)
            flags = socket.MSG_PEEK if what == "peek" else 0

            def receive(sock: socket.socket) -> Any:
                sock.settimeout(timeout)
                got = b""
                while len(got) < min(size, self.flying[peer]) and not flags:
                    got += sock.recv(size - len(got))  # TCP may give it in parts
                return len(got) if got else len(sock.recv(size, flags))

            got = self.each(receive, side)
            if isinstance(got, int) and not flags:
                self.flying[peer] -= got
        elif what == "fill-and-drain":
            if all(self.open) and self.writing[side] and not self.flying[side]:
                for pair in self.pairs:
                    count = fill(pair[side])
                    assert raw_poll(pair[side].fileno(), OUT) == 0
                    assert hooked_poll(pair[side].fileno(), OUT) == 0
                    drain(pair[peer], count)
        elif what == "half-close":
            if self.writing[side] and self.open[peer]:
                self.each(lambda sock: sock.shutdown(socket.SHUT_WR), side)
                self.writing[side] = False
        else:
            for pair in self.pairs:
                pair[side].close()
            self.open[side] = self.writing[side] = False
            self.flying[peer] = 0

    def each(self, call: Callable[[socket.socket], Any], side: int) -> Any:
        for pair in self.pairs:  # let what TCP has under way arrive
            if self.flying[1 - side]:
                raw_poll(pair[side].fileno(), IN, PATIENCE)
        expected, got = (outcome(call, pair[side]) for pair in self.pairs)
        assert got == expected
        return got

    def check(self) -> None:
        # where both have said their last word, POLLHUP may come only when all has been read
        late = HUP if not any(self.writing) and any(self.flying) else 0
        for side in (0, 1):
            if self.open[side]:
                assert_alike(self.pairs[0][side], self.pairs[1][side], late)


@settings(max_examples=150, suppress_health_check=list(HealthCheck), phases=NO_SHRINKING)
@given(st.lists(STEPS, max_size=12))
def test_any_small_steps(steps: list[tuple[str, int, int]]) -> None:
    """Non-blocking, blocking and timed calls, and after each all pollers, hooked or not."""
    with both() as pairs:
        script = Script(*pairs)
        for step in steps:
            script.do(*step)
            script.check()


def test_all_orders_of_closing() -> None:
    steps = [("send", 0, 9), ("send", 1, 9), ("half-close", 0, 0), ("close", 1, 0), ("recv", 0, 4)]
    for order in itertools.permutations(steps):
        with both() as pairs:
            script = Script(*pairs)
            for step in order:
                script.do(*step)
                script.check()
