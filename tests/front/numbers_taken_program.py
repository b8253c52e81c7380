"""Prints whether the connection is switched, is strict now, and polls rightly in C."""

import asyncio
import ctypes
import select
import selectors
import socket
import sys
import threading
import time

import wsdirect
from wsdirect.switch.connection import connections


class PollFd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


class Wrapper:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def fileno(self) -> int:
        return self.sock.fileno()


async def in_a_loop(sock: socket.socket) -> None:
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    loop.add_writer(sock, lambda: None)
    loop.remove_writer(sock)
    sock.setblocking(True)


def take(sock: socket.socket, how: str) -> None:
    if how == "fileno":
        sock.fileno()
    elif how == "fileno of a file":
        with sock.makefile("rb") as file:
            file.fileno()
    elif how == "fileno of a wrapper":
        Wrapper(sock).fileno()
    elif how == "selectors":
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ)
            selector.register(Wrapper(sock).sock.dup(), selectors.EVENT_WRITE)
            for key in list(selector.get_map().values()):
                selector.unregister(key.fileobj)
                if key.fileobj is not sock:
                    key.fileobj.close()  # type: ignore[union-attr]
    elif how == "select":
        select.select([sock], [sock], [], 0)
        poller = select.poll()
        poller.register(sock)
        poller.unregister(sock)
    elif how == "repr":
        repr(sock)
    elif how == "asyncio":
        asyncio.run(in_a_loop(sock))
    elif how == "is_switched":
        wsdirect.is_switched(sock)
        wsdirect.info(sock)


def serve(listener: socket.socket) -> None:
    peer, _ = listener.accept()
    with peer:
        while request := peer.recv(1):
            peer.sendall(bytes(request[0]))


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        while wsdirect.info(listener)["path"] == "tcp":  # until somebody accepts
            time.sleep(0.01)
        with socket.create_connection(listener.getsockname()) as client:
            take(client, sys.argv[1])
            known = connections[socket.SocketType.fileno(client)]
            print(wsdirect.is_switched(client), known.stream.strict)
            client.fileno()
            libc = ctypes.CDLL(None)
            good = True
            for size in range(2, 100):
                client.sendall(bytes([size]))
                left = size
                while left:
                    one = PollFd(client.fileno(), select.POLLIN, 0)
                    good = good and libc.poll(ctypes.byref(one), 1, 20_000) == 1
                    left -= len(client.recv(size // 2))
            print(good)
        thread.join()


main()
