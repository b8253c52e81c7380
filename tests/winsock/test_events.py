"""Sections 1 to 4: network events."""

from __future__ import annotations

import pytest

from tests.winsock.conftest import (
    ALL_SIX,
    Watch,
    fails,
    fill,
    hard_close,
    overlapped,
    recv_exactly,
    result,
    set_blocking,
    switched,
)
from wsdirect import winsock as ws
from wsdirect.winsock import FD_ACCEPT, FD_CLOSE, FD_CONNECT, FD_OOB, FD_READ, FD_WRITE

LISTENER = FD_CONNECT | FD_READ | FD_OOB | FD_ACCEPT
NO_WRITE = ALL_SIX & ~FD_WRITE


# --- FD_ACCEPT ---


def test_W001_a_listener_without_clients_has_no_events(net):
    Watch(net.listener(), LISTENER).check(0)


def test_W002_a_client_is_told_once(net):
    listener = net.listener()
    watch = Watch(listener, LISTENER)
    net.connect(listener)
    watch.check(FD_ACCEPT)
    watch.check(0)


def test_selecting_again_does_not_repeat_what_was_reported(net):
    listener = net.listener()
    watch = Watch(listener, LISTENER)
    net.connect(listener)
    watch.check(FD_ACCEPT)
    watch.select(LISTENER)
    watch.check(0)
    watch.select(0)
    watch.select(LISTENER)
    watch.check(0)


def test_selecting_again_keeps_what_was_not_reported_yet(net):
    listener = net.listener()
    watch = Watch(listener, LISTENER)
    net.connect(listener)
    assert watch.event.wait(5)
    watch.select(LISTENER)
    watch.check(FD_ACCEPT)


def test_W005_accept_re_enables_while_another_one_waits(net):
    listener = net.listener()
    watch = Watch(listener, LISTENER)
    net.connect(listener)
    net.connect(listener)
    watch.check(FD_ACCEPT)
    net.accept(listener)
    watch.check(FD_ACCEPT)
    net.accept(listener)
    watch.check(0)
    net.connect(listener)
    watch.check(FD_ACCEPT)


def test_W008_selecting_accept_later_finds_the_client(net):
    listener = net.listener()
    watch = Watch(listener, FD_CONNECT | FD_READ | FD_OOB)
    net.connect(listener)
    watch.check(0)
    watch.select(LISTENER)
    watch.check(FD_ACCEPT)


def test_W009_an_accepted_client_is_not_told(net):
    listener = net.listener()
    watch = Watch(listener, FD_CONNECT | FD_READ | FD_OOB)
    net.connect(listener)
    net.accept(listener)
    watch.select(LISTENER)
    watch.check(0)


def test_W010_the_accepted_socket_inherits_event_and_mask(net):
    listener = net.listener()
    watch = Watch(listener, LISTENER | FD_WRITE)
    net.connect(listener)
    watch.check(FD_ACCEPT)
    accepted = net.accept(listener)
    assert watch.event.is_set()
    assert ws.WSAEnumNetworkEvents(accepted, watch.event).lNetworkEvents == FD_WRITE
    with fails(10035):
        ws.recv(accepted, 1)  # non-blocking as its listener


def test_inherited_events_can_be_changed_without_the_listener(net):
    listener = net.listener()
    watch = Watch(listener, LISTENER)
    net.connect(listener)
    watch.check(FD_ACCEPT)
    accepted = net.accept(listener)
    own = Watch(accepted, FD_WRITE)
    own.check(FD_WRITE)
    net.connect(listener)
    watch.check(FD_ACCEPT)


# --- FD_CONNECT and FD_WRITE ---


def test_W012_an_unconnected_socket_has_no_events(net):
    Watch(net.socket(), ALL_SIX).check(0)


def test_W013_connect_and_write_together(net):
    listener, c = net.listener(), net.socket()
    watch = Watch(c, ALL_SIX)
    with fails(10035):
        ws.connect(c, ws.getsockname(listener))
    watch.check(FD_CONNECT | FD_WRITE)
    watch.check(0)
    with fails(10056):
        ws.connect(c, ws.getsockname(listener))


def test_a_refused_connect_is_told_with_its_code(net):
    c = net.socket()
    watch = Watch(c, ALL_SIX)
    with fails(10035):
        ws.connect(c, net.closed_port())
    found = watch.check(FD_CONNECT)
    assert found.error(FD_CONNECT) == 10061


def test_W015_write_is_recorded_when_it_is_selected(net):
    _, s = net.pair()
    watch = Watch(s, NO_WRITE)
    watch.check(0)
    watch.select(ALL_SIX)
    watch.check(FD_WRITE)
    watch.check(0)


def test_W018_a_send_that_succeeds_does_not_post_write_again(net):
    c, s = net.pair()
    watch = Watch(s, ALL_SIX)
    watch.check(FD_WRITE)
    assert ws.send(s, b"data\0") == 5
    watch.check(0)
    assert recv_exactly(c, 5) == b"data\0"
    watch.check(0)


