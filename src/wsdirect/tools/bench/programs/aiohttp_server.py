"""aiohttp's server on asyncio."""

from __future__ import annotations

import asyncio
import socket

from aiohttp import web

from wsdirect.tools.bench.programs.pacing import announce

BODY = b"x" * 1024


async def answer(request: web.Request) -> web.Response:
    """A kilobyte."""
    return web.Response(body=BODY)


async def serve() -> None:
    """Serve until ended."""
    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    sock = socket.create_server(("127.0.0.1", 0), backlog=128)
    await web.SockSite(runner, sock).start()
    announce(sock.getsockname()[1])
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
