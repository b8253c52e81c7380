"""Registering memory with the shared-memory provider, and the memory that it makes."""

import array
import contextlib
import gc
import mmap
import os
import pickle
import struct
import threading

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.providers.helpers import San, code_of, eventually, resources
from wsdirect import settings
from wsdirect._core import native
from wsdirect.providers.shm import memory
from wsdirect.providers.shm.limits import DESCRIPTOR_SIZE, EXPOSURES_MAX
from wsdirect.spi.constants import (
    MEM_READ,
    MEM_READWRITE,
    MEM_WRITE,
    SIO_GET_EXTENSION_FUNCTION_POINTER,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.memory import WSAID_ALLOCATE_MEMORY, memory_allocator_of
from wsdirect.spi.overlapped import WSAOVERLAPPED
from wsdirect.spi.structures import WSABUFEX
from wsdirect.testing.processes import Child

E = WsaErrorCode


@pytest.fixture
def pair(san, port):
    return san.pair(port)


def transfer(san, s, write, buffer, handle, descriptor, offset=0):
    """A transfer's code, 0 if it succeeds."""
    request = WSAOVERLAPPED(polled=True)
    call = san.provider.WSPRdmaWrite if write else san.provider.WSPRdmaRead
    refused = code_of(call, s, [WSABUFEX(buffer, handle)], descriptor, 0, 0, request)
    return refused or code_of(san.wait, s, request)


def send(san, s, *buffers):
    """The code of a send of buffers as they are."""
    request = WSAOVERLAPPED(polled=True)
    code = code_of(san.provider.WSPSend, s, buffers, 0, request)
    assert not (code and request.in_progress)  # T-42
    return code


def recv(san, s, *buffers):
    request = WSAOVERLAPPED(polled=True)
    code = code_of(san.provider.WSPRecv, s, buffers, 0, request)
    assert not (code and request.in_progress)
    return code


# --- arguments ----------------------------------------------------------------------------------


def test_access(san, pair):
    a, _ = pair
    for call in (san.provider.WSPRegisterMemory, san.provider.WSPRegisterRdmaMemory):
        for access in (0, 4, 7, -1, 1 << 32, None):
            assert code_of(call, a, bytearray(8), access) == E.WSAEINVAL
        for access in (1, 2, 3, MEM_READ, MEM_WRITE, MEM_READWRITE):
            assert call(a, bytearray(8), access)


def test_buffers(san, pair):
    a, _ = pair
    unmapped = mmap.mmap(-1, 4096)
    unmapped.close()
    for call in (san.provider.WSPRegisterMemory, san.provider.WSPRegisterRdmaMemory):
        for buffer in (None, "text", 7, b"", bytearray(), memoryview(b"123456")[::2], unmapped):
            assert code_of(call, a, buffer, MEM_READ) == E.WSAEFAULT, buffer
        for access in (MEM_WRITE, MEM_READWRITE):
            assert code_of(call, a, b"read-only", access) == E.WSAEFAULT
            assert code_of(call, a, memoryview(bytearray(8)).toreadonly(), access) == E.WSAEFAULT
        assert call(a, b"read-only", MEM_READ)


def test_states(san, port, pair):
    """T-40, T-39."""
    fresh = san.provider.WSPSocket(2, 1, 6)
    native_pair = san.listen(port + 50, native=True), san.connect(port + 50, native=True)
    for s in (fresh, san.socket(), san.listen(port)):
        assert code_of(san.provider.WSPRegisterMemory, s, bytearray(8), 1) == E.WSAENOTCONN
        assert code_of(san.provider.WSPRegisterRdmaMemory, s, bytearray(8), 1) == E.WSAENOTCONN
        assert code_of(san.provider.WSPDeregisterMemory, s, 1) == E.WSAEINVAL
        assert code_of(san.provider.WSPDeregisterRdmaMemory, s, bytes(32)) == E.WSAEINVAL
    register, expose = san.provider.WSPRegisterMemory, san.provider.WSPRegisterRdmaMemory
    assert code_of(register, native_pair[1], bytearray(8), 1) == E.WSAEOPNOTSUPP
    assert code_of(expose, native_pair[1], bytearray(8), 1) == E.WSAEOPNOTSUPP
    a, b = pair
    san.provider.WSPCloseSocket(b)
    assert code_of(san.receive, a) == E.WSAECONNRESET
    assert code_of(register, a, bytearray(8), 1) == E.WSAECONNRESET
    assert code_of(expose, a, bytearray(8), 1) == E.WSAECONNRESET
    for s in (b, -1, 2**64 - 1):
        assert code_of(register, s, bytearray(8), 1) == E.WSAENOTSOCK
        assert code_of(expose, s, bytearray(8), 1) == E.WSAENOTSOCK
        assert code_of(san.provider.WSPDeregisterMemory, s, 1) == E.WSAENOTSOCK
        assert code_of(san.provider.WSPDeregisterRdmaMemory, s, bytes(32)) == E.WSAENOTSOCK


def test_length_of_descriptors(san, pair, port):
    expose = san.provider.WSPRegisterRdmaMemory
    for s in (*pair, san.socket(), san.listen(port)):
        for capacity in (0, 1, DESCRIPTOR_SIZE - 1):
            with pytest.raises(WSAError) as caught:
                expose(s, None, 0, capacity)  # before everything else
            assert caught.value.winerror == E.WSAEFAULT
            assert caught.value.required == DESCRIPTOR_SIZE == 32
    a, _ = pair
    assert len(expose(a, bytearray(8), MEM_READ, 32)) == 32
    assert len(expose(a, bytearray(8), MEM_READ, 1000)) == 32
    with pytest.raises(WSAError) as caught:
        expose(a, None, MEM_READ, 32)
    assert caught.value.required is None


# --- what requests need -------------------------------------------------------------------------


def test_messages_need_registered_memory(san, pair):
    a, b = pair
    data = bytearray(100)
    view = memoryview(data)
    assert send(san, a, data) == E.WSAEFAULT
    assert recv(san, a, data) == E.WSAEFAULT
    handle = san.register(a, view[10:90], MEM_READ)
    assert send(san, b, view[10:20]) == E.WSAEFAULT  # registered on another socket
    assert recv(san, a, view[10:20]) == E.WSAEFAULT  # for something else
    assert send(san, a, view[9:20]) == E.WSAEFAULT
    assert send(san, a, view[80:91]) == E.WSAEFAULT
    assert send(san, a, view[10:20], view[0:5]) == E.WSAEFAULT
    assert send(san, a, view[10:20], b"", view[30:35], view[89:90]) == 0
    assert send(san, a) == 0
    assert len(san.receive(b)) == 16
    assert san.receive(b) == b""
    san.provider.WSPDeregisterMemory(a, handle)
    assert send(san, a, view[10:20]) == E.WSAEFAULT
    writes = san.register(a, data, MEM_WRITE)
    assert send(san, a, data) == E.WSAEFAULT
    assert recv(san, a, view.toreadonly()) == E.WSAEFAULT
    assert recv(san, a, view[:50], view[60:]) == 0
    assert code_of(san.provider.WSPDeregisterMemory, a, writes) == E.WSAEINVAL  # T-35
    san.send(b, b"m" * 60)
    poll(san, a)
    san.provider.WSPDeregisterMemory(a, writes)
    assert bytes(data) == b"m" * 50 + bytes(10) + b"m" * 10 + bytes(30)


def poll(san, s):
    """Move the requests of a socket on."""
    request = WSAOVERLAPPED(polled=True)
    request.start()
    assert san.provider.WSPGetOverlappedResult(s, request) is None


def test_memory_of_a_send_that_waits_is_in_use(san, pair):
    a, b = pair
    data = bytearray(60000)
    handle = san.register(a, data)
    for _ in range(6):
        assert send(san, a, data) == 0
    assert code_of(san.provider.WSPDeregisterMemory, a, handle) == E.WSAEINVAL
    with pytest.raises(BufferError):
        data.append(1)
    for _ in range(6):
        san.receive(b, 65536)
        poll(san, a)
    san.provider.WSPDeregisterMemory(a, handle)
    data.append(1)


def test_handles_work_where_they_were_made(san, port):
    a, b = san.pair(port)
    data = bytearray(8)
    handle = san.register(a, data)
    assert san.register(a, data) == handle
    assert san.register(b, data) != handle
    assert code_of(san.provider.WSPDeregisterMemory, b, handle) == E.WSAEINVAL
    for wrong in (0, -1, handle + 1, 2**64, None, "x"):
        assert code_of(san.provider.WSPDeregisterMemory, a, wrong) == E.WSAEINVAL
    san.provider.WSPDeregisterMemory(a, handle)
    san.provider.WSPDeregisterMemory(a, handle)
    assert code_of(san.provider.WSPDeregisterMemory, a, handle) == E.WSAEINVAL


def test_registered_buffers_stay_where_they_are(san, pair):
    a, b = pair
    data, mapped, items = bytearray(8), mmap.mmap(-1, 4096), array.array("i", [1, 2])
    handles = [san.register(a, data), san.register(a, mapped)]
    name = san.provider.WSPRegisterRdmaMemory(b, items, MEM_READ)
    for change in (lambda: data.append(1), mapped.close, lambda: items.append(1)):
        with pytest.raises(BufferError):
            change()
    for handle in handles:
        san.provider.WSPDeregisterMemory(a, handle)
    san.provider.WSPDeregisterRdmaMemory(b, name)
    data.append(1)
    mapped.close()
    items.append(1)


def test_a_thousand_rounds(san, pair):
    a, b = pair
    data = bytearray(4096)
    shared = san.provider.allocate_memory(4096)

    def round_():
        handle = san.register(a, data)
        names = [san.provider.WSPRegisterRdmaMemory(b, x, MEM_WRITE) for x in (data, shared)]
        san.provider.WSPDeregisterMemory(a, handle)
        for name in names:
            san.provider.WSPDeregisterRdmaMemory(b, name)
        return names

    seen = set(round_())
    before = resources(), len(gc.get_objects())
    for _ in range(1000):
        seen.update(round_())
    assert len(seen) == 2002  # never the same descriptor again
    after = resources(), len(gc.get_objects())
    assert after[0] == before[0]
    assert after[1] < before[1] + 100
    data.append(1)
    shared.close()


def test_as_many_descriptors_as_there_are_entries(san, pair):
    a, b = pair
    expose = san.provider.WSPRegisterRdmaMemory
    blocks = [bytearray(8) for _ in range(EXPOSURES_MAX + 1)]
    names = [expose(b, block, MEM_WRITE) for block in blocks[:-1]]
    assert code_of(expose, b, blocks[-1], MEM_WRITE) == E.WSAENOBUFS
    blocks[-1].append(1)
    source = bytearray(b"12345678")
    handle = san.register(a, source)
    assert transfer(san, a, True, source, handle, names[-1]) == 0
    assert blocks[-2] == source
    san.provider.WSPDeregisterRdmaMemory(b, names[64])
    name = expose(b, memoryview(blocks[-1])[:8], MEM_WRITE)
    assert transfer(san, a, True, source, handle, name) == 0
    assert blocks[-1][:8] == source


@pytest.mark.parametrize("how", ["close", "duplicate", "peer closes"])
def test_the_end_of_a_connection_gives_all_buffers_back(san, pair, how):
    a, b = pair
    data = [bytearray(8) for _ in range(3)]
    handle = san.register(a, data[0])
    name = san.provider.WSPRegisterRdmaMemory(a, data[1], MEM_WRITE)
    source = bytearray(8)
    local = san.register(b, source)
    san.recv(a, data[2], polled=False)
    if how == "close":
        san.provider.WSPCloseSocket(a)
    elif how == "duplicate":
        san.provider.WSPDuplicateSocket(a, os.getpid())
        assert transfer(san, b, True, source, local, name) == E.WSAEINVAL
    else:
        san.provider.WSPCloseSocket(b)
        assert eventually(lambda: san.completed)
        san.provider.WSPDeregisterMemory(a, handle)
        san.provider.WSPDeregisterRdmaMemory(a, name)
        san.provider.WSPCloseSocket(a)
    for buffer in data:
        buffer.append(1)


# --- giving memory up ---------------------------------------------------------------------------


def test_cache_callback(san, port):
    a, b = san.pair(port)
    forget = san.provider.WSPMemoryRegistrationCacheCallback
    data, other = bytearray(8192), bytearray(100)
    address, _ = native.address_of(data)
    assert code_of(forget, address, 8192) == E.WSAEINVAL  # T-38
    handle = san.register(a, memoryview(data)[1000:2000])
    name = san.provider.WSPRegisterRdmaMemory(b, memoryview(data)[3000:4000], MEM_READWRITE)
    mine = bytearray(1000)
    local = san.register(a, mine)
    kept = san.register(a, other)
    assert code_of(forget, address, 1000) == E.WSAEINVAL
    assert code_of(forget, address + 2000, 1000) == E.WSAEINVAL
    assert transfer(san, a, True, mine, local, name) == 0
    forget(address + 1999, 1002)  # a byte of each: T-36
    assert code_of(forget, address + 1999, 1002) == E.WSAEINVAL
    data.append(1)  # held no more
    assert send(san, a, memoryview(data)[1000:1001]) == E.WSAEFAULT
    view = memoryview(data)[1000:2000]
    assert transfer(san, a, True, view, handle, name) == E.WSAEINVAL  # T-37
    assert transfer(san, a, True, mine, local, name) == E.WSAEINVAL
    assert transfer(san, a, False, mine, local, name) == E.WSAEINVAL
    san.provider.WSPDeregisterMemory(a, handle)
    san.provider.WSPDeregisterRdmaMemory(b, name)
    assert code_of(san.provider.WSPDeregisterRdmaMemory, b, name) == E.WSAEINVAL
    assert send(san, a, other) == 0
    san.provider.WSPDeregisterMemory(a, kept)


def test_cache_callback_for_memory_in_use(san, pair):
    a, b = pair
    data = bytearray(100)
    address, _ = native.address_of(data)
    request = san.recv(a, memoryview(data)[:50])
    free = san.register(a, memoryview(data)[60:])
    forget = san.provider.WSPMemoryRegistrationCacheCallback
    assert code_of(forget, address, 100) == E.WSAEFAULT
    san.send(b, b"still")
    assert san.wait(a, request) == 5
    assert data[:5] == b"still"
    assert send(san, a, memoryview(data)[60:61]) == E.WSAEFAULT  # this part was not in use
    forget(address, 100)
    san.provider.WSPDeregisterMemory(a, free)


def test_cache_callback_when_nothing_is_registered_any_more(san, pair):
    """What is remembered of shareable memory is forgotten; of other memory nothing is."""
    _, b = pair
    forget = san.provider.WSPMemoryRegistrationCacheCallback
    for data, answer in ((san.provider.allocate_memory(100), 0), (bytearray(100), E.WSAEINVAL)):
        address, _ = native.address_of(data)
        assert code_of(forget, address, 100) == E.WSAEINVAL
        name = san.provider.WSPRegisterRdmaMemory(b, data, MEM_READ)
        san.provider.WSPDeregisterRdmaMemory(b, name)
        assert code_of(forget, address + 50, 1) == answer
        assert code_of(forget, address + 50, 1) == E.WSAEINVAL


def test_memory_that_is_closed_is_forgotten(san, pair):
    _, b = pair
    block = san.provider.allocate_memory(100)
    address, _ = native.address_of(block)
    san.provider.WSPDeregisterRdmaMemory(b, san.provider.WSPRegisterRdmaMemory(b, block, MEM_READ))
    block.close()
    forget = san.provider.WSPMemoryRegistrationCacheCallback
    assert code_of(forget, address, 100) == E.WSAEINVAL


@pytest.mark.parametrize(
    ("address", "size"), [(0, 0), (1000, 0), (1000, -5), (-1, 5), (None, 1), (2**64, 2**64)]
)
def test_cache_callback_for_no_range(san, address, size):
    forget = san.provider.WSPMemoryRegistrationCacheCallback
    assert code_of(forget, address, size) == E.WSAEINVAL


def test_new_memory_at_an_old_address(san, pair, monkeypatch):
    """R-225: what was remembered of an address says nothing of the next memory there."""
    a, b = pair
    shared = san.provider.allocate_memory(1 << 16)
    address, length = native.address_of(shared)
    name = san.provider.WSPRegisterRdmaMemory(b, shared, MEM_WRITE)
    source = bytearray(b"new" * 100)
    handle = san.register(a, source)
    assert transfer(san, a, True, source, handle, name) == 0
    san.provider.WSPMemoryRegistrationCacheCallback(address, length)
    shared.close()
    # ordinary memory takes its place
    new = mmap.mmap(-1, 1 << 16)
    tries = []
    while native.address_of(new)[0] != address and len(tries) < 50:
        tries.append(new)
        new = mmap.mmap(-1, 1 << 16)
    assert memory.resolve(*native.address_of(new)) is None
    name = san.provider.WSPRegisterRdmaMemory(b, new, MEM_WRITE)
    assert transfer(san, a, True, source, handle, name) == 0
    assert new[:300] == source


# --- the provider's memory ----------------------------------------------------------------------


def test_allocator(san):
    ask = san.provider.WSPIoctl
    for s in (-1, san.socket()):
        found = ask(s, SIO_GET_EXTENSION_FUNCTION_POINTER, WSAID_ALLOCATE_MEMORY)
        assert found == san.provider.allocate_memory
    assert memory_allocator_of(san.provider) == san.provider.allocate_memory
    for size in (0, -1, 1 << 60, None, "1", 1.5):
        assert code_of(san.provider.allocate_memory, size) == E.WSAEINVAL
    with san.provider.allocate_memory(10000) as block:
        assert len(block) == 10000
        assert bytes(block[:10]) == bytes(10)
        block[5:8] = b"abc"
        assert memoryview(block)[4:9] == b"\0abc\0"
        address, length = native.address_of(block)
        assert length == 10000
        assert memory.resolve(address + 5, 100) is not None
        assert memory.resolve(address + 9999, 2) is None
    assert block.closed
    assert memory.resolve(address + 5, 100) is None
    block.close()


def test_allocator_without_resources(san):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = resources()
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, limits[1]))
    taken = []
    try:
        with contextlib.suppress(OSError):  # numbers below the limit may be free
            while True:
                taken.append(os.dup(0))
        # One that is enough to begin with, and none at all.
        for _ in range(2):
            assert code_of(san.provider.allocate_memory, 4096) == E.WSAENOBUFS
            if taken:
                os.close(taken.pop())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for number in taken:
            os.close(number)
    assert resources() == before
    assert san.provider.allocate_memory(4096)


