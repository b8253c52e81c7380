"""Which CPUs the two processes of a measurement may use."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PINNINGS", "confined", "of", "possible"]

PINNINGS = {
    "two": "each process on a CPU of its own",
    "one": "both processes on the same CPU",
    "free": "wherever the scheduler puts them",
}


def possible(pinning: str) -> bool:
    """Whether this process has the CPUs for it."""
    return pinning != "two" or len(os.sched_getaffinity(0)) >= 2


def of(pinning: str) -> tuple[set[int], set[int]]:
    """The CPUs for the server and for the client."""
    allowed = sorted(os.sched_getaffinity(0))
    if pinning == "free":
        return set(allowed), set(allowed)
    first = allowed[0]
    if pinning == "one":
        return {first}, {first}
    return {first}, {_far_from(first, allowed[1:])}


def _far_from(first: int, others: list[int]) -> int:
    """A CPU on another core if there is one: two threads of a core share what is measured."""
    try:
        path = f"/sys/devices/system/cpu/cpu{first}/topology/thread_siblings_list"
        with open(path, encoding="ascii") as file:
            siblings = _parsed(file.read())
    except (OSError, ValueError):
        siblings = set()
    return next((cpu for cpu in others if cpu not in siblings), others[0])


def _parsed(text: str) -> set[int]:
    """CPUs as the kernel lists them: 0-3,8."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


@contextmanager
def confined(cpus: set[int]) -> Iterator[None]:
    """This thread on those CPUs: processes that it starts inherit them, with all their threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
