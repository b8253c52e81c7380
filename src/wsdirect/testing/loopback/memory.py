"""The memory that is registered on a socket, for its own transfers and for its peer's RDMA.

The bookkeeping is `wsdirect.providers.registration`, as for every provider.  What is added here:
where a buffer lies, what an RDMA descriptor looks like, and a registration cache.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from wsdirect.providers.registration import (
    CacheEntry,
    Region,
    RegistrationCache,
    RegistrationTable,
    capture,
    check_access,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.testing.loopback.limits import REGIONS_MAX

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from wsdirect.spi.structures import WSABUFEX

__all__ = ["DESCRIPTOR_SIZE", "MemoryCache", "Part", "SocketMemory", "address_of"]

_E = WsaErrorCode

# Says what it is, and which region of the socket: the same on every computer.  The length is there
# to be checked: a descriptor that was altered on its way is not accepted.
_DESCRIPTOR: Final = struct.Struct("<8sQQ")
_MARK: Final = b"loopback"

DESCRIPTOR_SIZE: Final = _DESCRIPTOR.size
"""Length of every RDMA descriptor in bytes."""


class _PyBuffer(ctypes.Structure):
    """Python's own record of a buffer: the only way to the address of read-only memory."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


def address_of(view: memoryview) -> int:
    """Where the bytes of a contiguous view begin."""
    record = _PyBuffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(view), ctypes.byref(record), 0)
    try:
        return record.buf or 0
    finally:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(record))


class Part:
    """Some bytes of a region that a request uses.

    Attributes:
        view: The bytes, seen through the region: the caller's own object is not needed any more.
    """

    __slots__ = ("_region", "view")

    def __init__(self, region: Region | None, view: memoryview) -> None:
        self._region = region  # None for no bytes
        self.view = view

    def use(self) -> None:
        """The request begins: from now on the memory cannot be deregistered."""
        if self._region is not None:
            RegistrationTable.use(self._region)
            self._region.extra.in_use += 1

    def done(self) -> None:
        """The request has ended."""
        self.view.release()
        if self._region is not None:
            self._region.extra.in_use -= 1
            RegistrationTable.done(self._region)


class MemoryCache:
    """What registering costs, kept behind deregistration.

    Hardware would keep pages pinned and known to the adapter.  Here nothing costs anything, so an
    entry is a mere note; what is shown is when entries come and go.

    Attributes:
        pinned: How many entries were ever made.
    """

    def __init__(self) -> None:
        self.pinned = 0
        self._cache = RegistrationCache(self._unpin)

    def pin(self, region: Region) -> None:
        """See to it that there is an entry for a region."""
        entry = self._cache.lookup(region.address, region.length, region.access)
        if entry is None:
            self.pinned += 1
            entry = self._cache.add(region.address, region.length, region.access, None)
        region.extra = entry

    @staticmethod
    def _unpin(entry: CacheEntry) -> None:
        """Hardware would unpin the pages here."""

    def forget(self, memories: Iterable[SocketMemory], address: int, size: int) -> None:
        """WSPMemoryRegistrationCacheCallback; errors as there."""
        call = "WSPMemoryRegistrationCacheCallback"
        if size <= 0:
            raise WSAError(_E.WSAEINVAL, call, "It is no range of memory.")
        revoked = 0
        for memory in memories:
            for table in (memory.local, memory.exposed):
                revoked += table.revoke(address, size)[0]
        try:
            self._cache.invalidate(address, size, call)  # WSAEFAULT: in use
        except WSAError as error:
            if error.winerror != _E.WSAEINVAL or not revoked:
                raise

    def clear(self) -> None:
        """Forget everything."""
        self._cache.clear()


