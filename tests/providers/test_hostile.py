"""Peers that are not what they should be: garbage, squatters, liars."""

import array
import os
import socket
import struct
import time

import pytest

from tests.providers.helpers import HOST, San, code_of, eventually, resources
from wsdirect._core import native
from wsdirect.providers.shm import names
from wsdirect.providers.shm.handshake import (
    ACCEPTED,
    REFUSED,
    WAIT,
    Greeting,
    pack_answer,
    pack_hello,
    unpack_hello,
)
from wsdirect.providers.shm.names import MESSAGES, STREAMS, pack_offer, parse_host
from wsdirect.spi.constants import (
    CF_ACCEPT,
    FD_CONNECT,
    SERVICETYPE_GUARANTEED,
    SIO_GET_QOS,
)
from wsdirect.spi.errors import WsaErrorCode
from wsdirect.spi.overlapped import Event
from wsdirect.spi.structures import FLOWSPEC, QOS
from wsdirect.testing.processes import Child

E = WsaErrorCode
LOOPBACK = parse_host(HOST)


def name_of(port, kind=STREAMS, slot=0):
    return names.listener_name(kind, LOOPBACK, port) + b"%d" % slot


def knock(port, offer=None, kind=STREAMS, message=b"", descriptors=()):
    """Connect to a listener as no client of ours would."""
    client = socket.socket(socket.AF_UNIX)
    if offer is not None:
        client.bind(offer)
    client.connect(name_of(port, kind))
    if message:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        client.sendmsg([message], rights if descriptors else [])
    return client


def offer_of(port, of=None, slot=0, **changes):
    fields = {
        "flags": names.NATIVE,
        "pid": os.getpid(),
        "segment": of.id if of else 1234,
        "slot": slot,
        "generation": of.generation(slot) if of and slot < of.slots else 1,
        "local": LOOPBACK,
        "local_port": 45000,
        "remote": LOOPBACK,
        "remote_port": port,
    }
    return pack_offer(*(fields | changes).values())


@pytest.fixture
def listener(san, port):
    s = san.listen(port, 64, native=True)
    san.provider.WSPEventSelect(s, None, 0)
    return s


def is_refused(san, listener, client):
    """Nobody is accepted, and the client is disconnected."""
    assert code_of(san.provider.WSPAccept, listener) == E.WSAEWOULDBLOCK
    client.settimeout(5)
    try:
        gone = client.recv(1) == b""
    except ConnectionResetError:
        gone = True
    client.close()
    return gone


@pytest.mark.parametrize(
    "offer",
    [
        None,
        b"\0garbage",
        b"\0wsdirect/1/o/",
        b"\0" + b"x" * 107,
        b"\0wsdirect/1/o/" + b"\xff" * 56,
    ],
)
def test_garbage_for_an_offer(san, port, listener, offer):
    assert is_refused(san, listener, knock(port, offer))


@pytest.mark.parametrize(
    "changes",
    [
        {"pid": 1},
        {"pid": 0xFFFFFFFF},
        {"segment": 99},
        {"flags": 0},
        {"remote_port": 1},
        {"remote": parse_host("127.0.0.2")},
        {"local": parse_host("192.0.2.1")},  # no address of this host
    ],
)
def test_offers_that_lie(san, port, listener, changes):
    assert is_refused(san, listener, knock(port, offer_of(port, **changes)))


@pytest.mark.parametrize("what", ["nothing", "no descriptor", "pipe", "plain memfd", "other"])
def test_promised_segment_that_is_none(san, port, listener, what):
    segment, other = native.Segment.create(slots=1), native.Segment.create(slots=1)
    segment.take()
    descriptors = []
    if what == "pipe":
        descriptors = list(os.pipe())
    elif what == "plain memfd":
        descriptors = [os.memfd_create("plain")]
        os.ftruncate(descriptors[0], 1 << 20)
    elif what == "other":
        descriptors = [os.dup(other.fileno())]
    before = resources()
    client = knock(
        port,
        offer_of(port, segment, flags=names.NATIVE | names.NEW_SEGMENT),
        message=b"" if what == "nothing" else b"S",
        descriptors=descriptors,
    )
    start = time.monotonic()
    assert is_refused(san, listener, client)
    assert time.monotonic() - start < 2
    assert resources() == before
    for descriptor in descriptors:
        os.close(descriptor)


