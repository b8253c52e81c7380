"""The progress bar, on standard error: rich's if it is installed, else a plain one."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wsdirect.tools.bench.measure import Silent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsdirect.tools.bench.measure import Progress

__all__ = ["bar"]


@contextmanager
def bar(steps: int) -> Iterator[Progress]:
    """A bar of so many steps for as long as the context lasts; none where nobody would see it."""
    if not sys.stderr.isatty():
        yield Silent()
        return
    try:
        from rich import progress
        from rich.console import Console
    except ImportError:
        plain = Plain(steps)
        try:
            yield plain
        finally:
            plain.clear()
        return
    with progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as display:
        yield Rich(display, display.add_task("starting", total=steps))


class Rich:
    """A task of rich's display."""

    def __init__(self, display: Any, task: Any) -> None:
        self._display = display
        self._task = task

    def show(self, title: str) -> None:
        """Say what happens now."""
        self._display.update(self._task, description=title)

    def step(self) -> None:
        """One more is done."""
        self._display.advance(self._task)


class Plain:
    """One line that is written over and over, ten times a second at most."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done = 0
        self._title = ""
        self._drawn = 0.0

    def show(self, title: str) -> None:
        """Say what happens now."""
        self._title = title
        self._draw()

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        if time.monotonic() - self._drawn > 0.1:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        full = 30 * self._done // max(1, self._steps)
        line = "#" * full + "." * (30 - full)
        sys.stderr.write(f"\r\033[K[{line}] {self._done}/{self._steps} {self._title}")
        sys.stderr.flush()

    def clear(self) -> None:
        """Take it off the terminal."""
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()
