"""An echo server and its clients on uvloop.

uvloop_echo.py serve|ask|ask-by-socket PORT
"""

import asyncio
import socket
import sys

import uvloop
from parts import MB, blob, finish, same


async def serve(port):
    async def echo(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", port)
    await server.serve_forever()


async def talk(reader, writer):
    for size in (1, 1000, MB):
        task = asyncio.ensure_future(reader.readexactly(size))
        writer.write(blob(size))
        same(await task, blob(size))
    finish(sizes=[1, 1000, MB])
    writer.close()


async def ask(port):
    await talk(*await asyncio.open_connection("127.0.0.1", port))


async def ask_by_socket(port):
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(b"hello")
    same(sock.recv(5, socket.MSG_WAITALL), b"hello")
    await talk(*await asyncio.open_connection(sock=sock))


uvloop.run(globals()[sys.argv[1].replace("-", "_")](int(sys.argv[2])))
