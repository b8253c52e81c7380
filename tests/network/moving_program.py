"""A program that enters other network namespaces, as tools for networks and containers do.

`server NAME PORT` tells everybody its name until its standard input ends; `client PID PORT` asks,
in all sorts of ways, whom it reaches from here and from the namespace of process PID.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
import threading

CLONE_NEWNET = 0x40000000
HOST = "127.0.0.1"


def enter(descriptor) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def path_of(sock) -> str:
    enable = sys.modules.get("wsdirect.front.enable")
    if enable is None:
        return "tcp"
    info = enable.info(sock)
    return info["path"] if info["path"] != "tcp" else info["reason"]


def serve(name, port) -> None:
    def tell() -> None:
        while True:
            connection, _ = server.accept()
            with connection:
                connection.sendall(name.encode())

    with socket.create_server((HOST, port)) as server:
        server.settimeout(0.01)
        try:
            server.accept()
        except TimeoutError:
            server.settimeout(None)
        print(server.getsockname()[1], flush=True)
        threading.Thread(target=tell, daemon=True).start()
        sys.stdin.read()


def ask(sock):
    with sock:
        sock.settimeout(20)
        sock.connect((HOST, port))
        return [sock.recv(100).decode(), path_of(sock)]


def in_thread(call):
    answer = []
    thread = threading.Thread(target=lambda: answer.append(call()))
    thread.start()
    thread.join()
    return answer[0]


def made_there():
    """A socket of there, used here."""
    enter(there)
    sock = socket.socket()
    enter(here)
    return ask(sock)


def kept_from_here():
    """A socket of here, used there."""
    sock = socket.socket()
    enter(there)
    return ask(sock)


def gone_there():
    enter(there)
    return ask(socket.socket())


def gone_and_back():
    enter(there)
    enter(here)
    return ask(socket.socket())


def listens_there():
    """A listener of there, accepted on by a thread of here: clients of there find it."""
    enter(there)
    server = socket.create_server((HOST, 0))
    enter(here)
    address = server.getsockname()

    def come():
        enter(there)
        with socket.create_connection(address, timeout=20) as client:
            return client.recv(100).decode()

    def serve_one():
        with server:
            server.settimeout(20)
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"welcome")

    thread = threading.Thread(target=serve_one)
    thread.start()
    answer = in_thread(come)
    thread.join()
    return answer


def child_there(use_here_first):
    """A forked child that goes there."""
    if use_here_first:
        ask(socket.socket())
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        enter(there)
        os.write(writing, json.dumps(ask(socket.socket())).encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as answer:
        found = json.load(answer)
    os.waitpid(pid, 0)
    return found


if __name__ == "__main__":
    verb, argument, text = sys.argv[1:]
    port = int(text)
    if verb == "server":
        serve(argument, port)
    else:
        here = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(f"/proc/{argument}/ns/net", os.O_RDONLY)
        answers = {
            "here": ask(socket.socket()),
            "a child there": child_there(True),
            "a socket of there": in_thread(made_there),
            "a socket of here, used there": in_thread(kept_from_here),
            "gone there": in_thread(gone_there),
            "gone there and back": in_thread(gone_and_back),
            "a listener of there": listens_there(),
            "here again": ask(socket.socket()),
        }
        enter(there)
        answers["gone there for good"] = ask(socket.socket())
        print(json.dumps(answers))
