"""What a fork does to providers."""

from __future__ import annotations

import os
from weakref import ref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsdirect.providers.shm.san import San

__all__ = ["include"]

_known: list[ref[San]] = []
_hooked = False


def include(san: San) -> None:
    """Tell this SAN before a fork and in the forked child, as long as it exists."""
    global _hooked
    if san not in list(_all()):
        _known[:] = [found for found in _known if found() is not None] + [ref(san)]
    if not _hooked:
        _hooked = True
        os.register_at_fork(before=_before, after_in_child=_in_child)


def _all() -> Iterator[San]:
    for found in list(_known):
        san = found()
        if san is not None:
            yield san


def _before() -> None:
    for san in _all():
        san.before_fork()


def _in_child() -> None:
    for san in _all():
        san.after_fork_in_child()
