"""TLS as protocols, libraries and servers use it, each as a function that returns what it saw.

`tls_libraries.py FOLDER [NAME...]`, as tls_scenarios.py.  A scenario whose libraries are missing
prints {"missing": NAME}.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import select
import selectors
import socket
import ssl
import sys
import threading
import time
import traceback
from pathlib import Path

import tls_scenarios as common
from tls_scenarios import (
    HOST,
    V12,
    V13,
    Background,
    client_context,
    exactly,
    is_pumped,
    is_switched,
    listening,
    outcome,
    pair,
    raw_pair,
    seen_switched,
    server_context,
    wait_until_it_accepts,
)

scenarios = {}
libraries: dict[str, tuple[str, ...]] = {}
LOCAL = {"server_hostname": "localhost"}


def scenario(*needed):
    def take(function):
        scenarios[function.__name__] = function
        libraries[function.__name__] = needed
        return function

    return take


def words(call, *args, **kwargs):
    """The outcome to the letter: class, arguments, text, number, reason and library."""
    try:
        value = call(*args, **kwargs)
    except Exception as error:
        numbers = [getattr(error, name, "none") for name in ("errno", "reason", "library")]
        return [type(error).__name__, repr(error.args), str(error), *numbers]
    return value.hex() if isinstance(value, bytes) else value


# -- errors, to the letter -----------------------------------------------------------------------


def reset(sock) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
    time.sleep(0.02)


@scenario()
def words_of_time_outs():
    seen = []
    for own, wrap in ((0, client_context()), (1, server_context())):
        with raw_pair() as ends:
            ends[own].settimeout(0.05)
            names = {"server_side": True} if own else LOCAL
            seen.append(words(wrap.wrap_socket, ends[own], **names))
    for version in (V12, V13):
        with pair(client_context(version), server_context(version)) as (c, _):
            c.settimeout(0.05)
            seen += [words(c.recv, 5), words(c.recv_into, bytearray(5)), words(c.unwrap)]
        with pair(client_context(version), server_context(version)) as (c, _):
            c.settimeout(0.05)
            seen += [words(c.sendall, bytes(20_000_000)), words(c.unwrap), words(c.recv, 1)]
            seen += [words(c.send, b"shorter")]
    return seen


@scenario()
def words_of_non_blocking_sockets():
    seen = []
    with pair(client_context(V12), server_context(V12)) as (c, _):
        c.setblocking(False)
        seen += [words(c.recv, 5), words(c.send, bytes(20_000_000))]
        seen += [words(c.send, bytes(20_000_000)), words(c.send, b"s"), words(c.send, b"t")]
    with raw_pair() as (c, s):
        c.setblocking(False)
        tls = client_context().wrap_socket(c, do_handshake_on_connect=False, **LOCAL)
        calls = (tls.do_handshake, tls.unwrap, tls.getpeercert, tls.version, tls.cipher)
        seen += [words(tls.read, 1), words(tls.write, b"x"), *map(words, calls)]
        reset(s)
        seen += [words(tls.do_handshake), words(tls.do_handshake)]
        tls.close()
    return seen


@scenario()
def words_of_resets():
    seen = []
    for version in (V12, V13):
        for suppress in (True, False):
            for name, *args in (
                ("recv", 5),
                ("send", b"x"),
                ("sendall", bytes(10**6)),
                ("unwrap",),
            ):
                contexts = client_context(version), server_context(version)
                with pair(*contexts, suppress_ragged_eofs=suppress) as (c, s):
                    s.sendall(b"q")
                    c.recv(1)
                    reset(s)
                    seen += [words(getattr(c, name), *args), words(c.recv, 5)]
                with pair(*contexts, suppress_ragged_eofs=suppress) as (c, s):
                    s.sendall(b"q")
                    c.recv(1)
                    s.close()  # and with the first bytes that come then, it is reset, too
                    seen += [words(c.send, b"x"), time.sleep(0.02)]
                    seen += [words(getattr(c, name), *args), words(c.unwrap)]
    for wrap, names in ((client_context(), LOCAL), (server_context(), {"server_side": True})):
        for end in (reset, socket.socket.close):
            with raw_pair() as (c, s):
                ours, theirs = (s, c) if names is not LOCAL else (c, s)
                end(theirs)
                seen.append(words(wrap.wrap_socket, ours, **names))
        with raw_pair() as (c, s):
            ours, theirs = (s, c) if names is not LOCAL else (c, s)
            shaking = Background(words, wrap.wrap_socket, ours, **names)
            time.sleep(0.05)
            reset(theirs)
            seen.append(shaking.value())
    return seen


@scenario()
def words_of_closed_and_wrong():
    seen = []
    for timeout in (None, 1):
        with pair() as (c, _):
            tls = c._sslobj
            c.settimeout(timeout)
            c.close()
            seen += [words(tls.do_handshake), words(tls.read, 1), words(tls.write, b"1")]
            seen += [words(tls.shutdown), words(c.recv, 1), words(c.send, b"1")]
            seen += [str(outcome(c.read, 1)), c.pending()]
    with pair(client_context(V12), server_context(V12)) as (c, s):
        seen += [
            words(c.read, 0),
            words(c.read, -1),
            words(c.read, 0, bytearray()),
            words(c.recv, 0),
        ]
        seen += [words(c.read, 5, b"constant"), words(c.read, "x"), words(c.write, "x")]
        seen += [words(c.write, [1]), words(c.write, b""), words(c.sendall, b"")]
        seen += [words(c.makefile, "zz"), words(c.write, memoryview(b"abcdef")[::2])]
        seen += [words(c.recv, 5, 1), words(c.recv_into, bytearray(1), 1, 1)]
        seen += [words(c.send, b"x", 1), words(c.sendall, b"x", 1), words(c.recvfrom, 1, 1)]
        c.sendall(b"0123456789")
        buffer = bytearray(4)
        for length in (100, -1, 0):
            seen += [words(s.read, length, buffer), bytes(buffer).hex(), s.pending()]
        fd = c.detach()
        s.sendall(b"more")
        seen += [words(c.recv, 2), words(c.recv, 2), words(c.send, b"x"), words(c.unwrap)]
        with socket.socket(fileno=fd) as again:
            seen_switched.append(is_switched(again) or not common.under_the_switch())
    with raw_pair() as (c, s):
        refused = Background(words, server_context(V12).wrap_socket, s, server_side=True)
        seen.append(words(client_context(V13).wrap_socket, c, **LOCAL))
        seen.append(refused.value())
    with raw_pair() as (c, s):
        refused = Background(words, server_context().wrap_socket, s, server_side=True)
        seen.append(words(client_context().wrap_socket, c, server_hostname="another"))
        seen.append(refused.value())
    return seen


# -- beginnings and ends -------------------------------------------------------------------------


@scenario()
def a_client_that_leaves_at_once():
    """What a TLS 1.3 server has left to send then are tickets, which nobody misses."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context(V13).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with raw_pair() as (client, server):
        server.setblocking(False)
        s = server_context(V13).wrap_socket(server, server_side=True, do_handshake_on_connect=False)
        with s:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            client.sendall(outgoing.read())
            seen = [outcome(s.do_handshake)]
            incoming.write(client.recv(65536))
            tls.do_handshake()
            client.sendall(outgoing.read())
            reset(client)
            seen_switched.append(is_pumped(s))
            return [*seen, outcome(s.do_handshake), s.version()]


