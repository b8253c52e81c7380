"""Making upcalls in order, for providers and for the switch where it is one itself."""

from __future__ import annotations

from _thread import allocate_lock
from collections import deque

from wsdirect.telling import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Upcalls"]


class Upcalls:
    """The upcalls of one socket: one at a time, in order, with no lock held.

    `post` only queues.  Whoever calls `run` makes the upcalls that wait, unless another thread, or
    a caller further up in this one, is at it: then that one makes them after its own.
    """

    __slots__ = ("_lock", "_running", "_waiting")

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._waiting: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._running = False

    def post(self, function: Callable[..., object], *arguments: Any) -> None:
        """Queue an upcall."""
        self._waiting.append((function, arguments))

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def run(self) -> None:
        """Make the upcalls that wait."""
        while True:
            with self._lock:
                if self._running or not self._waiting:
                    return
                self._running = True
                function, arguments = self._waiting.popleft()
            try:
                function(*arguments)
            except Exception as error:
                # Not ours to handle, and no reason to keep the next one from being told.
                tell("error", f"an upcall failed: {error!r}")
            finally:
                with self._lock:
                    self._running = False
