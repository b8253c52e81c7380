"""Sockets that go to another process."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import pytest

from wsdirect.spi.errors import WSAError
from wsdirect.spi.upcalls import HandleSpace
from wsdirect.switch.upper.service_provider import SwitchProvider

TAKER = """
import os, pickle, sys
from wsdirect.spi.errors import WSAError
from wsdirect.switch.upper.service_provider import SwitchProvider
provider = SwitchProvider()
provider.WSPStartupEx(0x0202, None, None)
print(os.getpid(), flush=True)
info = pickle.loads(bytes.fromhex(sys.stdin.readline()))
s = provider.WSPSocket(-1, -1, -1, info)
try:
    provider.WSPSocket(-1, -1, -1, info)
except WSAError as error:
    assert error.winerror == 10022
if provider.WSPGetSockOpt(s, 0xFFFF, 2):
    s, _ = provider.WSPAccept(s)
assert provider.WSPGetSockOpt(s, 0xFFFF, 0x80) == (1, 7)
room = bytearray(100)
size = provider.WSPRecv(s, [room])
provider.WSPSend(s, [bytes(room[:size]).upper()])
provider.WSPCloseSocket(s)
provider.WSPCleanup()
"""


@pytest.fixture
def taker():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", TAKER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    process.number = int(process.stdout.readline())
    yield process
    process.kill()
    process.communicate()


def started(switched):
    made = SwitchProvider(switched)
    made.WSPStartupEx(0x0202, None, HandleSpace())
    return made


def pair(provider):
    listening = provider.WSPSocket(2, 1, 6)
    provider.WSPBind(listening, ("127.0.0.1", 0))
    provider.WSPSetSockOpt(listening, 0xFFFF, 0x80, (1, 7))
    provider.WSPListen(listening)
    c = provider.WSPSocket(2, 1, 6)
    provider.WSPConnect(c, provider.WSPGetSockName(listening))
    return listening, c


def fetch(taker, info):
    taker.stdin.write(pickle.dumps(info).hex() + "\n")
    taker.stdin.flush()


@pytest.mark.parametrize("which", ["connection", "listener"])
def test_another_process_goes_on(taker, which):
    provider = started(False)
    listening, c = pair(provider)
    s = provider.WSPAccept(listening)[0] if which == "connection" else listening
    info = provider.WSPDuplicateSocket(s, taker.number)
    provider.WSPCloseSocket(s)  # the other one has its own, from now on
    fetch(taker, info)
    provider.WSPSend(c, [b"hello"])
    room = bytearray(100)
    assert provider.WSPRecv(c, [room]) == 5
    assert room[:5] == b"HELLO"
    assert provider.WSPRecv(c, [room]) == 0
    assert taker.wait(10) == 0
    provider.WSPCleanup()


def test_a_switched_connection_stays(taker):
    provider = started(True)
    _, c = pair(provider)
    with pytest.raises(WSAError) as caught:
        provider.WSPDuplicateSocket(c, taker.number)
    assert caught.value.winerror == 10045
    provider.WSPCleanup()


def test_somebody_else_cannot_fetch_it(taker):
    provider = started(False)
    _, c = pair(provider)
    info = provider.WSPDuplicateSocket(c, taker.number)
    with pytest.raises(WSAError) as caught:
        provider.WSPSocket(-1, -1, -1, info)
    assert caught.value.winerror == 10022
    before = len(os.listdir("/proc/self/fd"))
    provider.WSPCleanup()  # withdraws it
    assert len(os.listdir("/proc/self/fd")) < before
    assert provider._offers == []


def test_nonsense_is_refused():
    provider = started(False)
    good = {"family": 2, "state": 0, "ended": [0, 0], "options": []}
    for bad in (
        None, 1, [], {}, {**good, "family": 1}, {**good, "state": 77}, {**good, "state": 4},
        {**good, "options": [[1, 2]]}, {**good, "options": [[0xFFFF, 4, "x"]]},
        {**good, "options": [[9, 9, 9]]}, {**good, "ended": 1}, {**good, "state": 5},
    ):  # fmt: skip
        import socket

        fd = socket.socket().detach()
        with pytest.raises((KeyError, TypeError, ValueError, OSError)):
            provider._rebuilt(fd, bad)
        os.close(fd)  # still ours
    provider.WSPCleanup()
