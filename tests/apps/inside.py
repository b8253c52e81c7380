"""Runs an app in a fresh network namespace: once as it is, then under `wsdirect run`.

    unshare -n python inside.py < job.json

Prints as JSON what each run's client said, and what went over the loopback interface meanwhile.
Nothing else uses that interface, so its counter has the app's bytes and no others.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from typing import IO, Any

from wsdirect import status

LISTEN = "0A"  # the state's name in /proc/net/tcp
PATIENCE = 10.0
END = "done\n"  # a client says it when it has all it wanted and its connections are still open


def loopback_up() -> None:
    get_flags, set_flags, up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = fcntl.ioctl(sock, get_flags, struct.pack("16sh22x", b"lo", 0))
        flags = struct.unpack_from("h", request, 16)[0]
        fcntl.ioctl(sock, set_flags, struct.pack("16sh22x", b"lo", flags | up))


def loopback_bytes() -> int:
    with open("/proc/net/dev") as file:
        return next(int(line.split()[1]) for line in file if line.lstrip().startswith("lo:"))


def listens(port: int) -> bool:
    """Whether some program of this namespace listens on that TCP port."""
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(name) as file:
            fields = [line.split() for line in file][1:]
        if any(int(at[1].split(":")[1], 16) == port and at[3] == LISTEN for at in fields):
            return True
    return False


def accepts_switched(port: int) -> bool:
    """Whether some program accepts switched connections on that port by now."""
    return any(
        row.role == "listen" and row.local is not None and row.local[1] == port
        for snapshot in status.read_all()
        for row in snapshot.rows
    )


class Program:
    """A program of the app, in a process group of its own, with its output in files."""

    def __init__(self, command: list[str], environ: dict[str, str], folder: str) -> None:
        self.out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the program
        self.err: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=self.out,
            stderr=self.err,
            env=environ,
            cwd=folder,
            start_new_session=True,
        )

    def send(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def said(self) -> str:
        # by its number: the program's own position in the file is this one's, too
        return os.pread(self.out.fileno(), 1 << 20, 0).decode(errors="replace")

    def complained(self) -> str:
        return os.pread(self.err.fileno(), 1 << 20, 0).decode(errors="replace")

    def end(self) -> None:
        """Ask it to end, as a service manager does; insist after a while."""
        if self.process.poll() is None:
            self.process.terminate()  # the program alone: its children are its own to end
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.send(signal.SIGABRT)  # faulthandler shows where it is
                time.sleep(0.5)
        self.send(signal.SIGKILL)
        self.process.wait()


class Run:
    """One run of server and client."""

    def __init__(self, job: dict[str, Any], launched: bool) -> None:
        self.job = job
        self.launched = launched
        self.port: int = job["port"] + launched
        self.programs: list[Program] = []
        self.late = False

    def start(self, command: list[str], launched: bool) -> Program:
        words = [str(self.port) if word == "PORT" else word.replace(":PORT", f":{self.port}")
                 for word in command]  # fmt: skip
        environ = dict(self.job["environ"])
        if launched:
            words = [sys.executable, "-m", "wsdirect", "run", *words]
        elif words[0] == "-m" or words[0].endswith(".py"):
            words = [sys.executable, *words]
        program = Program(words, environ, self.job["folder"])
        self.programs.append(program)
        return program

    def give_up(self) -> None:
        self.late = True
        for program in self.programs:
            program.send(signal.SIGABRT)
        time.sleep(0.5)
        for program in self.programs:
            program.send(signal.SIGKILL)

    def until(self, holds: Any, *arguments: Any) -> None:
        """Wait until the server is so far, or has ended, or it has taken too long."""
        deadline = time.monotonic() + PATIENCE
        while not holds(*arguments) and time.monotonic() < deadline:
            if self.programs[0].process.poll() is not None:
                return
            time.sleep(0.02)

    def go(self) -> dict[str, Any]:
        timer = threading.Timer(self.job["seconds"], self.give_up)
        timer.start()
        before = loopback_bytes()
        started = time.monotonic()
        rows = []
        try:
            if self.job["server"]:
                self.start(self.job["server"], self.launched and not self.job["plain_server"])
                self.until(listens, self.port)
                if self.launched and self.job["path"] == "shm":
                    self.until(accepts_switched, self.port)  # earlier clients stay on TCP
            client = self.start(self.job["client"], self.launched)
            while client.process.poll() is None and END not in client.said():
                time.sleep(0.01)
            if self.launched and client.process.poll() is None:
                rows = self.shown()
            client.process.communicate()
        finally:
            for program in reversed(self.programs):
                program.end()
            timer.cancel()
        return {
            "said": client.said(),
            "status": client.process.returncode,
            "statuses": [program.process.returncode for program in self.programs],
            "complaints": [program.complained() for program in self.programs],
            "late": self.late,
            "bytes": loopback_bytes() - before,
            "seconds": round(time.monotonic() - started, 1),
            "rows": rows,
        }

    def shown(self) -> list[dict[str, Any]]:
        """What `wsdirect ss` shows."""
        found = subprocess.run(
            [sys.executable, "-m", "wsdirect", "ss", "--json"],
            env=self.job["environ"],
            stdout=subprocess.PIPE,
            check=True,
        )
        rows: list[dict[str, Any]] = json.loads(found.stdout)
        return [row for row in rows if f":{self.port}" in f"{row['local']} {row['peer']}"]


def main() -> None:
    job = json.load(sys.stdin)
    loopback_up()
    # a /dev/shm of its own, which nobody tidies up: the semaphores of multiprocessing live there
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/dev/shm"], check=True)
    print(json.dumps([Run(job, launched).go() for launched in job["runs"]]))


if __name__ == "__main__":
    main()
