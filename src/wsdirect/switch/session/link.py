"""A session's requests at its provider socket: receives in their order, sends, and RDMA.

Used under the session's lock.  Nothing here knows the protocol: `received` is what has arrived, in
order, and `send` takes a buffer that is filled.
"""

from __future__ import annotations

from collections import deque

from wsdirect.spi.constants import MEM_READ, MEM_WRITE
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.switch.session.buffers import Region
from wsdirect.switch.session.functions import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Final

    from wsdirect.spi.structures import WSAPROTOCOL_INFOW
    from wsdirect.switch.session.functions import Functions

__all__ = ["FOR_CONTROL", "SENDS", "Link"]

SENDS: Final = 14
"""Sends under way at a time; with two RDMA requests as many as every provider takes."""
FOR_CONTROL: Final = 2
"""Of their buffers, those that data leave alone."""

_E = WsaErrorCode


class Link:
    """The requests of one socket.

    Attributes:
        s: Its descriptor at the provider; -1 once it is closed.
        functions: Of the provider.
        sends: The region that messages are sent from.
        receives: The region that messages are received into.
        free: Buffers of `sends` that may be filled.
        wake: Somebody waits for the sends to finish.
    """

    __slots__ = (
        "_owner",
        "_posted",
        "_sent",
        "_transfers",
        "free",
        "functions",
        "receives",
        "s",
        "sends",
        "wake",
    )

    def __init__(
        self,
        functions: Functions,
        s: int,
        receives: int,
        size: int,
        owner: Callable[[], object],
    ) -> None:
        self.functions = functions
        self.s = s
        self._owner = owner
        self._posted: deque[Request] = deque()
        self._sent: deque[Request] = deque()
        self._transfers: list[tuple[Request, Callable[[], object]]] = []
        self.free = list(range(SENDS))
        self.wake = False
        self.sends = Region(functions, s, SENDS, size, MEM_READ)
        try:
            self.receives = Region(functions, s, receives, size, MEM_WRITE)
        except BaseException:
            self.sends.close()
            raise

    # --- receives -------------------------------------------------------------------------------

    def post(self, index: int) -> None:
        """Post a receive into one of the buffers.

        Errors:
            Those of WSPRecv.
        """
        request = Request(self._owner, index)
        self._posted.append(request)
        try:
            done = self.functions.provider.WSPRecv(
                self.s, (self.receives.buffer(index),), 0, request
            )
        except BaseException:
            self._posted.remove(request)
            raise
        if done is not None and request.in_progress:
            request.publish(done)

    def received(self) -> Iterator[tuple[int, memoryview]]:
        """The messages that have arrived, in their order: buffer and message.

        Errors:
            What a receive ended with.
        """
        posted = self._posted
        while posted and not posted[0].in_progress:
            request = posted.popleft()
            if request.OffsetHigh:
                raise WSAError(request.OffsetHigh, "WSPRecv")
            index = request.index
            yield index, self.receives.buffer(index)[: request.InternalHigh]

    # --- sends ----------------------------------------------------------------------------------

    def send(self, index: int, length: int) -> None:
        """Send the first bytes of a buffer that was taken from `free`.

        Errors:
            Those of WSPSend.
        """
        # Only a request that takes one of the last buffers has to wake somebody: for the others it
        # is soon enough to look when the next one is wanted.
        polled = len(self.free) > FOR_CONTROL and not self.wake
        request = Request(self._owner, index, polled=polled)
        self._sent.append(request)
        try:
            done = self.functions.provider.WSPSend(
                self.s, (self.sends.buffer(index)[:length],), 0, request
            )
        except BaseException:
            self._sent.remove(request)
            self.free.append(index)
            raise
        if done is not None and request.in_progress:
            request.publish(done)

    def reap(self) -> None:
        """Take back the buffers of sends that have finished.

        Errors:
            What a send ended with.
        """
        sent = self._sent
        while sent:
            request = sent[0]
            if request.in_progress and request.polled:
                self._poll(request)
            if request.in_progress:
                return
            sent.popleft()
            self.free.append(request.index)
            if request.OffsetHigh:
                raise WSAError(request.OffsetHigh, "WSPSend")

    @property
    def sending(self) -> bool:
        """Whether a send is under way."""
        return bool(self._sent)

    def _poll(self, request: Request) -> None:
        try:
            self.functions.provider.WSPGetOverlappedResult(self.s, request)
        except WSAError:
            if request.in_progress:
                raise

    # --- RDMA -----------------------------------------------------------------------------------

    def transfer(self, function: Any, done: Callable[[], object], *arguments: Any) -> None:
        """Start WSPRdmaRead or WSPRdmaWrite; `done` is called by `finish`.

        Errors:
            Those of the function.
        """
        request = Request(self._owner)
        self._transfers.append((request, done))
        try:
            moved = function(self.s, *arguments, 0, request)
        except BaseException:
            self._transfers.remove((request, done))
            raise
        if moved is not None and request.in_progress:
            request.publish(moved)

    def finish(self) -> None:
        """Tell of transfers that have finished.

        Errors:
            What one of them ended with.
        """
        for entry in list(self._transfers):
            request, done = entry
            if not request.in_progress:
                self._transfers.remove(entry)
                if request.OffsetHigh:
                    raise WSAError(request.OffsetHigh, "RDMA")
                done()

    # --- the end --------------------------------------------------------------------------------

    def give_away(self, process_id: int) -> WSAPROTOCOL_INFOW:
        """Offer the socket to another process; the receives that it had end with nothing.

        Errors:
            Those of WSPDuplicateSocket.
        """
        posted, self._posted = self._posted, deque()
        self.sends.close()
        try:
            return self.functions.provider.WSPDuplicateSocket(self.s, process_id)
        except BaseException:
            self._posted = posted
            self.sends.open()
            raise

    def close(self) -> None:
        """End the registrations and close the socket."""
        s = self.s
        if s == -1:
            return
        self.sends.close()
        self.receives.close()
        self.s = -1
        try:
            self.functions.provider.WSPCloseSocket(s)
        except WSAError:
            pass