def test_many_descriptors_with_the_segment(san, port, listener):
    segment = native.Segment.create(slots=1)
    segment.take()
    descriptors = [segment.fileno()] + [os.dup(0) for _ in range(40)]
    client = knock(
        port,
        offer_of(port, segment, flags=names.NATIVE | names.NEW_SEGMENT),
        message=b"S",
        descriptors=descriptors,
    )
    before = resources()[0]
    stream = san.native.stream(san.provider.WSPAccept(listener)[0])
    assert resources()[0] <= before + 2  # the connection and the segment
    stream.close()
    os.close(stream.fd)
    client.close()
    for descriptor in descriptors[1:]:
        os.close(descriptor)


@pytest.mark.parametrize("slot", [1, 63, 65535])
def test_slots_that_are_not_offered(san, port, listener, slot):
    segment = native.Segment.create(slots=2)
    segment.take()
    flags = names.NATIVE | names.NEW_SEGMENT
    offer = offer_of(port, segment, slot=slot, flags=flags)
    client = knock(port, offer, message=b"S", descriptors=[segment.fileno()])
    assert is_refused(san, listener, client)


def test_old_generation(san, port, listener):
    segment = native.Segment.create(slots=1)
    segment.take()
    flags = names.NATIVE | names.NEW_SEGMENT
    offer = offer_of(port, segment, generation=segment.generation(0) + 1, flags=flags)
    client = knock(port, offer, message=b"S", descriptors=[segment.fileno()])
    assert is_refused(san, listener, client)


def test_a_valid_request_behind_garbage_is_served(san, port, listener):
    clients = [knock(port, b"\0garbage%d" % i) for i in range(5)]
    stream = san.native.stream(san.connect(port, native=True))
    accepted = san.native.stream(san.provider.WSPAccept(listener)[0])
    stream.send(b"x")
    assert accepted.recv(1) == b"x"
    for each in (stream, accepted):
        each.close()
        os.close(each.fd)
    for client in clients:
        client.close()


def test_segment_of_another_process_cannot_be_offered(san, port, listener):
    """A segment id alone, which anybody can read in /proc/net/unix, is worth nothing."""
    stream = san.native.stream(san.connect(port, native=True))
    accepted = san.native.stream(san.provider.WSPAccept(listener)[0])
    segment = stream.segment

    def thief(link):
        offer = offer_of(port, segment, slot=stream.slot)
        link.put(offer)
        client = knock(port, offer)
        link.put("connected")
        link.get()
        client.close()

    with Child(thief) as child:
        child.link.get()
        assert code_of(san.provider.WSPAccept, listener) == E.WSAEWOULDBLOCK
        child.link.put("end")
    for each in (stream, accepted):
        each.close()
        os.close(each.fd)


# --- squatters: somebody else sits on a listener's name -----------------------------------------


def test_squatter_that_accepts_and_knows_nothing(san, port):
    with socket.socket(socket.AF_UNIX) as squatter:
        squatter.bind(name_of(port))
        squatter.listen()
        stream = san.native.stream(san.connect(port, native=True))
        squatter.accept()[0].close()
        with pytest.raises(native.Unattached):
            stream.wait_readable(5)
        stream.revoke()
        stream.close()
        os.close(stream.fd)


def test_squatter_of_another_type_or_not_listening(san, port):
    for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET, socket.SOCK_STREAM):
        with socket.socket(socket.AF_UNIX, kind) as squatter:
            squatter.bind(name_of(port))
            assert code_of(san.connect, port, HOST, True) == E.WSAETIMEDOUT


