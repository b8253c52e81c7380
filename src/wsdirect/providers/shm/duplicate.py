"""Handing a socket over to another process (WSPDuplicateSocket, WSPSocket).

The cookie in dwProviderReserved is the number of an abstract AF_UNIX name on which the owner
waits.  The process that the cookie is for connects there, gets descriptors and state in one
message, and acknowledges when it holds the socket; only then does the owner let go.  The kernel
says which process has connected: for others the cookie is worth nothing.
"""

from __future__ import annotations

import errno
import os
import struct
from _socket import (
    AF_UNIX,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)
from time import monotonic

from wsdirect._core import native
from wsdirect.providers.shm.accepting import turn_down
from wsdirect.providers.shm.listener import Listener, receive_descriptors
from wsdirect.providers.shm.names import VERSION, host_of
from wsdirect.providers.shm.peers import is_trusted, peer_of
from wsdirect.providers.shm.sockets import SanSocket, end_stream
from wsdirect.providers.socket_table import Step
from wsdirect.spi.errors import WSAError, WsaErrorCode, from_oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from wsdirect._core import _native
    from wsdirect.providers.shm.progress import Progress
    from wsdirect.providers.shm.san import San

    Stream = _native.Stream

__all__ = ["Handover", "hand_over", "take_over"]

_PREFIX: Final = b"\0wsdirect/%d/d/" % VERSION
_WAIT: Final = 2000  # ms that the owner may take to hand over
_PATIENCE: Final = 30.0  # seconds that a parcel waits to be fetched
_CONNECTED: Final = 1
_LISTENING: Final = 2
_DESCRIPTORS: Final = {_CONNECTED: 2, _LISTENING: 1}
_NATIVE: Final = 1
_V6ONLY: Final = 2
_DEBUG: Final = 4
_NO_DELAY: Final = 8
_ACKNOWLEDGED: Final = b"K"

# version, kind, options, side, family, slot, generation, backlog, segment, host, port, peer, port
_STATE = struct.Struct("=BBBBHHIiQ16sH16sH")
_NOWHERE: Final = bytes(16)

_core: Any = native


class Parcel:
    """What is handed over: the state in bytes, and the descriptors that go with it."""

    __slots__ = ("descriptors", "state")

    def __init__(self, state: bytes, descriptors: tuple[int, ...]) -> None:
        self.state = state
        self.descriptors = descriptors

    @classmethod
    def of(cls, source: SanSocket, stream: Stream | None) -> Parcel:
        """Pack a connected socket (with its stream) or a listening one."""
        options = (
            _NATIVE * source.native
            | _V6ONLY * source.v6only
            | _DEBUG * source.debug
            | _NO_DELAY * source.no_delay
        )
        slot = generation = segment = side = backlog = 0
        if stream is not None:
            kind = _CONNECTED
            slot, generation, side = stream.slot, stream.generation, stream.side
            segment = stream.segment.id
            descriptors: tuple[int, ...] = (stream.fd, stream.segment.fileno())
        else:
            assert source.listener is not None
            kind = _LISTENING
            backlog = source.listener.backlog
            descriptors = (source.listener.fileno(),)
        state = _STATE.pack(
            VERSION,
            kind,
            options,
            side,
            source.family,
            slot,
            generation,
            backlog,
            segment,
            source.host.packed if source.host is not None else _NOWHERE,
            source.port,
            source.peer.packed if source.peer is not None else _NOWHERE,
            source.peer_port,
        )
        return cls(state, descriptors)


