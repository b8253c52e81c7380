"""The progress thread: what has to go on while no call of the provider is running.

It sleeps on an epoll of the descriptors given to `watch`, and starts when first needed.  What
polls for its own progress, and native streams, never need it.
"""

from __future__ import annotations

import os
import select
from _thread import allocate_lock, get_ident, start_new_thread
from collections import deque
from heapq import heappop, heappush
from itertools import count
from time import monotonic

from wsdirect.telling import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    Ready = Callable[[], object]

__all__ = ["Progress"]

_EDGES: Final = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


class Progress:
    """One daemon thread that runs functions: when a descriptor changes, at a time, or now.

    The functions must not wait.  No lock is held while one runs.
    """

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._wake = -1
        self._reset()

    def _reset(self) -> None:
        self._lock = allocate_lock()
        self._ended = allocate_lock()  # held while the thread runs
        self._ready: dict[int, Ready] = {}
        self._queue: deque[Ready] = deque()
        self._timers: list[tuple[float, int, Ready]] = []
        self._numbers = count()
        self._stopping = False
        self._thread = 0

    @property
    def running(self) -> bool:
        """Whether the thread has been started."""
        return self._epoll is not None

    def watch(self, descriptor: int, ready: Ready) -> None:
        """Run a function whenever the descriptor's readiness changes, and once now if it is ready.

        Errors:
            OSError: no descriptor left for epoll.
        """
        with self._lock:
            self._start()
            assert self._epoll is not None
            self._ready[descriptor] = ready
            try:
                self._epoll.register(descriptor, _EDGES)
            except FileExistsError:
                self._epoll.modify(descriptor, _EDGES)

    def unwatch(self, descriptor: int) -> None:
        """End a watch, before the descriptor is closed; its function may still be running."""
        with self._lock:
            if self._ready.pop(descriptor, None) is not None and self._epoll is not None:
                try:
                    self._epoll.unregister(descriptor)
                except OSError:
                    pass

    def submit(self, function: Ready) -> None:
        """Run a function soon."""
        self._queue.append(function)
        with self._lock:
            self._start()
            self._ring()

    def at(self, when: float, function: Ready) -> None:
        """Run a function at a time.monotonic() time."""
        with self._lock:
            self._start()
            heappush(self._timers, (when, next(self._numbers), function))
            self._ring()

    def stop(self) -> None:
        """End the thread; waits for it, unless this is that thread."""
        with self._lock:
            if self._epoll is None:
                return
            self._stopping = True
            self._ring()
        if get_ident() != self._thread:
            with self._ended:
                pass

    def after_fork(self) -> None:
        """In a forked child: there is no thread, and the descriptors are the parent's."""
        epoll, self._epoll = self._epoll, None
        if epoll is not None:
            epoll.close()
            os.close(self._wake)
        self._reset()  # with new locks: the parent's threads may have held the old ones

    def _ring(self) -> None:
        os.eventfd_write(self._wake, 1)

    def _start(self) -> None:
        """Lock held."""
        if self._epoll is not None:
            return
        epoll = select.epoll()
        try:
            wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            epoll.register(wake, select.EPOLLIN)
        except OSError:
            epoll.close()
            raise
        self._epoll, self._wake, self._stopping = epoll, wake, False
        self._ended.acquire()
        self._thread = start_new_thread(self._run, (epoll, wake))

    def _run(self, epoll: select.epoll, wake: int) -> None:
        try:
            while not self._stopping:
                self._turn(epoll, wake)
        finally:
            with self._lock:
                self._epoll = None
                self._ready.clear()
                self._timers.clear()
                epoll.close()
                os.close(wake)
            self._ended.release()

    def _turn(self, epoll: select.epoll, wake: int) -> None:
        timers = self._timers
        timeout = max(timers[0][0] - monotonic(), 0) if timers else None
        for descriptor, _ in epoll.poll(timeout):
            if descriptor == wake:
                try:
                    os.eventfd_read(wake)
                except BlockingIOError:
                    pass
                continue
            ready = self._ready.get(descriptor)
            if ready is not None:
                _run(ready)
        while self._queue:
            _run(self._queue.popleft())
        now = monotonic()
        while True:
            with self._lock:
                if not timers or timers[0][0] > now:
                    return
                _, _, function = heappop(timers)
            _run(function)


def _run(function: Ready) -> None:
    try:
        function()
    except Exception as error:
        tell("error", f"the progress thread caught {error!r}")
