"""Endings: closing in every state, the last WSPCleanup, and failures on the way."""

import errno
import os
import resource
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from tests.providers.helpers import HOST, San, code_of, eventually, resources
from wsdirect.providers.shm.service_provider import SharedMemoryProvider
from wsdirect.spi.constants import (
    AF_INET,
    CF_ACCEPT,
    CF_DEFER,
    FD_ACCEPT,
    FD_CONNECT,
    IPPROTO_TCP,
    SG_UNCONSTRAINED_GROUP,
    SIO_GET_QOS,
    SOCK_STREAM,
)
from wsdirect.spi.errors import WSAENOBUFS, WsaErrorCode
from wsdirect.spi.overlapped import WSAOVERLAPPED, Event
from wsdirect.spi.structures import WSAPROTOCOL_INFOW
from wsdirect.spi.upcalls import HandleSpace
from wsdirect.testing.processes import Child

E = WsaErrorCode


class Strict(HandleSpace):
    """A switch that writes down in which order things are announced, and forbids surprises."""

    def __init__(self, limit=None):
        super().__init__(limit=limit)
        self.log = []
        self.inside = None

    def WPUCompleteOverlappedRequest(self, s, overlapped, error, transferred):
        self.log.append(("complete", s, overlapped, error))
        super().WPUCompleteOverlappedRequest(s, overlapped, error, transferred)
        if self.inside is not None:
            self.inside(s)

    def WPUCloseSocketHandle(self, s):
        self.log.append(("close", s))
        super().WPUCloseSocketHandle(s)

    def of(self, what):
        return [entry for entry in self.log if entry[0] == what]


@pytest.fixture
def strict(san):
    """The test's provider with a strict switch."""
    san.switch = Strict()
    san.provider.WSPStartupEx(0x0202, WSAPROTOCOL_INFOW(), san.switch)
    san.provider.WSPCleanup()  # one user, the latest table
    return san.switch


