"""Sockets, pollers and files that the switch is not concerned in: none of its Python code runs.

What that costs in time is for tools_dev/unswitched.py to measure; here it is only counted which
functions of the package are entered, which is what the time would go into.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PRELUDE = """
import asyncio, contextlib, fcntl, json, os, select, selectors, socket, struct, subprocess, sys
import threading, time
import wsdirect

HOST = "127.0.0.1"

class Entered:
    '''The functions of the package that are entered meanwhile.'''

    def __enter__(self):
        self.names = []
        sys.setprofile(self.look)
        return self

    def look(self, frame, event, arg):
        name = frame.f_code.co_filename
        # __init__ is one function in the place of another: not a call more
        if event == "call" and f"{os.sep}wsdirect{os.sep}" in name and not self.is_init(frame):
            self.names.append(f"{os.path.basename(name)}:{frame.f_code.co_name}")

    def is_init(self, frame):
        return frame.f_code is socket.socket.__init__.__code__

    def __exit__(self, *_):
        sys.setprofile(None)

def plain_peer(code, *words):
    '''A process that is not under the switch; returns it and the port that it prints.'''
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("WSDIRECT", "PYTHONPATH"))}
    peer = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean,
    )
    return peer, int(peer.stdout.readline() or 0)

def end(peer):
    peer.stdin.close()
    peer.stdout.close()
    peer.wait(20)

ECHO = '''
import socket, threading, sys
server = socket.create_server(("127.0.0.1", 0), backlog=100)
print(server.getsockname()[1], flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), __import__("os")._exit(0))).start()
while True:
    connection, _ = server.accept()
    def echo(connection=connection):
        while data := connection.recv(1000):
            connection.sendall(data)
        connection.close()
    threading.Thread(target=echo, daemon=True).start()
'''
CONNECT = '''
import socket, sys
print(0, flush=True)
for line in sys.stdin:
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20) as sock:
        sock.sendall(b"hello")
        sock.recv(10)
'''

def switched_pair():
    '''A switched connection and a SAN listener, to be there along with what is looked at.'''
    server = socket.create_server((HOST, 0))
    server.settimeout(0.01)
    with contextlib.suppress(TimeoutError):
        server.accept()
    server.settimeout(20)
    client = socket.create_connection(server.getsockname())
    accepted, _ = server.accept()
    assert wsdirect.is_switched(client) and wsdirect.is_switched(accepted)
    while client.send(b"x") and accepted.recv(1) and select.select([client], [], [], 0)[0]:
        pass
    return server, client, accepted
"""

# Each is tried alone and beside a switched connection of the same process.
PROGRAMS = {
    "pollers": """
a, b = socket.socketpair()
r, w = os.pipe()
b.send(b"x")
def work():
    with select.epoll() as epoll:
        epoll.register(a, select.EPOLLIN)
        epoll.register(w)
        epoll.modify(w, eventmask=select.EPOLLOUT)
        assert len(epoll.poll(5)) == len(epoll.poll(timeout=5, maxevents=4)) == 2
        epoll.unregister(w)
    poll = select.poll()
    poll.register(a, select.POLLIN)
    poll.register(r)
    poll.modify(r, select.POLLIN)
    assert poll.poll(0) == [(a.fileno(), select.POLLIN)]
    poll.unregister(a)
    assert select.select([a, r], [w], [], 0) == ([a], [w], [])
    assert select.select([a], (), ()) == ([a], [], [])
    for cls in (selectors.SelectSelector, selectors.PollSelector, selectors.EpollSelector):
        with cls() as selector:
            selector.register(a, selectors.EVENT_READ)
            selector.register(w, selectors.EVENT_WRITE)
            assert len(selector.select(0)) == 2
""",
    "UDP": """
def work():
    with socket.socket(type=socket.SOCK_DGRAM) as a, socket.socket(type=socket.SOCK_DGRAM) as b:
        a.bind((HOST, 0))
        a.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        assert a.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        b.connect(a.getsockname())
        b.send(b"1")
        assert a.recvfrom(10) == (b"1", b.getsockname())
        a.sendto(b"2", b.getsockname())
        assert b.recvmsg(10)[0] == b"2" and b.getpeername() == a.getsockname()
""",
    "AF_UNIX": """
def work():
    a, b = socket.socketpair()
    a.sendmsg([b"12", b"3"])
    assert b.recv_into(bytearray(2)) == 2 and b.recvmsg_into([bytearray(5)])[0] == 1
    a.shutdown(socket.SHUT_WR)
    copy = b.dup()
    assert copy.recv(1) == b""
    copy.close()
    del a
    b.close()
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("\\0wsdirect-test-%d" % os.getpid())
        base_listen(server)
        client.connect(server.getsockname())
        server.accept()[0].close()
base_listen = lambda server: super(socket.socket, server).listen()
""",
    "files": """
