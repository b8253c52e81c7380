"""python -m wsdirect.testing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import wsdirect
from wsdirect.testing.cli import main

HERE = "tests.testing.wrong_providers"


def conformance(*arguments):
    return main(["conformance", *arguments])


def test_all_is_well(capsys):
    assert conformance("--provider", "loopback", "--rule", "R-034", "--rule", "R-057") == 0
    out = capsys.readouterr().out
    assert "Provider loopback" in out
    assert "Every rule that applies is followed." in out


def test_a_must_that_fails(capsys):
    assert conformance("--provider", f"{HERE}:Blind", "--rule", "R-057") == 1
    out = capsys.readouterr().out
    assert "R-057 MUST FAILED" in out
    assert "WSAEADDRINUSE" in out
    assert "Source: R:ff566268" in out
    assert "sockets.sockets_on_one_address" in out


def test_a_should_that_fails(capsys):
    assert conformance("--provider", f"{HERE}:Narrow", "--rule", "R-044") == 0
    out = capsys.readouterr().out
    assert "R-044 SHOULD FAILED" in out
    assert "Every MUST that applies is followed." in out


def test_every_rule_is_shown_on_demand(capsys):
    assert conformance("--provider", "loopback", "--rule", "R-034", "--rule", "R-008", "-v") == 0
    out = capsys.readouterr().out
    assert "R-034 MUST passed" in out
    assert "R-008 MUST n/a" in out
    assert "not a library" in out


def test_json_and_nothing_else(capsys):
    assert conformance("--provider", "loopback", "--rule", "R-034", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rules"][0]["outcome"] == "passed"
    assert conformance("--provider", f"{HERE}:Blind", "--rule", "R-057", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["levels"]["MUST"]["failed"] == 1


def test_the_list_needs_no_provider(capsys):
    assert conformance("--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 275 + 53
    assert conformance("--list", "--rule", "R-143") == 0
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("R-143")
    assert line.endswith("]")  # why no program can check it


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "which provider?"),
        (("--provider", "loopbakc"), "no service provider"),
        (("--provider", "shn"), "Did you mean 'shm'?"),
        (("--provider", "no.module:x"), "cannot be used"),
        (("--provider", f"{HERE}:no_provider"), "cannot be used"),
        (("--provider", "loopback", "--rule", "R-999"), "no rule 'R-999'"),
    ],
)
def test_commands_that_are_wrong(arguments, said, capsys):
    assert conformance(*arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


def test_as_a_program(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from wsdirect.testing.loopback import LoopbackProvider\n"
        "class Mine(LoopbackProvider):\n"
        "    name = 'mine'\n"
    )
    paths = [str(tmp_path), str(Path(wsdirect.__file__).parent.parent)]
    made = subprocess.run(
        [sys.executable, "-m", "wsdirect.testing", "conformance", "--provider", "mine:Mine",
         "--rule", "R-034", "--jobs", "1"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "Provider mine:Mine" in made.stdout
    assert made.stderr == ""
