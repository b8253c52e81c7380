"""WSPConnect: rules R-105 to R-123."""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import Any

from wsdirect.spi.constants import (
    FD_CONNECT,
    SIO_ADDRESS_LIST_QUERY,
    XP1_CONNECT_DATA,
    XP1_QOS_SUPPORTED,
)
from wsdirect.spi.errors import WsaErrorCode
from wsdirect.spi.overlapped import Event
from wsdirect.spi.structures import FLOWSPEC, QOS, AcceptRequest
from wsdirect.testing import expect
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver, resources
from wsdirect.testing.faults import Fault
from wsdirect.testing.processes import Child, Link

_E = WsaErrorCode
_NO_FALLBACK = (_E.WSAECONNRESET, _E.WSAECONNREFUSED, _E.WSAEHOSTUNREACH)
"""After these the switch does not try TCP/IP."""


def _start(driver: Driver, s: int, name: Any, **more: Any) -> int:
    """WSPConnect in a thread of its own, as it must not block: how the call ended."""
    return expect.promptly(expect.code, driver.provider.WSPConnect, s, name, **more)


def _selected(driver: Driver, s: int = 0) -> tuple[int, Event]:
    """A bound socket with an event for FD_CONNECT."""
    s = s or driver.bound()
    event = Event()
    expect.succeeds(driver.provider.WSPEventSelect, s, event, FD_CONNECT)
    return s, event


def _outcome(driver: Driver, name: Any) -> int:
    """How a connect to a name ends, at once or later."""
    s, event = _selected(driver)
    code = _start(driver, s, name)
    code = driver.connected(s, event, None if code == _E.WSAEWOULDBLOCK else code)
    driver.provider.WSPCloseSocket(s)
    return code


def _elsewhere(driver: Driver) -> str:
    """An address that is not the provider's."""
    s = driver.socket()
    own = [host for host, _ in driver.provider.WSPIoctl(s, SIO_ADDRESS_LIST_QUERY)]
    driver.provider.WSPCloseSocket(s)
    return next(host for host in ("203.0.113.7", "198.51.100.7") if host not in own)


@check("R-105")
def the_listener_on_the_port_is_reached(driver: Driver) -> None:
    listeners = [driver.listener() for _ in range(3)]
    for listener, port in reversed(listeners):
        c, event, outcome = driver.connecting(port)
        seen: list[Any] = []

        def condition(request: AcceptRequest, seen: list[Any] = seen) -> int:
            seen.append(request.callee)
            return 0

        s = driver.accept(listener, condition)
        expect.equal("the address asked for", seen, [(driver.host, port)])
        expect.equal("the outcome of the connect", driver.connected(c, event, outcome), 0)
        driver.alive(c, s)
        for other, _ in listeners:
            if other != listener:
                events = driver.provider.WSPEnumNetworkEvents(other).lNetworkEvents
                expect.equal("the events of another listener", events, 0)


@check("R-105", start=False)
def a_listener_of_another_process_is_reached(driver: Driver) -> None:
    driver.subject.two_processes()
    port = driver.port()

    def listening(link: Link) -> None:
        with Driver(driver.subject) as other:
            listener, _ = other.listener(port=port)
            link.put("listening")
            s = other.accept(listener)
            received, view = other.recv(s)
            expect.equal("the result of the receive", other.finish(s, received), (0, 5))
            sent = other.send(s, bytes(view[:5])[::-1])
            expect.equal("the result of the send", other.finish(s, sent), (0, 5))
            link.get()

    with Child(listening) as child:
        driver.start()
        child.link.get()
        c, outcome = driver.connect(port)
        expect.equal("the outcome of the connect", outcome, 0)
        received, view = driver.recv(c)
        driver.send(c, b"there")
        expect.equal("the result of the receive", driver.finish(c, received), (0, 5))
        expect.equal("the echo", bytes(view[:5]), b"ereht")
        child.link.put("end")


@check("R-106", "R-107", "R-108")
def a_connect_goes_on_and_ends_well(driver: Driver) -> None:
    listener, port = driver.listener()
    s, event = _selected(driver)
    code = _start(driver, s, (driver.host, port))
    expect.equal("the code of WSPConnect", code, int(_E.WSAEWOULDBLOCK))
    expect.equal("the events", driver.provider.WSPEnumNetworkEvents(s).lNetworkEvents, 0)
    driver.accept(listener)
    expect.equal("the outcome of the connect", driver.connected(s, event), 0)


