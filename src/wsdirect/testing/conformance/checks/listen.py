"""WSPListen: rules R-124 to R-132."""

from __future__ import annotations

from wsdirect.spi.constants import CF_ACCEPT, SIO_ADDRESS_LIST_QUERY, SOMAXCONN
from wsdirect.spi.errors import WsaErrorCode
from wsdirect.testing import expect
from wsdirect.testing.conformance.calls import bad_descriptors
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.conformance.requests import Seen, accept, filled, listening
from wsdirect.testing.driver import Driver
from wsdirect.testing.faults import Fault
from wsdirect.testing.processes import Child, Link

_E = WsaErrorCode


@check("R-124")
def listening_needs_an_address(driver: Driver) -> None:
    s = driver.socket()
    expect.error(_E.WSAEINVAL, driver.provider.WSPListen, s, 5)
    expect.succeeds(driver.provider.WSPBind, s, (driver.host, driver.port()))
    expect.succeeds(driver.provider.WSPListen, s, 5)


@check("R-125", "T-10")
def listening_on_a_connected_socket(driver: Driver) -> None:
    c, s = driver.pair()
    for connected in (c, s):
        expect.error(_E.WSAEISCONN, driver.provider.WSPListen, connected, 5)
    driver.alive(c, s)


@check("R-126")
def listening_needs_descriptors(driver: Driver) -> None:
    s = driver.bound()
    with driver.fault(Fault.NO_DESCRIPTORS):
        code = expect.code(driver.provider.WSPListen, s, 5)
    if code == 0:
        raise expect.NotApplicable("WSPListen needs no descriptor")
    expect.one_of("the outcome of WSPListen", code, (_E.WSAEMFILE,))
    expect.succeeds(driver.provider.WSPListen, s, 5)


@check("R-126")
def listening_in_a_process_without_descriptors(driver: Driver) -> None:
    port = driver.port()
    s = driver.bound(port)
    with driver.no_descriptors():
        code = expect.code(driver.provider.WSPListen, s, 5)
    expect.one_of("the outcome of WSPListen", code, (0, _E.WSAEMFILE))
    expect.succeeds(driver.provider.WSPListen, s, 5)  # also if it listens already
    c, event, outcome = driver.connecting(port)
    driver.accept(s)
    expect.equal("the outcome of the connect", driver.connected(c, event, outcome), 0)


@check("R-126")
def listening_needs_buffers(driver: Driver) -> None:
    s = driver.bound()
    with driver.fault(Fault.NO_BUFFERS):
        code = expect.code(driver.provider.WSPListen, s, 5)
    if code == 0:
        raise expect.NotApplicable("WSPListen needs no buffers")
    expect.one_of("the outcome of WSPListen", code, (_E.WSAENOBUFS,))
    expect.succeeds(driver.provider.WSPListen, s, 5)


@check("R-126")
def listening_on_what_is_no_socket(driver: Driver) -> None:
    for s in bad_descriptors(driver):
        expect.error(_E.WSAENOTSOCK, driver.provider.WSPListen, s, 5)


@check("R-127")
def listening_on_a_used_address(driver: Driver) -> None:
    port = driver.port()
    first, _ = driver.listener(port=port)
    second, _ = driver.listener(port=port)
    third = driver.bound(port, "0.0.0.0")
    expect.succeeds(driver.provider.WSPListen, third, 4)
    for s in (first, second, third):  # once more is no error, either
        code = expect.code(driver.provider.WSPListen, s, 8)
        wrong = (_E.WSAEADDRINUSE, _E.WSAEOPNOTSUPP)
        expect.true("another outcome", code not in wrong, f"it is {expect.name(code)}")


@check("R-128", "R-129")
def requests_wait_in_a_queue(driver: Driver) -> None:
    backlog = 5
    for given in (backlog, SOMAXCONN):
        listener, port, event = listening(driver, backlog=given)
        ports = [driver.port() for _ in range(backlog)]
        requests = [driver.connecting(port, s=driver.bound(own)) for own in ports]
        for _, connected, outcome in requests:
            refused = outcome is not None or connected.is_set()
            expect.true(f"{backlog} requests to wait", not refused, "one did not")
        accepted = []
        for _ in ports:
            driver.requested(listener, event)
            s, (_, caller) = expect.succeeds(
                driver.provider.WSPAccept, listener, lambda request: CF_ACCEPT, None
            )
            accepted.append((s, caller))
        expect.equal("the callers in their order", [caller for _, caller in accepted], ports)
        for (c, connected, outcome), (s, _) in zip(requests, accepted, strict=True):
            expect.equal("the outcome of the connect", driver.connected(c, connected, outcome), 0)
            driver.alive(c, s)


@check("T-10")
def one_request_can_always_wait(driver: Driver) -> None:
    for backlog in (0, -1):
        listener, port, event = listening(driver, backlog=backlog)
        c, connected, outcome = driver.connecting(port)
        driver.requested(listener, event)
        s = expect.succeeds(accept, driver, listener)
        expect.equal("the outcome of the connect", driver.connected(c, connected, outcome), 0)
        driver.alive(c, s)


