"""asyncio's standard loop over switched connections, each test on plain TCP, too."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import selectors
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

import wsdirect
from tests.loops.ends import HOST, PATIENCE, connect_plain, connect_switched, listener
from wsdirect.switch import policy

SELECTORS = {
    "epoll": selectors.EpollSelector,
    "poll": selectors.PollSelector,
    "select": selectors.SelectSelector,
}


@pytest.fixture(params=["tcp", "switched"])
def path(request: pytest.FixtureRequest, switch: None) -> Iterator[str]:
    """Whether connections that the test makes are switched."""
    policy.switching = request.param == "switched"
    yield request.param
    policy.switching = True


@pytest.fixture(params=SELECTORS)
def run(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """Run a coroutine in debug mode on a loop with one of the selectors."""

    def start(coroutine: Any) -> Any:
        loop = asyncio.SelectorEventLoop(SELECTORS[request.param]())
        loop.slow_callback_duration = PATIENCE
        with asyncio.Runner(debug=True, loop_factory=lambda: loop) as runner:
            return runner.run(asyncio.wait_for(coroutine, PATIENCE))

    return start


def pair(path: str) -> tuple[socket.socket, socket.socket]:
    """Two non-blocking ends."""
    if path == "tcp":
        ends = connect_plain()
    else:
        with listener() as server:
            ends = connect_switched(server)
    for sock in ends:
        sock.setblocking(False)
    return ends


class Recorder(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.data = bytearray()
        self.over = asyncio.Event()
        self.changed = asyncio.Event()
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.told.append("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.changed.set()

    def eof_received(self) -> bool:
        self.told.append("eof")
        self.changed.set()
        return True

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")
        self.changed.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.told.append(f"lost: {type(error).__name__}")
        self.over.set()
        self.changed.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()


@contextlib.asynccontextmanager
async def protocols(path: str) -> AsyncIterator[tuple[Recorder, Recorder]]:
    loop = asyncio.get_running_loop()
    made = []
    for sock in pair(path):
        _, protocol = await loop.create_connection(Recorder, sock=sock)
        assert wsdirect.is_switched(protocol.transport.get_extra_info("socket")) == (
            path == "switched"
        )
        made.append(protocol)
    try:
        yield made[0], made[1]
    finally:
        for protocol in made:
            protocol.transport.abort()
            await protocol.over.wait()


def test_streams_through_server_and_connection(path: str, run: Any) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line[::-1])
            await writer.drain()
        writer.write(b"end")
        writer.write_eof()
        writer.close()
        await writer.wait_closed()

    async def client(address: Any, number: int) -> tuple[bytes, bool]:
        reader, writer = await asyncio.open_connection(*address)
        writer.writelines([b"%d " % number, b"x" * 70_000, b"\n"])
        await writer.drain()
        got = await reader.readexactly(70_000 + len(f"{number} \n"))
        writer.write_eof()
        rest = await reader.read()
        assert writer.get_extra_info("peername")[:2] == address
        assert writer.get_extra_info("sockname")[0] == HOST
        switched = wsdirect.is_switched(writer.get_extra_info("socket"))
        writer.close()
        await writer.wait_closed()
        return got[-2:] + rest, switched

    async def main() -> list[Any]:
        server = await asyncio.start_server(echo, HOST, 0, limit=1 << 20)
        address = server.sockets[0].getsockname()
        first = await client(address, 9)  # the server accepts from its loop's first turn on
        answers = await asyncio.gather(*(client(address, number) for number in range(8)))
        server.close()
        await server.wait_closed()
        return [first, *answers]

    answers = run(main())
    assert answers[0][0] == b" 9end"
    assert [got for got, _ in answers[1:]] == [b" %dend" % number for number in range(8)]
    assert {switched for _, switched in answers[1:]} == {path == "switched"}


def test_sock_methods(path: str, run: Any, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "file").write_bytes(data)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server((HOST, 0)) as server, socket.socket() as a:
            server.setblocking(False)
            a.setblocking(False)
            accepting = asyncio.ensure_future(loop.sock_accept(server))
            await asyncio.sleep(0)
            await loop.sock_connect(a, server.getsockname())
            b, address = await accepting
            with b, (tmp_path / "file").open("rb") as file:
                assert address == a.getsockname()
                assert wsdirect.is_switched(b) == (path == "switched")
                receiving = asyncio.ensure_future(loop.sock_recv(b, 100))
                await asyncio.sleep(0.01)
                await loop.sock_sendall(a, b"hello")
                assert await receiving == b"hello"
                buffer = bytearray(10)
                into = asyncio.ensure_future(loop.sock_recv_into(b, buffer))
                await loop.sock_sendall(a, b"into")
                assert await into == 4
                sending = asyncio.ensure_future(loop.sock_sendfile(a, file, fallback=True))
                got = bytearray()
                while len(got) < len(data):
                    got += await loop.sock_recv(b, 1 << 16)
                assert await sending == len(data)
                assert got == data
                waiting = asyncio.ensure_future(loop.sock_recv(b, 1))
                await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                await loop.sock_sendall(a, b"after a cancelled one")
                assert await loop.sock_recv(b, 100) == b"after a cancelled one"

    run(main())


def test_sendfile_and_start_tls(path: str, run: Any, tmp_path: Path) -> None:
    data = os.urandom(200_000)
    (tmp_path / "file").write_bytes(data)
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    for_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA).configure_cert(for_server)
    for_client = ssl.create_default_context()
    authority.configure_trust(for_client)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with protocols(path) as (a, b):
            with (tmp_path / "file").open("rb") as file:
                assert await loop.sendfile(a.transport, file) == len(data)
            await b.until(lambda: len(b.data) == len(data))
            assert b.data == data
            b.data.clear()
            one, other = await asyncio.gather(
                loop.start_tls(a.transport, a, for_client, server_hostname="localhost"),
                loop.start_tls(b.transport, b, for_server, server_side=True),
            )
            one.write(data)
            await b.until(lambda: len(b.data) == len(data))
            assert b.data == data
            assert one.get_extra_info("cipher") == other.get_extra_info("cipher")
            assert one.get_extra_info("socket").fileno() >= 0
            a.transport, b.transport = one, other

    run(main())


def test_slow_reader_pauses_the_writer(path: str, run: Any) -> None:
    async def main() -> tuple[list[Any], list[Any]]:
        async with protocols(path) as (a, b):
            b.transport.pause_reading()
            total = 0
            while "pause" not in a.told:
                a.transport.write(bytes(100_000))
                total += 100_000
                await asyncio.sleep(0)
            await asyncio.sleep(0.02)
            assert not b.data
            assert not b.transport.is_reading()
            b.transport.resume_reading()
            await a.until(lambda: "resume" in a.told)
            await b.until(lambda: len(b.data) == total)
            a.transport.write_eof()
            await b.until(lambda: "eof" in b.told)
            b.transport.close()
            await b.over.wait()
            await a.until(lambda: "eof" in a.told)
        return a.told, b.told

    a, b = run(main())
    assert a == ["made", "pause", "resume", "eof", "lost: NoneType"]
    assert b == ["made", "eof", "lost: NoneType"]


def reset(sock: Any) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    "how", ["close", "abort", "reset", "reset-while-writing", "lost-while-writing"]
)
def test_why_a_connection_is_lost(path: str, run: Any, how: str) -> None:
    async def main() -> list[str]:
        async with protocols(path) as (a, b):
            if how.endswith("writing"):
                b.transport.pause_reading()
                a.transport.write(bytes(20_000_000))
                await asyncio.sleep(0.01)
            if how.startswith("reset"):
                reset(b.transport.get_extra_info("socket"))
            if how == "close":
                b.transport.close()
                await a.until(lambda: "eof" in a.told)
                a.transport.close()
            else:
                b.transport.abort()
                await a.until(lambda: len(a.told) > 1 and ("eof" in a.told or a.over.is_set()))
                a.transport.close()
            await a.over.wait()
        return [word for word in a.told if word not in ("pause", "resume")]

    told = run(main())
    if how in ("close", "abort"):
        assert told == ["made", "eof", "lost: NoneType"]
    else:
        assert told == ["made", "lost: ConnectionResetError"]


def test_readers_and_writers_by_number(path: str, run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = pair(path)
        with a, b:
            got, writable = bytearray(), asyncio.Event()
            arrived = asyncio.Event()

            def read() -> None:
                got.extend(b.recv(3))
                if len(got) == 10:
                    arrived.set()

            loop.add_reader(b.fileno(), read)
            loop.add_writer(a.fileno(), writable.set)
            await writable.wait()
            a.send(b"0123456789")  # read in four pieces: level-triggered
            await arrived.wait()
            assert loop.remove_writer(a.fileno())
            assert loop.remove_reader(b.fileno())
            assert not loop.remove_reader(b.fileno())
            a.send(b"more")
            await asyncio.sleep(0.01)
            assert got == b"0123456789"

    run(main())


def test_many_tasks_on_one_loop(path: str, run: Any) -> None:
    """Eager tasks where there are some: they run into the first wait at once."""

    async def play(number: int) -> int:
        loop = asyncio.get_running_loop()
        a, b = pair(path)
        with a, b:
            for turn in range(20):
                message = b"%d:%d" % (number, turn)
                receiving = asyncio.ensure_future(loop.sock_recv(b, 100))
                await loop.sock_sendall(a, message)
                assert await receiving == message
                a, b = b, a
        return number

    async def main() -> list[int]:
        if sys.version_info >= (3, 12):
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        tasks: list[Awaitable[int]] = [asyncio.create_task(play(number)) for number in range(10)]
        return await asyncio.gather(*tasks)

    assert run(main()) == list(range(10))


def test_the_loops_own_wake_up(path: str, run: Any) -> None:
    """call_soon_threadsafe and signals come by a socketpair, which is never switched."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = pair(path)
        with a, b:
            receiving = asyncio.ensure_future(loop.sock_recv(b, 10))
            assert await asyncio.to_thread(lambda: 42) == 42
            done = asyncio.Event()
            await asyncio.to_thread(loop.call_soon_threadsafe, done.set)
            await done.wait()
            assert not wsdirect.is_switched(loop._ssock)  # type: ignore[attr-defined]
            await loop.sock_sendall(a, b"x")
            assert await receiving == b"x"
            assert select.select([b], [], [], 0) == ([], [], [])

    run(main())
