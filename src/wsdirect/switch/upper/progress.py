"""What a socket can do at a moment: finish a connect, serve requests in their order, record events.

`settle` is the one place where all of it happens, called with the socket's lock held after every
call that changes something, and by the engine when a descriptor wakes it.
"""

from __future__ import annotations

import errno
import select
import time

from wsdirect.spi.errors import WSAError, WsaErrorCode, from_oserror
from wsdirect.switch.upper import paths
from wsdirect.switch.upper.endpoints import StreamEndpoint, TcpEndpoint, Unattached, failure_code
from wsdirect.switch.upper.engine import SPENT
from wsdirect.switch.upper.sockets import Receive, Send
from wsdirect.switch.upper.tables import RECORDED_WHEN, Ready, State, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from typing import Any

    from wsdirect.spi.upcalls import UpcallTable
    from wsdirect.switch.upper.engine import Engine
    from wsdirect.switch.upper.sockets import Request, Socket

__all__ = ["BROKEN_AS", "Serving", "attempt", "look", "receive_now", "send_now"]

IN, OUT, PRI = select.EPOLLIN, select.EPOLLOUT, select.EPOLLPRI
ENDINGS = frozenset(
    {
        errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.ECONNABORTED, errno.ECONNREFUSED,
        errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ENOTCONN, errno.EBADF,
        errno.ESHUTDOWN, errno.ENETRESET,
    }
)  # fmt: skip
"""What says that a connection is over; other failures of a call leave it as it was."""
BROKEN_AS = WsaErrorCode.WSAECONNABORTED
"""What FD_CLOSE says of a connection that was reset."""


def attempt(sock: Socket, name: str, *arguments: Any) -> Any:
    """A method of the socket's endpoint; an offer that nobody took goes on over TCP first.

    Errors:
        BlockingIOError: not now.
        WSAError: the connection is broken; the socket knows it.
    """
    for _ in range(2):
        endpoint = sock.endpoint
        try:
            return getattr(endpoint, name)(*arguments)
        except Unattached:
            paths.fall_back(sock)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in ENDINGS:
                raise from_oserror(error) from error  # no room for the call, say
            code = error.winerror if isinstance(error, WSAError) else failure_code(error.errno)
            assert endpoint is not None
            endpoint.failure = code
            sock.break_(code)
            raise WSAError(code) from error
    raise BlockingIOError(errno.EAGAIN, "the connection moves to TCP")


def look(sock: Socket) -> int:
    """`Ready` bits of a socket."""
    state = sock.state
    if state is State.LISTENING:
        assert sock.listener is not None
        return Ready.WAITING if sock.listener.waiting() else 0
    ready = 0 if sock.outcome is None else Ready.CONNECT
    if state is State.CONNECTED:
        try:
            ready |= attempt(sock, "look", sock.inline)
        except BlockingIOError:
            pass
        except WSAError:
            return ready | Ready.RESET
        assert sock.endpoint is not None
        if ready & Ready.RESET:
            sock.break_(sock.endpoint.failure or WsaErrorCode.WSAECONNRESET)
    elif state is State.BROKEN:
        ready |= Ready.RESET
    return ready


def _gathered(buffers: list[memoryview], done: int) -> list[memoryview]:
    """The buffers without their first `done` bytes."""
    left = []
    for buffer in buffers:
        if done >= len(buffer):
            done -= len(buffer)
        else:
            left.append(buffer[done:] if done else buffer)
            done = 0
    return left


def receive_now(sock: Socket, request: Receive) -> bool:
    """Try to satisfy a receive; whether it has ended.  WSAError if it failed."""
    if sock.state is State.BROKEN:
        raise WSAError(sock.error)
    if request.size == 0:
        return bool(look(sock) & (Ready.DATA | Ready.END))
    try:
        if request.urgent:
            request.transferred = attempt(sock, "receive_urgent", request.buffers, request.peek)
            return True
        while True:
            left = _gathered(request.buffers, request.transferred)
            got = attempt(sock, "receive", left, request.peek)
            request.transferred += got
            if not request.fill or request.peek or got == 0 or request.transferred == request.size:
                return True
    except BlockingIOError:
        return False


