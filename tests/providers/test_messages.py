import os
import threading
import time

import pytest

from tests.providers.helpers import HOST, PATIENCE, San, code_of, eventually, resources
from wsdirect.providers.shm.limits import REQUESTS_MAX
from wsdirect.spi.constants import FD_ACCEPT, MEM_READ
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.overlapped import WSAOVERLAPPED, Event
from wsdirect.testing.processes import Child

E = WsaErrorCode


@pytest.fixture
def pair(san, port):
    return san.pair(port)


def test_one_message_one_receive(san, pair):
    a, b = pair
    buffers = [bytearray(10) for _ in range(3)]
    requests = [san.recv(b, buffer) for buffer in buffers]
    for text in (b"one", b"", b"three"):
        assert san.wait(a, san.send(a, text)) == len(text)
    assert [san.wait(b, request) for request in requests] == [3, 0, 5]
    assert [bytes(buffer).rstrip(b"\0") for buffer in buffers] == [b"one", b"", b"three"]


def test_both_directions(san, pair):
    a, b = pair
    san.send(a, b"there")
    san.send(b, b"back")
    assert san.receive(b) == b"there"
    assert san.receive(a) == b"back"


def test_gather_and_scatter(san, pair):
    a, b = pair
    parts = [b"ab", b"", bytearray(b"cde"), memoryview(b"fghi")]
    buffers = [bytearray(4), bytearray(1), bytearray(9)]
    request = san.recv(b, *buffers)
    san.send(a, *parts)
    parts.clear()
    assert san.wait(b, request) == 9
    assert buffers == [bytearray(b"abcd"), bytearray(b"e"), bytearray(b"fghi\0\0\0\0\0")]


def test_early_messages_wait_for_receives(san, pair):
    a, b = pair
    for i in range(50):
        san.send(a, b"%d" % i)
    time.sleep(0.01)
    assert [san.receive(b) for _ in range(50)] == [b"%d" % i for i in range(50)]


def test_largest_message(san, pair):
    a, b = pair
    limit = san.limit(a)
    assert limit == 65536
    data = os.urandom(limit)
    request = san.send(a, data)
    assert san.receive(b, limit) == data
    assert san.wait(a, request) == limit
    overlapped = WSAOVERLAPPED(polled=True)
    more = b"x"
    san.register(a, more, MEM_READ)
    assert code_of(san.provider.WSPSend, a, [data, more], 0, overlapped) == E.WSAEMSGSIZE
    assert not overlapped.in_progress
    san.send(a, b"goes on")
    assert san.receive(b) == b"goes on"


def test_sends_wait_for_room_and_keep_their_order(san, pair):
    a, b = pair
    data = [bytes([i]) * 60000 for i in range(20)]
    requests = [san.send(a, each) for each in data]
    assert requests[-1].in_progress
    for each in data:
        assert san.receive(b, 65536) == each
        code_of(san.provider.WSPGetOverlappedResult, a, requests[-1])  # moves them all on
    assert [san.wait(a, request) for request in requests] == [60000] * 20


def test_waiting_sends_are_announced_without_polling(san, pair):
    a, b = pair
    data = [bytes([i]) * 60000 for i in range(20)]
    requests = [san.send(a, each, polled=False) for each in data]
    assert requests[-1].in_progress
    assert [san.receive(b, 65536) for _ in data] == data
    assert eventually(lambda: len(san.completed) == 20)
    assert [overlapped for _, overlapped, _, _ in san.completed] == requests
    assert {transferred for *_, transferred in san.completed} == {60000}


def test_many_requests_then_would_block(san, pair):
    a, b = pair
    requests = [san.recv(b, bytearray(8)) for _ in range(REQUESTS_MAX)]
    extra, buffer = WSAOVERLAPPED(polled=True), bytearray(8)
    san.register(b, buffer)
    assert code_of(san.provider.WSPRecv, b, [buffer], 0, extra) == E.WSAEWOULDBLOCK
    assert not extra.in_progress
    block = bytes(60000)
    san.register(b, block, MEM_READ)
    sends = []
    while (
        code := code_of(
            san.provider.WSPSend,
            b,
            [block],
            0,
            sends.append(WSAOVERLAPPED(polled=True)) or sends[-1],
        )
    ) == 0:
        pass
    assert code == E.WSAEWOULDBLOCK
    assert len(sends) > REQUESTS_MAX
    for i in range(REQUESTS_MAX):
        san.send(a, b"%d" % i)
    assert [san.wait(b, request) for request in requests] == [
        len(str(i)) for i in range(REQUESTS_MAX)
    ]


