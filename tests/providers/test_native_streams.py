import os
import select
import threading
import time

import pytest

from tests.providers.helpers import HOST, San, code_of, eventually, resources
from wsdirect import reasons
from wsdirect._core import native
from wsdirect.providers.shm import connector
from wsdirect.spi.constants import (
    AF_INET,
    FD_ACCEPT,
    FD_CONNECT,
    IPPROTO_TCP,
    SOCK_STREAM,
    SOL_SOCKET,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.native import (
    AF_INET6,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SO_EARLY,
    SO_NATIVE_STREAM,
)
from wsdirect.spi.overlapped import Event
from wsdirect.testing.processes import Child

E = WsaErrorCode


def readable(descriptor, timeout=0):
    return bool(select.select([descriptor], [], [], timeout)[0])


def finish(*streams):
    for stream in streams:
        stream.close()
        os.close(stream.fd)


def test_connect_and_accept_in_one_thread(san, port):
    listener = san.listen(port, native=True)
    descriptor = san.native.accept_fileno(listener)
    assert not readable(descriptor)
    a = san.native.stream(san.connect(port, native=True))
    assert readable(descriptor)
    assert a.state == native.OFFERED
    a.send(b"before accept")
    s, peer = san.provider.WSPAccept(listener)
    assert peer == (HOST, 45000)
    b = san.native.stream(s)
    assert b.recv(100) == b"before accept"
    b.send(b"answer")
    assert a.recv(100) == b"answer"
    assert not readable(descriptor)
    finish(a)
    assert b.recv(1) == b""
    finish(b)
    san.provider.WSPCloseSocket(listener)
    assert san.switch.handles == []


def test_client_may_be_gone_before_the_accept(san, port):
    listener = san.listen(port, native=True)
    a = san.native.stream(san.connect(port, native=True))
    a.send(b"last words")
    finish(a)
    b = san.native.stream(san.provider.WSPAccept(listener)[0])
    assert b.recv(100) == b"last words"
    assert b.recv(100) == b""
    finish(b)


def test_descriptors_do_not_survive_exec_and_are_bells(san, port):
    listener = san.listen(port, native=True)
    a = san.native.stream(san.connect(port, native=True))
    b = san.native.stream(san.provider.WSPAccept(listener)[0])
    for descriptor in (a.fd, b.fd, san.native.accept_fileno(listener)):
        assert not os.get_inheritable(descriptor)
    assert not readable(b.fd)
    a.send(b"x")
    assert readable(b.fd, 5)
    assert b.recv(1) == b"x"
    assert not readable(b.fd)
    finish(a, b)


def test_the_socket_is_finished_with_when_its_stream_is_taken(san, port):
    listener = san.listen(port, native=True)
    s = san.connect(port, native=True)
    handles = len(san.switch.handles)
    stream = san.native.stream(s)
    assert len(san.switch.handles) == handles - 1
    assert code_of(san.native.stream, s) == E.WSAENOTSOCK
    assert code_of(san.provider.WSPCloseSocket, s) == E.WSAENOTSOCK
    finish(stream)
    assert code_of(san.native.stream, listener) == E.WSAENOTCONN
    assert code_of(san.native.accept_fileno, s) == E.WSAENOTSOCK
    fresh = san.socket(native=True)
    assert code_of(san.native.stream, fresh) == E.WSAENOTCONN
    assert code_of(san.native.accept_fileno, fresh) == E.WSAEINVAL


def test_kinds_do_not_meet(san, port):
    san.listen(port)  # for messages
    s = san.socket(native=True)
    with pytest.raises(WSAError) as caught:
        san.provider.WSPConnect(s, (HOST, port))
    assert caught.value.winerror == E.WSAETIMEDOUT
    assert caught.value.reason is reasons.NO_LISTENER


def test_the_kind_is_fixed_once_connected_or_listening(san, port):
    provider = san.provider
    listener = san.listen(port)
    option = (SOL_SOCKET, SO_NATIVE_STREAM)
    assert code_of(provider.WSPSetSockOpt, listener, *option, 1) == E.WSAEINVAL
    assert provider.WSPGetSockOpt(listener, *option) == 0
    a, _ = san.pair(port + 5000)
    assert code_of(provider.WSPSetSockOpt, a, *option, 1) == E.WSAEINVAL
    assert code_of(san.native.stream, a) == E.WSAEINVAL


@pytest.mark.parametrize(
    ("family", "host", "reachable"),
    [
        (AF_INET, "127.0.0.1", {"127.0.0.1"}),
        (AF_INET, "0.0.0.0", {"127.0.0.1", "127.0.0.2"}),
        (AF_INET6, "::", {"127.0.0.1", "127.0.0.2", "::1"}),
        (AF_INET6, "::1", {"::1"}),
        (AF_INET6, "::ffff:127.0.0.1", {"127.0.0.1"}),
    ],
)
def test_who_reaches_a_listener(san, port, family, host, reachable):
    listener = san.listen(port, host=host, family=family, native=True)
    seen = []
    for target in ("127.0.0.1", "127.0.0.2", "::1"):
        of = AF_INET6 if ":" in target else AF_INET
        s = san.socket(45000, target, native=True, family=of)
        code = code_of(san.provider.WSPConnect, s, (target, port))
        assert (code == 0) is (target in reachable), target
        if code == 0:
            seen.clear()
            d, peer = san.provider.WSPAccept(listener, lambda request: seen.append(request) or 0)
            shown = target if family == AF_INET or ":" in target else f"::ffff:{target}"
            assert peer == (shown, 45000)
            assert seen[0].callee == (shown, port)
            finish(san.native.stream(s), san.native.stream(d))


def test_ipv6_only(san, port):
    s = san.provider.WSPSocket(AF_INET6, SOCK_STREAM, IPPROTO_TCP)
    san.provider.WSPSetSockOpt(s, SOL_SOCKET, SO_NATIVE_STREAM, 1)
    san.provider.WSPSetSockOpt(s, IPPROTO_IPV6, IPV6_V6ONLY, 1)
    san.provider.WSPBind(s, ("::", port))
    san.provider.WSPListen(s)
    assert code_of(san.connect, port, HOST, True) == E.WSAETIMEDOUT
    c = san.socket(45000, "::1", native=True, family=AF_INET6)
    san.provider.WSPConnect(c, ("::1", port))


def test_queue_full_is_no_promise_about_tcp(san, port):
    san.listen(port, backlog=3, native=True)
    for _ in range(3):
        san.connect(port, native=True)
    s = san.socket(native=True)
    with pytest.raises(WSAError) as caught:
        san.provider.WSPConnect(s, (HOST, port))
    assert caught.value.winerror == E.WSAENOBUFS
    assert caught.value.reason is reasons.BACKLOG_FULL
    san.provider.WSPCloseSocket(s)


def test_foreign_destinations(san):
    s = san.socket(host="0.0.0.0", native=True)
    with pytest.raises(WSAError) as caught:
        san.provider.WSPConnect(s, ("192.0.2.1", 80))
    assert caught.value.winerror == E.WSAEADDRNOTAVAIL
    assert caught.value.reason is reasons.REMOTE_PEER


def test_misses_are_remembered_for_a_moment(san, port):
    s = san.socket(native=True)
    for _ in range(20):
        assert code_of(san.provider.WSPConnect, s, (HOST, port)) == E.WSAETIMEDOUT
    listener = san.listen(port, native=True)
    assert code_of(san.provider.WSPConnect, s, (HOST, port)) == E.WSAETIMEDOUT
    time.sleep(0.06)
    assert code_of(san.provider.WSPConnect, s, (HOST, port)) == 0
    san.provider.WSPAccept(listener)


def test_clients_find_all_workers(port):
    workers = [San() for _ in range(4)]
    client = San()
    try:
        listeners = [worker.listen(port, 64, native=True) for worker in workers]
        for _ in range(40):
            client.connect(port, native=True)
        counts = []
        for worker, listener in zip(workers, listeners, strict=True):
            worker.provider.WSPEventSelect(listener, None, 0)
            count = 0
            while code_of(worker.provider.WSPAccept, listener) == 0:
                count += 1
            counts.append(count)
        assert sum(counts) == 40
        assert min(counts) >= 5
    finally:
        for each in (client, *workers):
            each.close()


def test_a_gap_in_the_slots_does_not_hide_the_others(port):
    first, second, client = San(), San(), San()
    try:
        first.listen(port, native=True)
        listener = second.listen(port, native=True)
        first.close()
        client.connect(port, native=True)
        second.provider.WSPAccept(listener)
    finally:
        for each in (first, second, client):
            each.close()


def test_listener_that_goes_away_leaves_clients_to_tcp(san, port):
    listener = san.listen(port, native=True)
    a = san.native.stream(san.connect(port, native=True))
    san.provider.WSPCloseSocket(listener)
    with pytest.raises(native.Unattached):
        a.wait_readable(5)
    assert a.revoke()
    finish(a)


def test_rejected_native_request(san, port):
    listener = san.listen(port, native=True)
    a = san.native.stream(san.connect(port, native=True))
    assert code_of(san.provider.WSPAccept, listener, lambda request: 1) == E.WSAECONNREFUSED
    with pytest.raises(ConnectionResetError):
        a.recv(1, 5)
    finish(a)


def test_closing_instead_of_taking_withdraws_the_offer(san, port):
    listener = san.listen(port, native=True)
    san.provider.WSPEventSelect(listener, None, 0)
    san.provider.WSPCloseSocket(san.connect(port, native=True))
    assert code_of(san.provider.WSPAccept, listener) == E.WSAEWOULDBLOCK


def test_events_of_native_sockets(san, port):
    listener = san.listen(port, native=True)
    event, done = Event(), Event()
    san.provider.WSPEventSelect(listener, event, FD_ACCEPT)
    s = san.socket(native=True)
    san.provider.WSPEventSelect(s, done, FD_CONNECT)
    san.provider.WSPConnect(s, (HOST, port))
    assert done.is_set()
    assert san.provider.WSPEnumNetworkEvents(s, done).lNetworkEvents == FD_CONNECT
    assert event.wait(5)
    san.provider.WSPAccept(listener)


def test_no_thread_is_started(san, port):
    before = resources()[2]
    listener = san.listen(port, native=True)
    san.provider.WSPEventSelect(listener, None, 0)
    for _ in range(10):
        a = san.native.stream(san.connect(port, native=True))
        b = san.native.stream(san.provider.WSPAccept(listener)[0])
        finish(a, b)
    assert resources()[2] == before


def test_blocking_accept_waits(san, port):
    listener = san.listen(port, native=True)
    timer = threading.Timer(0.05, san.connect, (port, HOST, True))
    timer.start()
    san.provider.WSPAccept(listener)
    timer.join()


def test_waiting_accept_ends_with_the_listener(san, port):
    listener = san.listen(port, native=True)
    timer = threading.Timer(0.05, san.provider.WSPCloseSocket, (listener,))
    timer.start()
    assert code_of(san.provider.WSPAccept, listener) == E.WSAENOTSOCK
    timer.join()


def test_two_processes_and_a_server_restart(san, port):
    def server(link):
        mine = San()
        listener = mine.listen(port, native=True)
        link.put("ready")
        while (count := link.get()) is not None:
            for _ in range(count):
                stream = mine.native.stream(mine.provider.WSPAccept(listener)[0])
                stream.send(stream.recv(100, 5))
                finish(stream)
        mine.close()

    for round_ in range(3):
        with Child(server) as child:
            assert child.link.get() == "ready"
            child.link.put(20)
            for i in range(20):
                stream = san.native.stream(san.connect(port, native=True))
                text = b"%d/%d" % (round_, i)
                stream.send(text)
                assert stream.recv(100, 5) == text
                finish(stream)
            child.link.put(None)


def test_a_pair_of_processes_shares_few_segments(san, port):
    def server(link):
        mine = San()
        listener = mine.listen(port, 256, native=True)
        link.put("ready")
        streams = [mine.native.stream(mine.provider.WSPAccept(listener)[0]) for _ in range(100)]
        link.put(resources()[1])
        link.get()
        finish(*streams)
        mine.close()

    with Child(server) as child:
        child.link.get()
        mapped = resources()[1]
        streams = [san.native.stream(san.connect(port, native=True)) for _ in range(100)]
        assert resources()[1] == mapped + 2  # 64 slots each
        assert child.link.get() == 2
        child.link.put("done")
        finish(*streams)


def test_segment_is_passed_again_to_a_server_that_lost_it(san, port, monkeypatch):
    monkeypatch.setattr("wsdirect.providers.shm.segments._TELL_AGAIN", 0.0)
    other = San()
    try:
        listener = other.listen(port, native=True)
        for _ in range(3):
            other.provider._san.adopted.clear()
            stream = san.native.stream(san.connect(port, native=True))
            finish(stream, other.native.stream(other.provider.WSPAccept(listener)[0]))
    finally:
        other.close()


def test_nothing_is_left_behind(san, port):
    listener = san.listen(port, 64, native=True)
    san.provider.WSPEventSelect(listener, None, 0)

    def connection():
        a = san.native.stream(san.connect(port, native=True))
        b = san.native.stream(san.provider.WSPAccept(listener)[0])
        a.send(b"x")
        assert b.recv(1) == b"x"
        finish(a, b)

    connection()
    unused = san.socket(native=True)
    assert code_of(san.provider.WSPConnect, unused, (HOST, port + 7000)) == E.WSAETIMEDOUT
    before = resources()
    for _ in range(500):
        connection()
    for _ in range(50):
        san.provider.WSPCloseSocket(san.connect(port, native=True))
    assert code_of(san.provider.WSPAccept, listener) == E.WSAEWOULDBLOCK
    for _ in range(100):
        assert code_of(san.provider.WSPConnect, unused, (HOST, port + 7000)) == E.WSAETIMEDOUT
    assert resources() == before
    slots = [
        segment
        for server in san.provider._san.pool._servers.values()
        for segment in server.segments
    ]
    assert sum(segment.in_use for segment in slots) == 0


def test_memory_of_destinations_is_bounded(san, monkeypatch):
    monkeypatch.setattr(connector, "_DESTINATIONS_MAX", 5)
    s = san.socket(native=True)
    for port in range(20000, 20020):
        assert code_of(san.provider.WSPConnect, s, (HOST, port)) == E.WSAETIMEDOUT
    assert len(san.provider._san.connector._destinations) <= 5


def test_connects_from_many_threads(san, port):
    listener = san.listen(port, 64, native=True)
    failures = []

    def clients():
        try:
            for i in range(50):
                stream = san.native.stream(san.connect(port, native=True))
                stream.send(b"%d" % i)
                assert stream.recv(10, 10) == b"%d" % i
                finish(stream)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=clients) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        stream = san.native.stream(san.provider.WSPAccept(listener)[0])
        stream.send(stream.recv(10, 10))
        finish(stream)
    for thread in threads:
        thread.join()
    assert failures == []
    assert eventually(lambda: len(san.switch.handles) == 1)


