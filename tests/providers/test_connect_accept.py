import socket as kernel
import threading
import time

import pytest

from tests.providers.helpers import HOST, San, code_of, eventually
from wsdirect.locality import tcp_listens
from wsdirect.providers.shm import connecting
from wsdirect.spi.constants import (
    AF_INET,
    CF_ACCEPT,
    CF_DEFER,
    CF_REJECT,
    FD_ACCEPT,
    FD_CONNECT,
    FD_READ,
    IPPROTO_TCP,
    SG_CONSTRAINED_GROUP,
    SG_UNCONSTRAINED_GROUP,
    SOCK_STREAM,
)
from wsdirect.spi.errors import WsaErrorCode
from wsdirect.spi.overlapped import Event
from wsdirect.spi.structures import QOS, WSAPROTOCOL_INFOW
from wsdirect.spi.upcalls import HandleSpace
from wsdirect.testing.processes import Child

E = WsaErrorCode


@pytest.fixture
def tcp_free(monkeypatch):
    """TCP/IP has no listener on any port: what the machine runs besides does not matter."""
    monkeypatch.setattr(connecting, "tcp_listens", lambda port: False)


# --- WSPSocket, WSPBind -------------------------------------------------------------------------


def test_startup_and_cleanup_are_counted(san):
    provider = san.provider
    assert code_of(provider.WSPStartupEx, 0x0101, WSAPROTOCOL_INFOW(), san.switch) == (
        E.WSAVERNOTSUPPORTED
    )
    assert code_of(provider.WSPStartupEx, 0x0202, WSAPROTOCOL_INFOW(), None) == E.WSAEFAULT
    data = provider.WSPStartupEx(0x0303, WSAPROTOCOL_INFOW(), san.switch)
    assert data.wVersion == 0x0202
    provider.WSPCleanup()
    s = san.socket()
    provider.WSPCleanup()
    assert code_of(provider.WSPCleanup) == E.WSANOTINITIALISED
    assert code_of(provider.WSPCloseSocket, s) == E.WSAENOTSOCK
    assert code_of(san.socket) == E.WSANOTINITIALISED
    assert san.switch.handles == []
    provider.WSPStartupEx(0x0202, WSAPROTOCOL_INFOW(), san.switch)  # once more
    san.socket()


@pytest.mark.parametrize(
    ("af", "kind", "protocol", "group", "code"),
    [
        (AF_INET, SOCK_STREAM, IPPROTO_TCP, 0, 0),
        (0, 0, 0, 0, 0),
        (-1, -1, -1, 0, 0),
        (6, SOCK_STREAM, IPPROTO_TCP, 0, E.WSAEAFNOSUPPORT),
        (AF_INET, 2, IPPROTO_TCP, 0, E.WSAESOCKTNOSUPPORT),
        (AF_INET, SOCK_STREAM, 17, 0, E.WSAEPROTOTYPE),
        (AF_INET, SOCK_STREAM, 99, 0, E.WSAEPROTONOSUPPORT),
        (AF_INET, SOCK_STREAM, IPPROTO_TCP, SG_UNCONSTRAINED_GROUP, 0),
        (AF_INET, SOCK_STREAM, IPPROTO_TCP, SG_CONSTRAINED_GROUP, 0),
        (AF_INET, SOCK_STREAM, IPPROTO_TCP, 12345, E.WSAEINVAL),
        (AF_INET, SOCK_STREAM, IPPROTO_TCP, -1, E.WSAEINVAL),
        (AF_INET, SOCK_STREAM, IPPROTO_TCP, "1", E.WSAEINVAL),
    ],
)
def test_kinds_of_sockets(san, af, kind, protocol, group, code):
    assert code_of(san.provider.WSPSocket, af, kind, protocol, None, group) == code


def test_no_handle_no_socket(san):
    san.provider.WSPStartupEx(0x0202, WSAPROTOCOL_INFOW(), HandleSpace(limit=0))
    assert code_of(san.provider.WSPSocket, AF_INET, SOCK_STREAM, IPPROTO_TCP) == E.WSAENOBUFS
    assert len(san.provider._san.sockets) == 0
    san.provider.WSPCleanup()


