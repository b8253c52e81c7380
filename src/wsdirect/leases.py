"""Received bytes read, and bytes to be sent written, where they are: without the second copy.

    with wsdirect.recv_lease(sock, 65536) as lease:
        total += sum(lease.data)              # in the connection's ring

    with wsdirect.send_region(sock, 8192) as region:
        picture.render_into(region.data)      # sent at the end of the block

recv() copies out of the ring, and send() copies into it.  A program that only looks at bytes, or
makes them anew, needs neither.  On a socket that is not switched, or whose bytes travel in the
kernel for another reason, both functions copy and mean the same, so no program has to ask.

Both are for blocking sockets, those with a time-out and non-blocking ones, as recv and send are.
They are not for TLS: what is in the ring is not what the program would read.
"""

from __future__ import annotations

import errno
import select
import socket
import sys
from time import monotonic

from wsdirect._core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import EllipsisType, TracebackType
    from typing import Any, Final, Protocol, Self

    from typing_extensions import Buffer

    class _Read(Protocol):
        """Where a lease's bytes are: native.Piece, or _Peeked."""

        def end(self, n: int) -> None: ...

    class _Written(Protocol):
        """Where a region's bytes are: native.Piece, or _Draft."""

        def commit(self, n: int) -> Buffer | None: ...
        def cancel(self) -> None: ...


__all__ = ["Lease", "Region", "recv_lease", "send_region"]

_core: Any = native  # None without the compiled core: then all is copied

_AS_RECV: Final = 1 << 18
"""Default of `max_bytes`."""
_VIEWED: Final = "there are views of the {} besides its data still"


