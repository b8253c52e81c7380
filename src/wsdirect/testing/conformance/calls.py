"""Every function of the table that takes a descriptor, ready to be called with one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from wsdirect.spi.constants import (
    FD_CONNECT,
    INVALID_SOCKET,
    IPPROTO_TCP,
    MEM_READWRITE,
    SD_BOTH,
    SIO_ADDRESS_LIST_QUERY,
    SO_MAX_MSG_SIZE,
    SOL_SOCKET,
    TCP_NODELAY,
)
from wsdirect.spi.extension_ids import (
    EXTENSION_FUNCTIONS,
    WSAID_DEREGISTERMEMORY,
    WSAID_DEREGISTERRDMAMEMORY,
    WSAID_RDMAREAD,
    WSAID_RDMAWRITE,
    WSAID_REGISTERMEMORY,
    WSAID_REGISTERRDMAMEMORY,
)
from wsdirect.spi.guid import GUID
from wsdirect.spi.overlapped import WSAOVERLAPPED, Event
from wsdirect.spi.structures import WSABUFEX
from wsdirect.testing.driver import Driver
from wsdirect.testing.expect import NotApplicable

__all__ = ["bad_descriptors", "calls", "other_calls"]

Calls = dict[str, Callable[[int], Any]]


def calls(driver: Driver) -> Calls:
    """The functions that a SAN needs, WSPCloseSocket excepted, by name."""
    provider = driver.provider
    event = Event()
    buffer = bytearray(64)
    found: Calls = {
        "WSPBind": lambda s: provider.WSPBind(s, (driver.host, 1)),
        "WSPListen": lambda s: provider.WSPListen(s, 1),
        "WSPConnect": lambda s: provider.WSPConnect(s, (driver.host, 1)),
        "WSPEventSelect": lambda s: provider.WSPEventSelect(s, event, FD_CONNECT),
        "WSPEnumNetworkEvents": lambda s: provider.WSPEnumNetworkEvents(s, event),
        "WSPAccept": lambda s: provider.WSPAccept(s, lambda request: 0, None),
        "WSPSend": lambda s: provider.WSPSend(s, [buffer], 0, WSAOVERLAPPED(polled=True)),
        "WSPRecv": lambda s: provider.WSPRecv(s, [buffer], 0, WSAOVERLAPPED(polled=True)),
        "WSPGetOverlappedResult": lambda s: provider.WSPGetOverlappedResult(
            s, WSAOVERLAPPED(polled=True), False
        ),
        "WSPGetSockOpt": lambda s: provider.WSPGetSockOpt(s, SOL_SOCKET, SO_MAX_MSG_SIZE),
        "WSPSetSockOpt": lambda s: provider.WSPSetSockOpt(s, IPPROTO_TCP, TCP_NODELAY, 1),
        "WSPIoctl": lambda s: provider.WSPIoctl(s, SIO_ADDRESS_LIST_QUERY),
        "WSPGetQOSByName": lambda s: provider.WSPGetQOSByName(s, "none"),
        "WSPDuplicateSocket": lambda s: provider.WSPDuplicateSocket(s, 1),
    }
    arguments: dict[GUID, tuple[Any, ...]] = {
        WSAID_REGISTERMEMORY: (buffer, MEM_READWRITE),
        WSAID_DEREGISTERMEMORY: (1,),
        WSAID_REGISTERRDMAMEMORY: (buffer, MEM_READWRITE),
        WSAID_DEREGISTERRDMAMEMORY: (bytes(24),),
    }
    transfer = ([WSABUFEX(buffer, 1)], bytes(24), 0, 0)
    for guid, given in arguments.items():
        _add(found, driver, guid, partial(tuple, given))
    for guid in (WSAID_RDMAWRITE, WSAID_RDMAREAD):
        _add(found, driver, guid, lambda: (*transfer, WSAOVERLAPPED(polled=True)))
    return found


def _add(
    found: Calls, driver: Driver, guid: GUID, arguments: Callable[[], tuple[Any, ...]]
) -> None:
    try:
        function = driver.extension(guid)
    except NotApplicable:
        return
    found[EXTENSION_FUNCTIONS[guid]] = lambda s: function(s, *arguments())


def other_calls(driver: Driver) -> Calls:
    """The functions that the switch never calls, those with a descriptor."""
    provider = driver.provider
    return {
        "WSPAsyncSelect": lambda s: provider.WSPAsyncSelect(s, 0, 0, 0),
        "WSPGetPeerName": provider.WSPGetPeerName,
        "WSPGetSockName": provider.WSPGetSockName,
        "WSPJoinLeaf": lambda s: provider.WSPJoinLeaf(s, (driver.host, 1)),
        "WSPRecvDisconnect": provider.WSPRecvDisconnect,
        "WSPRecvFrom": lambda s: provider.WSPRecvFrom(s, [bytearray(1)]),
        "WSPSelect": lambda s: provider.WSPSelect([s], [], [], 0),
        "WSPSendDisconnect": provider.WSPSendDisconnect,
        "WSPSendTo": lambda s: provider.WSPSendTo(s, [b"x"], (driver.host, 1)),
        "WSPShutdown": lambda s: provider.WSPShutdown(s, SD_BOTH),
    }


def bad_descriptors(driver: Driver) -> list[int]:
    """INVALID_SOCKET, a closed socket, and numbers that never were one."""
    closed = driver.socket()
    driver.provider.WSPCloseSocket(closed)
    return [INVALID_SOCKET, closed, 0x7FFF_FFF1, -2, 2**64 - 1]
