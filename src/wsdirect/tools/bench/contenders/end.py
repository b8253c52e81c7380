"""What a worker calls: the two ends of a contender, server or client.

A subclass connects, and provides four loops, each bound to all it needs before the clock runs:
`pinger` and `echoer` for round trips, `sender` and `receiver` for one way.  Every loop moves
messages of exactly `size` bytes; byte streams read until one is complete.  The `tell` and `hear` of
a single byte around them make both ends start, and the sender wait until all has arrived.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from wsdirect.tools.bench.figures import Histogram, median

if TYPE_CHECKING:
    from collections.abc import Callable

    Loop = Callable[[int], object]

__all__ = ["ROOM", "End", "Lost", "report", "verify", "verify_nothing"]

ROOM = 256 * 1024
"""Bytes that the reader of a byte stream asks for at least, unless it waits for one message."""


class Lost(Exception):
    """The other end is gone."""

    def __init__(self) -> None:
        super().__init__("the other end is gone")


class End:
    """One end, in a process of its own.

    Args:
        role: "server" or "client".
        pinning: A key of cpus.PINNINGS: whoever polls has to give way if both share a CPU.
        switched: The process is meant to be under the switch.
    """

    def __init__(self, role: str, pinning: str, switched: bool) -> None:
        self.role = role
        self.pinning = pinning
        self.switched = switched

    # -- connecting

    def listen(self) -> Any:
        """The server's first: the address for the client, as JSON's types."""
        raise NotImplementedError

    def accept(self) -> None:
        """The server's second."""
        raise NotImplementedError

    def connect(self, address: Any) -> None:
        """The client's."""
        raise NotImplementedError

    def check(self) -> None:
        """Exchange a byte, and make sure that the connection is what it is meant to be."""
        if self.role == "client":
            self.tell()
            self.hear()
        else:
            self.hear()
            self.tell()
        self.verify()

    def verify(self) -> None:
        """Raise if this process is switched and should not be, or the other way round."""
        verify_nothing(self.switched)

    def close(self) -> None:
        """Give back what would outlive the process."""

    # -- the loops of a subclass

    def tell(self) -> None:
        """Send a byte, or an empty sign of life."""
        raise NotImplementedError

    def hear(self) -> None:
        """Wait for what `tell` sends."""
        raise NotImplementedError

    def pinger(self, size: int) -> Loop:
        """A function that makes n round trips."""
        raise NotImplementedError

    def echoer(self, size: int) -> Loop:
        """A function that answers n round trips."""
        raise NotImplementedError

    def sender(self, size: int) -> Loop:
        """A function that sends n messages."""
        raise NotImplementedError

    def receiver(self, size: int) -> Loop:
        """A function that takes n messages."""
        raise NotImplementedError

    # -- what the bench calls

    def echo(self, size: int, count: int) -> None:
        """Answer what `ping` asks."""
        self.echoer(size)(count + 1)

    def ping(self, size: int, count: int, batch: int) -> dict[str, Any]:
        """Make round trips, timed in batches: see `report`."""
        go = self.pinger(size)
        go(1)  # so that the other end is there
        clock = time.perf_counter_ns
        times = []
        for _ in range(count // batch):
            start = clock()
            go(batch)
            times.append(clock() - start)
        return report(times, batch)

    def sink(self, size: int, count: int) -> None:
        """Take what `source` sends."""
        go = self.receiver(size)
        self.tell()
        go(count)
        self.tell()

    def source(self, size: int, count: int) -> float:
        """Send messages: seconds until the other end has all of them."""
        go = self.sender(size)
        self.hear()
        start = time.perf_counter()
        go(count)
        self.hear()
        return time.perf_counter() - start


def report(times: list[int], batch: int) -> dict[str, Any]:
    """Nanoseconds of batches as microseconds per round trip: median, and each if single."""
    found: dict[str, Any] = {"median": median(times) / batch / 1000}
    if batch == 1:
        found["each"] = Histogram.of([taken / 1000 for taken in times]).to_json()
    return found


def verify(sock: Any, switched: bool) -> None:
    """Raise if a TCP connection does not take the path that this contender stands for."""
    if not switched:
        verify_nothing(False)
        return
    import wsdirect

    found = wsdirect.info(sock)
    if found["path"] != "shm":
        raise RuntimeError(f"the connection is not switched: {found}")


def verify_nothing(switched: bool) -> None:
    """Raise if the launcher has been at work in a process that stands for plain Python."""
    there = os.environ.get("WSDIRECT") == "1" or "wsdirect.front.enable" in sys.modules
    if there != switched:
        raise RuntimeError("this process is under the switch" if there else "the switch is off")
