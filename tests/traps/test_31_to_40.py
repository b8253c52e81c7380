"""Ends of interpreters, other patchers, shared descriptors, time, children, one processor."""

from __future__ import annotations

import importlib.util
import os
import select
import selectors
import socket
import subprocess
import sys
import threading
import time

import pytest

import wsdirect
from tests.loops.ends import PATIENCE, listener, switched_pair
from tests.traps.programs import PACKAGE, environment, run

pytestmark = pytest.mark.usefixtures("switch")


@pytest.mark.parametrize("how", ["global", "cycle", "thread", "sys.exit"])
def test_31_interpreter_exit_with_open_connections(how: str) -> None:
    """What was sent arrives, the peer sees the end, and nothing is said on standard error."""
    with listener() as server:
        source = f"""
            class Holder:
                def __del__(self):
                    self.sock.close()
            sock = socket.create_connection((HOST, {server.getsockname()[1]}))
            sock.sendall(b"last words")
            how = sys.argv[1]
            show(switched=is_switched(sock))
            if how == "cycle":
                holder = Holder()
                holder.me, holder.sock = holder, sock
                del holder, sock
            elif how == "thread":
                threading.Thread(target=sock.recv, args=(1,), daemon=True).start()
                time.sleep(0.05)
            elif how == "sys.exit":
                sys.exit(0)
            """
        answers = run(source, how)
        assert answers == {"switched": True}
        accepted, _ = server.accept()
        with accepted:
            accepted.settimeout(PATIENCE)
            assert accepted.recv(100) == b"last words"
            assert accepted.recv(100) == b""


def test_32_resource_warning_is_kept() -> None:
    """A socket that nobody closed is told of, with the addresses that it showed."""
    with switched_pair() as (a, b):
        port, port_of_b = b.getpeername()[1], b.getsockname()[1]
        kept = [socket.socket(fileno=a.detach())]
        with pytest.warns(ResourceWarning, match=f"unclosed.*{port}.*raddr=.*{port_of_b}"):
            kept.clear()
        assert b.recv(1) == b"", "and it was closed"
        kept.append(b.dup())
        with pytest.warns(ResourceWarning, match="unclosed"):
            kept.clear()


PATCHES = {
    "gevent-first": "from gevent import monkey; monkey.patch_all()",
    "gevent-later": "import socket, ssl, select; from gevent import monkey; monkey.patch_all()",
    "eventlet-first": "import eventlet; eventlet.monkey_patch()",
    "eventlet-later": "import socket, ssl, select; import eventlet; eventlet.monkey_patch()",
}


