"""Wrong functions are found: each row of `mistakes` fails every rule that it breaks."""

from __future__ import annotations

import pytest

from tests.testing.mistakes import MISTAKES, Mistake
from tests.testing.mutants import MUTANTS
from tests.testing.wrong_providers import Narrow
from wsdirect.spi import catalog
from wsdirect.spi.catalog import CatalogEntry
from wsdirect.spi.guid import GUID
from wsdirect.testing import Subject, expect, run
from wsdirect.testing.conformance.catalog import rules

# The provider that is broken is plain Python: one interpreter is enough.
pytestmark = pytest.mark.slow

ONE_PROCESS = "it connects sockets of one process only"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a wrong provider never does is not waited for as long as usual."""
    monkeypatch.setattr(expect, "PATIENCE", 1.0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name.replace(" ", "_"))
def test_a_mistake_is_found(mistake: Mistake) -> None:
    report = run(Subject("wrong", mistake.make, one_process=ONE_PROCESS), mistake.rules)
    assert {result.rule.id for result in report.failed()} == set(mistake.rules)


def test_without_a_mistake_nothing_is_found() -> None:
    wanted = sorted({rule for mistake in MISTAKES for rule in mistake.rules})
    report = run(Subject.load("loopback"), wanted)
    assert {result.rule.id: result.detail for result in report.failed()} == {}


@pytest.mark.parametrize(
    "wrong",
    [{"ProviderId": GUID("00000000-0000-0000-0000-000000000001")}, {"dwServiceFlags1": 0}],
)
def test_an_entry_of_the_catalogue_that_is_not_true(
    wrong: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def listed(**changes: object) -> CatalogEntry:
        info = Narrow().protocol_info.replace(**changes)
        return CatalogEntry("narrow", "tests.testing.wrong_providers:Narrow", "a test", 2001, info)

    for changes, outcome in (({}, "passed"), (wrong, "failed")):
        monkeypatch.setattr(catalog, "enum_protocols", lambda changes=changes: [listed(**changes)])
        monkeypatch.setattr(catalog, "_loaded", {})
        [result] = run(Subject("narrow", Narrow), ["R-002"]).rules
        assert result.outcome == outcome


# Nothing in these rules can be broken by one function of a provider for one process.
NOT_TRIED = {"R-002"}


def test_no_rule_about_connections_is_proven_by_checks_that_cannot_fail() -> None:
    tried = {rule for mutant in (*MISTAKES, *MUTANTS) for rule in mutant.rules} | NOT_TRIED
    missing = [
        rule.id for rule in rules().values() if rule.id < "R-153" and not rule.unchecked
        and rule.id not in tried
    ]  # fmt: skip
    assert missing == []
