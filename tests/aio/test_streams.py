"""Streams, protocols and TLS on SanEventLoop: as on the standard loop, only switched."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from typing import Any

import pytest
import trustme

import wsdirect
from tests.aio.conftest import Run, address_of, run_on
from wsdirect.aio.proactor import Proactor

HOSTS = ["127.0.0.1", "::1"]
LARGE = 24 * 1024 * 1024
LOOPS = {"san": wsdirect.SanEventLoop, "standard": asyncio.SelectorEventLoop}


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def finish(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        await writer.wait_closed()


def switched(writer: asyncio.StreamWriter) -> bool:
    return wsdirect.is_switched(writer.get_extra_info("socket"))


def reset(writer: asyncio.StreamWriter) -> None:
    """Close hard: the peer sees a reset."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize("host", HOSTS)
def test_echo_is_switched_and_has_the_names_of_tcp(run: Run, host: str) -> None:
    async def main() -> None:
        seen: list[Any] = []

        async def serve(reader: Any, writer: Any) -> None:
            seen.append((writer.get_extra_info("peername"), writer.get_extra_info("sockname")))
            assert switched(writer)
            await echo(reader, writer)

        async with await asyncio.start_server(serve, host, 0) as server:
            reader, writer = await asyncio.open_connection(*address_of(server))
            assert switched(writer)
            known = wsdirect.info(writer.get_extra_info("socket"))
            assert (known["path"], known["role"], known["peer_pid"]) == (
                "shm",
                "connect",
                os.getpid(),
            )
            for size in (1, 100, 70000):
                writer.write(bytes(size))
                assert await reader.readexactly(size) == bytes(size)
            mine, theirs = (writer.get_extra_info(name) for name in ("sockname", "peername"))
            assert theirs == server.sockets[0].getsockname()
            assert seen == [(mine, theirs)]
            sock = writer.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert (sock.family, sock.type) == (server.sockets[0].family, socket.SOCK_STREAM)
            writer.write_eof()
            assert await reader.read() == b""
            await finish(writer)

    run(main())


def test_large_transfers_both_ways_at_once(run: Run) -> None:
    async def send(writer: Any, data: bytes) -> None:
        for at in range(0, len(data), 1 << 20):
            writer.write(data[at : at + (1 << 20)])
            await writer.drain()
        writer.write_eof()

    async def main() -> None:
        one, other = os.urandom(1 << 20) * (LARGE >> 20), os.urandom(1 << 20) * (LARGE >> 20)
        got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def serve(reader: Any, writer: Any) -> None:
            data, _ = await asyncio.gather(reader.read(), send(writer, other))
            got.set_result(data)
            await finish(writer)

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*address_of(server))
            data, _ = await asyncio.gather(reader.read(), send(writer, one))
            assert data == other
            assert await got == one
            await finish(writer)

    run(main())


def test_a_reader_that_pauses_stops_the_writer(run: Run) -> None:
    async def main() -> None:
        made: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        async with await asyncio.start_server(
            lambda *pair: made.set_result(pair), "127.0.0.1", 0
        ) as server:
            _, writer = await asyncio.open_connection(*address_of(server))
            theirs, back = await made
            back.transport.pause_reading()
            assert not back.transport.is_reading()
            chunk = bytes(1 << 20)

            async def flood() -> None:
                for _ in range(200):
                    writer.write(chunk)
                    await writer.drain()

            with pytest.raises(TimeoutError):
                await asyncio.wait_for(flood(), 0.5)
            assert writer.transport.get_write_buffer_size() > 0
            back.transport.resume_reading()
            await asyncio.wait_for(asyncio.gather(writer.drain(), theirs.readexactly(1 << 20)), 30)
            writer.transport.abort()
            back.transport.abort()

    run(main())


