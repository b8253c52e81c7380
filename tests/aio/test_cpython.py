"""CPython's own tests of event loops, run on SanEventLoop."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SUITES = Path(__file__).with_name("cpython_suites.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("test.test_asyncio") is None, reason="Python without its tests"
    ),
]


@pytest.mark.parametrize("name", ["events", "sockets", "sendfile", "server", "streams", "tls"])
def test_pythons_own_tests_pass(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(SUITES), name], capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr[-4000:]
