"""The goals: what is read from the results, and how it is judged and written."""

import pytest

from tests.tools.bench import synthetic
from wsdirect.tools.bench import budgets
from wsdirect.tools.bench.results import Budget, Document
from wsdirect.tools.bench.scenarios import SCENARIOS


def test_all_but_the_fabric_is_found_in_a_full_run():
    document = synthetic.run()
    # The names of the synthetic run are the real ones, or finding them would prove nothing.
    assert {each.scenario for each in document.results} == set(SCENARIOS)
    missing = [each for each in document.budgets if each.met is None]
    assert [each.reached for each in missing] == [None]
    assert "fabric" in missing[0].row


def test_nothing_is_claimed_of_an_empty_run():
    assert all(
        (each.reached, each.met) == (None, None) for each in budgets.compute(Document("now"))
    )


MIDDLE = [("one-way", size, "GB/s") for size in budgets.MIDDLE]
# the row's beginning, against, what was measured, then ours and theirs at the bound
AT_THE_BOUND = [
    ("ping-pong 64 B", "TCP", [("ping-pong", 64, "us")], "switched", "tcp", 1, 100),
    ("ping-pong 64 B", "AF_UNIX", [("ping-pong", 64, "us")], "switched", "unix", 1, 50),
    ("ping-pong 64 B", "a ring in C", [("ping-pong", 64, "us")], "switched", "c-ring", 3, 1),
    ("messages of", "TCP", [("messages", 64, "msg/s")], "switched", "tcp", 10, 1),
    ("throughput 16 KiB", "TCP", MIDDLE, "switched", "tcp", 5, 1),
    ("throughput 16 KiB", "AF_UNIX", MIDDLE, "switched", "unix", 2, 1),
    ("throughput 16 MiB", "AF_UNIX", [("one-way", 16 << 20, "GB/s")], "switched", "unix", 1, 1),
    ("CPU seconds", "TCP", [("cpu-per-gb", 262144, "s/GB")], "switched", "tcp", 1, 5),
    ("asyncio echo", "asyncio on TCP", [("ping-pong", 64, "us")], "switched-asyncio",
     "asyncio-tcp", 1, 10),
    ("asyncio echo", "uvloop on TCP", [("ping-pong", 64, "us")], "switched-asyncio",
     "uvloop-tcp", 1, 7),
    ("connections per", "TCP", [("connections", None, "conn/s")], "switched", "tcp", 3, 1),
    ("CPU, a message", "AF_UNIX", [("paced-cpu", None, "ms")], "switched", "unix", 1, 1),
    ("SPI messages", "TCP, blocking", [("ping-pong", 64, "us")], "spi-messages", "tcp", 1, 5),
]  # fmt: skip


@pytest.mark.parametrize(("row", "against", "cases", "ours", "theirs", "a", "b"), AT_THE_BOUND)
def test_a_goal_is_met_at_its_bound_and_not_beyond(row, against, cases, ours, theirs, a, b):
    def judged(factor):
        document = Document("now")
        for scenario, size, unit in cases:
            # Of several sizes only the last is worse: the worst one counts.
            last = (scenario, size, unit) == cases[-1]
            worse = (1 / factor if unit.endswith("/s") else factor) if last else 1
            document.results += [
                synthetic.result(scenario, ours, "two", unit, a * worse, size=size),
                synthetic.result(scenario, theirs, "two", unit, b, size=size),
            ]
        found = [
            each
            for each in budgets.compute(document)
            if each.row.startswith(row) and each.against == against and "one CPU" not in each.row
        ]
        assert len(found) == 1
        return found[0].met

    assert judged(1) is True
    assert judged(1.001) is False


def test_a_start_costs_what_it_takes_longer_round_by_round():
    document = Document("now")
    plain = synthetic.result("start-up", "tcp", "one", "ms", 12)
    launched = synthetic.result("start-up", "switched", "one", "ms", 30)
    plain.samples, launched.samples = [10, 12, 50], [28, 33, 71]
    document.results = [plain, launched]
    (found,) = [each for each in budgets.compute(document) if "start-up" in each.row]
    assert (found.reached, found.met) == (21, False)


def test_memory_is_that_of_the_most_connections():
    document = Document("now")
    for count, kib in ((1, 500), (100, 30), (1000, 20)):
        document.results.append(
            synthetic.result("idle-memory", "switched", "free", "KiB", kib, count=count)
        )
    found = {each.row: each for each in budgets.compute(document)}
    assert found["memory per idle connection"].reached == 20
    # A thousand were asked for, which tells nothing of ten thousand.
    assert found["idle connections at once"].met is None


@pytest.mark.parametrize(
    ("goal", "reached", "text"),
    [
        ("<= 1/100", 1 / 161, "1/161"),
        ("<= 1/4", 0.2817, "1/3.55"),
        ("<= 1/4", 1.5, "1.5x"),
        (">= 10x", 26.61, "26.6x"),
        ("<= 1.01x", 1.0034, "1.003x"),
        ("<= 24 KiB", 14.3, "14.3 KiB"),
        ("<= 20 ms", 11.87, "11.9 ms"),
        (">= 10,000", 10000, "10,000"),
        ("<= 1/100", None, ""),
    ],
)
def test_what_was_reached_is_written_as_the_goal_is(goal, reached, text):
    assert budgets.reached_text(Budget("", "", goal, reached)) == text


def test_goals_are_written_as_in_the_design():
    goals = {each.goal for each in budgets.ROWS}
    assert goals >= {"<= 1/100", "<= 3x", "<= 1/2.5", "<= 1.01x", "<= 24 KiB", ">= 2.2x"}
