"""Installation and catalogue: rules R-001 to R-007."""

from __future__ import annotations

from wsdirect.spi import catalog
from wsdirect.spi.constants import (
    FD_ACCEPT,
    PFL_HIDDEN,
    SIO_GET_GROUP_QOS,
    SIO_GET_QOS,
    SIO_SET_GROUP_QOS,
    SIO_SET_QOS,
    SO_GROUP_ID,
    SO_GROUP_PRIORITY,
    SOL_SOCKET,
    XP1_CONNECTIONLESS,
    XP1_IFS_HANDLES,
    XP1_QOS_SUPPORTED,
)
from wsdirect.spi.errors import WsaErrorCode
from wsdirect.spi.overlapped import Event
from wsdirect.spi.provider import ServiceProvider
from wsdirect.spi.structures import NULL_GUID, QOS
from wsdirect.testing import expect
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver
from wsdirect.testing.processes import Child, Link

_UNSUPPORTED = (WsaErrorCode.WSAEOPNOTSUPP, WsaErrorCode.WSAENOPROTOOPT, WsaErrorCode.WSAEINVAL)


def _flags(driver: Driver) -> int:
    return driver.provider.protocol_info.dwServiceFlags1


@check("R-001", start=False)
def hidden(driver: Driver) -> None:
    info = driver.provider.protocol_info
    expect.true("PFL_HIDDEN", info.dwProviderFlags & PFL_HIDDEN, f"{info.dwProviderFlags:#x}")


@check("R-002", start=False)
def found_in_the_catalogue(driver: Driver) -> None:
    name = driver.subject.name
    entries = [entry for entry in catalog.enum_protocols() if entry.name == name]
    if not entries:
        raise expect.NotApplicable("it was not taken from the catalogue")
    expect.equal("the entries of that name", len(entries), 1)
    loaded = entries[0].load()
    expect.true("a ServiceProvider", isinstance(loaded, ServiceProvider), f"it is {loaded!r}")
    listed, own = entries[0].protocol_info, loaded.protocol_info
    expect.equal("the ProviderId in the catalogue", listed.ProviderId, own.ProviderId)
    for member in ("dwServiceFlags1", "dwProviderFlags", "iAddressFamily", "iSocketType"):
        expect.equal(f"{member} in the catalogue", getattr(listed, member), getattr(own, member))


@check("R-003", start=False)
def a_provider_id_of_its_own(driver: Driver) -> None:
    provider = driver.provider
    own = provider.protocol_info.ProviderId
    expect.equal("the length of the ProviderId", len(own.bytes_le), 16)
    expect.true("a ProviderId that is not all zeros", own != NULL_GUID, "it is")
    expect.equal("the attribute provider_id", provider.provider_id, own)
    for entry in catalog.enum_protocols():
        if not isinstance(provider, type(entry.load())):
            other = entry.protocol_info.ProviderId
            expect.true("a ProviderId of its own", other != own, f"{entry.name} has the same")


@check("R-004", start=False)
def connection_oriented(driver: Driver) -> None:
    flags = _flags(driver)
    expect.true("no XP1_CONNECTIONLESS", not flags & XP1_CONNECTIONLESS, f"{flags:#x}")


@check("R-006", start=False)
def no_system_handles(driver: Driver) -> None:
    flags = _flags(driver)
    expect.true("no XP1_IFS_HANDLES", not flags & XP1_IFS_HANDLES, f"{flags:#x}")


@check("R-005")
def quality_of_service_wholly_or_not(driver: Driver) -> None:
    provider = driver.provider
    c, _ = driver.pair()
    answers = {
        "WSPGetQOSByName": expect.code(provider.WSPGetQOSByName, c, ""),
        "SIO_GET_QOS": expect.code(provider.WSPIoctl, c, SIO_GET_QOS),
        "SIO_GET_GROUP_QOS": expect.code(provider.WSPIoctl, c, SIO_GET_GROUP_QOS),
        "SIO_SET_QOS": expect.code(provider.WSPIoctl, c, SIO_SET_QOS, QOS()),
        "SIO_SET_GROUP_QOS": expect.code(provider.WSPIoctl, c, SIO_SET_GROUP_QOS, QOS()),
        "SO_GROUP_ID": expect.code(provider.WSPGetSockOpt, c, SOL_SOCKET, SO_GROUP_ID),
        "SO_GROUP_PRIORITY": expect.code(provider.WSPGetSockOpt, c, SOL_SOCKET, SO_GROUP_PRIORITY),
        "set SO_GROUP_PRIORITY": expect.code(
            provider.WSPSetSockOpt, c, SOL_SOCKET, SO_GROUP_PRIORITY, 0
        ),
    }
    if _flags(driver) & XP1_QOS_SUPPORTED:
        # Of a socket that is in no group the group's quality of service may be an invalid question.
        missing = {
            name
            for name, code in answers.items()
            if code in _UNSUPPORTED and not ("GROUP_QOS" in name and code == WsaErrorCode.WSAEINVAL)
        }
        expect.true("all of quality of service", not missing, f"missing: {sorted(missing)}")
    else:
        expect.true(
            "XP1_QOS_SUPPORTED, as all of quality of service is there",
            any(answers.values()),
            "it is not set",
        )
        expect.equal(
            "the code of WSPGetQOSByName", answers["WSPGetQOSByName"], WsaErrorCode.WSAEOPNOTSUPP
        )


@check("R-007", start=False)
def listens_at_once_after_the_start(driver: Driver) -> None:
    port = driver.port()
    driver.start()
    s = driver.socket()
    expect.succeeds(driver.provider.WSPBind, s, ("0.0.0.0", port))
    expect.succeeds(driver.provider.WSPListen, s, 8)
    c, event, outcome = driver.connecting(port)
    accepted = driver.accept(s)
    expect.equal("the outcome of the connect", driver.connected(c, event, outcome), 0)
    driver.alive(c, accepted)


@check("R-007", start=False)
def joins_listeners_of_processes_that_run(driver: Driver) -> None:
    driver.subject.two_processes()
    port = driver.port()

    def late(link: Link) -> None:
        link.get()
        with Driver(driver.subject) as other:
            listener = other.bound(port, "0.0.0.0")
            expect.succeeds(other.provider.WSPListen, listener, 8)
            event = Event()
            expect.succeeds(other.provider.WSPEventSelect, listener, event, FD_ACCEPT)
            link.put("listening")
            other.requested(listener, event)
            s, _ = expect.succeeds(other.provider.WSPAccept, listener, lambda request: 0, None)
            received, view = other.recv(s)
            expect.equal("the result of the receive", other.finish(s, received), (0, 5))
            expect.equal("the message", bytes(view[:5]), b"alive")
            link.put("received")
            link.get()

    with Child(late) as child:
        driver.start()  # this process runs the SAN before the other one begins
        driver.host  # noqa: B018  # so does its query
        child.link.put("go")
        child.link.get()
        c, outcome = driver.connect(port)
        expect.equal("the outcome of the connect", outcome, 0)
        sent = driver.send(c, b"alive")
        expect.equal("the result of the send", driver.finish(c, sent), (0, 5))
        child.link.get()
        child.link.put("end")
