"""Urgent data on a stream and on a loopback TCP connection: the kernel is the oracle."""

import array
import errno
import fcntl
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.core.pairs import End, bells, close_opened, exit_status, fork_pair, make_pair, opened
from wsdirect._core import native

PATIENCE = 5.0
SIOCATMARK, FIONREAD = 0x8905, 0x541B
BYTES_RECEIVED = 128  # of struct tcp_info


class Kernel:
    """A TCP connection, with the calls of two streams."""

    def __init__(self) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            self.a = socket.create_connection(listener.getsockname())
            self.b, _ = listener.accept()
        self.sent = 0
        for one in (self.a, self.b):
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes, flags: int = 0) -> int:
        self.sent += len(data)
        done = self.a.send(data, flags)
        deadline = time.monotonic() + PATIENCE
        while self._arrived() < self.sent:
            assert time.monotonic() < deadline
            time.sleep(0.0005)
        return done

    def _arrived(self) -> int:
        info = self.b.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_RECEIVED + 8)
        return int(struct.unpack_from("=Q", info, BYTES_RECEIVED)[0])

    def ioctl(self, request: int) -> int:
        value = array.array("i", [0])
        fcntl.ioctl(self.b, request, value)
        return value[0]

    def events(self, mask: int) -> int:
        poller = select.poll()
        poller.register(self.b, mask)
        return sum(events for _, events in poller.poll(0))

    def close(self) -> None:
        self.a.close()
        self.b.close()


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except OSError as error:
        return errno.errorcode[error.errno]


class LikeTCP(RuleBasedStateMachine):
    @initialize(strict=st.booleans())
    def connect(self, strict: bool) -> None:
        self.kernel = Kernel()
        self.a, self.b = make_pair(8192, strict=strict)
        self.flying = 0
        self.hole = False  # a byte has become readable with nobody to announce it

    def both(self, on_stream: Callable[[], Any], on_tcp: Callable[[], Any]) -> None:
        assert outcome(on_stream) == outcome(on_tcp)

    def room_for(self, data: bytes) -> bool:
        self.flying += len(data)
        return self.flying < 8000

    @rule(data=st.binary(min_size=1, max_size=40))
    def send(self, data: bytes) -> None:
        if self.room_for(data):
            self.both(lambda: self.a.stream.send(data, 0), lambda: self.kernel.send(data))

    @rule(data=st.one_of(st.binary(min_size=1, max_size=1), st.binary(max_size=4)))
    def send_urgent(self, data: bytes) -> None:
        if self.room_for(data):
            self.both(
                lambda: self.a.stream.send_urgent(data, 0),
                lambda: self.kernel.send(data, socket.MSG_OOB),
            )

    @rule(size=st.integers(1, 60), peek=st.booleans())
    def recv(self, size: int, peek: bool) -> None:
        self.both(
            lambda: self.b.stream.recv(size, 0, native.PEEK if peek else 0),
            lambda: self.kernel.b.recv(size, socket.MSG_PEEK if peek else 0),
        )

    @rule(peek=st.booleans())
    def recv_urgent(self, peek: bool) -> None:
        flags = socket.MSG_OOB | (socket.MSG_PEEK if peek else 0)
        self.both(lambda: self.b.stream.recv_urgent(peek), lambda: self.kernel.b.recv(1, flags))

    @rule(on=st.booleans())
    def keep_inline(self, on: bool) -> None:
        was_readable = self.b.stream.readable()
        self.b.stream.inline = on
        self.hole = self.hole or (self.b.stream.readable() and not was_readable)
        assert self.b.stream.inline == on
        self.kernel.b.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, on)

    @invariant()
    def they_look_alike(self) -> None:
        if not hasattr(self, "kernel"):
            return
        b = self.b.stream
        assert b.at_mark() == bool(self.kernel.ioctl(SIOCATMARK))
        assert b.unread() == self.kernel.ioctl(FIONREAD)
        assert b.urgent_pending == bool(self.kernel.events(select.POLLPRI))
        assert b.readable() == bool(self.kernel.events(select.POLLIN))
        b.arm()
        self.hole = self.hole and b.readable()
        assert self.hole or self.b.readable() == b.readable()
        assert self.a.writable()

    def teardown(self) -> None:
        close_opened()
        if hasattr(self, "kernel"):
            self.kernel.close()


