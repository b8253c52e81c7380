"""Connected pairs in this process, switched and plain, and pollers that no graft reaches.

The plain pair goes around the grafts, so one process can do the same things to both and compare.
"""

from __future__ import annotations

import _socket
import contextlib
import ctypes
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import wsdirect

HOST = "127.0.0.1"
PATIENCE = 20.0
"""Seconds after which a test gives up; nothing is expected to take that long."""

libc = ctypes.CDLL(None, use_errno=True)


# -- pairs ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def listener(host: str = HOST, **kwargs: Any) -> Iterator[socket.socket]:
    """A listener that accepts switched connections already: the first accept opens that side."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, **kwargs) as server:
        server.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            server.accept()
        server.settimeout(PATIENCE)
        yield server


def connect_switched(server: socket.socket) -> tuple[socket.socket, socket.socket]:
    client = socket.create_connection(server.getsockname()[:2])
    accepted, _ = server.accept()
    accepted.settimeout(None)
    assert wsdirect.is_switched(client)
    assert wsdirect.is_switched(accepted)
    return client, accepted


def connect_plain(buffer: int | None = None) -> tuple[socket.socket, socket.socket]:
    base = _socket.socket
    with socket.socket() as server, contextlib.ExitStack() as undo:
        if buffer is not None:
            base.setsockopt(server, socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        base.bind(server, (HOST, 0))
        base.listen(server, 1)
        client = socket.socket()
        undo.callback(client.close)
        if buffer is not None:
            base.setsockopt(client, socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        base.connect(client, base.getsockname(server))
        fd, _ = base._accept(server)
        accepted = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=fd)
        undo.pop_all()
    for one in (client, accepted):
        base.setsockopt(one, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if buffer is not None:
            base.setsockopt(one, socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        assert not wsdirect.is_switched(one)
    return client, accepted


@contextlib.contextmanager
def switched_pair(host: str = HOST) -> Iterator[tuple[socket.socket, socket.socket]]:
    with listener(host) as server:
        pair = connect_switched(server)
    with pair[0], pair[1]:
        yield pair


@contextlib.contextmanager
def plain_pair(buffer: int | None = None) -> Iterator[tuple[socket.socket, socket.socket]]:
    pair = connect_plain(buffer)
    with pair[0], pair[1]:
        yield pair


def fill(sock: socket.socket) -> int:
    """Send without waiting until nothing more goes; TCP moves bytes on in its own time."""
    total, timeout = 0, sock.gettimeout()
    sock.setblocking(False)
    piece = bytes(1 << 16)
    for _ in range(3):
        with contextlib.suppress(BlockingIOError):
            while True:
                total += sock.send(piece)
        if wsdirect.is_switched(sock):
            break
        time.sleep(0.002)
    sock.settimeout(timeout)
    return total


def drain(sock: socket.socket, count: int) -> None:
    """Receive so many bytes, then be where a recv has found nothing."""
    timeout = sock.gettimeout()
    sock.settimeout(PATIENCE)
    while count:
        count -= len(sock.recv(min(count, 1 << 16)))
    sock.settimeout(timeout)


def until(condition: Callable[[], Any], what: str = "") -> Any:
    """The condition's value as soon as it is true."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, what or "it never happened"
        time.sleep(0.001)
    return value


# -- the kernel's own words ----------------------------------------------------------------------


class _PollFd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


class _EpollEvent(ctypes.Structure):
    _pack_ = 1 if sys.maxsize > 1 << 32 and ctypes.sizeof(ctypes.c_void_p) == 8 else 0
    _fields_ = (("events", ctypes.c_uint32), ("data", ctypes.c_uint64))


def raw_poll(fd: int, mask: int, timeout: float = 0) -> int:
    """poll(2) of one descriptor, called by its address: no graft sees it.  Seconds."""
    entry = _PollFd(fd, mask, 0)
    count = libc.poll(ctypes.byref(entry), ctypes.c_ulong(1), int(timeout * 1000))
    assert count >= 0, ctypes.get_errno()
    return entry.revents & 0xFFFF


class RawEpoll:
    """epoll with nothing of wsdirect in it."""

    def __init__(self) -> None:
        self.fd = libc.epoll_create1(0)
        assert self.fd >= 0

    def control(self, operation: int, fd: int, mask: int = 0) -> None:
        event = _EpollEvent(mask, fd)
        assert libc.epoll_ctl(self.fd, operation, fd, ctypes.byref(event)) == 0, ctypes.get_errno()

    def register(self, fd: int, mask: int) -> None:
        self.control(1, fd, mask)

    def unregister(self, fd: int) -> None:
        self.control(2, fd)

    def modify(self, fd: int, mask: int) -> None:
        self.control(3, fd, mask)

    def poll(self, timeout: float = 0) -> dict[int, int]:
        found = (_EpollEvent * 16)()
        count = libc.epoll_wait(self.fd, found, 16, int(timeout * 1000))
        assert count >= 0, ctypes.get_errno()
        return {found[i].data: found[i].events for i in range(count)}

    def close(self) -> None:
        libc.close(self.fd)


def hooked_poll(fd: int, mask: int, timeout: float = 0) -> int:
    poller = select.poll()
    poller.register(fd, mask)
    return sum(events for _, events in poller.poll(timeout * 1000))
