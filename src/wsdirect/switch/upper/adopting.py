"""Kernel sockets that a program has made already, as sockets of this interface.

For callers whose sockets come from elsewhere, such as an event loop.  A connection that no SAN
carries is left, or handed back, to the kernel's own calls: this is about what is switched.
"""

from __future__ import annotations

import _socket

from wsdirect import reasons
from wsdirect.reasons import Reason
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.switch import policy
from wsdirect.switch.upper.core import Core
from wsdirect.switch.upper.endpoints import TcpEndpoint
from wsdirect.switch.upper.names import parse
from wsdirect.switch.upper.options import carry, inherit
from wsdirect.switch.upper.paths import UpperListener, lead_to
from wsdirect.switch.upper.progress import attempt
from wsdirect.switch.upper.service_provider import SwitchProvider
from wsdirect.switch.upper.sockets import Request, Socket, begin
from wsdirect.switch.upper.tables import State, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wsdirect.spi.overlapped import WSAOVERLAPPED
    from wsdirect.switch.upper.paths import Arrival
    from wsdirect.switch.upper.progress import Serving

__all__ = ["AdoptingProvider", "Arriving"]

LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # what the kernel connects to instead


class Arriving(Request):
    """Waits until there is a connection to take."""

    __slots__ = ("listener",)
    needs_descriptor = True

    def __init__(self, handle: int, listener: Socket, overlapped: WSAOVERLAPPED) -> None:
        super().__init__(handle, overlapped)
        self.listener = listener

    def give(self, serving: Serving, arrival: Arrival) -> None:
        """It has come, and stays the next one.  The listener's lock is held."""
        assert self.listener.listener is not None
        self.listener.listener.put_back(arrival)
        serving.end(self.listener, self)

    def abandon(self) -> None:
        """The request ends without one."""


