"""The cache of registrations: rules R-219 and R-221 to R-225."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Any

from wsdirect.spi.constants import MEM_READ, MEM_READWRITE
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.extension_ids import WSAID_MEMORYREGISTRATIONCACHECALLBACK, WSAID_RDMAWRITE
from wsdirect.spi.memory import memory_allocator_of
from wsdirect.spi.overlapped import WSAOVERLAPPED
from wsdirect.spi.structures import WSABUFEX
from wsdirect.testing import expect
from wsdirect.testing.conformance.checks.memory import PAGE, address_of, free, unusable, usable
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver, Memory
from wsdirect.testing.expect import NotApplicable

E = WsaErrorCode


@check("R-221")
def memory_is_not_kept_behind_the_switch(driver: Driver) -> None:
    c, _ = driver.pair()
    buffer = bytearray(4 * PAGE)
    for access in (MEM_READ, MEM_READWRITE):
        handle = expect.succeeds(driver.provider.WSPRegisterMemory, c, buffer, access)
        expect.succeeds(driver.provider.WSPDeregisterMemory, c, handle)
    # Who keeps more of it than this can only be told to let go by the callback.
    expect.true("deregistered memory to be free", free(buffer), "it is kept")


def forget(driver: Driver) -> Callable[[int, int], None]:
    """The cache's callback."""
    found: Callable[[int, int], None] = driver.extension(WSAID_MEMORYREGISTRATIONCACHECALLBACK)
    return found


def kept(driver: Driver, s: int, size: int) -> Any:
    """Memory that the provider caches: any, or at least what it has made itself."""
    allocate = memory_allocator_of(driver.provider)
    buffers: list[Any] = [memoryview(bytearray(3 * size))[size : 2 * size]]
    if allocate is not None:
        buffers.append(allocate(size))
    for buffer in buffers:
        try:
            cached(driver, s, buffer)
        except NotApplicable:
            continue
        return buffer
    raise NotApplicable("the provider keeps nothing of memory in its cache")


def cached(driver: Driver, s: int, buffer: Any) -> int:
    """Have memory cached; its address.  NotApplicable if it is not kept."""
    for keep in (True, False):
        handle = expect.succeeds(driver.provider.WSPRegisterMemory, s, buffer, MEM_READWRITE)
        expect.succeeds(driver.provider.WSPDeregisterMemory, s, handle)
        descriptor, view = driver.expose(s, buffer)
        view.release()
        expect.succeeds(driver.provider.WSPDeregisterRdmaMemory, s, descriptor)
        if keep:
            code = expect.code(forget(driver), address_of(buffer), memoryview(buffer).nbytes)
            if code == E.WSAEINVAL:
                raise NotApplicable("the provider does not cache such memory")
            expect.equal("the code of the cache callback", code, 0)
    return address_of(buffer)


@check("R-219")
def memory_is_registered_again(driver: Driver) -> None:
    forget(driver)
    c, s = driver.pair()
    buffer = bytearray(4 * PAGE)
    for access in (MEM_READ, MEM_READWRITE) * 3:
        handle = expect.succeeds(driver.provider.WSPRegisterMemory, c, buffer, access)
        if access == MEM_READWRITE:
            usable(driver, c, s, buffer)
        else:
            refused = driver.provider.WSPRecv
            expect.error(E.WSAEFAULT, refused, c, [buffer], 0, WSAOVERLAPPED(None, True))
        expect.succeeds(driver.provider.WSPDeregisterMemory, c, handle)
        unusable(driver, c, buffer)


@check("R-222")
def the_callback_drops_what_was_cached(driver: Driver) -> None:
    c, s = driver.pair()
    buffer = kept(driver, c, 4 * PAGE)
    address = cached(driver, c, buffer)
    expect.succeeds(forget(driver), address, 4 * PAGE)
    expect.error(E.WSAEINVAL, forget(driver), address, 4 * PAGE)
    memory = driver.register(c, buffer)
    usable(driver, c, s, memory.view)


@check("R-223", "T-38")
def the_callback_does_not_know_other_memory(driver: Driver) -> None:
    call = forget(driver)
    buffer = bytearray(4 * PAGE)
    for address, size in ((address_of(buffer), 4 * PAGE), (PAGE, PAGE), (1 << 46, 1)):
        expect.error(E.WSAEINVAL, call, address, size)


