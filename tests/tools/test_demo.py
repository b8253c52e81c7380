import json
import os
import subprocess
import sys
import time

import pytest

from wsdirect.tools import demo
from wsdirect.tools.text import Usage


def left_over(directory):
    """Processes that a demo in this directory forgot; other runs may have theirs meanwhile."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read()
        except OSError:
            continue
        if os.fsencode(directory) in words:
            found.append(pid)
    return found


def test_the_whole_demo(cli, tmp_path):
    ended = cli("demo", "--json", "--size", "2", "--rounds", "1", env={"TMPDIR": str(tmp_path)})
    result = json.loads(ended.stdout)
    assert result["bytes"] == 2_000_000
    assert result["sha256_checked"] == 2
    assert result["plain"]["path"] == "tcp"
    assert result["plain"]["seconds"] > 0
    if result["own_network_namespace"]:
        assert 2_000_000 < result["plain"]["loopback_bytes"] < 2_200_000
    if result["effective"]:
        assert (ended.returncode, result["switched"]["path"]) == (0, "shm")
        if result["own_network_namespace"]:
            assert result["switched"]["loopback_bytes"] < 100_000
    else:
        assert ended.returncode == 1
        assert ended.stderr.splitlines()[-1].startswith("wsdirect: the switch had no effect: ")
    assert list(tmp_path.iterdir()) == []
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("words", [["--size", "0"], ["--size", "9999"], ["--rounds", "0"]])
def test_mistakes(words):
    with pytest.raises(Usage):
        demo.main(words)


def test_the_file_is_the_size_and_digest_it_claims(tmp_path):
    import hashlib

    path = tmp_path / "file"
    digest = demo._make_file(str(path), 2_500_001)
    data = path.read_bytes()
    assert len(data) == 2_500_001
    assert hashlib.sha256(data).hexdigest() == digest


def test_a_server_that_does_not_start_says_why(tmp_path, monkeypatch, environ):
    monkeypatch.setattr(demo, "HOST", "999.0.0.1")
    with pytest.raises(demo.Failed, match=r"did not start: .*[a-z]"):
        demo.Server(str(tmp_path), "plain")


def test_a_silent_process_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(demo, "PATIENCE", 0.2)
    start = time.monotonic()
    silent = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], stdout=subprocess.PIPE
    )
    try:
        with pytest.raises(demo.Failed, match="it hung within 0 seconds"):
            demo._line(silent.stdout, "it hung")
    finally:
        silent.kill()
        silent.communicate()
    assert time.monotonic() - start < 10


def run(path, seconds):
    return {"path": path, "reason": "switched", "seconds": seconds, "loopback": 10}


def test_one_run_on_tcp_does_not_hide():
    runs = [run("shm", 3.0), {**run("tcp", 1.0), "reason": "backlog-full"}, run("shm", 2.0)]
    summary = demo._summary(runs, 1000)
    assert (summary["path"], summary["reason"]) == ("tcp", "backlog-full")
    assert summary["seconds"] == 2.0
    assert summary["bytes_per_second"] == 500
    assert demo._summary([run("shm", 1.0)], 1)["path"] == "shm"


def test_the_table():
    way = {"path": "shm", "reason": "switched", "loopback_bytes": 5_000, "seconds": 0.02,
           "bytes_per_second": 5_000_000_000}  # fmt: skip
    result = {
        "bytes": 100_000_000, "rounds": 3, "sha256_checked": 6, "ratio": 2.5, "switched": way,
        "plain": {**way, "path": "tcp", "loopback_bytes": 100_100_000},
        "own_network_namespace": True, "effective": True,
    }  # fmt: skip
    lines = list(demo._lines(result))
    assert lines[3].split() == ["plain", "python", "tcp", "100.1", "MB", "0.020", "5.0", "GB"]
    assert lines[4].split() == ["wsdirect", "run", "shm", "5.0", "kB", "0.020", "5.0", "GB"]
    assert lines[6] == "2.5 times as fast"
    result["switched"] = {**way, "path": "tcp", "reason": "no-listener"}
    result["own_network_namespace"] = result["effective"] = False
    lines = list(demo._lines(result))
    assert "tcp (no-listener)" in lines[4]
    assert "no network namespace" in lines[-1]
    assert "fast" not in "".join(lines)
