"""Sections 5 to 8: start, creation, duplication, bind, listen, names, connect, accept."""

from __future__ import annotations

import os
import struct
import threading
import time

import pytest

from tests.winsock.conftest import (
    ALL_SIX,
    HOST,
    Watch,
    fails,
    hard_close,
    overlapped,
    recv_exactly,
    result,
    set_blocking,
    wait,
)
from wsdirect import winsock as ws

GARBAGE = (0, 0xDEAD, -1)


# --- start, creation, duplication ---


def test_W046_nothing_without_startup():
    for call in (
        lambda: ws.WSASocket(ws.AF_INET, ws.SOCK_STREAM, ws.IPPROTO_TCP),
        lambda: ws.closesocket(4),
        lambda: ws.recv(4, 1),
        lambda: ws.select([4], None, None, 0),
        lambda: ws.WSAPoll([(4, ws.POLLRDNORM)], 0),
        lambda: ws.WSAStringToAddress("1.2.3.4", ws.AF_INET),
        ws.WSACleanup,
    ):
        with fails(10093):
            call()


def test_W048_startups_are_counted():
    ws.WSAStartup(0x0202)
    ws.WSAStartup(0x0202)
    ws.WSACleanup()
    ws.closesocket(ws.socket(ws.AF_INET, ws.SOCK_STREAM))
    ws.WSACleanup()
    with fails(10093):
        ws.WSACleanup()


@pytest.mark.parametrize(
    ("asked", "given"), [(0x0202, 0x0202), (0x0101, 0x0101), (0x0002, 0x0002), (0x0303, 0x0202)]
)
def test_versions(asked, given):
    data = ws.WSAStartup(asked)
    ws.WSACleanup()
    assert (data.wVersion, data.wHighVersion) == (given, 0x0202)


def test_version_zero():
    with fails(10092):
        ws.WSAStartup(0)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param((0xDEAD, 1, 6), 10047, id="W050"),
        pytest.param((2, 0xDEAD, 6), 10044, id="W051"),
        pytest.param((2, 1, 0xDEAD), 10043, id="W052"),
        pytest.param((2, 1, 17), 10043, id="W052-udp"),
        ((0, 0, 0), 10022),
        ((2, 2, 17), 10044),
        ((2, 1, 6, None, 77), 10022),
    ],
)
def test_W050_W051_W052_creation_refused(net, arguments, code):
    with fails(code):
        ws.WSASocket(*arguments)


@pytest.mark.parametrize("arguments", [(2, 1, 0), (2, 0, 6), (0, 1, 6), (23, 1, 6)])
def test_defaults_of_creation(net, arguments):
    s = net.keep(ws.socket(*arguments))
    info = ws.getsockopt(s, ws.SOL_SOCKET, ws.SO_PROTOCOL_INFO)
    assert (info.iAddressFamily, info.iSocketType, info.iProtocol) == (arguments[0] or 2, 1, 6)


def test_W055_duplicating_nothing(net):
    for s in GARBAGE:
        with fails(10038):
            ws.WSADuplicateSocket(s, 0, None)


@pytest.mark.parametrize("pid", [0, -1, 0x7FFFFFFF])
def test_W056_duplicating_for_nobody(net, pid):
    with fails(10022):
        ws.WSADuplicateSocket(net.socket(), pid)


def test_W057_nowhere_to_put_it(net):
    with fails(10014):
        ws.WSADuplicateSocket(net.socket(), os.getpid(), None)


def test_W058_a_second_handle(net):
    s = net.socket()
    info = ws.WSADuplicateSocket(s, os.getpid())
    assert (info.iAddressFamily, info.iSocketType, info.iProtocol) == (2, 1, 6)
    known = ws.FROM_PROTOCOL_INFO
    second = net.keep(ws.WSASocket(known, known, known, info))
    assert second != s
    ws.bind(second, (HOST, 0))
    assert ws.getsockname(s) == ws.getsockname(second)
    with fails(10022):
        ws.WSASocket(known, known, known, info)  # once


