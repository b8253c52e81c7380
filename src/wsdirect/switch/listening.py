"""What is known of the descriptors that listen, in this process."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from wsdirect.switch.listen import Early, Listener

__all__ = ["began", "changed", "early", "held", "listeners", "listening", "unblocked"]

listening: set[int] = set()
"""Descriptors on which this process called listen(), or that it has found to listen."""
listeners: dict[int, Listener] = {}
"""Those that also accept switched connections, by descriptor of the TCP listener."""
early: dict[int, Early] = {}
"""What those have that nobody has accepted on yet."""
held: set[int] = set()
"""Those that were found to hold a switched connection which accept() has not taken yet."""
unblocked: set[int] = set()
"""Listeners that the switch made non-blocking, though the program did not."""
began: list[Callable[[int], None]] = []
"""Called with each descriptor on which the program has begun to listen."""
changed: list[Callable[[], None]] = []
"""Called when this process has begun to accept switched connections on another address."""