@scenario()
def greetings_in_plain_text():
    """As PyMySQL: a buffered file reads the greeting, and the same socket goes on with TLS."""
    with raw_pair() as (client, server):
        server.sendall(b"greeting\n")
        file = client.makefile("rb")
        seen = [file.readline().decode()]
        client.sendall(b"ssl please")
        seen.append(server.recv(10).decode())
        shaking = Background(server_context().wrap_socket, server, server_side=True)
        with client_context().wrap_socket(client, **LOCAL) as c, shaking.value() as s:
            file.close()
            seen_switched.append(is_pumped(c))
            file = c.makefile("rb")
            s.sendall(b"line\nrest")
            return [*seen, file.readline().decode(), c.pending(), file.read(4).decode()]


def lines_of(sock):
    """One line at a time, none too many."""
    line = b""
    while not line.endswith(b"\n"):
        if not (piece := sock.recv(1)):
            return ""
        line += piece
    return line.decode().strip()


@scenario()
def smtp_and_imap():
    import imaplib
    import smtplib

    def smtp(sock):
        sock.sendall(b"220 here\r\n")
        got = []
        while line := lines_of(sock):
            got.append(line.split()[0])
            if line == "STARTTLS":
                sock.sendall(b"220 go on\r\n")
                sock = server_context().wrap_socket(sock, server_side=True)
                seen_switched.append(is_pumped(sock))
            elif line.startswith("ehlo"):
                sock.sendall(b"250-hello\r\n250 STARTTLS\r\n")
            else:
                sock.sendall(b"221 bye\r\n")
                break
        sock.close()
        return got

    def imap(sock):
        sock.sendall(b"* OK here\r\n")
        got = []
        while line := lines_of(sock):
            tag, command = line.split()[:2]
            got.append(command)
            if command == "CAPABILITY":
                sock.sendall(b"* CAPABILITY IMAP4REV1 STARTTLS\r\n")
            sock.sendall(f"{tag} OK done\r\n".encode())
            if command == "STARTTLS":
                sock = server_context().wrap_socket(sock, server_side=True)
                seen_switched.append(is_pumped(sock))
            if command == "LOGOUT":
                break
        sock.close()
        return got

    with listening() as listener:
        serving = Background(lambda: smtp(listener.accept()[0]))
        client = smtplib.SMTP(HOST, listener.getsockname()[1], "me", timeout=20)
        client._host = "localhost"
        seen = [client.starttls(context=client_context())[0], client.ehlo("me")[0]]
        seen += [client.quit()[0], serving.value()]
    with listening() as listener:
        serving = Background(lambda: imap(listener.accept()[0]))
        imap_client = imaplib.IMAP4(HOST, listener.getsockname()[1], timeout=20)
        imap_client.host = "localhost"
        seen += [imap_client.starttls(client_context())[0], imap_client.logout()[0]]
        return [*seen, serving.value()]