@check("R-223")
def the_callback_leaves_memory_in_use(driver: Driver) -> None:
    call = forget(driver)
    c, s = driver.pair()
    memory = driver.register(s, 4 * PAGE)
    received, view = driver.recv(s, memory[100:200])
    expect.error(E.WSAEFAULT, call, address_of(memory.buffer), 4 * PAGE)
    driver.send(c, b"unharmed")
    expect.equal("the result of the receive", driver.finish(s, received), (0, 8))
    expect.equal("the message", bytes(view[:8]), b"unharmed")


@check("R-224", "T-36")
def the_callback_drops_what_it_touches(driver: Driver) -> None:
    c, _ = driver.pair()
    size = 8 * PAGE
    buffer = kept(driver, c, size)
    begin = address_of(buffer)
    ranges = {
        "its middle": (begin + size // 2, 1),
        "its begin": (begin, PAGE),
        "its end": (begin + size - 1, 1),
        "from before into it": (begin - PAGE, PAGE + 1),
        "from inside to behind it": (begin + size - PAGE, 2 * PAGE),
        "more than all of it": (begin - PAGE, size + 2 * PAGE),
    }
    for what, (address, length) in ranges.items():
        cached(driver, c, buffer)
        for near in ((begin - 2 * PAGE, PAGE), (begin + size + PAGE, PAGE)):
            expect.error(E.WSAEINVAL, forget(driver), *near)
        expect.equal(f"the code for {what}", expect.code(forget(driver), address, length), 0)
        expect.equal(
            f"the code for the whole after {what}",
            expect.code(forget(driver), begin, size),
            int(E.WSAEINVAL),
        )


def given_up(driver: Driver, s: int) -> Memory:
    """Memory that is registered, and that the callback has then been called for."""
    call = forget(driver)
    memory = driver.register(s, 4 * PAGE)
    code = expect.code(call, address_of(memory.buffer), 4 * PAGE)
    if code in (E.WSAEINVAL, E.WSAEFAULT):
        raise NotApplicable("the provider keeps registered memory whatever the callback says")
    expect.equal("the code of the cache callback", code, 0)
    return memory


@check("T-37", "R-225")
def handles_of_memory_that_was_given_up(driver: Driver) -> None:
    c, s = driver.pair()
    memory = given_up(driver, c)
    descriptor, view = driver.expose(s)
    write = driver.extension(WSAID_RDMAWRITE)
    buffers = [WSABUFEX(memory.view[:10], memory.handle)]
    code = driver.refused(write, c, buffers, descriptor, 0, 0)
    expect.true("RDMA with the old handle to fail", code in (E.WSAEINVAL, E.WSAEFAULT), str(code))
    expect.equal("the peer's memory", bytes(view), bytes(view.nbytes))
    unusable(driver, c, memory.view)
    code = expect.code(driver.provider.WSPDeregisterMemory, c, memory.handle)
    expect.true("the old handle to be known or not", code in (0, E.WSAEINVAL), str(code))
    driver.alive(c, s)


@check("R-225")
def new_memory_at_an_old_address(driver: Driver) -> None:
    call = forget(driver)
    c, s = driver.pair()
    places: set[int] = set()
    again = 0
    for number in range(1, 20):
        mapped = mmap.mmap(-1, 16 * PAGE)
        mapped[:] = bytes([number]) * (16 * PAGE)
        address = address_of(mapped)
        again += address in places
        places.add(address)
        handle = expect.succeeds(driver.provider.WSPRegisterMemory, c, mapped, MEM_READ)
        received, view = driver.recv(s, 100)
        sent = WSAOVERLAPPED(None, True)
        part = memoryview(mapped)[:100]
        expect.pending(driver.provider.WSPSend, c, [part], 0, sent)
        part.release()
        expect.equal("the result of the receive", driver.finish(s, received), (0, 100))
        expect.equal("the bytes of the new memory", set(view), {number})
        driver.finish(c, sent)
        expect.succeeds(driver.provider.WSPDeregisterMemory, c, handle)
        try:
            call(address, 16 * PAGE)
        except WSAError as error:
            expect.equal("the code of the callback", error.winerror, E.WSAEINVAL)
        mapped.close()
    if not again:
        raise NotApplicable("the system gives no address twice")
