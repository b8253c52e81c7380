"""What the parts of the provider share: sockets, segments, listeners' whereabouts, progress."""

from __future__ import annotations

import os

from wsdirect.providers.qos import Groups
from wsdirect.providers.shm.connector import Connector
from wsdirect.providers.shm.progress import Progress
from wsdirect.providers.shm.segments import AdoptedSegments, SegmentPool
from wsdirect.providers.shm.sockets import SanSocket, end_stream
from wsdirect.providers.socket_table import SocketTable, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wsdirect._core import _native
    from wsdirect.providers.shm.duplicate import Handover
    from wsdirect.providers.shm.segments import ClientKey
    from wsdirect.spi.overlapped import WSAOVERLAPPED

    Segment = _native.Segment
    Stream = _native.Stream

__all__ = ["San"]


class _Newest:
    """The upcalls of whatever table is the latest when one is made (R-022)."""

    __slots__ = ("_san",)

    def __init__(self, san: San) -> None:
        self._san = san

    def WPUCompleteOverlappedRequest(
        self, s: int, overlapped: WSAOVERLAPPED, error: int, transferred: int
    ) -> None:
        """As in UpcallTable."""
        self._san.upcalls.WPUCompleteOverlappedRequest(s, overlapped, error, transferred)


class San:
    """The shared-memory SAN as this process sees it.

    Attributes:
        sockets: All sockets by descriptor.
        upcalls: The table of the latest WSPStartupEx; None before the first.
        pool: Segments made by this process.
        adopted: Segments made by its clients.
        connector: Finds listeners.
        progress: The progress thread, which runs if needed.
        handovers: Duplicated sockets that may not have been fetched.
        groups: The groups of sockets.
    """

    def __init__(self) -> None:
        self.sockets: SocketTable[SanSocket] = SocketTable()
        self.upcalls: Any = None
        self.pool = SegmentPool()
        self.adopted = AdoptedSegments()
        self.connector = Connector(self.pool)
        self.progress = Progress()
        self.handovers: list[Handover] = []
        self.groups = Groups()

    def admit(self, socket: SanSocket) -> int:
        """Give a socket its descriptor, which is returned, and its handle.

        Errors:
            What WPUCreateSocketHandle raises; the socket then has neither.
        """
        descriptor = self.sockets.add(socket)
        try:
            socket.handle = self.upcalls.WPUCreateSocketHandle(socket.catalog_id, descriptor)
        except BaseException:
            self.sockets.take(descriptor, "WSPSocket")
            raise
        return descriptor

    def establish(self, socket: SanSocket, stream: Stream) -> None:
        """Make it a connected socket."""
        if socket.native:
            socket.stream = stream
        else:
            # messages and RDMA: programs whose connections are byte streams need nothing of it
            from wsdirect.providers.shm.transfer import Channel

            newest: Any = _Newest(self)
            socket.channel = Channel(socket, stream, newest, self.progress)
        socket.step(Step.ESTABLISH)

    def known_segments(self) -> list[tuple[ClientKey, Segment]]:
        """The segments that queued requests may refer to, with the clients they belong to."""
        mine = (os.getpid(), os.geteuid())
        return [
            *self.adopted.all(),
            *[(mine, segment) for segment in self.pool.offered_to_self()],
        ]

    def forget(self) -> None:
        """Drop all segments and all knowledge of listeners."""
        self.connector.clear()
        self.pool.clear()
        self.adopted.clear()

    def close(self) -> None:
        """End everything but the sockets."""
        for handover in self.handovers:
            handover.close()
        self.handovers.clear()
        self.progress.stop()
        self.forget()

    def before_fork(self) -> None:
        """Count the child as one more holder of every connection, until it lets go of them."""
        for socket in self.sockets:
            for stream in socket.held_streams():
                stream.share()
        for handover in self.handovers:
            for stream in handover.parcel.streams():
                stream.share()

    def after_fork_in_child(self) -> None:
        """Let go of all that is the parent's; its listeners must not hold clients up here."""
        self.progress.after_fork()
        self.groups.reset()
        for socket in self.sockets:
            for stream in socket.held_streams():
                end_stream(stream, withdraw=False)
            if socket.channel is not None:
                socket.channel.forget()
            if socket.listener is not None:
                socket.listener.close()
        self.sockets.clear()
        for handover in self.handovers:
            handover.abandon()
        self.handovers.clear()
        self.forget()
