"""WSPEventSelect and WSPEnumNetworkEvents: rules R-088 to R-104."""

from __future__ import annotations

import threading
from typing import Any

from wsdirect.spi.constants import (
    FD_ACCEPT,
    FD_ACCEPT_BIT,
    FD_CLOSE,
    FD_CONNECT,
    FD_CONNECT_BIT,
    FD_MAX_EVENTS,
    FD_READ,
)
from wsdirect.spi.errors import WsaErrorCode
from wsdirect.spi.overlapped import Event
from wsdirect.spi.structures import WSANETWORKEVENTS
from wsdirect.testing import expect
from wsdirect.testing.conformance.calls import bad_descriptors
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver

_E = WsaErrorCode
_BOTH = FD_ACCEPT | FD_CONNECT


def _select(driver: Driver, s: int, events: int, event: Event | None = None) -> Event:
    """WSPEventSelect; the event."""
    event = event or Event()
    expect.succeeds(driver.provider.WSPEventSelect, s, event, events)
    return event


def _enum(driver: Driver, s: int, event: Event | None = None) -> WSANETWORKEVENTS:
    return expect.succeeds(driver.provider.WSPEnumNetworkEvents, s, event)


def _happens(event: Event) -> None:
    expect.true("the event to be set", event.wait(2 * expect.PATIENCE), "it was not")


def _does_not_happen(event: Event) -> None:
    expect.true("the event not to be set", not event.wait(0.05), "it was")


# --- WSPEventSelect -----------------------------------------------------------------------------


@check("R-088")
def events_one_by_one_and_together(driver: Driver) -> None:
    for events in (FD_ACCEPT, _BOTH):
        listener, port = driver.listener()
        event = _select(driver, listener, events)
        driver.connecting(port)
        driver.requested(listener, event)
    for events in (FD_CONNECT, _BOTH):
        listener, port = driver.listener()
        s = driver.bound()
        event = _select(driver, s, events)
        code = expect.code(driver.provider.WSPConnect, s, (driver.host, port))
        expect.one_of("the outcome of WSPConnect", code, (0, _E.WSAEWOULDBLOCK))
        driver.accept(listener)
        _happens(event)
        happened = _enum(driver, s, event)
        expect.equal("the events", happened.lNetworkEvents, int(FD_CONNECT))
    for s in (driver.socket(), driver.bound(), *driver.pair()):
        for events in (FD_ACCEPT, FD_CONNECT, _BOTH):
            _select(driver, s, events)


@check("R-089")
def nothing_blocks_afterwards(driver: Driver) -> None:
    for events in (FD_ACCEPT, 0):
        listener, _ = driver.listener()
        _select(driver, listener, events)
        expect.error(_E.WSAEWOULDBLOCK, expect.promptly, driver.provider.WSPAccept, listener,
                     lambda request: 0, None)  # fmt: skip
    for events in (FD_CONNECT, 0):
        _, port = driver.listener()
        s = driver.bound()
        _select(driver, s, events)
        expect.error(_E.WSAEWOULDBLOCK, expect.promptly, driver.provider.WSPConnect, s,
                     (driver.host, port))  # fmt: skip


@check("R-090")
def requests_stay_overlapped(driver: Driver) -> None:
    c, s = driver.pair()
    before, _ = driver.recv(s)
    event = _select(driver, s, _BOTH)
    expect.succeeds(driver.provider.WSPEventSelect, s, None, 0)
    after, _ = driver.recv(s)
    for overlapped in (before, after):
        expect.equal("the result before there is a message", driver.poll(s, overlapped), None)
    for overlapped in (before, after):
        driver.send(c, b"more")
        expect.equal("the result of the receive", driver.finish(s, overlapped), (0, 4))
    driver.alive(c, s)
    expect.true("no event for messages", not event.is_set(), "it was set")


@check("R-091")
def bad_choices(driver: Driver) -> None:
    s, event = driver.bound(), Event()
    call = driver.provider.WSPEventSelect
    for events in (FD_READ, FD_CLOSE | FD_CONNECT, 1 << FD_MAX_EVENTS, 1 << 30):
        expect.error(_E.WSAEINVAL, call, s, event, events)
    expect.error(_E.WSAEINVAL, call, s, None, FD_CONNECT)
    for wrong in bad_descriptors(driver):
        expect.error(_E.WSAENOTSOCK, call, wrong, event, FD_CONNECT)


