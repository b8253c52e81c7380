"""WSPRdmaWrite and WSPRdmaRead, each of the three ways, in one process and in two."""

import array
import os
import struct
import threading
import time

import pytest

from tests.providers.helpers import PATIENCE, San, code_of, eventually, resources
from wsdirect import settings
from wsdirect._core import native
from wsdirect.providers.shm.limits import RDMA_MAX, REQUESTS_MAX
from wsdirect.spi.constants import (
    FD_CONNECT,
    MEM_READ,
    MEM_READWRITE,
    MEM_WRITE,
    SO_MAX_RDMA_SIZE,
    SO_RDMA_THRESHOLD_SIZE,
    SOL_SOCKET,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.overlapped import WSAOVERLAPPED, Event
from wsdirect.spi.structures import WSABUFEX
from wsdirect.testing.processes import Child

E = WsaErrorCode
WAYS = ["shared", "direct", "owner"]
DESCRIPTOR = 32


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    monkeypatch.setenv("WSDIRECT_RDMA", request.param)
    settings.forget()
    yield request.param
    monkeypatch.undo()
    settings.forget()


@pytest.fixture
def owner_only(monkeypatch):
    monkeypatch.setenv("WSDIRECT_RDMA", "owner")
    settings.forget()
    yield
    monkeypatch.undo()
    settings.forget()


@pytest.fixture
def pair(san, port):
    return san.pair(port)


def memory_for(san, way, size):
    """Memory that this way can be used for."""
    return san.provider.allocate_memory(size) if way == "shared" else bytearray(size)


class Local:
    """A registered buffer as RDMA wants it."""

    def __init__(self, san, s, data, access=MEM_READWRITE):
        self.data = data
        self.handle = san.provider.WSPRegisterMemory(s, data, access)
        self.pair = WSABUFEX(data, self.handle)


def rdma(san, s, write, locals_, descriptor, offset=0, polled=True, flags=0):
    request = WSAOVERLAPPED(polled=polled)
    call = san.provider.WSPRdmaWrite if write else san.provider.WSPRdmaRead
    assert call(s, [local.pair for local in locals_], descriptor, offset, flags, request) is None
    return request


def write(san, s, data, descriptor, offset=0):
    """Write bytes and wait."""
    local = Local(san, s, data, MEM_READ)
    return san.wait(s, rdma(san, s, True, [local], descriptor, offset))


def read(san, s, size, descriptor, offset=0):
    """Read bytes and wait."""
    local = Local(san, s, bytearray(size), MEM_WRITE)
    assert san.wait(s, rdma(san, s, False, [local], descriptor, offset)) == size
    return bytes(local.data)


def code(san, s, is_write, buffers, descriptor, offset=0, flags=0):
    """The code that a request is refused with, or ends with."""
    request = WSAOVERLAPPED(polled=True)
    call = san.provider.WSPRdmaWrite if is_write else san.provider.WSPRdmaRead
    refused = code_of(call, s, buffers, descriptor, offset, flags, request)
    if refused:
        assert not request.in_progress
        return refused
    return code_of(san.wait, s, request)


def counted(before):
    """How many transfers went each way since."""
    now = native.process_counters()
    return {name: now[f"rdma_{name}"] - before[f"rdma_{name}"] for name in WAYS}


# --- moving bytes -------------------------------------------------------------------------------


def test_write_and_read(way, san, pair):
    a, b = pair
    before = native.process_counters()
    target = memory_for(san, way, 10000)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, target, MEM_READWRITE)
    assert len(descriptor) == DESCRIPTOR
    data = os.urandom(9000)
    assert write(san, a, data, descriptor, 500) == 9000
    assert bytes(target[500:9500]) == data
    assert bytes(target[:500]) == bytes(500) == bytes(target[9500:])
    assert read(san, a, 9000, descriptor, 500) == data
    assert read(san, a, 10, descriptor, 9490) == data[-10:]
    assert counted(before) == dict.fromkeys(WAYS, 0) | {way: 3}
    after = native.process_counters()
    assert after[f"rdma_{way}_bytes"] - before[f"rdma_{way}_bytes"] == 18010


def test_gather_and_scatter(way, san, pair):
    a, b = pair
    target = memory_for(san, way, 1000)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, target, MEM_READWRITE)
    block = bytearray(os.urandom(600))
    handle = san.register(a, block)
    parts = [(0, 100), (300, 0), (500, 100), (100, 57)]
    buffers = [WSABUFEX(memoryview(block)[at : at + n], handle) for at, n in parts]
    request = WSAOVERLAPPED(polled=True)
    san.provider.WSPRdmaWrite(a, buffers, descriptor, 3, 0, request)
    assert san.wait(a, request) == 257
    expected = b"".join(block[at : at + n] for at, n in parts)
    assert bytes(target[3:260]) == expected
    sinks = [Local(san, a, bytearray(n)) for n in (1, 200, 56)]
    assert san.wait(a, rdma(san, a, False, sinks, descriptor, 3)) == 257
    assert b"".join(sink.data for sink in sinks) == expected


