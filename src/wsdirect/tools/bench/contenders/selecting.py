"""Non-blocking sockets behind selectors.DefaultSelector: one connection, or many at a time."""

from __future__ import annotations

import selectors
import socket
import time
from typing import TYPE_CHECKING, Any

from wsdirect.tools.bench.contenders import blocking
from wsdirect.tools.bench.contenders.end import ROOM, Lost

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsdirect.tools.bench.contenders.end import Loop

__all__ = ["Tcp", "Unix"]

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Selecting(blocking.Stream):
    """Every wait is a select(); nothing blocks."""

    def accept(self) -> None:
        super().accept()
        self._register()

    def connect(self, address: Any) -> None:
        super().connect(address)
        self._register()

    def _register(self) -> None:
        self.sock.setblocking(False)
        self._reading = selectors.DefaultSelector()
        self._reading.register(self.sock, READ)

    def tell(self) -> None:
        self._sendall(self.sock)(b".")

    def hear(self) -> None:
        self._reading.select()
        if not self.sock.recv(1):
            raise Lost

    def _sendall(self, sock: socket.socket) -> Callable[[Any], None]:
        """A function that sends everything, and waits in a selector of its own while it cannot."""
        send = sock.send
        writing = selectors.DefaultSelector()
        writing.register(sock, WRITE)
        select = writing.select

        def sendall(data: Any) -> None:
            try:
                sent = send(data)
            except BlockingIOError:
                sent = 0
            if sent < len(data):
                left = memoryview(data)[sent:]
                while left:
                    select()
                    try:
                        left = left[send(left) :]
                    except BlockingIOError:
                        pass

        return sendall

    def _receive(self, size: int) -> tuple[bytearray, Callable[[], None]]:
        """A buffer, and a function that waits until it is full."""
        buffer = bytearray(size)
        view = memoryview(buffer)
        recv_into, select = self.sock.recv_into, self._reading.select

        def receive() -> None:
            have = 0
            while have < size:
                select()
                more = recv_into(view[have:] if have else buffer)
                if not more:
                    raise Lost
                have += more

        return buffer, receive

    def pinger(self, size: int) -> Loop:
        message, sendall = b"x" * size, self._sendall(self.sock)
        _, receive = self._receive(size)

        def go(count: int) -> None:
            for _ in range(count):
                sendall(message)
                receive()

        return go

    def echoer(self, size: int) -> Loop:
        sendall = self._sendall(self.sock)
        buffer, receive = self._receive(size)

        def go(count: int) -> None:
            for _ in range(count):
                receive()
                sendall(buffer)

        return go

    def sender(self, size: int) -> Loop:
        message, sendall = b"x" * size, self._sendall(self.sock)

        def go(count: int) -> None:
            for _ in range(count):
                sendall(message)

        return go

    def receiver(self, size: int) -> Loop:
        room = max(size, ROOM)
        buffer = bytearray(room)
        view = memoryview(buffer)
        recv_into, select = self.sock.recv_into, self._reading.select

        def go(count: int) -> None:
            left = size * count
            while left:
                select()
                have = recv_into(buffer if left >= room else view[:left])
                if not have:
                    raise Lost
                left -= have

        return go

    # -- many at a time

    def hold(self, count: int) -> None:
        super().hold(count)
        self._gather()

    def open(self, count: int) -> None:
        super().open(count)
        self._gather()

    def _gather(self) -> None:
        """All of them non-blocking, and in one selector."""
        self._all = selectors.DefaultSelector()
        for sock in self._held:
            sock.setblocking(False)
            self._all.register(sock, READ)

    def echo_all(self, size: int, rounds: int) -> None:
        """Answer so many messages on each connection."""
        left = rounds * len(self._held)
        parts: dict[Any, bytes] = {}
        select = self._all.select
        while left:
            for key, _ in select():
                sock: Any = key.fileobj
                data = sock.recv(size)
                if not data:
                    raise Lost
                if sock in parts or len(data) < size:
                    data = parts.pop(sock, b"") + data
                    if len(data) < size:
                        parts[sock] = data
                        continue
                sock.send(data)  # there is room: the peer sends the next when it has this one
                left -= 1

    def ping_all(self, size: int, rounds: int) -> float:
        """So many round trips on each connection, all connections at a time: seconds."""
        message = b"x" * size
        left = dict.fromkeys(self._held, rounds * size)
        going = len(left)
        select = self._all.select
        start = time.perf_counter()
        for sock in self._held:
            sock.send(message)
        while going:
            for key, _ in select():
                this: Any = key.fileobj
                data = this.recv(size)
                if not data:
                    raise Lost
                left[this] = wanted = left[this] - len(data)
                if wanted % size:
                    continue
                if wanted:
                    this.send(message)
                else:
                    going -= 1
        return time.perf_counter() - start


class Tcp(Selecting, blocking.Tcp):
    """TCP; what the switch makes of it where there is one."""


class Unix(Selecting, blocking.Unix):
    """AF_UNIX."""
