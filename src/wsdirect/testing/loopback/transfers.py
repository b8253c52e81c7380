"""WSPSend, WSPRecv and the RDMA functions: everything that is checked before a request begins.

A call that fails has started nothing, and has not touched the overlapped record (R-163): so all
checks come first, and `End.post` last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wsdirect.spi.constants import MEM_READ, MEM_WRITE
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.testing.faults import Fault
from wsdirect.testing.loopback.limits import MESSAGE_MAX, RDMA_MAX, REQUESTS_MAX
from wsdirect.testing.loopback.requests import Request, check_record

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from wsdirect.spi.overlapped import WSAOVERLAPPED
    from wsdirect.spi.structures import WSABUFEX
    from wsdirect.testing.loopback.connections import End
    from wsdirect.testing.loopback.network import Network
    from wsdirect.testing.loopback.sockets import LoopbackSocket

__all__ = ["rdma", "receive", "send"]

_E = WsaErrorCode


def send(
    network: Network,
    socket: LoopbackSocket,
    buffers: Sequence[Buffer],
    flags: int,
    overlapped: WSAOVERLAPPED | None,
) -> None:
    """WSPSend; errors as there."""
    call = "WSPSend"
    with network.engine.lock:
        end, record = _ready(network, socket, flags, overlapped, call)
        if end.ended:  # the peer has closed, but its last messages are still here
            raise WSAError(end.ended, call)
        if socket.service is not None and not socket.service.may_send:
            raise WSAError(_E.WSAEOPNOTSUPP, call, "Its quality of service: no data out.")
        request = Request(record, socket.memory.by_address(buffers, MEM_READ, call))
        if request.length > MESSAGE_MAX:
            raise WSAError(_E.WSAEMSGSIZE, call, f"A message has at most {MESSAGE_MAX} bytes.")
        _check_count(len(end.outgoing), call)
        end.post(request)


def receive(
    network: Network,
    socket: LoopbackSocket,
    buffers: Sequence[Buffer],
    flags: int,
    overlapped: WSAOVERLAPPED | None,
) -> None:
    """WSPRecv; errors as there."""
    call = "WSPRecv"
    with network.engine.lock:
        end, record = _ready(network, socket, flags, overlapped, call)
        if socket.service is not None and not socket.service.may_receive:
            raise WSAError(_E.WSAEOPNOTSUPP, call, "Its quality of service: no data in.")
        request = Request(record, socket.memory.by_address(buffers, MEM_WRITE, call))
        _check_count(len(end.receives), call)
        end.post_receive(request)


def rdma(
    network: Network,
    socket: LoopbackSocket,
    buffers: Sequence[WSABUFEX],
    descriptor: Buffer,
    offset: int,
    flags: int,
    overlapped: WSAOVERLAPPED | None,
    reads: bool,
) -> None:
    """WSPRdmaRead (`reads`) or WSPRdmaWrite; errors as there."""
    call = "WSPRdmaRead" if reads else "WSPRdmaWrite"
    here, there = (MEM_WRITE, MEM_READ) if reads else (MEM_READ, MEM_WRITE)
    with network.engine.lock:
        end, record = _ready(network, socket, flags, overlapped, call)
        if end.ended:
            raise WSAError(end.ended, call)
        parts = socket.memory.by_handle(buffers, here, call)
        length = sum(len(part.view) for part in parts)
        if length > RDMA_MAX:
            raise WSAError(_E.WSAEMSGSIZE, call, f"At most {RDMA_MAX} bytes at a time.")
        if end.peer.socket is None:
            raise WSAError(_E.WSAEINVAL, call, "The peer is being handed over.")
        remote = end.peer.socket.memory.by_descriptor(descriptor, offset, length, there, call)
        _check_count(len(end.outgoing), call)
        end.post(Request(record, parts, remote, reads))


def _ready(
    network: Network,
    socket: LoopbackSocket,
    flags: int,
    overlapped: WSAOVERLAPPED | None,
    call: str,
) -> tuple[End, WSAOVERLAPPED]:
    """What every transfer needs: a connection, no flags, and a record."""
    socket.require(call)
    assert socket.end is not None  # it is connected
    network.faults.check_room(call, Fault.NO_BUFFERS)
    if flags:
        raise WSAError(_E.WSAEOPNOTSUPP, call, "Flags are not supported.")
    return socket.end, check_record(overlapped, call)


def _check_count(running: int, call: str) -> None:
    if running >= REQUESTS_MAX:
        raise WSAError(_E.WSAEWOULDBLOCK, call, f"{REQUESTS_MAX} requests are running already.")
