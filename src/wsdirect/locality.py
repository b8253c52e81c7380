"""What is on this host: IP addresses, TCP listeners, and the network namespace that they are in."""

from __future__ import annotations

import _socket
import os
import struct
import sys
from math import inf
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

__all__ = ["believed_until", "home", "is_at_home", "is_local", "source_for", "tcp_listens"]

_REMEMBERED: Final = 1.0  # seconds that an answer is believed
_MOST: Final = 4096
_TCP_TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
_TCP_LISTEN: Final = "0A"
_LOOPBACK: Final = ("127.0.0.1", "::1")
_known: dict[str, tuple[str, float]] = {}


def is_local(host: str) -> bool:
    """Whether a numeric address is one of this host's; the answer may be a second old.

    Link-local IPv6 addresses do not count: without the interface they say too little.
    """
    return _source(host) != ""


def believed_until(host: str) -> float:
    """When (time.monotonic()) to ask again what is known of a local address; 0.0: now."""
    if host in _LOOPBACK:
        return inf
    found = _known.get(host)
    return found[1] if found is not None and found[0] else 0.0


def source_for(host: str) -> str:
    """The address that the kernel gives a socket which connects to this local address.

    Mostly the address itself, but 127.0.0.1 for all of 127.0.0.0/8, and the first address of the
    subnet for the others in it.
    """
    return _source(host) or host


def _source(host: str) -> str:
    """As source_for(); "" for an address that is not of this host."""
    if host in _LOOPBACK:
        return host
    now = monotonic()
    found = _known.get(host)
    if found is not None and now < found[1]:
        return found[0]
    if len(_known) >= _MOST:
        _known.clear()
    source = _routed_source(host)
    _known[host] = source, now + _REMEMBERED
    return source


def _routed_source(host: str) -> str:
    """Ask the kernel how it would send there.

    By connecting a UDP socket, which sends nothing: a source that is the destination itself makes
    it local.  Another source may still be one of a local address, which the routing table tells.
    (Trying to bind the address would also succeed for foreign ones where net.ipv4.ip_nonlocal_bind
    is set.)
    """
    family = _socket.AF_INET6 if ":" in host else _socket.AF_INET
    try:
        probe = _socket.socket(family, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    except OSError:  # no such family here
        return ""
    try:
        probe.connect((host, 9))
        source: str = probe.getsockname()[0]
    except OSError:
        return ""
    finally:
        probe.close()
    return source if source == host or _route_is_local(family, host) else ""


# -- the routing table -----------------------------------------------------------------------------

_NETLINK_ROUTE: Final = 0
_RTM_NEWROUTE: Final = 24
_RTM_GETROUTE: Final = 26
_NLM_F_REQUEST: Final = 1
_RTA_DST: Final = 1
_RTN_LOCAL: Final = 2
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg; the eighth byte is the route's type
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type


def _route_is_local(family: int, host: str) -> bool:
    """Whether the route to an address ends in this host; False if the kernel does not say."""
    address = _socket.inet_pton(family, host)
    body = _ROUTE.pack(family, 8 * len(address), 0, 0, 0, 0, 0, 0, 0)
    body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(address), _RTA_DST) + address
    request = _HEADER.pack(_HEADER.size + len(body), _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0) + body
    try:
        asker = _socket.socket(
            _socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _NETLINK_ROUTE
        )
    except OSError:  # forbidden, as in some sandboxes
        return False
    try:
        asker.settimeout(1.0)
        asker.sendto(request, (0, 0))
        answer = asker.recv(4096)
    except OSError:
        return False
    finally:
        asker.close()
    if len(answer) < _HEADER.size + _ROUTE.size or _HEADER.unpack_from(answer)[1] != _RTM_NEWROUTE:
        return False
    return bool(_ROUTE.unpack_from(answer, _HEADER.size)[7] == _RTN_LOCAL)


# -- the network namespace -------------------------------------------------------------------------

_SO_NETNS_COOKIE: Final = 71  # Linux 5.14
_home: bytes | None = None
_get = _socket.socket.getsockopt


def is_at_home(sock: Any) -> bool:
    """Whether a socket is in the network namespace that this process began to switch in.

    A process may enter another namespace, and keep sockets of the one it came from: the same
    address is another host there.  What this process remembers of addresses, ports and listeners
    is true at home only, so everything else stays on TCP.  True, too, where the kernel (before
    Linux 5.14) does not tell namespaces apart.
    """
    global _home
    try:
        cookie: bytes = _get(sock, _socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
    except OSError:
        return True
    if _home is None:
        _home = _cookie_now()
        _look_after_forks()
    return cookie == _home


def home() -> int:
    """The number of the network namespace that is_at_home() speaks of; 0: the kernel has none."""
    return 0 if _home is None else int.from_bytes(_home, sys.byteorder)


def _cookie_now() -> bytes:
    """The namespace of the sockets that this thread makes."""
    probe = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        return probe.getsockopt(_socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
    finally:
        probe.close()


_looked_after = False


def _look_after_forks() -> None:
    """A child that moves elsewhere before it connects is at home there."""
    global _looked_after
    if not _looked_after:
        _looked_after = True
        os.register_at_fork(after_in_child=_forget_home)


def _forget_home() -> None:
    global _home
    _home = None


# -- TCP -------------------------------------------------------------------------------------------


def tcp_listens(port: int) -> bool:
    """Whether TCP may have a listener on this port: a socket of this network namespace listens.

    True also if that cannot be found out.  Takes as long as reading the table of all connections.
    """
    wanted = f":{port:04X}"
    for path in _TCP_TABLES:
        try:
            with open(path, encoding="ascii") as table:
                next(table, None)
                for line in table:
                    fields = line.split(None, 4)
                    if fields[3] == _TCP_LISTEN and fields[1].endswith(wanted):
                        return True
        except FileNotFoundError:
            if path == _TCP_TABLES[0]:
                return True
        except (OSError, IndexError, ValueError):
            return True
    return False
