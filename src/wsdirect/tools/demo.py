"""`wsdirect demo`: one file, two standard programs, with the switch and without.

The server is `python -m http.server`, the client a few lines around urllib.  Neither knows of
wsdirect; each runs as a process of its own, once plain and once under `wsdirect run`, in turns.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import select
import statistics
import subprocess
import sys
import tempfile
import time

from wsdirect import reasons, status
from wsdirect.tools import namespace
from wsdirect.tools.text import paint, print_json, size_text, stop, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any

__all__ = ["main"]

PATIENCE = 60.0  # seconds for any one step
WAYS = ("plain", "switched")
HOST = "127.0.0.1"
FILE = "demo.bin"

# It waits between the header and the body: so there is time to see which path was taken, and
# what is measured is the transfer alone, not the interpreter's start.
CLIENT = """\
import hashlib, json, sys, time, urllib.request

url, size = sys.argv[1], int(sys.argv[2])
body = bytearray(size)
body[::4096] = b"x" * len(range(0, size, 4096))  # have the memory before the clock runs
view, have = memoryview(body), 0
with urllib.request.urlopen(url, timeout=60) as response:
    print("open", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    while have < size:
        count = response.readinto(view[have : have + 262144])
        if not count:
            break
        have += count
    seconds = time.perf_counter() - start
digest = hashlib.sha256(view[:have]).hexdigest()
print(json.dumps({"bytes": have, "seconds": seconds, "sha256": digest}))
"""


class Failed(Exception):
    """A step of the demonstration went wrong; the text is a sentence."""


def main(words: list[str]) -> int:
    """Run the demonstration; status 1 when the switch did nothing or a step failed."""
    parser = argparse.ArgumentParser(
        prog="wsdirect demo",
        description="Move a file from http.server to urllib on plain TCP and under the switch, "
        "check it, and compare.",
        allow_abbrev=False,
    )
    parser.add_argument("--size", type=int, default=100, metavar="MB", help="default: 100")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--json", action="store_true", help="the result as data")
    options = parser.parse_args(words)
    if not 1 <= options.size <= 4000 or not 1 <= options.rounds <= 1000:
        stop("--size is 1 to 4000 (MB), --rounds 1 to 1000.")

    alone = namespace.enter()
    try:
        with tempfile.TemporaryDirectory(prefix="wsdirect-demo-") as folder:
            result = _compare(folder, options.size * 1_000_000, options.rounds)
    except (Failed, OSError, subprocess.SubprocessError) as error:
        print(f"wsdirect: the demonstration failed: {error}", file=sys.stderr)
        return 1
    result["own_network_namespace"] = alone
    if options.json:
        print_json(result)
    else:
        _print(result)
    if result["effective"]:
        return 0
    print(f"wsdirect: the switch had no effect: {result['explanation']}", file=sys.stderr)
    return 1


def _compare(folder: str, size: int, rounds: int) -> dict[str, Any]:
    digest = _make_file(os.path.join(folder, FILE), size)
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    bar = Bar(2 * rounds)
    servers = {}
    try:
        for way in WAYS:
            bar.show(f"starting the {way} server")
            servers[way] = Server(folder, way)
        for _ in range(rounds):
            for way in WAYS:
                bar.show(way)
                run = _transfer(servers[way].port, size, way)
                if (run.pop("bytes"), run.pop("sha256")) != (size, digest):
                    raise Failed(f"the file did not arrive as it was sent ({way}).")
                runs[way].append(run)
                bar.step()
    finally:
        bar.clear()
        for server in servers.values():
            server.stop()
    ways = {way: _summary(runs[way], size) for way in WAYS}
    switched = ways["switched"]
    reason = reasons.by_code(switched["reason"]) if switched["reason"] else None
    return {
        "bytes": size,
        "rounds": rounds,
        "sha256": digest,
        "sha256_checked": 2 * rounds,
        **ways,
        "ratio": round(ways["plain"]["seconds"] / switched["seconds"], 2),
        "effective": switched["path"] not in ("tcp", None),
        "explanation": reason.explain() if reason else _why_nothing(),
    }


def _make_file(path: str, size: int) -> str:
    """Bytes that no one can compress, made faster than a cryptographic source would."""
    block = random.Random(1).randbytes(1 << 20)
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for number in range(0, size, len(block)):
            piece = (number.to_bytes(8, "big") + block[8:])[: size - number]
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


class Server:
    """`python -m http.server` on a port of its own choice."""

    def __init__(self, folder: str, way: str) -> None:
        arguments = ["-m", "http.server", "0", "--bind", HOST, "--directory", folder]
        # Its log goes to a file: a pipe that nobody reads would block it one day.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [*_python(way), *arguments],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        try:
            line = _line(self._process.stdout, "the server did not start")
            try:
                self.port = int(line.split(" port ")[1].split()[0])
            except (IndexError, ValueError):
                raise Failed(f"the server did not start: {self._last_words()}") from None
            self._wait_until_it_serves()
        except BaseException:
            self.stop()
            raise

    def _wait_until_it_serves(self) -> None:
        """It says that it serves before it does; a first answer proves it."""
        import http.client

        connection = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE)
        try:
            connection.request("HEAD", f"/{FILE}")
            connection.getresponse().read()
        finally:
            connection.close()

    def _last_words(self) -> str:
        self._process.wait(PATIENCE)
        self._log.seek(0)
        words = self._log.read().decode(errors="replace").strip().splitlines()
        return words[-1] if words else "it said nothing."

    def stop(self) -> None:
        """End the process and wait for its end."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()


def _transfer(port: int, size: int, way: str) -> dict[str, Any]:
    """One download: bytes, digest, seconds, path, reason, and what went over the loopback."""
    before = _loopback_bytes()
    client = subprocess.Popen(
        [*_python(way), "-c", CLIENT, f"http://{HOST}:{port}/{FILE}", str(size)],
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        if _line(client.stdout, "the client did not connect") != "open":
            raise Failed(f"the client failed ({way}).")
        path, reason = _path(client.pid, port, way)
        output, _ = client.communicate(b"go\n", PATIENCE)
    finally:
        if client.poll() is None:
            client.kill()
        client.communicate()
    if client.returncode != 0:
        raise Failed(f"the client failed ({way}, status {client.returncode}).")
    run: dict[str, Any] = json.loads(output)
    return {**run, "path": path, "reason": reason, "loopback": _loopback_bytes() - before}


def _path(pid: int, port: int, way: str) -> tuple[str | None, str | None]:
    """Path and reason of the client's connection, as its own status page tells them."""
    if way == "plain":
        return "tcp", reasons.SWITCHED_OFF.code
    snapshot = status.read_process(pid)
    for row in snapshot.rows if snapshot else ():
        if row.role == "connect" and row.peer is not None and row.peer[1] == port:
            reason = reasons.by_number(row.reason)
            return row.path, reason.code if reason else None
    return None, None


def _why_nothing() -> str:
    """The explanation when the client had no status page or no row in it."""
    try:
        import wsdirect._core._native  # noqa: F401
    except ImportError as error:
        return f"{reasons.NO_CORE.explain()} ({error})"
    return "the client's status page does not show the connection; wsdirect doctor may know more."


def _summary(runs: list[dict[str, Any]], size: int) -> dict[str, Any]:
    # The worst path counts: one run on TCP must not hide behind two that were switched.
    worst = next((run for run in runs if run["path"] in ("tcp", None)), runs[0])
    seconds = statistics.median(run["seconds"] for run in runs)
    return {
        "path": worst["path"],
        "reason": worst["reason"],
        "loopback_bytes": int(statistics.median(run["loopback"] for run in runs)),
        "seconds": round(seconds, 6),
        "seconds_each": [round(run["seconds"], 6) for run in runs],
        "bytes_per_second": round(size / seconds),
    }


def _python(way: str) -> list[str]:
    if way == "plain":
        return [sys.executable]
    return [sys.executable, "-m", "wsdirect", "run"]


def _environment() -> dict[str, str]:
    """The user's environment without a switch around the demo itself, and without proxies."""
    from wsdirect.tools.run import without_switch

    return {**without_switch(os.environ), "PYTHONUNBUFFERED": "1", "no_proxy": "*"}


def _line(pipe: IO[bytes] | None, problem: str) -> str:
    """The next line from the pipe; Failed when it does not come or the pipe ends."""
    assert pipe is not None
    fd, line, end = pipe.fileno(), b"", time.monotonic() + PATIENCE
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([fd], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            raise Failed(f"{problem} within {PATIENCE:.0f} seconds.")
        byte = os.read(fd, 1)
        if not byte:
            break
        line += byte
    return line.decode(errors="replace").strip()


def _loopback_bytes() -> int:
    """Bytes that the loopback interface has received so far (0 if nobody tells)."""
    try:
        with open("/proc/net/dev") as file:
            for line in file:
                name, _, numbers = line.partition(":")
                if name.strip() == "lo":
                    return int(numbers.split()[0])
    except (OSError, ValueError, IndexError):
        pass
    return 0


def _print(result: dict[str, Any]) -> None:
    for line in _lines(result):
        print(line)


def _lines(result: dict[str, Any]) -> Iterator[str]:
    yield (
        f"{size_text(result['bytes'])} from http.server to urllib, both unmodified; "
        f"median of {result['rounds']}"
    )
    yield ""
    rows = [("", "path", "over the loopback", "seconds", "per second")]
    for title, way in (("plain python", "plain"), ("wsdirect run", "switched")):
        found = result[way]
        path = found["path"] or "unknown"
        if path == "tcp" and way == "switched":
            path = f"tcp ({found['reason']})"
        rows.append((
            title, path, size_text(found["loopback_bytes"]), f"{found['seconds']:.3f}",
            size_text(found["bytes_per_second"]),
        ))  # fmt: skip
    head, *lines = table(rows, (2, 3, 4))
    yield paint(head, "bold", sys.stdout)
    yield from lines
    yield ""
    ratio = result["ratio"]
    if result["effective"]:  # else it compares TCP with TCP
        yield f"{ratio:.1f} times as fast" if ratio >= 1 else f"slower: {ratio:.2f} times as fast"
    yield f"SHA-256 of all {result['sha256_checked']} transfers is the file's"
    if not result["own_network_namespace"]:
        yield "other programs' traffic is in the loopback's bytes: no network namespace to be had"


class Bar:
    """A progress bar on standard error, if that is a terminal."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done = 0
        self._on = sys.stderr.isatty()

    def show(self, what: str) -> None:
        """Draw it, with a word on what happens now."""
        if self._on:
            full = 30 * self._done // self._steps
            bar = "#" * full + "." * (30 - full)
            sys.stderr.write(f"\r\033[K[{bar}] {self._done}/{self._steps} {what}")
            sys.stderr.flush()

    def step(self) -> None:
        """One step is done."""
        self._done += 1

    def clear(self) -> None:
        """Take it off the terminal."""
        if self._on:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
