"""Handing a socket over to another process (WSPDuplicateSocket, WSPSocket).

The cookie in dwProviderReserved is the number of an abstract AF_UNIX name on which the owner
waits.  The process that the cookie is for connects there, gets state and descriptors in some
messages, and acknowledges when it holds the socket; only then does the owner let go.  So whichever
of the two dies in between, somebody holds the connection, or nobody and the peer sees a reset.
The kernel says which process has connected: for others the cookie is worth nothing.

A listening socket's queue goes along: what the kernel has queued by itself, what a condition
function has put off in messages of its own, and the segments that requests may refer to.
"""

from __future__ import annotations

import errno
import os
import struct
from _socket import (
    AF_UNIX,
    MSG_NOSIGNAL,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
)
from _thread import allocate_lock
from time import monotonic

from wsdirect._core import native
from wsdirect.providers.qos import QOS_PACKED, Service, pack_qos, unpack_qos
from wsdirect.providers.shm.accepting import close_listener, turn_down
from wsdirect.providers.shm.handshake import FRAME_MAX, pack_hello, unpack_hello
from wsdirect.providers.shm.listener import Arrival, Listener, receive_descriptors
from wsdirect.providers.shm.names import VERSION, Offer, host_of
from wsdirect.providers.shm.peers import is_trusted, peer_of
from wsdirect.providers.shm.sockets import SanSocket, end_stream
from wsdirect.providers.socket_table import Step
from wsdirect.spi.constants import AF_INET
from wsdirect.spi.errors import WSAError, WsaErrorCode, from_oserror
from wsdirect.spi.native import AF_INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from wsdirect._core import _native
    from wsdirect.providers.shm.progress import Progress
    from wsdirect.providers.shm.san import San

    Stream = _native.Stream
    Message = tuple[bytes, list[int]]

__all__ = ["Handover", "hand_over", "take_over"]

_PREFIX: Final = b"\0wsdirect/%d/d/" % VERSION
_WAIT: Final = 2000  # ms that the owner may take for each message
_PATIENCE: Final = 30.0  # seconds that a parcel waits to be fetched
_CONNECTED: Final = 1
_LISTENING: Final = 2
_NATIVE: Final = 1
_V6ONLY: Final = 2
_DEBUG: Final = 4
_NO_DELAY: Final = 8
_ACKNOWLEDGED: Final = b"K"

# version, kind, options, family, backlog, host, port, peer, port, requests put off, segments
_STATE = struct.Struct("=BBBHi16sH16sHHH")
# Then, if there is a quality of service: flags, priority, group number, flow specs by the flags.
_SERVICE = struct.Struct("=BiI")
_QOS: Final = 1
_GROUP_QOS: Final = 2
_CONSTRAINED: Final = 4
# Then, for a connected socket, where it is: segment, slot, generation, side.
_PLACE = struct.Struct("=QHIB")
# A request that was put off: process, caller, port, callee, port; then its place and hello.
_ARRIVAL = struct.Struct("=I16sH16sH")
# A segment of a client: process, user, id.
_SEGMENT = struct.Struct("=iIQ")
_LONGEST: Final = max(
    _STATE.size + _SERVICE.size + 2 * QOS_PACKED + _PLACE.size,
    _ARRIVAL.size + _PLACE.size + FRAME_MAX,
)
_NOWHERE: Final = bytes(16)

_core: Any = native