def test_W019_write_once_after_would_block(net):
    c, s = net.pair()
    watch = Watch(s, ALL_SIX)
    watch.check(FD_WRITE)
    sent = fill(s)
    watch.enum()
    watch.check(0)
    recv_exactly(c, sent)
    watch.check(FD_WRITE)
    watch.check(0)


def test_W023_a_bound_socket_has_neither_read_nor_write(net):
    s = net.bound()
    watch = Watch(s, FD_READ | FD_WRITE)
    for _ in range(5):
        watch.select(FD_READ | FD_WRITE)
        watch.check(0)


def test_W024_write_the_first_time_only(net):
    c, s = net.pair()
    for end in (c, s):
        watch = Watch(end, FD_READ | FD_WRITE)
        for expected in (FD_WRITE, 0, 0, 0, 0):
            watch.select(FD_READ | FD_WRITE)
            watch.check(expected)


# --- FD_READ and FD_OOB ---


def test_W027_read_once(net):
    c, s = net.pair()
    watch = Watch(s, NO_WRITE)
    ws.send(c, b"data\0")
    watch.check(FD_READ)
    watch.check(0)


def test_more_data_do_not_repeat_read(net):
    c, s = net.pair()
    watch = Watch(s, NO_WRITE)
    ws.send(c, b"data\0")
    watch.check(FD_READ)
    ws.send(c, b"data\0")
    watch.check(0)


def test_W030_read_again_because_data_remain(net):
    c, s = net.pair()
    watch = Watch(s, NO_WRITE)
    ws.send(c, bytes(10))
    watch.check(FD_READ)
    assert ws.recv(s, 2) == bytes(2)
    watch.check(FD_READ)
    watch.check(0)
    assert len(ws.recv(s, 8)) == 8
    watch.check(0)
    ws.send(c, b"a")
    watch.check(FD_READ)


def test_peeking_re_enables_read(net):
    c, s = net.pair()
    watch = Watch(s, NO_WRITE)
    ws.send(c, b"a")
    watch.check(FD_READ)
    assert ws.recv(s, 5, ws.MSG_PEEK) == b"a"
    watch.check(FD_READ)


def test_W032_read_after_each_byte_but_the_last(net):
    c, s = net.pair()
    watch = Watch(s, NO_WRITE)
    ws.send(c, bytes(8))
    watch.check(FD_READ)
    for left in range(7, -1, -1):
        assert ws.recv(s, 1) == b"\0"
        watch.check(FD_READ if left else 0)


def test_W035_what_a_pending_receive_took_posts_no_read(net):
    c, s = net.pair()
    watch = Watch(s, NO_WRITE)
    record, buffer = overlapped(), bytearray(1)
    assert ws.WSARecv(s, [buffer], 0, record) is None
    ws.send(c, b"a")
    assert result(s, record) == 1
    watch.check(0)
    ws.send(c, b"b")
    watch.check(FD_READ)


def test_what_a_pending_receive_left_posts_read(net):
    c, s = net.pair()
    watch = Watch(s, NO_WRITE)
    record, buffer = overlapped(), bytearray(1)
    assert ws.WSARecv(s, [buffer], 0, record) is None
    ws.send(c, b"ab")
    assert result(s, record) == 1
    watch.check(FD_READ)
    watch.check(0)
    assert ws.recv(s, 1) == b"b"
    watch.check(0)


def test_W037_polling_does_not_set_the_event_again(net):
    c, s = net.pair()
    event = ws.Event(manual_reset=False)
    ws.WSAEventSelect(s, event, FD_READ)
    ws.send(c, b"a")
    assert event.wait(5)
    assert ws.select([s], [], [], 5) == ([s], [], [])
    assert ws.WSAPoll([(s, ws.POLLRDNORM)], 1000) == [ws.POLLRDNORM]
    assert not event.wait(0.05)


def test_urgent_data(net):
    c, s = net.pair()
    watch = Watch(s, NO_WRITE)
    assert ws.send(c, b"u", ws.MSG_OOB) == 1
    watch.check(FD_OOB)
    watch.check(0)
    assert ws.recv(s, 1, ws.MSG_OOB) == b"u"
    watch.check(0)
    ws.send(c, b"v", ws.MSG_OOB)
    watch.check(FD_OOB)


def test_urgent_data_and_ordinary_ones(net):
    c, s = net.pair()
    watch = Watch(s, NO_WRITE)
    ws.send(c, b"ab")
    ws.send(c, b"u", ws.MSG_OOB)
    watch.check(FD_READ | FD_OOB)
    assert ws.recv(s, 1, ws.MSG_OOB) == b"u"
    assert ws.recv(s, 10) == b"ab"
    watch.check(0)


