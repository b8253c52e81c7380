"""Network events of a socket: what WSPEventSelect asked for, and what has happened since."""

from __future__ import annotations

from wsdirect.spi.constants import FD_CONNECT
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.overlapped import Event
from wsdirect.spi.structures import WSANETWORKEVENTS

__all__ = ["Selection"]


class Selection:
    """The event object of a socket and the record of its events; used under the engine's lock.

    Setting an event is no upcall: it calls nobody, so it may be done with the lock held.  That
    keeps record and event in step.

    Source: R-088 to R-104.
    """

    __slots__ = ("_event", "_outcome", "_record", "_wanted")

    def __init__(self) -> None:
        self._event: Event | None = None
        self._wanted = 0
        self._record = WSANETWORKEVENTS()
        self._outcome: int | None = None  # of a connect, as long as nobody has fetched it

    def select(self, event: Event | None, wanted: int) -> None:
        """Replace the association; the record begins anew.

        What is still true is told again (R-095): here a finished connect that nobody knows of.
        Waiting requests are the caller's to tell with `note`.
        """
        self._event = event if wanted else None
        self._wanted = int(wanted)
        self._record = WSANETWORKEVENTS()
        if self._outcome is not None:
            self.note(FD_CONNECT, self._outcome)

    def connected(self, outcome: int) -> None:
        """A connect has finished: 0 or a Winsock code."""
        self._outcome = outcome
        self.note(FD_CONNECT, outcome)

    def note(self, event: int, outcome: int = 0) -> None:
        """Record an event, and set the event object, if that was asked for."""
        if self._wanted & event:
            self._record.record(event, outcome)
            if self._event is not None:
                try:
                    self._event.set()
                except WSAError:  # its owner has closed it: there is nobody to tell
                    pass

    def take(self, event: Event | None) -> WSANETWORKEVENTS:
        """The record, which begins anew; resets the event in the same step.

        Errors:
            WSAEINVAL: the event cannot be reset.  Nothing has changed then.
        """
        if event is not None:
            try:
                event.reset()
            except (WSAError, AttributeError):
                raise WSAError(
                    WsaErrorCode.WSAEINVAL, "WSPEnumNetworkEvents", "It is no open event."
                ) from None
        taken = self._record.take()
        if taken.lNetworkEvents & FD_CONNECT:
            self._outcome = None
        return taken
