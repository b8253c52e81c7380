"""What the Winsock cases do not show: the provider's life, fork, strange peers, resources."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

from wsdirect.spi.constants import (
    FD_READ,
    FROM_PROTOCOL_INFO,
    IPPROTO_TCP,
    SO_LINGER,
    SOCK_STREAM,
    SOL_SOCKET,
)
from wsdirect.spi.errors import WSAError
from wsdirect.spi.overlapped import WSAOVERLAPPED, Event
from wsdirect.spi.provider import ServiceProvider
from wsdirect.spi.structures import LINGER
from wsdirect.spi.upcalls import HandleSpace, UpcallTable
from wsdirect.switch.upper.service_provider import SwitchProvider
from wsdirect.switch.upper.tables import REFUSALS, TRANSITIONS, State, Step

HOST = "127.0.0.1"


@pytest.fixture(params=["tcp", "shm"])
def provider(request):
    made = SwitchProvider(request.param == "shm")
    upcalls = HandleSpace()
    made.WSPStartupEx(0x0202, made.protocol_info, upcalls)
    made.path = request.param
    made.handles = upcalls
    yield made
    with contextlib.suppress(WSAError):
        made.WSPCleanup()
    assert upcalls.handles == []
    assert not [thread for thread in threading.enumerate() if thread.name == "wsdirect-engine"]


def listener(provider):
    s = provider.WSPSocket(2, SOCK_STREAM, IPPROTO_TCP)
    provider.WSPBind(s, (HOST, 0))
    provider.WSPListen(s)
    return s


def pair(provider, listening=None):
    listening = listening or listener(provider)
    c = provider.WSPSocket(2, SOCK_STREAM, IPPROTO_TCP)
    provider.WSPConnect(c, provider.WSPGetSockName(listening))
    return c, provider.WSPAccept(listening)[0]


def recv(provider, s, size=100):
    room = bytearray(size)
    return bytes(room[: provider.WSPRecv(s, [room])])


def fds():
    return len(os.listdir("/proc/self/fd"))


def test_every_function_of_the_table_is_there():
    names = [name for name in dir(ServiceProvider) if name.startswith("WSP")]
    missing = [
        name for name in names if getattr(SwitchProvider, name) is getattr(ServiceProvider, name)
    ]
    # memory needs no registration here, and RDMA has no meaning for a byte stream
    assert all("Memory" in name or "Rdma" in name for name in missing)
    assert not SwitchProvider.__abstractmethods__


def test_the_tables_know_every_state():
    assert set(TRANSITIONS) == set(State)
    for state in State:
        assert (Step.CLOSE in TRANSITIONS[state]) == (state is not State.CLOSED)
    for call, refused in REFUSALS.items():
        assert refused[State.CLOSED] == 10038, call


def test_every_function_refuses_what_is_no_socket(provider):
    record = WSAOVERLAPPED()
    calls = [
        ("WSPCloseSocket",), ("WSPBind", (HOST, 0)), ("WSPListen",), ("WSPAccept",),
        ("WSPConnect", (HOST, 9)), ("WSPSend", [b"a"]), ("WSPRecv", [bytearray(1)]),
        ("WSPGetOverlappedResult", record), ("WSPEventSelect", None, 0), ("WSPEnumNetworkEvents",),
        ("WSPAsyncSelect", 1, 1, 1), ("WSPSelect", [-1], []), ("WSPShutdown", 0),
        ("WSPSendDisconnect",), ("WSPRecvDisconnect",), ("WSPGetSockName",), ("WSPGetPeerName",),
        ("WSPGetSockOpt", SOL_SOCKET, 4), ("WSPSetSockOpt", SOL_SOCKET, 4, 1),
        ("WSPIoctl", 0x4004667F), ("WSPDuplicateSocket", os.getpid()), ("WSPGetQOSByName", "x"),
        ("WSPSendTo", [b"a"]), ("WSPRecvFrom", [bytearray(1)]), ("WSPJoinLeaf", (HOST, 9)),
        ("AcceptEx", -1, bytearray(64), 0, 32, 32, record), ("ConnectEx", (HOST, 9)),
        ("DisconnectEx",), ("TransmitFile", None), ("CancelIoEx",),
    ]  # fmt: skip
    s = provider.WSPSocket(2, 1, 6)
    provider.WSPCloseSocket(s)
    for bad in (-1, 0, s):
        for name, *arguments in calls:
            if name == "WSPSelect":
                arguments = [[bad], [], []]
                call = getattr(provider, name)
            else:
                call = getattr(provider, name)
                arguments = [bad, *arguments]
            with pytest.raises(WSAError) as caught:
                call(*arguments)
            assert caught.value.winerror == 10038, name


def test_handles_are_the_switchs_or_our_own():
    made = SwitchProvider(False)
    made.WSPStartupEx(0x0202, None, UpcallTable())  # has no handles to give
    c, s = pair(made)
    record = WSAOVERLAPPED(polled=True)
    room = bytearray(1)
    assert made.WSPRecv(s, [room], 0, record) is None
    made.WSPSend(c, [b"x"])
    assert made.WSPGetOverlappedResult(s, record, True) == 1
    made.WSPCleanup()


def test_a_handle_space_that_is_full_costs_nothing():
    made = SwitchProvider()
    made.WSPStartupEx(0x0202, None, HandleSpace(limit=2))
    s = listener(made)
    c = made.WSPSocket(2, 1, 6)
    made.WSPConnect(c, made.WSPGetSockName(s))
    before = fds()
    for _ in range(3):
        with pytest.raises(WSAError) as caught:
            made.WSPAccept(s)
        assert caught.value.winerror == 10055
        with pytest.raises(WSAError):
            made.WSPSocket(2, 1, 6)
    assert fds() <= before + 2  # the connection that was taken from the network stays queued
    made.WSPCleanup()


def test_cleaning_up_ends_everything(provider):
    listening = listener(provider)
    c, s = pair(provider, listening)
    records = [WSAOVERLAPPED(Event()) for _ in range(3)]
    provider.WSPRecv(s, [bytearray(1)], 0, records[0])
    acceptor = provider.WSPSocket(2, 1, 6)
    provider.AcceptEx(listening, acceptor, bytearray(64), 0, 32, 32, records[1])
    provider.WSPRecv(c, [bytearray(1)], 0, records[2])
    provider.WSPCleanup()
    for record in records:
        assert record.hEvent.wait(5)
        assert record.OffsetHigh in (995, 0)
    assert provider.handles.handles == []


def test_resources_come_back(provider):
    listening = listener(provider)
    _, s = pair(provider, listening)
    record = WSAOVERLAPPED(polled=True)
    provider.WSPRecv(s, [bytearray(1)], 0, record)  # the engine runs
    before = fds()
    for round_ in range(20):
        a, b = pair(provider, listening)
        provider.WSPSend(a, [b"x"])
        if round_ % 3:
            assert recv(provider, b) == b"x"
        if round_ % 5 == 0:
            provider.WSPSetSockOpt(a, SOL_SOCKET, SO_LINGER, LINGER(1, 0))
        provider.WSPEventSelect(b, Event(), FD_READ)
        provider.WSPCloseSocket(a)
        provider.WSPCloseSocket(b)
    # the SAN keeps a segment and bound ports in reserve
    assert fds() <= before + 25
    assert len(provider._engine._owners) <= 4
    assert len(provider._sockets) == 3


def test_upcalls_may_close_the_socket():
    closed = []

    class Upcalls(HandleSpace):
        def WPUCompleteOverlappedRequest(self, s, overlapped, error, transferred):
            super().WPUCompleteOverlappedRequest(s, overlapped, error, transferred)
            if not closed:
                closed.append(s)
                made.WSPCloseSocket(s)

        def WPUCloseSocketHandle(self, s):
            order.append(("close", s))
            super().WPUCloseSocketHandle(s)

    order = []
    made = SwitchProvider()
    upcalls = Upcalls()
    made.WSPStartupEx(0x0202, None, upcalls)
    c, s = pair(made)
    records = [WSAOVERLAPPED(Event()) for _ in range(4)]
    for record in records:
        made.WSPRecv(s, [bytearray(1)], 0, record)
    made.WSPSend(c, [b"ab"])
    for record in records:
        assert record.hEvent.wait(5)
    deadline = time.monotonic() + 5
    while not order and time.monotonic() < deadline:
        time.sleep(0.01)
    assert order == [("close", s)]
    made.WSPCleanup()


@pytest.mark.parametrize("switched", [False, True])
def test_a_record_may_serve_the_next_request_as_soon_as_its_end_is_told(switched):
    made, ends = SwitchProvider(switched), []

    def told(s, overlapped, error, transferred):
        ends.append(transferred)
        if len(ends) == 1:  # as a program's other thread would, woken by the event
            assert made.WSPRecv(s, [bytearray(8)], 0, overlapped) is None

    made.WSPStartupEx(0x0202, made.protocol_info, HandleSpace(told))
    c, a = pair(made)
    overlapped = WSAOVERLAPPED(Event())
    assert made.WSPRecv(a, [bytearray(8)], 0, overlapped) is None
    made.WSPSend(c, [b"one"])
    deadline = time.monotonic() + 30
    while len(ends) < 1 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)  # the first request's last steps
    assert overlapped.in_progress
    made.WSPSend(c, [b"three"])
    assert made.WSPGetOverlappedResult(a, overlapped, True) == 5
    assert ends == [3, 5]
    made.WSPCleanup()


def test_a_client_that_knows_nothing_of_the_switch(provider):
    listening = listener(provider)
    with socket.create_connection(provider.WSPGetSockName(listening)) as client:
        s, peer = provider.WSPAccept(listening)
        assert peer == client.getsockname()
        client.sendall(b"plain")
        assert recv(provider, s) == b"plain"
        provider.WSPSend(s, [b"too"])
        assert client.recv(10) == b"too"


def test_a_server_that_knows_nothing_of_the_switch(provider):
    with socket.create_server((HOST, 0)) as server:
        c = provider.WSPSocket(2, 1, 6)
        provider.WSPConnect(c, server.getsockname())
        s, _ = server.accept()
        with s:
            provider.WSPSend(c, [b"plain"])
            assert s.recv(10) == b"plain"
            s.close()
            assert recv(provider, c) == b""


NOBODY_ACCEPTS = """
import sys, time
from wsdirect.spi.constants import IPPROTO_TCP, SOCK_STREAM
from wsdirect.switch.upper.service_provider import SwitchProvider
provider = SwitchProvider()
provider.WSPStartupEx(0x0202, None, None)
s = provider.WSPSocket(2, 1, 6)
provider.WSPBind(s, ("127.0.0.1", 0))
provider.WSPListen(s)
print(provider.WSPGetSockName(s)[1], flush=True)
sys.stdin.readline()
a, _ = provider.WSPAccept(s)
room = bytearray(100)
got = b""
while len(got) < 8:
    got += bytes(room[: provider.WSPRecv(a, [room])])
