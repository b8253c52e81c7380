"""Connecting, and for messages: the acceptor's answer, and what to make of silence.

A native stream is connected once its request is queued.  On a socket for messages the first
message from the acceptor is its answer; until it comes the socket is connecting, and both sides
can call it off.
"""

from __future__ import annotations

from time import monotonic

from wsdirect import reasons, settings
from wsdirect._core import native
from wsdirect.providers.shm.addresses import is_local
from wsdirect.providers.shm.failures import because, unreached
from wsdirect.providers.shm.names import MESSAGES, STREAMS
from wsdirect.providers.shm.sockets import end_stream
from wsdirect.providers.socket_table import State, Step
from wsdirect.spi.constants import FD_CONNECT
from wsdirect.spi.errors import WSAError, WsaErrorCode, from_oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from wsdirect._core import _native
    from wsdirect.providers.shm.san import San
    from wsdirect.providers.shm.sockets import SanSocket
    from wsdirect.spi.structures import Address

    Stream = _native.Stream

__all__ = ["ACCEPTED", "PATIENCE", "REFUSED", "WAIT", "Connecting", "connect", "tcp_listens"]

ACCEPTED: Final = b"A"
REFUSED: Final = b"R"
WAIT: Final = b"W"
"""The acceptor put the request off: it is to be waited for some more."""
PATIENCE: Final = 10.0
"""Seconds that WAIT asks for."""

_E = WsaErrorCode
_core: Any = native
_LOCAL_TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTEN: Final = "0A"


def connect(san: San, socket: SanSocket, address: Address) -> None:
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
    with socket.lock:
        socket.require(call)
        socket.step(Step.CONNECT)
    timeout = settings.current().offer_timeout
    kind, limit = (STREAMS, timeout) if socket.native else (MESSAGES, None)
    try:
        found = san.connector.connect(kind, local, socket.port, remote, port, limit)
    except OSError as error:
        _give_up(socket)
        raise because(from_oserror(error, call), reasons.OUT_OF_SLOTS) from error
    if isinstance(found, reasons.Reason):
        if socket.native or found is not reasons.NO_LISTENER:
            _give_up(socket)
            raise unreached(found, socket.native)
        _await_answer(san, socket, None, port, timeout)
        return
    socket.host, socket.peer, socket.peer_port = local, remote, port
    if socket.native:
        _establish_now(san, socket, found.stream)
    else:
        _await_answer(san, socket, found.stream, port, timeout)


def _give_up(socket: SanSocket) -> None:
    with socket.lock:
        if socket.state is State.CONNECTING:
            socket.step(Step.FAIL)


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
    san: San, socket: SanSocket, stream: Stream | None, port: int, timeout: float
) -> None:
    """Wait for the acceptor, or find out why there is none; in the background if it may."""
    waiting = Connecting(san, socket, stream, port, timeout)
    with socket.lock:
        if socket.state is State.CONNECTING:
            socket.connecting = waiting
    if socket.connecting is not waiting:
        if stream is not None:
            end_stream(stream, reset=True)
        raise _closed()
    if socket.selection is not None:
        waiting.in_background()
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
    """

    __slots__ = ("_deadline", "_port", "_san", "_socket", "outcome", "stream")

    def __init__(
        self, san: San, socket: SanSocket, stream: Stream | None, port: int, timeout: float
    ) -> None:
        self.stream = stream
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
            while (size := stream.message_size()) >= 0:
                if size != 1:
                    return _E.WSAETIMEDOUT  # no answer of ours: TCP/IP may do better
                answer = bytearray(1)
                stream.recv_message((answer,))
                if answer == ACCEPTED:
                    return 0
                if answer == REFUSED:
                    return _E.WSAECONNREFUSED
                if answer != WAIT:
                    return _E.WSAETIMEDOUT
                self._deadline = monotonic() + PATIENCE
        except OSError:
            # It ended without an answer, or was never looked at: what TCP/IP would say is open.
            return _E.WSAETIMEDOUT
        return _E.WSAETIMEDOUT if monotonic() >= self._deadline else None

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
                self._san.establish(socket, stream)
            else:
                socket.step(Step.FAIL)
                if stream is not None:
                    end_stream(stream, reset=True)
            self.outcome = outcome
            self.stream = None  # a timer may keep this for some more seconds
        if socket.selection is not None:
            socket.selection.announce_connect(outcome, FD_CONNECT)


def tcp_listens(port: int) -> bool:
    """Whether TCP may have a listener on this port: a socket of this network namespace listens.

    True also if that cannot be found out.  Takes as long as reading the table of all connections.
    """
    wanted = f":{port:04X}"
    for path in _LOCAL_TABLES:
        try:
            with open(path, encoding="ascii") as table:
                next(table, None)
                for line in table:
                    fields = line.split(None, 4)
                    if fields[3] == _LISTEN and fields[1].endswith(wanted):
                        return True
        except FileNotFoundError:
            if path == _LOCAL_TABLES[0]:
                return True
        except (OSError, IndexError, ValueError):
            return True
    return False
