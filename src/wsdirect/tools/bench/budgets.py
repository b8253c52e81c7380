"""The project's goals as a table, and what a run has reached of them.

Every goal is a ratio between contenders of one run, or an amount that depends little on the
machine. Where a row does not say how many CPUs, it means two: a process on each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsdirect.tools.bench.figures import median
from wsdirect.tools.bench.results import Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wsdirect.tools.bench.results import Document, Result

    Figure = Callable[[Document], float | None]

__all__ = ["ROWS", "Row", "compute", "reached_text"]

KIB, MIB = 1 << 10, 1 << 20
MIDDLE = (16 * KIB, 64 * KIB, 256 * KIB, MIB)
MANY = 10_000


@dataclass(frozen=True)
class Row:
    """One goal.

    Attributes:
        row: What is measured.
        against: What it is compared with.
        sign: "<=" or ">=".
        bound: What the figure is compared with.
        form: How figures are written: "part" (1/100), "times" (3x), else with that unit.
        figure: Finds the figure in a run; None if the run has not measured it.
    """

    row: str
    against: str
    sign: str
    bound: float
    form: str
    figure: Figure

    @property
    def goal(self) -> str:
        """The bound in words."""
        return f"{self.sign} {_written(self.bound, self.form)}"

    def met_by(self, figure: float) -> bool:
        """Whether that is good enough."""
        return figure <= self.bound if self.sign == "<=" else figure >= self.bound


def compute(document: Document) -> list[Budget]:
    """All rows, with what the document's results say of them."""
    found = []
    for row in ROWS:
        reached = row.figure(document)
        met = None if reached is None else row.met_by(reached)
        found.append(Budget(row.row, row.against, row.goal, reached, met))
    return found


def reached_text(budget: Budget) -> str:
    """What was reached, written as the goal is ("1/120" for "<= 1/100"); "" if nothing was."""
    if budget.reached is None:
        return ""
    bound = budget.goal.partition(" ")[2]
    if bound.startswith("1/"):
        form = "part"
    elif bound.endswith("x"):
        form = "times"
    else:
        form = bound.partition(" ")[2]
    return _written(budget.reached, form)


def _written(figure: float, form: str) -> str:
    if form == "part":
        # A part of more than the whole is told as what it is: slower.
        return f"1/{_short(1 / figure)}" if 0 < figure < 1 else f"{_short(figure)}x"
    if form == "times":
        return f"{figure:.4g}x" if 0.95 < figure < 1.05 else f"{_short(figure)}x"
    return f"{_short(figure)} {form}".rstrip()


