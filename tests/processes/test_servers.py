"""Servers with workers, as they are run in production, and what happens to their clients."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
LAUNCHED = [sys.executable, "-m", "wsdirect", "run"]
PATIENCE = 60


def environment() -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WSDIRECT")}
    return {**clean, "PYTHONPATH": str(HERE)}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def ask(port: int, count: int = 10, clients: int = 1) -> dict[str, Any]:
    """What clients under the launcher see of the server."""
    done = subprocess.run(
        [*LAUNCHED, str(HERE / "served.py"), str(port), str(count), str(clients)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def is_up(port: int) -> bool:
    """Whether it answers; once it does, it has begun to accept, before which clients are TCP's."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(b"GET /?0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return b" 200 " in client.recv(100)
    except OSError:
        return False


class Server:
    """A server under the launcher; its output goes to a file, as nobody reads a pipe."""

    def __init__(self, log: Path, *command: str, port: int, **more: Any) -> None:
        self.port = port
        self.log = log
        with open(log, "w") as output:
            self.process = subprocess.Popen(
                [*LAUNCHED, *command],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                start_new_session=True,
                **{"env": environment(), **more},
            )

    def wait_until_up(self) -> None:
        end = time.monotonic() + PATIENCE
        while not is_up(self.port):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)

    def end(self) -> None:
        """SIGTERM: it ends by itself, soon, and without complaint."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError("it does not end: " + self.log.read_text()) from None
        assert "Traceback" not in self.log.read_text(), self.log.read_text()

    def kill(self) -> None:
        """All that it started, too: they are a session of their own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def running(log: Path, *command: str, port: int = 0) -> Iterator[Server]:
    module = command[1]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    port = port or free_port()
    server = Server(log, *(word.replace("PORT", str(port)) for word in command), port=port)
    try:
        server.wait_until_up()
        yield server
    finally:
        server.kill()


def check(seen: dict[str, Any], *, workers: int = 1) -> None:
    assert not seen["wrong"]
    assert set(seen["paths"]) == {"shm"}
    assert len(seen["pids"]) >= workers


GUNICORN = ("-m", "gunicorn", "served:wsgi", "-b", "127.0.0.1:PORT", "--log-level", "warning")
SERVERS = {
    "gunicorn, sync workers": (*GUNICORN, "-w", "2"),
    "gunicorn, workers with threads": (*GUNICORN, "-w", "2", "-k", "gthread", "--threads", "4"),
    "uvicorn, workers": (
        *("-m", "uvicorn", "served:asgi", "--workers", "2", "--port", "PORT"),
        *("--loop", "asyncio", "--log-level", "warning"),
    ),
    "hypercorn, workers": (
        *("-m", "hypercorn", "served:asgi", "--workers", "2", "-b", "127.0.0.1:PORT"),
    ),
}


@pytest.mark.parametrize("name", SERVERS)
def test_workers(name: str, tmp_path: Path) -> None:
    """All workers serve switched connections, side by side, and end when they are told to."""
    with running(tmp_path / "log", *SERVERS[name]) as server:
        end = time.monotonic() + PATIENCE
        while len((seen := ask(server.port, 10, 3))["pids"]) < 2:  # a worker may start late
            assert time.monotonic() < end
        check(seen, workers=2)
        server.end()


def test_workers_that_are_replaced(tmp_path: Path) -> None:
    """max_requests, SIGHUP and a killed worker: no client sees anything of it."""
    command = (*GUNICORN, "-w", "2", "--max-requests", "20", "--max-requests-jitter", "5")
    with running(tmp_path / "log", *command) as server:
        seen = ask(server.port, 20)
        assert not seen["wrong"]
        assert len(seen["pids"]) > 2
        assert seen["paths"]["shm"] > seen["paths"].get("tcp", 0)
        server.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + PATIENCE
        while set((after := ask(server.port, 20))["pids"]) & set(seen["pids"]):
            assert not after["wrong"]  # workers from before it may answer for a moment
            assert time.monotonic() < end
        assert not after["wrong"]
        server.end()