def test_server_behind_a_squatter_takes_the_next_slot(san, port):
    with socket.socket(socket.AF_UNIX) as squatter:
        squatter.bind(name_of(port))  # but does not listen
        listener = san.listen(port, native=True)
        stream = san.native.stream(san.connect(port, native=True))
        san.provider.WSPAccept(listener)
        stream.close()
        os.close(stream.fd)


def test_answers_that_are_none(san, port):
    """An acceptor that attaches and then sends nonsense instead of its answer."""
    segment = None
    for nonsense in (b"", b"X", b"AA", bytes(5000)):
        with socket.socket(socket.AF_UNIX) as squatter:
            squatter.bind(name_of(port, MESSAGES))
            squatter.listen()
            s, event = san.connect(port)
            connection, name = squatter.accept()
            offer = names.unpack_offer(name)
            if offer.flags & names.NEW_SEGMENT:
                _, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(4))
                (descriptor,) = struct.unpack("i", ancillary[0][2][:4])
                segment = native.Segment.adopt(descriptor)
                os.close(descriptor)
            native.prepare_bell(connection.fileno())
            stream = native.Stream.attach(
                segment, offer.slot, offer.generation, connection.fileno()
            )
            stream.send_message([nonsense])
            assert san.connected(s, event) == E.WSAETIMEDOUT
            san.provider.WSPCloseSocket(s)
            stream.close()
            connection.close()


def knock_for_messages(port, frame):
    """A request for messages with this hello, or none; the bell, and the client's end."""
    segment = native.Segment.create(slots=1)
    slot = segment.take()
    stream = native.Stream.offer(segment, slot, -1, None)
    if frame is not None:
        stream.send_message([frame])
    client = knock(
        port,
        offer_of(port, segment, flags=names.NEW_SEGMENT),
        MESSAGES,
        message=b"S",
        descriptors=[segment.fileno()],
    )
    native.prepare_bell(client.fileno())
    stream.fd = client.fileno()
    if frame is not None:
        client.send(b"!")
    return client, stream


GOOD = QOS(FLOWSPEC(TokenRate=1), None)
GUARANTEED = QOS(FLOWSPEC(ServiceType=SERVICETYPE_GUARANTEED), None)
HELLO = pack_hello(Greeting(b"data", GOOD, GOOD))


@pytest.mark.parametrize(
    "frame",
    [
        None,
        b"",
        b"H",
        b"A" + HELLO[1:],  # another kind
        HELLO[:1] + b"\2" + HELLO[2:],  # another version
        HELLO[:2] + b"\4" + HELLO[3:],  # unknown flags
        HELLO[:2] + b"\1" + HELLO[3:],  # what the flags say does not fit the length
        HELLO[:-1],
        HELLO + b"x",
        HELLO[:4] + b"\xff\xff\xff\xff" + HELLO[8:],
        HELLO[:8] + b"\xff" * 64 + HELLO[72:],  # an invalid flow spec
        pack_hello(Greeting(b"", GUARANTEED)),  # nobody here would ask for it
        pack_hello(Greeting(bytes(1024), GOOD, GOOD)) + b"x",
        bytes(5000),
    ],
)
def test_hello_that_is_none(san, port, frame):
    """It is refused; the condition function never sees it, and the next one is served."""
    listener = san.listen(port)
    san.provider.WSPEventSelect(listener, None, 0)
    client, stream = knock_for_messages(port, frame)
    before = resources()[0]
    asked = []
    assert code_of(san.provider.WSPAccept, listener, asked.append) == E.WSAEWOULDBLOCK
    assert asked == []
    answer = bytearray(100)
    assert stream.recv_message([answer]) == len(pack_answer(REFUSED))
    assert answer.startswith(REFUSED)
    with pytest.raises(ConnectionResetError):
        stream.message_size()
    assert resources()[0] <= before + 1  # the segment that came with it
    s, event = san.connect(port)
    san.accept(listener)
    assert san.connected(s, event) == 0
    stream.close()
    client.close()


