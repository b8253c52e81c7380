"""Idle connections, descriptors that leave their socket objects, and files."""

from __future__ import annotations

import multiprocessing.connection
import os
import select
import socket
import subprocess
import threading
from pathlib import Path

import pytest

import wsdirect
from tests.loops.ends import PATIENCE, hooked_poll, raw_poll, switched_pair
from tests.traps.programs import run

pytestmark = pytest.mark.usefixtures("switch")

POLLRDHUP = 0x2000


def test_11_idle_connection_is_not_readable() -> None:
    """Connection pools take a readable idle connection for a dead one (httpcore, redis)."""
    with switched_pair() as (a, b):
        for turn in range(20):
            a.sendall(b"request %d" % turn)
            assert b.recv(100) == b"request %d" % turn
            b.sendall(b"response" * (turn + 1))
            left = 8 * (turn + 1)
            while left:
                left -= len(a.recv(5 if turn % 2 else 4096))
            for sock in (a, b):
                assert select.select([sock], [], [], 0) == ([], [], [])
                assert not hooked_poll(sock.fileno(), select.POLLIN)
                assert not raw_poll(sock.fileno(), select.POLLIN), "to code that nobody hooked"
            a.settimeout(0)
            with pytest.raises(BlockingIOError):
                a.recv(1, socket.MSG_PEEK)
            a.settimeout(None)


def test_12_pollrdhup_then_peek() -> None:
    """redis asks for POLLRDHUP, and then peeks at one byte."""
    mask = select.POLLIN | POLLRDHUP
    with switched_pair() as (a, b):
        assert hooked_poll(a.fileno(), mask) == 0
        b.sendall(b"push")
        assert hooked_poll(a.fileno(), mask, PATIENCE) == select.POLLIN
        assert a.recv(1, socket.MSG_PEEK) == b"p"
        assert a.recv(100) == b"push"
        b.close()
        assert hooked_poll(a.fileno(), mask, PATIENCE) == select.POLLIN | POLLRDHUP
        assert a.recv(1, socket.MSG_PEEK) == b""
        assert a.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""


