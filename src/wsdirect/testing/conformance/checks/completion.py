"""How requests end and how that is told: rules R-178 to R-184, R-193 and R-194."""

from __future__ import annotations

import threading
import time
from typing import Any

from wsdirect.spi.constants import WSS_OPERATION_IN_PROGRESS
from wsdirect.spi.errors import WsaErrorCode
from wsdirect.spi.overlapped import WSAOVERLAPPED, Event
from wsdirect.testing import expect
from wsdirect.testing.background import Background
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver, Upcalls
from wsdirect.testing.expect import NotApplicable

E = WsaErrorCode


class Watched(WSAOVERLAPPED):
    """A record that notes every change that is made to it.

    Attributes:
        changes: Names and values, in order.
    """

    __slots__ = ("changes",)

    changes: list[tuple[str, int]]

    def __init__(self, polled: bool) -> None:
        object.__setattr__(self, "changes", [])
        super().__init__(None, polled)
        self.changes.clear()

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        self.changes.append((name, value))

    def was_watched(self) -> None:
        """NotApplicable if the record changed without being seen to."""
        if ("Internal", WSS_OPERATION_IN_PROGRESS) not in self.changes:
            raise NotApplicable("the provider writes records in a way that cannot be watched")


class Entrance(Upcalls):
    """Upcalls that note how the record looks when a completion comes in.

    Attributes:
        seen: (record, Internal, Offset, OffsetHigh, error, bytes) of each.
    """

    __slots__ = ("seen",)

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[WSAOVERLAPPED, int, int, int, int, int]] = []

    def WPUCompleteOverlappedRequest(  # noqa: D102
        self, s: int, overlapped: WSAOVERLAPPED, error: int, transferred: int
    ) -> None:
        self.seen.append((overlapped, overlapped.Internal, overlapped.Offset,
                          overlapped.OffsetHigh, error, transferred))  # fmt: skip
        super().WPUCompleteOverlappedRequest(s, overlapped, error, transferred)


# --- who is told ---------------------------------------------------------------------------------


@check("R-178", "R-180")
def notified_requests_are_announced_once(driver: Driver) -> None:
    c, s, c_handle, s_handle = driver.pair_and_handles()
    requests = []
    for number in range(8):
        received, _ = driver.recv(s, polled=False)
        requests.append((s_handle, received, number + 1))
    for number in range(8):
        sent = driver.send(c, b"m" * (number + 1), polled=False)
        requests.append((c_handle, sent, number + 1))
    for _, overlapped, _ in requests:
        driver.announced(overlapped)
    time.sleep(expect.QUIET)
    for _ in range(3):  # looking at them does not announce them again
        for handle, overlapped, length in requests:
            s_or_c = s if handle == s_handle else c
            expect.equal("the result", driver.poll(s_or_c, overlapped), (0, length))
    for handle, overlapped, length in requests:
        announced = driver.switch.completions(overlapped)
        expect.equal("the announcements of a request", announced, [(handle, 0, length)])


@check("R-178")
def messages_that_wait_are_announced_too(driver: Driver) -> None:
    c, s, _, s_handle = driver.pair_and_handles()
    driver.settle(c, driver.send(c, b"early"))
    received, _ = driver.recv(s, polled=False)
    driver.announced(received)
    time.sleep(expect.QUIET)
    expect.equal("the announcements", driver.switch.completions(received), [(s_handle, 0, 5)])


@check("R-178")
def mixed_requests_on_one_socket(driver: Driver) -> None:
    c, s = driver.pair()
    # A provider that follows the descriptor for one kind must not forget it for the other.
    for number in range(30):
        polled = number % 3 == 0
        received, view = driver.recv(s, 16, polled)
        sent = driver.send(c, b"%5d" % number, not polled)
        expect.equal("the result of a receive", driver.ended(s, received), (0, 5))
        expect.equal("the message", int(bytes(view[:5])), number)
        expect.equal("the result of a send", driver.ended(c, sent), (0, 5))


