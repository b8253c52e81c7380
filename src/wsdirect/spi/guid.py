"""GUID: the 16-byte identifiers of extension functions and providers."""

from __future__ import annotations

__all__ = ["GUID"]


class GUID:
    """An immutable GUID, written `GUID("C0B422F5-F58C-11D1-AD6C-00C04FA34A2D")`.

    Braces are allowed.  `bytes_le` are the 16 bytes as a C program has them in memory: the first
    three fields little-endian.  Not `uuid.UUID`, because importing `uuid` costs more than this
    whole package does.

    Source: H:winsock2.h.
    """

    __slots__ = ("bytes_le",)

    bytes_le: bytes

    def __init__(self, text: str | None = None, *, bytes_le: bytes | None = None) -> None:
        if (text is None) == (bytes_le is None):
            raise TypeError("GUID takes either its text or bytes_le")
        if text is not None:
            digits = text.strip("{}").split("-")
            if [len(part) for part in digits] != [8, 4, 4, 4, 12]:
                raise ValueError(f"not a GUID: {text!r}")
            fields = [bytes.fromhex(part) for part in digits]
            bytes_le = b"".join([part[::-1] for part in fields[:3]] + fields[3:])
        if bytes_le is None or len(bytes_le) != 16:
            raise ValueError("a GUID has 16 bytes")
        object.__setattr__(self, "bytes_le", bytes(bytes_le))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a GUID cannot be changed")

    def __eq__(self, other: object) -> bool:
        return self.bytes_le == other.bytes_le if isinstance(other, GUID) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.bytes_le)

    def __reduce__(self) -> tuple[object, ...]:
        return _from_bytes, (self.bytes_le,)

    def __str__(self) -> str:
        raw = self.bytes_le
        fields = (raw[3::-1], raw[5:3:-1], raw[7:5:-1], raw[8:10], raw[10:])
        return "-".join(field.hex().upper() for field in fields)

    def __repr__(self) -> str:
        return f'GUID("{self}")'


def _from_bytes(raw: bytes) -> GUID:
    return GUID(bytes_le=raw)
