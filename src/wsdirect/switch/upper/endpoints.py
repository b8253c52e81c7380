"""What carries the bytes of a connection: a TCP socket or a native stream of a SAN.

Both kinds have the methods of `Endpoint`, and none of them waits.  Sessions of the session
protocol are pumped into native streams by their owner, so they need no third kind.  All methods
but `close` are called with the socket's lock held.
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import struct
from fcntl import ioctl

from wsdirect._core import native
from wsdirect.spi.errors import WSAError, WsaErrorCode, from_errno
from wsdirect.switch.ungrafted import poll
from wsdirect.switch.upper.tables import Ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    class Endpoint(Protocol):
        """The interface; OSError means what it means on a non-blocking socket."""

        failure: int
        """Winsock code of what broke the connection, once that was seen."""
        switched: bool

        def fileno(self) -> int:
            """Polls as `look` says, after `look`."""

        def look(self, inline: bool) -> int:
            """`Ready` bits; `inline`: urgent data stand in the stream."""

        def settled(self) -> bool:
            """Nothing waits to be sent behind the caller's back."""

        def wish(self, room: bool) -> None:
            """The descriptor is about to be polled, for room to send if `room`."""

        def receive(self, buffers: Sequence[memoryview], peek: bool) -> int:
            """Bytes received; 0 at the end of the stream."""

        def take(self, size: int) -> bytes:
            """The same for a caller without a buffer."""

        def wait(self, seconds: float | None) -> bool:
            """Wait, without the socket's lock, until `receive` would say something."""

        def wake(self) -> None:
            """Let those who wait return; the end is near."""

        def send(self, buffers: Sequence[memoryview]) -> int:
            """Bytes taken over."""

        def available(self) -> int:
            """Bytes that one receive would find."""

        def unsent(self) -> int:
            """Bytes that the peer, or its host, has not taken."""

        def end_sending(self) -> None:
            """All was sent."""

        def send_urgent(self, data: bytes) -> int:
            """Send; the last byte is urgent."""

        def receive_urgent(self, buffers: Sequence[memoryview], peek: bool) -> int:
            """The urgent byte; BlockingIOError if there is none."""

        def at_mark(self) -> bool:
            """Whether the next byte is the urgent one."""

        def mark_ahead(self) -> bool:
            """Whether an urgent byte is still to be received as part of the stream."""

        def inline(self, on: bool) -> None:
            """SO_OOBINLINE."""

        def close(self, reset: bool, out: Callable[[], None] | None = None) -> None:
            """The end; `out` returns when nobody is in `wait` any more."""


__all__ = ["StreamEndpoint", "TcpEndpoint", "Unattached", "failure_code"]

_POLL = select.POLLIN | select.POLLOUT | select.POLLPRI
_BAD = select.POLLERR | select.POLLHUP
FIONREAD = 0x541B
SIOCATMARK = 0x8905
SIOCOUTQ = 0x5411
MOST_BUFFERS = 512  # of one system call
FLUSH_TIME = 2.0  # seconds that closing waits for bytes which the SAN did not deliver

if TYPE_CHECKING or native is None:

    class Unattached(Exception):
        """Nobody took the offer of a switched connection: it goes on over TCP."""

else:
    Unattached = native.Unattached


def failure_code(number: int | None) -> int:
    """The Winsock code for the errno that broke a connection."""
    if number in (errno.EPIPE, errno.ECONNRESET, None):
        return WsaErrorCode.WSAECONNRESET
    return from_errno(number).winerror


def _poll(fd: int) -> int:
    found = poll({fd: _POLL}, 0)
    return int(found[0][1]) if found else 0