def test_notified_receive_is_told_once_with_handle_and_count(san, pair):
    a, b = pair
    buffer = bytearray(100)
    request = san.recv(b, buffer, polled=False)
    assert request.in_progress
    san.send(a, b"hello")
    assert eventually(lambda: san.completed)
    time.sleep(0.02)
    [(handle, overlapped, error, transferred)] = san.completed
    assert san.switch.WPUQuerySocketHandleContext(handle) == b
    assert (overlapped, error, transferred) == (request, 0, 5)
    assert request.InternalHigh == 5
    assert san.wait(b, request) == 5
    assert san.wait(b, request) == 5  # as often as wanted


def test_no_upcall_inside_the_call_that_asks(san, pair):
    a, b = pair
    mine, inside = threading.get_ident(), []
    san.on_complete = lambda *result: inside.append(threading.get_ident() == mine)
    for _ in range(50):
        san.send(a, b"x", polled=False)
        san.recv(b, bytearray(8), polled=False)
    assert eventually(lambda: len(inside) == 100)
    assert not any(inside)


def test_polled_requests_are_never_announced(san, pair):
    a, b = pair
    san.recv(b, bytearray(8), polled=False)  # the progress thread is at work
    polled = san.recv(b, bytearray(8))
    san.send(a, b"1")
    san.send(a, b"2")
    assert san.wait(b, polled) == 1
    assert eventually(lambda: len(san.completed) == 1)


def test_mixed_requests_complete_in_order(san, pair):
    a, b = pair
    buffers = [bytearray(4) for _ in range(64)]
    requests = [san.recv(b, buffer, polled=i % 2 == 0) for i, buffer in enumerate(buffers)]
    for i in range(64):
        san.send(a, b"%d" % i)
    for request in requests:
        san.wait(b, request)
    assert [bytes(buffer).rstrip(b"\0") for buffer in buffers] == [b"%d" % i for i in range(64)]
    assert eventually(lambda: len(san.completed) == 32)
    assert [overlapped for _, overlapped, _, _ in san.completed] == requests[1::2]


def test_record_in_use(san, pair):
    a, b = pair
    buffer = bytearray(8)
    request = san.recv(b, buffer)
    assert code_of(san.provider.WSPRecv, b, [buffer], 0, request) == E.WSAEINVAL
    assert request.in_progress
    san.send(a, b"x")
    assert san.wait(b, request) == 1


def test_bad_arguments(san, pair):
    a, _ = pair
    provider, request = san.provider, WSAOVERLAPPED(polled=True)
    assert code_of(provider.WSPSend, a, [b"x"], 1, request) == E.WSAEOPNOTSUPP
    assert code_of(provider.WSPRecv, a, [bytearray(1)], 2, request) == E.WSAEOPNOTSUPP
    assert code_of(provider.WSPSend, a, [b"x"], 0, None) == E.WSAEINVAL
    assert code_of(provider.WSPSend, a, ["text"], 0, request) == E.WSAEFAULT
    assert code_of(provider.WSPRecv, a, [b"read-only"], 0, request) == E.WSAEFAULT
    assert code_of(provider.WSPSend, a, None, 0, request) == E.WSAEFAULT
    assert code_of(provider.WSPSend, a, [memoryview(b"abcd")[::2]], 0, request) == E.WSAEFAULT
    assert code_of(provider.WSPGetOverlappedResult, a, None) == E.WSAEINVAL
    assert not request.in_progress


def test_every_call_refuses_what_is_no_socket(san, pair):
    a, _ = pair
    provider, request = san.provider, WSAOVERLAPPED(polled=True)
    san.provider.WSPCloseSocket(a)
    for s in (a, -1, 2**64 - 1):
        for call, *arguments in (
            (provider.WSPAccept,),
            (provider.WSPBind, (HOST, 80)),
            (provider.WSPCloseSocket,),
            (provider.WSPConnect, (HOST, 80)),
            (provider.WSPDuplicateSocket, 1),
            (provider.WSPEnumNetworkEvents,),
            (provider.WSPEventSelect, Event(), FD_ACCEPT),
            (provider.WSPGetOverlappedResult, request),
            (provider.WSPGetQOSByName, "name"),
            (provider.WSPGetSockOpt, 0xFFFF, 0x2003),
            (provider.WSPIoctl, 0x48000016),
            (provider.WSPListen,),
            (provider.WSPRecv, [bytearray(1)], 0, request),
            (provider.WSPSend, [b"x"], 0, request),
            (provider.WSPSetSockOpt, 0xFFFF, 1, 1),
        ):
            assert code_of(call, s, *arguments) == E.WSAENOTSOCK, call


