"""What the launcher costs programs: to start, and on sockets that stay on plain TCP."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, ClassVar

from wsdirect.tools.bench import cpus
from wsdirect.tools.bench.measure import Cell, CouldNot, Group, Sample
from wsdirect.tools.bench.processes import PATIENCE, Process, environment
from wsdirect.tools.bench.scenarios.applications import MICRO, PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsdirect.tools.bench.scenarios import Choice

BATCH = 100
"""Round trips in a batch of programs/echo_client.py."""

__all__ = ["StartUp", "StartUpConnect", "StartUpListen", "Unswitched", "UnswitchedNew"]


class StartUp:
    """`wsdirect run -c CODE` against `python -c CODE`, from start to end."""

    name = "start-up"
    title = "start and end of a program that does nothing"
    code: ClassVar = "pass"

    def groups(self, choice: Choice) -> Iterator[Group]:
        """One, on one CPU: there is nobody to share work with."""
        cache = _Compiled()
        cells = [
            Cell(self.name, contender, "one", "ms", self._measure(words, cache), needs=cache)
            for contender, words in (("tcp", []), ("switched", ["-m", "wsdirect", "run"]))
            if choice.has(contender)
        ]
        if cells:
            yield Group(self.title, cells, [cache], rounds=10 if choice.quick else 40)

    def _measure(self, words: list[str], cache: _Compiled) -> Callable[[], Sample]:
        command = [sys.executable, *words, "-c", self.code]
        where = cpus.of("one")[0]
        warm = False

        def once() -> float:
            begin = time.perf_counter()
            try:
                ended = subprocess.run(
                    command, env=cache.environ, stdin=subprocess.DEVNULL, capture_output=True,
                    timeout=PATIENCE,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise CouldNot(f"it did not end within {PATIENCE:g} seconds") from None
            taken = time.perf_counter() - begin
            if ended.returncode:
                lines = ended.stderr.decode(errors="replace").strip().splitlines()
                raise CouldNot(lines[-1].rstrip(".") if lines else "it failed")
            return taken

        def measure() -> Sample:
            nonlocal warm
            with cpus.confined(where):
                if not warm:
                    once()  # compiles the modules, as installing does
                    warm = True
                return Sample(once() * 1e3)

        return measure


class StartUpListen(StartUp):
    """The same with a program that imports socket and listens."""

    name = "start-up-listen"
    title = "start and end of a program that listens on a socket"
    code = 'import socket; socket.create_server(("127.0.0.1", 0)).close()'


class StartUpConnect(StartUp):
    """The same with a program that imports socket and connects, to nobody."""

    name = "start-up-connect"
    title = "start and end of a program that tries to connect"
    code = 'import socket; socket.socket().connect_ex(("127.0.0.1", 1))'


class Unswitched:
    """Round trips on plain TCP, with the launcher's methods on the socket and without.

    The server is the same for both and not under the launcher, so that all connections stay on TCP.
    Everything is on one CPU, where a round trip varies least. Processes differ by one or two per
    cent, by where their memory lies: every round starts a new one, and takes its fastest batch.
    """

    name = "unswitched"
    title = "round trips of 64 B on an unswitched socket under the launcher"
    words: ClassVar[list[str]] = []

    def groups(self, choice: Choice) -> Iterator[Group]:
        """One, on one CPU."""
        if not choice.has("tcp"):
            return
        server = _Server()
        cells = [
            Cell(self.name, contender, "one", "us", self._measure(server, switched, choice),
                 size=64, needs=server)
            for contender, switched in (("tcp", False), ("under-run", True))
        ]  # fmt: skip
        yield Group(self.title, cells, [server], rounds=6 if choice.quick else 30)

    def _measure(self, server: _Server, switched: bool, choice: Choice) -> Callable[[], Sample]:
        def measure() -> Sample:
            command = [sys.executable, "-m", f"{PROGRAMS}.echo_client", server.port, *self.words]
            client = Process(command, cpus.of("one")[1], switched)
            try:
                client.write(str(choice.seconds * 2))
                return Sample(_least(client.line()) * MICRO)
            finally:
                client.stop()

        return measure


class UnswitchedNew(Unswitched):
    """The same with a connection for each round trip."""

    name = "unswitched-new"
    title = "connect, round trip of 64 B, close, unswitched under the launcher"
    words: ClassVar = ["new"]


class _Compiled:
    """A folder for compiled modules: beside the sources they may be missing and stay so."""

    def __init__(self) -> None:
        self.environ: dict[str, str] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def start(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="wsdirect-bench-")
        self.environ = {**environment(False), "PYTHONPYCACHEPREFIX": self._folder.name}
        self.environ.pop("PYTHONDONTWRITEBYTECODE", None)

    def stop(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def _least(line: str) -> float:
    """The fastest batch's seconds per round trip."""
    answer: dict[str, float] = json.loads(line)
    return answer["least"] / BATCH


class _Server:
    """The plain echo server of the unswitched scenarios."""

    port = ""

    def __init__(self) -> None:
        self._process: Process | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", f"{PROGRAMS}.echo_server"]
        self._process = Process(command, cpus.of("one")[0])
        self.port = self._process.line()

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None
