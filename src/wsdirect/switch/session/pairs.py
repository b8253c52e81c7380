"""Byte streams within this process: a program's end and the switch's end of it."""

from __future__ import annotations

import _socket
import os
from _thread import allocate_lock

from wsdirect import settings
from wsdirect._core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wsdirect._core._native import Segment, Stream

__all__ = ["forget", "make_pair", "segments"]

_lock = allocate_lock()
_segments: list[Segment] = []


def segments() -> list[Segment]:
    """Those that pairs are made in."""
    return list(_segments)


def _slot() -> tuple[Segment, int]:
    """A free slot."""
    with _lock:
        for segment in reversed(_segments):
            slot = segment.take()
            if slot >= 0:
                return segment, slot
        assert native is not None
        now = settings.current()
        made = native.Segment.create(slots=now.slots, ring=now.ring)
        _segments.append(made)
        return made, made.take()


def make_pair() -> tuple[Stream, Stream]:
    """Two connected ends; the descriptor of each, its bell, is non-blocking and its holder's.

    Errors:
        OSError: no memory or descriptor left.
    """
    assert native is not None
    ours, theirs = _socket.socketpair(
        _socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
    )
    try:
        segment, slot = _slot()
        for bell in (ours, theirs):
            native.prepare_bell(bell.fileno())
        generation = segment.generation(slot)
        program = native.Stream.offer(segment, slot, ours.fileno(), None)
        switch = native.Stream.attach(segment, slot, generation, theirs.fileno())
    except BaseException:
        ours.close()
        theirs.close()
        raise
    ours.detach()
    theirs.detach()
    return program, switch


def end(stream: Stream, reset: bool = False) -> None:
    """End one end, and close its descriptor."""
    descriptor = stream.fd
    stream.close(reset)
    stream.fd = -1  # whoever still uses it must not meet the next file of that number
    if descriptor >= 0:
        _close(descriptor)


_close = os.close


def forget() -> None:
    """In a forked child: these are the parent's."""
    global _lock
    _lock = allocate_lock()
    _segments.clear()
