"""pyOpenSSL: TLS by a library that gives the socket's descriptor to OpenSSL itself.

What OpenSSL reads and writes there must be the connection's bytes.  So a switched connection goes
bare when an OpenSSL.SSL.Connection takes it, an offer that nobody has accepted yet moves to TCP,
and a socket that is connected later stays on TCP.
"""

from __future__ import annotations

import _socket
import weakref

from wsdirect import reasons
from wsdirect.front import grafts, passing, sockets
from wsdirect.switch.connection import connections

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

base = _socket.socket


def settle(sock: Any) -> None:
    """Make a socket one whose descriptor carries the bytes.

    Errors:
        OSError: that is impossible; the sentence says why.
    """
    if not isinstance(sock, base):
        return  # something that has a descriptor, or memory
    fd = base.fileno(sock)
    if fd in connections:
        passing.go_bare(fd)
        known = connections.get(fd)
        if known is not None:
            known.reason = reasons.TLS_NOT_SUPPORTED
    elif fd >= 0:
        sockets.foreign_tls.add(sock)


def graft(module: Any) -> None:
    """Put the graft into OpenSSL.SSL."""
    original = module.Connection.__init__
    if getattr(original, "__wsdirect__", False):
        return
    if sockets.foreign_tls == ():
        sockets.foreign_tls = weakref.WeakSet()

    def __init__(self: Any, context: Any, socket: Any = None) -> None:
        settle(socket)
        original(self, context, socket)

    dressed = grafts.like(original)(__init__)
    dressed.__wsdirect__ = True
    grafts.graft(module.Connection, "__init__", dressed)
