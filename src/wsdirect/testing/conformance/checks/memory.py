"""Registered memory on this side: rules R-195 to R-204, R-218 and R-226."""

from __future__ import annotations

import ctypes
import gc
import mmap
from array import array
from typing import Any

from wsdirect.spi.constants import INVALID_SOCKET, MEM_READ, MEM_READWRITE, MEM_WRITE
from wsdirect.spi.errors import WsaErrorCode
from wsdirect.spi.extension_ids import WSAID_RDMAWRITE
from wsdirect.spi.overlapped import WSAOVERLAPPED
from wsdirect.spi.structures import WSABUFEX
from wsdirect.testing import expect
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver, nothing_left, resources
from wsdirect.testing.faults import Fault

E = WsaErrorCode

PAGE = mmap.PAGESIZE


def address_of(buffer: Any) -> int:
    """Where a writable buffer lies."""
    # The ctypes object would keep the buffer exported: it does not outlive this call.
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def free(buffer: bytearray) -> bool:
    """Whether nobody uses a bytearray: only then it can grow."""
    try:
        buffer.append(0)
    except BufferError:
        return False
    del buffer[-1]
    return True


def usable(driver: Driver, s: int, peer: int, memory: Any) -> None:
    """A deviation unless a message can be sent from this memory and received into it."""
    view = memoryview(memory)[:8]
    view[:] = b"contents"
    received, other = driver.recv(peer, 8)
    sent = driver.send(s, view)
    expect.equal("the result of a receive", driver.finish(peer, received), (0, 8))
    expect.equal("what came from the memory", bytes(other), b"contents")
    expect.equal("the result of a send", driver.finish(s, sent), (0, 8))
    view[:] = bytes(8)
    received, _ = driver.recv(s, view)
    driver.send(peer, b"answered")
    expect.equal("the result of a receive", driver.finish(s, received), (0, 8))
    expect.equal("what came into the memory", bytes(view), b"answered")


def unusable(driver: Driver, s: int, memory: Any) -> None:
    """A deviation unless sends and receives refuse this memory."""
    view = memoryview(memory)[:8]
    for function in (driver.provider.WSPSend, driver.provider.WSPRecv):
        expect.error(E.WSAEFAULT, function, s, [view], 0, WSAOVERLAPPED(None, True))


# --- registering --------------------------------------------------------------------------------


@check("R-195", "R-196")
def a_handle_for_memory(driver: Driver) -> None:
    c, s = driver.pair()
    kinds: list[tuple[Any, int]] = [
        (bytearray(100), MEM_READWRITE),
        (bytearray(1), MEM_READ),
        (bytearray(100), MEM_WRITE),
        (mmap.mmap(-1, PAGE), MEM_READWRITE),
        (array("d", [0.0] * 50), MEM_READWRITE),
        (memoryview(bytearray(100))[10:90], MEM_READWRITE),
        (b"read-only memory", MEM_READ),
        (memoryview(bytearray(100)).toreadonly(), MEM_READ),
        (bytearray(8 << 20), MEM_READWRITE),
    ]
    for buffer, access in kinds:
        for end in (c, s):
            handle = expect.succeeds(driver.provider.WSPRegisterMemory, end, buffer, access)
            what = f"a handle for {type(buffer).__name__}"
            good = type(handle) is int and handle not in (0, INVALID_SOCKET)
            expect.true(what, good, f"it is {handle!r}")
            expect.succeeds(driver.provider.WSPDeregisterMemory, end, handle)


@check("R-197")
def invalid_access(driver: Driver) -> None:
    c, _ = driver.pair()
    for access in (0, 4, 8, MEM_READWRITE | 4, -1, 1 << 40):
        expect.error(E.WSAEINVAL, driver.provider.WSPRegisterMemory, c, bytearray(10), access)


@check("R-197")
def memory_that_cannot_be_registered(driver: Driver) -> None:
    c, s = driver.pair()
    wrong: list[tuple[Any, int]] = [
        (None, MEM_READWRITE),
        (4096, MEM_READWRITE),
        ("text", MEM_READ),
        (b"read-only", MEM_WRITE),
        (b"read-only", MEM_READWRITE),
        (memoryview(bytearray(100))[::2], MEM_READWRITE),
        (memoryview(bytearray(100))[::-1], MEM_READ),
    ]
    for buffer, access in wrong:
        expect.error(E.WSAEFAULT, driver.provider.WSPRegisterMemory, c, buffer, access)
    driver.alive(c, s)


