import io
import json
import os
import time

import pytest

from wsdirect import reasons, settings, status
from wsdirect.tools import cli as command
from wsdirect.tools import text


def test_help(cli):
    for words in ([], ["--help"], ["-h"], ["help"]):
        ended = cli(*words)
        assert ended.returncode == 0
        for name, doc in command.SUBCOMMANDS.items():
            assert f"{name} " in ended.stdout
            assert doc in ended.stdout


@pytest.mark.parametrize("name", command.SUBCOMMANDS)
def test_help_of_each(cli, name):
    ended = cli(name, "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"usage: wsdirect {name}")


def test_version(cli):
    import wsdirect

    for option in ("--version", "-V"):
        assert cli(option).stdout == f"wsdirect {wsdirect.__version__}\n"


def test_unknown_attribute():
    import wsdirect

    with pytest.raises(AttributeError, match="no attribute 'enabled'"):
        wsdirect.enabled  # noqa: B018


def test_unknown_command(cli):
    ended = cli("docter")
    assert ended.returncode == 2
    assert ended.stderr == "wsdirect: there is no command 'docter': did you mean doctor?\n"
    assert "there are run, demo" in cli("zzzzz").stderr


def test_env(cli):
    found = json.loads(cli("env", "--json", env={"WSDIRECT_RING": "1M"}).stdout)
    assert [one["name"] for one in found] == [one.name for one in settings.ALL]
    ring = next(one for one in found if one["name"] == "WSDIRECT_RING")
    assert (ring["value"], ring["source"], ring["default"]) == ("1M", "environment", "262144")
    lines = cli("env", env={"WSDIRECT_RING": "1M"}).stdout
    assert "WSDIRECT_RING=1M\n" in lines
    assert "\033" not in lines
    for one in settings.ALL:
        assert one.doc in lines


def test_a_bad_setting_is_a_sentence(cli):
    ended = cli("env", env={"WSDIRECT_LOGS": "1"})
    assert ended.returncode == 2
    assert ended.stderr == (
        "wsdirect: WSDIRECT_LOGS is not a setting of wsdirect: did you mean WSDIRECT_LOG?\n"
    )


@pytest.fixture
def connections():
    """Rows in this process's own page, for ss to find."""
    page = status.page()
    rows = [
        page.open_row(
            fd=5, role="connect", path="shm", provider="shm", peer_pid=4321,
            local=("127.0.0.1", 40001), peer=("127.0.0.1", 8000),
        ),
        page.open_row(
            fd=6, role="connect", reason=reasons.NO_LISTENER.number,
            local=("::1", 40002), peer=("::1", 5432),
        ),
        page.open_row(fd=7, role="listen", local=("0.0.0.0", 8000)),
        page.open_row(fd=8, role="accept", reason=999, peer=("127.0.0.1", 2)),
    ]  # fmt: skip
    traffic = page.traffic(rows[0]).cast("Q")
    traffic[0], traffic[1] = 1500, 2_000_000_000
    yield
    for row in rows:
        page.close_row(row)


def mine(found):
    return [one for one in found if one["pid"] == os.getpid()]


@pytest.mark.usefixtures("connections")
def test_ss_as_data(cli):
    first, second, third = mine(json.loads(cli("ss", "--json").stdout))
    assert first["peer"] == "127.0.0.1:8000"
    assert (first["path"], first["reason"], first["provider"]) == ("shm", "switched", "shm")
    assert (first["tx"], first["rx"], first["peer_pid"]) == (1500, 2_000_000_000, 4321)
    assert 0 <= first["age"] < 60
    assert (second["peer"], second["reason"]) == ("[::1]:5432", "no-listener")
    assert (third["role"], third["reason"], third["local"]) == ("accept", "999", None)
    assert len(mine(json.loads(cli("ss", "-a", "--json").stdout))) == 4


@pytest.mark.usefixtures("connections")
def test_ss_as_text(cli):
    head, *lines = cli("ss", "-a").stdout.splitlines()
    lines = [line for line in lines if f" {os.getpid()} " in f" {line} "]
    assert head.split() == ["PID", "PROCESS", "ROLE", "LOCAL", "PEER", "PATH", "REASON",
                            "TX", "RX", "AGE"]  # fmt: skip
    assert len(lines) == 4
    for word in ("127.0.0.1:8000", "shm", "switched", "1.5 kB", "2.0 GB"):
        assert word in lines[0]
    at = head.index("PEER")
    assert lines[1][at:].startswith("[::1]:5432")
    assert lines[2][at:].startswith("-")
    assert "\033" not in "".join(lines)


def test_ss_survives_a_process_that_ends(cli, monkeypatch):
    page = status.Page()
    page.open_row(fd=1, role="connect")
    try:
        listing = os.listdir
        monkeypatch.setattr(
            os, "listdir", lambda path: ["1", "999999999", "x"] if path == "/proc" else
            listing(path),
        )  # fmt: skip
        assert all(one.pid == 1 for one in status.read_all())
    finally:
        os.close(page.fd)


def test_output_that_nobody_reads_to_its_end(environ):
    import subprocess
    import sys

    writer = subprocess.Popen(
        [sys.executable, "-m", "wsdirect", "env"],
        env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    writer.stdout.close()
    errors = writer.stderr.read()
    writer.stderr.close()
    assert writer.wait(30) == 141
    assert errors == b""


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_951, "1.0 MB"),
     (2e9, "2.0 GB"), (2**64, "18446.7 PB")],
)  # fmt: skip
def test_size_text(count, expected):
    assert text.size_text(count) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-1, "0s"), (59.9, "59s"), (61, "1m01s"), (3700, "1h01m"), (90000, "1d01h")],
)
def test_age_text(seconds, expected):
    assert text.age_text(seconds) == expected


def test_table():
    assert text.table([("a", "bb"), ("ccc", "d")], [1]) == ["a    bb", "ccc   d"]
    assert text.table([]) == []


def test_colour_only_on_terminals(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert text.paint("x", "red", Terminal()) == "\033[31mx\033[0m"
    assert text.paint("x", "red", io.StringIO()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert text.paint("x", "red", Terminal()) == "x"


def test_reading_pages_is_quick():
    """The tools read every page of the machine: an empty one must cost next to nothing."""
    page = status.Page()
    page.open_row(fd=1, role="connect")
    try:
        start = time.perf_counter()
        for _ in range(20):
            status._read_page(page.fd, os.getpid())
        assert time.perf_counter() - start < 1
    finally:
        os.close(page.fd)
