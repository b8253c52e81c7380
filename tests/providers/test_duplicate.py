import os
import socket
import time

import pytest

from tests.providers.helpers import (
    HOST,
    Child,
    San,
    code_of,
    eventually,
    resources,
)
from wsdirect.providers.shm.duplicate import _name_of
from wsdirect.spi.constants import AF_INET, IPPROTO_TCP, SOCK_STREAM, TCP_NODELAY
from wsdirect.spi.errors import WsaErrorCode
from wsdirect.spi.overlapped import WSAOVERLAPPED

E = WsaErrorCode


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

    with socket.socket(socket.AF_UNIX) as visitor:
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
    assert time.monotonic() - start < 0.02
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