@pytest.mark.parametrize("size", [1, 65536, 65537, 3_000_001])
def test_sizes(way, san, pair, size):
    a, b = pair
    target = memory_for(san, way, size)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, target, MEM_READWRITE)
    data = os.urandom(size)
    assert write(san, a, data, descriptor) == size
    assert bytes(memoryview(target)) == data
    assert read(san, a, size, descriptor) == data


def test_largest_transfer(way, san, pair):
    a, b = pair
    limit = san.provider.WSPGetSockOpt(a, SOL_SOCKET, SO_MAX_RDMA_SIZE)
    assert limit == RDMA_MAX
    target = memory_for(san, way, limit + 1)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, target, MEM_READWRITE)
    source = bytearray(limit + 1)
    source[0] = source[limit - 1] = source[limit] = 7
    local = Local(san, a, source)
    assert code(san, a, True, [local.pair], descriptor) == E.WSAEMSGSIZE
    whole = WSABUFEX(memoryview(source)[:limit], local.handle)
    request = WSAOVERLAPPED(polled=True)
    san.provider.WSPRdmaWrite(a, [whole], descriptor, 0, 0, request)
    assert san.wait(a, request) == limit
    assert (target[0], target[limit - 1], target[limit]) == (7, 7, 0)
    assert memoryview(target)[:limit] == memoryview(source)[:limit]
    source[limit - 1] = 0
    request = WSAOVERLAPPED(polled=True)
    san.provider.WSPRdmaRead(a, [whole], descriptor, 0, 0, request)
    assert san.wait(a, request) == limit
    assert source[limit - 1] == 7


def test_nothing_to_move(way, san, pair):
    a, b = pair
    target = memory_for(san, way, 8)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, target, MEM_READWRITE)
    assert san.wait(a, rdma(san, a, True, [], descriptor, 8)) == 0
    handle = san.register(a, bytearray(8))
    request = WSAOVERLAPPED(polled=True)
    san.provider.WSPRdmaRead(a, [WSABUFEX(bytearray(0), handle)], descriptor, 0, 0, request)
    assert san.wait(a, request) == 0


def test_memory_of_every_kind(way, san, pair):
    numpy = pytest.importorskip("numpy")
    import mmap

    a, b = pair
    kinds = [
        bytearray(64),
        array.array("I", range(16)),
        mmap.mmap(-1, 64),
        numpy.arange(16, dtype="int32").reshape(4, 4),
        memoryview(bytearray(100))[10:74],
        san.provider.allocate_memory(64),
        memoryview(san.provider.allocate_memory(200))[100:164],
    ]
    for target in kinds:
        descriptor = san.provider.WSPRegisterRdmaMemory(b, target, MEM_READWRITE)
        data = os.urandom(64)
        assert write(san, a, data, descriptor) == 64
        assert bytes(memoryview(target)) == data
        assert read(san, a, 64, descriptor) == data
        assert memoryview(target).nbytes == 64
    text = b"read only, but that is enough for this"
    descriptor = san.provider.WSPRegisterRdmaMemory(b, text, MEM_READ)
    assert read(san, a, len(text), descriptor) == text


def test_notified(way, san, pair):
    a, b = pair
    target = memory_for(san, way, 300000)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, target, MEM_READWRITE)
    mine, inside = threading.get_ident(), []
    san.on_complete = lambda *result: inside.append(threading.get_ident() == mine)
    local = Local(san, a, bytearray(os.urandom(300000)))
    requests = [rdma(san, a, i % 2 == 0, [local], descriptor, polled=False) for i in range(20)]
    assert eventually(lambda: len(san.completed) == 20)
    assert [overlapped for _, overlapped, _, _ in san.completed] == requests
    assert {(error, count) for _, _, error, count in san.completed} == {(0, 300000)}
    assert not any(inside)
    assert san.wait(a, requests[0]) == 300000
    time.sleep(0.02)
    assert len(san.completed) == 20


def test_sixteen_and_more_at_once(way, san, pair):
    a, b = pair
    target = memory_for(san, way, 100 * 64)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, target, MEM_READWRITE)
    locals_ = [Local(san, a, bytes([i]) * 100, MEM_READ) for i in range(64)]
    requests = [rdma(san, a, True, [x], descriptor, 100 * i) for i, x in enumerate(locals_)]
    assert [san.wait(a, request) for request in requests] == [100] * 64
    assert bytes(memoryview(target)) == b"".join(bytes([i]) * 100 for i in range(64))


