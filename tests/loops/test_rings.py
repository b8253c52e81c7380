"""Pollers look at rings before they ask the kernel: what that saves, and what it must not miss."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.loops.ends import PATIENCE, plain_pair, switched_pair
from wsdirect._core import native

pytestmark = pytest.mark.usefixtures("switch")

IN, OUT = select.EPOLLIN, select.EPOLLOUT
ECHO = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as sock:
    while data := sock.recv(4096):
        sock.sendall(data)
"""


@pytest.fixture
def hot() -> Iterator[tuple[socket.socket, socket.socket, selectors.EpollSelector]]:
    """A switched pair, and a selector that has just had news of the first end."""
    with switched_pair() as (a, b), selectors.EpollSelector() as selector:
        a.setblocking(False)
        selector.register(a, selectors.EVENT_READ)
        b.send(b"news")
        assert selector.select(PATIENCE)
        assert a.recv(9) == b"news"
        assert not selector.select(0.001)  # it has looked, and slept
        b.send(b"more")
        assert selector.select(PATIENCE)
        assert a.recv(9) == b"more"
        yield a, b, selector


def test_an_answer_within_the_spin_costs_no_token() -> None:
    assert native is not None
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            server.accept()
        server.settimeout(PATIENCE)
        command = [sys.executable, "-m", "wsdirect", "run", "-c", ECHO]
        peer = subprocess.Popen([*command, str(server.getsockname()[1])])
        sock, _ = server.accept()
    rounds = 2000
    cpus = os.sched_getaffinity(0)
    with contextlib.ExitStack() as stack:
        stack.enter_context(sock)
        selector = stack.enter_context(selectors.EpollSelector())
        if len(cpus) > 1:  # beside each other nobody spins
            os.sched_setaffinity(peer.pid, {min(cpus)})
            os.sched_setaffinity(0, cpus - {min(cpus)})
            stack.callback(os.sched_setaffinity, 0, cpus)
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ)
        before = native.process_counters()
        for _ in range(rounds):
            sock.send(b"x" * 64)
            assert selector.select(PATIENCE)
            assert len(sock.recv(100)) == 64
        after = native.process_counters()
    assert peer.wait(PATIENCE) == 0
    # how many of them succeed depends on the machine's other work; there are none without looking
    looked = ("spins", "yields", "spin_ns")
    assert sum(after[name] for name in looked) > sum(before[name] for name in looked)
    assert after["eats"] - before["eats"] <= rounds


def test_a_loop_whose_rings_are_never_empty_hears_of_everything_else() -> None:
    """Two ends in one loop answer each other: in each turn there are data."""

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with switched_pair() as pair:
            transports = []
            for sock in pair:
                sock.setblocking(False)
                transport, _ = await loop.create_connection(Echo, sock=sock.dup())
                transports.append(transport)
            transports[0].write(b"on and on")
            await asyncio.sleep(0.01)
            for _ in range(20):
                called = asyncio.Event()
                threading.Thread(target=loop.call_soon_threadsafe, args=(called.set,)).start()
                await called.wait()
            told = asyncio.Event()
            loop.add_signal_handler(signal.SIGUSR1, told.set)
            os.kill(os.getpid(), signal.SIGUSR1)
            await told.wait()
            read, write = os.pipe()
            loop.add_reader(read, called.clear)
            os.write(write, b"x")
            while called.is_set():
                await asyncio.sleep(0)
            loop.remove_reader(read)
            os.close(read)
            os.close(write)
            assert await asyncio.wait_for(asyncio.to_thread(sum, (1, 2)), PATIENCE) == 3
            for transport in transports:
                transport.abort()
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_a_handler_runs_though_the_poller_goes_on(hot: Any) -> None:
    a, b, selector = hot
    came = []

    def handler(*_: Any) -> None:
        came.append(b.send(b"from the handler"))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.00005)  # within the spin, or not
        assert selector.select(PATIENCE)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert came == [16]
    assert a.recv(99) == b"from the handler"


