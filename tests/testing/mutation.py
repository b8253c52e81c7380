"""Wrong providers: copies of the loopback provider with a few lines of its source changed."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from textwrap import dedent, indent
from types import ModuleType

import wsdirect.providers
import wsdirect.testing.loopback
from wsdirect.spi.provider import ServiceProvider

__all__ = ["Edit", "Mutant", "build", "wrong"]

_PACKAGE = Path(wsdirect.testing.loopback.__file__).parent
_SHARED = Path(wsdirect.providers.__file__).parent.parent
_SHARED_MODULES = (
    "announcing",
    "providers.qos",
    "providers.registration",
    "providers.socket_table",
)
_numbers = count(1)

# What can be changed: the provider's own modules, and the bookkeeping it shares with others.
SOURCES = {path.stem: path for path in sorted(_PACKAGE.glob("*.py"))} | {
    name.rpartition(".")[2]: _SHARED.joinpath(*name.split(".")).with_suffix(".py")
    for name in _SHARED_MODULES
}


@dataclass(frozen=True)
class Edit:
    """A piece of a module, and what takes its place.

    Either part of a line, or, if there are line ends in it, whole lines at any indentation.
    """

    module: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """One mistake.

    Attributes:
        name: What the provider does wrong.
        rules: Rules of the contract that it breaks: their checks have to find it.
        edits: How it is made.
    """

    name: str
    rules: tuple[str, ...]
    edits: tuple[Edit, ...]


def build(mutant: Mutant) -> Callable[[], ServiceProvider]:
    """The class of the wrong provider; all its modules are copies under another name."""
    root = f"mutated_loopback_{next(_numbers)}"
    texts = {name: path.read_text(encoding="utf-8") for name, path in SOURCES.items()}
    for edit in mutant.edits:
        found = list(_pattern(edit.old).finditer(texts[edit.module]))
        if len(found) != 1:
            raise LookupError(
                f"{mutant.name!r}: its lines are in {edit.module}.py {len(found)} times, not once;"
                f" has the source changed?\n{edit.old}"
            )
        texts[edit.module] = _replaced(texts[edit.module], found[0], edit)
    finder = _Finder(root, {name: _renamed(text, root) for name, text in texts.items()})
    sys.meta_path.insert(0, finder)
    try:
        made = importlib.import_module(root)
    finally:
        sys.meta_path.remove(finder)
    provider: Callable[[], ServiceProvider] = made.LoopbackProvider
    return provider


def _pattern(old: str) -> re.Pattern[str]:
    if "\n" not in old:
        return re.compile(re.escape(old))
    lines = dedent(old).strip("\n").splitlines()
    rest = "".join(rf"\n(?P=indent){re.escape(line)}" for line in lines[1:])
    return re.compile(rf"^(?P<indent> *){re.escape(lines[0])}{rest}$", re.MULTILINE)


def _replaced(text: str, found: re.Match[str], edit: Edit) -> str:
    new = edit.new
    if "\n" in edit.old:
        new = indent(dedent(new).strip("\n"), found["indent"])
    return text[: found.start()] + new + text[found.end() :]


def _renamed(text: str, root: str) -> str:
    text = text.replace("wsdirect.testing.loopback", root)
    for name in _SHARED_MODULES:
        text = text.replace(f"wsdirect.{name}", f"{root}.{name.rpartition('.')[2]}")
    return text


class _Finder:
    """Imports the copies."""

    def __init__(self, root: str, texts: dict[str, str]) -> None:
        self._root = root
        self._texts = texts

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        if name == self._root:
            return importlib.util.spec_from_loader(name, self, is_package=True)
        parent, _, short = name.rpartition(".")
        if parent == self._root and short in self._texts:
            return importlib.util.spec_from_loader(name, self)
        return None

    def create_module(self, spec: object) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        short = module.__name__.removeprefix(self._root).removeprefix(".") or "__init__"
        exec(compile(self._texts[short], f"<mutated {short}.py>", "exec"), module.__dict__)


def wrong(name: str, rules: str, module: str, old: str, new: str, *more: str) -> Mutant:
    """A row of the tables of mutants.

    Args:
        name: What the provider does wrong.
        rules: Ids of the rules that it breaks.
        module: Where it is made.
        old: Lines of that module.
        new: What takes their place.
        more: Further module, old, new.
    """
    edits = [Edit(module, old, new)]
    edits += [Edit(*more[start : start + 3]) for start in range(0, len(more), 3)]
    return Mutant(name, tuple(rules.split()), tuple(edits))
