"""Several threads, locks, handles, and what is used up: R-270 to R-272 and T-51."""

from __future__ import annotations

import gc
import resource
import threading
import time
from collections.abc import Callable
from typing import Any

from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.overlapped import WSAOVERLAPPED
from wsdirect.testing import expect
from wsdirect.testing.background import Background
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver, nothing_left, resources
from wsdirect.testing.processes import Child, Link

E = WsaErrorCode


# --- handles and locks --------------------------------------------------------------------------


@check("R-270")
def upcalls_are_given_handles_of_the_switch(driver: Driver) -> None:
    for _ in range(3):
        listener, port = driver.listener()
        c, event, outcome = driver.connecting(port)
        s = driver.accept(listener)
        driver.connected(c, event, outcome)
        for end in (c, s):
            driver.recv(end, polled=False)
        sent = driver.send(c, b"data", polled=False)
        driver.announced(sent)
        for end in (s, c, listener):
            driver.provider.WSPCloseSocket(end)
    made = {arguments[0] for name, arguments, _ in driver.switch.made if name == "handle"}
    for name, arguments, _ in driver.switch.made:
        if name not in ("handle", "WPUCreateSocketHandle"):
            known = arguments[0] in made
            expect.true(f"{name} to get a handle of the switch", known, f"it got {arguments[0]}")


def from_another_thread(*calls: Callable[[], Any]) -> list[str]:
    """Make calls in a thread of its own, as a lock that this one holds would show there.

    Returns:
        What was wrong.
    """
    problems = []
    for call in calls:
        try:
            expect.promptly(call)
        except (WSAError, expect.Deviation) as problem:
            problems.append(str(problem))
    return problems


@check("R-271")
def no_lock_is_held_while_a_completion_is_told(driver: Driver) -> None:
    c, s = driver.pair()
    target, source = driver.register(s, 100), driver.register(c, 100)
    problems: list[str] = []
    told_about: list[WSAOVERLAPPED] = []
    later = WSAOVERLAPPED(None, True)

    def told(handle: int, overlapped: WSAOVERLAPPED, error: int, count: int) -> None:
        if overlapped is not first:
            return
        problems.extend(
            from_another_thread(
                lambda: driver.provider.WSPRecv(s, [target.view], 0, later),
                lambda: driver.provider.WSPSend(c, [source.view], 0, WSAOVERLAPPED(None, True)),
                lambda: driver.poll(s, later),
                lambda: driver.message_limit(s),
                lambda: driver.provider.WSPCloseSocket(driver.socket()),
                lambda: driver.register(s, 10),
            )
        )
        told_about.append(overlapped)

    driver.switch.on_completion = told
    first, _ = driver.recv(s, 100, polled=False)
    driver.send(c, source.view)
    expect.eventually("the upcall to end", lambda: told_about, "it did not", 3 * expect.PATIENCE)
    expect.true("calls during an upcall to come back", not problems, "; ".join(problems))
    expect.equal("the result of the later receive", driver.finish(s, later), (0, 100))


@check("R-271")
def requests_are_made_within_a_completion(driver: Driver) -> None:
    c, s = driver.pair()
    target, source = driver.register(s, 8), driver.register(s, 8)
    rounds = 50
    answers: list[int] = []
    failures: list[str] = []
    finished = threading.Event()

    def told(handle: int, overlapped: WSAOVERLAPPED, error: int, count: int) -> None:
        # The usual thing: post the receive again, answer, look how other requests are doing.
        if overlapped is not received:
            return
        try:
            answers.append(count)
            source.view[:] = target.view
            if len(answers) == rounds:
                finished.set()
            else:
                driver.provider.WSPRecv(s, [target.view], 0, received)
            answer = WSAOVERLAPPED(None, len(answers) % 2 == 0)
            driver.provider.WSPSend(s, [source.view], 0, answer)
            driver.poll(s, answer)
        except Exception as error:
            failures.append(repr(error))
            finished.set()

    driver.switch.on_completion = told
    received = WSAOVERLAPPED()
    expect.pending(driver.provider.WSPRecv, s, [target.view], 0, received)
    incoming, outgoing = driver.register(c, 8), driver.register(c, 8)
    for number in range(rounds):
        outgoing.view[:] = number.to_bytes(8, "little")
        got, _ = driver.recv(c, incoming.view)
        sent = driver.send(c, outgoing.view)
        expect.true("no call in an upcall to fail", not failures, "; ".join(failures))
        expect.equal("the result of the send", driver.finish(c, sent), (0, 8))
        expect.equal("the result of the answer", driver.finish(c, got), (0, 8))
        expect.equal("the answer", int.from_bytes(incoming.view, "little"), number)
    expect.true("the last receive to be told", finished.wait(expect.PATIENCE))
    expect.true("no call in an upcall to fail", not failures, "; ".join(failures))