class Lease:
    """Bytes that have come, to be read in place; made by `recv_lease()`.

    The bytes count as received when the lease ends: all of them, or as many as `consume()` has
    said.  It ends with its `with` block, whether that raises or not, or by `release()`.  A lease
    that is dropped without an end leaves its bytes unread.

    The views are of memory that the peer can write to.  A peer under wsdirect never changes bytes
    that are unread, but a hostile one can while they are looked at: take `bytes(lease)` of what
    must not change between a check and its use.
    """

    __slots__ = ("__weakref__", "_count", "_source", "_view")

    def __init__(self, source: _Read, buffer: Buffer) -> None:
        """For recv_lease()."""
        self._source = source
        self._view: memoryview | None = memoryview(buffer)
        self._count = len(self._view)

    @property
    def data(self) -> memoryview:
        """A read-only view of the bytes, released when the lease ends; empty at the end of file.

        ValueError: the lease has ended.
        """
        if self._view is None:
            raise ValueError("the lease has ended")
        return self._view

    @property
    def in_place(self) -> bool:
        """Whether these are the bytes in the ring; else they were copied."""
        return not isinstance(self._source, _Peeked)

    def __len__(self) -> int:
        return len(self.data)

    def __bytes__(self) -> bytes:
        return self.data.tobytes()

    def consume(self, n: int) -> None:
        """Count only the first n bytes as received when the lease ends; the rest comes again.

        Errors:
            ValueError: fewer than 0, or more than there are; or the lease has ended.
        """
        if not 0 <= n <= len(self.data):
            raise ValueError(f"{n} of {len(self.data)} bytes cannot be consumed")
        self._count = n

    def release(self) -> None:
        """End the lease; the second time nothing happens.

        Errors:
            BufferError: there are views of the bytes besides `data`, such as an array or a slice.
                The lease ends all the same, but in the ring not before the last of them is gone:
                until then nothing can be received from the socket.
        """
        view, self._view = self._view, None
        if view is None:
            return
        try:
            view.release()
        except BufferError:
            pass  # something stands on it: the source notices that
        del view
        self._source.end(self._count)

    def __enter__(self) -> Self:
        """Nothing happens; ValueError if the lease has ended."""
        _ = self.data
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the lease: see release()."""
        try:
            self.release()
        except BufferError:
            if kind is None:
                raise

    def __repr__(self) -> str:
        state = "ended" if self._view is None else f"{len(self._view)} bytes"
        return f"<wsdirect.Lease: {state}>"


class Region:
    """Room for bytes to be sent, to be filled in place; made by `send_region()`.

    What is in `data` is sent when the `with` block ends, or by `commit()`; nothing is sent if the
    block raises, or after `cancel()`, or if the region is dropped.  `data` holds anything at first,
    such as bytes that were sent before.
    """

    __slots__ = ("__weakref__", "_send", "_target", "_view")

    def __init__(self, target: _Written, buffer: Buffer, send: Any) -> None:
        """For send_region()."""
        self._target = target
        self._send = send
        self._view: memoryview | None = memoryview(buffer)

    @property
    def data(self) -> memoryview:
        """A writable view of the bytes to fill, released when the region ends.

        ValueError: it has been sent, or given up.
        """
        if self._view is None:
            raise ValueError("the region has been sent, or given up")
        return self._view

    @property
    def in_place(self) -> bool:
        """Whether it is in the ring; else it will be copied."""
        return not isinstance(self._target, _Draft)

    def __len__(self) -> int:
        return len(self.data)

    def commit(self, n: int | None = None) -> None:
        """Send the first n bytes, or all, and end the region.

        Errors:
            ValueError: n is negative, or more than there is; or the region has ended.
            BufferError: there are views of it besides `data`, such as an array or a slice; nothing
                was sent, and the region goes on.
            OSError: as `sendall()`, within the socket's own time-out.
        """
        view = self.data
        if n is None:
            n = len(view)
        if not 0 <= n <= len(view):
            raise ValueError(f"{n} of {len(view)} bytes cannot be sent")
        whole = view.obj
        view.release()
        try:
            left = self._target.commit(n)
        except BufferError:
            self._view = memoryview(whole)
            raise
        self._view = None
        if left is not None:
            self._send(left)

    def cancel(self) -> None:
        """End the region without sending anything; the second time nothing happens."""
        view, self._view = self._view, None
        if view is None:
            return
        self._target.cancel()
        try:
            view.release()
        except BufferError:
            pass  # they see memory that nobody will send

    def __enter__(self) -> Self:
        """Nothing happens; ValueError if the region has ended."""
        _ = self.data
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Send all of it, unless it was sent; or nothing if the block has raised."""
        if kind is not None:
            self.cancel()
        elif self._view is not None:
            self.commit()

    def __repr__(self) -> str:
        state = "ended" if self._view is None else f"{len(self._view)} bytes"
        return f"<wsdirect.Region: {state}>"


def recv_lease(
    sock: socket.socket,
    max_bytes: int = _AS_RECV,
    *,
    timeout: float | EllipsisType | None = ...,
) -> Lease:
    """Receive by a view of the bytes where they are.

    Waits until there is something, as `recv()` does.  Only one lease of a socket is in use at a
    time, in all threads and processes that receive from it; other calls that would receive raise
    BlockingIOError meanwhile, as their wait could be for the very thread that makes them.  Peeking
    is no matter.  Closing the socket does not end a lease.  A forked child can read what its parent
    leased, but ends nothing.

    Args:
        sock: A connected TCP socket, switched or not.
        max_bytes: The most that is wanted.
        timeout: Seconds to wait, 0: not at all, None: for ever; as the socket has it if not given.

    Returns:
        The lease; its `data` is empty at the end of the stream.

    Errors:
        BlockingIOError: nothing has come, and the call may not wait; or another lease is in use.
        TimeoutError: nothing has come in time.
        OSError: as `recv()`.
        ValueError: `max_bytes` is less than 1; or the socket does TLS.
        TypeError: `sock` is no socket.
    """
    _check(sock, "leased")
    if max_bytes < 1:
        raise ValueError("max_bytes is 1 or more")
    wait = sock.gettimeout() if isinstance(timeout, type(...)) else timeout
    stream = _core.table_lookup(sock.fileno()) if _core is not None else None
    if stream is not None:
        try:
            piece = _core.lease(stream, max_bytes, wait)
        except _core.Unattached:
            piece = None  # recv moves the connection to TCP
        if isinstance(piece, bytes):  # the end of the stream
            return Lease(_Peeked(sock, b""), b"")
        if piece is not None:
            return Lease(piece, piece)
    peeked = _Peeked(sock, _peek(sock, max_bytes, timeout, wait))
    return Lease(peeked, peeked.buffer)


