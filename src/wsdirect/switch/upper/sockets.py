"""One socket of the upper interface: its state, its queues, and what it has to announce."""

from __future__ import annotations

import time
from _thread import RLock, allocate_lock
from collections import deque

from wsdirect.announcing import Upcalls
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.structures import WSANETWORKEVENTS
from wsdirect.switch.upper.tables import RE_ENABLED_BY, REFUSALS, TRANSITIONS, State, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from wsdirect.spi.overlapped import WSAOVERLAPPED, Event
    from wsdirect.spi.upcalls import UpcallTable
    from wsdirect.switch.upper.endpoints import Endpoint
    from wsdirect.switch.upper.paths import Lead, UpperListener

__all__ = ["Connecting", "Receive", "Request", "Send", "Socket", "Waiter", "begin"]

OUT_TIME = 1.0  # seconds; they were woken, so microseconds do
CLOSING = -1  # among a waiter's bits: the socket was closed


class Request:
    """One overlapped request, or (without a record) a call that waits for its turn.

    Attributes:
        done: Held until the request was announced.
        error: Winsock code; 0 for success.
        transferred: Bytes.
        flags: Resulting flags.
    """

    __slots__ = (
        "also_in",
        "done",
        "error",
        "finished",
        "flags",
        "handle",
        "overlapped",
        "routine",
        "thread_id",
        "transferred",
    )
    needs_descriptor = False  # an accept that fails when the process has no more of them

    def __init__(
        self,
        handle: int,
        overlapped: WSAOVERLAPPED | None = None,
        routine: Callable[..., object] | None = None,
        thread_id: int | None = None,
    ) -> None:
        self.handle = handle
        self.overlapped = overlapped
        self.routine = routine
        self.thread_id = thread_id
        self.done = allocate_lock()
        self.done.acquire()
        self.finished = False
        self.also_in: dict[int, Request] | None = None  # where else it is kept until its end
        self.error = 0
        self.transferred = 0
        self.flags = 0

    def announce(self, upcalls: UpcallTable) -> None:
        """Tell the end as it was asked for; no lock is held."""
        overlapped = self.overlapped
        try:
            if overlapped is None:
                return
            overlapped.set_result(self.error, self.flags)
            if self.routine is not None:
                # the event of the record is then the program's own
                overlapped.publish(self.transferred)
                assert self.thread_id is not None
                upcalls.WPUQueueApc(self.thread_id, self._run, overlapped)
            elif overlapped.polled:
                overlapped.publish(self.transferred)
            else:
                self._complete(upcalls, overlapped)
        finally:
            self.done.release()

    def _complete(self, upcalls: UpcallTable, overlapped: WSAOVERLAPPED) -> None:
        try:
            upcalls.WPUCompleteOverlappedRequest(
                self.handle, overlapped, self.error, self.transferred
            )
        except WSAError as error:
            # Refused: nobody was told, and nobody shall wait on.  In every other case the record
            # must not be touched any more, for it may serve the program's next request by now.
            if error.winerror == WsaErrorCode.WSAEINVAL:
                overlapped.publish(self.transferred)
            raise

    def _run(self, overlapped: Any) -> None:
        assert self.routine is not None
        self.routine(self.error, self.transferred, overlapped, self.flags)


def begin(request: Request) -> Request:
    """Start the record; its event says nothing until the end."""
    overlapped = request.overlapped
    if overlapped is not None:
        overlapped.start()
        if overlapped.hEvent is not None and request.routine is None and not overlapped.polled:
            overlapped.hEvent.reset()
    return request


class Receive(Request):
    """A receive; `first`: of AcceptEx, which an end of the stream satisfies."""

    __slots__ = ("buffers", "fill", "peek", "size", "urgent")

    def __init__(
        self, handle: int, buffers: list[memoryview], fill: bool, peek: bool, urgent: bool,
        *announcing: Any,
    ) -> None:  # fmt: skip
        super().__init__(handle, *announcing)
        self.buffers = buffers
        self.size = sum(len(buffer) for buffer in buffers)
        self.fill = fill
        self.peek = peek
        self.urgent = urgent


