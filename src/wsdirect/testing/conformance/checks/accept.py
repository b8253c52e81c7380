"""WSPAccept: rules R-133 to R-150."""

from __future__ import annotations

import threading
import time

from wsdirect.spi.constants import CF_ACCEPT, CF_DEFER, CF_REJECT
from wsdirect.spi.errors import WsaErrorCode
from wsdirect.spi.structures import AcceptRequest
from wsdirect.testing import expect
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.conformance.requests import Seen, accept, listening, waiting
from wsdirect.testing.driver import Driver
from wsdirect.testing.processes import Child, Link

_E = WsaErrorCode


@check("R-133")
def accepting_without_listening(driver: Driver) -> None:
    _, port = driver.listener()
    connecting, _, _ = driver.connecting(port)
    for s in (driver.socket(), driver.bound(), connecting, *driver.pair()):
        expect.error(_E.WSAEINVAL, expect.promptly, accept, driver, s)


@check("R-134")
def the_condition_function_runs_in_the_call(driver: Driver) -> None:
    listener, _, _ = waiting(driver)
    threads: list[int] = []

    def condition(request: AcceptRequest) -> int:
        threads.append(threading.get_ident())
        return CF_ACCEPT

    expect.succeeds(driver.provider.WSPAccept, listener, condition, None)
    expect.equal("the threads of the calls", threads, [threading.get_ident()])


@check("R-135", "R-123")
def the_condition_function_comes_first(driver: Driver) -> None:
    listener, _, [(c, connected, outcome)] = waiting(driver)
    expect.true("the connect to go on", outcome is None, "it had ended before WSPAccept")
    told: list[bool] = []

    def condition(request: AcceptRequest) -> int:
        told.append(connected.wait(0.1))  # gives a provider time to be wrong
        return CF_ACCEPT

    s, _ = expect.succeeds(driver.provider.WSPAccept, listener, condition, None)
    expect.equal("whether the peer had been told", told, [False])
    expect.equal("the outcome of the connect", driver.connected(c, connected), 0)
    driver.alive(c, s)


@check("R-136")
def callback_data_are_passed_on(driver: Driver) -> None:
    for data in (object(), 2**63 + 5, None):
        listener, _, _ = waiting(driver)
        seen = Seen()
        expect.succeeds(driver.provider.WSPAccept, listener, seen, data)
        passed = seen.request.callback_data
        expect.true("the data themselves", passed is data, f"they were {passed!r}")


@check("R-137", "R-138", "R-142")
def an_accepted_request(driver: Driver) -> None:
    listener, port, event = listening(driver)
    own = driver.port()
    c, connected, outcome = driver.connecting(port, s=driver.bound(own))
    driver.requested(listener, event)
    before = driver.switch.handles
    s, address = expect.succeeds(
        driver.provider.WSPAccept, listener, lambda request: CF_ACCEPT, None
    )
    expect.equal("the address of the peer", address, (driver.host, own))
    expect.true("a descriptor of its own", s not in (-1, c, listener), f"it is {s}")
    new = set(driver.switch.handles) - set(before)
    expect.equal("the number of new handles", len(new), 1)
    expect.equal("the outcome of the connect", driver.connected(c, connected, outcome), 0)
    driver.alive(c, s)
    received, _ = driver.recv(s, polled=False)
    driver.send(c, b"x")
    expect.equal("the handle in its upcalls", {driver.announced(received)[0]}, new)


@check("R-142", start=False)
def an_accepted_request_of_another_process(driver: Driver) -> None:
    driver.subject.two_processes()
    port, own = driver.port(), driver.port()

    def caller(link: Link) -> None:
        link.get()
        with Driver(driver.subject) as other:
            c, outcome = other.connect(port, s=other.bound(own))
            expect.equal("the outcome of the connect", outcome, 0)
            received, view = other.recv(c)
            expect.equal("the result of the receive", other.finish(c, received), (0, 5))
            sent = other.send(c, bytes(view[:5]))
            expect.equal("the result of the send", other.finish(c, sent), (0, 5))
            link.get()

    with Child(caller) as child:
        driver.start()
        listener, _, event = listening(driver, port=port)
        child.link.put("listening")
        driver.requested(listener, event)
        seen = Seen()
        s, address = expect.succeeds(driver.provider.WSPAccept, listener, seen, None)
        expect.equal("the address of the peer", address, (driver.host, own))
        both = (seen.request.caller, seen.request.callee)
        expect.equal("both addresses", both, ((driver.host, own), (driver.host, port)))
        received, view = driver.recv(s)
        driver.send(s, b"there")
        expect.equal("the result of the receive", driver.finish(s, received), (0, 5))
        expect.equal("the echo", bytes(view[:5]), b"there")
        child.link.put("end")


@check("R-139", "R-140", "R-109")
def a_rejected_request(driver: Driver) -> None:
    listener, _, [(c, connected, outcome)] = waiting(driver)
    handles = driver.switch.handles
    expect.error(_E.WSAECONNREFUSED, accept, driver, listener, CF_REJECT)
    code = driver.connected(c, connected, outcome)
    expect.equal("the outcome of the connect", code, int(_E.WSAECONNREFUSED))
    expect.equal("the handles", driver.switch.handles, handles)
    expect.error(_E.WSAEWOULDBLOCK, accept, driver, listener)


@check("R-140", "R-109", start=False)
def a_rejected_request_of_another_process(driver: Driver) -> None:
    driver.subject.two_processes()
    port = driver.port()

    def caller(link: Link) -> None:
        link.get()
        with Driver(driver.subject) as other:
            _, outcome = other.connect(port)
            expect.equal("the outcome of the connect", outcome, int(_E.WSAECONNREFUSED))

    with Child(caller) as child:
        driver.start()
        listener, _, event = listening(driver, port=port)
        child.link.put("listening")
        driver.requested(listener, event)
        expect.error(_E.WSAECONNREFUSED, accept, driver, listener, CF_REJECT)


