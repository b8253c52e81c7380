"""Offers that nobody has taken: they have a deadline, and the connection goes on over TCP then."""

from __future__ import annotations

import time
from _socket import SHUT_RDWR

from wsdirect._core import native
from wsdirect.switch.connection import connections

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

offers: set[int] = set()
"""Switched connections whose peer had not attached when last looked at."""
on_moved: list[Callable[[int], None]] = []
"""Told of each descriptor that stands for another socket now: pollers register it again."""


def nearest_deadline() -> float | None:
    """When (time.monotonic()) the next offer must be moved to TCP; moves those that are due."""
    nearest: float | None = None
    assert native is not None
    for fd in list(offers):
        known = connections.get(fd)
        if known is None or known.stream.state == native.ATTACHED:
            offers.discard(fd)
            continue
        due = known.stream.offer_deadline
        if due is None:
            continue
        if time.monotonic() >= due:
            offers.discard(fd)
            expired_while_polled(fd)
        elif nearest is None or due < nearest:
            nearest = due
    return nearest


def expired(fd: int) -> None:
    """Nobody took the offer of this connection: it goes on over TCP; OSError if it cannot."""
    from wsdirect.switch.handover import move_to_tcp  # rarely needed, so loaded late

    for changed in move_to_tcp(fd):
        for tell in on_moved:
            tell(changed)


def expired_while_polled(fd: int) -> None:
    """The same for a poller, which has other sockets to wait for: the error is this socket's own.

    It becomes readable, and its next recv or send tries TCP again and raises what that says.
    """
    try:
        expired(fd)
    except OSError:
        known = connections.get(fd)
        if known is not None:
            known.stream.shutdown(SHUT_RDWR)


def capped(seconds: float | None, nearest: float | None) -> float | None:
    """The shorter of a time-out (None: none) and the time to a deadline (None: none)."""
    if nearest is None:
        return seconds
    left = max(0.0, nearest - time.monotonic())
    return left if seconds is None or left < seconds else seconds


def refused(fd: int) -> bool:
    """The kernel says that the connection has ended: was it never taken?  Then it is TCP now."""
    known = connections.get(fd)
    assert native is not None
    if known is None or known.stream.state == native.ATTACHED:
        return False
    expired_while_polled(fd)
    return fd not in connections
