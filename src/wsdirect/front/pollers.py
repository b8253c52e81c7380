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

import _socket
import select as select_module
import time
from _socket import SHUT_RDWR

from wsdirect._core import native
from wsdirect.switch import listeners
from wsdirect.switch.connection import connections

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from wsdirect._core._native import Stream
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
EPOLLONESHOT = getattr(select_module, "EPOLLONESHOT", 1 << 30)
ONCE = EPOLLET | EPOLLONESHOT

_select = select_module.select
_poll_type = type(select_module.poll())
_epoll_type = select_module.epoll

offers: set[int] = set()
"""Switched connections whose peer had not attached when last looked at."""
special: set[int] = set()
"""Keys of pollers for whose registrations the kernel's answer alone will not do."""


class Watch:
    """What one poll or epoll object has registered, as far as it concerns the switch."""

    __slots__ = ("edges", "late", "masks", "owner", "sans", "special", "urgent", "watched")

    def __init__(self, owner: int) -> None:
        self.owner = owner
        self.masks: dict[int, int] = {}
        self.sans: dict[int, int] = {}  # descriptor of a SAN listener -> that of its TCP listener
        self.late: set[int] = set()  # registered first, then made to listen: no SAN side yet
        self.urgent: set[int] = set()  # descriptors whose urgent data must be told again and again
        self.edges: dict[int, int] = {}  # edge-triggered ones -> bytes that had come when last told
        self.watched: dict[int, Stream] = {}  # told that a poller sleeps on them
        self.special: set[int] = set()  # registered for anything but plain reading and writing

    def reads(self, fd: int) -> int:
        """Whether it waits for data of this descriptor."""
        return self.masks.get(fd, 0) & POLLIN


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


def is_new(stream: Stream, told: int) -> bool:
    """Whether bytes are unread and more have come than the `told` ones: an edge.

    If not, it is made sure that the next bytes ring: on TCP they are an edge, too, though some of
    the older ones were left unread.
    """
    if not stream.available():
        return False
    if stream.arrived == told:
        stream.rearm()
    return stream.arrived != told


def has_news(fd: int) -> bool:
    """Whether an epoll that another poller waits for has events that only the switch knows of."""
    assert native is not None
    watch = epolls.watches[fd]
    for number in native.unannounced():
        known = connections.get(number)
        if known is not None and watch.masks.get(number, 0) & POLLIN and known.stream.readable():
            return True
    return any(
        mask & POLLIN and inner != fd and inner in epolls.watches and has_news(inner)
        for inner, mask in watch.masks.items()
    )


def is_urgent(fd: int) -> bool:
    """Whether this is a switched connection with an urgent byte that nobody has read."""
    known = connections.get(fd)
    return known is not None and known.stream.urgent_pending


