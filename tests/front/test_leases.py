"""Leases in programs: the same on TCP and switched, and in place where they can be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.front import lease_scenarios

PROGRAM = Path(lease_scenarios.__file__)


def run(name: str, switched: bool, **settings: str) -> dict[str, Any]:
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("WSDIRECT")
    }
    launcher = ["-m", "wsdirect", "run"] if switched else ["-W", "ignore::ResourceWarning"]
    done = subprocess.run(
        [sys.executable, *launcher, str(PROGRAM), name],
        capture_output=True, text=True, timeout=50, env={**environment, **settings}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("name", sorted(lease_scenarios.scenarios))
def test_same_as_tcp(name: str) -> None:
    plain = run(name, False)
    switched = run(name, True)
    assert switched["result"] == plain["result"]
    if name != "wrong_sockets":
        assert all(switched["switched"])
        assert not any(plain["switched"])


@pytest.mark.parametrize("ring", ["16K", "256K"])
def test_content(ring: str) -> None:
    """Small rings grow on the way, and hold hardly anything that is asked for."""
    found = run("threads_and_sizes", True, WSDIRECT_RING=ring)
    assert found["result"] == [True] * 4


def test_the_session_protocol_copies() -> None:
    for name in ("reading", "writing", "waiting"):
        assert run(name, True, WSDIRECT_SESSION="always")["result"] == run(name, False)["result"]


def test_in_place() -> None:
    found = run("switched_only", True)["result"]
    assert found["places"]
    assert found["busy"] == ["BlockingIOError"] * 6
    assert found["after"] == "456789"
    assert found["no room"] == ["BlockingIOError", "TimeoutError"]
    assert found["room"]


def test_nothing_is_left() -> None:
    found = run("nothing_left", True)["result"]
    before, after = found["counts"]
    assert after == before
    assert found["most"] > after[0]  # the rings were mapped twice meanwhile
