"""Connections that a library made past Python's sockets appear in `wsdirect ss`, with a reason."""

import json
import socket
import subprocess
import sys

import pytest

from wsdirect.tools import unreached

# As a library in C does it: `_socket.socket` is never grafted, and `socket` is not imported.
CONNECT = """
import _socket, sys
sock = _socket.socket(getattr(_socket, sys.argv[1]))
sock.connect((sys.argv[2], int(sys.argv[3])))
print("connected", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("family", "host"), [("AF_INET", "127.0.0.1"), ("AF_INET6", "::1")], ids=["IPv4", "IPv6"]
)
def test_a_connection_made_in_c_is_shown(family, host, environ, cli):
    with socket.create_server((host, 0), family=getattr(socket, family)) as listener:
        port = listener.getsockname()[1]
        program = subprocess.Popen(
            [sys.executable, "-m", "wsdirect", "run", "-c", CONNECT, family, host, str(port)],
            env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        with program, listener.accept()[0]:
            assert program.stdout.readline() == b"connected\n"
            rows = json.loads(cli("ss", "--json").stdout)
            (row,) = [row for row in rows if row["pid"] == program.pid]
            assert f"{program.pid} " in cli("ss").stdout
            program.stdin.close()
    assert (row["path"], row["reason"]) == ("tcp", "unhooked-connect")
    assert row["peer"] == (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    assert (row["role"], row["tx"], row["age"]) == ("connect", None, None)


def test_a_connection_after_disable_is_not_called_unhooked(environ, cli):
    off = "import socket, wsdirect\nwsdirect.enable()\nwsdirect.disable()\n" + CONNECT
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        program = subprocess.Popen(
            [sys.executable, "-c", off, "AF_INET", "127.0.0.1", str(port)],
            env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        with program, listener.accept()[0]:
            assert program.stdout.readline() == b"connected\n"
            rows = json.loads(cli("ss", "--json").stdout)
            program.stdin.close()
    assert [row["reason"] for row in rows if row["pid"] == program.pid] == ["switched-off"]


def test_a_connection_outside_the_switch_is_not_shown(environ, cli):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        program = subprocess.Popen(
            [sys.executable, "-c", CONNECT, "AF_INET", "127.0.0.1", str(port)],
            env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        with program, listener.accept()[0]:
            program.stdout.readline()
            rows = json.loads(cli("ss", "--json").stdout)
            program.stdin.close()
    assert program.pid not in [row["pid"] for row in rows]


@pytest.mark.skipif(sys.byteorder != "little", reason="the words are in the machine's byte order")
@pytest.mark.parametrize(
    ("text", "family", "name"),
    [
        ("0100007F:1F90", socket.AF_INET, ("127.0.0.1", 8080)),
        ("00000000000000000000000001000000:0050", socket.AF_INET6, ("::1", 80)),
        ("0000000000000000FFFF00000100007F:0050", socket.AF_INET6, ("127.0.0.1", 80)),
    ],
)
def test_addresses_of_the_kernels_tables(text, family, name):
    assert unreached._name(text, family) == name