def _short(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


# -- where the figures are ------------------------------------------------------------------------


def _compared(
    scenario: str,
    ours: str,
    theirs: str,
    pinning: str = "two",
    sizes: Iterable[int | None] = (None,),
) -> Figure:
    """Our median as a part of theirs; of several sizes the worst, of those that were measured."""
    wanted = tuple(sizes)

    def figure(document: Document) -> float | None:
        parts = []
        better = "lower"
        for size in wanted:
            a = document.find(scenario, ours, pinning, size)
            b = document.find(scenario, theirs, pinning, size)
            if a is not None and b is not None and b.median:
                parts.append(a.median / b.median)
                better = a.better
        if not parts:
            return None
        return max(parts) if better == "lower" else min(parts)

    return figure


def _more(scenario: str, ours: str, theirs: str, pinning: str) -> Figure:
    """How much more ours takes than theirs: the median of the differences of the rounds."""

    def figure(document: Document) -> float | None:
        a = document.find(scenario, ours, pinning)
        b = document.find(scenario, theirs, pinning)
        if a is None or b is None:
            return None
        return median([x - y for x, y in zip(a.samples, b.samples, strict=False)])

    return figure


def _amount(scenario: str, contender: str, pinning: str) -> Figure:
    """The median itself."""

    def figure(document: Document) -> float | None:
        found = document.find(scenario, contender, pinning)
        return None if found is None else found.median

    return figure


def _idle(document: Document) -> Result | None:
    """Of the runs with idle connections the one with most."""
    found = [
        each
        for each in document.results
        if each.scenario == "idle-memory" and each.contender == "switched"
    ]
    return max(found, key=lambda each: each.count or 0, default=None)


def _memory(document: Document) -> float | None:
    found = _idle(document)
    return None if found is None else found.median


def _at_once(document: Document) -> float | None:
    found = _idle(document)
    # A short run opens fewer, which says nothing of how many are possible.
    return None if found is None or (found.count or 0) < MANY else found.count


def _nowhere(document: Document) -> float | None:
    """Nothing can measure this row yet."""
    return None


_RTT = "ping-pong 64 B"
_ECHO = "asyncio echo 64 B"
_SETS = "connections per second"
_MUCH = "throughput 16 KiB to 1 MiB"

ROWS = (
    Row(_RTT, "TCP", "<=", 1 / 100, "part", _compared("ping-pong", "switched", "tcp", sizes=[64])),
    Row(
        _RTT, "AF_UNIX", "<=", 1 / 50, "part",
        _compared("ping-pong", "switched", "unix", sizes=[64]),
    ),
    Row(
        _RTT, "a ring in C", "<=", 3, "times",
        _compared("ping-pong", "switched", "c-ring", sizes=[64]),
    ),
    Row(
        f"{_RTT}, one CPU", "TCP", "<=", 1 / 4, "part",
        _compared("ping-pong", "switched", "tcp", "one", [64]),
    ),
    Row(
        f"{_RTT}, one CPU", "AF_UNIX", "<=", 1 / 2.5, "part",
        _compared("ping-pong", "switched", "unix", "one", [64]),
    ),
    Row(
        "messages of 64 B per second", "TCP", ">=", 10, "times",
        _compared("messages", "switched", "tcp", sizes=[64]),
    ),
    Row(_MUCH, "TCP", ">=", 5, "times", _compared("one-way", "switched", "tcp", sizes=MIDDLE)),
    Row(
        _MUCH, "AF_UNIX", ">=", 2, "times", _compared("one-way", "switched", "unix", sizes=MIDDLE)
    ),
    Row(
        "throughput 16 MiB", "AF_UNIX", ">=", 1, "times",
        _compared("one-way", "switched", "unix", sizes=[16 * MIB]),
    ),
    Row(
        "CPU seconds per GB, 256 KiB", "TCP", "<=", 1 / 5, "part",
        _compared("cpu-per-gb", "switched", "tcp", sizes=[256 * KIB]),
    ),
    Row(
        _ECHO, "asyncio on TCP", "<=", 1 / 10, "part",
        _compared("ping-pong", "switched-asyncio", "asyncio-tcp", sizes=[64]),
    ),
    Row(
        _ECHO, "uvloop on TCP", "<=", 1 / 7, "part",
        _compared("ping-pong", "switched-asyncio", "uvloop-tcp", sizes=[64]),
    ),
    Row(
        f"{_ECHO}, one CPU", "asyncio on TCP", "<=", 1 / 5, "part",
        _compared("ping-pong", "switched-asyncio", "asyncio-tcp", "one", [64]),
    ),
    Row(
        f"{_ECHO}, one CPU", "uvloop on TCP", "<=", 1 / 1.5, "part",
        _compared("ping-pong", "switched-asyncio", "uvloop-tcp", "one", [64]),
    ),
    Row(_SETS, "TCP", ">=", 3, "times", _compared("connections", "switched", "tcp")),
    Row(
        f"{_SETS}, one CPU", "TCP", ">=", 2.2, "times",
        _compared("connections", "switched", "tcp", "one"),
    ),
    Row(
        "round trip, unswitched", "without wsdirect run", "<=", 1.01, "times",
        _compared("unswitched", "under-run", "tcp", "one", [64]),
    ),
    Row("memory per idle connection", "", "<=", 24, "KiB", _memory),
    Row("idle connections at once", "", ">=", MANY, "", _at_once),
    Row(
        "CPU per second of doing nothing", "", "<=", 0.1, "ms",
        _amount("idle-cpu", "switched", "two"),
    ),
    Row(
        "CPU, a message per millisecond", "AF_UNIX", "<=", 1, "times",
        _compared("paced-cpu", "switched", "unix"),
    ),
    Row(
        "start-up of wsdirect run", "more than python", "<=", 20, "ms",
        _more("start-up", "switched", "tcp", "one"),
    ),
    Row(
        "SPI messages 64 B, polled", "TCP, blocking", "<=", 1 / 5, "part",
        _compared("ping-pong", "spi-messages", "tcp", sizes=[64]),
    ),
    Row(
        "session over fabric:tcp, 1 MiB", "libfabric from C", ">=", 0.9,
        "times", _nowhere,
    ),
)  # fmt: skip
"""All goals, in the order of the design's table."""
