"""WSPAccept when nothing comes of it: rules R-151 and R-152."""

from __future__ import annotations

from wsdirect.spi.constants import CF_ACCEPT, CF_DEFER, CF_REJECT, MEM_READWRITE
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.structures import AcceptRequest
from wsdirect.testing import expect
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.conformance.requests import accept, listening, waiting
from wsdirect.testing.driver import Driver
from wsdirect.testing.faults import Fault
from wsdirect.testing.processes import Child, Link

_E = WsaErrorCode
_WITHDRAWN = (_E.WSAECONNRESET, _E.WSAEACCES, _E.WSAEWOULDBLOCK, _E.WSAECONNABORTED)
"""WSAEWOULDBLOCK: it was passed over, and there is no other."""


@check("R-151", "T-47")
def a_withdrawn_request(driver: Driver) -> None:
    listener, _, [(c, _, _)] = waiting(driver)
    driver.provider.WSPCloseSocket(c)
    expect.eventually("its handle to be closed", lambda: len(driver.switch.handles) == 1)
    expect.error(_WITHDRAWN, expect.promptly, accept, driver, listener)
    expect.equal("the number of handles", len(driver.switch.handles), 1)
    expect.error(_E.WSAEWOULDBLOCK, accept, driver, listener)


@check("R-151", "T-47")
def a_request_withdrawn_while_it_is_looked_at(driver: Driver) -> None:
    listener, _, [(c, _, _)] = waiting(driver)

    def condition(request: AcceptRequest) -> int:
        driver.provider.WSPCloseSocket(c)
        return CF_ACCEPT

    code = expect.code(driver.provider.WSPAccept, listener, condition, None)
    if code:
        expect.one_of("the outcome of WSPAccept", code, _WITHDRAWN)
        expect.eventually("no handle but the listener's", lambda: len(driver.switch.handles) == 1)


@check("R-151", start=False)
def a_request_of_a_process_that_died(driver: Driver) -> None:
    driver.subject.two_processes()
    port = driver.port()

    def caller(link: Link) -> None:
        link.get()
        other = Driver(driver.subject)
        other.connecting(port)
        link.put("connecting")
        link.get()

    child = Child(caller)
    driver.start()
    listener, _, event = listening(driver, port=port)
    child.link.put("listening")
    child.link.get()
    driver.requested(listener, event)
    child.kill()
    try:
        s = expect.promptly(accept, driver, listener)
    except WSAError as error:
        expect.one_of("the outcome of WSPAccept", error.winerror, _WITHDRAWN)
        expect.equal("the number of handles", len(driver.switch.handles), 1)
    else:  # it could not know yet, but must find out
        buffer = bytearray(16)
        code = expect.code(driver.provider.WSPRegisterMemory, s, buffer, MEM_READWRITE)
        if not code:
            code = driver.refused(driver.provider.WSPRecv, s, [buffer], 0)
        ended = (_E.WSAECONNRESET, _E.WSAECONNABORTED, _E.WSAENOTCONN)
        expect.one_of("the outcome of using it", code, ended)
    c, connected, outcome = driver.connecting(port)
    driver.accept(listener)
    expect.equal("the outcome of a later connect", driver.connected(c, connected, outcome), 0)


@check("R-152", "T-47")
def no_descriptor_for_a_request(driver: Driver) -> None:
    listener, _, [(c, connected, outcome)] = waiting(driver)
    handles = driver.switch.handles
    with driver.fault(Fault.NO_DESCRIPTORS):
        expect.error(_E.WSAEMFILE, accept, driver, listener)
    expect.equal("the handles", driver.switch.handles, handles)
    s = expect.succeeds(accept, driver, listener)
    expect.equal("the outcome of the connect", driver.connected(c, connected, outcome), 0)
    driver.alive(c, s)


@check("R-152", "T-47")
def no_descriptor_in_the_process_for_a_request(driver: Driver) -> None:
    listener, _, [(c, connected, outcome)] = waiting(driver)
    handles = driver.switch.handles
    with driver.no_descriptors():
        code = expect.code(accept, driver, listener)
    if code == 0:
        raise expect.NotApplicable("WSPAccept needs no descriptor")
    expect.one_of("the outcome of WSPAccept", code, (_E.WSAEMFILE,))
    expect.equal("the handles", driver.switch.handles, handles)
    s = expect.succeeds(accept, driver, listener)
    expect.equal("the outcome of the connect", driver.connected(c, connected, outcome), 0)
    driver.alive(c, s)


@check("T-47")
def the_switch_has_no_handle_for_a_request(driver: Driver) -> None:
    listener, port, event = listening(driver)
    for code in (_E.WSAENOBUFS, _E.WSAENETDOWN):
        c, connected, outcome = driver.connecting(port)
        driver.requested(listener, event)
        handles = driver.switch.handles
        closed = driver.switch.names().count("WPUCloseSocketHandle")
        driver.switch.fail["WPUCreateSocketHandle"] = WSAError(code, "WPUCreateSocketHandle")
        expect.error(code, accept, driver, listener)
        del driver.switch.fail["WPUCreateSocketHandle"]
        expect.equal("the handles", driver.switch.handles, handles)
        now = driver.switch.names().count("WPUCloseSocketHandle")
        expect.equal("the calls of WPUCloseSocketHandle", now, closed)
        # the request may be refused, or still be in the queue
        again = expect.code(accept, driver, listener)
        expect.one_of("the outcome of another WSPAccept", again, (0, _E.WSAEWOULDBLOCK))
        ended = driver.connected(c, connected, outcome)
        expect.equal("whether the connect failed", bool(ended), again != 0)
    c, connected, outcome = driver.connecting(port)
    driver.accept(listener)
    expect.equal("the outcome of a later connect", driver.connected(c, connected, outcome), 0)


@check("T-47")
def an_error_in_the_condition_function(driver: Driver) -> None:
    listener, port, event = listening(driver)
    c, connected, outcome = driver.connecting(port)
    driver.requested(listener, event)

    def condition(request: AcceptRequest) -> int:
        raise LookupError("from the condition function")

    try:
        driver.provider.WSPAccept(listener, condition, None)
        expect.fail("WSPAccept to fail", "it succeeded")
    except (LookupError, WSAError):
        pass
    expect.equal("the number of handles", len(driver.switch.handles), 2)
    driver.provider.WSPCloseSocket(c)
    c, connected, outcome = driver.connecting(port)
    expect.eventually(
        "later requests to be accepted",
        lambda: expect.code(accept, driver, listener) == 0,
    )
    expect.equal("the outcome of a later connect", driver.connected(c, connected, outcome), 0)


@check("T-14")
def the_listener_is_closed_meanwhile(driver: Driver) -> None:
    for answer in (CF_ACCEPT, CF_REJECT, CF_DEFER):
        listener, _, [(c, connected, outcome)] = waiting(driver)

        def condition(
            request: AcceptRequest, listener: int = listener, answer: int = answer
        ) -> int:
            expect.promptly(driver.provider.WSPCloseSocket, listener)
            return answer

        expect.true(
            "WSPAccept to fail", expect.code(driver.provider.WSPAccept, listener, condition, None)
        )
        code = driver.connected(c, connected, outcome)
        expect.one_of("the outcome of the connect", code, (_E.WSAECONNREFUSED, _E.WSAECONNRESET))
        driver.provider.WSPCloseSocket(c)
        expect.eventually("all handles to be closed", lambda: not driver.switch.handles)
        expect.error(_E.WSAENOTSOCK, accept, driver, listener)
