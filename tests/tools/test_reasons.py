import pytest

from wsdirect import reasons


def test_numbers_and_codes_are_unique_and_found():
    for number, reason in enumerate(reasons.ALL):
        assert reason.number == number
        assert reasons.by_number(number) is reason
        assert reasons.by_code(reason.code) is reason
        assert reason.code == reason.code.lower()
        assert " " not in reason.code
        assert reason.sentence.endswith(".")
        assert str(reason) == reason.code


def test_every_constant_is_listed():
    constants = [one for one in vars(reasons).values() if isinstance(one, reasons.Reason)]
    assert set(constants) == set(reasons.ALL)


def test_unknown_ones():
    assert reasons.by_number(999) is None
    assert reasons.by_number(-1) is None
    with pytest.raises(KeyError):
        reasons.by_code("because")


def test_explanation_has_the_way_out():
    assert reasons.NO_LISTENER.explain() == (
        "no-listener: Nobody accepts switched connections on that address. "
        "Start the server with wsdirect run too."
    )
