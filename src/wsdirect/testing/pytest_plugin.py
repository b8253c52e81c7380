"""The conformance suite as pytest tests: one for each rule.

In a test file:

    from wsdirect.testing import Subject, conformance_tests

    test_conformance = conformance_tests(Subject("mine", MyProvider))

A rule that does not apply is skipped with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from wsdirect.testing.conformance.runner import CheckResult, run, selected
from wsdirect.testing.subject import Subject

__all__ = ["conformance_tests"]


def conformance_tests(
    subject: Subject | str,
    rules: Iterable[str] = (),
    levels: Collection[str] = ("MUST", "SHOULD"),
    deviations: Collection[str] = (),
) -> Callable[..., None]:
    """A pytest test function with one case for each rule.

    Args:
        subject: The provider, or a name for `Subject.load`.
        rules: Ids of rules, or beginnings of ids; none: all.
        levels: Levels whose rules have to pass; of others a failure is an expected one.
        deviations: Ids of rules that the provider deliberately does not follow: these have to
            fail, so that the list stays true.
    """
    import pytest

    if isinstance(subject, str):
        subject = Subject.load(subject)
    tested = subject
    known: dict[str, CheckResult] = {}  # a check may prove several rules

    @pytest.mark.parametrize("rule", [rule.id for rule in selected(rules)])
    def test(rule: str) -> None:
        result = next(
            one for one in run(tested, [rule], jobs=1, known=known).rules if one.rule.id == rule
        )
        if result.outcome == "not_applicable":
            pytest.skip(result.detail)
        said = f"{result.rule.level} {rule} ({result.rule.function}): {result.rule.text}"
        if rule in deviations:
            if result.outcome == "passed":
                pytest.fail(f"{said}\nis listed as a deviation, but is followed.")
            pytest.xfail(result.detail)
        if result.outcome == "failed":
            if result.rule.level in levels:
                pytest.fail(f"{said}\n{result.detail}", pytrace=False)
            pytest.xfail(result.detail)

    test.__doc__ = f"{subject.name} follows the contract."
    return test


def pytest_addoption(parser: Any) -> None:
    """For `pytest -p wsdirect.testing.pytest_plugin --wsdirect-provider NAME`."""
    parser.addoption(
        "--wsdirect-provider",
        metavar="NAME",
        help="try this SAN service provider on the rules of the contract: a name of the "
        "catalogue, or module:attribute",
    )


def pytest_collection_modifyitems(session: Any, config: Any, items: list[Any]) -> None:
    """Add the tests for the provider that was named."""
    import pytest

    name = config.getoption("--wsdirect-provider")
    if not name:
        return
    test = conformance_tests(name)
    module = pytest.Module.from_parent(session, path=config.rootpath / "wsdirect.py")
    module._obj = type("suite", (), {"__name__": "conformance", "test_conformance": test})
    function = pytest.Function
    marker = test.pytestmark[0]  # type: ignore[attr-defined]
    for rule in marker.args[1]:
        items.append(
            function.from_parent(
                module,
                name=f"test_conformance[{rule}]",
                callobj=(lambda rule=rule: test(rule=rule)),
            )
        )
