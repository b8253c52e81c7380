"""A TCP socket on its way to another process: offered by one, taken by the other, once.

The one that duplicates listens on an abstract AF_UNIX name made of the process that may come and a
random number; who comes is known by SO_PEERCRED.  Descriptor and a short description go over.
"""

from __future__ import annotations

import _socket
import os
import select
import struct
import threading
import time

from wsdirect.spi.errors import WSAError, WsaErrorCode, from_oserror
from wsdirect.switch.ungrafted import poll
from wsdirect.telling import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Offer", "take"]

PATIENCE = 60.0  # seconds that an offer stands
TAKE_TIME = 5.0  # seconds for the other side to answer
LONGEST = 65536  # bytes of a description
_CREDENTIALS = struct.Struct("3i")  # struct ucred: process, user, group


def _name(process_id: int, cookie: int) -> str:
    return f"\0wsdirect-duplicate-{process_id}-{cookie:08x}"


def _peer(sock: _socket.socket) -> tuple[int, int]:
    raw = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _CREDENTIALS.size)
    process, user, _ = _CREDENTIALS.unpack(raw)
    return process, user


class Offer:
    """A descriptor that one process may come for.

    Args:
        fd: Duplicated at once, so its owner may close it.
        description: Goes along; what `json` can carry.
        process_id: Who may come.
        cookie: 32 bits that the other one is told.
    """

    def __init__(self, fd: int, description: Any, process_id: int, cookie: int) -> None:
        self._process_id = process_id
        self._description = description
        self._closed = False
        self._lock = threading.RLock()
        self._listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._listener.settimeout(0.0)
        self._fd = self._wake = -1
        try:
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._listener.bind(_name(process_id, cookie))
            self._listener.listen(1)
            self._fd = os.dup(fd)
        except OSError as error:
            self.close()
            raise from_oserror(error, "WSPDuplicateSocket") from error
        self._thread = threading.Thread(target=self._serve, name="wsdirect-duplicate", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        deadline = time.monotonic() + PATIENCE
        wanted = {self._listener.fileno(): select.POLLIN, self._wake: select.POLLIN}
        try:
            while time.monotonic() < deadline:
                poll(wanted, max(1.0, (deadline - time.monotonic()) * 1000))
                if self._served():
                    return
        except OSError as error:
            tell("debug", f"a duplicated socket was not fetched: {error}")
        finally:
            self.close()

    def _served(self) -> bool:
        """Whether the one that may come has come, or nobody may any more."""
        if self._closed:
            return True
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]
        except BlockingIOError:
            return False
        taker = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
        try:
            if _peer(taker) != (self._process_id, os.geteuid()):
                return False
            taker.settimeout(TAKE_TIME)
            self._give(taker)
            return True
        finally:
            taker.close()

    def _give(self, taker: _socket.socket) -> None:
        import json

        rights = struct.pack("i", self._fd)
        text = json.dumps(self._description).encode()
        taker.sendmsg([text], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])

    def withdraw(self) -> None:
        """Nobody may come any more; returns when the thread has ended."""
        self._closed = True
        with self._lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)
        if self._thread is not threading.current_thread():
            self._thread.join()

    @property
    def over(self) -> bool:
        """Whether it was fetched, or nobody came."""
        return self._fd < 0

    def forget(self) -> None:
        """In a forked child, which has no part in it."""
        self._lock = threading.RLock()  # another thread of the parent may have held it
        self.close()

    def close(self) -> None:
        """Close its descriptors."""
        self._closed = True
        with self._lock:
            self._listener.close()
            descriptors = self._fd, self._wake
            self._fd = self._wake = -1
        for fd in descriptors:
            if fd >= 0:
                os.close(fd)


def take(cookie: int) -> tuple[int, Any]:
    """Fetch what was offered to this process under this number: descriptor and description.

    Errors:
        WSAEINVAL: there is no such offer.
    """
    import json

    nothing = WSAError(WsaErrorCode.WSAEINVAL, "WSPSocket", "Nothing was duplicated like this.")
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    fd = -1
    try:
        sock.settimeout(TAKE_TIME)
        sock.connect(_name(os.getpid(), cookie))
        if _peer(sock)[1] != os.geteuid():
            raise nothing
        text, rights, _, _ = sock.recvmsg(LONGEST, _socket.CMSG_SPACE(4))
        for level, kind, data in rights:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS) and len(data) >= 4:
                (fd,) = struct.unpack("i", data[:4])
        if fd < 0:
            raise nothing
        os.set_inheritable(fd, False)
        return fd, json.loads(text)
    except (OSError, ValueError) as error:
        if fd >= 0:
            os.close(fd)
        raise nothing from error
    finally:
        sock.close()
