"""Network events of a socket: what WSPEventSelect asked for and what has happened since."""

from __future__ import annotations

from _thread import allocate_lock

from wsdirect.spi.constants import FD_ACCEPT
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.structures import WSANETWORKEVENTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wsdirect.providers.shm.listener import Listener
    from wsdirect.spi.overlapped import Event

__all__ = ["Selection"]


class Selection:
    """The event object of a socket and the record of its events (R-088 to R-104).

    FD_ACCEPT is told once, and again only after a WSPAccept; FD_CONNECT once per connect, but to
    every selection until somebody has fetched it.
    """

    __slots__ = ("_accept_due", "_connect", "_event", "_lock", "_record", "_wanted")

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._event: Event | None = None
        self._wanted = 0
        self._record = WSANETWORKEVENTS()
        self._accept_due = True
        self._connect: int | None = None  # outcome that nobody has fetched yet

    @property
    def wanted(self) -> int:
        """The events asked for."""
        return self._wanted

    def select(self, event: Event | None, wanted: int) -> None:
        """Replace the association; the record begins anew."""
        with self._lock:
            self._event = event if wanted else None
            self._wanted = int(wanted)
            self._record = WSANETWORKEVENTS()
            self._accept_due = True

    def announce_accept(self, listener: Listener, again: bool = False) -> None:
        """Record FD_ACCEPT if a request waits and it is time to tell.

        Args:
            listener: Where requests come in.
            again: A WSPAccept has been made: the next request is to be told.
        """
        if again:
            with self._lock:
                # The event is reset only here, in step with the queue: what has come since is
                # seen below, what comes later finds that it is to be told.
                if self._record.lNetworkEvents == FD_ACCEPT:
                    self._record.take()
                    if self._event is not None:
                        try:
                            self._event.reset()
                        except WSAError:
                            pass
                self._accept_due = True
        if self._is_accept_due() and listener.pending():
            with self._lock:
                if self._is_accept_due():
                    self._accept_due = False
                    self._note(FD_ACCEPT, 0)

    def _is_accept_due(self) -> bool:
        return self._accept_due and bool(self._wanted & FD_ACCEPT)

    def announce_connect(self, outcome: int, event: int) -> None:
        """Record the end of a connect: 0 or a Winsock code."""
        with self._lock:
            self._connect = outcome
            if self._wanted & event:
                self._note(event, outcome)

    def repeat_connect(self, event: int) -> None:
        """Record the end of an earlier connect that nobody has fetched."""
        with self._lock:
            if self._connect is not None and self._wanted & event:
                self._note(event, self._connect)

    def _note(self, event: int, outcome: int) -> None:
        self._record.record(event, outcome)
        if self._event is not None:
            try:
                self._event.set()
            except WSAError:  # its owner has closed it: nobody to tell
                pass

    def take(self, event: Event | None) -> WSANETWORKEVENTS:
        """The record, which begins anew; resets the event in the same step.

        Errors:
            WSAEINVAL: the event cannot be reset; nothing has changed.
        """
        with self._lock:
            if event is not None:
                try:
                    event.reset()
                except (WSAError, AttributeError):
                    raise WSAError(
                        WsaErrorCode.WSAEINVAL, "WSPEnumNetworkEvents", "The event is closed."
                    ) from None
            taken = self._record.take()
            if taken.lNetworkEvents & ~FD_ACCEPT:
                self._connect = None
            return taken
