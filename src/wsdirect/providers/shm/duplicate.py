"""Handing a socket over to another process (WSPDuplicateSocket, WSPSocket).

The cookie in dwProviderReserved is the number of an abstract AF_UNIX name on which the owner
waits.  The process that the cookie is for connects there, gets state and descriptors in some
messages, and acknowledges when it holds the socket; only then does the owner let go.  So whichever
of the two dies in between, somebody holds the connection, or nobody and the peer sees a reset.
The kernel says which process has connected: for others the cookie is worth nothing.

A listening socket's queue goes along: what the kernel has queued by itself, what a condition
function has put off in messages of its own, and the segments that requests may refer to.
"""

from __future__ import annotations

import errno
import os
import struct
from _socket import (
    AF_UNIX,
    MSG_NOSIGNAL,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
)
from _thread import allocate_lock
from time import monotonic

from wsdirect.providers.shm.listener import receive_descriptors
from wsdirect.providers.shm.names import VERSION
from wsdirect.providers.shm.parcels import LONGEST, Parcel, drop, invalid, unpack
from wsdirect.providers.shm.peers import is_trusted, peer_of
from wsdirect.providers.socket_table import Step
from wsdirect.spi.errors import WSAError, WsaErrorCode, from_oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from wsdirect.providers.shm.progress import Progress
    from wsdirect.providers.shm.san import San
    from wsdirect.providers.shm.sockets import SanSocket

    Message = tuple[bytes, list[int]]

__all__ = ["Handover", "hand_over", "take_over"]

_PREFIX: Final = b"\0wsdirect/%d/d/" % VERSION
_WAIT: Final = 2000  # ms that the owner may take for each message
_PATIENCE: Final = 30.0  # seconds that a parcel waits to be fetched
_ACKNOWLEDGED: Final = b"K"


class Handover:
    """A parcel that waits for one process to fetch it.

    Args:
        process_id: The only process that may.
        parcel: What it gets.
        progress: Whose thread serves the process.

    Errors:
        OSError: no descriptor left.
    """

    __slots__ = (
        "_fetched",
        "_lock",
        "_process",
        "_progress",
        "_taker",
        "_waiting",
        "cookie",
        "parcel",
    )

    def __init__(self, process_id: int, parcel: Parcel, progress: Progress) -> None:
        self.parcel = parcel
        self._process = process_id
        self._progress = progress
        self._fetched = False
        self._lock = allocate_lock()  # for _taker, and for the end; not held while waiting
        self._taker: socket | bool | None = None
        self._waiting = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK)
        try:
            while True:
                self.cookie = int.from_bytes(os.urandom(4), "little")
                try:
                    if self.cookie:
                        self._waiting.bind(_name_of(self.cookie))
                        break
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:
                        raise
            self._waiting.listen(4)
            progress.watch(self._waiting.fileno(), self._on_visitor)
        except BaseException:
            self._waiting.close()
            raise

    def _on_visitor(self) -> None:
        """Somebody comes for the parcel."""
        while True:
            try:
                descriptor, _ = self._waiting._accept()  # type: ignore[attr-defined]
            except OSError:
                return
            visitor = socket(AF_UNIX, SOCK_SEQPACKET, 0, descriptor)
            pid, uid = peer_of(visitor)
            if pid != self._process or not is_trusted(uid) or not self._reserve(visitor):
                visitor.close()
                continue
            visitor.setblocking(False)
            try:
                for state, numbers in self.parcel.messages:
                    packed = struct.pack(f"={len(numbers)}i", *numbers)
                    visitor.sendmsg((state,), ((SOL_SOCKET, SCM_RIGHTS, packed),), MSG_NOSIGNAL)
                self._progress.watch(visitor.fileno(), self._on_answer)
            except OSError:
                self._leave(visitor)

    def _reserve(self, taker: socket | bool) -> bool:
        """Whether nobody else is fetching the parcel; from now on this one is."""
        with self._lock:
            if self._taker is not None or self.done:
                return False
            self._taker = taker
            return True

    def _leave(self, taker: socket) -> None:
        """It went away without the parcel, or is finished."""
        with self._lock:
            if self._taker is taker:
                self._taker = None
        taker.close()

    def _on_answer(self) -> None:
        """The process acknowledged, or went away."""
        taker = self._taker
        if not isinstance(taker, socket):
            return
        try:
            answer = taker.recv(1)
        except BlockingIOError:
            return
        except OSError:
            answer = b""
        self._progress.unwatch(taker.fileno())
        if answer == _ACKNOWLEDGED:
            self._fetched = True
            self.close()
        else:
            self._leave(taker)

    def take_here(self, san: San, catalog_id: int) -> int:
        """Fetch the parcel within this process (`take_over`).

        Errors:
            WSAEINVAL: it is for another process, or being fetched.
            OSError: no descriptor left.
        """
        if self._process != os.getpid() or not self._reserve(True):
            raise invalid("It is for another process, or was used before.")
        copies: list[Message] = []
        try:
            for state, numbers in self.parcel.messages:
                copy: list[int] = []
                copies.append((state, copy))
                for number in numbers:
                    copy.append(os.dup(number))
            descriptor = _admit(san, _handed(copies), catalog_id)
        except BaseException:
            for _, copy in copies:
                for number in copy:
                    os.close(number)
            with self._lock:
                self._taker = None
            raise
        self._fetched = True
        self.close()
        return descriptor

    @property
    def done(self) -> bool:
        """Whether there is nothing left to hand over."""
        return self._waiting.fileno() < 0

    def close(self) -> None:
        """End the offer; what nobody fetched is closed, which ends the connection."""
        with self._lock:
            if self.done:
                return
            self._progress.unwatch(self._waiting.fileno())
            self._waiting.close()
            taker, self._taker = self._taker, None
        if isinstance(taker, socket):
            self._progress.unwatch(taker.fileno())
            taker.close()
        self.parcel.messages.clear()
        self.parcel.end(self._fetched)

    def abandon(self) -> None:
        """Close all descriptors, as in a forked child."""
        self._waiting.close()
        if isinstance(self._taker, socket):
            self._taker.close()
        self._taker = None
        self.parcel.messages.clear()
        self.parcel.end(fetched=True)


