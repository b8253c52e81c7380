"""The methods of socket.socket that know of the switch.

recv, recv_into, send, sendall and sendmsg are C (see _core/socketmethods.c); what is here is called
once per connection or rarely.  A socket that is not switched goes to _socket.socket's own method.
"""

from __future__ import annotations

import _socket
import errno
import os

from wsdirect import reasons, settings
from wsdirect.switch import addresses, connection, listeners
from wsdirect.switch.connection import connections, forget, fresh, note_plain, plain
from wsdirect.switch.options import OOBINLINE, inline_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

base = _socket.socket
SOCK_STREAM = int(_socket.SOCK_STREAM)
MSG_OOB = int(_socket.MSG_OOB)
IPPROTO_TCP = _socket.IPPROTO_TCP
STREAM_PROTOCOLS = (0, IPPROTO_TCP)
SPECIAL_HOSTS = ("<broadcast>",)

began: list[Callable[[int], None]] = []
"""Called with each descriptor that has become a switched connection by connect()."""


def _failure(number: int) -> OSError:
    return OSError(number, os.strerror(number))


# -- connecting ----------------------------------------------------------------------------------


def _is_tcp(sock: Any) -> bool:
    return (
        addresses.family_number(sock) in (addresses.AF_INET, addresses.AF_INET6)
        and base.type.__get__(sock) == SOCK_STREAM
        and sock.proto in STREAM_PROTOCOLS
    )


def _numeric(sock: Any, address: Any) -> tuple[Any, ...] | None:
    """The address with its host looked up, as connect() itself would; None: let connect() judge."""
    if not isinstance(address, tuple) or len(address) < 2:
        return None
    host, port = address[0], address[1]
    if not isinstance(host, str) or not isinstance(port, int) or not 0 < port < 65536:
        return None
    if host in SPECIAL_HOSTS:
        return None
    family = addresses.family_number(sock)
    if host == "":
        return ("::" if family == addresses.AF_INET6 else "0.0.0.0", *address[1:])
    if addresses.numeric(host, family):
        return address
    try:
        found = _socket.getaddrinfo(host, None, family, SOCK_STREAM)
    except (OSError, UnicodeError):
        return None  # connect() raises its own error for it
    return (found[0][4][0], *address[1:])


def _switch_or_not(sock: Any, address: Any) -> tuple[Any, bool]:
    """(address to connect to over TCP, False), or (address, True) when the socket is switched."""
    fd = base.fileno(sock)
    if fd in connections:
        raise _failure(errno.EISCONN)
    if fd < 0 or not _is_tcp(sock):
        return address, False
    from wsdirect.switch.connect import is_fresh, try_switch  # with the first connect, not before

    numeric = _numeric(sock, address)
    if numeric is None or not is_fresh(sock):
        return address, False
    if hasattr(sock, "_sslobj") and not _tls_is_grafted():
        reason = reasons.TLS_NOT_SUPPORTED
    else:
        reason = try_switch(sock, numeric)
    if reason is reasons.SWITCHED:
        for tell in began:
            tell(fd)
        return numeric, True
    if settings.current().require:
        raise ConnectionError(
            f"connection to {numeric[0]} port {numeric[1]} cannot be switched: {reason.explain()}"
        )
    note_plain(fd, "connect", reason, peer=numeric)
    return numeric, False


def _tls_is_grafted() -> bool:
    import ssl

    return getattr(ssl.SSLContext._wrap_socket, "__wsdirect__", False)  # type: ignore[attr-defined]


def connect(self: Any, address: Any, /) -> None:
    """Connect, over the SAN if both ends can."""
    address, done = _switch_or_not(self, address)
    if not done:
        base.connect(self, address)


def connect_ex(self: Any, address: Any, /) -> int:
    """As connect(), but returns the error number."""
    try:
        address, done = _switch_or_not(self, address)
    except ConnectionError:
        raise
    except OSError as error:
        return error.errno or errno.EIO
    return 0 if done else base.connect_ex(self, address)


