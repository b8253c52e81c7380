"""Sections 12 to 15 and 17: options, control codes, TransmitFile, polling, quality of service."""

from __future__ import annotations

import struct

import pytest

from tests.winsock.conftest import (
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

SOL = ws.SOL_SOCKET
TCP = ws.IPPROTO_TCP


# --- options ---


@pytest.mark.parametrize(
    ("option", "values"),
    [
        (ws.SO_RCVTIMEO, (1000, 0)),
        (ws.SO_SNDTIMEO, (1000, 0)),
        (ws.SO_SNDBUF, (4096, 0, 1 << 20)),
        (ws.SO_RCVBUF, (4096, 0, 1 << 20)),
    ],
)
def test_W163_numbers_read_back(net, option, values):
    c, s = net.pair()
    for end in (net.socket(), c, s):
        for value in values:
            ws.setsockopt(end, SOL, option, value)
            assert ws.getsockopt(end, SOL, option) == value
            ws.setsockopt(end, SOL, option, struct.pack("<I", value))
            assert ws.getsockopt(end, SOL, option) == value
    ws.send(c, b"a")
    assert ws.recv(s, 1) == b"a"


@pytest.mark.parametrize("linger", [(0, 0), (1, 0), (1, 10), (1, 0xFFFF), (7, 3), (0, 9)])
def test_W164_linger(net, linger):
    s = net.socket()
    for value in (ws.LINGER(*linger), linger, struct.pack("<HH", *linger)):
        ws.setsockopt(s, SOL, ws.SO_LINGER, value)
        found = ws.getsockopt(s, SOL, ws.SO_LINGER)
        assert found.l_onoff == int(bool(linger[0]))
        if linger[0]:
            assert found.l_linger == linger[1]
        assert ws.getsockopt(s, SOL, ws.SO_DONTLINGER) == int(not linger[0])


def test_dontlinger(net):
    s = net.socket()
    assert ws.getsockopt(s, SOL, ws.SO_DONTLINGER) == 1
    ws.setsockopt(s, SOL, ws.SO_DONTLINGER, 0)
    assert ws.getsockopt(s, SOL, ws.SO_LINGER).l_onoff == 1
    ws.setsockopt(s, SOL, ws.SO_DONTLINGER, 1)
    assert ws.getsockopt(s, SOL, ws.SO_LINGER).l_onoff == 0


@pytest.mark.parametrize("option", [ws.SO_LINGER, ws.SO_DONTLINGER, ws.SO_SNDBUF, ws.SO_KEEPALIVE])
@pytest.mark.parametrize("value", [None, b"", b"\1\0\0"])
def test_W165_no_value(net, option, value):
    with fails(10014):
        ws.setsockopt(net.socket(), SOL, option, value)


@pytest.mark.parametrize(
    ("option", "value"),
    [(ws.TCP_KEEPALIVE, 3600), (ws.TCP_KEEPCNT, 5), (ws.TCP_KEEPINTVL, 5), (ws.TCP_NODELAY, 1)],
)
def test_W167_keep_alive(net, option, value):
    for s in (net.socket(), *net.pair()):
        ws.setsockopt(s, TCP, option, value)
        assert ws.getsockopt(s, TCP, option) == value


@pytest.mark.parametrize("level", [0xFFFFFFFF, 0x8000, -1])
def test_W168_no_such_level(net, level):
    s = net.socket()
    with fails(10022):
        ws.setsockopt(s, level, 1, 1)
    with fails(10022):
        ws.getsockopt(s, level, 1)


@pytest.mark.parametrize(("level", "option"), [(SOL, 0x7777), (TCP, 0x7777), (SOL, ws.SO_SNDLOWAT)])
def test_no_such_option(net, level, option):
    s = net.socket()
    with fails(10042):
        ws.setsockopt(s, level, option, 1)
    with fails(10042):
        ws.getsockopt(s, level, option)


def test_options_to_read_only(net):
    for option in (ws.SO_TYPE, ws.SO_ERROR, ws.SO_ACCEPTCONN, ws.SO_CONNECT_TIME):
        with fails(10042):
            ws.setsockopt(net.socket(), SOL, option, 1)


def test_W170_little_room(net):
    s = net.socket()
    for size in (0, 1, 3):
        with fails(10014):
            ws.getsockopt(s, SOL, ws.SO_ERROR, size)
    with fails(10014):
        ws.getsockopt(s, SOL, ws.SO_ERROR, None)
    assert ws.getsockopt(s, TCP, ws.TCP_NODELAY, 1) == 0


def test_W171_a_closed_handle(net):
    s = net.socket()
    ws.closesocket(s)
    with fails(10038):
        ws.getsockopt(s, SOL, ws.SO_TYPE)
    with fails(10038):
        ws.setsockopt(s, SOL, ws.SO_KEEPALIVE, 1)
    with fails(10038):
        ws.closesocket(s)


@pytest.mark.parametrize(
    ("option", "size"), [("SO_PROTOCOL_INFO", 628), ("SO_PROTOCOL_INFOA", 372)]
)
def test_W172_protocol_information(net, option, size):
    s, option = net.socket(), getattr(ws, option)
    with fails(10014) as caught:
        ws.getsockopt(s, SOL, option, size // 2)
    assert caught.value.required == size
    info = ws.getsockopt(s, SOL, option, size * 2)
    assert (info.iAddressFamily, info.iSocketType, info.iProtocol) == (2, 1, 6)


FLAGS = [
    (SOL, ws.SO_DEBUG), (SOL, ws.SO_DONTROUTE), (SOL, ws.SO_BROADCAST), (SOL, ws.SO_KEEPALIVE),
    (SOL, ws.SO_OOBINLINE), (SOL, ws.SO_REUSEADDR), (SOL, ws.SO_EXCLUSIVEADDRUSE),
    (SOL, ws.SO_CONDITIONAL_ACCEPT), (SOL, ws.SO_RANDOMIZE_PORT), (TCP, ws.TCP_NODELAY),
    (TCP, ws.TCP_TIMESTAMPS), (TCP, ws.TCP_EXPEDITED_1122),
]  # fmt: skip


@pytest.mark.parametrize(("level", "option"), FLAGS)
def test_flags_are_true_or_false(net, level, option):
    s = net.socket()
    for value, expected in ((1, 1), (0, 0), (2, 1), (-1, 1), (0, 0)):
        ws.setsockopt(s, level, option, value)
        assert ws.getsockopt(s, level, option) == expected


def test_exclusive_and_reused_addresses(net):
    s = net.socket()
    ws.setsockopt(s, SOL, ws.SO_REUSEADDR, 1)
    with fails(10022):
        ws.setsockopt(s, SOL, ws.SO_EXCLUSIVEADDRUSE, 1)
    ws.setsockopt(s, SOL, ws.SO_REUSEADDR, 0)
    ws.setsockopt(s, SOL, ws.SO_EXCLUSIVEADDRUSE, 1)
    with fails(10022):
        ws.setsockopt(s, SOL, ws.SO_REUSEADDR, 1)
    with fails(10022):
        ws.setsockopt(net.bound(), SOL, ws.SO_EXCLUSIVEADDRUSE, 1)


def test_type(net):
    assert ws.getsockopt(net.socket(), SOL, ws.SO_TYPE) == ws.SOCK_STREAM


# --- control codes ---


def test_W176_unread_bytes_need_room(net):
    c, s = net.pair()
    with fails(10014):
        ws.WSAIoctl(s, ws.FIONREAD, out_size=4, returned=None)
    with fails(10014):
        ws.WSAIoctl(s, ws.FIONREAD, out_size=3)
    with fails(10014):
        ws.WSAIoctl(c, ws.SIOCATMARK, out_size=3)
    with fails(10038):
        ws.WSAIoctl(-1, ws.FIONREAD, out_size=4, returned=None)


def test_W177_unread_bytes(net):
    c, s = net.pair()
    ws.send(c, b"data\0")
    assert ws.select([s], None, None, 10)[0] == [s]
    assert ws.WSAIoctl(s, ws.FIONREAD, out_size=4) == 5
    assert ws.ioctlsocket(s, ws.FIONREAD) == 5
    for end in (c, net.socket(), net.bound(), net.listener()):
        assert ws.WSAIoctl(end, ws.FIONREAD, out_size=4) == 0
    record = overlapped()
    assert ws.WSAIoctl(s, ws.FIONREAD, out_size=4, overlapped=record) == 5
    assert result(s, record) == 4


def test_W178_no_urgent_data(net):
    c, s = net.pair()
    for end in (c, s, net.socket(), net.listener()):
        assert ws.WSAIoctl(end, ws.SIOCATMARK, out_size=4) is True


def test_urgent_data_and_the_mark(net):
    c, s = net.pair()
    ws.send(c, b"ab")
    ws.send(c, b"u", ws.MSG_OOB)
    assert ws.select([], [], [s], 10)[2] == [s]
    assert ws.WSAIoctl(s, ws.SIOCATMARK) is False
    assert ws.WSAIoctl(s, ws.FIONREAD) == 2
    assert ws.recv(s, 10) == b"ab"
    assert ws.recv(s, 1, ws.MSG_OOB) == b"u"
    assert ws.WSAIoctl(s, ws.SIOCATMARK) is True
    assert ws.WSAIoctl(s, ws.FIONREAD) == 0


def test_urgent_data_in_the_stream_and_the_mark(net):
    c, s = net.pair()
    ws.setsockopt(s, SOL, ws.SO_OOBINLINE, 1)
    ws.send(c, b"ab")
    ws.send(c, b"u", ws.MSG_OOB)
    while ws.ioctlsocket(s, ws.FIONREAD) < 2:
        ws.select([s], None, None, 1)
    assert ws.WSAIoctl(s, ws.SIOCATMARK) is False
    assert ws.recv(s, 10) == b"ab"
    assert ws.WSAIoctl(s, ws.SIOCATMARK) is True
    assert ws.recv(s, 10) == b"u"
    assert ws.WSAIoctl(s, ws.SIOCATMARK) is True


@pytest.mark.parametrize("value", [b"", b"\0\0\0", None])
def test_W180_a_mode_needs_a_value(net, value):
    with fails(10014):
        ws.WSAIoctl(net.socket(), ws.FIONBIO, value)
    with fails(10014):
        ws.WSAIoctl(net.socket(), ws.FIONBIO, struct.pack("<I", 1), returned=None)


def test_W181_events_pin_the_mode(net):
    s = net.socket()
    watch = Watch(s, ws.FD_READ)
    ws.WSAIoctl(s, ws.FIONBIO, struct.pack("<I", 1))
    with fails(10022):
        ws.WSAIoctl(s, ws.FIONBIO, struct.pack("<I", 0))
    watch.select(0)
    ws.WSAIoctl(s, ws.FIONBIO, struct.pack("<I", 0))


@pytest.mark.parametrize("on", [0, 1, 7])
def test_W182_keep_alive_values(net, on):
    s = net.socket()
    ws.WSAIoctl(s, ws.SIO_KEEPALIVE_VALS, struct.pack("<III", on, 1000, 500))
    assert ws.getsockopt(s, SOL, ws.SO_KEEPALIVE) == int(bool(on))
    for value in (b"", None, bytes(11), 1):
        with fails(10014):
            ws.WSAIoctl(s, ws.SIO_KEEPALIVE_VALS, value)


UNKNOWN = [ws.FIOASYNC, ws.SIO_FLUSH, 0xDEADBEEF, ws.SIO_SET_QOS, ws.SIO_GET_QOS]


@pytest.mark.parametrize("code", UNKNOWN)
def test_W183_unknown_codes(net, code):
    s = net.socket()
    with fails(10045):
        ws.WSAIoctl(s, code, bytes(256), 256)


@pytest.mark.parametrize("code", UNKNOWN)
def test_unknown_codes_with_a_record(net, code):
    s, record = net.socket(), overlapped()
    assert ws.WSAIoctl(s, code, bytes(256), 256, record) is None
    wait(record)
    with fails(50):
        ws.GetOverlappedResult(s, record)
    with fails(10045):
        ws.WSAGetOverlappedResult(s, record)


@pytest.mark.parametrize(
    "name", ["ACCEPTEX", "CONNECTEX", "DISCONNECTEX", "GETACCEPTEXSOCKADDRS", "TRANSMITFILE"]
)
def test_W185_extension_functions(net, name):
    s, guid = net.socket(), getattr(ws, f"WSAID_{name}")
    code = ws.SIO_GET_EXTENSION_FUNCTION_POINTER
    function = ws.WSAIoctl(s, code, guid, 8)
    assert function.__name__.upper() == name
    record = overlapped()
    assert ws.WSAIoctl(s, code, guid.bytes_le, 8, record) == function
    assert result(s, record) == 8
    with fails(10014):
        ws.WSAIoctl(s, code, guid, 7)
    with fails(10014):
        ws.WSAIoctl(s, code, guid.bytes_le[:15], 8)


def test_W186_an_unknown_function(net):
    record = overlapped()
    record.Internal = record.InternalHigh = 0xDEAD
    guid = ws.GUID("DEADBEEF-F1F2-F3F4-C0C1-C2C3C4C5C6C7")
    with fails(10022):
        ws.WSAIoctl(net.socket(), ws.SIO_GET_EXTENSION_FUNCTION_POINTER, guid, 8, record)
    assert (record.Internal, record.InternalHigh) == (0xDEAD, 0xDEAD)
    assert not record.hEvent.is_set()


def test_addresses_of_this_host(net):
    found = ws.WSAIoctl(net.socket(), ws.SIO_ADDRESS_LIST_QUERY)
    assert ("127.0.0.1", 0) in found
    with fails(10014) as caught:
        ws.WSAIoctl(net.socket(), ws.SIO_ADDRESS_LIST_QUERY, out_size=4)
    assert caught.value.required >= 40


# --- TransmitFile ---


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 1000)
    with path.open("rb") as opened:
        yield opened


CONTENT = bytes(range(256)) * 1000


def test_W189_nowhere_to_send_it(net, file):
    with fails(10038):
        ws.TransmitFile(-1, file)
    with fails(10057):
        ws.TransmitFile(net.socket(), file)


def test_W190_nothing_to_send(net):
    c, s = net.pair()
    assert ws.TransmitFile(c, None) == 0
    set_blocking(s, False)
    with fails(10035):
        ws.recv(s, 1)


def test_W191_head_and_tail(net):
    c, s = net.pair()
    assert ws.TransmitFile(c, None, buffers=(b"head", b"tail!")) == 9
    assert recv_exactly(s, 9) == b"headtail!"


@pytest.mark.parametrize("per_send", [0, 1000])
@pytest.mark.parametrize("with_record", [True, False])
def test_W192_head_file_and_tail(net, file, with_record, per_send):
    c, s = net.pair()
    record = overlapped() if with_record else None
    expected = b"head" + CONTENT + b"tail"
    import threading

    got = []
    thread = threading.Thread(target=lambda: got.append(recv_exactly(s, len(expected))))
    thread.start()
    sent = ws.TransmitFile(c, file, 0, per_send, record, (b"head", b"tail"))
    if sent is None:
        sent = result(c, record)
    assert sent == len(expected)
    thread.join(10)
    assert got == [expected]


def test_a_part_of_a_file(net, file):
    c, s = net.pair()
    file.seek(10)
    assert ws.TransmitFile(c, file, 20) == 20
    assert recv_exactly(s, 20) == CONTENT[10:30]
    record = overlapped()
    record.Offset = 5
    ws.TransmitFile(c, file, 7, 0, record)
    assert result(c, record) == 7
    assert recv_exactly(s, 7) == CONTENT[5:12]


def test_disconnecting_after_a_file(net, file):
    c, s = net.pair()
    assert ws.TransmitFile(c, file, 10, flags=ws.TF_DISCONNECT) == 10
    assert recv_exactly(s, 10) == CONTENT[:10]
    assert ws.recv(s, 1) == b""
    with fails(10058):
        ws.send(c, b"a")


# --- select and poll ---

POLL_ALL = ws.POLLRDNORM | ws.POLLRDBAND | ws.POLLWRNORM


def poll(s, events=POLL_ALL, milliseconds=0):
    return ws.WSAPoll([(s, events)], milliseconds)[0]


def test_W194_polling_a_listener(net):
    listener = net.listener()
    assert poll(listener) == 0
    c = net.connect(listener)
    for _ in range(3):
        assert poll(listener, ws.POLLRDNORM | ws.POLLRDBAND, 5000) == ws.POLLRDNORM
    net.accept(listener)
    assert poll(listener) == 0
    assert poll(c) == ws.POLLWRNORM


def test_W195_polling_an_idle_pair(net):
    for end in net.pair():
        assert poll(end) == ws.POLLWRNORM


def test_polling_data_and_ends(net):
    c, s = net.pair()
    ws.send(c, b"a")
    assert poll(s, ws.POLLRDNORM, 5000) == ws.POLLRDNORM
    assert ws.recv(s, 1) == b"a"
    ws.shutdown(c, ws.SD_SEND)
    assert poll(s, ws.POLLRDNORM, 5000) == ws.POLLHUP
    assert poll(s) == ws.POLLWRNORM | ws.POLLHUP
    assert poll(c) == ws.POLLWRNORM


def test_polling_a_reset(net):
    c, s = net.pair()
    hard_close(c)
    assert poll(s, ws.POLLRDNORM, 5000) == ws.POLLERR | ws.POLLHUP


def test_polling_urgent_data(net):
    c, s = net.pair()
    ws.send(c, b"u", ws.MSG_OOB)
    assert poll(s, ws.POLLRDBAND, 5000) == ws.POLLRDBAND


def test_polling_what_is_no_socket(net):
    listener = net.listener()
    with fails(10022):
        ws.WSAPoll([], 0)
    with fails(10014):
        ws.WSAPoll(None, 0)
    with fails(10038):
        ws.WSAPoll([(0xDEAD, ws.POLLRDNORM)], 0)
    with fails(10022):
        poll(listener, ws.POLLPRI)
    found = ws.WSAPoll([(0xDEAD, ws.POLLRDNORM), (-1, 0), (listener, ws.POLLRDNORM)], 0)
    assert found == [ws.POLLNVAL, 0, 0]


def test_polling_wakes_up(net):
    import threading

    c, s = net.pair()
    timer = threading.Timer(0.1, lambda: ws.send(c, b"a"))
    timer.start()
    assert poll(s, ws.POLLRDNORM, 10000) == ws.POLLRDNORM
    timer.join()


def test_selecting_nothing(net):
    for sets in ((None, None, None), ([], [], [])):
        with fails(10022):
            ws.select(*sets, 0)
    with fails(10038):
        ws.select([0xDEAD], None, None, 0)
    c, s = net.pair()
    assert ws.select([c, s], None, [c, s], 0.01) == ([], [], [])
    assert ws.select([c, s], [c, s], [], 0) == ([], [c, s], [])


def test_selecting_data_clients_and_ends(net):
    listener = net.listener()
    c, s = net.pair(listener)
    ws.send(c, b"a")
    assert ws.select([c, s, listener], None, None, 5)[0] == [s]
    net.connect(listener)
    assert ws.recv(s, 1) == b"a"
    assert ws.select([c, s, listener], None, None, 5)[0] == [listener]
    ws.closesocket(c)
    net.accept(listener)
    assert ws.select([s, listener], None, None, 5)[0] == [s]


def test_selecting_urgent_data(net):
    c, s = net.pair()
    ws.send(c, b"u", ws.MSG_OOB)
    assert ws.select([s], None, [s], 5) == ([], [], [s])
    assert ws.recv(s, 1, ws.MSG_OOB) == b"u"
    assert ws.select([s], None, [s], 0) == ([], [], [])


# --- quality of service, text ---


def test_W200_W201_quality_of_service(net):
    with fails(10045):
        ws.WSAGetQOSByName(net.socket(), "G711")
    with fails(10038):
        ws.WSAGetQOSByName(-1, "G711")
    with fails(10045):
        ws.WSAConnect(net.socket(), ("127.0.0.1", 9), sqos=ws.QOS())


@pytest.mark.parametrize(
    ("text", "family", "address"),
    [
        ("1.2.3.4", 2, ("1.2.3.4", 0)),
        ("1.2.3.4:80", 2, ("1.2.3.4", 80)),
        ("::1", 23, ("::1", 0, 0, 0)),
        ("[::1]:80", 23, ("::1", 80, 0, 0)),
    ],
)
def test_addresses_and_text(net, text, family, address):
    assert ws.WSAStringToAddress(text, family) == address
    assert ws.WSAAddressToString(address) == text


@pytest.mark.parametrize(
    "text", ["", "1.2.3", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:70000", "::1", "a"]
)
def test_text_that_is_no_address(net, text):
    with fails(10022):
        ws.WSAStringToAddress(text, 2)


# --- further control codes ---


def test_handles_beneath(net):
    s = net.socket()
    for code in (0x48000022, 0x4800001B):
        assert ws.WSAIoctl(s, code, out_size=8) == s
        with fails(10014):
            ws.WSAIoctl(s, code, out_size=7)


def test_ideal_backlog(net):
    with fails(10057):
        ws.WSAIoctl(net.socket(), 0x4004747B)
    assert ws.WSAIoctl(net.pair()[0], 0x4004747B) == 65536


def test_routing(net):
    s = net.socket()
    assert ws.WSAIoctl(s, 0xC8000014, ("127.0.0.1", 0)) == ("127.0.0.1", 0)
    with fails(10014):
        ws.WSAIoctl(s, 0xC8000014, b"")


def test_protocols(net):
    found = ws.WSAEnumProtocols()
    assert [info.iAddressFamily for info in found] == [2, 23]
    assert ws.WSAEnumProtocols([17]) == []
    known = ws.FROM_PROTOCOL_INFO
    s = net.keep(ws.WSASocket(known, known, known, found[0]))
    assert ws.getsockopt(s, SOL, ws.SO_PROTOCOL_INFO) == found[0]


def test_a_record_whose_event_was_closed(net):
    c, s = net.pair()
    record = overlapped()
    record.hEvent.close()
    ws.send(c, b"a")
    with fails(6):
        ws.WSARecv(s, [bytearray(1)], 0, record)
    assert ws.recv(s, 1) == b"a"


def test_very_many_buffers(net):
    c, s = net.pair()
    assert ws.WSASend(c, [b"x"] * 3000) == 3000
    assert recv_exactly(s, 3000) == b"x" * 3000
    ws.send(c, b"y" * 3000)
    assert ws.WSARecv(s, [bytearray(1) for _ in range(3000)]) > 0
