"""The command line of `wsdirect bench`."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wsdirect.tools.bench import cpus
from wsdirect.tools.bench.contenders import CONTENDERS, missing
from wsdirect.tools.bench.scenarios import SCENARIOS, Choice
from wsdirect.tools.text import nearest, stop

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Options", "parse"]

ROUNDS, QUICK_ROUNDS = 5, 3
SECONDS, QUICK_SECONDS = 0.06, 0.04
LARGEST = 64 << 20
QUICK_PINNINGS = ("two", "one")
# An overview: ours, and what people would use instead.
QUICK_CONTENDERS = (
    "switched", "switched-asyncio", "spi-messages", "tcp", "unix", "asyncio-tcp", "uvloop-tcp",
    "c-ring",
)  # fmt: skip
QUICK_SCENARIOS = (
    "ping-pong", "one-way", "messages", "cpu-per-gb", "connections", "idle-memory", "paced-cpu",
    "unswitched", "start-up", "http-server", "redis",
)  # fmt: skip


@dataclass
class Options:
    """What was asked for.

    Attributes:
        choice: What to measure.
        scenarios: In the order of measuring.
        rounds: How often each cell is measured.
        json: Where the result goes as JSON: a path, "-" for standard output, or None.
        plot: The directory for charts, or None.
        check: A kept run to compare with, or None.
        list: Only list what there is.
        seed: Of the random order; None: a new one each time.
    """

    choice: Choice
    scenarios: list[str]
    rounds: int
    json: str | None = None
    plot: str | None = None
    check: str | None = None
    list: bool = False
    seed: int | None = None
    given: dict[str, Any] = field(default_factory=dict)


def parse(words: list[str]) -> Options:
    """Options from the command line; Usage with a sentence for a mistake."""
    given = _parser().parse_args(words)
    if given.rounds is not None and not 1 <= given.rounds <= 1000:
        stop("--rounds is 1 to 1000.")
    if given.seconds is not None and not 0.001 <= given.seconds <= 60:
        stop("--seconds is 0.001 to 60.")
    left_out: dict[str, str] = {}
    standard = QUICK_SCENARIOS if given.quick else tuple(SCENARIOS)
    if given.check is not None and not os.path.isfile(given.check):
        stop(f"--check needs the file of a kept run: there is no {given.check}.")
    choice = Choice(
        contenders=_contenders(given.contender, given.quick, left_out),
        pinnings=_pinnings(given.pinning, given.quick, left_out),
        sizes=_sizes(given.size),
        quick=given.quick,
        seconds=given.seconds or (QUICK_SECONDS if given.quick else SECONDS),
        left_out=left_out,
    )
    return Options(
        choice,
        scenarios=_chosen("scenario", given.scenario, SCENARIOS) or list(standard),
        rounds=given.rounds or (QUICK_ROUNDS if given.quick else ROUNDS),
        json=given.json,
        plot=given.plot,
        check=given.check,
        list=given.list,
        seed=given.seed,
        given={name: value for name, value in vars(given).items() if value not in (None, False)},
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wsdirect bench",
        description="Measure wsdirect against other ways for two processes of this machine to "
        "exchange bytes: all take turns, in random order, so look at the ratios.",
        epilog="LIST is one name or several with commas between them; --list shows the names.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="an overview within a minute or so")
    add("--list", action="store_true", help="list scenarios and contenders, measure nothing")
    add("--scenario", action="append", metavar="LIST", help="only these")
    add("--contender", action="append", metavar="LIST", help="only these")
    add("--pinning", action="append", metavar="LIST", help="of two, one, free; CPUs")
    add("--size", action="append", metavar="LIST", help="bytes per message: 64,16K,1M")
    add("--rounds", type=int, metavar="N", help=f"default: {ROUNDS}, quick {QUICK_ROUNDS}")
    add(
        "--seconds", type=float, metavar="S",
        help=f"for one measurement, about; default: {SECONDS}, quick {QUICK_SECONDS}",
    )  # fmt: skip
    add("--seed", type=int, metavar="N", help="of the random order")
    add("--json", nargs="?", const="-", metavar="FILE", help="the result as data")
    add("--plot", metavar="DIR", help="write charts there, as PNG and SVG")
    add("--check", metavar="KEPT.json", help="status 1 if a ratio is clearly worse than in that")
    return parser


def _split(words: Iterable[str] | None) -> list[str]:
    return [name.strip() for word in words or () for name in word.split(",") if name.strip()]


def _chosen(what: str, words: Iterable[str] | None, known: Mapping[str, object]) -> list[str]:
    """Names in the order of the table; Usage for one that is unknown."""
    names = _split(words)
    for name in names:
        if name not in known:
            near = nearest(name, known)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
            stop(f"there is no {what} {name!r}: {meant}")
    return [name for name in known if name in names]


def _contenders(words: Iterable[str] | None, quick: bool, left_out: dict[str, str]) -> list[str]:
    names = _chosen("contender", words, CONTENDERS)
    if not names:
        names = list(QUICK_CONTENDERS if quick else CONTENDERS)
    for name in list(names):
        why = missing(CONTENDERS[name])
        if why is not None:
            left_out[name] = why
            names.remove(name)
    return names


def _pinnings(words: Iterable[str] | None, quick: bool, left_out: dict[str, str]) -> list[str]:
    names = _chosen("pinning", words, cpus.PINNINGS)
    if not names:
        names = list(QUICK_PINNINGS if quick else cpus.PINNINGS)
    for name in list(names):
        if not cpus.possible(name):
            left_out[f"pinning {name}"] = "this process may use one CPU only"
            names.remove(name)
    return names


def _sizes(words: Iterable[str] | None) -> list[int] | None:
    sizes = {_size(word) for word in _split(words)}
    return sorted(sizes) or None


def _size(word: str) -> int:
    """A number of bytes, perhaps with K or M behind it."""
    text = word.upper()
    factor = {"K": 1024, "M": 1 << 20}.get(text[-1:], 1)
    digits = text[:-1] if factor > 1 else text
    size = int(digits) * factor if digits.isascii() and digits.isdigit() else 0
    if not 1 <= size <= LARGEST:
        stop(f"--size {word}: it is 1 to 64M, as a number of bytes or with K or M behind it.")
    return size