def test_W197_a_duplicate_outlives_the_original(net):
    c, s = net.pair()
    second = net.keep(ws.socket_from(ws.WSADuplicateSocket(c, os.getpid())))
    ws.send(c, b"a")
    ws.closesocket(c)
    ws.send(second, b"b")
    assert recv_exactly(s, 2) == b"ab"
    ws.closesocket(second)
    assert ws.recv(s, 1) == b""


def test_a_switched_connection_stays_in_its_process(net):
    c, _ = net.pair()
    if net.path != "tcp":
        with fails(10045):
            ws.WSADuplicateSocket(c, os.getppid())


# --- bind, listen, names ---


def sockaddr(host, port, family=2):
    return struct.pack("<H", family) + struct.pack("!H4s8x", port, bytes(map(int, host.split("."))))


def test_W061_no_address(net):
    s = net.socket()
    with fails(10014):
        ws.bind(s, None)
    with fails(10014):
        ws.bind(s, sockaddr(HOST, 0)[:-1])
    with fails(10014):
        ws.bind(s, (HOST, 0), 15)
    with fails(10014):
        ws.bind(s, ("localhost", 0))


def test_W062_a_foreign_family(net):
    s = net.socket()
    with fails(10047):
        ws.bind(s, sockaddr(HOST, 0, 0xDEAD))
    with fails(10047):
        ws.bind(s, ("::1", 0))


def test_W063_an_address_of_somebody_else(net):
    with fails(10049):
        ws.bind(net.socket(), ("192.0.2.0", 0))


def test_W064_bound_already(net):
    with fails(10022):
        ws.bind(net.bound(), (HOST, 0))


def test_W065_the_address_is_taken(net):
    s = net.bound()
    with fails(10048):
        ws.bind(net.socket(), ws.getsockname(s))


def test_bytes_of_an_address(net):
    s = net.socket()
    ws.bind(s, sockaddr(HOST, 0))
    assert ws.getsockname(s)[0] == HOST


def test_W066_an_unbound_socket_has_no_name(net):
    with fails(10022):
        ws.getsockname(net.socket())
    with fails(10038):
        ws.getsockname(-1)


def test_W067_the_name_of_a_wildcard(net):
    s = net.bound("0.0.0.0")
    host, port = ws.getsockname(s)
    assert host == "0.0.0.0"
    assert port
    with fails(10014):
        ws.getsockname(s, length=15)


@pytest.mark.parametrize("backlog", [0, 1, -1, ws.SOMAXCONN])
def test_W069_listening_unbound(net, backlog):
    with fails(10022):
        ws.listen(net.socket(), backlog)


def test_W070_listening_on_nothing(net):
    for s in GARBAGE:
        with fails(10038):
            ws.listen(s, 0)


def test_W071_whether_it_listens(net):
    s = net.bound()
    assert ws.getsockopt(s, ws.SOL_SOCKET, ws.SO_ACCEPTCONN) == 0
    ws.listen(s, 0)
    assert ws.getsockopt(s, ws.SOL_SOCKET, ws.SO_ACCEPTCONN) == 1


def test_W073_listening_again(net):
    s = net.listener()
    ws.listen(s, 1)
    ws.listen(s, 0)
    net.pair(s)


def test_listening_on_a_connection(net):
    c, _ = net.pair()
    with fails(10056):
        ws.listen(c, 1)


def test_W077_the_peer_of_nothing(net):
    with fails(10038):
        ws.getpeername(-1, None, None)


def test_W078_the_peer_of_an_unconnected_socket(net):
    for s in (net.socket(), net.bound(), net.listener()):
        with fails(10057):
            ws.getpeername(s, None, None)


def test_names_of_a_pair(net):
    c, s = net.pair()
    assert ws.getsockname(c) == ws.getpeername(s)
    assert ws.getpeername(c) == ws.getsockname(s)
    with fails(10014):
        ws.getpeername(c, None, None)
    with fails(10014):
        ws.getpeername(c, length=15)


