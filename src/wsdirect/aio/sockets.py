"""socket.socket objects whose connection is switched.

The object that a program, or asyncio, has made stays the same object: its class changes to
SanSocket, and its descriptor goes to the provider, which it is from then on a handle of.
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import socket
import struct
import time
import warnings
from typing import TYPE_CHECKING, Any, NoReturn, Self
from weakref import WeakKeyDictionary

from wsdirect import reasons
from wsdirect.spi import constants as c
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.structures import LINGER
from wsdirect.switch import listeners, listening

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wsdirect.switch.upper.adopting import AdoptingProvider
    from wsdirect.switch.upper.paths import Arrival
    from wsdirect.switch.upper.sockets import Socket

__all__ = ["End", "SanSocket", "accepted", "become", "end_of", "plain_error"]

_CLOSED_ERRORS = (WsaErrorCode.WSAENOTSOCK, WsaErrorCode.WSA_OPERATION_ABORTED)
_FLAGS = (
    (socket.MSG_OOB, int(c.MSG_OOB)),
    (socket.MSG_PEEK, int(c.MSG_PEEK)),
    (socket.MSG_WAITALL, int(c.MSG_WAITALL)),
)


def plain_error(code: int | WSAError) -> OSError:
    """The error that a kernel socket would have raised."""
    error = code if isinstance(code, WSAError) else WSAError(code)
    number = errno.EBADF if error.winerror in _CLOSED_ERRORS else error.errno or errno.EIO
    return OSError(number, os.strerror(number))


class End:
    """What a SanSocket is a handle of."""

    __slots__ = ("handle", "options", "provider", "timeout", "upper")

    def __init__(self, provider: AdoptingProvider, handle: int) -> None:
        self.provider = provider
        self.handle = handle
        self.upper: Socket = provider._get(handle, "SanSocket")
        self.timeout: float | None = 0.0
        self.options: dict[tuple[int, int], int] = {}  # set before there was a kernel socket

    def companion(self) -> _socket.socket:
        """The kernel socket that knows the options; it carries no bytes."""
        upper = self.upper
        with upper.lock:
            if upper.tcp is None:
                upper.tcp = _socket.socket(upper.family, _socket.SOCK_STREAM)
                for (level, name), value in self.options.items():
                    upper.tcp.setsockopt(level, name, value)
            made: _socket.socket = upper.tcp
            return made


_ends: WeakKeyDictionary[socket.socket, End] = WeakKeyDictionary()


def end_of(sock: Any) -> End | None:
    """What a socket is a handle of; None for kernel sockets and closed ones."""
    return _ends.get(sock) if type(sock) is SanSocket else None


def become(sock: socket.socket, provider: AdoptingProvider, handle: int) -> None:
    """Make a kernel socket's object one of this handle; its descriptor is the provider's now."""
    timeout = sock.gettimeout()
    fd = _socket.socket.detach(sock)
    if fd in listening.listening or fd in listening.listeners:
        listeners.close_listener(fd)  # the grafts would accept on it, too
    sock.__class__ = SanSocket
    end = _ends[sock] = End(provider, handle)
    end.timeout = timeout


def accepted(provider: AdoptingProvider, listener: int, arrival: Arrival) -> socket.socket:
    """The socket of a connection that was accepted."""
    made = provider.adopt_arrival(listener, arrival)
    if isinstance(made, _socket.socket):
        kernel = socket.socket(made.family, made.type, made.proto, fileno=made.detach())
        kernel.settimeout(0.0)
        return kernel
    upper = provider._get(made, "WSPAccept")
    assert upper.endpoint is not None
    sock = SanSocket.__new__(SanSocket)
    fd = upper.endpoint.fileno()
    socket.socket.__init__(sock, upper.family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fd)
    _socket.socket.detach(sock)
    _ends[sock] = End(provider, made)
    return sock


def _flags(flags: int) -> int:
    found = 0
    for theirs, ours in _FLAGS:
        if flags & theirs:
            found |= ours
    return found


class SanSocket(socket.socket):
    """A socket whose connection is switched, or a listener that accepts such connections.

    It has the methods of socket.socket.  `fileno` is a descriptor that pollers understand; reading
    from it or writing to it is not what the socket's methods do.
    """

    __slots__ = ()

    def _end(self) -> End:
        found = _ends.get(self)
        if found is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return found

    # -- life ----------------------------------------------------------------------------------

    def fileno(self) -> int:
        """A descriptor to poll; -1 when closed."""
        end = _ends.get(self)
        if end is None:
            return -1
        endpoint = end.upper.endpoint
        return endpoint.fileno() if endpoint is not None else int(end.upper.tcp.fileno())

    def _real_close(self, *_: Any) -> None:
        end = _ends.pop(self, None)
        if end is not None:
            try:
                end.provider.WSPCloseSocket(end.handle)
            except WSAError as error:
                if error.winerror not in _CLOSED_ERRORS:
                    raise plain_error(error) from None

    def __del__(self) -> None:
        if _ends.get(self) is not None:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self._real_close()

    def detach(self) -> int:
        """OSError(EOPNOTSUPP): a switched connection is more than a descriptor."""
        self._refuse("detach")

    def _refuse(self, what: str) -> NoReturn:
        self._end()
        raise OSError(errno.EOPNOTSUPP, f"a switched connection cannot {what}")

    def dup(self) -> Self:
        """Another socket object of the same connection."""
        end = self._end()
        known = c.FROM_PROTOCOL_INFO
        info = end.provider.WSPDuplicateSocket(end.handle, os.getpid())
        handle = end.provider.WSPSocket(known, known, known, info)
        made = type(self).__new__(type(self))
        socket.socket.__init__(made, self.family, self.type, self.proto, self.fileno())
        _socket.socket.detach(made)
        _ends[made] = End(end.provider, handle)
        _ends[made].timeout = end.timeout
        return made

    def get_inheritable(self) -> bool:
        """False: children of other programs cannot use it."""
        return False

    def set_inheritable(self, inheritable: bool) -> None:
        """OSError(EOPNOTSUPP) for True."""
        if inheritable:
            self._refuse("be inherited by other programs")

    def wsdirect_info(self) -> dict[str, Any]:
        """What `wsdirect.info` answers."""
        upper = self._end().upper
        endpoint, lead = upper.endpoint, upper.lead
        if endpoint is None or not endpoint.switched or lead is None:
            return {"path": "tcp", "reason": reasons.PEER_NOT_SWITCHED.code}
        sent, received = endpoint.stream.traffic  # type: ignore[attr-defined]
        return {
            "path": lead.provider,
            "reason": reasons.SWITCHED.code,
            "provider": lead.provider,
            "role": lead.role,
            "local": self.getsockname(),
            "peer": self.getpeername(),
            "peer_pid": lead.peer_pid,
            "sent": sent,
            "received": received,
        }

    # -- blocking mode ---------------------------------------------------------------------------

    def setblocking(self, flag: bool) -> None:
        """As settimeout(None) or settimeout(0.0)."""
        self.settimeout(None if flag else 0.0)

    def settimeout(self, value: float | None) -> None:
        """Seconds that a call may wait; None: for ever."""
        if value is not None and value < 0:
            raise ValueError("Timeout value out of range")
        self._end().timeout = None if value is None else float(value)

    def gettimeout(self) -> float | None:
        """As it was set."""
        return self._end().timeout

    def getblocking(self) -> bool:
        """Whether calls may wait."""
        return self._end().timeout != 0.0

    @property
    def timeout(self) -> float | None:
        """As gettimeout."""
        return self.gettimeout()

    def _wait(self, call: Any, room: bool) -> Any:
        """Repeat a call that answers None, or fails with WSAEWOULDBLOCK, until it does not."""
        end = self._end()
        deadline = None if end.timeout is None else time.monotonic() + end.timeout
        while True:
            try:
                found = call()
                if found is not None:
                    return found
            except WSAError as error:
                if error.winerror != WsaErrorCode.WSAEWOULDBLOCK:
                    raise plain_error(error) from None
            left = None if deadline is None else deadline - time.monotonic()
            if end.timeout == 0.0:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            if left is not None and left <= 0:
                raise TimeoutError("timed out")
            poller = select.poll()
            fd = end.provider.wait_kernel(end.handle, room)
            poller.register(fd, select.POLLOUT if room else select.POLLIN)
            poller.poll(None if left is None else left * 1000 + 1)

    # -- names and options -----------------------------------------------------------------------

    def getsockname(self) -> Any:
        """The address that TCP would show."""
        return self._asked("WSPGetSockName")

    def getpeername(self) -> Any:
        """The address that TCP would show."""
        return self._asked("WSPGetPeerName")

    def _asked(self, function: str, *arguments: Any) -> Any:
        end = self._end()
        try:
            return getattr(end.provider, function)(end.handle, *arguments)
        except WSAError as error:
            raise plain_error(error) from None

    def getsockopt(self, level: int, optname: int, buflen: int = 0, /) -> Any:
        """As the kernel's socket says, which is there beside the connection."""
        end = self._end()
        if not buflen and end.upper.tcp is None:
            known = end.options.get((level, optname))
            if known is not None:
                return known
        if level == socket.SOL_SOCKET and optname == socket.SO_ERROR and not buflen:
            return 0
        return end.companion().getsockopt(level, optname, *([buflen] if buflen else []))

    def setsockopt(self, level: int, optname: int, *value: Any) -> None:
        """Set it, on the connection as well where it concerns one."""
        end = self._end()
        if level == socket.SOL_SOCKET and optname in _CARRIED and len(value) == 1:
            self._asked("WSPSetSockOpt", c.SOL_SOCKET, *_CARRIED[optname](value[0]))
        simple = len(value) == 1 and isinstance(value[0], int)
        if end.upper.tcp is None and simple and (level, optname) == _NODELAY:
            end.options[level, optname] = int(bool(value[0]))
            return
        end.companion().setsockopt(level, optname, *value)

    # -- connections -----------------------------------------------------------------------------

    def bind(self, address: Any) -> None:
        """OSError(EINVAL): it is bound."""
        self._asked("WSPBind", address)

    def connect(self, address: Any) -> None:
        """OSError(EISCONN): it is connected."""
        self._asked("WSPConnect", address)

    def connect_ex(self, address: Any) -> int:
        """errno.EISCONN."""
        try:
            self.connect(address)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def listen(self, backlog: int = socket.SOMAXCONN, /) -> None:
        """Change the backlog of a listener."""
        self._asked("WSPListen", backlog)

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection: a SanSocket if it is switched."""
        end = self._end()
        arrival = self._wait(lambda: end.provider.take_arrival(end.handle), False)
        made = accepted(end.provider, end.handle, arrival)
        made.settimeout(end.timeout)
        return made, arrival.peer

    def shutdown(self, how: int) -> None:
        """SHUT_RD, SHUT_WR or SHUT_RDWR."""
        self._asked("WSPShutdown", how)

    # -- data ------------------------------------------------------------------------------------

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receive."""
        if not flags & ~socket.MSG_DONTWAIT and bufsize > 0:
            end = self._end()
            found: bytes = self._wait(lambda: end.provider.receive_some(end.handle, bufsize), False)
            return found
        room = bytearray(bufsize)
        return bytes(room[: self.recv_into(room, 0, flags)])

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Receive into a buffer."""
        end = self._end()
        view = memoryview(buffer).cast("B")
        view = view[:nbytes] if nbytes else view
        if not len(view):
            return 0
        ours = _flags(flags)

        def once() -> int | None:
            with end.upper.lock:
                end.upper.nonblocking = True
                return end.provider.WSPRecv(end.handle, (view,), ours)

        found: int = self._wait(once, False)
        return found

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """Receive; a stream names no sender."""
        return self.recv(bufsize, flags), None

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """Receive; a stream names no sender."""
        return self.recv_into(buffer, nbytes, flags), None

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> Any:
        """Receive; there are never ancillary data."""
        return self.recv(bufsize, flags), [], 0, None

    def recvmsg_into(self, buffers: Iterable[Any], ancbufsize: int = 0, flags: int = 0, /) -> Any:
        """Receive into the first buffer that has room."""
        for buffer in buffers:
            if len(memoryview(buffer)):
                return self.recv_into(buffer, 0, flags), [], 0, None
        return 0, [], 0, None

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Send what fits."""
        end = self._end()
        view = memoryview(data).cast("B")
        if not len(view):
            return 0
        if flags & socket.MSG_OOB:
            found = self._wait(
                lambda: end.provider.WSPSend(end.handle, (view,), int(c.MSG_OOB)), True
            )
        else:
            found = self._wait(lambda: end.provider.send_some(end.handle, view) or None, True)
        return int(found)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send all."""
        view = memoryview(data).cast("B")
        while len(view):
            view = view[self.send(view, flags) :]

    def sendmsg(
        self,
        buffers: Iterable[Any],
        ancdata: Iterable[Any] = (),
        flags: int = 0,
        address: Any = None,
        /,
    ) -> int:
        """Send; ancillary data cannot go along."""
        if list(ancdata):
            self._refuse("carry ancillary data")
        return self.send(b"".join(bytes(buffer) for buffer in buffers), flags)

    def sendto(self, data: Any, *rest: Any) -> int:
        """Send; a stream pays no attention to the address."""
        return self.send(data, rest[0] if len(rest) > 1 else 0)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a file."""
        sender: Any = self._sendfile_use_send  # type: ignore[attr-defined]
        return int(sender(file, offset, count))


def _linger(value: Any) -> tuple[int, Any]:
    on, seconds = struct.unpack("ii", value)
    return int(c.SO_LINGER), LINGER(int(bool(on)), seconds)


_NODELAY = (int(socket.IPPROTO_TCP), int(socket.TCP_NODELAY))
_CARRIED: dict[int, Any] = {
    socket.SO_LINGER: _linger,
    socket.SO_OOBINLINE: lambda value: (int(c.SO_OOBINLINE), value),
    socket.SO_SNDBUF: lambda value: (int(c.SO_SNDBUF), value),
}