@check("R-141", "T-12")
def unknown_answers(driver: Driver) -> None:
    for answer in (3, -1, 99, 2**31):
        listener, _, [(c, connected, outcome)] = waiting(driver)
        handles = driver.switch.handles
        expect.error(_E.WSAEINVAL, accept, driver, listener, answer)
        code = driver.connected(c, connected, outcome)
        expect.equal("the outcome of the connect", code, int(_E.WSAECONNREFUSED))
        expect.equal("the handles", driver.switch.handles, handles)
        expect.error(_E.WSAEWOULDBLOCK, accept, driver, listener)


@check("R-141")
def a_group_that_does_not_exist(driver: Driver) -> None:
    listener, _, [(c, connected, outcome)] = waiting(driver)
    handles = driver.switch.handles

    def condition(request: AcceptRequest) -> int:
        request.group = 0x7FFF_FFFF
        return CF_ACCEPT

    expect.error(_E.WSAEINVAL, driver.provider.WSPAccept, listener, condition, None)
    expect.true("the connect to fail", driver.connected(c, connected, outcome))
    expect.equal("the handles", driver.switch.handles, handles)


@check("R-145")
def the_next_request_is_announced(driver: Driver) -> None:
    listener, port, event = listening(driver)
    for _ in range(3):
        c, connected, outcome = driver.connecting(port)
        expect.true("FD_ACCEPT to be announced", event.wait(expect.PATIENCE))
        # without WSPEnumNetworkEvents: whether WSPAccept resets the event is left open
        expect.succeeds(accept, driver, listener)
        expect.equal("the outcome of the connect", driver.connected(c, connected, outcome), 0)
        event.reset()
    c, connected, outcome = driver.connecting(port)
    driver.requested(listener, event)


@check("R-146")
def queued_requests_are_announced_again(driver: Driver) -> None:
    listener, event, requests = waiting(driver, 3)
    for number, (c, connected, outcome) in enumerate(requests):
        if number:
            driver.requested(listener, event)
        expect.succeeds(accept, driver, listener)
        expect.equal("the outcome of the connect", driver.connected(c, connected, outcome), 0)
    # the same after a rejection
    listener, event, _ = waiting(driver, 2)
    expect.error(_E.WSAECONNREFUSED, accept, driver, listener, CF_REJECT)
    driver.requested(listener, event)


@check("R-147")
def nobody_waits(driver: Driver) -> None:
    listener, port, event = listening(driver)
    expect.error(_E.WSAEWOULDBLOCK, expect.promptly, accept, driver, listener)
    driver.connecting(port)
    driver.requested(listener, event)
    expect.succeeds(accept, driver, listener)
    expect.error(_E.WSAEWOULDBLOCK, expect.promptly, accept, driver, listener)


@check("R-148", "T-13")
def a_deferred_request_stays_first(driver: Driver) -> None:
    listener, port, event = listening(driver)
    first, second = driver.port(), driver.port()
    c, connected, outcome = driver.connecting(port, s=driver.bound(first))
    driver.requested(listener, event)
    for _ in range(2):
        expect.error(_E.WSATRY_AGAIN, accept, driver, listener, CF_DEFER)
    expect.true("no new FD_ACCEPT", not event.wait(0.05), "the event was set")
    later = driver.connecting(port, s=driver.bound(second))
    time.sleep(0.05)  # nothing tells when it has arrived
    seen: list[int] = []

    def condition(request: AcceptRequest) -> int:
        seen.append(request.caller[1])
        return CF_DEFER if len(seen) == 1 else CF_ACCEPT

    expect.error(_E.WSATRY_AGAIN, driver.provider.WSPAccept, listener, condition, None)
    s, _ = expect.succeeds(driver.provider.WSPAccept, listener, condition, None)
    expect.equal("the outcome of the connect", driver.connected(c, connected, outcome), 0)
    driver.alive(c, s)
    expect.succeeds(driver.provider.WSPAccept, listener, condition, None)
    expect.equal("the callers", seen, [first, first, second])
    expect.equal("the outcome of the other connect", driver.connected(*later), 0)


@check("R-149")
def what_the_condition_function_gets(driver: Driver) -> None:
    listener, port, event = listening(driver)
    own = driver.port()
    driver.connecting(port, s=driver.bound(own))
    driver.requested(listener, event)
    seen = Seen()
    expect.succeeds(driver.provider.WSPAccept, listener, seen, None)
    request = seen.request
    expect.equal("the address of the peer", request.caller, (driver.host, own))
    expect.equal("the address asked for", request.callee, (driver.host, port))
    expect.true("no data", not request.caller_data, f"they are {request.caller_data!r}")
    expect.equal("the quality of service", (request.sqos, request.gqos), (None, None))


@check("R-150")
def the_listener_goes_on(driver: Driver) -> None:
    listener, port, event = listening(driver)
    pairs = []
    for _ in range(3):
        c, connected, outcome = driver.connecting(port)
        driver.requested(listener, event)
        s = expect.succeeds(accept, driver, listener)
        expect.equal("the outcome of the connect", driver.connected(c, connected, outcome), 0)
        pairs.append((c, s))
    driver.provider.WSPCloseSocket(pairs[0][1])
    driver.provider.WSPCloseSocket(listener)
    for c, s in pairs[1:]:
        driver.alive(c, s)
