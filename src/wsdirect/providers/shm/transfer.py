"""The requests of a connected socket and their progress: messages, and RDMA among them.

A message goes into the connection's ring whole, or its send waits in a queue; a receive waits in
a queue until the ring has a message.  RDMA that cannot be done at once (see `rdma`) stands in the
queue of the sends.  Requests are moved on by whoever comes along: the call that makes the request
(not receives), WSPGetOverlappedResult on the caller's thread, or the progress thread where
somebody is to be notified, and for RDMA that needs its memory's owner.  Nobody is notified from
within the call that made the request.
"""

from __future__ import annotations

import errno
import select
from collections import deque
from time import sleep

from wsdirect.providers.shm.limits import REQUESTS_MAX, message_limit
from wsdirect.providers.shm.rdma import BrokenRules, Rdma, Transfer
from wsdirect.providers.shm.regions import Regions
from wsdirect.providers.shm.requests import ENDED, Request, captured, code_of, use
from wsdirect.providers.shm.sockets import end_stream
from wsdirect.providers.socket_table import State, Step, Upcalls
from wsdirect.spi.constants import MEM_READ, MEM_WRITE
from wsdirect.spi.errors import WSAError, WsaErrorCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from typing_extensions import Buffer

    from wsdirect._core import _native
    from wsdirect.providers.shm.progress import Progress
    from wsdirect.providers.shm.sockets import SanSocket
    from wsdirect.spi.overlapped import WSAOVERLAPPED
    from wsdirect.spi.structures import WSABUFEX
    from wsdirect.spi.upcalls import UpcallTable

    Stream = _native.Stream

__all__ = ["Channel"]

_LOOK_EVERY: Final = 64
_NAP: Final = 0.02  # seconds
_POSTED_BY_OTHERS: Final = 0.0005
_EARLY_MAX: Final = 4 << 20
"""Bytes of messages that are taken out of the way of control messages behind them."""

_READ: Final = int(MEM_READ)
_WRITE: Final = int(MEM_WRITE)
_E = WsaErrorCode


