"""A run against a kept one: what counts as slower, and what is noise."""

import pytest

from tests.tools.bench import synthetic
from wsdirect.tools.bench import regression
from wsdirect.tools.bench.results import Document, Ratio, save
from wsdirect.tools.text import Usage


def with_ratio(ratio, low=None, high=None, **more):
    """A run with one ratio."""
    case = {"scenario": "ping-pong", "pinning": "two", "size": 64, **more}
    one = Ratio(
        contender="switched", other="tcp", ratio=ratio, low=low or ratio, high=high or ratio, **case
    )
    return Document("now", dict(synthetic.MACHINE), ratios=[one])


def test_a_run_is_as_fast_as_itself_and_as_on_a_slower_machine():
    kept = synthetic.run()
    for run in (kept, synthetic.run(scale=2)):
        found = regression.compare(run, kept)
        assert (found.slower, found.faster, found.status) == ([], [], 0)
        assert found.compared == len([each for each in kept.ratios if each.ratio])


JUST = 100 * (1 - regression.TOLERANCE)


@pytest.mark.parametrize(
    ("kept", "now", "slower", "faster"),
    [
        pytest.param((100,), (JUST + 1,), 0, 0, id="within the tolerance"),
        pytest.param((100,), (JUST - 1,), 1, 0, id="beyond it"),
        pytest.param((100, 60, 120), (50, 40, 70), 0, 0, id="rounds that overlap prove nothing"),
        pytest.param((100, 90, 110), (50, 40, 70), 1, 0, id="rounds that do not"),
        pytest.param((JUST - 1,), (100,), 0, 1, id="faster"),
        pytest.param((JUST - 1, 50, 95), (100, 90, 110), 0, 0, id="perhaps faster"),
    ],
)
def test_what_counts(kept, now, slower, faster):
    found = regression.compare(with_ratio(*now), with_ratio(*kept))
    assert (len(found.slower), len(found.faster), found.status) == (slower, faster, slower)


def test_it_says_what_became_slower_the_worst_first():
    kept, run = synthetic.run(), synthetic.run()
    for each in run.results:
        if each.contender == "switched" and each.case == ("redis", "two", None, None):
            each.median /= 3
            each.samples = [sample / 3 for sample in each.samples]
        if each.contender == "switched" and each.case == ("ping-pong", "one", 64, None):
            each.median *= 2
            each.samples = [sample * 2 for sample in each.samples]
    synthetic.finish(run)
    first, second, *_, last = regression.compare(run, kept).lines()
    assert first == "slower: redis, two: switched against tcp: 2.86x before, 0.952x now"
    assert second.startswith("slower: ping-pong, one, 64 B: switched against ")
    assert " 0 faster" in last


def test_cases_of_one_run_only_are_counted_and_no_reason_to_fail():
    kept = with_ratio(100)
    kept.ratios += with_ratio(100, size=1024).ratios
    run = with_ratio(100)
    run.ratios += with_ratio(1, size=4096).ratios
    found = regression.compare(run, kept)
    assert (found.compared, found.only_kept, found.status) == (1, 1, 0)
    assert "1 of the kept run's were not measured in this one" in found.lines()


def test_another_machine_is_told():
    run = with_ratio(100)
    run.machine["cpu"] = "Another CPU"
    assert any(
        "another machine" in line for line in regression.compare(run, with_ratio(90)).lines()
    )


def test_what_is_slower_once_only_is_not_slower():
    kept, twice, once = with_ratio(100), with_ratio(50), with_ratio(50, size=1024)
    kept.ratios += with_ratio(100, size=1024).ratios
    first = Document("now", kept.machine, ratios=[*twice.ratios, *once.ratios])
    again = Document(
        "now", kept.machine, ratios=[*twice.ratios, *with_ratio(100, size=1024).ratios]
    )
    found = regression.compare(first, kept)
    assert (len(found.slower), found.suspects) == (2, {"ping-pong"})
    found.confirm(regression.compare(again, kept))
    assert [now.size for _, now in found.slower] == [64]
    found.confirm(regression.compare(kept, kept))
    assert found.status == 0


@pytest.mark.parametrize(
    ("kept", "status", "said"),
    [
        (1e6, 1, "slower: connections, one: switched"),
        (1e-6, 0, "faster: connections, one: switched"),
    ],
)
def test_the_option(cli, tmp_path, kept, status, said):
    """The kept ratios are out of reach, one way or the other, so that no time decides."""
    path = tmp_path / "kept.json"
    save(with_ratio(kept, scenario="connections", pinning="one", size=None), str(path))
    words = "--scenario connections --contender switched,tcp --pinning one --rounds 1"
    ended = cli("bench", *words.split(), "--seconds", "0.005", "--check", str(path))
    assert ended.returncode == status, ended.stderr
    assert said in ended.stderr
    assert ("measuring again: connections" in ended.stderr) == bool(status)


def test_nothing_in_common_is_a_mistake():
    with pytest.raises(Usage, match="no case in common"):
        regression.compare(with_ratio(1), with_ratio(1, pinning="one"))
