"""CPython's own tests of everything that uses sockets, under `wsdirect run` and without, compared.

    python tools_dev/cpython_tests.py [--group NAME ...] [--module NAME ...]

A test that passes on the plain interpreter and fails, is skipped or is missing under wsdirect is a
regression, unless tests/cpython/known_failures.toml names it with a reason and the decision (ADR)
behind it.  Both runs happen in network namespaces of their own where the system permits it, so that
the bytes over `lo` can be told: next to none where connections were switched.

The interpreter needs its `test` package, which distributions leave out of theirs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KNOWN = ROOT / "tests" / "cpython" / "known_failures.toml"
TIMEOUT = 900  # seconds for one module, in one of its two runs

GROUPS = {
    "sockets": ["test_socket", "test_timeout"],
    "select": ["test_selectors", "test_select", "test_poll", "test_epoll"],
    "servers": [
        "test_socketserver", "test_httpservers", "test_wsgiref", "test_xmlrpc", "test_docxmlrpc",
        "test_logging",
    ],
    "clients": [
        "test_httplib", "test_urllib2_localnet", "test_ftplib", "test_smtplib", "test_poplib",
        "test_imaplib", "test_nntplib", "test_telnetlib", "test_robotparser",
    ],
    "tls": ["test_ssl"],
    "asyncore": ["test_asyncore", "test_asynchat", "test_smtpd"],
    "asyncio": [
        f"test_asyncio.{name}"
        for name in (
            "test_events", "test_streams", "test_server", "test_sock_lowlevel", "test_sendfile",
            "test_buffered_proto", "test_base_events", "test_selector_events", "test_transports",
            "test_unix_events", "test_ssl", "test_sslproto", "test_eager_task_factory",
        )
    ],
    "processes": [
        "test_multiprocessing_fork", "test_multiprocessing_spawn",
        "test_multiprocessing_forkserver", "test_concurrent_futures", "test_subprocess",
    ],
}  # fmt: skip

# Runs in the namespace: `lo` comes up, the command runs, and what went over `lo` is written down.
# Not from /sys, which stays the mount of another namespace.
WITH_COUNT = 'ip link set lo up; "$@"; grep lo: /proc/net/dev >"$COUNT"'


class Run:
    """The outcome of one module in one of the two ways.

    Attributes:
        outcomes: Test id -> "passed", "failed" or "skipped".
        lo: Bytes over `lo`; None where they could not be counted.
        trouble: Why there are no or not all outcomes; "" if all is well.
    """

    def __init__(self, outcomes: dict[str, str], lo: int | None, trouble: str) -> None:
        self.outcomes = outcomes
        self.lo = lo
        self.trouble = trouble


def can_unshare() -> bool:
    unshare, ip = shutil.which("unshare"), shutil.which("ip")
    return (
        bool(unshare and ip)
        and subprocess.run(
            [str(unshare), "-n", "true"], stderr=subprocess.DEVNULL, check=False
        ).returncode
        == 0
    )


def read_outcomes(path: Path) -> dict[str, str]:
    found = {}
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        if case.find("error") is not None or case.find("failure") is not None:
            outcome = "failed"
        elif case.find("skipped") is not None:
            outcome = "skipped"
        else:
            outcome = "passed"
        found[case.get("name", "?")] = outcome
    return found


def run(python: str, module: str, switched: bool, isolated: bool) -> Run:
    launcher = ["-m", "wsdirect", "run"] if switched else []
    with tempfile.TemporaryDirectory() as work:
        report, count = Path(work, "report.xml"), Path(work, "count")
        command = [
            python,
            *launcher,
            "-m",
            "test",
            "-u",
            "network",
            "--junit-xml",
            str(report),
            module,
        ]
        if isolated:
            command = ["unshare", "-n", "sh", "-c", WITH_COUNT, "sh", *command]
        environment = {**os.environ, "COUNT": str(count)}
        trouble = ""
        process = subprocess.Popen(
            command, cwd=work, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            trouble = f"did not end within {TIMEOUT} s"
        if not report.exists():
            return Run({}, None, trouble or "died without a report")
        lo = int(count.read_text().split()[1]) if count.exists() else None
        return Run(read_outcomes(report), lo, trouble)


def known_failures() -> dict[str, str]:
    """Test id -> reason; every entry has both, and the ADR it follows from."""
    entries = tomllib.loads(KNOWN.read_text()).get("failure", [])
    for entry in entries:
        missing = {"test", "reason", "adr"} - entry.keys()
        if missing:
            raise SystemExit(f"{KNOWN.name}: {entry.get('test', entry)} lacks {sorted(missing)}")
    return {entry["test"]: entry["reason"] for entry in entries}


def megabytes(lo: int | None) -> str:
    return "-" if lo is None else f"{lo / 1e6:.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="with wsdirect installed")
    parser.add_argument("--group", action="append", choices=GROUPS, help="may be repeated")
    parser.add_argument("--module", action="append", help="such as test_socket; may be repeated")
    options = parser.parse_args()
    groups = options.group or ([] if options.module else list(GROUPS))
    modules = [module for group in groups for module in GROUPS[group]] + (options.module or [])
    python = shutil.which(options.python)
    if python is None:
        raise SystemExit(f"--python {options.python}: there is no such program")
    options.python = os.path.abspath(python)  # each run has a folder of its own
    known, isolated = known_failures(), can_unshare()
    regressions: list[str] = []
    print(f"{'module':40} {'plain':>6} {'run':>6} {'worse':>6} {'known':>6} {'lo MB':>13}")
    for module in modules:
        plain = run(options.python, module, False, isolated)
        if not plain.outcomes:
            print(f"{module:40} not on this interpreter")
            continue
        ours = run(options.python, module, True, isolated)
        passed = [test for test, outcome in plain.outcomes.items() if outcome == "passed"]
        worse = [test for test in passed if ours.outcomes.get(test) != "passed"]
        excused = [test for test in worse if test in known]
        regressions += [
            f"{t}: {ours.outcomes.get(t, ours.trouble or 'missing')}"
            for t in worse
            if t not in known
        ]
        held = sum(outcome == "passed" for outcome in ours.outcomes.values())
        traffic = f"{megabytes(plain.lo)} > {megabytes(ours.lo)}"
        print(
            f"{module:40} {len(passed):6} {held:6} {len(worse) - len(excused):6} {len(excused):6} "
            f"{traffic:>13} {ours.trouble}",
            flush=True,
        )
    for line in regressions:
        print(f"worse: {line}")
    print(f"{len(regressions)} regressions in {len(modules)} modules")
    return 1 if regressions else 0


if __name__ == "__main__":
    sys.exit(main())
