"""Whole runs, and the processes that they start."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from wsdirect.tools.bench import processes
from wsdirect.tools.bench.contenders import CONTENDERS, missing
from wsdirect.tools.bench.measure import CouldNot
from wsdirect.tools.bench.pair import Pair
from wsdirect.tools.bench.results import Document
from wsdirect.tools.bench.scenarios import SCENARIOS, Choice, load

PAIRS = [name for name, each in CONTENDERS.items() if "ping-pong" in each.abilities]
TINY = ("--pinning", "free", "--size", "64", "--rounds", "2", "--seconds", "0.003", "--seed", "1")


@pytest.fixture
def pair():
    """Makes pairs, and ends them."""
    made = []

    def make(*arguments, **more):
        made.append(Pair(*arguments, **more))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def workers(of):
    """Processes that are measured, started by that one (or by anybody if it is None)."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read()
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if b"bench.worker" in words and int(parent) == of and state != "Z":
            found.append(int(pid))
    return found


def test_a_run_from_the_command_line_to_the_data(bench_cli, tmp_path):
    kept = tmp_path / "kept.json"
    ended = bench_cli(
        *TINY, "--scenario", "ping-pong,messages,connections", "--contender", "switched,tcp",
        "--json", str(kept),
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "GB/s" not in ended.stdout
    document = Document.from_json(json.loads(kept.read_text()))
    assert document.left_out == {}
    assert {(each.scenario, each.contender) for each in document.results} == {
        (scenario, contender)
        for scenario in ("ping-pong", "messages", "connections")
        for contender in ("switched", "tcp")
    }
    assert all(each.rounds == 2 and each.median > 0 for each in document.results)
    trips = document.find("ping-pong", "switched", "free", 64)
    assert trips.p99 > 0
    assert trips.extra["cpu_us_per_op"] > 0
    assert {(each.scenario, each.contender, each.other) for each in document.ratios} == {
        (scenario, "switched", "tcp") for scenario in ("ping-pong", "messages", "connections")
    }
    assert document.options["contenders"] == ["switched", "tcp"]


def test_a_run_of_what_is_not_there_says_so(bench_cli):
    ended = bench_cli(*TINY, "--scenario", "connections", "--contender", "pipe", "--json")
    assert ended.returncode == 1
    assert "nothing could be measured" in ended.stderr
    assert json.loads(ended.stdout)["results"] == []


@pytest.mark.parametrize("words", [["--size", "x"], ["--no-such"], ["--json", "/nowhere/a.json"]])
def test_mistakes_are_told_with_status_2(bench_cli, words):
    ended = bench_cli(*words)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("name", PAIRS)
def test_every_contender_moves_messages(pair, name):
    if missing(CONTENDERS[name]):
        pytest.skip(missing(CONTENDERS[name]))
    one = pair(name, "one")
    one.start()
    for size in (1, 40000):
        trips = one.round_trips(size, 0.002)
        assert trips.median > 0
        assert len(trips.each) >= 2
        assert trips.cpu >= 0
        sent = one.one_way(size, 0.002)
        assert sent.bytes == sent.messages * size
        assert sent.seconds > 0


@pytest.mark.parametrize(
    "name", [name for name, each in CONTENDERS.items() if "many" in each.abilities]
)
def test_many_connections_at_a_time(pair, name):
    if missing(CONTENDERS[name]):
        pytest.skip(missing(CONTENDERS[name]))
    (group,) = load("active").groups(Choice([name], ["free"], quick=True, seconds=0.002))
    (crowd,) = group.resources
    try:
        crowd.start()
        (cell,) = group.cells
        assert cell.measure().value > 0
        assert cell.measure().value > 0
    finally:
        crowd.stop()


@pytest.mark.parametrize("scenario", ["connections", "idle-memory", "idle-cpu", "paced-cpu"])
def test_the_other_scenarios(scenario):
    choice = Choice(["switched", "unix"], ["free"], quick=True, seconds=0.01)
    for group in load(scenario).groups(choice):
        assert {cell.contender for cell in group.cells} == {"switched", "unix"}
        try:
            for resource in group.resources:
                resource.start()
            for cell in group.cells:
                # what so few connections take may drown in what the processes give back meanwhile
                assert cell.measure().value >= (-100 if scenario == "idle-memory" else 0)
        finally:
            for resource in group.resources:
                resource.stop()


def test_memcpy_is_measured_beside(pair):
    if missing(CONTENDERS["c-memcpy"]):
        pytest.skip("the extension module is missing")
    choice = Choice(["c-memcpy"], ["one"], sizes=[64, 4096], seconds=0.002)
    (group,) = load("one-way").groups(choice)
    try:
        group.resources[0].start()
        assert all(cell.measure().value > 0 for cell in group.cells)
    finally:
        group.resources[0].stop()


def test_no_result_is_of_something_else(pair, monkeypatch):
    """Neither TCP under the name of the switch, nor the switch under TCP's."""
    right = processes.environment
    monkeypatch.setattr(processes, "environment", lambda switched: right(not switched))
    with pytest.raises(CouldNot, match="switched"):
        pair("switched", "free").start()
    with pytest.raises(CouldNot, match="under the switch"):
        pair("tcp", "free").start()
    assert workers(os.getpid()) == []


def test_a_worker_that_dies_is_named_and_the_pair_starts_anew(pair):
    one = pair("tcp", "free")
    one.start()
    old = one.client.pid
    os.kill(old, signal.SIGKILL)
    with pytest.raises(CouldNot, match="its process ended"):
        one.round_trips(64, 0.002)
    assert workers(os.getpid()) == []
    assert one.round_trips(64, 0.002).median > 0
    assert one.client.pid != old


def test_what_an_end_complains_of_is_the_reason(pair):
    one = pair("spi-messages", "free")
    one.start()
    with pytest.raises(CouldNot, match="65536 bytes"):
        one.one_way(100_000, 0.002)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_nobody_is_left_over(environ, number, status):
    # who was started in the background of a shell ignores ^C, and so does what it starts
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        see_all_end(environ, number, status)
    finally:
        signal.signal(signal.SIGINT, before)


def see_all_end(environ, number, status):
    run = subprocess.Popen(
        [sys.executable, "-m", "wsdirect", "bench", "--scenario", "idle-cpu", "--contender",
         "switched,tcp", "--seconds", "60", "--pinning", "free"],
        env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    with run:
        try:
            end = time.monotonic() + 30
            while len(started := workers(run.pid)) < 4 and time.monotonic() < end:
                time.sleep(0.05)
            time.sleep(0.5)  # two of them wait for minutes now
            assert len(started) >= 4
            run.send_signal(number)
            _, complaints = run.communicate(timeout=30)
        finally:
            run.kill()
    assert run.returncode == status
    assert b"Traceback" not in complaints
    while any(os.path.exists(f"/proc/{pid}") for pid in started) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [pid for pid in started if os.path.exists(f"/proc/{pid}")]


STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b"%d\\n" % (os.fork() or os.getpid()))
time.sleep(600)
"""


def test_who_does_not_want_to_end_is_ended_with_all_it_has_started():
    process = processes.Process([sys.executable, "-c", STUBBORN], os.sched_getaffinity(0))
    both = {process.pid, int(process.line()), int(process.line())}
    assert len(both) == 2
    process.stop()
    process.stop()
    end = time.monotonic() + 30
    while any(os.path.exists(f"/proc/{pid}") for pid in both) and time.monotonic() < end:
        time.sleep(0.01)
    assert not [pid for pid in both if os.path.exists(f"/proc/{pid}")]


def test_the_list_names_everything(bench_cli):
    ended = bench_cli("--list")
    assert ended.returncode == 0
    words = ended.stdout.split()
    assert {*SCENARIOS, *CONTENDERS, "two", "one", "free"} <= {*words}
