"""What is on this host: IP addresses, and TCP listeners."""

from __future__ import annotations

import _socket
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["is_local", "tcp_listens"]

_REMEMBERED: Final = 1.0  # seconds that an answer is believed
_MOST: Final = 4096
_TCP_TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
_TCP_LISTEN: Final = "0A"
_known: dict[str, tuple[bool, float]] = {}


def is_local(host: str) -> bool:
    """Whether a numeric address is one of this host's; the answer may be a second old.

    Link-local IPv6 addresses do not count: without the interface they say too little.
    """
    if host.startswith("127.") or host == "::1":
        return True
    now = monotonic()
    found = _known.get(host)
    if found is not None and now < found[1]:
        return found[0]
    if len(_known) >= _MOST:
        _known.clear()
    local = _routes_to_itself(host)
    _known[host] = local, now + _REMEMBERED
    return local


def _routes_to_itself(host: str) -> bool:
    """For an address of its own, and no other, the kernel sends from that same address.

    Asked by connecting a UDP socket, which sends nothing.  (Trying to bind the address would also
    succeed for foreign ones where net.ipv4.ip_nonlocal_bind is set.)
    """
    family = _socket.AF_INET6 if ":" in host else _socket.AF_INET
    try:
        probe = _socket.socket(family, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    except OSError:  # no such family here
        return False
    try:
        probe.connect((host, 9))
        return bool(probe.getsockname()[0] == host)
    except OSError:
        return False
    finally:
        probe.close()


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