class Send(Request):
    """A send; `more` gives further pieces (of a file), `after` is called when all are sent."""

    __slots__ = ("after", "more", "pieces", "urgent")

    def __init__(
        self, handle: int, pieces: list[memoryview], urgent: bool, *announcing: Any,
        more: Iterator[memoryview] | None = None, after: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(handle, *announcing)
        self.pieces = deque(pieces)
        self.urgent = urgent
        self.more = more
        self.after = after


class Connecting(Request):
    """A ConnectEx, with what it sends first."""

    __slots__ = ("data",)

    def __init__(self, handle: int, data: list[memoryview], *announcing: Any) -> None:
        super().__init__(handle, *announcing)
        self.data = data


class Waiter:
    """A thread that waits until one of its sockets is ready, or closed."""

    __slots__ = ("_lock", "told")

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()
        self.told = False

    def tell(self) -> None:
        """Let it look."""
        if not self.told:
            self.told = True
            try:
                self._lock.release()
            except RuntimeError:
                pass  # two engines' threads at once; told is told

    def wait(self, seconds: float | None) -> bool:
        """False if time ran out."""
        return self._lock.acquire(timeout=-1 if seconds is None else max(0.0, min(seconds, 1e6)))


class Socket:
    """A stream socket.  Handles may be several (WSPDuplicateSocket); it ends with the last.

    Attributes:
        lock: Held for every use of what follows, never during an upcall or a wait.
        tcp: The TCP socket that is there from the beginning and carries what no SAN does.
        endpoint: What carries the bytes once there is a connection.
        error: Winsock code of what broke the connection.
        outcome: Winsock code of the last connect; None while there was none or it goes on.
        selected: Network events chosen with WSPEventSelect, `event` is where they are told.
        reported: Those recorded since they were last enabled.
        waiters: Waiting threads, with the `Ready` bits that each waits for.
    """

    def __init__(self, family: int, tcp: Any, info: Any) -> None:
        self.lock = RLock()
        self.family = family
        self.info = info
        self.handles: set[int] = set()
        self.state: State = State.FRESH
        self.bound = False
        self.error = 0
        self.tcp: Any = tcp  # a _socket.socket; None where a SAN connection was accepted
        self.endpoint: Endpoint | None = None
        self.lead: Lead | None = None  # of a switched connection: names, lease, row
        self.listener: UpperListener | None = None
        self.options: dict[tuple[int, int], Any] = {}
        self.nonblocking = False
        self.connected_at: float | None = None
        self.outcome: int | None = None
        self.receive_ended = False
        self.send_ended = False
        self.end_wanted = False  # SD_SEND, behind what is queued
        # events
        self.event: Event | None = None
        self.selected = 0
        self.reported = 0
        self.record = WSANETWORKEVENTS()
        # requests
        self.receives: deque[Receive] = deque()
        self.urgents: deque[Receive] = deque()
        self.sends: deque[Send] = deque()
        self.connecting: Connecting | None = None
        self.accepts: deque[Any] = deque()  # of a listener
        self.reserved: tuple[Socket, Any] | None = None  # of an acceptor: listener and request
        self.running: dict[int, Request] = {}
        self.waiters: dict[Waiter, int] = {}
        self.reader: Callable[[], object] | None = None  # called while there are data, see adopting
        self.announcer = Upcalls()
        # what the engine polls: descriptor -> mask
        self.polled: dict[int, int] = {}
        self.steps = 0  # counts what the engine achieved
        self.tcp_connecting = False
        self.inside = 0  # threads that wait at the endpoint itself
        self.inside_lock = allocate_lock()  # of its own: a closing thread holds the other

    @property
    def inline(self) -> bool:
        """SO_OOBINLINE."""
        from wsdirect.spi.constants import SO_OOBINLINE, SOL_SOCKET

        return bool(self.options.get((SOL_SOCKET, SO_OOBINLINE), 0))

    def step(self, step: Step) -> None:
        """Change the state; a step that the table does not have is a mistake of this package."""
        self.state = TRANSITIONS[self.state][step]

    def require(self, call: str, name: str | None = None) -> None:
        """Raise what the call is answered with in this state, if it is not allowed."""
        refused = REFUSALS[call]
        if self.state in refused:
            raise WSAError(refused[self.state] or self.error, name or call)

    def enable(self, call: str) -> None:
        """Let the events that the call re-enables be recorded again."""
        events = RE_ENABLED_BY[call]
        self.reported &= ~events
        self.record.lNetworkEvents &= ~events

    def queue(self, request: Any, requests: deque[Any]) -> None:
        """Put a request at the end of its queue."""
        requests.append(request)
        self.began(request)

    def began(self, request: Request) -> None:
        """Remember a request until its end."""
        if request.overlapped is not None:
            self.running[id(request.overlapped)] = request

    def finish(self, request: Request, upcalls: UpcallTable, error: int = 0) -> None:
        """The request has ended; `deliver` announces it.  The caller took it from its queue."""
        self.steps += 1
        request.error = int(error)
        request.finished = True
        if request.overlapped is not None:
            self.announcer.post(self._announce, request, upcalls)
        else:
            request.done.release()

    def _announce(self, request: Request, upcalls: UpcallTable) -> None:
        try:
            request.announce(upcalls)
        finally:
            with self.lock:
                for running in (self.running, request.also_in):
                    # compared: the program may have begun its next request with the same record
                    if running is not None and running.get(id(request.overlapped)) is request:
                        del running[id(request.overlapped)]

    def break_(self, error: int) -> None:
        """The connection is broken."""
        if self.state is State.CONNECTED:
            self.error = int(error)
            self.step(Step.BREAK)

    def wait_out(self) -> None:
        """Return when no thread waits at a descriptor that is about to be closed."""
        deadline = time.monotonic() + OUT_TIME
        while self.inside and time.monotonic() < deadline:
            time.sleep(0.0002)

    def tell_waiters(self, ready: int) -> None:
        """Wake the threads that wait for one of these bits."""
        for waiter, bits in list(self.waiters.items()):
            if ready & bits:
                waiter.tell()


def not_a_socket(call: str) -> WSAError:
    """The error for a handle that is none."""
    return WSAError(WsaErrorCode.WSAENOTSOCK, call)