@scenario()
def tls_within_tls():
    """As HTTPS proxies have it: memory buffers, carried by a TLS socket."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    inner = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    answer = os.urandom(200_000)
    with pair() as (c, s), raw_pair() as (far, near):

        def relay(source, target):
            while piece := source.recv(65536):
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)

        def serve():
            with server_context().wrap_socket(near, server_side=True) as tls:
                got = tls.recv(100).decode()
                tls.sendall(answer)
                return got

        jobs = [Background(relay, s, far), Background(relay, far, s)]
        serving = Background(serve)

        def pump(call, *args):
            while True:
                try:
                    value = call(*args)
                except ssl.SSLWantReadError:
                    c.sendall(outgoing.read())
                    if piece := c.recv(65536):
                        incoming.write(piece)
                    else:
                        incoming.write_eof()
                else:
                    c.sendall(outgoing.read())
                    return value

        pump(inner.do_handshake)
        pump(inner.write, b"from within")
        got = b""
        while len(got) < len(answer):
            got += pump(inner.read, 65536)
        seen = [got == answer, serving.value(), inner.version() == c.version()]
        c.close()
        for job in jobs:
            with contextlib.suppress(OSError):
                job.value()
        return seen


@scenario()
def a_server_that_forks():
    """The parent shakes hands, the child serves; a thread of the parent was reading meanwhile."""
    with pair() as (c, s):
        s.settimeout(0.5)
        reading = Background(outcome, s.recv, 100)
        time.sleep(0.1)
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                s.settimeout(20)
                s.sendall(b"child got " + s.recv(100))
                s.unwrap()
            os._exit(0)
        seen = [reading.value()]
        s.close()
        c.sendall(b"this")
        seen += [exactly(c, 14).decode(), c.recv(1).decode(), c.unwrap() is c]
        return [*seen, os.waitpid(child, 0)[1]]


@scenario()
def selectors_of_all_kinds():
    """A non-blocking echo server; the client's bytes come in pieces of all sizes."""
    seen = []
    data = os.urandom(700_000)

    def converse(client):
        # one thread for both directions: CPython before 3.13 does not guard its objects from two
        client.setblocking(False)
        got, sent = bytearray(), 0
        while len(got) < len(data):
            writers = [client] if sent < len(data) else []
            readable, writable, _ = select.select([client], writers, [], 20)
            if writable:
                with contextlib.suppress(ssl.SSLWantWriteError):
                    sent += client.send(data[sent : sent + 16384])
            if readable:
                with contextlib.suppress(ssl.SSLWantReadError):
                    while piece := client.recv(65536):
                        got += piece
        socket.socket.shutdown(client, socket.SHUT_WR)
        return got == data

    for kind in ("SelectSelector", "PollSelector", "EpollSelector"):
        with raw_pair() as (c, server), getattr(selectors, kind)() as selector:
            shaking = Background(client_context().wrap_socket, c, **LOCAL)
            server.setblocking(False)
            s = server_context().wrap_socket(
                server, server_side=True, do_handshake_on_connect=False
            )
            held, jobs, ended, shaken = bytearray(), [], False, False
            selector.register(s, selectors.EVENT_READ)
            while not ended:
                assert s.pending() or selector.select(20)
                mask = selectors.EVENT_READ
                try:
                    if not shaken:
                        s.do_handshake()
                        shaken = True
                        seen_switched.append(is_pumped(s))
                        client = shaking.value()
                        jobs.append(Background(converse, client))
                    while len(held) < 200_000 and not ended:
                        piece = s.recv(50_000)
                        held += piece
                        ended = not piece
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLWantWriteError:
                    mask |= selectors.EVENT_WRITE
                try:
                    while held:
                        del held[: s.send(held[:16384])]
                except ssl.SSLWantWriteError:
                    mask = selectors.EVENT_WRITE
                    if len(held) < 200_000:
                        mask |= selectors.EVENT_READ
                selector.modify(s, mask)
            seen.append(jobs[0].value())
            s.close()
            client.close()
    return seen


