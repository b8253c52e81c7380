"""Memory that the peer may use, and nobody else: rules R-205 to R-217 and R-234, R-235."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from typing import Any

from wsdirect.spi.constants import INVALID_SOCKET, MEM_READ, MEM_READWRITE, MEM_WRITE
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.extension_ids import (
    WSAID_DEREGISTERRDMAMEMORY,
    WSAID_RDMAREAD,
    WSAID_RDMAWRITE,
    WSAID_REGISTERRDMAMEMORY,
)
from wsdirect.spi.overlapped import WSAOVERLAPPED
from wsdirect.testing import expect
from wsdirect.testing.conformance.checks.memory import free
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver, Memory
from wsdirect.testing.expect import NotApplicable
from wsdirect.testing.faults import Fault
from wsdirect.testing.processes import Child, Link

E = WsaErrorCode

DESCRIPTOR_MAX = 32
"""Longest descriptor, so that it fits in a negotiation message."""
REFUSED = (
    E.WSAEINVAL, E.WSAEFAULT, E.WSAEACCES, E.WSAECONNABORTED, E.WSAECONNRESET, E.WSAENOTCONN,
    E.WSAENOTSOCK,
)  # fmt: skip
"""How RDMA that must not be can end: some networks end the connection with it."""


def register(driver: Driver) -> Callable[..., bytes]:
    """WSPRegisterRdmaMemory."""
    found: Callable[..., bytes] = driver.extension(WSAID_REGISTERRDMAMEMORY)
    return found


def deregister(driver: Driver, s: int, descriptor: bytes) -> int:
    """WSPDeregisterRdmaMemory: its code."""
    return expect.code(driver.extension(WSAID_DEREGISTERRDMAMEMORY), s, descriptor)


def transfers(driver: Driver) -> Iterator[tuple[str, Callable[..., Any]]]:
    """WSPRdmaWrite and, if it is there, WSPRdmaRead."""
    yield "WSPRdmaWrite", driver.extension(WSAID_RDMAWRITE)
    try:
        yield "WSPRdmaRead", driver.extension(WSAID_RDMAREAD)
    except NotApplicable:
        pass


def attempt(
    driver: Driver,
    s: int,
    function: Any,
    descriptor: Any,
    offset: int = 0,
    length: int = 100,
    memory: Memory | None = None,
) -> tuple[int, bytes]:
    """Try a transfer on a socket: its code, and what is in the local memory then."""
    if memory is None:
        try:
            memory = driver.register(s, bytearray(b"\xaa" * length))
        except expect.Deviation:  # an attempt before this one has cost the connection
            return int(E.WSAECONNABORTED), b""
    code = driver.refused(function, s, [memory.wsabufex()], descriptor, offset, 0)
    return code, bytes(memory)


class Secret:
    """Exposed memory between two other pieces, none of which may ever change or be seen.

    Args:
        driver: The driver.
        s: The socket.
        access: What the peer may do.
        whole: The three pieces, 3000 bytes of 0x55; None: new ones.
    """

    def __init__(
        self,
        driver: Driver,
        s: int,
        access: int = MEM_READWRITE,
        whole: bytearray | None = None,
    ) -> None:
        self.whole = bytearray(b"\x55" * 3000) if whole is None else whole
        self.descriptor, view = driver.expose(s, memoryview(self.whole)[1000:2000], access)
        view.release()

    def untouched(self, code: int, seen: bytes, what: str) -> None:
        """A deviation unless a transfer was refused and had no effect."""
        wanted = [error.value for error in REFUSED]
        expect.true(f"{what} to be refused", code in wanted, f"its code is {code}")
        expect.true(f"{what} not to write", set(self.whole) == {0x55}, "memory has changed")
        expect.true(f"{what} not to read", 0x55 not in seen, "memory was read")


# --- descriptors --------------------------------------------------------------------------------


@check("R-205", "R-206")
def a_descriptor_for_memory(driver: Driver) -> None:
    c, s = driver.pair()
    call = register(driver)
    lengths = set()
    for size in (1, 100, 70_000):
        for access in (MEM_READ, MEM_WRITE, MEM_READWRITE):
            for end in (c, s):
                descriptor = expect.succeeds(call, end, bytearray(size), access)
                good = type(descriptor) is bytes and len(descriptor) > 0
                expect.true("bytes as a descriptor", good, f"it is {descriptor!r}")
                lengths.add(len(descriptor))
                room = len(descriptor)
                exact = expect.succeeds(call, end, bytearray(size), access, room)
                expect.equal("its length where there is just enough room", len(exact), room)
                expect.succeeds(call, end, bytearray(size), access, 4096)
                told = expect.error(E.WSAEFAULT, call, end, bytearray(size), access, room - 1)
                expect.equal("the length where there is one byte less", told.required, room)
    expect.equal("the number of lengths", len(lengths), 1)
    expect.true("a short descriptor", max(lengths) <= DESCRIPTOR_MAX, f"it has {max(lengths)}")


@check("R-207", "T-39")
def the_length_of_a_descriptor_is_asked_for(driver: Driver) -> None:
    c, _ = driver.pair()
    call = register(driver)
    length = expect.error(E.WSAEFAULT, call, c, bytearray(10), MEM_READ, 0).required or 0
    descriptor = expect.succeeds(call, c, bytearray(10), MEM_READ, length)
    expect.equal("the length that was told", length, len(descriptor))
    listener, port = driver.listener()
    connecting, _, _ = driver.connecting(port)
    for s in (c, driver.socket(), driver.bound(), listener, connecting):
        for buffer in (bytearray(10), b"", None):
            for access in (MEM_READWRITE, 0):
                for room in (0, 1, length - 1):
                    error = expect.error(E.WSAEFAULT, call, s, buffer, access, room)
                    expect.equal("the length that is needed", error.required, length)


@check("R-208")
def memory_that_cannot_be_exposed(driver: Driver) -> None:
    c, s = driver.pair()
    call = register(driver)
    wrong: list[tuple[Any, int, int]] = [
        (None, MEM_READ, E.WSAEFAULT),
        ("text", MEM_READ, E.WSAEFAULT),
        (b"read-only", MEM_WRITE, E.WSAEFAULT),
        (b"read-only", MEM_READWRITE, E.WSAEFAULT),
        (memoryview(bytearray(100))[::2], MEM_READ, E.WSAEFAULT),
        (bytearray(100), 0, E.WSAEINVAL),
        (bytearray(100), 4, E.WSAEINVAL),
    ]
    for buffer, access, code in wrong:
        error = expect.error(code, call, c, buffer, access)
        expect.true("no length for other failures", error.required in (None, 0))
    expect.error(E.WSAENOTSOCK, call, INVALID_SOCKET, bytearray(10), MEM_READ)
    for end in (driver.socket(), driver.bound(), driver.listener()[0]):
        expect.error(E.WSAENOTCONN, call, end, bytearray(10), MEM_READ)
    driver.alive(c, s)


@check("R-208")
def no_room_for_exposures(driver: Driver) -> None:
    c, _ = driver.pair()
    call = register(driver)
    with driver.fault(Fault.NO_BUFFERS):
        expect.error(E.WSAENOBUFS, call, c, bytearray(10), MEM_READ)


@check("R-209")
def a_descriptor_travels_in_a_message(driver: Driver) -> None:
    c, s = driver.pair()
    memories = [bytearray(100) for _ in range(3)]
    described = [driver.expose(s, memory)[0] for memory in memories]
    for number, descriptor in enumerate(described):
        copy = driver.transfer(s, c, descriptor)
        data = driver.register(c, bytearray([number + 1] * 100))
        overlapped = driver.write(c, [data.wsabufex()], copy)
        expect.equal("the result of a write", driver.finish(c, overlapped), (0, 100))
        for other, memory in enumerate(memories):
            wanted = {other + 1} if other <= number else {0}
            expect.equal(f"memory {other}", set(memory), wanted)
    # any bytes will do
    overlapped = driver.write(c, [data.wsabufex()], bytearray(described[0]))  # type: ignore[arg-type]
    expect.equal("the result with a bytearray", driver.finish(c, overlapped), (0, 100))


# --- who gets at it -----------------------------------------------------------------------------


@check("R-210", "T-32", "R-235")
def a_descriptor_is_of_no_use_on_another_connection(driver: Driver) -> None:
    for name, function in transfers(driver):
        for mirrored in (False, True):
            _, s = driver.pair()
            secret = Secret(driver, s)
            c, d = driver.pair()
            # the other connection may have a descriptor in the same place
            driver.expose(d, bytearray(1000))
            code, seen = attempt(driver, d if mirrored else c, function, secret.descriptor)
            secret.untouched(code, seen, f"{name} on another connection")
        c, s = driver.pair()
        secret = Secret(driver, s)
        code, seen = attempt(driver, s, function, secret.descriptor)
        secret.untouched(code, seen, f"{name} by the owner itself")


@check("R-211", "T-30")
def the_peer_may_do_only_what_was_granted(driver: Driver) -> None:
    grants = {"WSPRdmaWrite": MEM_READ, "WSPRdmaRead": MEM_WRITE}
    for name, function in transfers(driver):
        c, s = driver.pair()
        secret = Secret(driver, s, grants[name])
        code, seen = attempt(driver, c, function, secret.descriptor)
        secret.untouched(code, seen, f"{name} without the access for it")


@check("R-211", "T-30")
def wider_registrations_of_the_same_memory_change_nothing(driver: Driver) -> None:
    grants = {"WSPRdmaWrite": MEM_READ, "WSPRdmaRead": MEM_WRITE}
    for name, function in transfers(driver):
        for kept in (False, True):
            c, s = driver.pair()
            whole = bytearray(b"\x55" * 3000)
            part = memoryview(whole)[1000:2000]
            wide, _ = driver.expose(s, part)
            wider, _ = driver.expose(s, whole)
            driver.register(s, whole)
            code, _ = attempt(driver, c, function, wide)
            expect.equal("the code with all access", code, 0)
            whole[:] = b"\x55" * 3000
            if not kept:
                for descriptor in (wide, wider):
                    expect.equal("a deregistration", deregister(driver, s, descriptor), 0)
            secret = Secret(driver, s, grants[name], whole)
            code, seen = attempt(driver, c, function, secret.descriptor)
            secret.untouched(code, seen, f"{name} without the access for it")


@check("R-211")
def local_memory_is_used_only_as_registered(driver: Driver) -> None:
    c, s = driver.pair()
    descriptor, view = driver.expose(s, bytearray(b"\x55" * 100))
    wrong = {"WSPRdmaWrite": MEM_WRITE, "WSPRdmaRead": MEM_READ}
    for name, function in transfers(driver):
        memory = driver.register(c, bytearray(100), wrong[name])
        code = driver.refused(function, c, [memory.wsabufex()], descriptor, 0, 0)
        allowed = (E.WSAEINVAL, E.WSAEFAULT)
        expect.true(f"{name} with such memory to be refused", code in allowed, f"code {code}")
        expect.equal("the memories", (set(memory.view), set(view)), ({0}, {0x55}))


OUTSIDE = (
    (1000, 100), (901, 100), (950, 100), (0, 1001), (1, 1000), (999, 2), (5000, 1),
    (1 << 31, 100), ((1 << 32) - 1, 100), ((1 << 32) - 50, 100), ((1 << 32) - 50, 1000),
    ((1 << 64) - 50, 100), ((1 << 64) - 1, 1), (1 << 64, 1), (-1, 1), (-1000, 1000), (-50, 100),
)  # fmt: skip
"""(offset, length) that are not within 1000 bytes."""


@check("R-212", "R-234", "T-33", "T-31", timeout=60)
def nothing_outside_of_the_memory(driver: Driver) -> None:
    for name, function in transfers(driver):
        c, s = driver.pair()
        for offset, length in OUTSIDE:
            secret = Secret(driver, s)
            code, seen = attempt(driver, c, function, secret.descriptor, offset, length)
            what = f"{name} of {length} bytes at {offset}"
            secret.untouched(code, seen, what)
            if code in (E.WSAECONNABORTED, E.WSAECONNRESET):
                c, s = driver.pair()


@check("T-31", "R-212")
def nothing_outside_of_a_part_of_known_memory(driver: Driver) -> None:
    # The provider knows the whole piece, in its cache and otherwise: the peer must not.
    for name, function in transfers(driver):
        for offset, length in ((1000, 1), (950, 100), ((1 << 32) - 100, 100), (1000, 1000)):
            c, s = driver.pair()
            secret = Secret(driver, s)
            descriptor, _ = driver.expose(s, secret.whole)
            expect.equal("a deregistration", deregister(driver, s, descriptor), 0)
            driver.register(s, secret.whole)
            code, seen = attempt(driver, c, function, secret.descriptor, offset, length)
            secret.untouched(code, seen, f"{name} of {length} bytes at {offset}")


@check("R-235", "T-34")
def invalid_descriptors(driver: Driver) -> None:
    for name, function in transfers(driver):
        c, s = driver.pair()
        secret = Secret(driver, s)
        good = secret.descriptor
        altered: list[Any] = [
            bytes([*good[:place], good[place] ^ 0x81, *good[place + 1 :]])
            for place in range(len(good))
        ]
        altered += [b"", good[:-1], good + b"\0", bytes(len(good)), b"\xff" * len(good), None, 17]
        for descriptor in altered:
            code, seen = attempt(driver, c, function, descriptor)
            secret.untouched(code, seen, f"{name} with the descriptor {descriptor!r}")
            if code in (E.WSAECONNABORTED, E.WSAECONNRESET):
                c, s = driver.pair()
        driver.alive(c, s)


# --- the end of access --------------------------------------------------------------------------


@check("R-213", "R-216", "T-29", "R-235")
def no_access_after_deregistration(driver: Driver) -> None:
    for name, function in transfers(driver):
        c, s = driver.pair()
        secret = Secret(driver, s)
        code, _ = attempt(driver, c, function, secret.descriptor)
        expect.equal(f"the code of {name} before", code, 0)
        secret.whole[:] = b"\x55" * 3000
        expect.equal("the deregistration", deregister(driver, s, secret.descriptor), 0)
        gc.collect()
        expect.true("the memory to be free", free(secret.whole), "it is kept")
        for _ in range(2):
            code, seen = attempt(driver, c, function, secret.descriptor)
            secret.untouched(code, seen, f"{name} after deregistration")
            # nor does what is registered next bring the old descriptor back
            try:
                driver.expose(s, bytearray(1000))
            except expect.Deviation:
                break


@check("R-213")
def no_access_after_the_connection(driver: Driver) -> None:
    for name, function in transfers(driver):
        for owner_closes in (True, False):
            c, s = driver.pair()
            secret = Secret(driver, s)
            memory = driver.register(c, bytearray(b"\xaa" * 100))
            driver.provider.WSPCloseSocket(s if owner_closes else c)
            d, _ = driver.pair()
            for end, local in ((c, memory), (d, None)):
                code, seen = attempt(driver, end, function, secret.descriptor, memory=local)
                secret.untouched(code, seen, f"{name} after the end of the connection")
            if owner_closes:
                gc.collect()
                expect.true("the memory to be free", free(secret.whole), "it is kept")


@check("R-214", start=False)
def no_access_for_a_third_process(driver: Driver) -> None:
    driver.subject.two_processes()

    def connect(link: Link) -> None:
        with Driver(driver.subject) as other:
            host, port = link.get()
            c, outcome = other.connect(port, host=host)
            expect.equal("the outcome of the connect", outcome, 0)
            link.put("connected")
            descriptor = link.get()
            results = [attempt(other, c, function, descriptor) for _, function in transfers(other)]
            link.put(results)
            link.get()

    with Child(connect) as peer, Child(connect) as stranger:
        driver.start()
        listener, port = driver.listener()
        ends = []
        for child in (peer, stranger):
            child.link.put((driver.host, port))
            ends.append(driver.accept(listener))
            child.link.get()
        secret = Secret(driver, ends[0])
        stranger.link.put(secret.descriptor)
        for code, seen in stranger.link.get():
            secret.untouched(code, seen, "a third process")
        idle, _ = driver.recv(ends[0])
        peer.link.put(secret.descriptor)
        while not peer.link.ready():  # some providers' owners have to take part
            driver.poll(ends[0], idle)
        expect.equal("the peer's own code", peer.link.get()[0][0], 0)
        peer.link.put("done")
        stranger.link.put("done")


@check("R-200", "R-214")
def no_access_for_a_forked_child(driver: Driver) -> None:
    c, s = driver.pair()
    secret = Secret(driver, s)
    memory = driver.register(c, bytearray(b"\xaa" * 100))

    def use(link: Link) -> None:
        # The child has the same objects; its parent's memory is none of its business.
        for _, function in transfers(driver):
            overlapped = WSAOVERLAPPED(None, True)
            try:
                function(c, [memory.wsabufex()], secret.descriptor, 0, 0, overlapped)
                driver.poll(c, overlapped)
            except WSAError:
                pass
        link.put("tried")

    with Child(use) as child:
        child.link.get()
    expect.true("the child not to write", set(secret.whole) == {0x55}, "memory has changed")
    code, _ = attempt(driver, c, driver.extension(WSAID_RDMAWRITE), secret.descriptor)
    expect.equal("the code of a write of one's own", code, 0)


# --- deregistering ------------------------------------------------------------------------------


@check("R-215", "T-34")
def unknown_descriptors_are_not_deregistered(driver: Driver) -> None:
    c, s = driver.pair()
    d, _ = driver.pair()
    secret = Secret(driver, s)
    good = secret.descriptor
    strange: list[Any] = [b"", good[:-1], good + b"\0", bytes(len(good)), b"\xff" * len(good)]
    strange += [bytes([*good[:place], good[place] ^ 1, *good[place + 1 :]])
                for place in range(len(good))]  # fmt: skip
    strange += [None, 0, "text", os.urandom(len(good))]
    for descriptor in strange:
        code = deregister(driver, s, descriptor)
        expect.equal(f"the code for {descriptor!r}", code, int(E.WSAEINVAL))
    for end in (c, d):
        expect.equal("the code on another socket", deregister(driver, end, good),
                     int(E.WSAEINVAL))  # fmt: skip
    code, _ = attempt(driver, c, driver.extension(WSAID_RDMAWRITE), good)
    expect.equal("the code of a write", code, 0)
    expect.equal("the code of the right one", deregister(driver, s, good), 0)
    expect.equal("the code of the second time", deregister(driver, s, good), int(E.WSAEINVAL))
    code = deregister(driver, INVALID_SOCKET, good)
    expect.equal("the code for no socket", code, int(E.WSAENOTSOCK))


@check("R-215")
def memory_in_transfer_stays_exposed(driver: Driver) -> None:
    c, s = driver.pair()
    descriptor, view = driver.expose(s, 1000)
    memory: Memory = driver.register(c, bytearray(b"\x01" * 1000))
    with driver.fault(Fault.DELAY):
        overlapped = driver.write(c, [memory.wsabufex()], descriptor)
        if not overlapped.in_progress:
            raise NotApplicable("transfers cannot be made to last")
        code = deregister(driver, s, descriptor)
        expect.equal("the code while a transfer goes on", code, int(E.WSAEINVAL))
    expect.equal("the result of the write", driver.finish(c, overlapped), (0, 1000))
    expect.equal("the bytes", set(view), {1})
    expect.equal("the code when it has ended", deregister(driver, s, descriptor), 0)


@check("R-217")
def exposures_are_counted(driver: Driver) -> None:
    c, s = driver.pair()
    buffer = bytearray(1000)
    write = driver.extension(WSAID_RDMAWRITE)
    described = [register(driver)(s, buffer, MEM_READWRITE) for _ in range(3)]
    for number, descriptor in enumerate(described[:-1]):
        expect.equal("a deregistration", deregister(driver, s, descriptor), 0)
        for left in described[number + 1 :]:
            code, _ = attempt(driver, c, write, left)
            expect.equal("the code of a write", code, 0)
    expect.equal("the last deregistration", deregister(driver, s, described[-1]), 0)
    expect.true("the memory to be free", free(buffer), "it is kept")
    buffer[:] = bytes(1000)
    for descriptor in described:
        code, _ = attempt(driver, c, write, descriptor)
        expect.true("a write after the last to be refused", code in REFUSED, f"code {code}")
    expect.equal("the memory", set(buffer), {0})
