"""Blocking sockets: plain TCP, TCP under the switch, AF_UNIX."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any

from wsdirect.tools.bench.contenders.end import ROOM, End, Lost, verify

if TYPE_CHECKING:
    from wsdirect.tools.bench.contenders.end import Loop

__all__ = ["Tcp", "Unix"]

HOST = "127.0.0.1"


class Stream(End):
    """Ends that are one socket."""

    sock: socket.socket
    listener: socket.socket

    def __init__(self, role: str, pinning: str, switched: bool) -> None:
        super().__init__(role, pinning, switched)
        self._held: list[socket.socket] = []
        self._address: Any = None

    def accept(self) -> None:
        self.sock = self._accepted()

    def connect(self, address: Any) -> None:
        self.sock = self._connected(address)

    def _accepted(self) -> socket.socket:
        return self._ready(self.listener.accept()[0])

    def _connected(self, address: Any) -> socket.socket:
        raise NotImplementedError

    def _ready(self, sock: socket.socket) -> socket.socket:
        return sock

    # -- one connection, many messages

    def tell(self) -> None:
        self.sock.sendall(b".")

    def hear(self) -> None:
        if not self.sock.recv(1):
            raise Lost

    def pinger(self, size: int) -> Loop:
        message, buffer = b"x" * size, bytearray(size)
        view = memoryview(buffer)
        sendall, recv_into = self.sock.sendall, self.sock.recv_into

        def go(count: int) -> None:
            for _ in range(count):
                sendall(message)
                have = recv_into(buffer)
                while have < size:
                    more = recv_into(view[have:])
                    if not more:
                        raise Lost
                    have += more

        return go

    def echoer(self, size: int) -> Loop:
        buffer = bytearray(size)
        view = memoryview(buffer)
        sendall, recv_into = self.sock.sendall, self.sock.recv_into

        def go(count: int) -> None:
            for _ in range(count):
                have = recv_into(buffer)
                while have < size:
                    more = recv_into(view[have:])
                    if not more:
                        raise Lost
                    have += more
                sendall(buffer)

        return go

    def sender(self, size: int) -> Loop:
        message, sendall = b"x" * size, self.sock.sendall

        def go(count: int) -> None:
            for _ in range(count):
                sendall(message)

        return go

    def receiver(self, size: int) -> Loop:
        room = max(size, ROOM)
        buffer, recv_into = bytearray(room), self.sock.recv_into
        view = memoryview(buffer)

        def go(count: int) -> None:
            left = size * count
            while left:
                have = recv_into(buffer if left >= room else view[:left])
                if not have:
                    raise Lost
                left -= have

        return go

    # -- many connections, one after the other

    def prepare(self, address: Any) -> None:
        """Remember where to connect to."""
        self._address = address

    def serve(self, count: int) -> None:
        """Accept, answer one byte, and wait for the other to close first, so often."""
        for _ in range(count + 1):
            sock = self._accepted()
            sock.sendall(sock.recv(1))
            sock.recv(1)
            sock.close()

    def visit(self, count: int) -> float:
        """Connect, send a byte, take the answer, close, so often: seconds."""
        self._visit(check=True)
        start = time.perf_counter()
        for _ in range(count):
            self._visit()
        return time.perf_counter() - start

    def _visit(self, check: bool = False) -> None:
        sock = self._connected(self._address)
        sock.sendall(b"x")
        if not sock.recv(1):
            raise Lost
        if check:
            self._verify(sock)
        sock.close()

    # -- many connections at a time

    def hold(self, count: int) -> None:
        """The server's: accept so many, exchange a byte with each, and keep them."""
        for _ in range(count):
            sock = self._accepted()
            sock.sendall(sock.recv(1))
            self._held.append(sock)

    def open(self, count: int) -> None:
        """The client's counterpart."""
        for _ in range(count):
            sock = self._connected(self._address)
            sock.sendall(b"x")
            if not sock.recv(1):
                raise Lost
            self._held.append(sock)
        self._verify(self._held[-1])

    # -- hardly any messages

    def wait(self, count: int) -> None:
        """Answer so many messages that come now and then."""
        self.echoer(64)(count)

    def ask(self, count: int, pause: float) -> None:
        """Ask for so many answers, one each `pause` seconds."""
        go, sleep, clock = self.pinger(64), time.sleep, time.perf_counter
        due = clock()
        for _ in range(count):
            go(1)
            due += pause
            left = due - clock()
            if left > 0:
                sleep(left)

    def doze(self) -> None:
        """The server's: wait in recv for a byte that comes late."""
        self.hear()

    def rest(self, seconds: float) -> None:
        """The client's: wait for nothing with a time-out, then send the byte."""
        self.sock.settimeout(seconds)
        try:
            self.sock.recv(1)
        except TimeoutError:
            pass
        finally:
            self.sock.settimeout(None)
        self.tell()

    def verify(self) -> None:
        self._verify(self.sock)

    def _verify(self, sock: socket.socket) -> None:
        verify(sock, self.switched)


class Tcp(Stream):
    """TCP over the loopback interface; what the switch makes of it where there is one."""

    def listen(self) -> Any:
        self.listener = socket.create_server((HOST, 0), backlog=4096)
        return list(self.listener.getsockname())

    def _connected(self, address: Any) -> socket.socket:
        return self._ready(socket.create_connection(tuple(address)))

    def _ready(self, sock: socket.socket) -> socket.socket:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock


class Unix(Stream):
    """AF_UNIX stream sockets, by an abstract name: no file to leave behind."""

    def listen(self) -> Any:
        self.listener = socket.socket(socket.AF_UNIX)
        name = f"\0wsdirect-bench-{os.getpid()}"
        self.listener.bind(name)
        self.listener.listen(4096)
        return name

    def _connected(self, address: Any) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(address)
        return sock
