"""What a check says when something is not as the rule wants it: expected this, happened that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

from wsdirect.spi.errors import WSAError, WsaErrorCode

__all__ = [
    "PATIENCE",
    "QUIET",
    "Deviation",
    "NotApplicable",
    "code",
    "equal",
    "error",
    "eventually",
    "fail",
    "name",
    "one_of",
    "pending",
    "promptly",
    "succeeds",
    "true",
]

PATIENCE = 5.0
"""Seconds after which something that has to happen counts as not happening."""

QUIET = 0.02
"""Seconds to wait for something that must not happen."""

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


def _called(call: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """What a call is of; of the functions here that call others, the other one."""
    while getattr(call, "__module__", "") == __name__ and args:
        call, *rest = args
        args = tuple(rest)
    return str(getattr(call, "__name__", call))


def name(code: int) -> str:
    """A Winsock code in words."""
    if code == 0:
        return "success"
    try:
        return WsaErrorCode(code).name
    except ValueError:
        return str(code)


def one_of(what: str, happened: int, wanted: Iterable[int]) -> None:
    """Report a deviation unless an outcome is one of these: Winsock codes, or 0 for success."""
    wanted = tuple(wanted)
    if happened not in wanted:
        names = " or ".join(name(code) for code in wanted)
        raise Deviation(f"{what} to be {names}", f"it is {name(happened)}")


def code(call: Callable[..., Any], *args: Any, **kw: Any) -> int:
    """Call, and tell how it ended: 0 or a Winsock code; any other exception is a deviation."""
    try:
        call(*args, **kw)
    except WSAError as error:
        return error.winerror
    except (NotApplicable, Deviation):
        raise
    except Exception as error:
        what = _called(call, args)
        raise Deviation(
            f"{what} to succeed, or to fail with a Winsock error", f"it raised {error!r}"
        ) from error
    return 0


def promptly(call: Callable[..., T], *args: Any, **kw: Any) -> T:
    """Call in a thread of its own, and report a deviation if the call does not come back.

    Returns:
        What the call returned; what it raised comes out here.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call(*args, **kw))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if thread.is_alive():
        what = _called(call, args)
        raise Deviation(f"{what} to come back", f"it did not within {PATIENCE:g} s")
    if errors:
        raise errors[0]
    return results[0]


def error(codes: int | Iterable[int], call: Callable[..., Any], *args: Any, **kw: Any) -> WSAError:
    """Call, and report a deviation unless it fails with (one of) the given Winsock codes.

    Returns:
        The error.
    """
    wanted = (codes,) if isinstance(codes, int) else tuple(codes)
    names = " or ".join(name(code) for code in wanted)
    what = f"{_called(call, args)} to fail with {names}"
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
        what = _called(call, args)
        said = caught.name if isinstance(caught, WSAError) else repr(caught)
        raise Deviation(f"{what} to succeed", f"it failed with {said}") from caught


def pending(call: Callable[..., Any], *args: Any, **kw: Any) -> None:
    """Call, and report a deviation unless it answers WSA_IO_PENDING or a final byte count."""
    result = succeeds(call, *args, **kw)
    if result is not None and not isinstance(result, int):
        what = _called(call, args)
        raise Deviation(f"{what} to return None or a byte count", f"it returned {result!r}")


def eventually(
    expected: str,
    condition: Callable[[], object],
    happened: str | Callable[[], str] = "it did not come true",
    patience: float | None = None,
) -> None:
    """Report a deviation unless the condition comes true in time; None is the usual patience."""
    if patience is None:
        patience = PATIENCE
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            said = happened() if callable(happened) else happened
            raise Deviation(expected, f"{said} within {patience:g} s")
        time.sleep(0.001)
