"""select, poll and epoll on switched sockets and listeners.

The descriptor of a switched connection tells the truth to any poller at rest (the bell protocol),
so the kernel does the waiting.  What is added: the ring is looked at where a blocking recv may have
left data unannounced, a listener's SAN side is polled along with it, offers that nobody takes are
moved to TCP in time, and a socket that changed under its descriptor is registered again.

Urgent data are where the descriptor is not quite true: the token that tells of an urgent byte makes
it readable, too, until the next call.  What is readable and what is exceptional is asked of the
stream then; pollers that are not grafted see a socket readable whose recv would block.
"""

from __future__ import annotations

import select as select_module
import time
from _socket import SHUT_RDWR

from wsdirect._core import native
from wsdirect.switch import listeners
from wsdirect.switch.connection import connections

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wsdirect.switch.listen import Listener

POLLIN, POLLOUT, POLLHUP, POLLERR = (
    select_module.POLLIN,
    select_module.POLLOUT,
    select_module.POLLHUP,
    select_module.POLLERR,
)
POLLPRI = select_module.POLLPRI
READABLE = POLLIN | 0x40  # POLLRDNORM
POLLRDHUP = getattr(select_module, "POLLRDHUP", 0x2000)
READ = READABLE | POLLPRI | POLLRDHUP
EPOLLET = getattr(select_module, "EPOLLET", 1 << 31)
ONCE = EPOLLET | getattr(select_module, "EPOLLONESHOT", 1 << 30)

_select = select_module.select
_poll_type = type(select_module.poll())
_epoll_type = select_module.epoll

offers: set[int] = set()
"""Switched connections whose peer had not attached when last looked at."""


class Watch:
    """What one poll or epoll object has registered, as far as it concerns the switch."""

    __slots__ = ("masks", "owner", "sans", "urgent")

    def __init__(self, owner: int) -> None:
        self.owner = owner
        self.masks: dict[int, int] = {}
        self.sans: dict[int, int] = {}  # descriptor of a SAN listener -> that of its TCP listener
        self.urgent: set[int] = set()  # descriptors whose urgent data must be told again and again


# -- offers --------------------------------------------------------------------------------------


def nearest_deadline() -> float | None:
    """When (time.monotonic()) the next offer must be moved to TCP; moves those that are due."""
    nearest: float | None = None
    assert native is not None
    for fd in list(offers):
        known = connections.get(fd)
        if known is None or known.stream.state == native.ATTACHED:
            offers.discard(fd)
            continue
        due = known.stream.offer_deadline
        if due is None:
            continue
        if time.monotonic() >= due:
            offers.discard(fd)
            expired_while_polled(fd)
        elif nearest is None or due < nearest:
            nearest = due
    return nearest


def expired(fd: int) -> None:
    """Nobody took the offer of this connection: it goes on over TCP; OSError if it cannot."""
    from wsdirect.switch.handover import move_to_tcp  # rarely needed, so loaded late

    for changed in move_to_tcp(fd):
        moved(changed)


def expired_while_polled(fd: int) -> None:
    """The same for a poller, which has other sockets to wait for: the error is this socket's own.

    It becomes readable, and its next recv or send tries TCP again and raises what that says.
    """
    try:
        expired(fd)
    except OSError:
        known = connections.get(fd)
        if known is not None:
            known.stream.shutdown(SHUT_RDWR)


def _capped(seconds: float | None, nearest: float | None) -> float | None:
    """The shorter of a time-out (None: none) and the time to a deadline (None: none)."""
    if nearest is None:
        return seconds
    left = max(0.0, nearest - time.monotonic())
    return left if seconds is None or left < seconds else seconds


def refused(fd: int) -> bool:
    """The kernel says that the connection has ended: was it never taken?  Then it is TCP now."""
    known = connections.get(fd)
    assert native is not None
    if known is None or known.stream.state == native.ATTACHED:
        return False
    expired_while_polled(fd)
    return fd not in connections


# -- looking -------------------------------------------------------------------------------------


