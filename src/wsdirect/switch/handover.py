"""Back to TCP: an offer that nobody took in time, or that was refused, goes on over TCP.

Slow servers, and listeners that ended up with code that knows nothing of the SAN, thus degrade and
never hang.  What the program has sent so far stands in the ring, for nobody has read any of it; it
is sent again over a TCP connection that takes the descriptor's place.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import time
from _thread import RLock

from wsdirect import reasons
from wsdirect._core import native
from wsdirect.locality import is_at_home
from wsdirect.switch import addresses
from wsdirect.switch.connection import Connection, connections, move_descriptor, note_plain
from wsdirect.switch.options import linger_of
from wsdirect.switch.ports import pool
from wsdirect.switch.routes import Route, route_to
from wsdirect.telling import tell_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wsdirect._core._native import Stream
    from wsdirect.reasons import Reason

CONNECT_TIMEOUT = 30.0  # seconds; the peer is on this host

_lock = RLock()


def move_to_tcp(fd: int, why: Reason | None = None) -> list[int]:
    """Move the connection on this descriptor to TCP, unless its peer has attached meanwhile.

    `why`: None if the peer did not take the offer, or not in time.
    Returns the descriptors that stand for another socket now: pollers must register them anew.
    OSError when TCP cannot reach the peer either: ECONNRESET if the listener has gone, as TCP says
    of a connection that nobody had accepted.
    """
    with _lock:
        connection = connections.get(fd)
        if connection is None or not connection.stream.revoke():
            return []
        expired = connection.stream.offer_deadline
        late = expired is not None and time.monotonic() >= expired
        reason = why or (reasons.OFFER_EXPIRED if late else reasons.REFUSED_BY_PEER)
        tcp = _tcp_socket(connection)
        try:
            tcp.settimeout(CONNECT_TIMEOUT)
            tcp.connect(connection.shown_peer())
            connection.options.apply_to(tcp)
            _send_again(tcp, connection.stream)
            if connection.stream.write_ended:
                tcp.shutdown(_socket.SHUT_WR)
        except ConnectionRefusedError as error:
            tcp.close()
            raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from error
        except BaseException:
            tcp.close()
            raise
        fds = _replace(connection, tcp)
        if late:
            _tell_provider(connection)
        tell_once(
            "info",
            f"connection to {connection.peer[0]} port {connection.peer[1]}: {reason.explain()}",
        )
        note_plain(fd, connection.role, reason, connection.local, connection.peer)
        return fds


def _tell_provider(connection: Connection) -> None:
    """So that later clients do not wait for somebody who does not accept."""
    route = route_to(connection.peer[0])
    if isinstance(route, Route) and route.native is not None:
        route.native.not_taken(connection.peer)


def settle(fd: int) -> None:
    """Before this descriptor is closed: see to an offer that will not stand for long.

    Whoever accepts later finds what a client has left, unless the offer is one to an early
    listener: then nobody may ever look.  So it is waited for, and goes on over TCP.
    """
    known = connections.get(fd)
    if known is None or known.role != "connect" or len(known.fds) > 1:
        return
    stream, due = known.stream, known.stream.offer_deadline
    if due is None or not stream.queued() or linger_of(known.options.values):
        return
    if not known.is_early:
        return
    while native is not None and stream.state == native.OFFERED and time.monotonic() < due:
        time.sleep(0.001)
    try:
        move_to_tcp(fd)
    except OSError:
        return  # nor does TCP find anybody


def _send_again(tcp: _socket.socket, stream: Stream) -> None:
    """What the program has sent so far; its urgent bytes as such."""
    data, at = stream.pending_out(), 0
    for urgent in stream.urgent_out():
        tcp.sendall(data[at:urgent])
        tcp.send(data[urgent : urgent + 1], _socket.MSG_OOB)
        at = urgent + 1
    tcp.sendall(data[at:])


def _tcp_socket(connection: Connection) -> _socket.socket:
    """A TCP socket with the connection's local name, where that can be had."""
    own = -1
    if connection.companion >= 0:
        own, connection.companion = connection.companion, -1
    elif (
        connection.lease is not None
        and addresses.family_of(connection.local[0]) == connection.family
    ):
        own = pool.withdraw(connection.lease)
    if own >= 0:
        return _socket.socket(connection.family, _socket.SOCK_STREAM, 0, own)
    made = _socket.socket(connection.family, _socket.SOCK_STREAM)
    if not is_at_home(made):  # this thread has entered another network namespace meanwhile
        made.close()
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
    return made


def _replace(connection: Connection, tcp: _socket.socket) -> list[int]:
    fds = list(connection.fds)
    connection.leave(fds)
    source = tcp.detach()
    owner = fcntl.fcntl(fds[0], fcntl.F_GETOWN)
    if owner:
        fcntl.fcntl(source, fcntl.F_SETOWN, owner)  # it is told of urgent data (SIGURG)
    for fd in fds[1:]:
        move_descriptor(os.dup(source), fd)
    move_descriptor(source, fds[0])
    # The stream is not closed: its descriptor number is TCP's now, and a thread that still waits on
    # it must learn that the offer was revoked, not that the socket was closed.
    return fds


def after_fork_child() -> None:
    """Another thread of the parent may have held the lock."""
    global _lock
    _lock = RLock()
