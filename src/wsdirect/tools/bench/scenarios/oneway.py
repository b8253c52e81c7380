"""Messages in one direction: throughput, messages per second, and what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsdirect.tools.bench.measure import Cell, Group, Sample
from wsdirect.tools.bench.pair import OneWay as Transfer
from wsdirect.tools.bench.pair import Pair
from wsdirect.tools.bench.processes import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsdirect.tools.bench.scenarios import Choice

__all__ = ["CpuPerGigabyte", "Messages", "OneWay"]

SIZES = (64, 1024, 16384, 65536, 262144, 1048576, 16777216)
FEW = (65536, 1048576)
COPIES = "c-memcpy"


class OneWay:
    """A stream of messages of one size."""

    name = "one-way"
    title = "throughput in one direction, in GB/s, 64 B to 16 MiB"
    unit = "GB/s"
    all_sizes: tuple[int, ...] = SIZES
    few_sizes: tuple[int, ...] = FEW
    copies = True  # a bare memcpy is measured beside
    longer = 1  # times the seconds of other measurements

    def groups(self, choice: Choice) -> Iterator[Group]:
        """A group for each pinning."""
        sizes = self._sizes(choice)
        if not sizes:
            return
        for pinning in choice.pinnings:
            group = Group(f"{self.name}, {pinning}", [])
            for contender, fit in choice.sized("one-way", sizes):
                pair = Pair(contender.name, pinning)
                group.resources.append(pair)
                group.cells += [
                    self._cell(pair, size, choice.seconds * self.longer) for size in fit
                ]
            if self.copies and choice.has(COPIES):
                copier = Copier(pinning)
                group.resources.append(copier)
                group.cells += [copier.cell(size, choice.seconds) for size in sizes]
            yield group

    def _sizes(self, choice: Choice) -> tuple[int, ...]:
        return tuple(choice.sizes or (self.few_sizes if choice.quick else self.all_sizes))

    def _cell(self, pair: Pair, size: int, seconds: float) -> Cell:
        def measure() -> Sample:
            return self._sample(pair.one_way(size, seconds))

        return Cell(
            self.name, pair.contender, pair.pinning, self.unit, measure, size=size, needs=pair
        )

    def _sample(self, done: Transfer) -> Sample:
        return Sample(
            done.bytes / done.seconds / 1e9,
            extra={
                "messages_per_second": done.messages / done.seconds,
                "cpu_s_per_gb": done.cpu / done.bytes * 1e9,
            },
        )


class Messages(OneWay):
    """The same with the smallest, counted by the message."""

    name = "messages"
    title = "messages of 64 B in one direction, per second"
    unit = "msg/s"
    all_sizes = few_sizes = (64,)
    copies = False

    def _sizes(self, choice: Choice) -> tuple[int, ...]:
        return self.all_sizes

    def _sample(self, done: Transfer) -> Sample:
        return Sample(
            done.messages / done.seconds,
            extra={"cpu_us_per_op": done.cpu / done.messages * 1e6},
        )


class CpuPerGigabyte(Messages):
    """The same, and only the cost is looked at: that of both processes."""

    name = "cpu-per-gb"
    title = "CPU seconds of both processes for a gigabyte in pieces of 256 KiB"
    unit = "s/GB"
    all_sizes = few_sizes = (262144,)
    longer = 5  # TCP takes half of what it usually takes for moments

    def _sample(self, done: Transfer) -> Sample:
        return Sample(
            done.cpu / done.bytes * 1e9,
            extra={"gb_per_second": done.bytes / done.seconds / 1e9},
        )


class Copier:
    """One process that copies memory, as a resource: no transfer can be faster than that."""

    def __init__(self, pinning: str) -> None:
        self._pinning = pinning
        self._worker: Worker | None = None

    def start(self) -> None:
        """Start the process."""
        self._worker = Worker(COPIES, "client", self._pinning)

    def stop(self) -> None:
        """End it."""
        if self._worker is not None:
            self._worker.stop()

    def cell(self, size: int, seconds: float) -> Cell:
        """Copies of one size."""

        def measure() -> Sample:
            assert self._worker is not None
            return Sample(self._worker.call("copy", size=size, seconds=seconds))

        return Cell(OneWay.name, COPIES, self._pinning, OneWay.unit, measure, size=size, needs=self)
