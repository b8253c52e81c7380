"""The scenarios that run whole programs: that each works, is what it says, and leaves nothing."""

import os
import random
from pathlib import Path

import pytest

from wsdirect.tools.bench import contenders, measure, scenarios
from wsdirect.tools.bench.scenarios.applications import Application, Program
from wsdirect.tools.bench.scenarios.neighbour import SPIN

APPLICATIONS = ("http-server", "http-server-new", "http-aiohttp", "http-uvicorn", "redis")
QUICK = 0.01


def choice(*names):
    return scenarios.Choice(list(names), ["free"], quick=True, seconds=QUICK)


def run(name, chosen):
    """One round of a scenario: its results, and what was left out."""
    left_out = {}
    groups = list(scenarios.load(name).groups(chosen))
    for group in groups:
        group.rounds = 1
    results = measure.run(groups, 1, random.Random(1), left_out=left_out)
    assert left_out == {}
    return {each.contender: each for each in results}


def children():
    """Processes that this one has started and not waited for."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_application(name):
    application = scenarios.load(name)
    assert isinstance(application, Application)
    for module in application.modules:
        pytest.importorskip(module)
    before = children()
    found = run(name, choice("tcp", "switched"))
    assert set(found) == {"tcp", "switched"}
    for result in found.values():
        assert (result.unit, result.pinning) == ("req/s", "free")
        assert result.median > 0
        assert 0 < result.extra["median_us"] <= result.extra["p99_us"]
    assert children() == before


def test_only_what_was_chosen():
    assert set(run("http-server", choice("tcp"))) == {"tcp"}
    assert list(scenarios.load("http-server").groups(choice("unix"))) == []


def test_a_library_that_is_missing_is_told(monkeypatch):
    monkeypatch.setattr(type(scenarios.load("redis")), "modules", ("no_such_module",))
    chosen = choice("tcp", "switched")
    assert list(scenarios.load("redis").groups(chosen)) == []
    assert chosen.left_out == {"redis": "no_such_module not installed"}


def test_a_connection_that_is_not_switched_is_not_measured_as_one(monkeypatch):
    """The server is a plain one, as if switching had failed: the client must say so."""
    program = Program("http_server", ["http_client"], "free", switched=True)
    begin = program._begin

    def server_without(words, where):
        program._switched = "client" in words[0]
        return begin(words, where)

    monkeypatch.setattr(program, "_begin", server_without)
    try:
        program.start()
        with pytest.raises(measure.CouldNot):
            program.measure(QUICK)
    finally:
        program.stop()


def test_a_launcher_that_does_nothing_is_noticed():
    program = Program("http_server", ["http_client"], "free", switched=False)
    try:
        program.start()
        assert program.measure(QUICK)["rate"] > 0
        program._switched = True  # so the processes should have been under the launcher
        with pytest.raises(measure.CouldNot, match="were not switched"):
            program.measure(QUICK)
    finally:
        program.stop()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("start-up", {"tcp", "switched"}),
        ("start-up-listen", {"tcp", "switched"}),
        ("start-up-connect", {"tcp", "switched"}),
        ("unswitched", {"tcp", "under-run"}),
        ("unswitched-new", {"tcp", "under-run"}),
    ],
)
def test_what_launching_costs(name, expected):
    found = run(name, choice("tcp", "switched"))
    assert set(found) == expected
    assert all(result.median > 0 for result in found.values())
    assert expected <= set(contenders.CONTENDERS)


def test_a_busy_neighbour():
    before = children()
    found = run("busy-neighbour", choice("tcp", "switched", "unix"))
    assert set(found) == {"tcp", "switched", "unix"}
    for result in found.values():
        assert result.p999 >= result.p99 > 0
    assert children() == before
    assert "getppid" in SPIN  # it ends with the bench, however that ends
