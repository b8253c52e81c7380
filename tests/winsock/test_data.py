"""Sections 9 to 11: overlapped transfers, shutting down, closing, resetting."""

from __future__ import annotations

import os
import threading
import time

import pytest

from tests.winsock.conftest import (
    fails,
    fill,
    hard_close,
    overlapped,
    recv_exactly,
    result,
    set_blocking,
    wait,
)
from wsdirect import winsock as ws


def arrived(s):
    assert ws.select([s], None, None, 10)[0] == [s]


# --- receiving and sending ---


def test_W115_one_byte_each(net):
    c, s = net.pair()
    ws.send(c, b"ab")
    for expected in b"ab":
        buffer, record = bytearray(1), overlapped()
        arrived(s)
        assert ws.WSARecv(s, [buffer], 0, record) == 1
        assert buffer[0] == expected
        assert record.hEvent.is_set()
        assert ws.WSAGetOverlappedResult(s, record) == 1


@pytest.mark.parametrize("with_record", [True, False])
def test_W116_scattered(net, with_record):
    c, s = net.pair()
    assert ws.WSASend(c, [b"abc", b"", b"defghi"]) == 9
    arrived(s)
    buffers, record = [bytearray(4), bytearray(5)], overlapped()
    assert ws.WSARecv(s, buffers, 0, record if with_record else None) == 9
    assert buffers == [b"abcd", b"efghi"]


def test_W117_no_place_for_the_count(net):
    c, s = net.pair()
    record, buffer = overlapped(), bytearray(4)
    assert ws.WSARecv(s, [buffer], 0, record, received=None) is None
    ws.send(c, b"a")
    assert result(s, record) == 1
    with fails(10014):
        ws.WSARecv(s, [buffer], received=None)
    with fails(10014):
        ws.WSARecv(s, [buffer], None)


def test_W118_reset_under_a_pending_receive(net):
    c, s = net.pair()
    record = overlapped()
    assert ws.WSARecv(s, [bytearray(4)], 0, record) is None
    hard_close(c)
    wait(record)
    with fails(64):
        ws.GetOverlappedResult(s, record)
    with fails(10054):
        ws.WSAGetOverlappedResult(s, record)
    assert record.InternalHigh == 0


@pytest.mark.parametrize("early", [True, False])
def test_W119_a_completion_routine(net, early):
    c, s = net.pair()
    record, told = overlapped(), []
    if early:
        ws.send(c, b"ab")
        arrived(s)

    def routine(error, transferred, which, flags):
        told.append((error, transferred, which, flags))

    answer = ws.WSARecv(s, [bytearray(4)], 0, record, routine)
    assert answer == (2 if early else None)
    assert told == []
    if not early:
        assert ws.SleepEx(20, True) == 0
        ws.send(c, b"ab")
        time.sleep(0.05)
    assert ws.SleepEx(10000, False) == 0 if early is None else True
    assert ws.SleepEx(10000, True) == ws.WSA_WAIT_IO_COMPLETION
    assert told == [(0, 2, record, 0)]
    assert ws.SleepEx(0, True) == 0
    assert told == [(0, 2, record, 0)]
    assert not record.hEvent.is_set()


def test_a_completion_routine_is_run_by_its_own_thread(net):
    c, s = net.pair()
    other = ws.WSACreateEvent()
    told = []
    ws.WSARecv(s, [bytearray(4)], 0, overlapped(), lambda *_: told.append(threading.get_ident()))
    thread = threading.Thread(target=lambda: (ws.send(c, b"a"), ws.SleepEx(200, True)))
    thread.start()
    thread.join(10)
    assert told == []
    found = ws.WSAWaitForMultipleEvents([other], True, 10000, True)
    assert found == ws.WSA_WAIT_IO_COMPLETION
    assert told == [threading.get_ident()]


def test_a_routine_may_ask_for_more(net):
    c, s = net.pair()
    buffer, got = bytearray(1), bytearray()
    record = overlapped()

    def routine(error, transferred, which, flags):
        got.extend(buffer[:transferred])
        if len(got) < 3:
            ws.WSARecv(s, [buffer], 0, record, routine)

    ws.WSARecv(s, [buffer], 0, record, routine)
    ws.send(c, b"xyz")
    while len(got) < 3:
        assert ws.SleepEx(10000, True) == ws.WSA_WAIT_IO_COMPLETION
    assert got == b"xyz"


