"""What test_peers starts: an echo server or its client, on the loop and under the front asked for.

program.py LOOP serve|ask|busy [PORT] [SIZE]; LOOP is `san`, `standard` or `blocking`.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sys

import wsdirect

HOST = "127.0.0.1"
CONNECTIONS = 100  # more than a poller looks at


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # the first answer says what this end thinks of the connection
    on = wsdirect.is_switched(writer.get_extra_info("socket"))
    writer.write(b"switched\n" if on else b"plain...\n")
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve() -> None:
    server = await asyncio.start_server(echo, HOST, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


async def ask(port: int, size: int) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    mine = wsdirect.is_switched(writer.get_extra_info("socket"))
    theirs = await reader.readline()
    data = os.urandom(1 << 16) * (size >> 16)

    async def send() -> None:
        for at in range(0, size, 1 << 18):
            writer.write(data[at : at + (1 << 18)])
            await writer.drain()
        writer.write_eof()

    answer, _ = await asyncio.gather(reader.read(), send())
    assert answer == data
    writer.close()
    await writer.wait_closed()
    print("switched" if mine else "plain", theirs.decode().strip(" .\n"), len(answer))


async def one_of_many(port: int, turns: int, dice: random.Random) -> int:
    """Requests and answers whose sizes make readers pause all the time; bytes."""
    reader, writer = await asyncio.open_connection(HOST, port, limit=1024)
    await reader.readline()
    total = 0
    for _ in range(turns):
        data = os.urandom(64) * dice.choice((1, 1, 40, 1000, 16000))
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        total += len(data)
        if dice.random() < 0.2:
            writer.transport.pause_reading()
            await asyncio.sleep(0)
            writer.transport.resume_reading()
    writer.close()
    await writer.wait_closed()
    return total


async def busy(port: int, turns: int) -> None:
    dice = random.Random(turns)
    work = (one_of_many(port, turns, dice) for _ in range(CONNECTIONS))
    print(sum(await asyncio.gather(*work)))


def ask_blocking(port: int, size: int) -> None:
    with socket.create_connection((HOST, port)) as sock, sock.makefile("rwb") as file:
        mine = wsdirect.is_switched(sock)
        theirs = file.readline()
        for _ in range(size >> 16):
            piece = os.urandom(1 << 16)
            file.write(piece)
            file.flush()
            assert file.read(len(piece)) == piece
    print("switched" if mine else "plain", theirs.decode().strip(" .\n"), size)


def main(loop: str, what: str, port: str = "0", size: str = "0") -> None:
    if loop == "blocking":
        ask_blocking(int(port), int(size))
        return
    factory = wsdirect.SanEventLoop if loop == "san" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        todo = {"ask": ask, "busy": busy}
        runner.run(serve() if what == "serve" else todo[what](int(port), int(size)))


if __name__ == "__main__":
    main(*sys.argv[1:])