@check("R-107", "R-108")
def a_connect_goes_on_and_ends_badly(driver: Driver) -> None:
    listener, port = driver.listener()
    s, event = _selected(driver)
    code = _start(driver, s, (driver.host, port))
    expect.equal("the code of WSPConnect", code, int(_E.WSAEWOULDBLOCK))
    driver.requested(listener)
    expect.error(_E.WSAECONNREFUSED, driver.provider.WSPAccept, listener, lambda request: 1, None)
    expect.equal("the outcome", driver.connected(s, event), int(_E.WSAECONNREFUSED))


@check("R-107")
def a_connect_while_the_network_takes_its_time(driver: Driver) -> None:
    listener, port = driver.listener()
    s, event = _selected(driver)
    with driver.fault(Fault.DELAY):
        code = _start(driver, s, (driver.host, port))
        expect.equal("the code of WSPConnect", code, int(_E.WSAEWOULDBLOCK))
        expect.true("no event before the end", not event.is_set(), "the event was set")
    driver.accept(listener)
    expect.equal("the outcome of the connect", driver.connected(s, event), 0)


@check("R-107", start=False)
def a_connect_to_a_process_that_dies(driver: Driver) -> None:
    driver.subject.two_processes()
    port = driver.port()

    def listening(link: Link) -> None:
        other = Driver(driver.subject)
        other.listener(port=port)
        link.put("listening")
        link.get()

    child = Child(listening)
    driver.start()
    child.link.get()
    s, event, outcome = driver.connecting(port)
    expect.true("the connect to go on", outcome is None, "it has ended")
    child.kill()
    expect.true("the connect to fail", driver.connected(s, event))


@check("R-109")
def every_connect_is_refused(driver: Driver) -> None:
    _, port = driver.listener()
    with driver.fault(Fault.REFUSE):
        code = _outcome(driver, (driver.host, port))
    expect.equal("the outcome of the connect", code, int(_E.WSAECONNREFUSED))


@check("R-111")
def nobody_listens(driver: Driver) -> None:
    port = driver.port()
    expect.equal("the outcome", _outcome(driver, (driver.host, port)), int(_E.WSAECONNRESET))
    listener, port = driver.listener()
    driver.provider.WSPCloseSocket(listener)
    expect.equal("the outcome", _outcome(driver, (driver.host, port)), int(_E.WSAECONNRESET))
    bound = driver.port()
    driver.bound(bound)  # but it does not listen
    expect.equal("the outcome", _outcome(driver, (driver.host, bound)), int(_E.WSAECONNRESET))


@check("R-111", start=False)
def nobody_listens_any_more(driver: Driver) -> None:
    driver.subject.two_processes()

    def listening(link: Link) -> None:
        other = Driver(driver.subject)
        other.listener(port=port)
        link.put("listening")
        link.get()
        other.close()

    for killed in (False, True):
        port = driver.port()
        child = Child(listening)
        driver.start()
        child.link.get()
        if killed:
            child.kill()
        else:
            child.link.put("end")
            child.wait()
        expect.equal("the outcome", _outcome(driver, (driver.host, port)), int(_E.WSAECONNRESET))
        driver.cleanup()  # the next process is to have nothing of this one


@check("R-112")
def a_destination_that_does_not_exist(driver: Driver) -> None:
    _, port = driver.listener()
    with driver.fault(Fault.UNREACHABLE):
        code = _outcome(driver, (driver.host, port))
    expect.equal("the outcome of the connect", code, int(_E.WSAEHOSTUNREACH))


def _leaves_room(code: int) -> None:
    said = f"it ended with {expect.name(code)}"
    expect.true("the connect to fail", code, said)
    expect.true("an error that leaves TCP/IP to be tried", code not in _NO_FALLBACK, said)


@check("R-113", "R-114", "T-08")
def only_tcp_listens(driver: Driver) -> None:
    port = driver.port()
    try:
        with socket.socket() as probe:
            probe.bind((driver.host, 0))
    except OSError:
        raise expect.NotApplicable("TCP/IP does not have the provider's addresses") from None
    driver.listen_with_tcp(port)
    _leaves_room(_outcome(driver, (driver.host, port)))


@check("R-113", "T-07")
def a_destination_that_is_not_on_the_network(driver: Driver) -> None:
    _leaves_room(_outcome(driver, (_elsewhere(driver), driver.port())))


@check("R-114", "T-08")
def a_peer_without_winsock_direct(driver: Driver) -> None:
    _, port = driver.listener()
    with driver.fault(Fault.NO_WSD):
        _leaves_room(_outcome(driver, (driver.host, port)))


@check("T-07")
def nothing_is_looked_up(driver: Driver) -> None:
    s, _ = _selected(driver)
    code = _start(driver, s, ("host.invalid", driver.port()))
    expect.true("a host name to be refused at once", code not in (0, _E.WSAEWOULDBLOCK))


