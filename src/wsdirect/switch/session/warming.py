"""Starting what sessions need before the program does, where all connections are to be sessions.

The threads of the switch and of the provider are there then before the program counts its own, and
its first connection does not wait for them.
"""

from __future__ import annotations

import _socket

from wsdirect.spi.constants import AF_INET, FD_ACCEPT, IPPROTO_TCP, SOCK_STREAM
from wsdirect.spi.overlapped import Event
from wsdirect.switch.routes import listening_route
from wsdirect.switch.session.driver import driver
from wsdirect.telling import tell

__all__ = ["warm_up"]

_HOST = "127.0.0.1"


def warm_up() -> None:
    """Start the threads; a provider that cannot is met again with the first connection."""
    route = listening_route()
    if route is None or route.functions is None:
        return
    driver.submit(int)
    provider = route.provider
    # A provider starts its threads when it has something to announce.
    try:
        with Event() as event, _Port() as port:
            s = provider.WSPSocket(AF_INET, SOCK_STREAM, IPPROTO_TCP, route.info)
            try:
                provider.WSPBind(s, (_HOST, port))
                provider.WSPListen(s, 1)
                provider.WSPEventSelect(s, event, FD_ACCEPT)
            finally:
                provider.WSPCloseSocket(s)
    except OSError as error:
        tell("debug", f"nothing to warm up: {error}")


class _Port:
    """A port that nobody connects to."""

    def __enter__(self) -> int:
        self._socket = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        self._socket.bind((_HOST, 0))
        port: int = self._socket.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._socket.close()
