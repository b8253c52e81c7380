"""Native streams: an extension of our own for providers that have a byte stream themselves.

The switch makes a byte stream out of messages with its session protocol.  A provider whose SAN
already is a byte stream with flow control can spare it the trouble: it answers
`WSPIoctl(s, SIO_GET_EXTENSION_FUNCTION_POINTER, WSAID_NATIVE_STREAM)` with a `NativeStream`.  The
switch uses that if it is there and its session protocol if not; a provider without one loses
nothing but speed.
"""

from __future__ import annotations

from wsdirect.spi.constants import INVALID_SOCKET, SIO_GET_EXTENSION_FUNCTION_POINTER
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.extension_ids import WSAID_NATIVE_STREAM as WSAID_NATIVE_STREAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from wsdirect.spi.provider import ServiceProvider
else:
    Protocol = object  # importing `typing` would cost every process milliseconds

__all__ = ["WSAID_NATIVE_STREAM", "NativeStream", "native_stream_of"]


class NativeStream(Protocol):
    """What such a provider hands out.

    Source: wsdirect.
    """

    def stream(self, s: int) -> Any:
        """Take the byte stream out of a socket.

        The caller owns the stream from now on and the SPI socket is finished with: the provider
        has closed it as WSPCloseSocket would, without ending the connection.

        Args:
            s: Descriptor of a connected or connecting socket.

        Returns:
            The provider's stream object; for `shm` a `wsdirect._core` stream.

        Errors:
            WSAENOTSOCK: s is not a socket.
            WSAENOTCONN: it is neither connected nor connecting.
            WSAEINVAL: messages have already been sent or received on it.
        """

    def accept_fileno(self, s: int) -> int:
        """Something to poll for connection requests, besides WSPEventSelect.

        Args:
            s: Descriptor of a listening socket.

        Returns:
            A descriptor that polls readable while a request is queued.  The provider's: it must
            not be read from or closed, and ends with the socket.

        Errors:
            WSAENOTSOCK: s is not a socket.
            WSAEINVAL: it does not listen.
        """


def native_stream_of(provider: ServiceProvider) -> NativeStream | None:
    """The provider's `NativeStream`; None if it has none."""
    try:
        # The query is answered whatever the descriptor.
        found: NativeStream = provider.WSPIoctl(
            INVALID_SOCKET, SIO_GET_EXTENSION_FUNCTION_POINTER, WSAID_NATIVE_STREAM
        )
    except WSAError as error:
        # WSAEINVAL: what some providers say of GUIDs that they have never heard of.
        if error.winerror in (WsaErrorCode.WSAEOPNOTSUPP, WsaErrorCode.WSAEINVAL):
            return None
        raise
    return found