def test_W122_nonblocking_without_data(net):
    _, s = net.pair()
    set_blocking(s, False)
    with fails(10035):
        ws.recv(s, 5)
    with fails(10035):
        ws.WSARecv(s, [bytearray(5)])


@pytest.mark.parametrize("with_event", [True, False])
def test_W123_overlapped_ignores_nonblocking(net, with_event):
    c, s = net.pair()
    set_blocking(s, False)
    record, buffer = overlapped() if with_event else ws.WSAOVERLAPPED(), bytearray(5)
    assert ws.WSARecv(s, [buffer], 0, record) is None
    with fails(10035):
        ws.recv(s, 5)
    ws.send(c, b"data\0")
    assert ws.WSAGetOverlappedResult(s, record, True) == 5
    assert buffer == b"data\0"


def test_W126_posted_order(net):
    c, s = net.pair()
    records, buffers = [overlapped(), overlapped()], [bytearray(16), bytearray(16)]
    for record, buffer in zip(records, buffers, strict=True):
        assert ws.WSARecv(s, [buffer], 0, record) is None
    data = bytes(range(32))
    assert ws.send(c, data) == 32
    assert [result(s, record) for record in records] == [16, 16]
    assert b"".join(buffers) == data


def test_a_blocking_receive_waits_for_its_turn(net):
    c, s = net.pair()
    record, first = overlapped(), bytearray(2)
    assert ws.WSARecv(s, [first], 0, record) is None
    second = []
    thread = threading.Thread(target=lambda: second.append(ws.recv(s, 2)))
    thread.start()
    time.sleep(0.05)
    ws.send(c, b"abcd")
    thread.join(10)
    assert result(s, record) == 2
    assert (first, second) == (b"ab", [b"cd"])


def test_W127_no_buffers(net):
    c, s = net.pair()
    with fails(10022):
        ws.WSARecv(s, [], 0, overlapped())
    with fails(10022):
        ws.WSASend(c, [])


def test_W128_an_empty_buffer_waits_for_data(net):
    c, s = net.pair()
    record = overlapped()
    assert ws.WSARecv(s, [bytearray()], 0, record) is None
    assert not record.hEvent.wait(0.05)
    ws.send(c, b"a")
    assert result(s, record) == 0
    assert ws.WSARecv(s, [bytearray()]) == 0
    assert ws.recv(s, 5) == b"a"


def test_what_is_no_buffer(net):
    c, s = net.pair()
    with fails(10014):
        ws.WSARecv(s, [b"read-only"])
    with fails(10014):
        ws.WSASend(c, [None])
    with fails(10045):
        ws.recv(s, 1, 0x4000)
    assert ws.send(c, b"") == 0


def test_peeking(net):
    c, s = net.pair()
    ws.send(c, b"abc")
    assert ws.recv(s, 2, ws.MSG_PEEK) == b"ab"
    assert ws.recv(s, 5) == b"abc"


def test_waiting_for_all(net):
    c, s = net.pair()
    record, buffer = overlapped(), bytearray(4)
    assert ws.WSARecv(s, [buffer], ws.MSG_WAITALL, record) is None
    ws.send(c, b"ab")
    assert not record.hEvent.wait(0.1)
    ws.send(c, b"cd")
    assert result(s, record) == 4
    assert buffer == b"abcd"


def test_urgent_data_wait_for_nobody(net):
    c, s = net.pair()
    with fails(10035):
        ws.recv(s, 1, ws.MSG_OOB)
    record, buffer = overlapped(), bytearray(1)
    assert ws.WSARecv(s, [buffer], ws.MSG_OOB, record) is None
    ws.send(c, b"u", ws.MSG_OOB)
    assert result(s, record) == 1
    assert buffer == b"u"


