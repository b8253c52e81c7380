"""The methods of socket.socket that know of the switch.

recv, recv_into, send, sendall and sendmsg are C (see _core/socketmethods.c).  So is the question
whether a call of the others concerns the switch (_core/guardedmethods.c); what is here is called
where it does, and asks again, as much may have changed.
"""

from __future__ import annotations

import _socket
import errno
import os
import time

from wsdirect import reasons, settings
from wsdirect._core import native
from wsdirect.front import pollers
from wsdirect.front.grafts import like
from wsdirect.switch import addresses, bare, listeners, listening
from wsdirect.switch.connection import (
    connections,
    forget,
    forget_plain,
    is_untouched,
    note_plain,
    plain,
)
from wsdirect.switch.options import OOBINLINE, inline_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wsdirect.switch.connection import Connection

base = _socket.socket
SOCK_STREAM = int(_socket.SOCK_STREAM)
MSG_OOB = int(_socket.MSG_OOB)
IPPROTO_TCP = _socket.IPPROTO_TCP
STREAM_PROTOCOLS = (0, IPPROTO_TCP)
SPECIAL_HOSTS = ("<broadcast>",)
PENDING_ERROR = (_socket.SOL_SOCKET, _socket.SO_ERROR)

began: list[Callable[[int], None]] = []
"""Called with each descriptor that has become a switched connection by connect()."""
foreign_tls: Any = ()
"""Sockets, not connected yet, whose descriptor a TLS library of its own will use."""


def _failure(number: int) -> OSError:
    return OSError(number, os.strerror(number))


# -- connecting ----------------------------------------------------------------------------------

misses: dict[str, dict[Any, int]] = {"4": {}, "6": {}}
"""Addresses, as connect() gets them, that go to TCP at once: until when, and why; see the core."""
_missed: dict[Any, int] = {}  # how often in a row nobody switched was found there
FREE_LOOKS = 3  # so often at once: a server may just be starting
LONGEST = 50  # milliseconds that a miss is believed
MOST = 1024  # addresses
BELIEVED = {reasons.REMOTE_PEER: 1000, reasons.EXCLUDED: 1000}


def remember(sock: Any, address: Any, reason: reasons.Reason) -> None:
    """Let clients of plain servers not pay for a look at each connection.

    The first ones look each time, then for longer and longer a miss is believed.  Whoever does not
    connect again within that time looks again, and so finds a server that has begun to switch.
    """
    try:
        hash(address)
    except TypeError:
        return  # connect() says what is wrong with it
    family = "6" if addresses.family_number(sock) == addresses.AF_INET6 else "4"
    if max(len(_missed), len(misses[family])) >= MOST:
        forget_misses()
    if reason is reasons.NO_LISTENER:
        count = _missed[address] = _missed.get(address, 0) + 1
        milliseconds = min(LONGEST, 1 << (count - FREE_LOOKS)) if count > FREE_LOOKS else 0
    else:
        milliseconds = BELIEVED.get(reason, 0)
    if milliseconds:
        until = time.monotonic_ns() // 1_000_000 + milliseconds
        misses[family][address] = until << 16 | reason.number


def forget_misses() -> None:
    """Look again: there may be a switched listener now."""
    _missed.clear()
    for known in misses.values():
        known.clear()


plans: dict[str, dict[Any, Callable[[int], bool]]] = {"4": {}, "6": {}}
"""Addresses, as connect() gets them, to which a connection was switched: how to do so again."""


def plan(sock: Any, address: Any, fd: int) -> None:
    """Remember how a connection came about, for those to the same address that follow."""
    from wsdirect.switch.connect import plan_like

    made = plan_like(connections[fd])
    if made is not None:
        family = "6" if addresses.family_number(sock) == addresses.AF_INET6 else "4"
        if len(plans[family]) >= MOST:
            plans[family].clear()
        plans[family][address] = made


def connect_as_planned(sock: Any, fd: int, how: Callable[[int], bool]) -> bool:
    """Connect a fresh TCP socket of ours once more; False: nothing has happened."""
    if (foreign_tls and sock in foreign_tls) or not how(fd):
        return False
    for tell in began:
        tell(fd)
    return True


def forget_plans() -> None:
    """In a forked child: they are the parent's."""
    for known in plans.values():
        known.clear()


listening.changed.append(forget_misses)
listening.began.append(lambda fd: forget_misses())


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
    if sock in foreign_tls or (hasattr(sock, "_sslobj") and not _tls_is_grafted()):
        reason = reasons.TLS_NOT_SUPPORTED
    else:
        reason = try_switch(sock, numeric)
    if reason is reasons.SWITCHED:
        _missed.pop(address, None)
        if numeric is address and not numeric[0].startswith("::ffff:"):
            plan(sock, address, fd)
        for tell in began:
            tell(fd)
        if base.gettimeout(sock) == 0.0 and connections[fd].is_early:
            raise _failure(errno.EINPROGRESS)  # as TCP says of every connection at first
        return numeric, True
    now = settings.current()
    if now.require:
        raise ConnectionError(
            f"connection to {numeric[0]} port {numeric[1]} cannot be switched: {reason.explain()}"
        )
    note_plain(fd, "connect", reason, peer=numeric)
    remember(sock, address, reason)
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
    listeners.begin(base.fileno(self))


