"""The SPI itself, called from Python: messages and RDMA of the shared-memory provider, polled.

A poll is a call; nobody waits.  Where both ends share a CPU, the one that finds nothing yields it.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

from wsdirect.spi import (
    WSABUFEX,
    WSAOVERLAPPED,
    Event,
    HandleSpace,
    MemoryAccess,
    WSAError,
    load,
)
from wsdirect.spi.constants import AF_INET, FD_ACCEPT, FD_CONNECT, IPPROTO_TCP, SOCK_STREAM
from wsdirect.tools.bench.contenders.end import End

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsdirect.tools.bench.contenders.end import Loop

__all__ = ["Messages", "Rdma"]

HOST = "127.0.0.1"
ROOM = 16 << 20  # the largest of the standard sizes
WHOLE = MemoryAccess.MEM_READWRITE


def _free_port() -> int:
    """A port for WSPBind, which gives out none: one that TCP had to give."""
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _nothing() -> None:
    """What a poller does meanwhile who has a CPU of its own."""


class Spi(End):
    """A started provider with one connected socket."""

    def __init__(self, role: str, pinning: str, switched: bool) -> None:
        super().__init__(role, pinning, switched)
        self.san = load("shm")
        self.san.WSPStartupEx(0x0202, self.san.protocol_info, HandleSpace())
        self._event = Event()
        self._pause: Callable[[], None] = os.sched_yield if pinning == "one" else _nothing
        self.s = 0

    def listen(self) -> Any:
        port = _free_port()
        self._listener = self._socket(port, FD_ACCEPT)
        self.san.WSPListen(self._listener)
        return [HOST, port]

    def accept(self) -> None:
        self._wait(self._listener, FD_ACCEPT)
        self.s, _ = self.san.WSPAccept(self._listener, lambda request: 0)
        self._connected()

    def connect(self, address: Any) -> None:
        self.s = self._socket(_free_port(), FD_CONNECT)
        try:
            self.san.WSPConnect(self.s, tuple(address))
        except BlockingIOError:
            self._wait(self.s, FD_CONNECT)
        self._connected()

    def _socket(self, port: int, events: int) -> int:
        s = self.san.WSPSocket(AF_INET, SOCK_STREAM, IPPROTO_TCP)
        self.san.WSPBind(s, (HOST, port))
        self.san.WSPEventSelect(s, self._event, events)
        return s

    def _wait(self, s: int, events: int) -> None:
        self._event.wait()
        happened = self.san.WSPEnumNetworkEvents(s, self._event)
        if happened.error(events):
            raise WSAError(happened.error(events))

    def _connected(self) -> None:
        """Register memory for small messages."""
        self._small = bytearray(4096)
        self.san.WSPRegisterMemory(self.s, self._small, WHOLE)

    def _finish(self, request: WSAOVERLAPPED) -> int:
        """Poll until the request has ended: the bytes transferred."""
        result, s, pause = self.san.WSPGetOverlappedResult, self.s, self._pause
        while (count := result(s, request)) is None:
            pause()
        return count

    def tell(self, text: bytes = b".") -> None:
        self._small[: len(text)] = text
        request = WSAOVERLAPPED(polled=True)
        self.san.WSPSend(self.s, [memoryview(self._small)[: len(text)]], 0, request)
        self._finish(request)

    def hear(self) -> bytes:  # type: ignore[override]
        request = WSAOVERLAPPED(polled=True)
        self.san.WSPRecv(self.s, [self._small], 0, request)
        count = self._finish(request)
        return bytes(self._small[:count])


class Messages(Spi):
    """WSPSend and WSPRecv: the receive is posted before its message is asked for."""

    def _buffers(self, size: int) -> tuple[list[Any], list[Any]]:
        """A registered message to send and one to receive."""
        made = []
        for _ in range(2):
            memory = bytearray(size)
            self.san.WSPRegisterMemory(self.s, memory, WHOLE)
            made.append([memoryview(memory)])
        return made[0], made[1]

    def pinger(self, size: int) -> Loop:
        out, room = self._buffers(size)
        sent, came = WSAOVERLAPPED(polled=True), WSAOVERLAPPED(polled=True)
        send, recv, result = self.san.WSPSend, self.san.WSPRecv, self.san.WSPGetOverlappedResult
        s, pause = self.s, self._pause

        def go(count: int) -> None:
            for _ in range(count):
                recv(s, room, 0, came)
                send(s, out, 0, sent)
                while result(s, came) is None:
                    pause()
                while result(s, sent) is None:
                    pause()

        return go

    def echoer(self, size: int) -> Loop:
        _, room = self._buffers(size)
        sent, came = WSAOVERLAPPED(polled=True), WSAOVERLAPPED(polled=True)
        send, recv, result = self.san.WSPSend, self.san.WSPRecv, self.san.WSPGetOverlappedResult
        s, pause = self.s, self._pause

        def go(count: int) -> None:
            for _ in range(count):
                recv(s, room, 0, came)
                while result(s, came) is None:
                    pause()
                send(s, room, 0, sent)
                while result(s, sent) is None:
                    pause()

        return go

    def sender(self, size: int) -> Loop:
        out, _ = self._buffers(size)
        sent = WSAOVERLAPPED(polled=True)
        send, result = self.san.WSPSend, self.san.WSPGetOverlappedResult
        s, pause = self.s, self._pause

        def go(count: int) -> None:
            for _ in range(count):
                send(s, out, 0, sent)
                while result(s, sent) is None:
                    pause()

        return go

    def receiver(self, size: int) -> Loop:
        _, room = self._buffers(size)
        came = WSAOVERLAPPED(polled=True)
        recv, result = self.san.WSPRecv, self.san.WSPGetOverlappedResult
        s, pause = self.s, self._pause

        def go(count: int) -> None:
            for _ in range(count):
                recv(s, room, 0, came)
                while result(s, came) is None:
                    pause()

        return go


class Rdma(Spi):
    """WSPRdmaWrite into memory of the other end, which looks at its last byte until it changes.

    Both ends have a window of the provider's own, shareable memory, and know each other's.
    """

    def _connected(self) -> None:
        super()._connected()
        allocate = self.san.allocate_memory
        assert allocate is not None  # this provider has shareable memory
        self._window = memoryview(allocate(ROOM)).cast("B")
        self._out = memoryview(allocate(ROOM)).cast("B")
        self._handle = self.san.WSPRegisterMemory(self.s, self._out, WHOLE)
        descriptor = bytes(self.san.WSPRegisterRdmaMemory(self.s, self._window, WHOLE))
        if self.role == "client":
            self.tell(descriptor)
            self._theirs = self.hear()
        else:
            self._theirs = self.hear()
            self.tell(descriptor)

    def _writer(self, size: int) -> Callable[[], None]:
        """A function that writes the first bytes of `_out` into the other's window."""
        buffers = [WSABUFEX(self._out[:size], self._handle)]
        written = WSAOVERLAPPED(polled=True)
        write, result = self.san.WSPRdmaWrite, self.san.WSPGetOverlappedResult
        s, theirs, pause = self.s, self._theirs, self._pause

        def go() -> None:
            write(s, buffers, theirs, 0, 0, written)
            while result(s, written) is None:
                pause()

        return go

    def _check(self, size: int) -> None:
        if size > ROOM:
            raise ValueError(f"more than {ROOM} bytes at a time")

    def pinger(self, size: int) -> Loop:
        self._check(size)
        write, last, out, window, pause = (
            self._writer(size), size - 1, self._out, self._window, self._pause,
        )  # fmt: skip

        def go(count: int) -> None:
            for _ in range(count):
                mark = out[last] = out[last] ^ 1
                write()
                while window[last] != mark:
                    pause()

        return go

    def echoer(self, size: int) -> Loop:
        self._check(size)
        write, last, out, window, pause = (
            self._writer(size), size - 1, self._out, self._window, self._pause,
        )  # fmt: skip

        def go(count: int) -> None:
            for _ in range(count):
                mark = out[last] ^ 1
                while window[last] != mark:
                    pause()
                out[last] = mark
                write()

        return go

    def sender(self, size: int) -> Loop:
        self._check(size)
        write = self._writer(size)

        def go(count: int) -> None:
            for _ in range(count):
                write()
            self.tell()  # messages and writes of a connection arrive in order

        return go

    def receiver(self, size: int) -> Loop:
        def go(count: int) -> None:
            self.hear()

        return go