def test_W130_a_large_send_without_a_buffer(net):
    c, s = net.pair()
    ws.setsockopt(c, ws.SOL_SOCKET, ws.SO_SNDBUF, 0)
    data, record = os.urandom(1 << 20), overlapped()
    assert ws.WSASend(c, [data], 0, record) is None
    got = bytearray()
    while len(got) < len(data):
        time.sleep(0.001)
        got += ws.recv(s, 50_000)
    assert result(c, record) == len(data)
    assert got == data


def test_a_large_send_is_pending(net):
    c, s = net.pair()
    data, records = os.urandom(8 << 20), [overlapped(), overlapped()]
    assert ws.WSASend(c, [data], 0, records[0]) is None
    assert ws.WSASend(c, [b"tail"], 0, records[1]) is None
    assert ws.WSAGetOverlappedResult(c, records[0]) is None
    assert recv_exactly(s, len(data)) == data
    assert result(c, records[0]) == len(data)
    assert result(c, records[1]) == 4
    assert recv_exactly(s, 4) == b"tail"


def test_W131_sending_on_nothing(net):
    with fails(10038):
        ws.WSASend(-1, [b"a"], sent=None)
    with fails(10014):
        ws.WSASend(net.pair()[0], [b"a"], sent=None)


def test_W132_nothing_is_lost_by_closing(net):
    c, s = net.pair()
    set_blocking(c, False)
    sent, piece = bytearray(), os.urandom(100_001)
    with fails(10035):
        while True:
            sent += piece[: ws.send(c, piece)]
    ws.closesocket(c)
    assert recv_exactly(s, len(sent)) == sent
    assert ws.recv(s, 1) == b""


def test_lingering(net):
    c, s = net.pair()
    ws.setsockopt(c, ws.SOL_SOCKET, ws.SO_LINGER, ws.LINGER(1, 10))
    set_blocking(c, False)
    sent = fill(c)
    with fails(10035):
        ws.closesocket(c)  # would have to wait
    set_blocking(c, True)
    thread = threading.Thread(target=ws.closesocket, args=(c,))
    thread.start()
    assert len(recv_exactly(s, sent)) == sent
    thread.join(10)
    assert not thread.is_alive()
    assert ws.recv(s, 1) == b""


def test_transfers_where_there_is_no_connection(net):
    for s in (net.socket(), net.bound(), net.listener()):
        for call in (ws.recv, lambda s, _: ws.send(s, b"a")):
            with fails(10057):
                call(s, 1)
        with fails(10057):
            ws.WSARecv(s, [bytearray(1)], 0, overlapped())
    with fails(10038):
        ws.recv(-1, 1)


def test_a_record_serves_one_request_at_a_time(net):
    _, s = net.pair()
    record = overlapped()
    assert ws.WSARecv(s, [bytearray(1)], 0, record) is None
    with fails(10022):
        ws.WSARecv(s, [bytearray(1)], 0, record)


def test_polled_records(net):
    c, s = net.pair()
    record = ws.WSAOVERLAPPED(ws.WSACreateEvent(), polled=True)
    assert ws.WSARecv(s, [bytearray(4)], 0, record) is None
    ws.send(c, b"ab")
    assert ws.WSAGetOverlappedResult(s, record, True) == 2
    assert not record.hEvent.is_set()


def test_cancelling(net):
    _, s = net.pair()
    records = [overlapped(), overlapped()]
    for record in records:
        ws.WSARecv(s, [bytearray(4)], 0, record)
    assert ws.CancelIoEx(s, records[1]) == 1
    wait(records[1])
    with fails(995):
        ws.GetOverlappedResult(s, records[1])
    assert ws.WSAGetOverlappedResult(s, records[0]) is None
    assert ws.CancelIoEx(s) == 1


def test_closing_ends_pending_requests(net):
    _, s = net.pair()
    record = overlapped()
    assert ws.WSARecv(s, [bytearray(4)], 0, record) is None
    ws.closesocket(s)
    wait(record)
    with fails(995):
        ws.GetOverlappedResult(s, record)


