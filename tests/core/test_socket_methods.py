"""The grafted methods of socket.socket, in a process of their own so that this one stays as it is.

Each test is a function of `socket_methods_program`, which runs after the methods were installed.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.core import socket_methods_program

ROOT = Path(__file__).resolve().parents[2]
NAMES = [name for name in dir(socket_methods_program) if name.startswith("check_")]


@pytest.mark.parametrize("name", NAMES)
def test_grafted(name: str) -> None:
    paths = [str(ROOT), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.core.socket_methods_program", name],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