def _handed(copies: list[Message]) -> Iterator[Message]:
    """The messages of a parcel, each taken off the list as it is used."""
    while copies:
        yield copies.pop(0)


def _name_of(cookie: int) -> bytes:
    return _PREFIX + b"%08x" % cookie


def hand_over(san: San, source: SanSocket, process_id: int) -> int:
    """WSPDuplicateSocket; errors as there.

    Returns:
        The cookie, for the other process's `take_over`.
    """
    call = "WSPDuplicateSocket"
    if type(process_id) is not int or not 0 <= process_id <= 0xFFFFFFFF:
        raise WSAError(WsaErrorCode.WSAEINVAL, call)
    with source.lock:
        source.require(call)
        channel, listener = source.channel, source.listener
        if channel is not None and channel.sends_wait:
            raise WSAError(WsaErrorCode.WSAEINVAL, call, "Sends are not finished.")
        stream = channel.stream if channel is not None else source.stream
        parcel = Parcel.of(san, source, stream)
        try:
            handover = Handover(process_id, parcel, san.progress)
        except OSError as error:
            raise from_oserror(error, call) from error
        san.handovers[:] = [other for other in san.handovers if not other.done] + [handover]
        if channel is not None:
            channel.flush()
            channel.release()
        source.handover = handover
        source.stream = source.listener = None
        source.deferred = []
        source.step(Step.MOVE)
    san.progress.at(monotonic() + _PATIENCE, handover.close)
    if listener is not None:
        san.progress.unwatch(listener.fileno())
    if source.debug:
        source.note(f"duplicated for process {process_id}")
    if channel is not None:
        channel.upcalls.run()
    return handover.cookie


def take_over(san: San, cookie: int, catalog_id: int) -> int:
    """WSPSocket with a cookie; errors as there.

    Returns:
        The descriptor of a socket in the state that the original had.
    """
    call = "WSPSocket"
    try:
        for handover in san.handovers:  # ours: nobody else would have to answer
            if handover.cookie == cookie and not handover.done:
                return handover.take_here(san, catalog_id)
        connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK)
        try:
            if connection.connect_ex(_name_of(cookie)) or not is_trusted(peer_of(connection)[1]):
                raise invalid("Nothing is duplicated under this number.")
            descriptor = _admit(san, _receive(connection), catalog_id)
            try:
                connection.send(_ACKNOWLEDGED)
            except OSError:
                pass  # the owner has gone; what it handed over is ours
            return descriptor
        finally:
            connection.close()
    except OSError as error:
        raise from_oserror(error, call) from error


def _receive(connection: socket) -> Iterator[Message]:
    """The messages of a parcel as they come."""
    while True:
        state, descriptors = receive_descriptors(connection, LONGEST, 2, _WAIT)
        if not state:
            raise invalid("It is for another process, or was used before.")
        yield state, descriptors


def _admit(san: San, messages: Iterator[Message], catalog_id: int) -> int:
    """Make a socket of what came and give it its descriptor; on failure nothing of it is left."""
    taken, stream = unpack(san, messages, catalog_id)
    try:
        taken.step(Step.BIND)
        if stream is None:
            taken.step(Step.LISTEN)
        else:
            san.establish(taken, stream)
        return san.admit(taken)
    except BaseException:
        drop(san, taken, stream)
        raise