provider.WSPSend(a, [got.upper()])
provider.WSPRecv(a, [room])
print(provider._get(a, "").endpoint.switched, flush=True)
"""


@pytest.fixture
def lazy_server():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", NOBODY_ACCEPTS],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    process.port = int(process.stdout.readline())
    yield process
    process.kill()
    process.communicate()


def test_an_offer_that_nobody_takes_goes_on_over_tcp(lazy_server, monkeypatch):
    from wsdirect import settings

    monkeypatch.setenv("WSDIRECT_OFFER_TIMEOUT", "0.2")
    settings.forget()
    made = SwitchProvider()
    made.WSPStartupEx(0x0202, None, HandleSpace())
    c = made.WSPSocket(2, 1, 6)
    made.WSPConnect(c, (HOST, lazy_server.port))
    assert made._get(c, "").endpoint.switched
    name = made.WSPGetSockName(c)
    made.WSPSend(c, [b"sent "])
    deadline = time.monotonic() + 10
    while made._get(c, "").endpoint.switched:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    made.WSPSend(c, [b"now"])
    assert made.WSPGetSockName(c) == name
    lazy_server.stdin.write("\n")
    lazy_server.stdin.flush()
    assert recv(made, c) == b"SENT NOW"
    made.WSPCloseSocket(c)
    assert lazy_server.stdout.readline() == "False\n"
    made.WSPCleanup()
    settings.forget()


@pytest.mark.parametrize("pending", [True, False])
def test_a_peer_that_is_killed(lazy_server, pending):
    made = SwitchProvider()
    made.WSPStartupEx(0x0202, None, HandleSpace())
    c = made.WSPSocket(2, 1, 6)
    made.WSPConnect(c, (HOST, lazy_server.port))
    made.WSPSend(c, [b"12345678"])
    lazy_server.stdin.write("\n")
    lazy_server.stdin.flush()
    assert recv(made, c) == b"12345678"
    assert made._get(c, "").endpoint.switched
    record = WSAOVERLAPPED(Event())
    if pending:
        assert made.WSPRecv(c, [bytearray(1)], 0, record) is None
    lazy_server.send_signal(signal.SIGKILL)
    if pending:
        assert record.hEvent.wait(10)
    else:
        with contextlib.suppress(WSAError):
            assert recv(made, c) == b""
    made.WSPCleanup()


def in_child(function):
    """The exit status of a forked child that runs this."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_has_none_of_its_parents_sockets(provider):
    listening = listener(provider)
    c, s = pair(provider, listening)
    record = WSAOVERLAPPED(Event())
    room = bytearray(10)
    assert provider.WSPRecv(s, [room], 0, record) is None

    def child():
        for handle in (listening, c, s):
            for call in (provider.WSPListen, provider.WSPGetPeerName, provider.WSPCloseSocket):
                with pytest.raises(WSAError) as caught:
                    call(handle)
                assert caught.value.winerror == 10038
        mine = pair(provider)
        own = WSAOVERLAPPED(Event())
        assert provider.WSPRecv(mine[1], [bytearray(5)], 0, own) is None
        provider.WSPSend(mine[0], [b"hello"])
        assert own.hEvent.wait(10)
        assert own.result() == 5
        provider.WSPCleanup()

    assert in_child(child) == 0
    provider.WSPSend(c, [b"still"])
    assert record.hEvent.wait(10)
    assert (record.result(), bytes(room[:5])) == (5, b"still")
    later = pair(provider, listening)
    provider.WSPSend(later[0], [b"there"])
    assert recv(provider, later[1]) == b"there"
    provider.WSPCloseSocket(c)
    assert recv(provider, s) == b""


