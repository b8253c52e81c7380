"""What poll and epoll objects have registered, and their waiting for switched ones among it.

The descriptor of a switched connection tells the truth to any poller at rest (the bell protocol),
so the kernel does the waiting.  What is added: the ring is looked at where a blocking recv may have
left data unannounced, a listener's SAN side is polled along with it, offers that nobody takes are
moved to TCP in time, and a socket that changed under its descriptor is registered again.
"""

from __future__ import annotations

import select as select_module
import time

from wsdirect._core import native
from wsdirect.front.offers import capped, nearest_deadline, offers, refused
from wsdirect.front.readiness import (
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLPRI,
    POLLRDHUP,
    Watching,
    as_tcp_says,
    comes_soon,
    is_new,
    is_urgent,
    look,
    slept,
)
from wsdirect.switch import listeners, listening
from wsdirect.switch.connection import connections

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wsdirect._core._native import Stream

EPOLLET = getattr(select_module, "EPOLLET", 1 << 31)
EPOLLONESHOT = getattr(select_module, "EPOLLONESHOT", 1 << 30)
ONCE = EPOLLET | EPOLLONESHOT

poll_type = type(select_module.poll())
epoll_type = select_module.epoll

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
        if self.kind is epoll_type:
            self.see(watch, fd)
        if native.mark_of(fd) & native.NEW:  # it may be an epoll
            native.epoll_shown(fd)
        if mask & POLLPRI and not mask & ONCE:
            watch.urgent.add(fd)
        else:
            watch.urgent.discard(fd)
        if mask & EPOLLET:
            watch.edges[fd] = -1
        else:
            watch.edges.pop(fd, None)
        if fd in listening.listening or fd in listening.listeners:
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
        assert native is not None
        before = watch.watched.pop(fd, None)
        known = connections.get(fd)
        if known is not None and watch.masks.get(fd, 0) & POLLIN:
            watch.watched[fd] = known.stream
            known.stream.watch(True)
        if before is not None:
            before.watch(False)
        native.epoll_wants(watch.owner, fd, 0 if fd in watch.special else watch.masks.get(fd, 0))

    def _drop(self, watch: Watch, fd: int) -> None:
        if self.kind is epoll_type:
            assert native is not None
            native.epoll_wants(watch.owner, fd, 0)
        before = watch.watched.pop(fd, None)
        if before is not None:
            before.watch(False)
        watch.masks.pop(fd, None)
        watch.urgent.discard(fd)
        watch.edges.pop(fd, None)
        watch.special.discard(fd)
        self._note_special(watch)

    def _note_special(self, watch: Watch) -> None:
        if self.kind is epoll_type:
            busy = bool(watch.special)
        else:  # asked anew for each call; listeners alone are not
            busy = bool(watch.late) or any(fd not in listening.listening for fd in watch.masks)
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
        if self.kind is epoll_type:
            assert native is not None
            native.epoll_forget(owner)
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
        if self.kind is epoll_type:
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
                poller = epoll_type.fromfd(_dup(watch.owner))
                try:
                    _quietly(self.unregister, poller, fd)
                finally:
                    poller.close()

    def moved(self, fd: int) -> None:
        """Another socket stands under this number: the kernel dropped its registration (epoll)."""
        for watch in self.watches.values():
            mask = watch.masks.get(fd)
            if mask is not None and self.kind is epoll_type:
                poller = epoll_type.fromfd(_dup(watch.owner))
                try:
                    _quietly(self.register, poller, fd, mask)
                finally:
                    poller.close()
                self.see(watch, fd)

    def asked_anew(self, watch: Watch) -> list[int]:
        """Descriptors that are watched for one call at a time, as nobody closes a poll object."""
        if self.kind is epoll_type or not connections:
            return []
        return [fd for fd, mask in watch.masks.items() if mask & POLLIN]

    def looked_at(self, watch: Watch) -> dict[int, int]:
        """Events that the kernel may not know of: data that a blocking recv left in a ring."""
        found = {}
        assert native is not None
        for owner in set(watch.sans.values()):
            listener = listening.listeners.get(owner)
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
        if self.kind is poll_type:
            for fd, mask in list(watch.masks.items()):
                # level-triggered and asked anew each time: a blocking socket's full ring, too
                if mask & (POLLIN | POLLOUT) and fd in connections:
                    ready = look(fd, mask) & mask
                    if ready:
                        found[fd] = found.get(fd, 0) | ready
        return found

    def translate(
        self, watch: Watch, got: list[tuple[int, int]], seen: dict[int, int]
    ) -> list[Any]:
        """The kernel's answer with SAN listeners as their TCP listeners, in TCP's terms."""
        for fd, events in got:
            owner = watch.sans.get(fd)
            if owner is not None:
                listener = listening.listeners.get(owner)
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
        if self.kind is poll_type and len(watch.masks) == 1 and first is None and not offers:
            fd, mask = next(iter(watch.masks.items()))
            if mask & POLLIN and not mask & POLLOUT and comes_soon(fd, seconds):
                return [(fd, POLLIN)]
        for fd in list(listening.held):
            listener = listening.listeners.get(fd)
            if listener is None or not listener.has_waiting:
                listening.held.discard(fd)
        deadline = None if seconds is None else time.monotonic() + seconds
        silenced: dict[int, int] = {}
        while True:
            nearest = nearest_deadline() if offers else None
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            fds = self.asked_anew(watch) if left != 0 and first is None else []
            with Watching(fds):
                seen = self.looked_at(watch)
                if first is None:
                    since = time.monotonic() if len(fds) == 1 and not seen else 0.0
                    got = poll(0.0 if seen else capped(left, nearest))
                    if since and got:
                        slept(fds[0], since)
                else:
                    got, first = first, None
            answer = self.translate(watch, got, seen)
            for fd, _ in answer:
                if watch.masks.get(fd, 0) & EPOLLONESHOT:
                    self.spend(poller, watch, fd)
            if self.kind is epoll_type:
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
        if self.kind is poll_type:
            for fd, mask in silenced.items():
                _quietly(self.register, poller, fd, mask)
        return answer


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
epolls = Grafts(epoll_type, lambda poller: int(poller.fileno()), _EPOLL_DEFAULT)
polls = Grafts(poll_type, id, _POLL_DEFAULT)


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
            poller = epoll_type.fromfd(_dup(watch.owner))
            try:
                epolls.attend(poller, watch, fd)
            finally:
                poller.close()
    for watch in list(polls.watches.values()):
        if watch.reads(fd):
            native.mark(fd, native.WATCHED)
            watch.late.add(fd)
