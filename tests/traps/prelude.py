"""What the programs of these tests have in common; they begin with `from prelude import *`."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import threading
import time

HOST = "127.0.0.1"
PATIENCE = 30.0

__all__ = [
    "HOST", "PATIENCE", "accepting", "contextlib", "is_switched", "json", "os", "pair", "read_all",
    "select", "show", "socket", "sys", "threading", "time", "wait_until",
]  # fmt: skip


def is_switched(sock) -> bool:
    enable = sys.modules.get("wsdirect.front.enable")
    return enable is not None and enable.is_switched(sock)


def accepting(server) -> None:
    """Open the listener's switched side, as its first accept does."""
    timeout = server.gettimeout()
    server.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        server.accept()
    server.settimeout(timeout)


@contextlib.contextmanager
def pair():
    with socket.create_server((HOST, 0)) as server:
        accepting(server)
        client = socket.create_connection(server.getsockname(), timeout=PATIENCE)
        accepted, _ = server.accept()
    accepted.settimeout(PATIENCE)
    with client, accepted:
        yield client, accepted


def read_all(sock) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.002)
    return value


def show(**answers) -> None:
    print(json.dumps(answers), flush=True)