@check("R-115", "T-09")
def a_second_connect(driver: Driver) -> None:
    listener, port = driver.listener()
    _, other = driver.listener()
    s, event, outcome = driver.connecting(port)
    expect.true("the connect to go on", outcome is None, "it has ended")
    for target in (port, other):
        code = _start(driver, s, (driver.host, target))
        expect.equal("the code of a second WSPConnect", code, int(_E.WSAEALREADY))
    driver.accept(listener)
    expect.equal("the outcome of the first connect", driver.connected(s, event), 0)


@check("R-116", "T-09")
def an_address_in_use_is_no_error(driver: Driver) -> None:
    own = driver.port()
    listener, port = driver.listener()
    for _ in range(2):
        s, event = _selected(driver, driver.bound(own))
        code = _start(driver, s, (driver.host, port))
        if code == _E.WSAEWOULDBLOCK:
            driver.accept(listener)
            code = driver.connected(s, event)
        expect.true("another outcome", code not in (_E.WSAEADDRINUSE, _E.WSAEINTR),
                    expect.name(code))  # fmt: skip


@check("R-116")
def a_signal_meanwhile(driver: Driver) -> None:
    listener, port = driver.listener()
    signal.signal(signal.SIGALRM, lambda number, frame: None)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for _ in range(10):
            s, event = _selected(driver)
            code = expect.code(driver.provider.WSPConnect, s, (driver.host, port))
            expect.one_of("the code of WSPConnect", code, (0, _E.WSAEWOULDBLOCK))
            driver.accept(listener)
            expect.equal("the outcome of the connect", driver.connected(s, event), 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@check("R-117")
def sockets_that_cannot_connect(driver: Driver) -> None:
    listener, port = driver.listener()
    c, s = driver.pair()
    for connected in (c, s):
        code = _start(driver, connected, (driver.host, port))
        expect.equal("the code on a connected socket", code, int(_E.WSAEISCONN))
    code = _start(driver, listener, (driver.host, port))
    expect.equal("the code on a listening socket", code, int(_E.WSAEINVAL))
    driver.alive(c, s)


@check("R-118")
def names_that_are_no_destination(driver: Driver) -> None:
    _, port = driver.listener()
    s, _ = _selected(driver)
    for name, wanted in (
        (("0.0.0.0", port), (_E.WSAEADDRNOTAVAIL,)),
        ((driver.host, 0), (_E.WSAEADDRNOTAVAIL,)),
        (("::1", port), (_E.WSAEAFNOSUPPORT,)),
        ((driver.host,), (_E.WSAEFAULT,)),
        ((), (_E.WSAEFAULT,)),
        (None, (_E.WSAEFAULT,)),
    ):
        expect.one_of(f"the code for {name!r}", _start(driver, s, name), wanted)
    code = _start(driver, s, (driver.host, port))
    expect.one_of("the code for a good name", code, (0, _E.WSAEWOULDBLOCK))


@check("R-119")
def data_with_the_connect(driver: Driver) -> None:
    listener, port = driver.listener()
    s, event = _selected(driver)
    data, answer = b"from the caller", bytearray(b"to be replaced")
    if not driver.provider.protocol_info.dwServiceFlags1 & XP1_CONNECT_DATA:
        code = _start(driver, s, (driver.host, port), caller_data=data)
        expect.equal("the code of WSPConnect", code, int(_E.WSAEPROTONOSUPPORT))
        return
    code = _start(driver, s, (driver.host, port), caller_data=data, callee_data=answer)
    expect.one_of("the code of WSPConnect", code, (0, _E.WSAEWOULDBLOCK))
    seen: list[bytes | None] = []

    def condition(request: AcceptRequest) -> int:
        seen.append(request.caller_data)
        request.callee_data = b"back"[: request.callee_data_max]
        return 0

    driver.accept(listener, condition)
    expect.equal("the outcome of the connect", driver.connected(s, event), 0)
    expect.equal("the data that arrived", seen, [data])
    expect.true("the data that came back", b"back".startswith(bytes(answer)), repr(answer))


@check("R-119")
def quality_of_service_with_the_connect(driver: Driver) -> None:
    listener, port = driver.listener()
    s, event = _selected(driver)
    wanted = QOS(FLOWSPEC(TokenRate=1000), FLOWSPEC(TokenRate=2000))
    code = _start(driver, s, (driver.host, port), sqos=wanted)
    if not driver.provider.protocol_info.dwServiceFlags1 & XP1_QOS_SUPPORTED:
        expect.equal("the code of WSPConnect", code, int(_E.WSAEOPNOTSUPP))
        return
    expect.one_of("the code of WSPConnect", code, (0, _E.WSAEWOULDBLOCK))
    seen: list[QOS | None] = []

    def condition(request: AcceptRequest) -> int:
        seen.append(request.sqos)
        return 0

    driver.accept(listener, condition)
    expect.equal("the outcome of the connect", driver.connected(s, event), 0)
    expect.equal("the calls of the condition function", len(seen), 1)
    expect.true("what was asked for", seen[0] is not None, "the condition function got none")


@check("R-120", "R-121")
def a_connect_is_aborted(driver: Driver) -> None:
    listener, port = driver.listener()
    expect.succeeds(driver.provider.WSPEventSelect, listener, None, 0)  # non-blocking
    for _ in range(2):  # the first time loads what stays
        s, event = _selected(driver)
        handle = driver.handle()
        before = resources()
        code = _start(driver, s, (driver.host, port))
        expect.equal("the code of WSPConnect", code, int(_E.WSAEWOULDBLOCK))
        expect.promptly(driver.provider.WSPCloseSocket, s)
        expect.eventually("its handle to be closed", lambda h=handle: driver.switch.closed(h))  # type: ignore[misc]
        code = expect.code(driver.provider.WSPAccept, listener, lambda request: 0, None)
        expect.true("the request to be withdrawn", code, "it could be accepted")
        expect.true("the event not to be set", not event.wait(0.05), "it was set")
    descriptors, threads = resources()
    expect.true("all descriptors back", descriptors <= before[0], f"{descriptors}, {before[0]}")
    expect.true("all threads back", threads <= before[1], f"{threads}, {before[1]}")


@check("R-121")
def what_was_the_event_is_left_alone(driver: Driver) -> None:
    listener, port = driver.listener()
    s, event = _selected(driver)
    code = _start(driver, s, (driver.host, port))
    expect.equal("the code of WSPConnect", code, int(_E.WSAEWOULDBLOCK))
    number = event.fileno()
    driver.provider.WSPCloseSocket(s)
    event.close()
    # the next file of that number belongs to somebody else
    others = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(3)]
    expect.succeeds(driver.provider.WSPEventSelect, listener, None, 0)  # non-blocking
    expect.code(driver.provider.WSPAccept, listener, lambda request: 0, None)
    driver.alive(*driver.pair())
    for other in others:
        try:
            written = os.eventfd_read(other)
        except BlockingIOError:
            written = 0
        expect.equal(f"what was written to file {other} (the event was {number})", written, 0)


