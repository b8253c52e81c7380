"""multiprocessing's pickles: a switched connection arrives switched.

Everything that multiprocessing pickles with a descriptor (sockets, its own connections, what other
packages register) asks `multiprocessing.reduction.DupFd` for something that can be pickled, and
calls its detach() in the receiving process.  For a switched descriptor that is a `Sent`: two of
multiprocessing's own, for the bell and for the segment, and what this process knows.

The descriptors under way are copies that the switch does not know, so that nothing else is done
about them.  Those for a process that is being started are closed when it has them.
"""

from __future__ import annotations

from _thread import get_ident

from wsdirect._core import native
from wsdirect.front import grafts
from wsdirect.front.passing import (
    go_bare,
    os_close,
    os_dup,
    settle,
    settle_offer,
    start_of,
    starting,
    starts,
)
from wsdirect.switch import parcels, policy
from wsdirect.switch.connection import connections

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wsdirect.switch.parcels import Facts

STARTERS = ("multiprocessing.popen_spawn_posix", "multiprocessing.popen_forkserver")
"""Modules whose Popen is known to pass descriptors in one of the grafted ways."""


class Sent:
    """A switched connection in a pickle; takes the place of the DupFd that it stands for."""

    def __init__(self, bell: Any, memory: Any, facts: Facts) -> None:
        self._bell = bell
        self._memory = memory
        self._facts = facts

    def detach(self) -> int:
        """In the receiving process: the descriptor, switched; or bare where nothing is switched."""
        bell: int = self._bell.detach()
        memory: int = self._memory.detach()
        try:
            if native is None:
                raise OSError("this Python has no core of wsdirect to take a connection over with")
            if policy.objection() is None:
                parcels.unpack(self._facts, bell, memory)
            else:
                stream = parcels.join(self._facts, bell, memory)
                settle(stream.go_bare(), bell)
            return bell
        except BaseException:
            os_close(bell)
            raise
        finally:
            os_close(memory)


def graft(reduction: Any) -> None:
    """Put the grafts into multiprocessing.reduction."""
    original, dump_, sendfds_ = reduction.DupFd, reduction.dump, reduction.sendfds
    context = reduction.context

    def DupFd(fd: int) -> Any:
        known = connections.get(fd)
        if known is None or not settle_offer(fd) or known.stream.bare:
            return original(fd)
        popen = context.get_spawning_popen()
        if popen is not None and type(popen).__module__ not in STARTERS:
            go_bare(fd)
            return original(fd)
        bell = memory = -1
        try:
            bell, memory = os_dup(fd), os_dup(known.stream.segment.fileno())
            sent = Sent(original(bell), original(memory), parcels.pack(known))
            if popen is not None:
                start = start_of(popen)
                start.descriptors += [bell, memory]
                start.held.append(known)
                bell = memory = -1
            return sent
        finally:
            for copy in (bell, memory):
                if copy >= 0:
                    os_close(copy)

    def dump(obj: Any, file: Any, protocol: Any = None) -> None:
        try:
            dump_(obj, file, protocol)
        except BaseException:
            start = starts.pop(get_ident(), None)
            if start is not None:
                start.end(False)
            raise

    def sendfds(sock: Any, fds: Any) -> None:
        start = starting(fds) if starts else None
        done = False
        try:
            sendfds_(sock, fds)
            done = True
        finally:
            if start is not None:
                start.end(done)

    for function in (DupFd, dump, sendfds):
        own = getattr(reduction, function.__name__)
        grafts.graft(reduction, function.__name__, grafts.like(own)(function))
