"""The results of a run as tables of text, for the terminal and for the documentation.

A scenario with several message sizes, or several numbers of connections, is a table for each
pinning, with these as columns; any other has the pinnings as columns. Scenarios that differ in the
program only share a table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wsdirect.tools.bench import scenarios
from wsdirect.tools.bench.contenders import CONTENDERS
from wsdirect.tools.bench.cpus import PINNINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from wsdirect.tools.bench.results import Document, Result

__all__ = [
    "MEDIAN",
    "P99",
    "P999",
    "RATIO",
    "Line",
    "Table",
    "counterpart",
    "figure_text",
    "ratio_text",
    "scenario_title",
    "size_text",
    "tables",
    "title_of",
]

MEDIAN, P99, P999, RATIO = "median", "p99", "p99.9", "ratio"

FAMILIES = {
    "start and end of a program, by what it does": {
        "start-up": "nothing",
        "start-up-listen": "listens",
        "start-up-connect": "connects",
    },
    "unswitched sockets under the launcher": {
        "unswitched": "round trip of 64 B",
        "unswitched-new": "connect, round trip, close",
    },
    "requests per second of unmodified programs": {
        "http-server": "http.server, http.client",
        "http-server-new": "the same, connections new",
        "http-aiohttp": "aiohttp, both ends",
        "http-uvicorn": "uvicorn, httpx",
        "redis": "redis-py, GET and SET",
    },
}
"""Scenarios that share a table, by its title, and what they are called there."""

PROGRAM_TITLES = {"switched": "wsdirect run", "tcp": "as it is", "under-run": "wsdirect run"}
"""What contenders are called in such tables."""

COUNTERPARTS = {
    "asyncio-tcp": "switched-asyncio",
    "uvloop-tcp": "switched-asyncio",
    "tcp-selectors": "switched-selectors",
    "unix-selectors": "switched-selectors",
}
"""Which of our contenders does the same as one of the others; "switched" for those not listed."""


@dataclass
class Line:
    """A line of a table.

    Attributes:
        name: Of the contender; empty if the line before was of the same.
        kind: MEDIAN, P99, P999 or RATIO.
        cells: One for each column, empty where there is nothing.
        ours: Whether the contender stands for wsdirect.
        worse: Columns of a ratio where ours is the slower one.
    """

    name: str
    kind: str
    cells: list[str]
    ours: bool = False
    worse: set[int] = field(default_factory=set)


@dataclass
class Table:
    """A table: `title`, the `unit` of its medians, the heads of its `columns`, and `lines`."""

    title: str
    unit: str
    columns: list[str]
    lines: list[Line]


def tables(document: Document) -> Iterator[Table]:
    """All tables of a run, in the order in which the scenarios were measured."""
    done: set[str] = set()
    for result in document.results:
        name = result.scenario
        if name in done:
            continue
        family = next((title for title, names in FAMILIES.items() if name in names), None)
        names = list(FAMILIES[family]) if family else [name]
        done.update(names)
        chosen = [each for each in document.results if each.scenario in names]
        if family:
            yield _by_program(document, family, FAMILIES[family], chosen)
        else:
            yield from _by_case(document, name, chosen)


def _by_case(document: Document, name: str, chosen: list[Result]) -> Iterator[Table]:
    """The tables of one scenario."""
    title, unit = scenario_title(name), chosen[0].unit
    for axis, text in ((_size, size_text), (_count, _count_text)):
        values = sorted({axis(each) for each in chosen} - {None}, key=lambda value: value or 0)
        if len(values) > 1:
            for pinning in _pinnings(chosen):
                here = [each for each in chosen if each.pinning == pinning]
                lines = _lines(document, here, axis, values)
                yield Table(
                    f"{title}: {PINNINGS[pinning]}", unit, [text(each) for each in values], lines
                )
            return
    pinnings = _pinnings(chosen)
    yield Table(title, unit, [*pinnings], _lines(document, chosen, _pinning, pinnings))


def _by_program(
    document: Document, title: str, names: Mapping[str, str], chosen: list[Result]
) -> Table:
    """A table with a block of lines for each scenario."""
    pinnings = _pinnings(chosen)
    lines = []
    for name, what in names.items():
        here = [each for each in chosen if each.scenario == name]
        for line in _lines(document, here, _pinning, pinnings, PROGRAM_TITLES):
            if line.name:
                line.name = f"{what}: {line.name}"
            lines.append(line)
    return Table(title, chosen[0].unit, [*pinnings], lines)


def _lines(
    document: Document,
    chosen: list[Result],
    axis: Callable[[Result], Any],
    values: Sequence[Any],
    titles: Mapping[str, str] | None = None,
) -> list[Line]:
    """What each contender reached, and how many times better its counterpart of ours did."""
    present = {each.contender for each in chosen}
    order = [name for name in CONTENDERS if name in present]
    order += sorted(present - set(order))
    lines = []
    for name in order:
        by_value = {axis(each): each for each in chosen if each.contender == name}
        found = [by_value.get(value) for value in values]
        ours = name in CONTENDERS and CONTENDERS[name].ours
        title = (titles or {}).get(name) or title_of(name)
        block = [Line(title, MEDIAN, [_median(each) for each in found], ours)]
        for kind in (P99, P999):
            cells = [_percentile(each, kind) for each in found]
            if any(cells):
                block.append(Line("", kind, cells, ours))
        if not ours:
            block += _ratio_line(document, counterpart(name, present), found)
        lines += block
    return lines


def _ratio_line(document: Document, ours: str | None, found: list[Result | None]) -> Iterator[Line]:
    cells, worse = [], set()
    for column, each in enumerate(found):
        ratio = None if each is None or ours is None else _ratio(document, ours, each)
        cells.append("" if ratio is None else ratio_text(ratio))
        if ratio is not None and ratio < 1:
            worse.add(column)
    if any(cells):
        yield Line("", RATIO, cells, worse=worse)


def _ratio(document: Document, ours: str, other: Result) -> float | None:
    for each in document.ratios:
        if (
            each.contender == ours
            and each.other == other.contender
            and (each.scenario, each.pinning, each.size, each.count) == other.case
        ):
            return each.ratio
    return None


def counterpart(name: str, present: Iterable[str]) -> str | None:
    """Which of our contenders among those present another one is to be compared with."""
    here = set(present)
    for candidate in (COUNTERPARTS.get(name), "switched", "under-run"):
        if candidate in here:
            return candidate
    return next((each for each in CONTENDERS if each in here and CONTENDERS[each].ours), None)


# -- words ----------------------------------------------------------------------------------------


def title_of(contender: str) -> str:
    """A contender's title."""
    return CONTENDERS[contender].title if contender in CONTENDERS else contender


