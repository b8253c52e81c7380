"""Messages to the user on standard error, by WSDIRECT_LOG; none repeats itself."""

from __future__ import annotations

import os
import sys

from wsdirect import settings

_said: set[str] = set()


def say(level: str, sentence: str, *, once: bool = True) -> None:
    """Write one line if WSDIRECT_LOG asks for that level ("error", "info" or "debug")."""
    if not settings.current().logs(level) or (once and sentence in _said):
        return
    _said.add(sentence)
    try:
        os.write(2, f"wsdirect[{os.getpid()}]: {sentence}\n".encode(errors="replace"))
    except OSError:
        sys.audit("wsdirect.unsaid", sentence)  # no standard error: nothing else to do
