"""The active side: a connecting TCP socket becomes a switched connection, or does not.

The SAN attempt comes first and costs one connect to a name that exists or does not; whoever has no
switched listener there is refused at once and the socket, untouched, goes on to TCP.
"""

from __future__ import annotations

import _socket
import os
import sys

from wsdirect import reasons, settings
from wsdirect.locality import is_at_home, is_local, source_for
from wsdirect.reasons import Reason
from wsdirect.spi.whereabouts import may_reach
from wsdirect.switch import addresses, policy
from wsdirect.switch.connection import Connection, is_untouched, move_descriptor
from wsdirect.switch.options import carried, only_v6
from wsdirect.switch.ports import Lease, pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wsdirect.switch.addresses import Endpoint
    from wsdirect.switch.reaching import Reached
    from wsdirect.switch.routes import Route

_fileno = _socket.socket.fileno  # not the class's own: that tells of code that we do not see
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
        return reasons.LINK_LOCAL
    if addresses.is_wildcard(endpoint[0]):  # the kernel, too, takes it for this host
        endpoint = ("::1" if endpoint[0] == "::" else "127.0.0.1"), endpoint[1]
    no = policy.objection_to(endpoint)
    if no is not None:
        return no
    if not is_at_home(sock):
        return reasons.OTHER_NAMESPACE
    if not is_local(endpoint[0]):
        return reasons.REMOTE_PEER
    if not _found_somebody(endpoint):
        return reasons.NO_LISTENER
    from wsdirect.switch.routes import route_to  # loads the providers

    route = route_to(endpoint[0])
    if isinstance(route, Reason):
        return route
    if not is_untouched(_fileno(sock)):
        no = policy.objection_to_options(sock)
        if no is not None:
            return no
    if ":" in sockaddr[0] and ":" not in endpoint[0] and only_v6(sock):
        return reasons.UNSUPPORTED_OPTION  # TCP has an error for it
    return _connect(sock, route, endpoint)


_found = False


def _found_somebody(endpoint: Endpoint) -> bool:
    """Whether to try; until somebody is found once, without loading what it takes to try."""
    global _found
    if not _found:
        now = settings.current()
        # where all connections are sessions, listeners have other names
        loaded = "wsdirect.switch.routes" in sys.modules or now.session == "always"
        _found = loaded or may_reach(now.providers, *endpoint)
    return _found


def _local_name(sock: Any, endpoint: Endpoint) -> tuple[Endpoint, Lease | None]:
    """The name that TCP would give the socket: its own if it is bound, else a pooled port."""
    bound = addresses.endpoint_of(_socket.socket.getsockname(sock))
    if bound is not None and bound[1] != 0:
        host = bound[0] if not addresses.is_wildcard(bound[0]) else source_for(endpoint[0])
        return (host, bound[1]), None
    lease = pool.lease(source_for(endpoint[0]), endpoint)
    return (lease.host, lease.port), lease


def _connect(sock: Any, route: Route, endpoint: Endpoint) -> Reason:
    from wsdirect.switch.reaching import reach

    local, lease = _local_name(sock, endpoint)
    reached = reach(route, local, endpoint, lease, early=True)
    if isinstance(reached, Reason):
        return reached
    _adopt(sock, route, reached, local, endpoint, lease)
    reached.confirm()
    return reasons.SWITCHED


def _adopt(
    sock: Any,
    route: Route,
    reached: Reached,
    local: Endpoint,
    endpoint: Endpoint,
    lease: Lease | None,
) -> None:
    """Put the stream's bell in the place of the TCP socket."""
    stream = reached.stream
    fd = _fileno(sock)
    options = {} if is_untouched(fd) else carried(sock)
    connection = Connection(
        stream,
        family=addresses.family_number(sock),
        role="connect",
        provider=route.name,
        local=local,
        peer=endpoint,
        options=options,
        lease=lease,
        peer_pid=reached.peer_pid,
    )
    if lease is None:
        # bound by the program: the bound socket lives on, or another could take its port
        connection.companion = os.dup(fd)
    move_descriptor(stream.fd, fd)
    stream.fd = fd
    stream.strict = settings.current().strict
    connection.bind(fd)