class SocketMemory:
    """The memory registered on one socket; used under the engine's lock.

    Attributes:
        local: For the socket's own transfers: WSPRegisterMemory.
        exposed: For the peer's RDMA: WSPRegisterRdmaMemory.
    """

    def __init__(self, cache: MemoryCache) -> None:
        self.local = RegistrationTable(REGIONS_MAX)
        self.exposed = RegistrationTable(REGIONS_MAX)
        self._cache = cache

    # --- WSPRegisterMemory and its three relatives ------------------------------------------------

    def register(self, buffer: Buffer, access: int) -> int:
        """WSPRegisterMemory; errors as there, but for those about the socket."""
        return self._register(self.local, buffer, access, "WSPRegisterMemory").handle

    def deregister(self, handle: int) -> None:
        """WSPDeregisterMemory; errors as there."""
        self.local.deregister(handle, "WSPDeregisterMemory")

    def expose(self, buffer: Buffer, access: int) -> bytes:
        """WSPRegisterRdmaMemory; errors as there, but for those about the socket."""
        return _descriptor(self._register(self.exposed, buffer, access, "WSPRegisterRdmaMemory"))

    def conceal(self, descriptor: Buffer) -> None:
        """WSPDeregisterRdmaMemory; errors as there."""
        call = "WSPDeregisterRdmaMemory"
        self.exposed.deregister(self._named(descriptor, call), call)

    def _register(self, table: RegistrationTable, buffer: Buffer, access: int, call: str) -> Region:
        access = check_access(access, call)
        view = capture(buffer, access, call)
        region = table.register(view, address_of(view), access, call)
        if region.references == 1:
            self._cache.pin(region)
        return region

    def _named(self, descriptor: Buffer, call: str) -> int:
        """The handle in a descriptor.

        Errors:
            WSAEINVAL: it is not one of this socket's, in every byte.
        """
        try:
            mark, handle, length = _DESCRIPTOR.unpack(descriptor)
        except (struct.error, TypeError, ValueError):
            raise WSAError(_E.WSAEINVAL, call, "It is no descriptor.") from None
        if mark == _MARK:
            for region in self.exposed:
                if (region.handle, region.length) == (handle, length):
                    return region.handle
        raise WSAError(_E.WSAEINVAL, call, "No memory has this descriptor here.")

    # --- what transfers use -----------------------------------------------------------------------

    def by_address(self, buffers: Sequence[Buffer], access: int, call: str) -> list[Part]:
        """The memory of a WSPSend or WSPRecv, which name buffers only.

        Errors:
            WSAEFAULT: a buffer is not in registered memory, or not in memory for this.

        Source: R-169, R-170, R-171.
        """
        parts = []
        for address, length in _ranges(buffers, call):
            if length:
                region = self.local.find(address, length, access, call)
                parts.append(Part(region, region.part(address - region.address, length, call)))
            else:
                parts.append(Part(None, memoryview(b"")))
        return parts

    def by_handle(self, buffers: Sequence[WSABUFEX], access: int, call: str) -> list[Part]:
        """The local memory of an RDMA transfer, which names handles.

        Errors:
            WSAEFAULT: a buffer is not in the memory of its handle.
            WSAEINVAL: unknown handle, or it does not allow this.

        Source: R-211, R-212, R-229.
        """
        try:
            pairs = [(buffer, handle) for buffer, handle in buffers]
        except (TypeError, ValueError):
            raise WSAError(_E.WSAEFAULT, call, "Buffers are (buffer, handle) pairs.") from None
        parts = []
        ranges = _ranges([buffer for buffer, _ in pairs], call)
        for (address, length), (_, handle) in zip(ranges, pairs, strict=True):
            if length:
                region = self.local.get_part(handle, address, length, access, call)
                parts.append(Part(region, region.part(address - region.address, length, call)))
            else:
                self.local.get(handle, access, call)
                parts.append(Part(None, memoryview(b"")))
        return parts

    def by_descriptor(
        self, descriptor: Buffer, offset: int, length: int, access: int, call: str
    ) -> Part:
        """The part of this socket's memory that the peer wants to read or write.

        Errors:
            WSAEFAULT: the range is not within the registration.
            WSAEINVAL: unknown descriptor, or it does not allow this.

        Source: R-210 to R-213, R-234, R-235.
        """
        region = self.exposed.get(self._named(descriptor, call), access, call)
        if not isinstance(offset, int):
            raise WSAError(_E.WSAEFAULT, call, "The offset is a number of bytes.")
        return Part(region, region.part(offset, length, call))

    def clear(self) -> None:
        """The socket is closed: its requests have ended, and so do its registrations."""
        self.local.clear()
        self.exposed.clear()


def _descriptor(region: Region) -> bytes:
    return _DESCRIPTOR.pack(_MARK, region.handle, region.length)


def _ranges(buffers: Sequence[Buffer], call: str) -> Iterator[tuple[int, int]]:
    """Address and length of each buffer.

    Errors:
        WSAEFAULT: one is no buffer, or not one piece.
    """
    try:
        views = [memoryview(buffer) for buffer in buffers]
    except (TypeError, BufferError, ValueError) as error:
        raise WSAError(_E.WSAEFAULT, call, f"{error}.") from None
    for view in views:
        with view:
            if not view.c_contiguous:
                raise WSAError(_E.WSAEFAULT, call, "A buffer is not one piece.")
            yield address_of(view), view.nbytes