def test_closing_ends_a_blocked_receive(net):
    _, s = net.pair()
    codes = []

    def receive():
        try:
            ws.recv(s, 1)
        except ws.WSAError as error:
            codes.append(error.winerror)

    thread = threading.Thread(target=receive)
    thread.start()
    time.sleep(0.1)
    ws.closesocket(s)
    thread.join(10)
    assert codes == [10004]


# --- WSAGetOverlappedResult ---


def test_W140_the_result_of_nothing(net):
    for s in (-1, 0, 0xDEAD):
        with fails(10038):
            ws.WSAGetOverlappedResult(s, ws.WSAOVERLAPPED())
    s = net.socket()
    ws.closesocket(s)
    with fails(10038):
        ws.WSAGetOverlappedResult(s, ws.WSAOVERLAPPED())


def test_W141_the_result_of_what_goes_on(net):
    s = net.socket()
    record = ws.WSAOVERLAPPED()
    record.start()
    assert ws.WSAGetOverlappedResult(s, record) is None
    with fails(87):
        ws.WSAGetOverlappedResult(s, None)


# --- shutting down ---


def test_W144_there_is_nothing_to_shut_down(net):
    for s in (net.socket(), net.bound(), net.listener()):
        for how in (ws.SD_SEND, ws.SD_RECEIVE, ws.SD_BOTH, 0xDEAD):
            with fails(10057):
                ws.shutdown(s, how)


def test_W145_W146_twice_and_then_no_more(net):
    c, _ = net.pair()
    ws.shutdown(c, ws.SD_SEND)
    ws.shutdown(c, ws.SD_SEND)
    with fails(10058):
        ws.send(c, b"a")
    with fails(10058):
        ws.WSASend(c, [b"a"], 0, overlapped())


def test_W147_the_end_is_received_again_and_again(net):
    c, s = net.pair()
    ws.shutdown(c, ws.SD_SEND)
    assert [ws.recv(s, 5), ws.recv(s, 5)] == [b"", b""]


def test_W148_after_receiving_was_shut_down(net):
    c, s = net.pair()
    ws.shutdown(s, ws.SD_RECEIVE)
    for _ in range(2):
        with fails(10058):
            ws.recv(s, 5)
    ws.shutdown(c, ws.SD_SEND)
    with fails(10058):
        ws.recv(s, 5)
    with fails(10058):
        ws.WSARecv(s, [bytearray(5)], 0, overlapped())


def test_W149_half_closed_connections_receive(net):
    c, s = net.pair()
    ws.shutdown(c, ws.SD_SEND)
    assert ws.recv(s, 1) == b""
    ws.send(s, b"late")
    assert recv_exactly(c, 4) == b"late"


def test_W150_both_directions(net):
    c, s = net.pair()
    ws.shutdown(c, ws.SD_BOTH)
    ws.shutdown(s, ws.SD_BOTH)
    for end in (c, s):
        assert ws.getpeername(end)
        with fails(10056):
            ws.connect(end, ("127.0.0.1", 9))


def test_W151_shutting_down_something_else(net):
    c, _ = net.pair()
    for how in (3, 0xDEAD, -1):
        with fails(10022):
            ws.shutdown(c, how)


def test_W154_a_pending_receive_ends_with_the_stream(net):
    c, s = net.pair()
    records = [overlapped(), overlapped()]
    for record in records:
        assert ws.WSARecv(s, [bytearray(4)], 0, record) is None
    ws.shutdown(c, ws.SD_SEND)
    assert [result(s, record) for record in records] == [0, 0]


def test_a_pending_receive_survives_its_own_shutdown(net):
    c, s = net.pair()
    record = overlapped()
    assert ws.WSARecv(s, [bytearray(4)], 0, record) is None
    ws.shutdown(s, ws.SD_RECEIVE)
    assert not record.hEvent.wait(0.05)
    ws.send(c, b"ab")
    assert result(s, record) == 2


def test_shutting_down_behind_pending_sends(net):
    c, s = net.pair()
    data, record = os.urandom(6 << 20), overlapped()
    assert ws.WSASend(c, [data], 0, record) is None
    ws.shutdown(c, ws.SD_SEND)
    assert recv_exactly(s, len(data)) == data
    assert ws.recv(s, 1) == b""
    assert result(c, record) == len(data)


