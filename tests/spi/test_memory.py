"""The extension for memory that a provider makes."""

from typing import Any

import pytest

from tests.spi.test_provider import make
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.memory import memory_allocator_of


def test_a_provider_without_it() -> None:
    assert memory_allocator_of(make()) is None


def test_a_provider_that_has_never_heard_of_it() -> None:
    def ioctl(self: Any, *arguments: Any) -> Any:
        raise WSAError(WsaErrorCode.WSAEINVAL, "WSPIoctl")

    assert memory_allocator_of(make(WSPIoctl=ioctl)) is None


def test_other_errors_are_not_taken_for_an_answer() -> None:
    def ioctl(self: Any, *arguments: Any) -> Any:
        raise WSAError(WsaErrorCode.WSAENETDOWN, "WSPIoctl")

    with pytest.raises(WSAError, match="WSAENETDOWN"):
        memory_allocator_of(make(WSPIoctl=ioctl))


def test_a_provider_with_it() -> None:
    def allocate_memory(self: Any, size: int) -> Any:
        return bytearray(size)

    allocate = memory_allocator_of(make(allocate_memory=allocate_memory))
    assert allocate is not None
    assert len(allocate(5)) == 5
