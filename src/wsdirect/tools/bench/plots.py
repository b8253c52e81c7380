"""The charts of a run, as PNG and SVG: which there are, and what is on them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from wsdirect.tools.bench import drawing, machine
from wsdirect.tools.bench.contenders import CONTENDERS, OURS
from wsdirect.tools.bench.cpus import PINNINGS
from wsdirect.tools.bench.drawing import Bar, Panel, Series
from wsdirect.tools.bench.tables import ratio_text, size_text, title_of
from wsdirect.tools.text import stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from wsdirect.tools.bench.results import Document, Result

__all__ = ["check", "draw"]

PANELS = {"two": "two CPUs", "one": "one CPU", "free": "free scheduling"}
LOOPS = ("switched-asyncio", "switched-san", "asyncio-tcp", "uvloop-tcp")
PROGRAMS = {
    "http-server": "http.server, http.client",
    "http-server-new": "the same, new connections",
    "http-aiohttp": "aiohttp, both ends",
    "http-uvicorn": "uvicorn, httpx",
    "redis": "redis-py, GET and SET",
}
BARS = (
    # file, scenario, title, x axis
    ("messages", "messages", "Messages of 64 B in one direction", "messages per second"),
    ("connections", "connections", "Connect, accept, one byte each way, close",
     "connections per second"),
    ("cpu-per-gb", "cpu-per-gb", "CPU time for a gigabyte in pieces of 256 KiB",
     "s per GB, both processes"),
    ("idle-cpu", "idle-cpu", "CPU while both ends wait and nothing happens",
     "ms per second, both processes"),
    ("paced-cpu", "paced-cpu", "CPU with an echo of 64 B each millisecond",
     "ms per second, both processes"),
)  # fmt: skip
EVEN = 20
"""Bars that differ by more than this need a logarithmic axis."""

UNEVEN = {"messages"}
"""Charts whose bars differ by so much that their axis is logarithmic."""


def check() -> None:
    """Usage if there is nothing to draw with."""
    try:
        import matplotlib
    except ImportError:
        stop("charts need matplotlib: pip install 'wsdirect[bench]'.")
    del matplotlib


def draw(document: Document, folder: str) -> list[str]:
    """Write all charts that the run has something for; the files' paths.

    Args:
        document: The run.
        folder: An existing directory; files of the same names are replaced.
    """
    check()
    from matplotlib import rc_context

    written: list[str] = []
    with rc_context(drawing.STYLE):
        for name, figure in _charts(document):
            drawing.sign(figure, f"{machine.sentence(document.machine)}; {document.when}")
            written += drawing.write(figure, os.path.join(folder, name))
    return written


def _charts(document: Document) -> Iterator[tuple[str, Any]]:
    for pinning, where in PINNINGS.items():
        yield from _against_size(
            document, f"latency-{pinning}", "ping-pong", pinning,
            f"Round trip of one message, median; {where}", "us",
        )  # fmt: skip
    for pinning, where in PINNINGS.items():
        yield from _against_size(
            document, f"throughput-{pinning}", "one-way", pinning,
            f"Throughput in one direction; {where}", "GB/s",
        )  # fmt: skip
    for name, scenario, title, x_title in BARS:
        chosen = [each for each in document.results if each.scenario == scenario]
        yield from _by_pinning(name, title, x_title, chosen, log=name in UNEVEN)
    echoes = [
        each
        for each in document.results
        if each.scenario == "ping-pong" and each.size == 64 and each.contender in LOOPS
    ]
    yield from _by_pinning("asyncio", "Echo of 64 B by asyncio streams", "us, median", echoes)
    yield from _memory(document)
    for pinning, where in PINNINGS.items():
        yield from _active(document, pinning, where)
    yield from _programs(document)
    yield from _launching(document)
    yield from _neighbour(document)


def _series(chosen: Iterable[Result], place: Callable[[Result], float | None]) -> list[Series]:
    """A line for each contender, those that are ours last: they are drawn over the others."""
    points: dict[str, list[tuple[float, float]]] = {}
    for each in chosen:
        x = place(each)
        if x and each.median > 0:
            points.setdefault(each.contender, []).append((x, each.median))
    order = sorted(points, key=_order)
    return [Series(name, title_of(name), sorted(points[name]), name in OURS) for name in order]


def _order(name: str) -> tuple[bool, int]:
    names = list(CONTENDERS)
    return name in OURS, names.index(name) if name in names else len(names)


def _against_size(
    document: Document, name: str, scenario: str, pinning: str, title: str, unit: str
) -> Iterator[tuple[str, Any]]:
    chosen = _chosen(document, scenario, pinning)
    yield from _against(
        name, title, "message size", unit, chosen, lambda each: each.size,
        lambda size: size_text(round(size)),
    )  # fmt: skip


def _active(document: Document, pinning: str, where: str) -> Iterator[tuple[str, Any]]:
    yield from _against(
        f"active-{pinning}", f"Echo of 64 B on many connections at a time; {where}",
        "connections", "us per echo", _chosen(document, "active", pinning),
        lambda each: each.count, lambda count: f"{count:,.0f}",
    )  # fmt: skip


def _chosen(document: Document, scenario: str, pinning: str) -> list[Result]:
    return [
        each for each in document.results if each.scenario == scenario and each.pinning == pinning
    ]


def _against(
    name: str,
    title: str,
    x_title: str,
    unit: str,
    chosen: list[Result],
    place: Callable[[Result], float | None],
    tick: Callable[[float], str],
) -> Iterator[tuple[str, Any]]:
    """Lines; or bars, if all is at one place."""
    series = _series(chosen, place)
    places = {x for one in series for x, _ in one.points}
    if len(places) > 1:
        yield name, drawing.lines(title, x_title, unit, series, tick)
    elif places:
        where = f"{x_title}: {tick(places.pop())}"
        figures = [each.median for each in chosen if each.median > 0]
        uneven = max(figures) > EVEN * min(figures)
        yield name, drawing.bars(title, unit, [Panel(where, _bars(chosen))], uneven)


def _memory(document: Document) -> Iterator[tuple[str, Any]]:
    chosen = [each for each in document.results if each.scenario == "idle-memory"]
    counts = sorted({each.count for each in chosen if each.count is not None})
    panels = [
        Panel(
            f"{count:,} connections" if count > 1 else "the second connection",
            _bars([each for each in chosen if each.count == count]),
        )
        for count in counts
    ]
    if panels:
        yield (
            "memory",
            drawing.bars(
                "Memory of an idle connection, both ends and the kernel", "KiB", panels, width=2.6
            ),
        )


def _programs(document: Document) -> Iterator[tuple[str, Any]]:
    panels = []
    for pinning, title in PANELS.items():
        drawn = []
        for name, text in PROGRAMS.items():
            plain = document.find(name, "tcp", pinning)
            switched = document.find(name, "switched", pinning)
            if plain is not None:
                drawn.append(Bar(f"{text}: TCP", "tcp", plain.median, False))
            if switched is not None:
                more = f"({ratio_text(switched.median / plain.median)})" if plain else ""
                drawn.append(Bar(f"{text}: wsdirect run", "switched", switched.median, True, more))
        if drawn:
            panels.append(Panel(title, drawn))
    if panels:
        yield "programs", drawing.bars(
            "Unmodified programs: requests per second, one after the other",
            "requests per second", panels, width=3.4,
        )  # fmt: skip


def _launching(document: Document) -> Iterator[tuple[str, Any]]:
    titles = {
        "start-up": "does nothing",
        "start-up-listen": "listens on a socket",
        "start-up-connect": "tries to connect",
    }
    drawn = [
        Bar(f"{text}: {'wsdirect run' if each.contender == 'switched' else 'python'}",
            each.contender, each.median, each.contender == "switched")
        for name, text in titles.items()
        for each in document.results
        if each.scenario == name
    ]  # fmt: skip
    if drawn:
        yield (
            "start-up",
            drawing.bars(
                "Start and end of a program, by what it does", "ms", [Panel("", drawn)], width=4.6
            ),
        )


def _neighbour(document: Document) -> Iterator[tuple[str, Any]]:
    panels = []
    for pinning, title in PANELS.items():
        drawn = [
            Bar(f"{title_of(each.contender)}: {kind}", each.contender, figure,
                each.contender in OURS)
            for each in document.results
            if each.scenario == "busy-neighbour" and each.pinning == pinning
            for kind, figure in (
                ("median", each.median), ("99 %", each.p99), ("99.9 %", each.p999)
            )
            if figure is not None
        ]  # fmt: skip
        if drawn:
            panels.append(Panel(title, drawn))
    if panels:
        yield "busy-neighbour", drawing.bars(
            "Round trips of 64 B while another process spins on the same CPUs", "us",
            panels, log=True, width=3.4,
        )  # fmt: skip


def _by_pinning(
    name: str, title: str, x_title: str, chosen: list[Result], log: bool = False
) -> Iterator[tuple[str, Any]]:
    panels = []
    for pinning, panel in PANELS.items():
        drawn = _bars([each for each in chosen if each.pinning == pinning])
        if drawn:
            panels.append(Panel(panel, drawn))
    if panels:
        yield name, drawing.bars(title, x_title, panels, log, width=3.2)


def _bars(chosen: Iterable[Result]) -> list[Bar]:
    names = list(CONTENDERS)
    found = sorted(chosen, key=lambda each: names.index(each.contender))
    return [
        Bar(title_of(each.contender), each.contender, each.median, each.contender in OURS)
        for each in found
    ]