def send_now(sock: Socket, request: Send) -> bool:
    """Send as much as goes; whether all has gone.  WSAError if it failed."""
    if sock.state is State.BROKEN:
        raise WSAError(sock.error)
    pieces = request.pieces
    try:
        while True:
            if not pieces and request.more is not None:
                piece = next(request.more, None)
                if piece is None:
                    request.more = None
                else:
                    pieces.append(piece)
            if not pieces:
                return True
            if request.urgent:
                sent = attempt(sock, "send_urgent", b"".join(bytes(piece) for piece in pieces))
            else:
                sent = attempt(sock, "send", list(pieces))
            request.transferred += sent
            while pieces and sent >= len(pieces[0]):
                sent -= len(pieces.popleft())
            if sent:
                pieces[0] = pieces[0][sent:]
    except BlockingIOError:
        return False


class Serving:
    """Serves the sockets of one provider."""

    def __init__(self, engine: Engine, upcalls: UpcallTable) -> None:
        self.engine = engine
        self.upcalls = upcalls

    def tidy(self, sock: Socket) -> None:
        """`settle`, if anybody wants anything of the socket; most transfers leave nothing to do."""
        endpoint = sock.endpoint
        if (
            sock.receives
            or sock.sends
            or any(mask != SPENT for mask in sock.polled.values())
            or sock.waiters
            or sock.selected & ~sock.reported
            or sock.urgents
            or sock.end_wanted
            or endpoint is None
            or not endpoint.settled()
        ):
            self.settle(sock)

    def settle(self, sock: Socket) -> int:
        """Do what can be done now, and see to being woken for the rest.  The lock is held.

        Returns:
            The `Ready` bits that are true at the end.
        """
        if sock.state is State.CLOSED:
            return 0
        ready = look(sock)
        if sock.state is State.CONNECTING:
            ready = self._connecting(sock)
        if sock.accepts:
            ready = self._accepting(sock)
        if sock.state in (State.CONNECTED, State.BROKEN):
            ready = self._moving(sock, ready)
        self._record(sock, ready)
        if sock.waiters:
            sock.tell_waiters(ready)
        self.engine.poll(sock, self._wishes(sock, ready))
        return ready

    # -- requests ------------------------------------------------------------------------------

    def end(self, sock: Socket, request: Request, error: int = 0) -> None:
        """A request has ended."""
        sock.finish(request, self.upcalls, error)

    def end_all(self, sock: Socket, requests: deque[Any], error: int) -> None:
        """All requests of a queue have failed."""
        while requests:
            request = requests.popleft()
            request.transferred = 0
            self.end(sock, request, error)

    def _connecting(self, sock: Socket) -> int:
        if not sock.tcp_connecting:
            return 0
        events = select.poll()
        events.register(sock.tcp.fileno(), select.POLLOUT)
        if events.poll(0):
            number = sock.tcp.getsockopt(*_SO_ERROR)
            if number:
                self.connect_failed(sock, connect_error(number))
            else:
                self.established(sock, TcpEndpoint(sock.tcp))
        return look(sock)

    def established(self, sock: Socket, endpoint: Any) -> None:
        """The socket is connected from now on."""
        connecting = sock.state is State.CONNECTING
        sock.tcp_connecting = False
        sock.step(Step.ESTABLISH)
        sock.endpoint = endpoint
        sock.bound = True
        sock.connected_at = time.monotonic()
        if sock.inline:
            endpoint.inline(True)
        if isinstance(endpoint, StreamEndpoint):
            self._offered(sock, endpoint)
        if not connecting:
            return
        sock.outcome = 0
        request, sock.connecting = sock.connecting, None
        if request is not None:
            if request.data:  # the rest of it is a send that ends this request
                sock.outcome = 0
                send = Send(request.handle, request.data, False)
                send.overlapped, send.routine = request.overlapped, request.routine
                send.thread_id, send.done = request.thread_id, request.done
                sock.queue(send, sock.sends)
            else:
                self.end(sock, request)

    def _offered(self, sock: Socket, endpoint: StreamEndpoint) -> None:
        due = endpoint.stream.offer_deadline
        if due is not None and sock.lead is not None and sock.lead.role == "connect":
            self.engine.until(sock, due)

    def connect_failed(self, sock: Socket, code: int) -> None:
        """The connect came to nothing."""
        sock.step(Step.FAIL_BOUND if sock.bound else Step.FAIL)
        sock.outcome = code
        sock.tcp_connecting = False
        if sock.lead is not None:
            sock.lead.end()
            sock.lead = None
        request, sock.connecting = sock.connecting, None
        if request is not None:
            self.end(sock, request, code)

    def _accepting(self, sock: Socket) -> int:
        # The last look decides: one that comes between two looks would wake nobody any more.
        while (ready := look(sock)) & Ready.WAITING and sock.accepts:
            assert sock.listener is not None
            request = sock.accepts.popleft()
            arrival = sock.listener.take()
            assert arrival is not None
            sock.enable("AcceptEx")
            request.give(self, arrival)
        starved = sock.listener is not None and sock.listener.starved
        if starved and sock.accepts and sock.accepts[0].needs_descriptor:
            self.end(sock, sock.accepts.popleft(), WsaErrorCode.WSAEMFILE)
        return ready

    def _moving(self, sock: Socket, ready: int) -> int:
        moved = False
        for queue, serve in (
            (sock.sends, send_now),
            (sock.urgents, receive_now),
            (sock.receives, receive_now),
        ):
            while queue:
                request: Any = queue[0]
                try:
                    if not serve(sock, request):
                        break
                    code = 0
                except WSAError as error:
                    code = error.winerror
                    if isinstance(request, Receive):
                        request.transferred = 0
                except (OSError, ValueError) as error:  # of a file that is being sent
                    code = from_oserror(error).winerror if isinstance(error, OSError) else 10014
                moved = True
                queue.popleft()
                self.end(sock, request, code)
                if isinstance(request, Send) and request.after is not None and not code:
                    request.after()
        if not sock.sends and sock.end_wanted:
            sock.end_wanted = False
            try:
                attempt(sock, "end_sending")
            except OSError:
                pass  # broken: told by the next call
        return look(sock) if moved else ready

    # -- events --------------------------------------------------------------------------------

    def _record(self, sock: Socket, ready: int) -> None:
        wanted = sock.selected & ~sock.reported
        if not wanted:
            return
        new = False
        for event, bits in RECORDED_WHEN:
            if wanted & event and ready & bits:
                sock.record.record(event, _event_error(sock, bits, ready))
                sock.reported |= int(event)
                sock.steps += 1
                new = True
        if new and sock.event is not None:
            try:
                sock.event.set()
            except WSAError:
                pass  # the program closed it: there is nobody to tell

    def _wishes(self, sock: Socket, ready: int) -> dict[int, int]:
        """Descriptors to be woken by, for what is wanted and not true yet."""
        bits = 0
        for wanted in sock.waiters.values():
            bits |= wanted
        for event, when in RECORDED_WHEN:
            if sock.selected & ~sock.reported & event:
                bits |= when
        bits &= ~ready
        if sock.state is State.LISTENING:
            assert sock.listener is not None
            if bits & Ready.WAITING or (sock.accepts and not ready & Ready.WAITING):
                return dict.fromkeys(sock.listener.descriptors(), IN)
            return {}
        if sock.state is State.CONNECTING:
            return {sock.tcp.fileno(): OUT} if sock.tcp_connecting else {}
        if sock.state is not State.CONNECTED:
            return {}
        endpoint = sock.endpoint
        assert endpoint is not None
        mask = 0
        # with data there, the descriptor is readable, and no news of others would come by it
        if (
            sock.receives
            or sock.reader is not None
            or (
                bits & (Ready.DATA | Ready.END | Ready.RESET)
                and not ready & (Ready.DATA | Ready.END | Ready.RESET)
            )
        ):
            mask |= IN
        if sock.sends or bits & Ready.ROOM or not endpoint.settled():
            mask |= OUT
        if sock.urgents or bits & Ready.URGENT:
            mask |= PRI
        if not mask:
            return {}
        endpoint.wish(bool(mask & OUT))
        return {endpoint.fileno(): mask}


def _event_error(sock: Socket, bits: int, ready: int) -> int:
    if bits & Ready.CONNECT:
        return sock.outcome or 0
    if bits & Ready.END and ready & Ready.RESET:
        return BROKEN_AS
    return 0


def connect_error(number: int) -> int:
    """Winsock code for the errno of a connect."""
    return from_oserror(OSError(number, "")).winerror


_SO_ERROR = (1, 4)  # Linux: SOL_SOCKET, SO_ERROR
