"""An echo server and a client with trio, which reads and writes at the same time.

trio_echo.py serve|ask PORT
"""

import sys

import trio
from parts import MB, blob, finish, same


async def echo(stream):
    async for data in stream:
        await stream.send_all(data)


async def serve(port):
    await trio.serve_tcp(echo, port, host="127.0.0.1")


async def ask(port):
    for number in range(3):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        got = bytearray()
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, blob(MB, number))
            while len(got) < MB:
                got += await stream.receive_some()
            same(got, blob(MB, number))
    finish(got=3)


trio.run(globals()[sys.argv[1]], int(sys.argv[2]))