class AdoptingProvider(SwitchProvider):
    """SwitchProvider with functions for sockets that it did not make."""

    def connect_adopted(self, tcp: _socket.socket, address: Any) -> int | Reason:
        """Connect over a SAN, with a kernel socket in the companion's place.

        May wait for the peer if the connection is a session (see `paths.may_wait`).

        Args:
            tcp: Neither connected nor connecting; it may be bound.  This provider's if it succeeds,
                else untouched.
            address: With a numeric host.

        Returns:
            The handle, connected; or why it has to be TCP, and the socket's own connect says more.
        """
        family = int(tcp.family)
        try:
            name = parse(address, family, "WSPConnect")
        except WSAError:
            return reasons.REMOTE_PEER  # nothing that a SAN could reach
        if name[1] == 0:
            return reasons.REMOTE_PEER
        no = policy.objection_to_options(tcp)
        if no is not None:
            return no
        name = (LOOPBACK.get(name[0], name[0]), *name[1:])
        sock = Socket(family, tcp, self._info(family))
        sock.bound = bool(tcp.getsockname()[1])
        sock.nonblocking = True
        try:
            found = lead_to(sock, name, self.switched)
        except WSAError:
            return reasons.REMOTE_PEER  # TCP's own connect tells what is wrong
        if isinstance(found, Reason):
            return found
        endpoint, sock.lead = found
        tcp.settimeout(0.0)
        with sock.lock:
            sock.step(Step.CONNECT)
            self._serving.established(sock, endpoint)
        return self._add(sock, "WSPConnect")

    def listen_adopted(self, tcp: _socket.socket) -> int | None:
        """Listen on a SAN, too, beside a kernel socket that listens.

        Args:
            tcp: It listens.  This provider's if it succeeds, else untouched.

        Returns:
            The handle; None if no SAN listens.
        """
        family = int(tcp.family)
        timeout = tcp.gettimeout()
        listener = UpperListener(tcp, family, self.switched)
        if listener.san_fd < 0:
            listener.close()
            tcp.settimeout(timeout)
            return None
        sock = Socket(family, tcp, self._info(family))
        sock.bound = sock.nonblocking = True
        sock.step(Step.BIND)
        sock.step(Step.LISTEN)
        sock.listener = listener
        return self._add(sock, "WSPListen")

    def await_arrival(self, s: int, overlapped: WSAOVERLAPPED) -> bool:
        """Overlapped wait for a connection; `take_arrival` takes it, so cancelling loses none.

        Returns:
            True if there is one already, and the request was not begun.

        Errors:
            WSAENOTSOCK, WSAEINVAL: not a listener.  WSAEMFILE ends the request.
        """
        call = "AcceptEx"
        sock = self._get(s, call)
        with sock.lock:
            sock.require(call)
            assert sock.listener is not None
            if sock.listener.waiting():
                return True
            sock.queue(begin(Arriving(s, sock, overlapped)), sock.accepts)
            self._serving.settle(sock)
        sock.announcer.run()
        return False

    def take_arrival(self, s: int) -> Arrival | None:
        """The next connection, if there is one.

        Errors:
            WSAENOTSOCK, WSAEINVAL: not a listener.
            WSAEMFILE: there is one, but no descriptor for it.
        """
        call = "WSPAccept"
        sock = self._get(s, call)
        with sock.lock:
            sock.require(call)
            assert sock.listener is not None
            found = sock.listener.take()
            if found is None and sock.listener.starved:
                raise WSAError(WsaErrorCode.WSAEMFILE, call)
            return found

    def adopt_arrival(self, s: int, arrival: Arrival) -> int | _socket.socket:
        """What a connection becomes: a handle if it is switched, else the kernel's own socket."""
        endpoint = arrival.endpoint
        if isinstance(endpoint, TcpEndpoint):
            arrival.lead.hide()
            return endpoint.sock
        listener = self._get(s, "WSPAccept")
        sock = Socket(listener.family, None, listener.info)
        inherit(listener, sock)
        sock.nonblocking = True
        with sock.lock:
            self._adopt(sock, arrival)
            carry(sock)
        try:
            return self._add(sock, "WSPAccept")
        except BaseException:
            arrival.refuse()
            raise

    def move_here(self, other: Core, s: int) -> int:
        """Take a socket over from another provider of this process: its handle here.

        Errors:
            WSAENOTSOCK: the other one does not have it.
            WSAEINVAL: requests are pending there.
        """
        call = "WSPDuplicateSocket"
        sock = other._get(s, call)
        with sock.lock:
            if sock.receives or sock.sends or sock.urgents or sock.accepts or sock.waiters:
                raise WSAError(WsaErrorCode.WSAEINVAL, call, "It is in use elsewhere.")
            other._engine.leave(sock)
            with other._lock:
                other._sockets.pop(s, None)
                sock.handles.discard(s)
            made = self._add(sock, call)
            endpoint = sock.endpoint
            if endpoint is not None and endpoint.switched:
                self._serving._offered(sock, endpoint)  # type: ignore[arg-type]
        return made

    # --- data, for callers that are told when there are any -------------------------------------

    def receive_some(self, s: int, size: int) -> bytes | None:
        """What is there, at most `size` bytes; b"" at the end of the stream, None: not now.

        Errors:
            As WSPRecv.
        """
        found: bytes | None = self._receive(s, "take", size)
        return found

    def receive_into(self, s: int, view: memoryview) -> int | None:
        """The same into a buffer: bytes, 0 at the end of the stream."""
        found: int | None = self._receive(s, "receive", (view,), False)
        return found

    def _receive(self, s: int, name: str, *arguments: Any) -> Any:
        """A receiving method of the endpoint; None: not now."""
        sock = self._get(s, "WSPRecv")
        with sock.lock:
            sock.require("WSPRecv")
            if sock.receive_ended:
                raise WSAError(WsaErrorCode.WSAESHUTDOWN, "WSPRecv")
            try:
                return attempt(sock, name, *arguments)
            except BlockingIOError:
                return None

    def send_some(self, s: int, data: Any) -> int:
        """Send what fits now; how many bytes that is, 0 included.

        Errors:
            As WSPSend.
        """
        sock = self._get(s, "WSPSend")
        with sock.lock:
            sock.require("WSPSend")
            if sock.send_ended:
                raise WSAError(WsaErrorCode.WSAESHUTDOWN, "WSPSend")
            if sock.sends:
                return 0
            try:
                sent: int = attempt(sock, "send", (data,))
            except BlockingIOError:
                return 0
            return sent

    def await_data(self, s: int, overlapped: WSAOVERLAPPED) -> bool:
        """Overlapped receive of no bytes: it ends when a receive would not wait.

        Nothing is taken from the stream and no memory is lent, so it can be cancelled at any time.

        Returns:
            True if there are data (or the end, or an error) already, and the request was not begun.
        """
        sock = self._get(s, "WSPRecv")
        with sock.lock:
            if sock.state is not State.CONNECTED:
                return True
        return self.WSPRecv(s, (bytearray(),), 0, overlapped) is not None

    def watch(self, s: int, reader: Callable[[], object] | None) -> None:
        """Have a function called by the engine, again and again, while a receive would not wait.

        What `await_data` does once, for those who read all the time: nothing has to be begun and
        announced for every piece of data.

        Args:
            s: Handle of a connection.
            reader: Called without a lock, also if the reason is gone meanwhile; None: no more.
        """
        sock = self._get(s, "WSPRecv")
        with sock.lock:
            self._engine.forget(sock)
            sock.reader = reader
            self._serving.settle(sock)
        sock.announcer.run()

    def wait_kernel(self, s: int, room: bool) -> int:
        """A descriptor that polls readable (`room`: writable) once the socket can go on.

        For callers with a poller of their own: the descriptor is prepared for one wait.
        """
        sock = self._get(s, "WSPSelect")
        with sock.lock:
            if sock.endpoint is None:
                return int(sock.tcp.fileno())
            sock.endpoint.wish(room)
            return sock.endpoint.fileno()

    def leave_engine(self) -> None:
        """The engine ends; sockets stay as they are, for `move_here`."""
        for sock in set(self._sockets.values()):
            with sock.lock:
                self._engine.leave(sock)
