"""Functions of os that take a descriptor: read, write, close, dup and their kin.

multiprocessing's connections, CGI servers and others use a socket's descriptor with them.
"""

from __future__ import annotations

import errno
import os

from wsdirect._core import native
from wsdirect.front import passing
from wsdirect.front.processes import leave
from wsdirect.front.sockets import released, reused
from wsdirect.switch import listeners, listening
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
    released(fd)
    _os_close(fd)


def closerange(fd_low: int, fd_high: int, /) -> None:
    """os.closerange."""
    for fd in [*connections, *plain, *listening.listening]:
        if fd_low <= fd < fd_high:
            released(fd)
    assert native is not None
    native.unmark_range(fd_low, fd_high)
    _os_closerange(fd_low, fd_high)


def dup(fd: int, /) -> int:
    """os.dup: the new number stands for the same connection."""
    made = _os_dup(fd)
    share(fd, made)
    return made


def dup2(fd: int, fd2: int, inheritable: bool = True) -> int:
    """os.dup2."""
    if fd == fd2:
        return _os_dup2(fd, fd2, inheritable)
    os.get_inheritable(fd)  # OSError if there is no such descriptor: then fd2 stays what it is
    if fd2 in passing.STANDARD and fd in connections:
        passing.go_bare(fd)  # sys.stdin and C's stdio are there
    released(fd2)
    made = _os_dup2(fd, fd2, inheritable)
    share(fd, made)
    return made


def share(fd: int, made: int) -> None:
    """`made` is a new descriptor for what `fd` stands for."""
    known = connections.get(fd)
    reused(made)
    if known is not None:
        known.bind(made)
    elif fd in listening.listening:
        listeners.begin(made)


def socket_dup(original: Callable[[int], int]) -> Callable[[int], int]:
    """_socket.dup, as socket.dup() and fromfd() use it."""

    def dup(fd: int, /) -> int:
        made = original(fd)
        share(fd, made)
        return made

    assert native is not None
    grafted: Callable[[int], int] = native.guard(original, dup, "copies", "socket")
    return grafted


def fcntl_graft(original: Callable[..., Any]) -> Any:
    """fcntl.fcntl, which can duplicate, too."""
    import fcntl

    def control(fd: Any, command: int, /, *args: Any) -> Any:
        made = original(fd, command, *args)
        if command in (fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC):
            share(fd if isinstance(fd, int) else fd.fileno(), made)
        return made

    assert native is not None
    return native.guard(original, control, "asks", "fcntl")


def _exit(status: int) -> NoReturn:
    """os._exit: what programs have written is sent first, as the kernel would.

    Nobody closes the connections of this process; those that a forked child shares with its parent
    must not count it as a holder for ever.
    """
    leave()
    for known in set(connections.values()):
        known.give_up()
    _os_exit(status)


def unless_gone(original: Callable[..., Any], new: Callable[..., Any]) -> Callable[..., Any]:
    """`new`, but `original` for a number that a file object has closed (see os.fdopen)."""

    def call(fd: int, /, *args: Any, **kwargs: Any) -> Any:
        known = connections.get(fd)
        if known is None or (known.stream.bare and passing.is_gone(fd)):
            return original(fd, *args, **kwargs)
        return new(fd, *args, **kwargs)

    return call


def grafts() -> dict[str, Any]:
    """What to set in os."""
    assert native is not None
    guarded: dict[str, Callable[..., Any]] = {
        "read": read,
        "write": write,
        "readv": readv,
        "writev": writev,
        "sendfile": sendfile,
    }
    found = {}
    for name, new in guarded.items():
        original = getattr(os, name)
        found[name] = native.guard(original, unless_gone(original, new))
    found.update(passing.functions())
    for name, new, kind in (("close", close, "closes"), ("dup", dup, "copies"),
                            ("dup2", dup2, "copies onto"), ("_exit", _exit, "leaves"),
                            ("closerange", closerange, "always")):  # fmt: skip
        found[name] = native.guard(getattr(os, name), new, kind)
    return found
