"""asyncio streams: on the standard loop (switched or not), on uvloop, and on SanEventLoop."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING, Any

from wsdirect.tools.bench.contenders.end import ROOM, End, Lost, report, verify

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["San", "Streams", "Uvloop"]

HOST = "127.0.0.1"


class Streams(End):
    """The loop runs while there is something to do, and rests between two commands."""

    def __init__(self, role: str, pinning: str, switched: bool) -> None:
        super().__init__(role, pinning, switched)
        self._loop = self._new_loop()
        asyncio.set_event_loop(self._loop)
        self._streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._address: Any = None

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(coroutine)

    # -- connecting

    def listen(self) -> Any:
        return self._run(self._listen())

    async def _listen(self) -> Any:
        self._came = asyncio.Queue[None]()
        self._server = await asyncio.start_server(self._accepted, HOST, 0, backlog=4096)
        return list(self._server.sockets[0].getsockname())

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._take(reader, writer)
        self._came.put_nowait(None)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._streams.append((reader, writer))

    def accept(self) -> None:
        self._run(self._came.get())

    def connect(self, address: Any) -> None:
        self._run(self._connect(address))

    async def _connect(self, address: Any) -> None:
        self._take(*await asyncio.open_connection(*address[:2]))

    def verify(self) -> None:
        verify(self._streams[-1][1].get_extra_info("socket"), self.switched)

    def tell(self) -> None:
        self._run(self._tell())

    def hear(self) -> None:
        self._run(self._hear())

    async def _tell(self) -> None:
        _, writer = self._streams[-1]
        writer.write(b".")
        await writer.drain()
        await _flushed(writer)

    async def _hear(self) -> None:
        await self._streams[-1][0].readexactly(1)

    # -- one connection, many messages

    def echo(self, size: int, count: int) -> None:
        self._run(_answer(*self._streams[-1], size, count + 1))

    def ping(self, size: int, count: int, batch: int) -> dict[str, Any]:
        times: list[int] = self._run(_ask(*self._streams[-1], size, count // batch, batch))
        return report(times, batch)

    def sink(self, size: int, count: int) -> None:
        self._run(self._sink(size * count))

    async def _sink(self, left: int) -> None:
        read = self._streams[-1][0].read
        await self._tell()
        while left:
            data = await read(min(left, ROOM))
            if not data:
                raise Lost
            left -= len(data)
        await self._tell()

    def source(self, size: int, count: int) -> float:
        seconds: float = self._run(self._source(size, count))
        return seconds

    async def _source(self, size: int, count: int) -> float:
        _, writer = self._streams[-1]
        message, write, drain = b"x" * size, writer.write, writer.drain
        await self._hear()
        start = time.perf_counter()
        for _ in range(count):
            write(message)
            await drain()
        await self._hear()
        return time.perf_counter() - start

    # -- many at a time

    def prepare(self, address: Any) -> None:
        """Remember where to connect to."""
        self._address = address

    def hold(self, count: int) -> None:
        """The server's: accept so many, and exchange a byte with each."""
        self._run(self._hold(count))

    async def _hold(self, count: int) -> None:
        for _ in range(count):
            await self._came.get()
        for reader, writer in self._streams:
            writer.write(await reader.readexactly(1))
            await _flushed(writer)

    def open(self, count: int) -> None:
        """The client's counterpart."""
        self._run(self._open(count))
        self.verify()

    async def _open(self, count: int) -> None:
        for _ in range(count):
            await self._connect(self._address)
            self._streams[-1][1].write(b"x")
        for reader, _ in self._streams:
            await reader.readexactly(1)

    def echo_all(self, size: int, rounds: int) -> None:
        """Answer so many messages on each connection."""
        self._run(_all(_answer(*streams, size, rounds) for streams in self._streams))

    def ping_all(self, size: int, rounds: int) -> float:
        """So many round trips on each connection, all connections at a time: seconds."""
        start = time.perf_counter()
        self._run(_all(_trips(*streams, size, rounds) for streams in self._streams))
        return time.perf_counter() - start


async def _all(coroutines: Any) -> None:
    await asyncio.gather(*coroutines)


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int, count: int
) -> None:
    read, write, drain = reader.readexactly, writer.write, writer.drain
    for _ in range(count):
        write(await read(size))
        await drain()
    await _flushed(writer)


async def _flushed(writer: asyncio.StreamWriter) -> None:
    """The loop rests from now on: what has not been sent by then waits for the next command."""
    while writer.transport.get_write_buffer_size():
        await asyncio.sleep(0)


async def _trips(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int, count: int
) -> None:
    message, read, write, drain = b"x" * size, reader.readexactly, writer.write, writer.drain
    for _ in range(count):
        write(message)
        await drain()
        await read(size)


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int, batches: int, batch: int
) -> list[int]:
    await _trips(reader, writer, size, 1)
    clock, times = time.perf_counter_ns, []
    for _ in range(batches):
        start = clock()
        await _trips(reader, writer, size, batch)
        times.append(clock() - start)
    return times


class Uvloop(Streams):
    """The same on uvloop."""

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop


class San(Streams):
    """The same on SanEventLoop: no launcher, the loop alone."""

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        import wsdirect

        loop: asyncio.AbstractEventLoop = wsdirect.SanEventLoop()
        return loop

    def verify(self) -> None:
        verify(self._streams[-1][1].get_extra_info("socket"), True)
