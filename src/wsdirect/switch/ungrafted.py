"""The pollers of the standard library as they were: the front grafts those that programs see.

It loads this module before it does so.
"""

from __future__ import annotations

import select

__all__ = ["epoll_register", "epoll_unregister", "epoll_wait", "poll"]

epoll_register = select.epoll.register
epoll_unregister = select.epoll.unregister
epoll_wait = select.epoll.poll

_new = select.poll
_register = type(_new()).register
_wait = type(_new()).poll


def poll(wanted: dict[int, int], milliseconds: float | None) -> list[tuple[int, int]]:
    """Wait for descriptors.

    Args:
        wanted: What to wait for (POLLIN, ...), by descriptor.
        milliseconds: At most so long; None: for ever; 0: only look.

    Returns:
        (descriptor, what has come) of each for which something has.
    """
    poller = _new()
    for fd, events in wanted.items():
        _register(poller, fd, events)
    return _wait(poller, milliseconds)
