"""Ephemeral ports: a switched connection has the local name that TCP would have given it.

Binding a socket for every connection would cost as much as the rest of connecting, so sockets are
bound once and their ports handed out in turn, never one that is in use with the same peer.  Beyond
POOLED ports per address the socket is not kept: a program with thousands of connections to one
server pays for a bind each, not for a descriptor each.
"""

from __future__ import annotations

import _socket
import os
from _thread import allocate_lock

from wsdirect.switch.addresses import family_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wsdirect.switch.addresses import Endpoint

POOLED = 64


class Lease:
    """One port in use with one peer."""

    __slots__ = ("host", "peer", "port")

    def __init__(self, host: str, port: int, peer: Endpoint) -> None:
        self.host = host
        self.port = port
        self.peer = peer


class _Address:
    """The ports of one local address."""

    __slots__ = ("sockets", "turn", "used")

    def __init__(self) -> None:
        # (port, descriptor): no socket objects, which would complain that nobody closes them when a
        # program that wants to hear of such things (-X dev) ends
        self.sockets: list[tuple[int, int]] = []
        self.turn = 0
        self.used: dict[tuple[int, Endpoint], int] = {}


class PortPool:
    """Ports of this process; not shared with forked children."""

    def __init__(self) -> None:
        self.addresses: dict[str, _Address] = {}
        self._lock = allocate_lock()  # two threads must not find the same port free

    def lease(self, host: str, peer: Endpoint) -> Lease:
        """A port of `host` that has no connection of ours to `peer`; OSError as bind raises it."""
        with self._lock:
            return self._lease(host, peer)

    def _lease(self, host: str, peer: Endpoint) -> Lease:
        address = self.addresses.get(host)
        if address is None:
            address = self.addresses.setdefault(host, _Address())
        for _ in range(len(address.sockets)):
            address.turn = (address.turn + 1) % len(address.sockets)
            port = address.sockets[address.turn][0]
            if (port, peer) not in address.used:
                return self._take(address, host, port, peer)
        while True:
            bound = _socket.socket(family_of(host), _socket.SOCK_STREAM)
            try:
                bound.bind((host, 0))
                port = bound.getsockname()[1]
            except BaseException:
                bound.close()
                raise
            if len(address.sockets) < POOLED:
                address.sockets.append((port, bound.detach()))
            else:
                bound.close()
            if (port, peer) not in address.used:
                return self._take(address, host, port, peer)

    def _take(self, address: _Address, host: str, port: int, peer: Endpoint) -> Lease:
        address.used[port, peer] = 1
        return Lease(host, port, peer)

    def release(self, lease: Lease) -> None:
        """The connection is over; releasing twice does nothing."""
        address = self.addresses.get(lease.host)
        if address is not None:
            address.used.pop((lease.port, lease.peer), None)

    def withdraw(self, lease: Lease) -> int:
        """The bound socket behind a lease, for a connection that goes on over TCP under its name.

        Returns a descriptor that the caller owns, or -1 if the port was not kept.
        """
        self.release(lease)
        with self._lock:
            return self._withdraw(lease)

    def _withdraw(self, lease: Lease) -> int:
        address = self.addresses.get(lease.host)
        if address is None:
            return -1
        for index, (port, bound) in enumerate(address.sockets):
            if port == lease.port and not any(used == port for used, _ in address.used):
                del address.sockets[index]
                return bound
        return -1

    def forget(self) -> None:
        """In a forked child: these are the parent's ports."""
        self._lock = allocate_lock()  # another thread of the parent may have held it
        for address in self.addresses.values():
            for _, bound in address.sockets:
                os.close(bound)
        self.addresses.clear()


pool = PortPool()
