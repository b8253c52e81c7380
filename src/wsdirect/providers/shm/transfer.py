"""Messages: the requests of a connected socket and their progress.

A message goes into the connection's ring whole, or its send waits in a queue; a receive waits in
a queue until the ring has a message.  Requests are moved on by whoever comes along: the call that
makes the request (sends only), WSPGetOverlappedResult on the caller's thread, or the progress
thread where somebody is to be notified.  Nobody is notified from within the call that made the
request.
"""

from __future__ import annotations

import errno
import select
from collections import deque
from time import sleep

from wsdirect.providers.shm.sockets import end_stream
from wsdirect.providers.socket_table import State, Step, Upcalls
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
    from wsdirect.spi.upcalls import UpcallTable

    Stream = _native.Stream
    Request = tuple[WSAOVERLAPPED, list[memoryview], int]

__all__ = ["REQUESTS_MAX", "Channel", "message_limit"]

REQUESTS_MAX: Final = 128
"""Most sends, and most receives, that wait at a time on one socket."""
_MESSAGE_MAX: Final = 64 << 10
_FRAME: Final = 8
_LOOK_EVERY: Final = 64
_NAP: Final = 0.02  # seconds
_POSTED_BY_OTHERS: Final = 0.0005

_E = WsaErrorCode


def message_limit(ring: int) -> int:
    """SO_MAX_MSG_SIZE of connections with rings of so many bytes.

    At most half a ring: for that the bell tells when there is room again.
    """
    return min(_MESSAGE_MAX, ring // 2 - _FRAME)


def _views(buffers: Sequence[Buffer], call: str, writable: bool) -> list[memoryview]:
    """Capture the buffers: the sequence may change, and they must stay where they are."""
    try:
        views = [memoryview(buffer) for buffer in buffers]
    except TypeError as error:
        raise WSAError(_E.WSAEFAULT, call, f"{error}.") from None
    for view in views:
        if not view.contiguous or (writable and view.readonly):
            raise WSAError(_E.WSAEFAULT, call, "A buffer cannot be used like this.")
    return views


def _total(views: list[memoryview]) -> int:
    total = 0
    for view in views:
        total += view.nbytes
    return total


class Channel:
    """The connection of a socket for messages.

    All members are used with the socket's lock held, but for the upcalls, which are made without.

    Attributes:
        stream: The two rings and the bell.
        upcalls: The notifications that wait to be made.
    """

    __slots__ = (
        "_idle",
        "_open",
        "_progress",
        "_receives",
        "_sends",
        "_socket",
        "_table",
        "_watched",
        "limit",
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
        self._receives: deque[Request] = deque()
        self._sends: deque[Request] = deque()
        self._watched = False
        self._open = True
        self._idle = 0

    # --- requests -------------------------------------------------------------------------------

    def send(self, buffers: Sequence[Buffer], overlapped: WSAOVERLAPPED) -> None:
        """Queue one message (WSPSend)."""
        views = _views(buffers, "WSPSend", writable=False)
        length = _total(views)
        if length > self.limit:
            raise WSAError(_E.WSAEMSGSIZE, "WSPSend", f"At most {self.limit} bytes.")
        socket = self._socket
        with socket.lock:
            if socket.state is not State.CONNECTED:
                socket.refuse("WSPSend")
            if len(self._sends) >= REQUESTS_MAX:
                raise WSAError(_E.WSAEWOULDBLOCK, "WSPSend", "Too many sends wait.")
            overlapped.start()
            done = False
            if not self._sends:
                try:
                    done = self.stream.send_message(views)
                except OSError as error:
                    overlapped.publish()  # nothing was started
                    raise WSAError(_code_of(error), "WSPSend") from error
            if done:
                self._complete(overlapped, 0, length)
            else:
                self._sends.append((overlapped, views, length))
        if not overlapped.polled:
            self._follow(done)

    def receive(self, buffers: Sequence[Buffer], overlapped: WSAOVERLAPPED) -> None:
        """Queue a request for one message (WSPRecv)."""
        views = _views(buffers, "WSPRecv", writable=True)
        socket = self._socket
        with socket.lock:
            if socket.state is not State.CONNECTED:
                socket.refuse("WSPRecv")
            if len(self._receives) >= REQUESTS_MAX:
                raise WSAError(_E.WSAEWOULDBLOCK, "WSPRecv", "Too many receives wait.")
            overlapped.start()
            self._receives.append((overlapped, views, 0))
        if not overlapped.polled:
            # Looked at after the request is queued: what comes later makes the descriptor ring.
            self._follow(self.stream.readable())

    def _follow(self, now: bool) -> None:
        """Have the progress thread see to a request that somebody is to be notified of."""
        if not self._watched:
            with self._socket.lock:
                if not self._open or self._watched:
                    return
                self._watched = True
                self._progress.watch(self.stream.fd, self.on_ready)
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
        if not stream.readable() and not self._sends:
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
            if any(request[0] is overlapped for request in list(self._receives)):
                self.stream.wait_readable(_NAP)
            elif any(request[0] is overlapped for request in list(self._sends)):
                poller = select.poll()
                poller.register(self.stream.fd, select.POLLOUT)
                poller.poll(_NAP * 1000)
            else:  # another thread is about to announce it
                sleep(_POSTED_BY_OTHERS)
        except (OSError, ValueError, RuntimeError):  # closed, or the queue changed meanwhile
            sleep(_POSTED_BY_OTHERS)

    def _advance(self) -> None:
        """Match messages and receives, sends and room."""
        if not self._open:
            return
        receives, sends = self._receives, self._sends
        stream = self.stream
        try:
            while receives and stream.readable():
                length = stream.recv_message(receives[0][1])
                self._complete(receives.popleft()[0], 0, length)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                self._complete(receives.popleft()[0], _E.WSAEMSGSIZE, 0)
                stream.close(True)
                self._break(_E.WSAECONNABORTED)
            else:
                self._break(_code_of(error))
        try:
            while sends and stream.send_message(sends[0][1]):
                overlapped, _, length = sends.popleft()
                self._complete(overlapped, 0, length)
        except OSError as error:
            if receives or not stream.readable():
                self._break(_code_of(error))
            else:
                # the peer's last messages can still be received, but nothing can be sent
                while sends:
                    self._complete(sends.popleft()[0], _code_of(error), 0)

    def _look_for_end(self) -> None:
        try:
            self.stream.message_size()
        except OSError as error:
            self._break(_code_of(error))

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

    def _break(self, code: int) -> None:
        """The connection has ended: every request ends with this code, now and later."""
        socket = self._socket
        if socket.state is State.CONNECTED:
            socket.error = code
            socket.step(Step.BREAK)
        self._end_requests(code)

    def _end_requests(self, code: int) -> None:
        for queue in (self._receives, self._sends):
            while queue:
                self._complete(queue.popleft()[0], code, 0)

    # --- ending ---------------------------------------------------------------------------------

    @property
    def sends_wait(self) -> bool:
        """Whether a send is not finished."""
        return bool(self._sends)

    def flush(self) -> None:
        """End all receives with success and no bytes, as a duplication asks for; lock held."""
        self._end_requests(0)

    def release(self) -> Stream:
        """Let go of the connection without ending it; lock held."""
        self._open = False
        if self._watched:
            self._progress.unwatch(self.stream.fd)
        return self.stream

    def close(self) -> None:
        """End the connection and abort all requests (R-240); lock held, notifications wait."""
        if not self._open:
            return
        stream = self.release()
        self._end_requests(_E.WSA_OPERATION_ABORTED)
        end_stream(stream, reset=True)


def _code_of(error: OSError) -> int:
    """The Winsock code for what a stream raised."""
    if error.errno in (errno.ECONNRESET, errno.EPIPE, errno.EBADF):
        return _E.WSAECONNRESET
    return _E.WSAECONNABORTED
