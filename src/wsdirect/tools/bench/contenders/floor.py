"""The floor: the same loops in C, on a bare ring and on wsdirect's own stream; and memcpy."""

from __future__ import annotations

import os
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

from wsdirect._core import _floor
from wsdirect.tools.bench.contenders.end import End, report

if TYPE_CHECKING:
    from wsdirect.tools.bench.contenders.end import Loop

__all__ = ["Memcpy", "Ring", "Stream"]


class Floor(End):
    """Ends whose loops are C's; what they share is passed over an AF_UNIX socket."""

    def listen(self) -> str:
        self._listener = socket.socket(socket.AF_UNIX)
        name = f"\0wsdirect-bench-{os.getpid()}"
        self._listener.bind(name)
        self._listener.listen(1)
        return name

    def accept(self) -> None:
        with self._listener.accept()[0] as sock:
            text, descriptors, _, _ = socket.recv_fds(sock, 100, 1)
            try:
                self._end = self._attach(sock, descriptors[0], *map(int, text.split()))
            finally:
                os.close(descriptors[0])

    def connect(self, address: str) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(address)
            self._end, descriptor, *numbers = self._offer(sock)
            text = " ".join(map(str, numbers)) or " "
            socket.send_fds(sock, [text.encode()], [descriptor])

    def _offer(self, sock: socket.socket) -> tuple[Any, ...]:
        """Our end, a descriptor for the other process, and numbers for it."""
        raise NotImplementedError

    def _attach(self, sock: socket.socket, descriptor: int, *numbers: int) -> Any:
        """The other end."""
        raise NotImplementedError

    def tell(self) -> None:
        _floor.send(self._end, 1, 1)

    def hear(self) -> None:
        _floor.receive(self._end, 1, 1)

    def pinger(self, size: int) -> Loop:
        return partial(_floor.ping, self._end, size)

    def echoer(self, size: int) -> Loop:
        return partial(_floor.echo, self._end, size)

    def sender(self, size: int) -> Loop:
        return partial(_floor.send, self._end, size)

    def receiver(self, size: int) -> Loop:
        return partial(_floor.receive, self._end, size)

    def ping(self, size: int, count: int, batch: int) -> dict[str, Any]:
        _floor.ping(self._end, size, 1)
        return report(_floor.ping(self._end, size, count - count % batch, batch), batch)


class Ring(Floor):
    """Bytes, a head and a tail: nobody sleeps, dies, or is told."""

    def _offer(self, sock: socket.socket) -> tuple[Any, ...]:
        self._memory = os.memfd_create("wsdirect-bench")
        os.ftruncate(self._memory, _floor.ring_length())
        return self._open(self._memory, 0), self._memory

    def _attach(self, sock: socket.socket, descriptor: int, *numbers: int) -> Any:
        return self._open(descriptor, 1)

    def _open(self, memory: int, side: int) -> Any:
        return _floor.ring(memory, side, self.pinning == "one")


class Stream(Floor):
    """All that a switched connection has, less Python."""

    def _offer(self, sock: socket.socket) -> tuple[Any, ...]:
        # The greeting goes over this socket first; then it is the bell, and the stream's to close.
        bell = os.dup(sock.fileno())
        return _floor.stream_offer(bell)

    def _attach(self, sock: socket.socket, descriptor: int, *numbers: int) -> Any:
        return _floor.stream_attach(sock.detach(), descriptor, *numbers)


class Memcpy(End):
    """No ends at all: one process copies from here to there."""

    def copy(self, size: int, seconds: float) -> float:
        """Gigabytes per second."""
        return _floor.copy(size, seconds)
