"""WSPSocket and WSPBind: rules R-034 to R-058."""

from __future__ import annotations

from typing import Any

from wsdirect.spi.constants import (
    AF_INET,
    FROM_PROTOCOL_INFO,
    INVALID_SOCKET,
    IPPROTO_TCP,
    SIO_ADDRESS_LIST_QUERY,
    SIO_GET_EXTENSION_FUNCTION_POINTER,
    SOCK_STREAM,
    XP1_QOS_SUPPORTED,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.extension_ids import REQUIRED_EXTENSIONS
from wsdirect.spi.structures import AcceptRequest
from wsdirect.spi.upcalls import HandleSpace
from wsdirect.testing import expect
from wsdirect.testing.conformance.calls import bad_descriptors, calls, other_calls
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver, resources
from wsdirect.testing.faults import Fault
from wsdirect.testing.processes import Child, Link

_E = WsaErrorCode
_NOT_HERE = ("203.0.113.7", "198.51.100.7", "8.8.4.4")


def _addresses(driver: Driver) -> list[str]:
    """What the provider says that its addresses are."""
    s = driver.socket()
    listed = expect.succeeds(driver.provider.WSPIoctl, s, SIO_ADDRESS_LIST_QUERY)
    driver.provider.WSPCloseSocket(s)
    return [host for host, _ in listed]


# --- WSPSocket ----------------------------------------------------------------------------------


@check("R-034", "R-036")
def a_stream_socket(driver: Driver) -> None:
    found = [driver.socket() for _ in range(20)]
    expect.true("descriptors", INVALID_SOCKET not in found, "one is INVALID_SOCKET")
    expect.true("whole numbers", all(type(s) is int for s in found), f"they are {found}")
    expect.equal("the number of different descriptors", len(set(found)), len(found))
    for s in found:
        expect.succeeds(driver.provider.WSPCloseSocket, s)


@check("R-035")
def a_handle_for_each_socket(driver: Driver) -> None:
    s = driver.socket()
    expect.equal("the upcalls", driver.switch.names(), ["WPUCreateSocketHandle"])
    first = driver.handle()
    other = driver.socket()
    second = driver.handle()
    expect.true("another handle for another socket", first != second, "it is the same")
    driver.provider.WSPCloseSocket(s)
    expect.eventually("its handle to be closed", lambda: driver.switch.closed(first) == 1)
    expect.equal("the upcalls that close the other handle", driver.switch.closed(second), 0)
    driver.provider.WSPCloseSocket(other)
    expect.eventually("the other handle to be closed", lambda: driver.switch.closed(second) == 1)


@check("R-037")
def upcalls_carry_the_switchs_handles(driver: Driver) -> None:
    # handles that are not at the same time descriptors of a provider that counts as the switch does
    for _ in range(7):
        handle = HandleSpace.WPUCreateSocketHandle(driver.switch, 0, None)
        HandleSpace.WPUCloseSocketHandle(driver.switch, handle)
    s = driver.socket()
    before = driver.handle()
    driver.provider.WSPCloseSocket(s)
    listener, port = driver.listener()
    c, event, outcome = driver.connecting(port)
    connecting = driver.handle()
    accepted = driver.accept(listener)
    handle = driver.handle()
    expect.equal("the outcome of the connect", driver.connected(c, event, outcome), 0)
    received, _ = driver.recv(accepted, polled=False)
    sent = driver.send(c, b"told", polled=False)
    expect.equal("the handle in the receive's upcall", driver.announced(received)[0], handle)
    expect.equal("the handle in the send's upcall", driver.announced(sent)[0], connecting)
    for s in (c, accepted, listener):
        driver.provider.WSPCloseSocket(s)
    expect.eventually("all handles to be closed", lambda: not driver.switch.handles)
    expect.equal("the upcalls that close the first handle", driver.switch.closed(before), 1)


@check("R-038")
def other_families(driver: Driver) -> None:
    for family in (1, 6, 26, 99):
        expect.error(_E.WSAEAFNOSUPPORT, driver.provider.WSPSocket, family, SOCK_STREAM,
                     IPPROTO_TCP, driver.provider.protocol_info)  # fmt: skip
    expect.equal("the upcalls", driver.switch.names(), [])


@check("R-039")
def other_types(driver: Driver) -> None:
    make, info = driver.provider.WSPSocket, driver.provider.protocol_info
    expect.error(_E.WSAESOCKTNOSUPPORT, make, AF_INET, 99, IPPROTO_TCP, info)
    # a datagram socket for TCP is of the wrong kind in two ways
    wrong = (_E.WSAESOCKTNOSUPPORT, _E.WSAEPROTOTYPE)
    expect.error(wrong, make, AF_INET, 2, IPPROTO_TCP, info)
    expect.equal("the upcalls", driver.switch.names(), [])


@check("R-040")
def other_protocols(driver: Driver) -> None:
    make, info = driver.provider.WSPSocket, driver.provider.protocol_info
    expect.error(_E.WSAEPROTONOSUPPORT, make, AF_INET, SOCK_STREAM, 99, info)
    # UDP: known, but not for streams; a provider need not know it
    wrong = (_E.WSAEPROTOTYPE, _E.WSAEPROTONOSUPPORT)
    expect.error(wrong, make, AF_INET, SOCK_STREAM, 17, info)
    expect.equal("the upcalls", driver.switch.names(), [])


@check("R-041")
def groups_that_do_not_exist(driver: Driver) -> None:
    for group in (0x7FFF_FFFF, 0x1234_5678):
        expect.error(_E.WSAEINVAL, driver.socket_call, group=group)
    expect.equal("the upcalls", driver.switch.names(), [])


@check("R-042")
def no_descriptors(driver: Driver) -> None:
    with driver.fault(Fault.NO_DESCRIPTORS):
        expect.error(_E.WSAEMFILE, driver.socket_call)
    expect.equal("the handles", driver.switch.handles, [])
    driver.socket()


@check("R-042")
def no_buffers(driver: Driver) -> None:
    with driver.fault(Fault.NO_BUFFERS):
        expect.error(_E.WSAENOBUFS, driver.socket_call)
    expect.equal("the handles", driver.switch.handles, [])
    driver.socket()


@check("R-042")
def the_process_has_no_descriptors(driver: Driver) -> None:
    with driver.no_descriptors():
        code = expect.code(driver.socket_call)
    expect.one_of("the outcome of WSPSocket", code, (0, _E.WSAEMFILE))
    driver.alive(*driver.pair())


@check("R-043", "T-48")
def the_switch_has_no_handle(driver: Driver) -> None:
    driver.socket()
    before = resources()
    for code in (_E.WSAENOBUFS, _E.WSAENETDOWN):
        driver.switch.fail["WPUCreateSocketHandle"] = WSAError(code, "WPUCreateSocketHandle")
        for _ in range(10):
            expect.error(code, driver.socket_call)
    del driver.switch.fail["WPUCreateSocketHandle"]
    expect.true(
        "no WPUCloseSocketHandle", "WPUCloseSocketHandle" not in driver.switch.names(), "it came"
    )
    expect.equal("descriptors and threads", resources(), before)
    expect.equal("the number of handles", len(driver.switch.handles), 1)
    driver.alive(*driver.pair())


@check("R-044")
def values_left_to_the_catalogue_entry(driver: Driver) -> None:
    info = driver.provider.protocol_info
    for left_out in (0, FROM_PROTOCOL_INFO):
        s = expect.succeeds(driver.provider.WSPSocket, left_out, left_out, left_out, info)
        expect.succeeds(driver.provider.WSPBind, s, (driver.host, driver.port()))
        s = expect.succeeds(driver.provider.WSPSocket, AF_INET, SOCK_STREAM, left_out, info)
        expect.succeeds(driver.provider.WSPBind, s, (driver.host, driver.port()))


@check("R-045")
def a_new_socket_answers_questions(driver: Driver) -> None:
    s = driver.socket()
    expect.true("addresses", expect.succeeds(driver.provider.WSPIoctl, s, SIO_ADDRESS_LIST_QUERY))
    for guid in REQUIRED_EXTENSIONS:
        function = expect.succeeds(
            driver.provider.WSPIoctl, s, SIO_GET_EXTENSION_FUNCTION_POINTER, guid
        )
        expect.true("a function", callable(function), f"it is {function!r}")


@check("R-046")
def live_descriptors_do_not_come_again(driver: Driver) -> None:
    live = {driver.socket()}
    for number in range(100):
        s = driver.socket()
        expect.true("a descriptor that is not in use", s not in live, f"{s} came twice")
        if number % 10:
            driver.provider.WSPCloseSocket(s)
        else:
            live.add(s)
    # one whose peer has gone is in use until it is closed
    c, peer = driver.pair()
    memory = driver.register(c, 16)
    driver.provider.WSPCloseSocket(peer)
    received = driver.refused(driver.provider.WSPRecv, c, [memory.view], 0)
    expect.true("the receive to fail", received)
    others = {driver.socket() for _ in range(50)}
    expect.true("other descriptors", c not in others, f"{c} came again")
    expect.succeeds(driver.provider.WSPCloseSocket, c)


# --- WSPBind ------------------------------------------------------------------------------------


@check("R-047", "R-048")
def every_address_can_be_bound(driver: Driver) -> None:
    for host in _addresses(driver):
        listener, port = driver.listener(host=host)
        own = driver.port()
        c, event, outcome = driver.connecting(port, host, driver.bound(own, host))
        seen: list[AcceptRequest] = []

        def condition(request: AcceptRequest, seen: list[AcceptRequest] = seen) -> int:
            seen.append(request)
            return 0

        driver.accept(listener, condition)
        expect.equal("the outcome of the connect", driver.connected(c, event, outcome), 0)
        expect.equal("the address of the listener", seen[0].callee, (host, port))
        expect.equal("the address of the connecting socket", seen[0].caller, (host, own))


@check("R-049")
def all_addresses_at_once(driver: Driver) -> None:
    listener, port = driver.listener(host="0.0.0.0")
    for host in _addresses(driver):
        c, event, outcome = driver.connecting(port, host, driver.bound(host=host))
        s = driver.accept(listener)
        expect.equal("the outcome of the connect", driver.connected(c, event, outcome), 0)
        driver.alive(c, s)


@check("R-050")
def addresses_of_other_computers(driver: Driver) -> None:
    own = _addresses(driver)
    s = driver.socket()
    for host in (*_NOT_HERE, "255.255.255.255", "224.0.0.1"):
        if host not in own:
            expect.error(_E.WSAEADDRNOTAVAIL, driver.provider.WSPBind, s, (host, driver.port()))
    expect.succeeds(driver.provider.WSPBind, s, (driver.host, driver.port()))


def _bad_name(driver: Driver, *names: Any) -> None:
    s = driver.socket()
    for name in names:
        expect.error(_E.WSAEFAULT, driver.provider.WSPBind, s, name)
    expect.succeeds(driver.provider.WSPBind, s, (driver.host, driver.port()))


@check("R-051")
def a_name_that_is_too_short(driver: Driver) -> None:
    _bad_name(driver, (driver.host,), ())


@check("R-052")
def a_name_of_another_family(driver: Driver) -> None:
    port = driver.port()
    _bad_name(driver, ("::1", port), ("::1", port, 0, 0), ("fe80::1", port))


@check("R-053")
def a_name_that_is_no_address(driver: Driver) -> None:
    host, port = driver.host, driver.port()
    _bad_name(driver, None, ("not an address", port), (host, "http"), (host, 65536), (host, -1),
              (None, port))  # fmt: skip


@check("R-054")
def binding_twice(driver: Driver) -> None:
    listener, port = driver.listener()
    connecting, _, _ = driver.connecting(port)
    for s in (driver.bound(), listener, connecting, *driver.pair()):
        name = (driver.host, driver.port())
        expect.error(_E.WSAEINVAL, driver.provider.WSPBind, s, name)


@check("R-055")
def no_buffers_to_bind(driver: Driver) -> None:
    s, name = driver.socket(), (driver.host, driver.port())
    with driver.fault(Fault.NO_BUFFERS):
        code = expect.code(driver.provider.WSPBind, s, name)
    if code == 0:
        raise expect.NotApplicable("WSPBind needs no buffers")
    expect.one_of("the outcome of WSPBind", code, (_E.WSAENOBUFS,))
    expect.succeeds(driver.provider.WSPBind, s, name)


@check("R-056")
def binding_what_is_no_socket(driver: Driver) -> None:
    for s in bad_descriptors(driver):
        expect.error(_E.WSAENOTSOCK, driver.provider.WSPBind, s, (driver.host, driver.port()))


@check("R-057")
def sockets_on_one_address(driver: Driver) -> None:
    port = driver.port()
    driver.bound(port)
    driver.bound(port)
    listener, _ = driver.listener(port=port)
    driver.listener(port=port)
    driver.bound(port)
    for _ in range(2):  # two connections from one address, too
        s, event, outcome = driver.connecting(port, s=driver.bound(port))
        if outcome is None and event.wait(0.05):
            outcome = driver.connected(s, event)
        expect.true("no WSAEADDRINUSE", outcome != _E.WSAEADDRINUSE)
    expect.succeeds(driver.provider.WSPCloseSocket, listener)


@check("R-057", start=False)
def processes_on_one_address(driver: Driver) -> None:
    driver.subject.two_processes()
    port = driver.port()

    def other_process(link: Link) -> None:
        with Driver(driver.subject) as other:
            other.listener(port=port)
            link.put("listening")
            link.get()

    with Child(other_process) as child:
        child.link.get()
        driver.start()
        driver.bound(port)
        driver.listener(port=port)
        child.link.put("end")


@check("R-058")
def other_addresses_are_not_reached(driver: Driver) -> None:
    hosts = _addresses(driver)
    if len(hosts) < 2:
        raise expect.NotApplicable("the provider has one address only")
    here, elsewhere = hosts[:2]
    listener, port = driver.listener(host=here)
    s, outcome = driver.connect(port, host=elsewhere, s=driver.bound(host=elsewhere))
    expect.true("a connect to another address to fail", outcome)
    driver.provider.WSPCloseSocket(s)
    events = driver.provider.WSPEnumNetworkEvents(listener)
    expect.equal("the listener's events", events.lNetworkEvents, 0)
    c, event, pending = driver.connecting(port, here, driver.bound(host=here))
    driver.accept(listener)
    expect.equal("the outcome of the connect", driver.connected(c, event, pending), 0)


# --- what is no socket ---------------------------------------------------------------------------


@check("T-53")
def no_function_takes_what_is_no_socket(driver: Driver) -> None:
    wanted = (_E.WSAENOTSOCK,)
    # functions that need not be there at all may say just that
    lacking = (*wanted, _E.WSAEOPNOTSUPP)
    optional = set(other_calls(driver))
    if not driver.provider.protocol_info.dwServiceFlags1 & XP1_QOS_SUPPORTED:
        optional.add("WSPGetQOSByName")
    for s in bad_descriptors(driver):
        for name, call in {**calls(driver), **other_calls(driver)}.items():
            answers = lacking if name in optional else wanted
            expect.one_of(f"{name} with {s}", expect.code(call, s), answers)


@check("T-49")
def closing_what_is_no_socket(driver: Driver) -> None:
    c, s = driver.pair()
    close = driver.provider.WSPCloseSocket
    for wrong in bad_descriptors(driver):
        expect.error(_E.WSAENOTSOCK, close, wrong)
    spare = driver.socket()
    expect.succeeds(close, spare)
    expect.error(_E.WSAENOTSOCK, close, spare)
    expect.error(_E.WSAENOTSOCK, close, spare)
    driver.alive(c, s)
