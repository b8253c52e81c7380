"""Connections, one after the other: connect, accept, a byte each way, close."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsdirect.tools.bench.measure import Cell, Group, Sample
from wsdirect.tools.bench.pair import Pair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsdirect.tools.bench.scenarios import Choice

__all__ = ["Connections"]

FEWEST = 20


class Connections:
    """One client and one server process."""

    name = "connections"
    title = "connections per second: connect, accept, a byte each way, close"

    def groups(self, choice: Choice) -> Iterator[Group]:
        """A group for each pinning."""
        for pinning in choice.pinnings:
            pairs = [Pair(c.name, pinning, connect=False) for c in choice.able("connections")]
            yield Group(
                f"connections, {pinning}",
                [self._cell(pair, choice.seconds) for pair in pairs],
                [*pairs],
            )

    def _cell(self, pair: Pair, seconds: float) -> Cell:
        count = FEWEST

        def measure() -> Sample:
            nonlocal count
            taken = self._visit(pair, FEWEST)[0]
            count = max(FEWEST, int(seconds * FEWEST / taken))
            taken, cpu = self._visit(pair, count)
            return Sample(count / taken, extra={"cpu_us_per_op": cpu / count * 1e6})

        return Cell(self.name, pair.contender, pair.pinning, "conn/s", measure, needs=pair)

    def _visit(self, pair: Pair, count: int) -> tuple[float, float]:
        """Seconds, and seconds of CPU."""
        server, client = pair.both("serve", {"count": count}, "visit", {"count": count})
        return client["value"], server["cpu"] + client["cpu"]
