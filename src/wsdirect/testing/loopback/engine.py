"""The queue of actions: everything that happens on this SAN happens here, one after the other.

A WSP function only queues what it starts.  Two parties work on the queue: one thread, which is
made when there is something to do, and whoever polls with WSPGetOverlappedResult.  Both hold the
lock while they run an action, and nobody holds it during an upcall.  That gives three things the
contract asks for: no request ends inside the call that made it, polling makes progress, and the
switch may call back from anywhere.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from wsdirect.providers.socket_table import Upcalls

__all__ = ["Engine"]


class Engine:
    """A queue of actions and of sockets that have something to announce.

    Attributes:
        lock: For all that the provider knows.  Actions run under it, upcalls never do.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._changed = threading.Condition(self.lock)  # for whoever waits
        self._actions: deque[Callable[[], object]] = deque()
        self._untold: deque[Upcalls] = deque()
        self._worker: threading.Thread | None = None
        self._holds = 0
        self._steps = 0
        self._telling = 0

    # --- with the lock held -----------------------------------------------------------------------

    def submit(self, action: Callable[[], object]) -> None:
        """Queue an action; the lock is held, here and when it runs."""
        self._actions.append(action)
        self._wake()

    def announce(self, upcalls: Upcalls) -> None:
        """Have a socket's waiting upcalls made as soon as nobody holds the lock; it is held."""
        self._untold.append(upcalls)
        self._wake()

    def _wake(self) -> None:
        if self._worker is None:
            self._worker = threading.Thread(
                target=self._work, name="wsdirect-loopback", daemon=True
            )
            self._worker.start()
        self._changed.notify_all()

    def _ready(self) -> bool:
        return bool(self._untold or (self._actions and not self._holds))

    # --- without the lock -------------------------------------------------------------------------

    def step(self) -> bool:
        """Do the next thing, if there is one: an upcall that waits, or else an action."""
        with self.lock:
            if not self._ready():
                return False
            upcalls = self._untold.popleft() if self._untold else None
            if upcalls is None:
                self._actions.popleft()()
                self._moved()
                return True
            self._telling += 1
        try:
            upcalls.run()
        finally:
            with self.lock:
                self._telling -= 1
                self._moved()
        return True

    def _moved(self) -> None:
        self._steps += 1
        self._changed.notify_all()

    def progress(self) -> None:
        """Work on the queue until it is empty: what polling does."""
        while self.step():
            pass

    def wait(self, done: Callable[[], bool]) -> None:
        """Work, or let the others work, until something has come true."""
        while True:
            steps = self._steps
            if done():
                return
            if not self.step():
                with self.lock:
                    # What came true since the look would not be told again.
                    if steps == self._steps and not self._ready():
                        self._changed.wait()

    def tell(self, upcalls: Upcalls) -> None:
        """Make a socket's waiting upcalls now, in this thread, unless another one is at it."""
        upcalls.run()
        with self.lock:
            self._moved()

    def hold(self) -> None:
        """Run no actions until `go_on` (fault injection); upcalls are made."""
        with self.lock:
            self._holds += 1

    def go_on(self) -> None:
        """Undo one `hold`."""
        with self.lock:
            self._holds -= 1
            self._moved()

    def stop(self) -> None:
        """Forget the actions that are queued, make the upcalls that wait, and end the thread.

        While an upcall runs the thread is not waited for, as the upcall may be waiting for us, or
        be the one that we come from: then the thread ends by itself after that.
        """
        with self.lock:
            self._actions.clear()
            worker, self._worker = self._worker, None
            busy = self._telling
            self._changed.notify_all()
        if worker is not None and not busy:
            worker.join()

    def abandon(self) -> None:
        """In a forked child, with the lock taken before the fork: be of no use any more."""
        self._actions.clear()
        self._untold.clear()
        self._worker = None
        self.lock.release()

    def _work(self) -> None:
        me = threading.current_thread()
        while True:
            if not self.step():
                with self.lock:
                    if self._worker is not me:
                        return
                    if not self._ready():
                        self._changed.wait()
