"""Connecting, and for messages: the acceptor's answer, and what to make of silence.

A native stream is connected once its request is queued.  On a socket for messages the hello goes
with the request, and the first message from the acceptor is its answer (see `handshake`); until it
comes the socket is connecting, and both sides can call it off.
"""

from __future__ import annotations

from time import monotonic

from wsdirect import reasons, settings
from wsdirect._core import native
from wsdirect.locality import tcp_listens
from wsdirect.providers.qos import Service, asked_for, mirrored
from wsdirect.providers.shm.addresses import is_local
from wsdirect.providers.shm.failures import because, unreached
from wsdirect.providers.shm.handshake import (
    ACCEPTED,
    DATA_MAX,
    REFUSED,
    Greeting,
    pack_hello,
    read_frame,
    unpack_answer,
)
from wsdirect.providers.shm.names import MESSAGES, STREAMS
from wsdirect.providers.shm.options import message_max
from wsdirect.providers.shm.sockets import end_stream
from wsdirect.providers.socket_table import State, Step
from wsdirect.spi.constants import FD_CONNECT
from wsdirect.spi.errors import WSAError, WsaErrorCode, from_oserror
from wsdirect.telling import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from typing_extensions import Buffer

    from wsdirect._core import _native
    from wsdirect.providers.shm.san import San
    from wsdirect.providers.shm.sockets import SanSocket
    from wsdirect.spi.structures import QOS, Address

    Stream = _native.Stream

__all__ = ["PATIENCE", "Connecting", "connect"]

PATIENCE: Final = 10.0
"""Seconds that WAIT asks for."""
_ANSWERS_MAX: Final = 1000
"""Answers looked at in one go: whoever sends more of them is playing with us."""

_E = WsaErrorCode
_core: Any = native


def connect(
    san: San,
    socket: SanSocket,
    address: Address,
    caller_data: Buffer | None,
    callee_data: bytearray | None,
    sqos: QOS | None,
    gqos: QOS | None,
) -> None:
    """WSPConnect; errors as there."""
    call = "WSPConnect"
    socket.require(call)
    remote, port = socket.parse(address, call, _E.WSAEAFNOSUPPORT)
    local = socket.host
    assert local is not None  # it is bound
    if remote.wildcard or not port or (local.v4 is not remote.v4 and not local.wildcard):
        raise WSAError(_E.WSAEADDRNOTAVAIL, call)
    if not is_local(remote):
        raise because(WSAError(_E.WSAEADDRNOTAVAIL, call), reasons.REMOTE_PEER)
    if local.wildcard:
        local = remote  # as TCP chooses for destinations on the same host
    timeout = settings.current().offer_timeout
    kind, hello = STREAMS, b""
    if not socket.native:
        kind = MESSAGES
        hello = pack_hello(_greeting(socket, caller_data, callee_data, sqos, gqos))
    elif caller_data or callee_data is not None:
        raise WSAError(_E.WSAEPROTONOSUPPORT, call, "It is a native stream.")
    elif sqos is not None or gqos is not None or (socket.service and socket.service.qos):
        raise WSAError(_E.WSAEOPNOTSUPP, call, "It is a native stream.")
    with socket.lock:
        socket.require(call)
        if socket.service is not None and not socket.service.claim(remote.packed):
            raise WSAError(_E.WSAEINVAL, call, "The group has connections to another host.")
        socket.step(Step.CONNECT)
    try:
        limit = timeout if socket.native else None
        found = san.connector.connect(
            kind, local, socket.port, remote, port, limit, hello, socket.early and socket.native
        )
    except OSError as error:
        _give_up(socket)
        code = from_oserror(error, call)
        if code.winerror == _E.WSAEADDRINUSE:  # somebody sits on the name of our offer: R-116
            code = WSAError(_E.WSAENOBUFS, call)
        raise because(code, reasons.OUT_OF_SLOTS) from error
    if isinstance(found, reasons.Reason):
        if socket.native or found is not reasons.NO_LISTENER:
            _give_up(socket)
            raise unreached(found, socket.native)
        _await_answer(san, socket, None, port, timeout, callee_data)
        return
    socket.host, socket.peer, socket.peer_port = local, remote, port
    if socket.native:
        _establish_now(san, socket, found.stream)
    else:
        _await_answer(san, socket, found.stream, port, timeout, callee_data)


