"""Directives that show the kept run of `wsdirect bench`, bench/latest.json and its charts.

* `bench-machine`: what it was measured on, and when.
* `bench-budgets`: the goals, and what was reached.
* `bench-charts`: the charts with these names (patterns), in this order.
* `bench-tables`: every table of the run.
* `bench-scenarios`, `bench-contenders`: what there is to measure, from the sources.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from sphinx.application import Sphinx
from wsdirect_docs import _Markdown, _table

from wsdirect.tools.bench import contenders, cpus, machine, scenarios, tables
from wsdirect.tools.bench.budgets import reached_text
from wsdirect.tools.bench.results import Document, load

KEPT = Path(__file__).resolve().parents[2] / "bench"
VERDICTS = {True: "met", False: "**not met**", None: "not measured"}


class _Kept(_Markdown):
    """A directive about the kept run."""

    def lines(self) -> Iterable[str]:
        path = KEPT / "latest.json"
        if not path.exists():
            return ["There is no kept run in this copy of the sources."]
        self.depends_on(path)
        return self.kept(load(str(path)))

    def kept(self, document: Document) -> Iterable[str]:
        raise NotImplementedError


class Machine(_Kept):
    def kept(self, document: Document) -> Iterator[str]:
        yield f"{machine.sentence(document.machine)}; {document.when[:10]}."
        found = document.machine.get("libraries", {})
        if found:
            yield f"Libraries: {', '.join(f'{name} {number}' for name, number in found.items())}."


class Budgets(_Kept):
    def kept(self, document: Document) -> Iterable[str]:
        return _table(
            ("goal for", "against", "goal", "reached", ""),
            (
                (each.row, each.against, f"`{each.goal}`", reached_text(each), VERDICTS[each.met])
                for each in document.budgets
            ),
        )


class Tables(_Kept):
    def kept(self, document: Document) -> Iterator[str]:
        for one in tables.tables(document):
            yield f"**{one.title}**"
            yield ""
            rows = (
                (line.name, "" if line.kind == tables.MEDIAN else f"*{line.kind}*", *line.cells)
                for line in one.lines
            )
            yield from _table((one.unit, "", *one.columns), rows)
            yield ""


class Charts(_Kept):
    final_argument_whitespace = True
    required_arguments = 1

    def kept(self, document: Document) -> Iterator[str]:
        for pattern in self.arguments[0].split():
            for path in sorted(KEPT.glob(f"{pattern}.svg"), key=_by_pinning):
                self.depends_on(path)
                words = path.stem.replace("-", ", ")
                yield f"![{words}](../bench/{path.name})"
                yield ""


def _by_pinning(path: Path) -> tuple[str, int]:
    """In the order of the pinnings, which is not that of the alphabet."""
    name, _, pinning = path.stem.rpartition("-")
    order = [*cpus.PINNINGS]
    return (name, order.index(pinning)) if pinning in order else (path.stem, 0)


class Scenarios(_Markdown):
    def lines(self) -> Iterable[str]:
        self.depends_on(scenarios)
        return _table(
            ("name", "what is measured"),
            ((f"`{name}`", scenarios.load(name).title) for name in scenarios.SCENARIOS),
        )


class Contenders(_Markdown):
    def lines(self) -> Iterable[str]:
        self.depends_on(contenders)
        rows = (
            (f"`{name}`", re.sub(r"([_*])", r"\\\1", one.title))
            for name, one in contenders.CONTENDERS.items()
        )
        return _table(("name", "what it is"), rows)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("bench-machine", Machine)
    app.add_directive("bench-budgets", Budgets)
    app.add_directive("bench-tables", Tables)
    app.add_directive("bench-charts", Charts)
    app.add_directive("bench-scenarios", Scenarios)
    app.add_directive("bench-contenders", Contenders)
    return {"parallel_read_safe": True}
