"""pynng: a pair over ipc."""

from __future__ import annotations

import os

import pynng

from wsdirect.tools.bench.contenders.pipe import Messages

__all__ = ["Pair"]


class Pair(Messages):
    """Messages through the library's own threads."""

    def listen(self) -> str:
        address = f"abstract://wsdirect-bench-{os.getpid()}"
        self._take(pynng.Pair0(listen=address))
        return address

    def accept(self) -> None:
        pass

    def connect(self, address: str) -> None:
        self._take(pynng.Pair0(dial=address, block_on_dial=True))

    def _take(self, socket: pynng.Pair0) -> None:
        self._socket = socket
        self._send = socket.send
        self._receive = socket.recv
