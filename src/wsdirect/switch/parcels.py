"""A switched connection on its way to another process: what goes along with its descriptor.

Whoever gets the bell, the segment and these facts holds the same end, as a forked child would.
While it is under way nobody is there to hold it, so the sender counts a holder more, and the
receiver takes that count over; if nobody ever does, the kernel tells the peer when the last
descriptor is gone, and only a slot of the segment stays taken.
"""

from __future__ import annotations

from wsdirect import reasons, settings
from wsdirect._core import native
from wsdirect.switch.connection import Connection, connections, forget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wsdirect._core._native import Segment, Stream

    # segment, slot, generation, side; and the arguments of Connection
    Facts = tuple[tuple[int, int, int, int], dict[str, Any]]

__all__ = ["join", "pack", "unpack"]


def pack(connection: Connection) -> Facts:
    """The facts of a connection whose peer has attached; plain values, for any pickle.

    The end is held until `unpack` or `join`, or `connection.stream.unshare()`.
    """
    stream = connection.stream
    told = {
        "family": int(connection.family),
        "role": connection.role,
        "provider": connection.provider,
        "local": connection.local,
        "peer": connection.peer,
        "options": dict(connection.options.values),
        "peer_pid": connection.peer_pid if connection.reason is reasons.BY_SESSION else None,
    }
    stream.share()
    return (stream.segment.id, stream.slot, stream.generation, stream.side), told


def _known_segment(number: int) -> Segment | None:
    for connection in list(connections.values()):
        if connection.stream.segment.id == number:
            return connection.stream.segment
    return None


def join(facts: Facts, bell: int, memory: int) -> Stream:
    """The end that the facts speak of; `bell` becomes its descriptor, `memory` stays the caller's.

    Errors:
        ValueError: the memory is no segment, or another one.
        ConnectionAbortedError: there is no such connection any more.
        OSError: the segment cannot be mapped.
    """
    assert native is not None
    number, slot, generation, side = facts[0]
    segment = _known_segment(number)
    if segment is None:
        segment = native.Segment.adopt(memory)
        if segment.id != number:
            raise ValueError("the memory belongs to another connection")
    stream: Stream = native.Stream.join(segment, slot, generation, side, bell, True)
    return stream


def unpack(facts: Facts, bell: int, memory: int) -> Connection:
    """Make `bell` a switched connection of this process; errors as of `join`."""
    forget(bell)
    for connection in list(connections.values()):  # it may have come back
        stream = connection.stream
        if (stream.segment.id, stream.slot, stream.generation, stream.side) == facts[0]:
            connection.bind(bell)
            stream.unshare()
            return connection
    stream = join(facts, bell, memory)
    stream.strict = settings.current().strict
    made = Connection(stream, **facts[1])
    made.bind(bell)
    stream.arm(True, False)  # what has come meanwhile: pollers must hear of it
    return made
