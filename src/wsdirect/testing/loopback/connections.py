"""A connection: its two ends, what passes between them, and how it ends.

Everything here runs under the engine's lock.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from wsdirect.providers.socket_table import State, Step
from wsdirect.spi.errors import WsaErrorCode
from wsdirect.testing.faults import Fault
from wsdirect.testing.loopback.limits import EARLY_MAX
from wsdirect.testing.loopback.requests import Request, gather, scatter

if TYPE_CHECKING:
    from wsdirect.testing.loopback.network import Network
    from wsdirect.testing.loopback.sockets import LoopbackSocket

__all__ = ["End", "join"]

_E = WsaErrorCode


class End:
    """One end of a connection.

    Attributes:
        peer: The other end.
        socket: The socket whose connection it is; None while it is handed over.
        receives: Receives that wait for messages, in order.
        early: Messages that wait for receives, in order.
        outgoing: Sends and RDMA transfers that were not carried out yet, in order.
        ended: Why it is over, a Winsock code; 0 if it is not.  Early messages are still there.
    """

    __slots__ = ("_network", "early", "ended", "outgoing", "peer", "receives", "socket")

    def __init__(self, network: Network, socket: LoopbackSocket) -> None:
        self._network = network
        self.peer = self
        self.socket: LoopbackSocket | None = socket
        self.receives: deque[Request] = deque()
        self.early: deque[bytes] = deque()
        self.outgoing: deque[Request] = deque()
        self.ended = 0

    # --- transfers --------------------------------------------------------------------------------

    def post(self, request: Request) -> None:
        """Begin a send or an RDMA transfer: it is carried out in its turn."""
        request.begin()
        self.outgoing.append(request)
        self._network.engine.submit(self.flow)

    def post_receive(self, request: Request) -> None:
        """Begin a receive."""
        request.begin()
        self.receives.append(request)
        self._network.engine.submit(self.serve)

    def flow(self) -> None:
        """Carry out what is outgoing, strictly in order, as far as the peer has room.

        So a message arrives after the RDMA that was posted before it (R-233, G-26).
        """
        while self.outgoing:
            fault = self._network.faults.breaking()
            if fault is not None:
                self.break_both(_E.WSAENETRESET if fault is Fault.KEEPALIVE else _E.WSAECONNABORTED)
                return
            request = self.outgoing[0]
            if not self._carry(request):
                return
            if self.outgoing:  # it did not break the connection
                self.outgoing.popleft()
                self._finish(request, 0, request.length)

    def _carry(self, request: Request) -> bool:
        """Carry out one request; False if it has to wait."""
        if request.remote is None:
            return self.peer.deliver(gather(request.parts))
        if request.reads:
            scatter(bytes(request.remote.view), request.parts)
        else:
            scatter(gather(request.parts), [request.remote])
        return True

    def deliver(self, message: bytes) -> bool:
        """Take a message from the peer; False if there is no room for it."""
        if not self.receives and len(self.early) >= EARLY_MAX:
            return False
        self.early.append(message)
        self._match()
        return True

    def serve(self) -> None:
        """A receive was posted: match it, and let the peer's sends follow."""
        self._match()
        self.peer.flow()

    def _match(self) -> None:
        """Give messages to receives, one to one and in order (R-155, R-158, R-159)."""
        while self.receives and self.early:
            receive, message = self.receives.popleft(), self.early.popleft()
            if len(message) > receive.length:
                # The rest could only be dropped, and then the connection would not be reliable.
                self._finish(receive, _E.WSAEMSGSIZE)
                self.break_both(_E.WSAECONNABORTED)
                return
            scatter(message, receive.parts)
            self._finish(receive, 0, len(message))
        if self.ended and not self.early:
            self._end(self.ended)

    # --- ends -------------------------------------------------------------------------------------

    def break_both(self, code: int) -> None:
        """The connection breaks, for both ends and at once."""
        for end in (self, self.peer):
            if not end.ended:
                end.early.clear()
                end._end(code)

    def peer_closed(self) -> None:
        """The peer has closed: what it had sent can still be received, nothing else works."""
        if self.ended:
            return
        self.ended = _E.WSAECONNRESET
        self._finish_all(self.outgoing, _E.WSAECONNRESET)
        if not self.early:
            self._end(_E.WSAECONNRESET)

    def _end(self, code: int) -> None:
        """It is over: every request ends with this code, now and later (R-244, G-17, G-18)."""
        self.ended = code
        if self.socket is not None and self.socket.state is State.CONNECTED:
            self.socket.error = code
            self.socket.step(Step.BREAK)
        self._finish_all(self.receives, code)
        self._finish_all(self.outgoing, code)

    def close(self) -> None:
        """Our socket is being closed: abort what runs here, and tell the peer (R-240, R-244)."""
        self._finish_all(self.receives, _E.WSA_OPERATION_ABORTED)
        self._finish_all(self.outgoing, _E.WSA_OPERATION_ABORTED)
        self.early.clear()
        self.ended = self.ended or _E.WSA_OPERATION_ABORTED
        self.peer.peer_closed()

    def flush(self) -> None:
        """End all receives with success and no bytes, as WSPDuplicateSocket does (R-251)."""
        self._finish_all(self.receives, 0)

    def _finish_all(self, requests: deque[Request], code: int) -> None:
        while requests:
            self._finish(requests.popleft(), code)

    def _finish(self, request: Request, error: int, count: int = 0) -> None:
        socket = self.socket
        assert socket is not None  # an end that is handed over has no requests
        request.finish(socket, self._network.upcalls, error, count)
        if socket.upcalls and socket.state is not State.CLOSED:  # who closes it makes them
            self._network.engine.announce(socket.upcalls)


def join(network: Network, one: LoopbackSocket, other: LoopbackSocket) -> None:
    """Connect two sockets."""
    one.end, other.end = End(network, one), End(network, other)
    one.end.peer, other.end.peer = other.end, one.end
    one.step(Step.ESTABLISH)
    other.step(Step.ESTABLISH)