@check("R-197", "T-40")
def only_connected_sockets_register(driver: Driver) -> None:
    listener, port = driver.listener()
    anywhere = driver.bound(host="0.0.0.0")
    sockets = [driver.socket(), driver.bound(), anywhere, listener]
    connecting, _, outcome = driver.connecting(port)
    if outcome is None:
        sockets.append(connecting)
    for s in sockets:
        buffer = bytearray(100)
        call = driver.provider.WSPRegisterMemory
        expect.error(E.WSAENOTCONN, call, s, buffer, MEM_READWRITE)
        expect.true("the memory to be free", free(buffer), "it is kept")
    expect.error(E.WSAENOTSOCK, call, INVALID_SOCKET, bytearray(100), MEM_READWRITE)


@check("R-197")
def no_room_for_registrations(driver: Driver) -> None:
    c, s = driver.pair()
    with driver.fault(Fault.NO_BUFFERS):
        call = driver.provider.WSPRegisterMemory
        expect.error(E.WSAENOBUFS, call, c, bytearray(100), MEM_READWRITE)
    driver.alive(c, s)


@check("R-198")
def memory_is_registered_repeatedly_and_on_several_sockets(driver: Driver) -> None:
    a, b = driver.pair()
    c, d = driver.pair()
    buffer = bytearray(100)
    for s in (a, c, a, d):
        driver.register(s, buffer)
    driver.register(a, memoryview(buffer)[50:])
    usable(driver, a, b, buffer)
    usable(driver, c, d, buffer)
    usable(driver, d, c, buffer)


@check("R-199", "R-204")
def registrations_are_counted(driver: Driver) -> None:
    c, s = driver.pair()
    buffer = bytearray(100)
    call = driver.provider.WSPDeregisterMemory
    handles = [expect.succeeds(driver.provider.WSPRegisterMemory, c, buffer, MEM_READWRITE)
               for _ in range(3)]  # fmt: skip
    for handle in handles[:-1]:
        expect.succeeds(call, c, handle)
        usable(driver, c, s, buffer)
    expect.succeeds(call, c, handles[-1])
    unusable(driver, c, buffer)
    for handle in handles:
        expect.error(E.WSAEINVAL, call, c, handle)
    expect.true("the memory to be free", free(buffer), "it is kept")


@check("R-199")
def access_is_not_widened_by_another_registration(driver: Driver) -> None:
    c, s = driver.pair()
    buffer = bytearray(100)
    readable = driver.register(c, buffer, MEM_READ)
    both = driver.register(c, buffer)
    usable(driver, c, s, buffer)
    expect.succeeds(driver.provider.WSPDeregisterMemory, c, both.handle)
    refused = driver.provider.WSPRecv
    expect.error(E.WSAEFAULT, refused, c, [buffer], 0, WSAOVERLAPPED(None, True))
    received, _ = driver.recv(s, 100)
    driver.send(c, readable.view)
    expect.equal("the result of the receive", driver.finish(s, received), (0, 100))


@check("R-200")
def a_handle_belongs_to_its_socket(driver: Driver) -> None:
    a, b = driver.pair()
    c, _ = driver.pair()
    memory = driver.register(a)
    expect.error(E.WSAEINVAL, driver.provider.WSPDeregisterMemory, c, memory.handle)
    expect.error(E.WSAEINVAL, driver.provider.WSPDeregisterMemory, b, memory.handle)
    unusable(driver, c, memory.view)
    usable(driver, a, b, memory.view)
    other = driver.register(c)
    expect.true("handles of sockets to differ", other.handle != memory.handle)


@check("R-200")
def a_handle_of_another_socket_in_rdma(driver: Driver) -> None:
    a, b = driver.pair()
    c, d = driver.pair()
    descriptor, _ = driver.expose(b)
    elsewhere, _ = driver.expose(d)
    write = driver.extension(WSAID_RDMAWRITE)
    memory = driver.register(a)
    foreign = WSABUFEX(memory.view[:10], memory.handle)
    code = driver.refused(write, c, [foreign], elsewhere, 0, 0)
    expect.true("a handle of another socket to be refused", code in (E.WSAEINVAL, E.WSAEFAULT))
    overlapped = driver.write(a, [foreign], descriptor)
    expect.equal("its result on its own socket", driver.finish(a, overlapped), (0, 10))


# --- deregistering ------------------------------------------------------------------------------


@check("R-202", "T-34")
def unknown_handles(driver: Driver) -> None:
    c, s = driver.pair()
    memory = driver.register(c)
    call = driver.provider.WSPDeregisterMemory
    strange: list[Any] = [0, -1, 1, memory.handle + 1, memory.handle ^ 0x10000, 1 << 31, 1 << 63]
    strange += [(1 << 64) - 1, address_of(memory.buffer), None, "handle", b"bytes", id(memory)]
    for handle in strange:
        expect.error(E.WSAEINVAL, call, c, handle)
    usable(driver, c, s, memory.view)
    expect.succeeds(call, c, memory.handle)
    expect.error(E.WSAEINVAL, call, c, memory.handle)
    expect.error(E.WSAENOTSOCK, call, INVALID_SOCKET, memory.handle)


