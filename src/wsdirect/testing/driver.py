"""The driver: plays the Windows Sockets switch towards a provider, and writes everything down."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from wsdirect.spi.constants import (
    AF_INET,
    FD_ACCEPT,
    FD_CONNECT,
    INVALID_SOCKET,
    IPPROTO_TCP,
    MEM_READWRITE,
    SIO_ADDRESS_LIST_QUERY,
    SIO_GET_EXTENSION_FUNCTION_POINTER,
    SO_MAX_MSG_SIZE,
    SO_MAX_RDMA_SIZE,
    SOCK_STREAM,
    SOL_SOCKET,
    WINSOCK_VERSION,
    WSA_FLAG_OVERLAPPED,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.extension_ids import (
    EXTENSION_FUNCTIONS,
    WSAID_RDMAREAD,
    WSAID_RDMAWRITE,
    WSAID_REGISTERRDMAMEMORY,
)
from wsdirect.spi.guid import GUID
from wsdirect.spi.overlapped import WSAOVERLAPPED, Event
from wsdirect.spi.provider import ServiceProvider
from wsdirect.spi.structures import WSABUFEX, WSAPROTOCOL_INFOW, AcceptRequest
from wsdirect.spi.upcalls import HandleSpace
from wsdirect.testing import expect
from wsdirect.testing.faults import Fault
from wsdirect.testing.subject import Subject

__all__ = [
    "TCPIP_INFO",
    "Driver",
    "Memory",
    "Upcall",
    "Upcalls",
    "nothing_left",
    "resources",
]

TCPIP_INFO = WSAPROTOCOL_INFOW("MSAFD Tcpip [TCP/IP]", dwProviderFlags=0, dwCatalogEntryId=1001)
"""The TCP/IP provider's entry: what the switch starts SAN providers with (R-012)."""

Upcall = tuple[str, tuple[Any, ...], int]
"""Name, arguments, and the thread it came on."""


class Upcalls(HandleSpace):
    """The switch's upcall table: strict, and keeps a record of every call in `made`.

    A call that breaks the contract (an unknown handle, a polled or finished request) is answered
    with an error as the switch would, and noted in `wrong`.

    Attributes:
        made: All upcalls, in order.
        wrong: What was wrong with some of them.
        fail: Name of an upcall and the error that it is to raise from now on.
        on_completion: Called inside WPUCompleteOverlappedRequest, after the record was published.
    """

    __slots__ = ("fail", "made", "on_completion", "wrong")

    def __init__(self) -> None:
        super().__init__(self._completed)
        self.made: list[Upcall] = []
        self.wrong: list[str] = []
        self.fail: dict[str, WSAError] = {}
        self.on_completion: Callable[[int, WSAOVERLAPPED, int, int], object] | None = None

    def _note(self, name: str, *arguments: Any) -> None:
        self.made.append((name, arguments, threading.get_ident()))
        if name in self.fail:
            # A new one each time: an exception keeps alive what its traceback has come through.
            raise WSAError(self.fail[name].winerror, name)

    def _completed(self, s: int, overlapped: WSAOVERLAPPED, error: int, count: int) -> None:
        if self.on_completion is not None:
            self.on_completion(s, overlapped, error, count)

    def WPUCreateSocketHandle(self, catalog_entry_id: int, context: Any) -> int:  # noqa: D102
        self._note("WPUCreateSocketHandle", catalog_entry_id, context)
        handle = super().WPUCreateSocketHandle(catalog_entry_id, context)
        self.made.append(("handle", (handle,), threading.get_ident()))
        return handle

    def WPUCloseSocketHandle(self, s: int) -> None:  # noqa: D102
        self._note("WPUCloseSocketHandle", s)
        try:
            super().WPUCloseSocketHandle(s)
        except WSAError as error:
            self.wrong.append(f"WPUCloseSocketHandle({s}): {error}")
            raise

    def WPUQuerySocketHandleContext(self, s: int) -> Any:  # noqa: D102
        self._note("WPUQuerySocketHandleContext", s)
        try:
            return super().WPUQuerySocketHandleContext(s)
        except WSAError as error:
            self.wrong.append(f"WPUQuerySocketHandleContext({s}): {error}")
            raise

    def WPUQueueApc(  # noqa: D102
        self, thread_id: int, function: Callable[[Any], object], context: Any
    ) -> None:
        self._note("WPUQueueApc", thread_id, function, context)
        super().WPUQueueApc(thread_id, function, context)

    def WPUCompleteOverlappedRequest(  # noqa: D102
        self, s: int, overlapped: WSAOVERLAPPED, error: int, transferred: int
    ) -> None:
        self._note("WPUCompleteOverlappedRequest", s, overlapped, error, transferred)
        try:
            super().WPUCompleteOverlappedRequest(s, overlapped, error, transferred)
        except WSAError as failure:
            self.wrong.append(f"WPUCompleteOverlappedRequest({s}): {failure}")
            raise

    def names(self) -> list[str]:
        """The names of the upcalls made so far."""
        return [name for name, _, _ in self.made if name != "handle"]

    def completions(self, overlapped: WSAOVERLAPPED) -> list[tuple[int, int, int]]:
        """How a request was announced: (handle, error, bytes) for each time."""
        return [
            (arguments[0], arguments[2], arguments[3])
            for name, arguments, _ in list(self.made)
            if name == "WPUCompleteOverlappedRequest" and arguments[1] is overlapped
        ]

    def closed(self, handle: int) -> int:
        """How many times WPUCloseSocketHandle came for a handle."""
        return sum(
            name == "WPUCloseSocketHandle" and arguments == (handle,)
            for name, arguments, _ in list(self.made)
        )


