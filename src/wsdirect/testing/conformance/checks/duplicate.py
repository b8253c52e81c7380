"""WSPDuplicateSocket and what follows it: rules R-251 to R-264."""

from __future__ import annotations

import gc
import os
import time

from wsdirect.spi.constants import (
    AF_INET,
    INVALID_SOCKET,
    IPPROTO_TCP,
    MEM_READWRITE,
    SOCK_STREAM,
    WSA_FLAG_OVERLAPPED,
)
from wsdirect.spi.errors import WsaErrorCode
from wsdirect.spi.extension_ids import WSAID_REGISTERRDMAMEMORY
from wsdirect.spi.overlapped import WSAOVERLAPPED
from wsdirect.spi.structures import WSAPROTOCOL_INFOW
from wsdirect.testing import expect
from wsdirect.testing.conformance.checks.memory import free
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver
from wsdirect.testing.expect import NotApplicable
from wsdirect.testing.faults import Fault
from wsdirect.testing.processes import Child, Link

E = WsaErrorCode


def duplicate(driver: Driver, s: int, process: int = 0) -> WSAPROTOCOL_INFOW:
    """WSPDuplicateSocket, for this process if no other is named."""
    info = expect.succeeds(driver.provider.WSPDuplicateSocket, s, process or os.getpid())
    expect.true("a dwProviderReserved that is not 0", info.dwProviderReserved)
    fits = 0 < info.dwProviderReserved <= 0xFFFFFFFF
    expect.true("32 bits of it", fits, f"it is {info.dwProviderReserved:#x}")
    return info


def swap(driver: Driver, s: int) -> int:
    """Duplicate a socket to this very process, and close what is left of the old one."""
    info = duplicate(driver, s)
    new = driver.socket(protocol_info=info)
    if new != s:
        expect.succeeds(driver.provider.WSPCloseSocket, s)
    return new


def take(driver: Driver, info: WSAPROTOCOL_INFOW) -> int:
    """WSPSocket with the result of a WSPDuplicateSocket."""
    return driver.provider.WSPSocket(
        AF_INET, SOCK_STREAM, IPPROTO_TCP, info, 0, WSA_FLAG_OVERLAPPED
    )


def created(driver: Driver) -> int:
    """How many handles the provider has asked for."""
    return driver.switch.names().count("WPUCreateSocketHandle")


# --- the old socket ------------------------------------------------------------------------------


@check("R-251", "T-18", "T-28")
def pending_receives_end_with_nothing(driver: Driver) -> None:
    _, s, _, handle = driver.pair_and_handles()
    memory = driver.register(s, bytearray(b"\xee" * 1200))
    requests = [
        driver.recv(s, memory[number * 100 : number * 100 + 100], number % 2 == 0)[0]
        for number in range(12)
    ]
    duplicate(driver, s)
    for overlapped in requests:
        expect.equal("the record of a receive", driver.recorded(overlapped), (0, 0))
        if not overlapped.polled:
            driver.announced(overlapped)
    time.sleep(expect.QUIET)
    for overlapped in requests:
        wanted = [] if overlapped.polled else [(handle, 0, 0)]
        expect.equal("its announcements", driver.switch.completions(overlapped), wanted)
    expect.equal("the buffers", bytes(memory), b"\xee" * 1200)


@check("R-252")
def memory_of_pending_receives_is_released(driver: Driver) -> None:
    for polled in (True, False):
        _, s = driver.pair()
        # No views of ours: they would keep the memory in use, too.
        buffer, overlapped = bytearray(1000), WSAOVERLAPPED(None, polled)
        expect.succeeds(driver.provider.WSPRegisterMemory, s, buffer, MEM_READWRITE)
        expect.pending(driver.provider.WSPRecv, s, [buffer], 0, overlapped)
        duplicate(driver, s)
        driver.recorded(overlapped)
        gc.collect()
        expect.true("the memory to be free", free(buffer), "it is kept")


