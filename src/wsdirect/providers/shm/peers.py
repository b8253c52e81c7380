"""Who is at the other end of a local connection, and whether that is welcome."""

from __future__ import annotations

import os
import struct
from _socket import SO_PEERCRED, SOL_SOCKET, socket

from wsdirect import settings

__all__ = ["is_number_of", "is_trusted", "peer_of"]

_CREDENTIALS = struct.Struct("=iII")  # pid, uid, gid


def peer_of(connection: socket) -> tuple[int, int]:
    """Process number (0 if it is in another process namespace) and user number of the peer."""
    pid, uid, _ = _CREDENTIALS.unpack(
        connection.getsockopt(SOL_SOCKET, SO_PEERCRED, _CREDENTIALS.size)
    )
    return pid, uid


def is_trusted(uid: int) -> bool:
    """Whether a peer may be a program of this user."""
    if uid == _NOBODY and _may_be_anybody():
        return False
    return uid == os.geteuid() or uid in settings.current().allow_uids


_NOBODY = 65534
"""How the kernel calls users that have no number in this user namespace, unless told otherwise."""


def _may_be_anybody() -> bool:
    """Whether _NOBODY stands for users without a number here: this is no initial namespace."""
    try:
        with open("/proc/self/uid_map", encoding="ascii") as table:
            return [line.split() for line in table] != [["0", "0", "4294967295"]]
    except OSError:
        return True


def is_number_of(told: int, pid: int) -> bool:
    """Whether a peer's own number of itself can be that of the process that the kernel names.

    In containers a process has two numbers: its own, and the one that the host knows it by.

    Args:
        told: What the peer says.
        pid: As from peer_of().
    """
    if pid in (0, told):
        return True
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("NSpid:"):
                    return line.split()[-1] == str(told)
    except OSError:
        pass
    return False