def look(fd: int, mask: int) -> int:
    """Events of `mask` that are true of a switched connection; arms the descriptor for the rest."""
    stream = connections[fd].stream
    found = 0
    if mask & POLLIN:
        if stream.readable():
            found |= POLLIN
        else:
            stream.arm(True, False)
    if mask & POLLOUT:
        if stream.writable():
            found |= POLLOUT
        else:
            stream.arm(False, True)
    return found


def is_urgent(fd: int) -> bool:
    """Whether this is a switched connection with an urgent byte that nobody has read."""
    known = connections.get(fd)
    return known is not None and known.stream.urgent_pending


def as_tcp_says(fd: int, events: int, mask: int) -> int:
    """The events of a bell socket, in TCP's terms.

    A peer's close alone is no POLLHUP there, and a token that tells of an urgent byte no POLLIN.
    """
    known = connections.get(fd)
    if known is None:
        return events
    stream = known.stream
    if stream.marked:
        if events & READABLE and not stream.readable():
            stream.arm(True, False)
            if not stream.readable():  # neither has the peer died
                events &= ~READABLE
        if stream.urgent_pending:
            events |= mask & POLLPRI
        elif events & POLLPRI:
            events &= ~POLLPRI
            if not events:
                stream.hush_urgent()
    if not events & POLLHUP:
        return events
    if known.stream.write_ended or known.stream.reset or not mask & READ:
        return events
    return (events & ~POLLHUP) | (mask & (POLLIN | POLLRDHUP))


# -- select --------------------------------------------------------------------------------------


def number_of(item: Any) -> int:
    """The descriptor of what select() was given; -1: let select() complain of it."""
    if isinstance(item, int):
        return item
    try:
        number = item.fileno()
    except Exception:
        return -1
    return number if isinstance(number, int) else -1


def select(rlist: Any, wlist: Any, xlist: Any, timeout: float | None = None, /) -> Any:
    """select.select, which also knows switched sockets."""
    if not connections and not listeners.listening:
        return _select(rlist, wlist, xlist, timeout)
    rlist, wlist, xlist = list(rlist), list(wlist), list(xlist)
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        nearest = nearest_deadline() if offers else None
        extra: dict[int, tuple[Any, Listener]] = {}
        ready_r, ready_w = [], []
        for item in rlist:
            fd = number_of(item)
            if fd in connections:
                if look(fd, POLLIN):
                    ready_r.append(item)
            elif fd in listeners.listening or fd in listeners.listeners:
                listener = listeners.accepting(fd)
                if listener is not None and listener.has_waiting:
                    ready_r.append(item)
                elif listener is not None:
                    extra[listener.san_fd] = item, listener
        for item in wlist:
            fd = number_of(item)
            if fd in connections and look(fd, POLLOUT):
                ready_w.append(item)
        ready_x = [item for item in xlist if is_urgent(number_of(item))]
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if timeout is not None and timeout < 0:
            left = timeout  # select() raises its ValueError
        wait = 0.0 if ready_r or ready_w or ready_x else _capped(left, nearest)
        got_r, got_w, got_x = _select([*rlist, *extra], wlist, xlist, wait)
        if offers and any(refused(number_of(item)) for item in got_r):
            continue
        chosen = {id(item) for item in (*got_r, *ready_r) if not _is_urgent_only(item)}
        for san, (item, listener) in extra.items():
            if san in got_r and listener.ready():
                chosen.add(id(item))
        answer_r = [item for item in rlist if id(item) in chosen]
        answer_w = [
            item
            for item in wlist
            if any(item is ready for ready in ready_w)
            or (any(item is got for got in got_w) and not _is_full(item))
        ]
        answer_x = [
            item
            for item in xlist
            if any(item is ready for ready in ready_x)
            or (any(item is got for got in got_x) and number_of(item) not in connections)
        ]
        if answer_r or answer_w or answer_x:
            return answer_r, answer_w, answer_x
        for item in got_x:
            known = connections.get(number_of(item))
            if known is not None:
                known.stream.hush_urgent()
        if deadline is not None and time.monotonic() >= deadline:
            return [], [], []


def _is_full(item: Any) -> bool:
    known = connections.get(number_of(item))
    return known is not None and not known.stream.writable()