def test_memory_goes_with_its_last_reference(san):
    def mapped():
        with open("/proc/self/maps") as maps:
            return sum("memfd:wsdirect-memory" in line for line in maps)

    san.provider.allocate_memory(4096).close()
    before = resources(), mapped()
    view = memoryview(san.provider.allocate_memory(4096))[10:20]
    view[:] = b"0123456789"
    assert mapped() == before[1] + 1
    assert bytes(view) == b"0123456789"
    view.release()
    block = san.provider.allocate_memory(4096)
    view = memoryview(block)
    with pytest.raises(BufferError):
        block.close()
    assert memory.resolve(*native.address_of(block)) is not None  # still in force
    view.release()
    del block
    assert (resources(), mapped()) == before


def test_memory_is_sealed(san):
    block = san.provider.allocate_memory(4096)
    found = memory.resolve(*native.address_of(block))
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(found.descriptor, 0)
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(found.descriptor, 8192)
    assert native.memory_of(found.descriptor)[0] == 4096
    with pytest.raises(TypeError):
        pickle.dumps(block)


def test_memory_after_a_fork(san):
    block = san.provider.allocate_memory(4096)
    block[:3] = b"abc"

    def child(link):
        assert block[:3] == b"abc"
        block[:3] = b"xyz"
        assert memory.resolve(*native.address_of(block)) is not None
        mine = san.provider.allocate_memory(10)
        mine.close()
        block.close()
        link.put("done")

    with Child(child) as process:
        assert process.link.get() == "done"
    assert block[:3] == b"xyz"


