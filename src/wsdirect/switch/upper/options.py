"""Socket options: one table of what there is, its first values and what the kernel is told.

A value that a program sets reads back as it was set, whatever carries the connection.
"""

from __future__ import annotations

import _socket
import struct
import time
from enum import IntEnum

from wsdirect.spi import constants as c
from wsdirect.spi.constants import IPPROTO_TCP, SOL_SOCKET
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.native import IPPROTO_IPV6, IPV6_V6ONLY
from wsdirect.spi.structures import LINGER
from wsdirect.switch.upper.endpoints import StreamEndpoint
from wsdirect.switch.upper.names import AF_INET6
from wsdirect.switch.upper.tables import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from wsdirect.switch.upper.sockets import Socket

__all__ = ["OPTIONS", "carry", "get_option", "inherit", "set_option"]

IPPROTO_IP = 0
INFO_SIZES = {c.SO_PROTOCOL_INFO: 628, c.SO_PROTOCOL_INFOA: 372}
LEAST_BUFFER = 16384  # bytes; less would make TCP crawl, and programs only ever read it back


class Kind(IntEnum):
    """What a value looks like."""

    BOOL = 0
    INT = 1
    LINGER = 2


class Option:
    """One row of the table.

    Args:
        kind: What its value looks like.
        first: Its value before it is set.
        kernel: Level and name of the TCP socket's option that follows it.
        fixed: Programs cannot set it.
        short: Fewest bytes that it can be set or read with.
    """

    __slots__ = ("first", "fixed", "kernel", "kind", "short")

    def __init__(
        self,
        kind: Kind,
        first: Any = 0,
        kernel: tuple[int, int] | None = None,
        fixed: bool = False,
        short: int = 4,
    ) -> None:
        self.kind = kind
        self.first = first
        self.kernel = kernel
        self.fixed = fixed
        self.short = short


_SOL = _socket.SOL_SOCKET
_TCP = _socket.IPPROTO_TCP
_flag = Option(Kind.BOOL)

# fmt: off
OPTIONS: Final[dict[tuple[int, int], Option]] = {
    (SOL_SOCKET, c.SO_DEBUG): _flag,
    (SOL_SOCKET, c.SO_ACCEPTCONN): Option(Kind.BOOL, fixed=True),
    (SOL_SOCKET, c.SO_REUSEADDR): Option(Kind.BOOL, 0, (_SOL, _socket.SO_REUSEADDR)),
    (SOL_SOCKET, c.SO_EXCLUSIVEADDRUSE): _flag,
    (SOL_SOCKET, c.SO_KEEPALIVE): Option(Kind.BOOL, 0, (_SOL, _socket.SO_KEEPALIVE)),
    (SOL_SOCKET, c.SO_DONTROUTE): _flag,
    (SOL_SOCKET, c.SO_BROADCAST): _flag,
    (SOL_SOCKET, c.SO_USELOOPBACK): _flag,
    (SOL_SOCKET, c.SO_LINGER): Option(Kind.LINGER, LINGER(0, 0)),
    (SOL_SOCKET, c.SO_DONTLINGER): Option(Kind.BOOL, 1),
    (SOL_SOCKET, c.SO_OOBINLINE): Option(Kind.BOOL, 0, (_SOL, _socket.SO_OOBINLINE)),
    (SOL_SOCKET, c.SO_SNDBUF): Option(Kind.INT, 65536),
    (SOL_SOCKET, c.SO_RCVBUF): Option(Kind.INT, 65536),
    (SOL_SOCKET, c.SO_SNDTIMEO): Option(Kind.INT),
    (SOL_SOCKET, c.SO_RCVTIMEO): Option(Kind.INT),
    (SOL_SOCKET, c.SO_ERROR): Option(Kind.INT, fixed=True),
    (SOL_SOCKET, c.SO_TYPE): Option(Kind.INT, c.SOCK_STREAM, fixed=True),
    (SOL_SOCKET, c.SO_CONDITIONAL_ACCEPT): _flag,
    (SOL_SOCKET, c.SO_RANDOMIZE_PORT): _flag,
    (SOL_SOCKET, c.SO_PORT_SCALABILITY): _flag,
    (SOL_SOCKET, c.SO_REUSE_UNICASTPORT): _flag,
    (SOL_SOCKET, c.SO_OPENTYPE): Option(Kind.INT),
    (SOL_SOCKET, c.SO_CONNECT_TIME): Option(Kind.INT, 0xFFFFFFFF, fixed=True),
    (IPPROTO_TCP, c.TCP_NODELAY): Option(Kind.BOOL, 0, (_TCP, _socket.TCP_NODELAY), short=1),
    (IPPROTO_TCP, c.TCP_EXPEDITED_1122): Option(Kind.BOOL, short=1),
    (IPPROTO_TCP, c.TCP_KEEPALIVE): Option(Kind.INT, 7200, (_TCP, _socket.TCP_KEEPIDLE)),
    (IPPROTO_TCP, c.TCP_MAXSEG): Option(Kind.INT, 1460, fixed=True),
    (IPPROTO_TCP, c.TCP_MAXRT): Option(Kind.INT),
    (IPPROTO_TCP, c.TCP_TIMESTAMPS): Option(Kind.BOOL, short=1),
    (IPPROTO_TCP, c.TCP_FASTOPEN): Option(Kind.BOOL, short=1),
    (IPPROTO_TCP, c.TCP_KEEPCNT): Option(Kind.INT, 10, (_TCP, _socket.TCP_KEEPCNT)),
    (IPPROTO_TCP, c.TCP_KEEPINTVL): Option(Kind.INT, 1, (_TCP, _socket.TCP_KEEPINTVL)),
    (IPPROTO_IP, 3): Option(Kind.INT, 0, (_socket.IPPROTO_IP, _socket.IP_TOS), short=1),
    (IPPROTO_IP, 4): Option(Kind.INT, 128, (_socket.IPPROTO_IP, _socket.IP_TTL), short=1),
    (IPPROTO_IP, 14): Option(Kind.BOOL, short=1),  # IP_DONTFRAGMENT
    (IPPROTO_IPV6, IPV6_V6ONLY): Option(
        Kind.BOOL, 1, (_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY), short=1
    ),
    (IPPROTO_IPV6, 4): Option(
        Kind.INT, 128, (_socket.IPPROTO_IPV6, _socket.IPV6_UNICAST_HOPS), short=1
    ),
}
# fmt: on
LEVELS = frozenset(level for level, _ in OPTIONS)
OWN = frozenset(  # what an accepted socket does not take over
    {(SOL_SOCKET, c.SO_EXCLUSIVEADDRUSE), (SOL_SOCKET, c.SO_OPENTYPE)}
)


