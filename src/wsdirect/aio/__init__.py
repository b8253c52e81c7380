"""An asyncio event loop on the switch's overlapped requests: `wsdirect.SanEventLoop`.

    loop         the event loop: the standard one, with switched connections and listeners added
    proactor     its selector, which also completes overlapped requests
    transports   the transport of a switched connection
    sockets      socket.socket objects whose connection is switched

Importing it imports asyncio, so nothing else of the package does.
"""

from __future__ import annotations

from wsdirect.aio.loop import SanEventLoop, SanEventLoopPolicy
from wsdirect.aio.sockets import SanSocket

__all__ = ["SanEventLoop", "SanEventLoopPolicy", "SanSocket"]
