"""What is handed over with a duplicated socket: state in bytes, with descriptors beside it.

The first message is about the socket itself.  For a listening one there follow the requests that a
condition function has put off, and the segments that requests in the kernel's queue may refer to.
What comes from another process is checked; what does not fit is WSAEINVAL and leaves nothing.
"""

from __future__ import annotations

import os
import struct

from wsdirect._core import native
from wsdirect.providers.qos import QOS_PACKED, Service, pack_qos, unpack_qos
from wsdirect.providers.shm.accepting import close_listener, turn_down
from wsdirect.providers.shm.handshake import FRAME_MAX, pack_hello, unpack_hello
from wsdirect.providers.shm.listener import Arrival, Listener
from wsdirect.providers.shm.names import VERSION, Offer, host_of
from wsdirect.providers.shm.sockets import SanSocket, end_stream
from wsdirect.spi.constants import AF_INET
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.native import AF_INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from wsdirect._core import _native
    from wsdirect.providers.shm.san import San

    Stream = _native.Stream
    Message = tuple[bytes, list[int]]

__all__ = ["LONGEST", "Parcel", "drop", "invalid", "unpack"]

_CONNECTED: Final = 1
_LISTENING: Final = 2
_NATIVE: Final = 1
_V6ONLY: Final = 2
_DEBUG: Final = 4
_NO_DELAY: Final = 8

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
LONGEST: Final = max(
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


def invalid(hint: str) -> WSAError:
    """The error for what cannot be taken over."""
    return WSAError(WsaErrorCode.WSAEINVAL, "WSPSocket", hint)


def drop(san: San, taken: SanSocket, stream: Stream | None) -> None:
    """Let go of what the owner still has."""
    for held in [stream, *[arrival.stream for arrival in taken.deferred]]:
        if held is not None:
            end_stream(held, withdraw=False)
    if taken.listener is not None:
        taken.listener.close()
    san.groups.leave(taken.service)


def unpack(
    san: San, messages: Iterator[Message], catalog_id: int
) -> tuple[SanSocket, Stream | None]:
    """The socket, in state FRESH, with options, addresses and listener; and its connection."""
    state, descriptors = next(messages)
    with _Closing(descriptors):
        if len(state) < _STATE.size:
            raise invalid("The owner handed over something else.")
        (version, kind, options, family, backlog, host, port, peer, peer_port,
         deferred, segments) = _STATE.unpack_from(state)  # fmt: skip
        if version != VERSION or family not in (AF_INET, AF_INET6):
            raise invalid("The owner handed over something else.")
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
                    raise invalid(f"The listener cannot be used: {error}.") from None
            else:
                raise invalid("The owner handed over something else.")
            _unpack_service(san, taken, service)
            for _ in range(deferred):
                taken.deferred.append(_unpack_arrival(*next(messages)))
            for _ in range(segments):
                _unpack_segment(san, *next(messages))
        except BaseException:
            drop(san, taken, stream)
            raise
    return taken, stream


def _join(place: bytes, descriptors: list[int]) -> Stream:
    """The connection at a place; its bell is taken off the list of descriptors."""
    if len(descriptors) != 2 or len(place) != _PLACE.size:
        raise invalid("The owner handed over something else.")
    segment_id, slot, generation, side = _PLACE.unpack(place)
    bell, memory = descriptors
    try:
        segment = _core.Segment.adopt(memory)
        if segment.id != segment_id:
            raise ValueError("wrong segment")
        stream: Stream = _core.Stream.join(segment, slot, generation, side, bell)
    except (ValueError, ConnectionAbortedError) as error:
        raise invalid(f"The connection cannot be used: {error}.") from None
    del descriptors[0]
    return stream


def _unpack_service(san: San, taken: SanSocket, packed: bytes) -> None:
    if not packed:
        return
    if len(packed) < _SERVICE.size:
        raise invalid("The owner handed over something else.")
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
            raise invalid("The owner handed over something else.")
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
            raise invalid("The owner handed over something else.")
        pid, uid, segment = _SEGMENT.unpack(state)
        if san.adopted.find((pid, uid), segment) is None:
            try:
                san.adopted.adopt((pid, uid), segment, descriptors[0])
            except ValueError as error:
                raise invalid(f"A segment cannot be used: {error}.") from None


class _Closing:
    """Closes the descriptors that are still in a list at the end of a `with`."""

    def __init__(self, descriptors: list[int]) -> None:
        self._descriptors = descriptors

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
