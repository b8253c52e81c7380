"""A peer that writes what it likes into the shared memory, through a mapping of its own."""

import mmap
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.pairs import End, close_opened, make_pair
from wsdirect._core import native

RING = 4096
PAGE = 4096
CONTROL = PAGE  # of slot 0

#: Where things are in a slot's control page: see csrc/wsd_segment.h.
DIRECTION = 128
DIRECTION_SIZE = 6 * 128
HEAD, TAIL, RX, TX = 0, 128, 256, 384
URGENT = HEAD + 16


def place(direction: int, field: int) -> int:
    return CONTROL + DIRECTION + direction * DIRECTION_SIZE + field


@pytest.fixture(name="victim")
def fixture_victim() -> Any:
    a, b = make_pair(RING)
    with mmap.mmap(a.stream.segment.fileno(), 0) as memory:
        yield a, b, memory


def test_the_layout_is_what_these_tests_take_it_for(victim: Any) -> None:
    a, b, memory = victim
    a.stream.send(b"12345", 0)
    assert struct.unpack_from("=Q", memory, place(0, HEAD)) == (5,)
    assert struct.unpack_from("=I", memory, place(0, RX)) == (2,)
    b.stream.recv(5, 0)
    assert struct.unpack_from("=Q", memory, place(0, TAIL)) == (5,)
    a.stream.send(b"x" * RING, 0)
    assert struct.unpack_from("=I", memory, place(0, TX)) == (1,)


CALLS: list[Callable[[End], Any]] = [
    lambda end: end.stream.recv(100, 0),
    lambda end: end.stream.recv(100, 0, native.PEEK),
    lambda end: end.stream.recv_into(bytearray(100), 0),
    lambda end: end.stream.recv_scatter([bytearray(100)]),
    lambda end: end.stream.recv(100),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "head", [RING + 1, 1 << 61, (1 << 62) | (RING + 1), (1 << 63) | (RING + 1), (1 << 64) - 1]
)
def test_more_than_the_ring_can_hold(victim: Any, call: Any, head: int) -> None:
    a, _, memory = victim
    struct.pack_into("=Q", memory, place(1, HEAD), head)
    with pytest.raises(ConnectionAbortedError):
        call(a)
    struct.pack_into("=Q", memory, place(1, HEAD), 0)
    with pytest.raises(ConnectionAbortedError):
        call(a)
    with pytest.raises(ConnectionAbortedError):
        a.stream.send(b"x", 0)
    assert a.stream.readable(), "there is an error to report"
    a.stream.close()


def test_more_was_consumed_than_sent(victim: Any) -> None:
    a, _, memory = victim
    assert a.stream.send(b"x" * RING, 0) == RING
    struct.pack_into("=Q", memory, place(0, TAIL), RING + 1)
    with pytest.raises(ConnectionAbortedError):
        a.stream.send(b"x", 0)


def test_what_was_sent_is_checked_before_it_is_relayed(victim: Any) -> None:
    a, _, memory = victim
    struct.pack_into("=Q", memory, place(0, HEAD), 1 << 40)
    struct.pack_into("=Q", memory, place(0, TAIL), (1 << 40) - 10)
    with pytest.raises(ConnectionAbortedError):
        a.stream.pending_out()


def urgent_words(memory: Any, direction: int, *values: int) -> None:
    """The mark, and from where to where bytes were dropped."""
    struct.pack_into("=QQQ", memory, place(direction, URGENT), *values)


def test_urgent_bytes_that_are_not_there(victim: Any) -> None:
    a, b, memory = victim
    b.stream.send(b"data", 0)
    for mark in (100, 1 << 40, (1 << 64) - 1):
        urgent_words(memory, 1, mark, 0, 0)
        with pytest.raises(BlockingIOError):
            a.stream.recv_urgent()
        assert not a.stream.urgent_pending
        assert not a.stream.at_mark()
        assert a.stream.recv(10, 0, native.PEEK) == b"data"
    for dropped in ((0, 1 << 63), (0, 100)):  # as much as there is, and it is the peer's loss
        b.stream.send(b"data", 0)
        urgent_words(memory, 1, 100, *dropped)
        with pytest.raises(BlockingIOError):
            a.stream.recv(10, 0)
    urgent_words(memory, 1, 100, 7, 3)
    b.stream.send(b"data", 0)
    assert a.stream.recv(10, 0) == b"data"
    assert a.stream.queued() == 0


@pytest.mark.parametrize("lie", [(11, 0, 0), ((1 << 64) - 1, 0, 0), (0, 0, 11), (5, 2, 1 << 63)])
def test_urgent_bytes_are_checked_before_they_are_relayed(victim: Any, lie: Any) -> None:
    a, _, memory = victim
    a.stream.send(b"0123456789", 0)
    urgent_words(memory, 0, *lie)
    with pytest.raises(ConnectionAbortedError):
        a.stream.urgent_out()
    urgent_words(memory, 0, 10, 5, 3)
    assert a.stream.urgent_out() == [9]


words = st.one_of(
    st.integers(0, 8),
    st.integers(0, 2 * RING),
    st.integers(0, (1 << 64) - 1),
    st.sampled_from([1 << 63, (1 << 63) - 1, (1 << 32) - 1, 1 << 31]),
)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 511), words), max_size=12))
def test_anything_anywhere(writes: list[tuple[int, int, int]]) -> None:
    """Everything but the locks (whose waits are tested in C): any outcome, no crash, no hang."""
    a, b = make_pair(RING)
    with mmap.mmap(a.stream.segment.fileno(), 0) as memory:
        a.stream.send(b"data", 0)
        b.stream.send(b"data", 0)
        for direction, offset, value in writes:
            struct.pack_into("=Q", memory, place(direction, offset & ~7), value)
            for call in (
                lambda: a.stream.recv(5000, 0, native.PEEK),
                lambda: a.stream.recv(3, 0),
                lambda: a.stream.send(b"x" * 5000, 0),
                lambda: a.stream.wait_readable(0.001),
                lambda: a.stream.wait_writable(0.001),
                lambda: a.stream.arm(),
                lambda: a.stream.recv_urgent(peek=True),
                lambda: a.stream.recv_urgent(),
                lambda: a.stream.send_urgent(b"x!", 0),
                lambda: a.stream.urgent_pending,
                lambda: a.stream.at_mark(),
                lambda: a.stream.hush_urgent(),
                lambda: a.stream.urgent_out(),
                lambda: a.stream.message_size(),
                lambda: a.stream.send_message([b"x" * 100]),
            ):
                try:
                    call()
                except OSError:
                    pass
            assert 0 <= a.stream.available() <= RING
            assert 0 <= a.stream.unread() <= RING
            assert 0 <= a.stream.queued() <= RING
    close_opened()
