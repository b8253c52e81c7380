"""The bell protocol holds in every interleaving, and the search would notice if it did not.

BELL_MODEL=large in the environment explores the bigger situations, too (half a minute).
"""

import os
from dataclasses import replace

import pytest

from tests.bell.model import LARGE, MUTATIONS, SITUATIONS, Model, Situation

KERNEL_TOKENS = 6  # AF_UNIX with the least SO_SNDBUF: EAGAIN at the seventh unread token
CHOSEN = {**SITUATIONS, **(LARGE if os.environ.get("BELL_MODEL") == "large" else {})}

#: A small situation in which the loss of each part shows, and what it shows as.
SHOWS = {
    "no pending bit": ("non-blocking, ring of 2", "a bell without data"),
    "no look at tail before ringing": ("non-blocking, ring of 2", "a bell without data"),
    "no second look after arming": ("non-blocking, ring of 2", "data without a bell"),
    "no way back after arming": ("non-blocking, ring of 2", "data without a bell"),
    "one token for a full ring": ("non-blocking, ring of 2", "tokens do not match the words"),
    "no look at tail after announcing a full ring": (
        "non-blocking, ring of 2",
        "not writable although there is room",
    ),
    "no second look after clearing tx": ("non-blocking, ring of 2", "writable although full"),
    "eat before looking": ("non-blocking, ring of 2", "data without a bell"),
    "eat and forget": ("non-blocking, ring of 2", "tokens do not match the words"),
    "quiet although others sleep": ("two blocking consumers", "asleep although there are data"),
    "sleep without arming": ("hybrid, ring of 1", "asleep although there are data"),
    "quiet before a sleep while there are data": (
        "two consumers",
        "asleep although there are data",
    ),
    "end of the socket taken for death": ("half close", "a half close was taken for death"),
    "no repair after a dead producer": ("one of two producers dies", "the bell stays wrong"),
    "no repair after a dead consumer": ("one of two consumers dies", "the bell stays wrong"),
    "a producer insists once only": ("insisting, ring of 1", "data without a bell"),
    "a late end is not told": ("half close", "an end without a bell"),
    "no second look after a late end": ("half close", "an end without a bell"),
    "a late end does not ring": ("half close", "an end without a bell"),
}


@pytest.mark.parametrize("name", CHOSEN)
def test_the_protocol_holds(name: str) -> None:
    situation = CHOSEN[name]
    finding = Model(situation).explore()
    assert not finding.violations, "\n".join(
        line for problem, story in finding.violations.items() for line in (problem, *story)
    )
    assert finding.states > 1000, "the search did not get anywhere"
    # Five when all are prompt: one for data, two of a full ring that is being cleared, two of the
    # next.  A sixth can only be there while the consumer owes some (see "debt").
    unlucky = situation.death or situation.give_up
    assert finding.most_tokens <= (KERNEL_TOKENS if unlucky else 5)
    if not unlucky:
        assert finding.stale == 0
    if situation.strict or set(situation.consumers) == {"now"}:
        assert finding.hole == 0


def test_every_part_has_its_mutation() -> None:
    assert set(SHOWS) == set(MUTATIONS)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_leaving_a_part_out_is_noticed(mutation: str) -> None:
    name, problem = SHOWS[mutation]
    finding = Model(replace(SITUATIONS[name], mutation=mutation)).explore()
    assert problem in finding.violations
    assert len(finding.violations[problem]) > 1, "no story of how it comes about"


def test_the_search_sees_a_thread_that_is_stuck() -> None:
    """A consumer that waits for a token which nobody will send."""

    class Lossy(Model):
        def _send_token(self, v: list) -> bool:
            return True  # sent, and lost

    finding = Lossy(Situation(1)).explore()
    assert finding.violations