def test_the_peer_notices_nothing(way, san, pair):
    a, b = pair
    target = memory_for(san, way, 8)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, target, MEM_WRITE)
    request = san.recv(b, bytearray(100), polled=False)
    event = Event()
    san.provider.WSPEventSelect(b, event, FD_CONNECT)
    event.reset()
    write(san, a, b"12345678", descriptor)
    time.sleep(0.01)
    assert request.in_progress
    assert san.completed == []
    assert not event.is_set()
    assert target[:] == b"12345678"
    san.send(a, b"message")
    assert san.wait(b, request) == 7


# --- order --------------------------------------------------------------------------------------


def test_a_send_arrives_after_the_write_before_it(way, san, pair):
    a, b = pair
    size = 500_000
    target = memory_for(san, way, size)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, target, MEM_WRITE)
    for i in range(1, 20):
        local = Local(san, a, bytes([i]) * size, MEM_READ)
        rdma(san, a, True, [local], descriptor)
        san.send(a, b"%d" % i)
        assert san.receive(b) == b"%d" % i  # nobody polls a
        assert target[0] == target[size - 1] == i


def test_a_send_arrives_after_the_read_before_it(way, san, pair):
    a, b = pair
    size = 500_000
    source = memory_for(san, way, size)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, source, MEM_READ)
    for i in range(1, 20):
        source[:] = bytes([i]) * size
        local = Local(san, a, bytearray(size), MEM_WRITE)
        request = rdma(san, a, False, [local], descriptor)
        san.send(a, b"free")
        assert san.receive(b) == b"free"
        source[:] = bytes(size)  # it may be used again
        assert san.wait(a, request) == size
        assert local.data == bytes([i]) * size


def test_a_failing_send_takes_nothing_of_the_order(way, san, pair):
    a, b = pair
    source = memory_for(san, way, 300_000)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, source, MEM_READ)
    local = Local(san, a, bytearray(300_000), MEM_WRITE)
    request = rdma(san, a, False, [local], descriptor)
    bad = WSAOVERLAPPED(polled=True)
    assert code_of(san.provider.WSPSend, a, [b"not registered"], 0, bad) == E.WSAEFAULT
    assert not bad.in_progress
    san.send(a, b"good")
    assert san.receive(b) == b"good"
    assert eventually(lambda: not request.in_progress)
    assert san.wait(a, request) == 300_000


def test_messages_without_receives_do_not_hold_rdma_up(owner_only, san, pair):
    """The owner's program answers nothing before its memory is written."""
    a, b = pair
    target = bytearray(400_000)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, target, MEM_READWRITE)
    texts = [b"early %d" % i for i in range(30)]
    for text in texts[:20]:
        san.send(a, text)
    data = os.urandom(400_000)
    assert write(san, a, data, descriptor) == 400_000
    assert target == data
    for text in texts[20:]:
        san.send(a, text)
    assert read(san, a, 400_000, descriptor) == data
    assert [san.receive(b) for _ in texts] == texts


def test_early_messages_survive_the_end_of_the_connection(owner_only, san, pair):
    a, b = pair
    descriptor = san.provider.WSPRegisterRdmaMemory(b, bytearray(8), MEM_WRITE)
    san.send(a, b"one")
    san.send(a, b"two")
    write(san, a, b"12345678", descriptor)
    san.provider.WSPCloseSocket(a)
    assert code_of(san.provider.WSPDuplicateSocket, b, os.getpid()) == E.WSAEINVAL
    time.sleep(0.01)
    assert san.receive(b) == b"one"
    assert san.receive(b) == b"two"
    assert code_of(san.receive, b) == E.WSAECONNRESET


def test_an_early_message_that_is_too_long(owner_only, san, pair):
    a, b = pair
    descriptor = san.provider.WSPRegisterRdmaMemory(b, bytearray(8), MEM_WRITE)
    san.send(a, b"much too long")
    write(san, a, b"12345678", descriptor)
    assert code_of(san.receive, b, 4) == E.WSAEMSGSIZE
    assert code_of(san.receive, b, 4) == E.WSAECONNABORTED


def test_both_ends_at_once(way, san, pair):
    size = 1 << 20
    memories = [memory_for(san, way, size) for _ in pair]
    names = [
        san.provider.WSPRegisterRdmaMemory(s, x, MEM_READWRITE)
        for s, x in zip(pair, memories, strict=True)
    ]
    locals_ = [Local(san, s, bytearray(os.urandom(size))) for s in pair]
    for _ in range(3):
        requests = [
            (s, rdma(san, s, i % 2 == 0, [local], name))
            for i in range(4)
            for s, local, name in zip(pair, locals_, reversed(names), strict=True)
        ]
        assert [san.wait(s, request) for s, request in requests] == [size] * 8
    assert bytes(memoryview(memories[1])) == locals_[0].data
    assert bytes(memoryview(memories[0])) == locals_[1].data


