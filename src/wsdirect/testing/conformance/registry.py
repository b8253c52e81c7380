"""Checks: functions that prove rules.

A check gets a `Driver` with a started provider of its own (`start=False`: not started), in a
process of its own.  It returns if everything was as the rules say, lets a `Deviation` out if not,
and raises `NotApplicable` with the reason if the rules cannot apply to this provider.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from wsdirect.testing.driver import Driver

__all__ = ["Check", "check", "checks"]


@dataclass(frozen=True)
class Check:
    """A check.

    Attributes:
        name: Module and function.
        rules: Ids of the rules that it proves.
        function: The function.
        start: Whether the provider is started before.
        timeout: Seconds after which it counts as hanging.
    """

    name: str
    rules: tuple[str, ...]
    function: Callable[[Driver], None]
    start: bool
    timeout: float


_found: list[Check] = []


def check(
    *rules: str, start: bool = True, timeout: float = 30.0
) -> Callable[[Callable[[Driver], None]], Callable[[Driver], None]]:
    """Make a function the check of these rules.

    Args:
        rules: Ids; if the check fails, all of them have failed.
        start: Start the provider before.
        timeout: Seconds that it may take.
    """

    def register(function: Callable[[Driver], None]) -> Callable[[Driver], None]:
        name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        _found.append(Check(name, rules, function, start, timeout))
        return function

    return register


@cache
def checks() -> tuple[Check, ...]:
    """All checks, in the order of their modules' names."""
    package = import_module("wsdirect.testing.conformance.checks")
    for module in sorted(found.name for found in pkgutil.iter_modules(package.__path__)):
        import_module(f"{package.__name__}.{module}")
    return tuple(_found)
