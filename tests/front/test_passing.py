"""Connections that go to other processes work as on TCP: the kernel is the oracle."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wsdirect.switch import bare

PROGRAM = Path(__file__).with_name("passing_scenarios.py")
_spec = importlib.util.spec_from_file_location("passing_scenarios", PROGRAM)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

# Nobody has accepted on these listeners when the client comes.
MAY_BE_TCP = ("pickled_listener", "pickled_connection", "listener_for")


LAUNCHER = ["-m", "wsdirect", "run"]


def start(*command: str, **settings: str) -> subprocess.Popen[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WSDIRECT")}
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**clean, **settings},
    )


def output(*processes: subprocess.Popen[str]) -> list[str]:
    """What they print, once all have ended."""
    said = []
    for process in processes:
        with process:
            try:
                said.append(process.communicate(timeout=60))
            except subprocess.TimeoutExpired:
                process.kill()
                said.append(("", "it did not end"))
    assert [errors for _, errors in said] == [""] * len(said)
    assert [process.returncode for process in processes] == [0] * len(said)
    return [out for out, _ in said]


def both(name: str, *how: str, **settings: str) -> list[bool]:
    """Run a scenario on plain TCP and switched; which of its connections were switched."""
    plain = start(str(PROGRAM), name)
    switched = start(*(how or [*LAUNCHER, str(PROGRAM), name]), **settings)
    answer, wanted = (json.loads(out) for out in output(switched, plain))
    assert answer["result"] == wanted["result"]
    return answer["switched"]


@pytest.mark.parametrize("name", sorted(_module.scenarios))
def test_same_as_tcp(name: str) -> None:
    # a listener that this program keeps, and does not accept on any more, holds clients up so long
    switched = both(name, WSDIRECT_OFFER_TIMEOUT="0.5" if name.startswith("listener") else "3")
    if not name.startswith(MAY_BE_TCP):
        assert switched
        assert all(switched)


# What is different where the bytes are carried by a session, through this process.
BY_SESSION = (
    "standard_input_and_output-cat",
    "client_end_as_standard_input_and_output-launched python",
    "sent_as_a_right-launched",
    "forked_child-execve",
    "exec_of_this_program",
    "looks_like_tcp-accepted",
    "pickled_as_argument-spawn",
    "pickled_into_a_queue-fork",
    "parent_goes_on_after_the_child",
    "peer_that_has_gone-large",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_SESSION)
def test_same_as_tcp_over_a_session(name: str) -> None:
    assert all(both(name, WSDIRECT_SESSION="always"))


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_process_that_does_not_switch_gets_a_socket_from_a_pickle(method: str) -> None:
    name = f"pickled_and_served_without_a_word-{method}"
    assert both(name, str(PROGRAM), name, "enable") == [True]


EXEC = """
import contextlib, errno, os, socket, threading

server = socket.create_server(("127.0.0.1", 0))
server.settimeout(0.01)
with contextlib.suppress(TimeoutError):
    server.accept()
server.settimeout(20)
client = socket.create_connection(server.getsockname(), timeout=20)
accepted, _ = server.accept()
accepted.set_inheritable(True)
try:
    os.execv("/bin/cat", ["cat"])
except OSError as error:
    print(error.errno == errno.EOPNOTSUPP, "would end" in error.strerror)
client.sendall(b"and the connection goes on")
print(accepted.recv(100).decode())
"""


def test_a_session_cannot_outlive_its_process_by_exec() -> None:
    process = start(*LAUNCHER, "-c", EXEC, WSDIRECT_SESSION="always")
    assert output(process)[0].splitlines() == ["True True", "and the connection goes on"]


def test_what_no_socket_holds_is_fed_to_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bare, "_ROOM", 1)
    data = bytes(range(256)) * 20000
    with socket.socket(fileno=bare.leave_behind(data)) as left:
        assert bare.feeding
        left.settimeout(60)
        got = bytearray()
        while piece := left.recv(100000):
            got += piece
        assert got == data
    while bare.feeding:
        time.sleep(0.01)