def test_ipv6(net):
    listener = net.keep(ws.socket(ws.AF_INET6, ws.SOCK_STREAM))
    try:
        ws.bind(listener, ("::1", 0))
    except ws.WSAError:
        pytest.skip("this host has no IPv6")
    ws.listen(listener, 1)
    c = net.keep(ws.socket(ws.AF_INET6, ws.SOCK_STREAM))
    ws.connect(c, ws.getsockname(listener))
    s = net.accept(listener)
    assert ws.getsockname(c)[:2] == ws.getpeername(s)[:2]
    assert ws.getsockopt(s, ws.IPPROTO_IPV6, ws.IPV6_V6ONLY) == 1


# --- connect ---


def test_W080_connecting_a_listener(net):
    listener = net.listener()
    with fails(10022):
        ws.connect(listener, ws.getsockname(listener))


def test_W081_connected_already(net):
    c, s = net.pair()
    for end in (c, s):
        with fails(10056):
            ws.connect(end, ws.getsockname(c))


def test_W082_refused_and_then_connected_elsewhere(net):
    c, listener = net.socket(), net.listener()
    for _ in range(2):
        with fails(10061):
            ws.connect(c, net.closed_port())
    ws.connect(c, ws.getsockname(listener))
    s = net.accept(listener)
    ws.send(c, b"a")
    assert ws.recv(s, 1) == b"a"


@pytest.mark.parametrize(
    ("address", "code"),
    [(None, 10014), ((HOST, 0), 10049), (("0.0.0.0", 80), 10049), (("::1", 80), 10047)],
)
def test_connecting_to_what_is_no_peer(net, address, code):
    with fails(code):
        ws.connect(net.socket(), address)


def test_W083_connectex_needs_a_bound_socket(net):
    listener = net.listener()
    with fails(10022):
        ws.ConnectEx(net.socket(), ws.getsockname(listener), None, overlapped())


def test_W084_connectex_needs_a_record(net):
    listener = net.listener()
    with fails(87):
        ws.ConnectEx(net.bound(), ws.getsockname(listener))


def test_W085_connectex(net):
    listener, c, record = net.listener(), net.bound(), overlapped()
    assert ws.ConnectEx(c, ws.getsockname(listener), None, record) is None
    assert result(c, record) == 0
    ws.setsockopt(c, ws.SOL_SOCKET, ws.SO_UPDATE_CONNECT_CONTEXT, b"")
    s = net.accept(listener)
    assert ws.getpeername(s) == ws.getsockname(c)
    with fails(10056):
        ws.ConnectEx(c, ws.getsockname(listener), None, overlapped())


def test_connectex_sends_first_bytes(net):
    listener, c, record = net.listener(), net.bound(), overlapped()
    assert ws.ConnectEx(c, ws.getsockname(listener), b"first", record) is None
    assert result(c, record) == 5
    assert recv_exactly(net.accept(listener), 5) == b"first"


def test_W087_connectex_refused(net):
    c, record = net.bound(), overlapped()
    assert ws.ConnectEx(c, net.closed_port(), None, record) is None
    wait(record)
    with fails(1225):
        ws.GetOverlappedResult(c, record)
    with fails(10061):
        ws.WSAGetOverlappedResult(c, record)


@pytest.fixture
def stuck(net):
    """A socket whose connect goes on until its listener accepts."""
    import socket

    listener = socket.create_server((HOST, 0), backlog=0)
    full = []
    for _ in range(4):  # more connects than the queue of the listener takes
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(listener.getsockname())
        full.append(s)
    c = net.socket()
    set_blocking(c, False)
    with fails(10035):
        ws.connect(c, listener.getsockname())
    if ws.select([], [c], [], 0.2)[1]:
        pytest.skip("the kernel took more connections than it was told to")
    yield c, listener.getsockname()
    for s in (*full, listener):
        s.close()


def test_W089_connecting_twice(stuck):
    c, name = stuck
    with fails(10037):
        ws.connect(c, name)
    with fails(10022):
        ws.ConnectEx(c, name, None, overlapped())


