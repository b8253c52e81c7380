"""Offers that nobody takes go on over TCP, with every byte, under the same descriptor."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

COMMON = """
import contextlib, select, selectors, socket, threading, time, wsdirect

server = socket.create_server(("127.0.0.1", 0))
server.settimeout(0.01)
with contextlib.suppress(TimeoutError):
    server.accept()                       # opens the SAN side
server.settimeout(20)
DATA = bytes(range(256)) * 500

def serve_late(seconds=1.0):
    time.sleep(seconds)
    connection, peer = server.accept()
    assert peer == name[0], (peer, name)
    assert not wsdirect.is_switched(connection)
    got = b""
    while len(got) < len(DATA):
        got += connection.recv(100000)
    assert got == DATA
    connection.sendall(b"late answer")
    connection.close()

name = []
def connect():
    client = socket.create_connection(server.getsockname())
    assert wsdirect.is_switched(client), wsdirect.info(client)
    name.append(client.getsockname())
    client.sendall(DATA)
    return client

thread = threading.Thread(target=serve_late)
client = connect()
descriptor = client.fileno()
"""

ENDING = """
assert client.fileno() == descriptor
assert wsdirect.info(client) == {"path": "tcp", "reason": "offer-expired"}, wsdirect.info(client)
assert client.getsockname() == name[0]
thread.join()
client.close()
server.close()
print("done")
"""

WAITS = {
    "blocking recv": """
        thread.start()
        assert client.recv(100) == b"late answer"
    """,
    "recv with a time-out, again and again": """
        thread.start()
        client.settimeout(0.05)
        while True:
            with contextlib.suppress(TimeoutError):
                assert client.recv(100) == b"late answer"
                break
    """,
    "select": """
        client.setblocking(False)
        thread.start()
        assert select.select([client], [], [], 20)[0] == [client]
        assert client.recv(100) == b"late answer"
    """,
    "poll": """
        client.setblocking(False)
        thread.start()
        poller = select.poll()
        poller.register(client, select.POLLIN)
        assert poller.poll(20000) == [(descriptor, select.POLLIN)]
        assert client.recv(100) == b"late answer"
    """,
    "epoll": """
        client.setblocking(False)
        thread.start()
        with selectors.EpollSelector() as selector:
            selector.register(client, selectors.EVENT_READ)
            assert len(selector.select(20)) == 1
        assert client.recv(100) == b"late answer"
    """,
    "more than the ring holds": """
        more = DATA * 40
        DATA += more
        thread.start()
        client.sendall(more)
        assert client.recv(100) == b"late answer"
    """,
    "half-closed before anybody accepted": """
        client.shutdown(socket.SHUT_WR)
        thread.start()
        assert client.recv(100) == b"late answer"
    """,
}


def run(program: str) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WSDIRECT")}
    done = subprocess.run(
        [sys.executable, "-m", "wsdirect", "run", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env={**clean, "WSDIRECT_OFFER_TIMEOUT": "0.3"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize("wait", WAITS)
def test_late_acceptor(wait: str):
    assert run(COMMON + textwrap.dedent(WAITS[wait]) + ENDING) == "done\n"


def test_acceptor_in_time_keeps_the_connection_switched():
    program = (
        COMMON
        + """
connection, _ = server.accept()
time.sleep(0.5)
assert wsdirect.is_switched(connection)
got = b""
while len(got) < len(DATA):
    got += connection.recv(100000)
assert got == DATA
connection.sendall(b"yes")
assert client.recv(10) == b"yes"
assert wsdirect.is_switched(client)
for sock in (connection, client, server):
    sock.close()
print("done")
"""
    )
    assert run(program) == "done\n"


def test_client_that_left_before_it_was_accepted():
    program = (
        COMMON
        + """
client.close()
time.sleep(0.6)
connection, peer = server.accept()
assert peer == name[0]
got = b""
while piece := connection.recv(100000):
    got += piece
assert got == DATA
connection.close()
server.close()
print("done")
"""
    )
    assert run(program) == "done\n"


def test_listener_that_closes_refuses_its_queue():
    program = (
        COMMON
        + """
server.close()
try:
    client.recv(10)
except ConnectionError as error:
    print(type(error).__name__)