def test_memory_collected_together_with_a_view_of_it(san):
    san.provider.allocate_memory(10)
    before = resources()
    for _ in range(20):
        cycle = [san.provider.allocate_memory(4096)]
        cycle += [memoryview(cycle[0]), cycle]
        del cycle
    gc.collect()
    assert resources() == before


def test_allocating_in_many_threads(san):
    errors = []

    def work():
        try:
            for _ in range(100):
                block = san.provider.allocate_memory(4096)
                assert memory.resolve(*native.address_of(block)) is not None
                block.close()
                del block
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


# --- peers that lie -----------------------------------------------------------------------------


def channel_of(san, s):
    return next(x for x in san.provider._san.sockets if x.descriptor == s).channel


ENTRY = struct.Struct("=QQQQQQIIii")


def entry_of(san, s, descriptor):
    """The segment mapped, and where the exposure of socket s stands in it."""
    stream = channel_of(san, s).stream
    segment = stream.segment
    index = struct.unpack_from("<H", descriptor, 6)[0]
    area = 128 * 64
    slot = 4096 + stream.slot * segment.stride
    return mmap.mmap(segment.fileno(), 0), slot + 4096 + stream.side * area + index * 64


@pytest.mark.parametrize("way", ["shared", "direct", "owner"])
@hypothesis_settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_garbage_in_entries(san, port, way, data):
    """The owner writes what it likes: the peer fails or moves bytes, and nothing else happens."""
    os.environ["WSDIRECT_RDMA"] = way
    settings.forget()
    try:
        a, b = san.pair(port)
    finally:
        del os.environ["WSDIRECT_RDMA"]
        settings.forget()
    shared = san.provider.allocate_memory(4096)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, shared, MEM_READWRITE)
    segment, at = entry_of(san, b, descriptor)
    with segment:
        fields = list(ENTRY.unpack_from(segment, at))
        assert fields[3] == 4096
        number = st.one_of(
            st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]), st.integers()
        )
        for which in data.draw(st.sets(st.integers(0, 9), min_size=1, max_size=3)):
            if which == 2 and way == "direct":
                continue  # it would be the tests' own memory: same process
            bits = 64 if which < 6 else 32
            value = data.draw(number) % 2**bits
            fields[which] = value - 2**32 if which >= 8 and value >= 2**31 else value
        if way == "direct" or (fields[9] == os.getpid() and fields[4]):
            fields[3] = min(fields[3], 4096)
        ENTRY.pack_into(segment, at, *fields)
    mine = bytearray(64)
    handle = san.register(a, mine)
    for write in (True, False):
        transfer(san, a, write, mine, handle, descriptor)
    san.provider.WSPCloseSocket(a)
    san.provider.WSPCloseSocket(b)
    shared.close()
    mine.append(1)


