"""A provider with its switch side, and processes to run one in."""

import gc
import os
import time

from wsdirect.providers.shm.service_provider import SharedMemoryProvider
from wsdirect.spi.constants import (
    AF_INET,
    FD_ACCEPT,
    FD_CONNECT,
    IPPROTO_TCP,
    MEM_READ,
    MEM_READWRITE,
    MEM_WRITE,
    SO_MAX_MSG_SIZE,
    SOCK_STREAM,
    SOL_SOCKET,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.native import SO_NATIVE_STREAM, native_stream_of
from wsdirect.spi.overlapped import WSAOVERLAPPED, Event
from wsdirect.spi.upcalls import HandleSpace

HOST = "127.0.0.1"
PATIENCE = 10.0


class San:
    """A started provider, and a switch that writes down every upcall."""

    def __init__(self):
        self.completed = []
        self.on_complete = None
        self.switch = HandleSpace(self._complete)
        self.provider = SharedMemoryProvider()
        self.provider.WSPStartupEx(0x0202, self.provider.protocol_info, self.switch)
        self.native = native_stream_of(self.provider)
        self.open = True

    def _complete(self, s, overlapped, error, transferred):
        self.completed.append((s, overlapped, error, transferred))
        if self.on_complete is not None:
            self.on_complete(s, overlapped, error, transferred)

    def close(self):
        if self.open:
            self.open = False
            self.provider.WSPCleanup()

    def socket(self, port=0, host=HOST, native=False, family=AF_INET):
        """A bound socket."""
        s = self.provider.WSPSocket(family, SOCK_STREAM, IPPROTO_TCP)
        if native:
            self.provider.WSPSetSockOpt(s, SOL_SOCKET, SO_NATIVE_STREAM, 1)
        self.provider.WSPBind(s, (host, port))
        return s

    def listen(self, port, backlog=16, host=HOST, native=False, family=AF_INET):
        s = self.socket(port, host, native, family)
        self.provider.WSPListen(s, backlog)
        return s

    def connect(self, port, host=HOST, native=False):
        """A connected native stream, or a message connect under way with its event."""
        s = self.socket(45000, host, native)
        if native:
            self.provider.WSPConnect(s, (host, port))
            return s
        event = Event()
        self.provider.WSPEventSelect(s, event, FD_CONNECT)
        try:
            self.provider.WSPConnect(s, (host, port))
        except WSAError as error:
            if error.winerror != WsaErrorCode.WSAEWOULDBLOCK:
                raise
        return s, event

    def connected(self, s, event):
        """Wait for the end of a connect; its Winsock code."""
        assert event.wait(PATIENCE)
        events = self.provider.WSPEnumNetworkEvents(s, event)
        assert events.lNetworkEvents == FD_CONNECT
        return events.error(FD_CONNECT)

    def accept(self, s, condition=None):
        """Wait for a request and accept it."""
        event = Event()
        self.provider.WSPEventSelect(s, event, FD_ACCEPT)
        assert event.wait(PATIENCE)
        assert self.provider.WSPEnumNetworkEvents(s, event).lNetworkEvents == FD_ACCEPT
        return self.provider.WSPAccept(s, condition)

    def pair(self, port):
        """Two connected sockets for messages: (connecting, accepted)."""
        listener = self.listen(port)
        a, event = self.connect(port)
        b, _ = self.accept(listener)
        assert self.connected(a, event) == 0
        self.provider.WSPCloseSocket(listener)
        return a, b

    def register(self, s, buffer, access=MEM_READWRITE):
        """Register a buffer for as long as the socket lives; its handle."""
        return self.provider.WSPRegisterMemory(s, buffer, access)

    def _registered(self, s, buffers, access):
        for buffer in buffers:
            if memoryview(buffer).nbytes:
                self.register(s, buffer, access)

    def send(self, s, *buffers, polled=True):
        """Register the buffers and send them."""
        self._registered(s, buffers, MEM_READ)
        overlapped = WSAOVERLAPPED(polled=polled)
        assert self.provider.WSPSend(s, buffers, 0, overlapped) is None
        return overlapped

    def recv(self, s, *buffers, polled=True):
        """Register the buffers and receive into them."""
        self._registered(s, buffers, MEM_WRITE)
        overlapped = WSAOVERLAPPED(polled=polled)
        assert self.provider.WSPRecv(s, buffers, 0, overlapped) is None
        return overlapped

    def wait(self, s, overlapped):
        return self.provider.WSPGetOverlappedResult(s, overlapped, True)

    def limit(self, s):
        return self.provider.WSPGetSockOpt(s, SOL_SOCKET, SO_MAX_MSG_SIZE)

    def receive(self, s, size=4096):
        """One message, polled."""
        buffer = bytearray(size)
        return bytes(buffer[: self.wait(s, self.recv(s, buffer))])


def code_of(call, *arguments):
    """The Winsock code that a call raises; 0 if none."""
    try:
        call(*arguments)
    except WSAError as error:
        return error.winerror
    return 0


def eventually(condition, patience=PATIENCE):
    """Whether a condition comes true in time."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def resources():
    """(descriptors, mapped segments, threads) of this process."""
    gc.collect()
    with open("/proc/self/maps") as maps:
        mapped = sum("memfd:wsdirect-segment" in line for line in maps)
    return len(os.listdir("/proc/self/fd")), mapped, len(os.listdir("/proc/self/task"))
