"""Which descriptors listen, and which of them accept switched connections, too.

Light: what a listener does is in `listen`, which is loaded with the first one that accepts.
"""

from __future__ import annotations

import os
import select
from _thread import RLock

from wsdirect.switch import policy
from wsdirect.switch.connection import borrowed, forget_plain
from wsdirect.telling import tell_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wsdirect.switch.listen import Listener

# The originals: the front grafts the module's function and the type's methods.
new_poll = select.poll
register = type(new_poll()).register
wait = type(new_poll()).poll
epoll_register = select.epoll.register
epoll_unregister = select.epoll.unregister
epoll_wait = select.epoll.poll

listening: set[int] = set()
"""Descriptors on which this process called listen(), or that it has found to listen."""
listeners: dict[int, Listener] = {}
"""Those that also accept switched connections, by descriptor of the TCP listener."""
unblocked: set[int] = set()
"""Listeners that the switch made non-blocking, though the program did not."""
_lock = RLock()


def prepare() -> None:
    """Load and start what the first accept will need, while no client can be waiting for it."""
    if policy.objection() is None:
        from wsdirect.switch import listen

        listen.prepare()


def accepting(fd: int) -> Listener | None:
    """The switched side of a listener that the program accepts on now; None: TCP only."""
    known = listeners.get(fd)
    if known is not None or policy.objection() is not None:
        return known
    with _lock:
        known = listeners.get(fd)
        if known is not None:
            return known
        try:
            private = borrowed(fd)
        except OSError:
            return None
        from wsdirect.switch.listen import make

        try:
            made = make(fd, private)
        except (OSError, ValueError) as error:
            tell_once("info", f"listener on descriptor {fd} accepts TCP only: {error}")
            made = None
        if made is None:
            private.detach()
            return None
        forget_plain(fd)
        listeners[fd] = made
        return made


def blocking_again(fd: int) -> None:
    """Give a listener that is TCP's alone (again) the blocking mode that the program chose."""
    if fd in unblocked:
        unblocked.discard(fd)
        os.set_blocking(fd, True)


def close_listener(fd: int) -> None:
    """The descriptor is about to be closed."""
    listening.discard(fd)
    unblocked.discard(fd)
    known = listeners.get(fd)
    if known is not None:
        known.close()


def close_all() -> None:
    """Accept TCP only from now on."""
    for known in list(listeners.values()):
        known.close()


def before_fork() -> None:
    """Count the child in as a holder of what it inherits, and then closes."""
    for known in listeners.values():
        for stream in known.streams():
            stream.share()


def after_fork_child() -> None:
    """The parent's SAN listeners are not the child's: it makes its own when it accepts."""
    global _lock
    _lock = RLock()  # another thread of the parent may have held it
    close_all()
