"""Two processes, one connection of the shared-memory SAN: messages, and RDMA into the peer.

    python examples/rdma.py

The parent exposes a megabyte and sends a message that says where.  The child writes into it without
the parent taking part, reads it back, and sends a message that says that it is done.
"""

import os

from wsdirect.spi import (
    WSABUFEX,
    WSAOVERLAPPED,
    Event,
    HandleSpace,
    MemoryAccess,
    WSAError,
    load,
)
from wsdirect.spi.constants import AF_INET, FD_ACCEPT, FD_CONNECT, IPPROTO_TCP, SOCK_STREAM

HOST, PORT, SIZE = "127.0.0.1", 7008, 1 << 20
WHOLE = MemoryAccess.MEM_READWRITE


class End:
    """A started provider, with one socket that is connected to the other process."""

    def __init__(self):
        self.san = load("shm")
        # A table with the upcalls that notify.  Here every request is polled: it stays unused.
        self.san.WSPStartupEx(0x0202, self.san.protocol_info, HandleSpace())
        self.event = Event()

    def socket(self, port, events):
        s = self.san.WSPSocket(AF_INET, SOCK_STREAM, IPPROTO_TCP)
        self.san.WSPBind(s, (HOST, port))
        self.san.WSPEventSelect(s, self.event, events)
        return s

    def wait(self, s, events):
        self.event.wait()
        happened = self.san.WSPEnumNetworkEvents(s, self.event)
        if happened.error(events):
            raise WSAError(happened.error(events))

    def finish(self, s, function, *arguments):
        """Make a polled request and wait for its end: the bytes transferred."""
        request = WSAOVERLAPPED(polled=True)
        function(s, *arguments, 0, request)
        return self.san.WSPGetOverlappedResult(s, request, True)

    def memory(self, s, size):
        """Memory that messages and RDMA may use."""
        buffer = bytearray(size)
        return buffer, self.san.WSPRegisterMemory(s, buffer, WHOLE)


def parent():
    here = End()
    listener = here.socket(PORT, FD_ACCEPT)
    here.san.WSPListen(listener)
    if os.fork() == 0:
        child()
        os._exit(0)
    here.wait(listener, FD_ACCEPT)
    s, peer = here.san.WSPAccept(listener, lambda request: 0)
    print(f"parent: accepted {peer}")

    window = bytearray(SIZE)
    descriptor = here.san.WSPRegisterRdmaMemory(s, window, WHOLE)
    message, _ = here.memory(s, 64)
    message[: len(descriptor)] = descriptor
    here.finish(s, here.san.WSPSend, [memoryview(message)[: len(descriptor)]])
    length = here.finish(s, here.san.WSPRecv, [message])
    print(f"parent: the child says {bytes(message[:length])!r}")
    written = SIZE - window.count(0)
    print(f"parent: {written} bytes were written here, the first are {bytes(window[:5])!r}")

    here.san.WSPDeregisterRdmaMemory(s, descriptor)
    here.san.WSPCloseSocket(s)
    here.san.WSPCleanup()
    os.wait()


def child():
    here = End()
    s = here.socket(45001, FD_CONNECT)
    try:
        here.san.WSPConnect(s, (HOST, PORT))
    except BlockingIOError:  # WSAEWOULDBLOCK
        here.wait(s, FD_CONNECT)

    message, _ = here.memory(s, 64)
    length = here.finish(s, here.san.WSPRecv, [message])
    descriptor = bytes(message[:length])

    data, handle = here.memory(s, SIZE)
    data[:] = b"RDMA!" * (SIZE // 5) + b"."
    written = here.finish(s, here.san.WSPRdmaWrite, [WSABUFEX(data, handle)], descriptor, 0)
    back, handle = here.memory(s, 10)
    here.finish(s, here.san.WSPRdmaRead, [WSABUFEX(back, handle)], descriptor, 5)
    print(f"child: wrote {written} bytes, read {bytes(back)!r} back")
    message[:4] = b"done"
    here.finish(s, here.san.WSPSend, [memoryview(message)[:4]])
    try:
        here.finish(s, here.san.WSPRecv, [message])
    except ConnectionResetError:  # to a SAN every close is abortive: the parent has closed
        print("child: the parent has closed the connection")


if __name__ == "__main__":
    parent()
