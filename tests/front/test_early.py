"""Clients that come after listen() and before the first accept()."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "WSDIRECT_LOG": "error"}
PRELUDE = """
import os, select, socket, sys, threading, time
import _socket
import wsdirect
def path(sock): return wsdirect.info(sock)["path"]
server = socket.create_server(("127.0.0.1", 0))
address = server.getsockname()
"""


def run(program: str, *arguments: str) -> list[str]:
    """What a program prints under the launcher."""
    done = subprocess.run(
        [sys.executable, "-m", "wsdirect", "run", "-c",
         PRELUDE + textwrap.dedent(program), *arguments],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_connect_send_and_accept_in_one_thread():
    assert run("""
        client = socket.create_connection(address)
        client.sendall(b"hello")
        accepted, peer = server.accept()
        assert peer == client.getsockname()
        assert accepted.recv(10) == b"hello"
        accepted.sendall(b"back")
        assert client.recv(10) == b"back"
        print(path(client), path(accepted))
    """) == ["shm", "shm"]


@pytest.mark.parametrize("waits", [
    "select.select([server], [], [], 30)[0] == [server]",
    "poller.register(server, select.POLLIN) or poller.poll(30000)",
    "epoll.register(server, select.EPOLLIN) or epoll.poll(30)",
])  # fmt: skip
def test_pollers_tell_of_those_who_are_here_already(waits):
    assert (
        run(f"""
        clients = [socket.create_connection(address) for _ in range(3)]
        poller, epoll = select.poll(), select.epoll()
        assert {waits}
        print(*(path(server.accept()[0]) for _ in clients))
    """)
        == ["shm"] * 3
    )


def test_a_poller_that_knew_the_socket_before_it_was_connected():
    """As asyncore does; bound besides, so that the socket it knew lives on for its port."""
    assert run("""
        client = socket.socket()
        client.bind(("127.0.0.1", 0))
        client.setblocking(False)
        epoll = select.epoll()
        epoll.register(client.fileno(), select.EPOLLIN | select.EPOLLOUT)
        print(client.connect_ex(address) == 115)
        print(epoll.poll(30) == [(client.fileno(), select.EPOLLOUT)])
        epoll.modify(client.fileno(), select.EPOLLIN)
        print(epoll.poll(0) == [])
        accepted, _ = server.accept()
        accepted.sendall(b"x")
        print(epoll.poll(30) == [(client.fileno(), select.EPOLLIN)], path(client))
    """) == ["True"] * 4 + ["shm"]


def test_children_that_call_back_before_their_parent_listens_to_them():
    assert (
        run("""
        children = []
        for number in range(3):
            child = os.fork()
            if not child:
                client = socket.create_connection(address)
                client.sendall(b"%d" % number)
                assert client.recv(1) == b"k"
                os.write(1, f"{path(client)} ".encode())  # in one piece
                os._exit(0)
            children.append(child)
        time.sleep(0.03)
        heard = set()
        for _ in children:
            accepted, _ = server.accept()
            heard.add(accepted.recv(5))
            accepted.sendall(b"k")
        assert heard == {b"0", b"1", b"2"}
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
    """)
        == ["shm"] * 3
    )


def test_whoever_accepts_late_is_met_over_tcp():
    assert run("""
        client = socket.create_connection(address)
        client.sendall(b"early")
        def serve():
            time.sleep(0.4)
            accepted, _ = server.accept()
            assert accepted.recv(10) == b"early"
            accepted.sendall(b"late")
        thread = threading.Thread(target=serve)
        thread.start()
        assert client.recv(10) == b"late"
        thread.join()
        print(path(client), path(socket.create_connection(address)))
    """) == ["tcp", "shm"]


@pytest.mark.parametrize("ends", ["client.close()", "os.close(client.detach())", "os._exit(0)"])
def test_what_was_sent_is_not_lost_if_nobody_of_ours_ever_accepts(ends):
    """The client is gone when code that no graft sees accepts."""
    assert run(f"""
        child = os.fork()
        if not child:
            client = socket.create_connection(address)
            client.sendall(b"fire and forget")
            {ends}
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        fd, _ = _socket.socket._accept(server)
        accepted = _socket.socket(fileno=fd)
        assert accepted.recv(100) == b"fire and forget"
        assert accepted.recv(100) == b""
        accepted.close()
        print("heard")
    """) == ["heard"]


def test_a_listener_that_nobody_accepts_on_is_waited_for_once():
    """As where a worker accepts with code of its own, while its parent has called listen()."""
    assert run("""
        def accept_elsewhere():
            for _ in range(3):
                fd, _ = _socket.socket._accept(server)
                accepted = _socket.socket(fileno=fd)
                accepted.send(b"x")
                accepted.close()
        thread = threading.Thread(target=accept_elsewhere)
        thread.start()
        for _ in range(3):
            client = socket.create_connection(address)
            assert client.recv(1) == b"x"
            print(wsdirect.info(client)["reason"])
        thread.join()
    """) == ["offer-expired", "no-listener", "no-listener"]


def test_a_listener_that_is_closed_resets_who_was_not_accepted():
    assert run("""
        client = socket.create_connection(address)
        client.sendall(b"x")
        server.close()
        try:
            client.recv(1)
        except ConnectionResetError:
            print("reset")
    """) == ["reset"]


def test_nothing_is_left_of_an_early_listener():
    assert run("""
        if not os.fork():
            os._exit(0)  # a child closes its copy of it
        os.wait()
        def there():
            with open("/proc/net/unix", "rb") as names:
                found = names.read()
            return [b"/s/127.0.0.1:%d/%s" % (address[1], slot) in found for slot in (b"e", b"0")]
        print(*there())
        server.settimeout(0)
        try:
            server.accept()
        except BlockingIOError:
            print(*there())
        server.close()
        print(*there())
    """) == ["True", "False", "False", "True", "False", "False"]


def test_two_listeners_of_one_port():
    """SO_REUSEPORT: the second has no early listener, and nobody misses it."""
    assert run("""
        server.close()
        both = [socket.socket(), socket.socket()]
        for sock in both:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(address)
            sock.listen()
        client = socket.create_connection(address)
        assert select.select(both, [], [], 30)[0] == both[:1]
        accepted, _ = both[0].accept()
        print(path(client), path(accepted))
    """) == ["shm", "shm"]
