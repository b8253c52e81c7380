"""The transport of a switched connection.

Writing, flow control and the life cycle are those of asyncio's proactor transports.  Reading is
different: the engine says that there are data, and then they are received.  So an idle connection
has no buffer, and nothing is on its way to the program that a close could lose.
"""

from __future__ import annotations

import asyncio
from asyncio import events, proactor_events
from functools import partial
from typing import TYPE_CHECKING, Any

from wsdirect.aio.sockets import plain_error
from wsdirect.spi.errors import WSAError
from wsdirect.switch.upper.endpoints import StreamEndpoint, Unattached, failure_code
from wsdirect.switch.upper.progress import ENDINGS
from wsdirect.switch.upper.tables import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wsdirect.aio.sockets import End

    class _Base(asyncio.Transport):
        _loop: Any
        _protocol: Any
        _sock: Any
        _paused: bool
        _closing: bool
        _conn_lost: int
        _buffer: Any
        _empty_waiter: Any
        _eof_written: bool
        _read_fut: Any
        _write_fut: Any
        _data: Any

        def __init__(
            self, loop: Any, sock: Any, protocol: Any, waiter: Any, extra: Any, server: Any
        ) -> None: ...
        def _fatal_error(self, exc: BaseException, message: str = "") -> None: ...
        def _force_close(self, exc: BaseException | None) -> None: ...
        def _eof_received(self) -> None: ...
        def _call_connection_lost(self, exc: BaseException | None) -> None: ...

else:
    _Base = proactor_events._ProactorSocketTransport

__all__ = ["SanTransport"]

READ_SIZE = 65536  # bytes; the peer fills the ring again while these are on their way


class _Closer:
    """A socket that is only closed: asyncio shuts Windows' sockets down first."""

    __slots__ = ("_sock",)

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def close(self) -> None:
        self._sock.close()

    def fileno(self) -> int:
        found: int = self._sock.fileno()
        return found


class SanTransport(_Base):
    """See the module."""

    def __init__(
        self, loop: Any, sock: Any, end: End, protocol: Any, waiter: Any = None,
        extra: Any = None, server: Any = None,
    ) -> None:  # fmt: skip
        self._end = end
        self._provider = end.provider
        self._ended = False
        self._watched = False
        self._stream: Any = None  # a native stream, which is quicker than its provider
        # what the loop does with a callback that nobody cancels
        self._reader = partial(loop._ready.append, events.Handle(self._read, (), loop, None))
        super().__init__(loop, sock, protocol, waiter, extra, server)
        self._data = None  # a buffer that lies under every pending receive on Windows
        loop._transports[sock.fileno()] = self

    # -- reading -------------------------------------------------------------------------------

    def _loop_reading(self, _: Any = None) -> None:
        """Called by the base at the beginning and when reading resumes."""
        self._watch(not self._ended and not self._paused and not self._closing)

    def _watch(self, on: bool) -> None:
        if on != self._watched:
            self._watched = on
            try:
                self._provider.watch(self._end.handle, self._reader if on else None)
                self._stream = self._native_stream() if on else None
            except WSAError as error:
                if on:
                    self._fatal_error(plain_error(error), "Fatal read error on socket transport")

    def _native_stream(self) -> Any:
        """What the bytes are in, for as long as nothing else happens to the socket."""
        upper = self._end.upper
        return upper.endpoint.stream if type(upper.endpoint) is StreamEndpoint else None

    def _receive(self) -> bytes | None:
        """What is there, b"" at the end; None: nothing."""
        stream, upper = self._stream, self._end.upper
        if stream is not None and upper.state is State.CONNECTED and not upper.receive_ended:
            try:
                found: bytes | None = stream.take(READ_SIZE)
                return found
            except (OSError, Unattached) as error:
                self._give_up(error)
        return self._provider.receive_some(self._end.handle, READ_SIZE)

    def _send(self, data: Any) -> int:
        """Send what fits; bytes."""
        stream, upper = self._stream, self._end.upper
        if (
            stream is not None
            and not upper.sends
            and upper.state is State.CONNECTED
            and not upper.send_ended
        ):
            try:
                sent: int = stream.give(data)
                return sent
            except (OSError, Unattached) as error:
                self._give_up(error)
        return self._provider.send_some(self._end.handle, data)

    def _give_up(self, error: Exception) -> None:
        """The provider sees to what has happened to the stream."""
        self._stream = None
        endpoint = self._end.upper.endpoint
        if isinstance(error, OSError) and isinstance(endpoint, StreamEndpoint):
            if error.errno not in ENDINGS:
                raise error
            endpoint.failure = failure_code(error.errno)

    def _read(self) -> None:
        """There may be something to receive."""
        if self._closing or self._conn_lost:
            return
        if self._paused:  # most pauses are over before there are more data
            self._watch(False)
            return
        protocol = self._protocol
        try:
            if isinstance(protocol, asyncio.BufferedProtocol):
                found: Any = self._read_into(protocol)
            else:
                found = self._receive()
        except WSAError as error:
            self._fatal_error(plain_error(error), "Fatal read error on socket transport")
            return
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fatal_error(error, "Fatal error: protocol.get_buffer() call failed.")
            return
        if found is None:
            return
        if not found:
            self._ended = True
            self._watch(False)
            self._eof_received()
            return
        try:
            if isinstance(found, bytes):
                protocol.data_received(found)
            else:
                protocol.buffer_updated(found)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            called = "data_received" if isinstance(found, bytes) else "buffer_updated"
            self._fatal_error(error, f"Fatal error: protocol.{called}() call failed.")

    def _read_into(self, protocol: asyncio.BufferedProtocol) -> int | None:
        view = memoryview(protocol.get_buffer(-1)).cast("B")
        if not len(view):
            raise RuntimeError("get_buffer() returned an empty buffer")
        return self._provider.receive_into(self._end.handle, view)

    # -- writing -------------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        """Send now what fits; the base sees to the rest."""
        if (
            self._write_fut is None
            and not self._conn_lost
            and not self._eof_written
            and self._empty_waiter is None
            and isinstance(data, (bytes, bytearray, memoryview))
            and data
        ):
            view = data if isinstance(data, bytes) else memoryview(data).cast("B")
            try:
                sent = self._send(view)
            except WSAError as error:
                self._fatal_error(plain_error(error), "Fatal write error on socket transport")
                return
            if sent == len(view):
                return
            data = memoryview(view)[sent:]
        super().write(data)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Write them in one go."""
        self.write(b"".join(list_of_data))

    # -- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        """See asyncio."""
        self._watch(False)
        super().close()

    def _force_close(self, exc: BaseException | None) -> None:
        self._watch(False)
        super()._force_close(exc)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        if self._sock is not None:
            self._sock = _Closer(self._sock)
        super()._call_connection_lost(exc)
