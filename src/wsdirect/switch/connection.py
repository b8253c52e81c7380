"""What is known of a connection once it has begun, by descriptor number.

A switched connection may hang on several descriptors of this process (dup); it ends with the last.
Plain TCP connections have a record too, so that `wsdirect ss` can show them with their reason.
"""

from __future__ import annotations

import _socket
import os
import sys
import time

from wsdirect import reasons, status
from wsdirect._core import native
from wsdirect.switch.addresses import shown
from wsdirect.switch.options import Options, inline_of, linger_of, window_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wsdirect._core._native import Stream
    from wsdirect.reasons import Reason
    from wsdirect.switch.addresses import Endpoint
    from wsdirect.switch.ports import Lease

EARLY_OFFER = 0.5  # seconds; longer than such an offer stands, and shorter than all others
_close = os.close  # the front may graft os.close


class Connection:
    """A switched connection's end in this process."""

    __slots__ = (
        "companion",
        "family",
        "fds",
        "lease",
        "local",
        "options",
        "peer",
        "peer_pid",
        "provider",
        "reason",
        "role",
        "row",
        "stream",
    )

    def __init__(
        self,
        stream: Stream,
        *,
        family: int,
        role: str,
        provider: str,
        local: Endpoint,
        peer: Endpoint,
        options: dict[tuple[int, int], bytes],
        lease: Lease | None = None,
        peer_pid: int | None = None,
        reason: Reason | None = None,
    ) -> None:
        self.stream = stream
        self.family = family
        self.role = role
        self.provider = provider
        self.local = local
        self.peer = peer
        self.lease = lease
        self.options = Options(family, options)
        self.fds: set[int] = set()
        self.row = -1
        assert native is not None
        if reason is None:
            # a session has told it: the other end of its stream is in this process
            reason = reasons.SWITCHED if peer_pid is None else reasons.BY_SESSION
        self.reason = reason
        self.peer_pid: int = native.peer_pid(stream.fd) if peer_pid is None else peer_pid
        if options:
            self.options_changed()
            self.stream.inline = inline_of(options)
        self.companion = -1  # the TCP socket that the program bound, kept for its port

    @property
    def is_early(self) -> bool:
        """Whether its offer was made to a listener whose program has not accepted anything yet."""
        due = self.stream.offer_deadline
        return due is not None and due - time.monotonic() < EARLY_OFFER

    def shown_local(self) -> tuple[Any, ...]:
        """What getsockname says."""
        return shown(self.family, self.local)

    def shown_peer(self) -> tuple[Any, ...]:
        """What getpeername says."""
        return shown(self.family, self.peer)

    def options_changed(self) -> None:
        """Let the stream follow what the program has set."""
        window = window_of(self.options.values)
        if window is not None:
            self.stream.limit(window)

    def bind(self, fd: int, body: bytes | None = None) -> None:
        """Hang the connection on a(nother) descriptor of this process.

        `body`: what status.body_of() gives for it, if that is known already.
        """
        assert native is not None
        connections[fd] = self
        native.table_bind(fd, self.stream)
        native.unmark(fd, ~native.WATCHED & 0xFFFFFFFF)
        if not self.fds:
            if self.stream.fd != fd:
                self.stream.fd = fd
            self._open_row(fd, body)
        self.fds.add(fd)

    def _open_row(self, fd: int, body: bytes | None) -> None:
        page = status.page()
        if body is not None:
            self.row = page.open_row_of(body, fd, self.local[1], self.peer[1], self.stream)
            return
        self.row = page.open_row(
            fd=fd,
            role=self.role,
            path=self.provider,
            reason=self.reason.number,
            provider=self.provider,
            local=self.local,
            peer=self.peer,
            peer_pid=self.peer_pid,
        )
        self.stream.count_into(page.traffic(self.row))

    def passed_on(self) -> None:
        """The descriptor goes to another process, and the bytes through a kernel socket."""
        self.reason = reasons.PASSED_ON
        if self.row >= 0:
            status.page().update_row(self.row, reason=self.reason.number)

    def body(self) -> bytes:
        """What its row has in common with those of others of its kind."""
        return status.body_of(
            role=self.role,
            path=self.provider,
            reason=self.reason.number,
            provider=self.provider,
            local=self.local,
            peer=self.peer,
            peer_pid=self.peer_pid,
        )

    def close_row(self) -> None:
        """Take the connection off the status page."""
        if self.row >= 0:
            self.stream.count_alone()
            status.page().close_row(self.row)
            self.row = -1

    def release(self, fd: int) -> None:
        """The descriptor is about to be closed, or is not this connection's any more."""
        assert native is not None
        connections.pop(fd, None)
        native.table_drop(fd)
        self.fds.discard(fd)
        if self.fds:
            if self.stream.fd == fd:
                self.stream.fd = next(iter(self.fds))
            return
        self.close_row()
        self.stream.close(linger_of(self.options.values))
        self._end_lease()

    def give_up(self) -> None:
        """This process ends at once, or becomes another program, and the kernel closes for it."""
        self.stream.close(linger_of(self.options.values))
        self.stream.unshare()  # the hold of this process, which nothing will release

    def leave(self, fds: list[int]) -> None:
        """The descriptors go on as something else (TCP); the stream was revoked."""
        assert native is not None
        for fd in fds:
            connections.pop(fd, None)
            native.table_drop(fd)
        self.fds.clear()
        self.close_row()

    def _end_lease(self) -> None:
        if self.companion >= 0:
            _close(self.companion)
            self.companion = -1
        if self.lease is not None:
            # not imported: it is there, as the lease is from it, and at the interpreter's end
            # nothing can be imported any more
            ports = sys.modules.get("wsdirect.switch.ports")
            if ports is not None:
                ports.pool.release(self.lease)
            self.lease = None


