"""Binding, listening, accepting, connecting, names, shutting down."""

from __future__ import annotations

import errno
import threading

from wsdirect.reasons import Reason
from wsdirect.spi.constants import SD_BOTH, SD_RECEIVE, SD_SEND, SOMAXCONN, Condition
from wsdirect.spi.errors import WSAError, WsaErrorCode, from_oserror
from wsdirect.spi.structures import AcceptRequest
from wsdirect.switch import addresses
from wsdirect.switch.addresses import is_wildcard
from wsdirect.switch.upper import names
from wsdirect.switch.upper.core import Core
from wsdirect.switch.upper.endpoints import StreamEndpoint, TcpEndpoint
from wsdirect.switch.upper.options import carry, inherit
from wsdirect.switch.upper.paths import UpperListener, lead_to, may_wait, plain_lead
from wsdirect.switch.upper.progress import attempt, connect_error
from wsdirect.switch.upper.sockets import CLOSING, Socket
from wsdirect.switch.upper.tables import Ready, State, Step
from wsdirect.switch.upper.waiting import wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import Buffer

    from wsdirect.spi.structures import QOS, ConditionProc
    from wsdirect.switch.upper.paths import Arrival

__all__ = ["Connections"]

LARGEST_BACKLOG = 4096


class Connections(Core):
    """See `service_provider.SwitchProvider`."""

    def WSPBind(self, s: int, address: Any) -> None:
        """Give the socket a local address, at the TCP socket beneath.

        Args:
            s: Handle.
            address: (host, port), longer for IPv6, or the bytes of a sockaddr.

        Errors:
            WSAEFAULT: no address, or too short; looked at first.
            WSAEINVAL: bound already.
            WSAEAFNOSUPPORT: an address of another family.
            WSAEADDRINUSE, WSAEADDRNOTAVAIL, WSAEACCES: as TCP/IP says.

        Source: S:lpwspbind.
        """
        call = "WSPBind"
        sock = self._get(s, call)
        name = names.parse(address, sock.family, call)
        with sock.lock:
            sock.require(call)
            try:
                sock.tcp.bind(name)
            except OSError as error:
                raise from_oserror(error, call) from error
            sock.bound = True
            sock.step(Step.BIND)

    def WSPListen(self, s: int, backlog: int = SOMAXCONN) -> None:
        """Listen, on TCP and on the SAN; again to change the backlog.

        Source: S:lpwsplisten.
        """
        call = "WSPListen"
        sock = self._get(s, call)
        with sock.lock:
            sock.require(call)
            try:
                sock.tcp.listen(min(max(backlog, 1), LARGEST_BACKLOG))
            except OSError as error:
                raise from_oserror(error, call) from error
            if sock.listener is None:
                sock.listener = UpperListener(sock.tcp, sock.family, self.switched)
            sock.step(Step.LISTEN)
            self._serving.settle(sock)

    # --- accepting ------------------------------------------------------------------------------

    def WSPAccept(  # noqa: D102
        self,
        s: int,
        condition: ConditionProc | None = None,
        callback_data: Any = None,
        address_size: int | None = None,
    ) -> tuple[int, Any]:
        call = "WSPAccept"
        sock = self._get(s, call)
        if address_size is not None and address_size < names.SIZES[sock.family]:
            sock.require(call)
            raise WSAError.too_small(call, names.SIZES[sock.family])
        while True:
            with sock.lock:
                sock.require(call)
                sock.enable(call)
                assert sock.listener is not None
                arrival = None if sock.accepts else sock.listener.take()
                if arrival is None:
                    if sock.listener.starved:
                        raise WSAError(WsaErrorCode.WSAEMFILE, call)
                    self._serving.settle(sock)
                    if sock.nonblocking:
                        raise WSAError(WsaErrorCode.WSAEWOULDBLOCK, call)
            if arrival is not None:
                break
            wait_for(self._serving, {sock: Ready.WAITING}, _any_of_them, None)
            if sock.state is State.CLOSED:
                raise WSAError(WsaErrorCode.WSAEINTR, call, "Its socket was closed.")
        try:
            self._decide(sock, arrival, condition, callback_data)
            made = Socket(sock.family, None, sock.info)
            self._inherit(sock, made, arrival)
            accepted = self._add(made, call)
        except WSAError as error:
            self._undo(sock, arrival, error)
            raise
        except BaseException:
            arrival.refuse()
            raise
        finally:
            with sock.lock:
                self._serving.settle(sock)  # another one may be waiting
            sock.announcer.run()
        with made.lock:
            self._serving.settle(made)
        made.announcer.run()
        return accepted, arrival.peer

    def _inherit(self, sock: Socket, made: Socket, arrival: Arrival) -> None:
        inherit(sock, made)
        made.nonblocking = sock.nonblocking
        made.event, made.selected = sock.event, sock.selected
        self._adopt(made, arrival)
        carry(made)

    def _undo(self, sock: Socket, arrival: Arrival, error: WSAError) -> None:
        """No socket came of it: refuse the connection, or leave it for the next call."""
        stays = (WsaErrorCode.WSATRY_AGAIN, WsaErrorCode.WSAENOBUFS, WsaErrorCode.WSAEMFILE)
        with sock.lock:
            if error.winerror in stays and sock.state is State.LISTENING:
                assert sock.listener is not None
                sock.listener.put_back(arrival)
                return
        arrival.refuse()

    def _decide(
        self, sock: Socket, arrival: Arrival, condition: ConditionProc | None, data: Any
    ) -> None:
        """Ask the condition function.  No lock is held."""
        if condition is None:
            return
        request = AcceptRequest(arrival.peer, arrival.local, callback_data=data)
        answer = condition(request)
        if answer == Condition.CF_DEFER:
            raise WSAError(WsaErrorCode.WSATRY_AGAIN, "WSPAccept")
        if answer == Condition.CF_REJECT:
            raise WSAError(WsaErrorCode.WSAECONNREFUSED, "WSPAccept")
        if answer != Condition.CF_ACCEPT:
            hint = f"The condition function answered {answer!r}."
            raise WSAError(WsaErrorCode.WSAEINVAL, "WSPAccept", hint)

    # --- connecting -----------------------------------------------------------------------------

    def WSPConnect(
        self,
        s: int,
        address: Any,
        caller_data: Buffer | None = None,
        callee_data: bytearray | None = None,
        sqos: QOS | None = None,
        gqos: QOS | None = None,
    ) -> None:
        """Connect: over a SAN if both ends can, else over TCP/IP.

        A non-blocking socket always answers WSAEWOULDBLOCK; FD_CONNECT, WSPSelect and SO_ERROR
        tell the outcome.  After a failure the socket can be connected again.

        Args:
            s: Handle; need not be bound.
            address: (host, port), longer for IPv6, or the bytes of a sockaddr.
            caller_data: None: TCP carries no data with a connect.
            callee_data: None.
            sqos: None: there is no quality of service.
            gqos: None.

        Errors:
            WSAEWOULDBLOCK, WSAEALREADY, WSAEISCONN, WSAEINVAL: as in the state of the socket.
            WSAEPROTONOSUPPORT: data with the connect.
            WSAEOPNOTSUPP: quality of service.
            WSAECONNREFUSED, WSAETIMEDOUT, WSAEADDRNOTAVAIL and others: as TCP/IP says.

        Source: S:lpwspconnect.
        """
        call = "WSPConnect"
        sock = self._get(s, call)
        if sqos is not None or gqos is not None:
            raise WSAError(WsaErrorCode.WSAEOPNOTSUPP, call)
        if caller_data is not None and len(memoryview(caller_data)):
            raise WSAError(WsaErrorCode.WSAEPROTONOSUPPORT, call)
        with sock.lock:
            name = self._start_connect(sock, address, call)
            nonblocking = sock.nonblocking
        if nonblocking and may_wait(name, self.switched):
            self._connect_apart(sock, name)
            raise WSAError(WsaErrorCode.WSAEWOULDBLOCK, call)
        code = self._connect(sock, name)
        if nonblocking:
            # a refusal that came at once is told like one that takes its time
            if code in (0, WsaErrorCode.WSAEWOULDBLOCK, WsaErrorCode.WSAECONNREFUSED):
                code = WsaErrorCode.WSAEWOULDBLOCK
            raise WSAError(code, call)
        wait_for(self._serving, {sock: Ready.CONNECT}, _any_of_them, None)
        if sock.state is State.CLOSED:
            raise WSAError(WsaErrorCode.WSAEINTR, call, "Its socket was closed.")
        if sock.outcome:
            raise WSAError(sock.outcome, call)

    def _start_connect(
        self, sock: Socket, address: Any, call: str, rules: str | None = None
    ) -> tuple[Any, ...]:
        """Check, and begin: the address.  The lock is held."""
        sock.require(rules or call, call)
        name = names.parse(address, sock.family, call)
        if name[1] == 0 or is_wildcard(name[0]):
            raise WSAError(WsaErrorCode.WSAEADDRNOTAVAIL, call)
        sock.enable("WSPConnect")
        sock.outcome = None
        sock.step(Step.CONNECT)
        return name

    def _connect_apart(self, sock: Socket, name: tuple[Any, ...]) -> None:
        """The same in a thread of its own: the peer may have to be waited for."""
        threading.Thread(
            target=self._connect, args=(sock, name), name="wsdirect-connect", daemon=True
        ).start()

    def _connect(self, sock: Socket, name: tuple[Any, ...]) -> int:
        """Connect, or begin to: 0, WSAEWOULDBLOCK or the error.  No lock is held."""
        found: Any
        try:
            found = lead_to(sock, name, self.switched)
        except OSError as error:  # no port was free
            found = from_oserror(error)
        with sock.lock:
            if sock.state is State.CONNECTING:
                code = self._connected(sock, name, found)
                self._serving.settle(sock)
            else:  # closed meanwhile
                code = WsaErrorCode.WSAEINTR
                if isinstance(found, tuple):
                    found[1].hide()
                    found[0].close(True)
                    found[1].end()
        sock.announcer.run()
        return code

    def _connected(self, sock: Socket, name: tuple[Any, ...], found: Any) -> int:
        """Go on with what the SAN said.  The lock is held."""
        if isinstance(found, WSAError):
            self._serving.connect_failed(sock, found.winerror)
            return found.winerror
        if not isinstance(found, Reason):
            endpoint, sock.lead = found
            self._serving.established(sock, endpoint)
            carry(sock)
            return 0
        number = sock.tcp.connect_ex(name)
        if number == errno.ECONNABORTED:  # how the kernel tells of an earlier connect's end
            number = sock.tcp.connect_ex(name)
        if number not in (0, errno.EINPROGRESS):
            code = connect_error(number)
            self._serving.connect_failed(sock, code)
            return code
        sock.lead = plain_lead("connect", sock.tcp, name, found)
        if number == 0:
            self._serving.established(sock, TcpEndpoint(sock.tcp))
            return 0
        sock.tcp_connecting = True
        return WsaErrorCode.WSAEWOULDBLOCK

    # --- names ----------------------------------------------------------------------------------

    def WSPGetSockName(self, s: int) -> Any:  # noqa: D102
        call = "WSPGetSockName"
        sock = self._get(s, call)
        with sock.lock:
            sock.require(call)
            if isinstance(sock.endpoint, StreamEndpoint) and sock.lead is not None:
                assert sock.lead.local is not None
                return addresses.shown(sock.family, sock.lead.local)
            try:
                return sock.tcp.getsockname()
            except OSError as error:
                raise from_oserror(error, call) from error

    def WSPGetPeerName(self, s: int) -> Any:  # noqa: D102
        call = "WSPGetPeerName"
        sock = self._get(s, call)
        with sock.lock:
            sock.require(call)
            if sock.lead is None:
                raise WSAError(WsaErrorCode.WSAENOTCONN, call)
            return addresses.shown(sock.family, sock.lead.peer)

    # --- the ends of a connection ---------------------------------------------------------------

    def WSPShutdown(self, s: int, how: int) -> None:
        """End sending, receiving or both.

        What is queued to be sent goes first.  Pending receives stay pending, even after
        SD_RECEIVE; new ones are refused.

        Errors:
            WSAENOTCONN: not connected; looked at first.
            WSAEINVAL: how is none of the three.

        Source: S:lpwspshutdown.
        """
        call = "WSPShutdown"
        sock = self._get(s, call)
        with sock.lock:
            sock.require(call)
            if how not in (SD_RECEIVE, SD_SEND, SD_BOTH):
                raise WSAError(WsaErrorCode.WSAEINVAL, call)
            if how != SD_SEND:
                sock.receive_ended = True
            if how != SD_RECEIVE:
                self._end_sending(sock)
            self._serving.settle(sock)
        sock.announcer.run()

    def _end_sending(self, sock: Socket) -> None:
        if sock.send_ended or sock.state is not State.CONNECTED:
            return
        sock.send_ended = True
        if sock.sends:
            sock.end_wanted = True
            return
        try:
            attempt(sock, "end_sending")
        except OSError:
            pass  # broken: the next call tells

    def WSPSendDisconnect(self, s: int, data: Buffer | None = None) -> None:
        """As WSPShutdown(SD_SEND).

        Errors:
            WSAEOPNOTSUPP: data were given: TCP carries none.
        """
        call = "WSPSendDisconnect"
        self._get(s, call)
        if data is not None and len(memoryview(data)):
            raise WSAError(WsaErrorCode.WSAEOPNOTSUPP, call)
        self.WSPShutdown(s, SD_SEND)

    def WSPRecvDisconnect(self, s: int) -> bytes:
        """As WSPShutdown(SD_RECEIVE); there are never data."""
        self.WSPShutdown(s, SD_RECEIVE)
        return b""

    def WSPJoinLeaf(self, s: int, address: Any, *arguments: Any) -> int:
        """WSAEOPNOTSUPP: there is no multipoint."""
        self._get(s, "WSPJoinLeaf")
        raise WSAError(WsaErrorCode.WSAEOPNOTSUPP, "WSPJoinLeaf")


def _any_of_them(now: dict[Socket, int]) -> bool:
    """For waits on one socket, whose bits are few: whatever woke it up."""
    return any(bits == CLOSING or bits & (Ready.WAITING | Ready.CONNECT) for bits in now.values())
