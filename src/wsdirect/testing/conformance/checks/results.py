"""WSPGetOverlappedResult: rules R-185 to R-192."""

from __future__ import annotations

import signal
import threading
import time

from wsdirect.spi.constants import INVALID_SOCKET
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.overlapped import WSAOVERLAPPED, Event
from wsdirect.testing import expect
from wsdirect.testing.background import Background
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver
from wsdirect.testing.expect import NotApplicable
from wsdirect.testing.faults import Fault

E = WsaErrorCode


# --- one thread ----------------------------------------------------------------------------------


@check("R-185", "R-191", "T-02")
def no_count_while_the_request_goes_on(driver: Driver) -> None:
    c, s = driver.pair()
    result = driver.provider.WSPGetOverlappedResult
    for polled in (True, False):
        received, _ = driver.recv(s, polled=polled)
        for _ in range(100):
            expect.equal("the result of a pending receive",
                         expect.succeeds(result, s, received, False), None)  # fmt: skip
        driver.send(c, b"end")
        expect.equal("the result of the receive", driver.ended(s, received), (0, 3))
    failing, _ = driver.recv(s)
    driver.provider.WSPCloseSocket(c)
    driver.finish(s, failing)
    lost = (E.WSAECONNRESET, E.WSAECONNABORTED)
    expect.error(lost, result, s, failing, False)


@check("R-186", "T-03")
def waiting_for_the_end(driver: Driver) -> None:
    c, s = driver.pair()
    kinds: list[tuple[bool, Event | None]] = [
        (True, None), (True, Event()), (False, None), (False, Event()),
    ]  # fmt: skip
    for polled, event in kinds:
        received, view = driver.recv(s, polled=polled, event=event)
        call = Background(driver.provider.WSPGetOverlappedResult, s, received, True)
        time.sleep(0.05)
        expect.true("the call to wait", call.running, "it returned at once")
        driver.send(c, b"awaited")
        expect.equal("what the waiting call returns", call.result(), 7)
        expect.equal("the message", bytes(view[:7]), b"awaited")
        sent = driver.send(c, b"x", polled=polled, event=event)
        driver.recv(s)
        call = Background(driver.provider.WSPGetOverlappedResult, c, sent, True)
        expect.equal("what waiting for a send returns", call.result(), 1)


@check("R-186", "R-188")
def waiting_for_a_failure(driver: Driver) -> None:
    for polled in (True, False):
        c, s = driver.pair()
        received, _ = driver.recv(s, polled=polled)
        call = Background(driver.provider.WSPGetOverlappedResult, s, received, True)
        time.sleep(0.02)
        driver.provider.WSPCloseSocket(c)
        expect.error(E.WSAECONNRESET, call.result)


class Interruption(Exception):
    """What a signal's handler raises."""


