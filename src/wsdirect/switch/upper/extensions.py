"""AcceptEx, ConnectEx, DisconnectEx, TransmitFile and GetAcceptExSockaddrs."""

from __future__ import annotations

import _socket
import os
from _thread import get_ident

from wsdirect.spi.constants import TF_DISCONNECT, TF_REUSE_SOCKET
from wsdirect.spi.errors import WSAError, WsaErrorCode, from_oserror
from wsdirect.switch.upper import names
from wsdirect.switch.upper.connections import Connections
from wsdirect.switch.upper.data import Data, views_of
from wsdirect.switch.upper.options import carry
from wsdirect.switch.upper.paths import may_wait
from wsdirect.switch.upper.sockets import Connecting, Receive, Request, Send, Socket, begin
from wsdirect.switch.upper.tables import State, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from wsdirect.spi.overlapped import WSAOVERLAPPED
    from wsdirect.switch.upper.paths import Arrival
    from wsdirect.switch.upper.progress import Serving

__all__ = ["Extensions"]

PIECE = 65536  # bytes that are read from a file at a time, unless the caller says
ADDRESS_MORE = 16  # AcceptEx wants room for this many bytes beyond each address


class Accepting(Request):
    """An AcceptEx: waits for a connection, then perhaps for its first bytes."""

    __slots__ = ("_acceptor", "_acceptor_handle", "_buffer", "_local", "_provider", "_size")

    def __init__(
        self, provider: Extensions, handle: int, acceptor: Socket, acceptor_handle: int,
        buffer: memoryview, sizes: tuple[int, int, int], overlapped: WSAOVERLAPPED,
    ) -> None:  # fmt: skip
        super().__init__(handle, overlapped)
        self._provider = provider
        self._acceptor = acceptor
        self._acceptor_handle = acceptor_handle
        self._buffer = buffer
        self._size, self._local, _ = sizes

    def give(self, serving: Serving, arrival: Arrival) -> None:
        """The connection has come.  The listener's lock is held."""
        acceptor = self._acceptor
        with acceptor.lock:
            assert acceptor.reserved is not None
            listener = acceptor.reserved[0]
            acceptor.reserved = None
            self._provider._adopt(acceptor, arrival)
            carry(acceptor)
            self._write_names(acceptor.family, arrival)
            if not self._size:
                serving.end(listener, self)
                serving.settle(acceptor)
                return
            first = Receive(
                self._acceptor_handle, [self._buffer[: self._size]], False, False, False,
                self.overlapped,
            )  # fmt: skip
            first.done = self.done
            listener.running[id(self.overlapped)] = first  # who asks, asks the listener
            first.also_in = listener.running
            acceptor.queue(first, acceptor.receives)
            serving.settle(acceptor)
            if first.finished:
                listener.announcer.post(acceptor.announcer.run)

    def _write_names(self, family: int, arrival: Arrival) -> None:
        for at, name in (
            (self._size, arrival.local),
            (self._size + self._local, arrival.peer),
        ):
            raw = names.pack(family, name)
            room = self._buffer[at : at + len(raw)]
            room[:] = raw[: len(room)]

    def abandon(self) -> None:
        """The request ends without a connection: the acceptor is free again."""
        acceptor = self._acceptor
        with acceptor.lock:
            acceptor.reserved = None
            if acceptor.state is State.ACCEPTING:
                acceptor.step(Step.ABANDON)