# --- what is refused ----------------------------------------------------------------------------


def test_bounds(way, san, pair):
    a, b = pair
    block = memory_for(san, way, 300)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, memoryview(block)[100:200], MEM_READWRITE)
    local = Local(san, a, bytearray(b"x" * 101))
    part = memoryview(local.data)
    for is_write in (True, False):
        for length, offset in (
            (101, 0),
            (100, 1),
            (1, 100),
            (1, 2**32 - 1),
            (1, 2**32),
            (1, 2**64 - 1),
            (1, -1),
            (0, 101),
        ):
            buffers = [WSABUFEX(part[:length], local.handle)]
            assert code(san, a, is_write, buffers, descriptor, offset) == E.WSAEFAULT, offset
    assert bytes(memoryview(block)) == bytes(300)
    assert write(san, a, b"y" * 100, descriptor) == 100
    assert bytes(memoryview(block)) == bytes(100) + b"y" * 100 + bytes(100)


def test_access_of_the_exposed_memory(way, san, pair):
    a, b = pair
    target = memory_for(san, way, 8)
    reads = san.provider.WSPRegisterRdmaMemory(b, target, MEM_READ)
    writes = san.provider.WSPRegisterRdmaMemory(b, target, MEM_WRITE)
    assert reads != writes
    local = Local(san, a, bytearray(8))
    assert code(san, a, True, [local.pair], reads) == E.WSAEINVAL
    assert code(san, a, False, [local.pair], writes) == E.WSAEINVAL
    assert code(san, a, True, [local.pair], writes) == 0
    assert code(san, a, False, [local.pair], reads) == 0
    san.provider.WSPRegisterRdmaMemory(b, target, MEM_READWRITE)
    assert code(san, a, True, [local.pair], reads) == E.WSAEINVAL  # T-30


def test_local_buffers(san, pair):
    a, b = pair
    descriptor = san.provider.WSPRegisterRdmaMemory(b, bytearray(100), MEM_READWRITE)
    other = Local(san, b, bytearray(8))
    block = bytearray(16)
    handle = san.register(a, memoryview(block)[4:12])
    reads = san.register(a, b"read only", MEM_READ)
    view = memoryview(block)
    for is_write in (True, False):
        assert code(san, a, is_write, [(other.data, other.handle)], descriptor) == E.WSAEINVAL
        assert code(san, a, is_write, [(view[4:12], 12345)], descriptor) == E.WSAEINVAL
        assert code(san, a, is_write, [(view[4:12], None)], descriptor) == E.WSAEINVAL
        assert code(san, a, is_write, [(view[3:12], handle)], descriptor) == E.WSAEFAULT
        assert code(san, a, is_write, [(view[4:13], handle)], descriptor) == E.WSAEFAULT
        assert code(san, a, is_write, [(bytearray(4), handle)], descriptor) == E.WSAEFAULT
        assert code(san, a, is_write, [(view[4:12:2], handle)], descriptor) == E.WSAEFAULT
        assert code(san, a, is_write, [("text", handle)], descriptor) == E.WSAEFAULT
        assert code(san, a, is_write, [bytearray(4)], descriptor) == E.WSAEFAULT
        assert code(san, a, is_write, None, descriptor) == E.WSAEFAULT
        assert code(san, a, is_write, [(view[4:12], handle)], descriptor) == 0
    assert code(san, a, False, [(b"read only", reads)], descriptor) == E.WSAEINVAL
    only = san.register(a, view[:4], MEM_WRITE)
    assert code(san, a, True, [(view[:4], only)], descriptor) == E.WSAEINVAL
    assert code(san, a, False, [(view[4:12].toreadonly(), handle)], descriptor) == E.WSAEFAULT


def test_descriptors_that_are_none(way, san, pair):
    a, b = pair
    target = memory_for(san, way, 8)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, target, MEM_READWRITE)
    local = Local(san, a, bytearray(8))
    for i in range(len(descriptor)):
        for bit in (1, 0x80):
            altered = bytearray(descriptor)
            altered[i] ^= bit
            assert code(san, a, True, [local.pair], altered) == E.WSAEINVAL, (i, bit)
            assert code_of(san.provider.WSPDeregisterRdmaMemory, b, altered) == E.WSAEINVAL
    for wrong in (b"", b"x", descriptor[:-1], descriptor + b"x", bytes(32), b"\xff" * 32, None, 7):
        assert code(san, a, True, [local.pair], wrong) == E.WSAEINVAL
        assert code(san, a, False, [local.pair], wrong) == E.WSAEINVAL
        assert code_of(san.provider.WSPDeregisterRdmaMemory, b, wrong) == E.WSAEINVAL
    assert code(san, b, True, [Local(san, b, bytearray(8)).pair], descriptor) == E.WSAEINVAL  # own
    assert code_of(san.provider.WSPDeregisterRdmaMemory, a, descriptor) == E.WSAEINVAL
    assert bytes(memoryview(target)) == bytes(8)
    assert code(san, a, True, [local.pair], bytearray(descriptor)) == 0


