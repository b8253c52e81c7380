"""A switched connection for whoever accepts over TCP.

A poller accepts a switched connection as soon as it sees it, and keeps it for accept().  If the
program then leaves its listener to another program, which knows of TCP only, that connection is
brought to it: this process connects to the listener for the client and moves the bytes.
"""

from __future__ import annotations

import _socket
import os
from _thread import allocate_lock, start_new_thread

from wsdirect.switch import addresses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wsdirect._core._native import Stream

__all__ = ["relay"]

_PIECE = 1 << 16
_CONNECT_TIMEOUT = 5.0  # seconds; the listener is on this host, but its queue may be full
_close = os.close  # the front may graft os.close


class _Relay:
    """Two threads, one for each direction; the last one closes."""

    def __init__(self, stream: Stream, tcp: _socket.socket) -> None:
        self._stream = stream
        self._tcp = tcp
        self._left = 2
        self._lock = allocate_lock()

    def inward(self) -> None:
        """From the client to the listener's new owner."""
        try:
            while data := self._stream.recv(_PIECE):
                self._tcp.sendall(data)
            self._tcp.shutdown(_socket.SHUT_WR)
        except OSError:
            self._break()
        self._end()

    def outward(self) -> None:
        """And back."""
        try:
            while data := memoryview(self._tcp.recv(_PIECE)):
                while data:
                    data = data[self._stream.send(data) :]
            self._stream.shutdown(_socket.SHUT_WR)
        except OSError:
            self._break()
        self._end()

    def _break(self) -> None:
        """One side has gone: the other one must not wait for it."""
        for end in (self._stream, self._tcp):
            try:
                end.shutdown(_socket.SHUT_RDWR)
            except OSError:
                continue

    def _end(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left:
                return
        self._stream.close()
        _close(self._stream.fd)
        self._tcp.close()


def relay(stream: Stream, name: tuple[Any, ...]) -> None:
    """Bring an accepted stream, ours from now on, to the TCP listener of that name.

    Without one, or without another descriptor or thread, the client sees a reset.
    """
    host = name[0]
    if addresses.is_wildcard(host):
        host = "::1" if ":" in host else "127.0.0.1"
    tcp = None
    try:
        os.set_blocking(stream.fd, True)
        tcp = _socket.socket(addresses.family_of(host), _socket.SOCK_STREAM)
        tcp.settimeout(_CONNECT_TIMEOUT)
        tcp.connect((host, *name[1:]))
        tcp.settimeout(None)
        moving = _Relay(stream, tcp)
        start_new_thread(moving.inward, ())
    except (OSError, RuntimeError):
        stream.close(True)
        _close(stream.fd)
        if tcp is not None:
            tcp.close()
        return
    try:
        start_new_thread(moving.outward, ())
    except RuntimeError:
        moving._break()
        moving._end()
