"""Write docs/diagrams/*.dot from the state tables of the sources.

    python tools_dev/draw_states.py            write what differs
    python tools_dev/draw_states.py --check    write nothing; exit 1 and name what differs

If Graphviz is installed, its pictures are written beside the text; they are not kept.
The text depends on the tables alone: states and events in the order of their enums, events that
lead from one state to the same other one in one arrow.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
try:
    import wsdirect  # noqa: F401
except ImportError:
    sys.path.insert(0, str(ROOT / "src"))

from wsdirect.providers.socket_table import TRANSITIONS  # noqa: E402
from wsdirect.switch.session.states import TABLES  # noqa: E402

FOLDER = ROOT / "docs" / "diagrams"
Table = Mapping[Any, Mapping[Any, Any]]

TITLES = {
    "provider-socket": "A provider's socket",
    "session-life": "A session",
    "session-sending": "A session's outgoing direction",
    "session-receiving": "A session's incoming direction",
    "session-large-peer-reads": "An outgoing large transfer that the peer reads",
    "session-large-we-write": "An outgoing large transfer that this end writes",
    "session-large-arriving": "An incoming large transfer",
}


def tables() -> dict[str, Table]:
    """All tables by the names of their files."""
    found: dict[str, Table] = {"provider-socket": TRANSITIONS, **TABLES}
    if set(found) != set(TITLES):
        raise SystemExit(f"draw_states.py: no title for {sorted(set(found) ^ set(TITLES))}")
    return found


def words(member: IntEnum) -> str:
    """A state's or an event's name as it reads in a picture."""
    return member.name.lower().replace("_", " ")


def draw(name: str, table: Table) -> str:
    """One table in Graphviz's language."""
    first = min(table)
    lines = [
        f"// {TITLES[name]}; written by tools_dev/draw_states.py from the sources.",
        f'digraph "{name}" {{',
        "    rankdir=LR;",
        f'    label="{TITLES[name]}";',
        "    labelloc=t;",
        '    node [shape=box, style=rounded, fontname="Helvetica"];',
        '    edge [fontname="Helvetica", fontsize=11];',
        '    start [shape=point, label=""];',
    ]
    for state in sorted(table):
        leaves = any(after != state for after in table[state].values())
        shape = "" if leaves else ", peripheries=2"
        lines.append(f'    {state.name} [label="{words(state)}"{shape}];')
    lines.append(f"    start -> {first.name};")
    for state in sorted(table):
        arrows: dict[Any, list[str]] = {}
        for event in sorted(table[state]):
            arrows.setdefault(table[state][event], []).append(words(event))
        for after in sorted(arrows):
            label = "\\n".join(arrows[after])
            lines.append(f'    {state.name} -> {after.name} [label="{label}"];')
    return "\n".join([*lines, "}", ""])


def main(arguments: list[str] | None = None) -> int:
    """Write or check; the exit status."""
    parser = argparse.ArgumentParser(description="Draw the state tables.")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    wanted = {f"{name}.dot": draw(name, table) for name, table in tables().items()}
    there = {path.name: path.read_text() for path in sorted(options.folder.glob("*.dot"))}
    differ = [name for name in sorted({*wanted, *there}) if wanted.get(name) != there.get(name)]
    if options.check:
        for name in differ:
            print(f"{name} is not what the tables say; run python tools_dev/draw_states.py")
        return 1 if differ else 0
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in differ:
        path = options.folder / name
        if name in wanted:
            path.write_text(wanted[name])
        else:
            path.unlink()
        print(path.name)
    graphviz = shutil.which("dot")
    if graphviz is not None:
        for name in wanted:
            path = options.folder / name
            subprocess.run(
                [graphviz, "-Tsvg", "-o", str(path.with_suffix(".svg")), str(path)], check=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