def test_urgent_data_in_the_stream_are_read_events(net):
    c, s = net.pair()
    ws.setsockopt(s, ws.SOL_SOCKET, ws.SO_OOBINLINE, 1)
    watch = Watch(s, NO_WRITE)
    ws.send(c, b"u", ws.MSG_OOB)
    watch.check(FD_READ)
    assert ws.recv(s, 5) == b"u"
    with fails(10022):
        ws.recv(s, 1, ws.MSG_OOB)


# --- FD_CLOSE ---


def test_W038_close_once(net):
    c, s = net.pair()
    watch = Watch(s, NO_WRITE)
    ws.closesocket(c)
    assert watch.check(FD_CLOSE).error(FD_CLOSE) == 0
    watch.check(0)
    watch.select(NO_WRITE)
    watch.check(0)
    watch.select(0)
    watch.select(NO_WRITE)
    watch.check(0)


def test_W039_the_end_can_be_received_and_is_no_event(net):
    c, s = net.pair()
    watch = Watch(s, NO_WRITE)
    ws.closesocket(c)
    watch.check(FD_CLOSE)
    assert ws.recv(s, 5) == b""
    watch.check(0)


def test_W040_close_at_the_shutdown_and_not_at_the_close(net):
    c, s = net.pair()
    watch = Watch(s, NO_WRITE)
    ws.shutdown(c, ws.SD_SEND)
    watch.check(FD_CLOSE)
    ws.closesocket(c)
    watch.check(0)


def test_close_comes_after_the_data(net):
    c, s = net.pair()
    watch = Watch(s, NO_WRITE)
    ws.send(c, b"data\0")
    watch.check(FD_READ)
    ws.closesocket(c)
    watch.check(0)
    assert ws.recv(s, 5) == b"data\0"
    watch.check(FD_CLOSE)
    assert ws.recv(s, 5) == b""
    watch.check(0)


def test_close_after_both_sides_shut_down(net):
    c, s = net.pair()
    watch = Watch(s, NO_WRITE)
    ws.shutdown(s, ws.SD_SEND)
    watch.check(0)
    ws.shutdown(c, ws.SD_SEND)
    watch.check(FD_CLOSE)


def test_W043_close_that_was_there_before_selecting(net):
    c, s = net.pair()
    ws.closesocket(c)
    assert ws.select([s], [], [], 5)[0] == [s]
    Watch(s, NO_WRITE).check(FD_CLOSE)


def test_W045_a_hard_close_has_a_code(net):
    c, s = net.pair()
    watch = Watch(s, NO_WRITE)
    hard_close(c)
    assert watch.check(FD_CLOSE).error(FD_CLOSE) == 10053


# --- the calls themselves ---


def test_select_refuses_what_it_must(net):
    s = net.socket()
    with fails(10022):
        ws.WSAEventSelect(s, None, FD_READ)
    with fails(10022):
        ws.WSAEventSelect(s, ws.WSACreateEvent(), 0x10000)
    with fails(10038):
        ws.WSAEventSelect(-1, None, 0)
    with fails(10038):
        ws.WSAEnumNetworkEvents(-1)
    with fails(10014):
        ws.WSAEnumNetworkEvents(s, None, None)
    with fails(10045):
        ws.WSAAsyncSelect(s, 1, 1, FD_READ)


def test_enumerating_without_an_event_leaves_it_set(net):
    c, s = net.pair()
    watch = Watch(s, NO_WRITE)
    ws.send(c, b"a")
    assert watch.event.wait(5)
    assert ws.WSAEnumNetworkEvents(s).lNetworkEvents == FD_READ
    assert watch.event.is_set()


def test_an_event_that_was_closed_harms_nobody(net):
    c, s = net.pair()
    watch = Watch(s, NO_WRITE)
    watch.event.close()
    ws.send(c, b"a")
    assert ws.select([s], [], [], 5)[0] == [s]
    assert ws.WSAEnumNetworkEvents(s).lNetworkEvents == FD_READ


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_events_drive_a_whole_transfer(net, size):
    c, s = net.pair()
    ends = Watch(s, NO_WRITE), Watch(c, FD_WRITE)
    data, sent, got, closed = bytes(range(256)) * (size // 256 or 1), 0, bytearray(), False
    while not closed:
        index = ws.WSAWaitForMultipleEvents([end.event for end in ends], False, 10000)
        assert index < 2
        found = ends[index].enum().lNetworkEvents
        if found & FD_WRITE:
            try:
                while sent < len(data):
                    sent += ws.send(c, data[sent : sent + 100_000])
                ws.shutdown(c, ws.SD_SEND)
            except BlockingIOError:
                pass
        if found & FD_READ:
            got += ws.recv(s, 50_000)
        closed = bool(found & FD_CLOSE)
    assert bytes(got) == data
    assert switched(s) == (net.path != "tcp")


def test_nonblocking_until_the_mask_is_zero(net):
    s = net.socket()
    watch = Watch(s, FD_READ)
    with fails(10022):
        set_blocking(s, True)
    watch.select(0)
    set_blocking(s, True)