client.close()
"""
    )
    assert run(program) in ("ConnectionRefusedError\n", "ConnectionResetError\n")


def test_withdrawn_request_does_not_make_the_listener_readable():
    """A server that polls and then calls a blocking accept() must not be caught in it."""
    program = (
        COMMON
        + """
def wait():
    with contextlib.suppress(ConnectionError):
        client.recv(100)

thread = threading.Thread(target=wait)
thread.start()
while wsdirect.info(client)["path"] != "tcp":
    time.sleep(0.01)
server.settimeout(None)
for kind in (selectors.SelectSelector, selectors.PollSelector, selectors.EpollSelector):
    with kind() as selector:
        selector.register(server, selectors.EVENT_READ)
        if kind is selectors.SelectSelector:
            assert selector.select(20)
            connection, peer = server.accept()      # the same client, over TCP
            assert peer == name[0]
        assert not selector.select(0.05), kind
connection.close()
thread.join()
client.close()
server.close()
print("done")
"""
    )
    assert run(program) == "done\n"


@pytest.mark.parametrize("kind", ["SelectSelector", "PollSelector", "EpollSelector"])
@pytest.mark.parametrize("closes", ["at once", "late"])
def test_a_poller_leaves_the_error_to_the_socket(kind: str, closes: str):
    """Nobody takes the offer, and TCP finds nobody either: that is no error of the poller's."""
    program = (
        COMMON
        + f"""
client.setblocking(False)
other = socket.socketpair()
with selectors.{kind}() as selector:
    selector.register(client, selectors.EVENT_READ)
    selector.register(other[0], selectors.EVENT_READ)
    if {closes!r} == "late":
        from wsdirect.switch import listening
        known = listening.listeners[server.fileno()]
        TCP = socket.socket(fileno=server.detach())
        import os
        os.dup2(other[1].fileno(), TCP.fileno())     # the TCP listener is gone, the SAN's is not
    else:
        server.close()
    ready = [key.fileobj for key, _ in selector.select(20)]
    assert ready == [client], ready
    try:
        client.recv(10)
    except ConnectionError as error:
        print(type(error).__name__)
client.close()
"""
    )
    assert run(program) in ("ConnectionRefusedError\n", "ConnectionResetError\n")


def test_urgent_data_go_along():
    """The marks that were set before anybody accepted, and whom to tell of new ones."""
    program = (
        COMMON
        + """
import array, fcntl, os, signal

def at_mark(sock):
    answer = array.array("i", [0])
    fcntl.ioctl(sock, 0x8905, answer)
    return bool(answer[0])

def serve():
    time.sleep(1.0)
    connection, peer = server.accept()
    assert not wsdirect.is_switched(connection)
    received.append(b"")
    connection.settimeout(20)
    while True:
        if at_mark(connection):
            received.append(connection.recv(1, socket.MSG_OOB))
            received.append(b"")
        piece = connection.recv(100000)
        if not piece:
            break
        received[-1] += piece
        if len(received[-1]) == len(DATA):
            select.select([], [], [connection], 20)
    connection.send(b"?", socket.MSG_OOB)
    told.wait(20)
    connection.close()

told = threading.Event()
received = []
signal.signal(signal.SIGURG, lambda *_: told.set())
fcntl.fcntl(client, fcntl.F_SETOWN, os.getpid())
thread = threading.Thread(target=serve)
assert client.send(b"ab!", socket.MSG_OOB) == 3
client.sendall(b"behind")
client.shutdown(socket.SHUT_WR)
thread.start()
client.settimeout(None)
assert client.recv(1) == b""
assert told.is_set()
assert received == [DATA + b"ab", b"!", b"behind"], [piece[-20:] for piece in received]
"""
        + ENDING
    )
    assert run(program) == "done\n"


def test_urgent_data_that_were_waiting_for_room():
    program = (
        COMMON
        + """
more = DATA * 5
DATA += more
thread.start()
assert client.sendall(more[:-1] + b"!", socket.MSG_OOB) is None
DATA = DATA[:-1]                                 # the last byte goes apart
assert client.recv(100) == b"late answer"
"""
        + ENDING
    )
    assert run(program) == "done\n"
