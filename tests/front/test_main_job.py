"""The product's promise: two programs that know only `socket`, in processes of their own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("main_job.py")
SIZE = 100_000_000


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WSDIRECT")}
    return subprocess.run(
        [sys.executable, str(PROGRAM), *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        env={**clean, **settings},
        check=False,
    )


def job(server: str, client: str, size: int = SIZE) -> dict[str, object]:
    done = run(server, client, str(size))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result = json.loads(done.stdout)
    if not result["namespace"]:
        pytest.skip("this system permits no network namespaces")
    block = bytes(range(256)) * 256
    digest = hashlib.sha256()
    for start in range(0, size, len(block)):
        digest.update(block[: size - start])
    assert result["bytes"] == size
    assert result["sha256"] == digest.hexdigest()
    return result


def rows(result: dict[str, object], process: str) -> list[dict[str, object]]:
    return [row for row in result["ss"] if row["pid"] == result[process]]


def test_both_switched_leaves_the_loopback_alone():
    result = job("switched", "switched")
    assert result["loopback"] < 1_000_000
    (client,) = rows(result, "client")
    assert (client["path"], client["reason"], client["role"]) == ("shm", "switched", "connect")
    (server,) = [row for row in rows(result, "server") if row["role"] == "accept"]
    assert server["path"] == "shm"
    assert server["peer"] == client["local"]
    assert server["peer_pid"] == result["client"]
    assert client["rx"] > 0


@pytest.mark.parametrize(
    ("server", "client", "who", "reason"),
    [
        ("plain", "switched", "client", "no-listener"),
        ("switched", "plain", "server", "peer-not-switched"),
    ],
)
def test_one_side_alone_is_plain_tcp(server: str, client: str, who: str, reason: str):
    result = job(server, client, 5_000_000)
    assert result["loopback"] > 5_000_000
    found = [row for row in rows(result, who) if row["role"] != "listen"]
    assert [(row["path"], row["reason"]) for row in found] == [("tcp", reason)]


def test_required_switch_says_why_not():
    program = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])))"
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "wsdirect", "run", "--require", "-c", program, port],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert "ConnectionError" in done.stderr
    assert "no-listener" in done.stderr