def test_disconnecting_by_the_other_calls(net):
    c, s = net.pair()
    ws.WSASendDisconnect(c)
    assert ws.recv(s, 1) == b""
    assert ws.WSARecvDisconnect(s) == b""
    with fails(10058):
        ws.recv(s, 1)
    with fails(10045):
        ws.WSASendDisconnect(s, b"data")


# --- resetting ---


def test_W155_W156_reset(net):
    c, s = net.pair()
    record = overlapped()
    assert ws.WSARecv(s, [bytearray(4)], 0, record) is None
    hard_close(c)
    wait(record)
    with fails(10054):
        ws.WSAGetOverlappedResult(s, record)
    assert record.InternalHigh == 0
    assert ws.getsockopt(s, ws.SOL_SOCKET, ws.SO_ERROR) == 0
    for _ in range(2):
        with fails(10054):
            ws.WSARecv(s, [bytearray(4)], 0, overlapped())
        with fails(10054):
            ws.send(s, b"a")
        with fails(10054):
            ws.recv(s, 1)


def test_closing_with_unread_data_resets(net):
    c, s = net.pair()
    ws.send(c, b"unread")
    arrived(s)
    ws.closesocket(s)
    with fails(10054):
        ws.recv(c, 1)


# --- DisconnectEx ---


def test_W158_nothing_to_disconnect(net):
    with fails(10038):
        ws.DisconnectEx(-1, overlapped())
    for s in (net.socket(), net.bound(), net.listener()):
        with fails(10057):
            ws.DisconnectEx(s, overlapped())


@pytest.mark.parametrize("with_record", [True, False])
def test_disconnectex(net, with_record):
    c, s = net.pair()
    record = overlapped() if with_record else None
    answer = ws.DisconnectEx(c, record)
    if with_record:
        assert answer is None
        assert result(c, record) == 0
    else:
        assert answer == 0
    assert ws.recv(s, 1) == b""
    with fails(10058):
        ws.send(c, b"a")
    with fails(10056):
        ws.connect(c, ("127.0.0.1", 9))
    with fails(10022):
        ws.DisconnectEx(s, None, 0x100)


def test_a_disconnected_socket_is_used_again(net):
    listener = net.listener()
    c, s = net.pair(listener)
    assert ws.DisconnectEx(c, None, ws.TF_REUSE_SOCKET) == 0
    assert ws.recv(s, 1) == b""
    record = overlapped()
    assert ws.ConnectEx(c, ws.getsockname(listener), b"again", record) is None
    assert result(c, record) == 5
    assert recv_exactly(net.accept(listener), 5) == b"again"


# --- time-outs ---


def test_W161_receiving_in_time(net):
    c, s = net.pair()
    ws.setsockopt(s, ws.SOL_SOCKET, ws.SO_RCVTIMEO, 100)
    for call in (lambda: ws.recv(s, 1), lambda: ws.WSARecv(s, [bytearray(1)])):
        with fails(10060):
            call()
    ws.send(c, b"a")
    assert ws.recv(s, 1) == b"a"


def test_W162_overlapped_receives_have_time(net):
    c, s = net.pair()
    ws.setsockopt(s, ws.SOL_SOCKET, ws.SO_RCVTIMEO, 50)
    record = overlapped()
    assert ws.WSARecv(s, [bytearray(1)], 0, record) is None
    assert not record.hEvent.wait(0.2)
    ws.send(c, b"a")
    assert result(s, record) == 1


def test_sending_in_time(net):
    c, s = net.pair()
    ws.setsockopt(c, ws.SOL_SOCKET, ws.SO_SNDTIMEO, 100)
    sent = 0
    with fails(10060):
        while True:
            sent += ws.send(c, bytes(500_000))
    assert len(recv_exactly(s, sent)) == sent


def test_a_blocking_send_sends_all(net):
    c, s = net.pair()
    data, counts = os.urandom(8 << 20), []
    thread = threading.Thread(target=lambda: counts.append(ws.send(c, data)))
    thread.start()
    assert recv_exactly(s, len(data)) == data
    thread.join(10)
    assert counts == [len(data)]
