"""Memory layout and table order against the known numbers, and against what ctypes computes."""

import ctypes
import re

import pytest

from wsdirect.spi import layout

SCALARS: dict[str, type] = {
    "BYTE": ctypes.c_uint8,
    "WORD": ctypes.c_uint16,
    "WCHAR": ctypes.c_uint16,
    "DWORD": ctypes.c_uint32,
    "LONG": ctypes.c_int32,
    "INT": ctypes.c_int32,
    "DWORD_PTR": ctypes.c_uint64,
    "POINTER": ctypes.c_uint64,
}


def ctype(name: str) -> type:
    """A ctypes type by its name in the table, which may be another structure or an array."""
    match = re.fullmatch(r"(\w+)\[(\d+)\]", name)
    if match:
        array: type = ctype(match[1]) * int(match[2])  # type: ignore[operator]
        return array
    return SCALARS.get(name) or structure(name)


def structure(name: str) -> type[ctypes.Structure]:
    members = [(member, ctype(entry[2])) for member, entry in layout.STRUCTURES[name].items()]
    return type(name, (ctypes.Structure,), {"_fields_": members})


@pytest.mark.parametrize("name", list(layout.STRUCTURES))
def test_natural_alignment_gives_the_table(name: str) -> None:
    built = structure(name)
    assert ctypes.sizeof(built) == layout.SIZES[name]
    for member, (offset, size, _) in layout.STRUCTURES[name].items():
        field = getattr(built, member)
        assert (field.offset, field.size) == (offset, size), member


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("WSPDATA", 516),
        ("WSAPROTOCOL_INFOW", 628),
        ("WSABUF", 16),
        ("WSABUFEX", 24),
        ("WSAOVERLAPPED", 32),
        ("WSATHREADID", 16),
        ("WSANETWORKEVENTS", 44),
        ("WSAPROTOCOLCHAIN", 32),
        ("SOCKET_ADDRESS", 16),
        ("SOCKET_ADDRESS_LIST", 24),
        ("FLOWSPEC", 32),
        ("QOS", 80),
        ("GUID", 16),
        ("sockaddr_in", 16),
    ],
)
def test_known_sizes(name: str, size: int) -> None:
    assert layout.SIZES[name] == size


def test_known_offsets() -> None:
    info = layout.STRUCTURES["WSAPROTOCOL_INFOW"]
    assert info["ProviderId"][0] == 20
    assert info["dwProviderReserved"][0] == 112
    assert info["szProtocol"][0] == 116
    assert layout.STRUCTURES["WSAOVERLAPPED"]["hEvent"][0] == 24


def test_function_table() -> None:
    assert len(layout.PROC_TABLE) == 30
    assert layout.PROC_TABLE[0] == "WSPAccept"
    # The table is alphabetical but for these two.
    assert layout.PROC_TABLE[14:16] == ("WSPGetSockOpt", "WSPGetQOSByName")
    assert layout.PROC_TABLE[29] == "WSPStringToAddress"
    assert [layout.PROC_TABLE.index(name) for name in layout.REQUIRED_PROCEDURES] == [
        *(0, 3, 5, 6, 7, 8, 9, 10, 11, 14, 15, 16, 18, 19, 23, 26, 28),
    ]


def test_upcall_table() -> None:
    assert len(layout.UPCALL_TABLE) == 16
    index = layout.UPCALL_TABLE.index
    assert index("WPUCloseSocketHandle") == 1
    assert index("WPUCreateSocketHandle") == 3
    assert index("WPUQuerySocketHandleContext") == 9
    assert index("WPUQueueApc") == 10
    assert index("WPUCompleteOverlappedRequest") == 15
    assert set(layout.UPCALLS_OF_A_SAN) <= set(layout.UPCALL_TABLE)
