"""The seven extension functions of a SAN: memory registration and RDMA.

They are not in the function table: a caller gets them from
`WSPIoctl(s, SIO_GET_EXTENSION_FUNCTION_POINTER, guid)`, with the GUIDs of
`wsdirect.spi.extension_ids`.
"""

from __future__ import annotations

from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.extension_ids import EXTENSION_FUNCTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from typing_extensions import Buffer

    from wsdirect.spi.guid import GUID
    from wsdirect.spi.memory import AllocateMemory
    from wsdirect.spi.native import NativeStream
    from wsdirect.spi.overlapped import WSAOVERLAPPED
    from wsdirect.spi.structures import WSABUFEX

__all__ = ["ExtensionFunctions"]


def _unsupported(name: str) -> NoReturn:
    raise WSAError(WsaErrorCode.WSAEOPNOTSUPP, name)


class ExtensionFunctions:
    """Base of `ServiceProvider`; each function raises WSAEOPNOTSUPP until it is overridden.

    A SAN needs the first five.  WSPRdmaRead and WSPMemoryRegistrationCacheCallback are optional.
    """

    # A provider with a byte stream of its own sets this; see wsdirect.spi.native.
    native_stream: NativeStream | None = None
    # The same for memory that it can share; see wsdirect.spi.memory.
    allocate_memory: AllocateMemory | None = None

    def extension_function(self, guid: GUID) -> Any:
        """What a WSPIoctl(SIO_GET_EXTENSION_FUNCTION_POINTER) has to answer.

        Args:
            guid: One of the WSAID constants.

        Returns:
            The bound method if the provider overrides it; for WSAID_NATIVE_STREAM a
            `NativeStream`, for WSAID_ALLOCATE_MEMORY an `AllocateMemory`.

        Errors:
            WSAEOPNOTSUPP: the provider does not have it, or nobody has.

        Source: C:windows-sockets-spi-extensions-for-sans.
        """
        name = EXTENSION_FUNCTIONS.get(guid)
        if name is not None:
            inherited = getattr(ExtensionFunctions, name)
            found = getattr(self, name)
            if getattr(found, "__func__", found) is not inherited:
                return found
        raise WSAError(
            WsaErrorCode.WSAEOPNOTSUPP, "WSPIoctl", f"No extension function {name or guid}."
        )

    def WSPRegisterMemory(self, s: int, buffer: Buffer, access: int) -> int:
        """Make local memory usable for transfers on a socket.

        As source of WSPSend and WSPRdmaWrite, as target of WSPRecv and WSPRdmaRead, whole or in
        parts.  The same memory may be registered again and on other sockets; registrations are
        counted.  The provider keeps the buffer exported until the last one ends.

        Args:
            s: Descriptor of a connected socket.
            buffer: The memory; writable if `access` has MEM_WRITE.
            access: `MemoryAccess`: MEM_READ to transfer from it, MEM_WRITE to transfer into it.

        Returns:
            A handle, valid with this socket only, never 0.

        Errors:
            WSAEFAULT: the memory cannot be used like this, for one as it is read-only.
            WSAEINVAL: invalid access.
            WSAENOBUFS: no room for another registration.
            WSAENOTCONN: not connected.
            WSAENOTSOCK: s is not a socket.

        Source: R:ff566311.
        """
        _unsupported("WSPRegisterMemory")

    def WSPDeregisterMemory(self, s: int, handle: int) -> None:
        """End one registration of local memory.

        Args:
            s: The socket that it was registered on.
            handle: From WSPRegisterMemory.

        Errors:
            WSAEINVAL: unknown handle, or a transfer still uses the memory.
            WSAENOTSOCK: s is not a socket.

        Source: R:ff566279.
        """
        _unsupported("WSPDeregisterMemory")

    def WSPRegisterRdmaMemory(
        self, s: int, buffer: Buffer, access: int, capacity: int | None = None
    ) -> bytes:
        """Let the peer of a connection read or write local memory.

        The length of the descriptor can be asked for with a capacity that is too small, 0 for
        one: that is looked at before everything else, in any state of the socket.

        Args:
            s: Descriptor of a connected socket.
            buffer: The memory; writable if `access` has MEM_WRITE.
            access: `MemoryAccess`: MEM_READ lets the peer read, MEM_WRITE lets it write.
            capacity: Room for the descriptor in bytes; None: enough.

        Returns:
            A descriptor for the peer's WSPRdmaRead and WSPRdmaWrite: bytes that mean something to
            the peer's provider wherever it runs, always of the same length and at most 32.

        Errors:
            WSAEFAULT: the memory cannot be used like this, or too little capacity: then the
                error's `required` is the length of a descriptor.
            WSAEINVAL: invalid access.
            WSAENOBUFS: no room for another registration.
            WSAENOTCONN: not connected.
            WSAENOTSOCK: s is not a socket.

        Source: R:ff566313.
        """
        _unsupported("WSPRegisterRdmaMemory")

    def WSPDeregisterRdmaMemory(self, s: int, descriptor: Buffer) -> None:
        """End one registration for the peer; after the last, the peer has no access.

        Args:
            s: The socket that it was registered on.
            descriptor: From WSPRegisterRdmaMemory.

        Errors:
            WSAEINVAL: unknown descriptor, or a transfer still uses the memory.
            WSAENOTSOCK: s is not a socket.

        Source: R:ff566281.
        """
        _unsupported("WSPDeregisterRdmaMemory")

    def WSPRdmaWrite(
        self,
        s: int,
        buffers: Sequence[WSABUFEX],
        descriptor: Buffer,
        offset: int = 0,
        flags: int = 0,
        overlapped: WSAOVERLAPPED | None = None,
    ) -> int | None:
        """Write local buffers, one after the other, into memory of the peer.

        The peer notices nothing and no receive is used up.  Once it has finished the data are in
        place, and a WSPSend issued later, even before it has finished, arrives after the data.

        Args:
            s: Descriptor of a connected socket.
            buffers: (buffer, handle) pairs with handles from WSPRegisterMemory.
            descriptor: From the peer's WSPRegisterRdmaMemory.
            offset: Where to begin in the peer's memory, bytes.
            flags: 0.
            overlapped: Record of the request.  A SAN needs it.

        Returns:
            Bytes written if it has finished, None if it goes on (WSA_IO_PENDING).

        Errors:
            WSAECONNABORTED: the connection is broken.
            WSAECONNRESET: the peer has closed the connection.
            WSAEFAULT: the range is not within the peer's registration.
            WSAEINVAL: unknown handle or descriptor, or it does not allow this.
            WSAEMSGSIZE: more bytes than SO_MAX_RDMA_SIZE.
            WSAENOBUFS: no room for the request.
            WSAEWOULDBLOCK: too many requests at once; at least 16 are possible.
            WSAENOTCONN: never connected.
            WSAENOTSOCK: s is not a socket.

        Source: R:ff566306.
        """
        _unsupported("WSPRdmaWrite")

    def WSPRdmaRead(
        self,
        s: int,
        buffers: Sequence[WSABUFEX],
        descriptor: Buffer,
        offset: int = 0,
        flags: int = 0,
        overlapped: WSAOVERLAPPED | None = None,
    ) -> int | None:
        """Read memory of the peer into local buffers, filling one after the other.

        A WSPSend issued later, even before the read has finished, arrives after it has: the
        message may tell the peer that its memory is free again.

        Args:
            s: Descriptor of a connected socket.
            buffers: (buffer, handle) pairs with handles from WSPRegisterMemory, writable.
            descriptor: From the peer's WSPRegisterRdmaMemory.
            offset: Where to begin in the peer's memory, bytes.
            flags: 0.
            overlapped: Record of the request.  A SAN needs it.

        Returns:
            Bytes read if it has finished, None if it goes on (WSA_IO_PENDING).

        Errors:
            WSAEOPNOTSUPP: this provider cannot read.
            Otherwise as for WSPRdmaWrite.

        Source: R:ff566304.
        """
        _unsupported("WSPRdmaRead")

    def WSPMemoryRegistrationCacheCallback(self, address: int, size: int) -> None:
        """Forget cached registrations of memory that the process is about to give up.

        Only for providers that keep memory registered behind WSPDeregisterMemory.  Every entry
        that touches the range goes.  Called without a socket, and for ranges never registered.

        Args:
            address: Begin of the range.
            size: Its length in bytes.

        Errors:
            WSAEFAULT: an entry could not be removed.
            WSAEINVAL: nothing of the range was cached; a normal answer.

        Source: R:ff566299.
        """
        _unsupported("WSPMemoryRegistrationCacheCallback")
