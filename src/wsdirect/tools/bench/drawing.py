"""How charts look: lines against a size, bars side by side. What is drawn, plots.py says.

Colours tell kinds of contenders apart, and are of a palette that people with colour-blindness can
tell apart, too (Okabe and Ito's); within a kind it is the marker, and the name stands at the line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wsdirect.tools.bench.tables import figure_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["Bar", "Panel", "Series", "apart", "bars", "lines", "new_figure", "sign", "write"]

BLUE, SKY, ORANGE, VERMILION = "#0072B2", "#56B4E9", "#E69F00", "#D55E00"
PURPLE, GREEN, GREY, BLACK = "#CC79A7", "#009E73", "#8C8C8C", "#303030"

LOOKS: Mapping[str, tuple[str, str, str]] = {
    "switched": (BLUE, "o", "-"),
    "switched-selectors": (BLUE, "s", "--"),
    "switched-asyncio": (SKY, "o", "-"),
    "switched-san": (SKY, "s", "--"),
    "spi-messages": (GREEN, "o", "-"),
    "spi-rdma": (GREEN, "s", "--"),
    "under-run": (BLUE, "o", "-"),
    "tcp": (VERMILION, "o", "-"),
    "unix": (ORANGE, "o", "-"),
    "tcp-selectors": (VERMILION, "s", "--"),
    "unix-selectors": (ORANGE, "s", "--"),
    "asyncio-tcp": (PURPLE, "o", "-"),
    "uvloop-tcp": (PURPLE, "s", "--"),
    "pipe": (GREY, "o", "-"),
    "pyzmq": (GREY, "s", "--"),
    "pynng": (GREY, "^", "-."),
    "iceoryx2": (GREY, "D", ":"),
    "c-stream": (BLACK, "o", ":"),
    "c-ring": (BLACK, "s", ":"),
    "c-memcpy": (BLACK, "^", ":"),
}
"""Colour, marker and stroke by contender."""

PLAIN = (GREY, "x", "-")

STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    # Text stays text: smaller files, and it can be searched and read aloud.
    "svg.fonttype": "none",
    # The same input gives the same file.
    "svg.hashsalt": "wsdirect",
}

CLOSE = 0.036
"""Least distance of two labels, as a part of the axis."""


@dataclass
class Series:
    """A line: a contender's figures by place on the x axis."""

    contender: str
    title: str
    points: Sequence[tuple[float, float]]
    ours: bool


@dataclass
class Bar:
    """A bar.

    Attributes:
        label: At its foot. Neighbours whose labels begin with the same words and ": " stand closer.
        contender: Decides on its colour.
        figure: Its length.
        ours: Whether it stands out.
        note: What else to write at its end.
    """

    label: str
    contender: str
    figure: float
    ours: bool
    note: str = ""


@dataclass
class Panel:
    """Bars that are compared with each other."""

    title: str
    bars: Sequence[Bar]


def new_figure(width: float, height: float, columns: int = 1, share: bool = False) -> Any:
    """A figure in inches, with that many panels side by side: (figure, list of axes)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False, sharey=share)[0]
    return figure, list(axes)


def lines(
    title: str,
    x_title: str,
    y_title: str,
    series: Sequence[Series],
    tick: Callable[[float], str],
) -> Any:
    """A chart with logarithmic axes and every line's name at its end."""
    figure, (axes,) = new_figure(9.4, 6.4)
    axes.set(xscale="log", yscale="log", title=title, xlabel=x_title, ylabel=y_title)
    for one in series:
        colour, marker, stroke = LOOKS.get(one.contender, PLAIN)
        axes.plot(
            [x for x, _ in one.points], [y for _, y in one.points],
            color=colour, marker=marker, linestyle=stroke,
            linewidth=2.6 if one.ours else 1.3, markersize=6 if one.ours else 4.5,
            zorder=4 if one.ours else 3, solid_capstyle="round",
        )  # fmt: skip
    places = sorted({x for one in series for x, _ in one.points})
    axes.set_xticks(places, [tick(x) for x in places])
    axes.minorticks_off()
    axes.tick_params(length=0)
    axes.grid(which="major")
    _plain_decades(axes.yaxis, *_span([y for one in series for _, y in one.points]))
    axes.set_ylim(*_span([y for one in series for _, y in one.points]))
    _name_ends(axes, series, places)
    return figure


