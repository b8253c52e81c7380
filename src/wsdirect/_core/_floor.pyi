"""What two processes could reach without Python: for `wsdirect bench` alone.

Sizes are bytes; an end is opaque, and its loops run until they are done.
"""

from typing import NewType

End = NewType("End", object)

def ring_length() -> int:
    """Bytes of memory that a pair of rings needs."""

def ring(fd: int, side: int, yielding: bool, /) -> End:
    """An end (side 0 or 1) of the bare rings in that memory; `yielding`: both share a CPU."""

def stream_offer(fd: int, /) -> tuple[End, int, int, int]:
    """An end on that bell, which is taken, and its segment's descriptor, slot and generation."""

def stream_attach(fd: int, segment: int, slot: int, generation: int, /) -> End:
    """The other end; the bell is taken, the segment's descriptor is not."""

def ping(end: End, size: int, count: int, batch: int = 1, /) -> list[int]:
    """Make round trips: nanoseconds of each batch."""

def echo(end: End, size: int, count: int, /) -> None:
    """Answer them."""

def send(end: End, size: int, count: int, /) -> None:
    """Send messages."""

def receive(end: End, size: int, count: int, /) -> None:
    """Take them."""

def copy(size: int, seconds: float, /) -> float:
    """Copy from here to there for so long: gigabytes per second."""
