"""`wsdirect doctor`: what switching needs, whether this machine has it, and what to do if not."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import resource
import socket
import subprocess
import sys

from wsdirect import reasons, settings, status
from wsdirect.tools import run
from wsdirect.tools.text import paint, print_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CHECKS", "Finding", "main"]

OK, WARN, FAIL = "ok", "warn", "fail"
COLOURS = {OK: "green", WARN: "yellow", FAIL: "red"}

# Both ends in one program: accept in a thread, then bytes each way.
SELF_TEST = """\
import json, socket, threading
import wsdirect

def serve(listener):
    peer, _ = listener.accept()
    with peer:
        while data := peer.recv(65536):
            peer.sendall(data)

listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=(listener,), daemon=True).start()
address = listener.getsockname()
# The first connections may come before the thread accepts, and then stay on TCP.
for attempt in range(20):
    with socket.create_connection(address, 5) as sock:
        switched = wsdirect.is_switched(sock)
        if not switched and attempt < 19:
            threading.Event().wait(0.02)
            threading.Thread(target=serve, args=(listener,), daemon=True).start()
            continue
        want, got = bytes(range(256)) * 64, b""
        sock.sendall(want)
        while len(got) < len(want) and (data := sock.recv(65536)):
            got += data
        known = wsdirect.info(sock)
        break
print(json.dumps({"same": got == want, "switched": switched, "info": known}, default=str))
"""


class Finding:
    """What a check found: `state` (ok, warn or fail), `text`, and `advice` if not ok."""

    __slots__ = ("advice", "state", "text")

    def __init__(self, state: str, text: str, advice: str = "") -> None:
        self.state = state
        self.text = text
        self.advice = advice


def main(words: list[str]) -> int:
    """Run all checks; status 1 if any fails."""
    parser = argparse.ArgumentParser(
        prog="wsdirect doctor",
        description="Check what switching needs on this machine. The status is 1 if a check fails.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="as data")
    options = parser.parse_args(words)

    findings: list[tuple[str, Finding]] = []
    for name, check in CHECKS.items():
        try:
            finding = check()
        except Exception as error:  # a doctor must not fall ill
            finding = Finding(FAIL, f"{type(error).__name__}: {error}", "Report this as a bug.")
        findings.append((name, finding))
        if not options.json:
            _print(name, finding)
    if options.json:
        print_json(
            [
                {
                    "check": name,
                    "state": finding.state,
                    "text": finding.text,
                    "advice": finding.advice,
                }
                for name, finding in findings
            ]
        )
    return int(any(finding.state == FAIL for _, finding in findings))


def _print(name: str, finding: Finding) -> None:
    state = paint(f"{finding.state:4}", COLOURS[finding.state], sys.stdout)
    print(f"{state}  {name}: {finding.text}", flush=True)
    if finding.state != OK and finding.advice:
        print(f"      {finding.advice}", flush=True)


def check_python() -> Finding:
    """CPython from 3.11 on."""
    version = ".".join(map(str, sys.version_info[:3]))
    name = sys.implementation.name
    if name != "cpython" or sys.version_info < (3, 11):
        return Finding(FAIL, f"{name} {version}", "Use CPython 3.11 or later.")
    if sys.version_info >= (3, 14):
        return Finding(WARN, f"{name} {version}", "Tested with 3.11 to 3.13.")
    return Finding(OK, f"{name} {version}")


def check_core() -> Finding:
    """The compiled core can be imported."""
    try:
        import wsdirect._core._native as core
    except ImportError as error:
        return Finding(
            FAIL,
            f"not available: {error}",
            "Reinstall wsdirect for this Python, or build it with a C compiler.",
        )
    return Finding(OK, f"available ({os.path.basename(core.__file__ or '?')})")


def check_bell() -> Finding:
    """AF_UNIX sockets poll as the bell protocol needs."""
    try:
        from wsdirect._core._native import bell_is_true
    except ImportError:
        return Finding(WARN, "not checked, as the core is not available", "See the check above.")
    if bell_is_true():
        return Finding(OK, "local sockets poll as needed")
    return Finding(FAIL, reasons.BELL_UNTRUE.sentence, reasons.BELL_UNTRUE.advice)


def check_memory() -> Finding:
    """memfd_create with seals."""
    try:
        fd = os.memfd_create("wsdirect-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, 4096)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        finally:
            os.close(fd)
    except OSError as error:
        return Finding(
            FAIL,
            f"memory files cannot be made and sealed: {error.strerror}",
            "A container's seccomp profile may forbid memfd_create; allow it there.",
        )
    return Finding(OK, "memory files can be made and sealed")


def check_names() -> Finding:
    """Abstract AF_UNIX names."""
    try:
        with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
            first.bind("")  # the kernel chooses a free abstract name
            first.listen(1)
            second.connect(first.getsockname())
    except OSError as error:
        return Finding(
            FAIL,
            f"abstract socket names do not work: {error.strerror}",
            "Look for a security policy (AppArmor, SELinux, gVisor) that forbids them.",
        )
    return Finding(OK, "abstract socket names work")


def check_proc() -> Finding:
    """/proc shows descriptors."""
    try:
        os.listdir("/proc/self/fd")
    except OSError as error:
        return Finding(
            WARN, f"/proc is not there: {error.strerror}", "Mount it; wsdirect ss needs it."
        )
    return Finding(OK, "/proc is there")


def check_cpus() -> Finding:
    """CPUs that this process may use."""
    count = len(os.sched_getaffinity(0))
    if count == 1:
        return Finding(
            WARN,
            "one CPU",
            "Nothing to mend: peers take turns instead of waiting busily, so round trips take "
            "microseconds more than with two.",
        )
    return Finding(OK, f"{count} CPUs")


def check_descriptors() -> Finding:
    """The limit of open descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft_text, hard_text = (
        "no limit" if limit == resource.RLIM_INFINITY else str(limit) for limit in (soft, hard)
    )
    text = f"{soft_text} descriptors (up to {hard_text})"
    if soft != resource.RLIM_INFINITY and soft < 1024:
        return Finding(WARN, text, f"Raise it for servers: ulimit -n {hard_text}")
    return Finding(OK, text)


