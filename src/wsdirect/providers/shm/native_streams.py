"""The extension that hands out native byte streams (see wsdirect.spi.native)."""

from __future__ import annotations

from wsdirect import settings
from wsdirect.providers.shm.names import parse_host, unpack_offer
from wsdirect.providers.socket_table import Step
from wsdirect.spi.errors import WSAError, WsaErrorCode, from_oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wsdirect._core import _native
    from wsdirect.providers.shm.listener import Listener
    from wsdirect.providers.shm.san import San

    Stream = _native.Stream
    Endpoint = tuple[str, int]

__all__ = ["NativeStreams"]


class NativeStreams:
    """What WSPIoctl answers for WSAID_NATIVE_STREAM."""

    def __init__(self, san: San) -> None:
        self._san = san
        self._sockets = san.sockets

    def stream(self, s: int) -> Stream:
        """Take the byte stream out of a socket; the descriptor s is finished with.

        The stream and its descriptor `stream.fd` belong to the caller.  The connecting end's
        descriptor is non-blocking, the accepting end's is not.

        Args:
            s: Descriptor of a socket with SO_NATIVE_STREAM after WSPConnect or from WSPAccept.

        Errors:
            WSAENOTSOCK: s is not a socket, or not any more.
            WSAENOTCONN: it is not connected.
            WSAEINVAL: it is not a native stream.

        Source: wsdirect.
        """
        socket = self._sockets.get(s, "stream")
        if not socket.native and (socket.channel or socket.connecting):
            raise WSAError(WsaErrorCode.WSAEINVAL, "stream", "It carries messages.")
        socket.require("stream")
        if socket.stream is None:  # another thread's WSPConnect is not finished
            raise WSAError(WsaErrorCode.WSAENOTCONN, "stream")
        self._sockets.take(s, "stream")
        with socket.lock:
            stream, socket.stream = socket.stream, None
            socket.step(Step.CLOSE)
        self._san.upcalls.WPUCloseSocketHandle(socket.handle)
        return stream

    def accept_fileno(self, s: int) -> int:
        """The descriptor to poll for connection requests; the provider's, to be polled only.

        A request that is not valid makes it readable, too: WSPAccept then has none.

        Args:
            s: Descriptor of a listening socket.

        Errors:
            WSAENOTSOCK: s is not a socket.
            WSAEINVAL: it does not listen.

        Source: wsdirect.
        """
        return self._listener(s, "accept_fileno").fileno()

    def accept_no_more(self, s: int) -> None:
        """Take no more connection requests; those that wait can still be accepted.

        Args:
            s: Descriptor of a listening socket.

        Errors:
            WSAENOTSOCK: s is not a socket.
            WSAEINVAL: it does not listen.

        Source: wsdirect.
        """
        self._listener(s, "accept_no_more").end()

    def acceptor(self, s: int) -> Callable[[], Any]:
        """A function that takes the next connection: WSPAccept and stream() in one.

        Args:
            s: Descriptor of a listening socket.

        Returns:
            The function, which never waits.  It returns the stream, our (host, port), the client's,
            and the client's process number; or None if no valid request waits.

        Errors:
            WSAENOTSOCK: s is not a socket.
            WSAEINVAL: it does not listen.
            The function raises WSAENOTSOCK when the listener is closed, and what WSPAccept raises.

        Source: wsdirect.
        """
        socket = self._sockets.get(s, "acceptor")
        self._listener(s, "acceptor")

        def take() -> Any:
            listener = socket.listener
            if listener is None:
                raise WSAError(WsaErrorCode.WSAENOTSOCK, "acceptor")
            try:
                return listener.take()
            except OSError as error:
                raise from_oserror(error, "acceptor") from error
            except MemoryError:
                raise WSAError(WsaErrorCode.WSAENOBUFS, "acceptor") from None

        return take

    def dialer(
        self, local: str, peer: Endpoint
    ) -> Callable[[int, int], tuple[Stream, int] | None] | None:
        """A function for connecting to a destination again, from the address `local`.

        Args:
            local: Our address.
            peer: (host, port) that a connection was made to.

        Returns:
            None: nobody is known there; else the function.  It takes the descriptor of a fresh TCP
            socket and a local port, puts the connection in its place and returns the stream and the
            peer's process number; or None, and nothing has happened: WSPConnect is to be called.

        Source: wsdirect.
        """
        return self._san.connector.dial(
            parse_host(local), parse_host(peer[0]), peer[1], settings.current().offer_timeout
        )

    def _listener(self, s: int, call: str) -> Listener:
        listener = self._sockets.get(s, call).listener
        if listener is None:
            raise WSAError(WsaErrorCode.WSAEINVAL, call)
        return listener

    def names_of(self, own: object, peer: object) -> tuple[Endpoint, Endpoint] | None:
        """The addresses of a stream whose descriptor came from another process.

        The connecting end's socket bears its offer as its name, whichever end is asked.

        Args:
            own: The name of the socket itself, as the kernel has it.
            peer: That of the socket at the other end.

        Source: wsdirect.
        """
        offer = unpack_offer(own)
        if offer is not None:
            return (offer.local.text, offer.local_port), (offer.remote.text, offer.remote_port)
        offer = unpack_offer(peer)
        if offer is not None:
            return (offer.remote.text, offer.remote_port), (offer.local.text, offer.local_port)
        return None

    def not_taken(self, peer: Endpoint) -> None:
        """An offer to this address was withdrawn because nobody took it in time.

        Args:
            peer: (host, port) that was connected to.

        Source: wsdirect.
        """
        self._san.connector.not_taken(parse_host(peer[0]), peer[1])
