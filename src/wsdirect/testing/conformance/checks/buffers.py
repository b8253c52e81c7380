"""Which buffers sends and receives can have: rules R-167 to R-171."""

from __future__ import annotations

import mmap
from array import array
from typing import Any

from wsdirect.spi.constants import (
    INVALID_SOCKET,
    MEM_READ,
    MEM_WRITE,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.overlapped import WSAOVERLAPPED
from wsdirect.testing import expect
from wsdirect.testing.conformance.checks.messages import MANY
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver
from wsdirect.testing.faults import Fault
from wsdirect.testing.samples import sample

E = WsaErrorCode


@check("R-167")
def several_buffers_are_gathered_and_scattered(driver: Driver) -> None:
    c, s = driver.pair()
    data = sample(5, 1000)
    source, target = driver.register(c, bytearray(data)), driver.register(s, 1400)
    out = {1: [(0, 1000)], 4: [(0, 1), (1, 500), (500, 500), (500, 1000)]}
    out[8] = [(first, first + 125) for first in range(0, 1000, 125)]
    into = {1: [(0, 1000)], 3: [(700, 1400), (0, 299), (300, 700)]}
    into[8] = [(first, first + 150) for first in range(0, 1200, 150)]
    for send_parts in out.values():
        for receive_parts in into.values():
            target.view[:] = bytes(1400)
            received, sent = WSAOVERLAPPED(None, True), WSAOVERLAPPED(None, True)
            places = [target[first:end] for first, end in receive_parts]
            expect.pending(driver.provider.WSPRecv, s, places, 0, received)
            pieces = [source[first:end] for first, end in send_parts]
            expect.pending(driver.provider.WSPSend, c, pieces, 0, sent)
            how = f"{len(pieces)} buffers into {len(places)}"
            expect.equal(f"the result of {how}", driver.finish(s, received), (0, 1000))
            expect.true(f"{how} to be packed in order", b"".join(places)[:1000] == data)
            behind = b"".join(places)[1000:]
            expect.true("nothing behind the message", not any(behind), "there is")


@check("R-168")
def the_list_of_buffers_is_free_after_the_call(driver: Driver) -> None:
    c, s = driver.pair()
    decoy = driver.register(s, 100)
    receives, sends = [], []
    for _ in range(MANY):
        overlapped = WSAOVERLAPPED(None, True)
        memory = driver.register(s, 3000)
        buffers = [memory[:1000], memory[1000:]]
        expect.pending(driver.provider.WSPRecv, s, buffers, 0, overlapped)
        buffers[:] = [decoy.view]
        receives.append((overlapped, memory))
    for number in range(MANY):
        overlapped = WSAOVERLAPPED(None, True)
        buffers = [driver.register(c, bytearray(sample(number, 2000))).view]
        expect.pending(driver.provider.WSPSend, c, buffers, 0, overlapped)
        buffers.clear()
        sends.append(overlapped)
    for number, (overlapped, memory) in enumerate(receives):
        expect.equal("the result of a receive", driver.finish(s, overlapped), (0, 2000))
        expect.true("the message", bytes(memory[:2000]) == sample(number, 2000), "it differs")
        expect.equal("the result of a send", driver.finish(c, sends[number]), (0, 2000))
    expect.equal("the decoy", bytes(decoy.view), bytes(100))


@check("R-168")
def the_views_are_free_after_the_call(driver: Driver) -> None:
    c, s = driver.pair()
    target, source = bytearray(1000), bytearray(sample(1, 1000))
    driver.register(s, target)
    driver.register(c, source)
    for polled in (True, False):
        target[:] = bytes(1000)
        received, view = driver.recv(s, memoryview(target)[:1000], polled)
        view.release()  # the registration keeps the memory, nobody needs this object
        view = memoryview(source)[:1000]
        sent = driver.send(c, view, polled)
        view.release()
        expect.equal("the result of the receive", driver.ended(s, received), (0, 1000))
        expect.equal("the result of the send", driver.ended(c, sent), (0, 1000))
        expect.true("the message", target == source, "it differs")


@check("R-169")
def parts_of_registered_memory_are_found(driver: Driver) -> None:
    c, s = driver.pair()
    source, target = bytearray(sample(1, 10000)), bytearray(10000)
    driver.register(c, source)
    driver.register(s, target)
    for first, length in ((0, 10000), (0, 1), (9999, 1), (17, 300), (4096, 4096), (8191, 2)):
        target[:] = bytes(10000)
        # not slices of the view that was registered: only the addresses tell what they are
        received, _ = driver.recv(s, memoryview(target)[first : first + length])
        driver.send(c, memoryview(source)[first : first + length])
        expect.equal("the result", driver.finish(s, received), (0, length))
        expect.true("the message in its place", target[first : first + length] ==
                    source[first : first + length])  # fmt: skip
        outside = target[:first] + target[first + length :]
        expect.true("nothing elsewhere", not any(outside), "other bytes were written")


@check("R-169")
def all_kinds_of_memory(driver: Driver) -> None:
    c, s = driver.pair()
    data = sample(3, 4096)
    mapped, numbers = mmap.mmap(-1, 8192), array("i", bytes(4096))
    mapped[4096:8192] = data
    received, _ = driver.recv(s, driver.register(s, numbers).view)
    driver.send(c, driver.register(c, mapped)[4096:])
    expect.equal("the result of a mapping into an array", driver.finish(s, received), (0, 4096))
    expect.true("the array to hold the message", numbers.tobytes() == data)
    # the whole object, without a view of one's own; read-only memory as a source
    received, _ = driver.recv(s, driver.register(s, mapped)[:4096])
    driver.register(c, data, MEM_READ)
    sent = WSAOVERLAPPED(None, True)
    expect.pending(driver.provider.WSPSend, c, [data], 0, sent)
    expect.equal("the result of bytes into a mapping", driver.finish(s, received), (0, 4096))
    expect.true("the mapping to hold the message", mapped[:4096] == data)
    grid = memoryview(bytearray(24)).cast("B", (4, 6))
    received, _ = driver.recv(s, driver.register(s, grid).buffer)
    driver.send(c, b"grid")
    expect.equal("the result into a grid", driver.finish(s, received), (0, 4))
    expect.equal("the grid's beginning", grid.tobytes()[:4], b"grid")


@check("R-170", "R-171")
def unconnected_sockets_cannot_transfer(driver: Driver) -> None:
    listener, port = driver.listener()
    connecting, _, outcome = driver.connecting(port)
    sockets = {"fresh": driver.socket(), "bound": driver.bound(), "listening": listener}
    if outcome is None:
        sockets["connecting"] = connecting
    for s in sockets.values():
        for function in (driver.provider.WSPSend, driver.provider.WSPRecv):
            overlapped = WSAOVERLAPPED(None, True)
            expect.error(E.WSAENOTCONN, function, s, [bytearray(10)], 0, overlapped)
            expect.true("the record not to be in progress", not overlapped.in_progress)


@check("R-171", "R-170")
def invalid_descriptors_cannot_transfer(driver: Driver) -> None:
    for s in (INVALID_SOCKET, 0, 1, 0x7FFFFFF0):
        for function in (driver.provider.WSPSend, driver.provider.WSPRecv):
            overlapped = WSAOVERLAPPED(None, True)
            expect.error(E.WSAENOTSOCK, function, s, [bytearray(10)], 0, overlapped)


@check("R-170", "R-171")
def only_registered_memory_is_used(driver: Driver) -> None:
    c, s = driver.pair()
    whole = bytearray(8192)
    part = driver.register(c, memoryview(whole)[:4096])
    readable = driver.register(c, 64, MEM_READ)
    writable = driver.register(c, 64, MEM_WRITE)
    elsewhere = driver.register(s, 64)
    gone = driver.register(c, 64)
    expect.succeeds(driver.provider.WSPDeregisterMemory, c, gone.handle)
    send, receive = driver.provider.WSPSend, driver.provider.WSPRecv
    both: dict[str, Any] = {
        "not registered": bytearray(64),
        "reaching out of the registration": memoryview(whole)[4000:4100],
        "behind the registration": memoryview(whole)[4096:4100],
        "registered on another socket": elsewhere.view,
        "not registered any more": gone.view,
        "not one piece": part.view[::2],
        "no memory": None,
    }
    wrong = [(function, what, buffer) for what, buffer in both.items()
             for function in (send, receive)]  # fmt: skip
    wrong += [
        (send, "for receiving only", writable.view),
        (receive, "for sending only", readable.view),
        (receive, "read-only", bytes(64)),
    ]
    for function, what, buffer in wrong:
        try:
            function(c, [buffer], 0, WSAOVERLAPPED(None, True))
        except WSAError as error:
            happened = error.name
        except Exception as error:
            happened = repr(error)
        else:
            happened = "it was accepted"
        expect.true(
            f"{function.__name__} with memory that is {what} to fail with WSAEFAULT",
            happened == "WSAEFAULT",
            happened,
        )
    driver.alive(c, s)


@check("R-170", "R-171")
def a_network_that_is_down(driver: Driver) -> None:
    _, s = driver.pair()
    memory = driver.register(s, 64)
    with driver.fault(Fault.NET_DOWN):
        overlapped = WSAOVERLAPPED(None, True)
        for function in (driver.provider.WSPRecv, driver.provider.WSPSend):
            expect.error(E.WSAENETDOWN, function, s, [memory.view], 0, overlapped)


@check("R-170")
def keep_alive_finds_the_connection_broken(driver: Driver) -> None:
    _, s = driver.pair()
    memory = driver.register(s, 64)
    received, _ = driver.recv(s, memory.view)
    with driver.fault(Fault.KEEPALIVE):
        try:
            code, _ = driver.finish(s, received)
            expect.equal("the result of the receive", code, E.WSAENETRESET)
            result = driver.provider.WSPRecv(s, [memory.view], 0, WSAOVERLAPPED(None, True))
        except WSAError as error:
            expect.equal("the code of a new receive", error.winerror, E.WSAENETRESET)
        else:
            expect.fail("a new receive to fail", f"it returned {result!r}")
