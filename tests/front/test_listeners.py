"""A server's first client is switched, however the server waits for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A server that waits in the way given, and the client, in a thread, once it does.
PROGRAM = """
import select, socket, sys, threading, time
import wsdirect

way = sys.argv[1]

def say(what):
    sys.stdout.write(f"{what} ")

READ = select.POLLIN
server = socket.socket()

def connect():
    from wsdirect.switch.listening import listeners
    deadline = time.monotonic() + 20
    while server.fileno() not in listeners and time.monotonic() < deadline:
        time.sleep(0.01)
    if way.endswith("once"):
        # what comes first is no connection; the kernel's one event of the SAN side is about it
        stranger = socket.socket(socket.AF_UNIX)
        with socket.socket(fileno=socket.dup(listeners[server.fileno()].san_fd)) as san:
            stranger.connect(san.getsockname())
        stranger.close()
        time.sleep(0.2)
    with socket.create_connection(server.getsockname(), 20) as client:
        client.sendall(b"x")
        client.recv(1)
        say(wsdirect.info(client)["reason"])  # an offer that nobody takes ends as TCP

def listen():
    server.bind(("127.0.0.1", 0))
    server.listen()
    threading.Thread(target=connect).start()

if way == "select":
    listen()
    say(select.select([server.fileno()], [], [], 20)[0] == [server.fileno()])
else:
    poller = select.poll() if way.startswith("poll") else select.epoll()
    if way.endswith("late"):
        poller.register(server, READ)
        listen()
    else:
        listen()
        poller.register(server, READ | (select.EPOLLONESHOT if way.endswith("once") else 0))
    say(poller.poll(20_000 if way.startswith("poll") else 20) == [(server.fileno(), READ)])
accepted, _ = server.accept()
accepted.sendall(accepted.recv(1))
"""


@pytest.mark.parametrize(
    "way",
    ["select", "poll", "epoll", "poll, registered late", "epoll, registered late", "epoll, once"],
)
def test_first_client_is_switched(way):
    """Late: the socket was registered with the poller before it began to listen."""
    done = subprocess.run(
        [sys.executable, "-m", "wsdirect", "run", "-c", PROGRAM, way.replace("registered ", "")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == ["True", "switched"]