@check("R-271")
def no_lock_is_held_while_a_request_is_judged(driver: Driver) -> None:
    listener, port = driver.listener()
    a, b = driver.pair()
    problems: list[str] = []
    c, event, outcome = driver.connecting(port)

    def judge(request: object) -> int:
        problems.extend(
            from_another_thread(
                lambda: driver.alive(a, b),
                lambda: driver.message_limit(listener),
                lambda: driver.provider.WSPCloseSocket(driver.bound()),
                lambda: driver.provider.WSPListen(listener, 16),
                lambda: driver.pair(),
            )
        )
        return 0

    s = driver.accept(listener, judge)
    expect.equal("the outcome of the connect", driver.connected(c, event, outcome), 0)
    expect.true("calls meanwhile to come back", not problems, "; ".join(problems))
    driver.alive(c, s)


# --- several threads ----------------------------------------------------------------------------


@check("R-272")
def threads_with_connections_of_their_own(driver: Driver) -> None:
    def work(seed: int) -> None:
        for number in range(3):
            c, s = driver.pair()
            for length in (1, 1000, 20 + seed):
                data = bytes([seed + 1]) * length
                expect.true("one's own data", driver.transfer(c, s, data) == data)
                expect.true("one's own data", driver.transfer(s, c, data) == data)
            ends = (c, s) if number % 2 else (s, c)
            for end in ends:
                driver.provider.WSPCloseSocket(end)

    driver.alive(*driver.pair())
    for thread in [Background(work, seed) for seed in range(4)]:
        thread.result()


@check("R-272")
def threads_share_a_connection(driver: Driver) -> None:
    c, s = driver.pair()
    count = 100

    def send(source: int) -> None:
        memory = driver.register(source, 64)
        for number in range(count):
            while True:
                sent = WSAOVERLAPPED(None, number % 2 == 0)
                memory.view[:8] = number.to_bytes(8, "little")
                try:
                    driver.provider.WSPSend(source, [memory.view], 0, sent)
                    break
                except WSAError as error:
                    if error.winerror not in (E.WSAEWOULDBLOCK, E.WSAENOBUFS):
                        raise
                    time.sleep(0.001)
            expect.equal("the result of a send", driver.ended(source, sent), (0, 64))

    def receive(target: int) -> None:
        memory = driver.register(target, 64)
        for number in range(count):
            received, _ = driver.recv(target, memory.view, polled=number % 3 == 0)
            expect.equal("the result of a receive", driver.ended(target, received), (0, 64))
            expect.equal("the message", int.from_bytes(memory[:8], "little"), number)

    work = [(receive, c), (receive, s), (send, c), (send, s)]
    for thread in [Background(function, end) for function, end in work]:
        thread.result()


@check("R-272")
def several_threads_send_on_one_socket(driver: Driver) -> None:
    c, s = driver.pair()
    count = 40
    memory = driver.register(s, 4 * count * 16)
    receives: list[WSAOVERLAPPED] = []

    def send(seed: int) -> None:
        source = driver.register(c, 16)
        for number in range(count):
            source.view[:] = bytes([seed, number]) * 8
            sent = driver.send(c, source.view, polled=number % 2 == 0)
            expect.equal("the result of a send", driver.ended(c, sent), (0, 16))

    def post() -> None:
        place = len(receives) * 16
        receives.append(driver.recv(s, memory[place : place + 16])[0])

    for _ in range(16):
        post()
    threads = [Background(send, seed) for seed in range(4)]
    found: list[tuple[int, int]] = []
    for number in range(4 * count):
        expect.equal("the result of a receive", driver.finish(s, receives[number]), (0, 16))
        got = bytes(memory[number * 16 : number * 16 + 16])
        expect.equal("a message that is of one piece", got, got[:2] * 8)
        found.append((got[0], got[1]))
        if len(receives) < 4 * count:
            post()
    for thread in threads:
        thread.result()
    for seed in range(4):
        order = [number for sender, number in found if sender == seed]
        expect.equal("a thread's messages", order, list(range(count)))


@check("R-272")
def several_threads_close_one_socket(driver: Driver) -> None:
    for _ in range(10):
        c, s, handle, _ = driver.pair_and_handles()
        driver.recv(c, polled=False)
        barrier = threading.Barrier(3)

        def close(end: int, barrier: threading.Barrier = barrier) -> int:
            barrier.wait(expect.PATIENCE)
            return expect.code(driver.provider.WSPCloseSocket, end)

        codes = sorted(thread.result() for thread in [Background(close, c) for _ in range(3)])
        wanted = [0, int(E.WSAENOTSOCK), int(E.WSAENOTSOCK)]
        expect.equal("the codes of three closes", codes, wanted)
        expect.equal("closes of the handle", driver.switch.closed(handle), 1)
        driver.provider.WSPCloseSocket(s)


