"""The loop's selector, which is the engine of its sockets as well: one epoll, one thread.

Descriptors that asyncio registers are told as any selector tells them.  The others belong to
overlapped requests: what has become possible is done right here, and requests that have ended are
told to those who wait.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import select
import selectors
from _thread import get_ident
from collections import deque
from typing import TYPE_CHECKING, Any

from wsdirect import settings
from wsdirect._core import native
from wsdirect.aio.sockets import End, accepted, end_of, plain_error
from wsdirect.spi.errors import WSAError
from wsdirect.spi.overlapped import WSAOVERLAPPED
from wsdirect.spi.upcalls import UpcallTable
from wsdirect.switch.upper.adopting import AdoptingProvider
from wsdirect.switch.upper.engine import DrivenEngine, Engine

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsdirect.switch.upper.paths import Arrival

__all__ = ["Operation", "OperationFuture", "Proactor"]

VERSION = 0x0202  # of Windows Sockets
IN = select.EPOLLIN
MOST = 1024  # descriptors told at a time
PIECE = 262144  # bytes of a file that are read at a time


class Operation(WSAOVERLAPPED):
    """One overlapped request.

    Args:
        proactor: Where it is told of.
        handle: Of the socket.
        tell: Called with it in the loop's thread, within `Proactor.select`, when it has ended.
    """

    __slots__ = ("caller", "handle", "proactor", "tell")

    def __init__(
        self, proactor: Proactor, handle: int, tell: Callable[[Operation], object] | None = None
    ) -> None:
        super().__init__()
        self.proactor = proactor
        self.handle = handle
        self.tell = tell
        self.caller = 0  # the thread that begins it, meanwhile

    def cancel(self) -> None:
        """End it; nobody is told of it any more."""
        self.tell = None
        self.proactor.cancel(self)


class OperationFuture(asyncio.Future[int]):
    """The future of an operation; the result is its number of bytes.

    Cancelling it ends the operation.  No operation has data that could be lost by that: those that
    receive and accept only wait until there is something to take.
    """

    def __init__(self, operation: Operation, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._operation: Operation | None = operation
        operation.tell = self.told

    def told(self, operation: Operation) -> None:
        """The operation has ended."""
        self._operation = None
        if self.done():
            return
        if operation.OffsetHigh:
            self.set_exception(plain_error(operation.OffsetHigh))
        else:
            self.set_result(operation.InternalHigh)

    def cancel(self, msg: Any = None) -> bool:
        """Cancel it and the operation."""
        operation, self._operation = self._operation, None
        if operation is not None:
            operation.cancel()
        return super().cancel(msg)


class _Upcalls(UpcallTable):
    """Collects the operations that have ended."""

    __slots__ = ("_ended", "_ring")

    def __init__(self, ended: deque[Operation], ring: Callable[[], object]) -> None:
        self._ended = ended
        self._ring = ring

    def WPUCompleteOverlappedRequest(
        self, s: int, overlapped: WSAOVERLAPPED, error: int, transferred: int
    ) -> None:
        overlapped.publish(transferred)
        assert isinstance(overlapped, Operation)
        if overlapped.caller != get_ident():  # else whoever begins it sees it ended
            self._ended.append(overlapped)
            self._ring()


class _Engine(DrivenEngine):
    """Knows the streams that are read all the time, at whose rings the epoll's poller looks."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.streams: dict[int, Any] = {}  # by descriptor; watched
        self.unheard: set[int] = set()  # may hold data that no descriptor tells of

    def _register(self, sock: Any, fd: int, mask: int) -> None:
        super()._register(sock, fd, mask)
        stream = getattr(sock.endpoint, "stream", None) if sock.reader and mask & IN else None
        if self.streams.get(fd) is not stream:
            self._unwatch(fd)
            if stream is not None:
                self.streams[fd] = stream
                stream.watch(True)
        if stream is not None:
            self.look_at(fd)

    def _forget(self, fd: int) -> None:
        super()._forget(fd)
        self._unwatch(fd)

    def _unwatch(self, fd: int) -> None:
        stream = self.streams.pop(fd, None)
        self.unheard.discard(fd)
        if stream is not None:
            if self._epoll is not None:
                native.epoll_cool(self._epoll.fileno(), fd)  # type: ignore[union-attr]
            stream.watch(False)

    def look_at(self, fd: int) -> None:
        """Look at the ring, if it holds data: they may have come while nobody was rung for."""
        stream = self.streams[fd]
        assert self._epoll is not None
        assert native is not None
        if not stream.available() or native.epoll_heat(self._epoll.fileno(), fd, stream):
            self.unheard.discard(fd)
        else:
            self.unheard.add(fd)
            self._ring()  # another thread may have registered it while the loop waits

    def stop(self) -> None:
        """As in the base."""
        for fd in list(self.streams):
            self._unwatch(fd)
        super().stop()

    abandon = stop


