"""multiprocessing.Pipe: its Connection, which sends bytes with their length in front."""

from __future__ import annotations

import os
from multiprocessing.connection import Client, Connection, Listener
from typing import TYPE_CHECKING, Any

from wsdirect.tools.bench.contenders.end import End

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsdirect.tools.bench.contenders.end import Loop

__all__ = ["Messages", "Pipe"]


class Messages(End):
    """Ends that send and receive whole messages, with a call each.

    The calls are the library's own bound methods: a function around them would be measured, too.
    """

    _send: Callable[[bytes], object]
    _receive: Callable[[], bytes]

    def tell(self) -> None:
        self._send(b".")

    def hear(self) -> None:
        self._receive()

    def pinger(self, size: int) -> Loop:
        message, send, receive = b"x" * size, self._send, self._receive

        def go(count: int) -> None:
            for _ in range(count):
                send(message)
                receive()

        return go

    def echoer(self, size: int) -> Loop:
        send, receive = self._send, self._receive

        def go(count: int) -> None:
            for _ in range(count):
                send(receive())

        return go

    def sender(self, size: int) -> Loop:
        message, send = b"x" * size, self._send

        def go(count: int) -> None:
            for _ in range(count):
                send(message)

        return go

    def receiver(self, size: int) -> Loop:
        receive = self._receive

        def go(count: int) -> None:
            for _ in range(count):
                receive()

        return go


class Pipe(Messages):
    """A Connection between processes without a common parent is made by Listener and Client."""

    def listen(self) -> str:
        name = f"\0wsdirect-bench-{os.getpid()}"
        self._listener = Listener(name, "AF_UNIX")
        return name

    def accept(self) -> None:
        self._take(self._listener.accept())

    def connect(self, address: str) -> None:
        self._take(Client(address, "AF_UNIX"))

    def _take(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._send = connection.send_bytes
        self._receive = connection.recv_bytes
