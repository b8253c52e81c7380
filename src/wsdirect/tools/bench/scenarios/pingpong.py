"""Round trips of a message, one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsdirect.tools.bench.measure import Cell, Group, Sample
from wsdirect.tools.bench.pair import Pair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsdirect.tools.bench.scenarios import Choice

__all__ = ["PingPong"]

SIZES = (1, 64, 1024, 16384, 65536, 262144, 1048576)
FEW = (64, 16384)


class PingPong:
    """A message goes there and comes back; the next one starts then."""

    name = "ping-pong"
    title = "round trip of one message, in us, 1 B to 1 MiB"

    def groups(self, choice: Choice) -> Iterator[Group]:
        """A group for each pinning: all sizes take turns on the same connections."""
        sizes = choice.sizes or (FEW if choice.quick else SIZES)
        for pinning in choice.pinnings:
            group = Group(f"{self.name}, {pinning}", [])
            for contender, fit in choice.sized("ping-pong", sizes):
                pair = Pair(contender.name, pinning)
                group.resources.append(pair)
                group.cells += [self._cell(pair, size, choice.seconds) for size in fit]
            yield group

    def _cell(self, pair: Pair, size: int, seconds: float) -> Cell:
        def measure() -> Sample:
            found = pair.round_trips(size, seconds)
            return Sample(found.median, found.each, {"cpu_us_per_op": found.cpu})

        return Cell(self.name, pair.contender, pair.pinning, "us", measure, size=size, needs=pair)
