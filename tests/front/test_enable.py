"""wsdirect.enable(), disable(), is_switched() and info(), as a program calls them itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

PRELUDE = """
import contextlib, errno, json, os, select, selectors, socket, sys, threading
import wsdirect

HOST = "127.0.0.1"

def listener(host=HOST):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.create_server((host, 0), family=family)
    server.settimeout(0.01)
    with contextlib.suppress(TimeoutError):
        server.accept()
    server.settimeout(20)
    return server

def pair(server):
    client = socket.create_connection(server.getsockname()[:2], 20)
    accepted, _ = server.accept()
    client.sendall(b"hello")
    assert accepted.recv(10) == b"hello"
    return client, accepted

def paths(*socks):
    return [wsdirect.info(sock)["path"] for sock in socks]

def grafts():
    '''What stands in the places that are grafted.'''
    return [socket.socket.__dict__.get("connect"), os.close, select.select,
            select.epoll.__dict__.get("poll"), socket.socket.__dict__["__init__"],
            socket.socket.__dict__["_real_close"], socket.dup, selectors.SelectSelector._select]

def show(**answers):
    print(json.dumps(answers))
"""


def run(program: str, **settings: str) -> dict[str, Any]:
    """The answers of a program that is not under the launcher."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WSDIRECT")}
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-W", "ignore::ResourceWarning",
         "-c", PRELUDE + program],
        capture_output=True, text=True, timeout=100, env={**clean, **settings}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def test_importing_changes_nothing():
    assert run("""
before = socket.socket.__dict__.get("connect")
sock = socket.socket()
show(same=before is None, off=[wsdirect.is_switched(sock), wsdirect.info(sock)])
""") == {"same": True, "off": [False, {"path": "tcp", "reason": "switched-off"}]}  # fmt: skip


def test_connections_are_switched_from_enable_to_disable():
    assert run("""
seen = []
for _ in range(3):
    server = listener()
    client, accepted = pair(server)
    seen.append([wsdirect.is_switched(client), *paths(client, accepted)])
    for sock in (client, accepted, server):
        sock.close()
    before = grafts()
    wsdirect.enable()
    server = listener()
    client, accepted = pair(server)
    seen.append([wsdirect.is_switched(client), *paths(client, accepted)])
    for sock in (client, accepted, server):
        sock.close()
    wsdirect.disable()
    assert grafts() == before
show(seen=seen)
""") == {"seen": [[False, "tcp", "tcp"], [True, "shm", "shm"]] * 3}  # fmt: skip


def test_enabling_twice_is_enabling_once():
    assert run("""
before = grafts()
wsdirect.enable()
first = grafts()
wsdirect.enable()
second = grafts()
client, accepted = pair(listener())
switched = wsdirect.is_switched(client)
client.close(), accepted.close()
wsdirect.disable()
wsdirect.disable()
show(same=first == second, changed=first != before, back=grafts() == before, switched=switched)
""") == {"same": True, "changed": True, "back": True, "switched": True}  # fmt: skip


def test_disable_before_enable_does_nothing():
    assert run("""
before = grafts()
wsdirect.disable()
show(same=grafts() == before)
""") == {"same": True}  # fmt: skip


def test_connections_go_on_after_disable():
    assert run("""
wsdirect.enable()
server = listener()
client, accepted = pair(server)
poller = select.epoll()
poller.register(client, select.EPOLLIN)
wsdirect.disable()
accepted.sendall(b"still there")
events = poller.poll(10) == [(client.fileno(), select.EPOLLIN)]
got = client.recv(100).decode()
other, its_peer = pair(server)
answers = paths(client, accepted, other, its_peer), wsdirect.info(other)["reason"]
wsdirect.enable()
pair(server)  # its accept() lets the listener take switched connections again
again = pair(server)
show(events=events, got=got, answers=answers, again=[wsdirect.is_switched(s) for s in again],
     first=wsdirect.is_switched(client))
""") == {
        "events": True, "got": "still there",
        "answers": [["shm", "shm", "tcp", "tcp"], "switched-off"],
        "again": [True, True], "first": True,
    }  # fmt: skip


