"""The active side: a connecting TCP socket becomes a switched connection, or does not.

The SAN attempt comes first and costs one connect to a name that exists or does not; whoever has no
switched listener there is refused at once and the socket, untouched, goes on to TCP.
"""

from __future__ import annotations

import _socket
import os
import sys
from time import monotonic

from wsdirect import reasons, settings
from wsdirect.locality import believed_until, is_at_home, is_local, source_for
from wsdirect.reasons import Reason
from wsdirect.spi.whereabouts import may_reach
from wsdirect.switch import addresses, policy
from wsdirect.switch.connection import Connection, is_untouched, move_descriptor
from wsdirect.switch.options import carried, only_v6
from wsdirect.switch.ports import Lease, pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
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


class Plan:
    """How to connect to an address once more, in the usual case.

    It holds while the settings do, and while the address is certainly one of this host.
    """

    __slots__ = (
        "_bodies",
        "_dial",
        "_family",
        "_host",
        "_peer",
        "_provider",
        "_settings",
        "_until",
    )

    def __init__(self, model: Connection, dial: Callable[[int, int], Any]) -> None:
        assert model.lease is not None
        self._dial = dial
        self._host = model.lease.host
        self._peer = model.peer
        self._family = model.family
        self._provider = model.provider
        self._bodies = {model.peer_pid: model.body()}  # by process: a server may have several
        self._settings = settings.current()
        self._until = believed_until(model.peer[0])

    def __call__(self, fd: int) -> bool:
        """Put a connection in the place of a fresh TCP socket whose options nobody has set.

        False: something is not as usual, and nothing has happened: try_switch() is to be asked.
        """
        now = settings.current()
        if now is not self._settings or not policy.switching or monotonic() > self._until:
            return False
        try:
            lease = pool.lease(self._host, self._peer)
        except OSError:
            return False
        dialed = self._dial(fd, lease.port)
        if dialed is None:
            pool.release(lease)
            return False
        stream, peer_pid = dialed
        if now.strict:
            stream.strict = True
        connection = Connection(
            stream,
            family=self._family,
            role="connect",
            provider=self._provider,
            local=(self._host, lease.port),
            peer=self._peer,
            options={},
            lease=lease,
            peer_pid=peer_pid,
            reason=reasons.SWITCHED,
        )
        body = self._bodies.get(peer_pid)
        if body is None:
            body = self._bodies[peer_pid] = connection.body()
        connection.bind(fd, body)
        return True


def plan_like(model: Connection) -> Plan | None:
    """A plan for more connections like this one, which was connected just now; None: none."""
    if model.lease is None or model.reason is not reasons.SWITCHED or not model.peer_pid:
        return None
    from wsdirect.switch.routes import route_to  # loaded, as there is a connection

    route = route_to(model.peer[0])
    if isinstance(route, Reason) or route.name != model.provider:
        return None
    dialer = getattr(route.native, "dialer", None)
    dial = None if dialer is None else dialer(model.lease.host, model.peer)
    return None if dial is None else Plan(model, dial)


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
