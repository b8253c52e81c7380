"""Socket options and control codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wsdirect.providers.qos import QOS_CODES, Service, control
from wsdirect.spi.constants import (
    IPPROTO_TCP,
    SIO_ADDRESS_LIST_QUERY,
    SIO_GET_GROUP_QOS,
    SIO_GET_QOS,
    SO_DEBUG,
    SO_GROUP_ID,
    SO_GROUP_PRIORITY,
    SO_MAX_MSG_SIZE,
    SO_MAX_RDMA_SIZE,
    SO_RDMA_THRESHOLD_SIZE,
    SOL_SOCKET,
    TCP_NODELAY,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.layout import SIZES
from wsdirect.testing.loopback.limits import MESSAGE_MAX, RDMA_MAX, RDMA_THRESHOLD

if TYPE_CHECKING:
    from typing import Any

    from wsdirect.testing.loopback.network import Network
    from wsdirect.testing.loopback.sockets import LoopbackSocket

__all__ = ["get_option", "query", "result_size", "set_option"]

_E = WsaErrorCode
_LEVELS: Final = (SOL_SOCKET, IPPROTO_TCP)
_SIZE: Final = 4  # every option is a 32-bit number

_LIMITS: Final = {
    SO_MAX_MSG_SIZE: MESSAGE_MAX,
    SO_MAX_RDMA_SIZE: RDMA_MAX,
    SO_RDMA_THRESHOLD_SIZE: RDMA_THRESHOLD,
}


def get_option(socket: LoopbackSocket, level: int, option: int, size: int | None) -> int:
    """WSPGetSockOpt; errors as there, but for those about the socket."""
    call = "WSPGetSockOpt"
    value: int | None = None
    if level == SOL_SOCKET:
        service = socket.service
        if option in _LIMITS:
            value = _LIMITS[option]  # type: ignore[index]  # an int equals its SocketOption
        elif option == SO_DEBUG:
            value = int(socket.debug)
        elif option == SO_GROUP_ID:
            value = service.group.number if service is not None and service.group else 0
        elif option == SO_GROUP_PRIORITY:
            value = service.priority if service is not None else 0
    elif level == IPPROTO_TCP and option == TCP_NODELAY:
        value = int(socket.no_delay)
    if value is None:
        raise _unknown(level, call)
    if size is not None and size < _SIZE:
        raise WSAError.too_small(call, _SIZE)
    return value


def set_option(socket: LoopbackSocket, level: int, option: int, value: object) -> None:
    """WSPSetSockOpt; errors as there, but for those about the socket."""
    call = "WSPSetSockOpt"
    if (level, option) not in {
        (SOL_SOCKET, SO_DEBUG),
        (SOL_SOCKET, SO_GROUP_PRIORITY),
        (IPPROTO_TCP, TCP_NODELAY),
    }:
        raise _unknown(level, call)
    number = _number(value, call)
    if level == IPPROTO_TCP:
        socket.no_delay = bool(number)
    elif option == SO_DEBUG:
        socket.debug = bool(number)
    else:
        socket.service = socket.service or Service()
        socket.service.priority = number


def _number(value: object, call: str) -> int:
    """The value of an option: a number, or its bytes in memory."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        if len(value) < _SIZE:
            raise WSAError.too_small(call, _SIZE)
        return int.from_bytes(value[:_SIZE], "little", signed=True)
    if not isinstance(value, int):
        raise WSAError(_E.WSAEFAULT, call, f"{value!r} is no value of an option.")
    if not -(1 << 31) <= value < 1 << 32:
        raise WSAError(_E.WSAEINVAL, call, f"{value} has more than 32 bits.")
    return value


def _unknown(level: int, call: str) -> WSAError:
    return WSAError(_E.WSAENOPROTOOPT if level in _LEVELS else _E.WSAEINVAL, call)


def query(
    network: Network, socket: LoopbackSocket, code: int, in_buffer: Any, out_size: int | None
) -> Any:
    """What WSPIoctl answers to a code that looks at the socket; errors as there."""
    if code == SIO_ADDRESS_LIST_QUERY:
        addresses = network.addresses
        if out_size is not None and out_size < result_size(code, len(addresses)):
            raise WSAError.too_small("WSPIoctl", result_size(code, len(addresses)))
        return [(host, 0) for host in addresses]
    if code in QOS_CODES:
        socket.service = socket.service or Service()
        return control(socket.service, code, in_buffer, out_size, MESSAGE_MAX)
    raise WSAError(_E.WSAEINVAL, "WSPIoctl", f"There is no control code {code:#x}.")


def result_size(code: int, addresses: int) -> int:
    """How many bytes the result of a control code has in memory.

    Args:
        code: SIO_ADDRESS_LIST_QUERY, or one of the codes about quality of service.
        addresses: How many addresses there are.
    """
    if code == SIO_ADDRESS_LIST_QUERY:
        one = SIZES["SOCKET_ADDRESS"]
        return SIZES["SOCKET_ADDRESS_LIST"] - one + addresses * (one + SIZES["sockaddr_in"])
    return SIZES["QOS"] if code in (SIO_GET_QOS, SIO_GET_GROUP_QOS) else 0