def _is_urgent_only(item: Any) -> bool:
    """The token on this bell tells of an urgent byte, which makes no socket readable."""
    known = connections.get(number_of(item))
    return known is not None and known.stream.marked and not known.stream.readable()


# -- epoll and poll ------------------------------------------------------------------------------


class Grafts:
    """The grafted methods of one of the two types; they differ in how an object is known by."""

    def __init__(self, kind: type, key: Callable[[Any], int], default: int) -> None:
        self.kind = kind
        self.key = key
        self.default = default
        self.register = kind.register  # type: ignore[attr-defined]
        self.modify = kind.modify  # type: ignore[attr-defined]
        self.unregister = kind.unregister  # type: ignore[attr-defined]
        self.poll = kind.poll  # type: ignore[attr-defined]
        self.watches: dict[int, Watch] = {}

    def watch(self, poller: Any) -> Watch:
        """The record of a poller, made if need be."""
        owner = self.key(poller)
        found = self.watches.get(owner)
        if found is None:
            found = self.watches.setdefault(owner, Watch(owner))
        return found

    def registered(self, poller: Any, fd: int, mask: int) -> None:
        """`fd` is registered with `mask` now: see to its SAN side."""
        watch = self.watch(poller)
        watch.masks[fd] = mask
        if mask & POLLPRI and not mask & ONCE:
            watch.urgent.add(fd)
        else:
            watch.urgent.discard(fd)
        if fd not in listeners.listening and fd not in listeners.listeners:
            return
        listener = listeners.accepting(fd) if mask & POLLIN else None
        wanted = {listener.san_fd} if listener is not None else set()
        for san, owner in list(watch.sans.items()):
            if owner == fd and san not in wanted:
                del watch.sans[san]
                _quietly(self.unregister, poller, san)
        for san in wanted:
            _quietly(self.unregister, poller, san)  # as it was, or an earlier one of that number
            self.register(poller, san, mask)
            watch.sans[san] = fd

    def unregistered(self, poller: Any, fd: int) -> None:
        """`fd` is not registered any more."""
        watch = self.watch(poller)
        watch.masks.pop(fd, None)
        watch.urgent.discard(fd)
        for san, owner in list(watch.sans.items()):
            if owner == fd:
                del watch.sans[san]
                _quietly(self.unregister, poller, san)

    def moved(self, fd: int) -> None:
        """Another socket stands under this number: the kernel dropped its registration (epoll)."""
        for watch in self.watches.values():
            mask = watch.masks.get(fd)
            if mask is not None and self.kind is _epoll_type:
                poller = _epoll_type.fromfd(_dup(watch.owner))
                try:
                    _quietly(self.register, poller, fd, mask)
                finally:
                    poller.close()

    def looked_at(self, watch: Watch) -> dict[int, int]:
        """Events that the kernel may not know of: data that a blocking recv left in a ring."""
        found = {}
        assert native is not None
        for owner in set(watch.sans.values()):
            listener = listeners.listeners.get(owner)
            if listener is not None and listener.has_waiting and watch.masks.get(owner, 0) & POLLIN:
                found[owner] = POLLIN
        for fd in native.unannounced():
            mask = watch.masks.get(fd, 0)
            if mask & POLLIN and fd in connections and connections[fd].stream.readable():
                found[fd] = POLLIN
        for fd in list(watch.urgent):
            if is_urgent(fd):
                found[fd] = found.get(fd, 0) | POLLPRI
        if self.kind is _poll_type:
            for fd, mask in list(watch.masks.items()):
                # level-triggered and asked anew each time: a blocking socket's full ring, too
                if mask & POLLOUT and fd in connections:
                    look(fd, POLLOUT)
        return found

    def translate(
        self, watch: Watch, got: list[tuple[int, int]], seen: dict[int, int]
    ) -> list[Any]:
        """The kernel's answer with SAN listeners as their TCP listeners, in TCP's terms."""
        for fd, events in got:
            owner = watch.sans.get(fd)
            if owner is not None:
                listener = listeners.listeners.get(owner)
                if events & POLLIN and listener is not None and listener.ready():
                    seen[owner] = seen.get(owner, 0) | POLLIN
                continue
            if events & POLLHUP and offers and refused(fd):
                continue  # TCP now, and registered again: the next round tells
            seen[fd] = seen.get(fd, 0) | as_tcp_says(fd, events, watch.masks.get(fd, 0))
        return [(fd, events) for fd, events in seen.items() if events]

    def wait(self, poller: Any, seconds: float | None, poll: Callable[[float | None], Any]) -> Any:
        """poll() with the switch's additions; `seconds` None waits for ever."""
        watch = self.watches.get(self.key(poller))
        assert native is not None
        if watch is None or not (watch.sans or offers or native.has_unannounced() or connections):
            return poll(seconds)
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            nearest = nearest_deadline() if offers else None
            seen = self.looked_at(watch)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            got = poll(0.0 if seen else _capped(left, nearest))
            answer = self.translate(watch, got, seen)
            if answer or (deadline is not None and time.monotonic() >= deadline):
                return answer
            if not got and nearest is None and seconds is not None:
                return answer