@scenario()
def certificates_from_afar():
    with listening() as listener:

        def serve():
            with contextlib.suppress(ssl.SSLError, OSError):
                tls = server_context().wrap_socket(listener.accept()[0], server_side=True)
                seen_switched.append(is_pumped(tls))
                tls.recv(1)

        serving = Background(serve)
        where = listener.getsockname()
        text = ssl.get_server_certificate(where, ca_certs=str(common.folder / "ca.pem"), timeout=20)
        serving.value()
    with pair() as (c, _):
        chain = getattr(c, "get_verified_chain", list)()
        unverified = getattr(c, "get_unverified_chain", list)()
        same = ssl.PEM_cert_to_DER_cert(text) == c.getpeercert(True)
        return [same, len(chain), len(unverified), not chain or chain[0] == c.getpeercert(True)]


@scenario()
def keys_and_messages_can_be_logged():
    log = common.folder / f"keys-{os.getpid()}"
    clients, heard = client_context(), []
    clients.keylog_filename = str(log)
    clients._msg_callback = lambda owner, way, *_: heard.append((type(owner).__name__, way))
    with pair(clients) as (c, s):
        c.sendall(b"x")
        s.recv(1)
    kinds = {line.split()[0] for line in log.read_text().splitlines() if line[0] != "#"}
    return [sorted(kinds), sorted(set(heard)), len(heard) > 4]


# -- asyncio -------------------------------------------------------------------------------------


def mark_transport(writer) -> None:
    seen_switched.append(is_switched(writer.get_extra_info("socket")._sock))


@scenario()
def asyncio_streams():
    data = os.urandom(1_000_000)

    async def serve(reader, writer):
        mark_transport(writer)
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
        writer.close()

    async def upgrade(reader, writer):
        if await reader.readline() == b"STARTTLS\n":
            writer.write(b"go on\n")
            await writer.drain()
            await writer.start_tls(server_context())
        await serve(reader, writer)

    async def talk(reader, writer):
        tls = writer.get_extra_info("ssl_object")
        seen = [tls.version(), bool(tls.getpeercert()), tls.cipher()[0]]
        writer.write(data)
        seen.append(await reader.readexactly(len(data)) == data)
        mark_transport(writer)
        writer.close()
        await writer.wait_closed()
        return seen

    async def main():
        seen = []
        async with await asyncio.start_server(serve, HOST, 0, ssl=server_context()) as server:
            await asyncio.sleep(0.05)  # it accepts
            where = server.sockets[0].getsockname()
            names = {"ssl": client_context(), "server_hostname": "localhost"}
            seen.append(await talk(*await asyncio.open_connection(*where, **names)))
            names["server_hostname"] = "another"
            try:
                await asyncio.open_connection(*where, **names)
            except ssl.SSLCertVerificationError as error:
                seen.append([error.verify_code, error.verify_message, error.reason])
        async with await asyncio.start_server(upgrade, HOST, 0) as server:
            await asyncio.sleep(0.05)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"STARTTLS\n")
            seen.append((await reader.readline()).decode())
            await writer.start_tls(client_context(), server_hostname="localhost")
            seen.append(await talk(reader, writer))
        return seen

    return asyncio.run(main())


