"""Descriptors of switched connections that go to other processes.

What another process gets is the bell, and it would read tokens where it expects data.  So before a
descriptor goes anywhere but to a forked child or into a pickle, the connection is made bare: its
bytes travel in the bell from then on, for whoever holds it.  An offer that nobody has taken yet
moves to TCP instead, where the descriptor is an ordinary one anyway.

The ways out of a process: SCM_RIGHTS; a new program by subprocess, posix_spawn or system; exec.
Only descriptors that the other process really gets go bare.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct
from _thread import get_ident
from stat import S_ISSOCK

from wsdirect import reasons
from wsdirect._core import native
from wsdirect.front import grafts, watches
from wsdirect.switch import bare as switch_bare
from wsdirect.switch import listeners, listening
from wsdirect.switch.connection import connections, forget, move_descriptor
from wsdirect.telling import tell_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from wsdirect.switch.connection import Connection

RIGHTS = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
MARK = "__wsdirect__"
STANDARD = range(3)
"""Descriptors that any program may use without being told of them."""


# -- one descriptor ------------------------------------------------------------------------------


def settle_offer(fd: int) -> bool:
    """Let a connection that nobody has accepted yet move to TCP; whether it is still switched.

    Errors:
        OSError: TCP cannot reach the peer either, as connect() says it.
    """
    assert native is not None
    known = connections.get(fd)
    if known is not None and known.stream.state != native.ATTACHED:
        from wsdirect.switch.handover import move_to_tcp

        for changed in move_to_tcp(fd, reasons.PASSED_ON):
            watches.moved(changed)
    return fd in connections


def go_bare(fd: int) -> None:
    """Make a switched descriptor one that any program can use.

    Errors:
        OSError: that is impossible; the sentence says why.
    """
    if not settle_offer(fd):
        return
    known = connections[fd]
    for changed in switch_bare.go_bare(known):
        watches.moved(changed)


def settle(lost: bytes | None, fd: int) -> None:
    """After Stream.go_bare() of an end without a Connection: put what is left under `fd`."""
    if lost is not None:
        move_descriptor(switch_bare.leave_behind(lost), fd)


def go(named: Iterable[int], besides: Iterable[int] = ()) -> None:
    """Descriptors go to another process.

    Args:
        named: Those that the program speaks of; what cannot be done for them is an error.
        besides: Those that go along because nobody closes them.
    """
    for fd in named:
        if fd in connections and not is_gone(fd):
            go_bare(fd)
        else:
            share_listener(fd)
    for fd in besides:
        share_listener(fd)
        if fd in connections:
            try:
                go_bare(fd)
            except OSError as error:
                tell_once("error", f"descriptor {fd} is of no use to a new program: {error}")


def is_gone(fd: int) -> bool:
    """Whether code that no graft sees, such as a file object, has closed it; then it is forgotten.

    The number is something else's now: one end of the pipes that subprocess makes, for example.
    """
    try:
        if S_ISSOCK(os.fstat(fd).st_mode):
            return False
    except OSError:
        pass
    forget(fd)
    return True


def share_listener(fd: int) -> None:
    """Another process may accept on this listener: clients must not wait for this one.

    The SAN side comes back when this process accepts again.
    """
    listeners.end_early(fd)
    known = listening.listeners.get(fd)
    if known is not None:
        known.relay_waiting()
        if not watches.is_watched(fd):
            known.close()
    listeners.blocking_again(fd)


def nothing_to_see() -> bool:
    """Whether this process has nothing that another could not simply use."""
    return not (
        connections or listening.listeners or listening.early or listening.unblocked or starts
    )


def inheritable() -> list[int]:
    """Descriptors of the switch that a new program gets unless somebody closes them."""
    found = []
    for fd in {*connections, *listening.listeners, *listening.early, *listening.unblocked}:
        try:
            if os.get_inheritable(fd):
                found.append(fd)
        except OSError:
            continue  # closed behind our back
    return found


def note_inherited() -> None:
    """At the start: has this process got a switched connection from the one that started it?"""
    assert native is not None
    try:
        native.note_inherited(int(name) for name in os.listdir("/proc/self/fd"))
    except OSError:
        return  # no /proc


# -- the ways out --------------------------------------------------------------------------------


def passing(ancillary: Any) -> None:
    """Ancillary data are about to be sent: descriptors among them go to another process."""
    if nothing_to_see():
        return
    for item in ancillary:
        if not isinstance(item, (tuple, list)) or len(item) != 3 or tuple(item[:2]) != RIGHTS:
            continue
        raw = memoryview(item[2]).cast("B")
        numbers = struct.unpack(f"={len(raw) // 4}i", raw[: len(raw) // 4 * 4])
        go(numbers)


def fork_exec(original: Callable[..., int]) -> Any:
    """_posixsubprocess.fork_exec, as subprocess and multiprocessing start programs."""

    def fork_exec(*args: Any) -> int:
        if nothing_to_see():
            return original(*args)
        start = None
        if len(args) > 11:
            start = starting(args[3])
            go(given(args), () if args[2] else inheritable())
        done = False
        try:
            pid = original(*args)
            done = True
            return pid
        finally:
            if start is not None:
                start.end(done)

    return grafts.like(original)(fork_exec)


def given(args: tuple[Any, ...]) -> set[int]:
    """Of the descriptors of fork_exec's child, those that are the program's doing."""
    standard = (args[6], args[9], args[11])  # -1: as this process has it
    found = {fd for fd in standard if fd >= 0} | set(args[3])
    for target, fd in zip(STANDARD, standard, strict=True):
        if fd < 0 and target in connections and os.get_inheritable(target):
            found.add(target)
    return found


def posix_spawn(original: Callable[..., int]) -> Any:
    """os.posix_spawn and posix_spawnp."""

    def posix_spawn(path: Any, argv: Any, env: Any, /, **options: Any) -> int:
        if not nothing_to_see():
            child = {fd: fd for fd in inheritable()}
            named = set()
            options["file_actions"] = actions = list(options.get("file_actions") or ())
            for action, fd, *rest in actions:
                if action == os.POSIX_SPAWN_DUP2:
                    child[rest[0]] = child.get(fd, fd)
                    named.add(child[rest[0]])
                else:
                    child.pop(fd, None)  # closed, or another file
            left = set(child.values())
            go(named & left, left - named)
        return original(path, argv, env, **options)

    return grafts.like(original)(posix_spawn)


def system(original: Callable[..., int]) -> Any:
    """os.system."""

    def system(command: Any) -> int:
        if not nothing_to_see():
            go((), inheritable())
        return original(command)

    return grafts.like(original)(system)


def execute(original: Callable[..., Any]) -> Any:
    """os.execv and os.execve: what is not inherited ends, without a word to the peer."""

    def execute(path: Any, *args: Any, **kwargs: Any) -> Any:
        leaving: list[Connection] = []
        if not nothing_to_see() and (isinstance(path, int) or os.access(path, os.X_OK)):
            staying = inheritable()
            for fd in staying:
                known = connections.get(fd)
                if known is not None and switch_bare.pump_is_here(known):
                    raise OSError(
                        errno.EOPNOTSUPP,
                        "the bytes of this connection go through this process, which exec would "
                        "end; start the program as another process, or set WSDIRECT_EXCLUDE",
                    )
            before = set(switch_bare.feeding)
            go(staying)
            if not before >= switch_bare.feeding:
                raise OSError(
                    errno.ENOBUFS,
                    "no kernel socket holds all that the peer has sent before it closed this "
                    "connection; read some of it before exec",
                )
            # its holds, and those of a forked child: nobody else would give them back
            leaving = list(set(connections.values()))
            switch_bare.drain()
        for known in leaving:
            known.stream.unshare()
        try:
            return original(path, *args, **kwargs)
        finally:  # it is no program
            for known in leaving:
                known.stream.share()

    return grafts.like(original)(execute)


def use_unhooked(original: Callable[..., Any]) -> Any:
    """os.fdopen: files are read and written by code that knows descriptors only."""

    def fdopen(fd: Any, *args: Any, **kwargs: Any) -> Any:
        if fd in connections:
            go_bare(fd)
        return original(fd, *args, **kwargs)

    return grafts.like(original)(fdopen)


def functions() -> dict[str, Any]:
    """What to set in os."""
    assert native is not None
    makers: dict[str, Callable[[Any], Any]] = {
        "posix_spawn": posix_spawn,
        "posix_spawnp": posix_spawn,
        "system": system,
        "execv": execute,
        "execve": execute,
    }
    found = {
        # built-in, as they were: a class that has one as an attribute does not make it a method
        name: native.guard(getattr(os, name), make(getattr(os, name)), "always")
        for name, make in makers.items()
    }
    return {**found, "fdopen": use_unhooked(os.fdopen)}


def graft_fork_exec() -> Any:
    """Graft the C function that subprocess and multiprocessing start programs with."""
    import _posixsubprocess

    if not hasattr(_posixsubprocess.fork_exec, MARK):
        grafted = fork_exec(_posixsubprocess.fork_exec)
        setattr(grafted, MARK, True)
        grafts.graft(_posixsubprocess, "fork_exec", grafted)
    return _posixsubprocess.fork_exec


def graft_subprocess(subprocess: Any) -> None:
    """Graft what subprocess has taken from it."""
    grafts.graft(subprocess, "_fork_exec", graft_fork_exec())


# -- descriptors that travel with a pickle -------------------------------------------------------


class Start:
    """What a pickle takes along for one process that is being started: copies of descriptors.

    The switch does not know these numbers, so the new process gets them as they are.
    """

    def __init__(self, popen: Any) -> None:
        self.popen = popen
        self.descriptors: list[int] = []
        self.held: list[Connection] = []

    def end(self, done: bool) -> None:
        """The process has its descriptors, or will never get them."""
        for fd in self.descriptors:
            os_close(fd)
        if not done:
            for connection in self.held:
                connection.stream.unshare()


os_close, os_dup = os.close, os.dup  # the originals
starts: dict[int, Start] = {}
"""By thread."""


def start_of(popen: Any) -> Start:
    """The record of a start under way in this thread."""
    found = starts.get(get_ident())
    if found is None or found.popen is not popen:
        if found is not None:
            found.end(False)
        found = starts[get_ident()] = Start(popen)
    return found


def starting(descriptors: Iterable[int]) -> Start | None:
    """The start that these descriptors are passed for, in this thread; the caller ends it."""
    found = starts.get(get_ident())
    if found is None or not set(found.descriptors) <= set(descriptors):
        return None
    return starts.pop(get_ident())


def after_fork_child() -> None:
    """Starts of other threads, and of the thread that forked, are the parent's."""
    for start in starts.values():
        start.end(True)
    starts.clear()
