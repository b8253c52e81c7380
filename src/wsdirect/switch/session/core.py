"""What keeps a session going over its provider socket; `session` has what its users call.

A session makes progress in whatever thread comes along: the provider's, in an upcall, or that of
a caller.  Its lock is never waited for in an upcall: whoever has it looks once more before it is
through.  `on_change` is called, with no lock held, when anything may have changed.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from time import monotonic

from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.switch.session.engine import Engine
from wsdirect.switch.session.inbox import LARGE, Inbox
from wsdirect.switch.session.link import FOR_CONTROL, Link
from wsdirect.switch.session.states import Arriving, Life, Receiving, Sending
from wsdirect.switch.session.transfers import Transfers
from wsdirect.switch.session.wire import (
    FEATURE_RDMA,
    FEATURE_READ,
    HEADER_SIZE,
    SIZE_MIN,
    URGENT,
    Kind,
    Terms,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final

    from wsdirect.switch.session.functions import Functions

__all__ = ["RECEIVES", "Core"]

_E = WsaErrorCode

RECEIVES: Final = 16
"""Receives that are posted at each end."""
PAYLOAD_MAX: Final = 32 << 10
PAYLOAD_MIN: Final = 4 << 10
LARGE_MAX: Final = 256 << 10
"""Bytes that this end moves by RDMA at a time, however many the provider could."""


class Core:
    """A session's progress, its end, and waiting for either; it owns the provider socket.

    Args:
        functions: Of the provider.
        s: Descriptor of a connected socket of it.
        active: This end connected.
        on_change: Called with the session when something may have changed.
        moved: From another process: the peer's terms, and the numbers of the engine's state.

    Attributes:
        functions: As given.
        engine: The protocol's state.
        link: The requests at the socket.
        error: Why the session ended, a Winsock code; 0 if it has not, or ended in order.
        inbox: What was not read yet.

    Errors:
        WSAENOBUFS: no memory, or none that could be registered; and others of the provider.
    """

    def __init__(
        self,
        functions: Functions,
        s: int,
        active: bool,
        on_change: Callable[[Any], object] | None = None,
        moved: tuple[Terms, Iterable[int]] | None = None,
    ) -> None:
        self.functions = functions
        self.error = 0
        self.on_change = on_change
        self._lock = allocate_lock()
        self._sender = allocate_lock()
        self._dirty = False
        self._waiters: list[Any] = []
        self.inbox = Inbox(self._free)
        self._reserved: tuple[int, memoryview] | None = None
        self._vanished = False
        limits = functions.limits(s)
        rdma = min(limits.rdma, LARGE_MAX)
        payload = PAYLOAD_MAX
        if rdma:
            payload = min(max(limits.threshold, PAYLOAD_MIN), PAYLOAD_MAX)
        size = min(payload + HEADER_SIZE, limits.message)
        if size < SIZE_MIN:
            raise WSAError(_E.WSAEMSGSIZE, "session", f"Messages of {size} bytes are too small.")
        features = 0
        if rdma:
            features = FEATURE_RDMA | (FEATURE_READ if functions.read is not None else 0)
        terms = Terms(RECEIVES, size, features, rdma, os.getpid())
        self.engine = (
            Engine(active, terms) if moved is None else Engine.adopt(terms, moved[0], moved[1])
        )
        self.link = Link(functions, s, RECEIVES, size, self.progress)
        self._transfers = Transfers(self.engine, self.link, limits.threshold, self._large_arrived)

    def start(self) -> None:
        """Post the receives, and send the terms if it is this end's turn.

        Errors:
            Those of WSPRecv and WSPSend.
        """
        with self._lock:
            for index in range(self.engine.terms.receives):
                self.link.post(index)
            if self.engine.peer is not None:
                self.engine.resume(self.engine.terms)
            elif self.engine.active:
                self._post(self.engine.start())
        self.progress()

    # --- progress -------------------------------------------------------------------------------

    def progress(self) -> None:
        """Move on as far as possible; for any thread, upcalls included."""
        self._dirty = True
        while self._dirty:
            if not self._lock.acquire(False):
                return  # whoever has it looks again
            try:
                self._dirty = False
                self._advance()
            finally:
                self._lock.release()
            self._tell()

    def _leave(self) -> None:
        """Give the lock back, and do what came up meanwhile."""
        self._lock.release()
        if self._dirty:
            self.progress()

    def _tell(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.release()
        if self.on_change is not None:
            self.on_change(self)

    def _advance(self) -> None:
        """Lock held: take what has arrived, and do what is due."""
        link, engine = self.link, self.engine
        if link.s == -1:
            return
        try:
            link.reap()
            for index, message in link.received():
                if self.ended:
                    break
                if self._arrived(index, message):
                    link.post(index)
                    engine.reposted()
                if engine.tasks:
                    self._transfers.work()  # bytes that follow must not overtake
            link.finish()
            self._transfers.work()
            self._send_rest()
            self._emit()
            if self.ended:
                link.reap()
        except WSAError as error:
            self._fail(error)
        # A goodbye that is still on its way must not be overtaken by the end of the connection.
        if self.ended and (engine.life is Life.BROKEN or not link.sending):
            self._close_link()

    def _arrived(self, index: int, message: memoryview) -> bool:
        """A message; True if its receive can be posted again at once."""
        engine = self.engine
        header = engine.message(message)
        if engine.was_reset:
            self.error = _E.WSAECONNRESET
        if header.kind not in (Kind.DATA, Kind.LARGE) or engine.receiving is Receiving.DEAF:
            return True
        view = message[len(message) - header.length :]
        if not header.flags & URGENT:
            self.inbox.add(view, index)
            return False
        self.inbox.add(view[:-1], index)
        self.inbox.add_urgent(bytes(view[-1:]))
        return header.length == 1

    def _large_arrived(self, view: memoryview) -> None:
        self.inbox.add(view, LARGE)

    def _free(self, index: int) -> None:
        """The program has read the bytes in this buffer."""
        if index == LARGE:
            self._transfers.taken = False
        elif not self.ended and self.link.s != -1:
            try:
                self.link.post(index)
                self.engine.reposted()
            except WSAError as error:
                self._fail(error)

    def _send_rest(self) -> None:
        """Send bytes of a refused transfer as messages, as far as there is room."""
        transfers = self._transfers
        rest = transfers.rest
        while rest is not None:
            room = self.engine.room()
            if not room or len(self.link.free) <= FOR_CONTROL or self._reserved is not None:
                return
            self._send_data(rest[:room])
            rest = rest[room:] if len(rest) > room else None
            transfers.rest = rest
            if rest is None:
                transfers.finished()

    def _emit(self) -> None:
        """Send the control messages that are due."""
        while self._reserved is None and self.link.free:
            message = self.engine.control()
            if message is None:
                return
            self._post(message)

    def _post(self, message: bytes) -> None:
        """Send a whole message."""
        index = self.link.free.pop()
        self.link.wake = self.ended or self.engine.sending is not Sending.OPEN
        self.link.sends.buffer(index)[: len(message)] = message
        self.link.send(index, len(message))

    def _send_data(self, data: memoryview, urgent: bool = False) -> None:
        index = self.link.free.pop()
        header = self.engine.data(len(data), urgent)
        buffer = self.link.sends.buffer(index)
        buffer[:HEADER_SIZE] = header
        buffer[HEADER_SIZE : HEADER_SIZE + len(data)] = data
        self.link.send(index, HEADER_SIZE + len(data))

    # --- the end of the connection --------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether there is no connection any more; what has arrived can still be read."""
        return self.engine.life in (Life.CLOSED, Life.BROKEN)

    def _fail(self, error: WSAError) -> None:
        """The connection is lost, or the peer broke the protocol."""
        engine = self.engine
        if self.ended:
            if engine.life is Life.CLOSED:
                self._close_link()
            return
        arriving = engine.arriving is not Arriving.IDLE
        engine.lost()
        if engine.life is Life.BROKEN:
            # Whatever else a request ended with, it is a fault of the connection's.
            gone = error.winerror == _E.WSAECONNRESET
            self.error = _E.WSAECONNRESET if gone else _E.WSAECONNABORTED
            # This is what a provider says when the peer's process has ended.  TCP has the kernel
            # send the end of the stream then; and so it is here unless the stream is cut short.
            self._vanished = gone and not arriving

    def _close_link(self) -> None:
        self._transfers.close(self.error or _E.WSAECONNABORTED)
        self.link.close()

    # --- waiting --------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait for a condition about this session, such as `readable`.

        Args:
            condition: Looked at after every change.
            timeout: Seconds; None waits for ever.

        Returns:
            Whether it has come true.
        """
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            self.progress()
            waiter = allocate_lock()
            waiter.acquire()
            self._waiters.append(waiter)
            if condition():
                return True
            left = -1.0 if deadline is None else deadline - monotonic()
            if deadline is not None and left <= 0:
                return False
            waiter.acquire(True, left)

    # --- changing -------------------------------------------------------------------------------

    def _change(self, change: Callable[[], object]) -> None:
        self._lock.acquire()
        try:
            change()
            if self.engine.receiving is Receiving.DEAF or self.engine.life is Life.CLOSED:
                self.inbox.discard()
            self._advance()
        finally:
            self._leave()
        self._tell()

    def drop(self) -> None:
        """Close the socket at once, whatever is under way."""
        self._lock.acquire()
        try:
            if not self.ended:
                self.engine.abort()
            self._close_link()
            self.inbox.discard()
        finally:
            self._leave()
        self._tell()
