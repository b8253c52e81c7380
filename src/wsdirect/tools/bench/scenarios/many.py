"""Many connections at a time: the memory of idle ones, and the speed of active ones."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from wsdirect.tools.bench.measure import Cell, CouldNot, Group, Sample
from wsdirect.tools.bench.pair import Pair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsdirect.tools.bench.scenarios import Choice

__all__ = ["Active", "IdleMemory"]

COUNTS = (1, 100, 1000, 10000)
FEW = (100,)
SPARE = 200  # descriptors of a process that are no connection
TELLING = 1000  # connections from which on the kernel's memory can be told
SIZE = 64
ROUNDS = 3  # more of them tell nothing new of memory
MOST_ROUNDS = 1_000_000
PATIENCE = 120.0


def _counts(choice: Choice, what: str) -> list[int]:
    """The numbers of connections that this machine's limit on descriptors permits."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = []
    for count in FEW if choice.quick else COUNTS:
        if most in (resource.RLIM_INFINITY, 0) or count + SPARE <= most:
            found.append(count)
        else:
            choice.left_out[f"{what} with {count} connections"] = (
                f"a process may open {most} descriptors only (ulimit -Hn)"
            )
    return found


class IdleMemory:
    """What an idle connection costs both processes and the kernel, as far as that is told.

    Both ends have exchanged one byte each way.  Processes: their proportional set sizes, in which
    memory that both have mapped counts once.  Kernel: the growth of its slabs, in which sockets
    are; it is told for the whole machine only, so it is left out where it would be lost in what
    others do.  Each round has fresh processes: who has had connections keeps memory for the next.
    """

    name = "idle-memory"
    title = "memory of an idle connection, in KiB, of 1 to 10,000"

    def groups(self, choice: Choice) -> Iterator[Group]:
        """One group: where the processes run makes no difference."""
        cells = [
            self._cell(contender.name, count)
            for count in _counts(choice, self.name)
            for contender in choice.able("memory")
        ]
        if cells:
            yield Group("memory of idle connections", cells, rounds=1 if choice.quick else ROUNDS)

    def _cell(self, contender: str, count: int) -> Cell:
        def measure() -> Sample:
            pair = Pair(contender, "free", connect=False)
            try:
                pair.start()
                pair.both("hold", {"count": 1}, "open", {"count": 1})  # what the first one brings
                processes, kernel = _memory(pair)
                pair.both("hold", {"count": count}, "open", {"count": count}, PATIENCE)
                after, slabs = _memory(pair)
            finally:
                pair.stop()
            ours, theirs = (after - processes) / count, (slabs - kernel) / count
            if count < TELLING:
                return Sample(ours, extra={"pss_kib": ours})
            return Sample(ours + theirs, extra={"pss_kib": ours, "slab_kib": theirs})

        return Cell(self.name, contender, "free", "KiB", measure, count=count)


def _memory(pair: Pair) -> tuple[int, int]:
    """KiB of both processes, and of the kernel's slabs."""
    both = sum(
        _figure(f"/proc/{worker.pid}/smaps_rollup", "Pss") for worker in (pair.server, pair.client)
    )
    return both, _figure("/proc/meminfo", "Slab")


def _figure(path: str, name: str) -> int:
    try:
        with open(path, encoding="ascii") as file:
            for line in file:
                if line.startswith(name + ":"):
                    return int(line.split()[1])
    except OSError as error:
        raise CouldNot(f"{path} cannot be read ({error.strerror})") from None
    raise CouldNot(f"{path} does not tell {name}")


class Active:
    """Every connection has a message under way all the time."""

    name = "active"
    title = "time per 64 B echo with 1 to 10,000 connections active, in us"

    def groups(self, choice: Choice) -> Iterator[Group]:
        """A group for each pinning and number; the connections are made once.

        The largest number is measured with the first pinning only: making them takes long, and the
        others say nothing new of it.
        """
        counts = _counts(choice, self.name)
        for pinning in choice.pinnings:
            for count in counts:
                if count == max(COUNTS) and pinning != choice.pinnings[0]:
                    continue
                crowds = [Crowd(each.name, pinning, count) for each in choice.able("many")]
                yield Group(
                    f"{count} active, {pinning}",
                    [self._cell(crowd, choice.seconds) for crowd in crowds],
                    [*crowds],
                    rounds=ROUNDS if count >= 1000 else None,
                )

    def _cell(self, crowd: Crowd, seconds: float) -> Cell:
        def measure() -> Sample:
            rounds = 1
            while (found := crowd.echo(rounds))[0] < seconds / 2 and rounds < MOST_ROUNDS:
                rounds = min(1 + int(rounds * seconds / found[0]), rounds * 50, MOST_ROUNDS)
            taken, cpu = found
            messages = rounds * crowd.count
            return Sample(taken / messages * 1e6, extra={"cpu_us_per_op": cpu / messages * 1e6})

        return Cell(
            self.name, crowd.contender, crowd.pinning, "us", measure,
            size=SIZE, count=crowd.count, needs=crowd,
        )  # fmt: skip


class Crowd(Pair):
    """A pair of processes with many connections between them."""

    def __init__(self, contender: str, pinning: str, count: int) -> None:
        super().__init__(contender, pinning, connect=False)
        self.count = count

    def start(self) -> None:
        """Start both, and make the connections."""
        super().start()
        count = {"count": self.count}
        self.both("hold", count, "open", count, PATIENCE)

    def echo(self, rounds: int) -> tuple[float, float]:
        """So many echoes on each: seconds, and seconds of CPU."""
        what = {"size": SIZE, "rounds": rounds}
        server, client = self.both("echo_all", what, "ping_all", what, PATIENCE)
        return client["value"], server["cpu"] + client["cpu"]
