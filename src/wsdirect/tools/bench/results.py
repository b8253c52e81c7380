"""The results of a run as data: one JSON document, version 1.

    version    1; a reader refuses others
    when       start of the run, ISO 8601, UTC
    machine    what it ran on: an object of strings and numbers (machine.py)
    options    the options of the run
    left_out   {contender, scenario or pinning: why it was not measured}
    results    a list of Result, in order of measuring
    ratios     a list of Ratio: each switched contender against each other one
    budgets    a list of Budget: the project's goals and what was reached

A key whose value is null, or an empty object, is left out within results, ratios and budgets.
Medians are over rounds; contenders take turns in every round: ratios are worth more than figures.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "UNITS",
    "VERSION",
    "Budget",
    "Document",
    "Ratio",
    "Result",
    "WrongFormat",
    "load",
    "save",
]

VERSION = 1

UNITS = {
    "us": "lower",
    "ms": "lower",
    "s/GB": "lower",
    "KiB": "lower",
    "GB/s": "higher",
    "msg/s": "higher",
    "conn/s": "higher",
    "req/s": "higher",
}
"""Units of results, and which way is better.  Idle CPU is in ms: per second of time."""


class WrongFormat(ValueError):
    """The file is no document of this version; the text is a sentence."""


@dataclass
class Result:
    """What one contender reached in one scenario.

    Attributes:
        scenario: Name of the scenario, "ping-pong" for example.
        contender: Name of the contender.
        pinning: "two" (a CPU for each of the two processes), "one" (the same CPU), or "free".
        unit: A key of UNITS.
        samples: One figure per round, the round's median.
        median: Of the samples.
        p99: Of single operations over all rounds, in the same unit, where they were timed.
        p999: The same for 99.9 %.
        size: Bytes per message, where that is a parameter.
        count: Connections, where that is a parameter.
        extra: More figures by name, medians over the rounds: cpu_us_per_op, cpu_s_per_gb and such.
    """

    scenario: str
    contender: str
    pinning: str
    unit: str
    samples: list[float]
    median: float
    p99: float | None = None
    p999: float | None = None
    size: int | None = None
    count: int | None = None
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def better(self) -> str:
        """Which way is better: "lower" or "higher"."""
        return UNITS[self.unit]

    @property
    def rounds(self) -> int:
        """How many rounds there were."""
        return len(self.samples)

    @property
    def case(self) -> tuple[str, str, int | None, int | None]:
        """All that has to be equal for two contenders to be comparable."""
        return self.scenario, self.pinning, self.size, self.count


@dataclass
class Ratio:
    """How many times better one contender was than another: 2.0 is half the time, or double rate.

    Attributes:
        ratio: Of the medians.
        low: A quarter of the single rounds' ratios do not exceed this.
        high: Three quarters do not exceed this.
    """

    scenario: str
    pinning: str
    contender: str
    other: str
    ratio: float
    low: float
    high: float
    size: int | None = None
    count: int | None = None


@dataclass
class Budget:
    """One goal.

    Attributes:
        row: What is measured, in words.
        against: What it is compared with, in words.
        goal: The bound in words, "<= 1/100" for example.
        reached: The figure that is compared with the bound; None: not measured in this run.
        met: None: not measured.
    """

    row: str
    against: str
    goal: str
    reached: float | None = None
    met: bool | None = None


@dataclass
class Document:
    """A run."""

    when: str
    machine: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    budgets: list[Budget] = field(default_factory=list)
    version: int = VERSION

    def find(
        self,
        scenario: str,
        contender: str,
        pinning: str,
        size: int | None = None,
        count: int | None = None,
    ) -> Result | None:
        """The result of that case, or None."""
        case = scenario, pinning, size, count
        for result in self.results:
            if result.contender == contender and result.case == case:
                return result
        return None

    def to_json(self) -> dict[str, Any]:
        """The document as JSON's types."""
        return {
            "version": self.version,
            "when": self.when,
            "machine": self.machine,
            "options": self.options,
            "left_out": self.left_out,
            "results": [
                {**_plain(result), "better": result.better, "rounds": result.rounds}
                for result in self.results
            ],
            "ratios": [_plain(ratio) for ratio in self.ratios],
            "budgets": [_plain(budget) for budget in self.budgets],
        }

    @classmethod
    def from_json(cls, data: Any) -> Document:
        """What `to_json` made; WrongFormat if it did not."""
        if not isinstance(data, dict) or "version" not in data:
            raise WrongFormat("it is no result of wsdirect bench.")
        if data["version"] != VERSION:
            raise WrongFormat(f"it has version {data['version']!r}, this is version {VERSION}.")
        try:
            return cls(
                when=str(data["when"]),
                machine=dict(data["machine"]),
                options=dict(data["options"]),
                left_out=dict(data["left_out"]),
                results=[_made(Result, entry) for entry in data["results"]],
                ratios=[_made(Ratio, entry) for entry in data["ratios"]],
                budgets=[_made(Budget, entry) for entry in data["budgets"]],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise WrongFormat(f"an entry is missing or wrong ({error!r}).") from None


def _plain(entry: Result | Ratio | Budget) -> dict[str, Any]:
    fields = dataclasses.asdict(entry)
    return {name: _rounded(value) for name, value in fields.items() if value not in (None, {})}


def _rounded(value: Any) -> Any:
    """Five digits: more are noise, and fewer make the kept files smaller."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return value


def _made(kind: Any, entry: dict[str, Any]) -> Any:
    derived = {"better", "rounds"}
    made = kind(**{name: value for name, value in entry.items() if name not in derived})
    if isinstance(made, Result) and made.unit not in UNITS:
        raise ValueError(f"unit {made.unit!r}")
    return made


def save(document: Document, path: str) -> None:
    """Write it to a file, whole or not at all."""
    import os

    text = _text(document.to_json())
    beside = f"{path}.{os.getpid()}.tmp"
    try:
        with open(beside, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(beside, path)
    except OSError:
        if os.path.exists(beside):
            os.unlink(beside)
        raise


def _text(data: dict[str, Any]) -> str:
    """JSON with a line for each entry of a list: small, and two runs can be compared by line."""
    parts = []
    for name, value in data.items():
        if isinstance(value, list) and value:
            lines = ",\n".join("  " + json.dumps(entry) for entry in value)
            parts.append(f' "{name}": [\n{lines}\n ]')
        else:
            parts.append(f' "{name}": {json.dumps(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def load(path: str) -> Document:
    """Read one; OSError or WrongFormat if that cannot be done."""
    with open(path, encoding="utf-8") as file:
        try:
            data = json.load(file)
        except ValueError:
            raise WrongFormat("it is no JSON.") from None
    return Document.from_json(data)
