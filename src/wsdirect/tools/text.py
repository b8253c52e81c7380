"""What the subcommands share in talking to people: tables, sizes, near misses, colour."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, NoReturn, TextIO

__all__ = [
    "Usage",
    "address_text",
    "age_text",
    "nearest",
    "paint",
    "print_json",
    "size_text",
    "stop",
    "table",
]

COLOURS = {"green": "32", "yellow": "33", "red": "31", "dim": "2", "bold": "1"}


class Usage(Exception):
    """A mistake of the user's: the command prints the sentence and exits with status 2."""


def stop(sentence: str) -> NoReturn:
    """Raise Usage with that sentence."""
    raise Usage(sentence)


def nearest(word: str, choices: Iterable[str], count: int = 1) -> list[str]:
    """The choices that look most like the word, best first; perhaps none."""
    import difflib

    return difflib.get_close_matches(word, list(choices), count, 0.5)


def size_text(count: float) -> str:
    """A number of bytes for people: 0 B, 999 B, 1.5 kB, 2.0 GB (powers of 1000)."""
    if count < 1000:
        return f"{count:.0f} B"
    units = ["PB", "TB", "GB", "MB", "kB"]
    count /= 1000
    while count >= 999.95 and len(units) > 1:
        count /= 1000
        units.pop()
    return f"{count:.1f} {units[-1]}"


def age_text(seconds: float) -> str:
    """A duration for people, in two units at most."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def address_text(address: tuple[str, int] | None) -> str:
    """host:port, with brackets around an IPv6 host; "-" for none."""
    if address is None:
        return "-"
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def paint(text: str, colour: str, stream: TextIO) -> str:
    """The text in colour if the stream is a terminal that people read, else as it is."""
    import os

    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\033[{COLOURS[colour]}m{text}\033[0m"


def table(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Lines with aligned columns; `right` are the columns that align to the right."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    to_right = set(right)
    return [
        "  ".join(
            cell.rjust(width) if column in to_right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def print_json(data: Any) -> None:
    """Data as JSON on standard output, indented."""
    import json

    json.dump(data, sys.stdout, indent=2)
    sys.stdout.write("\n")
