"""What WSPRdmaWrite and WSPRdmaRead move: rules R-227 to R-230 and R-236, R-237."""

from __future__ import annotations

import mmap
import os
import time
from array import array
from typing import Any

from wsdirect.spi.constants import (
    INVALID_SOCKET,
    MEM_READ,
    MEM_READWRITE,
    MEM_WRITE,
    SIO_GET_EXTENSION_FUNCTION_POINTER,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.extension_ids import WSAID_RDMAREAD, WSAID_RDMAWRITE
from wsdirect.spi.memory import memory_allocator_of
from wsdirect.spi.overlapped import WSAOVERLAPPED
from wsdirect.spi.structures import WSABUFEX
from wsdirect.testing import expect
from wsdirect.testing.conformance.checks.messages import LIMIT_TRIED
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver
from wsdirect.testing.expect import NotApplicable
from wsdirect.testing.faults import Fault
from wsdirect.testing.processes import Child, Link
from wsdirect.testing.samples import sample

E = WsaErrorCode

SIZES = (1, 100, 4096, 70_001, 300_000)


def can_read(driver: Driver) -> None:
    """NotApplicable if there is no WSPRdmaRead."""
    driver.extension(WSAID_RDMAREAD)


# --- data -----------------------------------------------------------------------------------------


@check("R-227", "R-236")
def a_write_gathers(driver: Driver) -> None:
    c, s = driver.pair()
    for length in SIZES:
        descriptor, view = driver.expose(s, length)
        source = driver.register(c, bytearray(sample(length, length)))
        for count in (1, 4, 8):
            view[:] = bytes(length)
            step = -(-length // count)
            parts = [source.wsabufex(n * step, (n + 1) * step) for n in range(count)][::-1]
            overlapped = driver.write(c, parts, descriptor)
            what = f"writing {length} bytes from {count} buffers"
            expect.equal(f"the result of {what}", driver.finish(c, overlapped), (0, length))
            wanted = b"".join(bytes(part.buf) for part in parts)
            expect.true(f"{what} to bring them over in order", view == wanted, "they differ")


@check("R-228", "R-236")
def a_read_scatters(driver: Driver) -> None:
    can_read(driver)
    c, s = driver.pair()
    for length in SIZES:
        descriptor, view = driver.expose(s, bytearray(sample(length, length)), MEM_READ)
        target = driver.register(c, length, MEM_WRITE)
        for count in (1, 4, 8):
            target.view[:] = bytes(length)
            step = -(-length // count)
            parts = [target.wsabufex(n * step, (n + 1) * step) for n in range(count)][::-1]
            overlapped = driver.read(c, parts, descriptor)
            what = f"reading {length} bytes into {count} buffers"
            expect.equal(f"the result of {what}", driver.finish(c, overlapped), (0, length))
            got = b"".join(bytes(part.buf) for part in parts)
            expect.true(f"{what} to bring them over in order", view == got, "they differ")


@check("R-230")
def offsets_are_honoured(driver: Driver) -> None:
    c, s = driver.pair()
    descriptor, view = driver.expose(s, 10_000)
    source = driver.register(c, bytearray(sample(1, 100)))
    for offset in (0, 1, 4095, 4096, 9_900):
        view[:] = bytes(10_000)
        overlapped = driver.write(c, [source.wsabufex()], descriptor, offset)
        expect.equal("the result of a write", driver.finish(c, overlapped), (0, 100))
        wanted = bytes(offset) + bytes(source) + bytes(9_900 - offset)
        expect.true(f"the bytes at offset {offset} and nowhere else", view == wanted)


@check("R-230")
def offsets_are_honoured_in_reads(driver: Driver) -> None:
    can_read(driver)
    c, s = driver.pair()
    descriptor, view = driver.expose(s, bytearray(sample(2, 10_000)))
    target = driver.register(c, 300)
    for offset in (0, 1, 4095, 4096, 9_900):
        target.view[:] = bytes(300)
        overlapped = driver.read(c, [target.wsabufex(100, 200)], descriptor, offset)
        expect.equal("the result of a read", driver.finish(c, overlapped), (0, 100))
        wanted = bytes(100) + bytes(view[offset : offset + 100]) + bytes(100)
        expect.true(f"the bytes of offset {offset} and nothing else", target.view == wanted)


@check("R-229")
def the_handle_counts(driver: Driver) -> None:
    c, s = driver.pair()
    descriptor, view = driver.expose(s)
    one, two = driver.register(c), driver.register(c)
    one.view[:4] = b"good"
    write = driver.extension(WSAID_RDMAWRITE)
    refused = (E.WSAEINVAL, E.WSAEFAULT)
    for handle in (0, two.handle, one.handle + 1, -1, (1 << 64) - 1):
        code = driver.refused(write, c, [WSABUFEX(one.view[:4], handle)], descriptor, 0, 0)
        expect.true(f"the handle {handle:#x} to be refused", code in refused, f"code {code}")
    expect.equal("the peer's memory", bytes(view), bytes(view.nbytes))
    overlapped = driver.write(c, [one.wsabufex(0, 4)], descriptor)
    expect.equal("the result with the right handle", driver.finish(c, overlapped), (0, 4))
    expect.equal("the peer's memory", bytes(view[:4]), b"good")


@check("R-201")
def one_handle_serves_all_transfers(driver: Driver) -> None:
    c, s = driver.pair()
    memory = driver.register(c, 300)
    descriptor, view = driver.expose(s, 100)
    memory.view[:100] = sample(1, 100)
    overlapped = driver.write(c, [memory.wsabufex(0, 100)], descriptor)
    received, other = driver.recv(s, 100)
    expect.equal("the result of the write", driver.finish(c, overlapped), (0, 100))
    sent = driver.send(c, memory[:100])
    expect.equal("the result of the send", driver.finish(c, sent), (0, 100))
    expect.equal("the result of the receive", driver.finish(s, received), (0, 100))
    expect.true("write and send to bring the same", view == other)
    received, _ = driver.recv(c, memory[100:200])
    driver.send(s, sample(2, 100))
    expect.equal("the result of the receive", driver.finish(c, received), (0, 100))
    expect.true("the message to arrive", memory[100:200] == sample(2, 100))
    can_read(driver)
    overlapped = driver.read(c, [memory.wsabufex(200)], descriptor)
    expect.equal("the result of the read", driver.finish(c, overlapped), (0, 100))
    expect.true("the read to bring it back", memory[200:] == memory[:100])


@check("R-227", "R-228", "R-209", start=False)
def transfers_between_two_processes(driver: Driver) -> None:
    driver.subject.two_processes()
    length = 200_000

    def expose(link: Link) -> None:
        with Driver(driver.subject) as other:
            listener, port = other.listener()
            link.put((other.host, port))
            s = other.accept(listener)
            descriptor, view = other.expose(s, bytearray(sample(1, length)))
            received, _ = other.recv(s, 64)
            sent = other.send(s, descriptor)
            expect.equal("the result of the send", other.finish(s, sent)[0], 0)
            while other.poll(s, received) is None:  # looks after the peer's transfers as well
                time.sleep(0)
            wanted = sample(1, length)[:1000] + sample(2, length)[1000:]
            expect.true("the write to be there when told so", view == wanted, "it differs")
            expect.succeeds(other.provider.WSPDeregisterRdmaMemory, s, descriptor)
            link.put("written")
            link.get()

    with Child(expose) as child:
        driver.start()
        host, port = child.link.get()
        c, outcome = driver.connect(port, host=host)
        expect.equal("the outcome of the connect", outcome, 0)
        received, view = driver.recv(c, 100)
        code, size = driver.finish(c, received)
        expect.equal("the result of the receive", code, 0)
        descriptor = bytes(view[:size])
        memory = driver.register(c, bytearray(length))
        try:
            overlapped = driver.read(c, [memory.wsabufex()], descriptor)
        except NotApplicable:
            pass
        else:
            expect.equal("the result of the read", driver.finish(c, overlapped), (0, length))
            expect.true("the peer's bytes", memory.view == sample(1, length), "they differ")
        memory.view[:] = sample(2, length)
        overlapped = driver.write(c, [memory.wsabufex(1000)], descriptor, 1000, polled=False)
        expect.equal("the result of the write", driver.ended(c, overlapped), (0, length - 1000))
        driver.send(c, b"done")
        child.link.get()
        code = driver.refused(
            driver.extension(WSAID_RDMAWRITE), c, [memory.wsabufex(0, 10)], descriptor, 0, 0
        )
        expect.true("a write to deregistered memory to fail", code != 0)
        child.link.put("done")


def kinds_of_memory(driver: Driver) -> list[tuple[str, Any]]:
    """Memory of many kinds, 5000 bytes each; the last is read-only."""
    file = os.memfd_create("check")
    os.truncate(file, 5000)
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    kinds: list[tuple[str, Any]] = [
        ("a bytearray", bytearray(5000)),
        ("an array", array("B", bytes(5000))),
        ("part of a bytearray", memoryview(bytearray(9000))[3000:8000]),
        ("a shared mapping", mmap.mmap(-1, 5000)),
        ("a private mapping", mmap.mmap(-1, 5000, flags=private)),
        ("a mapped file", mmap.mmap(file, 5000)),
    ]
    os.close(file)
    allocate = memory_allocator_of(driver.provider)
    if allocate is not None:
        kinds.append(("memory of the provider", allocate(5000)))
    for number, (_, memory) in enumerate(kinds):
        memoryview(memory)[:] = sample(number, 5000)
    return [*kinds, ("bytes", sample(len(kinds), 5000))]


def use_kinds(driver: Driver, s: int, number: int, what: str, descriptor: bytes) -> None:
    """The peer's side: read the memory, and write something else if it is no bytes."""
    local = driver.register(s, 5000)
    try:
        overlapped = driver.read(s, [local.wsabufex()], descriptor)
    except NotApplicable:
        pass
    else:
        expect.equal(f"the result of reading {what}", driver.finish(s, overlapped), (0, 5000))
        expect.true(f"what is read from {what}", local.view == sample(number, 5000), "it differs")
    if what != "bytes":
        local.view[:] = sample(number + 100, 5000)
        overlapped = driver.write(s, [local.wsabufex()], descriptor)
        expect.equal(f"the result of writing {what}", driver.finish(s, overlapped), (0, 5000))


@check("R-227", "R-228", "R-201")
def all_kinds_of_memory(driver: Driver) -> None:
    c, s = driver.pair()
    for number, (what, memory) in enumerate(kinds_of_memory(driver)):
        access = MEM_READ if what == "bytes" else MEM_READWRITE
        descriptor, view = driver.expose(s, memory, access)
        use_kinds(driver, c, number, what, descriptor)
        if what != "bytes":
            good = view == sample(number + 100, 5000)
            expect.true(f"what was written to {what}", good, "it differs")
        # and the same memory as the local side of transfers
        other, place = driver.expose(s, 5000)
        local = driver.register(c, memory, access)
        overlapped = driver.write(c, [local.wsabufex()], other)
        expect.equal(f"the result of writing from {what}", driver.finish(c, overlapped), (0, 5000))
        expect.true(f"what was written from {what}", place == local.view, "it differs")


@check("R-227", "R-228", start=False)
def all_kinds_of_memory_in_two_processes(driver: Driver) -> None:
    driver.subject.two_processes()

    def use(link: Link) -> None:
        with Driver(driver.subject) as other:
            host, port = link.get()
            c, outcome = other.connect(port, host=host)
            expect.equal("the outcome of the connect", outcome, 0)
            link.put("connected")
            while (job := link.get()) is not None:
                use_kinds(other, c, *job)
                link.put("used")

    with Child(use) as child:
        driver.start()
        listener, port = driver.listener()
        child.link.put((driver.host, port))
        s = driver.accept(listener)
        child.link.get()
        idle, _ = driver.recv(s)
        for number, (what, memory) in enumerate(kinds_of_memory(driver)):
            access = MEM_READ if what == "bytes" else MEM_READWRITE
            descriptor, view = driver.expose(s, memory, access)
            child.link.put((number, what, descriptor))
            while not child.link.ready():  # some providers' owners have to take part
                driver.poll(s, idle)
            child.link.get()
            if what != "bytes":
                good = view == sample(number + 100, 5000)
                expect.true(f"what was written to {what}", good, "it differs")
        child.link.put(None)


# --- limits ---------------------------------------------------------------------------------------


@check("T-45")
def a_transfer_may_have_the_longest_length_and_no_more(driver: Driver) -> None:
    c, s = driver.pair()
    limit = driver.rdma_limit(c)
    expect.true("a limit above 0", limit > 0)
    size = min(limit, LIMIT_TRIED)
    descriptor, view = driver.expose(s, size + 1)
    memory = driver.register(c, size + 1)
    memory.view[0], memory.view[size - 1], memory.view[size] = 1, 2, 3
    if limit == size:
        write = driver.extension(WSAID_RDMAWRITE)
        for parts in ([memory.wsabufex()], [memory.wsabufex(0, size), memory.wsabufex(size)]):
            overlapped = WSAOVERLAPPED(None, True)
            expect.error(E.WSAEMSGSIZE, write, c, parts, descriptor, 0, 0, overlapped)
    overlapped = driver.write(c, [memory.wsabufex(0, size)], descriptor)
    expect.equal("the result of the longest write", driver.finish(c, overlapped), (0, size))
    expect.equal("its ends", (view[0], view[size - 1], view[size]), (1, 2, 0))


@check("R-174", "T-41")
def many_transfers_at_once(driver: Driver) -> None:
    c, s = driver.pair()
    size = 10_000
    descriptor, view = driver.expose(s, 16 * size)
    memory = driver.register(c, bytearray(sample(3, 16 * size)))
    requests = [
        driver.write(
            c,
            [memory.wsabufex(number * size, (number + 1) * size)],
            descriptor,
            number * size,
            polled=number % 2 == 0,
        )
        for number in range(16)
    ]
    for overlapped in requests:
        expect.equal("the result of a write", driver.ended(c, overlapped), (0, size))
    expect.true("all of them in place", view == memory.view, "they are not")


@check("R-237")
def reading_may_be_missing(driver: Driver) -> None:
    # It is asked for as it would be by the switch, which then does without.
    try:
        found = driver.provider.WSPIoctl(
            INVALID_SOCKET, SIO_GET_EXTENSION_FUNCTION_POINTER, WSAID_RDMAREAD
        )
    except WSAError as error:
        expect.equal("the code for a missing WSPRdmaRead", error.winerror, E.WSAEOPNOTSUPP)
    else:
        expect.true("a function", callable(found), f"it is {found!r}")


@check("T-52", "R-237")
def writing_serves_where_reading_is_missing(driver: Driver) -> None:
    with driver.fault(Fault.NO_RDMA_READ):
        expect.error(
            E.WSAEOPNOTSUPP,
            driver.provider.WSPIoctl,
            INVALID_SOCKET,
            SIO_GET_EXTENSION_FUNCTION_POINTER,
            WSAID_RDMAREAD,
        )
        c, s = driver.pair()
        descriptor, view = driver.expose(s, 10_000, MEM_WRITE)
        memory = driver.register(c, bytearray(sample(4, 10_000)), MEM_READ)
        overlapped = driver.write(c, [memory.wsabufex()], descriptor)
        expect.equal("the result of the write", driver.finish(c, overlapped), (0, 10_000))
        expect.true("the bytes in place", view == memory.view, "they differ")


@check("R-171")
def transfers_need_a_connection(driver: Driver) -> None:
    c, s = driver.pair()
    descriptor, _ = driver.expose(s)
    memory = driver.register(c)
    listener, _ = driver.listener()
    functions = [driver.extension(WSAID_RDMAWRITE)]
    try:
        functions.append(driver.extension(WSAID_RDMAREAD))
    except NotApplicable:
        pass
    wrong: list[tuple[int, int]] = [
        (INVALID_SOCKET, E.WSAENOTSOCK), (driver.socket(), E.WSAENOTCONN),
        (driver.bound(), E.WSAENOTCONN), (listener, E.WSAENOTCONN),
    ]  # fmt: skip
    for function in functions:
        for end, code in wrong:
            overlapped = WSAOVERLAPPED(None, True)
            arguments: tuple[Any, ...] = ([memory.wsabufex()], descriptor, 0, 0, overlapped)
            expect.error(code, function, end, *arguments)
            expect.true("the record not to be in progress", not overlapped.in_progress)
