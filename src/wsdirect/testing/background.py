"""Calls that a check makes in another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from wsdirect.testing import expect

__all__ = ["Background"]


class Background:
    """A function that runs in a thread, and what came of it."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._function = function
        self._arguments = arguments
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._function(*self._arguments)
        except BaseException as error:
            self._error = error

    @property
    def running(self) -> bool:
        """Whether it has not returned."""
        return self._thread.is_alive()

    def result(self) -> Any:
        """Wait for it; what it returned, or raises what it raised."""
        self._thread.join(2 * expect.PATIENCE)
        if self.running:
            expect.fail("the call in another thread to return", "it hangs")
        if self._error is not None:
            raise self._error
        return self._result