@check("R-110", "R-130")
def a_full_queue(driver: Driver) -> None:
    listener, port, event = listening(driver, backlog=2)
    queued, refused = filled(driver, port)
    expect.true("requests to wait", queued, "none did")
    expect.equal("the outcome of the refused connect", driver.connected(*refused),
                 int(_E.WSAECONNREFUSED))  # fmt: skip
    driver.requested(listener, event)
    s, outcome = driver.connect(port)
    expect.equal("the outcome of another connect", outcome, int(_E.WSAECONNREFUSED))
    expect.true("no event for it", not event.is_set(), "the event was set")
    events = expect.succeeds(driver.provider.WSPEnumNetworkEvents, listener, event)
    expect.equal("the events recorded for it", events.lNetworkEvents, 0)
    driver.provider.WSPCloseSocket(s)
    # those that wait are not concerned, and their places can be taken again
    for c, connected, pending in queued:
        expect.succeeds(accept, driver, listener)
        expect.equal("the outcome of the connect", driver.connected(c, connected, pending), 0)
    c, connected, pending = driver.connecting(port)
    driver.accept(listener)
    expect.equal("the outcome of a later connect", driver.connected(c, connected, pending), 0)


@check("R-110", "R-130", start=False)
def a_full_queue_of_another_process(driver: Driver) -> None:
    driver.subject.two_processes()
    port = driver.port()

    def other_process(link: Link) -> None:
        with Driver(driver.subject) as other:
            listener, _ = other.listener(backlog=2, port=port)
            link.put("listening")
            for _ in range(link.get()):
                other.accept(listener)
            expect.error(_E.WSAEWOULDBLOCK, accept, other, listener)
            link.put("accepted")
            link.get()

    with Child(other_process) as child:
        driver.start()
        child.link.get()
        queued, refused = filled(driver, port)
        expect.true("requests to wait", queued, "none did")
        code = driver.connected(*refused)
        expect.equal("the outcome of the refused connect", code, int(_E.WSAECONNREFUSED))
        child.link.put(len(queued))
        for one in queued:
            expect.equal("the outcome of the connect", driver.connected(*one), 0)
        child.link.get()
        child.link.put("end")


@check("T-11")
def a_request_without_memory(driver: Driver) -> None:
    listener, port, event = listening(driver)
    s = driver.bound()
    code = None
    with driver.fault(Fault.NO_BUFFERS):
        c, connected, outcome = driver.connecting(port, s=s)
        expect.eventually(
            "the request to arrive or to be refused",
            lambda: outcome is not None or connected.is_set() or event.is_set(),
        )
    if outcome is not None or connected.is_set():
        code = driver.connected(c, connected, outcome)
    if code is not None:
        expect.true("the connect to fail", code, "it succeeded")
        expect.true("no event for it", not event.is_set(), "the event was set")
    else:  # the queue needs no memory
        driver.requested(listener, event)
        expect.succeeds(accept, driver, listener)
        expect.equal("the outcome of the connect", driver.connected(c, connected), 0)
    later, connected, outcome = driver.connecting(port)
    driver.requested(listener, event)
    expect.promptly(accept, driver, listener)
    expect.equal("the outcome of a later connect", driver.connected(later, connected, outcome), 0)


@check("R-131")
def requests_from_all_adapters(driver: Driver) -> None:
    listener, port, event = listening(driver, host="0.0.0.0")
    for host, _ in driver.provider.WSPIoctl(listener, SIO_ADDRESS_LIST_QUERY):
        seen = Seen()
        own = driver.port()
        c, connected, outcome = driver.connecting(port, host, driver.bound(own, host))
        driver.requested(listener, event)
        s, caller = expect.succeeds(driver.provider.WSPAccept, listener, seen, None)
        expect.equal("the address asked for", seen.request.callee, (host, port))
        expect.equal("the address of the peer", caller, (host, own))
        expect.equal("the outcome of the connect", driver.connected(c, connected, outcome), 0)
        driver.alive(c, s)


@check("R-131", start=False)
def requests_from_another_process(driver: Driver) -> None:
    driver.subject.two_processes()
    port = driver.port()

    def caller(link: Link) -> None:
        link.get()
        with Driver(driver.subject) as other:
            s = other.socket()
            hosts = [host for host, _ in other.provider.WSPIoctl(s, SIO_ADDRESS_LIST_QUERY)]
            link.put(hosts)
            for host in hosts:
                own = other.port()
                link.get()
                c, connected, outcome = other.connecting(port, host, other.bound(own, host))
                link.put((host, own))
                expect.equal(
                    "the outcome of the connect", other.connected(c, connected, outcome), 0
                )

    with Child(caller) as child:
        driver.start()
        listener, _, event = listening(driver, host="0.0.0.0", port=port)
        child.link.put("listening")
        for _ in child.link.get():
            child.link.put("connect")
            driver.requested(listener, event)
            _, address = expect.succeeds(
                driver.provider.WSPAccept, listener, lambda request: CF_ACCEPT, None
            )
            expect.equal("the address of the peer", address, child.link.get())


@check("R-132")
def a_request_sets_the_event(driver: Driver) -> None:
    listener, port, event = listening(driver)
    expect.true("no event before a request", not event.is_set(), "it was set")
    driver.connecting(port)
    driver.requested(listener, event)
