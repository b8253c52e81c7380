"""Every case on both paths: over TCP, and switched over shared memory."""

from __future__ import annotations

import contextlib

import pytest

from wsdirect import settings
from wsdirect import winsock as ws
from wsdirect.switch import routes

HOST = "127.0.0.1"
PATHS = ("tcp", "shm", "session")
ALL_SIX = ws.FD_ACCEPT | ws.FD_CONNECT | ws.FD_READ | ws.FD_WRITE | ws.FD_OOB | ws.FD_CLOSE


SESSION_ROUTES = {}  # providers started for the third path; they stay


class Net:
    """Makes sockets on one path and closes them all at the end."""

    def __init__(self, path):
        self.path = path
        self.made = []

    def keep(self, s):
        self.made.append(s)
        return s

    def socket(self):
        return self.keep(ws.WSASocket(ws.AF_INET, ws.SOCK_STREAM, ws.IPPROTO_TCP))

    def bound(self, host=HOST):
        s = self.socket()
        ws.bind(s, (host, 0))
        return s

    def listener(self, backlog=16):
        s = self.bound()
        ws.listen(s, backlog)
        return s

    def connect(self, listener):
        """A connected client that was not accepted yet."""
        c = self.socket()
        ws.connect(c, ws.getsockname(listener))
        return c

    def accept(self, listener):
        if self.path == "session":  # as between hosts, a client may know a moment sooner
            assert ws.select([listener], [], [], 10)[0]
        return self.keep(ws.accept(listener)[0])

    def pair(self, listener=None):
        """(connecting side, accepted side)"""
        listener = listener or self.listener()
        c = self.connect(listener)
        s = self.accept(listener)
        assert switched(c) == switched(s) == (self.path != "tcp")
        return c, s

    def closed_port(self):
        """The name of a port on which nobody listens."""
        s = self.bound()
        name = ws.getsockname(s)
        ws.closesocket(s)
        return name

    def close(self):
        for s in self.made:
            with contextlib.suppress(ws.WSAError):
                ws.setsockopt(s, ws.SOL_SOCKET, ws.SO_LINGER, ws.LINGER(1, 0))
                ws.closesocket(s)


def switched(s):
    return ws.provider._get(s, "test").endpoint.switched


def sessions(monkeypatch):
    """Let the same SAN carry messages, and the switch make streams of them."""
    monkeypatch.setenv("WSDIRECT_SESSION", "always")
    settings.forget()
    monkeypatch.setattr(routes, "_started", SESSION_ROUTES)


@pytest.fixture(params=PATHS)
def net(request, monkeypatch):
    ws.use_san(request.param != "tcp")
    if request.param == "session":
        sessions(monkeypatch)
    ws.WSAStartup(0x0202)
    net = Net(request.param)
    yield net
    net.close()
    handles = list(ws.provider._sockets)
    ws.WSACleanup()
    ws.use_san(True)
    monkeypatch.undo()
    settings.forget()
    assert not [s for s in handles if s not in net.made], "a socket was left open"


@contextlib.contextmanager
def fails(code):
    with pytest.raises(ws.WSAError) as caught:
        yield caught
    assert caught.value.winerror == code, caught.value


class Watch:
    """An event object and the socket whose network events it tells."""

    def __init__(self, s, events=ALL_SIX, event=None):
        self.s = s
        self.event = event or ws.WSACreateEvent()
        self.select(events)

    def select(self, events):
        ws.WSAEventSelect(self.s, self.event, events)

    def check(self, expected, wait=0):
        """The events are exactly these, and the event object tells so; waits for the first one."""
        if expected:
            assert self.event.wait(wait or 5), "no event in time"
            found = self.enum()
            deadline = 40
            while found.lNetworkEvents != expected and deadline:
                more = self.enum() if self.event.wait(0.05) else None
                if more is not None:
                    found.lNetworkEvents |= more.lNetworkEvents
                deadline -= 1
        else:
            self.event.wait(wait or 0.03)
            found = self.enum()
        assert found.lNetworkEvents == expected
        assert not self.event.is_set()
        return found

    def enum(self):
        return ws.WSAEnumNetworkEvents(self.s, self.event)


def overlapped():
    return ws.WSAOVERLAPPED(ws.WSACreateEvent())


def wait(record, seconds=10):
    assert record.hEvent.wait(seconds), "the request did not end"


def result(s, record):
    """Bytes of a request that ends soon."""
    wait(record)
    return ws.WSAGetOverlappedResult(s, record)


def recv_exactly(s, size):
    data = b""
    while len(data) < size:
        piece = ws.recv(s, size - len(data))
        assert piece, "the stream ended"
        data += piece
    return data


def fill(s):
    """Send until there is no room, here or further on: bytes sent."""
    sent, piece = 0, bytes(65536)
    while True:
        with fails(10035):
            while True:
                sent += ws.send(s, piece)
        if not ws.select(None, [s], None, 0.2)[1]:
            return sent


def set_blocking(s, on):
    ws.ioctlsocket(s, ws.FIONBIO, 0 if on else 1)


def hard_close(s):
    ws.setsockopt(s, ws.SOL_SOCKET, ws.SO_LINGER, ws.LINGER(1, 0))
    ws.closesocket(s)