@contextmanager
def few_descriptors(spare):
    """Only so many descriptors can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = sorted(int(name) for name in os.listdir("/proc/self/fd"))
    # All numbers below the highest in use are filled first, so that the limit is exact.
    fillers = []
    top = used[-1] + 20
    while (number := os.open("/dev/null", os.O_RDONLY)) < top:
        fillers.append(number)
    os.close(number)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for filler in fillers:
            os.close(filler)


# --- WSPStartupEx -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "upcalls", "code"),
    [
        (0x0202, None, E.WSAEFAULT),
        (0x0101, HandleSpace(), E.WSAVERNOTSUPPORTED),
        (0x0102, HandleSpace(), E.WSAVERNOTSUPPORTED),  # minor in the high byte: 2.1
        (0x0002, HandleSpace(), E.WSAVERNOTSUPPORTED),
    ],
)
def test_failed_start_changes_nothing(version, upcalls, code):
    provider = SharedMemoryProvider()
    assert code_of(provider.WSPStartupEx, version, WSAPROTOCOL_INFOW(), upcalls) == code
    assert code_of(provider.WSPCleanup) == E.WSANOTINITIALISED
    # no lock is left for other threads to wait for
    done = []

    def start():
        provider.WSPStartupEx(0x0202, WSAPROTOCOL_INFOW(), HandleSpace())
        provider.WSPCleanup()
        done.append(code_of(provider.WSPCleanup))

    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    thread.join(10)
    assert done == [E.WSANOTINITIALISED]


def test_no_core_no_start(monkeypatch):
    from wsdirect.providers.shm import service_provider

    monkeypatch.setattr(service_provider, "_core", None)
    provider = SharedMemoryProvider()
    assert code_of(provider.WSPStartupEx, 0x0202, WSAPROTOCOL_INFOW(), HandleSpace()) == (
        E.WSASYSNOTREADY
    )
    monkeypatch.undo()
    data = provider.WSPStartupEx(0x0402, WSAPROTOCOL_INFOW(), HandleSpace())
    assert data.wVersion == 0x0202
    assert data.szDescription.isprintable()
    provider.WSPCleanup()


def test_latest_upcalls_count(san, port):
    """R-022: also for sockets that were there before."""
    a, b = san.pair(port)
    request = san.recv(a, bytearray(8), polled=False)
    later = Strict()
    later._contexts.update(san.switch._contexts)  # the same switch, with another table
    san.provider.WSPStartupEx(0x0202, WSAPROTOCOL_INFOW(), later)
    san.send(b, b"x")
    assert eventually(lambda: not request.in_progress)
    assert [entry[2] for entry in later.of("complete")] == [request]
    assert san.completed == []
    san.provider.WSPCleanup()
    san.switch = later


# --- WSPCleanup ---------------------------------------------------------------------------------


def test_cleanup_with_everything_open(san, strict, port):
    """T-06: every request ends once, every handle is closed once and last."""
    before = resources()
    pairs = [san.pair(port) for _ in range(3)]
    notified, polled = [], []
    for pair in pairs:
        notified += [san.recv(pair[0], bytearray(8), polled=False) for _ in range(12)]
        polled += [san.recv(pair[0], bytearray(8)) for _ in range(2)]
        notified += [san.send(pair[0], bytes(60000), polled=False) for _ in range(8)]
    waiting = [request for request in notified if request.in_progress]
    listener = san.listen(port + 9000)
    connecting, _ = san.connect(port + 9000)
    san.provider.WSPSocket(AF_INET, SOCK_STREAM, IPPROTO_TCP, None, SG_UNCONSTRAINED_GROUP)
    san.socket(native=True)
    moved, _ = san.pair(port)
    san.provider.WSPDuplicateSocket(moved, 1)
    open_before = list(strict.handles)
    strict.log.clear()
    san.provider.WSPCleanup()
    san.open = False
    assert eventually(lambda: not strict.handles)
    assert sorted(entry[1] for entry in strict.of("close")) == sorted(open_before)
    completed = [entry[2] for entry in strict.of("complete")]
    assert len(set(map(id, completed))) == len(completed)
    for request in waiting:
        assert not request.in_progress
    for request in polled:
        assert request.OffsetHigh == E.WSA_OPERATION_ABORTED
    for s in {entry[1] for entry in strict.log}:
        mine = [entry[0] for entry in strict.log if entry[1] == s]
        assert mine[-1] == "close"
    assert len(san.provider._san.sockets) == len(san.provider._san.groups) == 0
    for s in (listener, connecting):
        assert code_of(san.provider.WSPCloseSocket, s) == E.WSAENOTSOCK
    assert eventually(lambda: resources() == before)


def test_start_cleanup_start(port):
    san = San()
    before = None
    for _ in range(5):
        a, b = san.pair(port)
        san.recv(a, bytearray(8), polled=False)
        san.send(b, b"x")
        san.provider.WSPCleanup()
        assert eventually(lambda: san.switch.handles == [])
        before = before or resources()
        assert resources() == before
        san.provider.WSPStartupEx(0x0202, WSAPROTOCOL_INFOW(), san.switch)
    san.close()


def test_cleanup_from_inside_an_upcall(san, strict, port):
    a, b = san.pair(port)
    done = []

    def inside(s):
        strict.inside = None
        san.provider.WSPCleanup()
        done.append(s)

    strict.inside = inside
    san.open = False
    requests = [san.recv(a, bytearray(8), polled=False) for _ in range(4)]
    san.send(b, b"x")
    assert eventually(lambda: done and not strict.handles)
    assert not any(request.in_progress for request in requests)
    assert len(strict.of("complete")) == 4
    assert code_of(san.provider.WSPCleanup) == E.WSANOTINITIALISED


# --- WSPCloseSocket -----------------------------------------------------------------------------


def states(san, port):
    """A socket in each state, by name."""
    bound = san.socket()
    listener = san.listen(port)
    connecting, _ = san.connect(port)
    connected, _ = san.pair(port + 9000)
    broken, other = san.pair(port + 9000)
    san.provider.WSPCloseSocket(other)
    assert code_of(san.receive, broken) == E.WSAECONNRESET
    moved, _ = san.pair(port + 9000)
    san.provider.WSPDuplicateSocket(moved, 1)
    moved_listener = san.listen(port + 9500)
    san.provider.WSPDuplicateSocket(moved_listener, 1)
    return {
        "fresh": san.provider.WSPSocket(AF_INET, SOCK_STREAM, IPPROTO_TCP),
        "bound": bound,
        "listening": listener,
        "connecting": connecting,
        "connected": connected,
        "broken": broken,
        "moved": moved,
        "moved listener": moved_listener,
        "native": san.socket(native=True),
    }


def test_close_in_every_state(san, port):
    before = len(san.switch.handles)
    for name, s in states(san, port).items():
        handles = len(san.switch.handles)
        assert code_of(san.provider.WSPCloseSocket, s) == 0, name
        assert len(san.switch.handles) == handles - 1, name
        assert code_of(san.provider.WSPCloseSocket, s) == E.WSAENOTSOCK, name
        assert code_of(san.provider.WSPIoctl, s, SIO_GET_QOS) == E.WSAENOTSOCK, name
    assert before == 0


@pytest.mark.parametrize("polled_too", [False, True])
def test_close_from_inside_an_upcall(san, strict, port, polled_too):
    """T-16: with eight more completions ready each is announced once, and the handle goes last."""
    a, b = san.pair(port)
    requests = [san.recv(a, bytearray(8), polled=False) for _ in range(9)]
    polled = [san.recv(a, bytearray(8)) for _ in range(2)] if polled_too else []
    strict.log.clear()

    def inside(s):
        strict.inside = None
        san.provider.WSPCloseSocket(a)

    strict.inside = inside
    for _ in range(9):
        san.send(b, b"x")
    assert eventually(lambda: strict.of("close"))
    assert len(strict.of("complete")) == 9
    assert {id(entry[2]) for entry in strict.of("complete")} == {id(r) for r in requests}
    assert strict.log[-1][0] == "close"
    assert [request.OffsetHigh for request in polled] == [E.WSA_OPERATION_ABORTED] * len(polled)


def test_close_from_inside_a_connect_announcement_thread(san, port):
    """Many threads close the same sockets: each is closed once."""
    sockets = list(states(san, port).values())
    codes = []

    def close():
        codes.extend(code_of(san.provider.WSPCloseSocket, s) for s in sockets)

    threads = [threading.Thread(target=close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes.count(0) == len(sockets)
    assert set(codes) == {0, E.WSAENOTSOCK}


def test_listener_closed_while_the_condition_function_runs(san, port):
    """T-14, by another thread."""
    listener = san.listen(port)
    s, event = san.connect(port)
    before = resources()[0]

    def condition(request):
        thread = threading.Thread(target=san.provider.WSPCloseSocket, args=(listener,))
        thread.start()
        thread.join(10)
        assert not thread.is_alive()  # no lock is held meanwhile
        return CF_ACCEPT

    assert code_of(san.provider.WSPAccept, listener, condition) == E.WSAENOTSOCK
    assert san.connected(s, event) == E.WSAECONNREFUSED
    assert len(san.switch.handles) == 1
    assert resources()[0] < before


def test_blocking_accept_ends_with_its_listener(san, port):
    listener = san.listen(port)
    codes = []
    thread = threading.Thread(
        target=lambda: codes.append(code_of(san.provider.WSPAccept, listener))
    )
    thread.start()
    time.sleep(0.05)
    san.provider.WSPCloseSocket(listener)
    thread.join(10)
    assert codes in ([E.WSAENOTSOCK], [E.WSAEINVAL])


# --- no handle, no descriptor -------------------------------------------------------------------


def refuse_handles(san):
    san.provider.WSPStartupEx(0x0202, WSAPROTOCOL_INFOW(), Strict(limit=0))


def allow_handles(san):
    san.provider.WSPStartupEx(0x0202, WSAPROTOCOL_INFOW(), san.switch)
    san.provider.WSPCleanup()
    san.provider.WSPCleanup()


@pytest.mark.parametrize("group", [0, SG_UNCONSTRAINED_GROUP])
def test_no_handle_for_a_new_socket(san, group):
    refuse_handles(san)
    before = resources()
    make = san.provider.WSPSocket
    for _ in range(3):
        assert code_of(make, AF_INET, SOCK_STREAM, IPPROTO_TCP, None, group) == E.WSAENOBUFS
    assert san.provider._san.upcalls.log == []  # T-48: nothing to close
    assert len(san.provider._san.sockets) == len(san.provider._san.groups) == 0
    assert resources() == before
    allow_handles(san)


@pytest.mark.parametrize("raised", [WSAENOBUFS, ZeroDivisionError])
def test_no_handle_for_an_accepted_socket(san, port, raised):
    """T-47: the peer is refused, nothing is left, and the next one gets in."""
    listener = san.listen(port)
    s, event = san.connect(port)
    before = resources()[0]

    class Failing(Strict):
        def WPUCreateSocketHandle(self, catalog_entry_id, context):
            raise raised()

    failing = Failing()
    san.provider.WSPStartupEx(0x0202, WSAPROTOCOL_INFOW(), failing)

    def condition(request):
        request.group = SG_UNCONSTRAINED_GROUP
        return CF_ACCEPT

    with pytest.raises(raised):
        san.accept(listener, condition)
    assert failing.log == []
    assert san.connected(s, event) == E.WSAECONNREFUSED
    assert len(san.provider._san.groups) == 0
    assert eventually(lambda: resources()[0] <= before)
    allow_handles(san)
    s, event = san.connect(port)
    san.accept(listener)
    assert san.connected(s, event) == 0


@pytest.mark.parametrize("spare", [0, 1, 2, 3])
def test_no_descriptor_for_a_listener(san, port, spare):
    """Nor, with more of them, for the thread that is to announce requests."""
    s = san.socket(port)
    event = Event()
    san.provider.WSPEventSelect(s, event, FD_ACCEPT)
    before = resources()
    with few_descriptors(spare):
        expected = E.WSAEMFILE if spare < 3 else 0
        assert code_of(san.provider.WSPListen, s) == expected
        assert code_of(san.provider.WSPAccept, s) == (E.WSAEINVAL if expected else E.WSAEWOULDBLOCK)
    assert (resources() == before) is (spare < 3)
    san.provider.WSPListen(s)  # it is as it was
    t, told = san.connect(port)
    assert event.wait(10)
    san.provider.WSPAccept(s)
    assert san.connected(t, told) == 0


@pytest.mark.parametrize("spare", [0, 1, 2])
def test_no_descriptor_for_a_request(port, spare):
    """R-152: WSAEMFILE, and the request is still queued, with a segment that comes along."""

    def client(link):
        mine = San()
        s, event = mine.connect(port)
        link.put("queued")
        link.put(mine.connected(s, event))
        mine.close()

    san = San()
    listener = san.listen(port)
    san.provider.WSPEventSelect(listener, None, 0)
    with Child(client) as child:
        assert child.link.get() == "queued"
        before = resources()[0]
        with few_descriptors(spare):
            for _ in range(3):
                assert code_of(san.provider.WSPAccept, listener) == E.WSAEMFILE
        assert resources()[0] == before
        accepted, _ = san.provider.WSPAccept(listener)
        assert child.link.get() == 0
        san.provider.WSPCloseSocket(accepted)
        with few_descriptors(spare):
            assert code_of(san.provider.WSPAccept, listener) == E.WSAEWOULDBLOCK
    san.close()


def test_no_descriptor_to_load_what_few_need(san, port, monkeypatch):
    """Some modules are loaded when first used, which takes a descriptor, too."""
    a, _ = san.pair(port)
    for name in ("duplicate", "ioctl"):
        monkeypatch.delitem(sys.modules, f"wsdirect.providers.shm.{name}", raising=False)
        monkeypatch.delattr(f"wsdirect.providers.shm.{name}", raising=False)
    info = san.provider.protocol_info.replace(dwProviderReserved=1)
    with few_descriptors(0):
        assert code_of(san.provider.WSPDuplicateSocket, a, 1) == E.WSAEMFILE
        assert code_of(san.provider.WSPIoctl, a, SIO_GET_QOS) == E.WSAEMFILE
        assert code_of(san.provider.WSPSocket, AF_INET, SOCK_STREAM, IPPROTO_TCP, info) == (
            E.WSAEMFILE
        )
    assert code_of(san.provider.WSPIoctl, a, SIO_GET_QOS) == 0
    assert code_of(san.provider.WSPDuplicateSocket, a, 1) == 0


@pytest.mark.parametrize("spare", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("listens", [True, False])
def test_no_descriptor_for_a_connect(san, port, spare, listens):
    """Not for the connection, the memory, or the thread that waits: the socket is as before."""
    s = grouped = san.provider.WSPSocket(AF_INET, SOCK_STREAM, IPPROTO_TCP, None, 2)
    san.provider.WSPBind(s, (HOST, 0))
    listener = san.listen(port) if listens else san.socket(port)
    event = Event()
    san.provider.WSPEventSelect(s, event, FD_CONNECT)
    before = resources()[0]
    with few_descriptors(spare):
        code = code_of(san.provider.WSPConnect, s, (HOST, port))
    if spare < 4 and code != E.WSAEWOULDBLOCK:
        assert code == E.WSAEMFILE
        assert resources()[0] <= before + 1  # a segment is kept for the next one
        assert len(san.provider._san.sockets) == 2
        if not listens:
            san.provider.WSPListen(listener)
        assert code_of(san.provider.WSPConnect, grouped, (HOST, port)) == E.WSAEWOULDBLOCK
    elif not listens:
        assert san.connected(s, event) in (E.WSAECONNRESET, E.WSAETIMEDOUT)
        return
    san.accept(listener)
    assert san.connected(s, event) == 0


def test_no_memory_for_a_request(san, port, monkeypatch):
    """T-11: that request is refused or fails, and the listener goes on."""
    listener = san.listen(port)
    san.connect(port)
    real = type(san.provider._san.sockets)

    def fail(*_):
        raise OSError(errno.ENOMEM, "no memory")

    monkeypatch.setattr("wsdirect.providers.shm.listener.Listener._segment_of", fail)
    san.provider.WSPEventSelect(listener, None, 0)
    assert code_of(san.provider.WSPAccept, listener) == E.WSAEWOULDBLOCK
    monkeypatch.undo()
    s, event = san.connect(port)
    san.accept(listener)
    assert san.connected(s, event) == 0
    assert real is type(san.provider._san.sockets)


# --- leaks --------------------------------------------------------------------------------------


def test_nothing_is_left_of_connections_of_any_outcome(san, port):
    listener = san.listen(port, 64)
    event = Event()
    san.provider.WSPEventSelect(listener, event, FD_ACCEPT)
    before = None
    for turn in range(12):
        accepted, told = san.connect(port)
        rejected, rejection = san.connect(port)
        withdrawn, _ = san.connect(port)
        data = bytearray()
        other = san.socket()
        san.provider.WSPEventSelect(other, Event(), FD_CONNECT)
        assert code_of(san.provider.WSPConnect, other, (HOST, port), b"x" * 100, data) == (
            E.WSAEWOULDBLOCK
        )
        nobody, outcome = san.connect(port + 9000)
        san.provider.WSPCloseSocket(withdrawn)
        server, _ = san.provider.WSPAccept(listener)
        assert code_of(san.provider.WSPAccept, listener, lambda request: 1) == E.WSAECONNREFUSED
        assert code_of(san.provider.WSPAccept, listener, lambda request: CF_DEFER) == (
            E.WSATRY_AGAIN
        )
        last, _ = san.provider.WSPAccept(listener)
        assert san.connected(accepted, told) == 0
        assert san.connected(rejected, rejection) == E.WSAECONNREFUSED
        assert san.connected(nobody, outcome) in (E.WSAECONNRESET, E.WSAETIMEDOUT)
        overlapped = WSAOVERLAPPED()
        san.provider.WSPIoctl(server, SIO_GET_QOS, b"", None, overlapped)
        for s in (accepted, rejected, other, nobody, server, last):
            san.provider.WSPCloseSocket(s)
        assert eventually(lambda: len(san.switch.handles) == 1)
        del told, rejection, outcome
        if turn == 1:
            before = resources()
    assert eventually(lambda: resources() == before)
    assert len(san.provider._san.sockets) == 1


def test_segments_do_not_pile_up_with_destinations(san, port):
    """The first offer to each new port comes with a segment of its own."""
    counts = []
    for i in range(8):
        a, b = san.pair(port + 100 * i)
        san.provider.WSPCloseSocket(a)
        san.provider.WSPCloseSocket(b)
        counts.append(resources())
    assert counts[-1] == counts[1]