def others_see(sock: socket.socket, selector: selectors.EpollSelector) -> list[str]:
    """Who says that it is readable."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    said = ["poll"] if poll.poll(0) else []
    if select.select([sock], [], [], 0)[0]:
        said.append("select")
    with select.epoll() as epoll:
        epoll.register(sock, IN)
        if epoll.poll(0):
            said.append("epoll")
    if select.select([selector], [], [], 0)[0]:
        said.append("the selector itself")
    return said


@pytest.mark.parametrize("left", [b"", b"left"], ids=["all read", "partly read"])
def test_others_who_poll_a_hot_connection_see_what_is_true(hot: Any, left: bytes) -> None:
    a, b, selector = hot
    everybody = ["poll", "select", "epoll", "the selector itself"]
    assert others_see(a, selector) == []
    b.send(b"read" + left)
    assert others_see(a, selector) == everybody
    assert a.recv(4) == b"read"
    assert others_see(a, selector) == (everybody if left else [])
    if left:
        assert a.recv(9) == left
    sleeper = threading.Thread(target=select.select, args=([a], [], [], PATIENCE))
    sleeper.start()
    while sleeper.is_alive():
        selector.select(0.001)
        b.send(b"!")
    sleeper.join()


def test_a_forked_child_polls_what_was_hot(hot: Any) -> None:
    a, b, selector = hot
    pid = os.fork()
    if pid == 0:
        found = select.select([a], [], [], PATIENCE)[0]
        os._exit(0 if found and a.recv(9) == b"child" else 1)
    b.send(b"child")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not selector.select(0)


def test_registrations_change_while_hot(hot: Any) -> None:
    a, b, selector = hot
    selector.unregister(a)
    b.send(b"unheard")
    assert not selector.select(0.001)
    selector.register(a, selectors.EVENT_READ)
    assert [key.fileobj for key, _ in selector.select(PATIENCE)] == [a]
    selector.modify(a, selectors.EVENT_WRITE)
    assert [events for _, events in selector.select(PATIENCE)] == [selectors.EVENT_WRITE]
    selector.modify(a, selectors.EVENT_READ | selectors.EVENT_WRITE)
    assert [events for _, events in selector.select(PATIENCE)] == [3]
    assert a.recv(9) == b"unheard"
    selector.modify(a, selectors.EVENT_READ)
    assert not selector.select(0.001)
    b.close()
    assert [key.fileobj for key, _ in selector.select(PATIENCE)] == [a]
    assert a.recv(9) == b""


@pytest.mark.parametrize("seed", range(8))
def test_any_steps_are_answered_as_on_tcp(seed: int) -> None:
    """Both pairs live the same random life; time-outs are long enough to spin and to sleep."""
    steps = random.Random(seed)
    with plain_pair() as plain, switched_pair() as switched, contextlib.ExitStack() as stack:
        epolls = [stack.enter_context(select.epoll()) for _ in range(2)]
        pairs = (plain, switched)
        mask = IN
        for epoll, (a, _) in zip(epolls, pairs, strict=True):
            a.setblocking(False)
            epoll.register(a, mask)
        unread = 0
        for _ in range(150):
            step = steps.choice(("send", "send", "recv", "recv", "poll", "modify", "other"))
            size = steps.choice((1, 10, 3000))
            if step == "send":
                unread += size
                for _, b in pairs:
                    b.sendall(bytes(size))
            elif step == "recv" and unread:
                size = min(size, unread)
                unread -= size
                for a, _ in pairs:
                    got = 0
                    while got < size:
                        select.select([a], [], [], PATIENCE)
                        got += len(a.recv(size - got))
            elif step == "modify":
                mask = steps.choice((IN, OUT, IN | OUT, 0))
                for epoll, (a, _) in zip(epolls, pairs, strict=True):
                    epoll.modify(a, mask)
            elif step == "other":
                for a, _ in pairs:
                    assert bool(select.select([a], [], [], 0)[0]) == (unread > 0)
            wanted = (IN if unread else 0) | OUT
            wait = steps.choice((0, 0.0003, 0.002)) if not wanted & mask else PATIENCE
            told = [[events for _, events in epoll.poll(wait)] for epoll in epolls]
            assert told[0] == told[1] == ([wanted & mask] if wanted & mask else [])
