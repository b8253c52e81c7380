"""Figures that README and docs quote are those of the kept run."""

import pytest

from tests.tools.bench import synthetic
from tools_dev import quote_bench
from wsdirect.tools.bench.results import load

KEPT = quote_bench.KEPT


@pytest.mark.parametrize("page", quote_bench.pages(), ids=lambda page: page.name)
def test_marked_places_are_up_to_date(page):
    text = page.read_text(encoding="utf-8")
    assert quote_bench.quoted(text, load(str(KEPT))) == text, "run tools_dev/quote_bench.py"


def test_charts_are_of_the_kept_run():
    when = load(str(KEPT)).when
    charts = sorted(KEPT.parent.glob("*.svg"))
    assert charts
    assert [path.name for path in charts if when not in path.read_text(encoding="utf-8")] == []


def test_kept_files_are_small():
    assert sum(path.stat().st_size for path in KEPT.parent.iterdir()) < 2_000_000


def page(*names, inside="stale\n"):
    marked = "".join(f"<!-- bench: {name} -->\n{inside}<!-- /bench -->\n\n" for name in names)
    return f"# Title\n\n{marked}end\n"


@pytest.mark.parametrize("name", quote_bench.BLOCKS)
def test_each_block_is_written_and_then_stays(name):
    document = synthetic.run()
    text = quote_bench.quoted(page(name), document)
    assert "stale" not in text
    assert text.startswith(f"# Title\n\n<!-- bench: {name} -->\n")
    assert text.endswith("<!-- /bench -->\n\nend\n")
    assert len(text) > len(page(name))
    assert quote_bench.quoted(text, document) == text
    # A figure that is changed by hand does not survive.
    assert quote_bench.quoted(text.replace("2", "3"), document) == text


def test_several_blocks_and_none():
    document = synthetic.run()
    assert quote_bench.quoted("no marks\n", document) == "no marks\n"
    both = quote_bench.quoted(page("machine", "summary", inside=""), document)
    assert both.count("<!-- /bench -->") == 2
    assert "Measured on 2026-01-02: 2 CPUs, A CPU" in both


def test_the_summary_takes_its_figures_from_the_run():
    document = synthetic.Document("now", dict(synthetic.MACHINE))
    document.results = [
        synthetic.result("ping-pong", "switched", "two", "us", 0.5, size=64),
        synthetic.result("ping-pong", "tcp", "two", "us", 60, size=64),
        synthetic.result("messages", "switched", "two", "msg/s", 15_600_000, size=64),
        synthetic.result("messages", "tcp", "two", "msg/s", 600_000, size=64),
        synthetic.result("messages", "unix", "two", "msg/s", 500_000, size=64),
        synthetic.result("redis", "switched", "one", "req/s", 1),  # not on two CPUs
        synthetic.result("redis", "tcp", "one", "req/s", 1),
    ]
    synthetic.finish(document)
    assert [*quote_bench.summary(document)][2:] == [
        "| round trip of 64 B | 60 us |  | 0.5 us | 120x |",
        "| messages of 64 B in one direction | 600k/s | 500k/s | 15.6M/s | 26x |",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (page("nonsense"), "no block 'nonsense'"),
        ("<!-- bench: summary -->\nopen\n", "no beginning or no end"),
        ("<!-- /bench -->\n", "no beginning or no end"),
    ],
)
def test_mistakes_are_told(text, said):
    with pytest.raises(ValueError, match=said):
        quote_bench.quoted(text, synthetic.run())
