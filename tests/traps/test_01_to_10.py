"""Types, captured classes, event loops that look underneath, and TLS."""

from __future__ import annotations

import asyncio
import multiprocessing.connection
import operator
import selectors
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trustme

import wsdirect
from tests.loops.ends import HOST, PATIENCE, listener, switched_pair
from tests.traps.programs import run

pytestmark = pytest.mark.usefixtures("switch")


def in_thread(call: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Start the call in a thread; what is returned waits for its result."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call(*args))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()

    def result() -> Any:
        thread.join(PATIENCE)
        if errors:
            raise errors[0]
        assert results, "the thread is still at it"
        return results[0]

    return result


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


def test_01_type_is_unchanged() -> None:
    """trio takes sockets of the type socket.socket only, and checks with `is`."""
    original = socket.socket
    with switched_pair() as (client, accepted):
        assert type(client) is type(accepted) is socket.socket is original
        assert type(client).__module__ == "socket"
        assert {"recv", "send", "close"} <= set(dir(client))
        assert not vars(type(client)).get("__dict__")
        for name in ("extra", "_wsdirect"):
            with pytest.raises(AttributeError):
                setattr(client, name, 1)  # __slots__ are as they were
    pytest.importorskip("trio")
    answers = run("""
        import trio
        with pair() as (a, b):
            async def main():
                stream = trio.SocketStream(trio.socket.from_stdlib_socket(a))
                other = trio.SocketStream(trio.socket.from_stdlib_socket(b))
                await stream.send_all(b"ping")
                got = await other.receive_some(100)
                show(got=got.decode(), switched=is_switched(a))
            trio.run(main)
        """)
    assert answers == {"got": "ping", "switched": True}


@pytest.mark.parametrize("how", ["unbound", "methodcaller", "getattr", "super"])
def test_02_unbound_methods(how: str) -> None:
    """trio calls socket.socket.recv(sock); others take the method from elsewhere."""

    class Own(socket.socket):
        def call(self, name: str, *args: Any) -> Any:
            return getattr(super(), name)(*args)

    def call(name: str, sock: socket.socket, *args: Any) -> Any:
        if how == "unbound":
            return getattr(socket.socket, name)(sock, *args)
        if how == "methodcaller":
            return operator.methodcaller(name, *args)(sock)
        if how == "getattr":
            return getattr(sock, name)(*args)
        own = Own(fileno=sock.fileno())
        own.settimeout(sock.gettimeout())
        try:
            return own.call(name, *args)
        finally:
            own.detach()

    with switched_pair() as (a, b):
        assert call("send", a, b"one") == 3
        assert call("sendmsg", a, [b"two", b"three"]) == 8
        assert call("sendall", a, b"four") is None
        buffer = bytearray(3)
        assert call("recv_into", b, buffer) == 3
        assert buffer == b"one"
        assert call("recv", b, 100) == b"twothreefour"
        assert call("getpeername", a) == b.getsockname()
        call("shutdown", a, socket.SHUT_WR)
        assert call("recv", b, 100) == b""


def test_03_asyncio_writes_with_sendmsg() -> None:
    """asyncio 3.12 and later sends its list of buffers with sendmsg; a full ring takes a part."""
    pieces = [bytes([number]) * 9_999 for number in range(100)]
    whole = memoryview(b"".join(pieces))
    with switched_pair() as (a, b):
        a.setblocking(False)
        sent = a.sendmsg(pieces)
        assert 0 < sent < len(whole)
        with pytest.raises(BlockingIOError):
            a.sendmsg([whole[sent:], b"", b"more"])
        got = bytearray()
        while len(got) < sent:
            got += b.recv(1 << 16)
        assert got == whole[:sent]

        async def main() -> None:
            _, writer = await asyncio.open_connection(sock=a)
            writer.writelines(pieces)
            receiving = asyncio.to_thread(receive)
            await asyncio.gather(writer.drain(), receiving)
            writer.close()
            await writer.wait_closed()

        def receive() -> None:
            rest = bytearray()
            while len(rest) < len(whole):
                rest += b.recv(1 << 16)
            assert rest == whole

        asyncio.run(main())


def test_04_bare_descriptors_in_asyncio() -> None:
    """The loop registers numbers, not sockets."""

    async def main(a: socket.socket, b: socket.socket) -> list[str]:
        loop = asyncio.get_running_loop()
        seen: list[str] = []
        readable, writable = asyncio.Event(), asyncio.Event()
        loop.add_reader(b.fileno(), readable.set)
        loop.add_writer(a.fileno(), writable.set)
        await asyncio.wait_for(writable.wait(), PATIENCE)
        seen.append("writable")
        assert not readable.is_set()
        loop.remove_writer(a.fileno())
        a.send(b"x")
        await asyncio.wait_for(readable.wait(), PATIENCE)
        seen.append("readable")
        assert loop.remove_reader(b.fileno())
        assert b.recv(10) == b"x"
        return seen

    with switched_pair() as (a, b):
        a.setblocking(False)
        b.setblocking(False)
        assert asyncio.run(main(a, b)) == ["writable", "readable"]


def test_05_selector_classes_captured_at_import() -> None:
    """socketserver, subprocess and multiprocessing took their selector before the grafts came."""
    classes = {
        socketserver._ServerSelector,
        subprocess._PopenSelector,
        multiprocessing.connection._WaitSelector,
        selectors.SelectSelector,
        selectors.DefaultSelector,
    }
    for cls in classes:
        with switched_pair() as (a, b), cls() as selector:
            b.sendall(b"12")
            assert a.recv(1) == b"1"  # a blocking recv leaves data that no token tells of
            selector.register(a, selectors.EVENT_READ)
            assert [key.fileobj for key, _ in selector.select(PATIENCE)] == [a], cls

    class Echo(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(self.request.recv(100))
            seen.append(wsdirect.is_switched(self.request))

    seen: list[bool] = []
    with socketserver.TCPServer((HOST, 0), Echo) as server:
        serving = in_thread(server.serve_forever)
        for _ in range(2):  # the first may come before the loop has begun, and stays on TCP then
            with socket.create_connection(server.server_address) as client:
                client.sendall(b"x")
                assert client.recv(10) == b"x"
        server.shutdown()
        serving()
    assert seen[1:] == [True]


def test_06_sslsocket_calls_sslobj_write(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """SSLSocket.send never comes by any method of SSLSocket that could be replaced."""
    with switched_pair() as (a, b):
        result = in_thread(lambda: contexts[0].wrap_socket(b, server_side=True))
        with contexts[1].wrap_socket(a, server_hostname="localhost") as client, result() as server:
            assert client.send(b"secret") == 6
            assert server.recv(100) == b"secret"
            assert client.write(b"more") == 4
            assert server.read(100) == b"more"
            buffer = bytearray(10)
            server.sendall(b"back")
            assert client.recv_into(buffer) == 4
            assert client.version() == server.version() == "TLSv1.3"
            assert type(client) is ssl.SSLSocket
            assert wsdirect.is_switched(client)
            assert wsdirect.info(client)["sent"] > 10  # what has been sent is TLS


def test_07_context_with_a_class_of_its_own(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """truststore sets sslsocket_class on each context."""

    class Own(ssl.SSLSocket):
        handshakes = 0

        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            Own.handshakes += 1

    monkeypatch.setattr(contexts[1], "sslsocket_class", Own)
    with switched_pair() as (a, b):
        result = in_thread(lambda: contexts[0].wrap_socket(b, server_side=True))
        with contexts[1].wrap_socket(a, server_hostname="localhost") as client, result() as server:
            assert type(client) is Own
            assert type(server) is ssl.SSLSocket
            assert Own.handshakes == 1
            server.sendall(b"hello")
            assert client.recv(5) == b"hello"


def test_08_sslcontext_is_not_replaced() -> None:
    """Its property setters call super(SSLContext, SSLContext): with another class they recurse."""
    assert ssl.SSLContext.__module__ == "ssl"
    assert ssl.create_default_context().__class__ is ssl.SSLContext

    class Own(ssl.SSLContext):
        pass

    for cls in (ssl.SSLContext, Own):
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_3
        context.options |= ssl.OP_NO_COMPRESSION
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_09_tls_wrapped_before_connect(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    """The handshake comes with connect(), and with it what the wrapper has to know."""
    with listener() as server:

        def serve() -> bytes:
            accepted, _ = server.accept()
            accepted.settimeout(PATIENCE)
            with contexts[0].wrap_socket(accepted, server_side=True) as tls:
                tls.sendall(b"hello")
                return tls.recv(100)

        serving = in_thread(serve)
        with contexts[1].wrap_socket(socket.socket(), server_hostname="localhost") as client:
            client.settimeout(PATIENCE)
            client.connect(server.getsockname())
            assert client.recv(100) == b"hello"
            client.sendall(b"bye")
            assert serving() == b"bye"


@pytest.mark.parametrize("eager", [False, True], ids=["polite", "already-buffered"])
def test_10_starttls(contexts: tuple[ssl.SSLContext, ssl.SSLContext], eager: bool) -> None:
    """Plain text first, then TLS on the same connection; its first record may be here already."""
    with switched_pair() as (a, b):

        def client() -> bytes:
            if not eager:
                assert a.recv(100) == b"READY\n"
                a.sendall(b"STARTTLS\n")
                assert a.recv(100) == b"GO\n"
            else:
                a.sendall(b"STARTTLS\n")  # and at once the first record
            with contexts[1].wrap_socket(a, server_hostname="localhost") as tls:
                tls.sendall(b"query")
                return tls.recv(100)

        serving = in_thread(client)
        if not eager:
            b.sendall(b"READY\n")
        else:
            while len(b.recv(1000, socket.MSG_PEEK)) < 100:
                pass
        line = b.recv(len(b"STARTTLS\n"))
        assert line == b"STARTTLS\n"
        if not eager:
            b.sendall(b"GO\n")
        with contexts[0].wrap_socket(b, server_side=True) as tls:
            assert tls.recv(100) == b"query"
            tls.sendall(b"rows")
            assert serving() == b"rows"
