"""Statistics: medians, percentiles, and a histogram that two processes can add up."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Histogram", "median", "percentile", "quartiles"]

STEP = math.log(1.01)


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle."""
    return statistics.median(values)


def percentile(values: Iterable[float], share: float) -> float:
    """The value that `share` (0 to 1) of all do not exceed: one of them, none in between."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("there is no percentile of nothing")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The values that a quarter and three quarters of all do not exceed."""
    return percentile(values, 0.25), percentile(values, 0.75)


class Histogram:
    """How often an operation took how long, in classes one per cent wide.

    Its size does not grow with the number of operations, so that a process can report millions of
    them on one line, and rounds can be added up before a percentile is taken.
    """

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self._counts = dict(counts or {})

    @classmethod
    def of(cls, values: Iterable[float]) -> Histogram:
        """Of values in any one unit; those that are not positive count as the smallest class."""
        counts: dict[int, int] = {}
        log, step = math.log, STEP
        for value in values:
            key = round(log(value) / step) if value > 0 else -(1 << 20)
            counts[key] = counts.get(key, 0) + 1
        return cls(counts)

    @classmethod
    def from_json(cls, pairs: Iterable[tuple[int, int]]) -> Histogram:
        """What `to_json` made."""
        return cls(dict(pairs))

    def to_json(self) -> list[list[int]]:
        """Pairs of class and count, for a line of JSON."""
        return [[key, count] for key, count in sorted(self._counts.items())]

    def add(self, other: Histogram) -> None:
        """Count another's operations, too."""
        for key, count in other._counts.items():
            self._counts[key] = self._counts.get(key, 0) + count

    def __len__(self) -> int:
        return sum(self._counts.values())

    def percentile(self, share: float) -> float:
        """As the function of that name, to one per cent; ValueError if nothing was counted."""
        left = math.ceil(share * len(self))
        for key, count in sorted(self._counts.items()):
            left -= count
            if left <= 0:
                return math.exp(key * STEP) if key > -(1 << 20) else 0.0
        raise ValueError("there is no percentile of nothing")
