"""Sessions as byte streams, over providers with and without each kind of RDMA."""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.switch.session.sans import (
    PATIENCE,
    InThread,
    read_all,
    read_some,
    send_all,
)
from wsdirect.spi.errors import (
    WSAECONNABORTED,
    WSAECONNRESET,
    WSAEINVAL,
    WSAENOBUFS,
    WSAESHUTDOWN,
    WSAETIMEDOUT,
    WSAEWOULDBLOCK,
    WSAError,
)
from wsdirect.switch.session import moving
from wsdirect.switch.session.states import Life
from wsdirect.switch.session.wire import HEADER_SIZE, Header, Kind

WAYS = [
    {},
    {"read": False},
    {"rdma": False},
    {"limits": {"threshold": 100}},
    {"limits": {"message": 256, "rdma": 1000, "threshold": 10}},
]


def ended(*sessions):
    for session in sessions:
        assert session.wait(lambda session=session: session.link.s == -1, PATIENCE)


@pytest.mark.parametrize("one", range(len(WAYS)))
@pytest.mark.parametrize("other", range(len(WAYS)))
def test_bytes_both_ways_and_an_end_each(san, one, other):
    functions = san.functions(**WAYS[one]), san.functions(**WAYS[other])
    a, b = san.pair(*functions)
    chance = random.Random(one * 10 + other)
    size = 40_000 if "message" in str(WAYS[one]) + str(WAYS[other]) else 1_500_000
    data = chance.randbytes(size), chance.randbytes(size // 3)

    def talk(session, mine):
        for start in range(0, len(mine), 300_000):
            send_all(session, mine[start : start + 300_000])
        session.shutdown()

    senders = InThread(talk, a, data[0]), InThread(talk, b, data[1])
    readers = InThread(read_all, b), InThread(read_all, a)
    assert readers[0].result() == data[0]
    assert readers[1].result() == data[1]
    for sender in senders:
        sender.result()
    ended(a, b)
    assert a.error == b.error == 0
    for each in functions:
        assert each.open_rdma == 0


def test_rdma_is_used_as_far_as_both_can(san):
    for way, expected in (({}, "read"), ({"read": False}, "write"), ({"rdma": False}, "none")):
        one, other = san.functions(), san.functions(**way)
        a, b = san.pair(one, other)
        reader = InThread(read_all, b)
        send_all(a, os.urandom(500_000))
        a.shutdown()
        assert len(reader.result()) == 500_000
        assert bool(other.rdma_sizes) is (expected == "read")
        assert bool(one.rdma_sizes) is (expected == "write")


def test_limits_are_kept_exactly(san):
    limits = {"message": 300, "rdma": 2000, "threshold": 40}
    one, other = san.functions(limits=limits), san.functions(limits={**limits, "rdma": 1500})
    a, b = san.pair(one, other)
    assert a.engine.terms.size == 300
    assert a.engine.room() == 300 - HEADER_SIZE
    reader = InThread(read_all, b)
    for size in (40, 41, 1540, 1541, 5000):
        send_all(a, os.urandom(size))
    a.shutdown()
    assert len(reader.result()) == 40 + 41 + 1540 + 1541 + 5000
    assert max(other.rdma_sizes) == 1500  # the smaller of the two


def test_transfers_at_the_threshold_are_messages_and_above_it_rdma(san):
    other = san.functions()
    a, b = san.pair(san.functions(limits={"threshold": 1000}), other)
    send_all(a, bytes(1000))
    assert len(read_some(b, 5000)) == 1000
    assert other.rdma_sizes == []
    send_all(a, bytes(1001))
    assert b.wait(lambda: b.available == 1001, PATIENCE)
    assert other.rdma_sizes


@pytest.mark.parametrize("rdma", [True, False])
def test_a_program_that_does_not_read_stops_the_other_but_not_itself(san, rdma):
    a, b = san.pair(san.functions(rdma=rdma), san.functions(rdma=rdma))
    sent = 0
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        try:
            sent += a.send(bytes(100_000))
        except WSAEWOULDBLOCK:
            if not a.wait(a.writable, 0.2):
                break
    assert 0 < sent < 2_000_000
    # b has not read a byte, but can send as much as it likes
    reader = InThread(read_all, a)
    send_all(b, bytes(700_000))
    b.shutdown()
    assert len(reader.result()) == 700_000
    a.shutdown()
    assert len(read_all(b)) == sent


def test_half_close(san):
    a, b = san.pair()
    a.shutdown()
    assert read_all(b) == b""
    with pytest.raises(WSAESHUTDOWN):
        a.send(b"x")
    send_all(b, b"still")
    assert read_some(a, 10) == b"still"
    b.shutdown()
    assert read_all(a) == b""
    ended(a, b)


def test_close_delivers_what_was_sent_and_tells_that_nobody_reads(san):
    a, b = san.pair()
    data = os.urandom(100_000)
    reader = InThread(read_all, b)
    send_all(a, data)
    a.close()
    assert reader.result() == data
    assert b.wait(lambda: b.peer_reads_no_more, PATIENCE)
    with pytest.raises(WSAECONNRESET):
        b.send(b"x")
    b.close()
    ended(a, b)


def test_close_with_unread_bytes_and_abort_are_resets(san):
    a, b = san.pair()
    send_all(b, b"unread")
    assert a.wait(a.readable, PATIENCE)
    a.close()
    with pytest.raises(WSAECONNRESET):
        read_all(b)
    a, b = san.pair()
    send_all(a, b"before")
    a.abort()
    assert b.wait(lambda: b.ended, PATIENCE)
    assert read_some(b, 10) == b"before"
    with pytest.raises(WSAECONNRESET):
        read_some(b, 10)
    ended(a, b)


def test_a_peer_that_is_gone_without_a_word_has_ended_its_stream(san):
    """As the kernel ends the streams of a process that was killed."""
    a, b = san.pair()
    send_all(a, b"last words")
    assert b.wait(lambda: b.available == 10, PATIENCE)
    a.link.close()  # what a provider does for a process that has ended
    assert read_all(b) == b"last words"
    with pytest.raises(WSAECONNRESET):
        send_all(b, b"x")


def test_urgent_bytes_have_their_place(san):
    a, b = san.pair()
    send_all(a, b"front")
    a.send(b"!", urgent=True)
    send_all(a, b"behind")
    assert b.wait(lambda: len(b.unread()[0]) == 12, PATIENCE)
    assert read_some(b, 100) == b"front"
    assert b.at_mark
    assert b.recv_urgent() == b"!"
    with pytest.raises(WSAEINVAL):
        b.recv_urgent()
    assert read_some(b, 100) == b"behind"
    b.inbox.inline = True
    a.send(b"12", urgent=True)
    assert b.wait(lambda: len(b.unread()[0]) == 2, PATIENCE)
    assert read_some(b, 100) == b"1"
    assert b.at_mark
    assert read_some(b, 100) == b"2"
    assert not b.at_mark


def test_zero_copy_sends_end_when_the_peer_has_the_bytes(san):
    a, b = san.pair()
    data, done = os.urandom(200_000), []
    count = a.start_send(data, done.append)
    assert count > a.engine.terms.size
    with pytest.raises(WSAEWOULDBLOCK):
        a.start_send(data, done.append)
    got = b""
    while len(got) < count:
        got += read_some(b, 100_000)
    assert got == data[:count]
    assert a.wait(lambda: done == [0], PATIENCE)
    assert a.start_send(b"few", done.append) == 0


def test_no_memory_fails_zero_copy_sends_and_slows_others_down(san):
    one = san.functions()
    a, b = san.pair(one, san.functions())
    one.refuse_rdma = True
    with pytest.raises(WSAENOBUFS):
        a.start_send(bytes(100_000), print)
    reader = InThread(read_all, b)
    send_all(a, b"x" * 100_000)
    a.shutdown()
    assert reader.result() == b"x" * 100_000


def test_no_memory_at_the_receiver_makes_messages_of_it(san):
    other = san.functions(read=False)
    a, b = san.pair(san.functions(), other)
    other.refuse_rdma = True
    reader = InThread(read_all, b)
    data = os.urandom(400_000)
    send_all(a, data)
    a.shutdown()
    assert reader.result() == data
    b.shutdown()
    ended(a, b)


def test_requests_under_way_are_told_of_the_end(san):
    a, b = san.pair(san.functions(), san.functions(read=False))
    send_all(b, b"x" * 5)
    done = []
    # fill b, so that the second transfer waits for memory
    a.start_send(bytes(50_000), done.append)
    assert a.wait(lambda: len(done) == 1, PATIENCE)
    a.start_send(bytes(50_000), done.append)
    b.abort()
    assert a.wait(lambda: len(done) == 2, PATIENCE)
    assert done[1] != 0
    ended(a, b)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"garbage",
        Header(Kind.DATA, 5, length=1).pack() + b"x",
        Header(Kind.CREDIT, 1).pack(),
        Header(Kind.READ, 1, transfer=1).pack(),
        bytes(200),
    ],
)
def test_a_peer_that_breaks_the_protocol_ends_the_connection(san, message):
    a, b = san.pair()
    with a._lock:
        a._post(message or b"\0")
    assert b.wait(lambda: b.ended, PATIENCE)
    assert b.error == WSAECONNABORTED().winerror
    with pytest.raises(WSAECONNABORTED):
        b.recv_into(bytearray(1))
    assert a.wait(lambda: a.ended, PATIENCE)


