import array
import errno
import os
import socket
import time

import pytest

from tests.core.pairs import End, bells, make_pair
from wsdirect._core import native

RING = 4096


def offered(deadline: float | None = None) -> tuple[End, socket.socket]:
    """An end whose offer nobody has taken, and the socket that the acceptor would get."""
    segment = native.Segment.create(slots=1, ring=RING)
    ours, theirs = bells()
    stream = native.Stream.offer(segment, segment.take(), ours.fileno(), deadline)
    return End(stream, ours), theirs


def test_what_an_end_says_of_itself() -> None:
    a, b = make_pair()
    assert (a.stream.side, b.stream.side) == (0, 1)
    assert a.stream.state == b.stream.state == native.ATTACHED
    assert a.stream.generation == b.stream.generation == 1
    assert a.stream.fd == a.bell.fileno()
    for name in ("closed", "reset", "ended", "write_ended"):
        assert getattr(a.stream, name) is False
    assert a.stream.strict is False
    a.stream.strict = True
    assert a.stream.strict is True
    assert a.stream.offer_deadline is None
    assert not a.stream.readable()
    assert a.stream.writable()
    assert (a.stream.available(), a.stream.queued()) == (0, 0)
    a.stream.send(b"12345", 0)
    assert (b.stream.available(), a.stream.queued()) == (5, 5)
    assert b.stream.readable()
    assert a.stream.max_message == RING - 8


def test_offers() -> None:
    end, theirs = offered()
    with theirs:
        segment, slot = end.stream.segment, end.stream.slot
        assert end.stream.state == native.OFFERED
        with pytest.raises(ConnectionAbortedError):
            native.Stream.attach(segment, slot, end.stream.generation + 1, theirs.fileno())
        end.stream.send(b"before ", 0)
        end.stream.send(b"anybody came", 0)
        assert end.stream.revoke()
        assert end.stream.revoke(), "once more is the same"
        assert end.stream.state == native.REVOKED
        assert end.stream.pending_out() == b"before anybody came"
        with pytest.raises(ConnectionAbortedError):
            native.Stream.attach(segment, slot, end.stream.generation, theirs.fileno())
        with pytest.raises(native.Unattached):
            end.stream.recv(1)
        with pytest.raises(native.Unattached):
            end.stream.wait_readable()
    end.close()


def test_an_offer_taken_cannot_be_revoked() -> None:
    a, _ = make_pair()
    assert a.stream.revoke() is False
    assert a.stream.state == native.ATTACHED


@pytest.mark.parametrize("deadline", [0, 0.02])
def test_an_offer_that_nobody_takes(deadline: float) -> None:
    end, theirs = offered(deadline)
    with theirs:
        assert end.stream.offer_deadline == pytest.approx(time.monotonic(), abs=5)
        with pytest.raises(native.Unattached):
            end.stream.recv(1)
        with pytest.raises(native.Unattached):
            end.stream.recv(1, 0)
        with pytest.raises(native.Unattached):
            end.stream.wait_readable()
    end.close()


def test_an_offer_that_is_refused() -> None:
    """Whoever had to hand the other socket to the acceptor closed it."""
    end, theirs = offered()
    theirs.close()
    with pytest.raises(native.Unattached):
        end.stream.recv(1)
    end.close()


def test_ends_handed_over() -> None:
    """Another process maps the segment and joins; the first may leave then."""
    a, b = make_pair()
    segment = native.Segment.adopt(a.stream.segment.fileno())
    for side in (2, 99):
        with pytest.raises(OSError, match="Invalid argument"):
            native.Stream.join(segment, a.stream.slot, a.stream.generation, side, a.stream.fd)
    with pytest.raises(ConnectionAbortedError):
        native.Stream.join(segment, a.stream.slot, a.stream.generation + 1, 0, a.stream.fd)
    bell = a.bell.dup()
    joined = End(
        native.Stream.join(segment, a.stream.slot, a.stream.generation, 0, bell.fileno()), bell
    )
    a.close()
    b.stream.send(b"to whom it may concern", 0)
    assert joined.stream.recv(100, 0) == b"to whom it may concern"
    joined.stream.send(b"thanks", 0)
    assert b.stream.recv(100, 0) == b"thanks"
    joined.close()