class Parcel:
    """What is handed over: messages with their descriptors, and the objects they belong to.

    Attributes:
        messages: In the order in which they are sent; the descriptors stay the objects'.
        stream: The connection, kept until it has been fetched; None for a listener.
        listener: The listener, likewise.
        deferred: Its requests that were put off.
        native: Whether it is about native streams.
    """

    __slots__ = ("deferred", "listener", "messages", "native", "stream")

    def __init__(self, source: SanSocket, stream: Stream | None) -> None:
        self.stream = stream
        self.listener = source.listener
        self.deferred = source.deferred
        self.native = source.native
        self.messages: list[Message] = []

    @classmethod
    def of(cls, san: San, source: SanSocket, stream: Stream | None) -> Parcel:
        """Pack a connected socket (with its stream) or a listening one."""
        self = cls(source, stream)
        options = (
            _NATIVE * source.native
            | _V6ONLY * source.v6only
            | _DEBUG * source.debug
            | _NO_DELAY * source.no_delay
        )
        listener = self.listener
        segments = san.known_segments() if listener is not None else []
        state = _STATE.pack(
            VERSION,
            _CONNECTED if listener is None else _LISTENING,
            options,
            source.family,
            listener.backlog if listener is not None else 0,
            source.host.packed if source.host is not None else _NOWHERE,
            source.port,
            source.peer.packed if source.peer is not None else _NOWHERE,
            source.peer_port,
            len(self.deferred),
            len(segments),
        )
        state += _pack_service(source.service)
        if listener is not None:
            self.messages.append((state, [listener.fileno()]))
        elif stream is not None:
            self.messages.append((state + _place_of(stream), _descriptors_of(stream)))
        for arrival in self.deferred:
            self.messages.append((_pack_arrival(arrival), _descriptors_of(arrival.stream)))
        for (pid, uid), segment in segments:
            self.messages.append((_SEGMENT.pack(pid, uid, segment.id), [segment.fileno()]))
        return self

    def end(self, fetched: bool) -> None:
        """Close everything: it is another process's by now, or nobody has come for it."""
        stream, self.stream = self.stream, None
        if stream is not None:
            # ends only this process's part if another one holds the connection by now
            end_stream(stream, reset=True, withdraw=False)
        deferred, self.deferred = self.deferred, []
        for arrival in deferred:
            if fetched:
                end_stream(arrival.stream, withdraw=False)
            else:
                turn_down(arrival, self.native)
        listener, self.listener = self.listener, None
        if listener is not None:
            if fetched:
                listener.close()
            else:
                close_listener(None, listener, self.native)

    def streams(self) -> list[Stream]:
        """Every connection end in it."""
        found = [arrival.stream for arrival in self.deferred]
        if self.stream is not None:
            found.append(self.stream)
        return found


def _place_of(stream: Stream) -> bytes:
    return _PLACE.pack(stream.segment.id, stream.slot, stream.generation, stream.side)


def _descriptors_of(stream: Stream) -> list[int]:
    return [stream.fd, stream.segment.fileno()]


def _pack_arrival(arrival: Arrival) -> bytes:
    offer = arrival.offer
    return (
        _ARRIVAL.pack(
            arrival.peer,
            offer.local.packed,
            offer.local_port,
            offer.remote.packed,
            offer.remote_port,
        )
        + _place_of(arrival.stream)
        + (pack_hello(arrival.greeting) if arrival.greeting is not None else b"")
    )


def _pack_service(service: Service | None) -> bytes:
    if service is None:
        return b""
    group = service.group
    flags, flows = 0, b""
    if service.qos is not None:
        flags, flows = _QOS, pack_qos(service.qos)
    if group is not None and group.qos is not None:
        flags, flows = flags | _GROUP_QOS, flows + pack_qos(group.qos)
    if group is not None and group.constrained:
        flags |= _CONSTRAINED
    number = group.number if group is not None else 0
    return _SERVICE.pack(flags, service.priority, number) + flows