def _find(sock: Socket, level: int, option: int, call: str) -> Option:
    if level not in LEVELS or (level == IPPROTO_IPV6 and sock.family != AF_INET6):
        raise WSAError(WsaErrorCode.WSAEINVAL, call, f"There is no level {level:#x}.")
    found = OPTIONS.get((level, option))
    if found is None:
        raise WSAError(WsaErrorCode.WSAENOPROTOOPT, call)
    return found


# -- reading ---------------------------------------------------------------------------------------


def _connect_time(sock: Socket) -> int:
    if sock.connected_at is None or sock.state not in (State.CONNECTED, State.BROKEN):
        return 0xFFFFFFFF
    return int(time.monotonic() - sock.connected_at)


_LIVE: Final[dict[tuple[int, int], Callable[[Socket], Any]]] = {
    (SOL_SOCKET, c.SO_ACCEPTCONN): lambda sock: int(sock.state is State.LISTENING),
    (SOL_SOCKET, c.SO_ERROR): lambda sock: int(sock.outcome or 0),
    (SOL_SOCKET, c.SO_CONNECT_TIME): _connect_time,
    (SOL_SOCKET, c.SO_DONTLINGER): lambda sock: int(not linger_of(sock)[0]),
}


def linger_of(sock: Socket) -> LINGER:
    """SO_LINGER."""
    found: LINGER = sock.options.get((SOL_SOCKET, c.SO_LINGER), LINGER(0, 0))
    return found


def value_of(sock: Socket, option: int) -> int:
    """An option at level SOL_SOCKET."""
    found = sock.options.get((SOL_SOCKET, option))
    return int(OPTIONS[SOL_SOCKET, option].first if found is None else found)