def test_receiving() -> None:
    a, b = make_pair()
    a.stream.send(b"abcdefgh", 0)
    assert b.stream.recv(3, 0, native.PEEK) == b"abc"
    assert b.stream.recv(3, 0) == b"abc"
    assert b.stream.recv(0, 0) == b""
    buffer = bytearray(10)
    assert b.stream.recv_into(memoryview(buffer)[2:4], 0) == 2
    assert bytes(buffer) == b"\0\0de" + bytes(6)
    parts = [bytearray(1), bytearray(0), array.array("H", [0, 0])]
    assert b.stream.recv_scatter(parts, native.PEEK) == 3
    assert b.stream.recv_scatter(parts) == 3
    assert parts[0] == b"f"
    assert parts[2].tobytes()[:2] == b"gh"
    with pytest.raises(BlockingIOError):
        b.stream.recv_scatter(parts)
    with pytest.raises(BlockingIOError):
        b.stream.recv(1, 0)
    with pytest.raises(TimeoutError):
        b.stream.recv(1, 0.01)


def test_wrong_arguments() -> None:
    a, _ = make_pair()
    for call in (
        lambda: a.stream.send("text", 0),
        lambda: a.stream.recv_into(b"read-only", 0),
        lambda: a.stream.recv_scatter([bytearray(1), b"read-only"]),
        lambda: a.stream.send_message([b"fine", 5]),
        lambda: a.stream.recv(1, "soon"),
        lambda: native.Stream.offer(None, 0, 0),
        lambda: native.Stream.attach(None, 0, 0, 0),
        lambda: native.Stream.join(None, 0, 0, 0, 0),
        native.Stream,
        native.Segment,
        lambda: native.table_bind(0, None),
    ):
        with pytest.raises((TypeError, BufferError, AttributeError)):
            call()
    with pytest.raises(ValueError, match="negative"):
        a.stream.recv(-1, 0)


def test_sending() -> None:
    a, b = make_pair()
    assert a.stream.send(b"", 0) == 0
    assert a.stream.send(memoryview(b"x" * 3000), 0) == 3000
    assert a.stream.send(b"y" * 3000, 0) == RING - 3000
    assert not a.stream.writable()
    assert not a.writable()
    with pytest.raises(BlockingIOError):
        a.stream.send(b"z", 0)
    with pytest.raises(TimeoutError):
        a.stream.send(b"z", 0.01)
    assert not a.stream.wait_writable(0.01)
    assert len(b.stream.recv(RING, 0)) == RING
    assert a.writable()
    assert a.stream.wait_writable(0)


def test_waiting() -> None:
    a, b = make_pair()
    assert b.stream.wait_readable(0) is False
    assert b.stream.wait_readable(-1) is False
    assert b.stream.wait_readable(0.01) is False
    assert a.stream.wait_writable() is True
    a.stream.send(b"x", 0)
    assert b.stream.wait_readable() is True
    assert b.stream.wait_readable(1e300) is True


def test_half_close() -> None:
    a, b = make_pair()
    with pytest.raises(OSError, match="Invalid argument"):
        a.stream.shutdown(7)
    a.stream.send(b"question", 0)
    a.stream.shutdown(socket.SHUT_WR)
    assert a.stream.write_ended
    with pytest.raises(BrokenPipeError):
        a.stream.send(b"more", 0)
    assert b.stream.ended
    assert b.readable()
    assert b.stream.recv(100, 0) == b"question"
    assert b.stream.recv(100, 0) == b""
    assert b.stream.recv(100) == b""
    assert not b.stream.reset
    b.stream.send(b"answer", 0)
    assert a.stream.recv(100, 0) == b"answer"


