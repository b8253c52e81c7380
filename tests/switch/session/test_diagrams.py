"""docs/diagrams shows the tables as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools_dev import draw_states


def test_diagrams_are_up_to_date(capsys):
    if not draw_states.FOLDER.is_dir():
        pytest.skip("the sources are not there")
    assert draw_states.main(["--check"]) == 0, capsys.readouterr().out


def test_a_changed_table_is_noticed(tmp_path: Path, capsys):
    assert draw_states.main(["--check", "--folder", str(tmp_path)]) == 1
    assert "session-life.dot" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(draw_states.TITLES))
def test_every_transition_is_drawn(name: str):
    table = draw_states.tables()[name]
    text = draw_states.draw(name, table)
    assert text == draw_states.draw(name, table)
    drawn = set()
    for source, target, label in re.findall(r'(\w+) -> (\w+) \[label="(.*)"\];', text):
        drawn |= {(source, event, target) for event in label.split("\\n")}
    wanted = {
        (state.name, draw_states.words(event), after.name)
        for state, row in table.items()
        for event, after in row.items()
    }
    assert drawn == wanted
