"""The record of one socket."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

from wsdirect.providers.socket_table import Socket, Upcalls
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.testing.loopback.events import Selection

if TYPE_CHECKING:
    from wsdirect.spi.structures import Address
    from wsdirect.testing.loopback.connections import End
    from wsdirect.testing.loopback.memory import SocketMemory
    from wsdirect.testing.loopback.network import ConnectRequest, Listener

__all__ = ["LoopbackSocket", "parse"]

_E = WsaErrorCode


class LoopbackSocket(Socket):
    """A socket of the loopback provider; its state is `Socket`'s.

    Attributes:
        address: Local address; None before WSPBind.
        peer: Address of the peer; None before it is connected.
        selection: What WSPEventSelect asked for, and what has happened.
        listener: Of a listening socket.
        connecting: The request that WSPConnect waits for.
        end: Our end of the connection.
        memory: The memory registered on it.
        upcalls: Upcalls about it, in their order.
        debug: SO_DEBUG as set.
        no_delay: TCP_NODELAY as set; nothing is ever delayed.
    """

    __slots__ = (
        "address",
        "connecting",
        "debug",
        "end",
        "listener",
        "memory",
        "no_delay",
        "peer",
        "selection",
        "upcalls",
    )

    def __init__(self, memory: SocketMemory, catalog_id: int = 0) -> None:
        super().__init__(catalog_id)
        self.address: Address | None = None
        self.peer: Address | None = None
        self.selection = Selection()
        self.listener: Listener | None = None
        self.connecting: ConnectRequest | None = None
        self.end: End | None = None
        self.memory = memory
        self.upcalls = Upcalls()
        self.debug = False
        self.no_delay = False

    def inherit(self, other: LoopbackSocket) -> None:
        """Take over the options of a listening socket, or of the socket this one goes on for."""
        self.debug = other.debug
        self.no_delay = other.no_delay


def parse(address: Any, call: str, other_family: int) -> Address:
    """The (host, port) that a caller gave, checked.

    Args:
        address: What the caller gave.
        call: Name of the function, for errors.
        other_family: Winsock code for an address that is IP, but not IPv4.

    Errors:
        WSAEFAULT: it is no address.
    """
    try:
        host, port = address
        if isinstance(host, str) and isinstance(port, int) and 0 <= port <= 0xFFFF:
            try:
                return str(IPv4Address(host)), port
            except AddressValueError:
                IPv6Address(host.partition("%")[0])
                raise WSAError(other_family, call, "It is not an IPv4 address.") from None
    except (TypeError, ValueError):  # AddressValueError is a ValueError
        pass
    raise WSAError(_E.WSAEFAULT, call, f"{address!r} is no address.")