@check("R-092")
def what_happens_is_recorded(driver: Driver) -> None:
    listener, port = driver.listener()
    accepting = _select(driver, listener, FD_ACCEPT)
    s = driver.bound()
    connecting = _select(driver, s, FD_CONNECT)
    for event in (accepting, connecting):
        expect.true("no event at first", not event.is_set(), "it was set")
    expect.code(driver.provider.WSPConnect, s, (driver.host, port))
    _happens(accepting)
    # recorded, and not only signalled: the event may be reset by anybody
    accepting.reset()
    expect.equal("the record", _enum(driver, listener).lNetworkEvents, int(FD_ACCEPT))
    expect.succeeds(driver.provider.WSPAccept, listener, lambda request: 0, None)
    _happens(connecting)
    connecting.reset()
    expect.equal("the record", _enum(driver, s).lNetworkEvents, int(FD_CONNECT))


@check("R-093")
def a_new_choice_replaces_the_old_one(driver: Driver) -> None:
    listener, port = driver.listener()
    old = _select(driver, listener, FD_ACCEPT)
    new = _select(driver, listener, FD_ACCEPT)
    driver.connecting(port)
    driver.requested(listener, new)
    expect.true("the old event not to be set", not old.is_set(), "it was")


@check("R-093")
def a_new_choice_clears_the_record(driver: Driver) -> None:
    listener, port = driver.listener()
    event = _select(driver, listener, FD_ACCEPT)
    driver.connecting(port)
    _happens(event)
    _select(driver, listener, FD_CONNECT, event)
    expect.equal("the record", _enum(driver, listener).lNetworkEvents, 0)
    # but what is waiting is not lost: it is announced to who asks for it again
    again = _select(driver, listener, FD_ACCEPT)
    driver.requested(listener, again)
    expect.succeeds(driver.provider.WSPAccept, listener, lambda request: 0, None)


@check("R-094")
def choosing_nothing(driver: Driver) -> None:
    listener, port = driver.listener()
    for ignored in (None, Event()):
        event = _select(driver, listener, FD_ACCEPT)
        expect.succeeds(driver.provider.WSPEventSelect, listener, ignored, 0)
        driver.connecting(port)
        _does_not_happen(event)
        expect.true("an ignored event not to be set", ignored is None or not ignored.is_set())
        expect.equal("the record", _enum(driver, listener).lNetworkEvents, 0)
        expect.eventually(
            "the request to be accepted all the same",
            lambda s=listener: not expect.code(driver.provider.WSPAccept, s, lambda r: 0, None),  # type: ignore[misc]
        )


@check("R-094")
def choosing_nothing_clears_the_record(driver: Driver) -> None:
    listener, port = driver.listener()
    event = _select(driver, listener, FD_ACCEPT)
    driver.connecting(port)
    _happens(event)
    expect.succeeds(driver.provider.WSPEventSelect, listener, None, 0)
    expect.equal("the record", _enum(driver, listener).lNetworkEvents, 0)
    driver.requested(listener, _select(driver, listener, FD_ACCEPT))


@check("R-095", "R-096")
def a_request_that_waits_already(driver: Driver) -> None:
    listener, port = driver.listener()
    c, connected, outcome = driver.connecting(port)
    # a listener that nobody has told of an event so far, and then others
    for _ in range(2):
        event = _select(driver, listener, FD_ACCEPT)
        driver.requested(listener, event)
    expect.succeeds(driver.provider.WSPAccept, listener, lambda request: 0, None)
    expect.equal("the outcome of the connect", driver.connected(c, connected, outcome), 0)


@check("R-095")
def a_connect_that_has_ended_already(driver: Driver) -> None:
    listener, port = driver.listener()
    for answer, outcome in ((0, 0), (1, int(_E.WSAECONNREFUSED))):
        c, event, at_once = driver.connecting(port)
        driver.requested(listener)
        expect.code(driver.provider.WSPAccept, listener, lambda request, a=answer: a, None)
        if at_once is None:
            _happens(event)
        again = _select(driver, c, FD_CONNECT)
        _happens(again)
        happened = _enum(driver, c, again)
        expect.equal("the events", happened.lNetworkEvents, int(FD_CONNECT))
        expect.equal("the outcome of the connect", happened.error(FD_CONNECT), outcome)


# --- WSPEnumNetworkEvents -----------------------------------------------------------------------


def _refused(driver: Driver) -> tuple[int, Event]:
    """A socket whose connect was refused, with its event set."""
    listener, port = driver.listener()
    c, event, _ = driver.connecting(port)
    driver.requested(listener)
    expect.error(_E.WSAECONNREFUSED, driver.provider.WSPAccept, listener, lambda request: 1, None)
    _happens(event)
    return c, event