def test_what_a_connecting_socket_is_not(stuck):
    c, _ = stuck
    assert ws.getsockname(c)[1]
    for call in (
        lambda: ws.getpeername(c),
        lambda: ws.recv(c, 1),
        lambda: ws.WSARecv(c, [bytearray(1)], 0, overlapped()),
        lambda: ws.send(c, b"a"),
        lambda: ws.WSASend(c, [b"a"], 0, overlapped()),
        lambda: ws.shutdown(c, ws.SD_SEND),
    ):
        with fails(10057):
            call()
    with fails(10022):
        ws.listen(c, 1)
    assert ws.getsockopt(c, ws.SOL_SOCKET, ws.SO_CONNECT_TIME) == 0xFFFFFFFF


def test_closing_while_connectex_is_pending(net, stuck):
    _, name = stuck
    c, record = net.bound(), overlapped()
    assert ws.ConnectEx(c, name, None, record) is None
    ws.closesocket(c)
    wait(record)
    with fails(995):
        ws.GetOverlappedResult(c, record)


def test_W094_a_refused_connect_is_exceptional(net):
    c = net.socket()
    set_blocking(c, False)
    with fails(10035):
        ws.connect(c, net.closed_port())
    assert ws.select([c], [c], [c], 5) == ([], [], [c])
    assert ws.getsockopt(c, ws.SOL_SOCKET, ws.SO_ERROR) == 10061


def test_a_nonblocking_connect_makes_writable(net):
    c, listener = net.socket(), net.listener()
    set_blocking(c, False)
    with fails(10035):
        ws.connect(c, ws.getsockname(listener))
    assert ws.select([c], [c], [c], 5) == ([], [c], [])
    assert ws.getsockopt(c, ws.SOL_SOCKET, ws.SO_ERROR) == 0


def test_W097_connect_time(net):
    assert ws.getsockopt(net.socket(), ws.SOL_SOCKET, ws.SO_CONNECT_TIME) == 0xFFFFFFFF
    listener = net.listener()
    for end in (*net.pair(listener), listener):
        expected = 0xFFFFFFFF if end == listener else 0
        assert ws.getsockopt(end, ws.SOL_SOCKET, ws.SO_CONNECT_TIME) == expected


# --- accept ---


def test_W098_a_deferred_connection_stays(net):
    listener = net.listener()
    c = net.connect(listener)
    asked = []

    def defer(request):
        asked.append((request.caller, request.callee, request.callback_data))
        return ws.CF_DEFER

    with fails(11002):
        ws.WSAAccept(listener, condition=defer, callback_data="mine")
    assert asked == [(ws.getsockname(c), ws.getsockname(listener), "mine")]
    s = net.accept(listener)
    assert ws.getpeername(s) == ws.getsockname(c)


def test_a_rejected_connection_is_reset(net):
    listener = net.listener()
    c = net.connect(listener)
    with fails(10061):
        ws.WSAAccept(listener, condition=lambda request: ws.CF_REJECT)
    with fails(10054):
        ws.recv(c, 1)


def test_an_answer_that_is_none(net):
    listener = net.listener()
    net.connect(listener)
    with fails(10022):
        ws.WSAAccept(listener, condition=lambda request: 77)


def test_a_condition_may_call_anything(net):
    listener = net.listener()
    net.connect(listener)

    def condition(request):
        net.connect(listener)
        assert ws.select([listener], None, None, 5)[0] == [listener]
        return ws.CF_ACCEPT

    net.keep(ws.WSAAccept(listener, condition=condition)[0])
    net.accept(listener)


def test_W099_closing_ends_a_blocked_accept(net):
    listener = net.listener()
    codes = []

    def accept():
        try:
            ws.accept(listener)
        except ws.WSAError as error:
            codes.append(error.winerror)

    thread = threading.Thread(target=accept)
    thread.start()
    time.sleep(0.1)
    ws.closesocket(listener)
    thread.join(10)
    assert codes == [10004]


