"""What a user sees at the terminal."""

import importlib.util
import io
import sys

import pytest

from tests.tools.bench import synthetic
from wsdirect.tools.bench import report, tables
from wsdirect.tools.bench.budgets import ROWS
from wsdirect.tools.bench.contenders import CONTENDERS

RICH = importlib.util.find_spec("rich") is not None


@pytest.fixture(
    params=[pytest.param("rich", marks=pytest.mark.skipif(not RICH, reason="no rich")), "plain"]
)
def shown(request, monkeypatch):
    """Show a run; its lines."""
    if request.param == "plain":
        monkeypatch.setitem(sys.modules, "rich", None)

    def show(document):
        stream = io.StringIO()
        report.show(document, stream)
        return stream.getvalue().splitlines()

    return show


def test_everything_is_there_in_a_hundred_columns(shown):
    document = synthetic.run()
    document.left_out = {"pyzmq": "it is not installed", "pynng": "it is not installed"}
    lines = shown(document)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 100
    assert "…" not in text
    for contender in CONTENDERS.values():
        # In tables of programs this one is called otherwise.
        assert contender.title in text or contender.name == "under-run"
    for row in ROWS:
        assert row.row in text
        assert row.goal in text
    assert "pyzmq, pynng: it is not installed" in text
    assert "A CPU" in text


def test_an_empty_run(shown):
    lines = shown(synthetic.Document("now", dict(synthetic.MACHINE)))
    assert len(lines) == 2


def test_a_table_has_medians_percentiles_and_ratios():
    document = synthetic.Document("now", dict(synthetic.MACHINE))
    for name, us in (("tcp", 50.0), ("switched", 0.5), ("asyncio-tcp", 80.0)):
        document.results.append(
            synthetic.result("ping-pong", name, "two", "us", us, size=64, p99=us * 2)
        )
    document.results.append(synthetic.result("ping-pong", "tcp", "two", "us", 100, size=1 << 20))
    document.results.append(
        synthetic.result("ping-pong", "switched-asyncio", "two", "us", 160.0, size=64)
    )
    synthetic.finish(document)
    (table,) = tables.tables(document)
    assert table.columns == ["64 B", "1 MiB"]
    assert [(line.name, line.kind, line.cells) for line in table.lines] == [
        ("wsdirect run, blocking", "median", ["0.5", ""]),
        ("", "p99", ["1", ""]),
        ("wsdirect run, asyncio streams", "median", ["160", ""]),
        ("TCP, blocking", "median", ["50", "100"]),
        ("", "p99", ["100", ""]),
        ("", "ratio", ["100x", ""]),
        ("asyncio streams on TCP", "median", ["80", ""]),
        ("", "p99", ["160", ""]),
        ("", "ratio", ["0.50x", ""]),  # against asyncio, too, not against blocking sockets
    ]
    assert [line.worse for line in table.lines if line.kind == "ratio"] == [set(), {0}]


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (0.01234, "0.0123"), (0.5, "0.5"), (12.34, "12.3"), (99.96, "100"), (1234.4, "1234"),
        (9999.6, "10k"), (12345, "12.3k"), (123456, "123k"), (999600, "1M"), (15_600_000, "15.6M"),
        (0, "0"),
    ],
)  # fmt: skip
def test_three_digits(figure, text):
    assert tables.figure_text(figure) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(1, "1 B"), (1000, "1000 B"), (1024, "1 KiB"), (1536, "1536 B"), (1 << 20, "1 MiB")],
)
def test_sizes(size, text):
    assert tables.size_text(size) == text
