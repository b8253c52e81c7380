r"""Names and offers: how the two ends of a connection find and describe each other.

A listener of (host, port) listens on an abstract AF_UNIX name made from them.  Abstract names live
in the network namespace, exactly as IP addresses do.  Several processes may listen on the same
address, each under a slot number of its own:

    \0wsdirect/1/s/127.0.0.1:8000/0      byte streams, one address, slot 0
    \0wsdirect/1/m/0.0.0.0:8000/0        messages, all IPv4 addresses
    \0wsdirect/1/s/*:8000/2              all addresses of both families, slot 2
    \0wsdirect/1/s/*:8000/e              the same, before the first accept

A connecting process binds its own end to a name that carries its `Offer` (binary, at most 107
bytes); the accepting process gets it together with the connection.

Whatever comes from a name was written by somebody else: `unpack_offer` takes nothing on trust.
"""

from __future__ import annotations

import struct
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "EARLY",
    "MESSAGES",
    "NATIVE",
    "NEW_SEGMENT",
    "SLOTS_MAX",
    "STREAMS",
    "Host",
    "Offer",
    "host_of",
    "listener_name",
    "name_bases",
    "pack_offer",
    "parse_host",
    "unpack_offer",
]

VERSION: Final = 1

# What the connections of a name carry.
STREAMS: Final = "s"
MESSAGES: Final = "m"

NEW_SEGMENT: Final = 1
"""Offer flag: the segment's descriptor follows in one message."""
NATIVE: Final = 2
"""Offer flag: a native byte stream, not messages."""

EARLY: Final = b"e"
"""In the place of a slot number: the listener of a program that has not accepted anything yet."""

SLOTS_MAX: Final = 1024
"""Most processes that can listen on one address."""

_OFFER_PREFIX: Final = b"\0wsdirect/%d/o/" % VERSION
# version, flags, pid, segment, slot, generation, local host and port, remote host and port
_OFFER = struct.Struct("=BBIQHI16sH16sH")
_OFFER_LENGTH: Final = len(_OFFER_PREFIX) + _OFFER.size
_MAPPED: Final = bytes(10) + b"\xff\xff"  # an IPv4 address as an IPv6 one
_ANY: Final = frozenset((bytes(16), _MAPPED + bytes(4)))


class Host:
    """An IP address: its text in the usual form, and its 16 bytes (IPv4 as a mapped address)."""

    __slots__ = ("packed", "text", "v4", "wildcard")

    def __init__(self, packed: bytes) -> None:
        self.packed = packed
        self.v4 = packed.startswith(_MAPPED)
        self.wildcard = packed in _ANY
        self.text = inet_ntop(AF_INET, packed[12:]) if self.v4 else inet_ntop(AF_INET6, packed)

    def __repr__(self) -> str:
        return f"<Host {self.text}>"


# Programs use few addresses; the dictionaries are emptied when somebody uses many.
_hosts: dict[str, Host] = {}
_hosts_by_bytes: dict[bytes, Host] = {}
_HOSTS_MAX: Final = 4096


def host_of(packed: bytes) -> Host:
    """The `Host` of 16 bytes."""
    host = _hosts_by_bytes.get(packed)
    if host is None:
        if len(_hosts_by_bytes) >= _HOSTS_MAX:
            _hosts_by_bytes.clear()
        host = _hosts_by_bytes[packed] = Host(packed)
    return host


def parse_host(text: str) -> Host:
    """The `Host` that a text stands for; OSError or ValueError when it is no IP address.

    Names are not looked up.  "::ffff:10.0.0.1" is the IPv4 address 10.0.0.1.
    """
    host = _hosts.get(text)
    if host is None:
        if ":" in text:
            packed = inet_pton(AF_INET6, text)
        else:
            packed = _MAPPED + inet_pton(AF_INET, text)
        if len(_hosts) >= _HOSTS_MAX:
            _hosts.clear()
        host = _hosts[text] = host_of(packed)
    return host


def _base(kind: str, host: str, port: int) -> bytes:
    return b"\0wsdirect/%d/%s/%s:%d/" % (VERSION, kind.encode(), host.encode(), port)


def listener_name(kind: str, host: Host, port: int, both_families: bool = False) -> bytes:
    """The name that a listener binds, but for the slot number at its end.

    Args:
        kind: STREAMS or MESSAGES.
        host: The address listened on.
        port: The TCP port it stands for.
        both_families: The IPv6 wildcard takes IPv4 connections as well.
    """
    if both_families and host.wildcard and not host.v4:
        return _base(kind, "*", port)
    return _base(kind, host.text, port)


def name_bases(kind: str, host: Host, port: int) -> tuple[bytes, ...]:
    """Where a listener for this destination can be, the most specific first, without slots."""
    wildcard = "0.0.0.0" if host.v4 else "::"
    return (
        _base(kind, host.text, port),
        _base(kind, wildcard, port),
        _base(kind, "*", port),
    )


class Offer:
    """What a connecting process offers: a slot of a segment, and who connects to what.

    Attributes:
        flags: NEW_SEGMENT, NATIVE or both.
        pid: The connecting process, as it sees itself.
        segment: Id of the segment.
        slot: Slot in it.
        generation: Which use of that slot.
        local: Address of the connecting end, and its port.
        remote: Address connected to, and its port.
    """

    __slots__ = (
        "flags",
        "generation",
        "local",
        "local_port",
        "pid",
        "remote",
        "remote_port",
        "segment",
        "slot",
    )

    def __init__(
        self,
        flags: int,
        pid: int,
        segment: int,
        slot: int,
        generation: int,
        local: Host,
        local_port: int,
        remote: Host,
        remote_port: int,
    ) -> None:
        self.flags = flags
        self.pid = pid
        self.segment = segment
        self.slot = slot
        self.generation = generation
        self.local = local
        self.local_port = local_port
        self.remote = remote
        self.remote_port = remote_port


def pack_offer(
    flags: int,
    pid: int,
    segment: int,
    slot: int,
    generation: int,
    local: Host,
    local_port: int,
    remote: Host,
    remote_port: int,
) -> bytes:
    """The abstract name that carries an offer; arguments as in `Offer`."""
    return _OFFER_PREFIX + _OFFER.pack(
        VERSION,
        flags,
        pid,
        segment,
        slot,
        generation,
        local.packed,
        local_port,
        remote.packed,
        remote_port,
    )


def unpack_offer(name: object) -> Offer | None:
    """The offer in the name of a connecting socket; None if there is none in it, or it is invalid.

    Args:
        name: What accept() returned as the address: bytes, or a str if it is no abstract name.
    """
    if not isinstance(name, bytes) or len(name) != _OFFER_LENGTH:
        return None
    if not name.startswith(_OFFER_PREFIX):
        return None
    version, flags, pid, segment, slot, generation, local, local_port, remote, remote_port = (
        _OFFER.unpack_from(name, len(_OFFER_PREFIX))
    )
    if version != VERSION or flags & ~(NEW_SEGMENT | NATIVE) or not pid or not segment:
        return None
    if local in _ANY or remote in _ANY or not remote_port:
        return None
    if local.startswith(_MAPPED) != remote.startswith(_MAPPED):
        return None
    return Offer(
        flags,
        pid,
        segment,
        slot,
        generation,
        host_of(local),
        local_port,
        host_of(remote),
        remote_port,
    )
