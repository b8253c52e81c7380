"""What the session protocol calls in a provider: the table's functions and the extensions'.

A record of a request knows whom to tell: `Request`, and `request_finished` for the upcall.
"""

from __future__ import annotations

from wsdirect.spi.constants import (
    INVALID_SOCKET,
    SIO_GET_EXTENSION_FUNCTION_POINTER,
    SO_MAX_MSG_SIZE,
    SO_MAX_RDMA_SIZE,
    SO_RDMA_THRESHOLD_SIZE,
    SOL_SOCKET,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.extension_ids import EXTENSION_FUNCTIONS
from wsdirect.spi.overlapped import WSAOVERLAPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from wsdirect.spi.provider import ServiceProvider

__all__ = ["Functions", "Limits", "Request", "request_finished"]

_E = WsaErrorCode
_NEEDED: Final = ("WSPRegisterMemory", "WSPDeregisterMemory")
_RDMA: Final = ("WSPRegisterRdmaMemory", "WSPDeregisterRdmaMemory", "WSPRdmaWrite")
_NO_LIMIT: Final = 0xFFFFFFFF
_THRESHOLD: Final = 4096


class Request(WSAOVERLAPPED):
    """A request of a session's.

    Attributes:
        owner: Called when the request, not being polled, has finished.
        index: Which buffer it is about.
    """

    __slots__ = ("index", "owner")

    def __init__(self, owner: Callable[[], object], index: int = -1, polled: bool = False) -> None:
        super().__init__(polled=polled)
        self.owner = owner
        self.index = index


def request_finished(s: int, overlapped: WSAOVERLAPPED, error: int, transferred: int) -> None:
    """For `HandleSpace`: tell whoever made the request."""
    if isinstance(overlapped, Request):
        overlapped.owner()


class Limits:
    """What a provider says of one socket.

    Attributes:
        message: SO_MAX_MSG_SIZE, bytes.
        rdma: SO_MAX_RDMA_SIZE, bytes; 0 if there is no RDMA.
        threshold: SO_RDMA_THRESHOLD_SIZE, bytes: what is larger goes by RDMA.
    """

    __slots__ = ("message", "rdma", "threshold")

    def __init__(self, message: int, rdma: int, threshold: int) -> None:
        self.message = message
        self.rdma = rdma
        self.threshold = threshold


class Functions:
    """A provider's functions, the extensions fetched as a switch fetches them (by GUID).

    Attributes:
        provider: For the functions of its table.
        read: WSPRdmaRead, or None.
        has_rdma: Whether there is all that RDMA needs but WSPRdmaRead.

    Errors:
        WSAEOPNOTSUPP: the provider cannot register memory, so it is none for a SAN.
    """

    __slots__ = (
        "deregister",
        "deregister_rdma",
        "has_rdma",
        "provider",
        "read",
        "register",
        "register_rdma",
        "write",
    )

    def __init__(self, provider: ServiceProvider) -> None:
        self.provider = provider
        found = {}
        for guid, name in EXTENSION_FUNCTIONS.items():
            if not name.startswith("WSP"):
                continue
            try:
                found[name] = provider.WSPIoctl(
                    INVALID_SOCKET, SIO_GET_EXTENSION_FUNCTION_POINTER, guid
                )
            except WSAError as error:
                if error.winerror not in (_E.WSAEOPNOTSUPP, _E.WSAEINVAL):
                    raise
        for name in _NEEDED:
            if name not in found:
                raise WSAError(_E.WSAEOPNOTSUPP, name, f"{provider.name} cannot carry sessions.")
        self.register: Any = found["WSPRegisterMemory"]
        self.deregister: Any = found["WSPDeregisterMemory"]
        self.has_rdma = all(name in found for name in _RDMA)
        self.register_rdma: Any = found.get("WSPRegisterRdmaMemory")
        self.deregister_rdma: Any = found.get("WSPDeregisterRdmaMemory")
        self.write: Any = found.get("WSPRdmaWrite")
        self.read: Any = found.get("WSPRdmaRead")

    def limits(self, s: int) -> Limits:
        """The limits of a connected socket; an option that the provider does not know is none."""
        rdma = self._option(s, SO_MAX_RDMA_SIZE, _NO_LIMIT) if self.has_rdma else 0
        threshold = self._option(s, SO_RDMA_THRESHOLD_SIZE, _THRESHOLD)
        if threshold == _NO_LIMIT:
            rdma = 0
        return Limits(self._option(s, SO_MAX_MSG_SIZE, _NO_LIMIT), rdma, threshold)

    def _option(self, s: int, option: int, otherwise: int) -> int:
        try:
            return int(self.provider.WSPGetSockOpt(s, SOL_SOCKET, option))
        except WSAError as error:
            if error.winerror in (_E.WSAENOPROTOOPT, _E.WSAEINVAL, _E.WSAEOPNOTSUPP):
                return otherwise
            raise