def test_many_small_messages_from_several_threads(san):
    a, b = san.pair()
    reader = InThread(read_all, b)
    writers = [
        InThread(lambda byte=byte: [send_all(a, byte * 10) for _ in range(300)])
        for byte in (b"a", b"b", b"c")
    ]
    for writer in writers:
        writer.result()
    a.shutdown()
    got = reader.result()
    assert sorted(got) == sorted(b"abc" * 3000)


def test_waits_have_an_end(san):
    a, b = san.pair()
    assert not a.wait(a.readable, 0.05)
    waiting = InThread(lambda: a.wait(a.readable, PATIENCE))
    b.abort()
    assert waiting.result()


# --- accepting --------------------------------------------------------------------------------


def test_connect_and_accept_in_one_thread_up_to_the_backlog(san):
    acceptor, port = san.acceptor(backlog=3)
    clients = [san.connect(port) for _ in range(3)]
    for client in clients:
        send_all(client, b"hello")
    for _ in clients:
        session, local, _ = san.accept(acceptor)
        assert local[1] == port
        assert read_some(session, 10) == b"hello"
    assert acceptor.take() is None


def test_nobody_listens_and_nobody_negotiates(san):
    with pytest.raises(WSAError):
        san.connect(20999)
    from wsdirect.spi.constants import AF_INET, IPPROTO_TCP, SOCK_STREAM

    provider = san.provider
    mute = provider.WSPSocket(AF_INET, SOCK_STREAM, IPPROTO_TCP)
    provider.WSPBind(mute, ("127.0.0.1", 20998))
    provider.WSPListen(mute, 4)
    with pytest.raises(WSAETIMEDOUT):
        san.connect(20998, timeout=0.3)
    provider.WSPCloseSocket(mute)