def test_unconnected_sockets_carry_nothing(san, port):
    request = WSAOVERLAPPED(polled=True)
    for s in (san.socket(), san.listen(port)):
        assert code_of(san.provider.WSPSend, s, [b"x"], 0, request) == E.WSAENOTCONN
        assert code_of(san.provider.WSPRecv, s, [bytearray(1)], 0, request) == E.WSAENOTCONN


# --- endings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("polled", [True, False])
def test_receive_too_small_breaks_the_connection(san, pair, polled):
    a, b = pair
    requests = [san.recv(b, bytearray(n), polled=polled) for n in (4, 100)]
    peer = san.recv(a, bytearray(4))
    san.send(a, b"hello")
    codes = [code_of(san.wait, b, request) for request in requests]
    assert codes == [E.WSAEMSGSIZE, E.WSAECONNABORTED]
    assert code_of(san.recv, b, bytearray(4)) == E.WSAECONNABORTED
    assert code_of(san.send, b, b"x") == E.WSAECONNABORTED
    assert code_of(san.wait, a, peer) == E.WSAECONNRESET


@pytest.mark.parametrize("polled", [True, False])
def test_close_aborts_here_and_resets_there(san, pair, polled):
    a, b = pair
    mine = [san.recv(a, bytearray(4), polled=polled) for _ in range(3)]
    theirs = [san.recv(b, bytearray(4), polled=polled) for _ in range(3)]
    handle = san.switch.handles[-2]
    san.provider.WSPCloseSocket(a)
    assert [request.OffsetHigh for request in mine] == [E.WSA_OPERATION_ABORTED] * 3
    assert not any(request.in_progress for request in mine)
    assert handle not in san.switch.handles
    assert [code_of(san.wait, b, request) for request in theirs] == [E.WSAECONNRESET] * 3
    assert code_of(san.recv, b, bytearray(4)) == E.WSAECONNRESET
    assert code_of(san.send, b, b"x") == E.WSAECONNRESET
    assert code_of(san.recv, b, bytearray(4)) == E.WSAECONNRESET  # the same for ever
    if not polled:
        assert eventually(lambda: len(san.completed) == 6)


def test_messages_sent_before_the_close_arrive(san, pair):
    a, b = pair
    for i in range(3):
        san.send(a, b"%d" % i)
    san.provider.WSPCloseSocket(a)
    assert [san.receive(b) for _ in range(3)] == [b"0", b"1", b"2"]
    assert code_of(san.receive, b) == E.WSAECONNRESET


def test_pending_sends_end_too(san, pair):
    a, b = pair
    requests = [san.send(a, bytes(60000)) for _ in range(10)]
    pending = [request for request in requests if request.in_progress]
    assert pending
    san.provider.WSPCloseSocket(b)
    assert {code_of(san.wait, a, request) for request in pending} == {E.WSAECONNRESET}


def test_close_from_inside_an_upcall(san, pair):
    a, b = pair
    told, handles = [], []
    close = san.switch.WPUCloseSocketHandle

    def on_complete(s, overlapped, error, transferred):
        told.append((overlapped, error))
        if len(told) == 1:
            san.provider.WSPCloseSocket(b)
            assert handles == []  # not before the other upcalls

    san.on_complete = on_complete
    requests = [san.recv(b, bytearray(8), polled=False) for _ in range(8)]

    class Watching(type(san.switch)):
        __slots__ = ()

        def WPUCloseSocketHandle(self, s):
            handles.append(len(told))
            close(s)

    san.switch.__class__ = Watching
    try:
        san.send(a, b"x")
        assert eventually(lambda: handles)
    finally:
        san.switch.__class__ = Watching.__base__
    assert [overlapped for overlapped, _ in told] == requests
    assert [error for _, error in told] == [0] + [E.WSA_OPERATION_ABORTED] * 7
    assert handles == [8]


def test_close_while_an_upcall_runs_in_another_thread(san, pair):
    a, b = pair
    entered, leave = threading.Event(), threading.Event()

    def on_complete(*result):
        entered.set()
        leave.wait(PATIENCE)

    san.on_complete = on_complete
    san.recv(b, bytearray(8), polled=False)
    handle = san.switch.handles[-1]
    san.send(a, b"x")
    assert entered.wait(PATIENCE)
    san.provider.WSPCloseSocket(b)  # does not wait for it
    assert handle in san.switch.handles
    leave.set()
    assert eventually(lambda: handle not in san.switch.handles)