class TcpEndpoint:
    """A connected TCP socket, or one that connects to take over what a SAN did not deliver."""

    __slots__ = ("_connecting", "_end_wanted", "_preface", "_urgent", "failure", "sock")
    switched = False

    def __init__(
        self,
        sock: _socket.socket,
        preface: bytes = b"",
        end_wanted: bool = False,
        urgent: Sequence[int] = (),
    ) -> None:
        sock.settimeout(0.0)
        self.sock = sock
        self.failure = 0
        self._connecting = False
        self._preface = memoryview(preface)
        self._end_wanted = end_wanted
        self._urgent = list(urgent)  # which bytes of the preface are, from its present begin

    def connecting(self) -> None:
        """The socket's connect is still under way."""
        self._connecting = True

    def fileno(self) -> int:  # noqa: D102
        return self.sock.fileno()

    def settled(self) -> bool:  # noqa: D102
        return not (self._connecting or self._preface or self._end_wanted)

    def _settle(self, events: int) -> bool:
        """Whether programs' own bytes may go out now."""
        if self._connecting:
            if not events & (select.POLLOUT | _BAD):
                return False
            self._connecting = False
        try:
            while self._preface:
                self._flush_some()
            if self._end_wanted:
                self._end_wanted = False
                self.sock.shutdown(_socket.SHUT_WR)
        except BlockingIOError:
            return False
        except OSError as error:
            self.failure = failure_code(error.errno)
        return True

    def _flush_some(self) -> None:
        if self._urgent and self._urgent[0] == 0:
            sent = self.sock.send(self._preface[:1], _socket.MSG_OOB)
            self._urgent.pop(0)
        else:
            size = self._urgent[0] if self._urgent else len(self._preface)
            sent = self.sock.send(self._preface[:size])
        self._preface = self._preface[sent:]
        self._urgent = [at - sent for at in self._urgent]

    def look(self, inline: bool) -> int:  # noqa: D102
        if self.failure:
            return Ready.RESET
        events = _poll(self.sock.fileno())
        ready = 0
        if events & _BAD:
            number = self.sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
            if number:
                self.failure = failure_code(number)
        if events & (select.POLLIN | _BAD):
            ready |= self._incoming()
        if self.failure:
            return ready if ready & Ready.DATA else Ready.RESET
        if not self.settled() and not self._settle(events):
            events &= ~select.POLLOUT
        if events & select.POLLOUT:
            ready |= Ready.ROOM
        if events & select.POLLPRI and not inline:
            ready |= Ready.URGENT
        return ready

    def _incoming(self) -> int:
        if self.available():
            return Ready.DATA
        try:
            # at a mark that is not inline there may be bytes though none are counted
            return Ready.DATA if self.sock.recv(1, _socket.MSG_PEEK) else Ready.END
        except BlockingIOError:
            return 0
        except OSError as error:
            self.failure = failure_code(error.errno)
            return 0

    def wish(self, room: bool) -> None:  # noqa: D102
        pass

    def receive(self, buffers: Sequence[memoryview], peek: bool) -> int:  # noqa: D102
        flags = _socket.MSG_PEEK if peek else 0
        if len(buffers) == 1:
            return self.sock.recv_into(buffers[0], 0, flags)
        return self.sock.recvmsg_into(buffers[:MOST_BUFFERS], 0, flags)[0]

    def take(self, size: int) -> bytes:  # noqa: D102
        return self.sock.recv(size)

    def wait(self, seconds: float | None) -> bool:  # noqa: D102
        milliseconds = None if seconds is None else max(1, int(seconds * 1000 + 0.999))
        return bool(poll({self.sock.fileno(): select.POLLIN}, milliseconds))

    def wake(self) -> None:  # noqa: D102
        try:
            self.sock.shutdown(_socket.SHUT_RDWR)
        except OSError:
            pass  # has ended already

    def send(self, buffers: Sequence[memoryview]) -> int:  # noqa: D102
        if not self.settled() and not self._settle(_poll(self.sock.fileno())):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        if len(buffers) == 1:
            return self.sock.send(buffers[0])
        return self.sock.sendmsg(buffers[:MOST_BUFFERS])

    def available(self) -> int:  # noqa: D102
        return _integer(self.sock.fileno(), FIONREAD)

    def unsent(self) -> int:  # noqa: D102
        return _integer(self.sock.fileno(), SIOCOUTQ) + len(self._preface)

    def end_sending(self) -> None:  # noqa: D102
        if self.settled():
            self.sock.shutdown(_socket.SHUT_WR)
        else:
            self._end_wanted = True

    def send_urgent(self, data: bytes) -> int:  # noqa: D102
        if not self.settled() and not self._settle(_poll(self.sock.fileno())):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return self.sock.send(data, _socket.MSG_OOB)

    def receive_urgent(self, buffers: Sequence[memoryview], peek: bool) -> int:  # noqa: D102
        flags = _socket.MSG_OOB | (_socket.MSG_PEEK if peek else 0)
        try:
            return self.sock.recv_into(buffers[0], 1, flags)
        except OSError as error:
            if error.errno == errno.EINVAL:  # none, or it was received before
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
            raise

    def at_mark(self) -> bool:  # noqa: D102
        return bool(_integer(self.sock.fileno(), SIOCATMARK))

    def mark_ahead(self) -> bool:  # noqa: D102
        return bool(_poll(self.sock.fileno()) & select.POLLPRI)

    def inline(self, on: bool) -> None:  # noqa: D102
        self.sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_OOBINLINE, on)

    def close(self, reset: bool, out: Callable[[], None] | None = None) -> None:  # noqa: D102
        if reset:
            _hard(self.sock)
        elif not self.settled() and not self.failure:
            self._flush()
        if out is not None:
            out()
        self.sock.close()

    def _flush(self) -> None:
        try:
            self.sock.settimeout(FLUSH_TIME)
            poll({self.sock.fileno(): select.POLLOUT}, FLUSH_TIME * 1000)
            while self._preface:
                self._flush_some()
        except OSError:
            pass  # as if the host had gone down with the bytes


