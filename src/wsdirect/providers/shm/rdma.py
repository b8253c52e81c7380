"""RDMA: transfers to and from memory that the peer has exposed.

Three ways, the best that is possible first:

* shared: the memory was made by the peer's provider: it is mapped here, and copied to or from.
* direct: the kernel copies from process to process, if it lets us.
* owner: the memory's owner is asked to, by control messages in the connection's ring.

The first two are over when the call that asked for them returns.  The third goes on, and keeps
back whatever is sent after it, so that messages never overtake data.
"""

from __future__ import annotations

import errno
import struct
from collections import OrderedDict, deque

from wsdirect import settings
from wsdirect._core import native
from wsdirect.providers.registration import capture
from wsdirect.providers.shm import memory
from wsdirect.providers.shm.limits import RDMA_MAX
from wsdirect.providers.shm.regions import Descriptor
from wsdirect.spi.constants import MEM_READ, MEM_WRITE
from wsdirect.spi.errors import ERRORS, WSAError, WsaErrorCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, Final

    from typing_extensions import Buffer

    from wsdirect._core import _native
    from wsdirect.providers.registration import Region
    from wsdirect.providers.shm.regions import Regions
    from wsdirect.spi.overlapped import WSAOVERLAPPED
    from wsdirect.spi.structures import WSABUFEX

    Stream = _native.Stream
    PeerMemory = _native.PeerMemory

__all__ = ["BrokenRules", "Rdma", "Transfer"]

_core: Any = native
_E = WsaErrorCode
_READ: Final = int(MEM_READ)
_WRITE: Final = int(MEM_WRITE)

_MAPPINGS_MAX: Final = 16
_REPLIES_MAX: Final = 256
_ANY_LENGTH: Final = 0xFFFFFFFF  # lpBuffers and offsets count 32 bits

# kind, last, entry, generation, key, tag, code, offset, length; bytes may follow
_CONTROL = struct.Struct("<BBHIQIIQQ")
_PUT: Final = 1  # bytes for the owner's memory
_GET: Final = 2  # a request for bytes of it
_GOT: Final = 3  # the answer, in pieces
_DONE: Final = 4  # how the request ended

_NOT_ALLOWED: Final = (errno.EPERM, errno.EACCES, errno.ESRCH, errno.ENOSYS)


class BrokenRules(Exception):
    """The peer sent what no provider of ours sends."""


class Transfer:
    """One WSPRdmaRead or WSPRdmaWrite.

    Attributes:
        overlapped: Its record.
        views: The local buffers.
        regions: The registrations that they lie in.
        length: Bytes to move.
        write: To the peer.
        index: The peer's entry.
        generation: Its generation.
        key: Its key.
        offset: Where in the exposed memory.
        place: What the entry said of the memory.
        moved: Bytes sent, or come, so far; of transfers by the owner.
        tag: Names it to the owner; 0: it was not asked.
    """

    __slots__ = (
        "generation",
        "index",
        "key",
        "length",
        "moved",
        "offset",
        "overlapped",
        "place",
        "regions",
        "tag",
        "views",
        "write",
    )

    overlapped: WSAOVERLAPPED
    place: tuple[int, int, int, int, int, int, int]

    def __init__(self, views: list[memoryview], regions: list[Region], write: bool) -> None:
        self.views = views
        self.regions = regions
        self.write = write
        self.length = sum(view.nbytes for view in views)
        self.offset = 0
        self.moved = 0
        self.tag = 0
        self.index = self.generation = self.key = 0

    def cut(self, length: int) -> list[memoryview]:
        """The next bytes of the local buffers, from `moved` on."""
        skip, found = self.moved, []
        for view in self.views:
            if skip >= view.nbytes:
                skip -= view.nbytes
                continue
            piece = view[skip : skip + length]
            skip = 0
            found.append(piece)
            length -= piece.nbytes
            if not length:
                break
        return found


class _Answer:
    """What the owner has to send: bytes of its memory, then how it went."""

    __slots__ = ("code", "length", "offset", "region", "sent", "tag")

    def __init__(
        self, tag: int, code: int, region: Region | None = None, offset: int = 0, length: int = 0
    ) -> None:
        self.tag = tag
        self.code = code
        self.region = region
        self.offset = offset
        self.length = length
        self.sent = 0


