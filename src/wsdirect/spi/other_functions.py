"""The thirteen functions of the table that the switch never calls in a SAN provider.

Each raises WSAEOPNOTSUPP until it is overridden.  The switch itself, as the service provider that
programs see, overrides most of them.
"""

from __future__ import annotations

from wsdirect.spi.errors import WSAError, WsaErrorCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from typing_extensions import Buffer

    from wsdirect.spi.overlapped import WSAOVERLAPPED
    from wsdirect.spi.structures import WSAPROTOCOL_INFOW, Address

__all__ = ["OtherFunctions"]


def _unsupported(name: str) -> NoReturn:
    raise WSAError(WsaErrorCode.WSAEOPNOTSUPP, name)


class OtherFunctions:
    """Base of `ServiceProvider`.

    Source: C:windows-sockets-spi-functions-not-required-for-sans.
    """

    def WSPAddressToString(
        self, address: Address, protocol_info: WSAPROTOCOL_INFOW | None = None
    ) -> str:
        """The text form of an address."""
        _unsupported("WSPAddressToString")

    def WSPAsyncSelect(self, s: int, window: int, message: int, network_events: int) -> None:
        """Have network events posted to a window."""
        _unsupported("WSPAsyncSelect")

    def WSPCancelBlockingCall(self) -> None:
        """End a blocking call of this thread."""
        _unsupported("WSPCancelBlockingCall")

    def WSPGetPeerName(self, s: int) -> Address:
        """The address of the peer.

        Errors:
            WSAENOTCONN: not connected.
            WSAENOTSOCK: s is not a socket.
        """
        _unsupported("WSPGetPeerName")

    def WSPGetSockName(self, s: int) -> Address:
        """The local address.

        Errors:
            WSAEINVAL: not bound.
            WSAENOTSOCK: s is not a socket.
        """
        _unsupported("WSPGetSockName")

    def WSPJoinLeaf(self, s: int, address: Address, *arguments: Any) -> int:
        """Add a member to a multipoint session."""
        _unsupported("WSPJoinLeaf")

    def WSPRecvDisconnect(self, s: int) -> bytes:
        """Receive no more; the peer's disconnect data."""
        _unsupported("WSPRecvDisconnect")

    def WSPRecvFrom(
        self,
        s: int,
        buffers: Sequence[Buffer],
        flags: int = 0,
        overlapped: WSAOVERLAPPED | None = None,
    ) -> tuple[int, Address] | None:
        """Receive, and learn from whom."""
        _unsupported("WSPRecvFrom")

    def WSPSelect(
        self,
        read: Sequence[int],
        write: Sequence[int],
        exceptional: Sequence[int],
        timeout: float | None = None,
    ) -> tuple[list[int], list[int], list[int]]:
        """Which of the sockets are ready; waits until one is.

        Args:
            read: Sockets to read from, or to accept on.
            write: Sockets to write to, or that connect.
            exceptional: Sockets with urgent data, or whose connect may fail.
            timeout: Seconds; None waits for ever.
        """
        _unsupported("WSPSelect")

    def WSPSendDisconnect(self, s: int, data: Buffer | None = None) -> None:
        """Send no more; data for the peer goes along."""
        _unsupported("WSPSendDisconnect")

    def WSPSendTo(
        self,
        s: int,
        buffers: Sequence[Buffer],
        address: Address | None = None,
        flags: int = 0,
        overlapped: WSAOVERLAPPED | None = None,
    ) -> int | None:
        """Send to an address."""
        _unsupported("WSPSendTo")

    def WSPShutdown(self, s: int, how: int) -> None:
        """End sending (SD_SEND), receiving (SD_RECEIVE) or both (SD_BOTH).

        Errors:
            WSAEINVAL: how is none of them.
            WSAENOTCONN: not connected.
            WSAENOTSOCK: s is not a socket.
        """
        _unsupported("WSPShutdown")

    def WSPStringToAddress(
        self, text: str, protocol_info: WSAPROTOCOL_INFOW | None = None
    ) -> Address:
        """The address that a text stands for."""
        _unsupported("WSPStringToAddress")
