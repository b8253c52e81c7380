"""One overlapped request: what it moves, and how its end is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.overlapped import WSAOVERLAPPED
from wsdirect.spi.upcalls import complete_request

if TYPE_CHECKING:
    from wsdirect.spi.upcalls import UpcallTable
    from wsdirect.testing.loopback.memory import Part
    from wsdirect.testing.loopback.sockets import LoopbackSocket

__all__ = ["Request", "check_record", "gather", "scatter"]

_E = WsaErrorCode


class Request:
    """A send, receive or RDMA transfer that runs.

    Attributes:
        overlapped: Its record.
        parts: The local memory, in order.
        length: Bytes of all parts together.
        remote: The peer's memory for RDMA; None for a send or receive.
        reads: It is an RDMA read.
    """

    __slots__ = ("length", "overlapped", "parts", "reads", "remote")

    def __init__(
        self,
        overlapped: WSAOVERLAPPED,
        parts: Sequence[Part],
        remote: Part | None = None,
        reads: bool = False,
    ) -> None:
        self.overlapped = overlapped
        self.parts = parts
        self.length = sum(len(part.view) for part in parts)
        self.remote = remote
        self.reads = reads

    def begin(self) -> None:
        """From here on it runs; everything that could be refused has been checked.

        The record is set up before anybody else can see the request (R-182), and the memory cannot
        be deregistered until it has finished (R-203, R-215).
        """
        self.overlapped.start()
        for part in self._memory():
            part.use()

    def finish(
        self, socket: LoopbackSocket, table: UpcallTable, error: int = 0, count: int = 0
    ) -> None:
        """It has ended; the lock is held, so an upcall is only queued with the socket's others.

        The memory is given back before anybody hears of it (R-241).

        Args:
            socket: The socket it ran on.
            table: The switch's upcalls.
            error: Winsock code, 0 for success.
            count: Bytes transferred.
        """
        for part in self._memory():
            part.done()
        if self.overlapped.polled:
            complete_request(table, socket.handle, self.overlapped, error, count)
        else:
            socket.upcalls.post(
                complete_request, table, socket.handle, self.overlapped, int(error), count
            )

    def _memory(self) -> Iterable[Part]:
        return self.parts if self.remote is None else (*self.parts, self.remote)


def check_record(overlapped: object, call: str) -> WSAOVERLAPPED:
    """The record of a new request.

    Errors:
        WSAEINVAL: there is none, or another request still uses it.
    """
    if not isinstance(overlapped, WSAOVERLAPPED):
        raise WSAError(_E.WSAEINVAL, call, "It needs an overlapped record.")
    if overlapped.in_progress:
        raise WSAError(_E.WSAEINVAL, call, "Another request still uses the overlapped record.")
    return overlapped


def gather(parts: Iterable[Part]) -> bytes:
    """The bytes of all parts, one after the other."""
    return b"".join(part.view for part in parts)


def scatter(data: bytes, parts: Iterable[Part]) -> None:
    """Fill the parts, one after the other, as far as the data reach."""
    done = 0
    for part in parts:
        piece = data[done : done + len(part.view)]
        if piece:
            part.view[: len(piece)] = piece
            done += len(piece)
