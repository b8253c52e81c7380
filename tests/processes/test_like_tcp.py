"""Processes, threads and signals, on plain TCP and switched: the kernel is the oracle."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("program.py")
_spec = importlib.util.spec_from_file_location("processes_program", PROGRAM)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)


def run(*command: str) -> dict[str, Any]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WSDIRECT")}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=100, env=clean, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


QUIET = ("-W", "ignore::DeprecationWarning")  # of forks of a process with threads
SLOW = {"exit_with_daemon_threads_that_wait", "handlers_run_and_calls_go_on"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in _module.scenarios],
)
def test_same_as_tcp(name: str) -> None:
    plain = run(sys.executable, *QUIET, str(PROGRAM), name)
    launcher = ["-m", "wsdirect", "run", sys.executable]
    switched = run(sys.executable, *launcher, *QUIET, str(PROGRAM), name)
    assert switched["result"] == plain["result"]
    assert all(switched["switched"])