def test_a_descriptor_works_on_its_connection_only(way, san, port):
    a, b = san.pair(port)
    c, d = san.pair(port)
    target = memory_for(san, way, 8)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, target, MEM_READWRITE)
    same = san.provider.WSPRegisterRdmaMemory(d, target, MEM_READWRITE)
    assert code(san, c, True, [Local(san, c, bytearray(8)).pair], descriptor) == E.WSAEINVAL
    assert code(san, a, True, [Local(san, a, bytearray(8)).pair], same) == E.WSAEINVAL
    assert code(san, c, True, [Local(san, c, b"12345678", MEM_READ).pair], same) == 0
    san.provider.WSPDeregisterRdmaMemory(d, same)
    assert code(san, a, True, [Local(san, a, b"87654321", MEM_READ).pair], descriptor) == 0


def test_access_ends_with_deregistration(way, san, pair):
    a, b = pair
    target = memory_for(san, way, 8)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, target, MEM_READWRITE)
    assert san.provider.WSPRegisterRdmaMemory(b, target, MEM_READWRITE) == descriptor  # counted
    local = Local(san, a, bytearray(b"12345678"))
    assert code(san, a, True, [local.pair], descriptor) == 0
    san.provider.WSPDeregisterRdmaMemory(b, descriptor)
    assert code(san, a, True, [local.pair], descriptor) == 0
    san.provider.WSPDeregisterRdmaMemory(b, descriptor)
    assert code_of(san.provider.WSPDeregisterRdmaMemory, b, descriptor) == E.WSAEINVAL
    target[:] = bytes(8)
    assert code(san, a, True, [local.pair], descriptor) == E.WSAEINVAL
    assert code(san, a, False, [local.pair], descriptor) == E.WSAEINVAL
    again = san.provider.WSPRegisterRdmaMemory(b, target, MEM_READWRITE)
    assert again != descriptor
    assert code(san, a, True, [local.pair], descriptor) == E.WSAEINVAL
    assert bytes(memoryview(target)) == bytes(8)
    assert code(san, a, True, [local.pair], again) == 0


def test_bad_requests(san, pair, port):
    a, b = pair
    descriptor = san.provider.WSPRegisterRdmaMemory(b, bytearray(8), MEM_READWRITE)
    local = Local(san, a, bytearray(8))
    for call in (san.provider.WSPRdmaWrite, san.provider.WSPRdmaRead):
        request = WSAOVERLAPPED(polled=True)
        arguments = ([local.pair], descriptor, 0)
        assert code_of(call, a, *arguments, 1, request) == E.WSAEOPNOTSUPP
        assert code_of(call, a, *arguments, 0, None) == E.WSAEINVAL
        assert code_of(call, -1, *arguments, 0, request) == E.WSAENOTSOCK
        assert code_of(call, san.socket(), *arguments, 0, request) == E.WSAENOTCONN
        assert code_of(call, san.listen(port), *arguments, 0, request) == E.WSAENOTCONN
        busy = san.recv(a, bytearray(8))
        assert code_of(call, a, *arguments, 0, busy) == E.WSAEINVAL
        assert busy.in_progress
        assert not request.in_progress
    san.provider.WSPDeregisterRdmaMemory(b, descriptor)  # no failed request is still in there
    san.provider.WSPDeregisterMemory(a, local.handle)


def test_too_many_requests(owner_only, san, pair):
    a, b = pair
    block = bytes(60000)
    san.register(a, block, MEM_READ)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, bytearray(8), MEM_WRITE)
    local = Local(san, a, bytearray(8))
    refused, sends = 0, []
    while not refused:
        sends.append(WSAOVERLAPPED(polled=True))
        refused = code_of(san.provider.WSPSend, a, [block], 0, sends[-1])
    assert refused == E.WSAEWOULDBLOCK
    assert code(san, a, True, [local.pair], descriptor) == E.WSAEWOULDBLOCK
    assert len(sends) > REQUESTS_MAX
    for _ in sends[:-1]:
        assert len(san.receive(b, 65536)) == 60000
        san.provider.WSPGetOverlappedResult(a, sends[-2])  # moves them on
    assert code(san, a, True, [local.pair], descriptor) == 0


def test_options(san, pair):
    for s in (*pair, san.socket()):
        get = san.provider.WSPGetSockOpt
        assert get(s, SOL_SOCKET, SO_MAX_RDMA_SIZE) == 64 << 20
        assert get(s, SOL_SOCKET, SO_RDMA_THRESHOLD_SIZE) == 16384


