"""What a check says when something is not as the rule wants it: expected this, happened that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

from wsdirect.spi.errors import WSAError, WsaErrorCode

__all__ = [
    "PATIENCE",
    "Deviation",
    "NotApplicable",
    "equal",
    "error",
    "eventually",
    "fail",
    "pending",
    "succeeds",
    "true",
]

PATIENCE = 5.0
"""Seconds after which something that has to happen counts as not happening."""

T = TypeVar("T")


class Deviation(AssertionError):
    """The provider does something else than the rule says.

    Args:
        expected: What the rule wants.
        happened: What was seen.
    """

    def __init__(self, expected: str, happened: str) -> None:
        super().__init__(expected, happened)
        self.expected = expected
        self.happened = happened

    def __str__(self) -> str:
        return f"expected {self.expected}; {self.happened}"


class NotApplicable(Exception):
    """The rule cannot apply to this provider; the argument says why."""


def fail(expected: str, happened: str) -> NoReturn:
    """Report a deviation."""
    raise Deviation(expected, happened)


def true(expected: str, condition: object, happened: str = "it was not so") -> None:
    """Report a deviation unless the condition holds."""
    if not condition:
        raise Deviation(expected, happened)


def equal(what: str, happened: T, expected: T) -> None:
    """Report a deviation unless two values are equal."""
    if happened != expected:
        raise Deviation(f"{what} to be {_shown(expected)}", f"it is {_shown(happened)}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) < 120 else f"{text[:100]}... ({len(text)} characters)"


def _name(code: int) -> str:
    try:
        return WsaErrorCode(code).name
    except ValueError:
        return str(code)


def error(codes: int | Iterable[int], call: Callable[..., Any], *args: Any, **kw: Any) -> WSAError:
    """Call, and report a deviation unless it fails with (one of) the given Winsock codes.

    Returns:
        The error.
    """
    wanted = (codes,) if isinstance(codes, int) else tuple(codes)
    names = " or ".join(_name(code) for code in wanted)
    what = f"{getattr(call, '__name__', call)} to fail with {names}"
    try:
        result = call(*args, **kw)
    except WSAError as caught:
        if caught.winerror not in wanted:
            raise Deviation(what, f"it failed with {caught.name}") from caught
        return caught
    except NotApplicable:
        raise
    except Exception as caught:
        raise Deviation(what, f"it raised {caught!r}") from caught
    raise Deviation(what, f"it returned {_shown(result)}")


def succeeds(call: Callable[..., T], *args: Any, **kw: Any) -> T:
    """Call, and report a deviation if it fails.

    Returns:
        What the call returned.
    """
    try:
        return call(*args, **kw)
    except NotApplicable:
        raise
    except Exception as caught:
        name = getattr(call, "__name__", call)
        said = caught.name if isinstance(caught, WSAError) else repr(caught)
        raise Deviation(f"{name} to succeed", f"it failed with {said}") from caught


def pending(call: Callable[..., Any], *args: Any, **kw: Any) -> None:
    """Call, and report a deviation unless it answers WSA_IO_PENDING or a final byte count."""
    result = succeeds(call, *args, **kw)
    if result is not None and not isinstance(result, int):
        name = getattr(call, "__name__", call)
        raise Deviation(f"{name} to return None or a byte count", f"it returned {result!r}")


def eventually(
    expected: str,
    condition: Callable[[], object],
    happened: str | Callable[[], str] = "it did not come true",
    patience: float = PATIENCE,
) -> None:
    """Report a deviation unless the condition comes true in time."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            said = happened() if callable(happened) else happened
            raise Deviation(expected, f"{said} within {patience:g} s")
        time.sleep(0.001)
