"""What the requests of a socket have in common: their buffers, and the codes that they end with."""

from __future__ import annotations

import errno

from wsdirect.providers.shm.memory import address_of
from wsdirect.spi.constants import MEM_WRITE
from wsdirect.spi.errors import WSAError, WsaErrorCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from typing_extensions import Buffer

    from wsdirect.providers.registration import Region, RegistrationTable
    from wsdirect.spi.overlapped import WSAOVERLAPPED

__all__ = ["ENDED", "Request", "captured", "code_of", "use"]

_E = WsaErrorCode
_WRITE: Final = int(MEM_WRITE)


class Request:
    """A send or a receive that waits."""

    __slots__ = ("length", "overlapped", "regions", "views")

    def __init__(
        self,
        overlapped: WSAOVERLAPPED,
        views: list[memoryview],
        regions: list[Region],
        length: int,
    ) -> None:
        self.overlapped = overlapped
        self.views = views
        self.regions = regions
        self.length = length


def captured(
    buffers: Sequence[Buffer], table: RegistrationTable, access: int, call: str
) -> tuple[list[memoryview], list[Region], int]:
    """Views of the buffers, the registrations that they lie in, and their bytes together.

    The sequence may change, the buffers must stay where they are.

    Errors:
        WSAEFAULT: a buffer is not one piece, or not in memory registered for this.
    """
    views = []
    regions = []
    total = 0
    try:
        for buffer in buffers:
            view = memoryview(buffer)
            if access == _WRITE and view.readonly:
                raise WSAError(_E.WSAEFAULT, call, "A buffer is read-only.")
            address, length = address_of(view, call)
            if length:  # an empty buffer is nowhere
                regions.append(table.find(address, length, access, call))
                total += length
            views.append(view)
    except (TypeError, BufferError, ValueError) as error:
        raise WSAError(_E.WSAEFAULT, call, f"{error}.") from None
    return views, regions, total


def use(regions: list[Region]) -> None:
    """A request that uses them begins to wait."""
    for region in regions:
        region.in_use += 1


ENDED: Final = frozenset((errno.ECONNRESET, errno.EPIPE, errno.EBADF, errno.ECONNABORTED))
_CODES: Final[dict[int | None, int]] = {
    errno.ECONNRESET: _E.WSAECONNRESET,
    errno.EPIPE: _E.WSAECONNRESET,
    errno.EBADF: _E.WSAECONNRESET,
    errno.EFAULT: _E.WSAEFAULT,
    errno.EINVAL: _E.WSAEINVAL,
    errno.ENOMEM: _E.WSAENOBUFS,
}


def code_of(error: OSError) -> int:
    """The Winsock code for what a stream raised."""
    return _CODES.get(error.errno, _E.WSAECONNABORTED)
