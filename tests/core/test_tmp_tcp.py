"""The same calls on a stream and on a loopback TCP connection have the same outcomes.

Left out, because they differ and are meant to:

* how much fits: the sums stay below what both take, so that nothing would block;
* sending to a peer that has shut down its reading and its writing but not closed: TCP resets, a
  stream lets the bytes go nowhere until the peer closes;
* shutdown() after both sides have shut down their sending, or one has closed: TCP may say ENOTCONN,
  at times that depend on the order in which its segments arrive.
"""

import select
import socket
import time
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.core.pairs import close_opened, make_pair
from wsdirect._core import native

PATIENCE = 5.0  # for segments and resets to cross the loopback


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        a = socket.create_connection(listener.getsockname())
        b, _ = listener.accept()
    for one in (a, b):
        one.setblocking(False)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return a, b


def outcome(call: Any) -> Any:
    try:
        return call()
    except OSError as error:
        return type(error)


def polls_readable(fd: int) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return any(events & select.POLLIN for _, events in poller.poll(0))


class LikeTCP(RuleBasedStateMachine):
    @initialize(strict=st.booleans())
    def connect(self, strict: bool) -> None:
        self.ends = make_pair(8192, strict=strict)
        self.tcp = tcp_pair()
        self.open = [True, True]
        self.shut: list[set[int]] = [set(), set()]
        self.flying = [0, 0]

    def both(self, side: int, on_stream: Any, on_tcp: Any) -> Any:
        """The outcome, after TCP has had time to come to it."""
        ours = outcome(on_stream)
        deadline = time.monotonic() + PATIENCE
        theirs = outcome(on_tcp)
        while theirs is BlockingIOError and ours is not BlockingIOError:
            assert time.monotonic() < deadline, f"TCP would block, the stream says {ours!r}"
            time.sleep(0.001)
            theirs = outcome(on_tcp)
        assert ours == theirs
        return ours

    def is_over(self) -> bool:
        return all(socket.SHUT_WR in shut for shut in self.shut)

    @rule(side=st.integers(0, 1), data=st.binary(min_size=1, max_size=300))
    def send(self, side: int, data: bytes) -> None:
        if not self.open[side] or self.flying[side] + len(data) > 8000:
            return
        if self.open[1 - side] and len(self.shut[1 - side]) == 2:
            return
        sent = self.both(
            side,
            lambda: self.ends[side].stream.send(data, 0),
            lambda: self.tcp[side].send(data),
        )
        if isinstance(sent, int):
            self.flying[side] += sent
            if not self.open[1 - side]:
                self.settle(side)

    def settle(self, side: int) -> None:
        """Sent to nobody: wait until TCP's reset has come back."""
        deadline = time.monotonic() + PATIENCE
        poller = select.poll()
        poller.register(self.tcp[side], 0)
        while not poller.poll(1):
            assert time.monotonic() < deadline

    @rule(side=st.integers(0, 1), size=st.integers(1, 500), peek=st.booleans())
    def recv(self, side: int, size: int, peek: bool) -> None:
        if not self.open[side]:
            return
        got = self.both(
            side,
            lambda: self.ends[side].stream.recv(size, 0, native.PEEK if peek else 0),
            lambda: self.tcp[side].recv(size, socket.MSG_PEEK if peek else 0),
        )
        if isinstance(got, bytes) and not peek:
            self.flying[1 - side] -= len(got)

    @precondition(lambda self: all(self.open) and not self.is_over())
    @rule(
        side=st.integers(0, 1),
        how=st.sampled_from([socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR]),
    )
    def shutdown(self, side: int, how: int) -> None:
        self.both(
            side,
            lambda: self.ends[side].stream.shutdown(how),
            lambda: self.tcp[side].shutdown(how),
        )
        if how != socket.SHUT_WR:
            self.shut[side].add(socket.SHUT_RD)
        if how != socket.SHUT_RD:
            self.shut[side].add(socket.SHUT_WR)

    @rule(side=st.integers(0, 1))
    def close(self, side: int) -> None:
        if not self.open[side]:
            return
        self.ends[side].close()
        self.tcp[side].close()
        self.open[side] = False

    @invariant()
    def both_poll_alike(self) -> None:
        for side in (0, 1):
            if not self.open[side]:
                continue
            ours = self.ends[side].readable()
            assert ours == self.ends[side].stream.readable()
            deadline = time.monotonic() + PATIENCE
            while polls_readable(self.tcp[side].fileno()) != ours:
                assert time.monotonic() < deadline, f"readable on the stream: {ours}"
                time.sleep(0.001)

    def teardown(self) -> None:
        close_opened()
        for one in self.tcp if hasattr(self, "tcp") else ():
            one.close()


TestLikeTCP = LikeTCP.TestCase
TestLikeTCP.settings = settings(max_examples=6000, stateful_step_count=30, deadline=None)