def test_many_threads(provider):
    listening = listener(provider)
    failures = []

    def serve(s):
        try:
            while data := recv(provider, s, 10_000):
                provider.WSPSend(s, [data])
            provider.WSPCloseSocket(s)
        except Exception as error:
            failures.append(error)

    def ask(number):
        try:
            c = provider.WSPSocket(2, 1, 6)
            provider.WSPConnect(c, provider.WSPGetSockName(listening))
            for size in (1, 100, 30_000):
                data = bytes([number]) * size
                provider.WSPSend(c, [data])
                got = b""
                while len(got) < size:
                    got += recv(provider, c, size)
                assert got == data
            provider.WSPCloseSocket(c)
        except Exception as error:
            failures.append(error)

    askers = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in askers:
        thread.start()
    servers = []
    for _ in askers:
        s, _ = provider.WSPAccept(listening)
        servers.append(threading.Thread(target=serve, args=(s,)))
        servers[-1].start()
    for thread in askers + servers:
        thread.join(30)
    assert not failures


def test_idle_sockets_cost_no_time(provider):
    """The engine sleeps while nothing happens: with data unread, ends seen, rings full."""
    listening = listener(provider)
    kept = []
    for kind in ("data", "end", "full", "reset", "urgent", "idle"):
        c, s = pair(provider, listening)
        event = Event()
        provider.WSPEventSelect(s, event, 0x3F)
        if kind == "data":
            provider.WSPSend(c, [b"x" * 100])
        elif kind == "end":
            provider.WSPShutdown(c, 1)
        elif kind == "full":
            provider.WSPEventSelect(c, Event(), 0)
            with contextlib.suppress(WSAError):
                while True:
                    provider.WSPSend(c, [bytes(100_000)])
        elif kind == "reset":
            provider.WSPSetSockOpt(c, SOL_SOCKET, SO_LINGER, LINGER(1, 0))
            provider.WSPCloseSocket(c)
        elif kind == "urgent":
            provider.WSPSend(c, [b"abc"], 1)
        kept.append((c, s, event))
    time.sleep(0.3)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.2


