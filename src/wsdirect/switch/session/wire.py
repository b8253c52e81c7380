"""What the session protocol's messages look like.

Every message of a session is one message of the SAN: a header of 24 bytes, then a descriptor for
RDMA if there is one, then the payload.  All numbers are little-endian.

| bytes | field      | meaning                                                              |
| ----- | ---------- | -------------------------------------------------------------------- |
| 0     | version    | 1                                                                    |
| 1     | kind       | a `Kind`                                                             |
| 2-3   | flags      | `URGENT`, `DEAF`                                                     |
| 4-5   | credits    | receives that were posted since the last message                     |
| 6-7   | descriptor | length of the descriptor, 0 to 64                                    |
| 8-11  | length     | of the payload                                                       |
| 12-15 | sequence   | number of the message in its direction, from 0, modulo 2**32         |
| 16-19 | transfer   | number of the large transfer that it is about, else 0                |
| 20-23 | total      | LARGE: bytes of the transfer, with those in the payload; else 0      |

What comes from the peer is checked here, field by field, from one copy: a message that passes has
no field that its kind does not use, and lengths that fit what has arrived.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from wsdirect.switch.session.states import protocol_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "DEAF",
    "DESCRIPTOR_MAX",
    "FEATURE_RDMA",
    "FEATURE_READ",
    "HEADER_SIZE",
    "NEGOTIATION_MAX",
    "RECEIVES_MAX",
    "RECEIVES_MIN",
    "SIZE_MIN",
    "URGENT",
    "VERSION",
    "Header",
    "Kind",
    "Terms",
]

VERSION: Final = 1
NEGOTIATION_MAX: Final = 256
"""Bytes of the first message each way: a provider holds that much before a receive is posted."""
DESCRIPTOR_MAX: Final = 64
RECEIVES_MIN: Final = 8
RECEIVES_MAX: Final = 1024
SIZE_MIN: Final = 256
"""Smallest receive that a peer may have: a message that only carries control always fits."""

URGENT: Final = 1
"""DATA: the last byte of the payload is urgent."""
DEAF: Final = 2
"""END: the sender's program reads no more, either."""

FEATURE_RDMA: Final = 1
"""Can register memory for the peer, and write to the peer's."""
FEATURE_READ: Final = 2
"""Can read the peer's."""
_FEATURES: Final = FEATURE_RDMA | FEATURE_READ

_HEADER = struct.Struct("<BBHHHIIII")
HEADER_SIZE: Final = _HEADER.size
_TERMS = struct.Struct("<HHIIII")


class Kind(IntEnum):
    """What a message is for."""

    NEGOTIATE = 1  # The first each way; payload: `Terms`.
    DATA = 2
    CREDIT = 3  # Nothing but its credits.
    LARGE = 4  # The first part of a large transfer; with a descriptor the receiver reads the rest.
    EXPOSED = 5  # The descriptor of the place where the rest is to be written.
    READ = 6  # The rest has been read.
    WRITTEN = 7  # The rest has been written.
    REFUSED = 8  # There is no memory for the rest: it comes as DATA.
    END = 9  # The sender sends no more data.
    GONE = 10  # The sender's program reads no more; its end was sent before.
    CLOSE = 11  # Both directions have ended: the connection may go.
    RESET = 12  # The sender gives up the connection now.
    SUSPEND = 13
    SUSPENDED = 14
    RESUME = 15  # Payload: `Terms` of the next process.
    RESUMED = 16


# Which fields a kind uses: (flags, descriptor, payload, transfer, total)
_USES: Final[dict[int, tuple[int, bool, bool, bool, bool]]] = {
    Kind.NEGOTIATE: (0, False, True, False, False),
    Kind.DATA: (URGENT, False, True, False, False),
    Kind.CREDIT: (0, False, False, False, False),
    Kind.LARGE: (0, True, True, True, True),
    Kind.EXPOSED: (0, True, False, True, False),
    Kind.READ: (0, False, False, True, False),
    Kind.WRITTEN: (0, False, False, True, False),
    Kind.REFUSED: (0, False, False, True, False),
    Kind.END: (DEAF, False, False, False, False),
    Kind.GONE: (0, False, False, False, False),
    Kind.CLOSE: (0, False, False, False, False),
    Kind.RESET: (0, False, False, False, False),
    Kind.SUSPEND: (0, False, False, False, False),
    Kind.SUSPENDED: (0, False, False, False, False),
    Kind.RESUME: (0, False, True, False, False),
    Kind.RESUMED: (0, False, False, False, False),
}


