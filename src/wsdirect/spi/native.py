"""Native streams: an extension of our own for providers that have a byte stream themselves.

The switch makes a byte stream out of messages with its session protocol.  A provider whose SAN
already is a byte stream with flow control can spare it the trouble: it answers
`WSPIoctl(s, SIO_GET_EXTENSION_FUNCTION_POINTER, WSAID_NATIVE_STREAM)` with a `NativeStream`.  The
switch uses that if it is there and its session protocol if not; a provider without one loses
nothing but speed.

A socket is made a native stream before it is connected or listens:

    provider.WSPSetSockOpt(s, SOL_SOCKET, SO_NATIVE_STREAM, 1)

From then on it meets only native streams.  WSPConnect returns as soon as the request is queued,
without waiting for the peer's WSPAccept, so that one thread can do both.
"""

from __future__ import annotations

from wsdirect.spi.constants import INVALID_SOCKET, SIO_GET_EXTENSION_FUNCTION_POINTER
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.extension_ids import WSAID_NATIVE_STREAM as WSAID_NATIVE_STREAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from wsdirect.spi.provider import ServiceProvider

    Endpoint = tuple[str, int]
else:
    Protocol = object  # importing `typing` would cost every process milliseconds

__all__ = [
    "AF_INET6",
    "IPPROTO_IPV6",
    "IPV6_V6ONLY",
    "SO_EARLY",
    "SO_NATIVE_STREAM",
    "WSAID_NATIVE_STREAM",
    "NativeStream",
    "native_stream_of",
]

SO_NATIVE_STREAM = 0x7F01
"""Option of ours at level SOL_SOCKET, set on a bound socket before WSPConnect or WSPListen.

Its connections are native byte streams: WSPConnect returns as soon as the offer is queued, and a
listener takes only such offers.  Source: wsdirect.
"""

SO_EARLY = 0x7F02
"""Option of ours at level SOL_SOCKET, BOOL, for native streams, set before WSPListen or WSPConnect.

On a listener: its program has not accepted anything yet, and may never do so.  An address has one
such listener: WSPListen answers WSAENOBUFS to a second.  On a connecting socket: it may meet
such a listener if there is no other; the offer then stands for a tenth of a second only.
Source: wsdirect.
"""

# The SPI of SANs knows IPv4 only.  Providers with native streams may know IPv6, too; the numbers
# are Winsock's.
AF_INET6 = 23
"""Address family, for WSPSocket."""
IPPROTO_IPV6 = 41
"""Level of IPV6_V6ONLY."""
IPV6_V6ONLY = 27
"""Socket option, BOOL: listening on the IPv6 wildcard takes no IPv4 connections.  0 at first."""


class NativeStream(Protocol):
    """What such a provider hands out.

    Source: wsdirect.
    """

    def stream(self, s: int) -> Any:
        """Take the byte stream out of a socket.

        The caller owns the stream from now on and the SPI socket is finished with: the provider
        has closed it as WSPCloseSocket would, without ending the connection.

        Args:
            s: Descriptor of a connected or connecting socket with SO_NATIVE_STREAM.

        Returns:
            The provider's stream object; for `shm` a `wsdirect._core` stream.  Its descriptor,
            `stream.fd`, is the caller's too, to be closed right after the stream.

        Errors:
            WSAENOTSOCK: s is not a socket.
            WSAENOTCONN: it is neither connected nor connecting.
            WSAEINVAL: it is not a native stream.
        """

    def acceptor(self, s: int) -> Callable[[], tuple[Any, Endpoint, Endpoint, int] | None]:
        """WSPAccept and stream() in one, for a listener that takes every connection.

        A provider may leave this out; the switch then calls the two.

        Args:
            s: Descriptor of a listening socket.

        Returns:
            A function that never waits: the next connection's stream, its local (host, port), the
            peer's, and the peer's process number (0: unknown); None if there is none.  It raises as
            WSPAccept does.

        Errors:
            WSAENOTSOCK: s is not a socket.
            WSAEINVAL: it does not listen.
        """

    def dialer(
        self, local: str, peer: Endpoint
    ) -> Callable[[int, int], tuple[Any, int] | None] | None:
        """For connecting to a destination again and again; a provider may leave this out.

        Args:
            local: Host of the local end.
            peer: (host, port) to which WSPConnect has made a connection before.

        Returns:
            A function of the descriptor of a fresh TCP socket and a local port: it puts a
            connection in that socket's place, in its blocking mode, and returns the stream and the
            peer's process number; or None, and nothing has happened, when anything is not as
            usual.  None: there is no such function.
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

    def accept_no_more(self, s: int) -> None:
        """Take no more connection requests; those that wait can still be accepted.

        Args:
            s: Descriptor of a listening socket.

        Errors:
            WSAENOTSOCK: s is not a socket.
            WSAEINVAL: it does not listen.
        """

    def names_of(self, own: object, peer: object) -> tuple[Endpoint, Endpoint] | None:
        """The addresses of a connection whose descriptor came from another process.

        Args:
            own: What getsockname says of it, as the kernel has it.
            peer: What getpeername says.

        Returns:
            The local (host, port) and the peer's; None if this is no stream of the provider's.
        """

    def not_taken(self, peer: Any) -> None:
        """An offer to this address was withdrawn because nobody took it in time.

        Offers to listeners with SO_EARLY are then not made there for a while.

        Args:
            peer: (host, port) that was connected to.
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