def test_requests_from_inside_an_upcall(san, pair):
    a, b = pair
    done = threading.Event()
    count = 0

    def on_complete(s, overlapped, error, transferred):
        nonlocal count
        count += 1
        if count == 100:
            done.set()
        else:
            san.recv(b, bytearray(8), polled=False)
            san.send(a, b"again")

    san.on_complete = on_complete
    san.recv(b, bytearray(8), polled=False)
    san.send(a, b"first")
    assert done.wait(PATIENCE)


def test_upcalls_of_one_socket_do_not_overlap(san, pair):
    a, b = pair
    inside, worst, order = [], [], []

    def on_complete(s, overlapped, error, transferred):
        inside.append(1)
        worst.append(len(inside))
        order.append(overlapped)
        time.sleep(0.0002)
        inside.pop()

    san.on_complete = on_complete
    requests = [san.recv(b, bytearray(8), polled=False) for _ in range(100)]
    pollers = [
        threading.Thread(target=lambda part: [san.wait(b, r) for r in part], args=(requests[i::3],))
        for i in range(3)
    ]
    for thread in pollers:
        thread.start()
    for _ in range(100):
        san.send(a, b"x")
    for thread in pollers:
        thread.join()
    assert eventually(lambda: len(order) == 100)
    assert max(worst) == 1
    assert order == requests


def test_closing_while_another_thread_waits(san, pair):
    _, b = pair
    request = san.recv(b, bytearray(8))
    timer = threading.Timer(0.05, san.provider.WSPCloseSocket, (b,))
    timer.start()
    assert code_of(san.wait, b, request) == E.WSA_OPERATION_ABORTED
    timer.join()
    assert code_of(san.wait, b, request) == E.WSAENOTSOCK


def test_cleanup_with_requests_pending(san, pair):
    a, b = pair
    requests = [san.recv(s, bytearray(4), polled=False) for s in (a, b) for _ in range(3)]
    san.close()
    assert not any(request.in_progress for request in requests)
    assert len(san.completed) == 6
    assert san.switch.handles == []


# --- two processes ------------------------------------------------------------------------------


def echo(port):
    def serve(link):
        mine = San()
        listener = mine.listen(port)
        link.put("ready")
        s, _ = mine.accept(listener)
        try:
            while True:
                mine.wait(s, mine.send(s, mine.receive(s, 65536)))
        except WSAError as error:
            link.put(error.winerror)
        mine.close()

    return serve


def test_echo_of_another_process(san, port):
    with Child(echo(port)) as child:
        child.link.get()
        s, event = san.connect(port)
        assert san.connected(s, event) == 0
        for size in (0, 1, 64, 4096, 65536):
            data = os.urandom(size)
            san.send(s, data)
            assert san.receive(s, 65536) == data
        san.provider.WSPCloseSocket(s)
        assert child.link.get() == E.WSAECONNRESET


@pytest.mark.parametrize("polled", [True, False])
def test_killed_peer_is_noticed(san, port, polled):
    with Child(echo(port)) as child:
        child.link.get()
        s, event = san.connect(port)
        assert san.connected(s, event) == 0
        request = san.recv(s, bytearray(8), polled=polled)
        child.kill()
        if polled:
            assert eventually(
                lambda: code_of(san.provider.WSPGetOverlappedResult, s, request) == E.WSAECONNRESET
            )
        else:
            assert eventually(lambda: san.completed)
            assert san.completed[0][2] == E.WSAECONNRESET
        assert code_of(san.send, s, b"x") == E.WSAECONNRESET


def test_bulk_in_both_directions_at_once(san, port):
    count, size = 300, 30000

    def stream(mine, s):
        """Send and receive `count` messages, polled; check what comes."""
        sends = []
        buffer, got = bytearray(size), 0
        blocks = [bytes([i]) * size for i in range(251)]
        for block in blocks:
            mine.register(s, block, MEM_READ)
        request = mine.recv(s, buffer)
        while got < count or len(sends) < count or sends[-1].in_progress:
            if len(sends) < count:
                record = WSAOVERLAPPED(polled=True)
                code = code_of(mine.provider.WSPSend, s, [blocks[len(sends) % 251]], 0, record)
                if code == 0:
                    sends.append(record)
                else:
                    assert code == E.WSAEWOULDBLOCK
            if got < count and mine.provider.WSPGetOverlappedResult(s, request) is not None:
                assert buffer == bytes([got % 251]) * size
                got += 1
                if got < count:
                    request = mine.recv(s, buffer)
            elif sends:
                mine.provider.WSPGetOverlappedResult(s, sends[-1])

    def serve(link):
        mine = San()
        listener = mine.listen(port)
        link.put("ready")
        s, _ = mine.accept(listener)
        stream(mine, s)
        link.get()
        mine.close()

    with Child(serve) as child:
        child.link.get()
        s, event = san.connect(port)
        assert san.connected(s, event) == 0
        stream(san, s)
        child.link.put("done")


