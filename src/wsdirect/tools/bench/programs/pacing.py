"""What the programs here share: when to begin, when to end, and how long operations took."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable

__all__ = ["announce", "measure", "measure_async", "port", "tell", "words"]

WARM_UP = 0.1
"""So much of the time goes before the measured operations."""


def port() -> int:
    """The server's port, the first argument."""
    return int(sys.argv[1])


def words() -> list[str]:
    """The arguments after it."""
    return sys.argv[2:]


def announce(number: int) -> None:
    """Print the server's port; end the process once its standard input does."""
    print(number, flush=True)
    threading.Thread(target=_end_with_input, daemon=True).start()


def _end_with_input() -> None:
    while os.read(0, 1024):
        pass
    os._exit(0)


def measure(operation: Callable[[], object], each: int = 1) -> None:
    """For every line of input do the operation for so many seconds, then print what came of it.

    Args:
        operation: What is timed.
        each: How many requests it makes.
    """
    clock = time.perf_counter
    for line in sys.stdin:
        seconds = float(line)
        end = clock() + seconds * WARM_UP
        while clock() < end:
            operation()
        times = []
        start = before = clock()
        while before < start + seconds:
            operation()
            now = clock()
            times.append(now - before)
            before = now
        tell(times, before - start, each)


async def measure_async(operation: Callable[[], Awaitable[object]], each: int = 1) -> None:
    """The same with an operation that is awaited; nothing else happens in the loop meanwhile."""
    clock = time.perf_counter
    for line in sys.stdin:
        seconds = float(line)
        end = clock() + seconds * WARM_UP
        while clock() < end:
            await operation()
        times = []
        start = before = clock()
        while before < start + seconds:
            await operation()
            now = clock()
            times.append(now - before)
            before = now
        tell(times, before - start, each)


def tell(times: list[float], whole: float, each: int = 1) -> None:
    """Print operations per second, and the time of one in seconds: median, p99 and the least."""
    times.sort()
    last = len(times) - 1
    figures = {
        "rate": len(times) * each / whole,
        "median": times[last // 2],
        "p99": times[int(last * 0.99)],
        "least": times[0],
    }
    print(json.dumps(figures), flush=True)