# -- listening -----------------------------------------------------------------------------------


def listen_(self: Any, *args: Any) -> None:
    """Listen; the SAN listener follows with the first accept."""
    if not _is_tcp(self):
        base.listen(self, *args)
        return
    listeners.prepare()  # first: a client that comes before the first accept stays on TCP
    base.listen(self, *args)
    listeners.listening.add(base.fileno(self))


def _accept(self: Any) -> tuple[int, Any]:
    """The next connection, switched or TCP."""
    fd = base.fileno(self)
    listener = listeners.accepting(fd) if fd >= 0 and _is_tcp(self) else None
    if listener is not None:
        return listener.accept(base.gettimeout(self))
    listeners.blocking_again(fd)
    accepted: tuple[int, Any] = base._accept(self)  # type: ignore[attr-defined]
    forget(accepted[0])
    return accepted


# -- names and options ---------------------------------------------------------------------------


def getsockname(self: Any) -> Any:
    """The local address that TCP would have."""
    known = connections.get(base.fileno(self))
    return base.getsockname(self) if known is None else known.shown_local()


def getpeername(self: Any) -> Any:
    """The peer's address that TCP would have."""
    known = connections.get(base.fileno(self))
    if known is None:
        return base.getpeername(self)
    if known.stream.reset:
        raise _failure(errno.ENOTCONN)  # TCP's socket is closed then, and has no peer any more
    return known.shown_peer()


def bind(self: Any, address: Any, /) -> None:
    """Bind; a connected socket cannot be bound any more."""
    if base.fileno(self) in connections:
        raise _failure(errno.EINVAL)
    base.bind(self, address)


def setsockopt(self: Any, *args: Any) -> None:
    """Set an option as a TCP socket would take it."""
    fd = base.fileno(self)
    known = connections.get(fd)
    if known is None:
        fresh.discard(fd)
        base.setsockopt(self, *args)
        listener = listeners.listeners.get(fd)
        if listener is not None:
            listener.options_changed()
    elif len(args) < 3 or not isinstance(args[0], int) or not isinstance(args[1], int):
        base.setsockopt(self, *args)  # raises the TypeError
    else:
        known.options.set(args[0], args[1], *args[2:])
        known.options_changed()
        if args[:2] == OOBINLINE:
            known.stream.inline = inline_of(known.options.values)


def getsockopt(self: Any, *args: Any) -> int | bytes:
    """Read an option as a TCP socket would show it."""
    known = connections.get(base.fileno(self))
    if known is None or not 2 <= len(args) <= 3 or not all(isinstance(arg, int) for arg in args):
        return base.getsockopt(self, *args)
    if args[:2] == OOBINLINE:  # another process that shares the connection may have set it
        known.options.set(*OOBINLINE, int(known.stream.inline))
    return known.options.get(*args)


# -- receiving and sending in rarer ways ---------------------------------------------------------


def recvfrom(self: Any, *args: Any) -> tuple[bytes, Any]:
    """As recv; a connected stream has no sender to name."""
    if base.fileno(self) not in connections:
        return base.recvfrom(self, *args)
    return self_recv(self, *args), None


def recvfrom_into(self: Any, *args: Any, **kwargs: Any) -> tuple[int, Any]:
    """As recv_into; a connected stream has no sender to name."""
    if base.fileno(self) not in connections:
        return base.recvfrom_into(self, *args, **kwargs)
    return self_recv_into(self, *args, **kwargs), None


def sendto(self: Any, *args: Any) -> int:
    """As send: a connected TCP socket pays no attention to the address."""
    if base.fileno(self) not in connections or not 2 <= len(args) <= 3:
        return base.sendto(self, *args)
    sent: int = self_send(self, args[0], args[1] if len(args) == 3 else 0)
    return sent


