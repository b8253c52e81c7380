"""A measured process: one end of a contender, told by lines of JSON what to do.

    python -m wsdirect.tools.bench.worker CONTENDER server|client PINNING

A line [method, arguments] on standard input calls that method of the end; the answer is a line with
its value, the CPU and the time that it took, or with the error.  The end of the input is ours.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import time
from typing import Any

from wsdirect.tools.bench.contenders import CONTENDERS

__all__ = ["main"]

PR_SET_PDEATHSIG = 1  # prctl(2)


def main(words: list[str]) -> int:
    """Serve until the input ends."""
    _end_with_parent()
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        end, trouble = _end(*words), None
    except BaseException as error:
        end, trouble = None, _text(error)
    gc.collect()
    gc.freeze()  # what is here now is no concern of a collection in the middle of a measurement
    for line in sys.stdin:
        method, arguments = json.loads(line)
        try:
            answer = {"error": trouble} if trouble else _call(getattr(end, method), arguments)
        except Exception as error:
            answer = {"error": _text(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    if end is not None:
        end.close()
    os._exit(0)  # ends may hold threads and half-closed loops; nothing of them is worth keeping


def _end_with_parent() -> None:
    """Also when it is killed in the middle of a measurement, when nobody reads the input."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _end(name: str, role: str, pinning: str) -> Any:
    contender = CONTENDERS[name]
    module, _, kind = contender.end.partition(":")
    found = importlib.import_module(f"wsdirect.tools.bench.contenders.{module}")
    return getattr(found, kind)(role, pinning, contender.switched)


def _call(method: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    before, start = time.process_time(), time.perf_counter()
    value = method(**arguments)
    seconds, cpu = time.perf_counter() - start, time.process_time() - before
    return {"value": value, "seconds": seconds, "cpu": cpu}


def _text(error: BaseException) -> str:
    words = str(error).strip().splitlines()
    return f"{type(error).__name__}: {words[0]}".rstrip(".") if words else type(error).__name__


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
