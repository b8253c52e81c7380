"""Bookkeeping of registered memory, for every provider: which buffer, which part, which access.

Nothing here moves data or knows where a buffer lies: callers pass addresses, so a provider may
use whatever numbers tell its buffers' bytes apart.  Nothing here locks, either.  A table is used
under its socket's lock, a cache under a lock of its owner's.

Two rules: access is never wider than what one registration asked for, and never reaches outside
the range that this registration named, whatever else is registered around it (T-30, T-31).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from itertools import count

from wsdirect.spi.constants import MEM_READ, MEM_READWRITE, MEM_WRITE
from wsdirect.spi.errors import WSAError, WsaErrorCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Final, Generic, TypeVar

    from typing_extensions import Buffer

    RangeT = TypeVar("RangeT", bound="Range")
else:
    RangeT = None

    class Generic:  # importing `typing` would cost every process milliseconds
        """Stands for typing.Generic."""

        def __class_getitem__(cls, item):
            return cls


__all__ = [
    "CacheEntry",
    "Range",
    "Ranges",
    "Region",
    "RegistrationCache",
    "RegistrationTable",
    "capture",
    "check_access",
]

_E = WsaErrorCode
_READ: Final = int(MEM_READ)
_WRITE: Final = int(MEM_WRITE)
_BOTH: Final = int(MEM_READWRITE)
_ADDRESSES: Final = 1 << 64


def check_access(access: int, call: str) -> int:
    """The access asked for, as a plain int.

    Errors:
        WSAEINVAL: it is not MEM_READ, MEM_WRITE or MEM_READWRITE.

    Source: R-197.
    """
    if access in (_READ, _WRITE, _BOTH):
        return int(access)
    raise WSAError(_E.WSAEINVAL, call, "The access is MEM_READ, MEM_WRITE or both.")


def capture(buffer: Buffer, access: int, call: str) -> memoryview:
    """A view of a buffer's bytes: the buffer stays exported while the view exists.

    Memory of no bytes cannot be registered: no transfer could ever use it.

    Args:
        buffer: What the caller wants to register.
        access: With MEM_WRITE the buffer has to be writable.
        call: Name of the function, for errors.

    Errors:
        WSAEFAULT: no buffer, not one piece, empty, or read-only where writing is asked for.

    Source: R-197, R-208.
    """
    try:
        view = memoryview(buffer)
    except (TypeError, BufferError, ValueError) as error:
        raise WSAError(_E.WSAEFAULT, call, f"{error}.") from None
    problem = None
    if not view.c_contiguous:
        problem = "The memory is not one piece."
    elif not view.nbytes:
        problem = "There is no memory to register."
    elif access & _WRITE and view.readonly:
        problem = "The memory is read-only."
    if problem is not None:
        view.release()
        raise WSAError(_E.WSAEFAULT, call, problem)
    if view.format == "B" and view.ndim == 1:
        return view
    return view.cast("B")


class Range:
    """A range of addresses.

    Attributes:
        address: Where it begins.
        length: Bytes, at least 1.
        end: Where it has ended.
    """

    __slots__ = ("address", "end", "length")

    def __init__(self, address: int, length: int) -> None:
        if length <= 0 or address < 0 or address + length > _ADDRESSES:
            raise ValueError(f"no range of memory: {address:#x} + {length}")
        self.address = address
        self.length = length
        self.end = address + length


class Ranges(Generic[RangeT]):
    """Ranges by address; they may overlap, and be the same."""

    __slots__ = ("_begins", "_longest", "_ranges")

    def __init__(self) -> None:
        self._begins: list[int] = []
        self._ranges: list[RangeT] = []
        self._longest = 0  # of all that were ever here at a time: bounds the search to the left

    def __len__(self) -> int:
        return len(self._ranges)

    def __iter__(self) -> Iterator[RangeT]:
        return iter(list(self._ranges))

    def add(self, found: RangeT) -> None:
        """Put one in."""
        where = bisect_right(self._begins, found.address)
        self._begins.insert(where, found.address)
        self._ranges.insert(where, found)
        self._longest = max(self._longest, found.length)

    def remove(self, found: RangeT) -> None:
        """Take one out; it is here."""
        where = bisect_left(self._begins, found.address)
        while self._ranges[where] is not found:
            where += 1
        del self._begins[where], self._ranges[where]
        if not self._ranges:
            self._longest = 0

    def containing(self, address: int, length: int) -> Iterator[RangeT]:
        """Those that hold all of these bytes, the one beginning last first."""
        end = address + length
        where = bisect_right(self._begins, address) - 1
        first = end - self._longest
        while where >= 0 and self._begins[where] >= first:
            found = self._ranges[where]
            if found.end >= end:
                yield found
            where -= 1

    def touching(self, address: int, length: int) -> list[RangeT]:
        """Those that share at least one byte with this range."""
        where = bisect_left(self._begins, address + length) - 1
        first = address - self._longest
        found = []
        while where >= 0 and self._begins[where] >= first:
            if self._ranges[where].end > address:
                found.append(self._ranges[where])
            where -= 1
        return found

    def clear(self) -> None:
        """Take all out."""
        self._begins.clear()
        self._ranges.clear()
        self._longest = 0


class Region(Range):
    """Memory registered on one socket.

    Attributes:
        handle: What WSPRegisterMemory returned.
        access: MEM_READ, MEM_WRITE or both: never more than was asked for.
        view: Its bytes; keeps the buffer exported.  Released once `revoked`.
        references: Registrations that have not been ended.
        in_use: Transfers that use it now.
        revoked: Its memory was given up: it can only be deregistered.
        extra: For the provider.
    """

    __slots__ = ("access", "extra", "handle", "in_use", "references", "revoked", "view")

    def __init__(self, handle: int, address: int, view: memoryview, access: int) -> None:
        super().__init__(address, view.nbytes)
        self.handle = handle
        self.access = access
        self.view = view
        self.references = 1
        self.in_use = 0
        self.revoked = False
        self.extra: Any = None

    def allows(self, access: int) -> bool:
        """Whether all of this access was asked for."""
        return self.access & access == access

    def part(self, offset: int, length: int, call: str) -> memoryview:
        """Some of its bytes.

        Args:
            offset: Where they begin, bytes from the begin of the region.
            length: How many.
            call: Name of the function, for errors.

        Errors:
            WSAEFAULT: they are not wholly inside.

        Source: R-212, R-234.
        """
        if offset < 0 or length < 0 or offset + length > self.length:
            raise WSAError(_E.WSAEFAULT, call, "It reaches out of the registered memory.")
        return self.view[offset : offset + length]


# Not per table: a handle from one socket must not mean anything on another.
_handles = count(0x20001, 2)


class RegistrationTable:
    """The memory registered on one socket.

    Transfers say when they begin and end with a region, `use` and `done`: memory in use cannot be
    deregistered or given up.

    Args:
        limit: Most regions at a time.

    Source: R-195 to R-204.
    """

    __slots__ = ("_latest", "_limit", "_regions", "_where")

    def __init__(self, limit: int = 65536) -> None:
        self._limit = limit
        self._regions: dict[int, Region] = {}
        self._where: Ranges[Region] = Ranges()  # without the revoked ones
        self._latest: Region | None = None  # transfers tend to use the same memory again

    def __len__(self) -> int:
        return len(self._regions)

    def __iter__(self) -> Iterator[Region]:
        return iter(list(self._regions.values()))

    def register(self, view: memoryview, address: int, access: int, call: str) -> Region:
        """Register memory, or count one more registration of just this memory and access.

        Args:
            view: From `capture`; becomes the table's, also if there is an error.
            address: Of its first byte.
            access: From `check_access`.
            call: Name of the function, for errors.

        Returns:
            The region; its `references` say whether it is new (1).

        Errors:
            WSAENOBUFS: there are too many regions.
            WSAEFAULT: address and length are no range of memory.
        """
        length = view.nbytes
        for region in self._where.containing(address, length):
            if (region.address, region.length, region.access) == (address, length, access):
                region.references += 1
                view.release()
                return region
        if len(self._regions) >= self._limit:
            view.release()
            raise WSAError(_E.WSAENOBUFS, call, f"There are {self._limit} regions already.")
        try:
            region = Region(next(_handles), address, view, access)
        except ValueError as error:
            view.release()
            raise WSAError(_E.WSAEFAULT, call, f"{error}.") from None
        self._regions[region.handle] = region
        self._where.add(region)
        return region

    def deregister(
        self, handle: int, call: str, end: Callable[[Region], bool] | None = None
    ) -> Region:
        """End one registration; with the last one the buffer is not exported any more.

        Args:
            handle: Of the region.
            call: Name of the function, for errors.
            end: Asked before the last registration of a region that is not revoked ends, to do
                the provider's part; False: it is in use, after all.

        Returns:
            The region; its `references` say whether it is gone (0).

        Errors:
            WSAEINVAL: unknown handle, or in use: the registration stays.

        Source: R-202 to R-204.
        """
        region = self._known(handle, call)
        last = region.references == 1
        if region.in_use or (last and not region.revoked and end is not None and not end(region)):
            raise WSAError(_E.WSAEINVAL, call, "A transfer uses the memory.")
        region.references -= 1
        if last:
            del self._regions[handle]
            if not region.revoked:
                self._forget(region)
        return region

    def find(self, address: int, length: int, access: int, call: str) -> Region:
        """The region that a buffer lies in, for functions that are told addresses only.

        Args:
            address: Of the buffer's first byte.
            length: Of the buffer, at least 1: a buffer of no bytes needs no region.
            access: What the transfer does with the memory.
            call: Name of the function, for errors.

        Errors:
            WSAEFAULT: no single region holds all of it and allows this.

        Source: R-169, R-170, R-171, R-211.
        """
        region = self._latest
        if (
            region is not None
            and region.address <= address
            and address + length <= region.end
            and region.access & access == access
        ):
            return region
        for region in self._where.containing(address, length):
            if region.access & access == access:
                self._latest = region
                return region
        raise WSAError(
            _E.WSAEFAULT, call, "The buffer is not in memory registered on this socket for this."
        )

    def get(self, handle: int, access: int, call: str) -> Region:
        """The region of a handle.

        Errors:
            WSAEINVAL: unknown or revoked, or it does not allow this.

        Source: R-211, R-229.
        """
        region = self._known(handle, call)
        if region.revoked:
            raise WSAError(_E.WSAEINVAL, call, "The memory was given up.")
        if region.access & access != access:
            raise WSAError(_E.WSAEINVAL, call, "The memory is not registered for this.")
        return region

    def get_part(self, handle: int, address: int, length: int, access: int, call: str) -> Region:
        """The region of a handle, for a buffer that has to lie in it.

        Errors:
            WSAEINVAL: as for `get`.
            WSAEFAULT: the buffer is not wholly inside.

        Source: R-212, R-229.
        """
        region = self.get(handle, access, call)
        if address < region.address or address + length > region.end:
            raise WSAError(_E.WSAEFAULT, call, "A buffer is not in the memory of its handle.")
        return region

    def _known(self, handle: int, call: str) -> Region:
        try:
            return self._regions[handle]
        except (KeyError, TypeError):
            raise WSAError(_E.WSAEINVAL, call, "No memory has this handle here.") from None

    @staticmethod
    def use(region: Region) -> None:
        """A transfer begins to use the region."""
        region.in_use += 1

    @staticmethod
    def done(region: Region) -> None:
        """A transfer has ended with the region."""
        region.in_use -= 1

    def revoke(
        self, address: int, size: int, end: Callable[[Region], bool] | None = None
    ) -> tuple[int, int]:
        """Memory is about to be given up: end the use of every region that touches it.

        The handles stay known, for WSPDeregisterMemory and nothing else.

        Args:
            address: Where the memory begins.
            size: Its length.
            end: Asked before a region that is not in use is revoked, to do the provider's part;
                False: it is in use, after all.

        Returns:
            How many regions were revoked, and how many are in use and were not.

        Source: R-222 to R-225, T-36, T-37.
        """
        revoked = kept = 0
        for region in self._where.touching(address, size):
            if region.in_use or (end is not None and not end(region)):
                kept += 1
                continue
            region.revoked = True
            self._forget(region)
            revoked += 1
        return revoked, kept

    def _forget(self, region: Region) -> None:
        self._where.remove(region)
        if self._latest is region:
            self._latest = None
        region.view.release()

    def clear(self) -> None:
        """End all registrations: the connection is over, and nothing uses the memory any more."""
        self._regions.clear()
        self._latest = None
        for region in self._where:
            region.revoked = True
            region.view.release()
        self._where.clear()


class CacheEntry(Range):
    """Something that a provider remembers of a range of memory.

    Attributes:
        access: What it may be used for.
        value: What is remembered.
        in_use: Users that need it now; an entry in use is neither dropped nor evicted.
    """

    __slots__ = ("access", "in_use", "value")

    def __init__(self, address: int, length: int, access: int, value: Any) -> None:
        super().__init__(address, length)
        self.access = access
        self.value = value
        self.in_use = 0


class RegistrationCache:
    """What registrations cost, kept behind deregistration and found again by address.

    An entry answers for any part of its range, as long as it allows the access.  It says nothing
    about what a registration may do: that is the table's.

    Args:
        release: Called with each entry that goes.
        entries: Most entries.
        size: Most bytes that all ranges have together.

    Source: R-219 to R-226; C:caching-registered-memory.
    """

    __slots__ = (
        "_bytes",
        "_entries",
        "_max_bytes",
        "_max_entries",
        "_recent",
        "_release",
        "_where",
    )

    def __init__(
        self,
        release: Callable[[CacheEntry], object],
        entries: int = 1024,
        size: int = 1 << 40,
    ) -> None:
        self._release = release
        self._max_entries = entries
        self._max_bytes = size
        self._bytes = 0
        self._where: Ranges[CacheEntry] = Ranges()
        self._recent: OrderedDict[CacheEntry, None] = OrderedDict()  # the latest used last

    def __len__(self) -> int:
        return len(self._recent)

    @property
    def size(self) -> int:
        """Bytes that all ranges have together."""
        return self._bytes

    def lookup(self, address: int, length: int, access: int) -> CacheEntry | None:
        """An entry for this memory and access, which becomes the latest used; None if none."""
        for entry in self._where.containing(address, length):
            if entry.access & access == access:
                self._recent.move_to_end(entry)
                return entry
        return None

    def add(self, address: int, length: int, access: int, value: Any) -> CacheEntry:
        """Remember something, and drop what was not used for longest if there is too much.

        The new entry stays even if all others are in use.
        """
        entry = CacheEntry(address, length, access, value)
        self._where.add(entry)
        self._recent[entry] = None
        self._bytes += length
        for old in list(self._recent):
            if len(self._recent) <= self._max_entries and self._bytes <= self._max_bytes:
                break
            if old is not entry and not old.in_use:
                self._drop(old)
        return entry

    def invalidate(self, address: int, size: int, call: str) -> None:
        """Drop every entry that shares a byte with the range.

        Errors:
            WSAEINVAL: there is none.
            WSAEFAULT: one is in use, and stays; the others are gone.

        Source: R-222 to R-224, T-36, T-38.
        """
        found = self._where.touching(address, size)
        if not found:
            raise WSAError(_E.WSAEINVAL, call, "Nothing of this memory is cached.")
        busy = False
        for entry in found:
            if entry.in_use:
                busy = True
            else:
                self._drop(entry)
        if busy:
            raise WSAError(_E.WSAEFAULT, call, "The memory is in use.")

    def _drop(self, entry: CacheEntry) -> None:
        self._where.remove(entry)
        del self._recent[entry]
        self._bytes -= entry.length
        self._release(entry)

    def clear(self) -> None:
        """Drop everything, used or not."""
        for entry in list(self._recent):
            self._drop(entry)
