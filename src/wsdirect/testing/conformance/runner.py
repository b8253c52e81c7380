"""Running checks: each in a process of its own, so that none can hang or crash the suite."""

from __future__ import annotations

import json
import os
import selectors
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from wsdirect.testing.conformance.catalog import Rule, rules
from wsdirect.testing.conformance.registry import Check, checks
from wsdirect.testing.conformance.report import Report, RuleResult
from wsdirect.testing.driver import Driver
from wsdirect.testing.expect import Deviation, NotApplicable
from wsdirect.testing.subject import Subject

__all__ = ["CheckResult", "run", "run_check", "selected"]

PASSED = "passed"
FAILED = "failed"
NOT_APPLICABLE = "not_applicable"


@dataclass(frozen=True)
class CheckResult:
    """What came of a check.

    Attributes:
        check: The check.
        outcome: "passed", "failed" or "not_applicable".
        detail: What was expected and what happened, or why it does not apply.
    """

    check: Check
    outcome: str
    detail: str


def selected(patterns: Iterable[str] = ()) -> list[Rule]:
    """The rules whose ids begin with one of these, or all.

    Raises:
        KeyError: No rule begins like that.
    """
    known = rules()
    wanted = list(patterns)
    for pattern in wanted:
        if not any(name.startswith(pattern) for name in known):
            raise KeyError(pattern)
    return [
        rule
        for name, rule in known.items()
        if not wanted or any(name.startswith(pattern) for pattern in wanted)
    ]


def run(
    subject: Subject,
    patterns: Iterable[str] = (),
    *,
    jobs: int = 2,
    progress: Callable[[CheckResult, int, int], object] | None = None,
    known: dict[str, CheckResult] | None = None,
) -> Report:
    """Try a provider on rules.

    Args:
        subject: The provider.
        patterns: Ids of rules, or beginnings of ids; none: all rules.
        jobs: How many checks at a time.
        progress: Called after each check with its result, how many are done, and of how many.
        known: Results of checks by name, from earlier runs; these are not run again.  Results
            other than failures are added.
    """
    known = {} if known is None else known
    wanted = selected(patterns)
    names = {rule.id for rule in wanted}
    chosen = [check for check in checks() if names.intersection(check.rules)]
    found = [known[check.name] for check in chosen if check.name in known]
    left = [check for check in chosen if check.name not in known]
    results: dict[str, list[CheckResult]] = {rule.id: [] for rule in wanted}
    for done, result in enumerate(chain(found, _run_all(subject, left, jobs)), 1):
        if result.outcome != FAILED:
            known[result.check.name] = result
        for name in result.check.rules:
            if name in results:
                results[name].append(result)
        if progress is not None:
            progress(result, done, len(chosen))
    return Report(subject.name, [_judge(rule, results[rule.id]) for rule in wanted])


def _judge(rule: Rule, results: list[CheckResult]) -> RuleResult:
    """A rule's outcome: failed if one check failed, else passed if one passed."""
    tests = sorted(result.check.name for result in results)
    if not results:
        return RuleResult(rule, NOT_APPLICABLE, rule.unchecked or "no check was made", tests)
    for outcome in (FAILED, PASSED, NOT_APPLICABLE):
        details = [result.detail for result in results if result.outcome == outcome]
        if details:
            return RuleResult(rule, outcome, "; ".join(dict.fromkeys(filter(None, details))), tests)
    raise AssertionError("a check has no outcome")


class _Running:
    """A check that runs in a process of its own.

    Attributes:
        reader: Where it says what came of it.
        ended: A descriptor that becomes readable when the process ends.
        deadline: When it has to be ended.
        late: Whether it has not ended by itself.
    """

    def __init__(self, subject: Subject, check: Check) -> None:
        self.check = check
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed in result()
        self.reader, writer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.reader)
            _child(subject, check, writer, self.errors.fileno())
        os.close(writer)
        try:
            os.setpgid(self.pid, self.pid)
        except OSError:  # it has done so itself, or has ended already
            pass
        # Readable when the process ends.  The end of the pipe may come much later: processes that
        # the check has made hold it, too.
        self.ended = os.pidfd_open(self.pid)
        os.set_blocking(self.reader, False)
        self.deadline = time.monotonic() + check.timeout
        self.late = True
        self.data = b""

    def read(self) -> bool:
        """Take what it has said so far; False at the end of the pipe."""
        while True:
            try:
                piece = os.read(self.reader, 65536)
            except BlockingIOError:
                return True
            if not piece:
                return False
            self.data += piece

    def result(self) -> CheckResult:
        """End it, with all the processes that it has made, and judge."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        _, status = os.waitpid(self.pid, 0)
        self.read()
        os.close(self.reader)
        os.close(self.ended)
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace").strip().splitlines()
        self.errors.close()
        try:
            outcome, detail = json.loads(self.data)
            return CheckResult(self.check, outcome, detail)
        except ValueError:  # it has said nothing, or not all
            pass
        last = f" ({said[-1]})" if said else ""
        if self.late:
            detail = f"expected an end within {self.check.timeout:g} s; it hung{last}"
        else:
            detail = f"expected the process to go on; it ended with status {status:#x}{last}"
        return CheckResult(self.check, FAILED, detail)


def _child(subject: Subject, check: Check, writer: int, errors: int) -> None:
    """Run the check and say what came of it; does not return."""
    try:
        os.setpgid(0, 0)
        os.dup2(errors, 2)
        answer = json.dumps(_try(subject, check)).encode()
        while answer:
            answer = answer[os.write(writer, answer) :]
    finally:
        os._exit(0)


def _try(subject: Subject, check: Check) -> tuple[str, str]:
    try:
        with Driver(subject, start=check.start) as driver:
            check.function(driver)
    except NotApplicable as reason:
        return NOT_APPLICABLE, str(reason)
    except Deviation as deviation:
        return FAILED, f"{check.name}: {deviation}"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        at = f"{os.path.basename(where.filename)}:{where.lineno}"
        return FAILED, f"{check.name}: expected no exception; {error!r} at {at}"
    return PASSED, ""


def run_check(subject: Subject, check: Check) -> CheckResult:
    """Run one check in a process of its own."""
    return next(_run_all(subject, [check], 1))


def _run_all(subject: Subject, chosen: Iterable[Check], jobs: int) -> Iterator[CheckResult]:
    """Run checks, `jobs` at a time; results as they come."""
    waiting = iter(chosen)
    running: list[_Running] = []
    with selectors.DefaultSelector() as selector:
        try:
            while True:
                while len(running) < jobs and (check := next(waiting, None)) is not None:
                    started = _Running(subject, check)
                    running.append(started)
                    selector.register(started.reader, selectors.EVENT_READ, started)
                    selector.register(started.ended, selectors.EVENT_READ, started)
                if not running:
                    return
                soonest = min(one.deadline for one in running)
                for key, _ in selector.select(max(soonest - time.monotonic(), 0)):
                    if key.fd == key.data.reader and not key.data.read():
                        selector.unregister(key.fd)
                    elif key.fd == key.data.ended:
                        key.data.deadline = 0.0
                        key.data.late = False
                now = time.monotonic()
                for one in [one for one in running if one.deadline <= now]:
                    for fd in (one.reader, one.ended):
                        if fd in selector.get_map():
                            selector.unregister(fd)
                    running.remove(one)
                    yield one.result()
        finally:
            for one in running:
                one.result()
