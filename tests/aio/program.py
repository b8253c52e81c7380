"""What test_peers starts: an echo server or its client, on the loop and under the front asked for.

program.py LOOP serve|ask [PORT] [SIZE]; LOOP is `san`, `standard` or `blocking`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import wsdirect

HOST = "127.0.0.1"


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
        runner.run(serve() if what == "serve" else ask(int(port), int(size)))


if __name__ == "__main__":
    main(*sys.argv[1:])
