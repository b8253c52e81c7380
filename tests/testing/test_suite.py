"""The frame of the conformance suite: rules, checks, isolation, reports."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from tests.testing import wrong_providers
from wsdirect.spi.catalog import UnknownProviderError
from wsdirect.spi.errors import WSAError
from wsdirect.spi.overlapped import WSAOVERLAPPED
from wsdirect.testing import Fault, NotApplicable, Subject, expect, run
from wsdirect.testing.conformance.catalog import LEVELS, Rule, read, rules
from wsdirect.testing.conformance.registry import Check, checks
from wsdirect.testing.conformance.report import Report, RuleResult
from wsdirect.testing.conformance.runner import run_check, selected
from wsdirect.testing.driver import Driver, Upcalls
from wsdirect.testing.loopback import LoopbackProvider
from wsdirect.testing.processes import Child

LOOPBACK = Subject.load("loopback")


def made(function, start=False, timeout=20.0):
    """A check that proves nothing."""
    return Check("here.made", ("R-034",), function, start, timeout)


# --- rules and checks ---------------------------------------------------------------------------


def test_every_rule_is_there_once():
    wanted = [f"R-{number:03}" for number in range(1, 276)]
    wanted += [f"T-{number:02}" for number in range(1, 54)]
    assert list(rules()) == wanted


def test_every_rule_says_what_it_is():
    for rule in rules().values():
        assert rule.level in LEVELS, rule
        assert rule.function, rule
        assert rule.source, rule
        assert rule.text, rule
        assert not rule.text.endswith("."), rule
        assert len(rule.text) < 200, rule


def test_every_rule_has_a_check_or_a_reason():
    checked = {name for check in checks() for name in check.rules}
    bare = [name for name, rule in rules().items() if name not in checked and not rule.unchecked]
    assert bare == []
    both = [name for name in checked if rules()[name].unchecked]
    assert both == []


def test_every_check_has_a_rule_and_a_name_of_its_own():
    names = [check.name for check in checks()]
    assert len(set(names)) == len(names)
    for check in checks():
        assert check.rules, check.name
        assert set(check.rules) <= set(rules()), check.name
        assert len(set(check.rules)) == len(check.rules), check.name
        assert check.timeout <= 60, check.name


def test_a_rule_that_is_there_twice_is_no_catalogue():
    text = '[R-001]\nlevel = "MUST"\nfunction = "f"\ntext = "t"\nsource = "I"\n'
    assert read([text]) == {"R-001": Rule("R-001", "MUST", "f", "t", "I")}
    with pytest.raises(ValueError, match="R-001"):
        read([text, text])


def test_selecting_rules():
    assert [rule.id for rule in selected()] == list(rules())
    assert [rule.id for rule in selected(["R-034"])] == ["R-034"]
    assert [rule.id for rule in selected(["R-03", "T-53"])][-1] == "T-53"
    assert len(selected(["R-03", "R-034"])) == 10
    with pytest.raises(KeyError):
        selected(["R-034", "X-1"])


# --- isolation ----------------------------------------------------------------------------------


def test_a_check_that_returns_has_passed():
    result = run_check(LOOPBACK, made(lambda driver: None))
    assert (result.outcome, result.detail) == ("passed", "")


def test_a_deviation_is_told_with_what_was_expected():
    def check(driver):
        expect.equal("the answer", 41, 42)

    result = run_check(LOOPBACK, made(check))
    assert result.outcome == "failed"
    assert "expected the answer to be 42; it is 41" in result.detail


def test_what_does_not_apply_is_no_failure():
    def check(driver):
        raise NotApplicable("no reason")

    result = run_check(LOOPBACK, made(check))
    assert (result.outcome, result.detail) == ("not_applicable", "no reason")


def test_an_exception_is_a_failure():
    def check(driver):
        {}["missing"]

    result = run_check(LOOPBACK, made(check))
    assert result.outcome == "failed"
    assert "KeyError" in result.detail


@pytest.mark.parametrize(
    ("provider", "said"),
    [
        (wrong_providers.Hanging, "it hung"),
        (wrong_providers.Crashing, "it ended with status"),
        (wrong_providers.Leaving, "it ended with status"),
        (wrong_providers.Raising, "ZeroDivisionError"),
        (wrong_providers.Unstarted, "WSASYSNOTREADY"),
    ],
)
def test_what_a_provider_does_is_reported_and_not_suffered(provider, said):
    subject = Subject("wrong", provider)
    result = run_check(subject, made(Driver.socket, start=True, timeout=2.0))
    assert result.outcome == "failed"
    assert said in result.detail


def test_a_provider_that_cannot_be_made_is_reported():
    wrong_providers.Unmakeable.made = 1
    result = run_check(Subject("wrong", wrong_providers.Unmakeable), made(lambda driver: None))
    assert result.outcome == "failed"
    assert "one is enough" in result.detail


def test_a_provider_may_write_as_much_as_it_likes(capfd):
    subject = Subject("talking", wrong_providers.Talking)
    result = run_check(subject, made(Driver.socket, start=True))
    assert result.outcome == "passed"
    assert capfd.readouterr().err == ""


def test_processes_of_a_check_end_with_it(tmp_path):
    note = tmp_path / "pid"

    def check(driver):
        child = Child(lambda link: time.sleep(600))
        note.write_text(str(child.pid))
        os.kill(os.getpid(), 9)

    result = run_check(LOOPBACK, made(check))
    assert result.outcome == "failed"
    assert "it ended with status 0x9" in result.detail  # and was not waited for until it is late
    pid = int(note.read_text())
    expect.eventually("the process to end", lambda: not alive(pid))


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # whoever inherits it may not have looked yet


def test_a_run_leaves_nothing_behind():
    subject = Subject("hanging", wrong_providers.Hanging)
    before = len(os.listdir("/proc/self/fd"))
    run(subject, ["R-013", "R-017"])
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# --- the driver ---------------------------------------------------------------------------------


def test_a_handle_that_stays_open_is_a_deviation(monkeypatch):
    monkeypatch.setattr(expect, "PATIENCE", 0.1)

    def check(driver):
        driver.switch.WPUCreateSocketHandle(0, None)

    result = run_check(LOOPBACK, made(check))
    assert result.outcome == "failed"
    assert "1 were open" in result.detail


def test_an_upcall_that_is_wrong_is_a_deviation():
    def check(driver):
        try:
            driver.switch.WPUCompleteOverlappedRequest(77, WSAOVERLAPPED(), 0, 0)
        except WSAError:
            pass

    result = run_check(LOOPBACK, made(check))
    assert result.outcome == "failed"
    assert "every upcall to keep the contract" in result.detail


def test_upcalls_are_written_down():
    upcalls = Upcalls()
    handle = upcalls.WPUCreateSocketHandle(7, "context")
    overlapped = WSAOVERLAPPED()
    overlapped.start()
    upcalls.WPUCompleteOverlappedRequest(handle, overlapped, 0, 12)
    upcalls.WPUCloseSocketHandle(handle)
    assert upcalls.names() == [
        "WPUCreateSocketHandle",
        "WPUCompleteOverlappedRequest",
        "WPUCloseSocketHandle",
    ]
    assert upcalls.completions(overlapped) == [(handle, 0, 12)]
    assert upcalls.closed(handle) == 1
    assert upcalls.wrong == []


def test_upcalls_fail_on_demand():
    upcalls = Upcalls()
    upcalls.fail["WPUCreateSocketHandle"] = WSAError(10055)
    with pytest.raises(WSAError):
        upcalls.WPUCreateSocketHandle(0, None)
    assert upcalls.handles == []


def test_no_descriptors_for_a_while():
    driver = Driver(LOOPBACK, start=False)
    with driver.no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        os.dup(0)
    os.close(os.dup(0))


# --- what a check can say -----------------------------------------------------------------------


def fails(code):
    raise WSAError(code, "call")


def test_an_expected_error():
    assert expect.error(10022, fails, 10022).winerror == 10022
    assert expect.error((10014, 10022), fails, 10022).winerror == 10022
    for wrong in (lambda: None, lambda: fails(10014), lambda: {}["x"]):
        with pytest.raises(expect.Deviation, match="WSAEINVAL"):
            expect.error(10022, wrong)


def test_the_code_of_a_call():
    assert expect.code(fails, 10022) == 10022
    assert expect.code(lambda: None) == 0
    with pytest.raises(expect.Deviation, match="KeyError"):
        expect.code(lambda: {}["x"])


def test_a_call_that_does_not_come_back(monkeypatch):
    monkeypatch.setattr(expect, "PATIENCE", 0.05)
    assert expect.promptly(lambda: 7) == 7
    with pytest.raises(WSAError):
        expect.promptly(fails, 10022)
    with pytest.raises(expect.Deviation, match="sleep to come back"):
        expect.promptly(time.sleep, 1.0)


def test_messages_name_the_call_that_was_made():
    with pytest.raises(expect.Deviation, match="expected fails to fail with WSAEINVAL"):
        expect.error(10022, expect.promptly, fails, 10014)


def test_faults_need_a_provider_that_can_make_them():
    class Bare(LoopbackProvider):
        def __init__(self):
            super().__init__()
            del self.fault_injector

    driver = Driver(Subject("bare", Bare), start=False)
    with pytest.raises(NotApplicable, match="cannot be provoked"):
        driver.fault(Fault.NO_BUFFERS)
    with pytest.raises(NotApplicable, match="one process"):
        Subject("bare", Bare, one_process="one process").two_processes()


# --- subjects -----------------------------------------------------------------------------------


def test_subjects_by_name():
    assert LOOPBACK.name == "loopback"
    assert isinstance(LOOPBACK.make(), LoopbackProvider)
    assert LOOPBACK.one_process
    assert Subject.load("shm").one_process == ""
    mine = Subject.load("tests.testing.wrong_providers:Narrow")
    assert isinstance(mine.make(), wrong_providers.Narrow)
    assert mine.make() is not mine.make()


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("nowhere", UnknownProviderError),
        ("no.such.module:Provider", ImportError),
        ("tests.testing.wrong_providers:Missing", ImportError),
        ("tests.testing.wrong_providers:no_provider", TypeError),
        ("tests.testing.wrong_providers:gives_no_provider", TypeError),
    ],
)
def test_subjects_that_are_none(name, error):
    with pytest.raises(error):
        Subject.load(name)


# --- reports ------------------------------------------------------------------------------------


def test_a_run_of_some_rules():
    seen = []
    report = run(
        LOOPBACK,
        ["R-034", "R-057", "R-008"],
        progress=lambda result, done, total: seen.append((done, total)),
    )
    assert [result.rule.id for result in report.rules] == ["R-008", "R-034", "R-057"]
    outcomes = {result.rule.id: result.outcome for result in report.rules}
    assert outcomes == {"R-008": "not_applicable", "R-034": "passed", "R-057": "passed"}
    assert report.ok
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert {total for _, total in seen} == {len(seen)}


def test_what_is_known_is_not_run_again():
    known = {}
    assert run(LOOPBACK, ["R-034"], known=known).ok
    assert list(known) == ["sockets.a_stream_socket"]
    blind = Subject("blind", wrong_providers.Blind)
    assert run(blind, ["R-036"], known=known).rules[0].outcome == "passed"
    # a failure may have been an accident
    assert not run(blind, ["R-057"], known=known).ok
    assert "sockets.sockets_on_one_address" not in known


def test_one_failed_check_fails_its_rule():
    report = run(Subject("blind", wrong_providers.Blind), ["R-057"])
    assert not report.ok
    [result] = report.failed("MUST")
    assert result.rule.id == "R-057"
    assert "WSAEADDRINUSE" in result.detail
    assert "sockets.sockets_on_one_address" in result.tests
    assert report.failed("SHOULD") == []


def test_a_should_does_not_fail_the_run():
    report = run(Subject("narrow", wrong_providers.Narrow), ["R-044", "R-034"])
    assert [result.rule.id for result in report.failed()] == ["R-044"]
    assert report.ok


def test_the_report_as_json():
    report = run(LOOPBACK, ["R-034", "R-044", "R-008"])
    told = json.loads(report.as_json())
    assert set(told) == {"provider", "levels", "rules"}
    assert told["provider"] == "loopback"
    assert set(told["levels"]) == set(LEVELS)
    for counts in told["levels"].values():
        assert set(counts) == {"passed", "failed", "not_applicable"}
    assert told["levels"]["MUST"] == {"passed": 1, "failed": 0, "not_applicable": 1}
    assert [entry["id"] for entry in told["rules"]] == ["R-008", "R-034", "R-044"]
    for entry in told["rules"]:
        assert set(entry) == {"id", "level", "outcome", "detail", "tests"}
        assert entry["level"] in LEVELS
        assert isinstance(entry["detail"], str)
        assert all(re.fullmatch(r"\w+\.\w+", name) for name in entry["tests"])


def test_counting():
    def result(level, outcome):
        return RuleResult(Rule("R-001", level, "f", "t", "I"), outcome, "", ())

    report = Report(
        "p",
        [result("MUST", "passed"), result("SHOULD", "failed"), result("MAY", "not_applicable")],
    )
    assert report.counts()["SHOULD"] == {"passed": 0, "failed": 1, "not_applicable": 0}
    assert report.ok
    assert not Report("p", [result("MUST", "failed")]).ok
