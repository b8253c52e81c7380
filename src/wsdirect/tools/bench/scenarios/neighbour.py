"""Ping-pong while another process wants the same CPUs: what the slowest round trips cost then."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from wsdirect.tools.bench import cpus
from wsdirect.tools.bench.measure import Cell, Group, Sample
from wsdirect.tools.bench.pair import Pair
from wsdirect.tools.bench.processes import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsdirect.tools.bench.scenarios import Choice

__all__ = ["BusyNeighbour"]

CONTENDERS = ("switched", "tcp", "unix")
SIZE = 64

# Ends with the bench: its input does, and then it has a new parent.
SPIN = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""


class BusyNeighbour:
    """Its 99.9th percentile is what this scenario is for; the median hardly changes."""

    name = "busy-neighbour"
    title = "round trips of 64 B while another process spins on the same CPUs"

    def groups(self, choice: Choice) -> Iterator[Group]:
        """One for each pinning: the neighbour may use all CPUs of the pair, and no other."""
        for pinning in choice.pinnings:
            pairs = [Pair(name, pinning) for name in CONTENDERS if choice.has(name)]
            # A round has to see many turns of the neighbour's, which are milliseconds long.
            seconds = choice.seconds * (2 if choice.quick else 5)
            cells = [
                Cell(self.name, pair.contender, pinning, "us", _measure(pair, seconds),
                     size=SIZE, needs=pair, tail=True)
                for pair in pairs
            ]  # fmt: skip
            if cells:
                yield Group(f"{self.title} ({pinning})", cells, [*pairs, _Neighbour(pinning)])


def _measure(pair: Pair, seconds: float) -> Callable[[], Sample]:
    def measure() -> Sample:
        trips = pair.round_trips(SIZE, seconds)
        return Sample(trips.median, trips.each, {"cpu_us_per_op": trips.cpu})

    return measure


class _Neighbour:
    """A process that never waits, as long as the group is measured."""

    def __init__(self, pinning: str) -> None:
        self._pinning = pinning
        self._process: Process | None = None

    def start(self) -> None:
        server, client = cpus.of(self._pinning)
        self._process = Process([sys.executable, "-c", SPIN], server | client)

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None