def test_good_hello_made_by_hand(san, port):
    """The counterpart of the test above: it is the hello that makes the difference."""
    listener = san.listen(port)
    client, stream = knock_for_messages(port, HELLO)
    seen = []
    san.provider.WSPAccept(listener, lambda r: seen.append((r.caller_data, r.sqos)) or CF_ACCEPT)
    assert seen == [(b"data", QOS(None, FLOWSPEC(TokenRate=1)))]
    answer = bytearray(100)
    assert bytes(answer[: stream.recv_message([answer])]) == pack_answer(
        ACCEPTED, Greeting(sqos=QOS(None, FLOWSPEC(TokenRate=1)))
    )
    stream.close()
    client.close()


def test_hello_of_the_dead(san, port):
    """R-151: a request of a process that was killed, or goes while it is looked at."""

    def process(link):
        mine = San()
        mine.connect(port)
        link.put("queued")
        time.sleep(30)

    listener = san.listen(port)
    san.provider.WSPEventSelect(listener, None, 0)
    asked = []
    with Child(process) as child:
        child.link.get()
        child.kill()
    assert code_of(san.provider.WSPAccept, listener, asked.append) == E.WSAEWOULDBLOCK
    assert asked == []
    with Child(process) as child:
        child.link.get()

        def condition(request):
            asked.append(request)
            child.kill()
            return CF_ACCEPT

        assert code_of(san.provider.WSPAccept, listener, condition) == E.WSAEWOULDBLOCK
    assert len(asked) == 1
    assert len(san.switch.handles) == 1
    assert len(san.provider._san.sockets) == 1


ACCEPT = pack_answer(ACCEPTED, Greeting(b"data", GOOD))


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([ACCEPT], 0),
        ([pack_answer(WAIT)] * 3 + [ACCEPT], 0),
        ([pack_answer(WAIT)] * 2000, E.WSAETIMEDOUT),  # as many as the ring takes
        ([ACCEPT[:-1]], E.WSAETIMEDOUT),
        ([ACCEPT[:8] + b"\xff" * 64 + ACCEPT[72:]], E.WSAETIMEDOUT),
        ([HELLO], E.WSAETIMEDOUT),
        ([pack_answer(ACCEPTED, Greeting(bytes(1025)))], E.WSAETIMEDOUT),
        ([pack_answer(REFUSED, Greeting(b"data", GOOD))], E.WSAECONNREFUSED),
    ],
)
def test_answers_made_by_hand(san, port, frames, code, monkeypatch):
    monkeypatch.setattr("wsdirect.providers.shm.connecting._ANSWERS_MAX", 100)
    with socket.socket(socket.AF_UNIX) as squatter:
        squatter.bind(name_of(port, MESSAGES))
        squatter.listen()
        s = san.socket(45000)
        event = Event()
        san.provider.WSPEventSelect(s, event, FD_CONNECT)
        data = bytearray(b"before")
        assert code_of(san.provider.WSPConnect, s, (HOST, port), None, data) == E.WSAEWOULDBLOCK
        connection, name = squatter.accept()
        offer = names.unpack_offer(name)
        _, (descriptor,), _, _ = socket.recv_fds(connection, 1, 1)
        segment = native.Segment.adopt(descriptor)
        os.close(descriptor)
        native.prepare_bell(connection.fileno())
        stream = native.Stream.attach(segment, offer.slot, offer.generation, connection.fileno())
        hello = bytearray(2000)
        size = stream.recv_message([hello])
        assert unpack_hello(bytes(hello[:size])) is not None
        for frame in frames:
            stream.send_message([frame])
        assert san.connected(s, event) == code
        assert data == (b"data" if code == 0 else b"before")
        if code == 0:
            assert san.provider.WSPIoctl(s, SIO_GET_QOS) == QOS(None, FLOWSPEC(TokenRate=1))
        stream.close()
        connection.close()


