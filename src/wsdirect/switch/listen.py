"""The passive side: a listening TCP socket that also accepts switched connections.

The TCP listener stays what it is.  Beside it this process listens on the SAN, from the moment the
program really accepts through the front (its first accept() or its registration with a poller): a
SAN listener that nobody accepts on would hold clients up, which is worse than TCP.

Until then there is an early listener.  Clients that find no other one leave their offers there, and
go to TCP with them after a moment; the first accept brings those in that have come so far.
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import time
from collections import deque

from wsdirect import reasons, settings, status
from wsdirect.locality import is_at_home
from wsdirect.spi.constants import IPPROTO_TCP, SOCK_STREAM, SOL_SOCKET, Condition
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.native import IPPROTO_IPV6, IPV6_V6ONLY, SO_EARLY, SO_NATIVE_STREAM
from wsdirect.switch import addresses, policy
from wsdirect.switch.connection import (
    Connection,
    connections,
    forget,
    note_plain,
    plain,
)
from wsdirect.switch.listening import held, listeners, unblocked
from wsdirect.switch.options import carried, only_v6
from wsdirect.switch.routes import Route, listening_route
from wsdirect.switch.ungrafted import poll
from wsdirect.telling import tell, tell_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wsdirect.reasons import Reason
    from wsdirect.spi.structures import AcceptRequest
    from wsdirect.switch.addresses import Endpoint
    from wsdirect.switch.session.accepting import Acceptor

FAIR = 8  # one in so many accepts looks first for the kind of connection that did not come last
BACKLOG = 1024  # the TCP listener's own backlog is not to be read back

_accept = _socket.socket._accept  # type: ignore[attr-defined]


class Listener:
    """The SAN side of one TCP listener in this process."""

    __slots__ = (
        "_acceptor",
        "_body",
        "_options",
        "_take_next",
        "_tcp_last",
        "_turn",
        "_waiting",
        "family",
        "fd",
        "private",
        "route",
        "row",
        "san",
        "san_fd",
    )

    def __init__(self, fd: int, private: _socket.socket, route: Route, endpoint: Endpoint) -> None:
        self.fd = fd
        self.family: int = private.family
        self.private = (
            private  # our own view of the TCP listener: its time-out is not the program's
        )
        self.route = route
        self._tcp_last = False  # the kind of the connection that was accepted last
        self._turn = 0
        self._take_next: Callable[[], Any] | None = None  # where the provider has one
        self._body: tuple[Any, bytes] = (None, b"")  # of the latest connection's row, and for whom
        self._waiting: deque[tuple[Any, Endpoint, Endpoint, int | None]] = deque()
        self._acceptor: Acceptor | None = None  # where connections are sessions
        self._options: dict[tuple[int, int], bytes] | None = None
        self.san = -1  # the provider's descriptor of the SAN listener
        self.san_fd = -1  # polls readable when a switched connection may be waiting
        self._listen(endpoint, only_v6(private))
        self.row = status.page().open_row(
            fd=fd, role="listen", path=route.name, provider=route.name, local=endpoint
        )

    def _listen(self, endpoint: Endpoint, v6_alone: bool) -> None:
        native = self.route.native
        if native is None:
            self._listen_for_sessions(addresses.spi_family(endpoint[0]), endpoint, v6_alone)
            return
        self.san = _listening_socket(self.route, endpoint, v6_alone)
        self.san_fd = native.accept_fileno(self.san)
        if hasattr(native, "acceptor"):
            self._take_next = native.acceptor(self.san)

    def _listen_for_sessions(self, family: int, endpoint: Endpoint, v6_alone: bool) -> None:
        from wsdirect.switch.session.accepting import Acceptor

        functions = self.route.functions
        assert functions is not None
        self._acceptor = Acceptor(
            functions,
            self.route.info,
            family,
            endpoint,
            backlog=BACKLOG,
            patience=settings.current().offer_timeout,
            options=[(IPPROTO_IPV6, IPV6_V6ONLY, 1)] if v6_alone else (),
        )
        self.san_fd = self._acceptor.fileno()

    def options_changed(self) -> None:
        """The program set an option of the listener: read them anew for the next connection."""
        self._options = None

    def ready(self) -> bool:
        """Whether take() has a connection: pollers ask before they call the listener readable.

        A request may be withdrawn, or be none of ours; a program that polls and then accepts on a
        blocking socket must not wait for another.  So a request is accepted here, and kept.
        """
        if not self._waiting:
            arrived = self._arrived()
            if arrived is not None:
                self._waiting.append(arrived)
                held.add(self.fd)  # pollers ask until it is taken
        return bool(self._waiting)

    def streams(self) -> list[Any]:
        """Those of connections that were not taken yet."""
        return [stream for stream, _, _, _ in self._waiting]

    def relay_waiting(self) -> None:
        """Another program accepts on the listener from now on: bring it what was not taken yet."""
        from wsdirect.switch.relaying import relay

        while self._waiting:
            relay(self._waiting.popleft()[0], self.private.getsockname())

    @property
    def has_waiting(self) -> bool:
        """Whether ready() has found a connection that was not taken yet."""
        return bool(self._waiting)

    def take_over(self, san: int) -> None:
        """Bring in those who have come to the early listener."""
        while (arrived := self._arrived(san)) is not None:
            self._waiting.append(arrived)
            held.add(self.fd)

    def _arrived(self, san: int = -1) -> tuple[Any, Endpoint, Endpoint, int | None] | None:
        """The next good request, accepted: stream, local and peer's address, a session's peer.

        `san`: another SAN listener than this one's own.
        """
        if self._take_next is not None and san < 0:
            try:
                return self._take_next()  # type: ignore[no-any-return]
            except WSAError as error:
                if error.winerror == WsaErrorCode.WSAEWOULDBLOCK:
                    return None
                raise
        if self._acceptor is not None:
            return self._arrived_session(self._acceptor)
        provider, native = self.route.provider, self.route.native
        assert native is not None
        while True:
            callee: list[Endpoint] = []  # a wildcard listener learns which address was meant
            try:
                listening = self.san if san < 0 else san
                accepted, peer = provider.WSPAccept(listening, _accept_any, callee)
                stream = native.stream(accepted)
            except WSAError as error:
                if error.winerror == WsaErrorCode.WSAEWOULDBLOCK:
                    return None
                if error.winerror in (WsaErrorCode.WSAEMFILE, WsaErrorCode.WSAENOTSOCK):
                    raise
                continue  # that request came to nothing (withdrawn, foreign): the next one
            local = addresses.endpoint_of(callee[0]) or callee[0]
            return stream, local, addresses.endpoint_of(peer) or peer, None

    def _arrived_session(
        self, acceptor: Acceptor
    ) -> tuple[Any, Endpoint, Endpoint, int | None] | None:
        from wsdirect.switch.session import pump

        found = acceptor.take()
        if found is None:
            return None
        session, local, peer = found
        terms = session.engine.peer
        return (
            pump.attach(session),
            addresses.endpoint_of(local) or local,
            addresses.endpoint_of(peer) or peer,
            0 if terms is None else terms.process,
        )

    def take(self) -> tuple[int, tuple[Any, ...]] | None:
        """A waiting switched connection as (descriptor, peer's address), or None."""
        arrived = self._waiting.popleft() if self._waiting else self._arrived()
        if arrived is None:
            return None
        stream, local, peer, peer_pid = arrived
        if self._options is None:
            self._options = carried(self.private)
        fd: int = stream.fd
        if fd in connections or fd in plain:  # closed by code that we do not see
            forget(fd)
        connection = Connection(
            stream,
            family=self.family,
            role="accept",
            provider=self.route.name,
            local=local,
            peer=peer,
            options=dict(self._options),
            peer_pid=peer_pid,
            reason=reasons.SWITCHED if self._take_next is not None else None,
        )
        if self._take_next is None:
            os.set_blocking(fd, True)
        if settings.current().strict:
            stream.strict = True
        kind = (local, peer[0], connection.peer_pid, connection.reason)
        if self._body[0] != kind:
            self._body = kind, connection.body()
        connection.bind(fd, self._body[1])
        return fd, connection.shown_peer()

    def take_tcp(self) -> tuple[int, tuple[Any, ...]] | None:
        """A waiting TCP connection, without blocking, or None."""
        if os.get_blocking(self.fd):
            # Another process may take the connection that we were told of: never wait in accept.
            unblocked.add(self.fd)
            os.set_blocking(self.fd, False)
        try:
            fd, peer = _accept(self.private)
        except BlockingIOError:
            return None
        forget(fd)
        note_plain(fd, "accept", reasons.PEER_NOT_SWITCHED, peer=peer)
        return fd, peer

    def accept(self, timeout: float | None) -> tuple[int, tuple[Any, ...]]:
        """Wait for the next connection of either kind; errors as a socket's accept has them."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            # The kind that came last is likely to come again, yet neither can starve the other.
            self._turn = (self._turn + 1) % FAIR
            tcp_first = self._tcp_last is (self._turn != 0)
            for tcp in (tcp_first, not tcp_first):
                found = self.take_tcp() if tcp else self.take()
                if found is not None:
                    self._tcp_last = tcp
                    return found
            if timeout == 0:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError("timed out")
            poll(
                {self.fd: select.POLLIN, self.san_fd: select.POLLIN},
                None if left is None else max(1, int(left * 1000 + 0.999)),
            )
            if listeners.get(self.fd) is not self:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def close(self) -> None:
        """The program closes its listener: refuse what is queued here."""
        listeners.pop(self.fd, None)
        if self._acceptor is not None:
            self._acceptor.close()
        else:
            try:
                self.route.provider.WSPCloseSocket(self.san)
            except WSAError as error:
                tell_once("debug", f"closing a SAN listener: {error}")
        status.page().close_row(self.row)
        self._let_go()

    def abandon(self) -> None:
        """In a forked child: the listener is the parent's.

        The provider lets go of its side by itself.  It must not be called here: another thread may
        have held its locks when this one forked.
        """
        listeners.pop(self.fd, None)
        if self._acceptor is not None:
            self._acceptor.close()
        status.page().forget_row(self.row)
        self._let_go()

    def _let_go(self) -> None:
        for stream, _, _, _ in self._waiting:
            stream.close(True)
            os.close(stream.fd)
        self._waiting.clear()
        self.private.detach()  # the descriptor is the program's


class Early:
    """The SAN side of a TCP listener before its first accept."""

    __slots__ = ("_route", "_san")

    def __init__(self, route: Route, san: int) -> None:
        self._route = route
        self._san = san

    def become(self, listener: Listener) -> None:
        """The first accept: whoever does not come here any more finds the listener."""
        native = self._route.native
        if listener.route is self._route and native is not None:
            native.accept_no_more(self._san)
            listener.take_over(self._san)
        self.close()

    def close(self) -> None:
        """Whoever has come goes to TCP."""
        try:
            self._route.provider.WSPCloseSocket(self._san)
        except WSAError as error:
            tell("debug", f"closing an early listener: {error}")


def _listening_socket(route: Route, endpoint: Endpoint, v6_alone: bool, early: bool = False) -> int:
    """A SAN listener; OSError as WSPListen raises it."""
    provider = route.provider
    family = addresses.spi_family(endpoint[0])
    s = provider.WSPSocket(family, SOCK_STREAM, IPPROTO_TCP, route.info)
    try:
        if v6_alone:
            provider.WSPSetSockOpt(s, IPPROTO_IPV6, IPV6_V6ONLY, 1)
        provider.WSPBind(s, endpoint)
        provider.WSPSetSockOpt(s, SOL_SOCKET, SO_NATIVE_STREAM, 1)
        if early:
            provider.WSPSetSockOpt(s, SOL_SOCKET, SO_EARLY, 1)
        provider.WSPListen(s, BACKLOG)
        provider.WSPEventSelect(s, None, 0)  # never wait in WSPAccept
    except BaseException:
        provider.WSPCloseSocket(s)
        raise
    return s


def _accept_any(request: AcceptRequest) -> int:
    request.callback_data.append(request.callee)
    return Condition.CF_ACCEPT


def prepare() -> None:
    """Start the provider that listeners will need."""
    listening_route()


def _place(private: _socket.socket) -> tuple[Route, Endpoint] | Reason | None:
    """Where to listen for a TCP listener; or why not, with None for what is no such listener."""
    if private.family not in (addresses.AF_INET, addresses.AF_INET6):
        return None
    if private.type != _socket.SOCK_STREAM or not private.getsockopt(
        _socket.SOL_SOCKET, _socket.SO_ACCEPTCONN
    ):
        return None
    endpoint = addresses.endpoint_of(private.getsockname())
    route = listening_route()
    if endpoint is None:
        return reasons.LINK_LOCAL
    if route is None:
        return reasons.PROVIDER_FAILED
    if not is_at_home(private):
        return reasons.OTHER_NAMESPACE
    no = policy.objection_to(endpoint) or policy.objection_to_options(private)
    return (route, endpoint) if no is None else no


def make(fd: int, private: _socket.socket) -> Listener | None:
    """The switched side of the TCP listener on `fd`, which `private` is our view of; None: no TCP.

    OSError when the provider cannot listen.
    """
    place = _place(private)
    if not isinstance(place, tuple):
        if place is not None and fd not in plain:
            note_plain(fd, "listen", place, local=private.getsockname())
        return None
    if os.get_blocking(fd):
        unblocked.add(fd)
    private.settimeout(0.0)
    return Listener(fd, private, *place)


def make_early(private: _socket.socket) -> Early | None:
    """An early listener; None where there can be none, or where another process has it."""
    place = _place(private)
    if not isinstance(place, tuple) or place[0].native is None:
        return None
    try:
        return Early(place[0], _listening_socket(*place, only_v6(private), early=True))
    except OSError as error:
        tell("debug", f"no early listener on {place[1]}: {error}")
        return None
