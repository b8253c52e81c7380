"""A program takes the number of a blocking socket: code outside Python may poll it."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("numbers_taken_program.py")


@pytest.mark.parametrize(
    ("how", "strict"),
    [
        ("fileno", True),
        ("fileno of a file", True),
        ("fileno of a wrapper", True),
        ("selectors", False),
        ("select", False),
        ("repr", False),
        ("asyncio", False),
        ("is_switched", False),
    ],
)
def test_who_makes_a_socket_strict(how: str, strict: bool) -> None:
    """Only who may go on to use the number without Python pays for it; see ADR 0017."""
    done = subprocess.run(
        [sys.executable, "-m", "wsdirect", "run", str(PROGRAM), how],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["True", str(strict), "True"]