@check("R-272")
def a_socket_is_closed_while_others_use_it(driver: Driver) -> None:
    for _ in range(5):
        c, s = driver.pair()
        memory = {end: driver.register(end, 100) for end in (c, s)}
        requests: list[WSAOVERLAPPED] = []

        def use(function: Any, end: int, memory: Any = memory, requests: Any = requests) -> None:
            for number in range(5000):
                overlapped = WSAOVERLAPPED(None, number % 2 == 0)
                try:
                    function(end, [memory[end].view], 0, overlapped)
                    requests.append(overlapped)
                    driver.provider.WSPGetOverlappedResult(end, overlapped, False)
                except WSAError as error:
                    if error.winerror not in (E.WSAEWOULDBLOCK, E.WSAENOBUFS):
                        return

        threads = [
            Background(use, function, end)
            for function in (driver.provider.WSPSend, driver.provider.WSPRecv)
            for end in (c, s)
        ]
        time.sleep(0.01)
        driver.provider.WSPCloseSocket(c)
        for thread in threads:
            thread.result()
        driver.provider.WSPCloseSocket(s)
        for overlapped in requests:
            driver.recorded(overlapped)
            if not overlapped.polled:
                driver.announced(overlapped)
        announced = driver.switch.names().count("WPUCompleteOverlappedRequest")
        wanted = sum(not overlapped.polled for overlapped in requests)
        expect.equal("the number of announcements", announced, wanted)
        driver.switch.made[:] = [entry for entry in driver.switch.made if entry[0] == "handle"]


# --- forks --------------------------------------------------------------------------------------


@check("R-272")
def connections_survive_a_fork(driver: Driver) -> None:
    c, s = driver.pair()
    received, _ = driver.recv(s, polled=False)
    waiting, _ = driver.recv(c)

    def use(link: Link) -> None:
        # It has none of the parent's connections, and may have its own.
        with Driver(driver.subject) as other:
            a, b = other.pair()
            other.alive(a, b)
        for end in (c, s):
            try:
                driver.provider.WSPCloseSocket(end)
            except WSAError:
                pass
        link.put("done")

    with Child(use) as child:
        child.link.get()
    expect.equal("whether the parent's receive goes on", driver.poll(c, waiting), None)
    driver.send(c, b"still")
    expect.equal("the parent's receive", driver.ended(s, received), (0, 5))
    driver.send(s, b"there")
    expect.equal("the parent's other receive", driver.finish(c, waiting), (0, 5))
    driver.alive(c, s)


# --- what is used up ----------------------------------------------------------------------------


@check("T-51")
def an_idle_process_does_nothing(driver: Driver) -> None:
    pairs = [driver.pair() for _ in range(3)]
    for c, s in pairs:
        driver.alive(c, s)
        driver.recv(c, polled=False)
        driver.recv(s, polled=False)
        driver.recv(s, polled=True)
    waiting, _ = driver.recv(pairs[1][0], polled=False)
    waiter = Background(driver.provider.WSPGetOverlappedResult, pairs[1][0], waiting, True)
    busy, other = pairs[0]
    driver.send(other, b"for the notified receive of the other side")
    time.sleep(0.1)
    before = resource.getrusage(resource.RUSAGE_SELF)
    time.sleep(0.5)
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    expect.true("an idle process not to use the processor", used < 0.05, f"it used {used:.2f} s")
    driver.provider.WSPCloseSocket(busy)
    driver.provider.WSPCloseSocket(pairs[1][0])
    expect.error((E.WSA_OPERATION_ABORTED, E.WSAENOTSOCK), waiter.result)


@check("R-243", "R-245")
def connections_leave_nothing_behind(driver: Driver) -> None:
    def use() -> None:
        c, s = driver.pair()
        driver.alive(c, s)
        driver.recv(s, polled=False)
        driver.recv(c, polled=True)
        driver.provider.WSPCloseSocket(c)
        driver.provider.WSPCloseSocket(s)

    for _ in range(3):
        use()
    driver.release_ports()
    driver.switch.made.clear()  # it keeps what the provider passed as context
    gc.collect()
    before, handles = resources(), len(driver.switch.handles)
    for _ in range(20):
        use()
    driver.release_ports()
    driver.switch.made.clear()
    gc.collect()
    nothing_left(before)
    expect.equal("the number of handles", len(driver.switch.handles), handles)