class Handover:
    """A parcel that waits for one process to fetch it.

    Args:
        process_id: The only process that may.
        parcel: What it gets.
        progress: Whose thread serves the process.

    Errors:
        OSError: no descriptor left.
    """

    __slots__ = (
        "_fetched",
        "_lock",
        "_process",
        "_progress",
        "_taker",
        "_waiting",
        "cookie",
        "parcel",
    )

    def __init__(self, process_id: int, parcel: Parcel, progress: Progress) -> None:
        self.parcel = parcel
        self._process = process_id
        self._progress = progress
        self._fetched = False
        self._lock = allocate_lock()  # for _taker, and for the end; not held while waiting
        self._taker: socket | bool | None = None
        self._waiting = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK)
        try:
            while True:
                self.cookie = int.from_bytes(os.urandom(4), "little")
                try:
                    if self.cookie:
                        self._waiting.bind(_name_of(self.cookie))
                        break
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:
                        raise
            self._waiting.listen(4)
            progress.watch(self._waiting.fileno(), self._on_visitor)
        except BaseException:
            self._waiting.close()
            raise

    def _on_visitor(self) -> None:
        """Somebody comes for the parcel."""
        while True:
            try:
                descriptor, _ = self._waiting._accept()  # type: ignore[attr-defined]
            except OSError:
                return
            visitor = socket(AF_UNIX, SOCK_SEQPACKET, 0, descriptor)
            pid, uid = peer_of(visitor)
            if pid != self._process or not is_trusted(uid) or not self._reserve(visitor):
                visitor.close()
                continue
            visitor.setblocking(False)
            try:
                for state, numbers in self.parcel.messages:
                    packed = struct.pack(f"={len(numbers)}i", *numbers)
                    visitor.sendmsg((state,), ((SOL_SOCKET, SCM_RIGHTS, packed),), MSG_NOSIGNAL)
                self._progress.watch(visitor.fileno(), self._on_answer)
            except OSError:
                self._leave(visitor)

    def _reserve(self, taker: socket | bool) -> bool:
        """Whether nobody else is fetching the parcel; from now on this one is."""
        with self._lock:
            if self._taker is not None or self.done:
                return False
            self._taker = taker
            return True

    def _leave(self, taker: socket) -> None:
        """It went away without the parcel, or is finished."""
        with self._lock:
            if self._taker is taker:
                self._taker = None
        taker.close()

    def _on_answer(self) -> None:
        """The process acknowledged, or went away."""
        taker = self._taker
        if not isinstance(taker, socket):
            return
        try:
            answer = taker.recv(1)
        except BlockingIOError:
            return
        except OSError:
            answer = b""
        self._progress.unwatch(taker.fileno())
        if answer == _ACKNOWLEDGED:
            self._fetched = True
            self.close()
        else:
            self._leave(taker)

    def take_here(self, san: San, catalog_id: int) -> int:
        """Fetch the parcel within this process (`take_over`).

        Errors:
            WSAEINVAL: it is for another process, or being fetched.
            OSError: no descriptor left.
        """
        if self._process != os.getpid() or not self._reserve(True):
            raise _invalid("It is for another process, or was used before.")
        copies: list[Message] = []
        try:
            for state, numbers in self.parcel.messages:
                copy: list[int] = []
                copies.append((state, copy))
                for number in numbers:
                    copy.append(os.dup(number))
            descriptor = _admit(san, _handed(copies), catalog_id)
        except BaseException:
            for _, copy in copies:
                for number in copy:
                    os.close(number)
            with self._lock:
                self._taker = None
            raise
        self._fetched = True
        self.close()
        return descriptor

    @property
    def done(self) -> bool:
        """Whether there is nothing left to hand over."""
        return self._waiting.fileno() < 0

    def close(self) -> None:
        """End the offer; what nobody fetched is closed, which ends the connection."""
        with self._lock:
            if self.done:
                return
            self._progress.unwatch(self._waiting.fileno())
            self._waiting.close()
            taker, self._taker = self._taker, None
        if isinstance(taker, socket):
            self._progress.unwatch(taker.fileno())
            taker.close()
        self.parcel.messages.clear()
        self.parcel.end(self._fetched)

    def abandon(self) -> None:
        """Close all descriptors, as in a forked child."""
        self._waiting.close()
        if isinstance(self._taker, socket):
            self._taker.close()
        self._taker = None
        self.parcel.end(fetched=True)


def _handed(copies: list[Message]) -> Iterator[Message]:
    """The messages of a parcel, each taken off the list as it is used."""
    while copies:
        yield copies.pop(0)


def _name_of(cookie: int) -> bytes:
    return _PREFIX + b"%08x" % cookie


def _invalid(hint: str) -> WSAError:
    return WSAError(WsaErrorCode.WSAEINVAL, "WSPSocket", hint)


