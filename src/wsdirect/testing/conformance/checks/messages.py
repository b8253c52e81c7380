"""Sends and receives: rules R-153 to R-165."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from wsdirect.spi.constants import (
    MEM_READ,
    MEM_WRITE,
    MSG_DONTROUTE,
    MSG_OOB,
    MSG_PARTIAL,
    NEGOTIATION_MAX,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.overlapped import WSAOVERLAPPED
from wsdirect.testing import expect
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver
from wsdirect.testing.processes import Child, Link
from wsdirect.testing.samples import sample

E = WsaErrorCode

MANY = 12
"""Receives that the switch keeps posted on a connection."""
DEPTH = 16
"""Requests of a kind that every provider can hold."""
LIMIT_TRIED = 64 << 20
"""Longest message or transfer that a check makes."""


# --- before the first receive --------------------------------------------------------------------


@check("R-153", "R-154", "R-155")
def early_messages_wait_for_receives(driver: Driver) -> None:
    c, s = driver.pair()
    early = [sample(number, length) for number, length in enumerate((NEGOTIATION_MAX, 1, 200))]
    sent = [driver.send(c, data) for data in early]
    driver.settle(c, *sent)
    receives = [driver.recv(s, NEGOTIATION_MAX) for _ in early]
    for number, (data, (overlapped, view)) in enumerate(zip(early, receives, strict=True), 1):
        what = f"early message {number}"
        expect.equal(f"the result of {what}", driver.finish(s, overlapped), (0, len(data)))
        expect.equal(what, bytes(view[: len(data)]), data)
    for overlapped in sent:
        expect.equal("the result of an early send", driver.finish(c, overlapped)[0], 0)
    driver.alive(c, s)


@check("T-50", "R-153", "R-154")
def first_message_comes_before_the_first_receive(driver: Driver) -> None:
    listener, port = driver.listener()
    begin = time.monotonic()
    waiting = []
    for number, delay in enumerate((0, 0.001, 0.01, 0.1, 2.0)):
        c, event, outcome = driver.connecting(port)
        s = driver.accept(listener)
        expect.equal("the outcome of the connect", driver.connected(c, event, outcome), 0)
        answer, view = driver.recv(c)
        driver.send(c, sample(number, NEGOTIATION_MAX), polled=number % 2 == 0)
        waiting.append((time.monotonic() + delay, number, c, s, answer, view))
    for when, number, c, s, answer, view in waiting:
        time.sleep(max(when - time.monotonic(), 0))
        after = f"after {time.monotonic() - begin:.3f} s"
        received, got = driver.recv(s, NEGOTIATION_MAX, polled=number % 2 == 1)
        expect.equal(f"the result {after}", driver.ended(s, received), (0, NEGOTIATION_MAX))
        expect.equal(f"the message {after}", bytes(got), sample(number, NEGOTIATION_MAX))
        driver.send(s, b"answer")
        expect.equal("the result of the answer", driver.finish(c, answer), (0, 6))
        expect.equal("the answer", bytes(view[:6]), b"answer")


@check("R-155", "R-156")
def early_messages_come_before_newer_ones(driver: Driver) -> None:
    c, s = driver.pair()
    driver.settle(c, driver.send(c, b"early"))
    first, one = driver.recv(s)
    second, two = driver.recv(s)
    driver.send(c, b"newer")
    expect.equal("the result of the early message", driver.finish(s, first), (0, 5))
    expect.equal("the result of the newer message", driver.finish(s, second), (0, 5))
    expect.equal("the messages", (bytes(one[:5]), bytes(two[:5])), (b"early", b"newer"))
    size = min(driver.message_limit(c), 1 << 16)
    expect.equal("a long message later", driver.transfer(c, s, sample(1, size)), sample(1, size))


@check("R-153", "R-154", start=False)
def an_early_message_of_another_process(driver: Driver) -> None:
    driver.subject.two_processes()

    def connect(link: Link) -> None:
        with Driver(driver.subject) as other:
            host, port = link.get()
            c, outcome = other.connect(port, host=host)
            expect.equal("the outcome of the connect", outcome, 0)
            answer, view = other.recv(c, 100)
            sent = other.send(c, sample(1, NEGOTIATION_MAX))
            expect.equal("the result of the answer", other.finish(c, answer), (0, 6))
            expect.equal("the answer", bytes(view[:6]), b"answer")
            expect.equal("the result of the send", other.finish(c, sent), (0, NEGOTIATION_MAX))
            link.put("answered")

    with Child(connect) as child:
        driver.start()
        listener, port = driver.listener()
        child.link.put((driver.host, port))
        s = driver.accept(listener)
        time.sleep(0.1)
        received, view = driver.recv(s, NEGOTIATION_MAX)
        expect.equal("the result of the receive", driver.finish(s, received), (0, NEGOTIATION_MAX))
        expect.equal("the message", bytes(view), sample(1, NEGOTIATION_MAX))
        driver.send(s, b"answer")
        child.link.get()


# --- the stream of messages ----------------------------------------------------------------------


def exchange(driver: Driver, c: int, s: int, count: int, longest: int, polled: bool) -> None:
    """Send messages of many lengths while receives are posted, and compare all of them."""
    lengths = [(number * 997) % longest + 1 for number in range(count)]
    outgoing = driver.register(c, longest * MANY, MEM_READ)
    incoming = driver.register(s, longest * MANY, MEM_WRITE)
    receives: list[WSAOVERLAPPED] = []
    sends: list[WSAOVERLAPPED] = []

    def post(number: int) -> None:
        place = number % MANY * longest
        received, _ = driver.recv(s, incoming[place : place + longest], polled)
        receives.append(received)

    def send(number: int) -> None:
        place = number % MANY * longest
        part = outgoing[place : place + lengths[number]]
        part[:] = sample(number, lengths[number])
        sends.append(driver.send(c, part, polled))

    for number in range(MANY):
        post(number)
    for number in range(MANY):
        send(number)
    for number, length in enumerate(lengths):
        expect.equal(
            f"the result of message {number}", driver.ended(s, receives[number]), (0, length)
        )
        place = number % MANY * longest
        got = bytes(incoming[place : place + length])
        expect.true(f"message {number} as it was sent", got == sample(number, length), "it differs")
        expect.equal(f"the result of send {number}", driver.ended(c, sends[number]), (0, length))
        if number + MANY < count:
            post(number + MANY)
            send(number + MANY)


@check("R-157", "R-158", "R-159")
def polled_messages_arrive_complete_and_in_order(driver: Driver) -> None:
    c, s = driver.pair()
    exchange(driver, c, s, 150, 5000, polled=True)
    exchange(driver, s, c, 50, 5000, polled=True)


@check("R-157", "R-158", "R-159")
def notified_messages_arrive_complete_and_in_order(driver: Driver) -> None:
    c, s = driver.pair()
    exchange(driver, c, s, 80, 5000, polled=False)
    exchange(driver, s, c, 40, 5000, polled=False)


@check("R-157", start=False)
def messages_between_two_processes(driver: Driver) -> None:
    driver.subject.two_processes()
    longest, count = 3000, 60

    def echo(link: Link) -> None:
        with Driver(driver.subject) as other:
            listener, port = other.listener()
            link.put((other.host, port))
            s = other.accept(listener)
            memory = other.register(s, longest)
            for _ in range(count):
                received, _ = other.recv(s, memory.view)
                code, length = other.finish(s, received)
                expect.equal("the result of a receive", code, 0)
                sent = other.send(s, memory[:length])
                expect.equal("the result of a send", other.finish(s, sent), (0, length))
            link.get()

    with Child(echo) as child:
        driver.start()
        host, port = child.link.get()
        c, outcome = driver.connect(port, host=host)
        expect.equal("the outcome of the connect", outcome, 0)
        incoming, outgoing = driver.register(c, longest), driver.register(c, longest)
        for number in range(count):
            data = sample(number, number * 97 % longest + 1)
            polled = number % 2 == 0
            outgoing[: len(data)][:] = data
            received, _ = driver.recv(c, incoming.view, polled)
            sent = driver.send(c, outgoing[: len(data)], polled)
            expect.equal("the result of a send", driver.ended(c, sent), (0, len(data)))
            expect.equal("the result of a receive", driver.ended(c, received), (0, len(data)))
            expect.equal("the echo", bytes(incoming[: len(data)]), data)
        child.link.put("done")


@check("R-158")
def boundaries_are_kept(driver: Driver) -> None:
    c, s = driver.pair()
    first, one = driver.recv(s, 100)
    second, two = driver.recv(s, 100)
    driver.send(c, b"one")
    driver.send(c, b"three")
    expect.equal("the first message's result", driver.finish(s, first), (0, 3))
    expect.equal("the second message's result", driver.finish(s, second), (0, 5))
    expect.equal("the messages", (bytes(one[:3]), bytes(two[:5])), (b"one", b"three"))


@check("R-159")
def receives_are_served_in_the_order_of_posting(driver: Driver) -> None:
    c, s = driver.pair()
    receives = [driver.recv(s, 100, polled=number % 3 != 0) for number in range(MANY)]
    for number in range(MANY):
        driver.send(c, bytes([number + 1] * (number + 1)))
    for number, (overlapped, view) in reversed(list(enumerate(receives))):
        expect.equal(f"result {number}", driver.ended(s, overlapped), (0, number + 1))
        expect.equal(f"message {number}", set(view[: number + 1]), {number + 1})
    announced = [
        arguments[1] for name, arguments, _ in driver.switch.made if name.startswith("WPUComplete")
    ]
    wanted = [overlapped for overlapped, _ in receives[::3]]
    expect.true("announcements in the order of posting", announced == wanted)


@check("R-160")
def a_record_is_all_that_a_request_needs(driver: Driver) -> None:
    c, s = driver.pair()
    for polled in (True, False):
        received, _ = driver.recv(s, polled=polled)
        sent = driver.send(c, b"data", polled)
        expect.equal("the result of the send", driver.ended(c, sent), (0, 4))
        expect.equal("the result of the receive", driver.ended(s, received), (0, 4))
    expect.equal("the number of asynchronous procedure calls", driver.switch.run_apcs(), 0)


@check("R-161", timeout=10)
def data_calls_do_not_wait(driver: Driver) -> None:
    _, s = driver.pair()
    memory = driver.register(s, 4096)
    for polled in (True, False):
        overlapped = WSAOVERLAPPED(None, polled)
        result = expect.succeeds(driver.provider.WSPRecv, s, [memory.view], 0, overlapped)
        expect.equal("what a receive returns while no message is there", result, None)
        expect.true("the request to be in progress", overlapped.in_progress)
    size = min(driver.message_limit(s), 1 << 16)
    part = driver.register(s, size).view
    for _ in range(DEPTH):  # more than fits anywhere, and nobody receives them
        try:
            driver.provider.WSPSend(s, [part], 0, WSAOVERLAPPED(None, True))
        except WSAError as error:
            allowed = (E.WSAEWOULDBLOCK, E.WSAENOBUFS)
            expect.true("only too many sends to fail", error.winerror in allowed, error.name)
            break


@check("R-162")
def a_count_means_that_it_is_finished(driver: Driver) -> None:
    c, s = driver.pair()
    incoming = driver.register(s, 100)
    outgoing = driver.register(c, bytearray(b"x" * 60))
    for polled in (True, False):
        # The message is there before the receive, so that it could be finished at once.
        sent = WSAOVERLAPPED(None, polled)
        result = expect.succeeds(driver.provider.WSPSend, c, [outgoing.view], 0, sent)
        expect.true("WSPSend to return None or 60", result in (None, 60), f"it is {result!r}")
        done = result is None or not sent.in_progress
        expect.true("the send to have finished when there is a count", done, "it goes on")
        driver.settle(c, sent)
        received = WSAOVERLAPPED(None, polled)
        result = expect.succeeds(driver.provider.WSPRecv, s, [incoming.view], 0, received)
        expect.true("WSPRecv to return None or 60", result in (None, 60), f"it is {result!r}")
        if result is None:
            expect.equal("the result of the receive", driver.ended(s, received), (0, 60))
        expect.true("the receive to have finished when there is a count", not received.in_progress)
        expect.equal("the message", bytes(incoming[:60]), b"x" * 60)
        incoming[:60][:] = bytes(60)
        if not polled:
            time.sleep(0.01)
            times = len(driver.switch.completions(received))
            expect.equal("the number of announcements", times, int(result is None))


# --- requests that fail at once ------------------------------------------------------------------


def wrong_requests(driver: Driver, s: int) -> list[tuple[Callable[..., Any], Any, int]]:
    """Calls, buffers and flags that cannot be accepted on a connected socket."""
    send, receive = driver.provider.WSPSend, driver.provider.WSPRecv
    memory = driver.register(s, 64).view
    unknown = bytearray(64)
    wrong: list[tuple[Callable[..., Any], Any, int]] = [
        (send, [unknown], 0),
        (receive, [unknown], 0),
        (send, [memory], MSG_OOB),
        (send, [memory, unknown], 0),
    ]
    limit = driver.message_limit(s)
    if limit < LIMIT_TRIED:
        wrong.append((send, [driver.register(s, limit + 1).view], 0))
    return wrong


@check("R-163", "T-42")
def a_call_that_fails_starts_nothing(driver: Driver) -> None:
    c, s = driver.pair()
    for polled in (True, False):
        for function, buffers, flags in wrong_requests(driver, c):
            overlapped = WSAOVERLAPPED(None, polled)
            try:
                function(c, buffers, flags, overlapped)
            except WSAError:
                pass
            else:
                expect.fail(f"{function.__name__} to fail", "it did not")
            expect.true("the record not to be in progress", not overlapped.in_progress)
            time.sleep(0.002)
            expect.equal("announcements", driver.switch.completions(overlapped), [])
            # The record is free, and nothing was sent before this.
            received, view = driver.recv(s, 100)
            part = driver.register(c, bytearray(b"good")).view
            expect.pending(driver.provider.WSPSend, c, [part], 0, overlapped)
            expect.equal("the good send's result", driver.ended(c, overlapped), (0, 4))
            expect.equal("the good receive's result", driver.finish(s, received), (0, 4))
            expect.equal("the message", bytes(view[:4]), b"good")


@check("R-163")
def a_record_in_use_is_refused(driver: Driver) -> None:
    c, s = driver.pair()
    received, view = driver.recv(s)
    other = driver.register(s, 10).view
    expect.error(E.WSAEINVAL, driver.provider.WSPRecv, s, [other], 0, received)
    driver.send(c, b"first")
    expect.equal("the result of the first receive", driver.finish(s, received), (0, 5))
    expect.equal("its message", bytes(view[:5]), b"first")


@check("R-164")
def a_send_without_flags(driver: Driver) -> None:
    c, s = driver.pair()
    received, view = driver.recv(s)
    sent = driver.send(c, b"urgent")
    expect.equal("the result of the receive", driver.finish(s, received), (0, 6))
    expect.equal("the message", bytes(view[:6]), b"urgent")
    expect.equal("the resulting flags", (sent.Offset, received.Offset), (0, 0))


@check("R-165")
def flags_of_a_send_are_refused(driver: Driver) -> None:
    c, s = driver.pair()
    part = driver.register(c, 10).view
    for flags in (MSG_OOB, MSG_DONTROUTE, MSG_PARTIAL, 0x40000000):
        expect.error(
            E.WSAEOPNOTSUPP, driver.provider.WSPSend, c, [part], flags, WSAOVERLAPPED(None, True)
        )
    driver.alive(c, s)
