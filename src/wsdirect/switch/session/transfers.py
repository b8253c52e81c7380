"""Large transfers of a session: the engine's tasks, done with memory of this end.

Used under the session's lock.  One transfer each way is under way at a time, so a session needs
memory for two at most, and gets it with the first of each.  A program's bytes either are copied
into that memory or, if it waits for the end of the transfer, go from where they are.
"""

from __future__ import annotations

from wsdirect.spi.constants import MEM_READ
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.structures import WSABUFEX
from wsdirect.switch.session.buffers import Bounce
from wsdirect.switch.session.states import Receiving
from wsdirect.switch.session.wire import DESCRIPTOR_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from wsdirect.switch.session.engine import Engine
    from wsdirect.switch.session.link import Link
    from wsdirect.switch.session.wire import Header

    Done = Callable[[int], object]

__all__ = ["Transfers"]


class Transfers:
    """What is under way.

    Attributes:
        taken: The memory for arrivals holds bytes, or waits for some.
        rest: Bytes of a transfer that the peer has refused: they go as messages.
    """

    __slots__ = (
        "_arrived",
        "_descriptor",
        "_done",
        "_engine",
        "_functions",
        "_handle",
        "_in",
        "_length",
        "_link",
        "_out",
        "_source",
        "_threshold",
        "rest",
        "taken",
    )

    def __init__(
        self, engine: Engine, link: Link, threshold: int, arrived: Callable[[memoryview], object]
    ) -> None:
        self._engine = engine
        self._link = link
        self._functions = link.functions
        self._threshold = threshold
        self._arrived = arrived
        self._in: Bounce | None = None
        self._out: Bounce | None = None
        self._length = 0  # of what arrives
        self._source: memoryview | None = None  # what goes out by RDMA now
        self._descriptor = b""  # of it, for a peer that reads
        self._handle = 0  # of it, for this end's own writing
        self._done: Done | None = None
        self.taken = False
        self.rest: memoryview | None = None

    # --- out ------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether an outgoing transfer is under way, so that nothing may follow it yet."""
        return self._source is not None or self.rest is not None

    def _first(self) -> int:
        """Bytes that can go along with the announcement, whatever the length of a descriptor."""
        return min(self._engine.room() - DESCRIPTOR_MAX, max(self._threshold, 1))

    def limit(self, length: int) -> int:
        """How many bytes of so many would go as one large transfer now; 0: as messages."""
        if length <= max(self._threshold, 1) or not self._engine.rdma_max or self.busy:
            return 0
        first = self._first()
        return min(length, self._engine.rdma_max + first) if first > 0 else 0

    def place(self, length: int) -> memoryview:
        """Memory to put so many bytes into, of those that `limit` allows.

        Errors:
            MemoryError: there is none.
        """
        if self._out is None:
            size = self._engine.terms.rdma_max + self._engine.terms.size
            self._out = Bounce(self._functions, self._link.s, size, outgoing=True)
        return self._out.memory[:length]

    def begin(self, source: memoryview, done: Done | None = None) -> None:
        """Send these bytes as a large transfer; they must stay as they are until `done`.

        Errors:
            WSAENOBUFS: the memory cannot be registered; nothing was sent.
            Those of WSPSend: the connection is gone.
        """
        engine, link, functions = self._engine, self._link, self._functions
        first = max(min(self._first(), len(source) - 1), len(source) - engine.rdma_max)
        rest = source[first:]
        try:
            if engine.peer_reads:
                self._descriptor = bytes(functions.register_rdma(link.s, rest, MEM_READ))
            else:
                self._handle = functions.register(link.s, rest, MEM_READ)
        except WSAError as error:
            if error.winerror in (WsaErrorCode.WSAECONNRESET, WsaErrorCode.WSAECONNABORTED):
                raise
            raise WSAError(WsaErrorCode.WSAENOBUFS, "session", str(error)) from error
        self._source, self._done = rest, done
        header = engine.large(first, len(source), self._descriptor)
        index = link.free.pop()
        buffer = link.sends.buffer(index)
        buffer[: len(header)] = header
        buffer[len(header) : len(header) + first] = source[:first]
        link.send(index, len(header) + first)

    def _deregister(self) -> None:
        descriptor, self._descriptor = self._descriptor, b""
        handle, self._handle = self._handle, 0
        try:
            if descriptor:
                self._functions.deregister_rdma(self._link.s, descriptor)
            if handle:
                self._functions.deregister(self._link.s, handle)
        except WSAError:
            pass  # the provider does it when the socket is closed

    def finished(self, error: int = 0) -> None:
        """All bytes are gone, or never will be."""
        self._source = self.rest = None
        self._engine.rest = False
        done, self._done = self._done, None
        if done is not None:
            done(error)

    # --- the engine's tasks ---------------------------------------------------------------------

    def work(self) -> None:
        """Do the tasks that there is memory for.

        Errors:
            Those of the RDMA functions: the connection is gone.
        """
        tasks = self._engine.tasks
        while tasks:
            name, header = tasks.popleft()
            if name == "write":
                assert self._source is not None
                parts = [WSABUFEX(self._source, self._handle)]
                write = self._functions.write
                self._link.transfer(write, self._written, parts, header.descriptor, 0)
            elif name == "release":
                self._deregister()
                self.finished()
            elif name == "refused":
                self._deregister()
                self.rest, self._source = self._source, None
            elif name == "arrived":
                assert self._in is not None
                self._in.withdraw()
                self._deliver()
        arrival = self._engine.arrival
        if arrival is not None and not self.taken:  # else when the program has read what is there
            self._engine.arrival = None
            self._take(*arrival)

    def _written(self) -> None:
        self._engine.written()
        self._deregister()
        self.finished()

    def _take(self, name: str, header: Header) -> None:
        """Get the rest of an incoming transfer, or refuse it."""
        engine, link = self._engine, self._link
        self._length = header.total - header.length
        if engine.receiving is Receiving.DEAF:
            engine.refuse()
            return
        try:
            if self._in is None:
                self._in = Bounce(self._functions, link.s, engine.terms.rdma_max, outgoing=False)
            part = self._in.memory[: self._length]
            if name == "expose":
                engine.exposed(self._in.expose(part))
                self.taken = True
                return
            handle = self._in.register()
        except (WSAError, MemoryError):
            engine.refuse()  # the peer sends it as messages
            return
        engine.reading()
        self.taken = True
        read = self._functions.read
        link.transfer(read, self._was_read, [WSABUFEX(part, handle)], header.descriptor, 0)

    def _was_read(self) -> None:
        self._engine.read()
        self._deliver()

    def _deliver(self) -> None:
        assert self._in is not None
        if self._engine.receiving is Receiving.DEAF:
            self.taken = False
        else:
            self._arrived(self._in.memory[: self._length])

    def close(self, error: int) -> None:
        """The socket is about to be closed: end all registrations and what is under way."""
        self._deregister()
        for bounce in (self._in, self._out):
            if bounce is not None:
                bounce.close()
        self._in = self._out = None
        self.finished(error)
