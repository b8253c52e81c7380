"""Other processes for checks: forked, with a link to pass Python values over."""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from wsdirect.testing.expect import PATIENCE, Deviation

__all__ = ["Child", "Link"]


class Link:
    """One end of a pipe for Python values."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._file = end.makefile("rb")

    def put(self, value: Any) -> None:
        """Pass a value on."""
        self._end.sendall(pickle.dumps(value))

    def get(self, patience: float = 2 * PATIENCE) -> Any:
        """The next value, or the deviation that ended the other process.

        The other side must not put two values without being asked.
        """
        if not select.select([self._end], [], [], patience)[0]:
            raise Deviation("the other process to go on", f"it was silent for {patience:g} s")
        try:
            return self._load()
        except (EOFError, ConnectionResetError):
            raise Deviation("the other process to go on", "it ended") from None

    def _load(self) -> Any:
        value = pickle.load(self._file)
        if isinstance(value, Deviation):
            raise Deviation(value.expected, f"in the other process {value.happened}")
        return value

    def rest(self) -> None:
        """Take what is left after the other process has ended; raises its deviation."""
        while self.ready():
            try:
                self._load()
            except (EOFError, ConnectionResetError):
                return

    def ready(self) -> bool:
        """Whether a value, or the end, has come."""
        return bool(select.select([self._end], [], [], 0)[0])

    def finish(self) -> None:
        """Put no more; the other side may."""
        self._end.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close this end."""
        self._file.close()
        self._end.close()


class Child:
    """A forked process that runs `function(link)`; a context manager that waits for it.

    Where it is to be a process of its own, and not one that inherits sockets, it has to be made
    before the check's own provider is started.
    """

    def __init__(self, function: Callable[[Link], object]) -> None:
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                ours.close()
                link = Link(theirs)
                function(link)
                status = 0
            except Deviation as deviation:
                print(deviation, file=sys.stderr)
                link.put(deviation)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        theirs.close()
        self.link = Link(ours)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        pid, self.pid = self.pid, 0
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.link.close()

    def wait(self) -> None:
        """Wait for its end; a deviation if it did not end well."""
        pid, self.pid = self.pid, 0
        if not pid:
            return
        self.link.finish()
        _, status = os.waitpid(pid, 0)
        try:
            self.link.rest()
            if status:
                raise Deviation("the other process to end well", f"its status is {status:#x}")
        finally:
            self.link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.wait()
        else:
            self.kill()
