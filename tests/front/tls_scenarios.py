"""What programs do with TLS, each as a function that returns what it saw.

`tls_scenarios.py FOLDER [NAME...]` prints one JSON line per scenario; FOLDER has certificates.
test_tls.py runs them on plain TCP and under the launcher and demands the same answers.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import re
import select
import signal
import socket
import ssl
import sys
import threading
import time
import warnings
from pathlib import Path

HOST = "127.0.0.1"
scenarios = {}
seen_switched: list[bool] = []
folder = Path()


def scenario(function):
    scenarios[function.__name__] = function
    return function


def under_the_switch() -> bool:
    return "wsdirect.front.enable" in sys.modules


def is_switched(sock) -> bool:
    module = sys.modules.get("wsdirect.front.enable")
    return module is not None and module.is_switched(sock)


def is_pumped(sock) -> bool:
    """Two OpenSSL ends that both took the descriptor for a socket would get on well, too."""
    return type(sock._sslobj).__name__ == "Pump"


def server_context(version=None, **settings):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return adjust(context, version, settings)


def client_context(version=None, **settings):
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    return adjust(context, version, settings)


def adjust(context, version, settings):
    if version is not None:
        context.minimum_version = context.maximum_version = version
    for name, value in settings.items():
        setattr(context, name, value)
    return context


V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@contextlib.contextmanager
def listening():
    with socket.create_server((HOST, 0)) as listener:
        listener.settimeout(0.01)  # the first accept is what opens the SAN side
        with contextlib.suppress(TimeoutError):
            listener.accept()
        listener.settimeout(20)
        yield listener


@contextlib.contextmanager
def raw_pair():
    with listening() as listener:
        client = socket.create_connection(listener.getsockname(), timeout=20)
        server, _ = listener.accept()
    server.settimeout(20)
    seen_switched.append(is_switched(client) and is_switched(server))
    with client, server:
        yield client, server


@contextlib.contextmanager
def pair(clients=None, servers=None, **settings):
    """A client and a server that have shaken hands."""
    with raw_pair() as (client, server):
        settings.setdefault("server_hostname", "localhost")
        shaking = Background((servers or server_context()).wrap_socket, server, server_side=True)
        client = (clients or client_context()).wrap_socket(client, **settings)
        with client, shaking.value() as server:
            seen_switched.append(is_pumped(client) and is_pumped(server))
            yield client, server


class Background(threading.Thread):
    """A call in another thread."""

    def __init__(self, call, *args, **kwargs):
        super().__init__(daemon=True)
        self.call, self.args, self.kwargs = call, args, kwargs
        self.result = self.error = None
        self.start()

    def run(self):
        try:
            self.result = self.call(*self.args, **self.kwargs)
        except BaseException as error:
            self.error = error

    def value(self):
        self.join(30)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
        return self.result


def outcome(call, *args, **kwargs):
    """What a call returns or raises, without what differs between runs and versions of Python."""
    try:
        value = call(*args, **kwargs)
    except ssl.SSLError as error:
        text = re.sub(r" ?\(_ssl\.c(:\d+)?\)", "", str(error.args[-1]))
        return [type(error).__name__, error.args[0], text, error.reason]
    except (OSError, ValueError, NotImplementedError) as error:
        return [type(error).__name__, re.sub(r"_ssl\.c(:\d+)?: |<.*>", "", str(error))]
    return value.hex() if isinstance(value, bytes) else value


def exactly(sock, count) -> bytes:
    data = bytearray()
    while len(data) < count and (piece := sock.recv(count - len(data))):
        data += piece
    return bytes(data)


def readable(sock, timeout=0.0):
    return bool(select.select([sock], [], [], timeout)[0])


# -- data ----------------------------------------------------------------------------------------


@scenario
def echo_of_many_sizes():
    seen = []
    for version in (V12, V13):
        with pair(client_context(version), server_context(version)) as (c, s):
            for size in (1, 2, 1000, 16384, 16385, 65536, 65537, 1_500_000):
                data = os.urandom(size)
                sending = Background(c.sendall, data)
                got = exactly(s, size)
                sending.value()
                sending = Background(s.sendall, got)
                seen.append(exactly(c, size) == data)
                sending.value()
            seen.append([c.send(b""), c.recv(0), s.version(), c.compression(), s.session_reused])
    return json.loads(json.dumps(seen, default=repr))


@scenario
def records_and_pending():
    with pair(client_context(V12), server_context(V12)) as (c, s):
        c.sendall(b"x" * 20000)
        c.sendall(b"y" * 10)
        buffer = bytearray(50)
        seen = [len(s.recv(1)), s.pending(), s.recv_into(buffer), s.pending()]
        seen += [len(s.recv(65536)), s.pending(), readable(s, 1), len(s.recv(65536))]
        seen += [s.recv(65536).decode(), s.pending(), readable(s), bytes(buffer).decode()]
        return [*seen, s.recv_into(bytearray(0)), outcome(s.recv, -1)]


@scenario
def many_small_messages():
    with pair() as (c, s):
        answering = Background(lambda: [s.sendall(s.recv(100)) for _ in range(300)])
        for number in range(300):
            c.sendall(b"%d" % number)
            assert c.recv(100) == b"%d" % number
        answering.value()


@scenario
def one_thread_reads_while_another_writes():
    """Ours only: the ssl module of these versions has no lock; it fails or crashes now and then."""
    data = os.urandom(4_000_000)
    with pair() as (c, s):
        if not is_switched(c):
            return [True, True, None, None]
        jobs = [Background(end.sendall, data) for end in (c, s)]
        readers = [Background(exactly, end, len(data)) for end in (c, s)]
        return [reader.value() == data for reader in readers] + [job.value() for job in jobs]


@scenario
def many_writers_and_readers():
    """Ours only, as above."""
    with pair() as (c, s):
        if not is_switched(c):
            return [True]
        writers = [Background(c.sendall, bytes([65 + n]) * 100_000) for n in range(4)]
        got = [Background(exactly, s, 100_000) for _ in range(4)]
        for writer in writers:
            writer.value()
        return [sorted(b"".join(reader.value() for reader in got)) == sorted(b"ABCD" * 100_000)]


@scenario
def makefile_and_sendfile():
    with pair() as (c, s):
        stream = c.makefile("rwb")
        c.close()
        stream.write(b"one line\n")
        stream.flush()
        seen = [s.recv(100).decode()]
        path = folder / "data"
        path.write_bytes(b"0123456789" * 3000)
        with path.open("rb") as file:
            sending = Background(s.sendfile, file, 5)
            seen.append(stream.read(29995) == path.read_bytes()[5:])
            seen.append(sending.value())
        stream.close()
        return [*seen, outcome(s.recv, 10)]


# -- waiting -------------------------------------------------------------------------------------


@scenario
def time_outs():
    with raw_pair() as (c, _):
        c.settimeout(0.1)
        seen = [outcome(client_context().wrap_socket, c, server_hostname="localhost")]
    with pair() as (c, s):
        c.settimeout(0.1)
        began = time.monotonic()
        seen += [outcome(c.recv, 1), 0.08 < time.monotonic() - began < 2]
        trickle = Background(lambda: [(s.send(b""), time.sleep(0.05)) for _ in range(3)])
        seen += [outcome(c.recv, 1)]
        trickle.value()
        s.sendall(b"later")
        seen += [outcome(c.recv, 9), outcome(c.unwrap)]
    with pair() as (c, s):
        big = os.urandom(20_000_000)
        c.settimeout(0.1)
        seen += [outcome(c.send, big)]
        reading = Background(exactly, s, len(big))
        c.settimeout(20)
        seen += [outcome(c.send, big), reading.value() == big]
        c.settimeout(1e-9)
        s.sendall(b"x")
        time.sleep(0.1)
        first = outcome(c.recv, 1)
        return [*seen, first if first == b"x".hex() else "late"]


@scenario
def non_blocking():
    seen = []
    with raw_pair() as (client, server):
        for end in (client, server):
            end.setblocking(False)
        names = {"server_hostname": "localhost", "do_handshake_on_connect": False}
        c = client_context().wrap_socket(client, **names)
        s = server_context().wrap_socket(server, server_side=True, do_handshake_on_connect=False)
        with c, s:
            seen += [outcome(s.do_handshake), outcome(c.do_handshake), outcome(c.version)]
            open_ends = {c, s}
            while open_ends:
                for end in select.select(list(open_ends), [], [], 10)[0]:
                    with contextlib.suppress(ssl.SSLWantReadError):
                        end.do_handshake()
                        open_ends.discard(end)
            seen += [outcome(c.recv, 10), outcome(s.recv, 10)]
            while readable(c, 0.1):  # session tickets that took their time
                outcome(c.recv, 10)
            seen.append(readable(s))
            seen += [outcome(c.read, 10, bytearray(10)), c.pending()]
            data = os.urandom(20_000_000)
            seen += [outcome(c.send, data), outcome(c.send, data), readable(s, 1)]
            got, sent = bytearray(), False
            while len(got) < len(data):
                wanted = [] if sent else [c]
                _, w, _ = select.select([s], wanted, [], 10)
                if w:
                    with contextlib.suppress(ssl.SSLWantWriteError):
                        sent = c.send(data) == len(data)
                with contextlib.suppress(ssl.SSLWantReadError):
                    while piece := s.recv(65536):
                        got += piece
            seen += [sent, got == data, readable(s), outcome(s.recv, 1), outcome(c.unwrap)]
            seen += [readable(s, 1), outcome(s.recv, 1), s.unwrap() is s, readable(c, 1)]
            seen += [c.unwrap() is c]
    with pair() as (c, s):
        c.setblocking(False)
        seen += [
            outcome(c.send, data),
            outcome(c.recv, 9),
            s.send(b"meanwhile"),
            readable(c, 10),
            outcome(c.recv, 9),
        ]
        seen += [outcome(c.send, b"shorter")]
    return seen


@scenario
def a_record_in_parts():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with raw_pair() as (c, server):
        shaking = Background(server_context().wrap_socket, server, server_side=True)
        while tls.version() is None:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            c.sendall(outgoing.read())
            if tls.version() is None:
                incoming.write(c.recv(65536))
        with shaking.value() as s:
            s.setblocking(False)
            tls.write(b"in parts")
            record = outgoing.read()
            seen = []
            for start, end in itertools.pairwise((0, 3, 5, 9, len(record) - 1, len(record))):
                c.sendall(record[start:end])
                seen += [readable(s, 1), outcome(s.recv, 20), readable(s)]
            return seen


@scenario
def signals():
    with pair() as (c, s):
        seen = []
        signal.signal(signal.SIGALRM, lambda *_: seen.append(s.send(b"from the handler")))
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        seen.append(c.recv(100).decode())

        def stop(*_):
            raise KeyError("stop")

        signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with contextlib.suppress(KeyError):
            c.recv(100)
        s.sendall(b"goes on")
        seen.append(c.recv(100).decode())
        signal.signal(signal.SIGALRM, lambda *_: seen.append(c.recv(100).decode()))
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        answering = Background(lambda: [(time.sleep(0.2), s.sendall(b"x" * n)) for n in (1, 2)])
        seen.append(c.recv(100).decode())
        answering.value()
        return seen


# -- beginnings ----------------------------------------------------------------------------------


@scenario
def names_and_certificates():
    clients, servers = client_context(V12), server_context(V12)
    clients.set_alpn_protocols(["h2", "http/1.1"])
    servers.set_alpn_protocols(["http/1.1"])
    with pair(clients, servers) as (c, s):
        seen = [c.selected_alpn_protocol(), s.selected_alpn_protocol(), c.cipher(), s.cipher()]
        seen += [bool(s.shared_ciphers()), c.shared_ciphers(), c.server_side, s.server_side]
        seen += [c.getpeercert()["subjectAltName"], len(c.getpeercert(True)) > 99, s.getpeercert()]
        binding = c.get_channel_binding()
        seen += [len(binding), binding == s.get_channel_binding(), c.server_hostname]
        seen += [c._sslobj.owner is c, c.context is clients, c._sslobj.server_hostname]
        seen += [len(c._sslobj.get_unverified_chain()), len(c._sslobj.get_verified_chain())]
        seen += [c.getpeername() == s.getsockname(), s.getpeername() == c.getsockname()]
        seen += [outcome(c.dup), outcome(c.sendmsg, [b"x"]), outcome(c.recvmsg, 1)]
        seen += [outcome(c.send, b"x", 1), outcome(c.recv, 1, socket.MSG_PEEK)]
        seen += [outcome(c.sendto, b"x", ("", 1)), outcome(c.recvfrom, 1), c.family, c.type]
        return json.loads(json.dumps(seen))


@scenario
def server_name_callback():
    seen, wanted = [], server_context()
    wanted.set_alpn_protocols(["chosen"])
    servers = server_context()

    def choose(sock, name, context):
        seen.append([type(sock).__name__, sock.server_side, name, context is servers])
        sock.context = wanted

    servers.sni_callback = choose
    clients = client_context()
    clients.set_alpn_protocols(["chosen"])
    with pair(clients, servers) as (c, s):
        seen.append([s.context is wanted, c.selected_alpn_protocol()])
    servers.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    with raw_pair() as (c, s):
        refusing = Background(outcome, servers.wrap_socket, s, server_side=True)
        seen.append(outcome(client_context().wrap_socket, c, server_hostname="localhost"))
        return [*seen, refusing.value()]


@scenario
def sessions_are_reused():
    seen = []
    for version in (V12, V13):
        clients, servers, session = client_context(version), server_context(version), None
        for _ in range(2):
            with pair(clients, servers, session=session) as (c, s):
                s.sendall(b"x")
                c.recv(1)
                session = c.session
                seen.append([c.session_reused, s.session_reused, session.has_ticket])
    return seen


@scenario
def client_certificates():
    seen = []
    servers = server_context(V12, verify_mode=ssl.CERT_REQUIRED)
    servers.load_verify_locations(folder / "ca.pem")
    clients = client_context(V12)
    with raw_pair() as (c, s):
        refusing = Background(outcome, servers.wrap_socket, s, server_side=True)
        seen.append(outcome(clients.wrap_socket, c, server_hostname="localhost"))
        seen.append(refusing.value())
    clients.load_cert_chain(folder / "client.pem")
    with pair(clients, servers) as (c, s):
        seen.append(s.getpeercert()["subjectAltName"])
    servers = server_context(V13, verify_mode=ssl.CERT_REQUIRED, post_handshake_auth=True)
    servers.load_verify_locations(folder / "ca.pem")
    clients = client_context(V13, post_handshake_auth=True)
    clients.load_cert_chain(folder / "client.pem")
    with pair(clients, servers) as (c, s):
        seen.append(s.getpeercert() is None)
        reading = Background(c.recv, 9)
        s.verify_client_post_handshake()
        s.sendall(b"asked")
        seen.append(reading.value().decode())
        c.sendall(b"given")
        seen += [s.recv(9).decode(), s.getpeercert()["subjectAltName"]]
    return json.loads(json.dumps(seen))


@scenario
def handshakes_that_fail():
    seen = []
    with raw_pair() as (c, s):
        failing = Background(outcome, server_context().wrap_socket, s, server_side=True)
        strangers = ssl.create_default_context()
        seen.append(outcome(strangers.wrap_socket, c, server_hostname="localhost"))
        seen.append(failing.value())
    with raw_pair() as (c, s):
        c.sendall(b"GET / HTTP/1.1\r\n\r\n")
        seen.append(outcome(server_context().wrap_socket, s, server_side=True))
    with raw_pair() as (c, s):
        c.sendall(b"\x16\x03\x01\xff\xff" + bytes(70000))
        seen.append(outcome(server_context().wrap_socket, s, server_side=True))
    with raw_pair() as (c, s):
        s.sendall(b"220 plain text here\r\n")
        seen.append(outcome(client_context().wrap_socket, c, server_hostname="localhost"))
    with raw_pair() as (c, s):
        s.shutdown(socket.SHUT_WR)
        seen.append(outcome(client_context().wrap_socket, c, server_hostname="localhost"))
    return seen


@scenario
def start_tls_and_back():
    with raw_pair() as (client, server):
        client.sendall(b"STARTTLS\r\n")
        shaking = Background(client_context().wrap_socket, client, server_hostname="localhost")
        time.sleep(0.2)  # the ClientHello stands behind the command
        seen = [server.recv(10).decode(), readable(server)]
        server.sendall(b"")
        with server_context().wrap_socket(server, server_side=True) as s, shaking.value() as c:
            c.sendall(b"secret")
            seen += [s.recv(9).decode()]

            def back():
                plain = c.unwrap()
                plain.sendall(b"plain again")
                return plain is c

            unwrapping = Background(back)
            seen += [s.recv(9).decode(), s.unwrap() is s, s.recv(99).decode(), unwrapping.value()]
            seen += [s.version(), outcome(s.unwrap), outcome(s.read, 1), s.send(b"x")]
            seen += [c.recv(9).decode(), is_switched(c) == is_switched(s) == seen_switched[-1]]
    return seen


@scenario
def wrapped_before_connect():
    seen = []
    for how, shake in (("connect", True), ("connect_ex", True), ("connect", False)):
        with (
            listening() as listener,
            server_context().wrap_socket(listener, server_side=True) as server,
        ):
            accepting = Background(server.accept)
            c = client_context().wrap_socket(
                socket.socket(), server_hostname="localhost", do_handshake_on_connect=shake
            )
            with c:
                seen += [c.version(), c.pending(), outcome(c.do_handshake)]
                c.settimeout(20)
                seen += [outcome(getattr(c, how), server.getsockname()), c.version()]
                c.sendall(b"hello")  # shakes hands if need be
                with accepting.value()[0] as s:
                    seen_switched.append(is_pumped(c) and is_pumped(s))
                    seen += [type(s).__name__, s.recv(9).decode(), c.cipher() == s.cipher()]
                    seen += [outcome(c.connect, server.getsockname()), c._sslobj.owner is c]
    with listening() as listener:
        nobody = listener.getsockname()
    with client_context().wrap_socket(socket.socket(), server_hostname="localhost") as c:
        return [*seen, outcome(c.connect, nobody), c._sslobj]


@scenario
def wrapped_before_a_connect_that_stays_on_tcp():
    with listening() as listener:
        if "wsdirect" in sys.modules:
            sys.modules["wsdirect"].disable()
        seen_switched.append(True)  # were it so, what follows would differ
        c = client_context().wrap_socket(socket.socket(), server_hostname="localhost")
        with c:
            shaking = Background(
                lambda: server_context().wrap_socket(listener.accept()[0], server_side=True)
            )
            c.connect(listener.getsockname())
            with shaking.value() as s:
                if "wsdirect" in sys.modules:
                    sys.modules["wsdirect"].enable()
                seen = [type(c._sslobj).__name__, type(s._sslobj).__name__, is_switched(c)]
                c.sendall(b"hello")
                return [*seen, s.recv(9).decode()]


@scenario
def a_server_that_accepts_too_late():
    """Nobody takes the offer: the connection moves to TCP in the midst of the handshake."""
    import _socket

    with listening() as listener:
        client = socket.create_connection(listener.getsockname(), timeout=20)
        seen_switched.append(is_switched(client))
        shaking = Background(client_context().wrap_socket, client, server_hostname="localhost")
        fd, _ = _socket.socket._accept(listener)  # as code that knows nothing of the SAN
        server = socket.socket(fileno=fd)
        with server_context().wrap_socket(server, server_side=True) as s, shaking.value() as c:
            seen = [is_switched(c)]
            data = os.urandom(2_000_000)
            sending = Background(c.sendall, data)
            seen += [exactly(s, len(data)) == data, sending.value()]
            c.settimeout(0.1)
            seen += [outcome(c.recv, 9), s.send(b"answer"), outcome(c.recv, 9)]
            c.setblocking(False)
            seen += [outcome(c.recv, 9), outcome(c.send, bytes(20_000_000)), readable(c)]
        return seen


@scenario
def classes_of_ones_own():
    class Socket(ssl.SSLSocket):
        def recv(self, *args):
            return b"own " + super().recv(*args)

    clients = client_context()
    clients.sslsocket_class = Socket
    with pair(clients) as (c, s):
        s.sendall(b"data")
        return [type(c).__name__, c.recv(9).decode(), type(s).__name__]


# -- endings -------------------------------------------------------------------------------------


@scenario
def ends_of_the_stream():
    seen = []
    for suppress in (True, False):
        with pair(suppress_ragged_eofs=suppress) as (c, s):
            s.sendall(b"last")
            socket.socket.shutdown(s, socket.SHUT_WR)  # without close_notify
            seen += [outcome(c.recv, 9), outcome(c.recv, 9), outcome(c.recv, 9), outcome(c.unwrap)]
    with pair() as (c, s):
        closing = Background(s.unwrap)
        seen += [outcome(c.recv, 9), outcome(c.recv, 9), outcome(c.send, b"x")]
        socket.socket.shutdown(c, socket.SHUT_WR)
        with contextlib.suppress(OSError):
            closing.value()
    with pair() as (c, s):
        socket.socket.shutdown(s, socket.SHUT_WR)
        seen += [outcome(c.unwrap)]
    with pair() as (c, s):
        readable(c, 10)  # the tickets
        c.shutdown(socket.SHUT_RDWR)
        seen += [c.version(), outcome(s.recv, 9), outcome(c.read, 1), len(c.recv(9))]
    return seen


@scenario
def the_answer_can_be_read_after_sending_has_failed():
    with pair(client_context(V12), server_context(V12)) as (c, s):
        s.sendall(b"413 too long")
        s.close()
        time.sleep(0.1)
        with contextlib.suppress(ssl.SSLEOFError, ConnectionResetError, BrokenPipeError):
            for _ in range(3):
                c.sendall(b"upload")
                time.sleep(0.05)
        return [outcome(c.recv, 3), c.pending(), outcome(c.recv, 99)]


@scenario
def dropped_sockets_are_closed():
    with pair() as (c, s), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.collect()
        gc.disable()
        kept = c.recv
        clone = ssl.SSLSocket._create(
            sock=socket.socket(fileno=s.detach()),
            context=server_context(),
            server_side=True,
            do_handshake_on_connect=False,
        )
        with contextlib.suppress(ssl.SSLError, OSError):
            clone.settimeout(0.05)
            clone.do_handshake()
        del clone
        ended = outcome(kept, 9)
        gc.enable()
        return [[str(item.category.__name__) for item in caught], ended[:1] if ended else ended]


def wait_until_it_accepts(listener):
    """Under the switch: a client that comes before the first accept stays on TCP."""
    known = sys.modules.get("wsdirect.switch.listeners")
    end = time.monotonic() + 10
    while known and listener.fileno() not in known.listeners and time.monotonic() < end:
        time.sleep(0.01)


@scenario
def a_web_server():
    import http.server
    import urllib.request

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            seen_switched.append(is_pumped(self.connection))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer((HOST, 0), Handler) as server:
        server.socket = server_context().wrap_socket(server.socket, server_side=True)
        serving = Background(server.serve_forever, 0.05)
        wait_until_it_accepts(server.socket)
        body = os.urandom(300_000)
        url = f"https://localhost:{server.server_address[1]}/"
        with urllib.request.urlopen(url, body, 20, context=client_context()) as answer:
            seen = [answer.status, answer.read() == body]
        server.shutdown()
        serving.value()
        return seen


def main(where: str, *chosen: str) -> None:
    global folder
    folder = Path(where)
    for name in chosen or scenarios:
        seen_switched.clear()
        try:
            result = scenarios[name]()
        except Exception as error:
            import traceback

            result = ["failed", traceback.format_exc(), repr(error)]
        print(json.dumps({"name": name, "result": result, "switched": seen_switched}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
