"""What a connection of this SAN can carry: the values of the SO_MAX_* options, and other bounds."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "DESCRIPTOR_SIZE",
    "EXPOSURES_MAX",
    "RDMA_MAX",
    "RDMA_THRESHOLD",
    "REQUESTS_MAX",
    "large_ring",
    "message_limit",
]

REQUESTS_MAX: Final = 128
"""Most receives, and most sends and RDMA together, that wait at a time on one socket."""
RDMA_MAX: Final = 64 << 20
"""SO_MAX_RDMA_SIZE: most bytes of one transfer."""
RDMA_THRESHOLD: Final = 16 << 10
"""SO_RDMA_THRESHOLD_SIZE: up to here one message is no slower than a transfer and a message."""
EXPOSURES_MAX: Final = 128
"""Most descriptors of one connection's side at a time; csrc/wsd_segment.h has as many entries."""
DESCRIPTOR_SIZE: Final = 32
"""Bytes of a descriptor."""

_MESSAGE_MAX: Final = 64 << 10
_FRAME: Final = 8
_RING_MAX: Final = 16 << 20  # of csrc/wsd_segment.h


def large_ring(ring: int, largest: int | None) -> int:
    """What rings of so many bytes grow to; 0: they do not.

    Args:
        ring: What they start with.
        largest: The setting `ring_max`.
    """
    if largest is None:
        largest = min(4 * ring, _RING_MAX)
    return largest if largest > ring else 0


def message_limit(ring: int) -> int:
    """SO_MAX_MSG_SIZE of connections with rings of so many bytes.

    At most half a ring: for that the bell tells when there is room again.
    """
    return min(_MESSAGE_MAX, ring // 2 - _FRAME)