def test_foreign_user(port):
    """Both sides turn a stranger away; a client then has the reason foreign-uid."""
    if os.geteuid() != 0:
        pytest.skip("only root can be two users")
    from wsdirect import reasons

    def stranger(link):
        os.setuid(65534)
        mine = San()
        s = mine.listen(port, native=True)
        mine.provider.WSPEventSelect(s, None, 0)
        link.put("listening")
        link.get()
        link.put(code_of(mine.provider.WSPAccept, s))
        t = mine.socket(native=True)
        try:
            mine.provider.WSPConnect(t, (HOST, port + 8000))
        except Exception as error:
            link.put(error.reason.code)

    san = San()
    mine = san.listen(port + 8000, native=True)
    san.provider.WSPEventSelect(mine, None, 0)
    with Child(stranger) as child:
        child.link.get()
        s = san.socket(native=True)
        with pytest.raises(OSError, match="WSAETIMEDOUT") as caught:
            san.provider.WSPConnect(s, (HOST, port))
        assert caught.value.reason is reasons.FOREIGN_UID
        child.link.put("go on")
        assert child.link.get() == E.WSAEWOULDBLOCK
        assert child.link.get() == "foreign-uid"
    assert code_of(san.provider.WSPAccept, mine) == E.WSAEWOULDBLOCK
    san.close()


def test_allowed_user(port, monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("only root can be two users")
    from wsdirect import settings

    monkeypatch.setenv("WSDIRECT_ALLOW_UIDS", "0,65534")
    settings.forget()
    san = San()
    listener = san.listen(port, native=True)

    def stranger(link):
        os.setuid(65534)
        mine = San()
        stream = mine.native.stream(mine.connect(port, native=True))
        stream.send(b"hello")
        link.get()

    try:
        with Child(stranger) as child:
            stream = san.native.stream(san.provider.WSPAccept(listener)[0])
            assert stream.recv(5, 5) == b"hello"
            child.link.put("end")
        stream.close()
        os.close(stream.fd)
    finally:
        san.close()
        monkeypatch.undo()
        settings.forget()


def test_hostile_message_length_ends_the_connection(san, port):
    """The length of a frame in shared memory is not believed."""
    import mmap

    listener = san.listen(port)
    s, event = san.connect(port)
    d, _ = san.provider.WSPAccept(listener, lambda request: CF_ACCEPT)
    assert san.connected(s, event) == 0
    san.send(s, b"message")
    stream = next(x for x in san.provider._san.sockets if x.descriptor == d).channel.stream
    segment = stream.segment
    control = 4096 + 2 * 128 * 64  # the slot's words, and what both sides expose
    hello = 16  # the first message there
    start = 4096 + stream.slot * segment.stride + control + hello  # ring 0 of it
    with mmap.mmap(segment.fileno(), 0) as memory:
        assert struct.unpack_from("<Q", memory, start) == (7,)
        struct.pack_into("<Q", memory, start, 2**63)
    assert code_of(san.receive, d) == E.WSAECONNABORTED
    assert code_of(san.send, d, b"x") == E.WSAECONNABORTED


def test_dead_clients_segments_are_dropped(san, port, listener, monkeypatch):
    monkeypatch.setattr("wsdirect.providers.shm.segments._ADOPTED_MAX", 2)

    def client(link):
        mine = San()
        stream = mine.native.stream(mine.connect(port, native=True))
        link.get()
        stream.close()

    for _ in range(5):
        with Child(client) as child:
            assert eventually(lambda: accept_and_close(san, listener))
            child.link.put("end")
    assert len(san.provider._san.adopted._segments) <= 2


def accept_and_close(san, listener):
    try:
        s, _ = san.provider.WSPAccept(listener)
    except OSError:
        return False
    san.provider.WSPCloseSocket(s)
    return True
