"""The bookkeeping of registered memory, without any provider."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdirect.providers.registration import (
    CacheEntry,
    Range,
    Ranges,
    RegistrationCache,
    RegistrationTable,
    capture,
    check_access,
)
from wsdirect.spi.constants import MEM_READ, MEM_READWRITE, MEM_WRITE
from wsdirect.spi.errors import WSAError, WsaErrorCode

E = WsaErrorCode
CALL = "WSPCall"


def code_of(call, *arguments):
    try:
        call(*arguments)
    except WSAError as error:
        return error.winerror
    return 0


def register(table, address, length, access=MEM_READWRITE):
    return table.register(memoryview(bytearray(length)), address, int(access), CALL)


# --- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize("access", [MEM_READ, MEM_WRITE, MEM_READWRITE, 1, 2, 3])
def test_access(access):
    assert check_access(access, CALL) == access
    assert type(check_access(access, CALL)) is int


@pytest.mark.parametrize("access", [0, 4, 5, 7, -1, 2**32 + 1, None, "1", b"\1"])
def test_bad_access(access):
    assert code_of(check_access, access, CALL) == E.WSAEINVAL


def test_capture_holds_the_buffer():
    data = bytearray(8)
    view = capture(data, MEM_WRITE, CALL)
    with pytest.raises(BufferError):
        data.append(1)
    view.release()
    data.append(1)


def test_capture_is_bytes_whatever_the_items():
    import array

    view = capture(array.array("d", [1.0, 2.0]), MEM_READ, CALL)
    assert (view.format, view.nbytes, len(view)) == ("B", 16, 16)


@pytest.mark.parametrize(
    ("buffer", "access"),
    [
        (b"read-only", MEM_WRITE),
        (b"read-only", MEM_READWRITE),
        (memoryview(b"12345678")[::2], MEM_READ),
        (memoryview(b"12345678")[::-1], MEM_READ),
        (b"", MEM_READ),
        (bytearray(), MEM_WRITE),
        ("text", MEM_READ),
        (None, MEM_READ),
        (5, MEM_READ),
    ],
)
def test_capture_refuses(buffer, access):
    assert code_of(capture, buffer, access, CALL) == E.WSAEFAULT


def test_what_capture_refuses_it_does_not_hold():
    data = bytearray(8)
    with pytest.raises(WSAError):
        capture(memoryview(data)[::2], MEM_READ, CALL)
    data.append(1)


# --- ranges -------------------------------------------------------------------------------------

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), max_size=30)


@given(RANGES, st.integers(0, 90), st.integers(1, 30), st.randoms())
def test_ranges_find_what_a_plain_search_finds(pairs, address, length, chance: random.Random):
    ranges: Ranges = Ranges()
    items = [Range(*pair) for pair in pairs]
    for item in items:
        ranges.add(item)
    for item in list(items):
        if chance.random() < 0.3:
            ranges.remove(item)
            items.remove(item)
    end = address + length
    containing = {x for x in items if x.address <= address and x.end >= end}
    touching = {x for x in items if x.address < end and x.end > address}
    assert len(list(ranges.containing(address, length))) == len(containing)
    assert set(ranges.containing(address, length)) == containing
    assert len(ranges.touching(address, length)) == len(touching)
    assert set(ranges.touching(address, length)) == touching
    assert set(ranges) == set(items)
    assert len(ranges) == len(items)


@pytest.mark.parametrize(("address", "length"), [(0, 0), (5, -1), (-1, 2), (2**64 - 1, 2)])
def test_no_range(address, length):
    with pytest.raises(ValueError, match="no range"):
        Range(address, length)


# --- a socket's table ---------------------------------------------------------------------------


def test_same_memory_and_access_is_counted():
    table = RegistrationTable()
    first = register(table, 1000, 10)
    assert register(table, 1000, 10) is first
    assert first.references == 2
    assert register(table, 1000, 10, MEM_READ) is not first
    assert register(table, 1000, 9) is not first
    table.deregister(first.handle, CALL)
    assert table.get(first.handle, MEM_READ, CALL) is first
    table.deregister(first.handle, CALL)
    assert code_of(table.get, first.handle, MEM_READ, CALL) == E.WSAEINVAL
    assert code_of(table.deregister, first.handle, CALL) == E.WSAEINVAL


def test_handles_are_of_one_table_only():
    one, other = RegistrationTable(), RegistrationTable()
    handle = register(one, 1000, 10).handle
    assert handle != 0
    assert code_of(other.get, handle, MEM_READ, CALL) == E.WSAEINVAL
    assert code_of(other.deregister, handle, CALL) == E.WSAEINVAL
    assert register(other, 1000, 10).handle != handle


@pytest.mark.parametrize("handle", [0, -1, 2**64, None, "x", [], 1.5])
def test_no_handle(handle):
    table = RegistrationTable()
    register(table, 1000, 10)
    assert code_of(table.get, handle, MEM_READ, CALL) == E.WSAEINVAL
    assert code_of(table.deregister, handle, CALL) == E.WSAEINVAL


def test_parts_are_found_and_nothing_beyond():
    table = RegistrationTable()
    region = register(table, 1000, 100)
    for address, length in ((1000, 100), (1000, 1), (1099, 1), (1050, 10)):
        assert table.find(address, length, MEM_READWRITE, CALL) is region
        assert table.get_part(region.handle, address, length, MEM_READ, CALL) is region
    for address, length in ((999, 1), (999, 2), (1100, 1), (1099, 2), (1000, 101), (0, 5000)):
        assert code_of(table.find, address, length, MEM_READ, CALL) == E.WSAEFAULT
        part = table.get_part
        assert code_of(part, region.handle, address, length, MEM_READ, CALL) == E.WSAEFAULT


def test_neighbours_are_not_one_region():
    table = RegistrationTable()
    register(table, 1000, 10)
    register(table, 1010, 10)
    assert code_of(table.find, 1005, 10, MEM_READ, CALL) == E.WSAEFAULT


def test_access_is_never_widened():
    """T-30: not by another registration of the same memory, nor by one around it."""
    table = RegistrationTable()
    reads = register(table, 1000, 10, MEM_READ)
    assert code_of(table.find, 1000, 10, MEM_WRITE, CALL) == E.WSAEFAULT
    assert code_of(table.get, reads.handle, MEM_WRITE, CALL) == E.WSAEINVAL
    writes = register(table, 1000, 10, MEM_WRITE)
    assert table.find(1000, 10, MEM_READ, CALL) is reads
    assert table.find(1000, 10, MEM_WRITE, CALL) is writes
    assert code_of(table.find, 1000, 10, MEM_READWRITE, CALL) == E.WSAEFAULT
    register(table, 900, 1000)
    assert code_of(table.get, reads.handle, MEM_WRITE, CALL) == E.WSAEINVAL
    table.deregister(writes.handle, CALL)
    assert table.get(reads.handle, MEM_READ, CALL) is reads


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(1, 20), st.sampled_from([1, 2, 3])), max_size=12
    ),
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(1, 20), st.sampled_from([1, 2, 3])), max_size=20
    ),
)
def test_find_says_what_one_registration_allows(registrations, questions):
    table = RegistrationTable()
    for address, length, access in registrations:
        register(table, address, length, access)
    for address, length, access in questions:
        allowed = any(
            begin <= address and address + length <= begin + size and given & access == access
            for begin, size, given in registrations
        )
        found = code_of(table.find, address, length, access, CALL)
        assert found == (0 if allowed else E.WSAEFAULT)


def test_parts_of_a_region():
    table = RegistrationTable()
    region = register(table, 1000, 10)
    region.part(2, 3, CALL)[:] = b"abc"
    assert bytes(region.view) == b"\0\0abc\0\0\0\0\0"
    assert len(region.part(10, 0, CALL)) == 0
    for offset, length in ((0, 11), (10, 1), (11, 0), (-1, 1), (0, -1), (2**64, 1)):
        assert code_of(region.part, offset, length, CALL) == E.WSAEFAULT


def test_memory_in_use_stays():
    table = RegistrationTable()
    region = register(table, 1000, 10)
    register(table, 1000, 10)
    table.use(region)
    table.use(region)
    assert code_of(table.deregister, region.handle, CALL) == E.WSAEINVAL
    assert table.revoke(1000, 1) == (0, 1)
    assert table.find(1000, 10, MEM_READ, CALL) is region
    table.done(region)
    assert code_of(table.deregister, region.handle, CALL) == E.WSAEINVAL
    table.done(region)
    table.deregister(region.handle, CALL)
    table.deregister(region.handle, CALL)
    assert len(table) == 0


def test_the_providers_say_at_the_end():
    table = RegistrationTable()
    region = register(table, 1000, 10)
    register(table, 1000, 10)
    asked = []

    def refuse(found):
        asked.append(found)
        return False

    table.deregister(region.handle, CALL, refuse)  # not the last one
    assert asked == []
    assert code_of(table.deregister, region.handle, CALL, refuse) == E.WSAEINVAL
    assert table.revoke(1000, 10, refuse) == (0, 1)
    assert asked == [region, region]
    assert table.find(1000, 10, MEM_READ, CALL) is region
    assert table.revoke(1000, 10, lambda found: True) == (1, 0)
    table.deregister(region.handle, CALL, refuse)  # nothing is left to be ended
    assert asked == [region, region]


def test_revoked_memory_can_only_be_deregistered():
    table = RegistrationTable()
    data = bytearray(100)
    inside = table.register(memoryview(data), 1000, 3, CALL)
    register(table, 2000, 100)
    assert table.revoke(900, 100) == (0, 0)
    assert table.revoke(1100, 50) == (0, 0)
    assert table.revoke(1099, 50) == (1, 0)  # T-36: a part is enough
    data.append(1)  # not held any more
    assert code_of(table.get, inside.handle, MEM_READ, CALL) == E.WSAEINVAL  # T-37
    assert code_of(table.find, 1000, 1, MEM_READ, CALL) == E.WSAEFAULT
    assert table.find(2000, 100, MEM_READ, CALL)
    again = register(table, 1000, 100)
    assert again is not inside
    table.deregister(inside.handle, CALL)
    assert code_of(table.deregister, inside.handle, CALL) == E.WSAEINVAL
    assert table.find(1000, 1, MEM_READ, CALL) is again


def test_the_latest_region_is_not_remembered_for_too_long():
    table = RegistrationTable()
    region = register(table, 1000, 100)
    assert table.find(1000, 10, MEM_READ, CALL) is region
    table.deregister(region.handle, CALL)
    assert code_of(table.find, 1000, 10, MEM_READ, CALL) == E.WSAEFAULT
    region = register(table, 1000, 100)
    table.find(1000, 10, MEM_READ, CALL)
    table.revoke(1000, 1)
    assert code_of(table.find, 1000, 10, MEM_READ, CALL) == E.WSAEFAULT


def test_limit():
    table = RegistrationTable(limit=2)
    data = bytearray(10)
    register(table, 1000, 10)
    register(table, 2000, 10)
    assert code_of(table.register, memoryview(data), 3000, 3, CALL) == E.WSAENOBUFS
    data.append(1)  # what was refused is not held
    register(table, 1000, 10)  # counts, and needs no room


def test_clear_gives_all_buffers_back():
    table = RegistrationTable()
    data = [bytearray(10) for _ in range(3)]
    for i, buffer in enumerate(data):
        table.register(memoryview(buffer), 1000 * i, 3, CALL)
        table.register(memoryview(buffer), 1000 * i, 3, CALL)
    table.revoke(1000, 1)
    table.clear()
    assert len(table) == 0
    for buffer in data:
        buffer.append(1)
    assert code_of(table.find, 0, 1, MEM_READ, CALL) == E.WSAEFAULT


# --- the cache ----------------------------------------------------------------------------------


def test_cache_answers_for_parts_and_less_access():
    cache = RegistrationCache(lambda entry: None)
    entry = cache.add(1000, 100, int(MEM_READ), "value")
    assert cache.lookup(1000, 100, MEM_READ) is entry
    assert cache.lookup(1050, 10, MEM_READ) is entry
    assert cache.lookup(1050, 51, MEM_READ) is None
    assert cache.lookup(1000, 100, MEM_WRITE) is None
    assert cache.lookup(999, 2, MEM_READ) is None
    assert (len(cache), cache.size) == (1, 100)


def test_cache_drops_what_was_not_used_for_longest():
    gone: list[CacheEntry] = []
    cache = RegistrationCache(gone.append, entries=3, size=1000)
    entries = [cache.add(1000 * i, 100, 1, i) for i in range(3)]
    assert cache.lookup(0, 1, 1) is entries[0]
    entries[1].in_use = 1
    cache.add(5000, 100, 1, "new")
    assert gone == [entries[2]]  # the second is in use, the first was used just now
    cache.add(6000, 900, 1, "large")
    assert entries[1] not in gone
    assert cache.size <= 1000
    cache.add(7000, 5000, 1, "larger than all")
    assert cache.lookup(7000, 5000, 1) is not None


def test_cache_forgets_every_entry_that_is_touched():
    gone: list[CacheEntry] = []
    cache = RegistrationCache(gone.append)
    for address in (1000, 1100, 1150, 3000):
        cache.add(address, 100, 1, address)
    assert code_of(cache.invalidate, 0, 1000, CALL) == E.WSAEINVAL
    assert code_of(cache.invalidate, 2000, 1000, CALL) == E.WSAEINVAL
    cache.invalidate(1099, 52, CALL)
    assert sorted(entry.value for entry in gone) == [1000, 1100, 1150]
    assert code_of(cache.invalidate, 1099, 52, CALL) == E.WSAEINVAL  # once
    assert cache.lookup(3050, 10, 1) is not None


def test_cache_keeps_what_is_in_use():
    gone: list[CacheEntry] = []
    cache = RegistrationCache(gone.append)
    used = cache.add(1000, 100, 1, "used")
    free = cache.add(1050, 100, 1, "free")
    used.in_use = 1
    assert code_of(cache.invalidate, 1000, 200, CALL) == E.WSAEFAULT
    assert gone == [free]
    assert cache.lookup(1000, 100, 1) is used
    used.in_use = 0
    cache.invalidate(1000, 200, CALL)
    assert gone == [free, used]
    assert (len(cache), cache.size) == (0, 0)


def test_cache_clear():
    gone: list[CacheEntry] = []
    cache = RegistrationCache(gone.append)
    cache.add(1000, 100, 1, 1).in_use = 1
    cache.add(1000, 100, 1, 2)
    cache.clear()
    assert len(gone) == 2
    assert (len(cache), cache.size) == (0, 0)