def test_peers_that_say_nothing_or_nonsense_are_dropped(san):
    acceptor, port = san.acceptor(patience=0.3)
    client = san.connect(port)
    client.drop()
    session = acceptor._negotiating
    deadline = time.monotonic() + PATIENCE
    while session and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not session
    assert san.connect(port).is_open


def test_closing_a_listener_resets_who_waits(san):
    acceptor, port = san.acceptor()
    client = san.connect(port)
    acceptor.close()
    assert client.wait(lambda: client.ended, PATIENCE)
    acceptor.close()


# --- moving -----------------------------------------------------------------------------------


@pytest.mark.parametrize("active", [True, False])
def test_a_session_moves_with_what_is_unread_and_goes_on(san, active):
    a, b = san.pair()
    here, peer = (a, b) if active else (b, a)
    send_all(peer, b"unread")
    peer.send(b"!", urgent=True)
    send_all(peer, b"more")
    assert here.wait(lambda: len(here.unread()[0]) == 11, PATIENCE)
    moving.suspend(here)
    assert peer.engine.life is Life.HELD
    with pytest.raises(WSAEWOULDBLOCK):
        peer.send(b"held")
    assert not peer.writable()
    info, state = moving.hand_over(here, os.getpid())
    with pytest.raises(WSAEINVAL):
        moving.take_over(san.functions(), info, state[:-1])
    there = moving.take_over(san.functions(), info, state)
    san.sessions.append(there)
    assert read_some(there, 100) == b"unread"
    assert there.at_mark
    assert there.recv_urgent() == b"!"
    assert read_some(there, 100) == b"more"
    reader = InThread(read_all, there)
    data = os.urandom(300_000)
    send_all(peer, data)
    peer.shutdown()
    assert reader.result() == data
    reader = InThread(read_all, peer)
    send_all(there, data)
    there.shutdown()
    assert reader.result() == data
    ended(there, peer)


def test_only_suspended_sessions_move(san):
    a, _ = san.pair()
    with pytest.raises(WSAEINVAL):
        moving.hand_over(a, os.getpid())


def test_both_ends_suspend_at_once(san):
    a, b = san.pair()
    first = InThread(moving.suspend, a)
    second = InThread(moving.suspend, b)
    assert a.wait(lambda: a.engine.life is Life.SUSPENDED or b.engine.life is Life.SUSPENDED, 5)
    here = a if a.engine.life is Life.SUSPENDED else b
    (first if here is a else second).result()
    info, state = moving.hand_over(here, os.getpid())
    there = moving.take_over(san.functions(), info, state)
    san.sessions.append(there)
    (second if here is a else first).result()  # its turn now


def test_lies_about_memory_end_the_connection(san):
    """A descriptor that no registration has, and a place that was never named."""
    functions = san.functions()
    a, b = san.pair(san.functions(), functions)
    with a._lock:
        header = Header(
            Kind.LARGE, a.engine._number, length=1, transfer=1, total=2000, descriptor=b"\7" * 32
        )
        a._post(header.pack() + b"x")
    assert b.wait(lambda: b.ended, PATIENCE)
    assert b.error == WSAECONNABORTED().winerror
    assert functions.open_rdma == 0


def test_registrations_come_back_whatever_the_end(san):
    for how in ("close", "abort", "drop", "vanish"):
        functions = san.functions(), san.functions(read=False)
        a, b = san.pair(*functions)

        def read(session=b):
            left = 300_000
            while left:
                left -= len(read_some(session, left))

        reader = InThread(read)
        send_all(a, bytes(300_000))
        reader.result()
        if how == "vanish":
            a.link.close()
        else:
            getattr(a, how)()
        assert b.wait(lambda b=b: b.ended or b.engine.peer_deaf, PATIENCE)
        b.drop()
        a.drop()
        assert b.link.s == a.link.s == -1
        assert [each.open_rdma for each in functions] == [0, 0]
