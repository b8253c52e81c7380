"""What the launcher costs a program whose sockets all stay on TCP, UDP, AF_UNIX or pipes.

    python tools_dev/unswitched.py [--rounds N] [--only WORD ...] [--json]

Every scenario runs in processes of its own, alternately with and without `wsdirect run`'s
environment, all pinned to one CPU, so that a wait for the peer is a context switch and no more.
A process warms up, measures batches, and reports its fastest one: on a busy machine that is the
number which others disturb least.  Printed are the medians over the processes, the median of the
ratios of neighbouring pairs, and the spread of these (their middle half).  Peers never run under
the launcher, which is what keeps the measured process's connections on TCP.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import select
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import wsdirect

INSTALLED = Path(wsdirect.__file__).resolve().parent  # with the compiled core, which src/ has not
HOST = "127.0.0.1"
BATCHES = 40

scenarios: dict[str, tuple[Callable[..., None], int]] = {}


def scenario(calls: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A scenario: a generator-like function that gets `measure` and calls per batch."""

    def enter(function: Callable[..., None]) -> Callable[..., None]:
        scenarios[function.__name__] = function, calls
        return function

    return enter


# -- peers ---------------------------------------------------------------------------------------

ECHO = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0), backlog=200)
print(server.getsockname()[1], flush=True)
while True:
    connection, _ = server.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.close()
"""
CLOSE = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0), backlog=200)
print(server.getsockname()[1], flush=True)
while True:
    connection, _ = server.accept()
    connection.send(b"x")
    connection.close()
"""
CONNECT = """
import socket, sys
port = int(sys.argv[1])
print(0, flush=True)
try:
    while True:
        with socket.socket() as s:
            s.connect(("127.0.0.1", port))
            s.recv(1)
except OSError:
    pass
"""
HTTP = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")
    def log_message(self, *args):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""
REQUEST = """
import http.client, sys
port = int(sys.argv[1])
print(0, flush=True)
try:
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/")
        connection.getresponse().read()
        connection.close()
except OSError:
    pass
"""


class Peer:
    """A process outside the launcher, with the port that it prints."""

    def __init__(self, code: str, *words: object) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("WSDIRECT", "PYTHONPA"))}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)], stdout=subprocess.PIPE, env=clean
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def __enter__(self) -> int:
        return self.port

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


# -- scenarios -----------------------------------------------------------------------------------


