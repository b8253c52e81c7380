"""Each mutant of `mutants_rest` fails every rule that it names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.testing.mutants_rest import MUTANTS
from tests.testing.mutation import Mutant, build
from wsdirect.testing import Subject, expect, run
from wsdirect.testing.conformance import runner
from wsdirect.testing.conformance.registry import checks

# The provider that is broken is plain Python: one interpreter is enough.
pytestmark = pytest.mark.slow

ONE_PROCESS = "it connects sockets of one process only"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a wrong provider never does is not waited for as long as usual."""
    short = [replace(one, timeout=min(one.timeout, 4)) for one in checks()]
    monkeypatch.setattr(runner, "checks", lambda: short)
    monkeypatch.setattr(expect, "PATIENCE", 1.0)
    monkeypatch.setattr(
        expect.eventually, "__defaults__", (*expect.eventually.__defaults__[:-1], 1.0)
    )


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "_"))
def test_a_mistake_is_found(mutant: Mutant) -> None:
    report = run(Subject(mutant.name, build(mutant), one_process=ONE_PROCESS), mutant.rules)
    assert {result.rule.id for result in report.failed()} == set(mutant.rules)


def test_without_a_mistake_nothing_is_found() -> None:
    rules = sorted({rule for mutant in MUTANTS for rule in mutant.rules})
    report = run(Subject("unchanged", build(Mutant("", (), ())), one_process=ONE_PROCESS), rules)
    assert {result.rule.id: result.detail for result in report.failed()} == {}
