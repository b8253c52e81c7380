"""Memory layout of the SPI's structures and tables.

Generated from spec/structures.toml and spec/tables.toml by tools_dev/generate_spi.py; do not edit.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "PROC_TABLE",
    "REQUIRED_PROCEDURES",
    "SIZES",
    "STRUCTURES",
    "UPCALLS_OF_A_SAN",
    "UPCALL_TABLE",
]

# Index times the size of a pointer is the offset in WSPPROC_TABLE.
PROC_TABLE: Final[tuple[str, ...]] = (
    "WSPAccept",
    "WSPAddressToString",
    "WSPAsyncSelect",
    "WSPBind",
    "WSPCancelBlockingCall",
    "WSPCleanup",
    "WSPCloseSocket",
    "WSPConnect",
    "WSPDuplicateSocket",
    "WSPEnumNetworkEvents",
    "WSPEventSelect",
    "WSPGetOverlappedResult",
    "WSPGetPeerName",
    "WSPGetSockName",
    "WSPGetSockOpt",
    "WSPGetQOSByName",
    "WSPIoctl",
    "WSPJoinLeaf",
    "WSPListen",
    "WSPRecv",
    "WSPRecvDisconnect",
    "WSPRecvFrom",
    "WSPSelect",
    "WSPSend",
    "WSPSendDisconnect",
    "WSPSendTo",
    "WSPSetSockOpt",
    "WSPShutdown",
    "WSPSocket",
    "WSPStringToAddress",
)

# What a SAN provider has to supply; the other entries are never called.
REQUIRED_PROCEDURES: Final[tuple[str, ...]] = (
    "WSPAccept",
    "WSPBind",
    "WSPCleanup",
    "WSPCloseSocket",
    "WSPConnect",
    "WSPDuplicateSocket",
    "WSPEnumNetworkEvents",
    "WSPEventSelect",
    "WSPGetOverlappedResult",
    "WSPGetSockOpt",
    "WSPGetQOSByName",
    "WSPIoctl",
    "WSPListen",
    "WSPRecv",
    "WSPSend",
    "WSPSetSockOpt",
    "WSPSocket",
)

# Likewise the order of WSPUPCALLTABLEEX.
UPCALL_TABLE: Final[tuple[str, ...]] = (
    "WPUCloseEvent",
    "WPUCloseSocketHandle",
    "WPUCreateEvent",
    "WPUCreateSocketHandle",
    "WPUFDIsSet",
    "WPUGetProviderPath",
    "WPUModifyIFSHandle",
    "WPUPostMessage",
    "WPUQueryBlockingCallback",
    "WPUQuerySocketHandleContext",
    "WPUQueueApc",
    "WPUResetEvent",
    "WPUSetEvent",
    "WPUOpenCurrentThread",
    "WPUCloseThread",
    "WPUCompleteOverlappedRequest",
)

# The upcalls that a SAN provider makes.
UPCALLS_OF_A_SAN: Final[tuple[str, ...]] = (
    "WPUCloseSocketHandle",
    "WPUCreateSocketHandle",
    "WPUQuerySocketHandleContext",
    "WPUQueueApc",
    "WPUCompleteOverlappedRequest",
)

# Bytes, 64-bit.
SIZES: Final[dict[str, int]] = {
    "GUID": 16,
    "WSPDATA": 516,
    "WSABUF": 16,
    "WSABUFEX": 24,
    "WSAOVERLAPPED": 32,
    "WSATHREADID": 16,
    "WSANETWORKEVENTS": 44,
    "WSAPROTOCOLCHAIN": 32,
    "WSAPROTOCOL_INFOW": 628,
    "SOCKET_ADDRESS": 16,
    "SOCKET_ADDRESS_LIST": 24,
    "FLOWSPEC": 32,
    "QOS": 80,
    "sockaddr_in": 16,
}

# structure: {member: (offset in bytes, size in bytes, type)}
STRUCTURES: Final[dict[str, dict[str, tuple[int, int, str]]]] = {
    "GUID": {
        "Data1": (0, 4, "DWORD"),
        "Data2": (4, 2, "WORD"),
        "Data3": (6, 2, "WORD"),
        "Data4": (8, 8, "BYTE[8]"),
    },
    "WSPDATA": {
        "wVersion": (0, 2, "WORD"),
        "wHighVersion": (2, 2, "WORD"),
        "szDescription": (4, 512, "WCHAR[256]"),
    },
    "WSABUF": {
        "len": (0, 4, "DWORD"),
        "buf": (8, 8, "POINTER"),
    },
    "WSABUFEX": {
        "len": (0, 4, "DWORD"),
        "buf": (8, 8, "POINTER"),
        "handle": (16, 8, "POINTER"),
    },
    "WSAOVERLAPPED": {
        "Internal": (0, 8, "DWORD_PTR"),
        "InternalHigh": (8, 8, "DWORD_PTR"),
        "Offset": (16, 4, "DWORD"),
        "OffsetHigh": (20, 4, "DWORD"),
        "hEvent": (24, 8, "POINTER"),
    },
    "WSATHREADID": {
        "ThreadHandle": (0, 8, "POINTER"),
        "Reserved": (8, 8, "DWORD_PTR"),
    },
    "WSANETWORKEVENTS": {
        "lNetworkEvents": (0, 4, "LONG"),
        "iErrorCode": (4, 40, "INT[10]"),
    },
    "WSAPROTOCOLCHAIN": {
        "ChainLen": (0, 4, "INT"),
        "ChainEntries": (4, 28, "DWORD[7]"),
    },
    "WSAPROTOCOL_INFOW": {
        "dwServiceFlags1": (0, 4, "DWORD"),
        "dwServiceFlags2": (4, 4, "DWORD"),
        "dwServiceFlags3": (8, 4, "DWORD"),
        "dwServiceFlags4": (12, 4, "DWORD"),
        "dwProviderFlags": (16, 4, "DWORD"),
        "ProviderId": (20, 16, "GUID"),
        "dwCatalogEntryId": (36, 4, "DWORD"),
        "ProtocolChain": (40, 32, "WSAPROTOCOLCHAIN"),
        "iVersion": (72, 4, "INT"),
        "iAddressFamily": (76, 4, "INT"),
        "iMaxSockAddr": (80, 4, "INT"),
        "iMinSockAddr": (84, 4, "INT"),
        "iSocketType": (88, 4, "INT"),
        "iProtocol": (92, 4, "INT"),
        "iProtocolMaxOffset": (96, 4, "INT"),
        "iNetworkByteOrder": (100, 4, "INT"),
        "iSecurityScheme": (104, 4, "INT"),
        "dwMessageSize": (108, 4, "DWORD"),
        "dwProviderReserved": (112, 4, "DWORD"),
        "szProtocol": (116, 512, "WCHAR[256]"),
    },
    "SOCKET_ADDRESS": {
        "lpSockaddr": (0, 8, "POINTER"),
        "iSockaddrLength": (8, 4, "INT"),
    },
    "SOCKET_ADDRESS_LIST": {
        "iAddressCount": (0, 4, "INT"),
        "Address": (8, 16, "SOCKET_ADDRESS[1]"),
    },
    "FLOWSPEC": {
        "TokenRate": (0, 4, "DWORD"),
        "TokenBucketSize": (4, 4, "DWORD"),
        "PeakBandwidth": (8, 4, "DWORD"),
        "Latency": (12, 4, "DWORD"),
        "DelayVariation": (16, 4, "DWORD"),
        "ServiceType": (20, 4, "DWORD"),
        "MaxSduSize": (24, 4, "DWORD"),
        "MinimumPolicedSize": (28, 4, "DWORD"),
    },
    "QOS": {
        "SendingFlowspec": (0, 32, "FLOWSPEC"),
        "ReceivingFlowspec": (32, 32, "FLOWSPEC"),
        "ProviderSpecific": (64, 16, "WSABUF"),
    },
    "sockaddr_in": {
        "sin_family": (0, 2, "WORD"),
        "sin_port": (2, 2, "WORD"),
        "sin_addr": (4, 4, "BYTE[4]"),
        "sin_zero": (8, 8, "BYTE[8]"),
    },
}
