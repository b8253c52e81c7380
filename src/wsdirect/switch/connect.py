"""The active side: a connecting TCP socket becomes a switched connection, or does not.

The SAN attempt comes first and costs one connect to a name that exists or does not; whoever has no
switched listener there is refused at once and the socket, untouched, goes on to TCP.
"""

from __future__ import annotations

import _socket
import os

from wsdirect import reasons, settings
from wsdirect.reasons import Reason
from wsdirect.spi.constants import IPPROTO_TCP, SOCK_STREAM, SOL_SOCKET
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.native import SO_NATIVE_STREAM
from wsdirect.switch import addresses, policy
from wsdirect.switch.connection import Connection, fresh, move_descriptor
from wsdirect.switch.options import carried
from wsdirect.switch.ports import Lease, pool
from wsdirect.switch.routes import Route, route_to
from wsdirect.telling import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wsdirect.spi.native import NativeStream
    from wsdirect.switch.addresses import Endpoint
    from wsdirect.switch.session.session import Session

TCP_CLOSE = 7  # a socket that has neither connected nor listened


def is_fresh(sock: Any) -> bool:
    """Whether a TCP socket has not been connected, or tried to, yet."""
    info = _socket.socket.getsockopt(sock, _socket.IPPROTO_TCP, _socket.TCP_INFO, 1)
    return bool(info[0] == TCP_CLOSE)


def try_switch(sock: Any, sockaddr: tuple[Any, ...]) -> Reason:
    """Try to connect a fresh TCP socket over a SAN; SWITCHED, or why it goes on as it was.

    `sockaddr` has a numeric host.  The descriptor number stays; what it stands for changes.
    """
    no = policy.objection()
    if no is not None:
        return no
    endpoint = addresses.endpoint_of(sockaddr)
    if endpoint is None:
        return reasons.REMOTE_PEER
    if addresses.is_wildcard(endpoint[0]):  # the kernel, too, takes it for this host
        endpoint = ("::1" if endpoint[0] == "::" else "127.0.0.1"), endpoint[1]
    no = policy.objection_to(endpoint)
    if no is not None:
        return no
    route = route_to(endpoint[0])
    if isinstance(route, Reason):
        return route
    return _connect(sock, route, endpoint)


def _local_name(sock: Any, endpoint: Endpoint) -> tuple[Endpoint, Lease | None]:
    """The name that TCP would give the socket: its own if it is bound, else a pooled port."""
    bound = addresses.endpoint_of(_socket.socket.getsockname(sock))
    if bound is not None and bound[1] != 0:
        host = (
            bound[0] if not addresses.is_wildcard(bound[0]) else addresses.source_for(endpoint[0])
        )
        return (host, bound[1]), None
    lease = pool.lease(addresses.source_for(endpoint[0]), endpoint)
    return (lease.host, lease.port), lease


def _connect(sock: Any, route: Route, endpoint: Endpoint) -> Reason:
    local, lease = _local_name(sock, endpoint)
    peer_pid = session = None
    try:
        if route.native is not None:
            stream = _native_stream(route, route.native, local, endpoint)
        else:
            stream, session = _session_stream(route, local, endpoint)
            terms = session.engine.peer
            peer_pid = 0 if terms is None else terms.process
    except OSError as error:
        if lease is not None:
            pool.release(lease)
        # a provider of ours says why in the switch's terms; of others, the code must do
        reason: Reason = getattr(error, "reason", None) or reasons.PROVIDER_FAILED
        if route.native is None and isinstance(error, WSAError):
            reason = _REASONS.get(error.winerror, reason)
        tell("debug", f"connect to {endpoint[0]} port {endpoint[1]} stays on TCP: {error}")
        return reason
    _adopt(sock, route, stream, local, endpoint, lease, peer_pid)
    if session is not None:
        session.confirm()  # now, not before: whoever accepts may rely on our being connected
    return reasons.SWITCHED


_REASONS: dict[int, Reason] = {
    WsaErrorCode.WSAECONNREFUSED: reasons.REFUSED_BY_PEER,
    WsaErrorCode.WSAECONNRESET: reasons.NO_LISTENER,
    WsaErrorCode.WSAETIMEDOUT: reasons.NO_LISTENER,
    WsaErrorCode.WSAENOBUFS: reasons.OUT_OF_SLOTS,
}
"""What the end of a WSPConnect for messages means."""


def _native_stream(route: Route, native: NativeStream, local: Endpoint, endpoint: Endpoint) -> Any:
    """A byte stream of the provider's own."""
    provider = route.provider
    descriptor = -1
    try:
        family = addresses.spi_family(endpoint[0])
        descriptor = provider.WSPSocket(family, SOCK_STREAM, IPPROTO_TCP, route.info)
        provider.WSPBind(descriptor, local)
        provider.WSPSetSockOpt(descriptor, SOL_SOCKET, SO_NATIVE_STREAM, 1)
        provider.WSPConnect(descriptor, endpoint)
        return native.stream(descriptor)
    except WSAError as error:
        if descriptor >= 0 and error.winerror != WsaErrorCode.WSAENOTSOCK:
            provider.WSPCloseSocket(descriptor)
        raise


def _session_stream(route: Route, local: Endpoint, endpoint: Endpoint) -> tuple[Any, Session]:
    """A byte stream over a session, and the session, which is to be confirmed."""
    from wsdirect.switch.session import connecting, pump

    assert route.functions is not None
    session = connecting.connect(
        route.functions,
        route.info,
        addresses.spi_family(endpoint[0]),
        local,
        endpoint,
        settings.current().offer_timeout,
        confirm=False,
    )
    return pump.attach(session), session


def _adopt(
    sock: Any,
    route: Route,
    stream: Any,
    local: Endpoint,
    endpoint: Endpoint,
    lease: Lease | None,
    peer_pid: int | None,
) -> None:
    """Put the stream's bell in the place of the TCP socket."""
    fd = sock.fileno()
    options = {} if fd in fresh else carried(sock)
    connection = Connection(
        stream,
        family=addresses.family_number(sock),
        role="connect",
        provider=route.name,
        local=local,
        peer=endpoint,
        options=options,
        lease=lease,
        peer_pid=peer_pid,
    )
    if lease is None:
        # bound by the program: the bound socket lives on, or another could take its port
        connection.companion = os.dup(fd)
    move_descriptor(stream.fd, fd)
    stream.fd = fd
    stream.strict = settings.current().strict
    connection.bind(fd)