def test_shutting_down_one_s_reading() -> None:
    a, b = make_pair()
    a.stream.send(b"unread", 0)
    b.stream.shutdown(socket.SHUT_RD)
    assert b.readable()
    assert b.stream.recv(100, 0) == b"unread"
    assert b.stream.recv(100, 0) == b""
    for _ in range(5):
        assert a.stream.send(b"x" * RING, 0) == RING, "nobody misses it"
    b.stream.send(b"still talking", 0)
    assert a.stream.recv(100, 0) == b"still talking"
    assert not a.stream.ended


def test_close() -> None:
    a, b = make_pair()
    b.stream.send(b"goodbye", 0)
    b.close()
    assert b.stream.closed
    for call in (
        lambda: b.stream.recv(1, 0),
        lambda: b.stream.recv(1),
        lambda: b.stream.send(b"x", 0),
        lambda: b.stream.shutdown(socket.SHUT_WR),
        lambda: b.stream.send_message([b"x"]),
        lambda: b.stream.message_size(),
    ):
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            call()
        assert caught.value.errno == errno.EBADF
    b.stream.close()
    assert a.stream.recv(100) == b"goodbye"
    assert a.stream.recv(100) == b""
    assert a.stream.ended
    assert not a.stream.reset


@pytest.mark.parametrize("how", ["unread", "linger", "death"])
def test_reset(how: str) -> None:
    a, b = make_pair()
    if how != "linger":
        a.stream.send(b"unread", 0)
    b.stream.send(b"last words", 0)
    if how == "death":
        b.bell.close()
    else:
        b.close(reset=how == "linger")
    assert a.readable()
    assert a.stream.recv(100, 0) == b"last words"
    with pytest.raises(ConnectionResetError):
        a.stream.recv(100)
    assert a.stream.reset
    assert a.stream.recv(100, 0) == b"", "told once, as TCP does"
    with pytest.raises(BrokenPipeError):
        a.stream.send(b"x", 0)


def test_the_bell_can_be_moved() -> None:
    a, b = make_pair()
    other = a.bell.dup()
    a.stream.fd = other.fileno()
    a.bell.close()
    a.bell = other
    b.stream.send(b"x", 0)
    assert a.readable()
    assert a.stream.recv(1, 0) == b"x"
    assert not a.readable()


def test_arming_by_hand() -> None:
    a, b = make_pair()
    assert not b.stream.wait_readable(0)
    b.stream.arm()
    a.stream.send(b"x" * RING)
    assert b.readable()
    a.stream.arm(False, True)
    assert not a.writable()
    b.stream.recv(RING)
    assert a.writable()


def test_unannounced_data_are_known_of() -> None:
    """Hybrid's hole: a blocking recv that spun, and left a part."""
    a, b = make_pair()
    assert not native.has_unannounced()
    native.table_bind(b.bell.fileno(), b.stream)
    try:
        child = os.fork()
        if child == 0:
            time.sleep(0.05)
            a.stream.send(b"two parts", 0)
            os._exit(0)
        native.set_spin_limit(None)
        while b.stream.recv(3) and not b.stream.available():
            pass
        os.waitpid(child, 0)
        if not b.readable():  # whether it spun when they came is up to the scheduler
            assert native.has_unannounced()
            assert native.unannounced() == [b.bell.fileno()]
        b.stream.recv(100, 0)
        assert not native.has_unannounced()
        assert native.unannounced() == []
    finally:
        native.table_drop(b.bell.fileno())


def test_traffic_is_counted() -> None:
    a, b = make_pair()
    a.stream.send(b"x" * 100, 0)
    b.stream.recv(60, 0, native.PEEK)
    b.stream.recv(60, 0)
    assert a.stream.traffic == (100, 0)
    assert b.stream.traffic == (0, 60)
    lent = array.array("Q", [0, 1000])
    b.stream.count_into(lent)
    assert list(lent) == [0, 1060]
    b.stream.recv(60, 0)
    b.stream.send(b"y", 0)
    assert list(lent) == [1, 1100]
    with pytest.raises(BufferError):
        lent.append(5)
    b.stream.count_alone()
    lent.append(5)
    a.stream.send(b"z", 0)
    b.stream.recv(1, 0)
    assert lent[1] == 1100
    b.stream.count_alone()
    for bad in (bytearray(15), memoryview(bytearray(32))[1:]):
        with pytest.raises(ValueError, match="16 aligned"):
            b.stream.count_into(bad)
    with pytest.raises((BufferError, TypeError)):
        b.stream.count_into(bytes(16))


