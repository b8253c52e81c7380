"""Swaps that go wrong, and many of them: rules R-253, R-254 and R-265 to R-267."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time

from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.overlapped import WSAOVERLAPPED
from wsdirect.testing import expect
from wsdirect.testing.background import Background
from wsdirect.testing.conformance.checks.duplicate import duplicate, swap, take
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver, nothing_left, resources
from wsdirect.testing.faults import Fault
from wsdirect.testing.processes import Child, Link

E = WsaErrorCode

LOST = (E.WSAECONNRESET, E.WSAECONNABORTED)
"""How requests can end whose connection has ended."""


# --- processes that die or do not answer ---------------------------------------------------------


@check("R-265", "T-21", start=False)
def the_owner_dies_in_the_middle(driver: Driver) -> None:
    driver.subject.two_processes()

    def own(link: Link) -> None:
        with Driver(driver.subject) as other:
            host, port = link.get()
            c, outcome = other.connect(port, host=host)
            expect.equal("the outcome of the connect", outcome, 0)
            other.recv(c)
            duplicate(other, c, link.get())
            link.put("offered")
            time.sleep(60)

    with Child(own) as child:
        driver.start()
        listener, port = driver.listener()
        child.link.put((driver.host, port))
        s = driver.accept(listener)
        handle = driver.handle()
        requests = [driver.recv(s, 100, polled=number % 2 == 0)[0] for number in range(8)]
        child.link.put(os.getppid())  # somebody who will not come for it
        child.link.get()
        child.kill()
        codes = set()
        for overlapped in requests:
            code, _ = driver.ended(s, overlapped)
            expect.true("a receive to fail with the connection", code in LOST, f"code {code}")
            codes.add(code)
        time.sleep(expect.QUIET)
        for overlapped in requests:
            wanted = [] if overlapped.polled else [(handle, overlapped.OffsetHigh, 0)]
            expect.equal("its announcements", driver.switch.completions(overlapped), wanted)
        expect.equal("the number of different codes", len(codes), 1)


@check("R-265", start=False)
def the_new_owner_dies(driver: Driver) -> None:
    driver.subject.two_processes()

    def take(link: Link) -> None:
        with Driver(driver.subject) as other:
            link.put("started")
            s = other.socket(protocol_info=link.get())
            other.recv(s)
            link.put("taken")
            time.sleep(60)

    with Child(take) as child:
        child.link.get()
        driver.start()
        c, s = driver.pair()
        received, _ = driver.recv(c)
        child.link.put(duplicate(driver, s, child.pid))
        child.link.get()
        expect.succeeds(driver.provider.WSPCloseSocket, s)
        expect.equal("whether the peer's receive goes on", driver.poll(c, received), None)
        child.kill()
        code, _ = driver.finish(c, received)
        expect.true("the peer's receive to fail with the connection", code in LOST, str(code))


@check("T-22", "T-25", start=False)
def an_owner_that_does_not_answer(driver: Driver) -> None:
    driver.subject.two_processes()

    def own(link: Link) -> None:
        with Driver(driver.subject) as other:
            c, _ = other.pair()
            link.put(duplicate(other, c, link.get()))
            link.get()

    with Child(own) as child:
        driver.start()
        child.link.put(os.getpid())
        info = child.link.get()
        os.kill(child.pid, signal.SIGSTOP)
        before = len(driver.switch.handles)
        try:
            code = Background(expect.code, take, driver, info).result()
        finally:
            os.kill(child.pid, signal.SIGCONT)
        # An owner that need not take part in it does not matter.
        handles = len(driver.switch.handles) - before
        expect.equal("the number of handles", handles, 0 if code else 1)
        child.link.put("done")


# --- what must not work --------------------------------------------------------------------------
@check("T-23")
def names_that_nobody_gave(driver: Driver) -> None:
    c, s = driver.pair()
    descriptors = set(os.listdir("/proc/self/fd"))
    before = len(driver.switch.handles)
    info = driver.provider.protocol_info
    for name in (*range(1, 40), 0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 0xDEADBEEF, c, s):
        bogus = info.replace(dwProviderReserved=name)
        expect.error(E.WSAEINVAL, take, driver, bogus)
    lost = descriptors - set(os.listdir("/proc/self/fd"))
    expect.true("no descriptor of the process to be closed", not lost, f"{lost} are")
    expect.equal("the number of open handles", len(driver.switch.handles), before)
    driver.alive(c, s)


@check("R-266", "T-24")
def a_name_is_good_for_once(driver: Driver) -> None:
    c, s = driver.pair()
    info = duplicate(driver, c)
    new = driver.socket(protocol_info=info)
    for _ in range(2):
        expect.error(E.WSAEINVAL, take, driver, info)
    if new != c:
        driver.provider.WSPCloseSocket(c)
    expect.error(E.WSAEINVAL, take, driver, info)
    driver.alive(new, s)


@check("R-254", "T-24")
def a_name_is_for_one_process(driver: Driver) -> None:
    c, s = driver.pair()
    received, _ = driver.recv(s)
    info = duplicate(driver, c, os.getppid())
    expect.error(E.WSAEINVAL, take, driver, info)
    expect.equal("whether the peer's receive goes on", driver.poll(s, received), None)


@check("R-254", "T-24", start=False)
def a_name_is_not_for_a_third_process(driver: Driver) -> None:
    driver.subject.two_processes()

    def steal(link: Link) -> None:
        with Driver(driver.subject) as other:
            link.put("started")
            expect.error(E.WSAEINVAL, take, other, link.get())
            link.put("refused")

    def receive(link: Link) -> None:
        with Driver(driver.subject) as other:
            link.put("started")
            s = other.socket(protocol_info=link.get())
            got, _ = other.recv(s, 100)
            link.put("taken")
            expect.equal("the result of the receive", other.finish(s, got), (0, 4))
            link.put("received")

    with Child(steal) as thief, Child(receive) as child:
        thief.link.get()
        child.link.get()
        driver.start()
        c, s = driver.pair()
        info = duplicate(driver, s, child.pid)
        thief.link.put(info)
        thief.link.get()
        child.link.put(info)
        child.link.get()
        driver.send(c, b"data")
        child.link.get()


@check("T-25")
def no_handle_for_the_new_socket(driver: Driver) -> None:
    c, s = driver.pair()
    info = duplicate(driver, c)
    driver.switch.fail["WPUCreateSocketHandle"] = WSAError(E.WSAENOBUFS, "WPUCreateSocketHandle")
    try:
        new = take(driver, info)
    except WSAError as error:
        expect.equal("the code of WSPSocket", error.winerror, E.WSAENOBUFS)
    else:
        expect.equal("the descriptor if no handle is needed", new, c)
    del driver.switch.fail["WPUCreateSocketHandle"]
    expect.succeeds(driver.provider.WSPCloseSocket, c)
    expect.succeeds(driver.provider.WSPCloseSocket, s)


@check("T-25", "R-257", start=False)
def no_handle_in_another_process(driver: Driver) -> None:
    driver.subject.two_processes()

    def fetch(link: Link) -> None:
        with Driver(driver.subject) as other:
            link.put("started")
            failure = WSAError(E.WSAENOBUFS, "WPUCreateSocketHandle")
            other.switch.fail["WPUCreateSocketHandle"] = failure
            found = []
            for _ in range(8):
                expect.error(E.WSAENOBUFS, take, other, link.get())
                gc.collect()
                found.append(resources())
                link.put("failed")
            nothing_left(found[0], slack=2)
            link.get()

    with Child(fetch) as child:
        child.link.get()
        driver.start()
        for _ in range(8):
            c, s = driver.pair()
            child.link.put(duplicate(driver, s, child.pid))
            child.link.get()
            expect.succeeds(driver.provider.WSPCloseSocket, s)
            expect.succeeds(driver.provider.WSPCloseSocket, c)
        child.link.put("done")


@check("T-25")
def no_files_for_the_new_socket(driver: Driver) -> None:
    c, s = driver.pair()
    info = duplicate(driver, c)
    with driver.no_descriptors():
        try:
            new = take(driver, info)
        except WSAError as error:
            expect.equal("the code of WSPSocket", error.winerror, E.WSAEMFILE)
            new = 0
    if not new:
        try:
            new = take(driver, info)
        except WSAError as error:  # it may have been used up
            expect.equal("the code of the second WSPSocket", error.winerror, E.WSAEINVAL)
            return
    driver.alive(new, s)


@check("T-25")
def no_descriptor_for_the_new_socket(driver: Driver) -> None:
    c, _ = driver.pair()
    info = duplicate(driver, c)
    with driver.fault(Fault.NO_DESCRIPTORS):
        code = expect.code(take, driver, info)
    expect.equal("the code of WSPSocket", code, int(E.WSAEMFILE))


# --- again and again -----------------------------------------------------------------------------
@check("T-26", "R-267")
def many_swaps_leave_nothing_behind(driver: Driver) -> None:
    c, s = driver.pair()
    for _ in range(3):
        c = swap(driver, c)
    driver.alive(c, s)
    gc.collect()
    before, handles = resources(), len(driver.switch.handles)
    maps = count_maps()
    for number in range(200):
        c = swap(driver, c)
        if number % 20 == 0:
            driver.alive(c, s)
    driver.alive(c, s)
    gc.collect()
    nothing_left(before)
    expect.equal("the number of handles", len(driver.switch.handles), handles)
    more = count_maps() - maps
    expect.true("no mapped memory to be left", more < 20, f"there are {more} mappings more")


def count_maps() -> int:
    """Memory mappings of this process."""
    with open("/proc/self/maps", "rb") as maps:
        return sum(1 for _ in maps)


@check("R-267", start=False)
def control_goes_to_and_fro(driver: Driver) -> None:
    driver.subject.two_processes()
    rounds = 12

    def play(link: Link) -> None:
        with Driver(driver.subject) as other:
            link.put("started")
            s, before = 0, (0, 0)
            for number in range(rounds):
                old, (info, parent) = s, link.get()
                s = other.socket(protocol_info=info)
                if old and s != old:
                    expect.succeeds(other.provider.WSPCloseSocket, old)
                sent = other.send(s, b"from the child %d" % number)
                expect.equal("the result of the send", other.finish(s, sent)[0], 0)
                for _ in range(2):
                    received, _ = other.recv(s, 100, polled=False)
                link.put(duplicate(other, s, parent))
                other.announced(received)
                link.get()
                if number == 3:
                    time.sleep(expect.QUIET)  # the provider may still be putting things away
                    before = resources()
                link.put("ready")
            nothing_left(before)
            other.provider.WSPCloseSocket(s)

    with Child(play) as child:
        child.link.get()
        driver.start()
        c, s = driver.pair()
        for number in range(rounds):
            received, view = driver.recv(c, 100)
            child.link.put((duplicate(driver, s, child.pid), os.getpid()))
            info = child.link.get()
            text = b"from the child %d" % number
            expect.equal("the result", driver.finish(c, received), (0, len(text)))
            expect.equal("the message", bytes(view[: len(text)]), text)
            new = driver.socket(protocol_info=info)
            if new != s:
                expect.succeeds(driver.provider.WSPCloseSocket, s)
            s = new
            driver.alive(c, s)
            child.link.put("taken back")
            child.link.get()


@check("R-271")
def control_changes_within_an_announcement(driver: Driver) -> None:
    c, s = driver.pair()
    done = threading.Event()
    result: list[int] = []

    def told(handle: int, overlapped: WSAOVERLAPPED, error: int, count: int) -> None:
        if overlapped is received and not result:
            result.append(swap(driver, s))
            done.set()

    received, _ = driver.recv(s, 100, polled=False)
    driver.switch.on_completion = told
    driver.send(c, b"now")
    expect.true("a swap from within an upcall to succeed", done.wait(2 * expect.PATIENCE))
    driver.switch.on_completion = None
    driver.alive(c, result[0])
