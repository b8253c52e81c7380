"""select.select on switched sockets and listeners."""

from __future__ import annotations

import select as select_module
import time

from wsdirect._core import native
from wsdirect.front.offers import capped, nearest_deadline, offers, refused
from wsdirect.front.readiness import (
    POLLIN,
    POLLOUT,
    Watching,
    comes_soon,
    is_full,
    is_urgent,
    is_urgent_only,
    look,
    number_of,
    slept,
)
from wsdirect.front.watches import epolls, has_news
from wsdirect.switch import listeners, listening
from wsdirect.switch.connection import connections

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wsdirect.switch.listen import Listener

_select = select_module.select


def select(rlist: Any, wlist: Any, xlist: Any, timeout: float | None = None, /) -> Any:
    """select.select, where a switched socket or a listener is among the others."""
    assert native is not None
    rlist, wlist, xlist = list(rlist), list(wlist), list(xlist)
    readers, writers, others = (
        [number_of(item) for item in items] for items in (rlist, wlist, xlist)
    )
    if min((0, *readers, *writers, *others)) < 0 or (timeout is not None and timeout < 0):
        return _select(rlist, wlist, xlist, timeout)  # raises what it has to say
    alone = len(readers) == 1 and not writers and not others and not offers
    if alone and comes_soon(readers[0], timeout):
        return rlist, [], []
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        nearest = nearest_deadline() if offers else None
        extra: dict[int, Listener] = {}
        ready_r, ready_w = set(), set()
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        with Watching(readers if left != 0 else ()):
            for fd in readers:
                if fd in connections:
                    if look(fd, POLLIN):
                        ready_r.add(fd)
                elif fd in listening.listening or fd in listening.listeners:
                    listener = listeners.accepting(fd)
                    if listener is not None and listener.has_waiting:
                        ready_r.add(fd)
                    elif listener is not None:
                        extra[listener.san_fd] = listener
                elif fd in epolls.watches:
                    native.epoll_shown(fd)
                    if has_news(fd):
                        ready_r.add(fd)
            for fd in writers:
                if fd in connections and look(fd, POLLOUT):
                    ready_w.add(fd)
            ready_x = {fd for fd in others if is_urgent(fd)}
            wait = 0.0 if ready_r or ready_w or ready_x else capped(left, nearest)
            since = time.monotonic() if len(readers) == 1 and wait != 0 else 0.0
            got_r, got_w, got_x = map(set, _select([*readers, *extra], writers, others, wait))
            if since and got_r:
                slept(readers[0], since)
        if offers and any(refused(fd) for fd in got_r):
            continue
        ready_r |= got_r
        for san, listener in extra.items():
            if san in got_r and listener.ready():
                ready_r.add(listener.fd)
        ready_r = {fd for fd in ready_r if not is_urgent_only(fd)}
        ready_w |= {fd for fd in got_w if not is_full(fd)}
        ready_x |= {fd for fd in got_x if fd not in connections}
        answer = (
            [item for item, fd in zip(rlist, readers, strict=True) if fd in ready_r],
            [item for item, fd in zip(wlist, writers, strict=True) if fd in ready_w],
            [item for item, fd in zip(xlist, others, strict=True) if fd in ready_x],
        )
        if any(answer):
            return answer
        for fd in got_x:
            known = connections.get(fd)
            if known is not None:
                known.stream.hush_urgent()
        if deadline is not None and time.monotonic() >= deadline:
            return answer


def functions() -> dict[str, Any]:
    """What to set in the select module: a built-in function, as pollers.functions() has it."""
    assert native is not None
    return {"select": native.guard(_select, select, "selects", "select")}
