"""When RDMA ends, what comes after it, and how it is cut short: R-231 to R-233, R-244, R-247."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

from wsdirect.spi.errors import WsaErrorCode
from wsdirect.spi.extension_ids import WSAID_RDMAWRITE
from wsdirect.spi.overlapped import WSAOVERLAPPED
from wsdirect.testing import expect
from wsdirect.testing.background import Background
from wsdirect.testing.conformance.checks.close import ABORTED, handle_closed_last
from wsdirect.testing.conformance.checks.rdma import can_read
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver
from wsdirect.testing.expect import NotApplicable
from wsdirect.testing.faults import Fault
from wsdirect.testing.processes import Child, Link

E = WsaErrorCode


# --- completion and order -------------------------------------------------------------------------


@check("R-231", "R-178", "R-179", "R-189")
def transfers_end_like_sends(driver: Driver) -> None:
    c, s, handle, _ = driver.pair_and_handles()
    descriptor, _ = driver.expose(s)
    memory = driver.register(c)
    kinds: list[Callable[..., WSAOVERLAPPED]] = [driver.write]
    try:
        can_read(driver)
        kinds.append(driver.read)
    except NotApplicable:
        pass
    for transfer in kinds:
        notified = transfer(c, [memory.wsabufex(0, 100)], descriptor, polled=False)
        expect.equal("the announcement", driver.announced(notified), (handle, 0, 100))
        polled = transfer(c, [memory.wsabufex(0, 200)], descriptor)
        expect.equal("the result of a polled transfer", driver.finish(c, polled), (0, 200))
        waited = transfer(c, [memory.wsabufex(0, 300)], descriptor)
        call = Background(driver.provider.WSPGetOverlappedResult, c, waited, True)
        expect.equal("what waiting for a transfer returns", call.result(), 300)
        time.sleep(expect.QUIET)
        for overlapped, length, times in ((notified, 100, 1), (polled, 200, 0)):
            expect.equal("the result when read again", driver.poll(c, overlapped), (0, length))
            announced = len(driver.switch.completions(overlapped))
            expect.equal("the number of announcements", announced, times)


@check("R-182")
def transfers_do_not_announce_from_within_the_call(driver: Driver) -> None:
    c, s = driver.pair()
    descriptor, _ = driver.expose(s, 1 << 20)
    memory = driver.register(c, 1 << 20)
    inside = False
    caught: list[str] = []
    me = threading.get_ident()

    def told(handle: int, overlapped: WSAOVERLAPPED, error: int, count: int) -> None:
        if inside and threading.get_ident() == me:
            caught.append("it was announced before the call had returned")

    driver.switch.on_completion = told
    for _ in range(8):
        inside = True
        overlapped = driver.write(c, [memory.wsabufex()], descriptor, polled=False)
        inside = False
        expect.equal("the result of a write", driver.ended(c, overlapped), (0, 1 << 20))
    expect.true("the end to be announced after the call", not caught, "; ".join(caught))


@check("R-232")
def the_peer_does_not_notice_a_write(driver: Driver) -> None:
    c, s = driver.pair()
    descriptor, _ = driver.expose(s)
    receives = [driver.recv(s, 100, polled=number == 0)[0] for number in range(3)]
    memory = driver.register(c)
    made = len(driver.switch.made)
    for _ in range(20):
        overlapped = driver.write(c, [memory.wsabufex()], descriptor)
        expect.equal("the result of a write", driver.finish(c, overlapped), (0, 4096))
        expect.equal("the peer's polled receive", driver.poll(s, receives[0]), None)
    time.sleep(expect.QUIET)
    expect.true("all receives to go on", all(request.in_progress for request in receives))
    expect.equal("the upcalls", driver.switch.made[made:], [])


@check("R-233")
def a_message_after_a_write_finds_the_data(driver: Driver) -> None:
    c, s = driver.pair()
    size = 50_000
    descriptor, view = driver.expose(s, size)
    memory = driver.register(c, size)
    word = driver.register(c, bytearray(b"written"))
    for number in range(1, 31):
        received, _ = driver.recv(s, 16)
        memory.view[:] = bytes([number]) * size
        overlapped = driver.write(c, [memory.wsabufex()], descriptor)
        waits = number % 2 == 0
        if waits:
            expect.equal("the result of the write", driver.finish(c, overlapped), (0, size))
        driver.send(c, word.view)  # also right behind the write it must not overtake it
        deadline = time.monotonic() + expect.PATIENCE
        while (result := driver.poll(s, received)) is None and time.monotonic() < deadline:
            driver.poll(c, overlapped)
        expect.equal("the result of the receive", result, (0, 7))
        expect.true("all data in place", set(view) == {number}, f"there are {sorted(set(view))}")
        expect.equal("the result of the write", driver.finish(c, overlapped), (0, size))


@check("T-43", "R-228")
def a_message_after_a_read_frees_the_memory(driver: Driver) -> None:
    can_read(driver)
    c, s = driver.pair()
    size = 200_000
    descriptor, view = driver.expose(s, size)
    target = driver.register(c, size)
    word = driver.register(c, bytearray(b"read"))
    for number in range(1, 21):
        view[:] = bytes([number]) * size
        received, _ = driver.recv(s, 16)
        overlapped = driver.read(c, [target.wsabufex()], descriptor)
        # A send that fails must not make the provider forget that one has to wait.
        failing = WSAOVERLAPPED(None, True)
        expect.error(E.WSAEFAULT, driver.provider.WSPSend, c, [bytearray(4)], 0, failing)
        driver.send(c, word.view)
        deadline = time.monotonic() + expect.PATIENCE
        while (result := driver.poll(s, received)) is None and time.monotonic() < deadline:
            driver.poll(c, overlapped)
        expect.equal("the result of the receive", result, (0, 4))
        view[:] = bytes(size)  # what the owner does as soon as it is told
        expect.equal("the result of the read", driver.finish(c, overlapped), (0, size))
        expect.true("the bytes of before the message", set(target.view) == {number})


@check("R-233")
def a_message_after_a_write_between_threads(driver: Driver) -> None:
    c, s = driver.pair()
    size, rounds = 4096, 200
    descriptor, view = driver.expose(s, size)
    memory = driver.register(c, size)
    tick, tock = driver.register(c, 16), driver.register(s, 16)
    problems: list[str] = []

    def serve() -> None:
        for number in range(1, rounds + 1):
            received, _ = driver.recv(s, 16)
            tokens.release()
            code, _ = driver.finish(s, received)
            if code or set(view) != {number % 251 + 1}:
                problems.append(f"round {number}: code {code}, {sorted(set(view))[:3]}")
            sent = driver.send(s, tock.view)
            driver.finish(s, sent)

    tokens = threading.Semaphore(0)
    server = Background(serve)
    for number in range(1, rounds + 1):
        tokens.acquire(timeout=expect.PATIENCE)
        memory.view[:] = bytes([number % 251 + 1]) * size
        received, _ = driver.recv(c, 16)
        overlapped = driver.write(c, [memory.wsabufex()], descriptor)
        driver.finish(c, overlapped)
        driver.send(c, tick.view)
        expect.equal("the result of the answer", driver.finish(c, received), (0, 16))
    server.result()
    expect.true("all data in place each time", not problems, "; ".join(problems[:2]))


# --- the end --------------------------------------------------------------------------------------


@check("R-247", "R-242", "R-240")
def a_close_ends_transfers(driver: Driver) -> None:
    for _ in range(3):
        c, s, handle, _ = driver.pair_and_handles()
        descriptor, _ = driver.expose(s, 1 << 20)
        memory = driver.register(c, 1 << 20)
        requests = [
            driver.write(c, [memory.wsabufex()], descriptor, polled=number % 2 == 0)
            for number in range(6)
        ]
        expect.succeeds(driver.provider.WSPCloseSocket, c)
        handle_closed_last(driver, handle)
        for overlapped in requests:
            result = driver.recorded(overlapped)
            good = result in (ABORTED, (0, 1 << 20))
            expect.true("a write to be done or aborted", good, f"its result is {result}")
            times = len(driver.switch.completions(overlapped))
            expect.equal("its announcements", times, 0 if overlapped.polled else 1)
        driver.provider.WSPCloseSocket(s)


@check("R-247")
def a_close_aborts_transfers_that_take_long(driver: Driver) -> None:
    c, s, handle, _ = driver.pair_and_handles()
    descriptor, view = driver.expose(s)
    memory = driver.register(c, bytearray(b"\x01" * 4096))
    with driver.fault(Fault.DELAY):
        requests = [driver.write(c, [memory.wsabufex()], descriptor, 0, n == 0) for n in (0, 1)]
        expect.succeeds(driver.provider.WSPCloseSocket, c)
        handle_closed_last(driver, handle)
        for overlapped in requests:
            expect.equal("the record of a write", driver.recorded(overlapped), ABORTED)
    expect.equal("the peer's memory", bytes(view), bytes(4096))


@check("R-244", "R-231")
def transfers_after_the_peers_close(driver: Driver) -> None:
    c, s = driver.pair()
    descriptor, _ = driver.expose(s, 1 << 16)
    memory = driver.register(c, 1 << 16)
    requests = [driver.write(c, [memory.wsabufex()], descriptor, 0, n % 2 == 0) for n in range(4)]
    driver.provider.WSPCloseSocket(s)
    # RDMA that the peer's memory has not survived is lost with the connection.
    lost = (E.WSAECONNRESET, E.WSAECONNABORTED)
    for overlapped in requests:
        code, count = driver.ended(c, overlapped)
        good = (code, count) == (0, 1 << 16) or code in lost
        expect.true("a write to be done or lost", good, f"its result is {code}, {count}")


@check("R-231", "R-244", start=False)
def transfers_after_the_peers_death(driver: Driver) -> None:
    driver.subject.two_processes()

    def connect(link: Link) -> None:
        with Driver(driver.subject) as other:
            host, port = link.get()
            c, outcome = other.connect(port, host=host)
            expect.equal("the outcome of the connect", outcome, 0)
            link.put(other.expose(c, 1 << 16)[0])
            time.sleep(60)

    with Child(connect) as child:
        driver.start()
        driver.extension(WSAID_RDMAWRITE)
        listener, port = driver.listener()
        child.link.put((driver.host, port))
        s = driver.accept(listener)
        descriptor = child.link.get()
        memory = driver.register(s, 1 << 16)
        os.kill(child.pid, signal.SIGSTOP)
        requests = [
            driver.write(s, [memory.wsabufex()], descriptor, 0, n % 2 == 0) for n in range(4)
        ]
        child.kill()
        lost = (E.WSAECONNRESET, E.WSAECONNABORTED)
        for overlapped in requests:
            code, count = driver.ended(s, overlapped)
            good = (code, count) == (0, 1 << 16) or code in lost
            expect.true("a write to be done or lost", good, f"its result is {code}, {count}")


@check("R-235")
def a_new_transfer_after_the_peers_close(driver: Driver) -> None:
    c, s = driver.pair()
    descriptor, _ = driver.expose(s)
    memory = driver.register(c)
    driver.provider.WSPCloseSocket(s)
    write = driver.extension(WSAID_RDMAWRITE)
    lost = (E.WSAECONNRESET, E.WSAECONNABORTED)
    expect.eventually(
        "a new write to fail with the connection",
        lambda: driver.refused(write, c, [memory.wsabufex()], descriptor, 0, 0) in lost,
    )
