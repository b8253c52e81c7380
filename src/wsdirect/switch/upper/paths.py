"""Which way a connection goes: over a SAN where both ends can, else over TCP.

The same rules, names and status rows as for programs that know nothing of the switch; only what
is made in the end is an `Endpoint` and not a descriptor.
"""

from __future__ import annotations

import _socket
import errno
import os
from collections import deque

from wsdirect import reasons, settings, status
from wsdirect._core import native
from wsdirect.locality import source_for
from wsdirect.reasons import Reason
from wsdirect.spi.constants import IPPROTO_TCP, SOCK_STREAM, SOL_SOCKET, Condition
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.native import IPPROTO_IPV6, IPV6_V6ONLY, SO_NATIVE_STREAM
from wsdirect.switch import addresses
from wsdirect.switch.options import only_v6
from wsdirect.switch.ports import Lease, pool
from wsdirect.switch.reaching import reach
from wsdirect.switch.routes import Route, listening_route, route_to
from wsdirect.switch.upper.endpoints import StreamEndpoint, TcpEndpoint, failure_code
from wsdirect.telling import tell_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wsdirect.spi.structures import AcceptRequest
    from wsdirect.switch.addresses import Endpoint as Name
    from wsdirect.switch.session.accepting import Acceptor
    from wsdirect.switch.upper.endpoints import Endpoint
    from wsdirect.switch.upper.sockets import Socket

__all__ = ["Arrival", "Lead", "UpperListener", "fall_back", "lead_to", "may_wait", "plain_lead"]

BACKLOG = 1024
_accept = _socket.socket._accept  # type: ignore[attr-defined]
_bell: bool | None = None


def objection() -> Reason | None:
    """Why nothing of this process can be switched, or None."""
    global _bell
    if native is None:
        return reasons.NO_CORE
    if _bell is None:
        _bell = native.bell_is_true()
    return None if _bell else reasons.BELL_UNTRUE


class Lead:
    """Names and status row of a connection; of a switched one its borrowed port, too."""

    __slots__ = ("_counting", "_row", "lease", "local", "peer", "peer_pid", "provider", "role")

    def __init__(self, role: str, local: Name | None, peer: Name, lease: Lease | None) -> None:
        self.role = role
        self.local = local
        self.peer = peer
        self.lease = lease
        self.provider = ""  # the SAN's, once it is shown
        self.peer_pid = 0
        self._row = -1
        self._counting: Any = None

    def show(
        self,
        fd: int,
        reason: Reason,
        provider: str = "",
        stream: Any = None,
        peer_pid: int | None = None,
    ) -> None:
        """Put the connection on the status page."""
        page = status.page()
        pid = peer_pid or 0
        if peer_pid is None and stream is not None and native is not None:
            pid = native.peer_pid(stream.fd)
        self.provider, self.peer_pid = provider, pid
        self._row = page.open_row(
            fd=fd, role=self.role, path=provider or "tcp", reason=reason.number,
            provider=provider, local=self.local, peer=self.peer, peer_pid=pid,
        )  # fmt: skip
        if stream is not None:
            self._counting = stream
            stream.count_into(page.traffic(self._row))

    def hide(self) -> None:
        """Take it off."""
        if self._row >= 0:
            if self._counting is not None:
                self._counting.count_alone()
                self._counting = None
            status.page().close_row(self._row)
            self._row = -1

    def end(self) -> None:
        """The connection is over."""
        self.hide()
        if self.lease is not None:
            pool.release(self.lease)
            self.lease = None


def plain_lead(role: str, sock: _socket.socket, peer: Any, reason: Reason) -> Lead:
    """For a TCP connection."""
    lead = Lead(role, None, peer[:2], None)
    lead.show(sock.fileno(), reason)
    return lead


# -- connecting ------------------------------------------------------------------------------------


def _names(sock: Socket, peer: Name) -> tuple[Name, Lease | None]:
    """The local name that TCP would give: the socket's own, or a pooled port."""
    if sock.bound:
        bound = addresses.endpoint_of(sock.tcp.getsockname())
        if bound is not None:
            any_of_them = addresses.is_wildcard(bound[0])
            return (source_for(peer[0]) if any_of_them else bound[0], bound[1]), None
    lease = pool.lease(source_for(peer[0]), peer)
    return (lease.host, lease.port), lease


