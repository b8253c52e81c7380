import contextlib
import os
import signal
import socket
import threading
import time

import pytest

from tests.providers.helpers import HOST, San, code_of, eventually, resources
from tests.providers.test_cleanup import few_descriptors
from wsdirect.providers.shm import duplicate, parcels
from wsdirect.providers.shm.duplicate import _name_of
from wsdirect.providers.shm.names import parse_host
from wsdirect.spi.constants import (
    AF_INET,
    CF_ACCEPT,
    CF_DEFER,
    FD_CONNECT,
    IPPROTO_TCP,
    SOCK_STREAM,
    TCP_NODELAY,
)
from wsdirect.spi.errors import WsaErrorCode
from wsdirect.spi.overlapped import WSAOVERLAPPED, Event
from wsdirect.spi.structures import WSAPROTOCOL_INFOW
from wsdirect.spi.upcalls import HandleSpace
from wsdirect.testing.processes import Child

E = WsaErrorCode
LOOPBACK = parse_host(HOST).packed


def take(san, info):
    return san.provider.WSPSocket(AF_INET, SOCK_STREAM, IPPROTO_TCP, info)


def taker(link):
    """A process that takes sockets over and does what it is told with them."""
    san = San()
    link.put(os.getpid())
    sockets = []
    while (order := link.get()) is not None:
        what, *rest = order
        if what == "take":
            code = code_of(lambda info: sockets.append(take(san, info)), *rest)
            link.put(code)
        elif what == "echo":
            san.wait(sockets[-1], san.send(sockets[-1], san.receive(sockets[-1])))
            link.put("done")
        elif what == "accept":
            s, peer = san.provider.WSPAccept(sockets[0])
            sockets.append(s)
            link.put(peer)
        elif what == "pass":
            link.put(san.provider.WSPDuplicateSocket(sockets[-1], *rest))
        elif what == "close":
            san.provider.WSPCloseSocket(sockets.pop())
            link.put("done")
    san.close()


def ask(child, *order):
    child.link.put(order)
    return child.link.get()


def test_connected_socket_moves_to_another_process(san, port):
    a, b = san.pair(port)
    with Child(taker) as child:
        process = child.link.get()
        pending = [san.recv(b, bytearray(8), polled=polled) for polled in (True, False)]
        peer = san.recv(a, bytearray(16))
        info = san.provider.WSPDuplicateSocket(b, process)
        assert info.dwProviderReserved
        assert [request.OffsetHigh for request in pending] == [0, 0]
        assert eventually(lambda: len(san.completed) == 1)
        assert [san.wait(b, request) for request in pending] == [0, 0]
        assert code_of(san.recv, b, bytearray(1)) == E.WSAEINVAL
        san.send(a, b"early")  # before anybody has taken it over
        assert ask(child, "take", info) == 0
        assert ask(child, "echo") == "done"
        assert san.wait(a, peer) == 5
        san.provider.WSPCloseSocket(b)  # does not end the connection
        san.send(a, b"again")
        assert ask(child, "echo") == "done"
        assert san.receive(a) == b"again"
        ask(child, "close")
        assert code_of(san.receive, a) == E.WSAECONNRESET
        child.link.put(None)


def test_old_descriptor_may_be_closed_before_the_socket_is_fetched(san, port):
    a, b = san.pair(port)
    with Child(taker) as child:
        info = san.provider.WSPDuplicateSocket(b, child.link.get())
        san.provider.WSPCloseSocket(b)
        assert ask(child, "take", info) == 0
        san.send(a, b"x")
        ask(child, "echo")
        assert san.receive(a) == b"x"
        child.link.put(None)


def test_there_and_back_again(san, port):
    a, b = san.pair(port)
    san.provider.WSPSetSockOpt(b, IPPROTO_TCP, TCP_NODELAY, 1)
    with Child(taker) as child:
        process = child.link.get()
        before = resources()
        for i in range(20):
            info = san.provider.WSPDuplicateSocket(b, process)
            assert ask(child, "take", info) == 0
            san.provider.WSPCloseSocket(b)
            san.send(a, b"%d" % i)
            ask(child, "echo")
            assert san.receive(a) == b"%d" % i
            b = take(san, ask(child, "pass", os.getpid()))
            assert ask(child, "close") == "done"
            san.send(a, b"here")
            assert san.receive(b) == b"here"
        assert san.provider.WSPGetSockOpt(b, IPPROTO_TCP, TCP_NODELAY) == 1
        assert eventually(lambda: resources()[0] <= before[0] + 2)  # its own mapping by now
        child.link.put(None)