def as_tcp_says(fd: int, events: int, mask: int) -> int:
    """The events of a bell socket, in TCP's terms.

    A peer's close alone is no POLLHUP there, and a token that tells of an urgent byte no POLLIN;
    POLLERR lasts until the error has been told.
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
    if events and stream.ended:  # the kernel hears of it only when all data have been read
        events |= mask & POLLRDHUP | (POLLHUP if stream.write_ended else 0)
    if not events & (POLLHUP | POLLERR):
        return events
    events &= ~POLLERR
    if stream.aborted:
        return events | POLLHUP | (POLLERR if stream.error() else 0)
    if stream.write_ended:
        return events
    return (events & ~POLLHUP) | (mask & (POLLIN | POLLRDHUP))


# -- select --------------------------------------------------------------------------------------


def number_of(item: Any) -> int:
    """The descriptor of what a poller was given; -1: let the original complain of it."""
    if isinstance(item, int):
        return item
    try:
        # not a socket's own fileno(): who calls that may be about to use the number without us
        number = _fileno(item) if isinstance(item, _socket.socket) else item.fileno()
    except Exception:
        return -1
    return number if isinstance(number, int) else -1


_fileno = _socket.socket.fileno


def select(rlist: Any, wlist: Any, xlist: Any, timeout: float | None = None, /) -> Any:
    """select.select, where a switched socket or a listener is among the others."""
    rlist, wlist, xlist = list(rlist), list(wlist), list(xlist)
    readers, writers, others = (
        [number_of(item) for item in items] for items in (rlist, wlist, xlist)
    )
    if min((0, *readers, *writers, *others)) < 0 or (timeout is not None and timeout < 0):
        return _select(rlist, wlist, xlist, timeout)  # raises what it has to say
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        nearest = nearest_deadline() if offers else None
        extra: dict[int, Listener] = {}
        ready_r, ready_w = set(), set()
        for fd in readers:
            if fd in connections:
                if look(fd, POLLIN):
                    ready_r.add(fd)
            elif fd in listeners.listening or fd in listeners.listeners:
                listener = listeners.accepting(fd)
                if listener is not None and listener.has_waiting:
                    ready_r.add(fd)
                elif listener is not None:
                    extra[listener.san_fd] = listener
            elif fd in epolls.watches and has_news(fd):
                ready_r.add(fd)
        for fd in writers:
            if fd in connections and look(fd, POLLOUT):
                ready_w.add(fd)
        ready_x = {fd for fd in others if is_urgent(fd)}
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        wait = 0.0 if ready_r or ready_w or ready_x else _capped(left, nearest)
        got_r, got_w, got_x = map(
            set,
            _seen_by(
                readers if wait != 0 else (), _select, [*readers, *extra], writers, others, wait
            ),
        )
        if offers and any(refused(fd) for fd in got_r):
            continue
        ready_r |= got_r
        for san, listener in extra.items():
            if san in got_r and listener.ready():
                ready_r.add(listener.fd)
        ready_r = {fd for fd in ready_r if not _is_urgent_only(fd)}
        ready_w |= {fd for fd in got_w if not _is_full(fd)}
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


def _seen_by(readers: Iterable[int], wait: Callable[..., Any], *args: Any) -> Any:
    """wait(*args), and no blocking recv in another thread keeps data of `readers` to itself."""
    streams = [connections[fd].stream for fd in readers if fd in connections]
    for stream in streams:
        stream.watch(True)
    try:
        return wait(*args)
    finally:
        for stream in streams:
            stream.watch(False)


def _is_full(fd: int) -> bool:
    known = connections.get(fd)
    return known is not None and not known.stream.writable()


def _is_urgent_only(fd: int) -> bool:
    """The token on this bell tells of an urgent byte, which makes no socket readable."""
    known = connections.get(fd)
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
        assert native is not None
        native.mark(fd, native.WATCHED)
        if mask & (ONCE | POLLPRI) or not mask & (POLLIN | POLLOUT):
            watch.special.add(fd)
        else:
            watch.special.discard(fd)
        self._note_special(watch)
        if self.kind is _epoll_type:
            self.see(watch, fd)
        if mask & POLLPRI and not mask & ONCE:
            watch.urgent.add(fd)
        else:
            watch.urgent.discard(fd)
        if mask & EPOLLET:
            watch.edges[fd] = -1
        else:
            watch.edges.pop(fd, None)
        if fd in listeners.listening or fd in listeners.listeners:
            self.attend(poller, watch, fd)

    def attend(self, poller: Any, watch: Watch, fd: int) -> None:
        """Register the SAN side of a listener as the listener is registered."""
        assert native is not None
        mask = watch.masks[fd]
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
            native.mark(san, native.SAN)

    def unregistered(self, poller: Any, fd: int) -> None:
        """`fd` is not registered any more."""
        watch = self.watch(poller)
        self._drop(watch, fd)
        for san, owner in list(watch.sans.items()):
            if owner == fd:
                del watch.sans[san]
                _quietly(self.unregister, poller, san)

    def see(self, watch: Watch, fd: int) -> None:
        """A blocking recv in another thread must not keep data of this descriptor to itself.

        A poll object sees to it for each call, as nobody closes it.
        """
        before = watch.watched.pop(fd, None)
        known = connections.get(fd)
        if known is not None and watch.masks.get(fd, 0) & POLLIN:
            watch.watched[fd] = known.stream
            known.stream.watch(True)
        if before is not None:
            before.watch(False)

    def _drop(self, watch: Watch, fd: int) -> None:
        before = watch.watched.pop(fd, None)
        if before is not None:
            before.watch(False)
        watch.masks.pop(fd, None)
        watch.urgent.discard(fd)
        watch.edges.pop(fd, None)
        watch.special.discard(fd)
        self._note_special(watch)

    def _note_special(self, watch: Watch) -> None:
        if self.kind is _epoll_type:
            busy = bool(watch.special)
        else:  # asked anew for each call; listeners alone are not
            busy = bool(watch.late) or any(fd not in listeners.listening for fd in watch.masks)
        (special.add if busy else special.discard)(watch.owner)

    def ended(self, fd: int) -> None:
        """The number gets another meaning: the kernel has dropped it, or will."""
        for watch in list(self.watches.values()):
            self._drop(watch, fd)
            for san, owner in list(watch.sans.items()):
                if fd in (san, owner):
                    del watch.sans[san]

    def forget(self, owner: int) -> None:
        """A poller is closed, or was: its key belongs to another one now."""
        gone = self.watches.pop(owner, None)
        if gone is not None:
            for stream in gone.watched.values():
                stream.watch(False)
        special.discard(owner)

    def spend(self, poller: Any, watch: Watch, fd: int) -> None:
        """An event of `fd` is told, and it was registered with EPOLLONESHOT: no other until then.

        The kernel knows of its own events only, and a listener has two descriptors.
        """
        off = watch.masks[fd] & ONCE
        watch.masks[fd] = off
        for number in (fd, *(san for san, owner in watch.sans.items() if owner == fd)):
            _quietly(self.modify, poller, number, off)

    def rearm(self, poller: Any, watch: Watch, got: list[tuple[int, int]], told: set[int]) -> None:
        """Events of the kernel's that came to nothing have used up an EPOLLONESHOT: renew it.

        A request may be no connection, but the shared memory for those that follow.
        """
        for fd, events in got:
            owner = watch.sans.get(fd, fd)
            mask = watch.masks.get(owner, 0)
            if mask & EPOLLONESHOT and owner not in told and not events & POLLHUP:
                _quietly(self.modify, poller, fd, mask)

    def silence(self, poller: Any, fd: int, mask: int) -> None:
        """The kernel tells of a hang-up that TCP would not, and nothing else is asked for.

        It must not say so again and again while we wait.
        """
        if self.kind is _epoll_type:
            _quietly(self.modify, poller, fd, mask | EPOLLET)
        else:
            _quietly(self.unregister, poller, fd)

    def leaving(self, fd: int) -> None:
        """Another socket is about to stand under this number.

        The kernel keeps the registration of the old one as long as a duplicate of it is open
        anywhere, and tells of it under the number; nobody could end that later.
        """
        for watch in self.watches.values():
            if fd in watch.masks:
                poller = _epoll_type.fromfd(_dup(watch.owner))
                try:
                    _quietly(self.unregister, poller, fd)
                finally:
                    poller.close()

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
                self.see(watch, fd)

    def looked_at(self, watch: Watch) -> dict[int, int]:
        """Events that the kernel may not know of: data that a blocking recv left in a ring."""
        found = {}
        assert native is not None
        for owner in set(watch.sans.values()):
            listener = listeners.listeners.get(owner)
            told = watch.edges.get(owner, -1) != -1
            if listener is not None and listener.has_waiting and watch.reads(owner) and not told:
                found[owner] = POLLIN
        for fd, told_of in watch.edges.items():
            known = connections.get(fd)
            if known is not None and watch.reads(fd) and is_new(known.stream, told_of):
                found[fd] = POLLIN
        if native.has_unannounced():
            for fd in native.unannounced():
                known = connections.get(fd) if fd not in watch.edges else None
                if known is not None and watch.reads(fd) and known.stream.readable():
                    found[fd] = POLLIN
            for fd in watch.masks:
                if fd in epolls.watches and watch.reads(fd) and has_news(fd):
                    found[fd] = POLLIN
        for fd in watch.special:
            known = connections.get(fd)
            mask = watch.masks.get(fd, ONCE)
            if known is None or mask & (POLLIN | POLLOUT | ONCE) or not known.stream.ended:
                continue
            ends = mask & POLLRDHUP | (POLLHUP if known.stream.write_ended else 0)
            if ends:
                found[fd] = ends
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
        for fd in watch.edges:
            if seen.get(fd):
                known = connections.get(fd)
                watch.edges[fd] = 0 if known is None else known.stream.arrived
                if known is not None and watch.masks[fd] & POLLIN and known.stream.available():
                    seen[fd] |= POLLIN  # an edge tells of all that is true, and the bell may not
        return [(fd, events) for fd, events in seen.items() if events]

    def wait(
        self,
        poller: Any,
        seconds: float | None,
        poll: Callable[[float | None], Any],
        first: Any = None,
    ) -> Any:
        """poll() with the switch's additions.

        `seconds` None waits for ever; `first` is what the kernel has answered already.
        """
        watch = self.watches.get(self.key(poller))
        assert native is not None
        if watch is None and first is not None:
            watch = self.watch(poller)
        while watch is not None and watch.late:
            fd = watch.late.pop()
            if fd in watch.masks:
                self.attend(poller, watch, fd)
        if watch is None or not (watch.sans or offers or native.has_unannounced() or connections):
            return poll(seconds)
        for fd in list(listeners.held):
            listener = listeners.listeners.get(fd)
            if listener is None or not listener.has_waiting:
                listeners.held.discard(fd)
        deadline = None if seconds is None else time.monotonic() + seconds
        silenced: dict[int, int] = {}
        while True:
            nearest = nearest_deadline() if offers else None
            seen = self.looked_at(watch)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if first is None:
                wait = 0.0 if seen else _capped(left, nearest)
                reading = self.kind is _poll_type and wait != 0 and bool(connections)
                fds = [fd for fd, mask in watch.masks.items() if reading and mask & POLLIN]
                got = _seen_by(fds, poll, wait)
            else:
                got, first = first, None
            answer = self.translate(watch, got, seen)
            for fd, _ in answer:
                if watch.masks.get(fd, 0) & EPOLLONESHOT:
                    self.spend(poller, watch, fd)
            if self.kind is _epoll_type:
                self.rearm(poller, watch, got, {fd for fd, _ in answer})
            if answer or (deadline is not None and time.monotonic() >= deadline):
                break
            if not got and nearest is None and seconds is not None:
                break
            for fd, events in got:
                mask = watch.masks.get(fd, 0)
                untrue = events & POLLHUP and not mask & (POLLIN | POLLOUT) and fd in connections
                if untrue and fd not in silenced:
                    self.silence(poller, fd, mask)
                    silenced[fd] = mask
        if self.kind is _poll_type:
            for fd, mask in silenced.items():
                _quietly(self.register, poller, fd, mask)
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


def is_watched(fd: int) -> bool:
    """Whether a poller of this process waits for the SAN side of this listener, too."""
    watches = [*epolls.watches.values(), *polls.watches.values()]
    return any(fd in watch.sans.values() for watch in watches)


_EPOLL_DEFAULT = select_module.EPOLLIN | select_module.EPOLLPRI | select_module.EPOLLOUT
_POLL_DEFAULT = POLLIN | POLLPRI | POLLOUT
epolls = Grafts(_epoll_type, lambda poller: int(poller.fileno()), _EPOLL_DEFAULT)
polls = Grafts(_poll_type, id, _POLL_DEFAULT)
_original_poll = select_module.poll


def leaving(fd: int) -> None:
    """Another socket is about to stand under this number."""
    epolls.leaving(fd)


def moved(fd: int) -> None:
    """Another socket stands under this number."""
    epolls.moved(fd)


def listens(fd: int) -> None:
    """A descriptor listens now; pollers that it is registered with already get its SAN side."""
    assert native is not None
    for watch in list(epolls.watches.values()):
        if watch.reads(fd):
            native.mark(fd, native.WATCHED)
            poller = _epoll_type.fromfd(_dup(watch.owner))
            try:
                epolls.attend(poller, watch, fd)
            finally:
                poller.close()
    for watch in list(polls.watches.values()):
        if watch.reads(fd):
            native.mark(fd, native.WATCHED)
            watch.late.add(fd)


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


_epoll_close = _epoll_type.close


def forget_all() -> None:
    """The grafts are out: nobody tells of registrations any more."""
    assert native is not None
    for grafts in (epolls, polls):
        for owner, watch in list(grafts.watches.items()):
            for fd in watch.masks:
                native.unmark(fd, native.WATCHED)
            grafts.forget(owner)
    listeners.held.clear()


def ended(fd: int) -> None:
    """A descriptor number that pollers have a record of gets another meaning."""
    listeners.held.discard(fd)
    for grafts in (epolls, polls):
        grafts.ended(fd)


def methods() -> tuple[dict[str, Any], dict[str, Any]]:
    """What to set on the types of epoll and of poll objects."""
    assert native is not None
    native.poll_state(
        _socket.socket,
        connections,
        listeners.listeners,
        (offers, listeners.held),
        special,
        listeners.listening,
    )
    for_epoll = {**methods_of(epolls), "poll": epoll_poll, "finish": epoll_finish}
    for_epoll.update(close=epoll_close, __init__=epoll_init)
    for_poll = {**methods_of(polls), "poll": poll_poll, "finish": poll_finish}
    return (
        native.poll_methods(_epoll_type, "epoll", for_epoll, epolls.watches),
        native.poll_methods(_poll_type, "poll", for_poll, polls.watches),
    )


def functions() -> dict[str, Any]:
    """What to set in the select module.

    They are built-in functions: classes hold them as attributes, where others would be bound.
    """
    assert native is not None
    return {
        "select": native.guard(_select, select, "selects", "select"),
        "poll": native.guard(_original_poll, poll, "makes a poll", "select"),
    }


def after_fork_child() -> None:
    """The parent's SAN listeners are gone: new ones come when the child's pollers see theirs."""
    for grafts in (epolls, polls):
        for watch in grafts.watches.values():
            watch.sans.clear()
    offers.clear()
    listeners.held.clear()