def lead_to(sock: Socket, sockaddr: tuple[Any, ...], allowed: bool) -> tuple[Any, Lead] | Reason:
    """Connect over a SAN: the endpoint with its lead, or why it has to be TCP."""
    if not allowed:
        return reasons.SWITCHED_OFF
    no = objection()
    if no is not None:
        return no
    peer = addresses.endpoint_of(sockaddr)
    if peer is None:
        return reasons.REMOTE_PEER
    if settings.current().excluded(*peer):
        return reasons.EXCLUDED
    route = route_to(peer[0])
    if isinstance(route, Reason):
        return route
    local, lease = _names(sock, peer)
    reached = reach(route, local, peer, lease)
    if isinstance(reached, Reason):
        return reached
    stream = reached.stream
    lead = Lead("connect", local, peer, lease)
    lead.show(stream.fd, reasons.SWITCHED, route.name, stream, reached.peer_pid)
    reached.confirm()
    return StreamEndpoint(stream), lead


def may_wait(sockaddr: tuple[Any, ...], allowed: bool) -> bool:
    """Whether `lead_to` may wait for an answer of the peer: sessions agree on their terms first."""
    peer = addresses.endpoint_of(sockaddr) if allowed and objection() is None else None
    route = None if peer is None else route_to(peer[0])
    return isinstance(route, Route) and route.native is None


def fall_back(sock: Socket) -> None:
    """Nobody took the offer: what was sent goes out again over TCP.  The socket's lock is held."""
    endpoint, lead = sock.endpoint, sock.lead
    assert isinstance(endpoint, StreamEndpoint)
    assert lead is not None
    stream = endpoint.stream
    if not stream.revoke():
        return  # taken at the last moment
    data, urgent, ended = stream.pending_out(), stream.urgent_out(), stream.write_ended
    lead.hide()
    sock.polled.pop(stream.fd, None)  # its poller forgets it with its descriptor
    endpoint.close(True, sock.wait_out)
    if lead.lease is not None:
        own = pool.withdraw(lead.lease)
        lead.lease = None
        if own >= 0:
            sock.tcp.close()
            sock.tcp = _socket.socket(addresses.family_of(lead.peer[0]), SOCK_STREAM, 0, own)
    sock.endpoint = tcp = TcpEndpoint(sock.tcp, data, ended, urgent)
    tcp.connecting()
    number = sock.tcp.connect_ex(addresses.shown(sock.tcp.family, lead.peer))
    if number not in (0, errno.EINPROGRESS):
        tcp.failure = failure_code(number)
    lead.show(sock.tcp.fileno(), reasons.REFUSED_BY_PEER)
    tell_once("info", f"connection to {lead.peer[0]} port {lead.peer[1]} moved to TCP")


# -- listening -------------------------------------------------------------------------------------


class Arrival:
    """A connection that was taken from the network, and not yet by the program."""

    __slots__ = ("endpoint", "lead", "local", "peer")

    def __init__(self, endpoint: Endpoint, local: Any, peer: Any, lead: Lead) -> None:
        self.endpoint = endpoint
        self.local = local
        self.peer = peer
        self.lead = lead

    def refuse(self) -> None:
        """Reset it."""
        self.lead.end()
        self.endpoint.close(True)


