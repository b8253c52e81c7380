"""Registered memory and RDMA: the extension functions of the shared-memory SAN's provider."""

from __future__ import annotations

from wsdirect.providers.shm.limits import DESCRIPTOR_SIZE
from wsdirect.providers.socket_table import State
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.extensions import ExtensionFunctions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

    from wsdirect.providers.shm.sockets import SanSocket
    from wsdirect.providers.shm.transfer import Channel
    from wsdirect.providers.socket_table import SocketTable
    from wsdirect.spi.memory import SharedMemory
    from wsdirect.spi.overlapped import WSAOVERLAPPED
    from wsdirect.spi.structures import WSABUFEX

__all__ = ["MemoryFunctions"]

_E = WsaErrorCode


class MemoryFunctions(ExtensionFunctions):
    """Part of `SharedMemoryProvider`, whose sockets it uses."""

    _sockets: SocketTable[SanSocket]

    def WSPRegisterMemory(self, s: int, buffer: Buffer, access: int) -> int:
        """Register memory for requests on a socket (R-195 to R-201, R-218).

        The same memory with the same access has one handle, counted; overlapping registrations
        are independent of each other.  No page is pinned: it is processes that copy here, not
        an adapter.  A bytearray that is registered cannot be resized, an mmap not closed.

        Errors:
            WSAEFAULT: the memory is not one piece, read-only for MEM_WRITE, or of no bytes.
            WSAENOBUFS: there are 65536 registrations on this socket.
            WSAEOPNOTSUPP: a native stream.
            Otherwise as for ServiceProvider.WSPRegisterMemory.

        Source: R:ff566311.
        """
        call = "WSPRegisterMemory"
        return self._connected(s, call).register(buffer, access, call)

    def WSPDeregisterMemory(self, s: int, handle: int) -> None:
        """End one registration (R-202 to R-204); all end with the socket.

        Source: R:ff566279.
        """
        call = "WSPDeregisterMemory"
        channel = self._sockets.get(s, call).channel
        if channel is None:
            raise WSAError(_E.WSAEINVAL, call, "No memory has this handle here.")
        channel.deregister(handle, call)

    def WSPRegisterRdmaMemory(
        self, s: int, buffer: Buffer, access: int, capacity: int | None = None
    ) -> bytes:
        """Let the peer get at memory (R-205 to R-214).

        Memory from `allocate_memory` the peer maps, and so can reach all of it in its own address
        space; that it keeps to what was registered is its provider's doing.  Other memory it
        reaches through the kernel or by asking this provider.  A process of another user can
        do neither of the first two.

        Errors:
            WSAENOBUFS: there are 128 descriptors of this end of the connection.
            WSAEOPNOTSUPP: a native stream.
            Otherwise as for ServiceProvider.WSPRegisterRdmaMemory and WSPRegisterMemory.

        Source: R:ff566313.
        """
        call = "WSPRegisterRdmaMemory"
        if capacity is not None and capacity < DESCRIPTOR_SIZE:  # before everything else: T-39
            raise WSAError.too_small(call, DESCRIPTOR_SIZE)
        return self._connected(s, call).expose(buffer, access, call)

    def WSPDeregisterRdmaMemory(self, s: int, descriptor: Buffer) -> None:
        """End one registration for the peer (R-215 to R-217).

        Source: R:ff566281.
        """
        call = "WSPDeregisterRdmaMemory"
        channel = self._sockets.get(s, call).channel
        if channel is None:
            raise WSAError(_E.WSAEINVAL, call, "Nothing has this descriptor here.")
        channel.withdraw(descriptor, call)

    def WSPRdmaWrite(
        self,
        s: int,
        buffers: Sequence[WSABUFEX],
        descriptor: Buffer,
        offset: int = 0,
        flags: int = 0,
        overlapped: WSAOVERLAPPED | None = None,
    ) -> int | None:
        """Write into memory of the peer; always answers None (R-227 to R-236).

        Errors:
            WSAEMSGSIZE: more than 64 MiB.
            WSAEWOULDBLOCK: 128 sends and RDMA requests wait already.
            Otherwise as for ServiceProvider.WSPRdmaWrite.

        Source: R:ff566306.
        """
        channel = self._channel(s, flags, overlapped, "WSPRdmaWrite")
        channel.transfer(buffers, descriptor, offset, True, overlapped)  # type: ignore[arg-type]
        return None

    def WSPRdmaRead(
        self,
        s: int,
        buffers: Sequence[WSABUFEX],
        descriptor: Buffer,
        offset: int = 0,
        flags: int = 0,
        overlapped: WSAOVERLAPPED | None = None,
    ) -> int | None:
        """Read from memory of the peer; always answers None (R-227 to R-237).

        Errors:
            As for WSPRdmaWrite.

        Source: R:ff566304.
        """
        channel = self._channel(s, flags, overlapped, "WSPRdmaRead")
        channel.transfer(buffers, descriptor, offset, False, overlapped)  # type: ignore[arg-type]
        return None

    def WSPMemoryRegistrationCacheCallback(self, address: int, size: int) -> None:
        """Memory is about to be given up: forget it (R-221 to R-226).

        Registrations that touch the range end at once, on every socket: their buffers are not
        exported any more, their handles can only be deregistered, and the peer has no access.
        What is cached behind them is not much: see `wsdirect.providers.shm.memory`.

        Errors:
            WSAEFAULT: a transfer uses some of it.  What is not in use is forgotten, all the same.
            WSAEINVAL: nothing of it is registered or cached.

        Source: R:ff566299.
        """
        call = "WSPMemoryRegistrationCacheCallback"
        if type(address) is not int or type(size) is not int or address < 0 or size <= 0:
            raise WSAError(_E.WSAEINVAL, call, "This is no range of memory.")
        from wsdirect.providers.shm import memory  # programs on native streams need none of it

        ended = kept = 0
        for socket in self._sockets:
            channel = socket.channel
            if channel is not None:
                more, still = channel.revoke(address, size)
                ended += more
                kept += still
        try:
            memory.forget_cached(address, size, call)
        except WSAError:
            if not (ended or kept):
                raise
        if kept:
            raise WSAError(_E.WSAEFAULT, call, "A transfer uses the memory.")

    def allocate_memory(self, size: int) -> SharedMemory:
        """Make memory that peers can map; see wsdirect.spi.memory.

        Args:
            size: Bytes.

        Errors:
            WSAEINVAL: no such size.
            WSAENOBUFS: not enough memory, or no descriptor left.

        Source: wsdirect.
        """
        from wsdirect.providers.shm import memory

        found: SharedMemory = memory.allocate(size)
        return found

    def _connected(self, s: int, call: str) -> Channel:
        socket = self._sockets.get(s, call)
        socket.require(call)
        return self._messages(socket, call)

    def _channel(self, s: int, flags: int, overlapped: WSAOVERLAPPED | None, call: str) -> Channel:
        socket = self._sockets.get(s, call)
        if socket.state is not State.CONNECTED:
            socket.refuse(call)
        if flags:
            raise WSAError(_E.WSAEOPNOTSUPP, call, "Flags are not supported.")
        if overlapped is None:
            raise WSAError(_E.WSAEINVAL, call, "It needs an overlapped record.")
        if socket.service is not None:
            socket.service.check_direction(call)
        return self._messages(socket, call)

    @staticmethod
    def _messages(socket: SanSocket, call: str) -> Channel:
        if socket.channel is None:
            if socket.state is State.CLOSED:  # by another thread
                raise WSAError(_E.WSAENOTSOCK, call)
            raise WSAError(_E.WSAEOPNOTSUPP, call, "It is a native stream.")
        return socket.channel