def bars(
    title: str, x_title: str, panels: Sequence[Panel], log: bool = False, width: float = 4.6
) -> Any:
    """Horizontal bars, a panel beside the other; each bar tells its figure."""
    places = _places(dict.fromkeys(bar.label for panel in panels for bar in panel.bars))
    names = max(map(len, places))
    # Wide enough for the names, the title, and the line on the machine.
    inches = max(names * 0.085 + width * len(panels) ** 0.75, len(title) * 0.1, 7.2)
    figure, every = new_figure(inches, 1.65 + 0.3 * max(places.values()), len(panels), share=True)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    figures = [bar.figure for panel in panels for bar in panel.bars if bar.figure > 0]
    for axes, panel in zip(every, panels, strict=True):
        for bar in panel.bars:
            colour = LOOKS.get(bar.contender, PLAIN)[0]
            place = places[bar.label]
            axes.barh(place, bar.figure, 0.72, color=colour, alpha=1 if bar.ours else 0.75)
            text = f"{figure_text(bar.figure)}  {bar.note}".rstrip()
            axes.annotate(
                text, (max(bar.figure, 0), place), (4, 0),
                textcoords="offset points", va="center", fontsize=9,
                fontweight="bold" if bar.ours else "normal",
            )  # fmt: skip
        axes.set_title(panel.title, fontsize=10, fontweight="normal")
        axes.set_yticks(list(places.values()), list(places))
        axes.set_xlabel(x_title)
        axes.tick_params(length=0)
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        if log and figures:
            low, high = _span(figures)
            axes.set(xscale="log", xlim=(low, high * (high / low) ** 0.16))
            axes.minorticks_off()
            _plain_decades(axes.xaxis, low, high)
        else:
            # The figure beside the longest bar needs room, too.
            noted = any(bar.note for one in panels for bar in one.bars)
            axes.set_xlim(0, max(figures, default=1) * (1.42 if noted else 1.24))
            axes.xaxis.set_major_locator(_few_ticks())
            axes.xaxis.set_major_formatter(lambda x, _: figure_text(x) if x else "0")
    every[0].set_ylim(max(places.values()) + 0.6, -0.6)
    return figure


def _places(labels: Iterable[str]) -> dict[str, float]:
    """Where each label's bar is, from the top: with a gap where another group begins."""
    found: dict[str, float] = {}
    place, before = -1.0, ""
    for label in labels:
        group, colon, _ = label.partition(": ")
        place += 1.0 if not before or (colon and group == before) or not colon else 1.5
        found[label] = place
        before = group
    return found


def _dark(colour: str) -> str:
    """The colour as it can be read when it is that of small letters on white."""
    parts = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(part * 0.72):02x}" for part in parts)


def sign(figure: Any, text: str) -> None:
    """Write under the chart what it was measured on."""
    figure.supxlabel(text, x=0.008, ha="left", fontsize=7, color=GREY)


def write(figure: Any, path: str) -> list[str]:
    """Write the chart as path.png and path.svg; the files' names."""
    figure.savefig(f"{path}.png", dpi=110)
    # No date: charts of the same figures are the same files.
    figure.savefig(f"{path}.svg", metadata={"Date": None})
    return [f"{path}.png", f"{path}.svg"]


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4)


def _span(figures: Sequence[float]) -> tuple[float, float]:
    """The limits of a logarithmic axis: a little more than what is on it, and no less than that."""
    low, high = min(figures), max(figures)
    return low / 1.5, max(high * 1.5, low * 10)


def _plain_decades(axis: Any, low: float, high: float) -> None:
    """Ticks at the powers of ten, and between them if there are few; written out."""
    from matplotlib.ticker import FixedLocator

    steps = (1,) if math.log10(high / low) > 2.5 else (1, 2, 5)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    places = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    axis.set_major_locator(FixedLocator([place for place in places if low <= place <= high]))
    axis.set_major_formatter(lambda x, _: figure_text(x))


def _name_ends(axes: Any, series: Sequence[Series], places: Sequence[float]) -> None:
    """Each line's name right of the axes, as near to its end as the others let it be."""
    low, high = (math.log10(limit) for limit in axes.get_ylim())
    ends = sorted(
        ((math.log10(one.points[-1][1]) - low) / (high - low), index)
        for index, one in enumerate(series)
    )
    heights = apart([height for height, _ in ends], CLOSE)
    first, last = (math.log10(limit) for limit in axes.get_xlim())
    for height, (end, index) in zip(heights, ends, strict=True):
        one = series[index]
        colour = LOOKS.get(one.contender, PLAIN)[0]
        across = (math.log10(one.points[-1][0]) - first) / (last - first)
        axes.annotate(
            one.title, (across, end), (1.035, height),
            xycoords="axes fraction", textcoords="axes fraction", va="center",
            color=_dark(colour), fontsize=9, fontweight="bold" if one.ours else "normal",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.6,
                "shrinkA": 1, "shrinkB": 4, "relpos": (0, 0.5),
            },
        )  # fmt: skip


def apart(heights: Sequence[float], least: float) -> list[float]:
    """Ascending heights moved so that neighbours are `least` apart, each as little as may be.

    Labels that touch become a block, which lies where its members would be on average, but within
    0 and 1; blocks that touch then become one.
    """
    blocks: list[tuple[float, int]] = []  # the middle, and how many
    for height in heights:
        middle, count = height, 1
        while True:
            half = count * least / 2
            middle = max(half, min(middle, 1 - half))
            if not blocks or middle - half >= blocks[-1][0] + blocks[-1][1] * least / 2:
                break
            before, members = blocks.pop()
            middle = (middle * count + before * members) / (count + members)
            count += members
        blocks.append((middle, count))
    return [
        middle + (place - (count - 1) / 2) * least
        for middle, count in blocks
        for place in range(count)
    ]
