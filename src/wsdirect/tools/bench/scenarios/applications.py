"""Requests per second of ordinary programs: client and server on TCP, and both under the launcher.

The programs stand in `bench/programs`. Requests follow one another, each waits for its answer: what
is compared is how long one takes, most of which is the libraries' own work, not how many a server
can bear.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, ClassVar

from wsdirect import status
from wsdirect.tools.bench import cpus
from wsdirect.tools.bench.measure import Cell, CouldNot, Group, Sample
from wsdirect.tools.bench.processes import Process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsdirect.tools.bench.scenarios import Choice

__all__ = [
    "Aiohttp",
    "Application",
    "HttpServer",
    "HttpServerNew",
    "Program",
    "RedisPy",
    "Uvicorn",
]

PROGRAMS = "wsdirect.tools.bench.programs"
MICRO = 1e6


class Program:
    """A server and its client, connected: a resource of a group.

    Args:
        server: Module in `bench/programs`.
        client: The same, and its further arguments.
        pinning: A key of cpus.PINNINGS.
        switched: Whether both run under the launcher.
    """

    def __init__(self, server: str, client: list[str], pinning: str, switched: bool) -> None:
        self._server, self._client = server, client
        self._pinning, self._switched = pinning, switched
        self._running: list[Process] = []

    def start(self) -> None:
        """Start both; a switched client whose connection is not switched fails."""
        there, here = cpus.of(self._pinning)
        server = self._begin([self._server], there)
        name, *words = self._client
        self._begin([name, server.line(), *words], here)

    def _begin(self, words: list[str], where: set[int]) -> Process:
        name, *arguments = words
        settings = {"WSDIRECT_REQUIRE": "1"} if self._switched else {}
        command = [sys.executable, "-m", f"{PROGRAMS}.{name}", *arguments]
        process = Process(command, where, self._switched, settings)
        self._running.append(process)
        return process

    def measure(self, seconds: float) -> dict[str, float]:
        """What the client says after so many seconds: see programs.pacing.tell."""
        if not self._running:
            raise CouldNot("its processes have ended")
        client = self._running[-1]
        client.write(str(seconds))
        answer: dict[str, float] = json.loads(client.line())
        if self._switched:
            _verify(client)
        return answer

    def stop(self) -> None:
        """End both, the client first."""
        while self._running:
            self._running.pop().stop()


def _verify(client: Process) -> None:
    """CouldNot if no switched connection has waited for its peer in that process.

    WSDIRECT_REQUIRE has a connection fail that cannot be switched; but where the launcher could
    not do anything at all, there is nobody to ask for it.
    """
    page = status.read_process(client.pid)
    waits = ("rings", "sleeps", "spins", "yields")
    if page is None or not any(page.counters[name] for name in waits):
        raise CouldNot("its connections were not switched")


class Application:
    """A server and a client, twice. What follows is filled in by the classes below."""

    name: ClassVar[str]
    title: ClassVar[str]
    server: ClassVar[str]
    client: ClassVar[list[str]]
    modules: ClassVar[tuple[str, ...]] = ()

    def groups(self, choice: Choice) -> Iterator[Group]:
        """One for each pinning."""
        from importlib.util import find_spec

        lacking = [name for name in self.modules if find_spec(name) is None]
        if lacking:
            choice.left_out[self.name] = f"{' and '.join(lacking)} not installed"
            return
        for pinning in choice.pinnings:
            cells, resources = [], []
            for contender in ("tcp", "switched"):
                if choice.has(contender):
                    program = Program(self.server, self.client, pinning, contender == "switched")
                    resources.append(program)
                    cells.append(self._cell(contender, pinning, program, choice.seconds * 2))
            if cells:
                yield Group(f"{self.title} ({pinning})", cells, list(resources))

    def _cell(self, contender: str, pinning: str, program: Program, seconds: float) -> Cell:
        def measure() -> Sample:
            found = program.measure(seconds)
            extra = {f"{name}_us": found[name] * MICRO for name in ("median", "p99")}
            return Sample(found["rate"], extra=extra)

        return Cell(self.name, contender, pinning, "req/s", measure, needs=program)


class HttpServer(Application):
    """The standard library, a connection for all requests."""

    name = "http-server"
    title = "requests to http.server by http.client, one connection"
    server = "http_server"
    client: ClassVar = ["http_client"]


class HttpServerNew(Application):
    """The standard library, a connection for each request."""

    name = "http-server-new"
    title = "requests to http.server by http.client, a connection each"
    server = "http_server"
    client: ClassVar = ["http_client", "new"]


class Aiohttp(Application):
    """Both ends on asyncio."""

    name = "http-aiohttp"
    title = "requests to aiohttp's server by its client"
    server = "aiohttp_server"
    client: ClassVar = ["aiohttp_client"]
    modules = ("aiohttp",)


class Uvicorn(Application):
    """An asyncio server and a blocking client."""

    name = "http-uvicorn"
    title = "requests to uvicorn (asyncio, h11) by httpx"
    server = "uvicorn_server"
    client: ClassVar = ["httpx_client"]
    modules = ("uvicorn", "httpx")


class RedisPy(Application):
    """A database client and a server in Python."""

    name = "redis"
    title = "SET and GET by redis-py, of a small server in Python"
    server = "redis_server"
    client: ClassVar = ["redis_client"]
    modules = ("redis",)
