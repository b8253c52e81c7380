"""Sending and receiving: blocking, non-blocking and overlapped."""

from __future__ import annotations

import time
from _thread import get_ident

from wsdirect.spi.constants import (
    MSG_DONTROUTE,
    MSG_OOB,
    MSG_PARTIAL,
    MSG_PEEK,
    MSG_PUSH_IMMEDIATE,
    MSG_WAITALL,
    SO_RCVTIMEO,
    SO_SNDBUF,
    SO_SNDTIMEO,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.switch.upper.core import Core
from wsdirect.switch.upper.endpoints import Unattached
from wsdirect.switch.upper.options import value_of
from wsdirect.switch.upper.progress import receive_now, send_now
from wsdirect.switch.upper.sockets import Receive, Request, Send, Socket, begin
from wsdirect.switch.upper.tables import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence
    from typing import Any

    from typing_extensions import Buffer

    from wsdirect.spi.overlapped import WSAOVERLAPPED

__all__ = ["Data"]

# plain ints: the complement of a flag of an enum knows the bits of the enum only
SEND_FLAGS = int(MSG_OOB | MSG_DONTROUTE | MSG_PARTIAL)
RECEIVE_FLAGS = int(MSG_OOB | MSG_PEEK | MSG_PARTIAL | MSG_WAITALL | MSG_PUSH_IMMEDIATE)


def views_of(buffers: Any, writable: bool, call: str) -> list[memoryview]:
    """Flat views of a program's buffers.

    Errors:
        WSAEINVAL: there are none.
        WSAEFAULT: one of them is no (writable, contiguous) memory.
    """
    if isinstance(buffers, (bytes, bytearray, memoryview)):
        buffers = (buffers,)
    try:
        views = [memoryview(buffer).cast("B") for buffer in buffers]
    except (TypeError, ValueError, BufferError):
        raise WSAError(WsaErrorCode.WSAEFAULT, call, "A buffer is needed.") from None
    if not views:
        raise WSAError(WsaErrorCode.WSAEINVAL, call, "There are no buffers.")
    if writable and any(view.readonly for view in views):
        raise WSAError(WsaErrorCode.WSAEFAULT, call, "A buffer is read-only.")
    return views


class Data(Core):
    """See `service_provider.SwitchProvider`."""

    def WSPSend(
        self,
        s: int,
        buffers: Sequence[Buffer],
        flags: int = 0,
        overlapped: WSAOVERLAPPED | None = None,
        completion_routine: Callable[[int, int, WSAOVERLAPPED, int], object] | None = None,
        thread_id: int | None = None,
    ) -> int | None:
        """Send the buffers, one after the other, as part of the stream.

        With a record the call never waits, whatever the socket's mode; the buffers must stay as
        they are until the end.  Without one a blocking socket sends all, a non-blocking one what
        fits.

        Args:
            s: Handle.
            buffers: Anything with the buffer protocol.
            flags: MSG_OOB makes the last byte urgent; MSG_DONTROUTE and MSG_PARTIAL do nothing.
            overlapped: Record of the request.
            completion_routine: Called as routine(error, bytes, overlapped, flags) in an alertable
                wait of the thread; the event of the record is then not used.
            thread_id: That thread (`threading.get_ident()`); None: the calling one.

        Returns:
            Bytes sent; None if the request goes on (WSA_IO_PENDING).  The end is announced in
            both cases if there is a record.

        Errors:
            WSAEWOULDBLOCK: non-blocking, and no room; FD_WRITE is enabled again.
            WSAETIMEDOUT: SO_SNDTIMEO.
            WSAENOTCONN, WSAESHUTDOWN, WSAECONNRESET, WSAECONNABORTED: the state of the connection.
            WSAEINVAL: no buffers, or the record is in use.
            WSAEFAULT: not a buffer.
            WSAEOPNOTSUPP: other flags.

        Source: S:lpwspsend.
        """
        call = "WSPSend"
        sock = self._get(s, call)
        if flags & ~SEND_FLAGS:
            raise WSAError(WsaErrorCode.WSAEOPNOTSUPP, call)
        views = views_of(buffers, False, call)
        request = Send(
            s, [view for view in views if len(view)], bool(flags & MSG_OOB),
            overlapped, completion_routine, thread_id or get_ident(),
        )  # fmt: skip
        sent: int | None = self.post_send(sock, request, call)
        return sent

    def post_send(self, sock: Socket, request: Send, call: str, rules: str = "WSPSend") -> Any:
        """Send now, queue, or wait."""
        overlapped = request.overlapped
        with sock.lock:
            sock.require(rules, call)
            if sock.send_ended:
                raise WSAError(WsaErrorCode.WSAESHUTDOWN, call)
            held = False
            if overlapped is not None:
                _in_use(overlapped, call)
                held = value_of(sock, SO_SNDBUF) == 0
            done = False
            if not sock.sends and not held:
                done = self._try(sock, request, send_now, call)
            if not done:
                if overlapped is not None:
                    sock.queue(begin(request), sock.sends)
                elif sock.nonblocking:
                    if request.transferred:
                        done = True
                    else:
                        sock.enable("WSPSend that would block")
                        self._serving.tidy(sock)
                        raise WSAError(WsaErrorCode.WSAEWOULDBLOCK, call)
                else:
                    sock.queue(request, sock.sends)
            if done and request.after is not None:
                request.after()
            self._serving.tidy(sock)
        return self._result(sock, request, done, sock.sends, SO_SNDTIMEO, call)

    def WSPRecv(
        self,
        s: int,
        buffers: Sequence[Buffer],
        flags: int = 0,
        overlapped: WSAOVERLAPPED | None = None,
        completion_routine: Callable[[int, int, WSAOVERLAPPED, int], object] | None = None,
        thread_id: int | None = None,
    ) -> int | None:
        """Receive what is there into the buffers, filling one after the other.

        Requests are served in order.  Buffers without room receive nothing and still wait for
        data.

        Args:
            s: Handle.
            buffers: Writable memory.
            flags: MSG_PEEK, MSG_OOB, MSG_WAITALL; MSG_PARTIAL and MSG_PUSH_IMMEDIATE do nothing.
            overlapped: Record of the request; resulting flags are in `overlapped.Offset`.
            completion_routine: As for WSPSend.
            thread_id: As for WSPSend.

        Returns:
            Bytes received, 0 at the end of the stream; None if the request goes on.

        Errors:
            WSAEWOULDBLOCK: non-blocking, and no data.
            WSAETIMEDOUT: SO_RCVTIMEO.
            WSAESHUTDOWN: SD_RECEIVE was done here.
            WSAEINVAL: MSG_OOB where urgent data stand in the stream.
            Otherwise as for WSPSend.

        Source: S:lpwsprecv.
        """
        call = "WSPRecv"
        sock = self._get(s, call)
        if flags & ~RECEIVE_FLAGS:
            raise WSAError(WsaErrorCode.WSAEOPNOTSUPP, call)
        urgent = bool(flags & MSG_OOB)
        request = Receive(
            s, views_of(buffers, True, call), bool(flags & MSG_WAITALL), bool(flags & MSG_PEEK),
            urgent, overlapped, completion_routine, thread_id or get_ident(),
        )  # fmt: skip
        with sock.lock:
            sock.require(call)
            if sock.receive_ended:
                raise WSAError(WsaErrorCode.WSAESHUTDOWN, call)
            if urgent and sock.inline:
                raise WSAError(WsaErrorCode.WSAEINVAL, call, "SO_OOBINLINE is set.")
            _in_use(overlapped, call)
            queue = sock.urgents if urgent else sock.receives
            sock.enable("WSPRecv MSG_OOB" if urgent else call)
            done = here = False
            if not queue:
                done = self._try(sock, request, receive_now, call)
            if not done:
                if overlapped is not None:
                    sock.queue(begin(request), queue)
                elif sock.nonblocking or urgent:
                    done = request.transferred > 0
                    if not done:
                        self._serving.tidy(sock)
                        raise WSAError(WsaErrorCode.WSAEWOULDBLOCK, call)
                elif queue:
                    sock.queue(request, queue)
                else:
                    here = True
            if not here:
                self._serving.tidy(sock)
        if here:
            return self._receive_here(sock, request, call)
        return self._result(sock, request, done, queue, SO_RCVTIMEO, call)

    def _receive_here(self, sock: Socket, request: Receive, call: str) -> int:
        """Wait in this thread, at the endpoint: no other one has to wake it."""
        milliseconds = value_of(sock, SO_RCVTIMEO)
        deadline = time.monotonic() + milliseconds / 1000 if milliseconds else None
        while True:
            with sock.lock:
                if sock.state is State.CLOSED:
                    raise WSAError(WsaErrorCode.WSAEINTR, call, "The socket was closed.")
                sock.require(call)
                if self._try(sock, request, receive_now, call):
                    self._serving.tidy(sock)
                    break
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    if request.transferred:
                        break
                    raise WSAError(WsaErrorCode.WSAETIMEDOUT, call)
                endpoint = sock.endpoint
                with sock.inside_lock:
                    sock.inside += 1
            assert endpoint is not None
            try:
                endpoint.wait(left)
            except (OSError, ValueError, Unattached):
                pass  # the next try tells
            finally:
                with sock.inside_lock:
                    sock.inside -= 1
        sock.announcer.run()
        return request.transferred

    # --- what both have in common ---------------------------------------------------------------

    def _try(
        self, sock: Socket, request: Any, serve: Callable[[Socket, Any], bool], call: str
    ) -> bool:
        try:
            return serve(sock, request)
        except WSAError as error:
            self._serving.tidy(sock)
            sock.announcer.run()
            raise WSAError(error.winerror, call) from None

    def _result(
        self,
        sock: Socket,
        request: Request,
        done: bool,
        queue: deque[Any],
        timeout_option: int,
        call: str,
    ) -> int | None:
        if done:
            if request.overlapped is not None:
                begin(request)
                request.announce(self._upcalls)
            sock.announcer.run()
            return request.transferred
        sock.announcer.run()
        if request.overlapped is not None:
            return None
        return self._wait(sock, request, queue, timeout_option, call)

    def _wait(
        self, sock: Socket, request: Request, queue: deque[Any], timeout_option: int, call: str
    ) -> int:
        """Wait for a request without a record; a signal handler may raise out of it."""
        milliseconds = value_of(sock, timeout_option)
        try:
            in_time = request.done.acquire(timeout=milliseconds / 1000 if milliseconds else -1)
        except BaseException:
            self._withdraw(sock, request, queue)
            raise
        if not in_time and self._withdraw(sock, request, queue):
            if not request.transferred:
                raise WSAError(WsaErrorCode.WSAETIMEDOUT, call)
            return request.transferred
        if request.error == WsaErrorCode.WSA_OPERATION_ABORTED:
            raise WSAError(WsaErrorCode.WSAEINTR, call, "The socket was closed.")
        if request.error:
            raise WSAError(request.error, call)
        return request.transferred

    def _withdraw(self, sock: Socket, request: Request, queue: deque[Any]) -> bool:
        with sock.lock:
            if request.finished:
                return False
            queue.remove(request)
            self._serving.tidy(sock)
            return True

    def WSPGetOverlappedResult(
        self, s: int, overlapped: WSAOVERLAPPED, wait: bool = False
    ) -> int | None:
        """How a request ended, if it has.

        Errors:
            WSAENOTSOCK: s is not a socket, or not any more.
            WSA_INVALID_PARAMETER: there is no record.

        Source: S:lpwspgetoverlappedresult.
        """
        call = "WSPGetOverlappedResult"
        sock = self._get(s, call)
        if overlapped is None:
            raise WSAError(WsaErrorCode.WSA_INVALID_PARAMETER, call)
        if wait and overlapped.in_progress:
            request = sock.running.get(id(overlapped))
            if request is not None:
                request.done.acquire()
                request.done.release()
        return overlapped.result()

    def WSPRecvFrom(self, s: int, buffers: Any, flags: int = 0, overlapped: Any = None) -> Any:
        """As WSPRecv; the sender of a stream is the peer.

        Source: S:lpwsprecvfrom.
        """
        got = self.WSPRecv(s, buffers, flags, overlapped)
        return None if got is None else (got, self.WSPGetPeerName(s))

    def WSPSendTo(
        self, s: int, buffers: Any, address: Any = None, flags: int = 0, overlapped: Any = None
    ) -> int | None:
        """As WSPSend; a stream pays no attention to the address.

        Source: S:lpwspsendto.
        """
        return self.WSPSend(s, buffers, flags, overlapped)

    def WSPCancelBlockingCall(self) -> None:
        """WSAEOPNOTSUPP: threads are not interrupted; close the socket."""
        self._started("WSPCancelBlockingCall")
        raise WSAError(WsaErrorCode.WSAEOPNOTSUPP, "WSPCancelBlockingCall")

    def CancelIoEx(self, s: int, overlapped: WSAOVERLAPPED | None = None) -> int:
        """End pending requests of a socket with WSA_OPERATION_ABORTED.

        Args:
            s: Handle.
            overlapped: The one; None: all of them.

        Returns:
            How many there were.
        """
        sock = self._get(s, "CancelIoEx")
        cancelled = 0
        with sock.lock:
            for queue in (sock.receives, sock.urgents, sock.sends, sock.accepts):
                for request in list(queue):
                    mine = overlapped is None or request.overlapped is overlapped
                    if request.overlapped is not None and mine:
                        queue.remove(request)
                        if queue is sock.accepts:
                            request.abandon()
                        self._serving.end(sock, request, WsaErrorCode.WSA_OPERATION_ABORTED)
                        cancelled += 1
            self._serving.tidy(sock)
        sock.announcer.run()
        return cancelled


def _in_use(overlapped: WSAOVERLAPPED | None, call: str) -> None:
    if overlapped is None:
        return
    if overlapped.in_progress:
        raise WSAError(WsaErrorCode.WSAEINVAL, call, "The record serves another request.")
    if overlapped.hEvent is not None and overlapped.hEvent.closed:
        raise WSAError(WsaErrorCode.WSA_INVALID_HANDLE, call, "The record's event was closed.")
