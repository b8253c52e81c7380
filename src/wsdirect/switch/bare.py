"""Switched connections as ordinary kernel sockets, for processes that know nothing of the switch.

A bare connection's bytes travel in its bell.  Whoever holds the descriptor reads and writes it; a
process under the switch that gets one shows the program the names and options of the TCP
connection it stands for, and leaves the bytes to the kernel.  The addresses stand in the name of
one of the two sockets: the provider's own, or one that is bound here.
"""

from __future__ import annotations

import _socket
import os
import struct
import sys
from _thread import allocate_lock, start_new_thread

from wsdirect import reasons, settings
from wsdirect._core import native
from wsdirect.switch import addresses
from wsdirect.switch.connection import Connection, borrowed, connections, move_descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from wsdirect._core._native import Segment, Stream
    from wsdirect.switch.addresses import Endpoint

    Found = tuple[int, Endpoint, Endpoint]

__all__ = ["drain", "feeding", "go_bare", "leave_behind", "pump_is_here", "recognize"]

OURS: Final = b"\0wsdirect/"
"""How the names of all sockets of the switch and its providers begin."""
_PREFIX: Final = OURS + b"bare/"
# Not two alike: a number by chance.  Then the family, and the local and the peer's address.
_NAME = struct.Struct("=8sB16sH16sH")
_MAPPED: Final = bytes(10) + b"\xff\xff"
_SO_SNDBUFFORCE: Final = 32  # asm/socket.h; beyond net.core.wmem_max
_ROOM = 16 << 20  # for the largest ring; what a socket gets is limited by the kernel's settings

PROVIDER: Final = "shm"
"""The name that such connections go by: what carries them, a local socket, has none."""
_PUMP: Final = "wsdirect.switch.session.pump"  # if it is loaded
_lock = allocate_lock()
_segments: list[Segment] = []


# -- going bare ----------------------------------------------------------------------------------


def go_bare(connection: Connection) -> list[int]:
    """Let anybody read and write the descriptors of a connection whose peer has attached.

    Returns the descriptors that stand for another socket now: pollers must register them anew.

    Errors:
        OSError: it cannot be done.
    """
    stream = connection.stream
    if stream.bare:
        return []
    try:
        lost = stream.go_bare()
    except OSError as error:
        raise OSError(
            error.errno, f"this connection cannot go to another process now: {error.strerror}"
        ) from None
    if lost is None:
        _name(stream.fd, connection)
        connection.passed_on()
        return []
    fds = list(connection.fds)
    made = leave_behind(lost)
    _name(made, connection)
    connection.leave(fds)
    for fd in fds[1:]:
        move_descriptor(os.dup(made), fd)
    move_descriptor(made, fds[0])
    successor = _connection(fds[0], connection.family, connection.local, connection.peer)
    successor.options = connection.options
    successor.lease, connection.lease = connection.lease, None
    successor.companion, connection.companion = connection.companion, -1
    for fd in fds:
        successor.bind(fd)
    return fds


def _slot_for(fd: int) -> Stream:
    """A stream on a kernel socket, in a segment that nobody else has."""
    assert native is not None
    with _lock:
        for segment in _segments:
            try:
                made: Stream = native.Stream.wrap(segment, fd)
            except OSError:
                continue  # no free slot
            return made
        _segments.append(native.Segment.create(ring=settings.current().ring))
        made = native.Stream.wrap(_segments[-1], fd)
        return made


def _connection(fd: int, family: int, local: Endpoint, peer: Endpoint) -> Connection:
    made = Connection(
        _slot_for(fd),
        family=family,
        role="accept",
        provider=PROVIDER,
        local=local,
        peer=peer,
        options={},
    )
    made.reason = reasons.PASSED_ON
    return made


def leave_behind(data: bytes) -> int:
    """A descriptor of a socket from which these bytes can be read, and then the end.

    What does not fit is fed to it by a thread of this process.

    Errors:
        OSError: no descriptor left.
    """
    ours, far = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        far.settimeout(None)  # whatever setdefaulttimeout() says
        _widen(far)
        view = memoryview(data)
        while view:
            try:
                sent = far.send(view, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
            except BlockingIOError:
                feeding.add(far.fileno())
                start_new_thread(_feed, (far, view))
                break
            view = view[sent:]
        else:
            far.close()
    except BaseException:
        ours.close()
        far.close()
        raise
    return ours.detach()


def _widen(sock: _socket.socket) -> None:
    try:
        sock.setsockopt(_socket.SOL_SOCKET, _SO_SNDBUFFORCE, _ROOM)
    except OSError:  # we are not root
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, _ROOM)


