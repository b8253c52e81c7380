"""Sessions over real providers within this process, and what they must not leave behind."""

from __future__ import annotations

import itertools
import select
import threading
import time

from wsdirect.spi.constants import AF_INET
from wsdirect.spi.errors import WSAENOBUFS
from wsdirect.spi.structures import WSAPROTOCOL_INFOW
from wsdirect.spi.upcalls import HandleSpace
from wsdirect.switch.session import accepting, connecting
from wsdirect.switch.session.functions import Functions, Limits, request_finished

HOST = "127.0.0.1"
PATIENCE = 20.0
INFO = WSAPROTOCOL_INFOW("TCP/IP")
ports = itertools.count(21000)


class Narrow(Functions):
    """Functions of a provider that can less than it does, and counts what it has to give back."""

    __slots__ = ("message_sizes", "narrow", "open_memory", "open_rdma", "rdma_sizes", "refuse_rdma")

    def __init__(self, provider, read=True, rdma=True, limits=None):
        super().__init__(provider)
        self.narrow = limits or {}
        self.open_memory = 0
        self.open_rdma = 0
        self.refuse_rdma = False
        self.rdma_sizes = []
        self.has_rdma = self.has_rdma and rdma
        if not read:
            self.read = None
        register, deregister = self.register, self.deregister
        register_rdma, deregister_rdma = self.register_rdma, self.deregister_rdma

        def counted_register(*args):
            handle = register(*args)
            self.open_memory += 1
            return handle

        def counted_deregister(*args):
            deregister(*args)
            self.open_memory -= 1

        def counted_register_rdma(*args):
            if self.refuse_rdma:
                raise WSAENOBUFS
            descriptor = register_rdma(*args)
            self.open_rdma += 1
            return descriptor

        def counted_deregister_rdma(*args):
            deregister_rdma(*args)
            self.open_rdma -= 1

        def sized(function):
            def call(s, buffers, *args):
                self.rdma_sizes.append(sum(memoryview(buffer[0]).nbytes for buffer in buffers))
                return function(s, buffers, *args)

            return call

        self.register, self.deregister = counted_register, counted_deregister
        self.register_rdma, self.deregister_rdma = counted_register_rdma, counted_deregister_rdma
        self.write = sized(self.write)
        if self.read is not None:
            self.read = sized(self.read)

    def limits(self, s):
        found = super().limits(s)
        return Limits(
            self.narrow.get("message", found.message),
            self.narrow.get("rdma", found.rdma) if self.has_rdma else 0,
            self.narrow.get("threshold", found.threshold),
        )


class San:
    """A started provider, and pairs of sessions over it."""

    def __init__(self, provider):
        self.provider = provider
        self.handles = HandleSpace(request_finished)
        provider.WSPStartupEx(0x0202, INFO, self.handles)
        self.sessions = []
        self.acceptors = []

    def functions(self, **kwargs):
        return Narrow(self.provider, **kwargs)

    def acceptor(self, functions=None, **kwargs):
        port = next(ports)
        kwargs = {"backlog": 8, "patience": PATIENCE, **kwargs}
        made = accepting.Acceptor(
            functions or self.functions(), INFO, AF_INET, (HOST, port), **kwargs
        )
        self.acceptors.append(made)
        return made, port

    def connect(self, port, functions=None, timeout=PATIENCE):
        made = connecting.connect(
            functions or self.functions(),
            INFO,
            AF_INET,
            (HOST, next(ports)),
            (HOST, port),
            timeout,
        )
        self.sessions.append(made)
        return made

    def accept(self, acceptor):
        assert select.select([acceptor.fileno()], [], [], PATIENCE)[0]
        session, local, peer = acceptor.take()
        self.sessions.append(session)
        return session, local, peer

    def pair(self, a=None, b=None):
        acceptor, port = self.acceptor(b)
        active = self.connect(port, a)
        passive = self.accept(acceptor)[0]
        acceptor.close()
        return active, passive

    def close(self):
        for session in self.sessions:
            session.drop()
        for acceptor in self.acceptors:
            acceptor.close()
        deadline = time.monotonic() + PATIENCE  # another thread may be at the last of them
        while self.handles.handles and time.monotonic() < deadline:
            time.sleep(0.01)
        left = self.handles.handles
        self.provider.WSPCleanup()
        assert left == []


def send_all(session, data):
    view = memoryview(data)
    while view.nbytes:
        assert session.wait(session.writable, PATIENCE)
        try:
            view = view[session.send(view) :]
        except BlockingIOError:
            time.sleep(0)


def read_all(session, size=70_000):
    got, buffer = bytearray(), bytearray(size)
    while True:
        assert session.wait(session.readable, PATIENCE), "nothing came"
        count = session.recv_into(buffer)
        if not count:
            return bytes(got)
        got += buffer[:count]


def read_some(session, size):
    buffer = bytearray(size)
    assert session.wait(session.readable, PATIENCE), "nothing came"
    return bytes(buffer[: session.recv_into(buffer)])


class InThread:
    """Runs a function and hands over what it returns or raises."""

    def __init__(self, function, *args):
        self._result = None
        self._error = None

        def run():
            try:
                self._result = function(*args)
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def result(self):
        self._thread.join(PATIENCE * 2)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error
        return self._result