class Plain:
    """A listener whose connections all are TCP's."""

    __slots__ = ("reason", "row")

    def __init__(self, row: int, reason: Reason) -> None:
        self.row = row
        self.reason = reason


leaving: list[Callable[[int], None]] = []
"""Called with a descriptor number before another socket takes its place."""
connections: dict[int, Connection] = {}
plain: dict[int, Plain] = {}


def is_untouched(fd: int) -> bool:
    """Whether the program made this socket and set no option of it: there is none to carry over."""
    return native is not None and bool(native.mark_of(fd) & native.UNTOUCHED)


def note_plain(
    fd: int,
    role: str,
    reason: Reason,
    local: tuple[Any, ...] | None = None,
    peer: tuple[Any, ...] | None = None,
) -> None:
    """Let a connection, or a listener, that stays on TCP be seen with its reason.

    A connection costs one word: its addresses are what the kernel says.
    """
    assert native is not None
    forget_plain(fd)
    if role != "listen":
        status.page().make()
        native.mark_plain(fd, status.ROLES.index(role), reason.number)
        return
    row = status.page().open_row(
        fd=fd, role=role, path="tcp", reason=reason.number, local=local, peer=peer
    )
    plain[fd] = Plain(row, reason)
    native.mark(fd, native.LISTENING)  # so that its end is heard of


def reason_of(fd: int) -> Reason | None:
    """Why this connection or listener is TCP's; None: nothing is known of the descriptor."""
    known = plain.get(fd)
    if known is not None:
        return known.reason
    mark = 0 if native is None else native.mark_of(fd)
    if native is None or not mark & native.PLAIN:
        return None
    return reasons.by_number(mark >> 16)


def forget_plain(fd: int) -> None:
    """The descriptor is closed, or is something else now."""
    known = plain.pop(fd, None)
    if known is not None:
        status.page().close_row(known.row)
    if native is not None and native.mark_of(fd) & native.PLAIN:
        native.unmark(fd, ~native.WATCHED & 0xFFFFFFFF)


def borrowed(fd: int) -> _socket.socket:
    """A socket object on somebody else's descriptor; detach() it, never close it."""
    blocking = os.get_blocking(fd)
    view = _socket.socket(fileno=fd)
    if os.get_blocking(fd) != blocking:
        os.set_blocking(fd, blocking)  # setdefaulttimeout() is for sockets that programs make
    return view


def forget(fd: int) -> None:
    """A descriptor number was closed, or reused, without its socket object being closed."""
    known = connections.get(fd)
    if known is not None:
        if known.fds == {fd}:
            known.stream.fd = -1  # somebody else's socket by now: it must not be shut down
        known.release(fd)
    forget_plain(fd)


def move_descriptor(source: int, target: int) -> None:
    """Make `target` what `source` is, but in its own blocking mode; closes `source`."""
    for tell in leaving:
        tell(target)
    blocking = os.get_blocking(target)
    inheritable = os.get_inheritable(target)
    if os.get_blocking(source) != blocking:
        os.set_blocking(source, blocking)
    _dup2(source, target, inheritable)
    _close(source)


_dup2 = os.dup2


def show_process() -> None:
    """There is a status page: count and tell of TCP connections there from now on."""
    assert native is not None
    page = status.page()
    native.count_process_into(page.counters)
    native.publish_marks(*page.plains)


def after_fork_child() -> None:
    """Give the rows of inherited connections a page of this process's own.

    Without any there is no page yet: most children start another program at once.
    """
    assert native is not None
    native.count_process_into(bytearray(status.COUNTERS_SIZE))
    native.publish_marks(None, None)
    page = status.page()
    page.after_fork_child()
    for connection in set(connections.values()):
        if connection.row >= 0:
            connection.stream.count_into(page.traffic(connection.row))