def check_settings() -> Finding:
    """All WSDIRECT_* variables make sense."""
    try:
        now = settings.load()
    except settings.SettingError as error:
        return Finding(FAIL, str(error), "wsdirect env --help; the README lists all settings.")
    names = [setting.name for setting in settings.ALL if os.environ.get(setting.name)]
    if "shm" not in now.providers:
        return Finding(WARN, "WSDIRECT_PROVIDERS leaves out shm", "Local peers will use TCP.")
    return Finding(OK, f"valid, set: {', '.join(names) if names else 'none'}")


def check_exchange() -> Finding:
    """A program under the launcher talks to itself over a switched connection."""
    environ = {**run.without_switch(os.environ), "WSDIRECT_LOG": "error"}
    for name in ("WSDIRECT_EXCLUDE", "WSDIRECT_REQUIRE", "WSDIRECT_PROVIDERS"):
        environ.pop(name, None)
    command = [sys.executable, "-m", "wsdirect", "run", "-c", SELF_TEST]
    try:
        ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30)
    except subprocess.TimeoutExpired:
        return Finding(FAIL, "bytes between two ends got stuck", "Report this as a bug.")
    if ended.returncode != 0:
        words = ended.stderr.strip().splitlines() or [f"status {ended.returncode}"]
        return Finding(FAIL, f"the self-test failed: {words[-1]}", "See the checks above first.")
    found = json.loads(ended.stdout.splitlines()[-1])
    if not found["same"]:
        return Finding(FAIL, "bytes arrived changed", "Report this as a bug.")
    if not found["switched"]:
        words = ended.stderr.strip().splitlines() or [str(found["info"])]
        return Finding(
            FAIL, f"a local connection stayed on TCP: {words[-1]}", "See the checks above first."
        )
    return Finding(OK, "a switched connection carries bytes both ways")


def check_page() -> Finding:
    """This process can publish a status page and find it again."""
    row = status.page().open_row(fd=0, role="connect")
    try:
        snapshot = status.read_process(os.getpid())
    finally:
        status.page().close_row(row)
    if row < 0 or snapshot is None:
        return Finding(WARN, "status pages do not work", "wsdirect ss will show nothing.")
    return Finding(OK, "status pages can be written and read")


CHECKS: dict[str, Callable[[], Finding]] = {
    "python": check_python,
    "core": check_core,
    "memory": check_memory,
    "names": check_names,
    "bell": check_bell,
    "proc": check_proc,
    "status": check_page,
    "cpus": check_cpus,
    "descriptors": check_descriptors,
    "settings": check_settings,
    "exchange": check_exchange,
}
