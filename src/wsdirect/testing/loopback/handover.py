"""WSPDuplicateSocket: a connection or listener on its way from one socket to another.

This SAN is one process, so nothing has to travel: the number in dwProviderReserved stands for a
`Parcel` in a table, and the connection stays what it is while it belongs to no socket.
"""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING

from wsdirect.providers.socket_table import Step
from wsdirect.spi.errors import WSAError, WsaErrorCode

if TYPE_CHECKING:
    from wsdirect.testing.loopback.connections import End
    from wsdirect.testing.loopback.network import Listener, Network
    from wsdirect.testing.loopback.sockets import LoopbackSocket

__all__ = ["Handovers", "Parcel", "hand_over", "take_over"]

_E = WsaErrorCode


class Parcel:
    """What is handed over; made of the socket that gives it away.

    Attributes:
        process_id: The only process that may have it.
        source: The socket that gave it away, for its addresses and options.
        end: Its connection, or None.
        listener: Its listener, or None.
    """

    def __init__(self, process_id: int, source: LoopbackSocket) -> None:
        self.process_id = process_id
        self.source = source
        self.end: End | None = source.end
        self.listener: Listener | None = source.listener
        self.service, source.service = source.service, None
        for held in (self.end, self.listener):
            if held is not None:
                held.socket = None

    def give(self, socket: LoopbackSocket) -> None:
        """Make a fresh socket what the old one was (R-260)."""
        source = self.source
        socket.inherit(source)
        socket.address, socket.peer, socket.service = source.address, source.peer, self.service
        socket.end, socket.listener = self.end, self.listener
        socket.step(Step.BIND)
        if self.listener is not None:
            self.listener.socket = socket
            socket.step(Step.LISTEN)
        if self.end is not None:
            self.end.socket = socket
            socket.step(Step.ESTABLISH)
            if self.end.ended and not self.end.early:  # the peer has closed meanwhile
                socket.error = self.end.ended
                socket.step(Step.BREAK)


class Handovers:
    """The parcels that nobody has fetched, by number; used under the engine's lock."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._parcels: dict[int, Parcel] = {}

    def put(self, parcel: Parcel) -> int:
        """Store a parcel; the number for dwProviderReserved, never 0."""
        # The process is part of it, so that two processes do not give the same numbers.
        number = (os.getpid() % 0xFFFF + 1) << 16 | next(self._numbers) & 0xFFFF
        self._parcels[number] = parcel
        return number

    def take(self, number: int, call: str) -> Parcel:
        """Fetch a parcel: once, and only the process that it is for (R-254, R-266).

        Errors:
            WSAEINVAL: there is none of that number for this process.
        """
        parcel = self._parcels.get(number)
        if parcel is None or parcel.process_id != os.getpid():
            raise WSAError(_E.WSAEINVAL, call, "Nothing was duplicated under this number.")
        del self._parcels[number]
        return parcel

    def take_all(self) -> list[Parcel]:
        """Fetch all parcels, to end them."""
        parcels, self._parcels = list(self._parcels.values()), {}
        return parcels


def hand_over(network: Network, socket: LoopbackSocket, process_id: int) -> int:
    """WSPDuplicateSocket: the number for dwProviderReserved; errors as there."""
    call = "WSPDuplicateSocket"
    if not 0 <= process_id <= 0xFFFFFFFF:
        raise WSAError(_E.WSAEINVAL, call, f"{process_id!r} is no process.")
    with network.engine.lock:
        socket.require(call)
        if socket.end is not None:
            if socket.end.outgoing:
                raise WSAError(_E.WSAEINVAL, call, "Sends or RDMA transfers are not finished.")
            socket.end.flush()
        number = network.handovers.put(Parcel(process_id, socket))
        socket.memory.clear()  # R-252; the next owner registers memory of its own
        socket.step(Step.MOVE)
    network.engine.tell(socket.upcalls)  # the receives are told before the other side can go on
    return number


def take_over(network: Network, number: int, catalog_id: int) -> int:
    """WSPSocket for such a number: the new descriptor; errors as there."""
    call = "WSPSocket"
    socket = network.new_socket(catalog_id)
    network.admit(socket)
    try:
        with network.engine.lock:
            network.handovers.take(number, call).give(socket)
    except WSAError:
        network.dismiss(socket)
        raise
    return socket.descriptor