def test_sockets_that_were_made_before_enable_can_be_switched():
    assert run("""
server, client = socket.create_server((HOST, 0)), socket.socket()
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
early = socket.create_connection(server.getsockname()[:2])
wsdirect.enable()
taken, _ = server.accept()  # what came over TCP stays there
client.connect(server.getsockname())
accepted, _ = server.accept()
early.sendall(b"1")
client.sendall(b"2")
show(early=[wsdirect.is_switched(early), taken.recv(5).decode()],
     later=[*map(wsdirect.is_switched, (client, accepted)), accepted.recv(5).decode()],
     option=client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
""") == {"early": [False, "1"], "later": [True, True, "2"], "option": 1}  # fmt: skip


def test_names_that_were_imported_before_are_switched_too():
    assert run("""
from socket import create_connection, socket as Socket
from select import epoll
connect = Socket.connect  # a bound method of old stays what it was
wsdirect.enable()
server = listener()
client = create_connection(server.getsockname())
other = Socket()
other.connect(server.getsockname())
old = Socket()
connect(old, server.getsockname())
show(switched=[wsdirect.is_switched(sock) for sock in (client, other, old)])
""") == {"switched": [True, True, False]}  # fmt: skip


def test_info_tells_what_a_connection_is():
    assert run("""
wsdirect.enable()
server = listener()
client, accepted = pair(server)
mine, other = wsdirect.info(client), wsdirect.info(accepted)
show(
    keys=sorted(mine) == sorted(other),
    roles=[mine["role"], other["role"]],
    names=mine["local"] == other["peer"] == client.getsockname()
          and mine["peer"] == other["local"] == server.getsockname(),
    counts=[mine["sent"], mine["received"], other["sent"], other["received"]],
    pids=[mine["peer_pid"] == os.getpid(), other["peer_pid"] == os.getpid()],
    rest={key: mine[key] for key in ("path", "provider", "reason")},
)
""") == {
        "keys": True, "roles": ["connect", "accept"], "names": True, "counts": [5, 0, 0, 5],
        "pids": [True, True], "rest": {"path": "shm", "provider": "shm", "reason": "switched"},
    }  # fmt: skip


def test_info_of_listeners_and_of_what_no_switch_carries():
    assert run("""
off = wsdirect.info(socket.create_server((HOST, 0)))
wsdirect.enable()
waiting, accepting = socket.create_server((HOST, 0)), listener()
told = wsdirect.info(accepting)
with socket.socket() as free:
    free.bind((HOST, 0))
    closed = free.getsockname()
plain = socket.socket()
plain.connect_ex(closed)
show(
    off=off["reason"], waiting=wsdirect.info(waiting)["reason"],
    accepting=[told["path"], told["role"], tuple(told["local"]) == accepting.getsockname()],
    others=[wsdirect.info(sock)["reason"] for sock in (
        socket.socketpair()[0], socket.socket(type=socket.SOCK_DGRAM), os.fdopen(os.pipe()[0]))],
    refused=wsdirect.info(plain),
    switched=[wsdirect.is_switched(sock) for sock in (waiting, accepting, plain)],
)
""") == {
        "off": "switched-off", "waiting": "not-accepting-yet", "accepting": ["shm", "listen", True],
        "others": ["not-tcp"] * 3, "refused": {"path": "tcp", "reason": "no-listener"},
        "switched": [False, False, False],
    }  # fmt: skip


def test_an_excluded_address_says_so():
    assert run(
        """
wsdirect.enable()
server = listener()
client, accepted = pair(server)
show(reasons=[wsdirect.info(sock)["reason"] for sock in (client, accepted, server)])
""",
        WSDIRECT_EXCLUDE="127.0.0.1",
    ) == {"reasons": ["excluded", "excluded", "excluded"]}


