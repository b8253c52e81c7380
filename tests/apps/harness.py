"""Runs an app of the table, twice, in a network namespace of its own."""

from __future__ import annotations

import functools
import glob
import json
import os
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import wsdirect
from tests.apps.table import App

HERE = Path(__file__).parent
PORT = 7000  # in a namespace of one's own all are free; the second run takes the next one
SECONDS = 60
NAMESPACE = ("unshare", "--net", "--mount")
if os.getuid() != 0:  # a user may do it within a namespace of users
    NAMESPACE += ("--map-current-user", "--keep-caps")


@functools.cache
def no_namespace() -> str:
    """Why this process may not make network namespaces; "" if it may."""
    try:
        tried = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "there is no `unshare` here"
    return "" if tried.returncode == 0 else f"no network namespaces: {tried.stderr.strip()}"


def missing(app: App) -> str:
    """What the app needs and is not here; "" if nothing."""
    for module in app.needs:
        try:
            if find_spec(module) is not None:
                continue
        except ModuleNotFoundError:  # of the package around it
            pass
        return f"needs the package of {module} (extra `apps`)"
    for tool in app.tools:
        if shutil.which(tool) is None and not glob.glob(tool):
            return f"needs {tool}"
    return ""


def run(app: App, folder: Path, launched: tuple[bool, ...] = (False, True)) -> list[dict[str, Any]]:
    """Run the app, for each of `launched` once; see inside.Run.go for what comes back."""
    environ = {name: text for name, text in os.environ.items() if not name.startswith("WSDIRECT")}
    environ["PYTHONPATH"] = os.pathsep.join(
        [str(Path(wsdirect.__file__).parent.parent), str(HERE / "programs")]
    )
    environ["PYTHONDONTWRITEBYTECODE"] = environ["PYTHONFAULTHANDLER"] = "1"
    environ["TMPDIR"] = "/tmp"
    environ["HOME"] = str(folder)  # configuration files of the tester's must not matter
    job = {
        "server": shlex.split(app.server) if app.server else None,
        "client": shlex.split(app.client),
        "plain_server": app.plain_server,
        "path": app.path,
        "port": PORT,
        "seconds": SECONDS,
        "environ": environ,
        "folder": str(HERE / "programs"),
        "runs": launched,
    }
    done = subprocess.run(
        [*NAMESPACE, sys.executable, str(HERE / "inside.py")],
        input=json.dumps(job),
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    runs: list[dict[str, Any]] = json.loads(done.stdout)
    return runs
