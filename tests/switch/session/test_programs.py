"""Unmodified programs over sessions: WSDIRECT_SESSION=always under the launcher."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FRONT = Path(__file__).parents[2] / "front"
SCENARIOS = FRONT / "scenarios.py"
_spec = importlib.util.spec_from_file_location("scenarios", SCENARIOS)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

# Scenarios about sockets that no SAN carries.
ON_TCP = {"connect_errors", "accept_modes", "udp_and_unix_sockets"}
# It looks at the receiver in the moment after a send: TCP over the loopback delivers within send().
AT_ONCE = {"readiness_of_a_full_connection"}


def environment(**more: str) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WSDIRECT")}
    # Sessions have threads, and from 3.12 on Python warns of every fork beside threads.
    clean["PYTHONWARNINGS"] = "ignore:This process:DeprecationWarning"
    return {**clean, **more}


def run(*command: str, timeout: float = 100, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(**more),
        check=False,
    )


def result(*command: str, **more: str) -> dict[str, object]:
    done = run(*command, **more)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", sorted(set(_module.scenarios) - AT_ONCE))
def test_same_as_tcp(name: str) -> None:
    plain = result(sys.executable, str(SCENARIOS), name)
    switched = result(
        *(sys.executable, "-m", "wsdirect", "run", str(SCENARIOS), name), WSDIRECT_SESSION="always"
    )
    assert switched["result"] == plain["result"]
    if name not in ON_TCP:
        assert switched["switched"]
    assert all(switched["switched"])


def job(server: str, client: str, size: int) -> dict[str, object]:
    """tests/front/main_job.py; the ways are "plain", "switched" or "session"."""
    program = f"""
import sys, runpy
sys.argv = ["main_job.py", "plain", "plain", "{size}"]
module = runpy.run_path({str(FRONT / "main_job.py")!r}, run_name="job")
ways = iter({[server, client]!r})
def python(_):
    way = next(ways)
    if way == "plain":
        return [sys.executable]
    setting = "always" if way == "session" else "auto"
    return ["env", "WSDIRECT_SESSION=" + setting, sys.executable, "-m", "wsdirect", "run"]
module["main"].__globals__["python"] = python
module["main"]()
"""
    found = result(sys.executable, "-c", program)
    if not found["namespace"]:
        pytest.skip("this system permits no network namespaces")
    assert found["bytes"] == size
    return found


def rows(found: dict[str, object], process: str) -> list[dict[str, object]]:
    return [row for row in found["ss"] if row["pid"] == found[process] and row["role"] != "listen"]


def test_the_main_job_over_a_session():
    found = job("session", "session", 100_000_000)
    assert found["loopback"] < 1_000_000
    (client,), (server,) = rows(found, "client"), rows(found, "server")
    for row in (client, server):
        assert (row["path"], row["reason"]) == ("shm", "session")
    assert client["peer_pid"] == found["server"]
    assert server["peer_pid"] == found["client"]
    assert server["peer"] == client["local"]


@pytest.mark.parametrize(
    ("server", "client", "reason"),
    [
        ("session", "switched", "no-listener"),
        ("switched", "session", "no-listener"),
        ("plain", "session", "no-listener"),
        ("session", "plain", None),
    ],
)
def test_whoever_has_no_sessions_is_met_over_tcp(server: str, client: str, reason: str | None):
    found = job(server, client, 3_000_000)
    assert found["loopback"] > 3_000_000
    if reason is not None:
        assert [(row["path"], row["reason"]) for row in rows(found, "client")] == [("tcp", reason)]


PRELUDE = """
import os, select, socket, sys, threading, time
server = socket.create_server(("127.0.0.1", 0))
server.settimeout(0.01)
try:
    server.accept()
except TimeoutError:
    pass
server.settimeout(30)
def pair():
    a = socket.create_connection(server.getsockname())
    b, _ = server.accept()
    a.settimeout(30)
    b.settimeout(30)
    return a, b
"""


def program(text: str, **more: str) -> str:
    done = run(
        *(sys.executable, "-m", "wsdirect", "run", "-c", PRELUDE + text),
        timeout=60,
        WSDIRECT_SESSION="always",
        **more,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_everything_comes_back():
    out = program(
        """
