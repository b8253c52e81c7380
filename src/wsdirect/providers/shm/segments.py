"""Segments of shared memory: those of our own to offer slots of, and those that clients sent us.

A segment is shared with one peer process only, as whoever maps it can read all its slots.  A
connecting process keeps a pool per server process, so that a connection usually needs neither a
new segment nor a message to pass one.
"""

from __future__ import annotations

import os
from time import monotonic
from weakref import ref

from wsdirect import settings
from wsdirect._core import native
from wsdirect.providers.shm.limits import large_ring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from wsdirect._core import _native

    Segment = _native.Segment
    Stream = _native.Stream

    # A process number; or a listener's name where the kernel does not tell the number, because the
    # process lives in another process namespace.
    ServerKey = int | bytes
    # Process number (0: not told) and user number.
    ClientKey = tuple[int, int]

__all__ = ["AdoptedSegments", "Reservation", "SegmentPool", "own_segment"]

_SERVERS_MAX: Final = 64
"""Server processes whose segments are kept."""
_ADOPTED_MAX: Final = 64
"""Clients for which segments are kept."""
_KEPT: Final = 2
"""Segments that are kept for a client: it may have made an offer in one, and then filled it."""
_SLOTS_MOST: Final = 512
"""Slots that a segment grows to; as the setting allows."""
_TELL_AGAIN: Final = 1.0
"""Seconds after which a segment is passed once more with an offer.

The server may have dropped it, or be another process under the same number.
"""

_core: Any = native  # None without the compiled core: then no provider starts


_pools: list[ref[SegmentPool]] = []  # one, but in tests


class Reservation:
    """A slot taken for an offer.

    Attributes:
        segment: Where the slot is.
        slot: Its number.
        generation: Which use of the slot this is.
        server: The server process that the segment is shared with; None: no one's yet.
        new: The server may not have the segment: its descriptor has to go along.
    """

    __slots__ = ("generation", "new", "segment", "server", "slot")

    def __init__(self, segment: Segment, slot: int, server: ServerKey | None, new: bool) -> None:
        self.segment = segment
        self.slot = slot
        self.generation = segment.generation(slot)
        self.server = server
        self.new = new

    def cancel(self) -> None:
        """Give the slot back; only while nobody can have attached to it."""
        stream: Stream = _core.Stream.offer(self.segment, self.slot, -1, None)
        stream.revoke()  # the slot is free when the stream object is gone


class _Server:
    """The segments shared with one server process, and when each was last passed to it."""

    __slots__ = ("_others", "current", "told")

    def __init__(self) -> None:
        self.current: Segment | None = None
        # Not kept: each goes with the last connection in it.
        self._others: list[ref[Segment]] = []
        self.told: dict[int, float] = {}

    @property
    def segments(self) -> list[Segment]:
        """All that there are, the one to be tried first."""
        others = [segment for known in self._others if (segment := known()) is not None]
        return others if self.current is None else [self.current, *others]

    def turn_to(self, segment: Segment) -> None:
        """From now on this one is tried first."""
        before = self.segments
        self.current = segment
        self._others = [ref(other) for other in before if other is not segment]
        ids = {other.id for other in before}
        self.told = {number: when for number, when in self.told.items() if number in ids}
        # The server may not have kept it: see AdoptedSegments.
        self.told.pop(segment.id, None)

    def is_told(self, server: ServerKey, segment: Segment) -> bool:
        """Whether the server can be relied on to have the segment."""
        # Behind a name there may be another process each time.
        return type(server) is int and monotonic() - self.told.get(segment.id, 0.0) <= _TELL_AGAIN


def _fresh(largest: int) -> Reservation:
    """A slot of a new segment, twice as large as the largest that this server has.

    Few clients need more than one; those with thousands of connections need few, which cost a
    descriptor in both processes each.
    """
    chosen = settings.current()
    slots = max(chosen.slots, min(2 * largest, _SLOTS_MOST))
    large = large_ring(chosen.ring, chosen.ring_max)
    segment = _core.Segment.create(slots=slots, ring=chosen.ring, large=large)
    return Reservation(segment, segment.take(), None, True)


