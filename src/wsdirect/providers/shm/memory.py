"""Memory that this provider makes, and what it remembers of memory: one account per process.

Shareable memory is a sealed memfd: a peer that is to get at it maps it, and copies once.  Whether
a registered range lies in such memory is found by its address, and remembered in a
`RegistrationCache`.

What there is to cache is little, and this says so: on this SAN no page is pinned and no adapter is
told (R-218, R-220), as it is processes that copy, and they can wait for a page.  The cache spares a
registration of shareable memory the question where it lies, no more; of other memory it holds
nothing.  It matters that it is told when memory is given up, as the next memory at that address
may be of another kind.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from weakref import ref

from wsdirect._core import native
from wsdirect.providers.registration import CacheEntry, Range, Ranges, RegistrationCache
from wsdirect.spi.errors import WSAError, WsaErrorCode, from_oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mmap import mmap
    from typing import Any, Final

    from typing_extensions import Buffer

__all__ = ["Allocation", "address_of", "allocate", "forget_cached", "resolve"]

_core: Any = native
_E = WsaErrorCode
_CALL: Final = "allocate_memory"
_SEALS: Final = 0x0007  # F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW
_F_ADD_SEALS: Final = 1033
_LARGEST: Final = 1 << 40


class Allocation(Range):
    """Shareable memory of this process.

    Attributes:
        descriptor: Of the memfd, for peers to open.
        inode: Tells it from others that had the same descriptor.
        memory: The memory object, weakly.
    """

    __slots__ = ("__weakref__", "descriptor", "inode", "memory")

    def __init__(self, memory: mmap, descriptor: int) -> None:
        super().__init__(*_core.address_of(memory))
        self.descriptor = descriptor
        _, self.inode = _core.memory_of(descriptor)
        self.memory = ref(memory)

    @property
    def alive(self) -> bool:
        """Whether it is still mapped."""
        memory = self.memory()
        return memory is not None and not memory.closed


# The lock is for the two below.  Nothing is called under it that could come back here, but Python
# code that the collector runs: hence the bookkeeping of a memory's end is not done under it.
_lock = allocate_lock()
_allocations: Ranges[Allocation] = Ranges()
_ended: list[Allocation] = []  # to be taken out of the books by the next who comes along


def _released(entry: CacheEntry) -> None:
    entry.value = None


_cache = RegistrationCache(_released)


def _settle() -> None:
    """Take what has ended out of the books; lock held."""
    while _ended:
        gone = _ended.pop()
        _allocations.remove(gone)
        _forget(gone)


def _forget(range_: Range) -> None:
    """Drop what is remembered of a range, if anything is; lock held."""
    try:
        _cache.invalidate(range_.address, range_.length, _CALL)
    except WSAError:
        pass


def resolve(address: int, length: int) -> Allocation | None:
    """The shareable memory that a range lies in; None: it is other memory."""
    with _lock:
        _settle()
        entry = _cache.lookup(address, length, 0)
        if entry is None:
            for found in _allocations.containing(address, length):
                # for any part of it, as whoever carves buffers out of memory will come again
                entry = _cache.add(found.address, found.length, 0, found)
                break
            else:
                return None  # not worth an entry: nobody would say when it is out of date
        allocation: Allocation | None = entry.value
    # It may be ending right now, and another thread's memory be there already.
    return allocation if allocation is not None and allocation.alive else None


def forget_cached(address: int, size: int, call: str) -> None:
    """Drop what is remembered of a range.

    Errors:
        WSAEINVAL: nothing is.
    """
    with _lock:
        _settle()
        _cache.invalidate(address, size, call)


def allocate(size: int) -> Any:
    """Make shareable memory; see wsdirect.spi.memory.

    Returns:
        A `SharedMemory`: an mmap.

    Errors:
        WSAEINVAL: no such size.
        WSAENOBUFS: not enough memory, or no descriptor left.
    """
    if type(size) is not int or not 0 < size <= _LARGEST:
        raise WSAError(_E.WSAEINVAL, _CALL, "The size is a number of bytes.")
    try:
        return _memory_type()(size)
    except (OSError, MemoryError, OverflowError) as error:
        hint = f"{error}."
        if isinstance(error, OSError) and not isinstance(error, WSAError):
            hint = str(from_oserror(error, _CALL))
        raise WSAError(_E.WSAENOBUFS, _CALL, hint) from error


def _make_descriptor(size: int) -> int:
    from fcntl import fcntl

    descriptor = os.memfd_create("wsdirect-memory", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size)
        fcntl(descriptor, _F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


_type: Any = None


def _memory_type() -> Any:
    """The class of the memory objects; made when first needed, with the module it needs."""
    global _type
    if _type is not None:
        return _type
    import mmap

    class Memory(mmap.mmap):
        """Shareable memory; see wsdirect.spi.memory."""

        _allocation: Allocation | None = None

        def __new__(cls, size: int) -> Any:
            descriptor = _make_descriptor(size)
            try:
                self = super().__new__(cls, descriptor, size)
                allocation = Allocation(self, descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            with _lock:
                _settle()
                _forget(allocation)  # what had been at this address before
                _allocations.add(allocation)
            self._allocation = allocation
            return self

        def close(self) -> None:
            """Give the memory back; BufferError while it is in use as a buffer."""
            super().close()
            self._end()

        def _end(self) -> None:
            allocation, self._allocation = self._allocation, None
            if allocation is not None:
                _ended.append(allocation)
                os.close(allocation.descriptor)

        def __del__(self) -> None:
            try:
                self.close()
            except BufferError:  # collected together with a view of it: both are about to go
                self._end()

        def __exit__(self, *what: object) -> None:
            self.close()

        def __reduce__(self) -> tuple[object, ...]:
            raise TypeError("memory belongs to this process and its forks, it cannot be pickled")

    _type = Memory
    return Memory


def address_of(buffer: Buffer, call: str) -> tuple[int, int]:
    """Address and length of a buffer.

    Errors:
        WSAEFAULT: it is none, or not one piece.
    """
    try:
        found: tuple[int, int] = _core.address_of(buffer)
        return found
    except (TypeError, BufferError, ValueError) as error:
        raise WSAError(_E.WSAEFAULT, call, f"{error}.") from None


# Whatever another thread is doing to the account, it has done before the child gets its copy.
os.register_at_fork(
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
)
