"""The handshake of a connection for messages: what goes with a connect, and the answer to it.

The connecting end puts its hello into the ring as the first message before anybody can see the
offer.  The accepting end answers with one message, or with WAIT and later with another one.  Each
is a header and what its flags announce: flow specs as their writer sees them, user data.

Both were written by somebody else and are checked as a whole: `unpack_hello` and `unpack_answer`
give None for whatever is not exactly right.
"""

from __future__ import annotations

import struct

from wsdirect.providers.qos import QOS_PACKED, pack_qos, unpack_qos

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from wsdirect._core import _native
    from wsdirect.spi.structures import QOS

    Stream = _native.Stream

__all__ = [
    "ACCEPTED",
    "DATA_MAX",
    "FRAME_MAX",
    "REFUSED",
    "WAIT",
    "Greeting",
    "pack_answer",
    "pack_hello",
    "read_frame",
    "unpack_answer",
    "unpack_hello",
]

DATA_MAX: Final = 1024
"""Most bytes of user data that go with a connect, each way."""

ACCEPTED: Final = b"A"
REFUSED: Final = b"R"
WAIT: Final = b"W"
"""The acceptor put the request off: it is to be waited for some more."""

_VERSION: Final = 1
_HELLO: Final = b"H"
_HEADER = struct.Struct("<1sBBxI")  # kind, version, flags, length of the user data
_SQOS: Final = 1
_GQOS: Final = 2
FRAME_MAX: Final = _HEADER.size + 2 * QOS_PACKED + DATA_MAX
"""Longest message of the handshake; half of the smallest ring has room for it."""


class Greeting:
    """What one end says to the other in the handshake.

    Attributes:
        data: User data.
        sqos: Quality of service for the socket as its writer sees it, or None.
        gqos: The same for the group.
    """

    __slots__ = ("data", "gqos", "sqos")

    def __init__(self, data: bytes = b"", sqos: QOS | None = None, gqos: QOS | None = None) -> None:
        self.data = data
        self.sqos = sqos
        self.gqos = gqos


def pack_hello(greeting: Greeting) -> bytes:
    """The connecting end's message."""
    return _pack(_HELLO, greeting)


def pack_answer(kind: bytes, greeting: Greeting | None = None) -> bytes:
    """The accepting end's message: ACCEPTED, REFUSED or WAIT."""
    return _pack(kind, greeting or Greeting())


def _pack(kind: bytes, greeting: Greeting) -> bytes:
    flags, parts = 0, b""
    if greeting.sqos is not None:
        flags, parts = _SQOS, pack_qos(greeting.sqos)
    if greeting.gqos is not None:
        flags, parts = flags | _GQOS, parts + pack_qos(greeting.gqos)
    return _HEADER.pack(kind, _VERSION, flags, len(greeting.data)) + parts + greeting.data


def unpack_hello(frame: bytes) -> Greeting | None:
    """What the connecting end says; None if it is no hello of this version."""
    found = _unpack(frame)
    return found[1] if found is not None and found[0] == _HELLO else None


def unpack_answer(frame: bytes) -> tuple[bytes, Greeting] | None:
    """The answer and what came with it; None if it is none of this version."""
    found = _unpack(frame)
    return found if found is not None and found[0] in (ACCEPTED, REFUSED, WAIT) else None


def _unpack(frame: bytes) -> tuple[bytes, Greeting] | None:
    if not _HEADER.size <= len(frame) <= FRAME_MAX:
        return None
    kind, version, flags, length = _HEADER.unpack_from(frame)
    if version != _VERSION or flags & ~(_SQOS | _GQOS):
        return None
    at = _HEADER.size
    flows: list[QOS | None] = []
    for flag in (_SQOS, _GQOS):
        qos = None
        if flags & flag:
            qos = unpack_qos(frame[at : at + QOS_PACKED])
            if qos is None:
                return None
            at += QOS_PACKED
        flows.append(qos)
    if length > DATA_MAX or len(frame) != at + length:
        return None
    return kind, Greeting(frame[at:], *flows)


def read_frame(stream: Stream) -> bytes | None:
    """The next message if it can be one of the handshake; b"" if it cannot; None if there is none.

    Errors:
        OSError: the stream has ended, or its other end keeps changing what it wrote.
    """
    size = stream.message_size()
    if size < 0:
        return None
    if size > FRAME_MAX:
        return b""
    buffer = bytearray(size)
    try:
        return bytes(buffer[: stream.recv_message((buffer,))])
    except BlockingIOError:  # another thread was faster
        return None
