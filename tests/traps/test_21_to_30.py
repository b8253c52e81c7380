"""Processes, descriptor numbers that change their meaning, loops in C, options, signals."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import socket
import struct
import sys
import termios

import pytest

import wsdirect
from tests.loops.ends import (
    PATIENCE,
    connect_plain,
    drain,
    fill,
    hooked_poll,
    libc,
    listener,
    raw_poll,
    switched_pair,
)
from tests.traps.programs import run

pytestmark = pytest.mark.usefixtures("switch")


def test_21_forking_server() -> None:
    """ForkingMixIn: the parent accepts, the child serves, the parent closes its copy."""
    answers = run("""
        import socketserver
        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                for line in self.rfile:
                    self.wfile.write(b"%d %d " % (os.getpid(), is_switched(self.request)) + line)
        class Server(socketserver.ForkingMixIn, socketserver.TCPServer):
            pass
        with Server((HOST, 0), Handler) as server:
            accepting(server.socket)
            threading.Thread(target=server.serve_forever).start()
            clients = [socket.create_connection(server.server_address, 20) for _ in range(4)]
            pids, lines, switched = set(), [], set()
            for turn in range(3):
                for number, client in enumerate(clients):
                    client.sendall(b"%d %d\\n" % (number, turn))
                for client in clients:
                    pid, how, line = client.makefile().readline().split(" ", 2)
                    pids.add(int(pid)), switched.add(how), lines.append(line)
            ends = []
            for client in clients:
                client.shutdown(socket.SHUT_WR)
                ends.append(client.recv(1).decode())
                client.close()
            server.shutdown()
        show(children=len(pids - {os.getpid()}), lines=sorted(lines), switched=list(switched),
             ends=ends)
        """)
    lines = sorted(f"{number} {turn}\n" for number in range(4) for turn in range(3))
    assert answers == {"children": 4, "lines": lines, "switched": ["1"], "ends": [""] * 4}


def test_22_descriptor_used_again_after_os_close() -> None:
    """The number of a connection that was closed behind the socket's back is a file's now."""
    with contextlib.ExitStack() as gaps, switched_pair() as (a, b):
        fd = a.fileno()
        while (gap := os.open(os.devnull, os.O_RDONLY)) < fd:
            gaps.callback(os.close, gap)  # all numbers below are taken: the next is that one
        os.close(gap)
        os.close(fd)
        assert b.recv(10) == b""
        read, write = os.pipe()
        assert read == fd
        os.write(write, b"in the pipe")
        assert os.read(read, 100) == b"in the pipe"
        assert select.select([read], [], [], 0) == ([], [], [])
        a.detach()
        os.close(read)
        os.close(write)
    # the same by C code: wsdirect hears of the new socket only
    with contextlib.ExitStack() as gaps, switched_pair() as (a, b):
        fd = a.fileno()
        while (gap := os.open(os.devnull, os.O_RDONLY)) < fd:
            gaps.callback(os.close, gap)
        os.close(gap)
        libc.close(fd)
        a.detach()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            assert other.fileno() == fd
            assert not wsdirect.is_switched(other)
            other.bind(("127.0.0.1", 0))
            other.sendto(b"datagram", other.getsockname())
            assert other.recv(100) == b"datagram"


def test_23_registration_survives_the_move_to_tcp() -> None:
    """dup2 over a registered descriptor would silently end epoll's interest in it."""
    answers = run(
        """
        import asyncio
        with socket.create_server((HOST, 0)) as server:
            accepting(server)
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(server.getsockname())
            fd, before = client.fileno(), is_switched(client)
            epoll, poller = select.epoll(), select.poll()
            epoll.register(client, select.EPOLLIN)
            poller.register(client, select.POLLIN)
            client.send(b"early ")
            # nobody takes the offer: waiting for data moves the connection
            assert epoll.poll(1) == []
            after, same = is_switched(client), client.fileno() == fd
            accepted, _ = server.accept()
            client.send(b"late")
            got = b""
            while len(got) < 10:
                got += accepted.recv(100)
            accepted.sendall(b"answer")
            seen = [epoll.poll(20), poller.poll(20_000)]
            show(before=before, after=after, same=same, got=got.decode(),
                 seen=[[e for f, e in one if f == fd] for one in seen],
                 answer=client.recv(100).decode())
        """,
        WSDIRECT_OFFER_TIMEOUT="0.2",
    )
    assert answers == {
        "before": True, "after": False, "same": True, "got": "early late", "answer": "answer",
        "seen": [[select.EPOLLIN], [select.POLLIN]],
    }  # fmt: skip