def _hard(sock: _socket.socket) -> None:
    """Closing will reset the connection."""
    try:
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass


def _integer(fd: int, request: int) -> int:
    found: int = struct.unpack("i", ioctl(fd, request, b"\0\0\0\0"))[0]
    return found


class StreamEndpoint:
    """A native stream of a SAN."""

    __slots__ = ("failure", "stream")
    switched = True

    def __init__(self, stream: Any) -> None:
        # Every receive here leaves the bell armed, so pollers that nobody hooked see the truth.
        self.stream = stream
        self.failure = 0

    def fileno(self) -> int:  # noqa: D102
        fd: int = self.stream.fd
        return fd

    def settled(self) -> bool:  # noqa: D102
        return True

    def look(self, inline: bool) -> int:  # noqa: D102
        stream = self.stream
        ready = 0
        if not inline and stream.urgent_pending:
            ready |= Ready.URGENT
        if stream.available():
            ready |= Ready.DATA
        else:
            ready |= self._ending()
        if self.failure:
            return ready if ready & Ready.DATA else Ready.RESET
        if stream.writable():
            ready |= Ready.ROOM
        return ready

    def _ending(self) -> int:
        """Looked for by a receive: it also leaves the descriptor as pollers need it."""
        if self.failure:
            return Ready.RESET
        try:
            return Ready.DATA if self.stream.recv(1, 0, _peek) else Ready.END
        except BlockingIOError:
            return 0
        except OSError as error:
            self.failure = failure_code(error.errno)
            return 0

    def wish(self, room: bool) -> None:  # noqa: D102
        self.stream.arm(True, room)

    def receive(self, buffers: Sequence[memoryview], peek: bool) -> int:  # noqa: D102
        self._check()
        flags = _peek if peek else 0
        if len(buffers) == 1:
            got: int = self.stream.recv_into(buffers[0], 0, flags)
            return got
        found: int = self.stream.recv_scatter(buffers, flags | _exact)
        return found

    def take(self, size: int) -> bytes:  # noqa: D102
        self._check()
        found: bytes = self.stream.recv(size, 0)
        return found

    def wait(self, seconds: float | None) -> bool:  # noqa: D102
        ready: bool = self.stream.wait_readable(seconds)
        return ready

    def wake(self) -> None:  # noqa: D102
        pass  # closing the stream does it

    def _check(self) -> None:
        if self.failure:  # the stream tells of it once only
            raise WSAError(self.failure)

    def send(self, buffers: Sequence[memoryview]) -> int:  # noqa: D102
        self._check()
        done = 0
        for buffer in buffers:
            try:
                sent = self.stream.send(buffer, 0)
            except BlockingIOError:
                if done:
                    return done
                raise
            done += sent
            if sent < len(buffer):
                break
        return done

    def available(self) -> int:  # noqa: D102
        found: int = self.stream.unread()
        return found

    def unsent(self) -> int:  # noqa: D102
        found: int = self.stream.queued()
        return found

    def end_sending(self) -> None:  # noqa: D102
        self.stream.shutdown(_socket.SHUT_WR)

    def send_urgent(self, data: bytes) -> int:  # noqa: D102
        self._check()
        sent: int = self.stream.send_urgent(data, 0)
        return sent

    def receive_urgent(self, buffers: Sequence[memoryview], peek: bool) -> int:  # noqa: D102
        self._check()
        try:
            data = self.stream.recv_urgent(peek)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
            raise
        buffers[0][: len(data)] = data
        return len(data)

    def at_mark(self) -> bool:  # noqa: D102
        found: bool = self.stream.at_mark()
        return found

    def mark_ahead(self) -> bool:  # noqa: D102
        found: bool = self.stream.urgent_pending
        return found

    def inline(self, on: bool) -> None:  # noqa: D102
        self.stream.inline = on

    def close(self, reset: bool, out: Callable[[], None] | None = None) -> None:  # noqa: D102
        fd = self.stream.fd
        self.stream.close(reset)
        if out is not None:
            out()
        os.close(fd)


_peek = native.PEEK if native is not None else 0
_exact = native.EXACT if native is not None else 0
