"""The Windows Sockets service provider interface, SAN version: definitions, no I/O.

A name is imported from its module when it is first used, so that a program which needs the errors
only does not load the rest.  Single constants, such as FD_ACCEPT, are in
`wsdirect.spi.constants`, and the exception classes of single codes in `wsdirect.spi.errors`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wsdirect.spi.catalog import CatalogEntry as CatalogEntry
    from wsdirect.spi.catalog import UnknownProviderError as UnknownProviderError
    from wsdirect.spi.catalog import enum_protocols as enum_protocols
    from wsdirect.spi.catalog import load as load
    from wsdirect.spi.constants import Condition as Condition
    from wsdirect.spi.constants import IoctlCode as IoctlCode
    from wsdirect.spi.constants import MemoryAccess as MemoryAccess
    from wsdirect.spi.constants import MessageFlag as MessageFlag
    from wsdirect.spi.constants import NetworkEvent as NetworkEvent
    from wsdirect.spi.constants import NetworkEventBit as NetworkEventBit
    from wsdirect.spi.constants import ProviderFlag as ProviderFlag
    from wsdirect.spi.constants import ServiceFlag as ServiceFlag
    from wsdirect.spi.constants import ServiceType as ServiceType
    from wsdirect.spi.constants import SocketLevel as SocketLevel
    from wsdirect.spi.constants import SocketOption as SocketOption
    from wsdirect.spi.constants import TcpOption as TcpOption
    from wsdirect.spi.errors import WSAError as WSAError
    from wsdirect.spi.errors import WsaErrorCode as WsaErrorCode
    from wsdirect.spi.errors import from_errno as from_errno
    from wsdirect.spi.errors import from_oserror as from_oserror
    from wsdirect.spi.extension_ids import WSAID_DEREGISTERMEMORY as WSAID_DEREGISTERMEMORY
    from wsdirect.spi.extension_ids import WSAID_DEREGISTERRDMAMEMORY as WSAID_DEREGISTERRDMAMEMORY
    from wsdirect.spi.extension_ids import (
        WSAID_MEMORYREGISTRATIONCACHECALLBACK as WSAID_MEMORYREGISTRATIONCACHECALLBACK,
    )
    from wsdirect.spi.extension_ids import WSAID_NATIVE_STREAM as WSAID_NATIVE_STREAM
    from wsdirect.spi.extension_ids import WSAID_RDMAREAD as WSAID_RDMAREAD
    from wsdirect.spi.extension_ids import WSAID_RDMAWRITE as WSAID_RDMAWRITE
    from wsdirect.spi.extension_ids import WSAID_REGISTERMEMORY as WSAID_REGISTERMEMORY
    from wsdirect.spi.extension_ids import WSAID_REGISTERRDMAMEMORY as WSAID_REGISTERRDMAMEMORY
    from wsdirect.spi.native import NativeStream as NativeStream
    from wsdirect.spi.native import native_stream_of as native_stream_of
    from wsdirect.spi.overlapped import WSAOVERLAPPED as WSAOVERLAPPED
    from wsdirect.spi.overlapped import Event as Event
    from wsdirect.spi.provider import ServiceProvider as ServiceProvider
    from wsdirect.spi.structures import FLOWSPEC as FLOWSPEC
    from wsdirect.spi.structures import GUID as GUID
    from wsdirect.spi.structures import QOS as QOS
    from wsdirect.spi.structures import SOCKET_ADDRESS_LIST as SOCKET_ADDRESS_LIST
    from wsdirect.spi.structures import WSABUF as WSABUF
    from wsdirect.spi.structures import WSABUFEX as WSABUFEX
    from wsdirect.spi.structures import WSANETWORKEVENTS as WSANETWORKEVENTS
    from wsdirect.spi.structures import WSAPROTOCOL_INFOW as WSAPROTOCOL_INFOW
    from wsdirect.spi.structures import WSPDATA as WSPDATA
    from wsdirect.spi.structures import AcceptRequest as AcceptRequest
    from wsdirect.spi.structures import Address as Address
    from wsdirect.spi.structures import ConditionProc as ConditionProc
    from wsdirect.spi.structures import make_version as make_version
    from wsdirect.spi.upcalls import HandleSpace as HandleSpace
    from wsdirect.spi.upcalls import UpcallTable as UpcallTable
    from wsdirect.spi.upcalls import complete_request as complete_request

# module: its public names.  They stand here again because nothing has been imported yet.
_PARTS = {
    "catalog": (
        "CatalogEntry",
        "UnknownProviderError",
        "enum_protocols",
        "load",
    ),
    "constants": (
        "Condition",
        "IoctlCode",
        "MemoryAccess",
        "MessageFlag",
        "NetworkEvent",
        "NetworkEventBit",
        "ProviderFlag",
        "ServiceFlag",
        "ServiceType",
        "SocketLevel",
        "SocketOption",
        "TcpOption",
    ),
    "errors": (
        "WSAError",
        "WsaErrorCode",
        "from_errno",
        "from_oserror",
    ),
    "extension_ids": (
        "WSAID_DEREGISTERMEMORY",
        "WSAID_DEREGISTERRDMAMEMORY",
        "WSAID_MEMORYREGISTRATIONCACHECALLBACK",
        "WSAID_NATIVE_STREAM",
        "WSAID_RDMAREAD",
        "WSAID_RDMAWRITE",
        "WSAID_REGISTERMEMORY",
        "WSAID_REGISTERRDMAMEMORY",
    ),
    "native": (
        "NativeStream",
        "native_stream_of",
    ),
    "overlapped": (
        "WSAOVERLAPPED",
        "Event",
    ),
    "provider": ("ServiceProvider",),
    "structures": (
        "FLOWSPEC",
        "GUID",
        "QOS",
        "SOCKET_ADDRESS_LIST",
        "WSABUF",
        "WSABUFEX",
        "WSANETWORKEVENTS",
        "WSAPROTOCOL_INFOW",
        "WSPDATA",
        "AcceptRequest",
        "Address",
        "ConditionProc",
        "make_version",
    ),
    "upcalls": (
        "HandleSpace",
        "UpcallTable",
        "complete_request",
    ),
}
_HOME = {name: part for part, names in _PARTS.items() for name in names}

__all__ = sorted(_HOME)

if not TYPE_CHECKING:  # a checker shall see misspelt names

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value: object = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value  # the next access does not come here
        return value


def __dir__() -> list[str]:
    return __all__
