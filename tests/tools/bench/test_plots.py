"""Charts: that they are written, hold everything, and that their labels do not overlap."""

import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tools.bench import synthetic
from wsdirect.tools.bench import drawing, plots
from wsdirect.tools.bench.contenders import CONTENDERS
from wsdirect.tools.text import Usage

PINNINGS = ("two", "one", "free")
CHARTS = {
    *(f"{name}-{pinning}" for name in ("latency", "throughput", "active") for pinning in PINNINGS),
    "messages", "connections", "cpu-per-gb", "idle-cpu", "paced-cpu", "asyncio", "memory",
    "programs", "start-up", "busy-neighbour",
}  # fmt: skip


@pytest.mark.slow
def test_charts_of_a_full_run(tmp_path):
    pytest.importorskip("matplotlib")
    document = synthetic.run()
    paths = plots.draw(document, str(tmp_path))
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {f"{name}.{kind}" for name in CHARTS for kind in ("png", "svg")}
    assert sorted(paths) == sorted(str(tmp_path / name) for name in written)
    text = {path.stem: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.svg")}
    for name, chart in text.items():
        # What it was measured on, and when: charts travel without their page.
        assert "A CPU" in chart, name
        assert document.when in chart, name
    for contender in CONTENDERS.values():
        for ability, chart in (("ping-pong", "latency-one"), ("one-way", "throughput-free")):
            if ability in contender.abilities:
                assert contender.title in text[chart].replace("&#x27;", "'")


def test_the_same_figures_give_the_same_file(tmp_path):
    pytest.importorskip("matplotlib")
    document = synthetic.run()
    document.results = [each for each in document.results if each.scenario == "connections"]
    first, second = [], []
    for found in (first, second):
        found += [Path(path).read_bytes() for path in plots.draw(document, str(tmp_path))]
    assert first == second


def test_a_run_with_little_in_it(tmp_path):
    pytest.importorskip("matplotlib")
    document = synthetic.Document("now", dict(synthetic.MACHINE))
    assert plots.draw(document, str(tmp_path)) == []
    document.results = [
        synthetic.result("ping-pong", "tcp", "two", "us", 50.0, size=64),
        synthetic.result("idle-cpu", "tcp", "one", "ms", 0.0),
        synthetic.result("idle-cpu", "switched", "one", "ms", 0.0),
    ]
    written = {path.rsplit("/", 1)[1] for path in plots.draw(document, str(tmp_path))}
    assert {name for name in written if name.endswith("svg")} == {"latency-two.svg", "idle-cpu.svg"}


def test_without_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for attempt in (plots.check, lambda: plots.draw(synthetic.run(), str(tmp_path))):
        with pytest.raises(Usage, match=r"pip install 'wsdirect\[bench\]'"):
            attempt()
    assert list(tmp_path.iterdir()) == []


def test_every_contender_has_a_look_of_its_own():
    looks = [drawing.LOOKS[name] for name in CONTENDERS if name != "under-run"]
    assert len(set(looks)) == len(looks)


@given(st.lists(st.floats(0, 1), max_size=20).map(sorted))
def test_labels_keep_apart(heights):
    least = 0.04
    found = drawing.apart(heights, least)
    assert len(found) == len(heights)
    assert all(b - a >= least * 0.999 for a, b in pairwise(found))
    assert all(-1e-9 <= height <= 1 + 1e-9 for height in found)


def test_labels_that_do_not_touch_stay():
    assert drawing.apart([0.1, 0.5, 0.9], 0.04) == [0.1, 0.5, 0.9]