def test_W100_no_room_for_the_address(net):
    listener = net.listener()
    net.connect(listener)
    with fails(10014):
        ws.accept(listener, length=0)
    net.connect(listener)
    net.accept(listener)


@pytest.mark.parametrize("arguments", [(None, None), (None, 16), (ws.RETURNED, None)])
def test_W101_nobody_wants_the_address(net, arguments):
    listener = net.listener()
    net.connect(listener)
    net.keep(ws.accept(listener, *arguments)[0])


def test_accepting_where_nobody_listens(net):
    for s in (net.socket(), net.bound(), net.pair()[0]):
        with fails(10022):
            ws.accept(s)
    with fails(10038):
        ws.accept(-1)


def test_accepting_without_clients(net):
    listener = net.listener()
    set_blocking(listener, False)
    with fails(10035):
        ws.accept(listener)


INHERITED = {
    (ws.SOL_SOCKET, ws.SO_REUSEADDR): 1,
    (ws.SOL_SOCKET, ws.SO_KEEPALIVE): 1,
    (ws.SOL_SOCKET, ws.SO_OOBINLINE): 1,
    (ws.SOL_SOCKET, ws.SO_SNDBUF): 0x123,
    (ws.SOL_SOCKET, ws.SO_RCVBUF): 0x222,
    (ws.SOL_SOCKET, ws.SO_SNDTIMEO): 250,
    (ws.SOL_SOCKET, ws.SO_RCVTIMEO): 255,
    (ws.IPPROTO_TCP, ws.TCP_NODELAY): 1,
    (ws.SOL_SOCKET, ws.SO_LINGER): ws.LINGER(1, 555),
}


def test_W102_options_are_inherited(net):
    listener = net.bound()
    for (level, option), value in INHERITED.items():
        ws.setsockopt(listener, level, option, value)
    ws.listen(listener, 1)
    c = net.connect(listener)
    s = net.accept(listener)
    for (level, option), value in INHERITED.items():
        assert ws.getsockopt(s, level, option) == value
        first = ws.getsockopt(c, level, option)
        assert first != value
    ws.send(c, b"a")
    assert ws.recv(s, 1) == b"a"


# --- AcceptEx ---

LENGTH = 16 + 16


def accept_ex(listener, acceptor, size=0, record=None):
    record = record or overlapped()
    buffer = bytearray(size + 2 * LENGTH)
    assert ws.AcceptEx(listener, acceptor, buffer, size, LENGTH, LENGTH, record) is None
    return record, buffer


def test_W103_acceptex_on_nothing(net):
    buffer = bytearray(64)
    with fails(10038):
        ws.AcceptEx(-1, net.socket(), buffer, 0, LENGTH, LENGTH, overlapped())
    with fails(10038):
        ws.AcceptEx(net.listener(), -1, buffer, 0, LENGTH, LENGTH, overlapped())


def test_acceptex_in_the_wrong_states(net):
    buffer, listener = bytearray(64), net.listener()
    with fails(10022):
        ws.AcceptEx(net.bound(), net.socket(), buffer, 0, LENGTH, LENGTH, overlapped())
    for acceptor in (net.pair()[0], net.bound(), listener):
        with fails(10022):
            ws.AcceptEx(listener, acceptor, buffer, 0, LENGTH, LENGTH, overlapped())


@pytest.mark.parametrize(
    ("buffer", "sizes"),
    [(bytearray(63), (0, 32, 32)), (bytearray(64), (0, 32, 0)), (None, (0, 32, 32))],
)
def test_acceptex_without_room(net, buffer, sizes):
    with fails(10014):
        ws.AcceptEx(net.listener(), net.socket(), buffer, *sizes, overlapped())


def test_W106_acceptex_needs_a_record(net):
    with fails(87):
        ws.AcceptEx(net.listener(), net.socket(), bytearray(64), 0, LENGTH, LENGTH, None)