@pytest.mark.parametrize(
    ("address", "code"),
    [
        (("127.0.0.1", 80), 0),
        (("0.0.0.0", 80), 0),
        (("192.0.2.1", 80), E.WSAEADDRNOTAVAIL),
        (("::1", 80), E.WSAEFAULT),
        (("localhost", 80), E.WSAEFAULT),
        (("127.0.0.1", 65536), E.WSAEFAULT),
        (("127.0.0.1", -1), E.WSAEFAULT),
        (("127.0.0.1", "80"), E.WSAEFAULT),
        (("127.0.0.1",), E.WSAEFAULT),
        (None, E.WSAEFAULT),
        ((b"127.0.0.1", 80), E.WSAEFAULT),
    ],
)
def test_bind(san, address, code):
    s = san.provider.WSPSocket(AF_INET, SOCK_STREAM, IPPROTO_TCP)
    assert code_of(san.provider.WSPBind, s, address) == code
    if code == 0:
        assert code_of(san.provider.WSPBind, s, address) == E.WSAEINVAL
        other = san.provider.WSPSocket(AF_INET, SOCK_STREAM, IPPROTO_TCP)
        san.provider.WSPBind(other, address)  # never WSAEADDRINUSE


# --- WSPConnect and WSPAccept -------------------------------------------------------------------


def test_success_comes_after_the_condition_function_accepted(san, port):
    listener = san.listen(port)
    s, event = san.connect(port)
    asked = []

    def condition(request):
        asked.append((threading.get_ident(), event.wait(0.05), request))
        return CF_ACCEPT

    ready = Event()
    san.provider.WSPEventSelect(listener, ready, FD_ACCEPT)
    assert ready.wait(5)
    accepted, peer = san.provider.WSPAccept(listener, condition, "data")
    assert peer == (HOST, 45000)
    [(thread, told_early, request)] = asked
    assert thread == threading.get_ident()
    assert not told_early
    assert (request.caller, request.callee) == ((HOST, 45000), (HOST, port))
    assert (request.callback_data, request.caller_data, request.sqos) == ("data", None, None)
    assert san.connected(s, event) == 0
    assert code_of(san.provider.WSPConnect, s, (HOST, port)) == E.WSAEISCONN
    assert code_of(san.provider.WSPListen, s) == E.WSAEISCONN
    assert code_of(san.provider.WSPAccept, accepted) == E.WSAEINVAL
    assert san.switch.WPUQuerySocketHandleContext(san.switch.handles[-1]) == accepted


def test_connect_without_event_waits(san, port):
    listener = san.listen(port)
    thread = threading.Timer(0.05, san.provider.WSPAccept, (listener,))
    thread.start()
    s = san.socket()
    san.provider.WSPConnect(s, (HOST, port))
    thread.join()


def test_rejection(san, port):
    listener = san.listen(port)
    s, event = san.connect(port)
    assert code_of(san.provider.WSPAccept, listener, lambda request: CF_REJECT) == (
        E.WSAECONNREFUSED
    )
    assert san.connected(s, event) == E.WSAECONNREFUSED
    # the socket may try again
    assert code_of(san.provider.WSPConnect, s, (HOST, port)) == E.WSAEWOULDBLOCK
    assert code_of(san.provider.WSPConnect, s, (HOST, port)) == E.WSAEALREADY


@pytest.mark.parametrize("answer", [3, -1, None, "yes"])
def test_invalid_answer_of_the_condition_function(san, port, answer):
    listener = san.listen(port)
    s, event = san.connect(port)
    assert code_of(san.provider.WSPAccept, listener, lambda request: answer) == E.WSAEINVAL
    assert san.connected(s, event) == E.WSAECONNREFUSED