@pytest.mark.parametrize("size", [10, 1_000_000], ids=["small", "larger-than-the-ring"])
def test_13_msg_waitall(size: int) -> None:
    """Pyro5 asks for whole messages."""
    data = os.urandom(size)
    with switched_pair() as (a, b):

        def send() -> None:
            for start in range(0, size, size // 5):
                a.sendall(data[start : start + size // 5])

        thread = threading.Thread(target=send)
        thread.start()
        assert b.recv(size, socket.MSG_WAITALL) == data
        thread.join()
        a.sendall(b"short")
        a.close()
        assert b.recv(100, socket.MSG_WAITALL) == b"short"


def test_14_detach_and_use_the_descriptor() -> None:
    """gunicorn and multiprocessing go on with the number alone."""
    with switched_pair() as (a, b):
        fd = a.detach()
        assert a.fileno() == -1
        assert os.write(fd, b"by number") == 9
        assert b.recv(100) == b"by number"
        b.sendall(b"answer")
        assert os.read(fd, 3) == b"ans"
        again = socket.socket(fileno=fd)
        assert again.recv(100) == b"wer"
        assert wsdirect.is_switched(again)
        fd = again.detach()
        os.close(fd)
        assert b.recv(1) == b""


def test_15_dup() -> None:
    """aiohttp duplicates; asyncio hands out a TransportSocket.  The last one closed is the end."""
    with switched_pair() as (a, b):
        other = a.dup()
        third = socket.socket(fileno=os.dup(a.fileno()))
        assert {wsdirect.is_switched(sock) for sock in (other, third)} == {True}
        assert other.getpeername() == a.getpeername()
        a.sendall(b"1")
        other.sendall(b"2")
        third.sendall(b"3")
        assert b.recv(1) + b.recv(1) + b.recv(1) == b"123"
        a.close()
        other.close()
        b.settimeout(0)
        with pytest.raises(BlockingIOError):
            b.recv(1)
        b.settimeout(None)
        b.sendall(b"x")
        assert third.recv(1) == b"x"
        third.close()
        assert b.recv(1) == b""
    answers = run("""
        import asyncio
        async def main():
            with pair() as (a, b):
                reader, writer = await asyncio.open_connection(sock=a)
                shown = writer.get_extra_info("socket")
                other = shown.dup()
                other.setblocking(False)
                answers = dict(
                    type=type(shown).__name__, name=shown.getpeername() == b.getsockname(),
                    option=shown.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == 1,
                    family=shown.family.name, fd=shown.fileno() == a.fileno(),
                    switched=is_switched(other))
                other.send(b"dup")
                answers["got"] = b.recv(10).decode()
                other.close()
                writer.close()
                await writer.wait_closed()
                show(**answers)
        asyncio.run(main())
        """)
    assert answers == {
        "type": "TransportSocket", "name": True, "option": True, "family": "AF_INET", "fd": True,
        "switched": True, "got": "dup",
    }  # fmt: skip


def test_16_socket_of_a_descriptor() -> None:
    """hypercorn and uvicorn make sockets of numbers, with and without telling what they are."""
    with switched_pair() as (a, b):
        for made in (
            socket.fromfd(a.fileno(), socket.AF_INET, socket.SOCK_STREAM),
            socket.socket(fileno=os.dup(a.fileno())),
            socket.socket(socket.AF_INET, socket.SOCK_STREAM, 6, fileno=os.dup(a.fileno())),
        ):
            with made:
                assert made.family == socket.AF_INET
                assert made.type == socket.SOCK_STREAM
                assert made.proto in (0, 6)
                assert made.getsockname() == b.getpeername()
                made.sendall(b"hello")
                assert b.recv(10) == b"hello"
                b.sendall(b"back")
                assert made.recv(10) == b"back"
        a.sendall(b"still open")
        assert b.recv(100) == b"still open"


def test_17_os_read_and_write() -> None:
    """multiprocessing's Connection, waitress and CGI servers."""
    with switched_pair() as (a, b):
        one = multiprocessing.connection.Connection(os.dup(a.fileno()))
        other = multiprocessing.connection.Connection(os.dup(b.fileno()))
        one.send({"key": [1, 2, 3]})
        assert other.poll(PATIENCE)
        assert other.recv() == {"key": [1, 2, 3]}
        assert not other.poll(0)
        big = os.urandom(500_000)
        thread = threading.Thread(target=one.send_bytes, args=(big,))
        thread.start()
        assert other.recv_bytes() == big
        thread.join()
        one.close()
        other.close()
        assert os.writev(a.fileno(), [b"ab", b"cd"]) == 4
        buffers = [bytearray(3), bytearray(3)]
        assert os.readv(b.fileno(), buffers) == 4
        assert bytes(buffers[0] + buffers[1][:1]) == b"abcd"
        with os.fdopen(os.dup(a.fileno()), "wb") as file:
            file.write(b"through a file object")
        assert b.recv(100) == b"through a file object"
        # the file has closed its number in C; the next pipes may have it
        assert subprocess.run(["cat"], input=b"piped", capture_output=True).stdout == b"piped"


def test_18_sendfile(tmp_path: Path) -> None:
    """No kernel copies a file into shared memory: the bytes arrive all the same."""
    data = os.urandom(700_001)
    path = tmp_path / "file"
    path.write_bytes(data)
    with switched_pair() as (a, b), path.open("rb") as file:
        got = bytearray()

        def receive() -> None:
            while len(got) < 2 * len(data):
                got.extend(b.recv(1 << 16))

        thread = threading.Thread(target=receive)
        thread.start()
        assert a.sendfile(file) == len(data)
        offset = 0
        while offset < len(data):
            offset += os.sendfile(a.fileno(), file.fileno(), offset, len(data) - offset)
        thread.join()
        assert bytes(got) == data + data
        a.setblocking(False)
        assert 0 < os.sendfile(a.fileno(), file.fileno(), 0, len(data)) < len(data)
        with pytest.raises(BlockingIOError):
            os.sendfile(a.fileno(), file.fileno(), 0, len(data))


@pytest.mark.parametrize("way", ["pickle", "scm_rights"])
def test_19_socket_to_another_process(way: str) -> None:
    """It works, or it fails at once and says so; nobody waits for bytes that never come."""
    answers = run(
        """
        import array, multiprocessing, multiprocessing.reduction

        def with_pickle(end):
            sock = end.recv()
            sock.sendall(b"child:" + sock.recv(100))
            sock.close()

        def with_rights(end):
            control = socket.CMSG_SPACE(4)
            _, ancillary, _, _ = end.recvmsg(10, control)
            sock = socket.socket(fileno=array.array("i", ancillary[0][2])[0])
            sock.sendall(b"child:" + sock.recv(100))
            sock.close()

        with pair() as (a, b):
            if sys.argv[1] == "pickle":
                here, there = multiprocessing.Pipe()
                target = with_pickle
            else:
                here, there = socket.socketpair()
                target = with_rights
            context = multiprocessing.get_context("fork")
            child = context.Process(target=target, args=(there,))
            child.start()
            there.close()
            try:
                if sys.argv[1] == "pickle":
                    here.send(a)
                else:
                    socket.send_fds(here, [b"x"], [a.fileno()])
            except OSError as error:
                here.close()
                child.terminate()
                child.join()
                show(refused=str(error))
            else:
                b.sendall(b"hello")
                got = b.recv(100)
                child.join(PATIENCE)
                show(got=got.decode(), exit=child.exitcode)
        """,
        way,
    )
    if "refused" in answers:
        assert "switched connection" in answers["refused"]
    else:
        assert answers == {"got": "child:hello", "exit": 0}


def test_20_socket_as_standard_input_and_output() -> None:
    """inetd's way: the program knows nothing of sockets, be it Python or not."""
    answers = run("""
        import subprocess
        answers = {}
        commands = dict(cat=["cat"], python=[sys.executable, "-c", "print(input()[::-1])"])
        for name, command in commands.items():
            with pair() as (a, b):
                a.settimeout(None)  # with a time-out the descriptor is non-blocking
                try:
                    child = subprocess.Popen(command, stdin=a, stdout=a)
                except OSError as error:
                    answers[name] = f"refused: {error}"
                    continue
                a.close()
                b.sendall(b"hello\\n")
                b.shutdown(socket.SHUT_WR)
                got = read_all(b)
                assert child.wait(PATIENCE) == 0
                answers[name] = got.decode()
        show(**answers)
        """)
    for name, expected in (("cat", "hello\n"), ("python", "olleh\n")):
        refused = answers[name].startswith("refused") and "switched connection" in answers[name]
        assert refused or answers[name] == expected
