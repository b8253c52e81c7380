"""Every scenario on plain TCP and switched: the kernel is the oracle."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("scenarios.py")
_spec = importlib.util.spec_from_file_location("scenarios", PROGRAM)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

# Scenarios about sockets that no SAN carries.
ON_TCP = {"connect_errors", "accept_modes", "udp_and_unix_sockets"}


def run(*command: str) -> dict[str, object]:
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("WSDIRECT")
    }
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=100, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", sorted(_module.scenarios))
def test_same_as_tcp(name: str) -> None:
    plain = run(sys.executable, str(PROGRAM), name)
    switched = run(sys.executable, "-m", "wsdirect", "run", str(PROGRAM), name)
    assert switched["result"] == plain["result"]
    if name not in ON_TCP:
        assert switched["switched"]
    assert all(switched["switched"])