@check("R-179")
def polled_requests_are_not_announced(driver: Driver) -> None:
    c, s = driver.pair()
    events = [Event(), Event(manual_reset=False)]
    for event in (None, *events):
        received, _ = driver.recv(s, event=event)
        sent = driver.send(c, b"quiet", event=event)
        time.sleep(expect.QUIET)
        expect.equal("the result of the send", driver.finish(c, sent), (0, 5))
        expect.equal("the result of the receive", driver.finish(s, received), (0, 5))
    time.sleep(expect.QUIET)
    expect.true("no event to be set", not any(event.is_set() for event in events), "one is")
    told = driver.switch.names().count("WPUCompleteOverlappedRequest")
    expect.equal("the number of announcements", told, 0)


class Keeping(Upcalls):
    """Upcalls that do not set the event of a request, so that only a provider would."""

    __slots__ = ()

    def WPUCompleteOverlappedRequest(  # noqa: D102
        self, s: int, overlapped: WSAOVERLAPPED, error: int, transferred: int
    ) -> None:
        event, overlapped.hEvent = overlapped.hEvent, None
        super().WPUCompleteOverlappedRequest(s, overlapped, error, transferred)
        overlapped.hEvent = event


@check("R-178", start=False)
def a_notified_request_leaves_its_event_to_the_switch(driver: Driver) -> None:
    driver.switch = Keeping()
    driver.start()
    c, s = driver.pair()
    event = Event()
    received, _ = driver.recv(s, polled=False, event=event)
    driver.send(c, b"data")
    driver.announced(received)
    time.sleep(expect.QUIET)
    expect.true("the provider not to set the event", not event.is_set())


# --- the record ----------------------------------------------------------------------------------


@check("R-181", "R-193", start=False)
def results_are_written_before_the_upcall(driver: Driver) -> None:
    entrance = driver.switch = Entrance()
    driver.start()
    c, s = driver.pair()
    received, _ = driver.recv(s, polled=False)
    sent = driver.send(c, b"data", polled=False)
    failing, _ = driver.recv(s, polled=False)
    driver.announced(received)
    driver.announced(sent)
    driver.provider.WSPCloseSocket(c)
    driver.announced(failing)
    for overlapped, internal, offset, offset_high, error, transferred in entrance.seen:
        going_on = internal == WSS_OPERATION_IN_PROGRESS
        expect.true("Internal to be left to the upcall", going_on, f"it is {internal}")
        expect.equal("OffsetHigh in the upcall", offset_high, error)
        expect.equal("Offset in the upcall", offset, 0)
        expect.equal("the bytes of the record", overlapped.InternalHigh, transferred)
    told = {id(overlapped): error for overlapped, _, _, _, error, _ in entrance.seen}
    expect.true("the failing receive to be announced as such", told[id(failing)] != 0)


@check("R-182")
def a_request_is_in_progress_when_the_call_returns(driver: Driver) -> None:
    c, s = driver.pair()
    for polled in (True, False):
        overlapped = Watched(polled)
        part = driver.register(s, 100).view
        expect.pending(driver.provider.WSPRecv, s, [part], 0, overlapped)
        expect.true("the receive's record to be in progress", overlapped.in_progress)
        sent = Watched(polled)
        source = driver.register(c, bytearray(b"data")).view
        expect.pending(driver.provider.WSPSend, c, [source], 0, sent)
        expect.equal("the result of the send", driver.ended(c, sent), (0, 4))
        sent.was_watched()
        expect.equal("the result of the receive", driver.ended(s, overlapped), (0, 4))


