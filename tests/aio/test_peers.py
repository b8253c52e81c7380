"""SanEventLoop and other programs: its own kind, those under the launcher, plain TCP."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = str(Path(__file__).with_name("program.py"))
EXAMPLE = str(Path(__file__).parents[2] / "examples" / "san_loop.py")
RUN = ["-m", "wsdirect", "run"]
PATIENCE = 90
SIZE = 4 << 20


def command(peer: str, *arguments: str) -> list[str]:
    """A peer is a loop, with `run` before it if it is under the launcher."""
    *front, loop = peer.split()
    return [sys.executable, *(RUN if front else []), PROGRAM, loop, *arguments]


@contextlib.contextmanager
def server(peer: str, **environment: str) -> Iterator[int]:
    with subprocess.Popen(
        command(peer, "serve"), stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ) as child:
        try:
            assert child.stdout is not None
            yield int(child.stdout.readline())
        finally:
            child.terminate()
            child.wait(PATIENCE)


def ask(peer: str, port: int, what: str = "ask", size: int = SIZE, **environment: str) -> str:
    done = subprocess.run(
        command(peer, what, str(port), str(size)),
        capture_output=True, text=True, timeout=PATIENCE, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("theirs", "ours", "way"),
    [
        ("san", "san", "switched"),
        ("san", "run standard", "switched"),
        ("run standard", "san", "switched"),
        ("san", "run blocking", "switched"),
        ("run san", "run san", "switched"),
        ("san", "standard", "plain"),
        ("san", "blocking", "plain"),
        ("standard", "san", "plain"),
    ],
)
def test_both_ends_agree_and_all_bytes_come(theirs: str, ours: str, way: str) -> None:
    with server(theirs) as port:
        assert ask(ours, port) == f"{way} {way} {SIZE}"


@pytest.mark.parametrize("ours", ["san", "run standard"])
def test_connections_that_are_sessions(ours: str) -> None:
    """A SAN without byte streams of its own: connecting waits for the peer, in a thread."""
    with server("san", WSDIRECT_SESSION="always") as port:
        assert ask(ours, port, WSDIRECT_SESSION="always") == f"switched switched {SIZE}"


@pytest.mark.parametrize("ours", ["san", "run standard"])
def test_readers_that_pause_hear_of_what_came_meanwhile(ours: str) -> None:
    """Bytes that came in silence, while their ring was looked at, are told when reading resumes."""
    with server("san") as port:
        assert int(ask(ours, port, "busy", 40)) > 1 << 20


def test_switching_can_be_turned_off_by_a_setting() -> None:
    with server("san") as port:
        assert ask("san", port, WSDIRECT_EXCLUDE="127.0.0.1").startswith("plain plain")


def test_the_example() -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLE], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert done.stdout.count("(over shared memory)") == 3, done.stdout


def test_a_connection_that_must_be_switched_fails_if_it_cannot_be() -> None:
    with server("standard") as port:
        done = subprocess.run(
            command("san", "ask", str(port), "0"),
            capture_output=True, text=True, timeout=PATIENCE,
            env={**os.environ, "WSDIRECT_REQUIRE": "1"},
        )  # fmt: skip
    assert "cannot be switched" in done.stderr
