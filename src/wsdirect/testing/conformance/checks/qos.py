"""Quality of service, functions that the switch never calls, the adapters: R-268 to R-275."""

from __future__ import annotations

import socket
from typing import Any

from wsdirect.spi.constants import (
    INVALID_SOCKET,
    SD_BOTH,
    SIO_ADDRESS_LIST_QUERY,
    XP1_QOS_SUPPORTED,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.structures import QOS
from wsdirect.testing import expect
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver
from wsdirect.testing.expect import NotApplicable
from wsdirect.testing.faults import Fault

E = WsaErrorCode


def has_quality(driver: Driver) -> bool:
    """Whether the catalogue says that there is quality of service."""
    return bool(driver.provider.protocol_info.dwServiceFlags1 & XP1_QOS_SUPPORTED)


@check("R-268")
def without_quality_of_service_there_are_no_templates(driver: Driver) -> None:
    if has_quality(driver):
        raise NotApplicable("the provider has quality of service")
    for s in (driver.socket(), driver.bound(), *driver.pair()):
        for name in ("G711", ""):
            expect.error(E.WSAEOPNOTSUPP, driver.provider.WSPGetQOSByName, s, name)


@check("R-268", "R-269")
def templates_of_quality_of_service(driver: Driver) -> None:
    if not has_quality(driver):
        raise NotApplicable("the provider has no quality of service")
    call = driver.provider.WSPGetQOSByName
    for s in (driver.socket(), driver.pair()[0]):
        names = expect.succeeds(call, s, "")
        if not isinstance(names, list):
            expect.fail("a list of names", f"it is {names!r}")
        expect.true("names that are not empty", all(names), f"they are {names!r}")
        for name in names:
            found = expect.succeeds(call, s, name)
            expect.true(f"the template {name}", isinstance(found, QOS), f"it is {found!r}")
        for name in ("no such template", "Größe №1 漢字", " "):
            expect.true("other names", name not in names)
            expect.error(E.WSAEINVAL, call, s, name)


@check("R-269")
def templates_for_no_socket(driver: Driver) -> None:
    s = driver.socket()
    driver.provider.WSPCloseSocket(s)
    codes = [E.WSAENOTSOCK] if has_quality(driver) else [E.WSAENOTSOCK, E.WSAEOPNOTSUPP]
    for descriptor in (s, INVALID_SOCKET):
        for name in ("G711", ""):
            expect.error(codes, driver.provider.WSPGetQOSByName, descriptor, name)


@check("R-273")
def functions_that_the_switch_never_calls(driver: Driver) -> None:
    p = driver.provider
    c, s = driver.pair()
    address = (driver.host, 80)
    calls: list[tuple[Any, tuple[Any, ...]]] = [
        (p.WSPAddressToString, (address,)),
        (p.WSPAsyncSelect, (c, 1, 2, 1)),
        (p.WSPCancelBlockingCall, ()),
        (p.WSPGetPeerName, (c,)),
        (p.WSPGetSockName, (c,)),
        (p.WSPJoinLeaf, (c, address)),
        (p.WSPRecvDisconnect, (c,)),
        (p.WSPRecvFrom, (c, [bytearray(10)], 0, None)),
        (p.WSPSelect, ([c], [], [], 0.0)),
        (p.WSPSendDisconnect, (s,)),
        (p.WSPSendTo, (c, [b"data"], address, 0, None)),
        (p.WSPStringToAddress, (f"{driver.host}:80",)),
        (p.WSPShutdown, (c, SD_BOTH)),
    ]
    implemented = False
    for function, arguments in calls:
        try:
            expect.promptly(function, *arguments)
            implemented = True
        except WSAError as error:
            implemented |= error.winerror != E.WSAEOPNOTSUPP
        except expect.Deviation:
            raise
        except Exception as error:
            expect.fail(f"{function.__name__} not to crash", f"it raised {error!r}")
    if not implemented:  # then none of them can have done anything
        driver.alive(c, s)


@check("R-274")
def addresses_are_the_providers_own(driver: Driver) -> None:
    s = driver.socket()
    addresses = expect.succeeds(driver.provider.WSPIoctl, s, SIO_ADDRESS_LIST_QUERY)
    hosts = [host for host, _ in addresses]
    expect.equal("the number of different addresses", len(set(hosts)), len(hosts))
    for host in hosts:
        driver.bound(host=host)
    for stranger in ("192.0.2.1", "198.51.100.7"):  # addresses of documentation, nobody's
        expect.true("no address of others", stranger not in hosts)
        address = (stranger, driver.port())
        expect.error(E.WSAEADDRNOTAVAIL, driver.provider.WSPBind, driver.socket(), address)


@check("R-274")
def addresses_follow_the_adapters(driver: Driver) -> None:
    s = driver.socket()

    def listed() -> set[str]:
        addresses = expect.succeeds(driver.provider.WSPIoctl, s, SIO_ADDRESS_LIST_QUERY)
        for host, port in addresses:
            socket.inet_aton(host)
            expect.equal("the port of an address", port, 0)
        return {host for host, _ in addresses}

    before = listed()
    with driver.fault(Fault.ADDRESSES):
        expect.equal("the addresses", listed(), {"127.0.0.2", "127.0.0.3"})
    expect.equal("the addresses afterwards", listed(), before)
    with driver.fault(Fault.NO_ADDRESSES):
        expect.equal("the addresses without adapters", listed(), set())
    expect.equal("the addresses afterwards", listed(), before)
