"""The tables: complete, reachable, and refusing what they do not have."""

from __future__ import annotations

import pytest

from wsdirect.spi.errors import WSAECONNABORTED
from wsdirect.switch.session import states
from wsdirect.switch.session.states import Event, Life, step


@pytest.mark.parametrize("name", sorted(states.TABLES))
def test_every_state_has_a_row_and_can_be_reached(name):
    table = states.TABLES[name]
    kind = type(next(iter(table)))
    assert set(table) == set(kind)
    reached = {kind(0)}
    for _ in kind:
        reached |= {after for state in reached for after in table[state].values()}
    assert reached == set(kind)


def test_every_event_is_used():
    used = {event for table in states.TABLES.values() for row in table.values() for event in row}
    assert used == set(Event)


def test_an_event_without_a_place_ends_the_connection():
    with pytest.raises(WSAECONNABORTED, match=r"PEER_RESUME .* OPEN"):
        step(states.LIFE, Life.OPEN, Event.PEER_RESUME)


def test_a_session_can_be_given_up_in_every_state():
    for row in states.LIFE.values():
        assert {Event.ABORT, Event.LOSE} <= set(row)