def _quietly(call: Callable[..., Any], *args: Any) -> None:
    """For descriptors that may have gone, or changed, meanwhile."""
    try:
        call(*args)
    except (OSError, KeyError, ValueError):
        return


def _dup(fd: int) -> int:
    import os

    return os.dup(fd)


_EPOLL_DEFAULT = select_module.EPOLLIN | select_module.EPOLLPRI | select_module.EPOLLOUT
_POLL_DEFAULT = POLLIN | POLLPRI | POLLOUT
epolls = Grafts(_epoll_type, lambda poller: int(poller.fileno()), _EPOLL_DEFAULT)
polls = Grafts(_poll_type, id, _POLL_DEFAULT)
_original_poll = select_module.poll


def moved(fd: int) -> None:
    """Another socket stands under this number."""
    epolls.moved(fd)


def methods_of(grafts: Grafts) -> dict[str, Callable[..., Any]]:
    """register, modify and unregister for one of the two types."""

    def register(self: Any, fd: Any, eventmask: int = grafts.default) -> None:
        grafts.register(self, fd, eventmask)
        grafts.registered(self, number_of(fd), eventmask)

    def modify(self: Any, fd: Any, eventmask: int) -> None:
        grafts.modify(self, fd, eventmask)
        grafts.registered(self, number_of(fd), eventmask)

    def unregister(self: Any, fd: Any) -> None:
        try:
            grafts.unregister(self, fd)
        finally:
            grafts.unregistered(self, number_of(fd))

    return {"register": register, "modify": modify, "unregister": unregister}


def epoll_poll(self: Any, timeout: float | None = None, maxevents: int = -1) -> Any:
    """epoll.poll: seconds."""
    seconds = None if timeout is None or timeout < 0 else timeout

    def once(wait: float | None) -> Any:
        return epolls.poll(self, wait, maxevents)

    return epolls.wait(self, seconds, once)


def poll_poll(self: Any, timeout: float | None = None, /) -> Any:
    """poll.poll: milliseconds."""
    seconds = None if timeout is None or timeout < 0 else timeout / 1000

    def once(wait: float | None) -> Any:
        return polls.poll(self, None if wait is None else wait * 1000)

    return polls.wait(self, seconds, once)


def poll() -> Any:
    """select.poll: a new object may have the address of a dead one, whose record must go."""
    made = _original_poll()
    polls.watches.pop(id(made), None)
    return made


def epoll_init(self: Any, *args: Any, **kwargs: Any) -> None:
    """A new epoll may have the descriptor of one that was never closed."""
    epolls.watches.pop(self.fileno(), None)


def epoll_close(self: Any) -> None:
    """epoll.close."""
    if not self.closed:
        epolls.watches.pop(self.fileno(), None)
    _epoll_close(self)


_epoll_close = _epoll_type.close


def after_fork_child() -> None:
    """The parent's SAN listeners are gone: new ones come when the child's pollers see theirs."""
    for grafts in (epolls, polls):
        for watch in grafts.watches.values():
            watch.sans.clear()
    offers.clear()
