"""loop.sock_* on SanEventLoop, the sockets themselves, and what is no TCP connection at all."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

import wsdirect
from tests.aio.conftest import Run, run_on
from wsdirect import settings
from wsdirect.aio import SanSocket

Pair = tuple[socket.socket, socket.socket]


@contextlib.asynccontextmanager
async def connected(host: str = "127.0.0.1") -> AsyncIterator[Pair]:
    """Two ends of a switched connection, made with sock_connect and sock_accept."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        listener.setblocking(False)
        accepting = asyncio.ensure_future(loop.sock_accept(listener))
        await asyncio.sleep(0)
        client = socket.socket(family)
        client.setblocking(False)
        await loop.sock_connect(client, listener.getsockname())
        accepted, peer = await accepting
        assert peer == client.getsockname() == accepted.getpeername()
        with client, accepted:
            yield client, accepted


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_program_keeps_its_socket_object(run: Run, host: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected(host) as (client, accepted):
            assert isinstance(client, socket.socket)
            assert type(client) is SanSocket
            assert wsdirect.is_switched(client)
            assert wsdirect.is_switched(accepted)
            assert (client.fileno() >= 0, client.gettimeout()) == (True, 0.0)
            await loop.sock_sendall(client, b"abcdef")
            assert await loop.sock_recv(accepted, 3) == b"abc"
            room = bytearray(10)
            assert await loop.sock_recv_into(accepted, room) == 3
            assert room[:3] == b"def"
            await loop.sock_sendall(accepted, b"gh")
            assert await loop.sock_recvfrom(client, 10) == (b"gh", None)
        assert client.fileno() == -1
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            client.getpeername()

    run(main())


@pytest.mark.parametrize("size", [0, 1, 8 << 20])
def test_sendall_sends_all_while_the_peer_reads(run: Run, size: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (client, accepted):
            data = os.urandom(1 << 20)[:size] * max(1, size >> 20)
            sending = asyncio.ensure_future(loop.sock_sendall(client, data))
            got = bytearray()
            while len(got) < len(data):
                got += await loop.sock_recv(accepted, 1 << 20)
            await sending
            assert got == data
            client.shutdown(socket.SHUT_WR)
            assert await loop.sock_recv(accepted, 10) == b""

    run(main())


def test_a_cancelled_receive_loses_no_byte(run: Run) -> None:
    """However the cancel and the data meet: all bytes come out, in order."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (client, accepted):
            sent, got = 0, bytearray()
            for turn in range(300):
                receiving = loop.create_task(loop.sock_recv(accepted, 100))
                for _ in range(turn % 3):
                    await asyncio.sleep(0)
                client.send(b"%04d" % turn)
                sent += 1
                for _ in range(turn % 4):
                    await asyncio.sleep(0)
                done = receiving.done()
                receiving.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    got += await receiving
                    assert done
            client.shutdown(socket.SHUT_WR)
            while data := await loop.sock_recv(accepted, 1000):
                got += data
            assert got == b"".join(b"%04d" % turn for turn in range(sent))

    run(main())


def test_a_cancelled_accept_loses_no_connection(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            for turn in range(30):
                accepting = loop.create_task(loop.sock_accept(listener))
                await asyncio.sleep(0)
                with socket.socket() as client:
                    client.setblocking(False)
                    await loop.sock_connect(client, listener.getsockname())
                    for _ in range(turn % 3):
                        await asyncio.sleep(0)
                    accepting.cancel()
                    try:
                        accepted, _ = await accepting
                    except asyncio.CancelledError:
                        accepted, _ = await loop.sock_accept(listener)
                    assert wsdirect.is_switched(client)
                    accepted.close()

    run(main())


def test_several_tasks_may_wait_for_the_same_socket(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (client, accepted):
            waiting = [loop.create_task(loop.sock_recv(accepted, 1)) for _ in range(5)]
            await asyncio.sleep(0)
            await loop.sock_sendall(client, b"vwxyz")
            assert sorted(await asyncio.gather(*waiting)) == [b"v", b"w", b"x", b"y", b"z"]

    run(main())


def test_closing_a_socket_ends_what_waits_for_it(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (client, accepted):
            waiting = loop.create_task(loop.sock_recv(accepted, 1))
            await asyncio.sleep(0)
            accepted.close()
            with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
                await waiting
            assert await loop.sock_recv(client, 1) == b""

    run(main())


def test_connect_says_what_the_standard_loop_says(run: Run) -> None:
    async def again() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (client, accepted):
            await loop.sock_connect(client, accepted.getsockname())

    with pytest.raises(OSError) as told:  # noqa: PT011
        run(again())
    assert told.value.errno == errno.EISCONN


def test_a_bound_client_keeps_its_name(run: Run) -> None:
    async def main() -> None:
        async def serve(_: Any, writer: Any) -> None:
            writer.write(repr(writer.get_extra_info("peername")).encode())
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(host, port, local_addr=("127.0.0.7", 0))
            assert wsdirect.is_switched(writer.get_extra_info("socket"))
            assert writer.get_extra_info("sockname")[0] == "127.0.0.7"
            assert (await reader.read()).decode() == repr(writer.get_extra_info("sockname"))
            writer.close()
            await writer.wait_closed()

    run(main())


def test_the_socket_can_be_used_without_the_loop(run: Run) -> None:
    """Its own methods work, waiting ones in another thread, and so do pollers."""

    async def main() -> None:
        async with connected() as (client, accepted):
            with pytest.raises(BlockingIOError):
                accepted.recv(1)
            poller = select.poll()
            poller.register(accepted, select.POLLIN)
            assert not poller.poll(0)
            assert client.send(b"one") == 3
            assert poller.poll(1000)
            assert accepted.recv(3, socket.MSG_PEEK) == b"one"
            assert accepted.recv(100) == b"one"
            accepted.settimeout(0.05)
            with pytest.raises(TimeoutError):
                accepted.recv(1)
            accepted.setblocking(True)
            got: list[bytes] = []
            thread = threading.Thread(target=lambda: got.append(accepted.recv(100)))
            thread.start()
            client.sendall(b"two")
            thread.join()
            assert got == [b"two"]
            assert client.sendmsg([b"th", b"ree"]) == 5
            room = [bytearray(0), bytearray(9)]
            assert accepted.recvmsg_into(room)[0] == 5
            with client.dup() as other:
                client.close()
                other.sendall(b"four")
            with accepted.makefile("rb") as file:
                assert file.read() == b"four"
            with pytest.raises(OSError, match="cannot detach"):
                accepted.detach()

    run(main())


def test_options_read_back(run: Run) -> None:
    async def main() -> None:
        async with connected() as pair:
            for sock in pair:
                for level, name, value in (
                    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
                    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
                    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77),
                ):
                    sock.setsockopt(level, name, value)
                    assert sock.getsockopt(level, name) == value
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM

    run(main())


def test_a_socket_goes_from_one_loop_to_the_next() -> None:
    loops = [wsdirect.SanEventLoop() for _ in range(2)]

    async def connect() -> Pair:
        context = connected()
        client, accepted = await context.__aenter__()
        pair = client.dup(), accepted.dup()
        await context.__aexit__(None, None, None)
        return pair

    client, accepted = loops[0].run_until_complete(connect())
    loops[0].close()
    with client, accepted:
        receiving = loops[1].create_task(loops[1].sock_recv(accepted, 10))
        loops[1].run_until_complete(asyncio.sleep(0))
        loops[1].run_until_complete(loops[1].sock_sendall(client, b"hello"))
        assert loops[1].run_until_complete(receiving) == b"hello"
        third = wsdirect.SanEventLoop()
        held = loops[1].create_task(loops[1].sock_recv(accepted, 10))
        loops[1].run_until_complete(asyncio.sleep(0))
        with pytest.raises(RuntimeError, match="another event loop"):
            third.run_until_complete(third.sock_recv(accepted, 10))
        held.cancel()
        third.close()
        loops[1].run_until_complete(asyncio.gather(held, return_exceptions=True))
    loops[1].close()


def test_an_unclosed_socket_is_told_of_and_closed() -> None:
    async def main() -> None:
        context = connected()
        client, accepted = await context.__aenter__()
        lost, kept = client.dup(), accepted.dup()
        await context.__aexit__(None, None, None)
        with pytest.warns(ResourceWarning, match="unclosed"):
            del lost
        with kept:
            assert await asyncio.get_running_loop().sock_recv(kept, 1) == b""

    run_on(wsdirect.SanEventLoop, main())


def test_a_listener_without_descriptors_goes_on_later(run: Run) -> None:
    """With the process out of descriptors accepting fails, says so, and works again afterwards."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: list[Any] = []
        before = loop.get_exception_handler()
        loop.set_exception_handler(lambda _, context: told.append(context["message"]))
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        where = server.sockets[0].getsockname()
        with socket.socket() as client:
            hoard = []
            with contextlib.suppress(OSError):
                while True:
                    hoard.append(os.open("/dev/null", os.O_RDONLY))
            client.connect(where)  # over TCP, by the kernel alone
            while not told:
                await asyncio.sleep(0.01)
            for fd in hoard:
                os.close(fd)
            client.setblocking(False)
            assert await loop.sock_recv(client, 1) == b""
        assert set(told) == {"socket.accept() out of system resource"}
        loop.set_exception_handler(before)
        server.close()

    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))
    try:
        run(main())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


