"""What is known of a connection once it has begun, by descriptor number.

A switched connection may hang on several descriptors of this process (dup); it ends with the last.
Plain TCP connections have a record too, so that `wsdirect ss` can show them with their reason.
"""

from __future__ import annotations

import _socket
import os
import sys

from wsdirect import reasons, status
from wsdirect._core import native
from wsdirect.switch.addresses import shown
from wsdirect.switch.options import Options, inline_of, linger_of, window_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wsdirect._core._native import Stream
    from wsdirect.reasons import Reason
    from wsdirect.switch.addresses import Endpoint
    from wsdirect.switch.ports import Lease

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
        # a session has told it: the other end of its stream is in this process
        self.reason = reasons.SWITCHED if peer_pid is None else reasons.BY_SESSION
        self.peer_pid: int = native.peer_pid(stream.fd) if peer_pid is None else peer_pid
        self.options_changed()
        if options:
            self.stream.inline = inline_of(options)
        self.companion = -1  # the TCP socket that the program bound, kept for its port

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

    def bind(self, fd: int) -> None:
        """Hang the connection on a(nother) descriptor of this process."""
        assert native is not None
        connections[fd] = self
        native.table_bind(fd, self.stream)
        if not self.fds:
            self.stream.fd = fd
            self._open_row(fd)
        self.fds.add(fd)

    def _open_row(self, fd: int) -> None:
        page = status.page()
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
    """A TCP connection, or a listener, that this process's front has seen."""

    __slots__ = ("reason", "row")

    def __init__(self, row: int, reason: Reason) -> None:
        self.row = row
        self.reason = reason


fresh: set[int] = set()
"""Sockets that the program made and set no option of: there is none to carry over."""
connections: dict[int, Connection] = {}
plain: dict[int, Plain] = {}


def note_plain(
    fd: int,
    role: str,
    reason: Reason,
    local: tuple[Any, ...] | None = None,
    peer: tuple[Any, ...] | None = None,
) -> None:
    """Put a connection that stays on TCP on the status page."""
    forget_plain(fd)
    row = status.page().open_row(
        fd=fd, role=role, path="tcp", reason=reason.number, local=local, peer=peer
    )
    plain[fd] = Plain(row, reason)


def forget_plain(fd: int) -> None:
    """The descriptor is closed, or is something else now."""
    known = plain.pop(fd, None)
    if known is not None:
        status.page().close_row(known.row)


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
        known.release(fd)
    forget_plain(fd)


def move_descriptor(source: int, target: int) -> None:
    """Make `target` what `source` is, but in its own blocking mode; closes `source`."""
    blocking = os.get_blocking(target)
    inheritable = os.get_inheritable(target)
    if os.get_blocking(source) != blocking:
        os.set_blocking(source, blocking)
    _dup2(source, target, inheritable)
    _close(source)


_dup2 = os.dup2


def after_fork_child() -> None:
    """Give the rows of inherited connections a page of this process's own."""
    assert native is not None
    page = status.page()
    page.after_fork_child()
    native.count_process_into(page.counters)
    for connection in set(connections.values()):
        if connection.row >= 0:
            connection.stream.count_into(page.traffic(connection.row))
