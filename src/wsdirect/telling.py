"""What is told on standard error, as WSDIRECT_LOG asks for."""

from __future__ import annotations

import os

from wsdirect import settings

__all__ = ["tell", "tell_once"]

_told: set[str] = set()
_TOLD_MAX = 1000


def tell(level: str, text: str) -> None:
    """Write one line if WSDIRECT_LOG is at this level ("error", "info" or "debug") or beyond it."""
    if not settings.current().logs(level):
        return
    try:
        # not sys.stderr: it may be None, replaced, or locked by the thread we interrupt
        os.write(2, f"wsdirect[{os.getpid()}]: {text}\n".encode(errors="replace"))
    except OSError:
        pass


def tell_once(level: str, text: str) -> None:
    """The same, but each text only once in this process: peers must not be able to fill logs."""
    if text not in _told and len(_told) < _TOLD_MAX:
        _told.add(text)
        tell(level, text)