@check("R-186")
def waiting_goes_on_after_signals(driver: Driver) -> None:
    c, s = driver.pair()
    came: list[int] = []
    signal.signal(signal.SIGALRM, lambda number, frame: came.append(number))
    received, _ = driver.recv(s)
    source = driver.register(c, 10).view

    def send_later() -> None:
        expect.eventually("the signals to come", lambda: len(came) > 5)
        driver.send(c, source)

    sender = Background(send_later)
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    try:
        count = driver.provider.WSPGetOverlappedResult(s, received, True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    expect.equal("what the waiting call returns", count, 10)
    sender.result()


@check("R-186", "R-271")
def an_exception_of_a_signal_ends_waiting(driver: Driver) -> None:
    c, s = driver.pair()

    def interrupt(number: int, frame: object) -> None:
        raise Interruption

    signal.signal(signal.SIGALRM, interrupt)
    for polled in (True, False):
        received, _ = driver.recv(s, polled=polled)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            driver.provider.WSPGetOverlappedResult(s, received, True)
        except Interruption:
            pass
        else:
            expect.fail("the exception to come out of the waiting call", "the call returned")
        # No lock is left behind, and the request goes on.
        expect.promptly(driver.send, c, b"later")
        expect.equal("the result of the receive", driver.ended(s, received), (0, 5))


@check("R-186")
def waiting_ends_when_the_socket_is_closed(driver: Driver) -> None:
    for polled in (True, False):
        _, s = driver.pair()
        received, _ = driver.recv(s, polled=polled)
        call = Background(driver.provider.WSPGetOverlappedResult, s, received, True)
        time.sleep(0.02)
        driver.provider.WSPCloseSocket(s)
        expect.error((E.WSA_OPERATION_ABORTED, E.WSAENOTSOCK), call.result)


@check("R-187", "R-192")
def a_result_can_be_read_again(driver: Driver) -> None:
    c, s = driver.pair()
    for polled in (True, False):
        received, _ = driver.recv(s, polled=polled)
        sent = driver.send(c, b"twelve bytes", polled)
        expect.equal("the result of the send", driver.ended(c, sent), (0, 12))
        expect.equal("the result of the receive", driver.ended(s, received), (0, 12))
        for wait in (False, True, False):
            for end, overlapped in ((c, sent), (s, received)):
                again = expect.succeeds(
                    driver.provider.WSPGetOverlappedResult, end, overlapped, wait
                )
                expect.equal("the count when read again", again, 12)
                expect.equal("the resulting flags", overlapped.Offset, 0)
    failing, _ = driver.recv(s)
    driver.provider.WSPCloseSocket(c)
    first = driver.finish(s, failing)
    expect.equal("the failure when read again", driver.poll(s, failing), first)


@check("R-188")
def the_error_of_the_request(driver: Driver) -> None:
    c, s = driver.pair()
    for polled in (True, False):
        short, _ = driver.recv(s, 4, polled)
        driver.send(c, b"too long")
        code, _ = driver.ended(s, short)
        allowed = (E.WSAEMSGSIZE, E.WSAECONNABORTED)
        expect.true("the request to have failed", code in allowed, f"its code is {code}")
        expect.equal("the code when asked for", driver.poll(s, short), (code, 0))
        expect.equal("OffsetHigh of the record", short.OffsetHigh, code)
        c, s = driver.pair()


@check("R-188")
def a_connection_that_breaks(driver: Driver) -> None:
    c, s = driver.pair()
    memory = {end: driver.register(end, 100) for end in (c, s)}
    requests = [(end, driver.recv(end, memory[end].view, polled)[0])
                for end in (c, s) for polled in (True, False)]  # fmt: skip
    lost = (E.WSAECONNABORTED, E.WSAECONNRESET)
    with driver.fault(Fault.DROP):
        sent = driver.send(c, memory[c][:10])
        codes = {c: driver.finish(c, sent)[0]}
        for end, overlapped in requests:
            codes.setdefault(end, driver.ended(end, overlapped)[0])
            expect.equal("the result", driver.ended(end, overlapped), (codes[end], 0))
            expect.true("a request to end with the connection", codes[end] in lost)
    for end in (c, s):  # the connection does not come back
        for function in (driver.provider.WSPSend, driver.provider.WSPRecv):
            overlapped = WSAOVERLAPPED(None, True)
            expect.error(codes[end], function, end, [memory[end].view], 0, overlapped)


@check("R-161", "R-182", "R-185", "R-203")
def a_network_that_takes_its_time(driver: Driver) -> None:
    c, s = driver.pair()
    source, target = driver.register(c, bytearray(b"later")), driver.register(s, 100)
    call = driver.provider.WSPDeregisterMemory
    with driver.fault(Fault.DELAY):
        received, _ = driver.recv(s, target.view, polled=False)
        sends = [driver.send(c, source.view, polled) for polled in (True, False)]
        driver.settle(c, *sends)
        if not all(overlapped.in_progress for overlapped in sends):
            raise NotApplicable("sends are finished at once whatever the network does")
        expect.equal("the result of a send", driver.poll(c, sends[0]), None)
        expect.error(E.WSAEINVAL, call, c, source.handle)
        expect.error(E.WSAEINVAL, call, s, target.handle)
    expect.equal("the announcement of the receive", driver.ended(s, received), (0, 5))
    driver.recv(s, 100)
    for overlapped in sends:
        expect.equal("the result of a send", driver.ended(c, overlapped), (0, 5))
    expect.succeeds(call, c, source.handle)
    expect.succeeds(call, s, target.handle)


@check("R-189")
def results_of_sends_and_receives(driver: Driver) -> None:
    c, s = driver.pair()
    for polled in (True, False):
        received, _ = driver.recv(s, polled=polled)
        sent = driver.send(c, b"data", polled)
        for end, overlapped in ((c, sent), (s, received)):
            # asked for again and again, as the switch does; that is what makes it progress
            expect.equal("the result", driver.finish(end, overlapped), (0, 4))


@check("R-190", "T-01")
def results_of_sockets_that_are_none(driver: Driver) -> None:
    c, s = driver.pair()
    received, _ = driver.recv(s)
    driver.send(c, b"data")
    driver.finish(s, received)
    driver.provider.WSPCloseSocket(s)
    for descriptor in (INVALID_SOCKET, s, 0, 0x7FFFFFF0):
        for wait in (False, True):
            for overlapped in (received, WSAOVERLAPPED(None, True)):
                expect.error(
                    E.WSAENOTSOCK,
                    driver.provider.WSPGetOverlappedResult,
                    descriptor,
                    overlapped,
                    wait,
                )


@check("R-190")
def a_record_that_is_none(driver: Driver) -> None:
    _, s = driver.pair()
    for nothing in (None, 0, "record", object()):
        expect.error(
            (E.WSAEINVAL, E.WSAEFAULT), driver.provider.WSPGetOverlappedResult, s, nothing, False
        )


@check("R-190")
def waiting_with_a_closed_event(driver: Driver) -> None:
    c, s = driver.pair()
    event = Event()
    received, _ = driver.recv(s, event=event)
    event.close()
    call = Background(driver.provider.WSPGetOverlappedResult, s, received, True)
    time.sleep(0.02)
    driver.send(c, b"data")
    try:
        count = call.result()
    except WSAError as error:
        expect.equal("the code of waiting with a closed event", error.winerror,
                     E.WSA_INVALID_HANDLE)  # fmt: skip
    else:  # a provider that needs no event to wait
        expect.equal("what the waiting call returns", count, 4)
    driver.alive(c, s)


# --- several threads -----------------------------------------------------------------------------
@check("T-17", "R-159")
def announcements_keep_their_order_among_threads(driver: Driver) -> None:
    c, s, _, s_handle = driver.pair_and_handles()
    count = 60
    order: list[int] = []
    inside: list[int] = []
    overlaps: list[str] = []
    numbers: dict[int, int] = {}

    def told(handle: int, overlapped: WSAOVERLAPPED, error: int, transferred: int) -> None:
        if handle != s_handle:
            return
        inside.append(1)
        if len(inside) > 1:
            overlaps.append(f"two at a time at {numbers[id(overlapped)]}")
        time.sleep(0.0003)
        order.append(numbers[id(overlapped)])
        inside.pop()

    driver.switch.on_completion = told
    target, source = driver.register(s, 64), driver.register(c, 64)
    receives = []
    for number in range(count):
        overlapped = WSAOVERLAPPED(None, number % 4 == 3)
        numbers[id(overlapped)] = number
        receives.append(overlapped)
    waiting = iter(receives)
    stop = threading.Event()

    def look(which: int) -> None:  # who polls may come upon what is to be announced
        while not stop.is_set():
            for overlapped in receives[which::8]:
                if overlapped.in_progress:
                    driver.poll(s, overlapped)
            time.sleep(0)

    def post() -> None:
        overlapped = next(waiting, None)
        if overlapped is not None:
            expect.pending(driver.provider.WSPRecv, s, [target.view], 0, overlapped)

    for _ in range(16):
        post()
    threads = [Background(look, 3), Background(look, 7)]  # each has polled requests of its own
    for number in range(0, count, 6):
        burst = [driver.send(c, source[: one + 1]) for one in range(number, number + 6)]
        for sent in burst:
            driver.finish(c, sent)
        for _ in burst:
            post()
        if number:
            driver.ended(s, receives[number - 1])
    for number, overlapped in enumerate(receives):
        expect.equal("the result of a receive", driver.ended(s, overlapped), (0, number + 1))
    wanted = [number for number in range(count) if number % 4 != 3]
    expect.eventually("all announcements to be made", lambda: len(order) == len(wanted))
    stop.set()
    for thread in threads:
        thread.result()
    expect.equal("the order of the announcements", order, wanted)
    expect.true("one announcement at a time", not overlaps, "; ".join(overlaps[:3]))


@check("T-44", "R-192")
def a_result_is_never_that_of_another_request(driver: Driver) -> None:
    c, s = driver.pair()
    count, rounds = 4, 50
    targets = [driver.register(s, 600) for _ in range(count)]
    records = [WSAOVERLAPPED(None, True) for _ in range(count)]
    source = driver.register(c, 600)
    for number in range(rounds):
        # The same records again and again, and everybody looks at all of them.
        for record, target in zip(records, targets, strict=True):
            expect.pending(driver.provider.WSPRecv, s, [target.view], 0, record)

        def look(first: int) -> dict[int, tuple[int, int]]:
            found: dict[int, tuple[int, int]] = {}
            while len(found) < count:
                for index in range(first, first + count):
                    which = index % count
                    if which not in found:
                        result = driver.poll(s, records[which])
                        if result is not None:
                            found[which] = result
            return found

        threads = [Background(look, first) for first in (0, 2)]
        for index in range(count):
            length = (number * count + index) % 599 + 1
            sent = driver.send(c, source[:length])
            driver.finish(c, sent)
        wanted = {index: (0, (number * count + index) % 599 + 1) for index in range(count)}
        for thread in threads:
            expect.equal("the results", dict(sorted(thread.result().items())), wanted)