@check("R-097", "R-101")
def outcomes_in_their_places(driver: Driver) -> None:
    c, event = _refused(driver)
    happened = _enum(driver, c, event)
    expect.equal("the events", happened.lNetworkEvents, int(FD_CONNECT))
    places = [0] * FD_MAX_EVENTS
    places[FD_CONNECT_BIT] = int(_E.WSAECONNREFUSED)
    expect.equal("the outcomes", list(happened.iErrorCode), places)
    listener, port = driver.listener()
    event = _select(driver, listener, FD_ACCEPT)
    driver.connecting(port)
    _happens(event)
    happened = _enum(driver, listener, event)
    expect.equal("the events", happened.lNetworkEvents, int(FD_ACCEPT))
    expect.equal("the outcome of FD_ACCEPT", happened.iErrorCode[FD_ACCEPT_BIT], 0)


@check("R-098", "R-104")
def the_event_is_reset_and_the_record_empty(driver: Driver) -> None:
    c, event = _refused(driver)
    expect.equal("the events", _enum(driver, c, event).lNetworkEvents, int(FD_CONNECT))
    expect.true("the event to be reset", not event.is_set(), "it is set")
    for _ in range(2):
        expect.equal("the events", _enum(driver, c, event).lNetworkEvents, 0)
    event.set()
    _enum(driver, c, event)
    expect.true("the event to be reset also if there is nothing", not event.is_set())
    expect.equal("the events of a new socket", _enum(driver, driver.socket()).lNetworkEvents, 0)


@check("R-099")
def no_event_is_told_twice(driver: Driver) -> None:
    for _ in range(20):
        listener, port = driver.listener()
        event = _select(driver, listener, FD_ACCEPT)
        driver.connecting(port)
        _happens(event)
        start = threading.Barrier(3)
        told: list[int] = []

        def ask(
            s: int = listener,
            event: Event = event,
            start: threading.Barrier = start,
            told: list[int] = told,
        ) -> None:
            start.wait()
            told.append(driver.provider.WSPEnumNetworkEvents(s, event).lNetworkEvents)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expect.equal("what three threads are told", sorted(told), [0, 0, int(FD_ACCEPT)])
        driver.provider.WSPCloseSocket(listener)


@check("R-099")
def no_event_is_lost(driver: Driver) -> None:
    count = 60
    listener, port = driver.listener(backlog=count)
    event = _select(driver, listener, FD_ACCEPT)
    sockets = [driver.bound() for _ in range(count)]
    failures: list[Any] = []

    def connect() -> None:
        for s in sockets:
            code = expect.code(driver.provider.WSPConnect, s, (driver.host, port))
            if code not in (0, _E.WSAEWOULDBLOCK):
                failures.append(code)

    for s in sockets:
        _select(driver, s, FD_CONNECT)
    thread = threading.Thread(target=connect)
    thread.start()
    accepted = 0
    while accepted < count and not failures and event.wait(expect.PATIENCE):
        # an event that came for what the last WSPAccept has taken is in order: nothing is recorded
        if _enum(driver, listener, event).lNetworkEvents & FD_ACCEPT:
            accepted += expect.code(
                driver.provider.WSPAccept, listener, lambda request: 0, None
            ) == 0  # fmt: skip
    thread.join()
    expect.equal("failures of WSPConnect", failures, [])
    expect.equal("the requests that were announced and accepted", accepted, count)


@check("R-100")
def no_event_to_reset(driver: Driver) -> None:
    c, event = _refused(driver)
    happened = _enum(driver, c, None)
    expect.equal("the events", happened.lNetworkEvents, int(FD_CONNECT))
    expect.equal("the outcome", happened.error(FD_CONNECT), int(_E.WSAECONNREFUSED))
    expect.true("the event to stay set", event.is_set(), "it was reset")
    expect.equal("the events", _enum(driver, c, None).lNetworkEvents, 0)


@check("R-102", "R-103")
def a_call_that_fails_changes_nothing(driver: Driver) -> None:
    c, event = _refused(driver)
    closed = Event()
    closed.close()
    call: Any = driver.provider.WSPEnumNetworkEvents
    for wrong in (closed, object()):
        expect.error(_E.WSAEINVAL, call, c, wrong)
    for s in bad_descriptors(driver):
        expect.error(_E.WSAENOTSOCK, call, s, event)
    expect.true("the event to stay set", event.is_set(), "it was reset")
    happened = _enum(driver, c, event)
    expect.equal("the events", happened.lNetworkEvents, int(FD_CONNECT))
    expect.equal("the outcome", happened.error(FD_CONNECT), int(_E.WSAECONNREFUSED))