class Handover:
    """A parcel that waits for one process to fetch it.

    Args:
        process_id: The only process that may.
        parcel: What it gets.
        stream: The connection, kept until it has been fetched; None for a listener.
        listener: The listener, likewise.
        progress: Whose thread serves the process.

    Errors:
        OSError: no descriptor left.
    """

    __slots__ = (
        "_listener",
        "_parcel",
        "_process",
        "_progress",
        "_taker",
        "_waiting",
        "cookie",
        "stream",
    )

    def __init__(
        self,
        process_id: int,
        parcel: Parcel,
        stream: Stream | None,
        listener: Listener | None,
        progress: Progress,
    ) -> None:
        self._process = process_id
        self._parcel = parcel
        self.stream = stream
        self._listener = listener
        self._progress = progress
        self._taker: socket | None = None
        self._waiting = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
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
            visitor = socket(AF_UNIX, SOCK_STREAM, 0, descriptor)
            pid, uid = peer_of(visitor)
            if pid != self._process or not is_trusted(uid) or self._taker is not None:
                visitor.close()
                continue
            visitor.setblocking(False)
            numbers = self._parcel.descriptors
            packed = struct.pack(f"={len(numbers)}i", *numbers)
            try:
                visitor.sendmsg((self._parcel.state,), ((SOL_SOCKET, SCM_RIGHTS, packed),))
            except OSError:
                visitor.close()
                continue
            self._taker = visitor
            self._progress.watch(visitor.fileno(), self._on_answer)

    def _on_answer(self) -> None:
        """The process acknowledged, or went away."""
        taker = self._taker
        if taker is None:
            return
        try:
            answer = taker.recv(1)
        except BlockingIOError:
            return
        except OSError:
            answer = b""
        self._taker = None
        self._progress.unwatch(taker.fileno())
        taker.close()
        if answer == _ACKNOWLEDGED:
            self.close()

    @property
    def done(self) -> bool:
        """Whether there is nothing left to hand over."""
        return self._waiting.fileno() < 0

    def close(self) -> None:
        """End the offer; what nobody fetched is closed, which ends the connection."""
        if self.done:
            return
        self._progress.unwatch(self._waiting.fileno())
        self._waiting.close()
        self.abandon()

    def abandon(self) -> None:
        """Close all descriptors, as in a forked child."""
        self._waiting.close()
        taker, self._taker = self._taker, None
        if taker is not None:
            taker.close()
        stream, self.stream = self.stream, None
        if stream is not None:
            # ends only this process's part if another one holds the connection by now
            end_stream(stream, reset=True, withdraw=False)
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()


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
        parcel = Parcel.of(source, stream)
        try:
            handover = Handover(process_id, parcel, stream, listener, san.progress)
        except OSError as error:
            raise from_oserror(error, call) from error
        san.handovers[:] = [other for other in san.handovers if not other.done] + [handover]
        if channel is not None:
            channel.flush()
            channel.release()
        source.handover = handover
        source.stream = source.listener = None
        deferred, source.deferred = source.deferred, []
        source.step(Step.MOVE)
    san.progress.at(monotonic() + _PATIENCE, handover.close)
    if listener is not None:
        san.progress.unwatch(listener.fileno())
    for arrival in deferred:
        turn_down(arrival, source.native)
    if channel is not None:
        channel.upcalls.run()
    return handover.cookie


def take_over(san: San, cookie: int, catalog_id: int) -> int:
    """WSPSocket with a cookie; errors as there.

    Returns:
        The descriptor of a socket in the state that the original had.
    """
    try:
        taken, stream = _fetch(san, cookie, catalog_id)
    except OSError as error:
        raise from_oserror(error, "WSPSocket") from error
    taken.step(Step.BIND)
    if stream is None:
        taken.step(Step.LISTEN)
    else:
        san.establish(taken, stream)
    try:
        return san.admit(taken)
    except BaseException:
        if stream is not None:
            end_stream(stream, reset=True, withdraw=False)
        elif taken.listener is not None:
            taken.listener.close()
        raise


def _fetch(san: San, cookie: int, catalog_id: int) -> tuple[SanSocket, Stream | None]:
    """The socket, in state FRESH, with options, addresses and listener; and its connection."""
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
    try:
        if connection.connect_ex(_name_of(cookie)) or not is_trusted(peer_of(connection)[1]):
            raise _invalid("Nothing is duplicated under this number.")
        state, descriptors = receive_descriptors(connection, _STATE.size, 2, _WAIT)
        try:
            taken = _unpack(state, descriptors, catalog_id, san)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        try:
            connection.send(_ACKNOWLEDGED)
        except OSError:
            pass  # the owner has gone; what it handed over is ours
        return taken
    finally:
        connection.close()


def _unpack(
    state: bytes,
    descriptors: list[int],
    catalog_id: int,
    san: San,
) -> tuple[SanSocket, Stream | None]:
    """Make a socket of what came; descriptors that it keeps are taken off the list."""
    if len(state) != _STATE.size:
        raise _invalid("It is for another process, or was used before.")
    (version, kind, options, side, family, slot, generation, backlog, segment_id,
     host, port, peer, peer_port) = _STATE.unpack(state)  # fmt: skip
    if version != VERSION or len(descriptors) != _DESCRIPTORS.get(kind):
        raise _invalid("The owner handed over something else.")
    taken = SanSocket(family, catalog_id)
    taken.native = bool(options & _NATIVE)
    taken.v6only = bool(options & _V6ONLY)
    taken.debug = bool(options & _DEBUG)
    taken.no_delay = bool(options & _NO_DELAY)
    taken.host, taken.port = host_of(host), port
    if kind == _LISTENING:
        taken.listener = Listener.inherited(san.adopted, taken, descriptors.pop(), backlog)
        return taken, None
    taken.peer, taken.peer_port = host_of(peer), peer_port
    bell, memory = descriptors
    try:
        segment = _core.Segment.adopt(memory)
        if segment.id != segment_id:
            raise ValueError("wrong segment")
        stream = _core.Stream.join(segment, slot, generation, side, bell)
    except (ValueError, ConnectionAbortedError) as error:
        raise _invalid(f"The connection cannot be used: {error}.") from None
    del descriptors[0]
    return taken, stream
