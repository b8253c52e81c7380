import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.core.pairs import close_opened, make_pair

RING = 4096


def test_a_message_stays_whole() -> None:
    a, b = make_pair()
    assert a.stream.send_message([b"one ", b"", memoryview(b"message")])
    assert a.stream.send_message([])
    assert b.readable()
    assert b.stream.message_size() == 11
    with pytest.raises(OSError, match="Message too long") as caught:
        b.stream.recv_message([bytearray(10)])
    assert caught.value.errno == errno.EMSGSIZE
    parts = [bytearray(4), bytearray(20)]
    assert b.stream.recv_message(parts) == 11
    assert parts[0] == b"one "
    assert parts[1][:7] == b"message"
    assert b.stream.message_size() == 0
    b.stream.discard_message()
    assert b.stream.message_size() == -1
    assert not b.readable()
    with pytest.raises(BlockingIOError):
        b.stream.recv_message([bytearray(1)])
    with pytest.raises(BlockingIOError):
        b.stream.discard_message()
    assert a.stream.traffic == (11, 0)
    assert b.stream.traffic == (0, 11)


def test_limits() -> None:
    a, b = make_pair()
    with pytest.raises(OSError, match="Message too long"):
        a.stream.send_message([bytes(a.stream.max_message + 1)])
    assert a.stream.send_message([bytes(a.stream.max_message)])
    assert a.stream.send_message([b""]) is False
    assert not a.writable()
    b.stream.discard_message()
    assert a.writable()


def test_the_end() -> None:
    a, b = make_pair()
    a.stream.send_message([b"last"])
    a.close()
    with pytest.raises(ConnectionResetError):
        b.stream.send_message([b"x"])
    assert b.stream.message_size() == 4
    b.stream.discard_message()
    with pytest.raises(ConnectionResetError):
        b.stream.message_size()
    with pytest.raises(ConnectionResetError):
        b.stream.recv_message([bytearray(4)])


@given(st.binary(min_size=1, max_size=64))
def test_bytes_that_are_no_frames(junk: bytes) -> None:
    """What a hostile peer writes where a frame should be: an error or a message, and no more."""
    a, b = make_pair()
    a.stream.send(junk, 0)
    length = struct.unpack("=Q", junk[:8])[0] if len(junk) >= 8 else None
    whole = length is not None and length <= len(junk) - 8
    if whole:
        assert b.stream.message_size() == length
        buffer = bytearray(length)
        assert b.stream.recv_message([buffer]) == length
        assert buffer == junk[8 : 8 + length]
    else:
        for call in (b.stream.message_size, b.stream.discard_message):
            with pytest.raises(ConnectionAbortedError):
                call()
        with pytest.raises(ConnectionAbortedError):
            b.stream.recv_message([bytearray(100)])
        with pytest.raises(ConnectionAbortedError):
            b.stream.send_message([b"x"])
    close_opened()


class Messages(RuleBasedStateMachine):
    """Against a list."""

    @initialize()
    def connect(self) -> None:
        self.ends = make_pair(RING)
        self.queued: tuple[list[bytes], list[bytes]] = ([], [])

    def used(self, side: int) -> int:
        return sum(len(message) + 8 for message in self.queued[side])

    @rule(side=st.integers(0, 1), parts=st.lists(st.binary(max_size=900), max_size=4))
    def send(self, side: int, parts: list[bytes]) -> None:
        whole = b"".join(parts)
        fits = self.used(side) + len(whole) + 8 <= RING
        assert self.ends[side].stream.send_message(parts) is fits
        if fits:
            self.queued[side].append(whole)

    @rule(side=st.integers(0, 1), cuts=st.lists(st.integers(0, 1500), max_size=3))
    def receive(self, side: int, cuts: list[int]) -> None:
        stream, queue = self.ends[1 - side].stream, self.queued[side]
        buffers = [bytearray(n) for n in cuts]
        if not queue:
            with pytest.raises(BlockingIOError):
                stream.recv_message(buffers)
        elif len(queue[0]) > sum(cuts):
            with pytest.raises(OSError, match="Message too long"):
                stream.recv_message(buffers)
        else:
            message = queue.pop(0)
            assert stream.recv_message(buffers) == len(message)
            assert b"".join(buffers)[: len(message)] == message

    @rule(side=st.integers(0, 1))
    def discard(self, side: int) -> None:
        if self.queued[side]:
            self.ends[1 - side].stream.discard_message()
            self.queued[side].pop(0)

    @invariant()
    def the_truth(self) -> None:
        for side in (0, 1):
            reader, queue = self.ends[1 - side], self.queued[side]
            assert reader.stream.message_size() == (len(queue[0]) if queue else -1)
            assert reader.readable() is bool(queue)
            if self.used(side) <= RING // 2:
                assert self.ends[side].writable()

    def teardown(self) -> None:
        close_opened()


TestMessages = Messages.TestCase
