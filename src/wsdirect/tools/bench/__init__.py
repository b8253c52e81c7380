"""`wsdirect bench`: wsdirect against other ways to exchange bytes, measured side by side.

docs/adr/0019 says how it measures and why.
"""

from __future__ import annotations

import datetime
import os
import random
import signal
import sys
from typing import TYPE_CHECKING

from wsdirect.tools.text import print_json, stop, table

if TYPE_CHECKING:
    from typing import NoReturn

    from wsdirect.tools.bench.options import Options
    from wsdirect.tools.bench.results import Document

__all__ = ["main", "measured"]


def main(words: list[str]) -> int:
    """Measure; status 1 when nothing could be measured, or --check found something worse."""
    from wsdirect.tools.bench import options, results

    asked = options.parse(words)
    if asked.list:
        _list()
        return 0
    kept = None
    if asked.check is not None:
        try:
            kept = results.load(asked.check)
        except (OSError, results.WrongFormat) as error:
            stop(f"--check {asked.check}: {_reason(error)}")
    _check_places(asked)
    # Ended from outside, it still ends the processes that it has started.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    document = measured(asked)
    status = _report(document, asked)
    if kept is not None:
        from wsdirect.tools.bench import regression

        comparison = regression.compare(document, kept)
        if comparison.slower:
            asked.scenarios = [name for name in asked.scenarios if name in comparison.suspects]
            print(f"measuring again: {', '.join(asked.scenarios)}", file=sys.stderr)
            comparison.confirm(regression.compare(measured(asked), kept))
        for line in comparison.lines():
            print(line, file=sys.stderr)
        status = status or comparison.status
    return int(status)


def _leave(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


def measured(asked: Options) -> Document:
    """The whole run."""
    from wsdirect.tools.bench import budgets, machine, measure, progress, results, scenarios
    from wsdirect.tools.bench.contenders import OURS

    document = results.Document(
        when=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=machine.describe(),
        left_out=asked.choice.left_out,
    )
    document.options = {
        "scenarios": asked.scenarios,
        "contenders": asked.choice.contenders,
        "pinnings": asked.choice.pinnings,
        "sizes": asked.choice.sizes,
        "rounds": asked.rounds,
        "seconds": asked.choice.seconds,
        "quick": asked.choice.quick,
    }
    groups = [
        group
        for name in asked.scenarios
        for group in scenarios.load(name).groups(asked.choice)
        if group.cells
    ]
    steps = sum(len(group.cells) * (group.rounds or asked.rounds) for group in groups)
    with progress.bar(steps) as bar:
        document.results = measure.run(
            groups, asked.rounds, random.Random(asked.seed), bar, document.left_out
        )
    document.ratios = measure.ratios(document.results, OURS)
    document.budgets = budgets.compute(document)
    return document


def _check_places(asked: Options) -> None:
    """Before a long run: whatever would make its end useless."""
    if asked.json not in (None, "-"):
        folder = os.path.dirname(os.path.abspath(str(asked.json)))
        if not os.path.isdir(folder) or os.path.isdir(str(asked.json)):
            stop(f"--json needs a file in a directory that exists; {asked.json} is none.")
    if asked.plot is not None:
        from wsdirect.tools.bench import plots

        plots.check()
        try:
            os.makedirs(asked.plot, exist_ok=True)
        except OSError as error:
            stop(f"--plot {asked.plot}: {_reason(error)}")


def _report(document: Document, asked: Options) -> int:
    from wsdirect.tools.bench import report, results

    if asked.json == "-":
        print_json(document.to_json())
    else:
        report.show(document, sys.stdout)
    if asked.json not in (None, "-"):
        results.save(document, str(asked.json))
    if asked.plot is not None:
        from wsdirect.tools.bench import plots

        for path in plots.draw(document, asked.plot):
            print(path, file=sys.stderr)
    if not document.results:
        print("wsdirect: nothing could be measured.", file=sys.stderr)
        for what, why in document.left_out.items():
            print(f"  {what}: {why}", file=sys.stderr)
        return 1
    return 0


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}."
    return str(error)


def _list() -> None:
    """What there is to choose from."""
    from wsdirect.tools.bench import cpus, scenarios
    from wsdirect.tools.bench.contenders import CONTENDERS, missing

    print("scenarios")
    rows = [(f"  {name}", scenarios.load(name).title) for name in scenarios.SCENARIOS]
    print("\n".join(table(rows)))
    print("\ncontenders")
    rows = []
    for contender in CONTENDERS.values():
        why = missing(contender)
        rows.append((f"  {contender.name}", contender.title + (f" ({why})" if why else "")))
    print("\n".join(table(rows)))
    print("\npinnings")
    print("\n".join(table([(f"  {name}", doc) for name, doc in cpus.PINNINGS.items()])))