class UpperListener:
    """A listening socket's two sources of connections.  Used with the socket's lock held."""

    __slots__ = (
        "_acceptor",
        "_arrived",
        "_route",
        "_row",
        "_san",
        "_tcp",
        "_turn",
        "family",
        "san_fd",
        "starved",
    )

    def __init__(self, tcp: _socket.socket, family: int, switched: bool) -> None:
        self._tcp = tcp
        self.family = family
        tcp.settimeout(0.0)
        self._arrived: deque[Arrival] = deque()
        self._turn = False
        self.starved = False  # there was no descriptor for the next one, which stays queued
        self._route: Route | None = None
        self._san = -1
        self._acceptor: Acceptor | None = None  # where connections are sessions
        self.san_fd = -1
        self._row = -1
        name = addresses.endpoint_of(tcp.getsockname())
        wanted = switched and name is not None and objection() is None
        if wanted and name is not None and not settings.current().excluded(*name):
            try:
                self._listen(name)
            except (OSError, ValueError) as error:
                tell_once("info", f"a listener accepts TCP only: {error}")
        self._row = status.page().open_row(
            fd=tcp.fileno(),
            role="listen",
            path=self.provider_name or "tcp",
            provider=self.provider_name,
            local=name,
        )

    @property
    def provider_name(self) -> str:
        """Of the SAN that it listens on, too; empty if there is none."""
        return self._route.name if self._route is not None else ""

    def _listen(self, name: Name) -> None:
        route = listening_route()
        if route is None:
            return
        if route.native is None:
            self._listen_for_sessions(route, name)
            return
        provider = route.provider
        s = provider.WSPSocket(addresses.spi_family(name[0]), SOCK_STREAM, IPPROTO_TCP, route.info)
        try:
            if only_v6(self._tcp):
                provider.WSPSetSockOpt(s, IPPROTO_IPV6, IPV6_V6ONLY, 1)
            provider.WSPBind(s, name)
            provider.WSPSetSockOpt(s, SOL_SOCKET, SO_NATIVE_STREAM, 1)
            provider.WSPListen(s, BACKLOG)
            provider.WSPEventSelect(s, None, 0)  # never wait in WSPAccept
            self.san_fd = route.native.accept_fileno(s)
        except BaseException:
            provider.WSPCloseSocket(s)
            raise
        self._san, self._route = s, route

    def _listen_for_sessions(self, route: Route, name: Name) -> None:
        from wsdirect.switch.session.accepting import Acceptor

        assert route.functions is not None
        self._acceptor = Acceptor(
            route.functions,
            route.info,
            addresses.spi_family(name[0]),
            name,
            backlog=BACKLOG,
            patience=settings.current().offer_timeout,
            options=[(IPPROTO_IPV6, IPV6_V6ONLY, 1)] if only_v6(self._tcp) else (),
        )
        self.san_fd = self._acceptor.fileno()
        self._route = route

    def descriptors(self) -> list[int]:
        """What polls readable when a connection may be waiting."""
        found = [self._tcp.fileno()]
        if self.san_fd >= 0:
            found.append(self.san_fd)
        return found

    def waiting(self) -> bool:
        """Whether there is a connection.

        A request may be withdrawn or come to nothing, so only one that was taken counts.
        """
        if not self._arrived:
            arrival = self._next()
            if arrival is not None:
                self._arrived.append(arrival)
        return bool(self._arrived)

    def take(self) -> Arrival | None:
        """The next connection."""
        return self._arrived.popleft() if self.waiting() else None

    def put_back(self, arrival: Arrival) -> None:
        """It stays the next one."""
        self._arrived.appendleft(arrival)

    def _next(self) -> Arrival | None:
        self._turn = not self._turn  # neither kind can starve the other
        first, second = (
            (self._switched, self._plain) if self._turn else (self._plain, self._switched)
        )
        return first() or second()

    def _plain(self) -> Arrival | None:
        try:
            fd, peer = _accept(self._tcp)
        except OSError as error:  # mostly: nobody is there
            self.starved = error.errno in (errno.EMFILE, errno.ENFILE)
            return None
        self.starved = False
        sock = _socket.socket(self.family, SOCK_STREAM, 0, fd)
        os.set_inheritable(fd, False)
        lead = plain_lead("accept", sock, peer, reasons.PEER_NOT_SWITCHED)
        return Arrival(TcpEndpoint(sock), sock.getsockname(), peer, lead)

    def _switched(self) -> Arrival | None:
        route = self._route
        if route is None:
            return None
        if self._acceptor is not None:
            return self._session(route, self._acceptor)
        assert route.native is not None
        while True:
            callee: list[Any] = []  # a wildcard listener learns which address was meant
            try:
                s, peer = route.provider.WSPAccept(self._san, _accept_any, callee)
                stream = route.native.stream(s)
            except WSAError as error:
                if error.winerror in (
                    WsaErrorCode.WSAEWOULDBLOCK,
                    WsaErrorCode.WSAEMFILE,
                    WsaErrorCode.WSAENOTSOCK,
                ):
                    return None
                continue  # that request came to nothing: the next one
            return self._arrival(route, stream, callee[0], peer, None)

    def _session(self, route: Route, acceptor: Acceptor) -> Arrival | None:
        from wsdirect.switch.session import pump

        found = acceptor.take()
        if found is None:
            return None
        session, local, peer = found
        terms = session.engine.peer
        pid = 0 if terms is None else terms.process
        return self._arrival(route, pump.attach(session), local, peer, pid)

    def _arrival(
        self, route: Route, stream: Any, local: Any, peer: Any, peer_pid: int | None
    ) -> Arrival:
        local = addresses.endpoint_of(local) or local
        peer = addresses.endpoint_of(peer) or peer
        lead = Lead("accept", local, peer, None)
        lead.show(stream.fd, reasons.SWITCHED, route.name, stream, peer_pid)
        return Arrival(
            StreamEndpoint(stream),
            addresses.shown(self.family, local),
            addresses.shown(self.family, peer),
            lead,
        )

    def streams(self) -> list[Any]:
        """Those of connections that were not taken yet."""
        return [a.endpoint.stream for a in self._arrived if isinstance(a.endpoint, StreamEndpoint)]

    def close(self) -> None:
        """Refuse what is queued; the TCP socket is closed by its owner."""
        if self._acceptor is not None:
            self._acceptor.close()
        elif self._route is not None:
            try:
                self._route.provider.WSPCloseSocket(self._san)
            except WSAError as error:
                tell_once("debug", f"closing a SAN listener: {error}")
        while self._arrived:
            self._arrived.popleft().refuse()
        status.page().close_row(self._row)


def _accept_any(request: AcceptRequest) -> int:
    request.callback_data.append(request.callee)
    return Condition.CF_ACCEPT
