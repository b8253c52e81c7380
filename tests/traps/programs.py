"""Programs under the launcher, started as a user would start them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import wsdirect

PACKAGE = Path(wsdirect.__file__).parent
HERE = Path(__file__).parent
PATIENCE = 60


def environment(**more: str) -> dict[str, str]:
    """Without the tester's settings, and with the programs' prelude."""
    made = {name: text for name, text in os.environ.items() if not name.startswith("WSDIRECT")}
    made["PYTHONPATH"] = os.pathsep.join([str(PACKAGE.parent), str(HERE)])
    return {**made, **more}


def command(*words: str, options: tuple[str, ...] = (), switched: bool = True) -> list[str]:
    launcher = ["-m", "wsdirect", "run", *options] if switched else []
    return [sys.executable, *launcher, *words]


def run(
    source: str,
    *words: str,
    options: tuple[str, ...] = (),
    switched: bool = True,
    complains: bool = False,
    **more: str,
) -> Any:
    """Run the source; what it show()ed.  Whatever it says on standard error is a failure.

    `complains`: return (answers, standard error) instead.
    """
    code = "from prelude import *\n" + textwrap.dedent(source)
    ended = subprocess.run(
        command("-c", code, *words, options=options, switched=switched),
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, f"ended with {ended.returncode}:\n{ended.stderr}"
    answers = json.loads(ended.stdout) if ended.stdout else {}
    if complains:
        return answers, ended.stderr
    assert ended.stderr == "", ended.stderr
    return answers