def test_taking_over_what_was_never_duplicated(provider):
    info = provider.protocol_info.replace(dwProviderReserved=12345)
    known = FROM_PROTOCOL_INFO
    with pytest.raises(WSAError) as caught:
        provider.WSPSocket(known, known, known, info)
    assert caught.value.winerror == 10022


def test_sockaddr_in_memory():
    from wsdirect.switch.upper import names

    raw = names.pack(names.AF_INET, ("1.2.3.4", 80))
    assert raw == struct.pack("<H", 2) + struct.pack("!H", 80) + bytes([1, 2, 3, 4]) + bytes(8)
    raw = names.pack(names.AF_INET6, ("::1", 80, 7, 9))
    assert len(raw) == 28
    assert names.unpack(raw, "test") == ("::1", 80, 7, 9)


def test_signal_handlers_run_during_blocking_calls(provider):
    c, s = pair(provider)

    class Stop(Exception):
        pass

    def handler(number, frame):
        raise Stop

    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGUSR1)).start()
        with pytest.raises(Stop):
            recv(provider, s)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    provider.WSPSend(c, [b"a"])
    assert recv(provider, s) == b"a"


def test_accepting_without_descriptors():
    import resource

    made = SwitchProvider(False)
    made.WSPStartupEx(0x0202, None, HandleSpace())
    listening = listener(made)
    c = made.WSPSocket(2, 1, 6)
    made.WSPConnect(c, made.WSPGetSockName(listening))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        with pytest.raises(WSAError) as caught:
            made.WSPAccept(listening)
        with pytest.raises(WSAError) as caught_too:
            made.WSPSocket(2, 1, 6)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert caught.value.winerror == caught_too.value.winerror == 10024
    s, _ = made.WSPAccept(listening)
    made.WSPSend(c, [b"a"])
    assert recv(made, s) == b"a"
    made.WSPCleanup()


def test_urgent_data_go_on_over_tcp_as_such(monkeypatch):
    from wsdirect import settings

    monkeypatch.setenv("WSDIRECT_OFFER_TIMEOUT", "0.2")
    settings.forget()
    made = SwitchProvider()
    made.WSPStartupEx(0x0202, None, HandleSpace())
    listening = listener(made)
    c = made.WSPSocket(2, 1, 6)
    made.WSPConnect(c, made.WSPGetSockName(listening))
    made.WSPSend(c, [b"ab"])
    made.WSPSend(c, [b"u"], 1)
    made.WSPSend(c, [b"cd"])
    deadline = time.monotonic() + 10
    while made._get(c, "").endpoint.switched:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    s, _ = made.WSPAccept(listening)
    made.WSPShutdown(c, 1)
    assert made.WSPSelect([], [], [s], 5)[2] == [s]
    room = bytearray(1)
    assert made.WSPRecv(s, [room], 1) == 1
    assert room == b"u"
    got = b""
    while piece := recv(made, s):
        got += piece
    assert got == b"abcd"
    made.WSPCleanup()
    settings.forget()
