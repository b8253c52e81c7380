"""Containers: what shares a network namespace talks directly, everything else over TCP."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.network.spaces import (
    PEERS,
    UNSHARE,
    Server,
    Space,
    answer_of,
    environment,
    python,
)

SERVE = python(PEERS, switched=True)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")


@pytest.fixture
def space() -> Iterator[Space]:
    with Space() as made:
        yield made


def ask(prefix: Sequence[str], host: str, port: int, **settings: str) -> str:
    return answer_of([*prefix, *SERVE, "ask", host, str(port)], **settings)


def possible(prefix: Sequence[str]) -> Sequence[str]:
    """The prefix of a command, if this process may use it."""
    done = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(done.stderr.strip())
    return prefix


def test_the_same_address_in_two_namespaces() -> None:
    """127.0.0.1 and one port, two hosts: nobody meets the other's server."""
    with Space() as here, Space() as there, Server(here.inside(SERVE)) as server:
        port = server.port
        done = subprocess.run(
            there.inside([*SERVE, "ask", "127.0.0.1", str(port)]), capture_output=True, text=True
        )
        assert "ConnectionRefusedError" in done.stderr
        with Server(there.inside(SERVE), port=port) as other:
            assert ask(there.inside([]), "127.0.0.1", port) == "shm"
            assert other.paths() == ["shm"]
        assert ask(here.inside([]), "127.0.0.1", port) == "shm"
        assert server.paths() == ["shm"]


def test_two_namespaces_on_a_wire(space: Space) -> None:
    """Like two hosts: TCP, by way of the interfaces."""
    with Space() as far:
        for where, commands in (
            (far, f"ip link add w0 type veth peer name w1 netns {space.pid}"),
            (far, "ip link set w0 up; ip addr add 10.8.0.1/24 dev w0"),
            (space, "ip link set w1 up; ip addr add 10.8.0.2/24 dev w1"),
        ):
            possible(where.inside(["sh", "-ec", commands]))
        with Server(far.inside(SERVE), "0.0.0.0", count=2) as server:
            assert ask(space.inside([]), "10.8.0.1", server.port) == "remote-peer"
            assert ask(far.inside([]), "10.8.0.1", server.port) == "shm"
            assert server.paths() == ["peer-not-switched", "shm"]


PIDS = [*UNSHARE, "--pid", "--fork", "--mount-proc"]
CONTAINERS = {
    "process numbers of its own": PIDS,
    "files of its own": [
        *(*UNSHARE, "--mount", "sh", "-ec"),
        'mount -t tmpfs none /dev/shm; exec "$@"',
        "sh",
    ],
    "no /proc": [*UNSHARE, "--mount", "sh", "-ec", 'mount -t tmpfs none /proc; exec "$@"', "sh"],
    "numbers and no /proc": [
        *(*PIDS, "sh", "-ec"),
        'mount -t tmpfs none /proc; exec "$@"',
        "sh",
    ],
}


@pytest.mark.parametrize("where", ["server", "client", "each"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_that_share_a_network(space: Space, container: str, where: str) -> None:
    """Process numbers, files and /proc differ; the connection is direct all the same."""
    prefix = possible(CONTAINERS[container])
    server_in = prefix if where != "client" else []
    client_in = prefix if where != "server" else []
    with Server(space.inside([*server_in, *SERVE])) as server:
        assert ask(space.inside(client_in), "127.0.0.1", server.port) == "shm"
        assert server.paths() == ["shm"]


@as_root
@pytest.mark.parametrize("who", ["server", "client"])
def test_programs_of_different_users(space: Space, who: str) -> None:
    may_read = "+dac_read_search"  # this Python may be in somebody's home
    stranger = ["setpriv", "--reuid=4321", "--clear-groups"]
    stranger += [f"--inh-caps={may_read}", f"--ambient-caps={may_read}"]
    server_as, client_as = (stranger, []) if who == "server" else ([], stranger)
    with Server(space.inside([*server_as, *SERVE])) as server:
        assert ask(space.inside(client_as), "127.0.0.1", server.port) == "foreign-uid"
        assert server.paths() == ["peer-not-switched"]
    trusting = {"allow_uids": "0,4321"}
    with Server(space.inside([*server_as, *SERVE]), **trusting) as server:
        assert ask(space.inside(client_as), "127.0.0.1", server.port, **trusting) == "shm"
        assert server.paths() == ["shm"]


@as_root
def test_a_user_namespace_is_no_way_around_that(space: Space) -> None:
    """Inside one, users without a number there look alike; they are still strangers."""
    unmapped = possible(["unshare", "--user"])
    with Server(space.inside([*unmapped, *SERVE])) as server:
        assert ask(space.inside(unmapped), "127.0.0.1", server.port) == "foreign-uid"
        assert server.paths() == ["peer-not-switched"]
    # root of a user namespace that root made is the same user
    mapped = possible(["unshare", "--map-root-user"])
    with Server(space.inside([*mapped, *SERVE])) as server:
        assert ask(space.inside([]), "127.0.0.1", server.port) == "shm"
        assert server.paths() == ["shm"]


MOVING = str(Path(__file__).with_name("moving_program.py"))
MOVED = {  # whom a program meets, and how
    "here": ["here", "shm"],
    "a child there": ["there", "shm"],
    "a socket of there": ["there", "other-namespace"],
    "a socket of here, used there": ["here", "other-namespace"],
    "gone there": ["there", "other-namespace"],
    "gone there and back": ["here", "shm"],
    "a listener of there": "welcome",
    "here again": ["here", "shm"],
    "gone there for good": ["there", "other-namespace"],
}


@as_root
@pytest.mark.parametrize("switched", [True, False], ids=["switched", "plain"])
def test_a_program_that_enters_another_namespace(switched: bool) -> None:
    """Its sockets reach whom TCP reaches, though the same address and port exist twice."""
    program = python(MOVING, switched=switched)
    with contextlib.ExitStack() as stack:
        here, there = (stack.enter_context(Space()) for _ in range(2))
        port = 0
        for name, where in (("here", here), ("there", there)):
            server = subprocess.Popen(
                where.inside([*program, "server", name, str(port)]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment(),
            )
            stack.callback(server.communicate)
            assert server.stdout is not None
            port = int(server.stdout.readline())
        answers = answer_of(here.inside([*program, "client", str(there.pid), str(port)]))
    if not switched:
        answers = {
            name: [answer[0], MOVED[name][1]] if isinstance(answer, list) else answer
            for name, answer in answers.items()
        }
    assert answers == MOVED


SANDBOX = [sys.executable, str(Path(__file__).with_name("sandbox_program.py"))]
FORBIDDEN = {  # the client's reason, then the server's, if that side is the one in the sandbox
    "memfd": {"server": ("shm", "shm"), "client": ("out-of-slots", "peer-not-switched")},
    "unix": {
        "server": ("no-listener", "bell-untrue"),
        "client": ("bell-untrue", "peer-not-switched"),
    },
    "netlink": {"server": ("shm", "shm"), "client": ("shm", "shm")},
}


@pytest.mark.parametrize("where", ["server", "client"])
@pytest.mark.parametrize("what", FORBIDDEN)
def test_sandboxes(space: Space, what: str, where: str) -> None:
    """What a service may not do for its safety costs it the direct way at most."""
    sandbox = possible([*SANDBOX, what])
    server_in, client_in = (sandbox, []) if where == "server" else ([], sandbox)
    with Server(space.inside([*server_in, *SERVE])) as server:
        found = ask(space.inside(client_in), "127.0.0.1", server.port, log="off")
        assert (found, *server.paths()) == FORBIDDEN[what][where]