def test_counting_elsewhere_ends_with_the_object() -> None:
    a, b = make_pair()
    lent = array.array("Q", [0, 0])
    a.stream.count_into(lent)
    again = array.array("Q", [0, 0])
    a.stream.count_into(again)
    lent.append(1)
    a.close()
    a.stream = None
    again.append(1)
    assert b.stream.recv(1, 0) == b""


def test_the_table() -> None:
    a, b = make_pair()
    fd = a.bell.fileno()
    assert native.table_lookup(fd) is None
    assert native.table_drop(fd) is None
    native.table_bind(fd, a.stream)
    assert native.table_lookup(fd) is a.stream
    assert fd in native.table_fds()
    native.table_bind(fd, b.stream)
    assert native.table_drop(fd) is b.stream
    assert native.table_lookup(fd) is None
    for number in (-1, 1 << 30):
        with pytest.raises(OSError, match="Bad file descriptor"):
            native.table_bind(number, a.stream)
        assert native.table_lookup(number) is None


def test_process_counters() -> None:
    before = native.process_counters()
    assert tuple(before) == native.COUNTER_NAMES
    a, b = make_pair()
    a.stream.send(b"x" * RING, 0)
    b.stream.recv(RING, 0)
    after = native.process_counters()
    assert after["rings"] == before["rings"] + 1
    assert after["full_marks"] == before["full_marks"] + 1
    assert after["eats"] == before["eats"] + 3
    assert after["stale"] == before["stale"]
    with pytest.raises(ValueError, match="aligned bytes"):
        native.count_process_into(bytearray(8))


def test_process_counters_lent_to_a_page() -> None:
    page = array.array("Q", [0] * len(native.COUNTER_NAMES))
    before = native.process_counters()
    native.count_process_into(page)
    assert dict(zip(native.COUNTER_NAMES, page, strict=True)) == before
    a, _ = make_pair()
    a.stream.send(b"x", 0)
    assert page[0] == before["rings"] + 1
    assert native.process_counters()["rings"] == page[0]


def test_the_spin_limit() -> None:
    _, b = make_pair()
    try:
        native.set_spin_limit(0)
        assert not b.stream.wait_readable(0.001)
        native.set_spin_limit(50.5)
        assert not b.stream.wait_readable(0.001)
    finally:
        native.set_spin_limit(None)
    with pytest.raises(TypeError):
        native.set_spin_limit("fast")


def test_this_kernel_s_bells_are_true() -> None:
    assert native.bell_is_true() is True
    with pytest.raises(OSError, match="Bad file descriptor"):
        native.prepare_bell(-1)


def test_guarded_functions() -> None:
    def read(fd: int, n: int) -> bytes:
        return native.table_lookup(fd).recv(n, 0)

    guarded = native.guard(os.read, read)
    assert guarded.__name__ == "read"
    a, b = make_pair()
    fd = b.bell.fileno()
    native.table_bind(fd, b.stream)
    try:
        a.stream.send(b"through the ring", 0)
        assert guarded(fd, 7) == b"through"
        with open(os.devnull, "rb") as file:
            assert guarded(file.fileno(), 1) == b""
        with pytest.raises(OSError, match="Bad file descriptor"):
            guarded(-1, 1)
        for wrong in ((), (1,), ("1", 1), (1 << 80, 1), (1, 2, 3)):
            with pytest.raises((TypeError, OverflowError)):
                guarded(*wrong)
    finally:
        native.table_drop(fd)