# -- web -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def web_server(pumped=True):
    """http.server with TLS; it answers a POST with what it got."""
    import http.server

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            seen_switched.append(is_pumped(self.connection) or not pumped)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer((HOST, 0), Handler) as server:
        server.daemon_threads = True
        server.socket = server_context().wrap_socket(server.socket, server_side=True)
        serving = Background(server.serve_forever, 0.05)
        wait_until_it_accepts(server.socket)
        yield f"https://localhost:{server.server_address[1]}/"
        server.shutdown()
        serving.value()


def authority() -> str:
    return str(common.folder / "ca.pem")


@scenario("requests", "urllib3", "httpx")
def https_clients():
    import http.client

    import httpx
    import requests
    import urllib3

    body, seen = os.urandom(300_000), []
    with web_server() as url:
        port = int(url.split(":")[-1][:-1])
        connection = http.client.HTTPSConnection("localhost", port, context=client_context())
        for _ in range(2):  # the second over the same connection
            connection.request("POST", "/", body)
            seen.append(connection.getresponse().read() == body)
        connection.close()
        with requests.Session() as session:
            session.trust_env = False
            session.verify = authority()
            seen += [session.post(url, data=body).content == body for _ in range(2)]
        with urllib3.PoolManager(ca_certs=authority()) as pool:
            seen += [pool.request("POST", url, body=body).data == body for _ in range(2)]
        with httpx.Client(verify=client_context()) as client:
            seen += [client.post(url, content=body).content == body for _ in range(2)]
        try:
            with requests.Session() as session:
                session.trust_env = False
                session.post(url.replace("localhost", HOST), data=b"", verify=authority())
        except requests.exceptions.SSLError as error:
            seen.append("IP address mismatch" in str(error))
        return seen


@scenario("aiohttp", "httpx")
def asyncio_web():
    import aiohttp
    import aiohttp.web
    import httpx

    body = os.urandom(300_000)

    async def answer(request):
        seen_switched.append(is_switched(request.transport.get_extra_info("socket")._sock))
        return aiohttp.web.Response(body=await request.read())

    async def main():
        app = aiohttp.web.Application()
        app.router.add_post("/", answer)
        runner = aiohttp.web.AppRunner(app)
        await runner.setup()
        site = aiohttp.web.TCPSite(runner, HOST, 0, ssl_context=server_context())
        await site.start()
        await asyncio.sleep(0.05)
        url = f"https://localhost:{runner.addresses[0][1]}/"
        seen = []
        async with aiohttp.ClientSession() as session:
            for _ in range(2):
                async with session.post(url, data=body, ssl=client_context()) as got:
                    seen.append(await got.read() == body)
        async with httpx.AsyncClient(verify=client_context()) as client:
            seen.append((await client.post(url, content=body)).content == body)
        await runner.cleanup()
        return seen

    return asyncio.run(main())


@scenario("uvicorn", "httpx")
def uvicorn_behind_tls():
    import httpx
    import uvicorn

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    pem = str(common.folder / "server.pem")
    config = uvicorn.Config(
        app, HOST, 0, loop="asyncio", log_level="error", ssl_certfile=pem, lifespan="off"
    )
    server = uvicorn.Server(config)
    serving = threading.Thread(target=server.run, daemon=True)
    serving.start()
    while not server.started:
        time.sleep(0.02)
    listener = server.servers[0].sockets[0]
    wait_until_it_accepts(listener)
    body = os.urandom(300_000)
    with httpx.Client(verify=client_context()) as client:
        url = f"https://localhost:{listener.getsockname()[1]}/"
        seen = [client.post(url, content=body).content == body for _ in range(2)]
        stream = client._transport._pool.connections[0]._connection._network_stream
        seen_switched.append(type(stream.get_extra_info("ssl_object")).__name__ == "Pump")
    server.should_exit = True
    serving.join(20)
    return [*seen, serving.is_alive()]


