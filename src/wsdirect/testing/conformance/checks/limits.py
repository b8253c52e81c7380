"""How long messages may be, and how many requests there may be: rules R-172 to R-177."""

from __future__ import annotations

import time

from wsdirect.spi.constants import (
    NEGOTIATION_MAX,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.overlapped import WSAOVERLAPPED
from wsdirect.testing import expect
from wsdirect.testing.conformance.checks.messages import DEPTH, LIMIT_TRIED
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver
from wsdirect.testing.expect import NotApplicable
from wsdirect.testing.faults import Fault
from wsdirect.testing.samples import sample

E = WsaErrorCode


@check("R-172", "T-45")
def a_message_may_have_the_longest_length_and_no_more(driver: Driver) -> None:
    c, s = driver.pair()
    limit = driver.message_limit(c)
    expect.true("a limit that a negotiation fits in", limit >= NEGOTIATION_MAX, f"it is {limit}")
    if limit > LIMIT_TRIED:
        raise NotApplicable(f"messages have practically no limit ({limit:#x} bytes)")
    source, target = driver.register(c, limit + 1), driver.register(s, limit + 1)
    source.view[:] = sample(7, limit + 1)
    received, _ = driver.recv(s, target.view)
    for parts in ([source.view], [source[:limit], source[limit:]]):
        overlapped = WSAOVERLAPPED(None, True)
        expect.error(E.WSAEMSGSIZE, driver.provider.WSPSend, c, parts, 0, overlapped)
        expect.true("the record not to be in progress", not overlapped.in_progress)
    expect.equal("whether something was sent", driver.poll(s, received), None)
    sent = driver.send(c, source[:limit])
    expect.equal("the result of the longest receive", driver.finish(s, received), (0, limit))
    expect.equal("the result of the longest send", driver.finish(c, sent), (0, limit))
    expect.true("the longest message as it was sent", target[:limit] == source[:limit])


@check("R-173")
def a_receive_that_is_too_small(driver: Driver) -> None:
    for polled in (True, False):
        c, s = driver.pair()
        memory = driver.register(s, 200)
        received, _ = driver.recv(s, memory[50:100], polled)
        later, _ = driver.recv(s, memory[100:200], polled)
        driver.send(c, b"!" * 51)
        code, _ = driver.ended(s, received)
        allowed = (E.WSAEMSGSIZE, E.WSAECONNABORTED)
        expect.true("the receive to fail with WSAEMSGSIZE", code in allowed, f"its code is {code}")
        around = bytes(memory[:50]) + bytes(memory[100:])
        expect.true("nothing outside the receive's buffer", not any(around), "there is")
        broken = (E.WSAECONNABORTED, E.WSAECONNRESET)
        code, _ = driver.ended(s, later)
        expect.true("the next receive to end with the connection", code in broken, str(code))
        part = memory[:10]
        for function in (driver.provider.WSPSend, driver.provider.WSPRecv):
            expect.error(broken, function, s, [part], 0, WSAOVERLAPPED(None, polled))


TOO_MANY = (E.WSAEWOULDBLOCK, E.WSAENOBUFS)


@check("R-174", "T-41")
def too_many_receives(driver: Driver) -> None:
    c, s = driver.pair()
    memory = driver.register(s, 100)
    posted: list[WSAOVERLAPPED] = []
    while len(posted) < 2000:
        overlapped = WSAOVERLAPPED(None, True)
        try:
            driver.provider.WSPRecv(s, [memory.view], 0, overlapped)
        except WSAError as error:
            expect.true("one receive too many to say so", error.winerror in TOO_MANY, error.name)
            expect.true("its record not to be in progress", not overlapped.in_progress)
            break
        posted.append(overlapped)
    count = len(posted)
    expect.true(f"at least {DEPTH} receives at once", count >= DEPTH, f"there were {count}")
    source = driver.register(c, 100)
    for number, overlapped in enumerate(posted[: 4 * DEPTH]):
        driver.send(c, source[: number + 1])
        expect.equal("the result of a receive", driver.finish(s, overlapped), (0, number + 1))
    expect.pending(driver.provider.WSPRecv, s, [memory.view], 0, WSAOVERLAPPED(None, True))


@check("R-174", "T-41")
def too_many_sends(driver: Driver) -> None:
    c, s = driver.pair()
    source = driver.register(c, 4096)
    sent: list[WSAOVERLAPPED] = []
    while len(sent) < 300:
        overlapped = WSAOVERLAPPED(None, True)
        length = 4000 + len(sent) % 90
        try:
            driver.provider.WSPSend(c, [source[:length]], 0, overlapped)
        except WSAError as error:
            expect.true("one send too many to say so", error.winerror in TOO_MANY, error.name)
            expect.true("its record not to be in progress", not overlapped.in_progress)
            break
        sent.append(overlapped)
    count = len(sent)
    expect.true(f"at least {DEPTH} sends at once", count >= DEPTH, f"there were {count}")
    target = driver.register(s, 4096)
    for number, overlapped in enumerate(sent):
        received, _ = driver.recv(s, target.view)
        wanted = (0, 4000 + number % 90)
        deadline = time.monotonic() + expect.PATIENCE
        while (result := driver.poll(s, received)) is None and time.monotonic() < deadline:
            driver.poll(c, sent[-1])  # the sender has to look, too, for sends to go on
        expect.equal(f"the result of receive {number}", result, wanted)
        expect.equal(f"the result of send {number}", driver.finish(c, overlapped), wanted)
    driver.alive(c, s)


@check("R-163", "R-174")
def no_room_for_requests(driver: Driver) -> None:
    c, s = driver.pair()
    memory = driver.register(c, 100)
    for function in (driver.provider.WSPSend, driver.provider.WSPRecv):
        overlapped = WSAOVERLAPPED(None, True)
        with driver.fault(Fault.NO_BUFFERS):
            code = expect.code(function, c, [memory.view], 0, overlapped)
        if not code:
            raise NotApplicable("requests need no room that could be missing")
        expect.true("a request without room to say so", code in TOO_MANY, f"code {code}")
        expect.true("the record not to be in progress", not overlapped.in_progress)
    driver.alive(c, s)


@check("R-175")
def many_receives_at_once(driver: Driver) -> None:
    c, s = driver.pair()
    receives = [driver.recv(s, 100, polled=number % 2 == 0) for number in range(DEPTH)]
    for number, (overlapped, view) in enumerate(receives):
        going_on = [other.in_progress for other, _ in receives[number:]]
        expect.true("all later receives to go on", all(going_on), f"{going_on}")
        driver.send(c, sample(number, number + 1))
        expect.equal("the result of a receive", driver.ended(s, overlapped), (0, number + 1))
        expect.equal("its message", bytes(view[: number + 1]), sample(number, number + 1))


@check("R-176")
def sends_and_receives_at_the_same_time(driver: Driver) -> None:
    c, s = driver.pair()
    receives = {end: [driver.recv(end, 2000) for _ in range(DEPTH)] for end in (c, s)}
    sends: dict[int, list[WSAOVERLAPPED]] = {c: [], s: []}
    for number in range(DEPTH):
        for end in (c, s):
            sends[end].append(driver.send(end, sample(number + end, 1500 + number)))
    for end, other in ((c, s), (s, c)):
        for number in range(DEPTH):
            overlapped, view = receives[end][number]
            wanted = sample(number + other, 1500 + number)
            result = (0, 1500 + number)
            expect.equal("the result of a receive", driver.finish(end, overlapped), result)
            expect.true("its message", bytes(view[: len(wanted)]) == wanted, "it differs")
            expect.equal("the result of a send", driver.finish(end, sends[end][number]), result)


@check("R-177", "T-18")
def messages_without_bytes(driver: Driver) -> None:
    c, s = driver.pair()
    outgoing = driver.register(c, bytearray(b"data"))
    for polled in (True, False):
        for nothing in ([outgoing[:0]], [outgoing[:0], outgoing[4:]]):
            first, _ = driver.recv(s, 100, polled)
            second, view = driver.recv(s, 100, polled)
            empty = WSAOVERLAPPED(None, polled)
            expect.pending(driver.provider.WSPSend, c, nothing, 0, empty)
            sent = driver.send(c, outgoing.view, polled)
            expect.equal("the result of the empty send", driver.ended(c, empty), (0, 0))
            expect.equal("the result of the empty receive", driver.ended(s, first), (0, 0))
            expect.equal("the result of the next send", driver.ended(c, sent), (0, 4))
            expect.equal("the result of the next receive", driver.ended(s, second), (0, 4))
            expect.equal("the next message", bytes(view[:4]), b"data")
