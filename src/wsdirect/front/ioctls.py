"""fcntl.ioctl on a switched connection: what its bell would say is of no use to anybody."""

from __future__ import annotations

import errno
import os
import struct

from wsdirect._core import native
from wsdirect.front.readiness import number_of
from wsdirect.switch.connection import connections

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wsdirect._core._native import Stream

# linux/sockios.h and asm/ioctls.h; the first two are called SIOCINQ and SIOCOUTQ for sockets
FIONREAD, TIOCOUTQ, SIOCATMARK, SIOCOUTQNSD = 0x541B, 0x5411, 0x8905, 0x894B

ANSWERS: dict[int, Callable[[Stream], int]] = {
    FIONREAD: lambda stream: stream.unread(),
    SIOCATMARK: lambda stream: int(stream.at_mark()),
    # bytes that have not reached the peer: what is sent is there at once
    TIOCOUTQ: lambda stream: 0,
    SIOCOUTQNSD: lambda stream: 0,
}


def _give(value: int, arg: Any = 0, mutate: bool = True) -> int | bytes:
    """One C int, in the way that fcntl.ioctl returns results."""
    raw = struct.pack("=i", value)
    if isinstance(arg, int):
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    view = memoryview(arg.encode() if isinstance(arg, str) else arg).cast("B")
    if mutate and not view.readonly:
        view[:4] = raw[: len(view)]
        return 0
    return raw[: len(view)] + bytes(view[4:])


def graft(original: Callable[..., Any]) -> Any:
    """What to set as fcntl.ioctl."""

    def ioctl(fd: Any, request: int, /, *args: Any) -> Any:
        answer = ANSWERS.get(request) if connections and isinstance(request, int) else None
        known = connections.get(number_of(fd)) if answer is not None else None
        if known is None or answer is None or len(args) > 2:
            return original(fd, request, *args)
        return _give(answer(known.stream), *args)

    assert native is not None
    return native.guard(original, ioctl, "asks", "fcntl")