r, w = os.pipe()
def work():
    os.write(w, b"1")
    assert fcntl.ioctl(r, 0x541B, struct.pack("i", 0)) == struct.pack("i", 1)
    assert os.read(r, 5) == b"1"
    copy = os.dup(r)
    os.dup2(w, copy)
    os.close(copy)
""",
    "clients of a plain server": """
peer, port = plain_peer(ECHO)
def work():
    for _ in range(30):
        with socket.create_connection((HOST, port)) as sock:
            sock.sendall(b"x")
            assert sock.recv(5) == b"x"
            sock.settimeout(5)
            assert sock.getpeername() == (HOST, port)
            assert sock.makefile("rb").closed is False
# a server is looked for again and again before a miss is believed
for _ in range(20):
    work()
done = lambda: end(peer)
misses = True
""",
    "asyncio on a plain server": """
peer, port = plain_peer(ECHO)
async def talk(measured):
    reader, writer = await asyncio.open_connection(HOST, port)
    with measured:
        for _ in range(20):
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            await asyncio.sleep(0)
    writer.close()
    await writer.wait_closed()
def work():
    sys.setprofile(None)  # what counts is the talking
    asyncio.run(talk(entered))
done = lambda: end(peer)
""",
    "servers of plain clients": """
server = socket.create_server((HOST, 0))
server.settimeout(0.01)
with contextlib.suppress(TimeoutError):
    server.accept()
server.settimeout(20)
peer, _ = plain_peer(CONNECT, server.getsockname()[1])
def serve():
    peer.stdin.write(b"go\\n")
    peer.stdin.flush()
    accepted, address = server.accept()
    with accepted:
        assert accepted.getpeername() == address
        assert accepted.recv(10) == b"hello"
def work():
    for _ in range(20):
        serve()
serve()
done = lambda: end(peer)
""",
}

ENDING = """
entered = Entered()
work()
for attempt in range(20):
    with entered:
        work()
    names = entered.names
    # a miss is believed for a moment only, then there is another look
    if not names or not globals().get("misses"):
        break
globals().get("done", int)()
print(json.dumps(names))
"""


def run(program: str) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WSDIRECT")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "wsdirect", "run", "-c", program],
        capture_output=True, text=True, timeout=100, env=clean, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("beside", ["alone", "beside a switched connection"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_of_the_package_runs(name: str, beside: str) -> None:
    there = "" if beside == "alone" else "kept = switched_pair()\n"
    assert json.loads(run(PRELUDE + there + PROGRAMS[name] + ENDING)) == []


def test_the_counting_finds_what_is_switched() -> None:
    """The other tests would pass if nothing was ever counted."""
    work = """
server, client, accepted = switched_pair()
def work():
    client.getsockname()
    select.select([client], [], [], 0)
"""
    names = json.loads(run(PRELUDE + work + ENDING))
    assert {"sockets.py:getsockname", "selecting.py:select"} <= set(names)


def test_epoll_of_switched_sockets_runs_nothing_either() -> None:
    """The bell tells the truth: an event loop on switched sockets needs no help."""
    work = """
server, client, accepted = switched_pair()
for sock in (client, accepted):
    sock.setblocking(False)
epoll = select.epoll()
epoll.register(client, select.EPOLLIN)
def work():
    for _ in range(5):
        accepted.send(b"x")
        assert epoll.poll(5) == [(client.fileno(), select.EPOLLIN)]
        assert client.recv(10) == b"x"
        assert epoll.poll(0) == []
"""
    assert json.loads(run(PRELUDE + work + ENDING)) == []


LOADED = """
import json, sys
before = set(sys.modules)
%s
print(json.dumps(sorted(name for name in sys.modules if name.startswith("wsdirect"))))
"""

CLIENT = """
import socket
with socket.socket() as closed:
    closed.bind(("127.0.0.1", 0))
    with socket.socket() as sock:
        assert sock.connect_ex(closed.getsockname())
"""


def test_a_plain_client_loads_no_provider() -> None:
    loaded = json.loads(run(LOADED % CLIENT))
    heavy = [name for name in loaded if name.startswith(("wsdirect.spi.", "wsdirect.providers."))]
    assert heavy == [
        "wsdirect.providers.shm", "wsdirect.providers.shm.names", "wsdirect.providers.shm.probe",
        "wsdirect.spi.whereabouts",
    ]  # fmt: skip
    assert not [name for name in loaded if name.startswith("wsdirect.switch.session")]


def test_a_server_loads_nothing_for_messages_and_rdma() -> None:
    listening = """
