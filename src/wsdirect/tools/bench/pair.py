"""Two workers, connected: what most scenarios measure with."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wsdirect.tools.bench.figures import Histogram
from wsdirect.tools.bench.processes import PATIENCE, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OneWay", "Pair", "RoundTrips"]

FIRST = 4  # operations of the first, unmeasured attempt
SHORT = 2e-5  # seconds that a timed batch must take, so that the clock's own cost does not show
SINGLES = 50_000  # operations timed one by one, where they are fast
MOST = 1 << 22  # operations in one go


@dataclass
class RoundTrips:
    """What came of a number of round trips; all in microseconds.

    Attributes:
        median: Of batches, which are single ones unless they are very fast.
        each: Single round trips.
        cpu: Of both processes, per round trip.
    """

    median: float
    each: Histogram
    cpu: float


@dataclass
class OneWay:
    """What came of a transfer in one direction: totals."""

    messages: int
    bytes: int
    seconds: float
    cpu: float


class Pair:
    """A server and a client of a contender, each in a process of its own, with one connection.

    It is a resource of a group: start() raises CouldNot where the contender does not work, or is
    not what it says (a switched one on TCP, for example).
    """

    def __init__(self, contender: str, pinning: str, connect: bool = True) -> None:
        self.contender = contender
        self.pinning = pinning
        self._connect = connect
        self._workers: list[Worker] = []
        self._speed: dict[tuple[str, int], float] = {}  # seconds per operation when last seen

    @property
    def server(self) -> Worker:
        """The process that listens, echoes and receives."""
        return self._workers[0]

    @property
    def client(self) -> Worker:
        """The process that connects, asks and sends."""
        return self._workers[1]

    def start(self) -> None:
        """Start both processes and connect them."""
        try:
            for role in ("server", "client"):
                self._workers.append(Worker(self.contender, role, self.pinning))
            address = self.server.call("listen")
            if self._connect:
                self.both("accept", {}, "connect", {"address": address})
                self.both("check", {}, "check", {})
            else:
                self.client.call("prepare", address=address)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End both."""
        while self._workers:
            self._workers.pop().stop()

    def both(
        self,
        server: str,
        server_arguments: dict[str, Any],
        client: str,
        client_arguments: dict[str, Any],
        patience: float = PATIENCE,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Let both do something at the same time: their answers.

        If the client fails, the server may wait for it for ever: its answer is not awaited then.
        Both are ended, and start anew when they are asked for something else.
        """
        answers: list[dict[str, Any]] = []
        with self.meanwhile(server, server_arguments, client, client_arguments, patience, answers):
            pass
        return answers[0], answers[1]

    @contextmanager
    def meanwhile(
        self,
        server: str,
        server_arguments: dict[str, Any],
        client: str,
        client_arguments: dict[str, Any],
        patience: float = PATIENCE,
        answers: list[dict[str, Any]] | None = None,
    ) -> Iterator[None]:
        """The same around something else: their answers are awaited at the end of the context."""
        if not self._workers:
            self.start()
        try:
            self.server.ask(server, **server_arguments)
            self.client.ask(client, **client_arguments)
            yield
            theirs = self.client.answer(patience)
            ours = self.server.answer(patience)
        except BaseException:
            self.stop()
            raise
        if answers is not None:
            answers += [ours, theirs]

    def round_trips(self, size: int, seconds: float) -> RoundTrips:
        """As many round trips of that size as take about so long.

        Each is timed, and the median is theirs; where they are too fast for that, half of them are
        timed in batches, and the median is the batches'.
        """
        count = self._count("round trips", size, seconds)
        batch = int(SHORT / self._speed["round trips", size])
        singles = count if batch <= 1 else min(count // 2, SINGLES)
        server, client = self._ping(size, singles, 1)
        each = Histogram.from_json(client["value"]["each"])
        if batch > 1:
            count = max(batch, (count - singles) // batch * batch)
            server, client = self._ping(size, count, batch)
        cpu = (server["cpu"] + client["cpu"]) / (count if batch > 1 else singles)
        return RoundTrips(client["value"]["median"], each, cpu * 1e6)

    def one_way(self, size: int, seconds: float) -> OneWay:
        """As many messages of that size, from the client to the server, as take about so long."""
        count = self._count("one way", size, seconds)
        server, ours = self._send(size, count)
        taken = ours["value"]
        return OneWay(count, count * size, taken, server["cpu"] + ours["cpu"])

    def _ping(self, size: int, count: int, batch: int) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.both(
            "echo", {"size": size, "count": count},
            "ping", {"size": size, "count": count, "batch": batch},
        )  # fmt: skip

    def _send(self, size: int, count: int) -> tuple[dict[str, Any], dict[str, Any]]:
        arguments = {"size": size, "count": count}
        return self.both("sink", arguments, "source", arguments)

    def _count(self, what: str, size: int, seconds: float) -> int:
        """How many fit in the time: by a short attempt, which is the warm-up, too."""
        guess = self._speed.get((what, size))
        count = FIRST if guess is None else _clamped(seconds / 10 / guess)
        while True:
            if what == "one way":
                taken = self._send(size, count)[1]["value"]
            else:
                taken = self._ping(size, count, count)[1]["value"]["median"] * 1e-6 * count
            speed = max(1e-9, taken / count)
            if guess is not None or taken >= seconds / 20:
                break
            count = min(count * 8, _clamped(seconds / 10 / speed))
            if count <= FIRST:
                break
        self._speed[what, size] = speed
        return _clamped(seconds / speed)


def _clamped(count: float) -> int:
    return int(min(max(count, FIRST), MOST))