def test_W107_a_reserved_acceptor(net):
    listener, acceptor = net.listener(), net.socket()
    accept_ex(listener, acceptor)
    with fails(10022):
        accept_ex(listener, acceptor)
    with fails(10022):
        ws.connect(acceptor, ws.getsockname(listener))
    with fails(10022):
        ws.ConnectEx(acceptor, ws.getsockname(listener), None, overlapped())


def test_W108_acceptex_without_data(net):
    listener, acceptor = net.listener(), net.socket()
    record, _ = accept_ex(listener, acceptor)
    assert ws.WSAGetOverlappedResult(listener, record) is None
    c = net.connect(listener)
    assert result(listener, record) == 0
    ws.setsockopt(acceptor, ws.SOL_SOCKET, ws.SO_UPDATE_ACCEPT_CONTEXT, listener)
    assert ws.getsockname(acceptor) == ws.getsockname(listener)
    ws.send(c, b"a")
    assert ws.recv(acceptor, 1) == b"a"


def test_acceptex_takes_who_waits_already(net):
    listener = net.listener()
    for _ in range(60):  # the client may be known just before, while, or after the request is made
        acceptor = net.socket()
        net.connect(listener)
        record, _ = accept_ex(listener, acceptor)
        assert result(listener, record) == 0


def test_W109_W110_acceptex_with_data(net):
    listener, acceptor = net.listener(), net.socket()
    record, buffer = accept_ex(listener, acceptor, 2)
    c = net.connect(listener)
    assert not record.hEvent.wait(0.1)
    ws.send(c, b"x")
    assert result(listener, record) == 1
    assert buffer[:1] == b"x"
    names = ws.GetAcceptExSockaddrs(buffer, 2, LENGTH, LENGTH)
    assert names == (ws.getsockname(listener), ws.getsockname(c))


def test_W112_acceptex_and_a_client_that_says_nothing(net):
    listener, acceptor = net.listener(), net.socket()
    record, _ = accept_ex(listener, acceptor, 2)
    ws.closesocket(net.connect(listener))
    assert result(listener, record) == 0


def test_acceptex_and_a_client_that_resets(net):
    listener, acceptor = net.listener(), net.socket()
    record, _ = accept_ex(listener, acceptor, 2)
    c = net.connect(listener)
    assert not record.hEvent.wait(0.1)
    hard_close(c)
    wait(record)
    with fails(64):
        ws.GetOverlappedResult(listener, record)


@pytest.mark.parametrize("which", ["acceptor", "listener"])
def test_W113_closing_ends_acceptex(net, which):
    listener, acceptor = net.listener(), net.socket()
    record, _ = accept_ex(listener, acceptor)
    ws.closesocket(acceptor if which == "acceptor" else listener)
    wait(record)
    with fails(995):
        ws.GetOverlappedResult(listener, record)
    if which == "listener":
        ws.bind(acceptor, (HOST, 0))  # free again


def test_closing_the_acceptor_while_it_waits_for_data(net):
    listener, acceptor = net.listener(), net.socket()
    record, _ = accept_ex(listener, acceptor, 2)
    c = net.connect(listener)
    assert not record.hEvent.wait(0.1)
    ws.closesocket(acceptor)
    wait(record)
    with fails(995):
        ws.WSAGetOverlappedResult(listener, record)
    assert ws.recv(c, 1) == b""


def test_two_acceptex_are_served_in_order(net):
    listener = net.listener()
    acceptors = [net.socket(), net.socket()]
    records = [accept_ex(listener, acceptor)[0] for acceptor in acceptors]
    clients = [net.connect(listener) for _ in records]
    for acceptor, record, c in zip(acceptors, records, clients, strict=True):
        assert result(listener, record) == 0
        if net.path == "tcp":
            assert ws.getpeername(acceptor) == ws.getsockname(c)


def test_acceptex_posts_no_accept_event(net):
    listener, acceptor = net.listener(), net.socket()
    watch = Watch(listener, ALL_SIX)
    record, _ = accept_ex(listener, acceptor)
    net.connect(listener)
    assert result(listener, record) == 0
    watch.check(0)
    net.connect(listener)
    watch.check(ws.FD_ACCEPT)
