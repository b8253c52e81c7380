"""What is true of one switched descriptor, in TCP's terms.

Urgent data are where the descriptor is not quite true: the token that tells of an urgent byte makes
it readable, too, until the next call.  What is readable and what is exceptional is asked of the
stream then; pollers that are not grafted see a socket readable whose recv would block.
"""

from __future__ import annotations

import _socket
import select as select_module

from wsdirect.switch.connection import connections

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from wsdirect._core._native import Stream

POLLIN, POLLOUT, POLLHUP, POLLERR = (
    select_module.POLLIN,
    select_module.POLLOUT,
    select_module.POLLHUP,
    select_module.POLLERR,
)
POLLPRI = select_module.POLLPRI
READABLE = POLLIN | 0x40  # POLLRDNORM
POLLRDHUP = getattr(select_module, "POLLRDHUP", 0x2000)


def number_of(item: Any) -> int:
    """The descriptor of what a poller was given; -1: let the original complain of it."""
    if isinstance(item, int):
        return item
    try:
        # not a socket's own fileno(): who calls that may be about to use the number without us
        number = _fileno(item) if isinstance(item, _socket.socket) else item.fileno()
    except Exception:
        return -1
    return number if isinstance(number, int) else -1


_fileno = _socket.socket.fileno


def look(fd: int, mask: int) -> int:
    """Events of `mask` that are true of a switched connection; arms the descriptor for the rest."""
    stream = connections[fd].stream
    found = 0
    if mask & POLLIN:
        if stream.readable():
            found |= POLLIN
        else:
            stream.arm(True, False)
    if mask & POLLOUT:
        if stream.writable():
            found |= POLLOUT
        else:
            stream.arm(False, True)
    return found


def is_new(stream: Stream, told: int) -> bool:
    """Whether bytes are unread and more have come than the `told` ones: an edge.

    If not, it is made sure that the next bytes ring: on TCP they are an edge, too, though some of
    the older ones were left unread.
    """
    if not stream.available():
        return False
    if stream.arrived == told:
        stream.rearm()
    return stream.arrived != told


def is_urgent(fd: int) -> bool:
    """Whether this is a switched connection with an urgent byte that nobody has read."""
    known = connections.get(fd)
    return known is not None and known.stream.urgent_pending


def as_tcp_says(fd: int, events: int, mask: int) -> int:
    """The events of a bell socket, in TCP's terms.

    A peer's close alone is no POLLHUP there, and a token that tells of an urgent byte no POLLIN;
    POLLERR lasts until the error has been told.
    """
    known = connections.get(fd)
    if known is None:
        return events
    stream = known.stream
    if stream.marked:
        if events & READABLE and not stream.readable():
            stream.arm(True, False)
            if not stream.readable():  # neither has the peer died
                events &= ~READABLE
        if stream.urgent_pending:
            events |= mask & POLLPRI
        elif events & POLLPRI:
            events &= ~POLLPRI
            if not events:
                stream.hush_urgent()
    if events and stream.ended:  # the kernel hears of it only when all data have been read
        events |= mask & POLLRDHUP | (POLLHUP if stream.write_ended else 0)
    if not events & (POLLHUP | POLLERR):
        return events
    events &= ~POLLERR
    if stream.aborted:
        return events | POLLHUP | (POLLERR if stream.error() else 0)
    if stream.write_ended:
        return events
    return (events & ~POLLHUP) | (mask & (POLLIN | POLLRDHUP))


def comes_soon(fd: int, seconds: float | None) -> bool:
    """Whether data are at the ring of this connection, or come while it is worth waiting there.

    For waits that are for nothing else; None: for ever.  False may mean that there is more to tell.
    """
    known = connections.get(fd)
    if known is None:
        return False
    stream = known.stream
    if seconds != 0 and not stream.marked and not stream.spin(seconds):
        return False
    return stream.available() > 0 and not stream.marked and not stream.ended


def slept(fd: int, since: float) -> None:
    """After comes_soon() had said no: somebody slept since then, and was woken."""
    known = connections.get(fd)
    if known is not None and known.stream.available():
        known.stream.slept(since)


class Watching:
    """While this is entered, no recv leaves data of these descriptors' connections unannounced.

    What was there before has to be looked for after that, and before anybody sleeps.
    """

    __slots__ = ("_streams",)

    def __init__(self, fds: Iterable[int]) -> None:
        self._streams = [connections[fd].stream for fd in fds if fd in connections]

    def __enter__(self) -> None:
        for stream in self._streams:
            stream.watch(True)

    def __exit__(self, *how: object) -> None:
        for stream in self._streams:
            stream.watch(False)


def is_full(fd: int) -> bool:
    """A switched connection that takes no byte now, whatever the kernel says of its bell."""
    known = connections.get(fd)
    return known is not None and not known.stream.writable()


def is_urgent_only(fd: int) -> bool:
    """The token on this bell tells of an urgent byte, which makes no socket readable."""
    known = connections.get(fd)
    return known is not None and known.stream.marked and not known.stream.readable()
