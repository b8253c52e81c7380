"""One thread per process that keeps sessions going while no call of a program does.

It sleeps on an epoll of descriptors and starts when it is first needed.  Functions that it runs
must not wait.
"""

from __future__ import annotations

import os
import select
from _thread import allocate_lock, start_new_thread
from collections import deque
from heapq import heappop, heappush
from itertools import count
from time import monotonic

from wsdirect.switch.ungrafted import epoll_register, epoll_unregister, epoll_wait
from wsdirect.telling import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final, Generic, TypeVar

    Function = Callable[[], object]
    ItemT = TypeVar("ItemT")
else:
    ItemT = None

    class Generic:  # importing `typing` would cost every process milliseconds
        """Stands for typing.Generic."""

        def __class_getitem__(cls, item):
            return cls


__all__ = ["Deadlines", "Driver", "driver"]

_LEAST: Final = 0.05  # seconds between looks at deadlines

_EDGES: Final = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_close = os.close


class Driver:
    """A daemon thread that runs functions: when a descriptor's readiness changes, or at a time.

    Attributes:
        ending: The process ends: the interpreter stops threads wherever they are, with whatever
            locks they have, so nobody may wait for one any more.
    """

    def __init__(self) -> None:
        self.ending = False
        self._epoll: select.epoll | None = None
        self._wake = -1
        self._reset()

    def _reset(self) -> None:
        self._lock = allocate_lock()
        self._ready: dict[int, Function] = {}
        self._queue: deque[Function] = deque()
        self._timers: list[tuple[float, int, Function]] = []
        self._numbers = count()

    @property
    def running(self) -> bool:
        """Whether the thread has been started."""
        return self._epoll is not None

    @property
    def watched(self) -> list[int]:
        """The descriptors that are watched."""
        return list(self._ready)

    def watch(self, descriptor: int, function: Function) -> None:
        """Run a function whenever the descriptor's readiness changes, and now if it is ready.

        Errors:
            OSError: no descriptor left for epoll.
        """
        with self._lock:
            epoll = self._start()
            self._ready[descriptor] = function
            epoll_register(epoll, descriptor, _EDGES)

    def unwatch(self, descriptor: int) -> None:
        """End a watch, before the descriptor is closed; its function may still be running."""
        with self._lock:
            if self._ready.pop(descriptor, None) is not None and self._epoll is not None:
                try:
                    epoll_unregister(self._epoll, descriptor)
                except OSError:
                    pass

    def submit(self, function: Function) -> None:
        """Run a function soon."""
        self._queue.append(function)
        with self._lock:
            self._start()
            os.eventfd_write(self._wake, 1)

    def at(self, when: float, function: Function) -> None:
        """Run a function at a time.monotonic() time; until then it is kept, with all it refers to.

        See `Deadlines` for what usually does not come to its time.
        """
        with self._lock:
            self._start()
            heappush(self._timers, (when, next(self._numbers), function))
            os.eventfd_write(self._wake, 1)

    def after_fork_child(self) -> None:
        """There is no thread here, and the descriptors are the parent's."""
        epoll, self._epoll = self._epoll, None
        if epoll is not None:
            epoll.close()
            _close(self._wake)
        self._reset()  # with a new lock: the parent's threads may have held the old one

    def _start(self) -> select.epoll:
        """Lock held."""
        if self._epoll is None:
            epoll = select.epoll()
            try:
                wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
                epoll_register(epoll, wake, select.EPOLLIN)
            except OSError:
                epoll.close()
                raise
            self._epoll, self._wake = epoll, wake
            start_new_thread(self._run, (epoll, wake))
        return self._epoll

    def _run(self, epoll: select.epoll, wake: int) -> None:
        while True:
            timers = self._timers
            timeout = max(timers[0][0] - monotonic(), 0) if timers else None
            for descriptor, _ in epoll_wait(epoll, timeout):
                if descriptor == wake:
                    try:
                        os.eventfd_read(wake)
                    except BlockingIOError:
                        pass
                    continue
                if descriptor in self._ready:
                    # not kept in a variable: it may be all that keeps a connection
                    _guarded(self._ready.get(descriptor, int))
            while self._queue:
                _guarded(self._queue.popleft())
            self._run_timers()

    def _run_timers(self) -> None:
        now = monotonic()
        while True:
            with self._lock:
                if not self._timers or self._timers[0][0] > now:
                    return
                _, _, function = heappop(self._timers)
            _guarded(function)


def _guarded(function: Function) -> None:
    try:
        function()
    except Exception as error:
        # Not this thread's end: others depend on it.
        tell("error", f"the switch's thread caught {error!r}")


driver = Driver()


class Deadlines(Generic[ItemT]):
    """Things that must have happened by a time; one function of the driver's looks after all.

    An item that is discarded in time is not kept any longer.

    Args:
        expired: Called, in the driver's thread, with each item whose time has come.
    """

    __slots__ = ("_due", "_expired", "_scheduled")

    def __init__(self, expired: Callable[[ItemT], object]) -> None:
        self._due: dict[ItemT, float] = {}
        self._expired = expired
        self._scheduled = False

    def add(self, item: ItemT, when: float) -> None:
        """Call for this item at a time.monotonic() time, or a little later."""
        self._due[item] = when
        if not self._scheduled:
            self._scheduled = True
            driver.at(when, self._look)

    def discard(self, item: ItemT) -> bool:
        """It has happened; whether the item was there."""
        return self._due.pop(item, None) is not None

    def __contains__(self, item: ItemT) -> bool:
        return item in self._due

    def __len__(self) -> int:
        return len(self._due)

    def __iter__(self) -> Iterator[ItemT]:
        return iter(list(self._due))

    def clear(self) -> None:
        """Forget all, as in a forked child."""
        self._due.clear()
        self._scheduled = False

    def _look(self) -> None:
        now = monotonic()
        for item, when in list(self._due.items()):
            if when <= now and self.discard(item):
                _guarded(lambda item=item: self._expired(item))  # type: ignore[misc]
        self._scheduled = False
        if self._due:
            self._scheduled = True
            driver.at(max(min(self._due.values()), now + _LEAST), self._look)
