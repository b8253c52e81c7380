"""Reports: what came of a run, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wsdirect.testing.conformance.catalog import LEVELS, Rule

__all__ = ["Report", "RuleResult"]

OUTCOMES = ("passed", "failed", "not_applicable")


@dataclass(frozen=True)
class RuleResult:
    """What came of a rule.

    Attributes:
        rule: The rule.
        outcome: "passed", "failed" or "not_applicable".
        detail: What was expected and what happened, or why it does not apply.
        tests: Names of the checks.
    """

    rule: Rule
    outcome: str
    detail: str
    tests: Sequence[str]


class Report:
    """What came of a run.

    Attributes:
        provider: Name of the provider.
        rules: The results, in the order of the rules.
    """

    def __init__(self, provider: str, results: Sequence[RuleResult]) -> None:
        self.provider = provider
        self.rules = results

    def failed(self, level: str | None = None) -> list[RuleResult]:
        """The rules that failed, of one level or of all."""
        return [
            result
            for result in self.rules
            if result.outcome == "failed" and level in (None, result.rule.level)
        ]

    @property
    def ok(self) -> bool:
        """Whether no MUST has failed."""
        return not self.failed("MUST")

    def counts(self) -> dict[str, dict[str, int]]:
        """How many rules, by level and outcome."""
        table = {level: dict.fromkeys(OUTCOMES, 0) for level in LEVELS}
        for result in self.rules:
            table[result.rule.level][result.outcome] += 1
        return table

    def as_dict(self) -> dict[str, Any]:
        """The report as values for JSON."""
        return {
            "provider": self.provider,
            "levels": self.counts(),
            "rules": [
                {
                    "id": result.rule.id,
                    "level": result.rule.level,
                    "outcome": result.outcome,
                    "detail": result.detail,
                    "tests": list(result.tests),
                }
                for result in self.rules
            ],
        }

    def as_json(self) -> str:
        """The report as one JSON object."""
        return json.dumps(self.as_dict(), indent=1)