import socket
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
accepted, _ = server.accept()
"""
    loaded = json.loads(run(LOADED % listening))
    assert "wsdirect.providers.shm.service_provider" in loaded
    assert not {
        "wsdirect.providers.shm.transfer", "wsdirect.providers.shm.rdma",
        "wsdirect.providers.registration", "wsdirect.switch.session.driver",
    } & set(loaded)  # fmt: skip


def test_a_program_without_sockets_loads_the_hook_only() -> None:
    assert json.loads(run(LOADED % "import json")) == ["wsdirect", "wsdirect._launch"]


def test_a_server_that_begins_to_switch_is_found_soon() -> None:
    """A miss is believed for a moment only, also by a client that has connected many times."""
    program = (
        PRELUDE
        + """
with socket.socket() as reserved:
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((HOST, 0))
    address = reserved.getsockname()
for _ in range(200):
    with socket.socket() as sock:
        sock.connect_ex(address)
peer = subprocess.Popen([sys.executable, "-c", '''
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=200)
server.settimeout(0.01)
try:
    server.accept()
except TimeoutError:
    pass
server.settimeout(20)
print("there", flush=True)
while True:
    server.accept()[0].close()
''', str(address[1])], stdout=subprocess.PIPE)
peer.stdout.readline()
for _ in range(500):
    with socket.create_connection(address) as sock:
        if wsdirect.is_switched(sock):
            break
    time.sleep(0.01)
else:
    raise AssertionError("never found")
peer.kill()
peer.wait()
"""
    )
    run(program)


def test_a_server_of_this_process_is_found_at_once() -> None:
    program = (
        PRELUDE
        + """
server = socket.socket()
server.bind((HOST, 0))
address = server.getsockname()
for _ in range(200):
    with socket.socket() as sock:
        assert sock.connect_ex(address)
server.listen()
server.setblocking(False)
with contextlib.suppress(BlockingIOError):
    server.accept()
with socket.create_connection(address) as sock:
    assert wsdirect.is_switched(sock)
"""
    )
    run(program)


def test_tcp_connections_are_shown_with_their_reason() -> None:
    program = (
        PRELUDE
        + """
from wsdirect import reasons, status
peer, port = plain_peer(ECHO)
def rows():
    shown = status.read_process(os.getpid()).rows
    return [(row.role, row.path, reasons.by_number(row.reason).code, row.local, row.peer)
            for row in shown if row.role != "listen"]
seen = []
for _ in range(10):  # looked for, and believed
    with socket.create_connection((HOST, port)) as sock:
        assert wsdirect.info(sock) == {"path": "tcp", "reason": "no-listener"}
        seen.append(rows() == [("connect", "tcp", "no-listener", sock.getsockname(), (HOST, port))])
assert rows() == []
if socket.has_ipv6:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        with socket.socket(socket.AF_INET6) as sock:
            assert sock.connect_ex(server.getsockname()) == 0
            seen.append(rows()[0][3:] == (sock.getsockname()[:2], server.getsockname()[:2]))
pid = os.fork()
if pid == 0:  # a child has a page of its own, and its own connections
    with socket.create_connection((HOST, port)) as sock:
        for _ in range(100):
            other = socket.create_connection((HOST, port))
            other.close()
            time.sleep(0.01)
            if status.read_process(os.getpid()):
                break
        os._exit(0 if len(rows()) == 1 else 1)
seen.append(os.waitpid(pid, 0)[1] == 0)
assert rows() == []
end(peer)
print(json.dumps(seen))
"""
    )
    assert all(json.loads(run(program)))


MAKERS = {
    "socket": "made = socket.socket()",
    "accept": "made, _ = server.accept()",
    "dup": "made = other.dup()",
    "epoll": "made = select.epoll()",
}


@pytest.mark.parametrize("maker", MAKERS)
def test_a_number_that_c_code_has_closed_is_somebody_elses(maker: str) -> None:
    """Its connection ends for the peer, and nothing of it is left to what gets the number next."""
    program = (
        PRELUDE
        + f"""
import ctypes
server, client, accepted = switched_pair()
other = socket.socket(type=socket.SOCK_DGRAM)
peer, _ = plain_peer(CONNECT, server.getsockname()[1])
poller = select.epoll()
poller.register(client, select.EPOLLIN)
fd = client.detach()
peer.stdin.write(b"go\\n")  # so that there is somebody to accept
peer.stdin.flush()
assert select.select([server], [], [], 20)[0]
ctypes.CDLL(None).close(fd)
{MAKERS[maker]}
answers = [made.fileno() == fd, accepted.recv(10) == b"", wsdirect.is_switched(made)]
if {maker == "accept"}:
    answers.append(made.recv(10) == b"hello")  # nobody has shut it down
    made.send(b"hello")
elif {maker == "socket"}:
    made.connect(server.getsockname())
    answers.append(wsdirect.is_switched(made))
answers.append(poller.poll(0.01) == [])
made.close()
print(json.dumps(answers))
if {maker != "accept"}:
    peer.kill()
end(peer)
"""
    )
    more = [] if maker in ("dup", "epoll") else [True]
    assert json.loads(run(program)) == [True, True, False, *more, True]