# --- fork ---------------------------------------------------------------------------------------


def test_fork_leaves_the_parents_connections_alone(san, port):
    a, b = san.pair(port)
    listener = san.listen(port)
    request = san.recv(b, bytearray(8), polled=False)

    def child(link):
        assert code_of(san.send, a, b"x") == E.WSAENOTSOCK
        assert code_of(san.provider.WSPAccept, listener) == E.WSAENOTSOCK
        assert resources()[2] == 1
        # and the child can use the provider itself
        c, d = san.pair(port + 9000)
        san.send(c, b"child")
        assert san.receive(d) == b"child"
        link.put("done")

    with Child(child) as process:
        assert process.link.get() == "done"
    san.send(a, b"parent")
    assert eventually(lambda: san.completed)
    assert san.wait(b, request) == 6


def test_connection_ends_with_the_parent_though_a_child_lives(san, port):
    def parent(link):
        mine = San()
        s = mine.socket()
        mine.provider.WSPConnect(s, (HOST, port))
        with Child(lambda inner: (inner.put("forked"), inner.get())) as grandchild:
            grandchild.link.get()
            link.put("forked")
            link.get()
            mine.provider.WSPCloseSocket(s)
            link.get()
            grandchild.link.put("end")

    listener = san.listen(port)
    with Child(parent) as process:
        s, _ = san.accept(listener)
        process.link.get()
        request = san.recv(s, bytearray(8), polled=False)
        process.link.put("close")
        assert eventually(lambda: not request.in_progress)
        assert request.OffsetHigh == E.WSAECONNRESET
        process.link.put("end")


def test_forked_child_does_not_hold_clients_up(san, port):
    listener = san.listen(port, native=True)

    def child(link):
        link.put("forked")
        link.get()

    with Child(child) as process:
        process.link.get()
        san.provider.WSPCloseSocket(listener)
        assert code_of(san.connect, port, HOST, True) == E.WSAETIMEDOUT
        process.link.put("end")


def test_nothing_is_left_behind(san, port):
    listener = san.listen(port)

    def connection():
        s, event = san.connect(port)
        d, _ = san.accept(listener)
        assert san.connected(s, event) == 0
        event.close()
        request = san.recv(d, bytearray(8), polled=False)
        san.send(s, b"x", polled=False)
        assert eventually(lambda: not request.in_progress)
        san.provider.WSPCloseSocket(s)
        san.provider.WSPCloseSocket(d)

    connection()
    before = resources()
    for _ in range(100):
        connection()
    assert resources() == before
    assert len(san.switch.handles) == 1
    pool = san.provider._san.pool
    assert not any(
        segment.in_use for server in pool._servers.values() for segment in server.segments
    )


def test_cleanup_gives_everything_back(port):
    before = resources()
    san = San()
    a, _ = san.pair(port)
    san.recv(a, bytearray(8), polled=False)
    assert resources()[2] == before[2] + 1
    san.close()
    del san
    assert resources() == before


def test_notified_receive_after_a_long_time_of_polling(san, pair):
    """Polling silences the bell; a request that is to be announced needs it again."""
    a, b = pair
    for _ in range(3):
        polled = san.recv(b, bytearray(8))
        for _ in range(100):
            san.provider.WSPGetOverlappedResult(b, polled)
        san.send(a, b"x")
        assert san.wait(b, polled) == 1
    for _ in range(3):
        request = san.recv(b, bytearray(8), polled=False)
        time.sleep(0.01)
        san.send(a, b"told")
        assert eventually(lambda: not request.in_progress)  # noqa: B023
    assert len(san.completed) == 3


def test_waiting_after_a_long_time_of_polling(san, pair):
    a, b = pair
    request = san.recv(b, bytearray(8))
    for _ in range(100):
        assert san.provider.WSPGetOverlappedResult(b, request) is None
    timer = threading.Timer(0.05, san.send, (a, b"late"))
    timer.start()
    assert san.wait(b, request) == 4
    timer.join()