class Rdma:
    """The transfers of a connection, ours and the peer's; used with the socket's lock held.

    Args:
        stream: The connection.
        regions: Its registered memory.
        limit: Longest message.
    """

    __slots__ = (
        "_answers",
        "_direct",
        "_mappings",
        "_peer",
        "_piece",
        "_regions",
        "_shared",
        "_stream",
        "_tag",
    )

    def __init__(self, stream: Stream, regions: Regions, limit: int) -> None:
        self._stream = stream
        self._regions = regions
        self._piece = limit - _CONTROL.size
        way = settings.current().rdma
        self._shared = way in ("auto", "shared")
        self._direct = way in ("auto", "direct")
        self._peer = 0
        self._tag = 0
        self._mappings: OrderedDict[tuple[int, int], PeerMemory | None] = OrderedDict()
        self._answers: deque[_Answer] = deque()

    # --- requests -------------------------------------------------------------------------------

    def open(
        self,
        buffers: Sequence[WSABUFEX],
        descriptor: Buffer,
        offset: int,
        write: bool,
        call: str,
    ) -> Transfer:
        """Check a request and get into the peer's exposure; `close` is to follow.

        Errors:
            As of WSPRdmaWrite and WSPRdmaRead.
        """
        transfer = self._local(buffers, write, call)
        wanted = Descriptor(descriptor, call)
        if type(offset) is not int or not 0 <= offset <= _ANY_LENGTH:
            raise WSAError(_E.WSAEFAULT, call, "The offset is not within the peer's memory.")
        index, generation, key = wanted.index, wanted.generation, wanted.key
        try:
            place = self._stream.enter_exposure(index, generation, key, 0, 0, 0)
        except OSError as error:
            raise WSAError(
                _E.WSAEINVAL, call, "The peer has nothing registered under this descriptor."
            ) from error
        code, hint = 0, ""
        _, length, access, *_ = place
        if (length, access) != (wanted.length, wanted.access):
            code, hint = _E.WSAEINVAL, "The descriptor was altered."
        elif not access & (_WRITE if write else _READ):
            code, hint = _E.WSAEINVAL, "The peer does not allow this."
        elif offset + transfer.length > length:
            code, hint = _E.WSAEFAULT, "It reaches out of the peer's registered memory."
        if code:
            self._stream.leave_exposure(index, generation)
            raise WSAError(code, call, hint)
        transfer.index, transfer.generation, transfer.key = index, generation, key
        transfer.offset = offset
        transfer.place = place
        return transfer

    def _local(self, buffers: Sequence[WSABUFEX], write: bool, call: str) -> Transfer:
        """Find the registrations of the local buffers."""
        access = _READ if write else _WRITE
        views: list[memoryview] = []
        regions: list[Region] = []
        total = 0
        try:
            pairs = [(buffer, handle) for buffer, handle in buffers]
        except (TypeError, ValueError):
            raise WSAError(_E.WSAEFAULT, call, "Buffers are (buffer, handle) pairs.") from None
        for buffer, handle in pairs:
            region = self._regions.local.get(handle, access, call)
            address, length = memory.address_of(buffer, call)
            if not length:
                continue
            if address < region.address or address + length > region.end:
                raise WSAError(_E.WSAEFAULT, call, "A buffer is not in the memory of its handle.")
            views.append(capture(buffer, access, call))
            regions.append(region)
            total += length
        if total > RDMA_MAX:
            raise WSAError(_E.WSAEMSGSIZE, call, f"At most {RDMA_MAX} bytes.")
        return Transfer(views, regions, write)

    def close(self, transfer: Transfer) -> None:
        """It has ended: the peer may deregister its memory."""
        self._stream.leave_exposure(transfer.index, transfer.generation)

    def copy(self, transfer: Transfer) -> bool:
        """Do it here and now; False: only the owner can.

        Errors:
            OSError: it failed.
        """
        if not transfer.length:
            return True
        address, _, _, inode, inside, descriptor, process = transfer.place
        # The kernel says which process made the connection.  An end that another process holds
        # now, or one that says so, must not have us touch the memory of a third one.
        if not self._peer:
            self._peer = _core.peer_pid(self._stream.fd) or -1
        if process != self._peer:
            return False
        index, generation, write = transfer.index, transfer.generation, transfer.write
        if self._shared and inode:
            mapping = self._map(descriptor, inode)
            if mapping is not None:
                at = inside + transfer.offset
                self._stream.copy_shared(index, generation, mapping, at, transfer.views, write)
                return True
        if self._direct:
            at = address + transfer.offset
            try:
                self._stream.copy_direct(index, generation, process, at, transfer.views, write)
                return True
            except OSError as error:
                if error.errno not in _NOT_ALLOWED:
                    raise
                self._direct = False
        return False

    def _map(self, descriptor: int, inode: int) -> PeerMemory | None:
        """The peer's memory, mapped; None: it cannot be."""
        mappings, key = self._mappings, (descriptor, inode)
        if key in mappings:
            mappings.move_to_end(key)
            return mappings[key]
        found: PeerMemory | None = None
        try:
            found = _core.PeerMemory(self._peer, descriptor, inode)
        except OSError:
            pass
        mappings[key] = found
        if len(mappings) > _MAPPINGS_MAX:
            mappings.popitem(last=False)
        return found

    # --- by the owner: the side that asks -------------------------------------------------------

    def ask(self, transfer: Transfer) -> None:
        """Have the owner do it, as far as there is room; called again when there is more.

        Errors:
            OSError: the connection has ended.
        """
        first = not transfer.tag
        if first:
            self._tag = transfer.tag = self._tag % 0xFFFFFFFF + 1
        if not transfer.write:
            # `moved` counts what has come: the request itself must be sent once.
            if first and not self._send_request(transfer):
                transfer.tag = 0
            return
        while transfer.moved < transfer.length:
            length = min(transfer.length - transfer.moved, self._piece)
            at = transfer.offset + transfer.moved
            last = transfer.moved + length == transfer.length
            if not self._send(_PUT, transfer, last, at, length, transfer.cut(length)):
                return
            transfer.moved += length

    def _send_request(self, transfer: Transfer) -> bool:
        return self._send(_GET, transfer, True, transfer.offset, transfer.length, ())

    def _send(
        self,
        kind: int,
        transfer: Transfer,
        last: bool,
        offset: int,
        length: int,
        data: Iterable[memoryview],
    ) -> bool:
        head = _CONTROL.pack(
            kind,
            last,
            transfer.index,
            transfer.generation,
            transfer.key,
            transfer.tag,
            0,
            offset,
            length,
        )
        return self._stream.send_control((head, *data))

    def take_in(self, frame: memoryview, asked: Transfer | None) -> int | None:
        """Deal with a control message.

        Args:
            frame: A copy of it.
            asked: The transfer that the owner was asked for; None if there is none.

        Returns:
            The Winsock code that `asked` has ended with; None if it has not.

        Errors:
            BrokenRules: it is not what a provider of ours sends.
        """
        if frame.nbytes < _CONTROL.size:
            raise BrokenRules
        kind, last, index, generation, key, tag, code, offset, length = _CONTROL.unpack_from(frame)
        data = frame[_CONTROL.size :]
        if kind == _PUT:
            self._put(data, index, generation, key, tag, offset, length, last)
        elif kind == _GET and not data:
            self._get(index, generation, key, tag, offset, length)
        elif kind == _GOT or (kind == _DONE and not data):
            if asked is None or asked.tag != tag:
                return None  # late news of one that has failed
            if kind == _GOT:
                self._got(asked, data, offset)
            else:
                return self._done(asked, code)
        else:
            raise BrokenRules
        return None

    @staticmethod
    def _got(asked: Transfer, data: memoryview, offset: int) -> None:
        if asked.write or offset != asked.moved or data.nbytes > asked.length - asked.moved:
            raise BrokenRules
        at = 0
        for piece in asked.cut(data.nbytes):
            piece[:] = data[at : at + piece.nbytes]
            at += piece.nbytes
        asked.moved += data.nbytes

    @staticmethod
    def _done(asked: Transfer, code: int) -> int:
        if code:
            return code if code in ERRORS else int(_E.WSAECONNABORTED)
        if asked.moved != asked.length:
            raise BrokenRules
        _core.count_rdma_by_owner(asked.length)
        return 0

    # --- by the owner: the owner's side ---------------------------------------------------------

    def _find(
        self, index: int, generation: int, key: int, access: int, offset: int, length: int
    ) -> Region | int:
        """The region, or the Winsock code of what is wrong: by our own account, not the shared."""
        region = self._regions.named(index, generation, key)
        if region is None or not region.allows(access):
            return int(_E.WSAEINVAL)
        if offset + length > region.length:
            return int(_E.WSAEFAULT)
        return region

    def _put(
        self,
        data: memoryview,
        index: int,
        generation: int,
        key: int,
        tag: int,
        offset: int,
        length: int,
        last: int,
    ) -> None:
        if length != data.nbytes:
            raise BrokenRules
        found = self._find(index, generation, key, _WRITE, offset, length)
        if isinstance(found, int):
            self._answer(_Answer(tag, found))
            return
        found.view[offset : offset + length] = data
        if last:
            self._answer(_Answer(tag, 0))

    def _get(
        self, index: int, generation: int, key: int, tag: int, offset: int, length: int
    ) -> None:
        found = self._find(index, generation, key, _READ, offset, length)
        if isinstance(found, int):
            self._answer(_Answer(tag, found))
            return
        self._answer(_Answer(tag, 0, found, offset, length))

    def _answer(self, answer: _Answer) -> None:
        if len(self._answers) >= _REPLIES_MAX:
            raise BrokenRules  # one transfer at a time is asked for
        if answer.region is not None:
            answer.region.in_use += 1
        self._answers.append(answer)

    @property
    def has_answers(self) -> bool:
        """Whether something remains to be sent to the peer."""
        return bool(self._answers)

    def answer(self) -> None:
        """Send answers, as far as there is room.

        Errors:
            OSError: the connection has ended.
        """
        while self._answers:
            answer = self._answers[0]
            region = answer.region
            while region is not None and answer.sent < answer.length:
                length = min(answer.length - answer.sent, self._piece)
                at = answer.offset + answer.sent
                head = _CONTROL.pack(_GOT, 0, 0, 0, 0, answer.tag, 0, answer.sent, length)
                if not self._stream.send_control((head, region.view[at : at + length])):
                    return
                answer.sent += length
            head = _CONTROL.pack(_DONE, 0, 0, 0, 0, answer.tag, answer.code, 0, 0)
            if not self._stream.send_control((head,)):
                return
            self._drop(self._answers.popleft())

    @staticmethod
    def _drop(answer: _Answer) -> None:
        if answer.region is not None:
            answer.region.in_use -= 1

    def forget(self) -> None:
        """The connection is over: owe the peer nothing, and unmap its memory."""
        while self._answers:
            self._drop(self._answers.popleft())
        self._mappings.clear()
