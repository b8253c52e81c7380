"""Socket options of a switched connection: what TCP would say of them.

There is no TCP socket behind a switched connection (or a bound, never connected one at most), so
options are kept here.  A value that is set is first set on a real TCP socket, which judges it and
says how it reads back; for the few options that programs set on every connection the answer is
known and no socket is made.
"""

from __future__ import annotations

import _socket
import struct

from wsdirect.switch.addresses import AF_INET6, family_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SOL_SOCKET = _socket.SOL_SOCKET
IPPROTO_TCP = _socket.IPPROTO_TCP
SO_DOMAIN = 39
SO_PROTOCOL = 38
TCP_ESTABLISHED = 1

# On/off options that change nothing here: any integer is valid and reads back as 0 or 1.
SWITCHES = frozenset(
    {
        (IPPROTO_TCP, _socket.TCP_NODELAY),
        (SOL_SOCKET, _socket.SO_KEEPALIVE),
        (SOL_SOCKET, _socket.SO_REUSEADDR),
        (SOL_SOCKET, _socket.SO_OOBINLINE),
    }
)
# What accepted sockets inherit, and what a connecting socket brings along, beyond the switches.
CARRIED = (
    (SOL_SOCKET, _socket.SO_SNDBUF, 4),
    (SOL_SOCKET, _socket.SO_RCVBUF, 4),
    (SOL_SOCKET, _socket.SO_PRIORITY, 4),
    (SOL_SOCKET, _socket.SO_LINGER, 8),
    (IPPROTO_TCP, _socket.TCP_KEEPIDLE, 4),
    (IPPROTO_TCP, _socket.TCP_KEEPINTVL, 4),
    (IPPROTO_TCP, _socket.TCP_KEEPCNT, 4),
    (IPPROTO_TCP, _socket.TCP_USER_TIMEOUT, 4),
    (_socket.IPPROTO_IP, _socket.IP_TOS, 4),
)

OOBINLINE = (SOL_SOCKET, int(_socket.SO_OOBINLINE))
"""Kept by the stream, for all processes that share the connection."""

DOUBLED = frozenset({(SOL_SOCKET, _socket.SO_SNDBUF), (SOL_SOCKET, _socket.SO_RCVBUF)})
"""Options that the kernel doubles when they are set."""

_defaults: dict[int, dict[tuple[int, int], bytes]] = {}

get = _socket.socket.getsockopt
put = _socket.socket.setsockopt


def _read(sock: Any) -> dict[tuple[int, int], bytes]:
    found = {}
    for level, name in SWITCHES:
        found[level, name] = get(sock, level, name, 4)
    for level, name, size in CARRIED:
        found[level, name] = get(sock, level, name, size)
    return found


def carried(sock: Any) -> dict[tuple[int, int], bytes]:
    """The options of a TCP socket that differ from a fresh one's, raw."""
    family = family_number(sock)
    defaults = _defaults.get(family)
    if defaults is None:
        fresh = _socket.socket(family, _socket.SOCK_STREAM)
        try:
            defaults = _defaults[family] = _read(fresh)
        finally:
            fresh.close()
    return {key: value for key, value in _read(sock).items() if value != defaults[key]}


def linger_of(values: dict[tuple[int, int], bytes]) -> bool:
    """Whether close must reset the connection: SO_LINGER on, 0 seconds."""
    value = values.get((SOL_SOCKET, _socket.SO_LINGER))
    return value is not None and len(value) >= 8 and struct.unpack("=ii", value[:8]) == (1, 0)


def inline_of(values: dict[tuple[int, int], bytes]) -> bool:
    """Whether urgent bytes stay in the stream: SO_OOBINLINE."""
    return any(values.get(OOBINLINE, b""))


def window_of(values: dict[tuple[int, int], bytes]) -> int | None:
    """Bytes that may be on their way, if the program set SO_SNDBUF (as read back: doubled)."""
    value = values.get((SOL_SOCKET, _socket.SO_SNDBUF))
    return None if value is None else int(struct.unpack("=i", value[:4])[0])


class Options:
    """The options of one connection."""

    __slots__ = ("family", "values")

    def __init__(self, family: int, values: dict[tuple[int, int], bytes]) -> None:
        self.family = family
        self.values = values

    def _probe(self) -> _socket.socket:
        """A TCP socket with these options; the caller closes it."""
        probe = _socket.socket(self.family, _socket.SOCK_STREAM)
        self.apply_to(probe)
        return probe

    def apply_to(self, sock: _socket.socket) -> None:
        """Set all of them on a real TCP socket."""
        for (level, name), value in self.values.items():
            if (level, name) in DOUBLED:
                value = struct.pack("=i", struct.unpack("=i", value)[0] // 2)
            put(sock, level, name, value)

    def set(self, level: int, name: int, *value: Any) -> None:
        """As socket.setsockopt; OSError and TypeError as a TCP socket raises them."""
        if (level, name) in SWITCHES and len(value) == 1 and isinstance(value[0], int):
            self.values[level, name] = struct.pack("=i", 1 if value[0] else 0)
            return
        probe = self._probe()
        try:
            put(probe, level, name, *value)
            try:
                self.values[level, name] = get(probe, level, name, 256)
            except OSError:
                return  # write-only options, such as IPV6_JOIN_GROUP
        finally:
            probe.close()

    def get(self, level: int, name: int, *size: int) -> int | bytes:
        """As socket.getsockopt."""
        value: bytes | None = None
        if level == SOL_SOCKET:
            if name in (_socket.SO_ERROR, _socket.SO_ACCEPTCONN):
                value = struct.pack("=i", 0)
            elif name == _socket.SO_TYPE:
                value = struct.pack("=i", _socket.SOCK_STREAM)
            elif name == SO_DOMAIN:
                value = struct.pack("=i", self.family)
            elif name == SO_PROTOCOL:
                value = struct.pack("=i", IPPROTO_TCP)
        if value is None:
            value = self.values.get((level, name))
        if value is not None:
            if not size or size[0] == 0:
                return int(struct.unpack("=i", value[:4])[0])
            if 0 < size[0] <= 1024:
                return value[: size[0]]
        probe = self._probe()
        try:
            answer: int | bytes = get(probe, level, name, *size)
        finally:
            probe.close()
        if (
            level == IPPROTO_TCP
            and name == _socket.TCP_INFO
            and isinstance(answer, bytes)
            and answer
        ):
            answer = bytes([TCP_ESTABLISHED]) + answer[1:]
        return answer


def only_v6(sock: Any) -> bool:
    """Whether an AF_INET6 socket refuses IPv4 peers."""
    if sock.family != AF_INET6:
        return False
    return bool(get(sock, _socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY))
