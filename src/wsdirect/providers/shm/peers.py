"""Who is at the other end of a local connection, and whether that is welcome."""

from __future__ import annotations

import os
import struct
from _socket import SO_PEERCRED, SOL_SOCKET, socket

from wsdirect import settings

__all__ = ["is_trusted", "peer_of"]

_CREDENTIALS = struct.Struct("=iII")  # pid, uid, gid


def peer_of(connection: socket) -> tuple[int, int]:
    """Process number (0 if it is in another process namespace) and user number of the peer."""
    pid, uid, _ = _CREDENTIALS.unpack(
        connection.getsockopt(SOL_SOCKET, SO_PEERCRED, _CREDENTIALS.size)
    )
    return pid, uid


def is_trusted(uid: int) -> bool:
    """Whether a peer may be a program of this user."""
    return uid == os.geteuid() or uid in settings.current().allow_uids