@scenario("truststore", "requests")
def the_system_s_trust_store():
    """truststore gives the context its own class of sockets, and may stand for ssl.SSLContext."""
    import truststore

    os.environ["SSL_CERT_FILE"] = authority()
    body, seen = os.urandom(100_000), []
    with web_server() as url:
        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        sock = socket.create_connection(("localhost", int(url.split(":")[-1][:-1])))
        with context.wrap_socket(sock, **LOCAL) as tls:
            seen_switched.append(is_pumped(tls))
            seen += [type(tls).__name__, tls.version()]
        truststore.inject_into_ssl()
        try:
            import requests

            with requests.Session() as session:
                session.trust_env = False
                seen.append(session.post(url, data=body).content == body)
        finally:
            truststore.extract_from_ssl()
    return seen


@scenario("OpenSSL", "urllib3")
def py_openssl():
    """It gives the descriptor to OpenSSL: the bytes go through the kernel, or over TCP."""
    import urllib3
    import urllib3.contrib.pyopenssl
    from OpenSSL import SSL

    body, seen = os.urandom(300_000), []
    urllib3.contrib.pyopenssl.inject_into_urllib3()
    try:
        with web_server(False) as url, urllib3.PoolManager(ca_certs=authority()) as pool:
            seen += [pool.request("POST", url, body=body).data == body for _ in range(2)]
    finally:
        urllib3.contrib.pyopenssl.extract_from_urllib3()

    def retried(sock, call, *args):
        while True:
            try:
                return call(*args)
            except SSL.WantReadError:
                common.select.select([sock], [], [], 20)
            except SSL.WantWriteError:
                common.select.select([], [sock], [], 20)

    def serve(listener, context):
        tls, _ = SSL.Connection(context, listener).accept()
        got = b""
        while len(got) < len(body):
            got += retried(tls, tls.recv, 65536)
        view = memoryview(got)
        while view:
            view = view[retried(tls, tls.send, view) :]
        retried(tls, tls.shutdown)
        tls.sock_shutdown(socket.SHUT_WR)
        return tls

    context = SSL.Context(SSL.TLS_METHOD)
    context.use_privatekey_file(str(common.folder / "server.pem"))
    context.use_certificate_chain_file(str(common.folder / "server.pem"))
    for order in ("wrapped after connect", "wrapped before connect", "ssl module"):
        with listening() as listener:
            listener.settimeout(None)
            serving = Background(serve, listener, context)
            if order == "wrapped after connect":
                sock = socket.create_connection(listener.getsockname(), 20)
                time.sleep(0.1)  # it is accepted: else it moves to TCP
                tls = SSL.Connection(SSL.Context(SSL.TLS_METHOD), sock)
                tls.set_connect_state()
            elif order == "wrapped before connect":
                sock = socket.socket()
                tls = SSL.Connection(SSL.Context(SSL.TLS_METHOD), sock)
                tls.connect(listener.getsockname())
                seen.append(is_switched(sock))
            else:
                sock = socket.create_connection(listener.getsockname(), 20)
                sock = tls = client_context().wrap_socket(sock, **LOCAL)
            view = memoryview(body)
            while view:
                view = view[retried(sock, tls.send, view) :]
            got = b""
            while len(got) < len(body):
                got += retried(sock, tls.recv, 65536)
            seen.append(got == body)
            if order != "wrapped before connect":
                seen_switched.append(is_switched(sock))
            serving.value().close()
            tls.close()
    return seen


def main(where: str, *chosen: str) -> None:
    common.folder = Path(where)
    for name in chosen or scenarios:
        seen_switched.clear()
        try:
            for library in libraries[name]:
                importlib.import_module(library)
        except ImportError as error:
            print(json.dumps({"name": name, "missing": error.name}), flush=True)
            continue
        try:
            result = json.loads(json.dumps(scenarios[name]()))
        except Exception as error:
            result = ["failed", traceback.format_exc(), repr(error)]
        print(json.dumps({"name": name, "result": result, "switched": seen_switched}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