class SegmentPool:
    """The segments that this process made."""

    def __init__(self) -> None:
        self._servers: dict[ServerKey, _Server] = {}
        # slots of segments that no process has seen: left over from connects to nobody
        self._spare: list[Reservation] = []
        _pools[:] = [found for found in _pools if found() is not None] + [ref(self)]

    def reserve(self, server: ServerKey | None) -> Reservation:
        """Take a slot for an offer.

        Args:
            server: The process that will probably answer; None if that is not known.

        Errors:
            OSError: no memory or descriptor for another segment.
        """
        known = self._servers.get(server) if server is not None else None
        if known is not None and server is not None:
            for segment in known.segments:
                slot = segment.take() if segment.streams < segment.slots else -1
                if slot >= 0:
                    if segment is not known.current:
                        known.turn_to(segment)
                    return Reservation(segment, slot, server, not known.is_told(server, segment))
        try:
            return self._spare.pop()
        except IndexError:
            found = () if known is None else known.segments
            return _fresh(max((segment.slots for segment in found), default=0))

    def usual(self, server: ServerKey) -> Segment | None:
        """The segment that the next offer to a server would take; None: that is not usual.

        It may be full, and reserve() then looks further.
        """
        known = self._servers.get(server)
        segment = None if known is None else known.current
        if known is None or segment is None or not known.is_told(server, segment):
            return None
        return segment

    def fits(self, reservation: Reservation, server: ServerKey) -> bool:
        """Whether a reservation may be used with the server that answered."""
        return reservation.server is None or reservation.server == server

    def release(self, reservation: Reservation) -> None:
        """Take back a reservation that was offered to nobody."""
        if reservation.server is None and not self._spare:
            self._spare.append(reservation)
        else:
            reservation.cancel()

    def passed(self, reservation: Reservation, server: ServerKey) -> None:
        """Note that the server gets the segment's descriptor with this offer."""
        known = self._servers.get(server)
        if known is None:
            if len(self._servers) >= _SERVERS_MAX:
                self._forget_one()
            known = self._servers[server] = _Server()
        segment = reservation.segment
        if segment is not known.current:
            known.turn_to(segment)
        known.told[segment.id] = monotonic()
        reservation.server = server

    def _forget_one(self) -> None:
        """Drop the segments of a dead server, or of the one known longest.

        Connections that still use them keep them mapped.
        """
        oldest = next(iter(self._servers))
        for server in self._servers:
            if type(server) is int and not _lives(server):
                oldest = server
                break
        del self._servers[oldest]

    def offered_here(self, segment_id: int) -> Segment | None:
        """The segment of this id, if it was offered to this same process."""
        for segment in self.offered_to_self():
            if segment.id == segment_id:
                return segment
        return None

    def offered_to_self(self) -> list[Segment]:
        """The segments shared with this same process, as server."""
        known = self._servers.get(os.getpid())
        return known.segments if known is not None else []

    def clear(self) -> None:
        """Start anew, as in a forked child: the slots are the parent's."""
        self._servers.clear()
        self._spare.clear()


def own_segment(segment_id: int) -> Segment | None:
    """A segment that this same process made and offered to itself: it is mapped already."""
    for found in _pools:
        pool = found()
        if pool is not None and (segment := pool.offered_here(segment_id)) is not None:
            return segment
    return None


class AdoptedSegments:
    """The segments that clients passed to this process, by client and segment id."""

    def __init__(self) -> None:
        self._segments: dict[tuple[ClientKey, int], ref[Segment]] = {}
        # Those that are kept though no connection may use them: of each client the latest ones.
        # It passes a segment again when it returns to it.
        self._kept: dict[ClientKey, tuple[Segment, ...]] = {}

    @property
    def table(self) -> dict[tuple[ClientKey, int], ref[Segment]]:
        """All of them, for one who looks often; only to be read."""
        return self._segments

    def find(self, client: ClientKey, segment_id: int) -> Segment | None:
        """The segment, if this client has passed it and it was not dropped since."""
        known = self._segments.get((client, segment_id))
        return None if known is None else known()

    def all(self) -> list[tuple[ClientKey, Segment]]:
        """Every segment with the client that passed it."""
        return [
            (client, segment)
            for (client, _), known in list(self._segments.items())
            if (segment := known()) is not None
        ]

    def adopt(self, client: ClientKey, segment_id: int, descriptor: int) -> Segment:
        """Map a segment that a client passed.

        Args:
            client: Process and user number of the client, from the kernel.
            segment_id: What the offer calls it.
            descriptor: The memfd; stays the caller's.

        Errors:
            ValueError: it is no segment, or not the one of the offer.
            OSError: it cannot be mapped.
        """
        segment: Segment = _core.Segment.adopt(descriptor)
        if segment.id != segment_id:
            raise ValueError("the segment is not the one that was offered")
        key, segments = (client, segment_id), self._segments

        def gone(known: ref[Segment]) -> None:
            if segments.get(key) is known:
                del segments[key]

        self._segments[key] = ref(segment, gone)
        self.keep(client, segment)
        return segment

    def keep(self, client: ClientKey, segment: Segment) -> None:
        """The client has passed it just now, and so goes on with it."""
        kept = self._kept.get(client)
        if kept is None:
            if len(self._kept) >= _ADOPTED_MAX:
                self._forget_some()
            self._kept[client] = (segment,)
        elif kept[0] is not segment:
            others = [other for other in kept if other is not segment]
            self._kept[client] = (segment, *others[: _KEPT - 1])

    def _forget_some(self) -> None:
        """Keep nothing for dead clients, or else for the oldest.

        A client that lives passes its segment again when it next connects after a second, and a
        connection in use keeps its memory mapped.
        """
        dead = [client for client in self._kept if not _lives(client[0])]
        for client in dead or [next(iter(self._kept))]:
            del self._kept[client]

    def clear(self) -> None:
        """Unmap all that no connection uses."""
        self._kept.clear()
        self._segments.clear()


def _lives(process: int) -> bool:
    if process == 0:
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