@scenario(300)
def tcp_ping_pong(measure, n):
    with Peer(ECHO) as port, socket.create_connection((HOST, port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = bytes(64)

        def batch():
            for _ in range(n):
                sock.sendall(data)
                sock.recv(64)

        measure(batch)


@scenario(150)
def asyncio_streams(measure, n):
    async def main(port):
        reader, writer = await asyncio.open_connection(HOST, port)
        data = bytes(64)
        for _ in range(BATCHES + 3):
            begin = time.perf_counter_ns()
            for _ in range(n):
                writer.write(data)
                await reader.readexactly(64)
            measure.add(time.perf_counter_ns() - begin)
        writer.close()

    with Peer(ECHO) as port:
        asyncio.run(main(port))


def pairs_ready(count, ready):
    made = [socket.socketpair() for _ in range(count)]
    for index in range(ready):
        made[index][1].send(b"x")
    return made


@scenario(5000)
def epoll_nothing_ready(measure, n):
    made = pairs_ready(5, 0)
    poller = select.epoll()
    for a, _ in made:
        poller.register(a, select.EPOLLIN)

    def batch():
        poll = poller.poll
        for _ in range(n):
            poll(0)

    measure(batch)


@scenario(5000)
def epoll_ready(measure, n):
    made = pairs_ready(5, 3)
    poller = select.epoll()
    for a, _ in made:
        poller.register(a, select.EPOLLIN)

    def batch():
        poll = poller.poll
        for _ in range(n):
            poll(1)

    measure(batch)


@scenario(3000)
def epoll_register(measure, n):
    made = pairs_ready(1, 1)
    poller = select.epoll()
    fd = made[0][0].fileno()

    def batch():
        for _ in range(n):
            poller.register(fd, 1)
            poller.modify(fd, 4)
            poller.unregister(fd)

    measure(batch)


@scenario(3000)
def poll_object(measure, n):
    made = pairs_ready(1, 1)
    a = made[0][0]

    def batch():
        for _ in range(n):
            poller = select.poll()
            poller.register(a, 1)
            poller.poll(0)

    measure(batch)


@scenario(3000)
def select_function(measure, n):
    made = pairs_ready(3, 1)
    rlist = [a for a, _ in made]

    def batch():
        for _ in range(n):
            select.select(rlist, [], [], 0)

    measure(batch)


@scenario(2000)
def default_selector(measure, n):
    made = pairs_ready(3, 1)
    selector = selectors.DefaultSelector()
    for a, _ in made:
        selector.register(a, selectors.EVENT_READ)

    def batch():
        for _ in range(n):
            selector.select(0)

    measure(batch)


@scenario(1000)
def udp_ping_pong(measure, n):
    a, b = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    a.bind((HOST, 0))
    b.bind((HOST, 0))
    there, back = b.getsockname(), a.getsockname()

    def batch():
        for _ in range(n):
            a.sendto(b"x", there)
            b.recvfrom(100)
            b.sendto(b"x", back)
            a.recvfrom(100)

    measure(batch)


@scenario(2000)
def unix_ping_pong(measure, n):
    a, b = socket.socketpair()

    def batch():
        for _ in range(n):
            a.send(b"x")
            b.recv(100)
            b.send(b"x")
            a.recv(100)

    measure(batch)


@scenario(1000)
def unix_pair_and_close(measure, n):
    def batch():
        for _ in range(n):
            a, b = socket.socketpair()
            a.close()
            b.close()

    measure(batch)


@scenario(3000)
def pipe_read_write(measure, n):
    r, w = os.pipe()

    def batch():
        read, write = os.read, os.write
        for _ in range(n):
            write(w, b"x")
            read(r, 100)

    measure(batch)


@scenario(3000)
def dup_and_close(measure, n):
    r, _ = os.pipe()

    def batch():
        for _ in range(n):
            os.close(os.dup(r))

    measure(batch)


@scenario(2000)
def socket_and_close(measure, n):
    def batch():
        for _ in range(n):
            socket.socket().close()

    measure(batch)


@scenario(2000)
def options_and_names(measure, n):
    sock = socket.socket()
    sock.bind((HOST, 0))

    def batch():
        for _ in range(n):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            sock.getsockname()

    measure(batch)


@scenario(150)
def connect_to_plain(measure, n):
    with Peer(CLOSE) as port:

        def batch():
            for _ in range(n):
                sock = socket.socket()
                sock.connect((HOST, port))
                sock.recv(1)
                sock.close()

        measure(batch)


@scenario(150)
def create_connection_to_plain(measure, n):
    with Peer(CLOSE) as port:

        def batch():
            for _ in range(n):
                with socket.create_connection((HOST, port)) as sock:
                    sock.recv(1)

        measure(batch)


@scenario(150)
def accept_plain(measure, n):
    server = socket.create_server((HOST, 0), backlog=100)
    with Peer(CONNECT, server.getsockname()[1]):

        def batch():
            for _ in range(n):
                sock, _ = server.accept()
                sock.close()

        measure(batch)


@scenario(60)
def http_client(measure, n):
    import http.client

    with Peer(HTTP) as port:

        def batch():
            for _ in range(n):
                connection = http.client.HTTPConnection(HOST, port)
                connection.request("GET", "/")
                connection.getresponse().read()
                connection.close()

        measure(batch)


@scenario(60)
def http_server(measure, n):
    import http.server

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer((HOST, 0), Handler)
    with Peer(REQUEST, server.server_port):

        def batch():
            for _ in range(n):
                server.handle_request()

        measure(batch)


@scenario(60)
def asyncio_server(measure, n):
    """One connection after another, each with one message."""
    done = 0

    async def main():
        finished = asyncio.Event()
        begin = 0

        async def serve(reader, writer):
            nonlocal done, begin
            writer.write(b"x")
            await writer.drain()
            writer.close()
            done += 1
            if done % n == 0:
                now = time.perf_counter_ns()
                if begin:
                    measure.add(now - begin)
                begin = now
                if len(measure.times) > BATCHES:
                    finished.set()

        server = await asyncio.start_server(serve, HOST, 0)
        with Peer(CONNECT, server.sockets[0].getsockname()[1]):
            await finished.wait()
        server.close()

    asyncio.run(main())


@scenario(5)
def subprocess_run(measure, n):
    def batch():
        for _ in range(n):
            subprocess.run(["/bin/true"], check=True, capture_output=True)

    measure(batch)


@scenario(5)
def multiprocessing_fork(measure, n):
    import multiprocessing

    context = multiprocessing.get_context("fork")

    def batch():
        for _ in range(n):
            process = context.Process(target=int)
            process.start()
            process.join()

    measure(batch)


# -- measuring -----------------------------------------------------------------------------------


class Measure:
    """Times of batches in one process."""

    def __init__(self) -> None:
        self.times: list[int] = []

    def add(self, ns: int) -> None:
        self.times.append(ns)

    def __call__(self, batch: Callable[[], None]) -> None:
        for _ in range(3):
            batch()
        for _ in range(BATCHES):
            begin = time.perf_counter_ns()
            batch()
            self.add(time.perf_counter_ns() - begin)


def measure_here(name: str) -> None:
    """In the child: print the nanoseconds of one call."""
    function, calls = scenarios[name]
    measure = Measure()
    function(measure, calls)
    print(min(measure.times) / calls, flush=True)
    os._exit(0)


def environment(launched: bool, cache: str) -> dict[str, str]:
    """The environment of a measured process: as `wsdirect run` sets it, or clean."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("WSDIRECT", "PYTHON"))}
    clean["PYTHONPYCACHEPREFIX"] = cache  # start-up with compiled modules, as when installed
    if launched:
        clean["WSDIRECT"] = "1"
        clean["PYTHONPATH"] = os.pathsep.join([str(INSTALLED / "_launch"), str(INSTALLED.parent)])
    return clean


def run_child(name: str, launched: bool, cache: str, cpu: int) -> float:
    """One process's answer in nanoseconds."""
    python, env = sys.executable, environment(launched, cache)
    pin = ["taskset", "-c", str(cpu)]
    if name.startswith("start_"):
        best = float("inf")
        code = {
            "start_bare": "pass",
            "start_socket": "import socket",
            "start_asyncio": "import asyncio, ssl",
            "start_listen": START_LISTEN,
            "start_connect": START_CONNECT,
        }
        for _ in range(10):
            begin = time.perf_counter_ns()
            subprocess.run([*pin, python, "-c", code[name]], env=env, check=True)
            best = min(best, time.perf_counter_ns() - begin)
        return best
    done = subprocess.run(
        [*pin, python, __file__, "--child", name],
        env=env, check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return float(done.stdout)


START_LISTEN = """
import socket, threading
server = socket.create_server(("127.0.0.1", 0))
server.settimeout(0.0)
try:
    server.accept()
except BlockingIOError:
    pass
"""
START_CONNECT = """
import socket
with socket.socket() as s:
    s.connect_ex(("127.0.0.1", 1))
"""
STARTS = ("start_bare", "start_socket", "start_asyncio", "start_listen", "start_connect")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5, help="pairs of processes (default 5)")
    parser.add_argument("--only", nargs="+", default=[], help="scenarios with this in their name")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        measure_here(options.child)
    names = [*scenarios, *STARTS]
    if options.only:
        names = [name for name in names if any(word in name for word in options.only)]
    results = {}
    with tempfile.TemporaryDirectory() as cache:
        for name in names:
            without: list[float] = []
            launched: list[float] = []
            for turn in range(options.rounds):
                order = ((False, without), (True, launched))
                for way, answers in order if turn % 2 == 0 else reversed(order):
                    answers.append(run_child(name, way, cache, options.cpu))
            ratios = sorted(b / a for a, b in zip(without, launched, strict=True))
            middle = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
            a, b = statistics.median(without), statistics.median(launched)
            results[name] = {"without_ns": a, "launched_ns": b, "ratio": statistics.median(ratios)}
            if not options.json:
                unit, scale = ("ms", 1e6) if a > 1e6 else ("us", 1e3)
                print(
                    f"{name:28} {a / scale:9.3f} {unit} -> {b / scale:9.3f} {unit}   "
                    f"x {statistics.median(ratios):.3f}  ({middle[0]:.3f} - {middle[1]:.3f})",
                    flush=True,
                )
    if options.json:
        print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