def _greeting(
    socket: SanSocket,
    caller_data: Buffer | None,
    callee_data: bytearray | None,
    sqos: QOS | None,
    gqos: QOS | None,
) -> Greeting:
    """What goes with the request; gqos becomes that of the socket's group."""
    call = "WSPConnect"
    try:
        data = bytes(memoryview(caller_data)) if caller_data is not None else b""
    except TypeError as error:
        raise WSAError(_E.WSAEFAULT, call, f"{error}.") from None
    if callee_data is not None and not isinstance(callee_data, bytearray):
        raise WSAError(_E.WSAEFAULT, call, "The callee's data need a bytearray.")
    if len(data) > DATA_MAX:
        raise WSAError(_E.WSAENOBUFS, call, f"At most {DATA_MAX} bytes go with a connect.")
    service = socket.service
    asked, group = asked_for(service, sqos, gqos, message_max(socket))
    if group is not None and service is not None and service.group is not None:
        service.group.qos = group
    return Greeting(data, asked, group)


def _give_up(socket: SanSocket) -> None:
    with socket.lock:
        if socket.state is State.CONNECTING:
            socket.step(Step.FAIL)
            if socket.service is not None:
                socket.service.free()


def _establish_now(san: San, socket: SanSocket, stream: Stream) -> None:
    """A native stream is connected once its request is queued."""
    with socket.lock:
        if socket.state is State.CONNECTING:
            san.establish(socket, stream)
    if socket.stream is not stream:
        end_stream(stream)
        raise _closed()
    if socket.selection is not None:
        socket.selection.announce_connect(0, FD_CONNECT)


def _await_answer(
    san: San,
    socket: SanSocket,
    stream: Stream | None,
    port: int,
    timeout: float,
    callee_data: bytearray | None,
) -> None:
    """Wait for the acceptor, or find out why there is none; in the background if it may."""
    waiting = Connecting(san, socket, stream, port, timeout, callee_data)
    with socket.lock:
        if socket.state is State.CONNECTING:
            socket.connecting = waiting
    if socket.connecting is not waiting:
        if stream is not None:
            end_stream(stream, reset=True)
        raise _closed()
    if socket.selection is not None:
        try:
            waiting.in_background()
        except OSError as error:  # nobody to wait for us: no descriptor left
            waiting.give_up()
            raise from_oserror(error, "WSPConnect") from error
        raise WSAError(_E.WSAEWOULDBLOCK, "WSPConnect")
    outcome = waiting.wait()
    if outcome:
        raise WSAError(outcome, "WSPConnect")


def _closed() -> WSAError:
    return WSAError(_E.WSAENOTSOCK, "WSPConnect", "It was closed meanwhile.")


