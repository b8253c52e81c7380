"""Socket options: WSPGetSockOpt and WSPSetSockOpt."""

from __future__ import annotations

from wsdirect import settings
from wsdirect.providers.shm.transfer import message_limit
from wsdirect.spi.constants import (
    IPPROTO_TCP,
    SO_DEBUG,
    SO_MAX_MSG_SIZE,
    SO_MAX_RDMA_SIZE,
    SO_RDMA_THRESHOLD_SIZE,
    SOL_SOCKET,
    TCP_NODELAY,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.native import IPPROTO_IPV6, IPV6_V6ONLY, SO_NATIVE_STREAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from wsdirect.providers.shm.sockets import SanSocket

__all__ = ["get_option", "set_option"]

_LEVELS: Final = (SOL_SOCKET, IPPROTO_TCP, IPPROTO_IPV6)
_E = WsaErrorCode

# (level, option): attribute of the socket that is the option's value, all of them BOOL
_BOOLEAN: Final[dict[tuple[int, int], str]] = {
    (SOL_SOCKET, SO_DEBUG): "debug",
    (SOL_SOCKET, SO_NATIVE_STREAM): "native",
    (IPPROTO_TCP, TCP_NODELAY): "no_delay",
    (IPPROTO_IPV6, IPV6_V6ONLY): "v6only",
}
# What decides the kind or the name of a connection cannot be changed after it has got them.
_EARLY: Final = frozenset(("native", "v6only"))


def get_option(socket: SanSocket, level: int, option: int) -> int:
    """WSPGetSockOpt; errors as there.

    There is no RDMA yet: SO_MAX_RDMA_SIZE is 0, and SO_RDMA_THRESHOLD_SIZE asks for none.
    """
    name = _BOOLEAN.get((level, option))
    if name is not None:
        return int(getattr(socket, name))
    if level == SOL_SOCKET:
        if option == SO_MAX_MSG_SIZE:
            if socket.channel is not None:
                return socket.channel.limit
            return message_limit(settings.current().ring)
        if option == SO_MAX_RDMA_SIZE:
            return 0
        if option == SO_RDMA_THRESHOLD_SIZE:
            return 0xFFFFFFFF
    raise _unknown(level, "WSPGetSockOpt")


def set_option(socket: SanSocket, level: int, option: int, value: int) -> None:
    """WSPSetSockOpt; errors as there."""
    name = _BOOLEAN.get((level, option))
    if name is None:
        raise _unknown(level, "WSPSetSockOpt")
    if not isinstance(value, int):
        raise WSAError(_E.WSAEFAULT, "WSPSetSockOpt")
    if name in _EARLY:
        with socket.lock:
            socket.require("SO_NATIVE_STREAM")
            setattr(socket, name, bool(value))
    else:
        setattr(socket, name, bool(value))


def _unknown(level: int, call: str) -> WSAError:
    return WSAError(_E.WSAENOPROTOOPT if level in _LEVELS else _E.WSAEINVAL, call)