def test_an_owner_that_names_another_process(san, port):
    """Memory of a third process must not be touched, whoever says that it is his."""
    with Child(lambda link: (link.put(os.getpid()), link.get())) as other:
        third = other.link.get()
        a, b = san.pair(port)
        target = bytearray(64)
        descriptor = san.provider.WSPRegisterRdmaMemory(b, target, MEM_WRITE)
        segment, at = entry_of(san, b, descriptor)
        with segment:
            fields = list(ENTRY.unpack_from(segment, at))
            fields[9] = third
            ENTRY.pack_into(segment, at, *fields)
        before = native.process_counters()
        mine = bytearray(b"x" * 64)
        assert transfer(san, a, True, mine, san.register(a, mine), descriptor) == 0
        after = native.process_counters()
        assert after["rdma_owner"] == before["rdma_owner"] + 1  # asked over the connection
        assert after["rdma_direct"] == before["rdma_direct"]
        assert target == mine
        other.link.put("end")


CONTROL = struct.Struct("<BBHIQIIQQ")
PUT, GET, GOT, DONE = 1, 2, 3, 4


def test_the_owner_checks_what_it_is_asked_for(san, pair):
    """By its own account: the peer's provider may be anything."""
    a, b = pair
    block = bytearray(b"secret" * 50)
    view = memoryview(block)
    reads = san.provider.WSPRegisterRdmaMemory(b, view[100:200], MEM_READ)
    writes = san.provider.WSPRegisterRdmaMemory(b, view[100:200], MEM_WRITE)
    stream = channel_of(san, a).stream

    def ask(kind, descriptor, offset, length, payload=b"", wrong=0):
        """The code that the owner answers with, and what it sends before."""
        _, _, index, generation, _, _, key = struct.unpack("<4sHHIIQQ", descriptor)
        head = CONTROL.pack(kind, 1, index, generation, key ^ wrong, 9, 0, offset, length)
        assert stream.send_control((head, payload))
        data = b""
        while True:
            assert stream.wait_readable(5)
            frame = bytearray(1000)
            size = stream.recv_control((frame,))
            answer, _, _, _, _, tag, code, _, _ = CONTROL.unpack_from(frame)
            assert tag == 9
            if answer == DONE:
                return code, data
            assert answer == GOT
            data += frame[CONTROL.size : size]

    assert ask(GET, reads, 0, 100) == (0, bytes(view[100:200]))
    assert ask(GET, reads, 90, 10) == (0, bytes(view[190:200]))
    assert ask(PUT, writes, 0, 100, b"x" * 100) == (0, b"")
    assert view[100:200] == b"x" * 100
    for offset, length in ((0, 101), (100, 1), (1, 100), (2**64 - 1, 1), (2**64 - 100, 100)):
        assert ask(GET, reads, offset, length) == (E.WSAEFAULT, b"")
        assert ask(PUT, writes, offset, length, b"y" * length) == (E.WSAEFAULT, b"")
    assert ask(GET, reads, 0, 2**64 - 1) == (E.WSAEFAULT, b"")
    assert ask(GET, writes, 0, 1) == (E.WSAEINVAL, b"")
    assert ask(PUT, reads, 0, 1, b"y") == (E.WSAEINVAL, b"")
    assert ask(GET, reads, 0, 1, wrong=1) == (E.WSAEINVAL, b"")
    assert block == b"secret" * 16 + b"secr" + b"x" * 100 + b"cret" + b"secret" * 16
    san.send(a, b"alive")
    assert san.receive(b) == b"alive"


