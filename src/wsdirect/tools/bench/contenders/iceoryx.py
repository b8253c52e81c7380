"""iceoryx2's Python binding: publish-subscribe in both directions, polled.

It has no blocking receive for data: who waits asks again and again, and yields the CPU where both
ends share it.  Received bytes are copied out, as every other contender does.
"""

from __future__ import annotations

import ctypes
import gc
import os
import time
from typing import TYPE_CHECKING, Any

import iceoryx2

from wsdirect.tools.bench.contenders.end import End, Lost

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsdirect.tools.bench.contenders.end import Loop

__all__ = ["PublishSubscribe"]

QUEUE = 64  # messages; the publisher waits when it is full
PATIENCE = 10.0


class PublishSubscribe(End):
    """A service for each direction."""

    def __init__(self, role: str, pinning: str, switched: bool) -> None:
        super().__init__(role, pinning, switched)
        iceoryx2.set_log_level(iceoryx2.LogLevel.Fatal)
        self._node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
        self._yielding = pinning == "one"

    def listen(self) -> str:
        address = f"wsdirect-bench-{os.getpid()}"
        self._open(address)
        return address

    def accept(self) -> None:
        pass

    def connect(self, address: str) -> None:
        self._open(address)

    def close(self) -> None:
        """Its files in shared memory outlive the process unless every part is given up."""
        self._in.delete()
        self._out.delete()
        del self._in, self._out, self._services, self._node
        gc.collect()

    def _open(self, address: str) -> None:
        ours, theirs = self._service(address, "up"), self._service(address, "down")
        if self.role == "server":
            ours, theirs = theirs, ours
        self._services = ours, theirs
        self._in = theirs.subscriber_builder().buffer_size(QUEUE).create()
        self._out = (
            ours.publisher_builder()
            .initial_max_slice_len(64)
            .allocation_strategy(iceoryx2.AllocationStrategy.PowerOfTwo)
            .backpressure_strategy(iceoryx2.BackpressureStrategy.RetryUntilDelivered)
            .create()
        )

    def _service(self, address: str, direction: str) -> Any:
        name = iceoryx2.ServiceName.new(f"{address}/{direction}")
        builder = self._node.service_builder(name)
        return (
            builder.publish_subscribe(iceoryx2.Slice[ctypes.c_uint8])
            .subscriber_max_buffer_size(QUEUE)
            .enable_safe_overflow(False)
            .open_or_create()
        )

    def check(self) -> None:
        """Each waits until it sees the other, for what is published before is lost."""
        end = time.monotonic() + PATIENCE
        while not self._in.has_samples():
            if time.monotonic() > end:
                raise Lost
            if self.role == "client":
                self.tell()
            time.sleep(0.01)
        if self.role == "server":
            self.tell()
        time.sleep(0.1)
        while self._in.receive() is not None:
            pass
        self.verify()

    def _sender(self, size: int) -> Callable[[], object]:
        message = b"x" * size
        loan, move = self._out.loan_slice_uninit, ctypes.memmove

        def send() -> None:
            sample = loan(size)
            move(sample.payload_ptr, message, size)
            sample.assume_init().send()

        return send

    def _receiver(self) -> Callable[[], object]:
        take, copy, yielding = self._in.receive, ctypes.string_at, self._yielding

        def receive() -> bytes:
            while (sample := take()) is None:
                if yielding:
                    os.sched_yield()
            data = copy(sample.payload_ptr, sample.payload().len())
            sample.delete()
            return data

        return receive

    def tell(self) -> None:
        self._sender(1)()

    def hear(self) -> None:
        self._receiver()()

    def pinger(self, size: int) -> Loop:
        send, receive = self._sender(size), self._receiver()

        def go(count: int) -> None:
            for _ in range(count):
                send()
                receive()

        return go

    def echoer(self, size: int) -> Loop:
        send, receive = self._sender(size), self._receiver()

        def go(count: int) -> None:
            for _ in range(count):
                receive()
                send()

        return go

    def sender(self, size: int) -> Loop:
        send = self._sender(size)

        def go(count: int) -> None:
            for _ in range(count):
                send()

        return go

    def receiver(self, size: int) -> Loop:
        receive = self._receiver()

        def go(count: int) -> None:
            for _ in range(count):
                receive()

        return go
