"""The extension that hands out native byte streams (see wsdirect.spi.native)."""

from __future__ import annotations

from wsdirect.providers.socket_table import Step
from wsdirect.spi.errors import WSAError, WsaErrorCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wsdirect._core import _native
    from wsdirect.providers.shm.san import San

    Stream = _native.Stream

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
        socket = self._sockets.get(s, "accept_fileno")
        if socket.listener is None:
            raise WSAError(WsaErrorCode.WSAEINVAL, "accept_fileno")
        return socket.listener.fileno()