def send_region(
    sock: socket.socket, size: int, *, timeout: float | EllipsisType | None = ...
) -> Region:
    """Get room for bytes to be sent, to be filled where the peer will read them.

    Waits until the ring has room for all of it, as `sendall()` would.  More than half a ring is
    never had in place, but copied when it is sent; so is what goes to a socket that is not
    switched.  Only one region of a socket is in use at a time, in all threads and processes that
    send by it; other calls that would send raise BlockingIOError meanwhile.

    Args:
        sock: A connected TCP socket, switched or not.
        size: Bytes that are wanted.
        timeout: Seconds to wait, 0: not at all, None: for ever; as the socket has it if not given.

    Errors:
        BlockingIOError: there is no room, and the call may not wait; or another region is in use.
        TimeoutError: there was no room in time.
        ValueError: `size` is less than 1; or the socket does TLS.
        TypeError: `sock` is no socket.
    """
    _check(sock, "filled")
    if size < 1:
        raise ValueError("size is 1 or more")
    wait = sock.gettimeout() if isinstance(timeout, type(...)) else timeout
    stream = _core.table_lookup(sock.fileno()) if _core is not None else None
    piece = _core.reserve(stream, size, wait) if stream is not None else None
    if piece is not None:
        return Region(piece, piece, sock.sendall)
    draft = _Draft(size)
    return Region(draft, draft.buffer, sock.sendall)


# -- by copying --------------------------------------------------------------------------------


class _Peeked:
    """Bytes that were looked at in the kernel, and are received when they are done with."""

    def __init__(self, sock: socket.socket, data: bytes) -> None:
        self._sock = sock
        self.buffer = _core.Copy(data) if _core is not None else data

    def end(self, n: int) -> None:
        """Receive n of them."""
        try:
            while n > 0:
                got = len(self._sock.recv(min(n, _AS_RECV)))  # they are here, so this does not wait
                n -= got or n
        except OSError:
            pass  # closed, or reset: what was leased has been had
        if getattr(self.buffer, "exports", 0):
            raise BufferError(_VIEWED.format("lease"))


class _Draft:
    """Private memory to be sent."""

    def __init__(self, size: int) -> None:
        self._memory = bytearray(size)
        self.buffer = _core.Copy(self._memory) if _core is not None else self._memory

    def commit(self, n: int) -> memoryview:
        """The first n bytes, for the caller to send."""
        if getattr(self.buffer, "exports", 0):
            raise BufferError(_VIEWED.format("region"))
        return memoryview(self._memory)[:n]

    def cancel(self) -> None:
        """Nothing was done that has to be undone."""


def _peek(
    sock: socket.socket, size: int, asked: float | EllipsisType | None, wait: float | None
) -> bytes:
    """Look at up to so many bytes, within a time-out that need not be the socket's."""
    if isinstance(asked, type(...)):
        return sock.recv(size, socket.MSG_PEEK)
    until = None if wait is None else monotonic() + wait
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    while True:
        left = None if until is None else max(0.0, until - monotonic())
        ready = poller.poll(None if left is None else left * 1000)
        if ready:
            try:
                return sock.recv(size, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                pass  # another thread has had it
        if wait == 0:
            raise BlockingIOError(errno.EAGAIN, "nothing has come")
        if left == 0.0:
            raise TimeoutError("timed out")


def _check(sock: Any, how: str) -> None:
    if type(sock) is socket.socket:
        return
    if not isinstance(sock, socket.socket):
        raise TypeError(f"a socket is wanted, not {type(sock).__name__}")
    ssl = sys.modules.get("ssl")
    if ssl is not None and isinstance(sock, ssl.SSLSocket):
        raise ValueError(f"what a TLS connection carries cannot be {how} in place")
