"""pyzmq: a PAIR of sockets over ipc."""

from __future__ import annotations

import os
from typing import Any

import zmq

from wsdirect.tools.bench.contenders.pipe import Messages

__all__ = ["Pair"]


class Pair(Messages):
    """Messages through the library's own threads."""

    def listen(self) -> str:
        self._open().bind(address := f"ipc://@wsdirect-bench-{os.getpid()}")
        return address

    def accept(self) -> None:
        pass

    def connect(self, address: str) -> None:
        self._open().connect(address)

    def _open(self) -> Any:
        self._socket = zmq.Context().socket(zmq.PAIR)
        self._send = self._socket.send
        self._receive = self._socket.recv
        return self._socket