class Extensions(Connections, Data):
    """See `service_provider.SwitchProvider`."""

    def AcceptEx(
        self,
        listener: int,
        acceptor: int,
        buffer: Any,
        receive_length: int,
        local_length: int,
        remote_length: int,
        overlapped: WSAOVERLAPPED | None,
    ) -> int | None:
        """Accept into a socket that is there already, with its first bytes and both names.

        Args:
            listener: Handle of a listening socket.
            acceptor: Handle of a socket that is neither bound nor connected.
            buffer: Writable: room for the bytes, then for the local and the remote address.
            receive_length: Bytes to wait for; at least one, or the end of the stream.  0: none.
            local_length: Room for the local address: its size and 16 more.
            remote_length: Room for the remote address.
            overlapped: Record of the request.

        Returns:
            None: it goes on (WSA_IO_PENDING), always.

        Errors:
            WSAENOTSOCK, WSAEINVAL: one of the sockets, or its state.
            WSA_INVALID_PARAMETER: no record.
            WSAEFAULT: the buffer is too small for the lengths.

        Source: mswsock.h.
        """
        call = "AcceptEx"
        sock = self._get(listener, call)
        other = self._get(acceptor, call)
        if overlapped is None:
            raise WSAError(WsaErrorCode.WSA_INVALID_PARAMETER, call, "It needs a record.")
        view = views_of([buffer], True, call)[0]
        sizes = (receive_length, local_length, remote_length)
        least = names.SIZES[sock.family] + ADDRESS_MORE
        if min(sizes) < 0 or len(view) < sum(sizes) or min(local_length, remote_length) < least:
            raise WSAError(WsaErrorCode.WSAEFAULT, call, "The buffer is too small.")
        request = Accepting(self, listener, other, acceptor, view, sizes, overlapped)
        with sock.lock:
            sock.require(call)
            with other.lock:
                other.require("acceptor of AcceptEx", call)
                begin(request)
                other.step(Step.RESERVE)
                other.reserved = sock, request
            sock.enable(call)
            sock.queue(request, sock.accepts)
            self._serving.settle(sock)
        sock.announcer.run()
        return None

    def GetAcceptExSockaddrs(
        self, buffer: Any, receive_length: int, local_length: int, remote_length: int
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The local and the remote address that AcceptEx has left in the buffer.

        Source: mswsock.h.
        """
        call = "GetAcceptExSockaddrs"
        view = views_of([buffer], False, call)[0]
        middle = receive_length + local_length
        return (
            names.unpack(view[receive_length:middle], call),
            names.unpack(view[middle : middle + remote_length], call),
        )

    def ConnectEx(
        self,
        s: int,
        address: Any,
        data: Any = None,
        overlapped: WSAOVERLAPPED | None = None,
    ) -> int | None:
        """Connect a bound socket, and send first bytes.

        Args:
            s: Handle of a bound socket, or of one made reusable.
            address: Of the peer.
            data: Buffer to send when connected; None: nothing.
            overlapped: Record of the request; its result is the bytes sent.

        Returns:
            None: it goes on (WSA_IO_PENDING), always.

        Errors:
            WSAENOTSOCK, WSAEINVAL (not bound), WSAEISCONN: the socket.
            WSA_INVALID_PARAMETER: no record.

        Source: mswsock.h.
        """
        call = "ConnectEx"
        sock = self._get(s, call)
        views = [] if data is None else [v for v in views_of([data], False, call) if len(v)]
        with sock.lock:
            sock.require(call)
            if overlapped is None:
                raise WSAError(WsaErrorCode.WSA_INVALID_PARAMETER, call, "It needs a record.")
            request = Connecting(s, views, overlapped)
            if overlapped.in_progress:
                raise WSAError(WsaErrorCode.WSAEINVAL, call, "The record is in use.")
            name = self._start_connect(sock, address, call)
            begin(request)
            sock.began(request)
            sock.connecting = request
        if may_wait(name, self.switched):
            self._connect_apart(sock, name)
        else:
            self._connect(sock, name)
        return None

    def DisconnectEx(
        self, s: int, overlapped: WSAOVERLAPPED | None = None, flags: int = 0, reserved: int = 0
    ) -> int | None:
        """End a connection in both directions, gracefully; what is queued goes first.

        Args:
            s: Handle.
            overlapped: Record of the request, or None.
            flags: TF_REUSE_SOCKET: the socket can then be used with AcceptEx or ConnectEx.
            reserved: 0.

        Returns:
            0 when done; None with a record, whose end is announced.

        Errors:
            WSAENOTSOCK, WSAENOTCONN: the socket.
            WSAEINVAL: other flags, or reserved is not 0.

        Source: mswsock.h.
        """
        call = "DisconnectEx"
        sock = self._get(s, call)
        request = Request(s, overlapped)
        with sock.lock:
            sock.require(call)
            if flags & ~int(TF_REUSE_SOCKET) or reserved:
                raise WSAError(WsaErrorCode.WSAEINVAL, call)
            if overlapped is not None:
                sock.began(begin(request))
            self._disconnect(sock, bool(flags & TF_REUSE_SOCKET))
            if overlapped is not None:
                self._serving.end(sock, request)
        sock.announcer.run()
        return None if overlapped is not None else 0

    def _disconnect(self, sock: Socket, reuse: bool) -> None:
        """The lock is held."""
        self._end_sending(sock)
        self._serving.settle(sock)
        sock.receive_ended = True
        if not reuse:
            if sock.state is State.CONNECTED:
                sock.step(Step.DISCONNECT)
            return
        aborted = WsaErrorCode.WSA_OPERATION_ABORTED
        for queue in (sock.sends, sock.urgents, sock.receives):
            self._serving.end_all(sock, queue, aborted)
        self._engine.leave(sock)
        if sock.lead is not None:
            sock.lead.hide()
        if sock.endpoint is not None:
            sock.endpoint.close(False)
        if sock.lead is not None:
            sock.lead.end()
        if sock.tcp is not None:
            sock.tcp.close()
        sock.tcp = _socket.socket(sock.family, _socket.SOCK_STREAM)
        sock.tcp.settimeout(0.0)
        sock.endpoint = sock.lead = None
        sock.bound = sock.receive_ended = sock.send_ended = sock.end_wanted = False
        sock.connected_at, sock.error, sock.outcome = None, 0, None
        sock.enable("DisconnectEx")
        sock.step(Step.REUSE)
        carry(sock)

    def TransmitFile(
        self,
        s: int,
        file: Any,
        length: int = 0,
        per_send: int = 0,
        overlapped: WSAOVERLAPPED | None = None,
        head: Any = None,
        tail: Any = None,
        flags: int = 0,
    ) -> int | None:
        """Send a header, a file and a trailer.

        Args:
            s: Handle of a connected socket.
            file: A file object, a descriptor, or None.  It is read from its position, with a
                record from the position in overlapped.Offset and OffsetHigh.
            length: Bytes of the file; 0: to its end.
            per_send: Bytes at a time; 0: as fits.
            overlapped: Record of the request, or None.
            head: Buffer sent before the file, or None.
            tail: Buffer sent after it, or None.
            flags: TF_DISCONNECT, also with TF_REUSE_SOCKET: disconnect at the end.

        Returns:
            Bytes sent; None if it goes on (WSA_IO_PENDING).

        Errors:
            WSAENOTSOCK, WSAENOTCONN, WSAESHUTDOWN: the socket.

        Source: mswsock.h.
        """
        call = "TransmitFile"
        sock = self._get(s, call)
        with sock.lock:
            sock.require(call)
        pieces: list[Any] = []
        if head is not None:
            pieces += [view for view in views_of([head], False, call) if len(view)]
        position = None
        if overlapped is not None:
            position = overlapped.Offset | overlapped.OffsetHigh << 32
        more = _pieces_of(file, length, per_send or PIECE, position, tail)
        after = self._after(sock, flags)
        request = Send(
            s, pieces, False, overlapped, None, get_ident(), more=more, after=after
        )  # fmt: skip
        try:
            sent: int | None = self.post_send(sock, request, call, call)
        except OSError as error:
            raise from_oserror(error, call) from error
        return sent

    def _after(self, sock: Socket, flags: int) -> Callable[[], None] | None:
        if not flags & TF_DISCONNECT:
            return None
        return lambda: self._disconnect(sock, bool(flags & TF_REUSE_SOCKET))


def _pieces_of(
    file: Any, length: int, size: int, position: int | None, tail: Any
) -> Iterator[memoryview]:
    """The file's bytes and the trailer, read when there is room for them."""
    if file is not None:
        fd = file if isinstance(file, int) else file.fileno()
        left = length or None
        if position is None and not isinstance(file, int):
            os.lseek(fd, file.tell(), os.SEEK_SET)  # Python may have read ahead
        while left is None or left:
            wanted = size if left is None else min(size, left)
            if position is None:
                data = os.read(fd, wanted)
            else:
                data = os.pread(fd, wanted, position)
                position += len(data)
            if not data:
                break
            if left is not None:
                left -= len(data)
            yield memoryview(data)
    if tail is not None and len(memoryview(tail)):
        yield memoryview(tail).cast("B")
