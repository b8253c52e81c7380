"""The methods of poll and epoll objects, as they are set on the two types."""

from __future__ import annotations

import _socket
import select as select_module

from wsdirect._core import native
from wsdirect.front.offers import offers
from wsdirect.front.readiness import number_of
from wsdirect.front.watches import Grafts, epoll_type, epolls, poll_type, polls, special
from wsdirect.switch import listening
from wsdirect.switch.connection import connections

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_original_poll = select_module.poll


def methods_of(grafts: Grafts) -> dict[str, Callable[..., Any]]:
    """register, modify and unregister for one of the two types."""

    def register(self: Any, fd: Any, eventmask: int = grafts.default) -> None:
        number = number_of(fd)
        grafts.register(self, fd if number < 0 else number, eventmask)
        grafts.registered(self, number, eventmask)

    def modify(self: Any, fd: Any, eventmask: int) -> None:
        number = number_of(fd)
        grafts.modify(self, fd if number < 0 else number, eventmask)
        grafts.registered(self, number, eventmask)

    def unregister(self: Any, fd: Any) -> None:
        number = number_of(fd)
        try:
            grafts.unregister(self, fd if number < 0 else number)
        finally:
            grafts.unregistered(self, number)

    return {"register": register, "modify": modify, "unregister": unregister}


def epoll_poll(self: Any, timeout: float | None = None, maxevents: int = -1) -> Any:
    """epoll.poll: seconds."""
    seconds = None if timeout is None or timeout < 0 else timeout

    def once(wait: float | None) -> Any:
        return epolls.poll(self, wait, maxevents)

    return epolls.wait(self, seconds, once)


def epoll_finish(self: Any, got: Any, seconds: float | None, maxevents: int = -1) -> Any:
    """The kernel's answer needs to be put in TCP's terms; `seconds` are left of the time-out."""

    def once(wait: float | None) -> Any:
        return epolls.poll(self, wait, maxevents)

    return epolls.wait(self, seconds, once, got)


def poll_finish(self: Any, got: Any, seconds: float | None) -> Any:
    """As epoll_finish()."""

    def once(wait: float | None) -> Any:
        return polls.poll(self, None if wait is None else wait * 1000)

    return polls.wait(self, seconds, once, got)


def poll_poll(self: Any, timeout: float | None = None, /) -> Any:
    """poll.poll: milliseconds."""
    seconds = None if timeout is None or timeout < 0 else timeout / 1000

    def once(wait: float | None) -> Any:
        return polls.poll(self, None if wait is None else wait * 1000)

    return polls.wait(self, seconds, once)


def poll() -> Any:
    """select.poll: a new object may have the address of a dead one, whose record must go."""
    made = _original_poll()
    polls.forget(id(made))
    return made


def epoll_init(self: Any, *args: Any, **kwargs: Any) -> None:
    """A new epoll may have the descriptor of one that was never closed."""
    epolls.forget(self.fileno())


def epoll_close(self: Any) -> None:
    """epoll.close."""
    if not self.closed:
        epolls.forget(self.fileno())
    _epoll_close(self)


_epoll_close = epoll_type.close
_epoll_fileno = epoll_type.fileno


def forget_all() -> None:
    """The grafts are out: nobody tells of registrations any more."""
    assert native is not None
    for grafts in (epolls, polls):
        for owner, watch in list(grafts.watches.items()):
            for fd in watch.masks:
                native.unmark(fd, native.WATCHED)
            grafts.forget(owner)
    listening.held.clear()


def ended(fd: int) -> None:
    """A descriptor number that pollers have a record of gets another meaning."""
    listening.held.discard(fd)
    for grafts in (epolls, polls):
        grafts.ended(fd)


def methods() -> tuple[dict[str, Any], dict[str, Any]]:
    """What to set on the types of epoll and of poll objects."""
    assert native is not None
    native.poll_state(
        _socket.socket,
        connections,
        listening.listeners,
        (offers, listening.held),
        special,
        listening.listening,
    )
    for_epoll = {**methods_of(epolls), "poll": epoll_poll, "finish": epoll_finish}
    for_epoll.update(close=epoll_close, __init__=epoll_init, fileno=_epoll_fileno)
    for_poll = {**methods_of(polls), "poll": poll_poll, "finish": poll_finish}
    return (
        native.poll_methods(epoll_type, "epoll", for_epoll, epolls.watches),
        native.poll_methods(poll_type, "poll", for_poll, polls.watches),
    )


def functions() -> dict[str, Any]:
    """What to set in the select module.

    They are built-in functions: classes hold them as attributes, where others would be bound.
    """
    assert native is not None
    return {
        "poll": native.guard(_original_poll, poll, "makes a poll", "select"),
    }


def after_fork_child() -> None:
    """The parent's SAN listeners are gone: new ones come when the child's pollers see theirs."""
    for grafts in (epolls, polls):
        for watch in grafts.watches.values():
            watch.sans.clear()
    offers.clear()
    listening.held.clear()