def test_what_must_be_sent_again() -> None:
    """An offer that is withdrawn: which bytes were urgent, also those that were dropped."""
    segment = native.Segment.create(slots=1, ring=4096)
    ours, theirs = bells()
    stream = native.Stream.offer(segment, segment.take(), ours.fileno(), None)
    opened.append(End(stream, ours))
    assert stream.urgent_out() == []
    for byte in b"ABC":  # whoever accepts stands at each of them in turn
        assert stream.send_urgent(bytes([byte]), 0) == 1
    stream.send(b"data", 0)
    assert stream.send_urgent(b"xy!", 0) == 3
    stream.send(b"more", 0)
    assert stream.revoke()
    assert stream.pending_out() == b"ABCdataxy!more"
    assert stream.urgent_out() == [0, 1, 2, 9]
    theirs.close()


def test_ends_that_have_no_urgent_data() -> None:
    a, b = make_pair()
    b.stream.shutdown(socket.SHUT_RD)
    assert a.stream.send_urgent(b"!", 0) == 1
    assert a.stream.shutdown(socket.SHUT_WR) is None
    with pytest.raises(BrokenPipeError):
        a.stream.send_urgent(b"!", 0)
    with pytest.raises(OSError, match="Invalid argument"):
        a.stream.recv_urgent()
    b.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        b.stream.recv_urgent()
    assert not b.stream.urgent_pending


def test_another_process_reads_it() -> None:
    """The mark, what was read of it and `inline` are the connection's, not the process's."""

    def child(end: End) -> None:
        stream = end.stream
        assert stream.recv(3, 5) == b"abc"
        while not stream.urgent_pending:
            time.sleep(0.001)
        assert stream.recv_urgent(peek=True) == b"!"
        stream.share()
        grandchild = os.fork()
        if grandchild == 0:
            native.after_fork_child()
            assert stream.recv_urgent() == b"!"
            stream.inline = True
            os._exit(0)
        assert exit_status(grandchild) == 0
        assert not stream.urgent_pending
        assert stream.at_mark()
        assert stream.inline
        assert stream.recv(9, 5) == b"!end"

    end, pid = fork_pair(child)
    end.stream.send_urgent(b"abc!", 5)
    end.stream.send(b"end", 5)
    assert exit_status(pid) == 0


def test_the_bell_is_quiet_when_nothing_is_urgent_any_more() -> None:
    """For one who polls for urgent data only, while ordinary data stand unread."""
    a, b = make_pair()
    a.stream.send(b"unread", 0)
    a.stream.send_urgent(b"!", 0)
    poller = select.poll()
    poller.register(b.bell, select.POLLPRI)
    assert poller.poll(0)
    assert b.stream.recv_urgent() == b"!"
    b.stream.hush_urgent()
    assert not poller.poll(0)
    assert b.stream.readable()
    a.stream.send_urgent(b"!", 0)
    assert poller.poll(0)
    assert b.stream.recv(100, 0) == b"unread!"
    b.stream.arm()
    assert not b.readable()


def test_a_peer_that_dies_after_an_urgent_byte() -> None:
    """Pollers ask the stream then, and arm() is what finds out."""

    def child(end: End) -> None:
        end.stream.send_urgent(b"!", 5)
        os.kill(os.getpid(), signal.SIGKILL)

    end, pid = fork_pair(child)
    assert exit_status(pid) == -signal.SIGKILL
    assert end.stream.urgent_pending
    assert not end.stream.readable()
    end.stream.arm()
    assert end.stream.readable()
    assert end.stream.recv_urgent() == b"!"
    assert end.stream.recv(1, 0) == b""


def test_a_token_that_tells_of_nothing() -> None:
    a, b = make_pair()
    a.stream.send_urgent(b"!", 0)
    a.bell.send(b"?", socket.MSG_OOB)
    a.bell.send(b"?")
    for _ in range(3):
        b.stream.arm()
    assert not b.events() & select.POLLIN
    assert b.stream.urgent_pending


TestLikeTCP = LikeTCP.TestCase
TestLikeTCP.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
