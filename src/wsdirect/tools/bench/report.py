"""The results of a run at the terminal: with rich if it is installed, plainly if not."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, TextIO

from wsdirect.tools.bench import machine, tables
from wsdirect.tools.bench.budgets import reached_text
from wsdirect.tools.text import table as aligned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsdirect.tools.bench.results import Budget, Document

__all__ = ["show"]

WIDTH = 100
"""Columns of what is no terminal; all tables fit."""

VERDICTS = {True: "met", False: "not met", None: "not measured"}
COLOURS = {True: "green", False: "bold red", None: "dim"}
BUDGET_HEADS = ("goal for", "against", "goal", "reached", "")
EXPLAINED = (
    "Ratios tell how many times better wsdirect does the same: 2x is half the time, or double rate."
)


def show(document: Document, stream: TextIO) -> None:
    """Write the tables, what was left out, and the goals.

    Args:
        document: The run.
        stream: Where to; with colours if it is a terminal.
    """
    try:
        import rich
    except ImportError:
        for line in _plain(document):
            stream.write(line + "\n")
    else:
        del rich
        _rich(document, stream)


def _heading(document: Document) -> str:
    lines = [machine.sentence(document.machine), document.when, machine.busy(document.machine)]
    return "\n".join(filter(None, lines))


def _label(line: tables.Line) -> str:
    """The contender, or below it what else is told of it."""
    return line.name if line.kind == tables.MEDIAN else f"    {line.kind}"


def _left_out(document: Document) -> Iterator[str]:
    """One line for each reason, however many cases it concerns."""
    reasons: dict[str, list[str]] = {}
    for what, why in document.left_out.items():
        reasons.setdefault(why, []).append(what)
    for why, cases in reasons.items():
        more = f" and {len(cases) - 2} more" if len(cases) > 2 else ""
        yield f"{', '.join(cases[:2])}{more}: {why}"


def _budget_row(budget: Budget) -> tuple[str, str, str, str, str]:
    verdict = VERDICTS[budget.met]
    return budget.row, budget.against, budget.goal, reached_text(budget), verdict


# -- rich -----------------------------------------------------------------------------------------


def _rich(document: Document, stream: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = None if stream.isatty() else WIDTH
    console = Console(file=stream, highlight=False, width=width)
    console.print(Text(_heading(document), "dim"))
    for one in tables.tables(document):
        shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        shown.add_column(Text(one.unit, "dim"), no_wrap=True)
        for head in one.columns:
            shown.add_column(head, justify="right", no_wrap=True)
        for line in one.lines:
            style = {tables.MEDIAN: "bold cyan" if line.ours else ""}.get(line.kind, "dim")
            shown.add_row(
                Text(_label(line), style),
                *(Text(cell, _style(line, place, style)) for place, cell in enumerate(line.cells)),
            )
        console.print()
        console.print(Text(one.title, "bold"))
        console.print(shown)
    if document.ratios:
        console.print()
        console.print(Text(EXPLAINED, "dim"))
    if document.left_out:
        console.print()
        console.print(Text("Not measured", "bold"))
        for text in _left_out(document):
            console.print(Text(f"  {text}", "dim"))
    if document.budgets:
        goals = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        for head in BUDGET_HEADS:
            goals.add_column(head, justify="right" if head == "reached" else "left")
        for budget in document.budgets:
            *words, verdict = _budget_row(budget)
            goals.add_row(*words, Text(verdict, COLOURS[budget.met]))
        console.print()
        console.print(Text("Goals", "bold"))
        console.print(goals)


def _style(line: tables.Line, column: int, style: str) -> str:
    if line.kind != tables.RATIO:
        return style
    return "red" if column in line.worse else "green"


# -- plain ----------------------------------------------------------------------------------------


def _plain(document: Document) -> Iterator[str]:
    yield from _heading(document).split("\n")
    for one in tables.tables(document):
        yield ""
        yield one.title
        rows = [(one.unit, *one.columns)]
        rows += [(_label(line), *line.cells) for line in one.lines]
        yield from aligned(rows, range(1, 1 + len(one.columns)))
    if document.ratios:
        yield ""
        yield EXPLAINED
    if document.left_out:
        yield ""
        yield "Not measured"
        for text in _left_out(document):
            yield from textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ")
    if document.budgets:
        yield ""
        yield "Goals"
        rows = [BUDGET_HEADS, *map(_budget_row, document.budgets)]
        yield from aligned(rows, (3,))