# --- memory in use ------------------------------------------------------------------------------


def test_memory_of_a_transfer_cannot_be_deregistered(owner_only, san, pair):
    """A transfer that waits behind sends is in progress: T-35, R-215."""
    a, b = pair
    descriptor = san.provider.WSPRegisterRdmaMemory(b, bytearray(8), MEM_WRITE)
    for _ in range(8):
        san.send(a, bytes(60000))
    local = Local(san, a, bytearray(b"12345678"))
    request = rdma(san, a, True, [local], descriptor)
    assert request.in_progress
    assert code_of(san.provider.WSPDeregisterMemory, a, local.handle) == E.WSAEINVAL
    assert code_of(san.provider.WSPDeregisterRdmaMemory, b, descriptor) == E.WSAEINVAL
    address, length = native.address_of(local.data)
    forget = san.provider.WSPMemoryRegistrationCacheCallback
    assert code_of(forget, address, length) == E.WSAEFAULT
    for _ in range(8):
        san.receive(b, 65536)
    assert san.wait(a, request) == 8
    san.provider.WSPDeregisterMemory(a, local.handle)
    san.provider.WSPDeregisterRdmaMemory(b, descriptor)


def test_close_with_transfers_waiting(owner_only, san, pair):
    a, b = pair
    descriptor = san.provider.WSPRegisterRdmaMemory(b, bytearray(8), MEM_WRITE)
    for _ in range(8):
        san.send(a, bytes(60000))
    local = Local(san, a, bytearray(8))
    requests = [rdma(san, a, True, [local], descriptor, polled=i % 2 == 0) for i in range(4)]
    san.provider.WSPCloseSocket(a)
    assert {request.OffsetHigh for request in requests} == {E.WSA_OPERATION_ABORTED}
    assert eventually(lambda: len(san.completed) == 2)
    local.data.append(1)  # not held any more
    san.provider.WSPDeregisterRdmaMemory(b, descriptor)


@pytest.mark.parametrize("polled", [True, False])
def test_the_owner_closes_without_an_answer(owner_only, san, pair, polled):
    a, b = pair
    descriptor = san.provider.WSPRegisterRdmaMemory(b, bytearray(8), MEM_READWRITE)
    local = Local(san, a, bytearray(8))
    owner = next(x for x in san.provider._san.sockets if x.descriptor == b)
    with owner.lock:  # it cannot answer
        requests = [rdma(san, a, i % 2 == 0, [local], descriptor, polled=polled) for i in range(4)]
        san.provider._san.progress.unwatch(owner.channel.stream.fd)
    san.provider.WSPCloseSocket(b)
    assert {code_of(san.wait, a, request) for request in requests} <= {0, E.WSAECONNRESET}
    assert eventually(lambda: polled or len(san.completed) == 4)
    assert not any(request.in_progress for request in requests)
    san.provider.WSPDeregisterMemory(a, local.handle)


def test_the_owner_closes(way, san, pair):
    a, b = pair
    target = memory_for(san, way, 8)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, target, MEM_WRITE)
    san.provider.WSPCloseSocket(b)
    local = Local(san, a, bytearray(8))
    assert code(san, a, True, [local.pair], descriptor) in (E.WSAEINVAL, E.WSAECONNRESET)
    assert code_of(san.receive, a) == E.WSAECONNRESET
    assert bytes(memoryview(target)) == bytes(8)


# --- two processes ------------------------------------------------------------------------------


def serve(port, way, size):
    """A process that exposes memory, and says what is in it when asked with a message."""

    def run(link):
        mine = San()
        listener = mine.listen(port)
        link.put("ready")
        s, _ = mine.accept(listener)
        memory = memory_for(mine, way, size)
        link.put(mine.provider.WSPRegisterRdmaMemory(s, memory, MEM_READWRITE))
        try:
            while True:
                question = mine.receive(s, 64)
                if question == b"end":
                    break
                at, length = struct.unpack("<II", question)
                mine.wait(s, mine.send(s, bytes(memory[at : at + length])))
        except WSAError as error:
            link.put(error.winerror)
        mine.close()

    return run


def join(san, port):
    s, event = san.connect(port)
    assert san.connected(s, event) == 0
    return s


def test_another_process(way, san, port):
    before = native.process_counters()
    with Child(serve(port, way, 1 << 20)) as child:
        child.link.get()
        s = join(san, port)
        descriptor = child.link.get()
        for size, at in ((1, 0), (60000, 17), (1 << 20, 0)):
            data = os.urandom(size)
            local = Local(san, s, data, MEM_READ)
            rdma(san, s, True, [local], descriptor, at)
            length = min(size, 65536)
            san.send(s, struct.pack("<II", at, length))  # right behind it
            assert san.receive(s, 65536) == data[:length]
            assert read(san, s, size, descriptor, at) == data
        assert counted(before) == dict.fromkeys(WAYS, 0) | {way: 6}
        san.send(s, b"end")