def test_within_one_process(san, port):
    a, b = san.pair(port)
    c = take(san, san.provider.WSPDuplicateSocket(b, os.getpid()))
    san.provider.WSPCloseSocket(b)
    san.send(a, b"x")
    assert san.receive(c) == b"x"


def test_listening_socket(san, port):
    listener = san.listen(port)
    first, first_told = san.connect(port)
    with Child(taker) as child:
        info = san.provider.WSPDuplicateSocket(listener, child.link.get())
        assert ask(child, "take", info) == 0
        san.provider.WSPCloseSocket(listener)
        assert ask(child, "accept") == (HOST, 45000)  # queued before the move
        assert san.connected(first, first_told) == 0
        second, second_told = san.connect(port)
        assert ask(child, "accept") == (HOST, 45000)
        assert san.connected(second, second_told) == 0
        san.send(second, b"hello")
        ask(child, "echo")
        assert san.receive(second) == b"hello"
        child.link.put(None)
    assert eventually(lambda: code_of(san.receive, first) == E.WSAECONNRESET)


def test_native_stream(san, port):
    listener = san.listen(port, native=True)
    a = san.native.stream(san.connect(port, native=True))
    b, _ = san.provider.WSPAccept(listener)
    c = take(san, san.provider.WSPDuplicateSocket(b, os.getpid()))
    san.provider.WSPCloseSocket(b)
    stream = san.native.stream(c)
    a.send(b"x")
    assert stream.recv(1, 5) == b"x"
    stream.send(b"y")
    assert a.recv(1, 5) == b"y"
    for each in (a, stream):
        each.close()
        os.close(each.fd)


def test_cookie_is_for_one_process_and_for_one_time(san, port):
    a, b = san.pair(port)
    with Child(taker) as right, Child(taker) as wrong:
        info = san.provider.WSPDuplicateSocket(b, right.link.get())
        wrong.link.get()
        assert ask(wrong, "take", info) == E.WSAEINVAL
        assert code_of(take, san, info) == E.WSAEINVAL
        assert ask(right, "take", info) == 0
        assert eventually(lambda: ask(right, "take", info) == E.WSAEINVAL)
        san.send(a, b"x")
        ask(right, "echo")
        right.link.put(None)
        wrong.link.put(None)