@hypothesis_settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_garbage_in_control_messages(san, port, data):
    """The peer's provider says what it likes: it can reach what is exposed, or be cut off."""
    a, b = san.pair(port)
    block = bytearray(300)
    view = memoryview(block)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, view[100:200], MEM_READWRITE)
    _, _, index, generation, _, _, key = struct.unpack("<4sHHIIQQ", descriptor)
    stream = channel_of(san, a).stream
    number = st.sampled_from([0, 1, 99, 100, 101, 2**32 - 1, 2**63, 2**64 - 1])
    frames = []
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.booleans()):
            frames.append(data.draw(st.binary(max_size=80)))
            continue
        payload = data.draw(st.binary(max_size=120))
        head = CONTROL.pack(
            data.draw(st.integers(0, 5)),
            data.draw(st.integers(0, 2)),
            data.draw(st.sampled_from([index, index, 500])),
            generation + data.draw(st.sampled_from([0, 0, 1])),
            key ^ data.draw(st.sampled_from([0, 0, 1])),
            data.draw(number) % 2**32,
            data.draw(number) % 2**32,
            data.draw(number),
            data.draw(st.sampled_from([len(payload), len(payload), 100, 0, 2**64 - 1])),
        )
        frames.append(head + payload)
    try:
        for frame in frames:
            stream.send_control((frame,))
    except OSError:
        pass  # it was cut off already
    request = WSAOVERLAPPED(polled=True)
    buffer = bytearray(8)
    if not code_of(san.register, b, buffer) and not recv(san, b, buffer):
        request.start()
        code_of(san.provider.WSPGetOverlappedResult, b, request)
    assert not any(view[:100])
    assert not any(view[200:])
    san.provider.WSPCloseSocket(a)
    san.provider.WSPCloseSocket(b)
    view.release()
    block.append(1)


