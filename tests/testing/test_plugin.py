"""The conformance suite as pytest tests, tried in a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import wsdirect
from wsdirect.testing.conformance.catalog import rules

TESTS = """
from wsdirect.spi.errors import WSAError
from wsdirect.testing import Subject, conformance_tests
from wsdirect.testing.loopback import LoopbackProvider

class Narrow(LoopbackProvider):
    one_process = "no"
    def WSPSocket(self, af, type, protocol, *args, **kw):
        if not protocol:
            raise WSAError(10043, "WSPSocket")
        return super().WSPSocket(af, type, protocol, *args, **kw)

narrow = Subject("narrow", Narrow)
RULES = ["R-008", "R-034", "R-044"]
"""


@pytest.fixture
def pytest_run(tmp_path):
    """Run pytest in an empty directory with these files and arguments: its exit code and output."""

    def start(*arguments, **files):
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        paths = [str(tmp_path), str(Path(wsdirect.__file__).parent.parent)]
        made = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "-q", *arguments],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
        )
        return made.returncode, made.stdout + made.stderr

    return start


def test_one_test_for_each_rule(pytest_run):
    test = TESTS + "test_it = conformance_tests(narrow, RULES)\n"
    code, out = pytest_run(test_narrow=test)
    assert code == 1
    assert "PASSED test_narrow.py::test_it[R-034]" in out
    assert "FAILED test_narrow.py::test_it[R-044]" in out
    assert "SHOULD R-044 (WSPSocket)" in out
    assert "not a library" in out
    assert "1 failed, 1 passed, 1 skipped" in out


def test_levels_that_need_not_pass(pytest_run):
    test = TESTS + "test_it = conformance_tests(narrow, RULES, levels=['MUST'])\n"
    code, out = pytest_run(test_narrow=test)
    assert code == 0
    assert "1 passed, 1 skipped, 1 xfailed" in out


def test_deviations_are_kept_true(pytest_run):
    test = TESTS + (
        "test_one = conformance_tests(narrow, RULES, deviations=['R-044'])\n"
        "test_two = conformance_tests(narrow, RULES, deviations=['R-044', 'R-034'])\n"
    )
    code, out = pytest_run(test_narrow=test)
    assert code == 1
    assert "XFAIL test_narrow.py::test_one[R-044]" in out
    assert "FAILED test_narrow.py::test_two[R-034]" in out
    assert "is listed as a deviation, but is followed" in out
    assert "1 failed, 1 passed, 2 skipped, 2 xfailed" in out


def test_a_provider_on_the_command_line(pytest_run):
    own = "def test_own(): pass\n"
    code, out = pytest_run(
        "-p", "wsdirect.testing.pytest_plugin", "--wsdirect-provider", "loopback",
        "-k", "R-034 or R-057 or R-008 or own", test_own=own,
    )  # fmt: skip
    assert code == 0, out
    assert "test_conformance[R-034]" in out
    assert "3 passed, 1 skipped" in out
    assert f"{len(rules()) - 3} deselected" in out


def test_without_a_provider_the_plugin_adds_nothing(pytest_run):
    code, out = pytest_run("-p", "wsdirect.testing.pytest_plugin", test_own="def test_own(): pass")
    assert code == 0
    assert "1 passed" in out


def test_an_unknown_provider_on_the_command_line(pytest_run):
    code, out = pytest_run(
        "-p", "wsdirect.testing.pytest_plugin", "--wsdirect-provider", "nowhere",
        test_own="def test_own(): pass",
    )  # fmt: skip
    assert code not in (0, 5)
    assert "no service provider 'nowhere'" in out