@pytest.mark.parametrize("state", ["off", "on"])
def test_wrong_arguments_are_told_clearly(state: str):
    answers = run(f"""
if {state == "on"}:
    wsdirect.enable()
def outcome(call, *args):
    try:
        return call(*args)
    except Exception as error:
        return [type(error).__name__, str(error)]
closed = socket.socket()
closed.close()
class Odd:
    def fileno(self):
        return "5"
show(
    closed=[outcome(wsdirect.is_switched, closed), outcome(wsdirect.info, closed)],
    wrong=[outcome(call, item) for call in (wsdirect.is_switched, wsdirect.info)
           for item in ("a", None, Odd())],
)
""")
    assert answers["closed"] == [False, ["OSError", "[Errno 9] Bad file descriptor"]]
    assert answers["wrong"] == [
        ["TypeError", f"{call}() takes a socket, not {name}"]
        for call in ("is_switched", "info")
        for name in ("str", "NoneType", "Odd")
    ]


def test_other_threads_may_ask_and_what_wraps_a_socket_may_be_asked():
    assert run("""
import asyncio
wsdirect.enable()
server = listener()
client, accepted = pair(server)
told = []
thread = threading.Thread(target=lambda: told.append(wsdirect.info(client)))
thread.start()
thread.join()
async def main():
    echo = await asyncio.start_server(lambda reader, writer: writer.close(), HOST, 0)
    reader, writer = await asyncio.open_connection(*echo.sockets[0].getsockname())
    sock = writer.get_extra_info("socket")
    answer = wsdirect.is_switched(sock), wsdirect.info(echo.sockets[0])["role"]
    await reader.read()
    writer.close()
    echo.close()
    return answer
copy = client.dup()
client.close()
show(thread=told[0]["path"], asyncio=asyncio.run(main()), copy=wsdirect.is_switched(copy))
""") == {"thread": "shm", "asyncio": [True, "listen"], "copy": True}  # fmt: skip


def test_a_bad_setting_changes_nothing():
    answers = run(
        """
before = grafts()
try:
    wsdirect.enable()
except ValueError as error:
    told = str(error)
show(told="WSDIRECT_RING" in told, same=grafts() == before)
""",
        WSDIRECT_RING="enormous",
    )
    assert answers == {"told": True, "same": True}


def test_the_switch_has_pollers_of_its_own() -> None:
    """What it polls with must not ask the switch."""
    answers = run(
        """
wsdirect.enable()
from wsdirect.switch import ungrafted
kind = type(select.poll())
show(poll=ungrafted._new is select.poll, register=ungrafted._register is kind.register,
     wait=ungrafted._wait is kind.poll,
     epoll=[getattr(ungrafted, "epoll_" + name) is getattr(select.epoll, method) for name, method in
            (("register", "register"), ("unregister", "unregister"), ("wait", "poll"))])
"""
    )
    assert answers == {"poll": False, "register": False, "wait": False, "epoll": [False] * 3}


LOOKS = """
import fcntl, inspect

def looks(module):
    '''How each built-in function of a module shows itself.'''
    found = {}
    for name, value in vars(module).items():
        if callable(value) and not isinstance(value, type):
            bound = type("Holder", (), {name: value})()
            found[f"{module.__name__}.{name}"] = (
                type(value).__name__, value.__name__, value.__doc__,
                getattr(value, "__text_signature__", "none"), getattr(bound, name) is value,
            )
    return found

before = {**looks(os), **looks(socket), **looks(select), **looks(fcntl)}
wsdirect.enable()
pair(listener())
after = {**looks(os), **looks(socket), **looks(select), **looks(fcntl)}
changed = [name for name, function in vars(os).items()
           if getattr(function, "__module__", "") == "os" and inspect.isbuiltin(function)]
show(before={k: v for k, v in before.items() if after[k] != v},
     after={k: v for k, v in after.items() if before[k] != v},
     changed=changed)
"""


def test_functions_look_as_before() -> None:
    """Built-in functions stay built-in: no binding as a method, the same help() and signature."""
    answers = run(LOOKS)
    assert {"close", "execv", "posix_spawn", "system", "closerange"} <= {*answers["changed"]}
    assert answers["after"] == answers["before"]