class Header:
    """The header of a message, and its descriptor."""

    __slots__ = (
        "credits",
        "descriptor",
        "flags",
        "kind",
        "length",
        "sequence",
        "total",
        "transfer",
    )

    def __init__(
        self,
        kind: int,
        sequence: int,
        *,
        flags: int = 0,
        credits: int = 0,
        descriptor: bytes = b"",
        length: int = 0,
        transfer: int = 0,
        total: int = 0,
    ) -> None:
        self.kind = kind
        self.sequence = sequence
        self.flags = flags
        self.credits = credits
        self.descriptor = descriptor
        self.length = length
        self.transfer = transfer
        self.total = total

    def pack(self) -> bytes:
        """Header and descriptor, as they stand before the payload."""
        return (
            _HEADER.pack(
                VERSION,
                self.kind,
                self.flags,
                self.credits,
                len(self.descriptor),
                self.length,
                self.sequence,
                self.transfer,
                self.total,
            )
            + self.descriptor
        )

    @classmethod
    def unpack(cls, message: memoryview) -> Header:
        """The header of a message that has arrived.

        Errors:
            WSAECONNABORTED: it is none.
        """
        if len(message) < HEADER_SIZE:
            protocol_error("A message is shorter than a header.")
        fields = _HEADER.unpack_from(message)
        version, kind, flags, credits, described, length, sequence, transfer, total = fields
        if version != VERSION:
            protocol_error(f"The peer speaks version {version} of the session protocol.")
        uses = _USES.get(kind)
        if uses is None:
            protocol_error(f"There is no message of kind {kind}.")
        known, may_describe, has_payload, about_transfer, has_total = uses
        if flags & ~known:
            protocol_error("A message has a flag that its kind does not know.")
        if described > DESCRIPTOR_MAX or (described and not may_describe):
            protocol_error("A message has a descriptor that does not fit.")
        if length != len(message) - HEADER_SIZE - described:
            protocol_error("A message is not as long as its header says.")
        if bool(length) is not has_payload:  # no kind has an empty payload
            protocol_error("A message has a payload that its kind has not, or has none.")
        if transfer and not about_transfer:
            protocol_error("A message names a transfer, which its kind does not.")
        if total <= length if has_total else total:
            protocol_error("A message has a total that does not fit.")
        descriptor = bytes(message[HEADER_SIZE : HEADER_SIZE + described])
        if kind == Kind.EXPOSED and not descriptor:
            protocol_error("A place to write to has no descriptor.")
        return cls(
            kind,
            sequence,
            flags=flags,
            credits=credits,
            descriptor=descriptor,
            length=length,
            transfer=transfer,
            total=total,
        )

    def __repr__(self) -> str:
        return f"<Header {Kind(self.kind).name} {self.sequence}, {self.length} bytes>"


class Terms:
    """What one end tells the other at the beginning.

    Attributes:
        receives: Receives that it has posted.
        size: Bytes that each of them takes.
        features: FEATURE_RDMA, FEATURE_READ.
        rdma_max: Most bytes that one RDMA transfer of its moves; 0: none.
        process: Process number, for those who look at status pages of one host; 0: not told.
    """

    __slots__ = ("features", "process", "rdma_max", "receives", "size")

    def __init__(
        self, receives: int, size: int, features: int = 0, rdma_max: int = 0, process: int = 0
    ) -> None:
        self.receives = receives
        self.size = size
        self.features = features
        self.rdma_max = rdma_max
        self.process = process

    def pack(self) -> bytes:
        """As the payload of a message."""
        return _TERMS.pack(self.receives, self.features, self.size, self.rdma_max, self.process, 0)

    @classmethod
    def unpack(cls, payload: memoryview) -> Terms:
        """The terms in a message that has arrived; those that a later version adds are ignored.

        Errors:
            WSAECONNABORTED: there are none, or nobody could work with them.
        """
        if not _TERMS.size <= len(payload) <= NEGOTIATION_MAX - HEADER_SIZE:
            protocol_error("The peer's terms are of the wrong length.")
        receives, features, size, rdma_max, process, _ = _TERMS.unpack_from(payload)
        if not RECEIVES_MIN <= receives <= RECEIVES_MAX:
            protocol_error(f"The peer has posted {receives} receives.")
        if size < SIZE_MIN:
            protocol_error(f"The peer's receives take {size} bytes.")
        features &= _FEATURES
        if not features & FEATURE_RDMA or not rdma_max:
            features = rdma_max = 0
        return cls(receives, size, features, rdma_max, process)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Terms) and self.pack() == other.pack()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Terms {self.receives} x {self.size}, features {self.features}>"
