"""Connecting again to where a connection was switched: the short way, and what must not take it.

And thousands of connections at once, of which nothing is left afterwards.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "WSDIRECT_LOG": "error"}
PRELUDE = """
import os, select, socket, sys, threading
import wsdirect
from wsdirect import settings
from wsdirect.switch import connect as switch
def path(sock): return wsdirect.info(sock)["path"]
server = socket.create_server(("127.0.0.1", 0))
address = server.getsockname()
long_ways = []
original = switch.try_switch
switch.try_switch = lambda *given: long_ways.append(1) or original(*given)
def met(client, address=address):
    "The accepted end of a client that connects now, and which way it came."
    long_ways.clear()
    client.connect(address)
    way = "long" if long_ways else "short"
    accepted, peer = server.accept()
    assert peer == client.getsockname(), (peer, client.getsockname())
    assert accepted.getsockname() == client.getpeername()
    accepted.sendall(b"x")
    while True:
        try:
            assert client.recv(1) == b"x"
            break
        except BlockingIOError:
            pass
    return accepted, way
for _ in range(3):  # until all who listen there are known
    with socket.socket() as first, met(first)[0]:
        pass
"""


def run(program: str, *arguments: str, **environment: str) -> list[str]:
    """What a program prints under the launcher."""
    done = subprocess.run(
        [sys.executable, "-m", "wsdirect", "run", "-c",
         PRELUDE + textwrap.dedent(program), *arguments],
        env={**ENVIRONMENT, **environment}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_a_greeting_shows_to_code_that_polls_the_number_later() -> None:
    """The server speaks first, and the client gives its number away only then, to code in C."""
    assert (
        run("""
        import ctypes
        class PollFd(ctypes.Structure):
            _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("got", ctypes.c_short))
        for turn in range(3):
            with socket.socket() as client:
                client.connect(address)
                with server.accept()[0] as accepted:
                    accepted.sendall(b"220 ready")
                    wanted = PollFd(client.fileno(), select.POLLIN, 0)
                    print(ctypes.CDLL(None).poll(ctypes.byref(wanted), 1, 5000), path(client))
    """)
        == ["1", "shm"] * 3
    )


@pytest.mark.parametrize(
    ("before", "check", "way"),
    [
        ("client = socket.socket()", "os.get_blocking(client.fileno())", "short"),
        ("client = socket.socket(); client.setblocking(False)",
         "not os.get_blocking(client.fileno())", "short"),
        ("client = socket.socket(); client.settimeout(20)",
         "not os.get_blocking(client.fileno()) and client.gettimeout() == 20", "short"),
        ("client = socket.socket(); client.set_inheritable(True)",
         "client.get_inheritable()", "short"),
        ("client = socket.socket()", "not client.get_inheritable()", "short"),
        ("client = socket.socket(); client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)",
         "client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1", "long"),
        ("client = socket.socket(); client.bind(('127.0.0.1', 0)); own = client.getsockname()",
         "client.getsockname() == own", "long"),
        ("client = socket.socket(fileno=socket.socket().detach())", "True", "long"),
        ("client = type('Kind', (socket.socket,), {})()", "True", "long"),
        ("client = socket.socket(); poll = select.epoll(); poll.register(client)",
         "(client.fileno(), select.EPOLLOUT) in poll.poll(10)", "long"),
    ],
)  # fmt: skip
def test_only_what_is_usual_goes_the_short_way(before, check, way):
    program = f"""
        {before}
        accepted, way = met(client)
        assert {check}
        print(path(client), path(accepted), way)
        client.close()
        with socket.socket() as once_more:
            print(met(once_more)[1])
    """
    assert run(program) == ["shm", "shm", way, "short"]


def test_what_info_tells_is_the_same_for_both_ways():
    assert run("""
        plain, other = socket.socket(), socket.socket()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept = [met(plain), met(other)]
        print(*(way for _, way in kept))
        told = [wsdirect.info(client) for client in (plain, other)]
        for one in told:
            one.pop("local")
        print(told[0] == told[1], told[0]["received"])
        plain.close()
        print(wsdirect.info(other)["received"])
    """) == ["short", "long", "True", "1", "1"]


@pytest.mark.parametrize(
    "change",
    [
        "os.environ['WSDIRECT_EXCLUDE'] = str(address[1]); settings.forget()",
        "wsdirect.disable()",
    ],
)
def test_decisions_are_not_remembered_beyond_their_time(change):
    program = f"""
        with socket.socket() as switched:
            print(met(switched)[1])
        {change}
        with socket.socket() as client:
            client.connect(address)
            print("tcp" if client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b"\\x01"
                  and not os.readlink(f"/proc/self/fd/{{client.fileno()}}").startswith("memfd")
                  and wsdirect.info(client).get("path", "tcp") == "tcp" else "shm")
    """
    assert run(program) == ["short", "tcp"]


def test_a_forked_child_finds_its_own_way():
    assert run("""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            client = socket.socket()
            long_ways.clear()
            client.connect(address)
            os.write(writer, f"{path(client)} {len(long_ways)} {client.getsockname()[1]}".encode())
            client.recv(1)
            os._exit(0)
        accepted, peer = server.accept()
        print(os.read(reader, 100).decode() == f"shm 1 {peer[1]}", path(accepted))
        accepted.close()
        os.waitpid(pid, 0)
    """) == ["True", "shm"]


def test_who_is_gone_and_who_came_in_his_place():
    assert run("""
        server.close()
        with socket.socket() as client:
            try:
                client.connect(address)
            except ConnectionRefusedError:
                print("refused")
        server = socket.create_server(address)
        with socket.socket() as client:
            print(path(met(client)[0]))
        try:
            socket.socket().connect((address[0], float(address[1])))
        except TypeError:
            print("no port")
    """) == ["refused", "shm", "no", "port"]


def test_threads_that_connect_at_once_have_ends_of_their_own():
    assert run("""
        ports, peers = [], []
        def work():
            for _ in range(50):
                with socket.create_connection(address) as client:
                    client.sendall(str(client.getsockname()[1]).encode().ljust(8))
                    ports.append(client.getsockname()[1])
                    assert client.recv(8) == b"bye"
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads: thread.start()
        for _ in range(200):
            accepted, peer = server.accept()
            with accepted:
                assert path(accepted) == "shm"
                assert int(accepted.recv(8)) == peer[1]
                peers.append(peer[1])
                accepted.sendall(b"bye")
        for thread in threads: thread.join()
        print(sorted(ports) == sorted(peers))
    """) == ["True"]


def test_more_connections_than_a_segment_has_slots():
    assert run("""
        clients = [socket.socket() for _ in range(40)]
        kept = [met(client)[0] for client in clients]
        print({path(end) for end in clients + kept} == {"shm"})
        def segments():
            return sum("wsdirect-segment" in line for line in open("/proc/self/maps"))
        print(segments() > 2)
        for end in clients + kept: end.close()
        del end, clients, kept
        print(segments())
    """, WSDIRECT_SLOTS="1") == ["True", "True", "1"]  # fmt: skip


@pytest.mark.parametrize("count", [600, pytest.param(10_000, marks=pytest.mark.slow)])
def test_thousands_at_once_and_all_of_it_returned(count):
    """Memory of both processes with their shared pages, and no descriptor or mapping left."""
    program = Path(__file__).with_name("many_program.py")
    done = subprocess.run(
        [sys.executable, "-m", "wsdirect", "run", str(program), str(count)],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    told = dict(line.split("=") for line in done.stdout.split())
    if told["open"] == "too-few-descriptors":
        pytest.skip("this system allows too few descriptors")
    assert (told["switched"], told["listed"]) == (str(count), str(2 * count + 1))
    assert float(told["kib"]) < 24
    assert (told["client_left"], told["server_left"]) == ("0", "0")
    # that of the one connection which is still open, and what the next ones will be made in
    assert int(told["client_segments"]) <= 2
    assert int(told["server_segments"]) <= 3
