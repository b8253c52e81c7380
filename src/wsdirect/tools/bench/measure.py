"""The measuring itself: contenders take turns, in random order, round after round.

A scenario makes groups.  A group has resources (pairs of processes, mostly), which are started
before its first round and stopped after its last, and cells: one thing each that is measured once
per round.  All cells of a group are measured in every round, each time in another order, so that
what disturbs the machine for a while disturbs all contenders alike.
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from wsdirect.tools.bench.figures import Histogram, median, quartiles
from wsdirect.tools.bench.results import Ratio, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Cell", "CouldNot", "Group", "Progress", "Resource", "Sample", "Silent", "ratios", "run"]


class CouldNot(Exception):
    """A contender cannot do this here; the text is the reason, a clause without a full stop."""


class Resource(Protocol):
    """What a group's cells need while they are measured."""

    def start(self) -> None:
        """Make it ready; CouldNot if that is impossible here."""

    def stop(self) -> None:
        """Give it back, whatever has happened; also when start() was not called, or failed."""


@dataclass
class Sample:
    """One round of one cell.

    Attributes:
        value: The round's figure, in the cell's unit: its median, or a rate.
        each: How long single operations took, in the cell's unit, if they were timed one by one.
        extra: More figures by name.
    """

    value: float
    each: Histogram | None = None
    extra: dict[str, float] = field(default_factory=dict)


@dataclass
class Cell:
    """One thing to be measured: a contender in a case of a scenario.

    Attributes:
        measure: One round; it may raise CouldNot, and the contender is left out of this case.
        needs: The group's resource that it uses, if any.
        tail: Also report the 99.9th percentile.
    """

    scenario: str
    contender: str
    pinning: str
    unit: str
    measure: Callable[[], Sample]
    size: int | None = None
    count: int | None = None
    needs: Resource | None = None
    tail: bool = False


@dataclass
class Group:
    """Cells that take turns.

    Attributes:
        title: For the progress bar.
        rounds: If the scenario wants another number than the run's.
    """

    title: str
    cells: list[Cell]
    resources: list[Resource] = field(default_factory=list)
    rounds: int | None = None


class Progress(Protocol):
    """Who is told how far it is."""

    def show(self, title: str) -> None:
        """This is what happens now."""

    def step(self) -> None:
        """One round of one cell is done, or will not be."""


class Silent:
    """Nobody is told."""

    def show(self, title: str) -> None:
        """Nothing."""

    def step(self) -> None:
        """Nothing."""


def run(
    groups: Iterable[Group],
    rounds: int,
    order: random.Random,
    progress: Progress | None = None,
    left_out: dict[str, str] | None = None,
) -> list[Result]:
    """Measure all groups, one after the other.

    Args:
        groups: What to measure.
        rounds: How often, unless a group says otherwise.
        order: Decides who is next.
        progress: Is told after each measurement.
        left_out: Gets an entry for whatever could not be measured.
    """
    found: list[Result] = []
    bar = progress or Silent()
    missing = left_out if left_out is not None else {}
    for group in groups:
        found += _group(group, group.rounds or rounds, order, bar, missing)
    return found


def _group(
    group: Group, rounds: int, order: random.Random, progress: Progress, left_out: dict[str, str]
) -> list[Result]:
    samples: dict[int, list[Sample]] = {place: [] for place in range(len(group.cells))}
    progress.show(group.title)
    try:
        broken = _start(group.resources)
        for place, cell in enumerate(group.cells):
            if id(cell.needs) in broken:
                _leave_out(cell, broken[id(cell.needs)], left_out)
                del samples[place]
        for _ in range(rounds):
            turn = list(range(len(group.cells)))
            order.shuffle(turn)
            for place in turn:
                progress.step()
                if place not in samples:
                    continue
                cell = group.cells[place]
                try:
                    samples[place].append(cell.measure())
                except CouldNot as error:
                    _leave_out(cell, str(error), left_out)
                    del samples[place]
    finally:
        _stop(group.resources)
    return [_result(group.cells[place], each) for place, each in samples.items() if each]


def _start(resources: Sequence[Resource]) -> dict[int, str]:
    """Start them; why some would not, by id."""
    broken: dict[int, str] = {}
    for resource in resources:
        try:
            resource.start()
        except CouldNot as error:
            broken[id(resource)] = str(error)
    return broken


def _stop(resources: Sequence[Resource]) -> None:
    """Stop all, also when one makes trouble; the trouble is raised in the end."""
    trouble: BaseException | None = None
    for resource in resources:
        try:
            resource.stop()
        except BaseException as error:
            trouble = trouble or error
    if trouble is not None and sys.exc_info()[0] is None:
        raise trouble


def _leave_out(cell: Cell, why: str, left_out: dict[str, str]) -> None:
    what = f"{cell.contender} in {cell.scenario} ({cell.pinning}"
    if cell.size is not None:
        what += f", {cell.size} B"
    if cell.count is not None:
        what += f", {cell.count} connections"
    left_out[what + ")"] = why


def _result(cell: Cell, samples: list[Sample]) -> Result:
    values = [sample.value for sample in samples]
    all_of_them = Histogram()
    names: dict[str, list[float]] = {}
    for sample in samples:
        if sample.each is not None:
            all_of_them.add(sample.each)
        for name, figure in sample.extra.items():
            names.setdefault(name, []).append(figure)
    timed = len(all_of_them) > 0
    return Result(
        scenario=cell.scenario,
        contender=cell.contender,
        pinning=cell.pinning,
        unit=cell.unit,
        samples=values,
        median=median(values),
        p99=all_of_them.percentile(0.99) if timed else None,
        p999=all_of_them.percentile(0.999) if timed and cell.tail else None,
        size=cell.size,
        count=cell.count,
        extra={name: median(figures) for name, figures in names.items()},
    )


def ratios(results: Sequence[Result], ours: Iterable[str]) -> list[Ratio]:
    """Each of our contenders against each that is not ours, wherever the case is the same."""
    mine = set(ours)
    made = []
    for result in results:
        if result.contender not in mine:
            continue
        for other in results:
            if other.contender in mine or other.case != result.case or other.unit != result.unit:
                continue
            if not result.median or not other.median:
                continue  # nothing can be said of nothing: no CPU at all, for example
            whole = _times(result.median, other.median, result.better)
            rounds = [
                _times(a, b, result.better)
                for a, b in zip(result.samples, other.samples, strict=False)
            ]
            low, high = quartiles(rounds)
            made.append(
                Ratio(
                    result.scenario, result.pinning, result.contender, other.contender,
                    whole, low, high, result.size, result.count,
                )
            )  # fmt: skip
    return made


def _times(ours: float, theirs: float, better: str) -> float:
    """How many times better ours is; 0 for a round in which there is nothing to divide by."""
    above, below = (theirs, ours) if better == "lower" else (ours, theirs)
    return above / below if below else 0.0