feeding: set[int] = set()
"""Descriptors of sockets that threads of this process still write to."""


def _feed(far: _socket.socket, view: memoryview) -> None:
    try:
        far.sendall(view)
    except OSError:
        pass  # nobody reads it
    feeding.discard(far.fileno())
    far.close()


def pump_is_here(connection: Connection) -> bool:
    """Whether the bytes of this connection go through this process, as those of a session do."""
    pump = sys.modules.get(_PUMP)
    stream = connection.stream
    return pump is not None and any(
        (pipe.stream.segment.id, pipe.stream.slot) == (stream.segment.id, stream.slot)
        for pipe in list(pump.pipes)
    )


def drain() -> None:
    """This process is about to end, or to become another program: send what sessions hold."""
    pump = sys.modules.get(_PUMP)
    if pump is not None:
        pump.drain()


# -- names ---------------------------------------------------------------------------------------


def _packed(host: str) -> bytes:
    if ":" in host:
        return _socket.inet_pton(_socket.AF_INET6, host)
    return _MAPPED + _socket.inet_pton(_socket.AF_INET, host)


def _host(packed: bytes) -> str:
    if packed.startswith(_MAPPED):
        return _socket.inet_ntop(_socket.AF_INET, packed[12:])
    return _socket.inet_ntop(_socket.AF_INET6, packed)


def _name(fd: int, connection: Connection) -> None:
    """Let a socket without any name tell the addresses."""
    view = borrowed(fd)
    try:
        if view.getsockname() or view.getpeername():
            return  # the provider's
        (host, port), (peer, peer_port) = connection.local, connection.peer
        told = _NAME.pack(
            os.urandom(8), connection.family, _packed(host), port, _packed(peer), peer_port
        )
        view.bind(_PREFIX + told)
    except OSError:
        pass  # the receiver will show the socket as what it is
    finally:
        view.detach()


def recognize(fd: int, family: int) -> Connection | None:
    """The connection of a descriptor that came bare from elsewhere; None: it is nothing of ours.

    Args:
        fd: It.
        family: The family that the program takes it for, -1 if it did not say.
    """
    if native is None:
        return None
    twin = _twin(fd)
    if twin is not None:
        twin.bind(fd)
        return twin
    view = borrowed(fd)
    try:
        names = [view.getsockname(), view.getpeername()]
    except OSError:
        return None
    finally:
        view.detach()
    if not any(isinstance(name, bytes) and name.startswith(OURS) for name in names):
        return None
    found = _own(names[0]) or _provider_s(names, family)
    if found is None:
        return None
    made = _connection(fd, *found)
    made.bind(fd)
    return made


def _twin(fd: int) -> Connection | None:
    """The connection of this process that the descriptor is one more of: it was copied unseen."""
    number = os.fstat(fd).st_ino
    for known in set(connections.values()):
        try:
            if os.fstat(known.stream.fd).st_ino == number:
                return known
        except OSError:
            continue  # closed behind our back
    return None


def _own(name: Any) -> Found | None:
    if not isinstance(name, bytes) or not name.startswith(_PREFIX):
        return None
    if len(name) != len(_PREFIX) + _NAME.size:
        return None
    _, family, local, port, peer, peer_port = _NAME.unpack_from(name, len(_PREFIX))
    if family not in (addresses.AF_INET, addresses.AF_INET6):
        return None
    return family, (_host(local), port), (_host(peer), peer_port)


def _provider_s(names: list[Any], family: int) -> Found | None:
    from wsdirect.switch.routes import listening_route

    route = listening_route()
    names_of = getattr(route.native, "names_of", None) if route is not None else None
    found = names_of(names[0], names[1]) if names_of is not None else None
    if found is None:
        return None
    local, peer = (addresses.endpoint_of(name) or name for name in found)
    if family not in (addresses.AF_INET, addresses.AF_INET6):
        family = addresses.family_of(local[0])
    return family, local, peer


def after_fork_child() -> None:
    """The segments are the parent's; connections that use them keep them."""
    global _lock
    _lock = allocate_lock()  # another thread of the parent may have held it
    _segments.clear()
    feeding.clear()
