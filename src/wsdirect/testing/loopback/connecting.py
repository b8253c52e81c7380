"""WSPConnect: everything that is checked before a connection request sets out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsdirect.providers.qos import asked_for
from wsdirect.providers.socket_table import Step
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.testing.faults import Fault
from wsdirect.testing.loopback.limits import CONNECT_DATA_MAX, MESSAGE_MAX
from wsdirect.testing.loopback.network import WILDCARD, ConnectRequest, Network
from wsdirect.testing.loopback.sockets import LoopbackSocket, parse

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from wsdirect.spi.structures import QOS, Address

__all__ = ["connect"]

_CALL = "WSPConnect"
_E = WsaErrorCode


def connect(
    network: Network,
    socket: LoopbackSocket,
    address: Address,
    caller_data: Buffer | None,
    callee_data: bytearray | None,
    sqos: QOS | None,
    gqos: QOS | None,
) -> None:
    """Send the request on its way; errors as for WSPConnect, but for WSAEWOULDBLOCK."""
    data = _copied(caller_data)
    if callee_data is not None and not isinstance(callee_data, bytearray):
        raise WSAError(_E.WSAEFAULT, _CALL, "The answer's data go into a bytearray.")
    with network.engine.lock:
        socket.require(_CALL)
        host, port = parse(address, _CALL, _E.WSAEAFNOSUPPORT)
        if not port or host not in network.addresses:  # the wildcard is not among them
            raise WSAError(_E.WSAEADDRNOTAVAIL, _CALL, f"{host}:{port} is not on this SAN.")
        network.faults.check_room(_CALL, Fault.NO_BUFFERS)
        asked, for_group = asked_for(socket.service, sqos, gqos, MESSAGE_MAX)
        if socket.service is not None:
            if not socket.service.claim(host):
                raise WSAError(_E.WSAEINVAL, _CALL, "Its group is connected to another host.")
            if for_group is not None and socket.service.group is not None:
                socket.service.group.qos = for_group
        assert socket.address is not None  # it is bound
        if socket.address[0] == WILDCARD:
            socket.address = (host, socket.address[1])
        socket.step(Step.CONNECT)
        request = ConnectRequest(socket, (host, port), data, callee_data, asked, for_group)
        socket.connecting = request
        network.engine.submit(lambda: network.arrive(request))


def _copied(data: Buffer | None) -> bytes | None:
    """A copy of the user data of a connect; None if there are none.

    Errors:
        WSAEFAULT: it is no buffer.
        WSAENOBUFS: it is too long.
    """
    if data is None:
        return None
    try:
        copy = bytes(memoryview(data))
    except (TypeError, BufferError):
        raise WSAError(_E.WSAEFAULT, _CALL, "The data are no buffer.") from None
    if len(copy) > CONNECT_DATA_MAX:
        raise WSAError(_E.WSAENOBUFS, _CALL, f"At most {CONNECT_DATA_MAX} bytes go with a connect.")
    return copy or None
