"""epoll in all its modes, on a TCP pair and a switched one: the same steps, the same events."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.loops.ends import (
    PATIENCE,
    connect_switched,
    drain,
    fill,
    listener,
    plain_pair,
    switched_pair,
)

pytestmark = pytest.mark.usefixtures("switch")

IN, OUT, RDHUP = select.EPOLLIN, select.EPOLLOUT, select.EPOLLRDHUP
ET, ONESHOT = select.EPOLLET, select.EPOLLONESHOT
PAIRS: tuple[Callable[[], AbstractContextManager[Any]], ...] = (
    lambda: plain_pair(4096),
    switched_pair,
)


def events_of_a_life(flags: int, blocking: bool, pair: Any) -> list[tuple[str, int]]:
    """What one epoll says of a socket after each step of its life, and once more."""
    told = []
    with pair() as (a, b), select.epoll() as epoll:
        a.setblocking(blocking)

        def look(after: str) -> None:
            time.sleep(0.005)
            for turn in ("", " again"):
                told.append((after + turn, sum(events for _, events in epoll.poll(0))))

        epoll.register(a, IN | RDHUP | flags)
        look("registered")
        b.send(b"12345678")
        look("data")
        a.recv(2)
        look("part read")
        b.send(b"9")
        look("more though some is unread")
        b.send(b"0")
        look("and more")
        epoll.modify(a, IN | RDHUP | flags)
        look("modified with data")
        a.recv(100)
        look("all read")
        b.send(b"x")
        look("new data")
        a.recv(100)
        epoll.modify(a, IN | OUT | flags)
        look("interest in writing")
        filled = fill(a)
        epoll.modify(a, IN | OUT | flags)
        look("full")
        b.send(b"z")
        look("data while full")
        drain(b, filled)
        look("drained")
        a.recv(1)
        epoll.modify(a, IN | OUT | RDHUP | flags)
        b.shutdown(socket.SHUT_WR)
        look("half closed")
        epoll.unregister(a)
        look("unregistered")
    return told


@pytest.mark.parametrize("blocking", [False, True], ids=["non-blocking", "blocking"])
@pytest.mark.parametrize(
    "flags", [0, ET, ONESHOT, ET | ONESHOT], ids=["level", "edge", "oneshot", "edge-oneshot"]
)
def test_a_life_of_events(flags: int, blocking: bool) -> None:
    expected, seen = (events_of_a_life(flags, blocking, pair) for pair in PAIRS)
    assert seen == expected


@pytest.mark.parametrize("pair", PAIRS, ids=["tcp", "switched"])
def test_edge_after_each_arrival(pair: Any) -> None:
    """A reader that takes a fixed header per event gets an event for each message that comes."""
    with pair() as (a, b), select.epoll() as epoll:
        a.setblocking(False)
        epoll.register(a, IN | ET)
        seen = 0
        for _ in range(50):
            b.send(b"header and body")
            assert epoll.poll(PATIENCE) == [(a.fileno(), IN)]
            seen += len(a.recv(6))
        assert seen == 300
        assert epoll.poll(0) == []
        assert select.select([a], [], [], 0)[0] == [a], "the rest is there for others"
        while seen < 750:
            seen += len(a.recv(100))


def test_edges_while_data_stream_in() -> None:
    """A reader that takes one piece per edge is never left with an edge missing at the end."""
    for pair in PAIRS:
        with pair() as (a, b), select.epoll() as epoll:
            a.setblocking(False)
            epoll.register(a, IN | RDHUP | ET)

            def send(sock: socket.socket = b) -> None:
                for number in range(400):
                    sock.sendall(bytes(1 + number % 700))
                sock.close()

            thread = threading.Thread(target=send)
            thread.start()
            total, ended = 0, False
            while not ended:
                ready = epoll.poll(PATIENCE)
                assert ready, (pair, total)
                while True:
                    try:
                        got = a.recv(333)
                    except BlockingIOError:
                        break
                    ended = not got
                    total += len(got)
                    if ended or (len(got) < 333 and not ready[0][1] & RDHUP):
                        break  # as epoll(7) allows: a short read means that there is no more
            thread.join()
            assert total == sum(1 + number % 700 for number in range(400))


@pytest.mark.parametrize("outer", ["epoll", "poll", "select"])
def test_epoll_within_a_poller(outer: str) -> None:
    """An epoll is readable while it has events, those of a blocking recv's leftovers, too."""

    def readable(epoll: select.epoll, timeout: float) -> bool:
        if outer == "select":
            return bool(select.select([epoll], [], [], timeout)[0])
        poller: Any = select.epoll() if outer == "epoll" else select.poll()
        poller.register(epoll.fileno(), IN)
        return bool(poller.poll(timeout if outer == "epoll" else timeout * 1000))

    for pair in PAIRS:
        with pair() as (a, b), select.epoll() as inner:
            inner.register(a, IN)
            assert not readable(inner, 0)
            thread = threading.Timer(0.05, b.sendall, (b"1234",))
            thread.start()
            assert a.recv(1) == b"1"
            thread.join()
            assert readable(inner, PATIENCE)
            assert inner.poll(0) == [(a.fileno(), IN)]
            a.recv(3)
            assert not readable(inner, 0)
            b.sendall(b"5")
            assert readable(inner, PATIENCE)


