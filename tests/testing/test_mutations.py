"""The suite finds mistakes: each wrong provider fails a rule that the right one follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.testing.mutants import MUTANTS
from tests.testing.mutation import Mutant, build
from wsdirect.testing import Subject, expect, run
from wsdirect.testing.conformance import runner
from wsdirect.testing.conformance.registry import checks

# The provider that is broken is plain Python: one interpreter is enough.
pytestmark = pytest.mark.slow

ONE_PROCESS = "it connects sockets of one process only"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a wrong provider never does is not waited for as long as usual."""
    short = [replace(one, timeout=min(one.timeout, 5)) for one in checks()]
    monkeypatch.setattr(runner, "checks", lambda: short)
    monkeypatch.setattr(expect, "PATIENCE", 0.4)
    monkeypatch.setattr(
        expect.eventually, "__defaults__", (*expect.eventually.__defaults__[:-1], 0.4)
    )


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "_"))
def test_a_mistake_is_found(mutant: Mutant) -> None:
    subject = Subject(mutant.name, build(mutant), one_process=ONE_PROCESS)
    report = run(subject, mutant.rules, jobs=4)
    found = {result.rule.id for result in report.failed()}
    assert found, f"none of {', '.join(mutant.rules)} has failed"


def test_a_copy_without_a_mistake_is_the_provider() -> None:
    """That the provider itself follows all these rules is shown in test_loopback.py."""
    subject = Subject("copy", build(Mutant("", (), ())), one_process=ONE_PROCESS)
    report = run(subject, ["R-158", "R-178", "R-227"])
    assert {result.outcome for result in report.rules} == {"passed"}


def test_there_are_enough() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) == len(set(names)) >= 40


def test_a_mutant_of_lines_that_are_gone_is_no_mutant() -> None:
    from tests.testing.mutation import Edit

    with pytest.raises(LookupError, match="has the source changed"):
        build(Mutant("stale", ("R-034",), (Edit("provider", "no such line", ""),)))