@check("R-122")
def what_is_connected_can_do_everything(driver: Driver) -> None:
    for s, peer in (pair := driver.pair(), pair[::-1]):
        driver.alive(s, peer)
        memory = driver.register(s, 256)
        expect.succeeds(driver.provider.WSPDeregisterMemory, s, memory.handle)
        expect.true("a message size", driver.message_limit(s) > 0)
        descriptor, _ = driver.expose(peer, 64)
        local = driver.register(s, bytearray(b"w" * 64))
        written = driver.write(s, [local.wsabufex()], descriptor)
        expect.equal("the result of the write", driver.finish(s, written), (0, 64))


@check("R-122")
def connections_survive_a_fork(driver: Driver) -> None:
    c, s = driver.pair()
    received, view = driver.recv(s)

    def busy(link: Link) -> None:
        with Driver(driver.subject) as other:
            other.alive(*other.pair())

    for forked in (lambda link: None, busy):
        with Child(forked):
            pass
    driver.send(c, b"after")
    expect.equal("the result of the receive", driver.finish(s, received), (0, 5))
    expect.equal("the message", bytes(view[:5]), b"after")
    driver.alive(c, s)


@check("R-122")
def connects_in_many_threads(driver: Driver) -> None:
    listener, port = driver.listener(backlog=16)
    made = [driver.connecting(port) for _ in range(4)]
    accepted = [driver.accept(listener) for _ in made]
    pairs = [(c, s) for (c, _, _), s in zip(made, accepted, strict=True)]
    for one in made:
        expect.equal("the outcome of a connect", driver.connected(*one), 0)
    failures: list[BaseException] = []

    def talk(c: int, s: int) -> None:
        try:
            for _ in range(5):
                driver.alive(c, s)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=talk, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@check("R-123")
def no_success_before_the_accept(driver: Driver) -> None:
    listener, port = driver.listener()
    s, event, outcome = driver.connecting(port)
    expect.true("the connect to go on", outcome is None, "it has ended")
    driver.requested(listener)
    expect.true("no event before WSPAccept", not event.wait(0.1), "the event was set")
    expect.error(_E.WSAECONNREFUSED, driver.provider.WSPAccept, listener, lambda request: 1, None)
    expect.equal("the outcome", driver.connected(s, event), int(_E.WSAECONNREFUSED))
