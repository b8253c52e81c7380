"""Meeting: listeners under their names, and connecting to them.

One connect() on an AF_UNIX socket decides whether a destination has a listener here.  The kernel
tells each side who the other one is (SO_PEERCRED); the client's offer comes with the connection.
"""

from __future__ import annotations

import errno
import os
import select
import struct
from _socket import (
    AF_UNIX,
    MSG_CMSG_CLOEXEC,
    MSG_DONTWAIT,
    SCM_RIGHTS,
    SO_PEERCRED,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)
from time import monotonic

from wsdirect import reasons, settings
from wsdirect._core import native
from wsdirect.providers.shm.addresses import is_local
from wsdirect.providers.shm.names import (
    MESSAGES,
    NATIVE,
    NEW_SEGMENT,
    SLOTS_MAX,
    STREAMS,
    Host,
    Offer,
    listener_name,
    name_bases,
    pack_offer,
    unpack_offer,
)
from wsdirect.providers.telling import tell_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from wsdirect._core import _native
    from wsdirect.providers.shm.segments import (
        AdoptedSegments,
        Reservation,
        SegmentPool,
        ServerKey,
    )
    from wsdirect.providers.shm.sockets import SanSocket

    Segment = _native.Segment
    Stream = _native.Stream

__all__ = ["Arrival", "Connector", "Listener", "Reached", "peer_of"]

BACKLOG_MAX: Final = 4096
_PASS_WAIT: Final = 100  # ms that a promised segment may take
_MISSES: Final = 8
_MISS_MEMORY: Final = 0.05  # seconds
_DESTINATIONS_MAX: Final = 1024
_FIRST_LOOK: Final = (0, 1, 2, 3)
_PROBE_EVERY: Final = 16
_LOOK_WIDE_EVERY: Final = 64

_CREDENTIALS = struct.Struct("=iII")  # pid, uid, gid
_ONE_DESCRIPTOR = struct.Struct("=i")
_CMSG_LEN_ONE: Final = 16 + _ONE_DESCRIPTOR.size  # room for one descriptor and not for two

_core: Any = native


def peer_of(connection: socket) -> tuple[int, int]:
    """Process number (0 if it is in another process namespace) and user number of the peer."""
    pid, uid, _ = _CREDENTIALS.unpack(
        connection.getsockopt(SOL_SOCKET, SO_PEERCRED, _CREDENTIALS.size)
    )
    return pid, uid


def is_trusted(uid: int) -> bool:
    """Whether a peer may be a program of this user."""
    return uid == os.geteuid() or uid in settings.current().allow_uids


# --- connecting ---------------------------------------------------------------------------------


class Reached:
    """An offer that is queued at a listener.

    Attributes:
        stream: The connecting end.  Its descriptor is the holder's to close.
        peer: Process number of the listener's process, 0 if unknown.
    """

    __slots__ = ("peer", "stream")

    def __init__(self, stream: Stream, peer: int) -> None:
        self.stream = stream
        self.peer = peer


class _Route:
    """What is known about the listeners under one name: which slots answer, and for whom.

    Slots that answered are used in turn.  Now and then the next unknown one is tried as well, so
    that clients find all workers of a server.
    """

    __slots__ = ("_growing", "_looks", "_probe", "base", "known")

    def __init__(self, base: bytes) -> None:
        self.base = base
        self.known: dict[int, ServerKey] = {}
        self._growing = True
        self._probe = 0
        self._looks = 0

    def slots(self) -> list[int]:
        """The slots to try, in this order."""
        turn = self._looks
        self._looks = turn + 1
        known = self.known
        if not known:
            return _shuffled(_FIRST_LOOK) if turn % _LOOK_WIDE_EVERY == 0 else [0]
        order = list(known)
        if len(order) > 1:
            at = (turn + os.getpid()) % len(order)
            order = order[at:] + order[:at]
        if self._growing or turn % _PROBE_EVERY == 0:
            while self._probe in known:
                self._probe += 1
            order.insert(0, self._probe)
        # for the case that all known ones have gone, as after a restart
        order.extend(slot for slot in _FIRST_LOOK if slot not in order)
        return order

    def hit(self, slot: int, server: ServerKey) -> None:
        """A listener answered."""
        self.known[slot] = server

    def miss(self, slot: int) -> None:
        """Nobody answered."""
        known = self.known
        known.pop(slot, None)
        if slot == self._probe and known:
            self._growing = slot < max(known)
            self._probe = slot + 1 if self._growing else 0


