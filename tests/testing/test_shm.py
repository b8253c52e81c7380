"""The shared-memory provider follows every rule, whichever way its RDMA takes."""

import pytest

from wsdirect import settings
from wsdirect.testing import Subject, run

# By what no program here can check, or shm has none of: its reasons are in the report.
NOT_APPLICABLE_MAX = 20


def failures(*patterns: str) -> dict[str, str]:
    report = run(Subject.load("shm"), patterns, jobs=4)
    return {result.rule.id: result.detail for result in report.failed()}


@pytest.mark.timeout(300)
def test_it_follows_every_rule() -> None:
    report = run(Subject.load("shm"), jobs=4)
    assert {result.rule.id: result.detail for result in report.failed()} == {}
    idle = {r.rule.id: r.detail for r in report.rules if r.outcome == "not_applicable"}
    assert len(idle) <= NOT_APPLICABLE_MAX, idle
    assert all(idle.values()), "each has its reason"


@pytest.mark.slow
@pytest.mark.parametrize("way", ["shared", "direct", "owner"])
def test_rdma_whichever_way_it_takes(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory is not the provider's own, `shared` falls back to the other two."""
    monkeypatch.setenv("WSDIRECT_RDMA", way)
    settings.forget()
    assert settings.current().rdma == way
    rules = [f"R-{number}" for number in (*range(205, 218), *range(227, 238))]
    mistakes = [f"T-{number}" for number in range(29, 38)]
    try:
        assert failures(*rules, *mistakes) == {}
    finally:
        settings.forget()