class Memory:
    """A registered buffer.

    Attributes:
        buffer: The memory.
        handle: From WSPRegisterMemory.
        s: The socket that it is registered on.
    """

    def __init__(self, s: int, buffer: Any, handle: int) -> None:
        self.s = s
        self.buffer = buffer
        self.handle = handle
        self.view = memoryview(buffer)

    def __getitem__(self, part: slice) -> memoryview:
        """Part of the memory, usable in WSPSend and WSPRecv."""
        return self.view[part]

    def wsabufex(self, start: int = 0, end: int | None = None) -> WSABUFEX:
        """Part of the memory, for WSPRdmaRead and WSPRdmaWrite."""
        return WSABUFEX(self.view[start:end], self.handle)

    def __bytes__(self) -> bytes:
        return bytes(self.view)


class Driver:
    """A started provider with the switch's side of everything.

    Attributes:
        subject: What is tested.
        provider: The provider.
        switch: The upcall table that it was started with.
        host: An address of the provider.
    """

    def __init__(self, subject: Subject, start: bool = True) -> None:
        self.subject = subject
        self.provider: ServiceProvider = subject.make()
        self.switch = Upcalls()
        self._companions: list[socket.socket] = []
        self._started = 0
        self._host = subject.host
        if start:
            self.start()

    # --- life -----------------------------------------------------------------------------------

    def start(self, upcalls: Upcalls | None = None) -> None:
        """WSPStartupEx as the switch calls it."""
        expect.succeeds(
            self.provider.WSPStartupEx, WINSOCK_VERSION, TCPIP_INFO, upcalls or self.switch
        )
        self._started += 1

    def cleanup(self) -> None:
        """One WSPCleanup."""
        self._started -= 1
        expect.succeeds(self.provider.WSPCleanup)

    def close(self) -> None:
        """Balance all starts; the upcalls must have kept the contract, and no handle is left."""
        while self._started:
            self.cleanup()
        self.release_ports()
        expect.true(
            "every upcall to keep the contract", not self.switch.wrong, "; ".join(self.switch.wrong)
        )
        expect.eventually(
            "every handle to be closed by the last WSPCleanup",
            lambda: not self.switch.handles,
            lambda: f"{len(self.switch.handles)} were open",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()

    def fault(self, *faults: Fault) -> Any:
        """A `with` block in which something fails; NotApplicable if the provider cannot do it."""
        return self.subject.inject(self.provider, *faults)

    @contextmanager
    def no_descriptors(self) -> Iterator[None]:
        """A `with` block in which this process cannot open files."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        probe = os.dup(0)  # the lowest number that is free
        os.close(probe)
        resource.setrlimit(resource.RLIMIT_NOFILE, (probe, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    # --- sockets --------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """An address to use: the subject's, or the first that the provider lists."""
        if self._host is None:
            s = self.socket()
            addresses = expect.succeeds(self.provider.WSPIoctl, s, SIO_ADDRESS_LIST_QUERY)
            self.provider.WSPCloseSocket(s)
            expect.true("the provider to have an address", addresses, "its list is empty")
            self._host = str(addresses[0][0])
        return self._host

    def port(self) -> int:
        """A TCP port that nobody listens on, kept by a bound companion until the driver closes."""
        companion = socket.socket()
        companion.bind(("", 0))
        self._companions.append(companion)
        return int(companion.getsockname()[1])

    def release_ports(self) -> None:
        """Close the companions that keep the ports of `port`."""
        for companion in self._companions:
            companion.close()
        self._companions.clear()

    def listen_with_tcp(self, port: int) -> None:
        """Have the companion of a port from `port` listen: TCP/IP could be reached there."""
        for companion in self._companions:
            if companion.getsockname()[1] == port:
                companion.listen(1)

    def socket(self, **more: Any) -> int:
        """WSPSocket as the switch calls it; it has to succeed."""
        return expect.succeeds(self.socket_call, **more)

    def socket_call(self, **more: Any) -> int:
        """The same where it may fail."""
        more.setdefault("protocol_info", self.provider.protocol_info)
        return self.provider.WSPSocket(
            AF_INET, SOCK_STREAM, IPPROTO_TCP, flags=WSA_FLAG_OVERLAPPED, **more
        )

    socket_call.__name__ = "WSPSocket"  # in messages

    def handle(self) -> int:
        """The switch's handle of the socket made last."""
        handles: list[int] = [
            arguments[0] for name, arguments, _ in self.switch.made if name == "handle"
        ]
        expect.true("WPUCreateSocketHandle to be called", handles, "it never was")
        return handles[-1]

    def bound(self, port: int = 0, host: str | None = None, **more: Any) -> int:
        """A socket bound to a port of its own, or this one."""
        s = self.socket(**more)
        expect.succeeds(self.provider.WSPBind, s, (host or self.host, port or self.port()))
        return s

    def listener(
        self, backlog: int = 16, host: str | None = None, port: int = 0, **more: Any
    ) -> tuple[int, int]:
        """A listening socket, and its port."""
        port = port or self.port()
        s = self.bound(port, host, **more)
        expect.succeeds(self.provider.WSPListen, s, backlog)
        return s, port

    def connecting(
        self, port: int, host: str | None = None, s: int = 0, **more: Any
    ) -> tuple[int, Event, int | None]:
        """WSPEventSelect and WSPConnect.

        Returns:
            The socket, its event, and the outcome if it was there at once: 0 or a Winsock code.
        """
        s = s or self.bound()
        event = Event()
        expect.succeeds(self.provider.WSPEventSelect, s, event, FD_CONNECT)
        try:
            self.provider.WSPConnect(s, (host or self.host, port), **more)
        except WSAError as error:
            pending = error.winerror == WsaErrorCode.WSAEWOULDBLOCK
            return s, event, None if pending else error.winerror
        return s, event, 0

    def connected(self, s: int, event: Event, outcome: int | None = None) -> int:
        """The outcome of a connect, waiting for FD_CONNECT if need be: 0 or a Winsock code."""
        if outcome is not None:
            return outcome
        expect.true(
            "FD_CONNECT to be announced", event.wait(2 * expect.PATIENCE), "the event was not set"
        )
        events = expect.succeeds(self.provider.WSPEnumNetworkEvents, s, event)
        expect.equal("the events of a finished connect", events.lNetworkEvents, int(FD_CONNECT))
        return int(events.error(FD_CONNECT))

    def connect(self, port: int, **more: Any) -> tuple[int, int]:
        """Connect and wait: the socket and the outcome."""
        s, event, outcome = self.connecting(port, **more)
        return s, self.connected(s, event, outcome)

    def requested(self, listener: int, event: Event | None = None) -> Event:
        """Wait for FD_ACCEPT as the switch does; the event that it was announced with."""
        if event is None:
            event = Event()
            expect.succeeds(self.provider.WSPEventSelect, listener, event, FD_ACCEPT)
        expect.true(
            "FD_ACCEPT to be announced", event.wait(expect.PATIENCE), "the event was not set"
        )
        events = expect.succeeds(self.provider.WSPEnumNetworkEvents, listener, event)
        expect.equal("the events of a listener", events.lNetworkEvents, int(FD_ACCEPT))
        return event

    def accept(
        self, listener: int, condition: Callable[[AcceptRequest], int] = lambda request: 0
    ) -> int:
        """Wait for a request and accept it."""
        self.requested(listener)
        s, _ = expect.succeeds(self.provider.WSPAccept, listener, condition, None)
        return s

    def pair(self) -> tuple[int, int]:
        """Two connected sockets: the connecting and the accepted one."""
        listener, port = self.listener()
        c, event, outcome = self.connecting(port)
        s = self.accept(listener)
        expect.equal("the outcome of the connect", self.connected(c, event, outcome), 0)
        expect.succeeds(self.provider.WSPCloseSocket, listener)
        return c, s

    def pair_and_handles(self) -> tuple[int, int, int, int]:
        """The same, and the switch's handles of the two."""
        c, s = self.pair()
        made: list[int] = [
            arguments[0] for name, arguments, _ in self.switch.made if name == "handle"
        ]
        return c, s, made[-2], made[-1]  # the connecting socket is made before the accepted one

    # --- memory and data ------------------------------------------------------------------------

    def register(self, s: int, what: Any = 4096, access: int = MEM_READWRITE) -> Memory:
        """Register memory: a buffer, or a new one of so many bytes."""
        buffer = bytearray(what) if isinstance(what, int) else what
        handle = expect.succeeds(self.provider.WSPRegisterMemory, s, buffer, access)
        expect.true("a handle that is not 0", handle)
        return Memory(s, buffer, handle)

    def send(
        self, s: int, data: Any, polled: bool = True, event: Event | None = None
    ) -> WSAOVERLAPPED:
        """Register the data if they are bytes, and send them as one message."""
        buffer = self.register(s, bytearray(data)).view if isinstance(data, bytes) else data
        overlapped = WSAOVERLAPPED(event, polled)
        expect.pending(self.provider.WSPSend, s, [buffer], 0, overlapped)
        return overlapped

    def recv(
        self, s: int, what: Any = 4096, polled: bool = True, event: Event | None = None
    ) -> tuple[WSAOVERLAPPED, memoryview]:
        """Post a receive into a buffer, or a new one of so many bytes."""
        view = self.register(s, what).view if isinstance(what, int) else memoryview(what)
        overlapped = WSAOVERLAPPED(event, polled)
        expect.pending(self.provider.WSPRecv, s, [view], 0, overlapped)
        return overlapped, view

    def poll(self, s: int, overlapped: WSAOVERLAPPED) -> tuple[int, int] | None:
        """WSPGetOverlappedResult once: (Winsock code, bytes), or None if it is not finished."""
        try:
            count = self.provider.WSPGetOverlappedResult(s, overlapped, False)
        except WSAError as error:
            return error.winerror, 0
        return None if count is None else (0, count)

    def settle(self, s: int, *requests: WSAOVERLAPPED) -> None:
        """Poll requests for a moment, so that what can go on does, whoever makes it go on."""
        deadline = time.monotonic() + expect.QUIET
        while time.monotonic() < deadline:
            for overlapped in requests:
                self.poll(s, overlapped)
            time.sleep(0)

    def finish(self, s: int, overlapped: WSAOVERLAPPED) -> tuple[int, int]:
        """Poll a request until it has finished: (Winsock code, bytes)."""
        deadline = time.monotonic() + expect.PATIENCE
        while (result := self.poll(s, overlapped)) is None:
            if time.monotonic() > deadline:
                expect.fail("the request to finish", f"it did not within {expect.PATIENCE:g} s")
            time.sleep(0)
        return result

    def announced(self, overlapped: WSAOVERLAPPED) -> tuple[int, int, int]:
        """Wait for a request's upcall: (handle, Winsock code, bytes)."""
        expect.eventually(
            "WPUCompleteOverlappedRequest to be called",
            lambda: self.switch.completions(overlapped) and not overlapped.in_progress,
            "it was not",
        )
        return self.switch.completions(overlapped)[0]

    def ended(self, s: int, overlapped: WSAOVERLAPPED) -> tuple[int, int]:
        """Wait for a request's end in the way that it asked for: (Winsock code, bytes)."""
        if overlapped.polled:
            return self.finish(s, overlapped)
        return self.announced(overlapped)[1:]

    def recorded(self, overlapped: WSAOVERLAPPED) -> tuple[int, int]:
        """What a request's record says at its end, if the socket is closed: (code, bytes)."""
        expect.eventually(
            "the record of the request to say that it has ended",
            lambda: not overlapped.in_progress,
            "it did not",
        )
        return overlapped.OffsetHigh, overlapped.InternalHigh

    def transfer(self, source: int, target: int, data: bytes) -> bytes:
        """Send one message from socket to socket; what arrived."""
        received, view = self.recv(target, max(len(data), 1))
        sent = self.send(source, data)
        expect.equal("the result of the send", self.finish(source, sent), (0, len(data)))
        code, count = self.finish(target, received)
        expect.equal("the result of the receive", code, 0)
        return bytes(view[:count])

    # --- RDMA -----------------------------------------------------------------------------------

    def extension(self, guid: GUID) -> Any:
        """An extension function, got as the switch gets it; NotApplicable if it is missing."""
        try:
            return self.provider.WSPIoctl(INVALID_SOCKET, SIO_GET_EXTENSION_FUNCTION_POINTER, guid)
        except WSAError as error:
            if error.winerror != WsaErrorCode.WSAEOPNOTSUPP:
                raise
            name = EXTENSION_FUNCTIONS[guid]
            raise expect.NotApplicable(f"the provider has no {name}") from None

    def expose(
        self, s: int, what: Any = 4096, access: int = MEM_READWRITE
    ) -> tuple[bytes, memoryview]:
        """Let the peer use a buffer, or a new one of so many bytes: the descriptor, and it."""
        function = self.extension(WSAID_REGISTERRDMAMEMORY)
        buffer = bytearray(what) if isinstance(what, int) else what
        return expect.succeeds(function, s, buffer, access), memoryview(buffer)

    def write(
        self, s: int, buffers: Any, descriptor: bytes, offset: int = 0, polled: bool = True
    ) -> WSAOVERLAPPED:
        """Begin a WSPRdmaWrite."""
        overlapped = WSAOVERLAPPED(None, polled)
        function = self.extension(WSAID_RDMAWRITE)
        expect.pending(function, s, buffers, descriptor, offset, 0, overlapped)
        return overlapped

    def read(
        self, s: int, buffers: Any, descriptor: bytes, offset: int = 0, polled: bool = True
    ) -> WSAOVERLAPPED:
        """Begin a WSPRdmaRead."""
        overlapped = WSAOVERLAPPED(None, polled)
        function = self.extension(WSAID_RDMAREAD)
        expect.pending(function, s, buffers, descriptor, offset, 0, overlapped)
        return overlapped

    def refused(self, function: Callable[..., Any], s: int, *arguments: Any) -> int:
        """The code that a data call fails with, at once or when it ends; 0 if it succeeds."""
        overlapped = WSAOVERLAPPED(None, True)
        try:
            function(s, *arguments, overlapped)
        except WSAError as error:
            return error.winerror
        return self.finish(s, overlapped)[0]

    # --- limits ---------------------------------------------------------------------------------

    def message_limit(self, s: int) -> int:
        """SO_MAX_MSG_SIZE, bytes."""
        return int(expect.succeeds(self.provider.WSPGetSockOpt, s, SOL_SOCKET, SO_MAX_MSG_SIZE))

    def rdma_limit(self, s: int) -> int:
        """SO_MAX_RDMA_SIZE, bytes."""
        return int(expect.succeeds(self.provider.WSPGetSockOpt, s, SOL_SOCKET, SO_MAX_RDMA_SIZE))

    def alive(self, a: int, b: int) -> None:
        """A deviation unless messages pass between two sockets in both directions."""
        for source, target in ((a, b), (b, a)):
            expect.equal("a message", self.transfer(source, target, b"alive"), b"alive")


def resources() -> tuple[int, int]:
    """Descriptors and threads of this process."""
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


def nothing_left(before: tuple[int, int], slack: int = 4) -> None:
    """A deviation unless descriptors and threads come down to what they were.

    Args:
        before: From `resources`.
        slack: Descriptors more that are no leak: a provider may keep things for the next use.
    """
    descriptors, threads = before[0] + slack, before[1]
    expect.eventually(
        f"at most {descriptors} descriptors and {threads} threads",
        lambda: resources()[0] <= descriptors and resources()[1] <= threads,
        lambda: "there were {} and {}".format(*resources()),
    )