def test_raising_condition_function(san, port):
    listener = san.listen(port)
    s, event = san.connect(port)
    with pytest.raises(ZeroDivisionError):
        san.provider.WSPAccept(listener, lambda request: 1 // 0)
    assert san.connected(s, event) == E.WSAECONNREFUSED


def test_deferred_request_stays_the_first(san, port, monkeypatch):
    monkeypatch.setenv("WSDIRECT_OFFER_TIMEOUT", "0.2")
    from wsdirect import settings

    settings.forget()
    listener = san.listen(port)
    event = Event()
    san.provider.WSPEventSelect(listener, event, FD_ACCEPT)
    first = san.socket(40001)
    told = Event()
    san.provider.WSPEventSelect(first, told, FD_CONNECT)
    assert code_of(san.provider.WSPConnect, first, (HOST, port)) == E.WSAEWOULDBLOCK
    monkeypatch.undo()
    settings.forget()
    assert event.wait(5)
    assert san.provider.WSPEnumNetworkEvents(listener, event).lNetworkEvents == FD_ACCEPT
    assert code_of(san.provider.WSPAccept, listener, lambda request: CF_DEFER) == E.WSATRY_AGAIN
    san.connect(port)
    time.sleep(0.3)
    assert not told.is_set()  # it has been asked to wait
    assert not event.is_set()  # no new FD_ACCEPT before a WSPAccept
    _, peer = san.provider.WSPAccept(listener)
    assert peer == (HOST, 40001)
    assert san.connected(first, told) == 0
    assert event.is_set()  # the second one
    san.provider.WSPAccept(listener)
    assert code_of(san.provider.WSPAccept, listener) == E.WSAEWOULDBLOCK


def test_full_queue_refuses_at_once(san, port):
    san.listen(port, backlog=2)
    for _ in range(2):
        san.connect(port)
    s = san.socket()
    san.provider.WSPEventSelect(s, Event(), FD_CONNECT)
    assert code_of(san.provider.WSPConnect, s, (HOST, port)) == E.WSAECONNREFUSED


@pytest.mark.parametrize("backlog", [0, -5])
def test_smallest_queue_is_one(san, port, backlog):
    listener = san.listen(port, backlog)
    s, event = san.connect(port)
    san.accept(listener)
    assert san.connected(s, event) == 0


def test_second_listen_changes_the_backlog(san, port):
    listener = san.listen(port, 1)
    san.provider.WSPListen(listener, 3)
    for _ in range(3):
        san.connect(port)
    assert code_of(san.connect, port) == E.WSAECONNREFUSED


def test_nobody_listens_anywhere(san, port, tcp_free):
    s, event = san.connect(port)
    assert san.connected(s, event) == E.WSAECONNRESET


def test_only_tcp_listens(san):
    with kernel.create_server((HOST, 0)) as tcp:
        s, event = san.connect(tcp.getsockname()[1])
        assert san.connected(s, event) == E.WSAETIMEDOUT
        blocking = san.socket()
        assert code_of(san.provider.WSPConnect, blocking, tcp.getsockname()) == E.WSAETIMEDOUT


def test_tcp_listeners_are_seen_in_both_families():
    with kernel.create_server((HOST, 0)) as tcp:
        port = tcp.getsockname()[1]
        assert tcp_listens(port)
    assert eventually(lambda: not tcp_listens(port))
    if kernel.has_ipv6:
        try:
            tcp = kernel.create_server(("::1", 0), family=kernel.AF_INET6)
        except OSError:
            return
        with tcp:
            assert tcp_listens(tcp.getsockname()[1])


@pytest.mark.parametrize(
    ("address", "code"),
    [
        (("0.0.0.0", 80), E.WSAEADDRNOTAVAIL),
        (("127.0.0.1", 0), E.WSAEADDRNOTAVAIL),
        (("192.0.2.1", 80), E.WSAEADDRNOTAVAIL),
        (("::1", 80), E.WSAEAFNOSUPPORT),
        (("localhost", 80), E.WSAEFAULT),
        (None, E.WSAEFAULT),
    ],
)
def test_unusable_destinations(san, address, code):
    s = san.socket()
    assert code_of(san.provider.WSPConnect, s, address) == code
    assert code_of(san.provider.WSPListen, s) == E.WSAEINVAL  # port 0


def test_data_go_both_ways_with_the_handshake(san, port):
    listener = san.listen(port)
    seen = []

    def condition(request):
        seen.append((request.caller_data, request.callee_data_max))
        request.callee_data = bytearray(b"welcome")
        return CF_ACCEPT

    for sent in (b"hello", memoryview(b"hello"), bytes(1024), b"", None):
        answer = bytearray(b"what was in it before")
        s = san.socket()
        event = Event()
        san.provider.WSPEventSelect(s, event, FD_CONNECT)
        connect = san.provider.WSPConnect
        assert code_of(connect, s, (HOST, port), sent, answer) == E.WSAEWOULDBLOCK
        accepted, _ = san.accept(listener, condition)
        assert event.wait(10)
        assert answer == b"welcome"  # before the connect is announced
        assert san.connected(s, event) == 0
        assert seen.pop() == (bytes(sent) if sent else None, 1024)
        san.send(s, b"first")
        assert san.receive(accepted) == b"first"  # the handshake is no part of the data


def test_no_answer_data_empty_the_buffer(san, port):
    listener = san.listen(port)
    answer = bytearray(b"before")
    s = san.socket()
    thread = threading.Timer(0.05, san.provider.WSPAccept, (listener,))
    thread.start()
    san.provider.WSPConnect(s, (HOST, port), b"hello", answer)
    thread.join()
    assert answer == b""


def test_answer_data_of_a_refusal_are_not_told(san, port):
    listener = san.listen(port)
    answer = bytearray(b"before")
    s = san.socket()
    event = Event()
    san.provider.WSPEventSelect(s, event, FD_CONNECT)
    assert code_of(san.provider.WSPConnect, s, (HOST, port), None, answer) == E.WSAEWOULDBLOCK

    def condition(request):
        request.callee_data = b"no"
        return CF_REJECT

    assert code_of(san.accept, listener, condition) == E.WSAECONNREFUSED
    assert san.connected(s, event) == E.WSAECONNREFUSED
    assert answer == b"before"


def test_answer_into_a_buffer_that_is_in_use(san, port):
    listener = san.listen(port)
    answer = bytearray(4)
    s = san.socket()
    event = Event()
    san.provider.WSPEventSelect(s, event, FD_CONNECT)
    held = memoryview(answer)
    assert code_of(san.provider.WSPConnect, s, (HOST, port), None, answer) == E.WSAEWOULDBLOCK
    san.accept(listener)
    assert san.connected(s, event) == 0  # whatever becomes of the data
    held.release()


@pytest.mark.parametrize("wrong", [{"callee_data": bytes(1025)}, {"callee_data": 5}, {"group": 99}])
def test_invalid_results_of_the_condition_function(san, port, wrong):
    listener = san.listen(port)
    s, event = san.connect(port)

    def condition(request):
        for name, value in wrong.items():
            setattr(request, name, value)
        return CF_ACCEPT

    assert code_of(san.accept, listener, condition) == E.WSAEINVAL
    assert san.connected(s, event) == E.WSAECONNREFUSED
    assert len(san.switch.handles) == 2


def test_what_a_connect_cannot_carry(san, port):
    san.listen(port)
    s = san.socket()
    connect = san.provider.WSPConnect
    assert code_of(connect, s, (HOST, port), bytes(1025)) == E.WSAENOBUFS
    assert code_of(connect, s, (HOST, port), 5) == E.WSAEFAULT
    assert code_of(connect, s, (HOST, port), None, b"read-only") == E.WSAEFAULT
    native = san.socket(native=True)
    assert code_of(connect, native, (HOST, port), b"hello") == E.WSAEPROTONOSUPPORT
    assert code_of(connect, native, (HOST, port), None, bytearray()) == E.WSAEPROTONOSUPPORT
    assert code_of(connect, native, (HOST, port), None, None, QOS()) == E.WSAEOPNOTSUPP
    assert code_of(connect, native, (HOST, port), None, None, None, QOS()) == E.WSAEOPNOTSUPP
    san.connect(port)  # and nothing is left of all this


def test_unbound_socket_neither_connects_nor_listens(san):
    s = san.provider.WSPSocket(AF_INET, SOCK_STREAM, IPPROTO_TCP)
    assert code_of(san.provider.WSPConnect, s, (HOST, 80)) == E.WSAEINVAL
    assert code_of(san.provider.WSPListen, s) == E.WSAEINVAL
    assert code_of(san.provider.WSPAccept, s) == E.WSAEINVAL


def test_acceptor_that_never_answers(san, port, monkeypatch):
    monkeypatch.setenv("WSDIRECT_OFFER_TIMEOUT", "0.1")
    from wsdirect import settings

    settings.forget()
    try:
        listener = san.listen(port)
        san.provider.WSPEventSelect(listener, None, 0)
        s, event = san.connect(port)
        assert san.connected(s, event) == E.WSAETIMEDOUT
        blocking = san.socket()
        assert code_of(san.provider.WSPConnect, blocking, (HOST, port)) == E.WSAETIMEDOUT
        assert code_of(san.provider.WSPAccept, listener) == E.WSAEWOULDBLOCK  # withdrawn
    finally:
        monkeypatch.undo()
        settings.forget()


def test_closing_a_connecting_socket_withdraws_the_request(san, port):
    listener = san.listen(port)
    san.provider.WSPEventSelect(listener, None, 0)
    s, event = san.connect(port)
    san.provider.WSPCloseSocket(s)
    assert code_of(san.provider.WSPAccept, listener) == E.WSAEWOULDBLOCK
    assert not event.is_set()
    assert len(san.switch.handles) == 1


def test_closing_the_listener_refuses_those_who_wait(san, port):
    listener = san.listen(port)
    waiting = [san.connect(port) for _ in range(3)]
    san.provider.WSPEventSelect(listener, None, 0)
    assert code_of(san.provider.WSPAccept, listener, lambda request: CF_DEFER) == E.WSATRY_AGAIN
    san.provider.WSPCloseSocket(listener)
    assert [san.connected(*each) for each in waiting] == [E.WSAECONNREFUSED] * 3


def test_listener_closed_inside_the_condition_function(san, port):
    listener = san.listen(port)
    s, event = san.connect(port)

    def condition(request):
        san.provider.WSPCloseSocket(listener)
        return CF_ACCEPT

    assert code_of(san.provider.WSPAccept, listener, condition) == E.WSAENOTSOCK
    assert san.connected(s, event) == E.WSAECONNREFUSED
    assert len(san.switch.handles) == 1


def test_no_handle_for_the_accepted_socket(san, port):
    listener = san.listen(port)
    s, event = san.connect(port)
    san.provider.WSPStartupEx(0x0202, WSAPROTOCOL_INFOW(), HandleSpace(limit=0))
    assert code_of(san.provider.WSPAccept, listener) == E.WSAENOBUFS
    assert san.connected(s, event) == E.WSAECONNREFUSED
    san.provider.WSPStartupEx(0x0202, WSAPROTOCOL_INFOW(), san.switch)
    assert len(san.switch.handles) == 2
    for _ in range(2):
        san.provider.WSPCleanup()


def test_server_process_killed_with_a_request_queued(san, port):
    def server(link):
        mine = San()
        mine.listen(port)
        link.put("ready")
        time.sleep(30)

    with Child(server) as child:
        child.link.get()
        s, event = san.connect(port)
        child.kill()
        assert san.connected(s, event) == E.WSAETIMEDOUT


# --- events -------------------------------------------------------------------------------------


def test_event_select_arguments(san, port):
    s = san.socket()
    select = san.provider.WSPEventSelect
    assert code_of(select, s, Event(), FD_READ) == E.WSAEINVAL
    assert code_of(select, s, None, FD_ACCEPT) == E.WSAEINVAL
    select(s, Event(), FD_ACCEPT | FD_CONNECT)
    select(s, None, 0)
    assert san.provider.WSPEnumNetworkEvents(s).lNetworkEvents == 0


def test_request_before_the_event_select_is_told(san, port):
    listener = san.listen(port)
    san.connect(port)
    event = Event()
    san.provider.WSPEventSelect(listener, event, FD_ACCEPT)
    assert event.is_set()


def test_event_select_before_listen(san, port):
    s = san.socket(port)
    event = Event()
    san.provider.WSPEventSelect(s, event, FD_ACCEPT)
    san.provider.WSPListen(s)
    san.connect(port)
    assert event.wait(5)


def test_record_is_copied_cleared_and_the_event_reset(san, port):
    listener = san.listen(port)
    event = Event()
    san.provider.WSPEventSelect(listener, event, FD_ACCEPT)
    san.connect(port)
    assert event.wait(5)
    first = san.provider.WSPEnumNetworkEvents(listener, event)
    assert (first.lNetworkEvents, first.error(FD_ACCEPT)) == (FD_ACCEPT, 0)
    assert not event.is_set()
    assert san.provider.WSPEnumNetworkEvents(listener, event).lNetworkEvents == 0


def test_nothing_changes_when_enum_fails(san, port):
    listener = san.listen(port)
    event, closed = Event(), Event()
    closed.close()
    san.provider.WSPEventSelect(listener, event, FD_ACCEPT)
    san.connect(port)
    assert event.wait(5)
    assert code_of(san.provider.WSPEnumNetworkEvents, listener, closed) == E.WSAEINVAL
    assert event.is_set()
    assert san.provider.WSPEnumNetworkEvents(listener, None).lNetworkEvents == FD_ACCEPT
    assert event.is_set()  # not the one given


def test_every_request_is_told_even_if_each_accept_takes_one(san, port):
    listener = san.listen(port, 64)
    for _ in range(10):
        san.connect(port)
    event = Event()
    san.provider.WSPEventSelect(listener, event, FD_ACCEPT)
    for _ in range(10):
        assert event.wait(5)
        assert san.provider.WSPEnumNetworkEvents(listener, event).lNetworkEvents == FD_ACCEPT
        san.provider.WSPAccept(listener)
    assert not event.is_set()
    assert code_of(san.provider.WSPAccept, listener) == E.WSAEWOULDBLOCK


def test_finished_connect_is_told_to_a_later_selection(san, port):
    listener = san.listen(port)
    s, event = san.connect(port)
    san.accept(listener)
    assert event.wait(5)
    later = Event()
    san.provider.WSPEventSelect(s, later, FD_CONNECT)
    assert san.connected(s, later) == 0
    latest = Event()
    san.provider.WSPEventSelect(s, latest, FD_CONNECT)
    assert not latest.is_set()


def test_event_closed_by_its_owner_hurts_nobody(san, port):
    listener = san.listen(port)
    event = Event()
    san.provider.WSPEventSelect(listener, event, FD_ACCEPT)
    event.close()
    san.connect(port)
    accepted, _ = san.accept(listener)
    san.provider.WSPCloseSocket(accepted)


def test_accepting_resets_the_event(san, port):
    """R-145, without a WSPEnumNetworkEvents; and R-146: not if another request waits."""
    listener = san.listen(port)
    event = Event()
    san.provider.WSPEventSelect(listener, event, FD_ACCEPT)
    for _ in range(2):
        san.connect(port)
    assert event.wait(5)
    san.provider.WSPAccept(listener)
    assert event.is_set()
    assert san.provider.WSPEnumNetworkEvents(listener).lNetworkEvents == FD_ACCEPT  # resets nothing
    san.connect(port)
    san.provider.WSPAccept(listener)
    assert event.is_set()
    san.provider.WSPAccept(listener)
    assert not event.is_set()
    assert san.provider.WSPEnumNetworkEvents(listener).lNetworkEvents == 0
    assert code_of(san.provider.WSPAccept, listener) == E.WSAEWOULDBLOCK
    san.connect(port)
    assert event.wait(5)


@pytest.mark.parametrize("events", [FD_READ, FD_CONNECT | FD_READ, 1 << 10, 1 << 30, -1, "8", None])
def test_events_that_cannot_be_chosen(san, events):
    assert code_of(san.provider.WSPEventSelect, san.socket(), Event(), events) == E.WSAEINVAL
