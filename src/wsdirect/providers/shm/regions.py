"""The registered memory of a connection: what its requests may use, and what the peer may.

A descriptor names an entry in the connection's slot of the segment (csrc/wsd_region.h), so it is
worth something on this connection only.  What the entry says is for the peer's provider; what the
memory really is stands here, where the peer cannot write.
"""

from __future__ import annotations

import os
import struct
from time import monotonic, sleep

from wsdirect.providers.registration import RegistrationTable, capture, check_access
from wsdirect.providers.shm import memory
from wsdirect.providers.shm.limits import DESCRIPTOR_SIZE, EXPOSURES_MAX
from wsdirect.spi.errors import WSAError, WsaErrorCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from typing_extensions import Buffer

    from wsdirect._core import _native
    from wsdirect.providers.registration import Region

    Stream = _native.Stream

__all__ = ["Descriptor", "Regions"]

_GENERATIONS: Final = 0x7FFFFFFF
_PATIENCE: Final = 1.0
"""Seconds that the end of a connection waits for the peer's transfers in our memory."""
_NAP: Final = 0.0005
_MAGIC: Final = b"WSDr"
_VERSION: Final = 1
# magic, version, entry, generation, access, length, key
_DESCRIPTOR = struct.Struct("<4sHHIIQQ")
assert _DESCRIPTOR.size == DESCRIPTOR_SIZE

_E = WsaErrorCode


class Descriptor:
    """What the bytes of a descriptor say.

    Args:
        data: The bytes.
        call: Name of the function, for errors.

    Errors:
        WSAEINVAL: they are not a descriptor of this provider.
    """

    __slots__ = ("access", "generation", "index", "key", "length")

    def __init__(self, data: Buffer, call: str) -> None:
        try:
            found = bytes(memoryview(data))
            magic, version, *fields = _DESCRIPTOR.unpack(found)
        except (TypeError, ValueError, BufferError, struct.error):
            magic, version, fields = b"", 0, [0] * 5
        if magic != _MAGIC or version != _VERSION:
            raise WSAError(_E.WSAEINVAL, call, "This is no descriptor of this provider.")
        self.index, self.generation, self.access, self.length, self.key = fields


class _Entry:
    """Where an exposed region stands in the segment."""

    __slots__ = ("descriptor", "generation", "index", "key")

    def __init__(self, index: int, generation: int, region: Region) -> None:
        self.index = index
        self.generation = generation
        key = os.urandom(8)
        self.key = int.from_bytes(key, "little")
        self.descriptor = _DESCRIPTOR.pack(
            _MAGIC, _VERSION, index, generation, region.access, region.length, self.key
        )


class Regions:
    """The registrations of one connection; all members are used with the socket's lock held.

    Attributes:
        local: What WSPRegisterMemory registered.
    """

    __slots__ = ("_entries", "_exposed", "_free", "_generation", "_stream", "local")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.local = RegistrationTable()
        self._exposed = RegistrationTable(EXPOSURES_MAX)
        self._entries: dict[int, Region] = {}
        self._free: list[int] = []
        # Not from 1: another process may have had this end before, with transfers under way.
        self._generation = int.from_bytes(os.urandom(4), "little")

    def register(self, buffer: Buffer, access: int, call: str) -> int:
        """WSPRegisterMemory; errors as there."""
        access = check_access(access, call)
        view = capture(buffer, access, call)
        address, _ = memory.address_of(view, call)
        return self.local.register(view, address, access, call).handle

    def expose(self, buffer: Buffer, access: int, call: str) -> bytes:
        """WSPRegisterRdmaMemory; errors as there."""
        access = check_access(access, call)
        view = capture(buffer, access, call)
        address, _ = memory.address_of(view, call)
        region = self._exposed.register(view, address, access, call)
        if region.references == 1:
            self._publish(region)
        entry: _Entry = region.extra
        return entry.descriptor

    def _publish(self, region: Region) -> None:
        index = self._free.pop() if self._free else len(self._entries)
        self._generation = (self._generation + 1) & _GENERATIONS
        entry = region.extra = _Entry(index, self._generation, region)
        self._entries[index] = region
        found = memory.resolve(region.address, region.length)
        self._stream.expose(
            index,
            entry.generation,
            entry.key,
            region.address,
            region.length,
            region.access,
            found.inode if found is not None else 0,
            region.address - found.address if found is not None else 0,
            found.descriptor if found is not None else -1,
            os.getpid(),
        )

    def withdraw(self, data: Buffer, call: str) -> None:
        """WSPDeregisterRdmaMemory; errors as there."""
        region = self._named(Descriptor(data, call))
        if region is None or bytes(memoryview(data)) != region.extra.descriptor:
            raise WSAError(_E.WSAEINVAL, call, "Nothing has this descriptor here.")
        self._exposed.deregister(region.handle, call, self._end)
        if not region.references:
            self._give_back(region)

    def _named(self, descriptor: Descriptor) -> Region | None:
        region = self._entries.get(descriptor.index)
        if region is None:
            return None
        entry: _Entry = region.extra
        if (entry.generation, entry.key) != (descriptor.generation, descriptor.key):
            return None
        return region

    def named(self, index: int, generation: int, key: int) -> Region | None:
        """The region that the peer means, if its memory is still to be had."""
        region = self._entries.get(index)
        if region is None or region.revoked:
            return None
        entry: _Entry = region.extra
        return region if (entry.generation, entry.key) == (generation, key) else None

    def _give_back(self, region: Region) -> None:
        index = region.extra.index
        del self._entries[index]
        self._free.append(index)

    def _end(self, region: Region) -> bool:
        """Have the peer get at it no more; False while it does."""
        entry: _Entry = region.extra
        stream = self._stream
        if stream.end_exposure(entry.index, entry.generation):
            return True
        # A peer that was killed in the middle stays in the count: the bell knows.
        try:
            stream.message_size()
        except OSError:
            pass
        return stream.ended and stream.end_exposure(entry.index, entry.generation, True)

    def revoke(self, address: int, size: int) -> tuple[int, int]:
        """Memory is given up: how many registrations ended, and how many are in use."""
        ended, kept = self.local.revoke(address, size)
        more_ended, more_kept = self._exposed.revoke(address, size, self._end)
        return ended + more_ended, kept + more_kept

    def close(self) -> None:
        """The peer's access ends now; waits a little for transfers that are in our memory."""
        stream = self._stream
        for region in self._exposed:
            entry: _Entry = region.extra
            if not region.revoked:
                stream.end_exposure(entry.index, entry.generation, True)
        deadline = monotonic() + _PATIENCE
        for index in self._entries:
            while stream.exposure_busy(index) and not stream.ended and monotonic() < deadline:
                sleep(_NAP)

    def forget(self) -> None:
        """Export no buffer any more; after `close`, or in a forked child, which owns none."""
        self.local.clear()
        self._exposed.clear()
        self._entries.clear()
        self._free.clear()