import gc, json
def held():
    import wsdirect.switch.session.pump as pump
    from wsdirect.switch.session import pairs
    from wsdirect.switch.session.driver import driver
    from wsdirect.switch import routes
    gc.collect()
    route = routes.listening_route()
    return [len(os.listdir("/proc/self/fd")), len(pump.pipes), len(driver.watched),
            sum(segment.in_use for segment in pairs.segments()), len(route.handles.handles)]
def use(how):
    a, b = pair()
    a.sendall(b"x" * 300_000)
    got = 0
    while got < 300_000:
        got += len(b.recv(100_000))
    if how == 1:
        b.send(b"unread")
        time.sleep(0.01)
    if how == 2:
        a.shutdown(socket.SHUT_WR)
        assert b.recv(1) == b""
    a.close()
    b.close()
def settled(before):
    import wsdirect.switch.session.pump as pump
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (held() != before or pump.lingering):
        time.sleep(0.01)
    return held()
for how in range(3):
    use(how)
time.sleep(0.2)
before = held()
for how in [0, 1, 2] * 10:
    use(how)
print(json.dumps([before, settled(before)]))
"""
    )
    before, after = json.loads(out)
    assert before == after
    assert before[1] == before[3] == 0


@pytest.mark.parametrize("end", ["sys.exit()", "os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_what_was_sent_before_the_end_of_the_process_arrives(end: str):
    out = program(
        f"""
import subprocess
client = '''
import os, socket, sys, time
c = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
c.sendall(b"x" * 500_000)
if "kill" in {end!r}:
    time.sleep(1)  # nobody sends what such a process has not handed over
{end}
'''
child = subprocess.Popen([sys.executable, "-c", client, str(server.getsockname()[1])])
connection, _ = server.accept()
connection.settimeout(30)
got = 0
while piece := connection.recv(100_000):
    got += len(piece)
child.wait()
import wsdirect
print(got, wsdirect.info(connection)["reason"])
"""
    )
    assert out.split() == ["500000", "session"]


def test_a_forked_child_uses_the_connection_of_its_parent():
    out = program(
        """
a, b = pair()
if os.fork() == 0:
    a.close()
    server.close()
    while piece := b.recv(1000):
        b.sendall(piece.upper())
    os._exit(0)
b.close()
for _ in range(50):
    a.sendall(b"hello")
    assert a.recv(100) == b"HELLO"
a.shutdown(socket.SHUT_WR)
assert a.recv(1) == b""
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    )
    assert out.strip() == "0"


def test_a_forked_child_connects_on_its_own():
    out = program(
        """
a, b = pair()
if os.fork() == 0:
    c = socket.create_connection(server.getsockname())
    c.sendall(b"from the child")
    assert c.recv(10) == b"answer"
    os._exit(0)
c, _ = server.accept()
c.settimeout(30)
print(c.recv(100))
c.sendall(b"answer")
a.sendall(b"still")
print(b.recv(10), os.waitstatus_to_exitcode(os.wait()[1]))
"""
    )
    assert out.splitlines() == ["b'from the child'", "b'still' 0"]


def test_an_idle_process_uses_no_time():
    out = program(
        """
a, b = pair()
a.sendall(b"x"); b.recv(1)
before = time.process_time()
time.sleep(1)
print(time.process_time() - before)
"""
    )
    assert float(out) < 0.2


def test_a_peer_that_is_killed_is_noticed():
    out = program(
        """
import signal, subprocess
client = '''
import socket, sys, time
c = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
c.sendall(b"here")
time.sleep(60)
'''
child = subprocess.Popen([sys.executable, "-c", client, str(server.getsockname()[1])])
connection, _ = server.accept()
connection.settimeout(30)
print(connection.recv(4))
child.send_signal(signal.SIGKILL)
print(connection.recv(4))
try:
    for _ in range(100):
        connection.sendall(b"x" * 1000)
        time.sleep(0.01)
except OSError as error:
    print(type(error).__name__)
child.wait()
"""
    )
    assert out.splitlines()[:2] == ["b'here'", "b''"]
    assert out.splitlines()[2] in ("BrokenPipeError", "ConnectionResetError")