# -- everything else a loop does -----------------------------------------------------------------


def test_what_is_no_tcp_connection_is_as_on_the_standard_loop(run: Run, tmp_path: Any) -> None:
    """Datagrams, AF_UNIX, pipes, subprocesses, signals, threads, names and plain descriptors."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        # datagrams
        got: asyncio.Future[Any] = loop.create_future()

        class Datagrams(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                got.set_result(data)

        receiver, _ = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 0))
        sender, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=receiver.get_extra_info("sockname")
        )
        sender.sendto(b"datagram")
        assert await got == b"datagram"
        sender.close()
        receiver.close()

        # AF_UNIX
        async def answer(reader: Any, writer: Any) -> None:
            writer.write(await reader.read(4))
            writer.close()

        path = str(tmp_path / "socket")
        async with await asyncio.start_unix_server(answer, path):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"unix")
            assert await reader.read() == b"unix"
            writer.close()
            await writer.wait_closed()

        # subprocesses, with pipes
        script = "print(input()[::-1])"
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert (await child.communicate(b"abc\n"))[0] == b"cba\n"
        assert child.returncode == 0

        # signals
        seen = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, seen.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        await seen.wait()
        assert loop.remove_signal_handler(signal.SIGUSR1)

        # threads
        called = asyncio.Event()
        await loop.run_in_executor(None, loop.call_soon_threadsafe, called.set)
        await called.wait()

        # names
        found = await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
        assert found[0][4][1] == 80

        # descriptors
        reading, writing = os.pipe()
        ready = asyncio.Event()
        loop.add_reader(reading, ready.set)
        os.write(writing, b"x")
        await ready.wait()
        assert loop.remove_reader(reading)
        os.close(reading)
        os.close(writing)
        await loop.shutdown_default_executor()

    with asyncio.Runner(loop_factory=wsdirect.SanEventLoop) as runner:
        runner.run(asyncio.wait_for(main(), 60))


def test_a_policy_makes_such_loops() -> None:
    loop = wsdirect.SanEventLoopPolicy().new_event_loop()
    assert isinstance(loop, wsdirect.SanEventLoop)
    loop.close()


def test_importing_wsdirect_does_not_import_asyncio() -> None:
    script = "import sys, wsdirect; sys.exit('asyncio' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_connection_that_nobody_accepts_in_time_goes_on_over_tcp(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written meanwhile arrives, and so does everything after it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            accepting = loop.create_task(loop.sock_accept(listener))
            await asyncio.sleep(0)
            accepting.cancel()
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            sock = writer.get_extra_info("socket")
            assert wsdirect.is_switched(sock)
            writer.write(b"early")
            while wsdirect.is_switched(sock):
                await asyncio.sleep(0.02)
            accepted, _ = await loop.sock_accept(listener)
            with accepted:
                assert await loop.sock_recv(accepted, 10) == b"early"
                writer.write(bytes(3 << 20))
                got = 0
                while got < 3 << 20:
                    got += len(await loop.sock_recv(accepted, 1 << 20))
                await loop.sock_sendall(accepted, b"answer")
            assert await reader.read() == b"answer"
            writer.close()
            await writer.wait_closed()

    monkeypatch.setattr(settings, "_current", settings.load({"WSDIRECT_OFFER_TIMEOUT": "0.3"}))
    run(main())