class Connecting:
    """A connect that has no outcome yet.

    Args:
        san: Of the provider.
        socket: The connecting socket.
        stream: The connecting end; None if there is no listener, and it remains to be found out
            what TCP/IP would say.
        port: Port of the destination.
        timeout: Seconds to wait for an answer.
        callee_data: Takes the data that come with the answer.
    """

    __slots__ = (
        "_answer",
        "_callee_data",
        "_deadline",
        "_port",
        "_san",
        "_socket",
        "outcome",
        "stream",
    )

    def __init__(
        self,
        san: San,
        socket: SanSocket,
        stream: Stream | None,
        port: int,
        timeout: float,
        callee_data: bytearray | None,
    ) -> None:
        self.stream = stream
        self._callee_data = callee_data
        self._answer = Greeting()
        self.outcome: int | None = None
        self._san = san
        self._socket = socket
        self._port = port
        self._deadline = monotonic() + timeout

    def in_background(self) -> None:
        """Have the progress thread see to it; the outcome is told as FD_CONNECT."""
        progress = self._san.progress
        if self.stream is None:
            progress.submit(self._find_out)
        else:
            progress.watch(self.stream.fd, self._on_ready)
            progress.at(self._deadline, self._on_time)

    def wait(self) -> int:
        """Wait for the outcome in this thread: 0 or a Winsock code."""
        if self.stream is None:
            self._find_out()
        while self.outcome is None:
            stream = self.stream
            if stream is None or self._socket.connecting is not self:
                return _E.WSAENOTSOCK  # closed by another thread
            self._on_ready()
            if self.outcome is None:
                try:
                    stream.wait_readable(max(self._deadline - monotonic(), 0))
                except _core.Unattached:
                    self._finish(_E.WSAETIMEDOUT)
                except OSError:  # closed by another thread
                    pass
        return self.outcome

    def cancel(self) -> None:
        """The socket is being closed and has let go of this: withdraw the request."""
        stream, self.stream = self.stream, None
        if stream is not None:
            self._san.progress.unwatch(stream.fd)
            end_stream(stream, reset=True)

    def give_up(self) -> None:
        """Nobody waits any more: the socket is as it was before the call."""
        with self._socket.lock:
            if self._socket.connecting is not self:
                return
            self._socket.connecting = None
        self.cancel()
        _give_up(self._socket)

    def _on_ready(self) -> None:
        outcome = self._look()
        if outcome is not None:
            self._finish(outcome)

    def _on_time(self) -> None:
        self._on_ready()
        if self._socket.connecting is self:  # the acceptor put it off
            self._san.progress.at(self._deadline, self._on_time)

    def _look(self) -> int | None:
        """The outcome, or None if there is none yet."""
        stream = self.stream
        if stream is None or stream.closed:
            return None
        try:
            for _ in range(_ANSWERS_MAX):
                frame = read_frame(stream)
                if frame is None:
                    return _E.WSAETIMEDOUT if monotonic() >= self._deadline else None
                answer = unpack_answer(frame)
                if answer is None:
                    break
                kind, self._answer = answer
                if kind == ACCEPTED:
                    return 0
                if kind == REFUSED:
                    return _E.WSAECONNREFUSED
                self._deadline = monotonic() + PATIENCE
        except OSError:
            # It ended without an answer, or was never looked at: what TCP/IP would say is open.
            pass
        return _E.WSAETIMEDOUT  # no answer of ours: TCP/IP may do better

    def _find_out(self) -> None:
        # Only if nothing listens on that port is TCP/IP certain to fail, too.
        self._finish(_E.WSAETIMEDOUT if tcp_listens(self._port) else _E.WSAECONNRESET)

    def _finish(self, outcome: int) -> None:
        """Make the socket what the outcome says, once, and tell."""
        socket, stream = self._socket, self.stream
        with socket.lock:
            if socket.connecting is not self:
                return
            socket.connecting = None
            if stream is not None:
                self._san.progress.unwatch(stream.fd)
            if outcome == 0 and stream is not None:
                self._take_answer()
                self._san.establish(socket, stream)
            else:
                socket.step(Step.FAIL)
                if socket.service is not None:
                    socket.service.free()
                if stream is not None:
                    end_stream(stream, reset=True)
            self.outcome = outcome
            self.stream = None  # a timer may keep this for some more seconds
        if socket.debug:
            socket.note(f"connect ended with {outcome}")
        if socket.selection is not None:
            socket.selection.announce_connect(outcome, FD_CONNECT)

    def _take_answer(self) -> None:
        """The data and the quality of service that came with the acceptance; lock held."""
        socket, answer = self._socket, self._answer
        if answer.sqos is not None:
            if socket.service is None:
                socket.service = Service()
            socket.service.qos = mirrored(answer.sqos)
        if self._callee_data is not None:
            try:
                self._callee_data[:] = answer.data
            except BufferError:  # somebody keeps a memoryview of it
                tell("error", "the callee's data did not fit into a bytearray that is in use")
