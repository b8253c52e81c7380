"""Runs two ordinary programs as separate processes in a network namespace of its own.

    main_job.py SERVER_WAY CLIENT_WAY BYTES      each way is "plain" or "switched"

Prints one JSON object: what arrived, what went over the loopback, what `wsdirect ss` says.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from wsdirect.tools import namespace

SERVER = """
import hashlib, socket, sys
size = int(sys.argv[1])
block = bytes(range(256)) * 256
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    connection, _ = server.accept()
    with connection:
        asked = connection.recv(1)
        sent = 0
        while asked == b"g" and sent < size:
            piece = block[: size - sent]
            connection.sendall(piece)
            sent += len(piece)
"""

CLIENT = """
import hashlib, json, socket, sys, time
port = int(sys.argv[1])
socket.create_connection(("127.0.0.1", port)).close()   # now the server accepts for sure
time.sleep(0.2)
connection = socket.create_connection(("127.0.0.1", port))
connection.sendall(b"g")
digest, count = hashlib.sha256(), 0
while True:
    piece = connection.recv(1 << 18)
    if not piece:
        break
    digest.update(piece)
    count += len(piece)
    if count == len(piece):
        print("first", flush=True)
        sys.stdin.readline()
print(json.dumps({"bytes": count, "sha256": digest.hexdigest()}), flush=True)
"""


def loopback() -> int:
    with open("/proc/net/dev") as file:
        for line in file:
            if line.strip().startswith("lo:"):
                return int(line.split(":")[1].split()[0])
    return 0


def python(way: str) -> list[str]:
    return [sys.executable, "-m", "wsdirect", "run"] if way == "switched" else [sys.executable]


def main() -> None:
    server_way, client_way, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if not namespace.enter():
        print(json.dumps({"namespace": False}))
        return
    server = subprocess.Popen(
        [*python(server_way), "-c", SERVER, str(size)], stdout=subprocess.PIPE, text=True
    )
    try:
        port = server.stdout.readline().strip()
        before = loopback()
        client = subprocess.Popen(
            [*python(client_way), "-c", CLIENT, port],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        client.stdout.readline()
        listing = subprocess.run(
            [sys.executable, "-m", "wsdirect", "ss", "--json", "-a"],
            capture_output=True,
            text=True,
            check=True,
        )
        output, _ = client.communicate("go\n", timeout=100)
        result = json.loads(output)
        result.update(namespace=True, loopback=loopback() - before, ss=json.loads(listing.stdout))
        result.update(server=server.pid, client=client.pid)
        print(json.dumps(result))
    finally:
        os.kill(server.pid, signal.SIGTERM)
        server.wait()


if __name__ == "__main__":
    main()
