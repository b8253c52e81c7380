"""A session's memory at one provider socket: two registered regions, and what large transfers need.

Receives and sends have one virtually contiguous region each, cut into buffers of equal size
(C:registering-memory-for-operations-on-a-san).  The memory of large transfers comes with the first
of them.
"""

from __future__ import annotations

from wsdirect.spi.constants import MEM_READ, MEM_WRITE
from wsdirect.spi.errors import WSAError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wsdirect.switch.session.functions import Functions

__all__ = ["Bounce", "Region"]


class Region:
    """Registered memory in buffers of equal size.

    Errors:
        WSAENOBUFS, and others of WSPRegisterMemory.
    """

    __slots__ = ("_access", "_functions", "_handle", "_s", "memory", "size")

    def __init__(self, functions: Functions, s: int, count: int, size: int, access: int) -> None:
        self._functions = functions
        self._s = s
        self.size = size
        self.memory = memoryview(bytearray(count * size))
        self._access = access
        self._handle = 0
        self.open()

    def open(self) -> None:
        """Register the memory, again after `close`."""
        self._handle = self._functions.register(self._s, self.memory, self._access)

    def buffer(self, index: int) -> memoryview:
        """One of the buffers, whole."""
        return self.memory[index * self.size : (index + 1) * self.size]

    def close(self) -> None:
        """End the registration; the provider itself does it if a request still uses the memory."""
        handle, self._handle = self._handle, 0
        if handle:
            try:
                self._functions.deregister(self._s, handle)
            except WSAError:
                pass


class Bounce:
    """The memory of large transfers in one direction; one is under way at a time.

    Attributes:
        memory: All of it.
        handle: From WSPRegisterMemory; 0 while `register` has not been called.
    """

    __slots__ = ("_access", "_descriptor", "_functions", "_s", "handle", "memory")

    def __init__(self, functions: Functions, s: int, size: int, outgoing: bool) -> None:
        self._functions = functions
        self._s = s
        self._access = MEM_READ if outgoing else MEM_WRITE
        self._descriptor = b""
        self.handle = 0
        self.memory = memoryview(bytearray(size))

    def register(self) -> int:
        """A handle for this end's own RDMA calls, the same each time.

        Errors:
            WSAENOBUFS, and others of WSPRegisterMemory.
        """
        if not self.handle:
            self.handle = self._functions.register(self._s, self.memory, self._access)
        return self.handle

    def expose(self, part: memoryview) -> bytes:
        """A descriptor of a part of the memory for the peer, until `withdraw`.

        Errors:
            WSAENOBUFS, and others of WSPRegisterRdmaMemory.
        """
        self._descriptor = self._functions.register_rdma(self._s, part, self._access)
        return self._descriptor

    def withdraw(self) -> None:
        """End the peer's access; nothing if it has none."""
        descriptor, self._descriptor = self._descriptor, b""
        if descriptor:
            try:
                self._functions.deregister_rdma(self._s, descriptor)
            except WSAError:
                pass

    def close(self) -> None:
        """End all registrations."""
        self.withdraw()
        handle, self.handle = self.handle, 0
        if handle:
            try:
                self._functions.deregister(self._s, handle)
            except WSAError:
                pass