def test_epoll_inherited_and_of_a_descriptor() -> None:
    """A forked child, and another object of the same descriptor, wait for the same sockets."""
    for pair in PAIRS:
        with pair() as (a, b), select.epoll() as epoll:
            epoll.register(a, IN)
            other = select.epoll.fromfd(os.dup(epoll.fileno()))
            pid = os.fork()
            if pid == 0:
                ready = epoll.poll(PATIENCE)
                ended = ready == [(a.fileno(), IN)] and a.recv(10) == b"x"
                os._exit(0 if ended else 1)
            b.sendall(b"x")
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            b.sendall(b"y")
            assert other.poll(PATIENCE) == epoll.poll(PATIENCE) == [(a.fileno(), IN)]
            other.close()


def test_closing_a_registered_socket() -> None:
    """It leaves the epoll by itself, and its number may come again as another connection."""
    with listener() as server, select.epoll() as epoll:
        for _ in range(3):
            a, b = connect_switched(server)
            epoll.register(a, IN)
            b.sendall(b"x")
            assert epoll.poll(PATIENCE) == [(a.fileno(), IN)]
            a.close()
            b.close()
            assert epoll.poll(0) == []
            with pytest.raises(FileNotFoundError), socket.socket() as other:
                epoll.modify(other, IN)


def test_registering_while_another_thread_waits() -> None:
    """A socket that is added, changed or taken out meanwhile counts at once."""
    with switched_pair() as (a, b), select.epoll() as epoll:
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(epoll.poll(PATIENCE)))
        thread.start()
        for _ in range(100):
            epoll.register(a, OUT | ONESHOT)
            epoll.modify(a, 0)
            epoll.unregister(a)
            if found:
                break
        if not found:
            epoll.register(a, IN)
            b.sendall(b"x")
        thread.join(PATIENCE)
        assert found


def test_exclusive_listener() -> None:
    """Workers that share a listener register it with EPOLLEXCLUSIVE."""
    with listener() as server, select.epoll() as one, select.epoll() as other:
        server.setblocking(False)
        for epoll in (one, other):
            epoll.register(server, IN | select.EPOLLEXCLUSIVE)
        with socket.create_connection(server.getsockname()) as client:
            ready = one.poll(PATIENCE) or other.poll(PATIENCE)
            assert ready == [(server.fileno(), IN)]
            accepted, _ = server.accept()
            accepted.close()
            assert client.recv(1) == b""
        assert one.poll(0) == []


def test_oneshot_listener() -> None:
    """One event for a connection of either kind, and none until it is registered again."""
    with listener() as server, select.epoll() as epoll:
        server.setblocking(False)
        epoll.register(server, IN | ONESHOT)
        with socket.create_connection(server.getsockname()):
            assert epoll.poll(PATIENCE) == [(server.fileno(), IN)]
            assert epoll.poll(0.01) == []
            server.accept()[0].close()
            with socket.create_connection(server.getsockname()):
                assert epoll.poll(0.01) == []
                epoll.modify(server, IN | ONESHOT)
                assert epoll.poll(PATIENCE) == [(server.fileno(), IN)]
                server.accept()[0].close()


@pytest.mark.parametrize("mask", [0, select.EPOLLPRI], ids=["nothing", "urgent"])
@pytest.mark.parametrize("kind", ["epoll", "poll"])
def test_no_busy_loop_after_a_close_nobody_asked_for(kind: str, mask: int) -> None:
    """TCP tells of a closed peer only who wants to read; the wait must sleep, not spin."""
    with switched_pair() as (a, b):
        b.close()
        poller: Any = select.epoll() if kind == "epoll" else select.poll()
        poller.register(a.fileno(), mask)
        before = time.thread_time()
        assert poller.poll(0.3 if kind == "epoll" else 300) == []
        assert time.thread_time() - before < 0.2
        poller.modify(a.fileno(), IN)
        assert poller.poll(0) == [(a.fileno(), IN)]


@pytest.mark.parametrize(
    "call",
    [
        lambda epoll: epoll.fileno(),
        lambda epoll: epoll.poll(0),
        lambda epoll: epoll.register(0, IN),
        lambda epoll: epoll.modify(0, IN),
        lambda epoll: epoll.unregister(0),
        lambda epoll: epoll.__enter__(),
    ],
)
def test_closed(call: Callable[[Any], Any]) -> None:
    epoll = select.epoll()
    epoll.close()
    epoll.close()
    assert epoll.closed
    with switched_pair(), pytest.raises(ValueError, match="closed epoll object"):
        call(epoll)
