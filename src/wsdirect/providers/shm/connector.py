"""Finding a listener: queueing an offer at whoever listens on a destination.

One connect() on an AF_UNIX socket decides whether a destination has a listener here, and the
kernel tells whose it is (SO_PEERCRED).
"""

from __future__ import annotations

import errno
import os
import struct
from _socket import (
    AF_UNIX,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)
from time import monotonic

from wsdirect import reasons
from wsdirect._core import native
from wsdirect.locality import home, is_at_home
from wsdirect.providers.shm.names import (
    EARLY,
    NATIVE,
    NEW_SEGMENT,
    STREAMS,
    Host,
    name_bases,
    pack_offer,
)
from wsdirect.providers.shm.peers import is_trusted, peer_of
from wsdirect.providers.shm.segments import Reservation
from wsdirect.telling import tell_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from wsdirect._core import _native
    from wsdirect.providers.shm.segments import SegmentPool, ServerKey

    Stream = _native.Stream

__all__ = ["Connector", "Dial", "Reached"]

_MISSES: Final = 8
_MISS_MEMORY: Final = 0.05  # seconds
_DESTINATIONS_MAX: Final = 1024
_FIRST_LOOK: Final = (0, 1, 2, 3)
_EARLY_DEADLINE: Final = 0.1
"""Seconds that somebody who has not accepted yet gets: a busy program's way from listen to accept.
If it never accepts, as other code does it, its clients lose so much once in a while."""
_EARLY_AGAIN: Final = 60.0  # seconds until the next try, where that happened
_PROBE_EVERY: Final = 16
_LOOK_WIDE_EVERY: Final = 64
_LOOK_ASIDE_EVERY: Final = 4 * _PROBE_EVERY
"""How often a connection to a known listener is made with a look for others."""

_core: Any = native


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

    def usual(self) -> int:
        """The slot to try if nothing else is to be done than that; -1: slots() is to be asked."""
        turn = self._looks
        if self._growing or turn % _LOOK_ASIDE_EVERY == 0:
            return -1
        self._looks = turn + 1
        known = self.known
        if len(known) == 1:
            for only in known:
                return only
        order = list(known)
        return order[(turn + os.getpid()) % len(order)] if order else -1

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


class Dial:
    """Connects to a destination that is known, in the usual way only.

    Now and then it leaves a connection to the Connector, which looks for others that listen there.
    """

    __slots__ = ("_dialers", "_local", "_patience", "_pool", "_port", "_remote", "_route")

    def __init__(
        self,
        pool: SegmentPool,
        route: _Route,
        local: Host,
        remote: Host,
        port: int,
        patience: float,
    ) -> None:
        self._pool = pool
        self._route = route
        self._local = local
        self._remote = remote
        self._port = port
        self._patience = patience
        self._dialers: dict[int, tuple[ServerKey, Any]] = {}

    def __call__(self, fd: int, local_port: int) -> tuple[Stream, int] | None:
        """Put a connection in the place of a fresh TCP socket.

        Args:
            fd: The TCP socket.
            local_port: What the peer is to see as our port.

        Returns:
            Its stream, and the listener's process; None if something is not as usual, and nothing
            has happened.
        """
        slot = self._route.usual()
        server = self._route.known.get(slot)
        if type(server) is not int:
            return None
        segment = self._pool.usual(server)
        if segment is None:
            return None
        known = self._dialers.get(slot)
        if known is None or known[0] != server:
            name = self._route.base + b"%d" % slot
            made = _core.Dialer(
                name, server, os.getpid(), home(),
                self._local.packed, self._remote.packed, self._port, self._patience,
            )  # fmt: skip
            known = self._dialers[slot] = server, made
        stream = known[1].dial(segment, fd, local_port)
        return None if stream is None else (stream, server)


