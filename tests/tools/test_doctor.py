import json
import os
import resource

import pytest

from wsdirect.tools import doctor


def test_all_checks_have_a_finding(cli):
    ended = cli("doctor", "--json")
    findings = json.loads(ended.stdout)
    assert [one["check"] for one in findings] == list(doctor.CHECKS)
    for one in findings:
        assert one["text"]
        assert one["state"] in ("ok", "warn", "fail")
        assert one["advice"] or one["state"] == "ok"
    failed = any(one["state"] == "fail" for one in findings)
    assert ended.returncode == int(failed)
    if {one["check"]: one["state"] for one in findings}["core"] == "ok":
        assert not [one for one in findings if one["state"] == "fail"]


def test_text_has_a_way_out_for_what_fails(cli):
    ended = cli("doctor", env={"WSDIRECT_RING": "7"})
    assert ended.returncode == 1
    lines = ended.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if "settings: WSDIRECT_RING" in line)
    assert lines[at].startswith("fail  ")
    assert lines[at + 1].startswith("      ")


def test_a_check_that_crashes_is_a_finding(monkeypatch, capsys):
    def crash():
        raise RuntimeError("boom")

    monkeypatch.setattr(doctor, "CHECKS", {"one": crash, "two": lambda: doctor.Finding("ok", "x")})
    assert doctor.main([]) == 1
    assert "RuntimeError: boom" in capsys.readouterr().out


def test_one_cpu_is_a_note(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert doctor.check_cpus().state == "warn"


def test_few_descriptors_are_a_note(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    finding = doctor.check_descriptors()
    assert finding.state == "warn"
    assert "4096" in finding.advice


def test_memory_files_forbidden(monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", refuse)
    assert doctor.check_memory().state == "fail"


@pytest.mark.parametrize("check", ["python", "memory", "names", "proc", "status"])
def test_this_machine_has_the_basics(check):
    assert doctor.CHECKS[check]().state == "ok"
