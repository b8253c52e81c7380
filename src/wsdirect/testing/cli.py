"""The command line: `python -m wsdirect.testing conformance --provider NAME`."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence

from wsdirect.spi.catalog import UnknownProviderError, enum_protocols
from wsdirect.testing.conformance.catalog import LEVELS
from wsdirect.testing.conformance.report import OUTCOMES, Report
from wsdirect.testing.conformance.runner import CheckResult, run, selected
from wsdirect.testing.subject import Subject

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Without the program's name; None: those of the process.

    Returns:
        0: no MUST failed; 1: one did; 2: the command is wrong.
    """
    options = _parser().parse_args(arguments)
    try:
        chosen = selected(options.rule)
    except KeyError as error:
        print(f"wsdirect.testing: there is no rule {error.args[0]!r}; --list shows them all.",
              file=sys.stderr)  # fmt: skip
        return 2
    if options.list:
        for rule in chosen:
            note = f"  [{rule.unchecked}]" if rule.unchecked else ""
            print(f"{rule.id:6} {rule.level:7} {rule.function}: {rule.text}{note}")
        return 0
    if not options.provider:
        print("wsdirect.testing: which provider? Give --provider NAME.", file=sys.stderr)
        return 2
    try:
        subject = Subject.load(options.provider)
    except UnknownProviderError as error:
        print(f"wsdirect.testing: {error} Or: loopback, module:attribute.", file=sys.stderr)
        return 2
    except (ImportError, TypeError) as error:
        print(f"wsdirect.testing: {options.provider!r} cannot be used: {error}.", file=sys.stderr)
        return 2
    progress = _Progress() if sys.stderr.isatty() else None
    report = run(subject, options.rule, jobs=options.jobs, progress=progress)
    if progress is not None:
        progress.clear()
    print(report.as_json() if options.json else _text(report, options.verbose))
    return 0 if report.ok else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m wsdirect.testing",
        description="For people who write SAN service providers.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    suite = commands.add_parser(
        "conformance",
        help="try a provider on every rule of the contract",
        description="Try a provider on every rule of the contract that a program can check. "
        "The exit status is 1 if a MUST has failed.",
    )
    names = ", ".join(["loopback", *(entry.name for entry in enum_protocols())])
    suite.add_argument(
        "--provider", metavar="NAME", help=f"{names}, or module:attribute for one of your own"
    )
    suite.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="ID",
        help="this rule only, or all whose ids begin like this; may be repeated",
    )
    suite.add_argument("--json", action="store_true", help="print one JSON object")
    suite.add_argument("--list", action="store_true", help="list the rules and stop")
    suite.add_argument("-v", "--verbose", action="store_true", help="show every rule")
    suite.add_argument(
        "--jobs",
        type=int,
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="checks at a time (default: %(default)s)",
    )
    return parser


class _Progress:
    """One line on the terminal that says how far it is."""

    def __call__(self, result: CheckResult, done: int, total: int) -> None:
        width = 30
        filled = done * width // total
        bar = "#" * filled + "." * (width - filled)
        print(f"\r[{bar}] {done}/{total} {result.check.name:<50.50}", end="", file=sys.stderr)

    def clear(self) -> None:
        """Take the line away."""
        print("\r" + " " * 100 + "\r", end="", file=sys.stderr)


def _text(report: Report, verbose: bool) -> str:
    lines = [f"Provider {report.provider}", ""]
    lines.append(f"{'':8}{'passed':>8}{'failed':>8}{'not applicable':>16}")
    counts = report.counts()
    for level in LEVELS:
        passed, failed, none = (counts[level][outcome] for outcome in OUTCOMES)
        lines.append(f"{level:8}{passed:8}{failed:8}{none:16}")
    shown = report.rules if verbose else report.failed()
    for result in shown:
        rule = result.rule
        mark = {"passed": "passed", "failed": "FAILED", "not_applicable": "n/a"}[result.outcome]
        lines += ["", f"{rule.id} {rule.level} {mark}: {rule.function}: {rule.text}"]
        if result.detail:
            lines += textwrap.wrap(result.detail, 100, initial_indent="    ",
                                   subsequent_indent="    ")  # fmt: skip
        if result.outcome == "failed":
            lines.append(f"    Source: {rule.source}. Checks: {', '.join(result.tests)}.")
    if not report.failed():
        lines += ["", "Every rule that applies is followed."]
    elif report.ok:
        lines += ["", "Every MUST that applies is followed."]
    return "\n".join(lines)