def test_a_flood_of_requests_is_cut_off(san, pair):
    a, b = pair
    block = bytearray(100_000)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, block, MEM_READ)
    _, _, index, generation, _, _, key = struct.unpack("<4sHHIIQQ", descriptor)
    stream = channel_of(san, a).stream
    frame = CONTROL.pack(GET, 1, index, generation, key, 1, 0, 0, 100_000)

    def cut_off():
        try:
            stream.send_control((frame,))
        except OSError:
            return True
        return False

    assert eventually(cut_off)
    assert eventually(lambda: code_of(san.receive, b) == E.WSAECONNABORTED)
    san.provider.WSPDeregisterRdmaMemory(b, descriptor)
    block.append(1)


def test_a_peer_that_dies_in_our_memory(san, port):
    """Its transfer stays in the count; the bell knows that it is gone."""

    def client(link):
        mine = San()
        s, event = mine.connect(port)
        assert mine.connected(s, event) == 0
        descriptor = link.get()
        _, _, index, generation, _, _, key = struct.unpack("<4sHHIIQQ", descriptor)
        channel_of(mine, s).stream.enter_exposure(index, generation, key, MEM_WRITE, 0, 8)
        link.put("inside")
        link.get()

    listener = san.listen(port)
    with Child(client) as child:
        s, _ = san.accept(listener)
        block = bytearray(8)
        address, _ = native.address_of(block)
        descriptor = san.provider.WSPRegisterRdmaMemory(s, block, MEM_WRITE)
        child.link.put(descriptor)
        child.link.get()
        assert code_of(san.provider.WSPDeregisterRdmaMemory, s, descriptor) == E.WSAEINVAL
        forget = san.provider.WSPMemoryRegistrationCacheCallback
        assert code_of(forget, address, 8) == E.WSAEFAULT
        child.kill()
        san.provider.WSPDeregisterRdmaMemory(s, descriptor)
        block.append(1)


def test_closing_does_not_wait_for_a_peer_that_never_leaves(san, pair):
    a, b = pair
    block = bytearray(8)
    descriptor = san.provider.WSPRegisterRdmaMemory(b, block, MEM_WRITE)
    _, _, index, generation, _, _, key = struct.unpack("<4sHHIIQQ", descriptor)
    channel_of(san, a).stream.enter_exposure(index, generation, key, MEM_WRITE, 0, 8)
    san.provider.WSPCloseSocket(b)  # a second at most
    block.append(1)
