"""A session under an unmodified program's descriptor.

The program has one end of a byte stream within the process, which looks to it, and to the front,
like any native stream.  The switch has the other end, and moves bytes between that and the session:
in its own thread, or in the provider's when that comes with news.  Neither direction is read before
there is room for it on the other side, so both ends' flow control goes through.

A forked child has the program's end, too; the session stays with the parent.
"""

from __future__ import annotations

import os
import select
from _thread import allocate_lock
from time import monotonic, sleep

from wsdirect.spi.errors import WSAError
from wsdirect.switch.session import pairs
from wsdirect.switch.session.driver import Deadlines, driver
from wsdirect.switch.ungrafted import poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from wsdirect._core._native import Stream
    from wsdirect.switch.session.session import Session

__all__ = ["attach", "drain", "lingering", "pipes"]

_GOODBYE: Final = 60.0
"""Seconds that a peer has to end its side after the program closed; as TCP's in FIN_WAIT_2."""
_SHUT_WR: Final = 1
_PEEK: Final = 1
_NAP: Final = 0.002

pipes: set[Pipe] = set()
"""Those whose program's end is open."""
lingering: Deadlines[Session] = Deadlines(lambda session: session.drop())
"""Sessions whose program is through with them."""


class Pipe:
    """The switch's end of a program's stream, and the session."""

    __slots__ = ("_dirty", "_in_told", "_lock", "_out_ended", "session", "stream")

    def __init__(self, session: Session, stream: Stream) -> None:
        self.session = session
        self.stream = stream
        self._lock = allocate_lock()
        self._dirty = False
        self._in_told = False  # the end of what comes from the peer
        self._out_ended = False  # what comes from the program

    def start(self) -> None:
        """Begin to move bytes.

        Errors:
            OSError: no descriptor left.
        """
        pipes.add(self)
        self.stream.inline = True  # it stops before an urgent byte, which is the next one then
        driver.watch(self.stream.fd, self.run)
        self.session.on_change = self._changed
        self.run()

    def _changed(self, session: Session) -> None:
        self.run()

    def run(self) -> None:
        """Move what can be moved; for any thread."""
        self._dirty = True
        while self._dirty:
            if not self._lock.acquire(False):
                return  # whoever has it looks again
            try:
                self._dirty = False
                if self in pipes:
                    self._move()
            finally:
                self._lock.release()

    def _move(self) -> None:
        while self in pipes:
            moved = self._inward()
            if self in pipes and self._outward():
                moved = True
            if not moved:
                return

    # --- from the session to the program --------------------------------------------------------

    def _inward(self) -> bool:
        """True if bytes were moved."""
        session, stream = self.session, self.stream
        moved = False
        while (found := session.peek()) is not None:
            view, urgent = found
            try:
                count = stream.send_urgent(view, 0.0) if urgent else stream.send(view, 0.0)
            except BlockingIOError:
                return moved
            except OSError:  # the program reads no more; its end says how that came about
                if self._look_for_close():
                    return True
                count = len(view)
            session.consumed(count)
            moved = True
        if session.at_end:
            self._tell_end()
        return moved

    def _tell_end(self) -> None:
        """Everything has come that will come."""
        session = self.session
        if session.was_reset:
            self._finish(reset=True)
        elif session.peer_reads_no_more:
            self._finish()
        elif not self._in_told:
            self._in_told = True
            try:
                self.stream.shutdown(_SHUT_WR)
            except OSError:
                pass

    # --- from the program to the session --------------------------------------------------------

    def _outward(self) -> bool:
        """True if bytes were moved."""
        session, stream = self.session, self.stream
        if self._out_ended:
            self._look_for_close()
            return False
        moved = False
        while True:
            waiting = stream.available()
            if not waiting:
                # Asked like this, the stream looks at its bell, too: a process that was killed
                # leaves its end there only.
                try:
                    if stream.recv(1, 0.0, _PEEK):
                        continue
                except BlockingIOError:
                    return moved
                except OSError:  # the program has reset the connection
                    session.abort()
                    self._finish()
                    return False
                self._out_ended = True
                if not self._look_for_close():
                    session.shutdown()
                return moved
            urgent = stream.at_mark()
            try:
                place = session.reserve(1 if urgent else max(waiting, 1))
            except WSAError:
                return moved  # the peer takes no more: the program is told with the end
            if place is None:
                return moved
            try:
                count = stream.recv_into(place, 0.0)
            except BlockingIOError:
                session.commit(0)
                return moved
            except OSError:  # reset by the program
                session.commit(0)
                session.abort()
                self._finish()
                return False
            except BaseException:  # a signal's, if this is the main thread
                session.commit(0)
                raise
            session.commit(count, urgent)
            moved = True

    def _look_for_close(self) -> bool:
        """Whether the program has closed its end, not only half of it; then this is the end."""
        if not self._hung_up() or self.stream.available():
            return False
        if not self._in_told and not self.stream.peer_deaf:
            try:
                # Not for a program that has only shut down both directions: it could read them.
                # Bytes that go nowhere: after a half close, this tells a reset from a close.
                self.stream.send(b"\0", 0.0)
            except BrokenPipeError:
                self.session.abort()
            except OSError:
                pass
        try:
            if self.stream.recv(1, 0.0):
                return False
        except BlockingIOError:
            return False
        except OSError:
            self.session.abort()
        self.session.close()
        self._finish()
        return True

    def _hung_up(self) -> bool:
        found = poll({self.stream.fd: 0}, 0)
        return bool(found and found[0][1] & select.POLLHUP)

    # --- the end --------------------------------------------------------------------------------

    def _finish(self, reset: bool = False) -> None:
        """Let go of the program's stream; the session ends by itself."""
        pipes.discard(self)
        driver.unwatch(self.stream.fd)
        session = self.session
        session.on_change = None
        pairs.end(self.stream, reset)
        if not session.ended:
            session.close()
        linger(session)


