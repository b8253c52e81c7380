"""The engine: one thread per started provider that sleeps in epoll and wakes sockets up.

A caller with an epoll of its own, such as an event loop, drives it instead of the thread: see
`DrivenEngine`.

It knows no requests and no events: a socket says which descriptors concern it, and `advance`
(see progress) does what has become possible.  Descriptors are registered for one wake-up each, so
that a level that stays true cannot keep the thread busy.
"""

from __future__ import annotations

import math
import os
import select
import threading
import time

from wsdirect.switch.upper.tables import State
from wsdirect.telling import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from wsdirect.switch.upper.sockets import Socket

__all__ = ["DrivenEngine", "Engine"]

ONCE = select.EPOLLONESHOT
FRUITLESS = 64  # wake-ups in a row that told nothing new before the engine takes a breath
BREATH = 0.001  # seconds
SPENT = -1  # in `Socket.polled`: registered, and has had its one wake-up


class Engine:
    """Starts with the first socket that has something to wait for.

    Args:
        advance: Called with a socket that may be able to go on; takes and drops its lock.
    """

    def __init__(self, advance: Callable[[Socket], None]) -> None:
        self._advance = advance
        self._lock = threading.Lock()
        self._epoll: select.epoll | None = None
        self._wake = -1
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._owners: dict[int, Socket] = {}
        self._due: dict[Socket, float] = {}  # offers that become TCP unless taken by then
        self._fruitless = 0

    def poll(self, sock: Socket, masks: dict[int, int]) -> None:
        """Wake the socket when one of these is true.  Its lock is held.

        Args:
            sock: The socket.
            masks: What to wait for by descriptor; replaces what was asked for before.
        """
        polled = sock.polled
        if not masks and not polled:
            return
        for fd in [fd for fd, mask in polled.items() if mask != SPENT and fd not in masks]:
            self._forget(fd)
            del polled[fd]
        for fd, mask in masks.items():
            if polled.get(fd) != mask:
                self._register(sock, fd, mask if sock.reader is not None else mask | ONCE)
                polled[fd] = mask

    def until(self, sock: Socket, deadline: float) -> None:
        """Advance the socket at this time (time.monotonic()) at the latest."""
        self._due[sock] = deadline
        self._start()
        self._ring()

    def leave(self, sock: Socket) -> None:
        """The socket's descriptors are about to be closed.  Its lock is held."""
        self._due.pop(sock, None)
        self.forget(sock)

    def forget(self, sock: Socket) -> None:
        """Wake it no more until the next `poll`.  Its lock is held."""
        for fd in sock.polled:
            self._forget(fd)
        sock.polled.clear()

    def _register(self, sock: Socket, fd: int, mask: int) -> None:
        epoll = self._start()
        self._owners[fd] = sock
        if fd in sock.polled:
            try:
                epoll.modify(fd, mask)
                return
            except FileNotFoundError:
                pass  # another socket stands under this number now
        try:
            epoll.register(fd, mask)
        except FileExistsError:
            epoll.modify(fd, mask)

    def _forget(self, fd: int) -> None:
        self._owners.pop(fd, None)
        try:
            assert self._epoll is not None
            self._epoll.unregister(fd)
        except (OSError, ValueError):
            pass  # closed meanwhile, and forgotten by the kernel

    def _start(self) -> select.epoll:
        with self._lock:
            if self._epoll is None:
                self._epoll = select.epoll()
                self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
                self._epoll.register(self._wake, select.EPOLLIN)
                self._stopping = False
                self._thread = threading.Thread(
                    target=self._run, name="wsdirect-engine", daemon=True
                )
                self._thread.start()
            return self._epoll

    def _ring(self) -> None:
        with self._lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def stop(self) -> None:
        """End the thread.  May be called on it, by an upcall."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stopping = True
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def abandon(self) -> None:
        """In a forked child: the thread is the parent's, and so is what its epoll knows."""
        if self._epoll is not None:
            self._epoll.close()
            os.close(self._wake)
            self._epoll, self._wake = None, -1

    def _timeout(self) -> float | None:
        due = min(list(self._due.values()), default=None)
        return None if due is None else max(0.0, due - time.monotonic()) + 0.001

    def _run(self) -> None:
        epoll = self._epoll
        assert epoll is not None
        while not self._stopping:
            try:
                found = epoll.poll(self._timeout())
            except InterruptedError:
                continue
            for fd, _ in found:
                if fd == self._wake:
                    os.eventfd_read(fd)
                    continue
                owner = self._owners.get(fd)
                if owner is not None:
                    self._visit(owner, fd)
            self._visit_due()
        with self._lock:
            epoll.close()
            os.close(self._wake)
            self._epoll, self._wake = None, -1
            self._owners.clear()

    def _visit_due(self) -> None:
        now = time.monotonic()
        for sock in [sock for sock, due in list(self._due.items()) if due <= now]:
            self._due.pop(sock, None)
            self._visit(sock, -1)

    def _visit(self, sock: Socket, fd: int) -> None:
        try:
            with sock.lock:
                before = sock.steps
                if fd in sock.polled and sock.reader is None:
                    sock.polled[fd] = SPENT
            self._advance(sock)
            if fd in sock.polled and sock.steps == before and sock.state is not State.CLOSED:
                self._fruitless += 1
                if self._fruitless > FRUITLESS:
                    time.sleep(BREATH)
            else:
                self._fruitless = 0
        except Exception as error:
            tell("error", f"serving a socket failed: {error!r}")


class DrivenEngine(Engine):
    """An engine without a thread: its owner polls, and tells it what it found.

    Args:
        advance: As for Engine.
        epoll: The owner's; the engine registers its descriptors there.
        ring: Makes the owner's poll return; called from any thread.
    """

    def __init__(
        self, advance: Callable[[Socket], None], epoll: select.epoll, ring: Callable[[], object]
    ) -> None:
        super().__init__(advance)
        self._epoll = epoll
        self._ring_owner = ring
        self._next_due = math.inf

    def _start(self) -> select.epoll:
        if self._epoll is None:
            raise RuntimeError("what drove this socket has ended")
        return self._epoll

    def _ring(self) -> None:
        self._ring_owner()

    def stop(self) -> None:
        """Nobody polls any more."""
        self._epoll = None
        self._owners.clear()
        self._due.clear()

    abandon = stop

    def until(self, sock: Socket, deadline: float) -> None:
        """As in the base."""
        self._due[sock] = deadline
        self._next_due = min(self._next_due, deadline)
        self._ring()

    def timeout(self) -> float | None:
        """Seconds until `woken` is to be called, whether or not there is news; None: never."""
        if not self._due:
            return None
        return max(0.0, self._next_due - time.monotonic()) + 0.001

    def reading(self, fd: int) -> Socket | None:
        """The socket of a descriptor, if all it waits for are data for its reader."""
        owner = self._owners.get(fd)
        if owner is None or owner.reader is None or owner.sends or owner.receives or owner.urgents:
            return None
        return owner

    def woken(self, found: list[tuple[int, int]]) -> None:
        """These (descriptor, events) are none of the owner's: some may be the engine's."""
        for fd, event in found:
            owner = self.reading(fd)
            if owner is None:
                owner = self._owners.get(fd)
                if owner is None:
                    continue
                self._visit(owner, fd)
            if owner.reader is not None and event & ~select.EPOLLOUT:
                owner.reader()
        if self._due and self._next_due <= time.monotonic():
            self._visit_due()
            self._next_due = min(self._due.values(), default=math.inf)