def scenario_title(name: str) -> str:
    """A scenario's title."""
    return scenarios.load(name).title if name in scenarios.SCENARIOS else name


def size_text(size: int | None) -> str:
    """Bytes of a message, in powers of 1024: 64 B, 16 KiB, 1 MiB."""
    count, unit = size or 0, "B"
    for larger in ("KiB", "MiB", "GiB"):
        if count < 1024 or count % 1024:
            break
        count, unit = count // 1024, larger
    return f"{count} {unit}"


def figure_text(figure: float) -> str:
    """Three digits, whatever the size: 0.0123, 1.23, 123, 1234, 12.3k, 1.23M."""
    if figure >= 999_500:
        return f"{figure / 1e6:.3g}M"
    if figure >= 9_999.5:
        return f"{figure / 1e3:.3g}k" if figure < 99_950 else f"{figure / 1e3:.0f}k"
    return f"{figure:.0f}" if figure >= 99.95 else f"{figure:.3g}"


def ratio_text(ratio: float) -> str:
    """How many times better: 120x, 5.4x, 0.74x."""
    if ratio >= 9.95:
        return f"{ratio:.0f}x"
    return f"{ratio:.1f}x" if ratio >= 1.95 else f"{ratio:.2f}x"


def _median(result: Result | None) -> str:
    return "" if result is None else figure_text(result.median)


def _percentile(result: Result | None, kind: str) -> str:
    figure = None if result is None else result.p99 if kind == P99 else result.p999
    return "" if figure is None else figure_text(figure)


def _size(result: Result) -> int | None:
    return result.size


def _count(result: Result) -> int | None:
    return result.count


def _count_text(count: int | None) -> str:
    return f"{count:,}"


def _pinning(result: Result) -> str:
    return result.pinning


def _pinnings(chosen: Iterable[Result]) -> list[str]:
    present = {each.pinning for each in chosen}
    return [name for name in PINNINGS if name in present]
