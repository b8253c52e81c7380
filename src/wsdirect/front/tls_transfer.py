"""Moving encrypted bytes between a TLS socket's buffers and its connection, within a time limit."""

from __future__ import annotations

import _socket
import select
from time import monotonic

from wsdirect._core import native
from wsdirect.front import offers, tls_words
from wsdirect.front.tls_words import HANDSHAKE, READ, SHUTDOWN, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

base = _socket.socket


class Limit:
    """How long one operation may wait, all its steps together: the socket's time-out."""

    __slots__ = ("deadline", "operation", "waits")

    def __init__(self, timeout: float | None, operation: str) -> None:
        self.waits = timeout != 0
        self.deadline = monotonic() + timeout if timeout is not None else None
        self.operation = operation

    def left(self) -> float | None:
        """Seconds; None: for ever; 0: the socket is non-blocking, or time is up."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - monotonic()) if self.waits else 0.0

    def timed_out(self, receiving: bool) -> TimeoutError:
        """What the ssl module raises."""
        return tls_words.timed_out(self.operation, receiving)


forever = {name: Limit(None, name) for name in (READ, WRITE, HANDSHAKE, SHUTDOWN)}
at_once = {name: Limit(0, name) for name in (READ, WRITE, HANDSHAKE, SHUTDOWN)}


def transfer(sock: Any, fd: int, receiving: bool, buffer: memoryview, limit: Limit) -> int:
    """Receive into, or send from, the buffer: at least one byte, and 0 at the end of the stream.

    BlockingIOError if the socket is non-blocking and nothing can be moved.  Signal handlers run
    while this waits, and at that moment it holds no bytes: they may use the same connection.
    """
    assert native is not None
    while True:
        stream = native.table_lookup(fd)
        try:
            if stream is None:
                return _plain(sock, receiving, buffer, limit)
            flags = native.EXACT if stream.strict else 0
            move = stream.recv_into if receiving else stream.send
            moved: int = move(buffer, limit.left(), flags)
            return moved
        except native.Unattached:
            offers.expired(fd)
        except BlockingIOError:
            if not limit.waits:
                raise
            raise limit.timed_out(receiving) from None
        except TimeoutError as error:
            if error.errno is not None:
                raise  # the network's own ETIMEDOUT
            raise limit.timed_out(receiving) from None


def _plain(sock: Any, receiving: bool, buffer: memoryview, limit: Limit) -> int:
    """The same once the connection has moved to TCP, or is closed."""
    fd = base.fileno(sock)
    left = limit.left()
    if limit.waits and left is not None and fd >= 0:
        # recv and send would wait for the socket's time-out; less may be left of it
        poller = select.poll()
        poller.register(fd, select.POLLIN if receiving else select.POLLOUT)
        if not poller.poll(left * 1000):
            raise limit.timed_out(receiving)
    return base.recv_into(sock, buffer) if receiving else base.send(sock, buffer)