@check("R-203", "T-35")
def memory_in_use_stays_registered(driver: Driver) -> None:
    c, s = driver.pair()
    call = driver.provider.WSPDeregisterMemory
    for polled in (True, False):
        memory = driver.register(s)
        received, view = driver.recv(s, memory[100:200], polled)
        later, _ = driver.recv(s, memory[300:400], polled)
        expect.error(E.WSAEINVAL, call, s, memory.handle)
        driver.send(c, b"still here")
        expect.equal("the result of the receive", driver.ended(s, received), (0, 10))
        expect.equal("the message", bytes(view[:10]), b"still here")
        expect.error(E.WSAEINVAL, call, s, memory.handle)
        driver.send(c, b"now the last")
        expect.equal("the result of the receive", driver.ended(s, later), (0, 12))
        expect.succeeds(call, s, memory.handle)
        unusable(driver, s, memory.view)


@check("R-203", "R-194")
def memory_can_be_deregistered_when_it_is_announced(driver: Driver) -> None:
    c, s = driver.pair()
    codes: list[int] = []
    handles: dict[int, tuple[int, int]] = {}

    def told(handle: int, overlapped: WSAOVERLAPPED, error: int, count: int) -> None:
        codes.append(expect.code(driver.provider.WSPDeregisterMemory, *handles[id(overlapped)]))

    driver.switch.on_completion = told
    requests = []
    for _ in range(5):
        target, source = driver.register(s, 100), driver.register(c, 100)
        received, sent = WSAOVERLAPPED(), WSAOVERLAPPED()
        handles[id(received)] = s, target.handle
        handles[id(sent)] = c, source.handle
        expect.pending(driver.provider.WSPRecv, s, [target.view], 0, received)
        expect.pending(driver.provider.WSPSend, c, [source.view], 0, sent)
        requests += [received, sent]
    for overlapped in requests:
        driver.announced(overlapped)
    expect.eventually("all requests to be announced", lambda: len(codes) == 10)
    expect.equal("the codes of WSPDeregisterMemory in the upcalls", set(codes), {0})


# --- what registration means for Python's memory ------------------------------------------------


@check("R-218")
def registered_memory_stays_where_it_is(driver: Driver) -> None:
    c, _ = driver.pair()
    buffer, mapped = bytearray(100), mmap.mmap(-1, PAGE)
    handles = [expect.succeeds(driver.provider.WSPRegisterMemory, c, memory, MEM_READWRITE)
               for memory in (buffer, mapped)]  # fmt: skip
    expect.true("a registered bytearray to keep its size", not free(buffer), "it could grow")
    try:
        mapped.close()
    except BufferError:
        pass
    else:
        expect.fail("a registered mapping to stay", "it could be closed")
    for handle in handles:
        expect.succeeds(driver.provider.WSPDeregisterMemory, c, handle)
    expect.true("deregistered memory to be free", free(buffer), "it is kept")
    expect.succeeds(mapped.close)


@check("R-226", "R-213")
def the_end_of_a_connection_frees_the_memory(driver: Driver) -> None:
    for peer_lives in (True, False):
        c, s = driver.pair()
        buffer = bytearray(1000)
        expect.succeeds(driver.provider.WSPRegisterMemory, c, buffer, MEM_READWRITE)
        expect.succeeds(driver.provider.WSPRegisterMemory, c, buffer, MEM_READ)
        # a request that nobody will ever answer
        expect.pending(driver.provider.WSPRecv, c, [buffer], 0, WSAOVERLAPPED(None, True))
        if not peer_lives:
            driver.provider.WSPCloseSocket(s)
        driver.provider.WSPCloseSocket(c)
        gc.collect()
        expect.true("the memory to be free after the close", free(buffer), "it is kept")


@check("R-204")
def registrations_leave_nothing_behind(driver: Driver) -> None:
    c, s = driver.pair()
    buffer = bytearray(1 << 16)

    def use() -> None:
        memory = driver.register(c, buffer)
        usable(driver, c, s, memory.view)
        memory.view.release()
        expect.succeeds(driver.provider.WSPDeregisterMemory, c, memory.handle)

    use()
    before = resources()
    for _ in range(30):
        use()
    gc.collect()
    expect.true("the memory to be free", free(buffer), "it is kept")
    nothing_left(before)
