"""Directives that list what the sources hold, so that no page has to repeat it.

* `conformance-rules`: the rules of the conformance suite, by function.
* `conformance-counts`: how many there are.
* `spi-functions`: the functions of the SPI, with the first sentence of what each does.
* `module-text`: the docstring of a module, or a part of it.
* `provider-faults`: the faults that a provider can offer to inject.
* `state-diagrams`: the diagrams in docs/diagrams, drawn if Graphviz is there.
"""

from __future__ import annotations

import inspect
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from wsdirect.spi.extension_ids import EXTENSION_FUNCTIONS
from wsdirect.spi.extensions import ExtensionFunctions
from wsdirect.spi.provider import ServiceProvider
from wsdirect.testing.conformance.catalog import LEVELS, Rule, rules
from wsdirect.testing.conformance.registry import checks
from wsdirect.testing.faults import Fault


class _Markdown(SphinxDirective):
    """A directive that is replaced by Markdown text."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        container = nodes.container()
        container.document = self.state.document
        lines = StringList(list(self.lines()), source=self.env.docname)
        self.state.nested_parse(lines, self.content_offset, container)
        return container.children

    def lines(self) -> Iterable[str]:
        raise NotImplementedError

    def depends_on(self, *objects: object) -> None:
        """Have the page built again when one of these modules or files has changed."""
        for one in objects:
            path = one if isinstance(one, Path) else Path(inspect.getfile(one))
            self.env.note_dependency(str(path))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield "| " + " | ".join(head) + " |"
    yield "| " + " | ".join("---" for _ in head) + " |"
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |"
    yield ""


def _first_sentence(function: object) -> str:
    return (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " ")


class ConformanceCounts(_Markdown):
    def lines(self) -> Iterable[str]:
        known = list(rules().values())
        count = Counter((rule.level, bool(rule.unchecked)) for rule in known)
        rows = [(level, str(count[level, False]), str(count[level, True])) for level in LEVELS]
        yield from _table(("level", "checked", "cannot be checked by a program here"), rows)
        yield f"Together {len(known)} rules, and {len(checks())} checks that prove them."


class ConformanceRules(_Markdown):
    option_spec = {"prefix": directives.unchanged_required}  # noqa: RUF012  # Sphinx's own form

    def lines(self) -> Iterable[str]:
        prefix = self.options.get("prefix", "")
        chosen = [rule for name, rule in rules().items() if name.startswith(prefix)]
        yield from _table(("id", "level", "about", "it demands"), map(_row, chosen))


def _plain(text: str) -> str:
    """Text as Markdown that shows just that."""
    return re.sub(r"([\\`*_<\[\]])", r"\\\1", text)


def _row(rule: Rule) -> tuple[str, str, str, str]:
    text = _plain(rule.text)
    if rule.unchecked:
        text += f" *(not checked: {_plain(rule.unchecked)})*"
    return rule.id, rule.level, rule.function, text


class SpiFunctions(_Markdown):
    """`spi-functions` with the argument `required` or `extensions`."""

    required_arguments = 1

    def lines(self) -> Iterable[str]:
        self.depends_on(ServiceProvider, ExtensionFunctions)
        if self.arguments[0] == "extensions":
            names = [name for name in EXTENSION_FUNCTIONS.values() if name.startswith("WSP")]
            owner: type = ExtensionFunctions
        else:
            names = [name for name in vars(ServiceProvider) if name.startswith("WSP")]
            owner = ServiceProvider
        yield from _table(
            ("function", "what it does"),
            ((f"`{name}`", _first_sentence(getattr(owner, name))) for name in names),
        )


class ModuleText(_Markdown):
    """`module-text` with the name of a module."""

    required_arguments = 1
    option_spec = {"start": directives.unchanged_required}  # noqa: RUF012  # Sphinx's own form

    def lines(self) -> Iterable[str]:
        module = import_module(self.arguments[0])
        self.depends_on(module)
        text = inspect.getdoc(module) or ""
        yield from text[text.index(self.options.get("start", "").strip('"')) :].splitlines()


class ProviderFaults(_Markdown):
    def lines(self) -> Iterable[str]:
        yield from _table(
            ("fault", "inside its `with` block"), ((f"`{one.name}`", one.value) for one in Fault)
        )


class StateDiagrams(SphinxDirective):
    """Every docs/diagrams/*.dot: as a picture, or as its text where there is no Graphviz."""

    def run(self) -> list[nodes.Node]:
        found: list[nodes.Node] = []
        for path in sorted((Path(self.env.srcdir) / "diagrams").glob("*.dot")):
            self.env.note_dependency(str(path))
            code = path.read_text(encoding="utf-8")
            label = re.search(r'^ *label="(.*)";\n', code, re.MULTILINE)
            if label is None:
                raise self.error(f"{path.name} has no label")
            section = nodes.section(ids=[nodes.make_id(path.stem)])
            section += nodes.title(text=label[1])  # which the picture then need not repeat
            section += _diagram(code.replace(label[0], ""), label[1])
            found.append(section)
        return found or [nodes.paragraph(text="There are none in this copy of the sources.")]


def _diagram(code: str, title: str) -> nodes.Node:
    if not shutil.which("dot"):
        return nodes.literal_block(code, code, language="text")
    from sphinx.ext.graphviz import graphviz

    drawn = graphviz()
    drawn["code"] = code
    drawn["options"] = {}
    drawn["alt"] = title
    return drawn


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("conformance-counts", ConformanceCounts)
    app.add_directive("conformance-rules", ConformanceRules)
    app.add_directive("spi-functions", SpiFunctions)
    app.add_directive("module-text", ModuleText)
    app.add_directive("provider-faults", ProviderFaults)
    app.add_directive("state-diagrams", StateDiagrams)
    return {"parallel_read_safe": True}