def recvmsg(self: Any, *args: Any) -> Any:
    """As recv; TCP has no ancillary data."""
    if base.fileno(self) not in connections or not 1 <= len(args) <= 3:
        return base.recvmsg(self, *args)
    size, control, flags = args + (0, 0)[len(args) - 1 :]
    if control < 0:
        raise ValueError("invalid ancillary data buffer length")
    if size < 0:
        raise ValueError("negative buffer size in recvmsg()")
    data = self_recv(self, size, flags)
    return data, [], MSG_OOB if data and flags & MSG_OOB else 0, None


def recvmsg_into(self: Any, *args: Any) -> Any:
    """As recv_into for several buffers; TCP has no ancillary data."""
    if base.fileno(self) not in connections or not 1 <= len(args) <= 3:
        return base.recvmsg_into(self, *args)
    buffers, control, flags = args + (0, 0)[len(args) - 1 :]
    if control < 0:
        raise ValueError("invalid ancillary data buffer length")
    views = [memoryview(buffer) for buffer in buffers]
    if any(view.readonly for view in views):
        raise TypeError("recvmsg_into() argument 1 must be an iterable of read-write buffers")
    views = [view.cast("B") for view in views]
    data = self_recv(self, sum(len(view) for view in views), flags)
    at = 0
    for view in views:
        piece = data[at : at + len(view)]
        view[: len(piece)] = piece
        at += len(piece)
    return len(data), [], MSG_OOB if data and flags & MSG_OOB else 0, None


# The C descriptors, put here by enable(); self_recv(sock, n) is sock.recv(n) for any subclass.
self_recv: Callable[..., bytes] = base.recv
self_recv_into: Callable[..., int] = base.recv_into
self_send: Callable[..., int] = base.send


# -- the end -------------------------------------------------------------------------------------


def shutdown(self: Any, how: Any, /) -> None:
    """Shut down one direction or both."""
    known = connections.get(base.fileno(self))
    if known is None:
        base.shutdown(self, how)
    elif known.stream.reset:
        raise _failure(errno.ENOTCONN)
    else:
        known.stream.shutdown(how)


def released(fd: int) -> None:
    """A descriptor is about to be closed: end what hangs on it."""
    fresh.discard(fd)
    known = connections.get(fd)
    if known is not None:
        known.release(fd)
    elif fd in plain:
        connection.forget_plain(fd)
    if fd in listeners.listening or fd in listeners.listeners:
        listeners.close_listener(fd)


def make_real_close(original: Callable[..., None]) -> Callable[..., None]:
    """socket.socket._real_close, which close() calls when the last makefile() is closed too."""

    def _real_close(self: Any, *args: Any) -> None:
        fd = base.fileno(self)
        if fd >= 0:
            released(fd)
        original(self, *args)

    return _real_close


def __del__(self: Any) -> None:
    fd = base.fileno(self)
    if fd >= 0 and (fd in connections or fd in plain or fd in listeners.listening):
        released(fd)
    base.__del__(self)  # type: ignore[attr-defined]


def make_init(original: Callable[..., None]) -> Callable[..., None]:
    """socket.socket.__init__: knows switched descriptors; a new number means a new socket."""

    def __init__(
        self: Any, family: int = -1, type: int = -1, proto: int = -1, fileno: Any = None
    ) -> None:
        if fileno is None:
            original(self, family, type, proto)
            fd = base.fileno(self)
            if fd in connections or fd in plain or fd in listeners.listening:
                # closed behind our back (by C code): the number is all they have in common
                forget(fd)
                listeners.close_listener(fd)
            fresh.add(fd)
            return
        known = None
        if isinstance(fileno, int):
            fresh.discard(fileno)
            known = connections.get(fileno)
        if known is not None:
            family = known.family if family == -1 else family
            type = SOCK_STREAM if type == -1 else type
            proto = IPPROTO_TCP if proto == -1 else proto
        original(self, family, type, proto, fileno)

    return __init__
