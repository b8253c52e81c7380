"""The scenarios: what is measured.  Each makes groups of cells for `measure.run`.

A scenario is registered by its line in SCENARIOS: name, and module:class below this package.  Those
that budgets need come first, so that a run that is broken off has them.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from wsdirect.tools.bench.contenders import CONTENDERS, Contender, missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wsdirect.tools.bench.measure import Group

__all__ = ["SCENARIOS", "Choice", "Scenario", "load"]

SCENARIOS = {
    "ping-pong": "pingpong:PingPong",
    "one-way": "oneway:OneWay",
    "messages": "oneway:Messages",
    "cpu-per-gb": "oneway:CpuPerGigabyte",
    "connections": "connections:Connections",
    "idle-memory": "many:IdleMemory",
    "active": "many:Active",
    "idle-cpu": "idle:IdleCpu",
    "paced-cpu": "idle:PacedCpu",
    "unswitched": "launching:Unswitched",
    "start-up": "launching:StartUp",
    "http-server": "applications:HttpServer",
    "http-server-new": "applications:HttpServerNew",
    "http-aiohttp": "applications:Aiohttp",
    "http-uvicorn": "applications:Uvicorn",
    "redis": "applications:RedisPy",
    "busy-neighbour": "neighbour:BusyNeighbour",
    "unswitched-new": "launching:UnswitchedNew",
    "start-up-listen": "launching:StartUpListen",
    "start-up-connect": "launching:StartUpConnect",
}


@dataclass
class Choice:
    """What the options leave to be measured.

    Attributes:
        contenders: Names, in the order of the table; only such as can be tried.
        pinnings: Keys of cpus.PINNINGS that are possible here.
        sizes: The sizes asked for; None: the scenario's own.
        quick: A useful overview instead of everything.
        seconds: How long one round of one cell should take, about.
        left_out: For what a scenario cannot do here: {what: why}.
    """

    contenders: list[str]
    pinnings: list[str]
    sizes: list[int] | None = None
    quick: bool = False
    seconds: float = 0.1
    left_out: dict[str, str] = field(default_factory=dict)

    def able(self, ability: str) -> list[Contender]:
        """The chosen contenders that can do this."""
        chosen = [CONTENDERS[name] for name in self.contenders]
        return [each for each in chosen if ability in each.abilities]

    def sized(self, ability: str, sizes: Iterable[int]) -> list[tuple[Contender, list[int]]]:
        """The same, each with those of the sizes that it can send; what it cannot is noted."""
        wanted, found = list(sizes), []
        for each in self.able(ability):
            most = each.largest
            fit = [size for size in wanted if most is None or size <= most]
            if fit:
                found.append((each, fit))
            if len(fit) < len(wanted):
                what = f"{each.name} with more than {most} B"
                self.left_out[what] = "it has no larger messages"
        return found

    def has(self, contender: str) -> bool:
        """Whether that one was chosen and is not known to be missing."""
        return contender in self.contenders and missing(CONTENDERS[contender]) is None


class Scenario(Protocol):
    """What is measured."""

    name: str
    title: str
    """One line for --list."""

    def groups(self, choice: Choice) -> Iterator[Group]:
        """The groups to be measured, in order; nothing is started yet."""


def load(name: str) -> Scenario:
    """The scenario of that name."""
    module, _, kind = SCENARIOS[name].partition(":")
    found = importlib.import_module(f"{__name__}.{module}")
    scenario: Scenario = getattr(found, kind)()
    return scenario