def get_option(sock: Socket, level: int, option: int, size: int | None) -> Any:
    """WSPGetSockOpt."""
    call = "WSPGetSockOpt"
    if level == SOL_SOCKET and option in INFO_SIZES:
        needed = INFO_SIZES[option]  # type: ignore[index]
        if size is not None and size < needed:
            raise WSAError.too_small(call, needed)
        return sock.info.replace()
    found = _find(sock, level, option, call)
    if size is not None and size < found.short:
        raise WSAError.too_small(call, 4)
    live = _LIVE.get((level, option))
    if live is not None:
        return live(sock)
    return sock.options.get((level, option), found.first)


# -- setting ---------------------------------------------------------------------------------------


def _number(value: Any, short: int, call: str) -> int:
    if isinstance(value, int):
        return value & 0xFFFFFFFF
    try:
        raw = bytes(value)
    except TypeError:
        raise WSAError(WsaErrorCode.WSAEFAULT, call, "An int or its bytes are needed.") from None
    if len(raw) < short or not raw:
        raise WSAError(WsaErrorCode.WSAEFAULT, call, "Too few bytes.")
    return int.from_bytes(raw[:4], "little")


def _linger(value: Any, call: str) -> LINGER:
    if isinstance(value, tuple) and len(value) == 2:
        return LINGER(int(bool(value[0])), int(value[1]) & 0xFFFF)
    try:
        raw = bytes(value) if not isinstance(value, int) else b""
    except TypeError:
        raw = b""
    if len(raw) < 4:
        raise WSAError(WsaErrorCode.WSAEFAULT, call, "A LINGER or its four bytes are needed.")
    on, seconds = struct.unpack_from("<HH", raw)
    return LINGER(int(bool(on)), seconds)


def set_option(sock: Socket, level: int, option: int, value: Any) -> None:
    """WSPSetSockOpt, but for what concerns more than this socket."""
    call = "WSPSetSockOpt"
    found = _find(sock, level, option, call)
    if found.fixed:
        raise WSAError(WsaErrorCode.WSAENOPROTOOPT, call)
    key = (level, option)
    if found.kind is Kind.LINGER:
        sock.options[key] = _linger(value, call)
        return
    number = _number(value, found.short, call)
    if found.kind is Kind.BOOL:
        number = int(bool(number))
    if key == (SOL_SOCKET, c.SO_DONTLINGER):
        seconds = linger_of(sock)[1]
        sock.options[SOL_SOCKET, c.SO_LINGER] = LINGER(int(not number), seconds)
        return
    _exclusive(sock, key, number, call)
    sock.options[key] = number
    _tell_kernel(sock, key, found, number)


def _exclusive(sock: Socket, key: tuple[int, int], number: int, call: str) -> None:
    pair = (c.SO_REUSEADDR, c.SO_EXCLUSIVEADDRUSE)
    if key[0] != SOL_SOCKET or key[1] not in pair or not number:
        return
    other = pair[1] if key[1] == pair[0] else pair[0]
    if value_of(sock, other) or (key[1] == pair[1] and sock.bound):
        raise WSAError(WsaErrorCode.WSAEINVAL, call)


def _tell_kernel(sock: Socket, key: tuple[int, int], option: Option, number: int) -> None:
    level, name = key
    endpoint = sock.endpoint
    if level == SOL_SOCKET and name in (c.SO_SNDBUF, c.SO_RCVBUF):
        least = max(number, LEAST_BUFFER)
        which = _socket.SO_SNDBUF if name == c.SO_SNDBUF else _socket.SO_RCVBUF
        _put(sock, _SOL, which, min(least, 1 << 30))
        if name == c.SO_SNDBUF and isinstance(endpoint, StreamEndpoint):
            endpoint.stream.limit(least)
        return
    if level == SOL_SOCKET and name == c.SO_OOBINLINE and endpoint is not None:
        endpoint.inline(bool(number))
    if option.kernel is not None:
        _put(sock, *option.kernel, number)


def _put(sock: Socket, level: int, name: int, value: int) -> None:
    if sock.tcp is None:
        return
    try:
        sock.tcp.setsockopt(level, name, value)
    except (OSError, OverflowError):
        pass  # it still reads back, which is what programs look at


def carry(sock: Socket) -> None:
    """A connection has begun: what was set before applies to it, too."""
    for key, number in sock.options.items():
        if OPTIONS[key].kind is not Kind.LINGER:
            _tell_kernel(sock, key, OPTIONS[key], number)


def inherit(listener: Socket, accepted: Socket) -> None:
    """An accepted socket has its listener's options."""
    for key, value in listener.options.items():
        if key not in OWN:
            accepted.options[key] = value
