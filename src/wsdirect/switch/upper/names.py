"""Socket addresses: what programs may give, and what stands in memory.

An address is a (host, port) tuple, longer ones for IPv6 as in the `socket` module, or the bytes of
a sockaddr_in or sockaddr_in6 as a C program has them.
"""

from __future__ import annotations

import _socket
import struct

from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.native import AF_INET6 as WINSOCK_AF_INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["SIZES", "from_text", "kernel_family", "pack", "parse", "to_text", "unpack"]

AF_INET = int(_socket.AF_INET)
AF_INET6 = int(_socket.AF_INET6)
SIZES = {AF_INET: 16, AF_INET6: 28}
_FAMILIES = {2: AF_INET, WINSOCK_AF_INET6: AF_INET6}


def kernel_family(af: int) -> int | None:
    """The kernel's number for Winsock's; None: not a family of ours."""
    return _FAMILIES.get(af)


def winsock_family(family: int) -> int:
    """The opposite."""
    return 2 if family == AF_INET else WINSOCK_AF_INET6


def pack(family: int, address: tuple[Any, ...]) -> bytes:
    """A sockaddr_in or sockaddr_in6."""
    host = _socket.inet_pton(family, address[0].partition("%")[0])
    head = struct.pack("<H", winsock_family(family)) + struct.pack("!H", address[1])
    if family == AF_INET:
        return head + host + bytes(8)
    flow, scope = (*address[2:4], 0, 0)[:2]
    return head + struct.pack("!I", flow) + host + struct.pack("<I", scope)


def unpack(raw: Any, call: str, family: int | None = None) -> tuple[Any, ...]:
    """The address in a sockaddr; see `parse` for the errors."""
    data = bytes(raw)
    if len(data) < 2:
        raise WSAError(WsaErrorCode.WSAEFAULT, call)
    found = kernel_family(struct.unpack_from("<H", data)[0])
    if family is not None and len(data) < SIZES[family]:
        raise WSAError(WsaErrorCode.WSAEFAULT, call, "The address is too short.")
    if found is None or (family is not None and found != family):
        raise WSAError(WsaErrorCode.WSAEAFNOSUPPORT, call)
    if len(data) < SIZES[found]:
        raise WSAError(WsaErrorCode.WSAEFAULT, call, "The address is too short.")
    port = struct.unpack_from("!H", data, 2)[0]
    if found == AF_INET:
        return _socket.inet_ntop(AF_INET, data[4:8]), port
    (flow,) = struct.unpack_from("!I", data, 4)
    (scope,) = struct.unpack_from("<I", data, 24)
    return _socket.inet_ntop(AF_INET6, data[8:24]), port, flow, scope


def parse(address: Any, family: int, call: str) -> tuple[Any, ...]:
    """A program's address as the kernel takes it.

    Errors:
        WSAEFAULT: it is none, or too short.
        WSAEAFNOSUPPORT: it is of another family.
    """
    if isinstance(address, (bytes, bytearray, memoryview)):
        return unpack(address, call, family)
    if (
        not isinstance(address, tuple)
        or len(address) < 2
        or not isinstance(address[0], str)
        or not isinstance(address[1], int)
        or not 0 <= address[1] <= 0xFFFF
    ):
        raise WSAError(WsaErrorCode.WSAEFAULT, call, f"{address!r} is not an address.")
    host = address[0] or ("0.0.0.0" if family == AF_INET else "::")
    for known in (AF_INET, AF_INET6):
        try:
            _socket.inet_pton(known, host.partition("%")[0])
        except (OSError, ValueError):
            continue
        if known != family:
            raise WSAError(WsaErrorCode.WSAEAFNOSUPPORT, call)
        return (host, *address[1:]) if family == AF_INET6 else (host, address[1])
    raise WSAError(WsaErrorCode.WSAEFAULT, call, f"{host!r} is not a numeric address.")


def to_text(address: Any, call: str) -> str:
    """WSAAddressToString: the port follows if it is not 0."""
    if isinstance(address, (bytes, bytearray, memoryview)):
        address = unpack(address, call)
    if not isinstance(address, tuple) or len(address) < 2 or not isinstance(address[0], str):
        raise WSAError(WsaErrorCode.WSAEFAULT, call)
    host, port = address[0], address[1]
    if ":" in host:
        scope = f"%{address[3]}" if len(address) > 3 and address[3] else ""
        return f"[{host}{scope}]:{port}" if port else host + scope
    return f"{host}:{port}" if port else host


def from_text(text: str, family: int | None, call: str) -> tuple[Any, ...]:
    """WSAStringToAddress.

    Errors:
        WSAEINVAL: it is not the text of an address of that family.
    """
    host, port = text, "0"
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise WSAError(WsaErrorCode.WSAEINVAL, call)
        port = rest[1:] or "0"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 0xFFFF:
        raise WSAError(WsaErrorCode.WSAEINVAL, call)
    for known in (AF_INET, AF_INET6):
        if family in (None, known):
            try:
                raw = _socket.inet_pton(known, host)
            except (OSError, ValueError):
                continue
            name = _socket.inet_ntop(known, raw)
            return (name, int(port)) if known == AF_INET else (name, int(port), 0, 0)
    raise WSAError(WsaErrorCode.WSAEINVAL, call)
