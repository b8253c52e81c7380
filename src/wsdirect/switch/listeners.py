"""Which descriptors listen, and which of them accept switched connections, too.

Light: what a listener does is in `listen`, which is loaded with the first one that accepts.
"""

from __future__ import annotations

import os
from _thread import RLock

from wsdirect._core import native
from wsdirect.switch import policy
from wsdirect.switch.connection import borrowed, forget_plain, plain
from wsdirect.switch.listening import began, changed, early, listeners, listening, unblocked
from wsdirect.telling import tell_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wsdirect.switch.listen import Listener

_lock = RLock()


def begin(fd: int) -> None:
    """The program listens on this descriptor."""
    assert native is not None
    listening.add(fd)
    native.unmark(fd, ~native.WATCHED & 0xFFFFFFFF)
    native.mark(fd, native.LISTENING)
    for tell in began:
        tell(fd)
    if fd not in listeners and fd not in early and policy.objection() is None:
        _begin_early(fd)


def _begin_early(fd: int) -> None:
    from wsdirect.switch.listen import make_early

    private = borrowed(fd)
    try:
        made = make_early(private)
    finally:
        private.detach()
    if made is not None:
        early[fd] = made


def end_early(fd: int) -> None:
    """Others may accept on this listener, or nobody will: its clients shall not wait."""
    known = early.pop(fd, None)
    if known is not None:
        known.close()


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
        assert native is not None
        if made is None:
            private.detach()
            if fd in plain:
                native.mark(fd, native.TCP_ONLY | plain[fd].reason.number << 16)
            return None
        forget_plain(fd)
        native.mark(fd, native.LISTENING)
        listeners[fd] = made
        before = early.pop(fd, None)
        if before is not None:
            before.become(made)
        for tell in changed:
            tell()
        return made


def blocking_again(fd: int) -> None:
    """Give a listener that is TCP's alone (again) the blocking mode that the program chose."""
    if fd in unblocked:
        unblocked.discard(fd)
        os.set_blocking(fd, True)


def close_listener(fd: int) -> None:
    """The descriptor is about to be closed."""
    assert native is not None
    listening.discard(fd)
    unblocked.discard(fd)
    native.unmark(fd, native.LISTENING | native.TCP_ONLY | 0xFFFF0000)
    end_early(fd)
    known = listeners.get(fd)
    if known is not None:
        known.close()


def close_all() -> None:
    """Accept TCP only from now on."""
    for fd in list(early):
        end_early(fd)
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
    early.clear()
    for known in list(listeners.values()):
        known.abandon()
