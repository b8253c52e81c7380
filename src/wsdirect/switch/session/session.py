"""One session over one provider socket: the byte stream.

A session makes progress in whatever thread comes along: the provider's, in an upcall, or that of
a caller.  Its lock is never waited for in an upcall: whoever has it looks once more before it is
through.  `on_change` is called, with no lock held, when anything may have changed.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from time import monotonic

from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.switch.session.engine import Engine
from wsdirect.switch.session.inbox import LARGE, Inbox
from wsdirect.switch.session.link import FOR_CONTROL, Link
from wsdirect.switch.session.states import Arriving, Life, Receiving, Sending
from wsdirect.switch.session.transfers import Transfers
from wsdirect.switch.session.wire import (
    FEATURE_RDMA,
    FEATURE_READ,
    HEADER_SIZE,
    SIZE_MIN,
    URGENT,
    Kind,
    Terms,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final

    from typing_extensions import Buffer

    from wsdirect.switch.session.functions import Functions

__all__ = ["RECEIVES", "Session"]

_E = WsaErrorCode

RECEIVES: Final = 16
"""Receives that are posted at each end."""
PAYLOAD_MAX: Final = 32 << 10
PAYLOAD_MIN: Final = 4 << 10
LARGE_MAX: Final = 256 << 10
"""Bytes that this end moves by RDMA at a time, however many the provider could."""


class Session:
    """The byte stream, with TCP's semantics, over a connected provider socket, which it owns.

    Args:
        functions: Of the provider.
        s: Descriptor of a connected socket of it.
        active: This end connected.
        on_change: Called with the session when something may have changed.
        moved: From another process: the peer's terms, and the numbers of the engine's state.

    Attributes:
        functions: As given.
        engine: The protocol's state.
        link: The requests at the socket.
        error: Why the session ended, a Winsock code; 0 if it has not, or ended in order.
        inbox: What was not read yet.

    Errors:
        WSAENOBUFS: no memory, or none that could be registered; and others of the provider.
    """

    def __init__(
        self,
        functions: Functions,
        s: int,
        active: bool,
        on_change: Callable[[Session], object] | None = None,
        moved: tuple[Terms, Iterable[int]] | None = None,
    ) -> None:
        self.functions = functions
        self.error = 0
        self.on_change = on_change
        self._lock = allocate_lock()
        self._sender = allocate_lock()
        self._dirty = False
        self._waiters: list[Any] = []
        self.inbox = Inbox(self._free)
        self._reserved: tuple[int, memoryview] | None = None
        self._vanished = False
        limits = functions.limits(s)
        rdma = min(limits.rdma, LARGE_MAX)
        payload = PAYLOAD_MAX
        if rdma:
            payload = min(max(limits.threshold, PAYLOAD_MIN), PAYLOAD_MAX)
        size = min(payload + HEADER_SIZE, limits.message)
        if size < SIZE_MIN:
            raise WSAError(_E.WSAEMSGSIZE, "session", f"Messages of {size} bytes are too small.")
        features = 0
        if rdma:
            features = FEATURE_RDMA | (FEATURE_READ if functions.read is not None else 0)
        terms = Terms(RECEIVES, size, features, rdma, os.getpid())
        self.engine = (
            Engine(active, terms) if moved is None else Engine.adopt(terms, moved[0], moved[1])
        )
        self.link = Link(functions, s, RECEIVES, size, self.progress)
        self._transfers = Transfers(self.engine, self.link, limits.threshold, self._large_arrived)

    def start(self) -> None:
        """Post the receives, and send the terms if it is this end's turn.

        Errors:
            Those of WSPRecv and WSPSend.
        """
        with self._lock:
            for index in range(self.engine.terms.receives):
                self.link.post(index)
            if self.engine.peer is not None:
                self.engine.resume(self.engine.terms)
            elif self.engine.active:
                self._post(self.engine.start())
        self.progress()

    # --- progress -------------------------------------------------------------------------------

    def progress(self) -> None:
        """Move on as far as possible; for any thread, upcalls included."""
        self._dirty = True
        while self._dirty:
            if not self._lock.acquire(False):
                return  # whoever has it looks again
            try:
                self._dirty = False
                self._advance()
            finally:
                self._lock.release()
            self._tell()

    def _leave(self) -> None:
        """Give the lock back, and do what came up meanwhile."""
        self._lock.release()
        if self._dirty:
            self.progress()

    def _tell(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.release()
        if self.on_change is not None:
            self.on_change(self)

    def _advance(self) -> None:
        """Lock held: take what has arrived, and do what is due."""
        link, engine = self.link, self.engine
        if link.s == -1:
            return
        try:
            link.reap()
            for index, message in link.received():
                if self.ended:
                    break
                if self._arrived(index, message):
                    link.post(index)
                    engine.reposted()
                if engine.tasks:
                    self._transfers.work()  # bytes that follow must not overtake
            link.finish()
            self._transfers.work()
            self._send_rest()
            self._emit()
            if self.ended:
                link.reap()
        except WSAError as error:
            self._fail(error)
        # A goodbye that is still on its way must not be overtaken by the end of the connection.
        if self.ended and (engine.life is Life.BROKEN or not link.sending):
            self._close_link()

    def _arrived(self, index: int, message: memoryview) -> bool:
        """A message; True if its receive can be posted again at once."""
        engine = self.engine
        header = engine.message(message)
        if engine.was_reset:
            self.error = _E.WSAECONNRESET
        if header.kind not in (Kind.DATA, Kind.LARGE) or engine.receiving is Receiving.DEAF:
            return True
        view = message[len(message) - header.length :]
        if not header.flags & URGENT:
            self.inbox.add(view, index)
            return False
        self.inbox.add(view[:-1], index)
        self.inbox.add_urgent(bytes(view[-1:]))
        return header.length == 1

    def _large_arrived(self, view: memoryview) -> None:
        self.inbox.add(view, LARGE)

    def _free(self, index: int) -> None:
        """The program has read the bytes in this buffer."""
        if index == LARGE:
            self._transfers.taken = False
        elif not self.ended and self.link.s != -1:
            try:
                self.link.post(index)
                self.engine.reposted()
            except WSAError as error:
                self._fail(error)

    def _send_rest(self) -> None:
        """Send bytes of a refused transfer as messages, as far as there is room."""
        transfers = self._transfers
        rest = transfers.rest
        while rest is not None:
            room = self.engine.room()
            if not room or len(self.link.free) <= FOR_CONTROL or self._reserved is not None:
                return
            self._send_data(rest[:room])
            rest = rest[room:] if len(rest) > room else None
            transfers.rest = rest
            if rest is None:
                transfers.finished()

    def _emit(self) -> None:
        """Send the control messages that are due."""
        while self._reserved is None and self.link.free:
            message = self.engine.control()
            if message is None:
                return
            self._post(message)

    def _post(self, message: bytes) -> None:
        """Send a whole message."""
        index = self.link.free.pop()
        self.link.wake = self.ended or self.engine.sending is not Sending.OPEN
        self.link.sends.buffer(index)[: len(message)] = message
        self.link.send(index, len(message))

    def _send_data(self, data: memoryview, urgent: bool = False) -> None:
        index = self.link.free.pop()
        header = self.engine.data(len(data), urgent)
        buffer = self.link.sends.buffer(index)
        buffer[:HEADER_SIZE] = header
        buffer[HEADER_SIZE : HEADER_SIZE + len(data)] = data
        self.link.send(index, HEADER_SIZE + len(data))

    # --- the end of the connection --------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether there is no connection any more; what has arrived can still be read."""
        return self.engine.life in (Life.CLOSED, Life.BROKEN)

    def _fail(self, error: WSAError) -> None:
        """The connection is lost, or the peer broke the protocol."""
        engine = self.engine
        if self.ended:
            if engine.life is Life.CLOSED:
                self._close_link()
            return
        arriving = engine.arriving is not Arriving.IDLE
        engine.lost()
        if engine.life is Life.BROKEN:
            self.error = error.winerror
            # This is what a provider says when the peer's process has ended.  TCP has the kernel
            # send the end of the stream then; and so it is here unless the stream is cut short.
            self._vanished = error.winerror == _E.WSAECONNRESET and not arriving

    def _close_link(self) -> None:
        if self.link.s != -1:
            self._transfers.close(self.error or _E.WSAECONNABORTED)
            self.link.close()

    # --- looking --------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether the terms are agreed upon."""
        return self.engine.life is not Life.NEGOTIATING and not self.ended

    @property
    def was_reset(self) -> bool:
        """Whether reading ends with an error, not with the end of the stream."""
        if self.engine.life is not Life.BROKEN or self._vanished:
            return False
        return self.engine.receiving is not Receiving.ENDED

    @property
    def at_end(self) -> bool:
        """Whether everything was read that will ever come."""
        return not self.inbox and (self.ended or self.engine.receiving is not Receiving.OPEN)

    @property
    def peer_reads_no_more(self) -> bool:
        """Whether sending is of no use."""
        return self.ended or self.engine.peer_deaf

    @property
    def is_flushed(self) -> bool:
        """Whether the provider has all that is to be sent, the end of the stream included."""
        if self.ended:
            return self.link.s == -1
        ended = self.engine.sending is Sending.ENDED
        return ended and not self.link.sending and not self._transfers.busy

    @property
    def available(self) -> int:
        """Bytes that can be read now, up to the next mark."""
        return self.inbox.available

    def readable(self) -> bool:
        """Whether recv_into would not wait: bytes, the end, or an error."""
        return self.inbox.readable or self.at_end

    def writable(self) -> bool:
        """Whether send would not wait: room, or an error."""
        engine = self.engine
        if self.peer_reads_no_more or engine.sending is not Sending.OPEN:
            return True
        self._look_at_sends()
        return engine.room() > 0 and len(self.link.free) > FOR_CONTROL and not self._transfers.busy

    def _look_at_sends(self) -> None:
        """Take back the buffers of sends that have finished, if they are needed."""
        if len(self.link.free) <= FOR_CONTROL:
            self.progress()

    # --- reading --------------------------------------------------------------------------------

    def peek(self) -> tuple[memoryview, bool] | None:
        """The first bytes that can be read and whether that is the urgent byte; None if none are.

        They stay where they are until `consumed`.
        """
        return self.inbox.peek()

    def consumed(self, count: int) -> None:
        """So many bytes of `peek` were taken."""
        self._lock.acquire()
        try:
            self.inbox.consume(count)
            self._advance()
        finally:
            self._leave()

    def recv_into(self, buffer: Buffer) -> int:
        """Read what is there, up to a mark.

        Returns:
            Bytes; 0 at the end of the stream.

        Errors:
            WSAEWOULDBLOCK: nothing is there yet.
            WSAECONNRESET, WSAECONNABORTED: the connection ended without an end of the stream.
        """
        target = memoryview(buffer).cast("B")
        self._lock.acquire()
        try:
            done = self.inbox.read(target)
            if done:
                self._advance()
        finally:
            self._leave()
        if done or not target.nbytes:
            return done
        if not self.at_end:
            raise WSAError(_E.WSAEWOULDBLOCK, "recv")
        if self.was_reset:
            raise WSAError(self.error or _E.WSAECONNRESET, "recv")
        return 0

    @property
    def at_mark(self) -> bool:
        """Whether the next byte is the urgent one, read apart or not (SIOCATMARK)."""
        return self.inbox.at_mark

    def recv_urgent(self) -> bytes:
        """The urgent byte, once, before recv_into has passed it.

        Errors:
            WSAEINVAL: there is none, or it is `inline`.
        """
        urgent = b""
        if not self.inbox.inline:
            urgent, self.inbox.urgent = self.inbox.urgent, b""
        if not urgent:
            raise WSAError(_E.WSAEINVAL, "recv", "There are no urgent data.")
        return urgent

    # --- writing --------------------------------------------------------------------------------

    def _refuse_to_send(self) -> None:
        if self.engine.sending is not Sending.OPEN:
            raise WSAError(_E.WSAESHUTDOWN, "send")
        if self.peer_reads_no_more:
            raise WSAError(self.error or _E.WSAECONNRESET, "send")

    def reserve(self, wanted: int) -> memoryview | None:
        """Memory to put up to so many bytes into; None if none can be sent now.

        `commit` follows, in the same thread; nobody else's sends come between.

        Errors:
            WSAESHUTDOWN: after shutdown.
            WSAECONNRESET, WSAECONNABORTED: the peer takes no more.
        """
        self._sender.acquire()
        view = None
        try:
            self._lock.acquire()
            try:
                self._refuse_to_send()
                view = self._reserve(wanted)
            finally:
                self._leave()
        finally:
            if view is None:
                self._sender.release()
        return view

    def _reserve(self, wanted: int) -> memoryview | None:
        engine, link = self.engine, self.link
        if len(link.free) <= FOR_CONTROL:
            self._advance()
        room = engine.room()
        if not room or len(link.free) <= FOR_CONTROL or self._transfers.busy:
            return None
        large = self._transfers.limit(wanted)
        if large:
            try:
                self._reserved = LARGE, self._transfers.place(large)
                return self._reserved[1]
            except MemoryError:
                pass
        view = link.sends.buffer(link.free[-1])[HEADER_SIZE : HEADER_SIZE + min(room, wanted)]
        self._reserved = link.free[-1], view
        return view

    def commit(self, count: int, urgent: bool = False) -> int:
        """Send the first bytes of what `reserve` gave; 0 for none after all.

        Returns:
            How many were sent: less only if the connection is gone.
        """
        self._lock.acquire()
        try:
            assert self._reserved is not None
            (index, view), self._reserved = self._reserved, None
            if count and not self.ended:
                try:
                    self._commit(index, view[:count], urgent)
                except WSAError as error:
                    self._fail(error)
            self._advance()
        finally:
            self._sender.release()
            self._leave()
        return 0 if self.ended else count

    def _commit(self, index: int, view: memoryview, urgent: bool) -> None:
        link, engine = self.link, self.engine
        if index >= 0:
            link.free.pop()
            header = engine.data(len(view), urgent)
            link.sends.buffer(index)[:HEADER_SIZE] = header
            link.send(index, HEADER_SIZE + len(view))
            return
        if self._transfers.limit(len(view)) == len(view):
            try:
                self._transfers.begin(view)
                return
            except WSAError as error:
                if error.winerror != _E.WSAENOBUFS:
                    raise
        # Too few for that after all, or no memory that could be registered: they go as messages.
        engine.rest = True
        self._transfers.rest = view
        self._send_rest()

    def send(self, data: Buffer, urgent: bool = False) -> int:
        """Send as much as can go now.

        Args:
            data: The bytes.
            urgent: The last of them is urgent; then all go, in one message, or none.

        Returns:
            Bytes sent, at least one unless there are none.

        Errors:
            WSAEWOULDBLOCK: there is no room.
            WSAEMSGSIZE: more urgent bytes than one message takes.
            Those of `reserve`.
        """
        source = memoryview(data).cast("B")
        if urgent and self.engine.peer is not None:
            most = min(self.engine.peer.size, self.engine.terms.size) - HEADER_SIZE
            if len(source) > most:
                raise WSAError(_E.WSAEMSGSIZE, "send")
        done = 0
        while done < len(source):
            wanted = len(source) - done
            view = self.reserve(min(wanted, 1) if urgent else wanted)
            if view is None:
                break
            if urgent:
                return self._commit_urgent(source)
            count = min(len(view), wanted)
            view[:count] = source[done : done + count]
            done += self.commit(count)
        if not done and len(source):
            raise WSAError(_E.WSAEWOULDBLOCK, "send")
        return done

    def _commit_urgent(self, source: memoryview) -> int:
        assert self._reserved is not None
        index = self._reserved[0]
        self.link.sends.buffer(index)[HEADER_SIZE : HEADER_SIZE + len(source)] = source
        self._reserved = index, self.link.sends.buffer(index)[HEADER_SIZE:]
        return self.commit(len(source), urgent=True)

    def start_send(self, data: Buffer, done: Callable[[int], object]) -> int:
        """Send a large buffer from where it is; it must not change before `done(error)`.

        Returns:
            Bytes that are taken; 0: too few for this, use `send`.

        Errors:
            WSAEWOULDBLOCK: there is no room now.
            WSAENOBUFS: the memory cannot be registered.
            Those of `reserve`.
        """
        source = memoryview(data).cast("B")
        with self._sender:
            self._lock.acquire()
            try:
                self._refuse_to_send()
                if not self.engine.room() or self._transfers.busy:
                    raise WSAError(_E.WSAEWOULDBLOCK, "send")
                count = self._transfers.limit(len(source))
                if not count:
                    return 0
                if len(self.link.free) <= FOR_CONTROL:
                    raise WSAError(_E.WSAEWOULDBLOCK, "send")
                self._transfers.begin(source[:count], done)
                return count
            finally:
                self._leave()

    # --- waiting --------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait for a condition about this session, such as `readable`.

        Args:
            condition: Looked at after every change.
            timeout: Seconds; None waits for ever.

        Returns:
            Whether it has come true.
        """
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            self.progress()
            waiter = allocate_lock()
            waiter.acquire()
            self._waiters.append(waiter)
            if condition():
                return True
            left = -1.0 if deadline is None else deadline - monotonic()
            if deadline is not None and left <= 0:
                return False
            waiter.acquire(True, left)

    # --- ending ---------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """Send no more; what was sent arrives, and then the end of the stream."""
        self._change(self.engine.shutdown)

    def close(self) -> None:
        """Read and send no more.  What was sent still arrives; then the connection goes.

        Bytes that have arrived and were not read make it an `abort`, as with TCP.
        """
        if self.inbox:
            self.abort()
            return

        def leave() -> None:
            if not self.ended and self.engine.peer is not None:
                self.engine.stop_reading()
                self.engine.shutdown()
            else:
                self.engine.abort()

        self._change(leave)

    def abort(self) -> None:
        """End the connection now; the peer sees a reset."""
        self._change(self.engine.abort)

    def _change(self, change: Callable[[], object]) -> None:
        self._lock.acquire()
        try:
            change()
            if self.engine.receiving is Receiving.DEAF or self.engine.life is Life.CLOSED:
                self.inbox.discard()
            self._advance()
        finally:
            self._leave()
        self._tell()

    # --- to another process, see `moving` --------------------------------------------------------

    def suspend(self) -> None:
        """Ask the peer to stop."""
        self.link.wake = True
        self._change(self.engine.suspend)

    def unread(self) -> tuple[bytes, int, bytes, bytes]:
        """What has arrived, and what is still to be sent.

        Returns:
            Bytes to read, where the urgent byte stands in them (-1: nowhere), the urgent byte if
            it was not read apart, bytes to send.
        """
        data, mark = self.inbox.copy()
        rest = self._transfers.rest
        return data, mark, self.inbox.urgent, b"" if rest is None else bytes(rest)

    def reread(self, data: bytes, mark: int, urgent: bytes, rest: bytes) -> None:
        """What `unread` gave in another process."""
        self.inbox.restore(data, mark, urgent)
        if rest:
            self._transfers.rest = memoryview(rest)

    def drop(self) -> None:
        """Close the socket at once, whatever is under way."""
        self._lock.acquire()
        try:
            if not self.ended:
                self.engine.abort()
            self._close_link()
            self.inbox.discard()
        finally:
            self._leave()
        self._tell()
