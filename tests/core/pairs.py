"""Connected ends of a stream, as the shared-memory provider makes them, without a provider."""

import os
import select
import socket
from dataclasses import dataclass
from typing import Any

from wsdirect._core import native


@dataclass
class End:
    """One end: the stream and the kernel socket whose readiness has to be the truth."""

    stream: Any  # None: a test has let go of it
    bell: socket.socket

    def events(self) -> int:
        """What poll() of the kernel socket says now, with nothing of wsdirect in between."""
        poller = select.poll()
        poller.register(self.bell, select.POLLIN | select.POLLOUT | select.POLLRDHUP)
        return sum(events for _, events in poller.poll(0))

    def readable(self) -> bool:
        return bool(self.events() & select.POLLIN)

    def writable(self) -> bool:
        return bool(self.events() & select.POLLOUT)

    def close(self, reset: bool = False) -> None:
        if self.stream is not None:
            self.stream.close(reset)
        self.bell.close()


#: Ends that tests have made; the fixture `ends_are_closed` closes what they leave open.
opened: list[End] = []


def close_opened() -> None:
    while opened:
        opened.pop().close()


def bells() -> tuple[socket.socket, socket.socket]:
    """Two connected AF_UNIX sockets, fit to be bells."""
    pair = socket.socketpair()
    for one in pair:
        native.prepare_bell(one.fileno())
    return pair


def make_pair(ring: int = 4096, segment: Any = None, strict: bool = False) -> tuple[End, End]:
    """The end that offered and the end that attached, each with a mapping of its own."""
    segment = segment or native.Segment.create(slots=2, ring=ring)
    ours, theirs = bells()
    slot = segment.take()
    a = native.Stream.offer(segment, slot, ours.fileno(), None)
    adopted = native.Segment.adopt(segment.fileno())
    b = native.Stream.attach(adopted, slot, segment.generation(slot), theirs.fileno())
    a.strict = b.strict = strict
    opened.extend((End(a, ours), End(b, theirs)))
    return opened[-2], opened[-1]


def fork_pair(child: Any, ring: int = 4096) -> tuple[End, int]:
    """Run `child(end)` in another process, which attaches; (our end, its process id).

    The child's exit status is 0 if the function returned, else 1 with the traceback on stderr.
    """
    segment = native.Segment.create(slots=1, ring=ring)
    ours, theirs = bells()
    slot = segment.take()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            native.after_fork_child()
            ours.close()
            adopted = native.Segment.adopt(segment.fileno())
            stream = native.Stream.attach(adopted, slot, segment.generation(slot), theirs.fileno())
            child(End(stream, theirs))
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    theirs.close()
    opened.append(End(native.Stream.offer(segment, slot, ours.fileno(), None), ours))
    return opened[-1], pid


def exit_status(pid: int) -> int:
    """0: the child's function returned; negative: the signal that killed it."""
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)
