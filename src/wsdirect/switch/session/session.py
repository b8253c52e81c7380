"""One session over one provider socket: the byte stream, as its users see it."""

from __future__ import annotations

from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.switch.session.core import Core
from wsdirect.switch.session.inbox import LARGE
from wsdirect.switch.session.link import FOR_CONTROL
from wsdirect.switch.session.states import Life, Receiving, Sending
from wsdirect.switch.session.wire import HEADER_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

__all__ = ["Session"]

_E = WsaErrorCode


class Session(Core):
    """The byte stream, with TCP's semantics, over a connected provider socket, which it owns.

    Arguments, attributes and errors as for `Core`.  Any thread may call anything.
    """

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

    def confirm(self) -> None:
        """The connecting program has its connection: the other one's accept may return.

        Else the other program could meet one that does not know yet that it is connected.
        """
        self._change(self.engine.confirm)

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