@check("R-182")
def nothing_is_announced_from_within_the_call(driver: Driver) -> None:
    c, s = driver.pair()
    inside = False
    caught: list[str] = []
    me = threading.get_ident()

    def told(handle: int, overlapped: WSAOVERLAPPED, error: int, count: int) -> None:
        if inside and threading.get_ident() == me:
            caught.append("it was announced before the call had returned")

    driver.switch.on_completion = told
    target = driver.register(s, 100).view
    source = driver.register(c, bytearray(b"data")).view
    for number in range(20):
        received, sent = WSAOVERLAPPED(), WSAOVERLAPPED()
        calls = [(driver.provider.WSPSend, c, source, sent),
                 (driver.provider.WSPRecv, s, target, received)]  # fmt: skip
        for function, end, part, overlapped in calls if number % 2 else calls[::-1]:
            inside = True
            expect.pending(function, end, [part], 0, overlapped)
            inside = False
        expect.equal("the result of a send", driver.ended(c, sent), (0, 4))
        expect.equal("the result of a receive", driver.ended(s, received), (0, 4))
    expect.true("the end to be announced after the call", not caught, "; ".join(caught))


@check("R-183", "R-194")
def a_polled_record_is_published_last(driver: Driver) -> None:
    c, s = driver.pair()
    target, source = driver.register(s, 100), driver.register(c, bytearray(b"data"))
    failing = Watched(True)
    records = []
    for _ in range(5):
        received, sent = Watched(True), Watched(True)
        expect.pending(driver.provider.WSPRecv, s, [target.view], 0, received)
        expect.pending(driver.provider.WSPSend, c, [source.view], 0, sent)
        expect.equal("the result of a receive", driver.finish(s, received), (0, 4))
        expect.equal("the result of a send", driver.finish(c, sent), (0, 4))
        records += [received, sent]
    expect.pending(driver.provider.WSPRecv, s, [target.view], 0, failing)
    driver.provider.WSPCloseSocket(c)
    expect.true("a receive to fail at the peer's close", driver.finish(s, failing)[0] != 0)
    time.sleep(expect.QUIET)
    for overlapped in (*records, failing):
        overlapped.was_watched()
        last, value = overlapped.changes[-1]
        done = last == "Internal" and value != WSS_OPERATION_IN_PROGRESS
        expect.true("Internal to be written last", done, f"the last change: {last} = {value}")
        ends = [name for name, value in overlapped.changes
                if name == "Internal" and value != WSS_OPERATION_IN_PROGRESS]  # fmt: skip
        expect.equal("how often the end was written", len(ends), 1)
        going_on = overlapped.changes.index(("Internal", WSS_OPERATION_IN_PROGRESS))
        names = {name for name, _ in overlapped.changes[going_on:]}
        expect.true("bytes to be written before the end", "InternalHigh" in names)
        expect.true("the error to be written before the end", "OffsetHigh" in names)


@check("R-194")
def nothing_is_touched_after_the_end(driver: Driver) -> None:
    c, s = driver.pair()
    for polled in (True, False):
        memory = driver.register(s, 200)
        first, second = Watched(polled), Watched(polled)
        expect.pending(driver.provider.WSPRecv, s, [memory[:100]], 0, first)
        expect.pending(driver.provider.WSPRecv, s, [memory[100:]], 0, second)
        driver.send(c, b"first")
        expect.equal("the result of the first receive", driver.ended(s, first), (0, 5))
        changes = len(first.changes)
        memory[:100][:] = b"\xee" * 100
        driver.send(c, b"second")
        expect.equal("the result of the second receive", driver.ended(s, second), (0, 6))
        time.sleep(expect.QUIET)
        first.was_watched()
        expect.equal("changes of the first record", first.changes[changes:], [])
        expect.equal("the first buffer", bytes(memory[:100]), b"\xee" * 100)


@check("R-184")
def a_polled_request_may_have_an_event(driver: Driver) -> None:
    c, s = driver.pair()
    event = Event()
    received, _ = driver.recv(s, event=event)
    driver.send(c, b"data")
    expect.equal("the result of the receive", driver.finish(s, received), (0, 4))
    waiting, _ = driver.recv(s, event=event)
    call = Background(driver.provider.WSPGetOverlappedResult, s, waiting, True)
    driver.send(c, b"longer")
    expect.equal("what the waiting call returns", call.result(), 6)
    expect.true("the event to be left alone", waiting.hEvent is event and not event.is_set())
