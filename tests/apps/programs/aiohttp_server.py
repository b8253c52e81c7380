"""The same service with aiohttp."""

import sys

from aiohttp import web
from parts import blob


async def give(request):
    return web.Response(body=blob(int(request.match_info["size"])))


async def echo(request):
    return web.Response(body=await request.read())


app = web.Application(client_max_size=1 << 24)
app.add_routes([web.get("/blob/{size}", give), web.post("/echo", echo)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
