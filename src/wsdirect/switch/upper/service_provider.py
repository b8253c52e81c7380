"""SwitchProvider: the switch as a service provider with the byte-stream semantics of TCP."""

from __future__ import annotations

from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.switch.upper import names
from wsdirect.switch.upper.controls import Controls
from wsdirect.switch.upper.duplicates import Duplicates
from wsdirect.switch.upper.events import Events
from wsdirect.switch.upper.extensions import Extensions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wsdirect.spi.structures import WSAPROTOCOL_INFOW

__all__ = ["SwitchProvider"]


class SwitchProvider(Extensions, Events, Controls, Duplicates):
    """What programs' Winsock calls come down to: TCP sockets that use a SAN where both ends can.

    The functions have the names and the meaning of the Windows Sockets SPI, in the Python form of
    `wsdirect.spi.provider`.  WSPSend, WSPRecv and WSPIoctl take a completion routine, too.  No
    memory needs to be registered.

    An overlapped request is announced by the upcalls of WSPStartupEx: polled ones not at all,
    those with a completion routine by WPUQueueApc, the others by WPUCompleteOverlappedRequest.
    No lock is held meanwhile, so upcalls may call every function.

    A forked child has none of its parent's sockets; the parent's are as they were.

    Args:
        switched: False keeps everything on TCP/IP.
    """

    def enum_protocols(self, protocols: Any = None) -> list[WSAPROTOCOL_INFOW]:
        """WSAEnumProtocols: what sockets there are; a sequence of protocol numbers picks some."""
        self._started("WSAEnumProtocols")
        found = [self._info(family) for family in (names.AF_INET, names.AF_INET6)]
        return [info for info in found if protocols is None or info.iProtocol in protocols]

    def WSPAddressToString(
        self, address: Any, protocol_info: WSAPROTOCOL_INFOW | None = None
    ) -> str:
        """The text form of an address; the port follows if it is not 0.

        Errors:
            WSAEFAULT: it is not an address.

        Source: S:lpwspaddresstostring.
        """
        self._started("WSPAddressToString")
        return names.to_text(address, "WSPAddressToString")

    def WSPStringToAddress(
        self, text: str, protocol_info: WSAPROTOCOL_INFOW | None = None, family: int | None = None
    ) -> Any:
        """The address that a text stands for.

        Args:
            text: "1.2.3.4", "1.2.3.4:80", "::1", "[::1]:80".
            protocol_info: Its address family counts if `family` is not given.
            family: Winsock's number; None: either.

        Errors:
            WSAEINVAL: it is not the text of an address of that family.
            WSAEFAULT: it is no text.

        Source: S:lpwspstringtoaddress.
        """
        call = "WSPStringToAddress"
        self._started(call)
        if not isinstance(text, str):
            raise WSAError(WsaErrorCode.WSAEFAULT, call)
        if family is None and protocol_info is not None:
            family = protocol_info.iAddressFamily
        kernel = None if family is None else names.kernel_family(family)
        if family is not None and kernel is None:
            raise WSAError(WsaErrorCode.WSAEINVAL, call)
        return names.from_text(text, kernel, call)
