"""Memory from the provider: an extension of our own for providers that can share memory.

Any memory can be registered.  But a provider may be able to do more with memory that it made
itself: within one host the peer can map it, and then a transfer into or out of it is one copy by
the peer and nothing else.  Such a provider answers
`WSPIoctl(s, SIO_GET_EXTENSION_FUNCTION_POINTER, WSAID_ALLOCATE_MEMORY)` with a function:

    allocate = memory_allocator_of(provider)
    if allocate is not None:
        with allocate(1 << 20) as memory:
            descriptor = register_rdma_memory(s, memory, MEM_WRITE)

The memory is used like any other: it has the buffer protocol, can be cut with memoryview, wrapped
by an array library, registered whole or in parts.  Registrations find out by its address that it
is the provider's.  Where no such function is there, a bytearray does as well, only slower.
"""

from __future__ import annotations

from wsdirect.spi.constants import INVALID_SOCKET, SIO_GET_EXTENSION_FUNCTION_POINTER
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.extension_ids import WSAID_ALLOCATE_MEMORY as WSAID_ALLOCATE_MEMORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Protocol, Self

    from wsdirect.spi.provider import ServiceProvider
else:
    Protocol = object  # importing `typing` would cost every process milliseconds

__all__ = ["WSAID_ALLOCATE_MEMORY", "AllocateMemory", "SharedMemory", "memory_allocator_of"]


class SharedMemory(Protocol):
    """Memory that a provider made; a writable buffer of bytes, zero at first.

    It goes when it is closed, or when nobody refers to it any more.  A forked child shares it with
    its parent.
    """

    def __len__(self) -> int:
        """Its size in bytes."""
        ...

    def __buffer__(self, flags: int, /) -> memoryview:
        """The buffer protocol."""
        ...

    def close(self) -> None:
        """Give it back; again is allowed.

        Errors:
            BufferError: it is in use as a buffer, which includes being registered.

        Source: wsdirect.
        """
        ...

    def __enter__(self) -> Self:
        """The memory itself."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """As `close`."""
        ...


class AllocateMemory(Protocol):
    """The function that such a provider hands out."""

    def __call__(self, size: int) -> SharedMemory:
        """Make memory.

        Args:
            size: Bytes, at least 1.

        Errors:
            WSAEINVAL: no such size.
            WSAENOBUFS: there is not enough memory, or no descriptor left.

        Source: wsdirect.
        """
        ...


def memory_allocator_of(provider: ServiceProvider) -> AllocateMemory | None:
    """The provider's function to make memory, or None if it has none."""
    try:
        found: Any = provider.WSPIoctl(
            INVALID_SOCKET, SIO_GET_EXTENSION_FUNCTION_POINTER, WSAID_ALLOCATE_MEMORY
        )
    except WSAError as error:
        if error.winerror in (WsaErrorCode.WSAEOPNOTSUPP, WsaErrorCode.WSAEINVAL):
            return None
        raise
    allocate: AllocateMemory = found
    return allocate
