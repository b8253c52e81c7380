"""Addresses as sockets show them, and as the switch compares them.

A socket of family AF_INET6 shows an IPv4 peer as ::ffff:1.2.3.4; for the switch both are the host
"1.2.3.4", because that is the address that a listener of either family is reached at.
"""

from __future__ import annotations

import _socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Endpoint = tuple[str, int]  # normalized host, port

AF_INET = _socket.AF_INET
AF_INET6 = _socket.AF_INET6
MAPPED = "::ffff:"


def family_number(sock: Any) -> int:
    """A socket's address family as a number; the property of socket.socket makes an enum of it."""
    number: int = _family(sock)
    return number


_family = _socket.socket.family.__get__


def endpoint_of(sockaddr: tuple[Any, ...]) -> Endpoint | None:
    """Normalized (host, port) of a socket address; None for one with a scope (link-local)."""
    host: str = sockaddr[0]
    if len(sockaddr) > 3 and sockaddr[3]:
        return None
    if "%" in host:
        return None
    if host.startswith(MAPPED) and "." in host:
        host = host[len(MAPPED) :]
    return host, sockaddr[1]


def numeric(host: str, family: int) -> bool:
    """Whether this is an address of that family, not a name to look up."""
    try:
        _socket.inet_pton(family, host)
    except OSError:
        return False
    return True


def shown(family: int, endpoint: Endpoint) -> tuple[Any, ...]:
    """The address as a socket of that family shows it."""
    host, port = endpoint
    if family == AF_INET:
        return host, port
    if ":" not in host:
        host = MAPPED + host
    return host, port, 0, 0


def family_of(host: str) -> int:
    """The family that carries packets to this host."""
    return AF_INET6 if ":" in host else AF_INET


def spi_family(host: str) -> int:
    """The same in the SPI's numbers."""
    from wsdirect.spi.native import (
        AF_INET6,  # loads a good part of the SPI: not before it is needed
    )

    return AF_INET6 if ":" in host else AF_INET


def is_wildcard(host: str) -> bool:
    """Whether this stands for every address of the host."""
    return host in ("0.0.0.0", "::")
