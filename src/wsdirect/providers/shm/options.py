"""Socket options: WSPGetSockOpt and WSPSetSockOpt."""

from __future__ import annotations

from sys import byteorder

from wsdirect import settings
from wsdirect.providers.qos import Service
from wsdirect.providers.shm.limits import RDMA_MAX, RDMA_THRESHOLD, message_limit
from wsdirect.providers.socket_table import State
from wsdirect.spi.constants import (
    IPPROTO_TCP,
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
from wsdirect.spi.native import IPPROTO_IPV6, IPV6_V6ONLY, SO_EARLY, SO_NATIVE_STREAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from wsdirect.providers.shm.sockets import SanSocket

__all__ = ["get_option", "message_max", "set_option"]

_LEVELS: Final = (SOL_SOCKET, IPPROTO_TCP, IPPROTO_IPV6)
_VALUE: Final = 4  # bytes that each value has in memory
_E = WsaErrorCode

# (level, option): attribute of the socket that is the option's value, all of them BOOL
_BOOLEAN: Final[dict[tuple[int, int], str]] = {
    (SOL_SOCKET, SO_DEBUG): "debug",
    (SOL_SOCKET, SO_NATIVE_STREAM): "native",
    (SOL_SOCKET, SO_EARLY): "early",
    (IPPROTO_TCP, TCP_NODELAY): "no_delay",
    (IPPROTO_IPV6, IPV6_V6ONLY): "v6only",
}
# What decides the kind or the name of a connection cannot be changed after it has got them.
_FIXED: Final = frozenset(("native", "early", "v6only"))


def message_max(socket: SanSocket) -> int:
    """SO_MAX_MSG_SIZE: of the connection, or of the next one."""
    channel = socket.channel
    return channel.limit if channel is not None else message_limit(settings.current().ring)


def get_option(socket: SanSocket, level: int, option: int, size: int | None = None) -> int:
    """WSPGetSockOpt; errors as there."""
    call = "WSPGetSockOpt"
    value = _value_of(socket, level, option)
    if value is None:
        raise _unknown(level, call)
    if size is not None:
        if type(size) is not int or size < 0:
            raise WSAError(_E.WSAEFAULT, call, f"{size!r} is no size.")
        if size < _VALUE:
            raise WSAError.too_small(call, _VALUE)
    return value


def _value_of(socket: SanSocket, level: int, option: int) -> int | None:
    """The value, or None for an unknown option."""
    name = _BOOLEAN.get((level, option))
    if name is not None:
        return int(getattr(socket, name))
    if level != SOL_SOCKET:
        return None
    if option == SO_MAX_MSG_SIZE:
        return message_max(socket)
    if option == SO_MAX_RDMA_SIZE:
        return RDMA_MAX
    if option == SO_RDMA_THRESHOLD_SIZE:
        return RDMA_THRESHOLD
    service = socket.service
    if option == SO_GROUP_ID:
        group = service.group if service is not None else None
        return group.number if group is not None else 0
    if option == SO_GROUP_PRIORITY:
        return service.priority if service is not None else 0
    return None


def set_option(socket: SanSocket, level: int, option: int, value: object) -> None:
    """WSPSetSockOpt; errors as there."""
    call = "WSPSetSockOpt"
    name = _BOOLEAN.get((level, option))
    priority = level == SOL_SOCKET and option == SO_GROUP_PRIORITY
    if name is None and not priority:
        raise _unknown(level, call)
    number = value if type(value) is int else _number_in(value, call)
    if not -0x80000000 <= number <= 0xFFFFFFFF or (priority and number < 0):
        raise WSAError(_E.WSAEINVAL, call, f"{value!r} is no value for it.")
    if name in _FIXED:
        with socket.lock:
            socket.require("SO_NATIVE_STREAM")
            setattr(socket, name, bool(number))
        return
    if _is_reset(socket):
        raise WSAError(_E.WSAENOTCONN, call, "The connection was reset.")
    if name is not None:
        setattr(socket, name, bool(number))
        return
    with socket.lock:
        if socket.service is None:
            socket.service = Service()
        socket.service.priority = number


def _number_in(value: object, call: str) -> int:
    """The number that some bytes in memory are: a DWORD in the order of this processor.

    Errors:
        WSAEFAULT: they are too few, or no bytes.
    """
    if isinstance(value, int):  # bool, or an enum's member
        return int(value)
    try:
        data = bytes(memoryview(value))  # type: ignore[arg-type]  # which tells whether it can be
    except TypeError:
        raise WSAError(_E.WSAEFAULT, call, f"{value!r} is no value.") from None
    if len(data) < _VALUE:
        raise WSAError(_E.WSAEFAULT, call, f"The value has {_VALUE} bytes.")
    return int.from_bytes(data[:_VALUE], byteorder, signed=True)


def _is_reset(socket: SanSocket) -> bool:
    """Whether the socket had a connection that the other end, or its death, has ended (R-064)."""
    if socket.state is State.BROKEN:
        return True
    channel = socket.channel
    return socket.state is State.CONNECTED and channel is not None and channel.stream.reset


def _unknown(level: int, call: str) -> WSAError:
    return WSAError(_E.WSAENOPROTOOPT if level in _LEVELS else _E.WSAEINVAL, call)
