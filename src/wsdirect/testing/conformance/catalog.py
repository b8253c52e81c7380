"""The rules, as data: `rules.toml` beside this file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["LEVELS", "Rule", "rules"]

LEVELS = ("MUST", "SHOULD", "MAY")


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        id: R-... for the rules of the contract, T-... for mistakes that were made before.
        level: MUST, SHOULD or MAY.
        function: What it is about.
        text: What it demands.
        source: Where it comes from.
        unchecked: Why no program can check it here; empty if one can.
    """

    id: str
    level: str
    function: str
    text: str
    source: str
    unchecked: str = ""


@cache
def rules() -> dict[str, Rule]:
    """All rules by id, in order."""
    text = files(__package__).joinpath("rules.toml").read_text(encoding="utf-8")
    return {name: Rule(id=name, **entry) for name, entry in tomllib.loads(text).items()}
