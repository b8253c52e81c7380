"""A network namespace for this process: a loopback interface that carries no one else's bytes."""

from __future__ import annotations

import fcntl
import os
import socket
import struct

__all__ = ["enter"]

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
IFF_UP = 1


def enter() -> bool:
    """Move this process and its later children into a new namespace; False if not permitted.

    There is no way back, so it is only for commands that end with their work.
    """
    # A system may allow the first step and deny a later one, which would leave this process
    # without a user: a child tries it first.
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _enter()
            status = 0
        finally:
            os._exit(status)
    if os.waitpid(pid, 0)[1] != 0:
        return False
    _enter()
    return True


def _enter() -> None:
    uid, gid = os.getuid(), os.getgid()
    _unshare(CLONE_NEWUSER | CLONE_NEWNET)
    # The same numbers inside as outside, so that files and peers belong to whom they did.
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    _loopback_up()


def _unshare(flags: int) -> None:
    unshare = getattr(os, "unshare", None)  # since Python 3.12
    if unshare is not None:
        unshare(flags)
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(ctypes.c_int(flags)) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = fcntl.ioctl(sock, SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0))
        flags = struct.unpack_from("h", request, 16)[0]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))
