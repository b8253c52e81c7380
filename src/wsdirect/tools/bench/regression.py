"""Compares a run with a kept one: by ratios between contenders of one run, never by bare times.

Times tell of the machine and of who else was using it; a ratio between contenders that took turns
tells of the contenders. It still moves from run to run, by where the two processes are most of all.
So a ratio counts as worse only if both are true:

* it is smaller than the kept one by more than the tolerance (`TOLERANCE`, a share of the kept one);
* the middle halves of both runs' rounds do not touch: its `high` is below the kept `low`. A case
  that jumps between two modes has wide ones, and proves nothing.

A case that only one of both runs has says nothing, either; if no case is in both, nothing can be
said at all, and that is an error.

Some cases settle in one mode or another when their processes start, and stay in it for the whole
run: streaming between two CPUs is one. So what looks worse is measured again, with new processes,
and has become slower only if it is worse in both runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wsdirect.tools.text import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsdirect.tools.bench.results import Document, Ratio

__all__ = ["TOLERANCE", "Comparison", "Incomparable", "compare"]

TOLERANCE = 0.3
"""Nine of ten ratios differ by less between two runs of one version, on a shared machine."""

_Case = tuple[str, str, str, str, int | None, int | None]


class Incomparable(Usage):
    """The runs have no case in common."""


@dataclass
class Comparison:
    """What became worse between two runs.

    Attributes:
        slower: The kept ratio and this run's, the worst change first.
        faster: The same for what became better by as much.
        compared: How many cases were in both runs.
        only_kept: How many of the kept run's cases this run does not have.
    """

    slower: list[tuple[Ratio, Ratio]] = field(default_factory=list)
    faster: list[tuple[Ratio, Ratio]] = field(default_factory=list)
    compared: int = 0
    only_kept: int = 0
    machines_differ: bool = False

    @property
    def status(self) -> int:
        """The exit status: 1 if anything became slower."""
        return int(bool(self.slower))

    @property
    def suspects(self) -> set[str]:
        """The scenarios in which something is slower."""
        return {now.scenario for _, now in self.slower}

    def confirm(self, again: Comparison) -> None:
        """Keep as slower only what is so in another run, of the suspects, as well."""
        found = {_case(now) for _, now in again.slower}
        self.slower = [pair for pair in self.slower if _case(pair[1]) in found]

    def lines(self) -> Iterator[str]:
        """The comparison as text for a terminal."""
        for title, pairs in (("slower", self.slower), ("faster", self.faster)):
            for kept, now in pairs:
                yield f"{title}: {_name(now)}: {kept.ratio:.3g}x before, {now.ratio:.3g}x now"
        yield (
            f"{self.compared} ratios compared with the kept run's: "
            f"{len(self.slower)} slower, {len(self.faster)} faster"
        )
        if self.only_kept:
            yield f"{self.only_kept} of the kept run's were not measured in this one"
        if self.machines_differ:
            yield "The kept run is of another machine: ratios depend on that, too."


def compare(run: Document, kept: Document, tolerance: float = TOLERANCE) -> Comparison:
    """Compare a run's ratios with a kept run's.

    Args:
        run: The new one.
        kept: The one to measure up to.
        tolerance: The share of a kept ratio that a new one may be smaller.

    Raises:
        Incomparable: They have no case in common.
    """
    before = {_case(ratio): ratio for ratio in kept.ratios if ratio.ratio > 0}
    now = {_case(ratio): ratio for ratio in run.ratios}
    found = Comparison(
        only_kept=len(before.keys() - now.keys()),
        machines_differ=any(
            run.machine.get(key) != kept.machine.get(key) for key in ("cpu", "usable_cpus")
        ),
    )
    for case in before.keys() & now.keys():
        old, new = before[case], now[case]
        found.compared += 1
        if new.ratio < old.ratio * (1 - tolerance) and new.high < old.low:
            found.slower.append((old, new))
        elif new.ratio * (1 - tolerance) > old.ratio and new.low > old.high:
            found.faster.append((old, new))
    if not found.compared:
        raise Incomparable("this run and the kept one have no case in common.")
    found.slower.sort(key=_change)
    found.faster.sort(key=_change, reverse=True)
    return found


def _change(pair: tuple[Ratio, Ratio]) -> float:
    return pair[1].ratio / pair[0].ratio


def _case(ratio: Ratio) -> _Case:
    return (
        ratio.scenario, ratio.pinning, ratio.contender, ratio.other, ratio.size, ratio.count
    )  # fmt: skip


def _name(ratio: Ratio) -> str:
    parts = [f"{ratio.scenario}, {ratio.pinning}"]
    if ratio.size is not None:
        parts.append(f"{ratio.size} B")
    if ratio.count is not None:
        parts.append(f"{ratio.count} connections")
    return f"{', '.join(parts)}: {ratio.contender} against {ratio.other}"