def test_owner_that_never_calls_its_provider(way, san, port):
    """The owner's progress thread answers, whatever its program does."""

    def idle(link):
        mine = San()
        listener = mine.listen(port)
        link.put("ready")
        s, _ = mine.accept(listener)
        memory = memory_for(mine, way, 1 << 20)
        request = mine.recv(s, bytearray(8))
        for _ in range(100):  # polling silences the bell
            mine.provider.WSPGetOverlappedResult(s, request)
        link.put(mine.provider.WSPRegisterRdmaMemory(s, memory, MEM_READWRITE))
        for _ in range(100):
            mine.provider.WSPGetOverlappedResult(s, request)
        link.get()
        link.put(bytes(memory[:10]))
        mine.close()

    with Child(idle) as child:
        child.link.get()
        s = join(san, port)
        descriptor = child.link.get()
        data = os.urandom(1 << 20)
        assert write(san, s, data, descriptor) == 1 << 20
        assert read(san, s, 1 << 20, descriptor) == data
        child.link.put("done")
        assert child.link.get() == data[:10]


@pytest.mark.parametrize("polled", [True, False])
def test_owner_is_killed(way, san, port, polled):
    with Child(serve(port, way, 8 << 20)) as child:
        child.link.get()
        s = join(san, port)
        descriptor = child.link.get()
        local = Local(san, s, bytearray(8 << 20))
        killer = threading.Timer(0.02, os.kill, (child.pid, 9))
        killer.start()
        ended = 0
        requests = []
        deadline = time.monotonic() + PATIENCE
        while not ended and time.monotonic() < deadline:
            request = WSAOVERLAPPED(polled=polled)
            ended = code_of(san.provider.WSPRdmaWrite, s, [local.pair], descriptor, 0, 0, request)
            if not ended:
                requests.append(request)
                ended = code_of(san.wait, s, request)
        assert ended in (E.WSAECONNRESET, E.WSAEINVAL)
        assert not any(request.in_progress for request in requests)
        killer.join()
        child.kill()
        assert eventually(lambda: code_of(san.receive, s) == E.WSAECONNRESET)
        san.provider.WSPDeregisterMemory(s, local.handle)
        local.data.append(0)


def test_peer_is_killed_in_our_memory(way, san, port):
    """Whatever it was at, our memory is ours again."""

    def client(link):
        mine = San()
        s = join(mine, port)
        descriptor = link.get()
        local = Local(mine, s, bytes(4 << 20), MEM_READ)
        link.put("begin")
        while True:
            mine.wait(s, rdma(mine, s, True, [local], descriptor))

    listener = san.listen(port)
    with Child(client) as child:
        s, _ = san.accept(listener)
        target = memory_for(san, way, 4 << 20)
        descriptor = san.provider.WSPRegisterRdmaMemory(s, target, MEM_WRITE)
        child.link.put(descriptor)
        child.link.get()
        time.sleep(0.03)
        child.kill()
        assert eventually(lambda: code_of(san.provider.WSPDeregisterRdmaMemory, s, descriptor) == 0)
        target.close() if way == "shared" else target.append(0)


def test_deregistration_waits_for_nobody_but_is_never_too_early(way, san, port):
    """While the peer writes, deregistering either fails or is final."""

    def client(link):
        mine = San()
        s = join(mine, port)
        descriptors = link.get()
        local = Local(mine, s, b"\1" * (256 << 10), MEM_READ)
        link.put("begin")
        for descriptor in descriptors:
            while not code(mine, s, True, [local.pair], descriptor):
                pass
        link.put("all ended")
        link.get()

    listener = san.listen(port)
    with Child(client) as child:
        s, _ = san.accept(listener)
        targets = [memory_for(san, way, 256 << 10) for _ in range(10)]
        names = [san.provider.WSPRegisterRdmaMemory(s, x, MEM_WRITE) for x in targets]
        child.link.put(names)
        child.link.get()
        for target, name in zip(targets, names, strict=True):
            assert eventually(lambda: target[0])  # noqa: B023
            assert eventually(
                lambda: code_of(san.provider.WSPDeregisterRdmaMemory, s, name) == 0  # noqa: B023
            )
            target[:] = bytes(len(target))
            time.sleep(0.005)
            assert bytes(memoryview(target)) == bytes(len(target))
        assert child.link.get() == "all ended"
        child.link.put("end")