def _accept(self: Any, timeout: float | None = None) -> tuple[int, Any]:
    """The next connection, switched or TCP.

    `timeout`: seconds that are left, where some of the socket's own are over.
    """
    fd = base.fileno(self)
    listener = listeners.accepting(fd) if fd >= 0 and _is_tcp(self) else None
    if listener is not None:
        return listener.accept(base.gettimeout(self) if timeout is None else timeout)
    listeners.blocking_again(fd)
    accepted: tuple[int, Any] = base._accept(self)  # type: ignore[attr-defined]
    forget(accepted[0])
    alone = plain.get(fd)
    if alone is not None:  # a listener that is TCP's alone
        note_plain(accepted[0], "accept", alone.reason, peer=accepted[1])
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
    if known.stream.aborted:
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
    assert native is not None
    if known is None:
        if is_untouched(fd):
            native.unmark(fd, native.UNTOUCHED)
        base.setsockopt(self, *args)
        listener = listening.listeners.get(fd)
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
    if args[:2] == PENDING_ERROR and len(args) == 2:
        return known.stream.error(take=True)
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
    elif known.stream.aborted:
        raise _failure(errno.ENOTCONN)
    else:
        known.stream.shutdown(how)


def forget_all() -> None:
    """The grafts are out: nobody tells of descriptors any more."""
    assert native is not None
    forget_misses()
    listening.listening.clear()
    native.unmark_range(0, 1 << 20)


def released(fd: int) -> None:
    """A descriptor is about to be closed: end what hangs on it."""
    known = connections.get(fd)
    if known is not None and is_offered(known):
        settle(fd)
        known = connections.get(fd)  # None if it is TCP's now
    if known is not None:
        known.release(fd)
    forget_plain(fd)
    _end_records(fd)


def is_offered(known: Connection) -> bool:
    """Whether nobody has taken a connection yet that something was sent on."""
    assert native is not None
    return bool(known.stream.state == native.OFFERED and known.stream.queued())


def settle(fd: int) -> None:
    """Before such a one is closed: what was sent must not be lost."""
    try:
        from wsdirect.switch import handover  # rarely needed, so loaded late
    except ImportError:
        return  # the interpreter ends; who takes the offer finds the bytes in the ring
    handover.settle(fd)


def reused(fd: int) -> None:
    """It was closed behind our back (by C code) and stands for something else now."""
    forget(fd)
    _end_records(fd)


def _end_records(fd: int) -> None:
    assert native is not None
    if fd in listening.listening or fd in listening.listeners:
        listeners.close_listener(fd)
    if native.mark_of(fd) & (native.WATCHED | native.SAN):
        pollers.ended(fd)
    native.unmark(fd)


INIT_NAMES = ("AF_INET", "SOCK_STREAM", "_socket", "socket", "__init__", "_io_refs", "_closed")
"""What the standard library's socket.__init__ speaks of, in CPython 3.11 to 3.13."""


def make_init(
    original: Any, opening: Callable[[Any, Any], bool], opened: Callable[[Any, bool], None]
) -> Callable[..., None]:
    """socket.socket.__init__: knows switched descriptors; a new number means a new socket.

    A descriptor may have come from another process.  It does what the standard library's does, as
    a call of that would cost every socket one more frame; if somebody else's function stands there,
    that is called.
    """
    code = getattr(original, "__code__", None)
    known_body = code is not None and code.co_names == INIT_NAMES
    begin: Callable[..., None] = base.__init__ if known_body else original
    inet, stream = int(_socket.AF_INET), SOCK_STREAM

    def __init__(
        self: Any, family: int = -1, type: int = -1, proto: int = -1, fileno: Any = None
    ) -> None:
        if fileno is None:
            if family == -1:
                family = inet
            if type == -1:
                type = stream
            if proto == -1:
                proto = 0
        elif opening(fileno, family):
            known = connections.get(fileno) or bare.recognize(fileno, int(family))
            if known is not None:  # no TCP socket stands there to say this
                family = known.family if family == -1 else family
                type = stream if type == -1 else type
                proto = IPPROTO_TCP if proto == -1 else proto
        begin(self, family, type, proto, fileno)
        self._io_refs = 0
        self._closed = False
        opened(self, fileno is None)

    return __init__


GUARDED = {
    function.__name__: function
    for function in (
        bind, connect, connect_ex, _accept, getpeername, getsockname, getsockopt, recvfrom,
        recvfrom_into, recvmsg, recvmsg_into, sendto, setsockopt, shutdown,
    )
}  # fmt: skip


def guarded(cls: Any) -> dict[str, Any]:
    """The methods to set on socket.socket, beyond the hot ones and listen()."""
    assert native is not None
    native.mark_callbacks(released, reused)
    close = cls._real_close
    # it does nothing but _socket.socket.close(self), so that may as well be called
    only_closes = (
        getattr(close, "__module__", None) == "socket"
        and getattr(close, "__defaults__", None) == (base,)
        and close.__code__.co_names == ("close",)
    )
    methods: dict[str, Any] = native.guarded_methods(
        cls,
        {**GUARDED, "planned": connect_as_planned},
        (misses, plans),
        listening.listeners,
        only_closes,
    )
    opening, opened = methods.pop("opening"), methods.pop("opened")
    init = make_init(cls.__init__, opening, opened)
    init.__annotations__ = {}  # inspect.signature() as before
    methods["__init__"] = like(cls.__init__)(init)
    return methods
