"""The processes that are measured: started pinned, with the switch or without, and ended for sure.

Each runs in a session of its own: a ^C on the terminal reaches the bench alone, which then ends
them by their ids.  Should the bench itself be killed, workers end with it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

from wsdirect.tools.bench import cpus
from wsdirect.tools.bench.measure import CouldNot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["PATIENCE", "Process", "Worker", "environment"]

PATIENCE = 30.0
"""Seconds after which a step has failed."""

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))


def environment(switched: bool) -> dict[str, str]:
    """The environment of a measured process: no settings of the user's, no proxies."""
    from wsdirect.tools.run import environment as under_switch
    from wsdirect.tools.run import without_switch

    clean = {
        name: value
        for name, value in without_switch(os.environ).items()
        if not name.startswith("WSDIRECT_") and not name.startswith("PYTHONASYNCIO")
    }
    clean |= {"PYTHONUNBUFFERED": "1", "no_proxy": "*", "PYTHONHASHSEED": "0"}
    entries = clean.get("PYTHONPATH", "").split(os.pathsep)
    if SOURCE not in entries:
        clean["PYTHONPATH"] = os.pathsep.join(filter(None, [*entries, SOURCE]))
    return under_switch(clean, {}) if switched else clean


class Process:
    """A process that is started pinned and ended by stop().

    Args:
        command: Program and arguments; for Python begin with sys.executable.
        where: The CPUs it may use.
        switched: Run it under the launcher's environment.
        settings: WSDIRECT_* and other variables to add.
    """

    def __init__(
        self,
        command: Sequence[str],
        where: set[int],
        switched: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        # What it complains of goes to a file: a pipe that nobody reads would block it one day.
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115
        self._rest = b""
        try:
            with cpus.confined(where):
                self._process = subprocess.Popen(
                    list(command),
                    env={**environment(switched), **(settings or {})},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._complaints,
                    bufsize=0,
                    start_new_session=True,
                )
        except OSError as error:
            self._complaints.close()
            raise CouldNot(f"{command[0]} could not be started ({error.strerror})") from None

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    def write(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
        except BrokenPipeError:
            raise CouldNot(self._why("ended")) from None

    def line(self, patience: float = PATIENCE) -> str:
        """The next line of its standard output; CouldNot if it ends or keeps silent."""
        assert self._process.stdout is not None
        fd, end = self._process.stdout.fileno(), time.monotonic() + patience
        while b"\n" not in self._rest:
            left = max(0.0, end - time.monotonic())
            if not select.select([fd], [], [], left)[0]:
                raise CouldNot(self._why(f"was silent for {patience:g} seconds"))
            piece = os.read(fd, 1 << 16)
            if not piece:
                raise CouldNot(self._why("ended"))
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode(errors="replace")

    def cpu(self) -> float:
        """Seconds of CPU that it has used so far, in all its threads: to a microsecond or so."""
        total = 0
        try:
            for thread in os.listdir(f"/proc/{self.pid}/task"):
                with open(f"/proc/{self.pid}/task/{thread}/schedstat", encoding="ascii") as file:
                    total += int(file.read().split()[0])
        except (OSError, IndexError):
            # No such file in this kernel: to a clock tick, then.
            with open(f"/proc/{self.pid}/stat", encoding="utf-8") as file:
                words = file.read().rpartition(")")[2].split()
            return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
        return total / 1e9

    def _why(self, what: str) -> str:
        """What happened, with the last line of its complaints."""
        if what == "ended":
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                pass
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        return f"its process {what}" + (f": {lines[-1].rstrip('.')}" if lines else "")

    def hang_up(self, patience: float = 1.0) -> None:
        """End its standard input, and give it a little time to end by itself."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.closed:
            stdin.close()
            try:
                self._process.wait(patience)
            except subprocess.TimeoutExpired:
                pass

    def stop(self) -> None:
        """End it, and whatever it has started; twice does no harm."""
        if self._complaints.closed:
            return
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                pass
        self._signal(signal.SIGKILL)
        self._process.wait()
        for end in (self._process.stdin, self._process.stdout):
            if end is not None:
                end.close()
        self._complaints.close()

    def _signal(self, number: int) -> None:
        """To its session's process group, which has its id and holds its children as well."""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            pass


class Worker(Process):
    """A process that runs one end of a contender (worker.py) and does what it is told.

    Args:
        contender: The contender's name.
        role: "server" or "client".
        pinning: A key of cpus.PINNINGS.
    """

    def __init__(self, contender: str, role: str, pinning: str) -> None:
        from wsdirect.tools.bench.contenders import CONTENDERS

        server, client = cpus.of(pinning)
        super().__init__(
            [sys.executable, "-m", "wsdirect.tools.bench.worker", contender, role, pinning],
            server if role == "server" else client,
            CONTENDERS[contender].switched,
        )

    def stop(self) -> None:
        """Let it give back what outlives a process, if it is listening; then as every process."""
        self.hang_up()
        super().stop()

    def ask(self, do: str, **arguments: Any) -> None:
        """Tell it to call that method of its end."""
        self.write(json.dumps([do, arguments]))

    def answer(self, patience: float = PATIENCE) -> dict[str, Any]:
        """What came of it: {"value": the method's, "cpu": seconds, "seconds": seconds}."""
        answer: dict[str, Any] = json.loads(self.line(patience))
        if "error" in answer:
            raise CouldNot(answer["error"])
        return answer

    def call(self, do: str, **arguments: Any) -> Any:
        """ask() and answer(): the method's value."""
        self.ask(do, **arguments)
        return self.answer()["value"]