@pytest.mark.parametrize("which", PATCHES)
def test_33_other_patchers(which: str) -> None:
    """gevent and eventlet have the socket module to themselves, and the user is told once."""
    if importlib.util.find_spec(which.partition("-")[0]) is None:
        pytest.skip(f"{which.partition('-')[0]} is not installed")
    program = f"""
import warnings
warnings.simplefilter("ignore")
{PATCHES[which]}
import os, select, socket, ssl, subprocess, threading, wsdirect
with socket.create_server(("127.0.0.1", 0)) as server:
    def serve():
        for _ in range(2):
            connection, _ = server.accept()
            with connection:
                connection.sendall(connection.recv(100))
    thread = threading.Thread(target=serve)
    thread.start()
    for _ in range(2):
        with socket.create_connection(server.getsockname()) as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"
            assert not wsdirect.is_switched(client)
    thread.join()
print(type(client).__module__, "wsdirect" in (os.read.__module__, select.select.__module__))
"""
    ended = subprocess.run(
        [sys.executable, "-m", "wsdirect", "run", "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    name = which.split("-")[0]
    assert ended.stdout.startswith(name)
    assert ended.stdout.endswith("False\n")
    lines = [line for line in ended.stderr.splitlines() if "wsdirect" in line]
    assert len(lines) == 1
    assert f"{name} patches the socket module: connections stay on TCP" in lines[0]


def test_34_two_event_loops_on_one_descriptor() -> None:
    """Both are told of data; whoever comes second finds none, and waits again."""
    total, taken = 400, [0, 0]
    with switched_pair() as (a, b):
        b.setblocking(False)
        over = threading.Event()

        def loop(number: int) -> None:
            with selectors.DefaultSelector() as selector:
                selector.register(b, selectors.EVENT_READ)
                while not over.is_set():
                    for _ in selector.select(0.05):
                        try:
                            taken[number] += len(b.recv(7))
                        except BlockingIOError:
                            continue
                        if sum(taken) >= total * 10:
                            over.set()

        threads = [threading.Thread(target=loop, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for _ in range(total):
            a.sendall(b"0123456789")
        assert over.wait(PATIENCE)
        for thread in threads:
            thread.join()
        assert sum(taken) == total * 10
        assert select.select([b], [], [], 0) == ([], [], [])


@pytest.mark.parametrize("default", [None, 0.0, 5.5])
def test_35_default_timeout(default: float | None) -> None:
    """It is for sockets that the program makes, and none of wsdirect's own are disturbed."""
    socket.setdefaulttimeout(default)
    try:
        with listener() as server:
            server.settimeout(PATIENCE)
            client = socket.socket()
            assert client.gettimeout() == default
            client.connect_ex(server.getsockname())
            accepted, _ = server.accept()
            with client, accepted:
                assert wsdirect.is_switched(client)
                assert wsdirect.is_switched(accepted)
                assert accepted.gettimeout() == default
                assert client.gettimeout() == default
                assert os.get_blocking(client.fileno()) == (default is None)
                client.settimeout(PATIENCE)
                accepted.sendall(b"x")
                assert client.recv(1) == b"x"
    finally:
        socket.setdefaulttimeout(None)


def test_36_makefile_keeps_the_connection() -> None:
    """close() waits for the last file made of the socket."""
    with switched_pair() as (a, b):
        reading, writing = a.makefile("rb"), a.makefile("w")
        a.close()
        assert wsdirect.is_switched(reading.raw._sock)
        writing.write("still here\n")
        writing.flush()
        assert b.recv(100) == b"still here\n"
        b.sendall(b"line\n")
        assert reading.readline() == b"line\n"
        writing.close()
        b.settimeout(0)
        with pytest.raises(BlockingIOError):
            b.recv(1)
        reading.close()
        b.settimeout(PATIENCE)
        assert b.recv(1) == b""


def test_37_timeouts_shorter_than_a_wake() -> None:
    """They expire, and no byte is lost between an expiry and the bell."""
    with switched_pair() as (a, b):
        for timeout in (1e-9, 1e-6, 1e-4):
            b.settimeout(timeout)
            with pytest.raises(TimeoutError):
                b.recv(1)
            assert select.select([b], [], [], timeout) == ([], [], [])
        pieces, got, late = 300, bytearray(), 0

        def send() -> None:
            for number in range(pieces):
                while number == pieces - 1 and not late:
                    time.sleep(0.001)
                a.sendall(bytes([number % 256]))
                if number % 3:
                    time.sleep(0.0005)

        thread = threading.Thread(target=send)
        thread.start()
        end = time.monotonic() + PATIENCE
        while len(got) < pieces and time.monotonic() < end:
            try:
                got += b.recv(1 + late % 3)
            except TimeoutError:
                late += 1
                b.settimeout((1e-6, 2e-5, 4e-4)[late % 3])
        thread.join()
        assert bytes(got) == bytes(number % 256 for number in range(pieces))
        assert late


def test_38_sub_interpreter() -> None:
    """It has a socket.socket of its own; whether that is switched or not, it works."""
    answers = run(
        """
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        with socket.create_server((HOST, 0)) as server:
            accepting(server)
            made = interpreters.create()
            thread = threading.Thread(target=interpreters.run_string, args=(
                made, sys.argv[1].format(port=server.getsockname()[1])))
            thread.start()
            server.settimeout(30)
            connection, _ = server.accept()
            connection.settimeout(30)
            got = connection.recv(100)
            connection.sendall(got[::-1])
            echoed = connection.recv(100)
            connection.close()
            thread.join()
            interpreters.destroy(made)
            with pair() as (a, b):
                a.sendall(b"after")
                show(echoed=echoed.decode(), after=b.recv(100).decode(), switched=is_switched(a))
        """,
        """
import socket
sock = socket.create_connection(("127.0.0.1", {port}), 30)
sock.sendall(b"hello")
sock.sendall(sock.recv(100))
sock.close()
""",
        complains=True,
    )[0]
    assert answers == {"echoed": "olleh", "after": "after", "switched": True}


CHILD = """
import os, socket, sys
enable = sys.modules.get("wsdirect.front.enable")
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as sock:
    switched = enable is not None and enable.is_switched(sock)
    hooks = sum(type(finder).__module__ == "wsdirect._launch" for finder in sys.meta_path)
    sock.sendall(f"{switched} {hooks <= 1} {os.environ['PYTHONPATH'].count('_launch')}".encode())
"""


def test_39_children() -> None:
    """Python children are switched, of whatever generation; -I, -E and -S escape to TCP."""
    program = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))"
    ways = {
        "child": [],
        "grandchild": ["-c", program],
        "under the launcher again": ["-m", "wsdirect", "run"],
        "-I": ["-I"],
        "-E": ["-E"],
        "-S": ["-S"],
    }  # fmt: skip
    seen = {}
    with listener() as server:
        for name, words in ways.items():
            port = str(server.getsockname()[1])
            subprocess.run(
                [sys.executable, "-m", "wsdirect", "run", "-c", program, *words, "-c", CHILD, port],
                env=environment(),
                timeout=60,
                check=True,
            )
            accepted, _ = server.accept()
            with accepted:
                accepted.settimeout(PATIENCE)
                seen[name] = accepted.recv(100).decode(), wsdirect.is_switched(accepted)
    switched, plain = ("True True 1", True), ("False True 1", False)
    assert seen == {
        "child": switched, "grandchild": switched, "under the launcher again": switched,
        "-I": plain, "-E": plain, "-S": plain,
    }  # fmt: skip
    assert (
        "python -I, -E or -S"
        in subprocess.run(
            [sys.executable, "-m", "wsdirect", "run", "--help"],
            env=environment(PYTHONPATH=str(PACKAGE.parent)),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
    )


def test_40_one_processor() -> None:
    """Who waits gives the only processor to whom it waits for: no turn lasts a time slice.

    Processor time is what is measured: a busy machine adds nothing to it.
    """
    answers = run("""
        import resource
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        turns = 1000
        with socket.create_server((HOST, 0)) as server:
            accepting(server)
            pid = os.fork()
            if pid == 0:
                with socket.create_connection(server.getsockname()) as client:
                    for _ in range(turns):
                        client.sendall(client.recv(100))
                os._exit(0)
            accepted, _ = server.accept()
            for _ in range(turns):
                accepted.sendall(b"x" * 64)
                assert len(accepted.recv(100)) == 64
            switched = is_switched(accepted)
            os.waitpid(pid, 0)
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        seconds = sum(one.ru_utime + one.ru_stime for one in used)
        show(switched=switched, seconds=seconds)
        """)
    assert answers["switched"]
    assert answers["seconds"] < 2, "a busy waiter uses up its time slice, some 4 ms, each turn"