@check("R-253")
def every_duplicate_has_a_name_of_its_own(driver: Driver) -> None:
    sockets = [s for _ in range(6) for s in driver.pair()]
    names = [duplicate(driver, s).dwProviderReserved for s in sockets]
    expect.equal("different names", len(set(names)), len(sockets))
    s = swap(driver, driver.pair()[0])
    for _ in range(5):
        info = duplicate(driver, s)
        names.append(info.dwProviderReserved)
        new = driver.socket(protocol_info=info)
        if new != s:
            driver.provider.WSPCloseSocket(s)
        s = new
    expect.equal("different names each time", len(set(names)), len(names))


@check("R-253", start=False)
def names_differ_between_processes(driver: Driver) -> None:
    driver.subject.two_processes()

    def name(link: Link) -> None:
        with Driver(driver.subject) as other:
            pairs = [other.pair() for _ in range(4)]
            link.put([duplicate(other, s).dwProviderReserved for pair in pairs for s in pair])
            link.get()

    with Child(name) as one, Child(name) as two:
        names = one.link.get() + two.link.get()
        one.link.put("done")
        two.link.put("done")
    expect.equal("different names", len(set(names)), len(names))


@check("R-255")
def any_process_number(driver: Driver) -> None:
    for process in (1, 4, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
        c, s = driver.pair()
        duplicate(driver, c, process)
        driver.provider.WSPCloseSocket(c)
        driver.provider.WSPCloseSocket(s)


@check("R-256")
def parameters_of_a_duplication(driver: Driver) -> None:
    c, s = driver.pair()
    call = driver.provider.WSPDuplicateSocket
    for process in (-1, 1 << 32):
        expect.error(E.WSAEINVAL, call, c, process)
    for socket in (driver.socket(), driver.bound()):
        expect.error((E.WSAEINVAL, E.WSAENOTCONN), call, socket, os.getpid())
    for socket in (INVALID_SOCKET, 0, 0x7FFFFFF0):
        expect.error(E.WSAENOTSOCK, call, socket, os.getpid())
    driver.alive(c, s)


@check("R-256")
def no_room_for_a_duplication(driver: Driver) -> None:
    c, s = driver.pair()
    with driver.fault(Fault.NO_BUFFERS):
        expect.error(E.WSAENOBUFS, driver.provider.WSPDuplicateSocket, c, os.getpid())
    driver.alive(c, s)


@check("R-256")
def no_files_for_a_duplication(driver: Driver) -> None:
    c, s = driver.pair()
    with driver.no_descriptors():
        code = expect.code(driver.provider.WSPDuplicateSocket, c, os.getpid())
    expect.true("WSPDuplicateSocket to need none, or WSAEMFILE", code in (0, E.WSAEMFILE))
    if code:
        driver.alive(c, s)


@check("R-256")
def no_descriptor_for_a_duplication(driver: Driver) -> None:
    c, s = driver.pair()
    with driver.fault(Fault.NO_DESCRIPTORS):
        expect.error(E.WSAEMFILE, driver.provider.WSPDuplicateSocket, c, os.getpid())
    driver.alive(c, s)


@check("R-263")
def the_old_descriptor_stays_taken(driver: Driver) -> None:
    c, s = driver.pair()
    info = duplicate(driver, c)
    others = [driver.socket() for _ in range(20)]
    expect.true("no new socket to have the old descriptor", c not in others)
    new = driver.socket(protocol_info=info)
    others = [driver.socket() for _ in range(20)]
    expect.true("no new socket to have the old descriptor", c not in others)
    if new != c:
        expect.succeeds(driver.provider.WSPCloseSocket, c)
        expect.error(E.WSAENOTSOCK, driver.provider.WSPCloseSocket, c)
    driver.alive(new, s)


@check("R-263")
def the_old_socket_cannot_be_used(driver: Driver) -> None:
    c, s = driver.pair()
    memory = driver.register(c, 10)
    duplicate(driver, c)
    for function in (driver.provider.WSPSend, driver.provider.WSPRecv):
        overlapped = WSAOVERLAPPED(None, True)
        code = expect.code(function, c, [memory.view], 0, overlapped)
        expect.true("the old socket not to transfer", code > 0, "it was accepted")
        expect.true("the record not to be in progress", not overlapped.in_progress)
    driver.provider.WSPCloseSocket(s)


# --- the new socket ------------------------------------------------------------------------------


@check("R-258", "R-259", "R-260", "R-264")
def control_comes_back(driver: Driver) -> None:
    c, s, handle, _ = driver.pair_and_handles()
    driver.alive(c, s)
    info = duplicate(driver, c)
    before = created(driver)
    new = driver.socket(protocol_info=info)
    if new == c:
        expect.equal("handles made for a revived socket", created(driver) - before, 0)
        new_handle = handle
    else:
        expect.equal("handles made for a new socket", created(driver) - before, 1)
        new_handle = driver.handle()
        expect.succeeds(driver.provider.WSPCloseSocket, c)
        expect.equal("closes of the old handle", driver.switch.closed(handle), 1)
    driver.alive(new, s)
    received, _ = driver.recv(new, polled=False)
    driver.send(s, b"told")
    expect.equal("the announcement", driver.announced(received), (new_handle, 0, 4))
    expect.error(E.WSAEISCONN, driver.provider.WSPListen, new, 1)
    expect.error(E.WSAEISCONN, driver.provider.WSPConnect, new, (driver.host, driver.port()))
    expect.error(E.WSAEINVAL, driver.provider.WSPBind, new, (driver.host, driver.port()))


@check("R-257", "R-260", "R-261", "R-264", start=False)
def another_process_takes_over(driver: Driver) -> None:
    driver.subject.two_processes()

    def take(link: Link) -> None:
        with Driver(driver.subject) as other:
            link.put("started")
            info = link.get()
            s = other.socket(protocol_info=info)
            made = [arguments for name, arguments, _ in other.switch.made
                    if name == "WPUCreateSocketHandle"]  # fmt: skip
            expect.equal("the number of handles made", len(made), 1)
            received, view = other.recv(s, 100)
            link.put("taken")
            code, count = other.finish(s, received)
            expect.equal("the result of the receive", code, 0)
            sent = other.send(s, bytes(view[:count])[::-1])
            expect.equal("the result of the send", other.finish(s, sent), (0, count))
            expect.error(E.WSAEISCONN, other.provider.WSPListen, s, 1)
            try:
                descriptor, view = other.expose(s, 1000)
            except NotApplicable:
                return
            told = other.send(s, descriptor)
            received, _ = other.recv(s, 100)
            expect.equal("the result of the send", other.finish(s, told)[0], 0)
            expect.equal("the result of the receive", other.finish(s, received), (0, 7))
            expect.equal("what the peer wrote", set(view), {7})

    with Child(take) as child:
        child.link.get()
        driver.start()
        c, s = driver.pair()
        driver.alive(c, s)
        received, view = driver.recv(c, 100)
        child.link.put(duplicate(driver, s, child.pid))
        child.link.get()
        expect.succeeds(driver.provider.WSPCloseSocket, s)
        driver.send(c, b"message")
        expect.equal("the result of the receive", driver.finish(c, received), (0, 7))
        expect.equal("the answer", bytes(view[:7]), b"egassem")
        try:
            driver.extension(WSAID_REGISTERRDMAMEMORY)
        except NotApplicable:
            return
        received, view = driver.recv(c, 100)
        code, count = driver.finish(c, received)
        expect.equal("the result of the receive", code, 0)
        memory = driver.register(c, bytearray([7] * 1000))
        overlapped = driver.write(c, [memory.wsabufex()], bytes(view[:count]))
        expect.equal("the result of a write", driver.finish(c, overlapped), (0, 1000))
        driver.send(c, b"written")


@check("R-261", "T-27", "R-260")
def a_listening_socket_is_duplicated(driver: Driver) -> None:
    listener, port = driver.listener()
    new = swap(driver, listener)
    for _ in range(2):
        c, event, outcome = driver.connecting(port)
        s = driver.accept(new)
        expect.equal("the outcome of the connect", driver.connected(c, event, outcome), 0)
        driver.alive(c, s)
        new = swap(driver, new)
    expect.succeeds(driver.provider.WSPCloseSocket, new)
    _, outcome = driver.connect(port)
    expect.true("nobody to listen any more", outcome != 0)


@check("R-261", "T-27", start=False)
def another_process_accepts(driver: Driver) -> None:
    driver.subject.two_processes()

    def take(link: Link) -> None:
        with Driver(driver.subject) as other:
            link.put("started")
            listener = other.socket(protocol_info=link.get())
            link.put("taken")
            s = other.accept(listener)
            received, view = other.recv(s, 100)
            expect.equal("the result of the receive", other.finish(s, received), (0, 5))
            sent = other.send(s, bytes(view[:5]))
            other.finish(s, sent)
            link.get()

    with Child(take) as child:
        child.link.get()
        driver.start()
        listener, port = driver.listener()
        child.link.put(duplicate(driver, listener, child.pid))
        child.link.get()
        expect.succeeds(driver.provider.WSPCloseSocket, listener)
        c, outcome = driver.connect(port)
        expect.equal("the outcome of the connect", outcome, 0)
        received, view = driver.recv(c, 100)
        driver.send(c, b"hello")
        expect.equal("the result of the receive", driver.finish(c, received), (0, 5))
        expect.equal("the echo", bytes(view[:5]), b"hello")
        child.link.put("done")


# --- the peer ------------------------------------------------------------------------------------


@check("R-262")
def the_peers_receives_stay(driver: Driver) -> None:
    c, s = driver.pair()
    requests = [driver.recv(s, 100, polled=number % 2 == 0) for number in range(6)]
    for round_ in range(2):
        info = duplicate(driver, c)
        time.sleep(expect.QUIET)
        going_on = [overlapped.in_progress for overlapped, _ in requests[round_ * 3 :]]
        expect.true("the peer's receives to go on", all(going_on), f"{going_on}")
        new = driver.socket(protocol_info=info)
        if new != c:
            expect.succeeds(driver.provider.WSPCloseSocket, c)
        c = new
        for number in range(round_ * 3, round_ * 3 + 3):
            driver.send(c, b"message %d" % number)
            overlapped, view = requests[number]
            expect.equal("the result of a receive", driver.ended(s, overlapped), (0, 9))
            expect.equal("its message", bytes(view[:9]), b"message %d" % number)


@check("T-20")
def requests_of_the_peer_during_a_swap(driver: Driver) -> None:
    c, s = driver.pair()
    info = duplicate(driver, c)
    memory = driver.register(s, 100)
    received, sent = WSAOVERLAPPED(None, True), WSAOVERLAPPED(None, True)
    for function, overlapped in ((driver.provider.WSPRecv, received),
                                 (driver.provider.WSPSend, sent)):  # fmt: skip
        code = expect.code(function, s, [memory[:10]], 0, overlapped)
        expect.true("a Winsock code", code == 0 or code >= 10000, f"it is {code}")
        expect.equal("whether it goes on", code != 0 and overlapped.in_progress, False)
    new = driver.socket(protocol_info=info)
    if new != c:
        driver.provider.WSPCloseSocket(c)
    if sent.in_progress or sent.OffsetHigh == 0:
        got, _ = driver.recv(new, 100)
        expect.equal("the result of what the peer sent", driver.finish(new, got), (0, 10))
    driver.send(new, b"ten bytes!")
    expect.equal("the result of the peer's receive", driver.finish(s, received), (0, 10))
