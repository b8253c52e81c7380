"""The rules, as data: the files of `rules/` beside this file.

Each rule is a table named by its id:

level:     MUST, SHOULD or MAY
function:  what the rule is about
text:      what it demands
source:    where it comes from: R a reference page, C a concept page, H a header, S a page about
           Winsock in general, K common knowledge, I inferred, P an open provider's source
unchecked: why no program can check it here; everything else has a check
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["LEVELS", "Rule", "read", "rules"]

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


def read(texts: Iterable[str]) -> dict[str, Rule]:
    """The rules of TOML texts by id: R-... in order, then T-...

    Raises:
        ValueError: An id is there twice.
    """
    found: dict[str, Rule] = {}
    for text in texts:
        for name, entry in tomllib.loads(text).items():
            if name in found:
                raise ValueError(f"{name} is there twice")
            found[name] = Rule(id=name, **entry)
    return dict(sorted(found.items()))


@cache
def rules() -> dict[str, Rule]:
    """All rules by id, in order."""
    folder = files(__package__).joinpath("rules")
    names = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=str)
    return read(file.read_text(encoding="utf-8") for file in names)