def hand_over(san: San, source: SanSocket, process_id: int) -> int:
    """WSPDuplicateSocket; errors as there.

    Returns:
        The cookie, for the other process's `take_over`.
    """
    call = "WSPDuplicateSocket"
    if type(process_id) is not int or not 0 <= process_id <= 0xFFFFFFFF:
        raise WSAError(WsaErrorCode.WSAEINVAL, call)
    with source.lock:
        source.require(call)
        channel, listener = source.channel, source.listener
        if channel is not None and channel.sends_wait:
            raise WSAError(WsaErrorCode.WSAEINVAL, call, "Sends are not finished.")
        stream = channel.stream if channel is not None else source.stream
        parcel = Parcel.of(san, source, stream)
        try:
            handover = Handover(process_id, parcel, san.progress)
        except OSError as error:
            raise from_oserror(error, call) from error
        san.handovers[:] = [other for other in san.handovers if not other.done] + [handover]
        if channel is not None:
            channel.flush()
            channel.release()
        source.handover = handover
        source.stream = source.listener = None
        source.deferred = []
        source.step(Step.MOVE)
    san.progress.at(monotonic() + _PATIENCE, handover.close)
    if listener is not None:
        san.progress.unwatch(listener.fileno())
    if source.debug:
        source.note(f"duplicated for process {process_id}")
    if channel is not None:
        channel.upcalls.run()
    return handover.cookie


def take_over(san: San, cookie: int, catalog_id: int) -> int:
    """WSPSocket with a cookie; errors as there.

    Returns:
        The descriptor of a socket in the state that the original had.
    """
    call = "WSPSocket"
    try:
        for handover in san.handovers:  # ours: nobody else would have to answer
            if handover.cookie == cookie and not handover.done:
                return handover.take_here(san, catalog_id)
        connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK)
        try:
            if connection.connect_ex(_name_of(cookie)) or not is_trusted(peer_of(connection)[1]):
                raise _invalid("Nothing is duplicated under this number.")
            descriptor = _admit(san, _receive(connection), catalog_id)
            try:
                connection.send(_ACKNOWLEDGED)
            except OSError:
                pass  # the owner has gone; what it handed over is ours
            return descriptor
        finally:
            connection.close()
    except OSError as error:
        raise from_oserror(error, call) from error


def _receive(connection: socket) -> Iterator[Message]:
    """The messages of a parcel as they come."""
    while True:
        state, descriptors = receive_descriptors(connection, _LONGEST, 2, _WAIT)
        if not state:
            raise _invalid("It is for another process, or was used before.")
        yield state, descriptors


def _admit(san: San, messages: Iterator[Message], catalog_id: int) -> int:
    """Make a socket of what came and give it its descriptor; on failure nothing of it is left."""
    taken, stream = _unpack(san, messages, catalog_id)
    try:
        taken.step(Step.BIND)
        if stream is None:
            taken.step(Step.LISTEN)
        else:
            san.establish(taken, stream)
        return san.admit(taken)
    except BaseException:
        _drop(san, taken, stream)
        raise


def _drop(san: San, taken: SanSocket, stream: Stream | None) -> None:
    """Let go of what the owner still has."""
    for held in [stream, *[arrival.stream for arrival in taken.deferred]]:
        if held is not None:
            end_stream(held, withdraw=False)
    if taken.listener is not None:
        taken.listener.close()
    san.groups.leave(taken.service)


