"""Rings that grow, and parts of them that are read or filled in place: against a queue of bytes."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.pairs import End, make_pair
from wsdirect._core import native

SMALL, LARGE = 4096, 16384
WORTH_IT = 16 * SMALL  # what a ring has carried before it grows, see csrc/wsd_grow.c
PATTERN = bytes((n * 131 + (n >> 8) * 29) & 255 for n in range(1 << 17))


def growing(slots: int = 2, ring: int = SMALL, large: int = LARGE) -> tuple[End, End]:
    return make_pair(segment=native.Segment.create(slots=slots, ring=ring, large=large))


def pattern(at: int, size: int) -> bytes:
    at %= 1 << 16
    return PATTERN[at : at + size]


@pytest.mark.parametrize("large", [1, SMALL, 3 * SMALL, SMALL // 2, 32 << 20])
def test_sizes_that_cannot_be(large: int) -> None:
    with pytest.raises(ValueError, match="cannot be made"):
        native.Segment.create(slots=1, ring=SMALL, large=large)


def test_sizes_are_adopted() -> None:
    segment = native.Segment.create(slots=3, ring=SMALL, large=LARGE)
    adopted = native.Segment.adopt(segment.fileno())
    assert (adopted.ring, adopted.large, adopted.stride) == (SMALL, LARGE, segment.stride)
    assert os.fstat(segment.fileno()).st_size == 4096 + 3 * segment.stride
    fixed = native.Segment.create(slots=3, ring=SMALL)
    assert (fixed.large, segment.stride - fixed.stride) == (0, 2 * LARGE)


sizes = st.one_of(st.integers(1, 300), st.integers(1, 3 * SMALL))
steps = st.lists(
    st.tuples(st.sampled_from(["send", "recv", "lease", "region", "cancel"]), sizes, sizes),
    max_size=120,
)


@given(steps, st.booleans())
@settings(max_examples=60)
def test_like_a_queue(steps: list[tuple[str, int, int]], warm: bool) -> None:
    a, b = growing()
    sent = got = 0

    def read(data: bytes) -> None:
        nonlocal got
        assert data == pattern(got, len(data))
        got += len(data)

    while warm and sent < WORTH_IT:  # the next time that it is full, it grows
        sent += a.stream.send(pattern(sent, SMALL // 2), 0)
        read(b.stream.recv(SMALL, 0))
    for what, size, part in steps:
        try:
            if what == "send":
                sent += a.stream.send(pattern(sent, size), 0)
            elif what == "recv":
                read(b.stream.recv(size, 0))
            elif what == "lease":
                piece = native.lease(b.stream, size, 0)
                n = min(part, len(piece))
                assert memoryview(piece) == pattern(got, len(piece))
                piece.end(n)
                got += n
            else:
                piece = native.reserve(a.stream, size, 0)
                if piece is None:
                    assert size > SMALL // 2
                    continue
                n = min(part, size)
                with memoryview(piece) as view:
                    assert len(view) == size
                    view[:n] = pattern(sent, n)
                if what == "region":
                    assert piece.commit(n) is None
                    sent += n
        except BlockingIOError:
            room = LARGE if a.stream.grown else SMALL
            if what in ("recv", "lease"):
                assert sent == got
            else:
                assert sent - got > room // 2
        piece = None  # dropped: what was not sent by now never is
        assert b.stream.available() == sent - got
        assert b.readable() == (sent != got)
        assert not a.writable() or sent - got < LARGE
    while got < sent:
        read(b.stream.recv(LARGE, 0))
    assert (a.writable(), b.readable()) == (True, False)
    assert a.stream.grown or not warm or sent - WORTH_IT < LARGE * 8


def carry(a: End, b: End, total: int, size: int) -> None:
    for _ in range(0, total, size):
        a.stream.send(bytes(size), 0)
        b.stream.recv(size, 0)


def fill(a: End) -> int:
    total = 0
    while True:
        try:
            total += a.stream.send(bytes(LARGE), 0)
        except BlockingIOError:
            return total


def memory_of(segment: Any) -> int:
    return os.fstat(segment.fileno()).st_blocks * 512


def test_memory_is_what_was_used() -> None:
    """Little for rings that are not gone round; and a slot that is free has given it back."""
    segment = native.Segment.create(slots=8, ring=64 << 10, large=1 << 20)
    assert segment.in_use == 0  # and the slots' control pages are there now
    empty = memory_of(segment)
    for _ in range(3):
        a, b = make_pair(segment=segment)
        a.stream.send(b"x", 0)
        b.stream.recv(1, 0)
        assert memory_of(segment) - empty <= 24 << 10
        carry(a, b, 1 << 20, 32 << 10)
        assert not a.stream.grown
        assert fill(a) == 1 << 20
        assert a.stream.grown
        assert memory_of(segment) > 1 << 20
        for end in (a, b):
            end.close()
            end.stream = None
        gc.collect()
        assert segment.in_use == 0
        assert memory_of(segment) == empty


def test_a_bound_set_by_the_program() -> None:
    a, b = growing()
    a.stream.limit(LARGE // 2)
    assert fill(a) == LARGE // 2
    assert a.stream.grown
    b.stream.limit(100)
    assert fill(b) == 100
    assert not b.stream.grown


#: What ends a piece, and how much of 10 bytes is unread then.
ENDS: list[tuple[Callable[[Any], Any], int]] = [
    (lambda piece: piece.end(10), 0),
    (lambda piece: piece.end(4), 6),
    (lambda piece: piece.end(0), 10),
    (lambda piece: None, 10),
]


@pytest.mark.parametrize(("end", "left"), ENDS)
def test_views_keep_a_piece(end: Callable[[Any], Any], left: int) -> None:
    a, b = growing()
    a.stream.send(b"0123456789", 0)
    piece = native.lease(b.stream, 10, 0)
    view = memoryview(piece)
    assert view.readonly
    if left != 10 or end is ENDS[2][0]:
        with pytest.raises(BufferError, match="still"):
            end(piece)
        with pytest.raises(BufferError, match="not leased"):
            memoryview(piece)
    del piece
    with pytest.raises(BlockingIOError, match="in use in place"):
        b.stream.recv(1, 0)
    with pytest.raises(OSError, match="busy"):
        b.stream.go_bare()
    assert view == b"0123456789"
    del view
    assert b.stream.available() == left


def test_pieces_are_not_made_by_hand() -> None:
    with pytest.raises(TypeError):
        native.Piece()