def linger(session: Session) -> None:
    """See to the end of a session that no program has any more."""
    if session.ended and session.link.s == -1:
        return
    lingering.add(session, monotonic() + _GOODBYE)
    session.on_change = _lingering_changed
    session.progress()


def _lingering_changed(session: Session) -> None:
    if session.ended and session.link.s == -1:
        lingering.discard(session)


def attach(session: Session) -> Stream:
    """The stream for the program that a session is to be carried to.

    Errors:
        OSError: no memory or descriptor left; the session is reset then.
    """
    try:
        program, switch = pairs.make_pair()
    except BaseException:
        session.abort()
        linger(session)
        raise
    pipe = Pipe(session, switch)
    try:
        pipe.start()
    except BaseException:
        pipe._finish(reset=True)
        pairs.end(program)
        raise
    return program


def drain(patience: float = 5.0) -> None:
    """The process ends: send what programs have written, and the end of each stream."""
    deadline = monotonic() + patience
    for pipe in list(pipes):
        while pipe in pipes and pipe.stream.available() and monotonic() < deadline:
            pipe.run()
            sleep(_NAP)
        if pipe in pipes:
            if pipe.stream.queued():
                pipe.session.abort()  # what TCP does about bytes that nobody has read
            else:
                pipe.session.close()
            pipes.discard(pipe)
            lingering.add(pipe.session, deadline)
    for session in list(lingering):
        while not session.is_flushed and monotonic() < deadline:
            session.progress()
            if not session.is_flushed:
                sleep(_NAP)


# --- fork -------------------------------------------------------------------------------------


def _before_fork() -> None:
    for pipe in list(pipes):
        pipe.stream.share()  # the child lets go of it at once


def _in_child() -> None:
    driver.after_fork_child()
    for pipe in pipes:
        pipe.session.on_change = None
        pairs.end(pipe.stream)
    pipes.clear()
    lingering.clear()
    pairs.forget()


os.register_at_fork(before=_before_fork, after_in_child=_in_child)
