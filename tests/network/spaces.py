"""Network namespaces for tests: made by the test, gone with its processes."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

UNSHARE = ["unshare"] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
LOOPBACK = "ip link set lo up"
LAUNCHER = ["-m", "wsdirect", "run"]
TIMEOUT = 60
PEERS = str(Path(__file__).with_name("peer_program.py"))


def environment(**settings: str) -> dict[str, str]:
    """This process's environment without settings of wsdirect but these."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WSDIRECT")}
    return {**clean, **{f"WSDIRECT_{key.upper()}": value for key, value in settings.items()}}


@functools.cache
def _why_not(needs: str) -> str:
    """Why no namespace with this set-up can be made here; "" if it can."""
    try:
        done = subprocess.run(
            in_namespace(["true"], needs), capture_output=True, text=True, timeout=20, check=False
        )
    except FileNotFoundError as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip() or "not permitted"


def need_namespaces(set_up: str = LOOPBACK) -> None:
    """Skip the test where this process may not make such a network namespace."""
    why = _why_not(set_up)
    if why:
        pytest.skip(f"network namespaces: {why}")


def in_namespace(
    command: Sequence[str], set_up: str = LOOPBACK, *, also: Sequence[str] = ()
) -> list[str]:
    """The command, run in a network namespace of its own (and `also`: more flags of unshare)."""
    return [*UNSHARE, "--net", *also, "sh", "-ec", f'{set_up}\nexec "$@"', "sh", *command]


def python(*arguments: str, switched: bool) -> list[str]:
    """A command line of this Python, with or without the launcher."""
    return [sys.executable, *(LAUNCHER if switched else ()), *arguments]


def answer_of(command: Sequence[str], **settings: str) -> Any:
    """Run a program that prints one JSON value."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env=environment(**settings),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return json.loads(done.stdout)


class Space:
    """A network namespace that lives as long as this object, for several programs to run in."""

    def __init__(self, set_up: str = LOOPBACK) -> None:
        need_namespaces(set_up)
        # reads until we close its standard input: it cannot outlive the test
        self._holder = subprocess.Popen(
            in_namespace(["sh", "-c", "echo ready; read end"], set_up),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"

    @property
    def pid(self) -> int:
        """A process in it."""
        return self._holder.pid

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command, run in this namespace."""
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", *user, f"--net=/proc/{self.pid}/ns/net", *command]

    def __enter__(self) -> Space:
        return self

    def __exit__(self, *unused: object) -> None:
        self._holder.communicate("")


class Server:
    """`peer_program.py serve` under some command prefix, for `count` clients."""

    def __init__(
        self,
        command: Sequence[str],
        host: str = "127.0.0.1",
        port: int = 0,
        count: int = 1,
        **settings: str,
    ) -> None:
        self._process = subprocess.Popen(
            [*command, "serve", host, str(port), str(count)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(**settings),
        )
        assert self._process.stdout is not None
        first = self._process.stdout.readline()
        if not first:
            raise AssertionError(self._process.communicate()[1])
        self.port: int = json.loads(first)

    def paths(self) -> list[str]:
        """Which path each connection took, once all have been served."""
        out, err = self._process.communicate(timeout=TIMEOUT)
        assert self._process.returncode == 0, err
        assert "Traceback" not in err, err
        return json.loads(out)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *unused: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
