"""Programs started as a user would start them, without wsdirect settings of the tester's."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import wsdirect

PACKAGE = Path(wsdirect.__file__).parent
BOOTSTRAP = PACKAGE / "_launch"

# A front that notes what it is asked to graft; programs put it in before they import socket.
FAKE_FRONT = """
import sys, types
front = types.ModuleType("wsdirect.front")
enable = types.ModuleType("wsdirect.front.enable")
front.enable = enable
enable.HOOKED_MODULES = ("socket", "selectors", "select", "ssl", "multiprocessing.connection")
grafted = []
enable.graft_module = grafted.append
sys.modules["wsdirect.front"] = front
sys.modules["wsdirect.front.enable"] = enable
"""

Start = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environ() -> dict[str, str]:
    """The environment of a user who has wsdirect installed and no settings."""
    made = {name: text for name, text in os.environ.items() if not name.startswith("WSDIRECT")}
    made["PYTHONPATH"] = str(PACKAGE.parent)
    return made


@pytest.fixture
def python(environ: dict[str, str], tmp_path: Path) -> Start:
    """Start python with these arguments in an empty directory; `env` adds to the environment."""

    def start(
        *arguments: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            env={**environ, **(env or {})},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return start


@pytest.fixture
def cli(python: Start) -> Start:
    """Start `python -m wsdirect` with these arguments."""

    def start(
        *arguments: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return python("-m", "wsdirect", *arguments, env=env)

    return start


@pytest.fixture
def under_launcher() -> dict[str, str]:
    """What the launcher puts into the environment."""
    return {"WSDIRECT": "1", "PYTHONPATH": os.pathsep.join([str(BOOTSTRAP), str(PACKAGE.parent)])}


@pytest.fixture
def fake_front() -> str:
    """Code that a program begins with to see what is grafted: `grafted` is the list."""
    return FAKE_FRONT