@pytest.mark.parametrize("cookie", [1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_bogus_cookie(san, cookie):
    before = resources()
    info = san.provider.protocol_info.replace(dwProviderReserved=cookie)
    assert code_of(take, san, info) == E.WSAEINVAL
    assert resources() == before


def test_taker_that_dies_does_not_use_the_cookie_up(san, port):
    a, b = san.pair(port)
    info = san.provider.WSPDuplicateSocket(b, os.getpid())

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as visitor:
        visitor.connect(_name_of(info.dwProviderReserved))
        visitor.recv(1)
    assert eventually(lambda: code_of(take, san, info) == 0)
    san.send(a, b"x")


def test_owner_that_dies_ends_the_connection(san, port):
    def owner(link):
        mine = San()
        s = mine.socket()
        mine.provider.WSPConnect(s, (HOST, port))
        mine.provider.WSPDuplicateSocket(s, 1)
        link.put("offered")
        time.sleep(30)

    listener = san.listen(port)
    with Child(owner) as child:
        s, _ = san.accept(listener)
        requests = [san.recv(s, bytearray(8)) for _ in range(3)]
        assert child.link.get() == "offered"
        child.kill()
        for request in requests:
            assert code_of(san.wait, s, request) == E.WSAECONNRESET


def test_what_cannot_be_duplicated(san, port):
    duplicate = san.provider.WSPDuplicateSocket
    a, b = san.pair(port)
    assert code_of(duplicate, a, -1) == E.WSAEINVAL
    assert code_of(duplicate, a, 2**32) == E.WSAEINVAL
    assert code_of(duplicate, a, "1") == E.WSAEINVAL
    assert code_of(duplicate, san.socket(), 1) == E.WSAEINVAL
    sends = [san.send(a, bytes(60000)) for _ in range(6)]
    assert sends[-1].in_progress
    assert code_of(duplicate, a, 1) == E.WSAEINVAL
    duplicate(b, 0xFFFFFFFF)
    assert code_of(duplicate, b, 1) == E.WSAEINVAL
    assert code_of(san.provider.WSPSend, b, [b"x"], 0, WSAOVERLAPPED(polled=True)) == E.WSAEINVAL


def test_twelve_receives_are_flushed_quickly(san, port):
    _, b = san.pair(port)
    for _ in range(12):
        san.recv(b, bytearray(8), polled=False)
    start = time.monotonic()
    san.provider.WSPDuplicateSocket(b, 1)
    assert time.monotonic() - start < 2  # no wait of any kind for each of them
    assert eventually(lambda: len(san.completed) == 12)
    assert {(error, transferred) for _, _, error, transferred in san.completed} == {(0, 0)}


def test_cleanup_closes_what_nobody_fetched(port):
    before = resources()
    san = San()
    _, b = san.pair(port)
    san.provider.WSPDuplicateSocket(b, 1)
    san.close()
    del san
    assert resources() == before


# --- listening sockets: no request is lost ------------------------------------------------------


def put_off(san, listener, data=b""):
    """A request that the condition function has put off; the connecting socket and its event."""
    s = san.socket(40001)
    event = Event()
    san.provider.WSPEventSelect(s, event, FD_CONNECT)
    assert code_of(san.provider.WSPConnect, s, (HOST, listener[1]), data) == E.WSAEWOULDBLOCK
    san.provider.WSPEventSelect(listener[0], None, 0)
    assert code_of(san.provider.WSPAccept, listener[0], lambda request: CF_DEFER) == E.WSATRY_AGAIN
    return s, event


def accept_with_data(san, s):
    """Accept the first request: (descriptor, peer's port, caller data)."""
    seen = []
    accepted, peer = san.provider.WSPAccept(
        s, lambda request: seen.append(request.caller_data) or CF_ACCEPT
    )
    return accepted, peer[1], seen[0]


def test_requests_put_off_come_along_and_come_first(san, port):
    def process(link):
        mine = San()
        link.put(os.getpid())
        s = take(mine, link.get())
        found = []
        for _ in range(2):
            accepted, peer, data = accept_with_data(mine, s)
            found.append((peer, data))
            mine.wait(accepted, mine.send(accepted, data or b"-"))
        link.put(found)
        link.get()
        mine.close()

    listener = san.listen(port)
    first, first_told = put_off(san, (listener, port), b"I was first")
    second, second_told = san.connect(port)
    with Child(process) as child:
        child_pid = child.link.get()
        child.link.put(san.provider.WSPDuplicateSocket(listener, child_pid))
        assert child.link.get() == [(40001, b"I was first"), (45000, None)]
        assert san.connected(first, first_told) == 0
        assert san.connected(second, second_told) == 0
        san.provider.WSPCloseSocket(listener)
        assert san.receive(first) == b"I was first"
        assert san.receive(second) == b"-"
        child.link.put("end")


def test_requests_put_off_within_one_process(san, port):
    listener = san.listen(port)
    first, told = put_off(san, (listener, port), b"data")
    counts = []
    for _ in range(10):
        info = san.provider.WSPDuplicateSocket(listener, os.getpid())
        san.provider.WSPCloseSocket(listener)
        listener = take(san, info)
        counts.append(resources())
    assert len(set(counts)) == 1
    accepted, _, data = accept_with_data(san, listener)
    assert data == b"data"
    assert san.connected(first, told) == 0
    san.send(first, b"x")
    assert san.receive(accepted) == b"x"


def test_queued_request_in_a_segment_that_only_the_old_owner_knows(san, port):
    """The client shares a segment with the owner already, and does not pass it once more."""
    listener = san.listen(port)
    for _ in range(2):  # the second one comes without the segment
        s, event = san.connect(port)
        san.accept(listener)
        assert san.connected(s, event) == 0
    s, event = san.connect(port)
    with Child(taker) as child:
        info = san.provider.WSPDuplicateSocket(listener, child.link.get())
        assert ask(child, "take", info) == 0
        assert ask(child, "accept") == (HOST, 45000)
        assert san.connected(s, event) == 0
        child.link.put(None)


def test_listener_that_nobody_fetches_refuses_its_queue(port):
    client, san = San(), San()
    listener = san.listen(port)
    off = put_off(san, (listener, port))  # a client in the same process, of another start
    queued = client.connect(port)
    san.provider.WSPDuplicateSocket(listener, 1)
    waiting = client.connect(port)
    san.provider.WSPCloseSocket(listener)
    assert not queued[1].is_set()
    san.provider.WSPCleanup()
    assert client.connected(*queued) == E.WSAECONNREFUSED
    assert client.connected(*waiting) == E.WSAECONNREFUSED
    del off
    client.close()


# --- somebody dies, hangs or lies on the way ----------------------------------------------------


def test_back_and_forth_leaves_nothing(san, port):
    def process(link):
        mine = San()
        link.put(os.getpid())
        counts = []
        for _ in range(30):
            s = take(mine, link.get())
            requests = [mine.recv(s, bytearray(8)) for _ in range(3)]
            info = mine.provider.WSPDuplicateSocket(s, os.getppid())
            assert [request.result() for request in requests] == [0, 0, 0]
            link.put(info)
            link.get()  # it has been fetched
            mine.provider.WSPCloseSocket(s)
            assert eventually(lambda: all(each.done for each in mine.provider._san.handovers))
            counts.append(resources())
        link.put(counts[5:])
        link.get()
        mine.close()

    a, b = san.pair(port)
    counts = []
    with Child(process) as child:
        child_pid = child.link.get()
        for turn in range(30):
            pending = [san.recv(b, bytearray(8), polled=False) for _ in range(3)]
            info = san.provider.WSPDuplicateSocket(b, child_pid)
            assert eventually(lambda found=pending: not any(r.in_progress for r in found))
            child.link.put(info)
            info = child.link.get()
            san.provider.WSPCloseSocket(b)
            b = take(san, info)
            child.link.put(turn)
            san.send(a, b"%d" % turn)
            assert san.receive(b) == b"%d" % turn
            san.send(b, b"back")
            assert san.receive(a) == b"back"
            counts.append(resources())
        theirs = child.link.get()
        child.link.put("end")
    assert len(set(theirs)) == 1
    assert counts[-1][0] <= counts[5][0]
    assert counts[-1][1:] == counts[5][1:]
    assert len(san.completed) == 90
    assert {told[2:] for told in san.completed} == {(0, 0)}
    assert len(san.switch.handles) == 2


def fetch(cookie, acknowledge=False):
    """Fetch a parcel as a process would, by hand; the link and the descriptors that came."""
    visitor = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    visitor.connect(_name_of(cookie))
    _, descriptors, _, _ = socket.recv_fds(visitor, 4096, 8)
    if acknowledge:
        visitor.send(b"K")
    return visitor, descriptors


def test_taker_killed_between_fetching_and_acknowledging(san, port, monkeypatch):
    monkeypatch.setattr(duplicate, "_PATIENCE", 0.5)
    a, b = san.pair(port)
    requests = [san.recv(a, bytearray(8), polled=False) for _ in range(4)]

    def process(link):
        link.put(os.getpid())
        fetch(link.get().dwProviderReserved)
        link.put("fetched")
        time.sleep(30)

    with Child(process) as child:
        info = san.provider.WSPDuplicateSocket(b, child.link.get())
        child.link.put(info)
        assert child.link.get() == "fetched"
        child.kill()
        # The owner still has it, for a process that will never come.
        assert all(request.in_progress for request in requests)
    assert eventually(lambda: len(san.completed) == 4)
    assert {told[2] for told in san.completed} == {E.WSAECONNRESET}
    assert {id(told[1]) for told in san.completed} == {id(request) for request in requests}
    assert code_of(take, san, info) == E.WSAEINVAL
    san.provider.WSPCloseSocket(b)


def test_taker_killed_with_the_socket(san, port):
    a, b = san.pair(port)
    requests = [san.recv(a, bytearray(8), polled=False) for _ in range(4)]
    with Child(taker) as child:
        info = san.provider.WSPDuplicateSocket(b, child.link.get())
        assert ask(child, "take", info) == 0
        assert eventually(lambda: all(each.done for each in san.provider._san.handovers))
        assert all(request.in_progress for request in requests)
        child.kill()
    assert eventually(lambda: len(san.completed) == 4)
    assert {told[2] for told in san.completed} == {E.WSAECONNRESET}


def owner(link, port):
    """A process that hands its connection to another one."""
    mine = San()
    s = mine.socket()
    mine.provider.WSPConnect(s, (HOST, port))
    link.put(mine.provider.WSPDuplicateSocket(s, link.get()))
    time.sleep(30)


def test_owner_killed_after_it_was_fetched(san, port):
    listener = san.listen(port)
    with Child(lambda link: owner(link, port)) as child:
        peer, _ = san.accept(listener)
        child.link.put(os.getpid())
        s = take(san, child.link.get())
        child.kill()
        for one, other in ((s, peer), (peer, s)):
            san.send(one, b"alive")
            assert san.receive(other) == b"alive"
    san.provider.WSPCloseSocket(s)
    assert code_of(san.receive, peer) == E.WSAECONNRESET


def test_owner_that_hangs(san, port, monkeypatch):
    """T-22: the next process does not wait for ever, and may come again."""
    monkeypatch.setattr(duplicate, "_WAIT", 100)
    listener = san.listen(port)
    with Child(lambda link: owner(link, port)) as child:
        peer, _ = san.accept(listener)
        child.link.put(os.getpid())
        info = child.link.get()
        os.kill(child.pid, signal.SIGSTOP)
        before = resources()
        assert code_of(take, san, info) == E.WSAEINVAL
        assert resources() == before
        os.kill(child.pid, signal.SIGCONT)
        found = []
        assert eventually(lambda: code_of(lambda: found.append(take(san, info))) == 0)
        san.send(found[0], b"x")
        assert san.receive(peer) == b"x"
        child.kill()


def test_owner_closes_while_somebody_fetches(san, port):
    a, b = san.pair(port)
    info = san.provider.WSPDuplicateSocket(b, os.getpid())
    visitor, descriptors = fetch(info.dwProviderReserved)
    assert len(descriptors) == 2
    assert code_of(take, san, info) == E.WSAEINVAL  # one at a time
    for handover in san.provider._san.handovers:
        handover.close()
    visitor.close()
    for descriptor in descriptors:
        os.close(descriptor)
    assert code_of(san.receive, a) == E.WSAECONNRESET
    assert code_of(take, san, info) == E.WSAEINVAL


NOBODYS = 0x40000000 + os.getpid()
"""A number that no duplicated socket has, here or in another run of these tests."""


@pytest.mark.parametrize("messages", [
    [],
    [(b"x", 0)],
    [(bytes(4096), 2)],
    [(b"\1\1" + bytes(60), 2)],
    [(b"\1\2" + bytes(60), 1), (b"", 0)],
    [("connected", 2)],
    [("connected", 0)],
    [("listening", 2)],
    [("listening with requests", 1), (bytes(100), 2)],
    [("listening with segments", 1), (bytes(16), 1)],
])  # fmt: skip
def test_garbage_in_a_parcel(san, messages):
    """An owner that lies: WSAEINVAL, and nothing is left."""
    state = {
        "connected": (1, 1, 0, 2, 0, LOOPBACK, 1, LOOPBACK, 2, 0, 0),
        "listening": (1, 2, 0, 2, 1, LOOPBACK, 1, LOOPBACK, 2, 0, 0),
        "listening with requests": (1, 2, 0, 2, 1, LOOPBACK, 1, LOOPBACK, 2, 1, 0),
        "listening with segments": (1, 2, 0, 2, 1, LOOPBACK, 1, LOOPBACK, 2, 0, 1),
    }
    pipe = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as squatter:
        squatter.bind(_name_of(NOBODYS))
        squatter.listen()
        codes = []
        info = san.provider.protocol_info.replace(dwProviderReserved=NOBODYS)
        before = resources()
        thread = threading.Thread(target=lambda: codes.append(code_of(take, san, info)))
        thread.start()
        connection, _ = squatter.accept()
        for what, count in messages:
            packed = parcels._STATE.pack(*state[what]) if isinstance(what, str) else what
            if what in state and "listening" not in what:
                packed += bytes(parcels._PLACE.size)
            with contextlib.suppress(BrokenPipeError):  # the first message was bad enough
                socket.send_fds(connection, [packed], pipe[:1] * count)
        connection.close()
        thread.join(10)
        assert codes == [E.WSAEINVAL]
        assert eventually(lambda: resources() == before)
    for descriptor in pipe:
        os.close(descriptor)
    assert san.switch.handles == []


def test_no_handle_for_the_socket_taken_over(san, port):
    """It can be fetched again: nothing is lost by failing."""
    a, b = san.pair(port)
    info = san.provider.WSPDuplicateSocket(b, os.getpid())
    before = resources()
    for provider in (san, San()):  # within the provider, and by way of the kernel
        provider.provider.WSPStartupEx(0x0202, WSAPROTOCOL_INFOW(), HandleSpace(limit=0))
        assert code_of(take, provider, info) == E.WSAENOBUFS
        provider.provider.WSPStartupEx(0x0202, WSAPROTOCOL_INFOW(), provider.switch)
        for _ in range(2):
            provider.provider.WSPCleanup()
    assert eventually(lambda: resources()[:2] == before[:2])
    found = []
    assert eventually(lambda: code_of(lambda: found.append(take(san, info))) == 0)
    san.send(a, b"still there")
    assert san.receive(found[0]) == b"still there"


@pytest.mark.parametrize("spare", [0, 1, 2])
def test_no_descriptor_for_the_socket_taken_over(san, port, spare):
    a, b = san.pair(port)

    def process(link):
        mine = San()
        link.put(os.getpid())
        info = link.get()
        with few_descriptors(spare):
            link.put(code_of(take, mine, info))
        found = []
        assert eventually(lambda: code_of(lambda: found.append(take(mine, info))) == 0)
        mine.wait(found[0], mine.send(found[0], b"fetched"))
        link.get()
        mine.close()

    with Child(process) as child:
        child_pid = child.link.get()
        child.link.put(san.provider.WSPDuplicateSocket(b, child_pid))
        assert child.link.get() == E.WSAEMFILE
        assert san.receive(a) == b"fetched"
        child.link.put("end")


def test_taking_over_from_inside_an_upcall(san, port):
    """The thread that would serve the owner's side may be the one that takes over."""
    a, b = san.pair(port)
    info = san.provider.WSPDuplicateSocket(b, os.getpid())
    s, other = san.pair(port)
    found = []
    san.on_complete = lambda *told: found.append(take(san, info))
    san.recv(s, bytearray(8), polled=False)
    san.send(other, b"x")
    assert eventually(lambda: found)
    san.on_complete = None
    san.send(a, b"x")
    assert san.receive(found[0]) == b"x"


def test_many_threads_take_the_same_cookie(san, port):
    _, b = san.pair(port)
    info = san.provider.WSPDuplicateSocket(b, os.getpid())
    codes = []
    threads = [
        threading.Thread(target=lambda: codes.append(code_of(take, san, info))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [0] + [E.WSAEINVAL] * 7
    assert len(san.switch.handles) == 3


def test_old_descriptor_after_the_move(san, port):
    _, b = san.pair(port)
    san.provider.WSPSetSockOpt(b, IPPROTO_TCP, TCP_NODELAY, 1)
    info = san.provider.WSPDuplicateSocket(b, os.getpid())
    for _ in range(2):
        for call in (san.provider.WSPListen, san.provider.WSPAccept):
            assert code_of(call, b) == E.WSAEINVAL
        assert code_of(san.provider.WSPBind, b, (HOST, 1)) == E.WSAEINVAL
        assert code_of(san.provider.WSPEventSelect, b, Event(), FD_CONNECT) == E.WSAEINVAL
        assert code_of(san.provider.WSPDuplicateSocket, b, 1) == E.WSAEINVAL
        assert san.provider.WSPGetSockOpt(b, IPPROTO_TCP, TCP_NODELAY) == 1
        if info is not None:
            assert take(san, info) != b  # a live number is not used again
            info = None
    san.provider.WSPCloseSocket(b)
    assert code_of(san.provider.WSPCloseSocket, b) == E.WSAENOTSOCK