def early_listener(san, port):
    s = san.socket(port, native=True)
    san.provider.WSPSetSockOpt(s, SOL_SOCKET, SO_EARLY, 1)
    try:
        san.provider.WSPListen(s, 8)
        san.provider.WSPEventSelect(s, None, 0)
    except WSAError:
        san.provider.WSPCloseSocket(s)
        raise
    return s


def connect_early(san, port):
    s = san.socket(45001, native=True)
    san.provider.WSPSetSockOpt(s, SOL_SOCKET, SO_EARLY, 1)
    try:
        san.provider.WSPConnect(s, (HOST, port))
    except WSAError:
        san.provider.WSPCloseSocket(s)
        raise
    return s


def test_an_early_listener_is_met_by_those_who_want_to(san, port):
    early = early_listener(san, port)
    assert code_of(early_listener, san, port) == E.WSAENOBUFS
    assert code_of(lambda: san.connect(port, native=True)) == E.WSAETIMEDOUT
    a = san.native.stream(connect_early(san, port))
    assert a.offer_deadline - time.monotonic() < 0.2
    san.native.accept_no_more(early)
    assert code_of(connect_early, san, port) == E.WSAETIMEDOUT
    b = san.native.stream(san.provider.WSPAccept(early)[0])  # who has come can still be accepted
    assert code_of(san.provider.WSPAccept, early) == E.WSAEWOULDBLOCK
    a.send(b"early")
    assert b.recv(10) == b"early"
    finish(a, b)
    real = san.listen(port, native=True)
    finish(san.native.stream(connect_early(san, port)))
    assert readable(san.native.accept_fileno(real))
    for listener in (early, real):
        san.provider.WSPCloseSocket(listener)


def test_an_early_listener_that_takes_nobody_is_left_alone_for_a_while(san, port):
    early = early_listener(san, port)
    finish(san.native.stream(connect_early(san, port)))
    san.native.not_taken((HOST, port))
    assert code_of(connect_early, san, port) == E.WSAETIMEDOUT
    san.provider.WSPCloseSocket(early)