class Channel:
    """The connection of a socket for messages.

    All members are used with the socket's lock held, but for the upcalls, which are made without.

    Attributes:
        limit: Longest message.
        regions: The registered memory.
        stream: The two rings and the bell.
        upcalls: The notifications that wait to be made.
    """

    __slots__ = (
        "_controls",
        "_early",
        "_early_bytes",
        "_followed",
        "_frame",
        "_idle",
        "_open",
        "_progress",
        "_rdma",
        "_receives",
        "_sends",
        "_socket",
        "_table",
        "_watched",
        "limit",
        "regions",
        "stream",
        "upcalls",
    )

    def __init__(
        self, socket: SanSocket, stream: Stream, table: UpcallTable, progress: Progress
    ) -> None:
        self.stream = stream
        self.upcalls = Upcalls()
        self.limit = message_limit(stream.segment.ring)
        self._socket = socket
        self._table = table
        self._progress = progress
        self.regions = Regions(stream)
        self._rdma = Rdma(stream, self.regions, self.limit)
        self._receives: deque[Request] = deque()
        self._sends: deque[Request | Transfer] = deque()
        self._early: deque[bytearray] = deque()
        self._early_bytes = 0
        self._controls = stream.controls
        self._frame: bytearray | None = None  # for the control message at hand
        self._followed = False  # the progress thread hears the bell
        self._watched = False  # and whoever polls leaves it on
        self._open = True
        self._idle = 0

    # --- requests -------------------------------------------------------------------------------

    def send(self, buffers: Sequence[Buffer], overlapped: WSAOVERLAPPED) -> None:
        """Queue one message (WSPSend)."""
        socket = self._socket
        with socket.lock:
            if socket.state is not State.CONNECTED:
                socket.refuse("WSPSend")
            views, regions, length = captured(buffers, self.regions.local, _READ, "WSPSend")
            if length > self.limit:
                raise WSAError(_E.WSAEMSGSIZE, "WSPSend", f"At most {self.limit} bytes.")
            self._check_room("WSPSend")
            overlapped.start()
            done = False
            if not self._sends:
                try:
                    done = self.stream.send_message(views)
                except OSError as error:
                    overlapped.publish()  # nothing was started
                    raise WSAError(code_of(error), "WSPSend") from error
            if done:
                self._complete(overlapped, 0, length)
            else:
                self._sends.append(Request(overlapped, views, regions, length))
                use(regions)
        if not overlapped.polled:
            self._follow(done)

    def receive(self, buffers: Sequence[Buffer], overlapped: WSAOVERLAPPED) -> None:
        """Queue a request for one message (WSPRecv)."""
        socket = self._socket
        with socket.lock:
            if socket.state is not State.CONNECTED:
                socket.refuse("WSPRecv")
            views, regions, length = captured(buffers, self.regions.local, _WRITE, "WSPRecv")
            if len(self._receives) >= REQUESTS_MAX:
                raise WSAError(_E.WSAEWOULDBLOCK, "WSPRecv", "Too many receives wait.")
            overlapped.start()
            self._receives.append(Request(overlapped, views, regions, length))
            use(regions)
        if not overlapped.polled:
            # Looked at after the request is queued: what comes later makes the descriptor ring.
            self._follow(self.stream.readable() or bool(self._early))

    def transfer(
        self,
        buffers: Sequence[WSABUFEX],
        descriptor: Buffer,
        offset: int,
        write: bool,
        overlapped: WSAOVERLAPPED,
    ) -> None:
        """Move bytes to or from the peer's memory (WSPRdmaWrite, WSPRdmaRead)."""
        call = "WSPRdmaWrite" if write else "WSPRdmaRead"
        socket, rdma = self._socket, self._rdma
        with socket.lock:
            if socket.state is not State.CONNECTED:
                socket.refuse(call)
            if self.stream.ended:  # what the peer sent may still be received, but it is gone
                raise WSAError(_E.WSAECONNRESET, call)
            self._check_room(call)
            transfer = rdma.open(buffers, descriptor, offset, write, call)
            transfer.overlapped = overlapped
            try:
                overlapped.start()
            except WSAError:
                rdma.close(transfer)
                raise
            use(transfer.regions)
            self._sends.append(transfer)
            if len(self._sends) == 1:
                self._send_on()
            waits = bool(self._sends) and self._sends[-1] is transfer
        if waits or not overlapped.polled:
            # What needs the owner goes on by itself: the caller's program may be waiting for
            # something else that comes after it.
            try:
                self._follow(True)
            except OSError:  # no descriptor for that: then whoever polls moves it on
                pass

    def _check_room(self, call: str) -> None:
        if len(self._sends) >= REQUESTS_MAX:
            raise WSAError(_E.WSAEWOULDBLOCK, call, "Too many sends wait.")

    # --- registered memory ----------------------------------------------------------------------

    def register(self, buffer: Buffer, access: int, call: str) -> int:
        """WSPRegisterMemory; errors as there."""
        with self._socket.lock:
            self._socket.require(call)
            return self.regions.register(buffer, access, call)

    def deregister(self, handle: int, call: str) -> None:
        """WSPDeregisterMemory; errors as there."""
        with self._socket.lock:
            self.regions.local.deregister(handle, call)

    def expose(self, buffer: Buffer, access: int, call: str) -> bytes:
        """WSPRegisterRdmaMemory; errors as there."""
        with self._socket.lock:
            self._socket.require(call)
            descriptor = self.regions.expose(buffer, access, call)
            # The peer may have to ask us to copy, whatever our program does meanwhile.
            if not self._followed:
                try:
                    self._hear()
                except OSError as error:
                    self.regions.withdraw(descriptor, call)
                    raise WSAError(_E.WSAENOBUFS, call, f"{error}.") from error
            return descriptor

    def withdraw(self, descriptor: Buffer, call: str) -> None:
        """WSPDeregisterRdmaMemory; errors as there."""
        with self._socket.lock:
            self.regions.withdraw(descriptor, call)

    def revoke(self, address: int, size: int) -> tuple[int, int]:
        """Memory is given up: how many registrations ended, and how many are in use."""
        with self._socket.lock:
            return self.regions.revoke(address, size)

    def _hear(self) -> None:
        """Have the progress thread hear the bell; lock held."""
        self._progress.watch(self.stream.fd, self.on_ready)
        self._followed = True

    def _follow(self, now: bool) -> None:
        """Have the progress thread see to a request that somebody is to be notified of."""
        if not self._watched:
            with self._socket.lock:
                if not self._open or self._watched:
                    return
                self._watched = True
                self._hear()
                self.stream.arm()  # whoever polled may have silenced the bell
                now = now or self.stream.readable()
        if now:
            self._progress.submit(self.on_ready)

    # --- progress -------------------------------------------------------------------------------

    def on_ready(self) -> None:
        """Move on and notify: the progress thread's part."""
        with self._socket.lock:
            self._advance()
            if self._open and not self.stream.readable():
                self._look_for_end()
        self.upcalls.run()

    def poll(self) -> None:
        """Move on and notify: WSPGetOverlappedResult's part, cheap when nothing has happened."""
        stream = self.stream
        if not stream.readable() and not (self._sends or self._early):
            self._idle += 1
            if self._idle % _LOOK_EVERY:
                return
            # A peer that was killed leaves no trace in the memory, only on the bell.
            with self._socket.lock:
                if self._open:
                    self._look_for_end()
        with self._socket.lock:
            self._advance()
            if not self._watched and self._open:
                stream.unarm()  # only polled: a bell would cost both sides a system call
        if self.upcalls:
            self.upcalls.run()

    def wait(self, overlapped: WSAOVERLAPPED) -> None:
        """Wait a little for what could move this request on."""
        try:
            if any(request.overlapped is overlapped for request in list(self._receives)):
                self.stream.wait_readable(_NAP)
                return
            for request in list(self._sends):
                if request.overlapped is overlapped:
                    if not isinstance(request, Transfer):
                        poller = select.poll()
                        poller.register(self.stream.fd, select.POLLOUT)
                        poller.poll(_NAP * 1000)
                        return
                    break
        except (OSError, ValueError, RuntimeError):  # closed, or the queue changed meanwhile
            pass
        sleep(_POSTED_BY_OTHERS)  # the progress thread is at it, or another one will announce it

    def _advance(self) -> None:
        """Match messages and receives, sends and room, the peer's requests and our memory."""
        if not self._open:
            return
        try:
            self._take_in()
        except BlockingIOError:
            pass
        except BrokenRules:
            self._abort()
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                self._finish(self._receives.popleft(), _E.WSAEMSGSIZE, 0)
                self._abort()
            else:
                self._lose(code_of(error))
        if self._sends or self._rdma.has_answers:
            self._send_on()

    def _take_in(self) -> None:
        """Take what has come, as far as there is somewhere to put it."""
        receives, stream = self._receives, self.stream
        while self._open:
            if self._early:
                if receives:
                    self._take_early()
                    continue
            elif receives:
                if not stream.readable():
                    return
                try:
                    length = stream.recv_message(receives[0].views)
                except OSError as error:
                    if error.errno != errno.EPROTO:
                        raise
                    self._take_control()
                else:
                    self._finish(receives.popleft(), 0, length)
                continue
            # No receive for what is first.  Control messages behind it must not wait for one: the
            # peer's program may not send what ours would answer before its RDMA has ended.
            if self._controls == stream.controls or not stream.readable() or not self._set_aside():
                return

    def _take_early(self) -> None:
        """Deliver the first of the messages that were set aside."""
        receive, message = self._receives[0], self._early[0]
        length, at = len(message), 0
        if length > receive.length:
            raise OSError(errno.EMSGSIZE, "")
        for view in receive.views:
            if at < length and view.nbytes:
                piece = view.cast("B")[: length - at]
                piece[:] = message[at : at + piece.nbytes]
                at += piece.nbytes
        self._early.popleft()
        self._early_bytes -= length
        self._finish(self._receives.popleft(), 0, length)

    def _set_aside(self) -> bool:
        """Take the first message away, to a place of ours if it is data; False: it has to stay."""
        stream = self.stream
        try:
            size = stream.message_size()
        except OSError as error:
            if error.errno != errno.EPROTO:
                raise
            self._take_control()
            return True
        if size < 0 or self._early_bytes + size > _EARLY_MAX or len(self._early) > _EARLY_MAX >> 8:
            return False
        message = bytearray(size)
        stream.recv_message((message,))
        self._early.append(message)
        self._early_bytes += size
        return True

    def _take_control(self) -> None:
        frame = self._frame
        if frame is None:
            frame = self._frame = bytearray(self.limit)
        try:
            size = self.stream.recv_control((frame,))
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                raise BrokenRules from None
            raise
        self._controls = (self._controls + 1) & 0xFFFFFFFF
        first = self._sends[0] if self._sends else None
        asked = first if isinstance(first, Transfer) and first.tag else None
        code = self._rdma.take_in(memoryview(frame)[:size], asked)
        if code is not None and asked is not None:
            self._sends.popleft()
            self._finish(asked, code, 0 if code else asked.length)

    def _send_on(self) -> None:
        """Send what waits, in its order, as far as there is room."""
        sends, stream, rdma = self._sends, self.stream, self._rdma
        try:
            rdma.answer()
            while sends:
                request = sends[0]
                if isinstance(request, Transfer):
                    code = self._transfer_on(request)
                    if code is None:
                        break
                    self._finish(sends.popleft(), code, 0 if code else request.length)
                elif stream.send_message(request.views):
                    self._finish(sends.popleft(), 0, request.length)
                else:
                    break
        except OSError as error:
            if self._receives or not stream.readable():
                self._lose(code_of(error))
            else:
                self._end_sends(code_of(error))

    def _transfer_on(self, transfer: Transfer) -> int | None:
        """The code that a transfer has ended with; None if it goes on."""
        if not transfer.tag:
            try:
                if self._rdma.copy(transfer):
                    return 0
            except OSError as error:
                if error.errno in ENDED:
                    raise
                return code_of(error)
        self._rdma.ask(transfer)
        stream = self.stream
        if stream.ended and (self._controls == stream.controls or not stream.available()):
            raise ConnectionResetError(errno.ECONNRESET, "no answer can come any more")
        return None

    def _look_for_end(self) -> None:
        try:
            self.stream.message_size()
        except OSError as error:
            if error.errno != errno.EPROTO:
                self._lose(code_of(error))

    def _finish(self, request: Request | Transfer, error: int, length: int) -> None:
        """End a request that was queued."""
        for region in request.regions:
            region.in_use -= 1
        if isinstance(request, Transfer):
            self._rdma.close(request)
        self._complete(request.overlapped, error, length)

    def _complete(self, overlapped: WSAOVERLAPPED, error: int, length: int) -> None:
        overlapped.set_result(error)
        if overlapped.polled:
            overlapped.publish(length)
        else:
            self.upcalls.post(
                self._table.WPUCompleteOverlappedRequest,
                self._socket.handle,
                overlapped,
                int(error),
                length,
            )

    def _abort(self) -> None:
        """End the connection for what the peer did, or for a receive that is too small."""
        self.stream.close(True)
        self._break(_E.WSAECONNABORTED)

    def _lose(self, code: int) -> None:
        """The connection has ended; the peer's last messages may still have to be received."""
        if self._early and code == _E.WSAECONNRESET:
            self._end_sends(code)
        else:
            self._break(code)

    def _break(self, code: int) -> None:
        """The connection has ended: every request ends with this code, now and later."""
        socket = self._socket
        if socket.state is State.CONNECTED:
            socket.error = code
            socket.step(Step.BREAK)
        self._end_requests(code)
        self._rdma.forget()
        self.regions.close()

    def _end_requests(self, code: int) -> None:
        while self._receives:
            self._finish(self._receives.popleft(), code, 0)
        self._end_sends(code)

    def _end_sends(self, code: int) -> None:
        while self._sends:
            self._finish(self._sends.popleft(), code, 0)

    # --- ending ---------------------------------------------------------------------------------

    @property
    def sends_wait(self) -> bool:
        """Whether a send is not finished, or a message came that could not be handed over."""
        return bool(self._sends or self._early or self._rdma.has_answers)

    def flush(self) -> None:
        """End all receives with success and no bytes, as a duplication asks for; lock held."""
        self._end_requests(0)

    def release(self) -> Stream:
        """Let go of the connection without ending it; lock held.

        Nothing is registered any more, and the peer has no access to our memory.
        """
        self._open = False
        if self._followed:
            self._progress.unwatch(self.stream.fd)
        self._rdma.forget()
        self.regions.close()
        self.regions.forget()
        return self.stream

    def forget(self) -> None:
        """In a forked child: the registrations are the parent's, no buffer is held for them."""
        self._open = False
        self._receives.clear()
        self._sends.clear()
        self._rdma.forget()
        self.regions.forget()

    def close(self) -> None:
        """End the connection and abort all requests (R-240); lock held, notifications wait."""
        if not self._open:
            return
        self._end_requests(_E.WSA_OPERATION_ABORTED)
        end_stream(self.release(), reset=True)