def test_graceful_restart(tmp_path: Path) -> None:
    """SIGUSR2: a new server takes over the listener; clients come all the time."""
    with running(tmp_path / "log", *GUNICORN, "-w", "1", "-p", "pid") as server:
        before = ask(server.port)
        client = subprocess.Popen(
            [*LAUNCHED, str(HERE / "served.py"), str(server.port), "150", "1"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        server.process.send_signal(signal.SIGUSR2)
        new = tmp_path / "pid.2"
        end = time.monotonic() + PATIENCE
        while not new.exists() or len(ask(server.port)["pids"]) < 2:
            assert time.monotonic() < end, server.log.read_text()
            time.sleep(0.1)
        server.end()
        meanwhile = json.loads(client.communicate(timeout=PATIENCE)[0])
        after = ask(server.port)
        assert not before["wrong"] + meanwhile["wrong"] + after["wrong"]
        assert not set(after["pids"]) & set(before["pids"])
        check(after)


@pytest.mark.slow
def test_reload(tmp_path: Path) -> None:
    """uvicorn --reload: the child is replaced when a file changes."""
    (tmp_path / "changing.py").write_text("from served import asgi\n")
    command = ("-m", "uvicorn", "changing:asgi", "--reload", "--reload-dir", str(tmp_path))
    command += ("--reload-delay", "0.05", "--port", "PORT", "--loop", "asyncio", "--no-access-log")
    with running(tmp_path / "log", *command) as server:
        before = ask(server.port, 3)
        check(before)
        # It compares times of modification with those of its first look, which comes when it comes:
        # a change that it did not notice is made once more.  Who meets the old process at its end
        # may be turned away, as with TCP.
        changed, ended = 0, time.monotonic() + PATIENCE
        while set(ask(server.port, 3)["pids"]) & set(before["pids"]):
            assert time.monotonic() < ended, server.log.read_text()
            if time.monotonic() >= ended - PATIENCE + 10 * changed:
                changed += 1
                (tmp_path / "changing.py").write_text(f"from served import asgi\n# {changed}\n")
        check(ask(server.port, 3))
        server.end()


def started(process: subprocess.Popen[str]) -> tuple[int, int]:
    assert process.stdout is not None
    pid, port = process.stdout.readline().split()
    return int(pid), int(port)


def test_a_listener_from_systemd() -> None:
    """Socket activation: the launcher keeps process number and descriptors of what it runs."""
    program = str(HERE / "server_program.py")
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        port = listener.getsockname()[1]
        script = f'exec 3<&{listener.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
        server = subprocess.Popen(
            ["bash", "-c", script, "bash", *LAUNCHED, program, "sockets"],
            pass_fds=[listener.fileno()],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
    try:
        pid, named = started(server)
        assert (pid, named) == (server.pid, port)
        assert is_up(port)
        check(ask(port))
        server.terminate()
        assert server.wait(PATIENCE) == 0
    finally:
        server.kill()
        server.communicate()


def test_a_server_that_executes_itself_anew() -> None:
    """The listener goes on in the new program, and nobody is turned away meanwhile."""
    server = subprocess.Popen(
        [*LAUNCHED, str(HERE / "server_program.py"), "restarts"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        pid, port = started(server)
        assert is_up(port)
        client = subprocess.Popen(
            [*LAUNCHED, str(HERE / "served.py"), str(port), "300", "2"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for _ in range(2):
            check(ask(port))
            server.send_signal(signal.SIGHUP)
            assert started(server) == (pid, port)
            assert is_up(port)
        seen = json.loads(client.communicate(timeout=PATIENCE)[0])
        assert not seen["wrong"]
        assert seen["paths"]["shm"] > seen["paths"].get("tcp", 0)
        check(ask(port))
        server.terminate()
        assert server.wait(PATIENCE) == 0
    finally:
        server.kill()
        server.communicate()
