"""Writes what the kept run of `wsdirect bench` measured into the marked places of README and docs.

    python tools_dev/quote_bench.py            rewrite them
    python tools_dev/quote_bench.py --check    change nothing; status 1 if one is not up to date

A marked place is what stands between two such lines, in README.md or docs/*.md:

    <!-- bench: NAME -->
    <!-- /bench -->

NAME is a key of BLOCKS. All of it comes from bench/latest.json, so that no figure is typed by hand.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from wsdirect.tools.bench import machine
from wsdirect.tools.bench.budgets import reached_text
from wsdirect.tools.bench.results import Document, Result, load
from wsdirect.tools.bench.tables import figure_text, ratio_text

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "bench" / "latest.json"
MARKED = re.compile(r"(?ms)^<!-- bench: (\S+) -->\n(.*?)^<!-- /bench -->$")

KIB = 1024
SUMMARY = (
    # what, scenario, bytes, ours, on TCP, on AF_UNIX
    ("round trip of 64 B", "ping-pong", 64, "switched", "tcp", "unix"),
    ("round trip of 64 B, asyncio streams", "ping-pong", 64, "switched-asyncio", "asyncio-tcp", ""),
    ("round trip of 16 KiB", "ping-pong", 16 * KIB, "switched", "tcp", "unix"),
    ("messages of 64 B in one direction", "messages", 64, "switched", "tcp", "unix"),
    ("throughput in pieces of 64 KiB", "one-way", 64 * KIB, "switched", "tcp", "unix"),
    ("CPU time per GB, pieces of 256 KiB", "cpu-per-gb", 256 * KIB, "switched", "tcp", "unix"),
    ("connect, accept, 1 B each way, close", "connections", None, "switched", "tcp", "unix"),
    ("requests to http.server by http.client", "http-server", None, "switched", "tcp", ""),
    ("redis-py to a server in Python", "redis", None, "switched", "tcp", ""),
)  # fmt: skip
"""The rows of the short table, all with two processes on a CPU each."""

PINNINGS = {"two": "two CPUs", "one": "one CPU"}


def with_unit(result: Result) -> str:
    """A median for people: 0.34 us, 15.6M/s, 33.4 GB/s."""
    figure = figure_text(result.median)
    return (
        f"{figure}/s"
        if result.unit.endswith("/s") and result.unit != "GB/s"
        else (f"{figure} {result.unit}")
    )


def summary(document: Document) -> Iterator[str]:
    """What matters most, against TCP and AF_UNIX."""
    yield "| two processes, a CPU each | TCP | AF_UNIX | `wsdirect run` | against TCP |"
    yield "|---|---|---|---|---|"
    for what, scenario, size, ours, tcp, unix in SUMMARY:
        found = {name: document.find(scenario, name, "two", size) for name in (ours, tcp, unix)}
        mine, theirs, local = found[ours], found[tcp], found[unix]
        if mine is None or theirs is None:
            continue
        ratio = _ratio(document, mine, tcp)
        cells = [with_unit(theirs), with_unit(local) if local else "", with_unit(mine), ratio]
        yield f"| {' | '.join([what, *cells])} |"


def _ratio(document: Document, mine: Result, other: str) -> str:
    for each in document.ratios:
        case = each.scenario, each.pinning, each.size, each.count
        if case == mine.case and (each.contender, each.other) == (mine.contender, other):
            return ratio_text(each.ratio)
    return ""


def budgets(document: Document) -> Iterator[str]:
    """The goals."""
    verdicts = {True: "met", False: "**not met**", None: "not measured"}
    yield "| goal for | against | goal | reached | |"
    yield "|---|---|---|---|---|"
    for each in document.budgets:
        cells = [each.row, each.against, f"`{each.goal}`", reached_text(each), verdicts[each.met]]
        yield f"| {' | '.join(cells)} |"


def measured_on(document: Document) -> Iterator[str]:
    """The machine and the day."""
    yield f"Measured on {document.when[:10]}: {machine.sentence(document.machine)}."


BLOCKS: dict[str, Callable[[Document], Iterator[str]]] = {
    "summary": summary,
    "budgets": budgets,
    "machine": measured_on,
}


def quoted(text: str, document: Document) -> str:
    """The text with its marked places written anew.

    Raises:
        ValueError: A place's name is unknown, or one has no end; the text is a sentence.
    """

    def block(found: re.Match[str]) -> str:
        name = found[1]
        if name not in BLOCKS:
            raise ValueError(f"there is no block {name!r}: there are {', '.join(BLOCKS)}.")
        body = "".join(line + "\n" for line in BLOCKS[name](document))
        return f"<!-- bench: {name} -->\n{body}<!-- /bench -->"

    marks = len(re.findall(r"(?m)^<!-- /?bench\b", text))
    if marks != 2 * len(MARKED.findall(text)):
        raise ValueError("a marked place has no beginning or no end.")
    return MARKED.sub(block, text)


def pages() -> list[Path]:
    """Where marked places may be."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def main() -> int:
    """Rewrite, or check."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="change nothing, status 1 if stale")
    asked = parser.parse_args()
    document = load(str(KEPT))
    status = 0
    for page in pages():
        text = page.read_text(encoding="utf-8")
        try:
            now = quoted(text, document)
        except ValueError as error:
            print(f"{page.relative_to(ROOT)}: {error}", file=sys.stderr)
            return 1
        if now == text:
            continue
        print(f"{page.relative_to(ROOT)}: {'not up to date' if asked.check else 'written'}")
        if asked.check:
            status = 1
        else:
            page.write_text(now, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
