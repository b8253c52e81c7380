"""Libraries that people use, end to end: what unmodified programs do, they do under the launcher.

Each app of the table runs twice in a network namespace of its own, plainly and with both its
programs under `wsdirect run`. The programs check what they get; here the two runs are compared: the
same results, no complaints, and next to nothing over the loopback interface where the connections
are switched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.apps import harness
from tests.apps.table import APPS, App

LEAST = 1_000_000  # bytes that a plain run moves, so that a share of them means something
SWITCHED = 0.02  # the share that may go over TCP where connections are switched
STAYED = 0.9  # the share that must where they are not

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3 * harness.SECONDS),
    pytest.mark.skipif(bool(harness.no_namespace()), reason=harness.no_namespace()),
]


def told(run: dict[str, Any]) -> str:
    """All that is known of a run, for the tester."""
    late = f"\nnot done within {harness.SECONDS} s: all were stopped" if run["late"] else ""
    return "\n".join([f"status {run['status']}, said {run['said']!r}{late}", *run["complaints"]])


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.name)
def test_app_does_the_same_under_the_launcher(app: App, tmp_path: Path) -> None:
    if reason := harness.missing(app):
        pytest.skip(reason)
    plain, switched = harness.run(app, tmp_path)

    assert plain["status"] == 0, f"the app does not work without wsdirect, either\n{told(plain)}"
    assert plain["bytes"] >= LEAST, "too little for a comparison"
    assert switched["status"] == 0, told(switched)
    assert switched["said"] == plain["said"]
    assert switched["statuses"] == plain["statuses"], "the server did not end in the same way"
    assert complaints(switched) <= complaints(plain), told(switched)

    share = switched["bytes"] / plain["bytes"]
    if app.path == "shm":
        assert share < SWITCHED, f"{switched['bytes']} of {plain['bytes']} bytes went over TCP"
        assert reasons(switched) <= {"switched", *app.reasons}
    else:
        assert share > STAYED
        assert reasons(switched) == set(app.reasons)


def complaints(run: dict[str, Any]) -> set[str]:
    """The lines on standard error in which Python complains of something."""
    begin = ("Traceback", "Exception", "Task was", "Task exc", "Fatal Python error")
    lines = "\n".join(run["complaints"]).splitlines()
    return {line for line in lines if line.startswith(begin)}


def reasons(run: dict[str, Any]) -> set[str]:
    """Those that `wsdirect ss` gave for the app's connections when the client was done."""
    return {row["reason"] for row in run["rows"]}
