"""CPU that connections cost on which little or nothing happens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wsdirect.tools.bench.measure import Cell, Group, Sample
from wsdirect.tools.bench.pair import Pair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsdirect.tools.bench.scenarios import Choice

__all__ = ["IdleCpu", "PacedCpu"]

PAUSE = 0.001
MARGIN = 0.05


class IdleCpu:
    """Both ends wait in recv; nothing comes."""

    name = "idle-cpu"
    title = "CPU of both processes while nothing happens, in ms per second"
    longer = 4  # times the seconds of other measurements: CPU is counted, and little of it

    def groups(self, choice: Choice) -> Iterator[Group]:
        """A group for each pinning."""
        for pinning in choice.pinnings:
            pairs = [Pair(each.name, pinning) for each in choice.able("idle")]
            yield Group(
                f"{self.name}, {pinning}",
                [self._cell(pair, choice.seconds * self.longer) for pair in pairs],
                [*pairs],
            )

    def _cell(self, pair: Pair, seconds: float) -> Cell:
        def measure() -> Sample:
            return self._measured(pair, seconds)

        return Cell(self.name, pair.contender, pair.pinning, "ms", measure, needs=pair)

    def _measured(self, pair: Pair, seconds: float) -> Sample:
        # The clock runs from when both have fallen asleep until before one is woken.
        with pair.meanwhile("doze", {}, "rest", {"seconds": seconds + 2 * MARGIN}):
            time.sleep(MARGIN)
            start, before = time.monotonic(), pair.server.cpu() + pair.client.cpu()
            time.sleep(seconds)
            used = pair.server.cpu() + pair.client.cpu() - before
            taken = time.monotonic() - start
        return Sample(used / taken * 1000)


class PacedCpu(IdleCpu):
    """A message each millisecond is echoed."""

    name = "paced-cpu"
    title = "CPU of both processes with an echo of 64 B each millisecond, in ms per second"
    longer = 16

    def _measured(self, pair: Pair, seconds: float) -> Sample:
        count = max(10, int(seconds / PAUSE))
        server, client = pair.both(
            "wait", {"count": count}, "ask", {"count": count, "pause": PAUSE}
        )
        return Sample(
            (server["cpu"] + client["cpu"]) / client["seconds"] * 1000,
            extra={"messages_per_second": count / client["seconds"]},
        )
