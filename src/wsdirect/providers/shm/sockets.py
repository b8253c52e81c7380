"""The provider's record of one socket."""

from __future__ import annotations

import os
from _thread import allocate_lock

from wsdirect.providers.shm.names import parse_host
from wsdirect.providers.socket_table import Socket, Upcalls
from wsdirect.spi.constants import AF_INET
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.telling import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wsdirect._core import _native
    from wsdirect.providers.shm.connecting import Connecting
    from wsdirect.providers.shm.duplicate import Handover
    from wsdirect.providers.shm.events import Selection
    from wsdirect.providers.shm.listener import Arrival, Listener
    from wsdirect.providers.shm.names import Host
    from wsdirect.providers.shm.transfer import Channel
    from wsdirect.spi.structures import Address

    Stream = _native.Stream

__all__ = ["SanSocket", "end_stream"]

_E = WsaErrorCode


class SanSocket(Socket):
    """A socket of the shared-memory SAN.

    Attributes:
        family: AF_INET, or AF_INET6 in Winsock's numbering.
        native: It is a native stream, not messages.
        early: SO_EARLY.
        v6only: Listening on the IPv6 wildcard takes no IPv4 connections.
        debug: SO_DEBUG as set.
        no_delay: TCP_NODELAY as set; nothing is ever delayed.
        host: Local address, None before WSPBind.
        port: Its port.
        peer: Address of the peer, None if not connected.
        peer_port: Its port.
        listener: Of a listening socket.
        deferred: Requests that a condition function put off, the first first.
        stream: The connection of a native stream.
        channel: The connection of a socket for messages.
        connecting: The answer that WSPConnect waits for.
        handover: A connection or listener on its way to another process.
        selection: What WSPEventSelect asked for; None before the first call.
        told: Upcalls that do not come from the channel; None before the first one.
        lock: For whatever changes the state of the connection.  No upcall is made under it.
    """

    __slots__ = (
        "channel",
        "connecting",
        "debug",
        "deferred",
        "early",
        "family",
        "handover",
        "host",
        "listener",
        "lock",
        "native",
        "no_delay",
        "peer",
        "peer_port",
        "port",
        "selection",
        "stream",
        "told",
        "v6only",
    )

    def __init__(self, family: int = AF_INET, catalog_id: int = 0) -> None:
        super().__init__(catalog_id)
        self.family = family
        self.native = False
        self.early = False
        self.v6only = False
        self.debug = False
        self.no_delay = False
        self.host: Host | None = None
        self.port = 0
        self.peer: Host | None = None
        self.peer_port = 0
        self.listener: Listener | None = None
        self.deferred: list[Arrival] = []
        self.stream: Stream | None = None
        self.channel: Channel | None = None
        self.connecting: Connecting | None = None
        self.handover: Handover | None = None
        self.selection: Selection | None = None
        self.told: Upcalls | None = None
        self.lock = allocate_lock()

    def parse(self, address: Address, call: str, wrong_family: int) -> tuple[Host, int]:
        """Host and port of an address for this socket.

        Args:
            address: (host, port), the host as an IP address.
            call: Name of the function, for errors.
            wrong_family: Code of the error for an address of another family.

        Errors:
            WSAEFAULT: it is no such address.
        """
        try:
            host, port = parse_host(address[0]), address[1]
            valid = 0 <= port <= 0xFFFF
        except (OSError, ValueError, TypeError, LookupError):
            raise WSAError(_E.WSAEFAULT, call, f"{address!r} is no IP address.") from None
        if not valid:
            raise WSAError(_E.WSAEFAULT, call, f"{port!r} is no port.")
        if self.family == AF_INET and not host.v4:
            raise WSAError(wrong_family, call)
        return host, port

    def inherit(self, listening: SanSocket, arrival: Arrival) -> None:
        """Become the accepting end of a connection request."""
        offer = arrival.offer
        self.native = listening.native
        self.debug = listening.debug
        self.no_delay = listening.no_delay
        self.host = offer.remote
        self.port = offer.remote_port
        self.peer = offer.local
        self.peer_port = offer.local_port

    def note(self, text: str) -> None:
        """Debug output, for a socket with SO_DEBUG set (R-072): told unless nothing at all is."""
        tell("error", f"socket {self.descriptor:#x}: {text}")

    def held_streams(self) -> list[Stream]:
        """Every connection end that this socket holds itself, not those on their way elsewhere."""
        streams = [arrival.stream for arrival in self.deferred]
        for stream in (
            self.stream,
            self.channel.stream if self.channel is not None and self.handover is None else None,
            self.connecting.stream if self.connecting is not None else None,
        ):
            if stream is not None:
                streams.append(stream)
        return streams

    def shown(self, host: Host) -> str:
        """An address as a socket of this family shows it."""
        return host.text if host.v4 is (self.family == AF_INET) else f"::ffff:{host.text}"


def end_stream(stream: Stream, reset: bool = False, withdraw: bool = True) -> None:
    """Close a stream and its descriptor.

    Args:
        stream: Of this process.
        reset: The peer is to see a reset, not an orderly end.
        withdraw: An offer that nobody has attached to becomes void.
    """
    descriptor = stream.fd
    if withdraw and stream.side == 0:
        stream.revoke()
    stream.close(reset)
    stream.fd = -1  # whoever still uses it must not meet the next file of that number
    if descriptor >= 0:
        os.close(descriptor)