def test_24_full_ring_makes_no_loop_spin() -> None:
    """A descriptor that is always writable would keep every loop busy while the peer rests."""
    with switched_pair() as (a, b):
        filled = fill(a)
        for poll in (hooked_poll, raw_poll):
            assert poll(a.fileno(), select.POLLOUT, 0.05) == 0
        assert select.select([], [a], [], 0.05) == ([], [], [])
        drain(b, filled)
        for poll in (hooked_poll, raw_poll):
            assert poll(a.fileno(), select.POLLOUT, PATIENCE) == select.POLLOUT

    turns = 0

    class Counting(asyncio.SelectorEventLoop):
        def _run_once(self) -> None:
            nonlocal turns
            turns += 1
            super()._run_once()

    async def main(a: socket.socket, b: socket.socket) -> int:
        nonlocal turns
        _, writer = await asyncio.open_connection(sock=a)
        data = bytes(2_000_000)
        writer.write(data)
        draining = asyncio.ensure_future(writer.drain())
        turns = 0
        await asyncio.sleep(0.3)
        idle, left = turns, len(data)
        b.setblocking(False)
        loop = asyncio.get_running_loop()
        while left:
            left -= len(await loop.sock_recv(b, 1 << 20))
        await draining
        writer.close()
        await writer.wait_closed()
        return idle

    with switched_pair() as (a, b):
        loop = Counting()
        try:
            assert loop.run_until_complete(main(a, b)) < 10
        finally:
            loop.close()


def test_25_uvloop_and_a_switched_socket() -> None:
    """uvloop reads the descriptor: it is refused clearly, or the bytes go by the kernel."""
    pytest.importorskip("uvloop")
    answers = run("""
        import asyncio, uvloop
        async def main():
            with pair() as (a, b):
                before = is_switched(a)
                try:
                    reader, writer = await asyncio.open_connection(sock=a)
                except RuntimeError as error:
                    show(before=before, refused=str(error))
                    return
                writer.write(b"from libuv")
                await writer.drain()
                b.settimeout(20)
                got = await asyncio.to_thread(b.recv, 100)
                b.sendall(b"to libuv")
                answer = await reader.read(100)
                b.close()
                end = await reader.read()
                writer.close()
                await writer.wait_closed()
                show(before=before, got=got.decode(), answer=answer.decode(), end=end.decode())
        uvloop.run(main())
        """)
    assert answers.pop("before")
    if "refused" in answers:
        assert "uvloop" in answers["refused"]
        assert "WSDIRECT_EXCLUDE" in answers["refused"]
    else:
        assert answers == {"got": "from libuv", "answer": "to libuv", "end": ""}


def test_26_code_in_c_stays_on_tcp_and_says_so() -> None:
    """uvloop accepts in libuv: its clients are served over TCP, and `ss` names the reason."""
    pytest.importorskip("uvloop")
    answers = run("""
        import asyncio, subprocess, uvloop, wsdirect
        async def echo(reader, writer):
            writer.write(await reader.read(100))
            writer.close()
        def client(address):
            with socket.create_connection(address, 20) as sock:
                sock.sendall(b"hello")
                return sock.recv(100).decode(), wsdirect.info(sock)
        async def main():
            server = await asyncio.start_server(echo, HOST, 0)
            listening = server.sockets[0]
            got, seen = await asyncio.to_thread(client, listening.getsockname())
            ss = [sys.executable, "-m", "wsdirect", "ss", "-a"]
            process = await asyncio.create_subprocess_exec(*ss, stdout=subprocess.PIPE)
            told, _ = await process.communicate()
            show(listener=wsdirect.info(listening), got=got, client=seen["reason"],
                 ss="unhooked-accept" in told.decode())
            server.close()
            await server.wait_closed()
        uvloop.run(main())
        """)
    assert answers == {
        "listener": {"path": "tcp", "reason": "unhooked-accept"}, "got": "hello",
        "client": "no-listener", "ss": True,
    }  # fmt: skip


def test_27_fionread_and_siocoutq() -> None:
    with switched_pair() as (a, b):

        def unread() -> int:
            answer = fcntl.ioctl(b, termios.FIONREAD, b"\0\0\0\0")
            buffer = bytearray(4)
            fcntl.ioctl(b.fileno(), termios.FIONREAD, buffer)
            assert bytes(buffer) == answer
            return int.from_bytes(answer, sys.byteorder)

        assert unread() == 0
        a.sendall(b"12345")
        assert unread() == 5
        b.recv(2)
        assert unread() == 3
        assert (
            fcntl.ioctl(a, termios.TIOCOUTQ, b"\0\0\0\0") == b"\0\0\0\0"
        )  # SIOCOUTQ: all is there
        b.recv(10)
        assert unread() == 0


