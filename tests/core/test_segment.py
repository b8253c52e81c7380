import fcntl
import mmap
import os
import struct

import pytest

from tests.core.pairs import bells, make_pair
from wsdirect._core import native

PAGE = 4096
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def memory_file(content: bytes, size: int, seals: int = SEALS) -> int:
    fd = os.memfd_create("foreign", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    os.pwrite(fd, content, 0)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def test_a_new_one_is_sealed_and_empty() -> None:
    segment = native.Segment.create(slots=3, ring=8192)
    assert (segment.slots, segment.ring, segment.in_use) == (3, 8192, 0)
    assert 0 < segment.id < 1 << 64
    assert fcntl.fcntl(segment.fileno(), fcntl.F_GET_SEALS) & SEALS == SEALS
    with pytest.raises(PermissionError):
        os.ftruncate(segment.fileno(), 0)
    assert os.get_inheritable(segment.fileno()) is False


@pytest.mark.parametrize(
    "size",
    [{"slots": 0}, {"slots": 5000}, {"ring": 0}, {"ring": 4095}, {"ring": 5000}, {"ring": 1 << 25}],
)
def test_sizes_that_cannot_be(size: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="cannot be made"):
        native.Segment.create(**size)


def test_the_defaults() -> None:
    segment = native.Segment.create()
    assert (segment.slots, segment.ring) == (64, 262144)


def test_adopting() -> None:
    segment = native.Segment.create(slots=2, ring=4096)
    adopted = native.Segment.adopt(segment.fileno())
    assert adopted.id == segment.id
    assert adopted.fileno() != segment.fileno()
    slot = segment.take()
    assert adopted.in_use == 1
    assert adopted.generation(slot) == segment.generation(slot)


def test_what_is_not_adopted() -> None:
    segment = native.Segment.create(slots=1, ring=4096)
    size = os.fstat(segment.fileno()).st_size
    header = os.pread(segment.fileno(), PAGE, 0)
    worse = bytearray(header)
    struct.pack_into("=I", worse, 12, 2)  # slots
    other = bytearray(header)
    other[0] ^= 1
    for content, length, seals, why in [
        (header, size, 0, "not sealed"),
        (header, size, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL, "not sealed"),
        (b"", 0, SEALS, "too small"),
        (bytes(other), size, SEALS, "another version"),
        (bytes(worse), size, SEALS, "does not match its size"),
        (header, size + PAGE, SEALS, "does not match its size"),
    ]:
        fd = memory_file(content, length, seals)
        try:
            with pytest.raises(ValueError, match=why):
                native.Segment.adopt(fd)
        finally:
            os.close(fd)
    with pytest.raises(ValueError, match="not sealed"):
        native.Segment.adopt(-1)
    with open(os.devnull) as file, pytest.raises(ValueError, match="not sealed"):
        native.Segment.adopt(file.fileno())


def test_slots_run_out_and_return() -> None:
    segment = native.Segment.create(slots=2, ring=4096)
    a, b = make_pair(segment=segment)
    c, d = make_pair(segment=segment)
    assert segment.take() == -1
    assert segment.in_use == 2
    for end in (a, b):
        end.close()
    assert segment.in_use == 2, "the objects are still there and may be asked for their state"
    assert a.stream.slot == b.stream.slot
    slot, generation = a.stream.slot, a.stream.generation
    a.stream = b.stream = None
    assert segment.in_use == 1
    assert segment.take() == slot
    assert segment.generation(slot) > generation
    assert c.stream.segment is segment
    assert d.stream.segment is not segment


def test_an_offer_that_was_left_waits_for_its_acceptor() -> None:
    """The client connects, sends and closes before the server has accepted: nothing is lost."""
    segment = native.Segment.create(slots=1, ring=4096)
    ours, theirs = bells()
    with ours, theirs:
        slot = segment.take()
        stream = native.Stream.offer(segment, slot, ours.fileno())
        stream.send(b"hello and goodbye")
        stream.close()
        del stream
        assert segment.in_use == 1
        accepted = native.Stream.attach(segment, slot, segment.generation(slot), theirs.fileno())
        assert accepted.recv(100, 0) == b"hello and goodbye"
        assert accepted.recv(100, 0) == b""
        accepted.close()
        del accepted
    assert segment.in_use == 0


def test_a_slot_that_is_not_there() -> None:
    segment = native.Segment.create(slots=1, ring=4096)
    with pytest.raises(ValueError, match="no slot 1"):
        segment.generation(1)
    with pytest.raises(OSError, match="Invalid argument"):
        native.Stream.offer(segment, 1, 0)
    with pytest.raises(OSError, match="Invalid argument"):
        native.Stream.attach(segment, 1, 0, 0)
    with pytest.raises(OSError, match="Invalid argument"):
        native.Stream.join(segment, 1, 0, 0, 0)
    with pytest.raises(OverflowError):
        segment.generation(-1)


def test_the_mapping_outlives_the_object() -> None:
    a, b = make_pair()
    fd = a.stream.segment.fileno()
    with mmap.mmap(fd, 0) as memory:
        a.stream.send(b"needle in the memory", 0)
        assert memory.find(b"needle in the memory") > 0
    assert b.stream.recv(100, 0) == b"needle in the memory"
