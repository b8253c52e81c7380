"""Functions of os that take a descriptor: read, write, close, dup and their kin.

multiprocessing's connections, CGI servers and others use a socket's descriptor with them.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct

from wsdirect._core import native
from wsdirect.front.processes import leave
from wsdirect.front.sockets import released
from wsdirect.switch import listeners
from wsdirect.switch.connection import connections, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

    from wsdirect._core._native import Stream

_os_close = os.close
_os_closerange = os.closerange
_os_dup = os.dup
_os_dup2 = os.dup2
_os_read = os.read
_os_exit = os._exit
RIGHTS = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
SENDFILE_CHUNK = 1 << 18  # bytes read from the file at a time


def _timeout(fd: int) -> float | None:
    return None if os.get_blocking(fd) else 0.0


def read(fd: int, length: int, /) -> bytes:
    """os.read on a switched connection."""
    if length < 0:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    stream = connections[fd].stream
    stream.wait_readable(0 if not os.get_blocking(fd) else None)
    return stream.recv(min(length, max(1, stream.available())), _timeout(fd))


def write(fd: int, data: Any, /) -> int:
    """os.write on a switched connection."""
    return _write_all(connections[fd].stream, memoryview(data).cast("B"), os.get_blocking(fd))


def _write_all(stream: Stream, view: memoryview, blocking: bool) -> int:
    """As write(2): a blocking descriptor takes everything."""
    done = 0
    while True:
        done += stream.send(view[done:], None if blocking else 0.0)
        if done >= len(view) or not blocking:
            return done


def readv(fd: int, buffers: Iterable[Any], /) -> int:
    """os.readv on a switched connection."""
    stream = connections[fd].stream
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    if os.get_blocking(fd):
        stream.wait_readable(None)
    return stream.recv_scatter(views)


def writev(fd: int, buffers: Iterable[Any], /) -> int:
    """os.writev on a switched connection."""
    return write(fd, b"".join(bytes(buffer) for buffer in buffers))


def sendfile(out_fd: int, in_fd: int, offset: int | None, count: int) -> int:
    """os.sendfile to a switched connection: one copy more, through this process."""
    stream, blocking = connections[out_fd].stream, os.get_blocking(out_fd)
    done = 0
    while done < count:
        size = min(count - done, SENDFILE_CHUNK)
        if not blocking and done and not stream.writable():
            break
        if offset is None:
            data = _os_read(in_fd, size)
        else:
            data = os.pread(in_fd, size, offset + done)
        if not data:
            break
        sent = _write_all(stream, memoryview(data), blocking)
        done += sent
        if sent < len(data):
            if offset is None:  # what was read and not sent must be read again
                os.lseek(in_fd, sent - len(data), os.SEEK_CUR)
            break
    return done


def close(fd: int) -> None:
    """os.close: ends what hangs on the descriptor."""
    if fd in connections or fd in plain or fd in listeners.listening:
        released(fd)
    _os_close(fd)


def closerange(fd_low: int, fd_high: int, /) -> None:
    """os.closerange."""
    for fd in [*connections, *plain, *listeners.listening]:
        if fd_low <= fd < fd_high:
            released(fd)
    _os_closerange(fd_low, fd_high)


def dup(fd: int, /) -> int:
    """os.dup: the new number stands for the same connection."""
    made = _os_dup(fd)
    share(fd, made)
    return made


def dup2(fd: int, fd2: int, inheritable: bool = True) -> int:
    """os.dup2."""
    if fd != fd2:
        released(fd2)
    made = _os_dup2(fd, fd2, inheritable)
    if fd != fd2:
        share(fd, made)
    return made


def share(fd: int, made: int) -> None:
    """`made` is a new descriptor for what `fd` stands for."""
    known = connections.get(fd)
    if known is not None:
        known.bind(made)
    elif fd in listeners.listening:
        listeners.listening.add(made)


def socket_dup(original: Callable[[int], int]) -> Callable[[int], int]:
    """_socket.dup, as socket.dup() and fromfd() use it."""

    def dup(fd: int, /) -> int:
        made = original(fd)
        share(fd, made)
        return made

    return dup


def passing(ancillary: Any) -> None:
    """Descriptors are about to be sent to another process (SCM_RIGHTS).

    A switched connection cannot go with its descriptor alone: what receives it would read the bell.
    Raises OSError (EOPNOTSUPP), which is clearer than a peer that waits for ever.
    """
    for item in ancillary:
        if not isinstance(item, tuple) or len(item) != 3 or item[:2] != RIGHTS:
            continue
        raw = memoryview(item[2]).cast("B")
        numbers = struct.unpack(f"={len(raw) // 4}i", raw[: len(raw) // 4 * 4])
        if any(number in connections for number in numbers):
            raise OSError(
                errno.EOPNOTSUPP,
                "a switched connection cannot be passed to another process; keep its address on "
                "TCP with WSDIRECT_EXCLUDE",
            )


def _exit(status: int) -> NoReturn:
    """os._exit: what programs have written is sent first, as the kernel would."""
    leave()
    _os_exit(status)


def grafts() -> dict[str, Any]:
    """What to set in os."""
    assert native is not None
    guarded = {"read": read, "write": write, "readv": readv, "writev": writev, "sendfile": sendfile}
    found = {name: native.guard(getattr(os, name), new) for name, new in guarded.items()}
    found.update(close=close, closerange=closerange, dup=dup, dup2=dup2, _exit=_exit)
    return found
