"""Which IP addresses belong to this host."""

from __future__ import annotations

import struct
from _socket import AF_INET, SOCK_CLOEXEC, SOCK_RAW, socket

from wsdirect import locality
from wsdirect.providers.shm.names import Host, host_of, parse_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["is_local", "local_addresses"]


def is_local(host: Host) -> bool:
    """Whether an address is one of this host's; the answer may be a second old."""
    return not host.wildcard and locality.is_local(host.text)


_AF_NETLINK: Final = 16
_NETLINK_ROUTE: Final = 0
_RTM_NEWADDR: Final = 20
_RTM_GETADDR: Final = 22
_NLM_F_REQUEST_DUMP: Final = 0x301
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ADDRESS_HEADER: Final = 8  # ifaddrmsg
_ATTRIBUTE = struct.Struct("=HH")


def local_addresses() -> list[str]:
    """All IPv4 addresses of this host as the kernel lists them now, loopback included.

    Raises OSError when the kernel cannot be asked.
    """
    found: list[str] = []
    asker = socket(_AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, _NETLINK_ROUTE)
    try:
        asker.settimeout(1.0)
        body = struct.pack("=BBBBI", AF_INET, 0, 0, 0, 0)
        header = _HEADER.pack(_HEADER.size + len(body), _RTM_GETADDR, _NLM_F_REQUEST_DUMP, 1, 0)
        asker.send(header + body)
        more = True
        while more:
            more = _read_addresses(asker.recv(65536), found)
    finally:
        asker.close()
    return found


def _read_addresses(data: bytes, found: list[str]) -> bool:
    """Collect the addresses of one answer; False if it was the last."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if kind != _RTM_NEWADDR or length < _HEADER.size:
            return False  # done, or an error
        address = b""
        inner, end = at + _HEADER.size + _ADDRESS_HEADER, at + length
        while inner + _ATTRIBUTE.size <= end:
            size, attribute = _ATTRIBUTE.unpack_from(data, inner)
            if size < _ATTRIBUTE.size:
                break
            value = data[inner + _ATTRIBUTE.size : inner + size]
            # the local end of a point-to-point link differs from the address of the link
            if attribute == _IFA_LOCAL or (attribute == _IFA_ADDRESS and not address):
                address = value
            inner += (size + 3) & ~3
        if len(address) == 4:
            text = host_of(parse_host("0.0.0.0").packed[:12] + address).text
            if text not in found:
                found.append(text)
        at += (length + 3) & ~3
    return True
