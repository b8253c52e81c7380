"""An ASGI application in uvicorn, on asyncio's own loop and with the parser in Python."""

from __future__ import annotations

import socket
from typing import Any

import uvicorn

from wsdirect.tools.bench.programs.pacing import announce

BODY = b"x" * 1024
HEADERS = [(b"content-length", b"1024"), (b"content-type", b"text/plain")]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer every request with a kilobyte."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": BODY})


class Server(uvicorn.Server):
    """Tells its port once it has one."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets)
        announce(self.servers[0].sockets[0].getsockname()[1])


if __name__ == "__main__":
    # Its own listener, and not one made before: asyncio sets TCP_NODELAY on what it accepts from
    # that, and an answer's head and body do not wait for an acknowledgement between them.
    config = uvicorn.Config(
        app, "127.0.0.1", 0, loop="asyncio", http="h11", lifespan="off", log_level="error"
    )
    Server(config).run()