PLAIN_SERVER = """
import os, socket, sys
server = socket.socket(fileno=int(sys.argv[1]))
server.setblocking(True)
connection, _ = server.accept()
connection.sendall(b"plain " + connection.recv(100) + b" " + str(os.getpid()).encode())
connection.close()
"""


@pytest.mark.parametrize("how", ["exec", "child"])
def test_28_listener_inherited_by_a_program_without_the_graft(how: str) -> None:
    """What it inherits is the TCP listener: clients under the launcher reach it over TCP."""
    answers = run(
        """
        import subprocess
        server = socket.create_server((HOST, 0))
        address = server.getsockname()
        accepting(server)
        first = socket.create_connection(address)
        accepted, _ = server.accept()
        before = is_switched(first)
        first.close(), accepted.close()
        words = [sys.executable, "-I", "-c", sys.argv[2], str(server.fileno())]
        if sys.argv[1] == "exec":
            pid = os.fork()
            if pid == 0:
                server.set_inheritable(True)
                os.execv(words[0], words)
            server.close()
        else:
            pid = subprocess.Popen(words, pass_fds=[server.fileno()]).pid
            server.close()
        with socket.create_connection(address, 20) as client:
            client.sendall(b"hello")
            got = read_all(client).decode()
            after = is_switched(client)
        os.waitpid(pid, 0)
        show(before=before, after=after, got=got == f"plain hello {pid}")
        """,
        how,
        PLAIN_SERVER,
    )
    assert answers == {"before": True, "after": False, "got": True}


OPTIONS = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
    (socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000),
    (socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000),
    (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3)),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5000),
    (socket.IPPROTO_IP, socket.IP_TOS, 0x10),
]


def test_29_options_before_and_after_the_switch() -> None:
    """They read back as from a TCP socket, whenever they were set."""

    def read(sock: socket.socket) -> list[bytes]:
        return [sock.getsockopt(level, name, 64) for level, name, _ in OPTIONS]

    with listener() as server:
        early = socket.socket()
        for level, name, value in OPTIONS:
            early.setsockopt(level, name, value)
        early.connect(server.getsockname())
        accepted, _ = server.accept()
        with switched_pair() as (late, _other):
            plain, peer = connect_plain()
            try:
                for sock in (late, plain):
                    for level, name, value in OPTIONS:
                        sock.setsockopt(level, name, value)
                assert wsdirect.is_switched(early)
                assert read(early) == read(late) == read(plain)
                with pytest.raises(OSError, match="Protocol not available"):
                    late.setsockopt(socket.IPPROTO_TCP, 999, 1)
            finally:
                plain.close()
                peer.close()
        early.sendall(b"x" * 30_000)  # more than its send buffer's half
        assert len(accepted.recv(30_000, socket.MSG_WAITALL)) == 30_000
        early.close()
        accepted.close()


def test_30_signals() -> None:
    """The wake-up pair stays the kernel's, and a handler may use the connection it interrupts."""
    answers = run("""
        import signal
        with pair() as (a, b):
            wake, woken = socket.socketpair()
            for end in (wake, woken):
                end.setblocking(False)
            signal.set_wakeup_fd(wake.fileno())
            sent = 0
            def handler(*_):
                global sent
                a.send(b"signal!")  # while the program is in send or recv of the same socket
                sent += 7
            signal.signal(signal.SIGALRM, handler)
            got = bytearray()
            reader = threading.Thread(target=lambda: got.extend(read_all(b)))
            reader.start()
            signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
            for _ in range(150):
                a.sendall(b"-" * 40_000)
            end = time.monotonic() + PATIENCE
            while sent < 70 and time.monotonic() < end:
                with contextlib.suppress(TimeoutError):
                    a.settimeout(0.01)
                    a.recv(1)  # interrupted, and goes on
            signal.setitimer(signal.ITIMER_REAL, 0)
            a.shutdown(socket.SHUT_WR)
            reader.join()
            show(plain=[is_switched(wake), is_switched(woken)], dashes=got.count(b"-"),
                 signals=got.count(b"signal!") * 7 == sent >= 70,
                 total=len(got) == sent + 6_000_000,
                 woken=set(woken.recv(10_000)) == {signal.SIGALRM})
        """)
    assert answers == {
        "plain": [False, False], "dashes": 6_000_000, "signals": True, "total": True, "woken": True,
    }  # fmt: skip