def test_a_loop_whose_readers_pause_sleeps(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are data, and their ring was looked at when they came; but nobody wants them now."""
    turns = 0
    plain = Proactor.select

    def select(self: Proactor, timeout: float | None = None) -> Any:
        nonlocal turns
        turns += 1
        return plain(self, timeout)

    async def main() -> None:
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*address_of(server), limit=1024)
            for _ in range(10):
                writer.write(bytes(100))
                await reader.readexactly(100)
            writer.write(bytes(100000))  # the answer is more than the reader takes
            await asyncio.sleep(0.1)
            monkeypatch.setattr(Proactor, "select", select)
            await asyncio.sleep(0.3)
            assert turns < 20
            assert len(await reader.readexactly(100000)) == 100000
            await finish(writer)

    run(main())


def test_what_was_written_before_close_arrives(run: Run) -> None:
    async def main() -> None:
        async def serve(reader: Any, writer: Any) -> None:
            writer.write(bytes(5 << 20))
            await finish(writer)

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*address_of(server))
            assert len(await reader.read()) == 5 << 20
            await finish(writer)

    run(main())


@pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_many_connections_at_once(run: Run, count: int) -> None:
    async def main() -> None:
        async with await asyncio.start_server(echo, "127.0.0.1", 0, backlog=2000) as server:
            pairs = []
            for _ in range(count):
                pairs.append(await asyncio.open_connection(*address_of(server)))
            for number, (_, writer) in enumerate(pairs):
                writer.write(b"%08d" % number)
            answers = await asyncio.gather(*(reader.readexactly(8) for reader, _ in pairs))
            assert [int(answer) for answer in answers] == list(range(count))
            assert sum(switched(writer) for _, writer in pairs) > count // 2
            await asyncio.gather(*(finish(writer) for _, writer in pairs))

    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 6 * count + 200:
        wanted = 6 * count + 200
        if hard != resource.RLIM_INFINITY and hard < wanted:
            pytest.skip("too few descriptors here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    run(main())


# -- the same outcome as on the standard loop ----------------------------------------------------


async def refused() -> Any:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        await asyncio.open_connection(*unused.getsockname())


async def no_such_name() -> Any:
    await asyncio.open_connection("no-such-host.invalid", 1)


async def pair(serve: Any) -> Any:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        return server, *await asyncio.open_connection(*address_of(server))
    except BaseException:
        server.close()
        raise


async def reset_while_reading() -> Any:
    server, reader, writer = await pair(lambda _, other: reset(other))
    try:
        return await reader.read()
    finally:
        await finish(writer)
        server.close()


async def reset_while_writing() -> Any:
    server, _, writer = await pair(lambda _, other: reset(other))
    try:
        for _ in range(10000):
            writer.write(bytes(65536))
            await writer.drain()
            await asyncio.sleep(0)
    finally:
        await finish(writer)
        server.close()


async def write_after_close() -> Any:
    server, reader, writer = await pair(echo)
    try:
        await finish(writer)
        writer.write(b"late")
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        return writer.transport.is_closing(), await reader.read()
    finally:
        server.close()


async def write_after_eof() -> Any:
    server, _, writer = await pair(echo)
    try:
        writer.write_eof()
        writer.write(b"late")
    finally:
        await finish(writer)
        server.close()


async def read_cut_short() -> Any:
    async def serve(_: Any, other: Any) -> None:
        other.write(b"abc")
        await finish(other)

    server, reader, writer = await pair(serve)
    try:
        await reader.readexactly(5)
    finally:
        await finish(writer)
        server.close()


async def times_out() -> Any:
    async def serve(reader: Any, other: Any) -> None:
        await reader.read()
        await finish(other)

    server, reader, writer = await pair(serve)
    try:
        await asyncio.wait_for(reader.read(1), 0.05)
    finally:
        await finish(writer)
        server.close()


async def half_close() -> Any:
    async def serve(reader: Any, other: Any) -> None:
        data = await reader.read()
        other.write(data[::-1])
        await finish(other)

    server, reader, writer = await pair(serve)
    try:
        writer.write(b"abc")
        writer.write_eof()
        return await reader.read(), writer.transport.is_closing()
    finally:
        await finish(writer)
        server.close()


async def address_in_use() -> Any:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    try:
        await asyncio.start_server(echo, *address_of(server))
    finally:
        server.close()


async def closed_server() -> Any:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    where = address_of(server)
    server.close()
    await server.wait_closed()
    await asyncio.open_connection(*where)


async def server_closed_connection_stays() -> Any:
    server, reader, writer = await pair(echo)
    writer.write(b"before")
    first = await reader.readexactly(6)
    server.close()
    writer.write(b"after")
    answer = first, await reader.readexactly(5)
    await finish(writer)
    return answer


async def events_of_a_protocol() -> Any:
    """What a protocol is told, from both ends."""
    told: list[Any] = []
    over = asyncio.Event()

    class Noting(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            told.append("made")
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            told.append(data)
            self.transport.write(b"pong")

        def eof_received(self) -> bool:
            told.append("eof")
            return False

        def connection_lost(self, exc: Any) -> None:
            told.append(("lost", exc))
            over.set()

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Noting, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*address_of(server))
    writer.write(b"ping")
    answer = await reader.readexactly(4)
    await finish(writer)
    await over.wait()
    server.close()
    return answer, told


async def buffered_protocol() -> Any:
    got = bytearray()
    over = asyncio.Event()

    class Filling(asyncio.BufferedProtocol):
        def get_buffer(self, sizehint: int) -> memoryview:
            self.room = bytearray(7)
            return memoryview(self.room)

        def buffer_updated(self, nbytes: int) -> None:
            got.extend(self.room[:nbytes])

        def connection_lost(self, exc: Any) -> None:
            over.set()

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Filling, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*address_of(server))
    writer.writelines([bytes(range(100)), b"end"])
    await finish(writer)
    await over.wait()
    server.close()
    return bytes(got)


async def protocol_that_fails() -> Any:
    """An exception in data_received ends the connection and is told to the loop."""
    told: list[Any] = []
    lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    class Failing(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            raise ZeroDivisionError

        def connection_lost(self, exc: Any) -> None:
            lost.set_result(type(exc))

    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))
    server = await loop.create_server(Failing, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*address_of(server))
    writer.write(b"x")
    answer = await lost
    with contextlib.suppress(ConnectionError):
        await reader.read()
    await finish(writer)
    server.close()
    loop.set_exception_handler(before)
    return answer, told


OUTCOMES = [
    refused, no_such_name, reset_while_reading, reset_while_writing, write_after_close,
    write_after_eof, read_cut_short, times_out, half_close, address_in_use, closed_server,
    server_closed_connection_stays, events_of_a_protocol, buffered_protocol, protocol_that_fails,
]  # fmt: skip


@pytest.mark.parametrize("scenario", OUTCOMES, ids=lambda scenario: scenario.__name__)
def test_a_program_sees_what_it_sees_on_the_standard_loop(run: Run, scenario: Any) -> None:
    def outcome(factory: Any) -> Any:
        try:
            return run_on(factory, scenario())
        except Exception as error:
            kinds = (ConnectionResetError, BrokenPipeError)  # which one is a matter of luck
            number = getattr(error, "errno", None)
            return "reset" if isinstance(error, kinds) else (type(error), number)

    assert outcome(LOOPS["san"]) == outcome(LOOPS["standard"])


def test_a_refusal_says_what_the_standard_loop_says(run: Run) -> None:
    with pytest.raises(ConnectionRefusedError, match=r"Connect call failed \('127.0.0.1', \d+\)"):
        run(refused())


# -- TLS -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


@pytest.mark.parametrize("size", [5, 3 << 20])
def test_tls_over_a_switched_connection(run: Run, contexts: Contexts, size: int) -> None:
    async def main() -> None:
        theirs, mine = contexts
        async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=theirs) as server:
            reader, writer = await asyncio.open_connection(
                *address_of(server), ssl=mine, server_hostname="localhost"
            )
            assert switched(writer)
            assert writer.get_extra_info("ssl_object").version().startswith("TLS")
            data = os.urandom(size)

            async def send() -> None:
                writer.write(data)
                await writer.drain()

            _, answer = await asyncio.gather(send(), reader.readexactly(size))
            assert answer == data
            await finish(writer)

    run(main())


def test_start_tls_goes_on_with_the_same_connection(run: Run, contexts: Contexts) -> None:
    async def main() -> None:
        theirs, mine = contexts

        async def serve(reader: Any, writer: Any) -> None:
            assert await reader.readexactly(8) == b"STARTTLS"
            writer.write(b"ok")
            await writer.start_tls(theirs)
            await echo(reader, writer)

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*address_of(server))
            writer.write(b"STARTTLS")
            assert await reader.readexactly(2) == b"ok"
            await writer.start_tls(mine, server_hostname="localhost")
            assert switched(writer)
            writer.write(b"secret")
            assert await reader.readexactly(6) == b"secret"
            await finish(writer)

    run(main())


def test_a_certificate_that_nobody_trusts_is_refused(run: Run, contexts: Contexts) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)
        async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=contexts[0]) as server:
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection(
                    *address_of(server),
                    ssl=ssl.create_default_context(),
                    server_hostname="localhost",
                )

    run(main())


# -- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fallback", [True, False])
def test_sendfile(run: Run, tmp_path: Any, fallback: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1 << 20) * 3)

    async def main() -> None:
        async def serve(reader: Any, writer: Any) -> None:
            loop = asyncio.get_running_loop()
            writer.write(b"head")
            with path.open("rb") as file:
                sent = await loop.sendfile(writer.transport, file, 1000, fallback=fallback)
                assert (sent, file.tell()) == ((3 << 20) - 1000, 3 << 20)
            writer.write(b"tail")
            await finish(writer)

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*address_of(server))
            assert await reader.read() == b"head" + path.read_bytes()[1000:] + b"tail"
            await finish(writer)

    run(main())