def _shuffled(slots: tuple[int, ...]) -> list[int]:
    """An order that differs from process to process: each client must not meet slot 0 first."""
    turn = os.getpid() % (2 * len(slots))
    order = list(slots[turn // 2 :] + slots[: turn // 2])
    if turn & 1:
        order = order[:1] + order[:0:-1]
    return order


class _Destination:
    __slots__ = ("early_from", "missed_at", "misses", "routes")

    def __init__(self, bases: tuple[bytes, ...]) -> None:
        self.early_from = 0.0
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
        hello: bytes = b"",
        early: bool = False,
    ) -> Reached | reasons.Reason:
        """Queue an offer at a listener; does not wait for anything.

        Args:
            kind: STREAMS or MESSAGES.
            local: What the peer is to see as our address.
            local_port: And as our port.
            remote: The destination, an address of this host.
            remote_port: Its port.
            deadline: Seconds for the peer to accept, for waits on the stream; None: no limit.
            hello: For MESSAGES: the first message, which the acceptor finds with the request.
            early: Whether a listener whose program has not accepted anything yet will do.

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
        elif destination.misses >= _MISSES and monotonic() - destination.missed_at < _MISS_MEMORY:
            return reasons.NO_LISTENER
        attempt = _Attempt(self._pool, kind, local, local_port, remote, remote_port, hello)
        try:
            found = self._search(destination, attempt)
            if early and found is reasons.NO_LISTENER and deadline is not None:
                sooner = self._search_early(destination, attempt)
                if sooner is not None:
                    found, deadline = sooner, min(deadline, _EARLY_DEADLINE)
            if isinstance(found, int):
                destination.misses = 0
                return Reached(attempt.finish(deadline), found)
        finally:
            attempt.close()
        destination.misses += 1
        destination.missed_at = monotonic()
        return found

    def dial(self, local: Host, remote: Host, remote_port: int, patience: float) -> Dial | None:
        """For connecting again and again; None if nobody is known there.

        Args:
            local: What the peer is to see as our address.
            remote: The destination.
            remote_port: Its port.
            patience: Seconds for the peer to accept.
        """
        destination = self._destinations.get((STREAMS, remote, remote_port))
        if destination is None:
            return None
        for route in destination.routes:
            if route.known:
                return Dial(self._pool, route, local, remote, remote_port, patience)
        return None

    def not_taken(self, remote: Host, remote_port: int) -> None:
        """An offer for a byte stream was withdrawn, as nobody took it in time."""
        destination = self._destinations.get((STREAMS, remote, remote_port))
        if destination is not None:
            destination.early_from = monotonic() + _EARLY_AGAIN

    @staticmethod
    def _search_early(destination: _Destination, attempt: _Attempt) -> int | None:
        """Try those who have not accepted yet; the process's number."""
        if destination.early_from and monotonic() < destination.early_from:
            return None
        for slot in (EARLY, b"0"):  # the first accept may have come between the two looks
            for route in destination.routes:
                outcome = attempt.try_name(route.base + slot)
                if isinstance(outcome, tuple):
                    return outcome[0]
        return None

    def _search(self, destination: _Destination, attempt: _Attempt) -> int | reasons.Reason:
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
                elif isinstance(outcome, reasons.Reason):
                    why = outcome
                else:
                    route.hit(slot, outcome[1])
                    return outcome[0]
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

    __slots__ = (
        "_addresses",
        "_hello",
        "_native",
        "_pool",
        "_reservation",
        "_socket",
        "_stream",
        "guess",
    )

    def __init__(
        self,
        pool: SegmentPool,
        kind: str,
        local: Host,
        local_port: int,
        remote: Host,
        remote_port: int,
        hello: bytes,
    ) -> None:
        self._pool = pool
        self._hello = hello
        self._stream: Stream | None = None  # which has sent the hello
        self._native = NATIVE if kind is STREAMS else 0
        self._addresses = (local, local_port, remote, remote_port)
        self._reservation: Reservation | None = None
        self._socket: socket | None = None
        self.guess: ServerKey | None = None

    def try_name(self, name: bytes) -> tuple[int, ServerKey] | reasons.Reason | None:
        """Connect to a listener.

        Returns:
            The listener's process number and its key; a reason to look further; None: nobody there.
        """
        for _ in range(2):
            connection = self._prepare()
            if not is_at_home(connection):  # this thread has entered another network namespace
                return reasons.OTHER_NAMESPACE
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
        connection = self._socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
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
        if self._hello:
            # Without a bell yet, as nobody is there to hear it: `finish` makes up for that.
            self._stream = _core.Stream.offer(reservation.segment, reservation.slot, -1, None)
            self._stream.send_message((self._hello,))
        return connection

    @staticmethod
    def _pass_segment(connection: socket, reservation: Reservation) -> None:
        descriptor = struct.pack("=i", reservation.segment.fileno())
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
        stream = self._stream
        if stream is None:
            stream = _core.Stream.offer(
                reservation.segment, reservation.slot, connection.fileno(), deadline
            )
        else:
            stream.fd = connection.fileno()
            try:  # the token that was promised with the hello
                connection.send(b"!", MSG_DONTWAIT | MSG_NOSIGNAL)
            except OSError:
                pass  # gone already: the stream will find out like any other
        self._reservation = self._socket = self._stream = None
        connection.detach()
        return stream

    def close(self) -> None:
        """Give back what no connection came out of."""
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()
        reservation, self._reservation = self._reservation, None
        stream, self._stream = self._stream, None
        if reservation is not None and stream is not None:
            if not stream.revoke():
                stream.close(True)  # attached already, by somebody we did not mean
            del stream
            if reservation.server is not None:
                return
            # The slot has been used, but the segment is as good as new.
            slot = reservation.segment.take()
            if slot < 0:
                return
            reservation = Reservation(reservation.segment, slot, None, True)
        if reservation is not None:
            self._pool.release(reservation)
