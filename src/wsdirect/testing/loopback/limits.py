"""The numbers of the loopback provider: small, so that tests reach them soon."""

from __future__ import annotations

from typing import Final

__all__ = [
    "ADDRESSES",
    "BACKLOG_MAX",
    "CONNECT_DATA_MAX",
    "EARLY_MAX",
    "MESSAGE_MAX",
    "RDMA_MAX",
    "RDMA_THRESHOLD",
    "REGIONS_MAX",
    "REQUESTS_MAX",
]

MESSAGE_MAX: Final = 16 << 10
"""SO_MAX_MSG_SIZE: the longest message in bytes."""

RDMA_MAX: Final = 1 << 20
"""SO_MAX_RDMA_SIZE: the longest RDMA transfer in bytes."""

RDMA_THRESHOLD: Final = 4096
"""SO_RDMA_THRESHOLD_SIZE: from this many bytes on RDMA pays."""

REQUESTS_MAX: Final = 32
"""Most receives, and most sends and RDMA transfers together, that run on a socket at a time.

The switch has at most 16 of each; one more than this is answered with WSAEWOULDBLOCK.
"""

EARLY_MAX: Final = 16
"""Most messages that wait for a receive at the peer; then the sends wait."""

REGIONS_MAX: Final = 256
"""Most registrations of a socket, and as many for its peer."""

BACKLOG_MAX: Final = 64
"""Longest queue of connection requests: what SOMAXCONN stands for."""

CONNECT_DATA_MAX: Final = 256
"""Most bytes of user data that go with a connect, in each direction."""

ADDRESSES: Final = ("127.0.0.1", "127.0.0.2")
"""The addresses of the two network adapters that this SAN pretends to have."""
