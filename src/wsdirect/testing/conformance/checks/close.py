"""WSPCloseSocket, here or at the peer: rules R-238 to R-250."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from wsdirect.spi.constants import (
    FD_CONNECT,
    INVALID_SOCKET,
    MEM_READWRITE,
    SIO_ADDRESS_LIST_QUERY,
    SO_DEBUG,
    SO_MAX_MSG_SIZE,
    SOL_SOCKET,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.overlapped import WSAOVERLAPPED, Event
from wsdirect.testing import expect
from wsdirect.testing.background import Background
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver
from wsdirect.testing.faults import Fault
from wsdirect.testing.processes import Child, Link

E = WsaErrorCode

ABORTED = (int(E.WSA_OPERATION_ABORTED), 0)
RESET = (int(E.WSAECONNRESET), 0)


def handle_closed_last(driver: Driver, handle: int) -> None:
    """A deviation unless a switch handle was closed once, after all else that concerned it."""
    expect.eventually(
        "WPUCloseSocketHandle to be called", lambda: driver.switch.closed(handle), "it was not"
    )
    time.sleep(expect.QUIET)
    expect.equal("the number of times the handle was closed", driver.switch.closed(handle), 1)
    used = [
        name
        for name, arguments, _ in driver.switch.made
        if name not in ("WPUCreateSocketHandle", "handle") and arguments[0] == handle
    ]
    expect.equal("the last upcall for the handle", used[-1], "WPUCloseSocketHandle")


def calls_with(driver: Driver, s: int) -> dict[str, Callable[[], Any]]:
    """Every call that takes a descriptor, with valid arguments otherwise."""
    p, part = driver.provider, bytearray(10)
    record = WSAOVERLAPPED(None, True)
    return {
        "WSPBind": lambda: p.WSPBind(s, (driver.host, 4711)),
        "WSPConnect": lambda: p.WSPConnect(s, (driver.host, 4711)),
        "WSPListen": lambda: p.WSPListen(s, 1),
        "WSPAccept": lambda: p.WSPAccept(s, lambda request: 0, None),
        "WSPEventSelect": lambda: p.WSPEventSelect(s, Event(), FD_CONNECT),
        "WSPEnumNetworkEvents": lambda: p.WSPEnumNetworkEvents(s, None),
        "WSPSend": lambda: p.WSPSend(s, [part], 0, record),
        "WSPRecv": lambda: p.WSPRecv(s, [part], 0, record),
        "WSPGetOverlappedResult": lambda: p.WSPGetOverlappedResult(s, record, False),
        "WSPGetSockOpt": lambda: p.WSPGetSockOpt(s, SOL_SOCKET, SO_MAX_MSG_SIZE),
        "WSPSetSockOpt": lambda: p.WSPSetSockOpt(s, SOL_SOCKET, SO_DEBUG, 1),
        "WSPIoctl": lambda: p.WSPIoctl(s, SIO_ADDRESS_LIST_QUERY),
        "WSPDuplicateSocket": lambda: p.WSPDuplicateSocket(s, os.getpid()),
        "WSPRegisterMemory": lambda: p.WSPRegisterMemory(s, part, MEM_READWRITE),
        "WSPDeregisterMemory": lambda: p.WSPDeregisterMemory(s, 4),
        "WSPCloseSocket": lambda: p.WSPCloseSocket(s),
    }


@check("R-238")
def a_closed_descriptor_is_of_no_use(driver: Driver) -> None:
    c, s = driver.pair()
    listener, _ = driver.listener()
    for closed in (c, listener, driver.socket()):
        expect.succeeds(driver.provider.WSPCloseSocket, closed)
        for name, call in calls_with(driver, closed).items():
            try:
                call()
            except WSAError as error:
                happened = error.name
            else:
                happened = "success"
            expect.equal(f"what {name} with a closed descriptor says", happened, "WSAENOTSOCK")
    driver.provider.WSPCloseSocket(s)


@check("R-239")
def errors_of_a_close(driver: Driver) -> None:
    s = driver.socket()
    expect.succeeds(driver.provider.WSPCloseSocket, s)
    for descriptor in (s, INVALID_SOCKET, 0, 3, 0x7FFFFFF0):
        expect.error(E.WSAENOTSOCK, driver.provider.WSPCloseSocket, descriptor)
    # However busy it is, a close neither waits nor says that it would have to.
    c, s = driver.pair()
    part = driver.register(c, 4096).view
    for _ in range(40):
        try:
            driver.provider.WSPSend(c, [part], 0, WSAOVERLAPPED(None, True))
        except WSAError:
            break
    driver.recv(c)
    expect.succeeds(driver.provider.WSPCloseSocket, c)
    expect.succeeds(driver.provider.WSPCloseSocket, s)


@check("R-239")
def a_close_while_the_network_is_down(driver: Driver) -> None:
    s = driver.socket()
    with driver.fault(Fault.NET_DOWN):
        try:
            driver.provider.WSPCloseSocket(s)
        except WSAError as error:
            expect.equal("the code of the close", error.winerror, E.WSAENETDOWN)


@check("R-240", "R-242", "R-249", "T-15")
def pending_receives_are_aborted(driver: Driver) -> None:
    _, s, _, handle = driver.pair_and_handles()
    receives = [driver.recv(s, 100, polled=number % 2 == 0)[0] for number in range(16)]
    expect.succeeds(driver.provider.WSPCloseSocket, s)
    handle_closed_last(driver, handle)
    for overlapped in receives:
        expect.equal("the record of a receive", driver.recorded(overlapped), ABORTED)
        times = 0 if overlapped.polled else 1
        wanted = [(handle, *ABORTED)] * times
        expect.equal("its announcements", driver.switch.completions(overlapped), wanted)


@check("R-240", "R-242", "T-15")
def pending_sends_are_aborted(driver: Driver) -> None:
    c, _, handle, _ = driver.pair_and_handles()
    part = driver.register(c, min(driver.message_limit(c), 1 << 16)).view
    sends = []
    for number in range(40):  # nobody receives: sooner or later they have to wait
        overlapped = WSAOVERLAPPED(None, number % 2 == 0)
        try:
            driver.provider.WSPSend(c, [part], 0, overlapped)
        except WSAError:
            break
        sends.append(overlapped)
    expect.succeeds(driver.provider.WSPCloseSocket, c)
    handle_closed_last(driver, handle)
    for overlapped in sends:
        result = driver.recorded(overlapped)
        wanted = (ABORTED, (0, part.nbytes))  # what the network has taken has been sent
        expect.true("a send to be done or aborted", result in wanted, f"its result is {result}")
        times = len(driver.switch.completions(overlapped))
        expect.equal("the announcements of a send", times, 0 if overlapped.polled else 1)


@check("R-241")
def memory_is_free_before_the_abort_is_announced(driver: Driver) -> None:
    _, s = driver.pair()
    buffers: dict[int, bytearray] = {}
    problems: list[str] = []

    def told(handle: int, overlapped: WSAOVERLAPPED, error: int, count: int) -> None:
        try:
            buffers[id(overlapped)].extend(b"more")  # impossible while somebody uses it
        except BufferError as problem:
            problems.append(str(problem))

    driver.switch.on_completion = told
    records = []
    for _ in range(4):
        # No views of ours: they would keep the memory in use, too.
        buffer, overlapped = bytearray(100), WSAOVERLAPPED()
        expect.succeeds(driver.provider.WSPRegisterMemory, s, buffer, MEM_READWRITE)
        buffers[id(overlapped)] = buffer
        records.append(overlapped)
        expect.pending(driver.provider.WSPRecv, s, [buffer], 0, overlapped)
    expect.succeeds(driver.provider.WSPCloseSocket, s)
    for overlapped in records:
        driver.announced(overlapped)
    expect.true("the memory to be free in the upcall", not problems, "; ".join(problems))


@check("R-242")
def the_handle_is_closed_before_the_call_returns(driver: Driver) -> None:
    c, s, c_handle, s_handle = driver.pair_and_handles()
    driver.alive(c, s)
    for end, handle in ((c, c_handle), (s, s_handle)):
        expect.equal("closes of the handle before", driver.switch.closed(handle), 0)
        driver.provider.WSPCloseSocket(end)
        expect.equal("closes of the handle after", driver.switch.closed(handle), 1)
    fresh = driver.socket()
    handle = driver.handle()
    driver.provider.WSPCloseSocket(fresh)
    expect.equal("closes of a fresh socket's handle", driver.switch.closed(handle), 1)


@check("T-16", "R-242", "R-240", "R-271")
def closing_from_within_an_announcement(driver: Driver) -> None:
    c, s, _, handle = driver.pair_and_handles()
    receives = [driver.recv(s, 100, polled=False)[0] for _ in range(9)]
    outcome: list[object] = []

    def told(told_handle: int, overlapped: WSAOVERLAPPED, error: int, count: int) -> None:
        if overlapped is receives[0]:
            try:
                outcome.append(driver.provider.WSPCloseSocket(s))
            except WSAError as failure:
                outcome.append(failure)

    driver.switch.on_completion = told
    source = driver.register(c, bytearray(b"data"))
    for _ in receives:
        driver.send(c, source.view)
    for overlapped in receives:
        driver.announced(overlapped)
    handle_closed_last(driver, handle)
    expect.equal("what the close in the upcall returned", outcome, [None])
    expect.equal("the first receive", driver.switch.completions(receives[0]), [(handle, 0, 4)])
    for overlapped in receives[1:]:
        announced = driver.switch.completions(overlapped)
        expect.equal("the announcements of a receive", len(announced), 1)
        good = announced[0][1:] in ((0, 4), ABORTED)
        expect.true("it to be done or aborted", good, f"it is {announced[0]}")


@check("R-242", "T-16")
def closing_while_an_announcement_is_made(driver: Driver) -> None:
    c, s, _, handle = driver.pair_and_handles()
    received, _ = driver.recv(s, 100, polled=False)
    waiting, _ = driver.recv(s, 100, polled=False)
    inside, go_on = threading.Event(), threading.Event()

    def told(told_handle: int, overlapped: WSAOVERLAPPED, error: int, count: int) -> None:
        if overlapped is received:
            inside.set()
            go_on.wait(3 * expect.PATIENCE)

    driver.switch.on_completion = told
    driver.send(c, b"data")
    expect.true("the receive to be announced", inside.wait(expect.PATIENCE))
    closing = Background(driver.provider.WSPCloseSocket, s)
    closing.result()  # it must not wait for the upcall: that could be waiting for it
    expect.equal("closes of the handle during the upcall", driver.switch.closed(handle), 0)
    go_on.set()
    handle_closed_last(driver, handle)
    expect.equal("the other receive", driver.switch.completions(waiting), [(handle, *ABORTED)])


@check("R-243")
def a_broken_socket_stays_until_it_is_closed(driver: Driver) -> None:
    c, s, _, handle = driver.pair_and_handles()
    received, view = driver.recv(s)
    driver.provider.WSPCloseSocket(c)
    expect.equal("the result of the receive", driver.finish(s, received), RESET)
    time.sleep(expect.QUIET)
    expect.equal("closes of the handle", driver.switch.closed(handle), 0)
    others = [driver.socket() for _ in range(20)]
    expect.true("the descriptor not to be used again", s not in others)
    expect.true("its options to be there", driver.message_limit(s) > 0)
    expect.equal("its results to be there", driver.poll(s, received), RESET)
    new = WSAOVERLAPPED(None, True)
    expect.error(E.WSAECONNRESET, driver.provider.WSPRecv, s, [view], 0, new)
    expect.succeeds(driver.provider.WSPCloseSocket, s)
    expect.equal("closes of the handle", driver.switch.closed(handle), 1)


@check("R-244", "T-19")
def the_peer_learns_of_a_close(driver: Driver) -> None:
    for closer in (0, 1):
        pair = driver.pair()
        other = pair[1 - closer]
        memory = driver.register(other, 100)
        requests = [driver.recv(other, memory.view, n % 2 == 0)[0] for n in range(12)]
        driver.provider.WSPCloseSocket(pair[closer])
        for overlapped in requests:
            expect.equal("the result of a receive", driver.ended(other, overlapped), RESET)
        for function in (driver.provider.WSPRecv, driver.provider.WSPSend):
            for _ in range(2):  # the same answer each time
                overlapped = WSAOVERLAPPED(None, True)
                expect.error(E.WSAECONNRESET, function, other, [memory.view], 0, overlapped)
                expect.true("the record not to be in progress", not overlapped.in_progress)


@check("R-244", "T-19")
def pending_sends_learn_of_a_close_at_the_peer(driver: Driver) -> None:
    c, s = driver.pair()
    part = driver.register(c, min(driver.message_limit(c), 1 << 16)).view
    sends = []
    for number in range(40):
        overlapped = WSAOVERLAPPED(None, number % 2 == 0)
        try:
            driver.provider.WSPSend(c, [part], 0, overlapped)
        except WSAError:
            break
        sends.append(overlapped)
    driver.provider.WSPCloseSocket(s)
    for overlapped in sends:
        result = driver.ended(c, overlapped)
        good = result in (RESET, (0, part.nbytes))
        expect.true("a send to be done or reset", good, f"its result is {result}")


@check("R-244", "T-19", start=False)
def the_peer_learns_of_a_death(driver: Driver) -> None:
    driver.subject.two_processes()

    def connect(link: Link) -> None:
        with Driver(driver.subject) as other:
            host, port = link.get()
            c, outcome = other.connect(port, host=host)
            expect.equal("the outcome of the connect", outcome, 0)
            other.recv(c)
            link.put("connected")
            time.sleep(60)

    with Child(connect) as child:
        driver.start()
        listener, port = driver.listener()
        child.link.put((driver.host, port))
        s = driver.accept(listener)
        child.link.get()
        memory = driver.register(s, 100)
        requests = [driver.recv(s, memory.view, n % 2 == 0)[0] for n in range(8)]
        child.kill()
        lost = (E.WSAECONNRESET, E.WSAECONNABORTED)
        for overlapped in requests:
            code, _ = driver.ended(s, overlapped)
            expect.true("a receive to end with the connection", code in lost, f"code {code}")
        expect.error(lost, driver.provider.WSPSend, s, [memory.view], 0, WSAOVERLAPPED(None, True))


@check("R-239", "R-240", start=False)
def a_peer_that_does_not_answer(driver: Driver) -> None:
    driver.subject.two_processes()

    def connect(link: Link) -> None:
        with Driver(driver.subject) as other:
            host, port = link.get()
            _, outcome = other.connect(port, host=host)
            expect.equal("the outcome of the connect", outcome, 0)
            link.put("connected")
            link.get()

    with Child(connect) as child:
        driver.start()
        listener, port = driver.listener()
        child.link.put((driver.host, port))
        s = driver.accept(listener)
        handle = driver.handle()
        child.link.get()
        os.kill(child.pid, signal.SIGSTOP)
        try:
            requests = [driver.recv(s, 100, polled=number % 2 == 0)[0] for number in range(4)]
            expect.promptly(driver.provider.WSPCloseSocket, s)
            handle_closed_last(driver, handle)
            for overlapped in requests:
                expect.equal("the record of a receive", driver.recorded(overlapped), ABORTED)
        finally:
            os.kill(child.pid, signal.SIGCONT)
        child.link.put("done")


@check("R-245")
def nothing_is_left_of_a_closed_socket(driver: Driver) -> None:
    listener, port = driver.listener()
    for round_ in range(3):
        c, event, outcome = driver.connecting(port)
        s = driver.accept(listener)
        expect.equal("the outcome of the connect", driver.connected(c, event, outcome), 0)
        driver.send(c, b"old %d" % round_)  # never received
        driver.provider.WSPCloseSocket(s)
        driver.provider.WSPCloseSocket(c)
    driver.provider.WSPCloseSocket(listener)
    listener, port = driver.listener(port=port)  # the name can be used again
    c, event, outcome = driver.connecting(port)
    s = driver.accept(listener)
    expect.equal("the outcome of the connect", driver.connected(c, event, outcome), 0)
    driver.alive(c, s)  # and no old data are there
    driver.provider.WSPCloseSocket(listener)
    _, outcome = driver.connect(port)
    expect.true("a connect to a closed listener to fail", outcome != 0)


@check("R-246")
def sockets_are_closed_in_every_state(driver: Driver) -> None:
    listener, port = driver.listener()
    handles = {listener: driver.handle()}

    def made(s: int) -> int:
        handles[s] = driver.handle()
        return s

    fresh = made(driver.socket())
    bound = made(driver.bound())
    connecting = made(driver.bound())
    driver.connecting(port, s=connecting)
    failed = made(driver.bound())
    _, event, outcome = driver.connecting(driver.port(), s=failed)
    driver.connected(failed, event, outcome)
    for s in (fresh, bound, connecting, failed, listener):
        expect.succeeds(driver.provider.WSPCloseSocket, s)
        handle_closed_last(driver, handles[s])
    c, s, c_handle, s_handle = driver.pair_and_handles()
    expect.succeeds(driver.provider.WSPCloseSocket, c)  # connected
    expect.succeeds(driver.provider.WSPCloseSocket, s)  # broken
    handle_closed_last(driver, c_handle)
    handle_closed_last(driver, s_handle)


@check("R-246")
def a_socket_that_was_duplicated_away_is_closed(driver: Driver) -> None:
    c, _, handle, _ = driver.pair_and_handles()
    expect.succeeds(driver.provider.WSPDuplicateSocket, c, os.getpid())
    expect.succeeds(driver.provider.WSPCloseSocket, c)
    handle_closed_last(driver, handle)


@check("R-248")
def closing_a_listener_refuses_its_queue(driver: Driver) -> None:
    listener, port = driver.listener()
    waiting = [driver.connecting(port) for _ in range(4)]
    driver.requested(listener)
    expect.succeeds(driver.provider.WSPCloseSocket, listener)
    for s, event, outcome in waiting:
        code = driver.connected(s, event, outcome)
        allowed = (E.WSAECONNREFUSED, E.WSAECONNRESET)
        expect.true("a queued request to be refused", code in allowed, f"its outcome is {code}")


@check("R-250")
def what_was_received_before_the_close_stays(driver: Driver) -> None:
    c, s = driver.pair()
    receives = [driver.recv(s, 100, polled=number % 2 == 0) for number in range(5)]
    for number in range(3):
        driver.send(c, b"message %d" % number)
    expect.equal("the result of the third receive", driver.ended(s, receives[2][0]), (0, 9))
    driver.provider.WSPCloseSocket(c)
    for overlapped, _ in receives[3:]:
        expect.equal("the result of an unfinished receive", driver.ended(s, overlapped), RESET)
    for number, (overlapped, view) in enumerate(receives[:3]):
        expect.equal("the result of a finished receive", driver.ended(s, overlapped), (0, 9))
        expect.equal("its message", bytes(view[:9]), b"message %d" % number)