def _unpack(
    san: San, messages: Iterator[Message], catalog_id: int
) -> tuple[SanSocket, Stream | None]:
    """The socket, in state FRESH, with options, addresses and listener; and its connection."""
    state, descriptors = next(messages)
    with _Closing(descriptors):
        if len(state) < _STATE.size:
            raise _invalid("The owner handed over something else.")
        (version, kind, options, family, backlog, host, port, peer, peer_port,
         deferred, segments) = _STATE.unpack_from(state)  # fmt: skip
        if version != VERSION or family not in (AF_INET, AF_INET6):
            raise _invalid("The owner handed over something else.")
        taken = SanSocket(family, catalog_id)
        taken.native = bool(options & _NATIVE)
        taken.v6only = bool(options & _V6ONLY)
        taken.debug = bool(options & _DEBUG)
        taken.no_delay = bool(options & _NO_DELAY)
        taken.host, taken.port = host_of(host), port
        stream = None
        try:
            service = state[_STATE.size :]
            if kind == _CONNECTED:
                taken.peer, taken.peer_port = host_of(peer), peer_port
                stream = _join(service[-_PLACE.size :], descriptors)
                service = service[: -_PLACE.size]
            elif kind == _LISTENING and len(descriptors) == 1:
                try:
                    taken.listener = Listener.inherited(
                        san.adopted, taken, descriptors.pop(), backlog
                    )
                except OSError as error:
                    raise _invalid(f"The listener cannot be used: {error}.") from None
            else:
                raise _invalid("The owner handed over something else.")
            _unpack_service(san, taken, service)
            for _ in range(deferred):
                taken.deferred.append(_unpack_arrival(*next(messages)))
            for _ in range(segments):
                _unpack_segment(san, *next(messages))
        except BaseException:
            _drop(san, taken, stream)
            raise
    return taken, stream


def _join(place: bytes, descriptors: list[int]) -> Stream:
    """The connection at a place; its bell is taken off the list of descriptors."""
    if len(descriptors) != 2 or len(place) != _PLACE.size:
        raise _invalid("The owner handed over something else.")
    segment_id, slot, generation, side = _PLACE.unpack(place)
    bell, memory = descriptors
    try:
        segment = _core.Segment.adopt(memory)
        if segment.id != segment_id:
            raise ValueError("wrong segment")
        stream: Stream = _core.Stream.join(segment, slot, generation, side, bell)
    except (ValueError, ConnectionAbortedError) as error:
        raise _invalid(f"The connection cannot be used: {error}.") from None
    del descriptors[0]
    return stream


def _unpack_service(san: San, taken: SanSocket, packed: bytes) -> None:
    if not packed:
        return
    if len(packed) < _SERVICE.size:
        raise _invalid("The owner handed over something else.")
    flags, priority, number = _SERVICE.unpack_from(packed)
    at, flows = _SERVICE.size, []
    for flag in (_QOS, _GROUP_QOS):
        qos = None
        if flags & flag:
            qos = unpack_qos(packed[at : at + QOS_PACKED])
            at += QOS_PACKED
        flows.append(qos)
    service = taken.service = Service()
    service.qos, service.priority = flows[0], priority
    if number:
        service.group = san.groups.rejoin(number, bool(flags & _CONSTRAINED), flows[1])
        if taken.peer is not None:
            service.claim(taken.peer.packed)


def _unpack_arrival(state: bytes, descriptors: list[int]) -> Arrival:
    with _Closing(descriptors):
        if len(state) < _ARRIVAL.size + _PLACE.size:
            raise _invalid("The owner handed over something else.")
        pid, local, local_port, remote, remote_port = _ARRIVAL.unpack_from(state)
        place = state[_ARRIVAL.size : _ARRIVAL.size + _PLACE.size]
        segment, slot, generation, _ = _PLACE.unpack(place)
        offer = Offer(
            0, pid, segment, slot, generation, host_of(local), local_port, host_of(remote),
            remote_port,
        )  # fmt: skip
        hello = state[_ARRIVAL.size + _PLACE.size :]
        arrival = Arrival(offer, _join(place, descriptors), pid)
        arrival.greeting = unpack_hello(hello) if hello else None
        return arrival


def _unpack_segment(san: San, state: bytes, descriptors: list[int]) -> None:
    with _Closing(descriptors):
        if len(state) != _SEGMENT.size or len(descriptors) != 1:
            raise _invalid("The owner handed over something else.")
        pid, uid, segment = _SEGMENT.unpack(state)
        if san.adopted.find((pid, uid), segment) is None:
            try:
                san.adopted.adopt((pid, uid), segment, descriptors[0])
            except ValueError as error:
                raise _invalid(f"A segment cannot be used: {error}.") from None


class _Closing:
    """Closes the descriptors that are still in a list at the end of a `with`."""

    def __init__(self, descriptors: list[int]) -> None:
        self._descriptors = descriptors

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
