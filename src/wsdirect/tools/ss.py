"""`wsdirect ss`: the connections of running programs, the path each takes, and why."""

from __future__ import annotations

import argparse
import sys
import time

from wsdirect import reasons, status
from wsdirect.tools import unreached
from wsdirect.tools.text import address_text, age_text, paint, print_json, size_text, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["main"]

HEAD = ("PID", "PROCESS", "ROLE", "LOCAL", "PEER", "PATH", "REASON", "TX", "RX", "AGE")
RIGHT = (0, 7, 8, 9)


def main(words: list[str]) -> int:
    """Print the connections of every process that the user may look at."""
    parser = argparse.ArgumentParser(
        prog="wsdirect ss",
        description="List the connections of programs that run under the switch, the path that "
        "each takes and the reason for it. Programs of other users need their rights.",
        allow_abbrev=False,
    )
    parser.add_argument("-a", "--all", action="store_true", help="listeners, too")
    parser.add_argument("--json", action="store_true", help="as data")
    options = parser.parse_args(words)

    pages = list(status.read_all())
    found = [
        (snapshot, row)
        for snapshot in pages
        for row in sorted(snapshot.rows, key=lambda row: row.since)
        if options.all or row.role != "listen"
    ]
    found += unreached.find(pages)
    if options.json:
        print_json([describe(snapshot, row) for snapshot, row in found])
        return 0
    if not found:
        print("no connections of programs under the switch")
        return 0
    lines = table([HEAD, *(_cells(snapshot, row) for snapshot, row in found)], RIGHT)
    print(paint(lines[0], "bold", sys.stdout))
    for line, (_, row) in zip(lines[1:], found, strict=True):
        plain = row.path == "tcp" and row.role != "listen"
        print(paint(line, "yellow", sys.stdout) if plain else line)
    return 0


def describe(snapshot: status.Snapshot, row: status.Row) -> dict[str, Any]:
    """One connection as data: sizes in bytes, age in seconds; None where they are not known."""
    reason = reasons.by_number(row.reason)
    return {
        "pid": snapshot.pid,
        "process": snapshot.name,
        "fd": row.fd,
        "role": row.role,
        "local": address_text(row.local) if row.local else None,
        "peer": address_text(row.peer) if row.peer else None,
        "peer_pid": row.peer_pid or None,
        "path": row.path,
        "provider": row.provider or None,
        "reason": reason.code if reason else str(row.reason),
        "tx": row.tx if row.tx >= 0 else None,
        "rx": row.rx if row.rx >= 0 else None,
        "age": round(_age(row), 3) if row.since >= 0 else None,
    }


def _cells(snapshot: status.Snapshot, row: status.Row) -> tuple[str, ...]:
    reason = reasons.by_number(row.reason)
    return (
        str(snapshot.pid),
        snapshot.name,
        row.role,
        address_text(row.local),
        address_text(row.peer),
        row.path,
        reason.code if reason else str(row.reason),
        size_text(row.tx) if row.tx >= 0 else "-",
        size_text(row.rx) if row.rx >= 0 else "-",
        age_text(_age(row)) if row.since >= 0 else "-",
    )


def _age(row: status.Row) -> float:
    return max(0.0, (time.monotonic_ns() - row.since) / 1e9)