class _Provider(AdoptingProvider):
    """The loop's own sockets."""

    def __init__(self, epoll: select.epoll, ring: Callable[[], object]) -> None:
        self._epoll = epoll
        self._ring = ring
        super().__init__()

    def _new_engine(self) -> Engine:
        return _Engine(self._advance, self._epoll, self._ring)


class Proactor(selectors.EpollSelector):
    """A selector that serves overlapped requests while it waits."""

    _selector: select.epoll

    def __init__(self) -> None:
        super().__init__()
        self._loop: Any = None
        self._ended: deque[Operation] = deque()
        self._running: set[Operation] = set()
        self._number = self._selector.fileno()
        if native is not None:
            now = settings.current()
            native.set_spin_limit(now.spin_us)
            native.set_cpu_budget(now.cpu_budget)
        self.provider = _Provider(self._selector, self._wake)
        self.provider.WSPStartupEx(VERSION, None, _Upcalls(self._ended, self._wake))

    def set_loop(self, loop: Any) -> None:
        """The loop whose selector this is."""
        self._loop = loop

    def _wake(self) -> None:
        loop = self._loop
        if loop is not None and loop._thread_id != get_ident():
            loop._write_to_self()

    # -- waiting -------------------------------------------------------------------------------

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Register; a descriptor of a socket that waits for nothing can be, too."""
        try:
            return super().register(fileobj, events, data)
        except FileExistsError:
            self._selector.unregister(fileobj)
            return super().register(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for a descriptor that is registered, or for the end of an operation."""
        engine = self.provider._engine
        assert isinstance(engine, _Engine)
        assert native is not None
        ended = self._ended
        if engine.unheard:
            for fd in list(engine.unheard):
                engine.look_at(fd)
        due = engine.timeout() if engine._due else None
        if due is not None and (timeout is None or due < timeout):
            timeout = due
        if ended or engine.unheard:
            timeout = 0
        elif timeout:
            timeout = math.ceil(timeout * 1e3) * 1e-3  # epoll counts milliseconds
        # as few frames as possible from here on: this is what a message costs
        found = native.epoll_poll(self._number, timeout, MOST)
        keys = self._fd_to_key  # type: ignore[attr-defined]
        streams = engine.streams
        ready: list[tuple[selectors.SelectorKey, int]] = []
        others = []
        for item in found:
            fd, event = item
            key = keys.get(fd)
            if key is not None:
                events = (event & ~select.EPOLLIN and selectors.EVENT_WRITE) | (
                    event & ~select.EPOLLOUT and selectors.EVENT_READ
                )
                ready.append((key, events & key.events))
                continue
            owner = engine.reading(fd)
            if owner is None or event != select.EPOLLIN:
                others.append(item)
                continue
            stream = streams.get(fd)
            if stream is not None:
                native.epoll_heat(self._number, fd, stream)
            owner.reader()  # type: ignore[misc]
        if others or due is not None:
            engine.woken(others)
        while ended:
            operation = ended.popleft()
            self._running.discard(operation)
            tell, operation.tell = operation.tell, None
            if tell is not None:
                tell(operation)
        return ready

    def close(self) -> None:
        """End all operations, and serve the sockets no more."""
        for operation in list(self._running):
            tell = operation.tell
            if isinstance(getattr(tell, "__self__", None), OperationFuture):
                tell.__self__.cancel()  # type: ignore[union-attr]
            else:
                operation.cancel()
        self._running.clear()
        self._ended.clear()
        self.provider.leave_engine()
        self.provider._engine.stop()
        if native is not None:
            native.epoll_forget(self._number)
        super().close()

    # -- operations ----------------------------------------------------------------------------

    def own(self, end: End) -> End:
        """See to it that this proactor serves the socket.

        Errors:
            RuntimeError: another loop uses it.
        """
        if end.provider is not self.provider:
            try:
                end.handle = self.provider.move_here(end.provider, end.handle)
            except WSAError:
                raise RuntimeError("the socket is in use by another event loop") from None
            end.provider = self.provider
        return end

    def begin(self, operation: Operation, call: Callable[..., Any], *arguments: Any) -> bool:
        """Begin; False if it has ended already, and then it is not told.  OSError if it failed.

        Args:
            operation: Its tell is set.
            call: One of the provider's.
            arguments: What stands between handle and record.
        """
        operation.caller = get_ident()
        try:
            call(operation.handle, *arguments, operation)
        except WSAError as error:
            raise plain_error(error) from None
        finally:
            operation.caller = 0
        if operation.in_progress:
            self._running.add(operation)
            return True
        return False

    def cancel(self, operation: Operation) -> None:
        """End an operation, if it has not ended."""
        self._running.discard(operation)
        if not operation.in_progress:
            return
        operation.caller = get_ident()
        try:
            self.provider.CancelIoEx(operation.handle, operation)
        except WSAError:
            pass  # closed, and ended by that
        finally:
            operation.caller = 0

    def _begun(self, end: End, call: Callable[..., Any], *arguments: Any) -> asyncio.Future[int]:
        """Begin; the result is the number of bytes."""
        operation = Operation(self, end.handle)
        future = OperationFuture(operation, self._loop)
        if not self.begin(operation, call, *arguments):
            future.told(operation)
        return future

    async def _repeat(self, end: End, call: Callable[[], Any], wait: Callable[..., Any]) -> Any:
        """Call, and wait each time that the answer is None."""
        while True:
            try:
                found = call()
            except WSAError as error:
                raise plain_error(error) from None
            if found is not None:
                return found
            await self._begun(end, wait)

    async def recv(self, end: End, size: int) -> bytes:
        """Receive bytes."""
        provider = self.provider
        found: bytes = await self._repeat(
            end, lambda: provider.receive_some(end.handle, size), provider.await_data
        )
        return found

    async def recv_into(self, end: End, buffer: Any) -> int:
        """Receive into a buffer; bytes."""
        provider = self.provider
        view = memoryview(buffer).cast("B")
        found: int = await self._repeat(
            end, lambda: provider.receive_into(end.handle, view), provider.await_data
        )
        return found

    def send(self, sock: Any, data: Any) -> asyncio.Future[int]:
        """Send all, for asyncio's transports."""
        end = end_of(sock)
        if end is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._begun(end, self.provider.WSPSend, (data,), 0)

    async def send_all(self, end: End, data: Any) -> int:
        """Send all; bytes."""
        view = memoryview(data).cast("B")
        try:
            sent = self.provider.send_some(end.handle, view)
        except WSAError as error:
            raise plain_error(error) from None
        if sent < len(view):
            sent += await self._begun(end, self.provider.WSPSend, (view[sent:],), 0)
        return sent

    async def sendfile(self, end: End, file: Any, offset: int, count: int) -> int:
        """Send a part of a file; bytes."""

        def call(handle: int, operation: Operation) -> None:
            operation.Offset, operation.OffsetHigh = offset & 0xFFFFFFFF, offset >> 32
            self.provider.TransmitFile(handle, file, count, PIECE, operation)

        return await self._begun(end, call)

    async def accept(self, end: End) -> tuple[Any, Any]:
        """Accept: a socket and the peer's address."""
        provider = self.provider
        arrival: Arrival = await self._repeat(
            end, lambda: provider.take_arrival(end.handle), provider.await_arrival
        )
        return accepted(provider, end.handle, arrival), arrival.peer