def test_fork_leaves_the_parents_registrations_alone(way, san, pair):
    a, b = pair
    target = memory_for(san, way, 8)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, target, MEM_WRITE)
    local = Local(san, a, bytearray(b"12345678"))

    def child(link):
        local.data.append(1)  # not held here
        assert code_of(san.provider.WSPDeregisterRdmaMemory, b, descriptor) == E.WSAENOTSOCK
        link.put("done")

    with Child(child) as process:
        assert process.link.get() == "done"
    assert code(san, a, True, [local.pair], descriptor) == 0
    assert bytes(memoryview(target)) == b"12345678"
    with pytest.raises(BufferError):
        local.data.append(1)


def test_nothing_is_left_behind(way, san, port):
    listener = san.listen(port)

    def everything():
        a, event = san.connect(port)
        b, _ = san.accept(listener)
        assert san.connected(a, event) == 0
        event.close()  # a timer of the connect keeps it for some seconds
        target = memory_for(san, way, 100_000)
        descriptor = san.provider.WSPRegisterRdmaMemory(b, target, MEM_READWRITE)
        local = Local(san, a, bytearray(100_000))
        for is_write in (True, False):
            san.wait(a, rdma(san, a, is_write, [local], descriptor))
        san.provider.WSPCloseSocket(a)
        san.provider.WSPCloseSocket(b)
        local.data.append(1)
        target.close() if way == "shared" else target.append(1)

    def mapped():
        with open("/proc/self/maps") as maps:
            return sum("memfd:wsdirect-memory" in line for line in maps)

    everything()
    before = resources(), mapped()
    for _ in range(30):
        everything()
    assert (resources(), mapped()) == before
    assert mapped() == 0


def test_many_threads_on_one_socket(way, san, pair):
    a, b = pair
    size, count = 50_000, 4
    target = memory_for(san, way, size * count)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, target, MEM_READWRITE)
    errors = []

    def work(mine):
        try:
            for round_ in range(15):
                data = bytes([mine * 40 + round_]) * size
                polled = round_ % 2 == 0
                local = Local(san, a, bytearray(data))
                request = rdma(san, a, True, [local], descriptor, mine * size, polled)
                assert san.wait(a, request) == size
                local.data[:] = bytes(size)
                request = rdma(san, a, False, [local], descriptor, mine * size, polled)
                assert san.wait(a, request) == size
                assert local.data == data
                san.provider.WSPDeregisterMemory(a, local.handle)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    san.provider.WSPDeregisterRdmaMemory(b, descriptor)


def test_by_the_owner_through_a_small_ring(owner_only, san, port, monkeypatch):
    monkeypatch.setenv("WSDIRECT_RING", "4096")
    settings.forget()
    a, b = san.pair(port)
    target = bytearray(100_000)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, target, MEM_READWRITE)
    data = os.urandom(100_000)
    assert write(san, a, data, descriptor) == 100_000
    assert target == data
    assert read(san, a, 100_000, descriptor) == data
    san.send(a, b"after")
    assert san.receive(b) == b"after"


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to become somebody else")
def test_a_peer_that_may_not_touch_our_memory(san, port, monkeypatch):
    """Where the kernel forbids both short ways, the owner does it."""
    monkeypatch.setenv("WSDIRECT_ALLOW_UIDS", "0,65534")
    settings.forget()

    def client(link):
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        mine = San()
        s = join(mine, port)
        before = native.process_counters()
        for descriptor in link.get():
            data = os.urandom(200_000)
            assert write(mine, s, data, descriptor) == 200_000
            assert read(mine, s, 200_000, descriptor) == data
        link.put(counted(before))
        link.get()
        mine.close()

    try:
        listener = san.listen(port)
        with Child(client) as child:
            s, _ = san.accept(listener)
            targets = [bytearray(200_000), san.provider.allocate_memory(200_000)]
            expose = san.provider.WSPRegisterRdmaMemory
            child.link.put([expose(s, target, MEM_READWRITE) for target in targets])
            assert child.link.get() == {"shared": 0, "direct": 0, "owner": 4}
            child.link.put("end")
    finally:
        settings.forget()


def test_memory_of_the_peer_is_mapped_only_so_often(san, port):
    count = 40
    a, b = san.pair(port)
    blocks = [san.provider.allocate_memory(4096) for _ in range(count)]
    names = [san.provider.WSPRegisterRdmaMemory(b, block, MEM_WRITE) for block in blocks]
    before = native.process_counters()
    for _ in range(2):
        for name in names:
            assert write(san, a, b"x" * 10, name) == 10
    assert counted(before)["shared"] == 2 * count
    with open("/proc/self/maps") as maps:
        mapped = sum("memfd:wsdirect-memory" in line for line in maps)
    assert mapped == count + 16
    san.provider.WSPCloseSocket(a)
    with open("/proc/self/maps") as maps:
        assert sum("memfd:wsdirect-memory" in line for line in maps) == count
