"""Overlapped requests, and the event objects that announce things.

`WSAOVERLAPPED` is the record of one request; requester and provider share it while the request
runs.  `Event` is a Windows event object on an eventfd.
"""

from __future__ import annotations

import os
import select
import threading
import time

from wsdirect.spi.constants import WSS_OPERATION_IN_PROGRESS
from wsdirect.spi.errors import WSAError, WsaErrorCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["WSAOVERLAPPED", "Event"]

# Between reading an event's descriptor number and using it, another thread could close it and the
# number come to mean somebody else's file.  All events share one lock, because what it protects
# takes a microsecond and one lock can be carried over a fork; re-entrant, because a signal handler
# may set an event in the middle of a set.
_descriptors = threading.RLock()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_descriptors.acquire,
        after_in_parent=_descriptors.release,
        after_in_child=_descriptors.release,
    )


class Event:
    """A Windows event object: set or not set, waited for by threads and pollers.

    The state lives in the kernel and not in this object.  After a fork parent and child hold the
    same event: a set in one wakes the other.  Each has its own descriptor of it and closes that by
    itself.  It does not survive an exec.

    Whoever made an event closes it; a provider that is handed one only sets and resets it.  An
    event nobody refers to closes itself.

    Args:
        manual_reset: True: stays set until `reset`, and everybody waiting gets through.  False
            (auto reset): each `set` lets one successful `wait` through, which resets it.
        initial: Whether it is set at first.

    Errors:
        Every method but `close` and `fileno` raises WSA_INVALID_HANDLE once it is closed.

    Source: C:synchronizing-operations-on-a-san.
    """

    __slots__ = ("__weakref__", "_fd", "manual_reset")

    def __init__(self, manual_reset: bool = True, initial: bool = False) -> None:
        self._fd = -1  # for __del__, should the next line fail
        self._fd = os.eventfd(int(initial), os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.manual_reset = manual_reset

    def fileno(self) -> int:
        """Descriptor that polls readable while the event is set; -1 after `close`.

        A poller's wake-up does not reset an auto-reset event: follow it with `wait(0)`, which
        tells whether this waiter or another one got it.
        """
        return self._fd

    def set(self) -> None:
        """Set it.  Setting a set event changes nothing."""
        with _descriptors:
            try:
                os.eventfd_write(self._open(), 1)
            except BlockingIOError:
                pass  # the counter is at its end after 2**64 - 2 sets: it is set, all the same

    def reset(self) -> None:
        """Make it not set."""
        self._consume()

    def is_set(self) -> bool:
        """Whether it is set now.  Does not reset an auto-reset event."""
        return self._poll(0)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set.

        Args:
            timeout: Seconds; None waits for ever, 0 only looks.

        Returns:
            True if it was set (and is not any more, if it resets itself), False if time ran out.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if self.manual_reset:
                return self._poll(timeout)
            # Several waiters may see the same set: the one whose read succeeds has it.
            if self._consume():
                return True
            if deadline is not None:
                timeout = deadline - time.monotonic()
                if timeout <= 0:
                    return False
            self._poll(timeout)

    def close(self) -> None:
        """Close it; again is allowed.  There must be no waiters left."""
        with _descriptors:
            descriptor, self._fd = self._fd, -1
            if descriptor >= 0:
                os.close(descriptor)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._fd < 0

    def _open(self) -> int:
        if self._fd < 0:
            raise WSAError(WsaErrorCode.WSA_INVALID_HANDLE, "Event", "It was closed.")
        return self._fd

    def _consume(self) -> bool:
        with _descriptors:
            try:
                os.eventfd_read(self._open())
            except BlockingIOError:
                return False
            return True

    def _poll(self, timeout: float | None) -> bool:
        poller = select.poll()  # its own: a poll object serves one thread at a time
        poller.register(self._open(), select.POLLIN)
        ready = poller.poll(None if timeout is None else max(timeout, 0) * 1000)
        if ready and not ready[0][1] & select.POLLIN:
            raise WSAError(WsaErrorCode.WSA_INVALID_HANDLE, "Event", "It was closed meanwhile.")
        return bool(ready)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("an Event belongs to this process and its forks, it cannot be pickled")

    def __repr__(self) -> str:
        reset = "manual" if self.manual_reset else "auto"
        state = "closed" if self._fd < 0 else f"fd={self._fd}"
        return f"<Event {reset} reset, {state}>"


class WSAOVERLAPPED:
    """The record of one overlapped request, shared by requester and provider.

    One request at a time: it can be used again when the request has finished.

    The C structure says how the requester learns of the end with the low bit of hEvent.  Here that
    bit is `polled`:

    | polled | hEvent   | the end of the request                                                |
    | ------ | -------- | --------------------------------------------------------------------- |
    | True   | not used | is only to be seen with WSPGetOverlappedResult: no upcall, no event   |
    | False  | None     | is told with WPUCompleteOverlappedRequest, exactly once               |
    | False  | an Event | the same; the upcall's owner, never the provider, then sets the event |

    Args:
        hEvent: The event that goes with the request, or None.
        polled: The low bit of hEvent.

    Attributes:
        Internal: WSS_OPERATION_IN_PROGRESS while the request runs; anything else: it has finished.
        InternalHigh: Bytes transferred.
        Offset: Resulting flags.
        OffsetHigh: Winsock code of the result; 0 is success.
        hEvent: As given.
        polled: As given.

    Source: R:ff565952; C:completing-data-transfer-requests.
    """

    __slots__ = ("Internal", "InternalHigh", "Offset", "OffsetHigh", "hEvent", "polled")

    def __init__(self, hEvent: Event | None = None, polled: bool = False) -> None:
        self.Internal = 0
        self.InternalHigh = 0
        self.Offset = 0
        self.OffsetHigh = 0
        self.hEvent = hEvent
        self.polled = polled

    @property
    def in_progress(self) -> bool:
        """Whether the request still runs."""
        return self.Internal == WSS_OPERATION_IN_PROGRESS

    def start(self) -> None:
        """Begin a request.  The provider calls it before anything can finish the request.

        Errors:
            WSAEINVAL: the record is still in use by another request.
        """
        if self.Internal == WSS_OPERATION_IN_PROGRESS:
            raise WSAError(
                WsaErrorCode.WSAEINVAL,
                "WSAOVERLAPPED",
                "It is still in use: one record serves one request at a time.",
            )
        self.Offset = 0
        self.OffsetHigh = 0
        self.InternalHigh = 0
        self.Internal = WSS_OPERATION_IN_PROGRESS

    def set_result(self, error: int = 0, flags: int = 0) -> None:
        """Write the two members that are the provider's; the request still runs.

        Args:
            error: Winsock code, 0 for success.
            flags: Resulting flags.
        """
        self.Offset = flags
        self.OffsetHigh = error

    def publish(self, transferred: int = 0) -> None:
        """End the request: the byte count first, and last the member that others look at.

        For a polled request the provider does it, otherwise the upcall does.

        Args:
            transferred: Bytes transferred.
        """
        self.InternalHigh = transferred
        self.Internal = 0

    def result(self) -> int | None:
        """What WSPGetOverlappedResult answers without waiting.

        Returns:
            Bytes transferred; None while the request runs.

        Errors:
            The error that the request ended with.
        """
        if self.Internal == WSS_OPERATION_IN_PROGRESS:
            return None
        if self.OffsetHigh:
            raise WSAError(self.OffsetHigh)
        return self.InternalHigh

    def __repr__(self) -> str:
        if self.in_progress:
            state = "in progress"
        elif self.OffsetHigh:
            state = f"error {self.OffsetHigh}"
        else:
            state = f"{self.InternalHigh} bytes"
        return f"<WSAOVERLAPPED {'polled' if self.polled else 'notified'}, {state}>"
