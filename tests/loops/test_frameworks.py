"""Event loops of libraries, in programs of their own under the launcher."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from tests.traps.programs import run

TRIO = """
import functools, trio

async def main():
    answers = {"echoed": [], "switched": set()}
    async def serve(stream):
        async with stream:
            async for data in stream:
                await stream.send_all(data)
    async def client(address, number):
        async with await trio.open_tcp_stream(*address) as stream:
            answers["switched"].add(is_switched(stream.socket))
            data = bytes([number]) * 300_000
            async with trio.open_nursery() as both:
                both.start_soon(stream.send_all, data)
                got = bytearray()
                while len(got) < len(data):
                    got += await stream.receive_some(65536)
            answers["echoed"].append(got == data)
            await stream.send_eof()
            assert await stream.receive_some() == b""
    async with trio.open_nursery() as nursery:
        serving = functools.partial(trio.serve_tcp, serve, 0, host=HOST)
        [listener] = await nursery.start(serving)
        address = "127.0.0.1", listener.socket.getsockname()[1]
        with trio.move_on_after(30) as scope:
            async with trio.open_nursery() as clients:
                for number in range(5):
                    clients.start_soon(client, address, number)
        async with await trio.open_tcp_stream(*address) as idle:
            with trio.move_on_after(0.05) as late:
                await idle.receive_some()
        assert late.cancelled_caught
        nursery.cancel_scope.cancel()
    show(echoed=answers["echoed"], late=scope.cancelled_caught, switched=list(answers["switched"]))

trio.run(main)
"""

ANYIO = """
import anyio

async def main():
    answers = {"echoed": [], "switched": set()}
    async def serve(stream):
        async with stream:
            async for data in stream:
                await stream.send(data)
    async def client(port, number):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
            answers["switched"].add(is_switched(raw))
            data = bytes([number]) * 300_000
            async with anyio.create_task_group() as both:
                both.start_soon(stream.send, data)
                got = bytearray()
                while len(got) < len(data):
                    got += await stream.receive()
            answers["echoed"].append(got == data)
            await stream.send_eof()
            try:
                await stream.receive()
            except anyio.EndOfStream:
                pass
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        await anyio.sleep(0.05)
        with anyio.move_on_after(30) as scope:
            async with anyio.create_task_group() as clients:
                for number in range(5):
                    clients.start_soon(client, port, number)
        group.cancel_scope.cancel()
    await listener.aclose()
    show(echoed=answers["echoed"], late=scope.cancelled_caught, switched=list(answers["switched"]))

anyio.run(main, backend=sys.argv[1])
"""

TORNADO = """
import asyncio
from tornado.iostream import StreamClosedError
from tornado.tcpclient import TCPClient
from tornado.tcpserver import TCPServer

class Server(TCPServer):
    async def handle_stream(self, stream, address):
        try:
            while True:
                size = int.from_bytes(await stream.read_bytes(4), "big")
                await stream.write(await stream.read_bytes(size))
        except StreamClosedError:
            pass

async def main():
    server = Server()
    server.listen(0, HOST)
    [listening] = server._sockets.values()
    port = listening.getsockname()[1]
    await asyncio.sleep(0.01)
    echoed, switched = [], set()
    async def client(number):
        stream = await TCPClient().connect(HOST, port)
        switched.add(is_switched(stream.socket))
        data = bytes([number]) * 300_000
        stream.write(len(data).to_bytes(4, "big") + data)
        echoed.append(await stream.read_bytes(len(data)) == data)
        stream.close()
    await asyncio.wait_for(asyncio.gather(*(client(number) for number in range(5))), 30)
    server.stop()
    show(echoed=echoed, late=False, switched=list(switched))

asyncio.run(main())
"""

TWISTED = """
import importlib
importlib.import_module(f"twisted.internet.{sys.argv[1]}").install()
from twisted.internet import protocol, reactor, task

echoed, switched, lost = [], set(), []

class Echo(protocol.Protocol):
    def dataReceived(self, data):
        self.transport.write(data)

class Client(protocol.Protocol):
    def connectionMade(self):
        switched.add(is_switched(self.transport.getHandle()))
        self.data, self.got = bytes([len(switched)]) * 300_000, bytearray()
        self.transport.write(self.data)
    def dataReceived(self, data):
        self.got += data
        if len(self.got) == len(self.data):
            echoed.append(self.got == self.data)
            self.transport.loseConnection()
    def connectionLost(self, reason):
        lost.append(self)
        if len(lost) == 5:
            reactor.stop()

listening = reactor.listenTCP(0, protocol.Factory.forProtocol(Echo), interface=HOST)
def start():
    factory = protocol.ClientFactory.forProtocol(Client)
    factory.noisy = False
    for _ in range(5):
        reactor.connectTCP(HOST, listening.getHost().port, factory)
reactor.callLater(0.05, start)
late = reactor.callLater(30, reactor.stop)
reactor.run()
show(echoed=echoed, late=not late.active(), switched=list(switched))
"""

UVLOOP_CLIENT = """
import asyncio, uvloop

def serve(server):
    for _ in range(5):
        connection, _ = server.accept()
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)

async def main(address):
    echoed, switched = [], set()
    loop = asyncio.get_running_loop()
    for number in range(5):
        reader, writer = await asyncio.open_connection(*address)
        data = bytes([number]) * 300_000
        writer.write(data)
        echoed.append(await reader.readexactly(len(data)) == data)
        switched.add(is_switched(writer.get_extra_info("socket")))
        writer.close()
        await writer.wait_closed()
    with pair() as (a, b):  # the loop polls the descriptor, Python moves the bytes
        a.setblocking(False)
        b.setblocking(False)
        receiving = asyncio.ensure_future(loop.sock_recv(b, 100))
        await loop.sock_sendall(a, b"hello")
        echoed.append(await receiving == b"hello" and is_switched(a))
    show(echoed=echoed[1:], late=not echoed[0], switched=list(switched))

with socket.create_server((HOST, 0)) as server:
    accepting(server)
    thread = threading.Thread(target=serve, args=(server,))
    thread.start()
    uvloop.run(asyncio.wait_for(main(server.getsockname()), 30))
    thread.join()
"""

PROGRAMS: dict[str, tuple[str, str, tuple[str, ...], bool]] = {
    "trio": ("trio", TRIO, (), True),
    "anyio-asyncio": ("anyio", ANYIO, ("asyncio",), True),
    "anyio-trio": ("trio", ANYIO, ("trio",), True),
    "tornado": ("tornado", TORNADO, (), True),
    "twisted-epoll": ("twisted", TWISTED, ("epollreactor",), True),
    "twisted-poll": ("twisted", TWISTED, ("pollreactor",), True),
    "twisted-select": ("twisted", TWISTED, ("selectreactor",), True),
    "twisted-asyncio": ("twisted", TWISTED, ("asyncioreactor",), True),
    "uvloop": ("uvloop", UVLOOP_CLIENT, (), False),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_echo_of_more_than_the_ring_holds(name: str) -> None:
    """Five clients and a server on one loop; uvloop's own connections are TCP's."""
    module, source, words, switched = PROGRAMS[name]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    answers: Any = run(source, *words)
    assert answers == {"echoed": [True] * 5, "late": False, "switched": [switched]}