def _shuffled(slots: tuple[int, ...]) -> list[int]:
    """An order that differs from process to process: each client must not meet slot 0 first."""
    turn = os.getpid() % (2 * len(slots))
    order = list(slots[turn // 2 :] + slots[: turn // 2])
    if turn & 1:
        order = order[:1] + order[:0:-1]
    return order


class _Destination:
    __slots__ = ("missed_at", "misses", "routes")

    def __init__(self, bases: tuple[bytes, ...]) -> None:
        self.routes = tuple(_Route(base) for base in bases)
        self.misses = 0
        self.missed_at = 0.0


class Connector:
    """Connects to listeners of this host, and remembers where they were found."""

    def __init__(self, pool: SegmentPool) -> None:
        self._pool = pool
        self._destinations: dict[tuple[str, Host, int], _Destination] = {}

    def clear(self) -> None:
        """Forget everything, as in a forked child."""
        self._destinations.clear()

    def connect(
        self,
        kind: str,
        local: Host,
        local_port: int,
        remote: Host,
        remote_port: int,
        deadline: float | None,
    ) -> Reached | reasons.Reason:
        """Queue an offer at a listener; does not wait for anything.

        Args:
            kind: STREAMS or MESSAGES.
            local: What the peer is to see as our address, and its port.
            remote: The destination, an address of this host, and its port.
            deadline: Seconds for the peer to accept, for waits on the stream; None: no limit.

        Returns:
            The connection, or why there is none: no-listener, foreign-uid or backlog-full.

        Errors:
            OSError: no descriptor, slot or memory left.
        """
        key = (kind, remote, remote_port)
        destination = self._destinations.get(key)
        if destination is None:
            if len(self._destinations) >= _DESTINATIONS_MAX:
                self._destinations.clear()
            destination = _Destination(name_bases(kind, remote, remote_port))
            self._destinations[key] = destination
        elif (
            destination.misses >= _MISSES
            and monotonic() - destination.missed_at < _MISS_MEMORY
        ):
            return reasons.NO_LISTENER
        attempt = _Attempt(self._pool, kind, local, local_port, remote, remote_port)
        try:
            found = self._search(destination, attempt)
            if type(found) is int:
                destination.misses = 0
                return Reached(attempt.finish(deadline), found)
        finally:
            attempt.close()
        destination.misses += 1
        destination.missed_at = monotonic()
        return found  # type: ignore[return-value]  # an int was handled above

    def _search(
        self, destination: _Destination, attempt: _Attempt
    ) -> int | reasons.Reason:
        """Try the names in order; the listener's process number, or the reason for none."""
        why = reasons.NO_LISTENER
        plan = [(route, route.slots()) for route in destination.routes]
        attempt.guess = _guess(plan)
        for route, slots in plan:
            for slot in slots:
                name = route.base + b"%d" % slot
                outcome = attempt.try_name(name)
                if outcome is None:
                    route.miss(slot)
                elif type(outcome) is tuple:
                    route.hit(slot, outcome[1])
                    return outcome[0]  # type: ignore[no-any-return]
                else:
                    why = outcome
        return why


def _guess(plan: list[tuple[_Route, list[int]]]) -> ServerKey | None:
    """The process that will probably answer."""
    for route, slots in plan:
        for slot in slots:
            if slot in route.known:
                return route.known[slot]
    return None


class _Attempt:
    """One socket with an offer in its name, tried on listeners until one takes it."""

    __slots__ = ("_addresses", "_native", "_pool", "_reservation", "_socket", "guess")

    def __init__(
        self,
        pool: SegmentPool,
        kind: str,
        local: Host,
        local_port: int,
        remote: Host,
        remote_port: int,
    ) -> None:
        self._pool = pool
        self._native = NATIVE if kind is STREAMS else 0
        self._addresses = (local, local_port, remote, remote_port)
        self._reservation: Reservation | None = None
        self._socket: socket | None = None
        self.guess: ServerKey | None = None

    def try_name(self, name: bytes) -> tuple[int, ServerKey] | reasons.Reason | None:
        """Connect: (process number, its key), a reason to look further, or None if nobody is there."""
        for _ in range(2):
            connection = self._prepare()
            error = connection.connect_ex(name)  # an exception would cost more than the call
            if error:
                if error == errno.EAGAIN:
                    return reasons.BACKLOG_FULL
                if error in (errno.ECONNREFUSED, errno.EPROTOTYPE):  # or of another type
                    return None
                raise OSError(error, os.strerror(error))
            pid, uid = peer_of(connection)
            if not is_trusted(uid):
                self.close()
                tell_once("error", f"user {uid} listens where switched connections go to")
                return reasons.FOREIGN_UID
            server: ServerKey = pid or name
            reservation = self._reservation
            assert reservation is not None
            if self._pool.fits(reservation, server):
                if reservation.new:
                    self._pass_segment(connection, reservation)
                    self._pool.passed(reservation, server)
                return pid, server
            # Not the process we took it for, so it does not have the segment: once more.
            self.close()
            self.guess = server
        return None

    def _prepare(self) -> socket:
        if self._socket is not None:
            return self._socket
        reservation = self._reservation = self._pool.reserve(self.guess)
        connection = self._socket = socket(
            AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK
        )
        connection.bind(
            pack_offer(
                self._native | (NEW_SEGMENT if reservation.new else 0),
                os.getpid(),
                reservation.segment.id,
                reservation.slot,
                reservation.generation,
                *self._addresses,
            )
        )
        return connection

    @staticmethod
    def _pass_segment(connection: socket, reservation: Reservation) -> None:
        descriptor = _ONE_DESCRIPTOR.pack(reservation.segment.fileno())
        try:
            connection.sendmsg((b"S",), ((SOL_SOCKET, SCM_RIGHTS, descriptor),))
        except (BrokenPipeError, ConnectionResetError):
            pass  # gone already: the stream will find out like any other

    def finish(self, deadline: float | None) -> Stream:
        """The stream of the connection that try_name made."""
        connection, reservation = self._socket, self._reservation
        assert connection is not None
        assert reservation is not None
        _core.prepare_bell(connection.fileno())
        stream: Stream = _core.Stream.offer(
            reservation.segment, reservation.slot, connection.fileno(), deadline
        )
        self._reservation = self._socket = None
        connection.detach()
        return stream

    def close(self) -> None:
        """Give back what no connection came out of."""
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()
        reservation, self._reservation = self._reservation, None
        if reservation is not None:
            self._pool.release(reservation)


# --- listening ----------------------------------------------------------------------------------


class Arrival:
    """A connection request, already attached to its slot.

    Attributes:
        offer: What the client offered.
        stream: The accepting end.  Its descriptor is the holder's to close.
        peer: Process number of the client, 0 if unknown.
    """

    __slots__ = ("offer", "peer", "stream")

    def __init__(self, offer: Offer, stream: Stream, peer: int) -> None:
        self.offer = offer
        self.stream = stream
        self.peer = peer


class Listener:
    """A listening socket under the first free slot of its name."""

    __slots__ = (
        "_adopted",
        "_both_families",
        "_host",
        "_kind",
        "_pool",
        "_port",
        "_socket",
        "backlog",
    )

    def __init__(
        self,
        pool: SegmentPool,
        adopted: AdoptedSegments,
        kind: str,
        host: Host,
        port: int,
        both_families: bool,
        listening: socket,
    ) -> None:
        self._pool = pool
        self._adopted = adopted
        self._kind = kind
        self._host = host
        self._port = port
        self._both_families = both_families
        self._socket = listening
        self.backlog = 1

    @classmethod
    def open(
        cls,
        pool: SegmentPool,
        adopted: AdoptedSegments,
        kind: str,
        host: Host,
        port: int,
        both_families: bool,
        backlog: int,
    ) -> Listener:
        """Listen.

        Args:
            pool: Of this process, for clients in it.
            adopted: Where the segments of clients are kept.
            kind: STREAMS or MESSAGES.
            host: An address of this host, or a wildcard.
            port: The TCP port it stands for.
            both_families: The IPv6 wildcard takes IPv4 connections as well.
            backlog: Most requests that wait; more are refused by the kernel.

        Errors:
            OSError: no descriptor left, or EADDRINUSE: SLOTS_MAX processes listen there.
        """
        base = listener_name(kind, host, port, both_families)
        listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
        try:
            for slot in range(SLOTS_MAX):
                try:
                    listening.bind(base + b"%d" % slot)
                    break
                except OSError as error:
                    if error.errno != errno.EADDRINUSE or slot == SLOTS_MAX - 1:
                        raise
            self = cls(pool, adopted, kind, host, port, both_families, listening)
            self.set_backlog(backlog)
        except BaseException:
            listening.close()
            raise
        return self

    @classmethod
    def inherited(
        cls,
        pool: SegmentPool,
        adopted: AdoptedSegments,
        like: SanSocket,
        descriptor: int,
        backlog: int,
    ) -> Listener:
        """Go on with a listening descriptor of another process, for a socket like this one."""
        assert like.host is not None
        listening = socket(AF_UNIX, SOCK_STREAM, 0, descriptor)
        listening.setblocking(False)
        kind = STREAMS if like.native else MESSAGES
        self = cls(pool, adopted, kind, like.host, like.port, not like.v6only, listening)
        self.set_backlog(backlog)
        return self

    def set_backlog(self, backlog: int) -> None:
        """Change how many requests may wait; also tells clients which process serves them."""
        self.backlog = min(max(backlog, 1), BACKLOG_MAX)
        self._socket.listen(self.backlog - 1)  # the kernel lets one more wait than it is told

    def fileno(self) -> int:
        """Readable while a request waits."""
        return self._socket.fileno()

    def pending(self, timeout: float | None = 0) -> bool:
        """Whether a request waits, or comes within so many seconds (None: for ever)."""
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        return bool(poller.poll(None if timeout is None else timeout * 1000))

    def accept(self) -> Arrival | None:
        """The next valid request; None if none waits.

        Errors:
            OSError: no descriptor left; the request stays queued.
        """
        while True:
            try:
                descriptor, name = self._socket._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                if error.errno in (errno.EBADF, errno.EINVAL):  # closed by another thread
                    return None
                continue
            connection = socket(AF_UNIX, SOCK_STREAM, 0, descriptor)
            try:
                arrival = self._welcome(connection, name)
                if arrival is not None:
                    connection.detach()
                    return arrival
            except OSError as error:
                tell_once("error", f"a connection request failed: {error}")
            finally:
                connection.close()

    def _welcome(self, connection: socket, name: object) -> Arrival | None:
        """Check everything about a request and attach to its slot; None if it is turned down."""
        pid, uid = peer_of(connection)
        if not is_trusted(uid):
            tell_once("error", f"user {uid} wanted a switched connection and did not get it")
            return None
        offer = unpack_offer(name)
        if offer is None:
            tell_once("info", f"process {pid} connected without a valid offer")
            return None
        if (pid and offer.pid != pid) or not self._is_meant(offer):
            tell_once("info", f"process {pid} made an offer that does not fit")
            return None
        segment = self._segment_of(connection, offer, (pid, uid))
        if segment is None:
            return None
        try:
            _core.prepare_bell(connection.fileno())
            stream = _core.Stream.attach(
                segment, offer.slot, offer.generation, connection.fileno()
            )
        except ConnectionAbortedError:  # withdrawn
            return None
        return Arrival(offer, stream, pid)

    def _is_meant(self, offer: Offer) -> bool:
        """Whether the offer is for this listener and comes from an address that it may come from."""
        host = self._host
        return (
            bool(offer.flags & NATIVE) is (self._kind is STREAMS)
            and offer.remote_port == self._port
            and (
                offer.remote is host
                or (host.wildcard and (host.v4 is offer.remote.v4 or (self._both_families and not host.v4)))
            )
            and is_local(offer.local)
            and is_local(offer.remote)
        )

    def _segment_of(
        self, connection: socket, offer: Offer, client: tuple[int, int]
    ) -> Segment | None:
        descriptor = -1
        if offer.flags & NEW_SEGMENT:
            descriptor = _receive_descriptor(connection)
            if descriptor < 0:
                return None
        try:
            segment = self._adopted.find(client, offer.segment)
            if segment is None and client[0] == os.getpid():
                segment = self._pool.own(offer.segment)  # mapped already
            if segment is None and descriptor >= 0:
                segment = self._adopted.adopt(client, offer.segment, descriptor)
            return segment
        except (ValueError, OSError) as error:
            tell_once("info", f"process {client[0]} passed something unusable: {error}")
            return None
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def close(self) -> None:
        """Stop listening; the kernel closes the requests that wait."""
        self._socket.close()


def _receive_descriptor(connection: socket) -> int:
    """The one descriptor that the client promised to pass; -1 if it does not."""
    poller = select.poll()
    poller.register(connection, select.POLLIN)
    if not poller.poll(_PASS_WAIT):
        return -1
    try:
        _, ancillary, _, _ = connection.recvmsg(
            1, _CMSG_LEN_ONE, MSG_CMSG_CLOEXEC | MSG_DONTWAIT
        )
    except OSError:
        return -1
    descriptors = [
        _ONE_DESCRIPTOR.unpack_from(data, at)[0]
        for level, kind, data in ancillary
        if level == SOL_SOCKET and kind == SCM_RIGHTS
        for at in range(0, len(data) - 3, 4)
    ]
    for extra in descriptors[1:]:
        os.close(extra)
    return descriptors[0] if descriptors else -1
