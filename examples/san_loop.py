"""An asyncio program on SanEventLoop: the loop is all that differs from any other.

    python examples/san_loop.py            server and client in one go
    python examples/san_loop.py serve 7008
    python examples/san_loop.py ask 7008   also with another program as the server

Between two such programs, or with one under `wsdirect run`, the bytes go through shared memory.
With anybody else it is TCP.
"""

from __future__ import annotations

import asyncio
import sys

import wsdirect

HOST = "127.0.0.1"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One client: every line comes back in capitals."""
    async for line in reader:
        writer.write(line.upper())
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def ask(port: int, text: str) -> str:
    reader, writer = await asyncio.open_connection(HOST, port)
    way = "shared memory" if wsdirect.is_switched(writer.get_extra_info("socket")) else "TCP"
    writer.write(text.encode() + b"\n")
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return f"{line.decode().strip()} (over {way})"


async def main(arguments: list[str]) -> None:
    if arguments[:1] == ["ask"]:
        print(await ask(int(arguments[1]), "hello, loop"))
        return
    port = int(arguments[1]) if arguments[:1] == ["serve"] else 0
    server = await asyncio.start_server(answer, HOST, port)
    async with server:
        if arguments[:1] == ["serve"]:
            print("ready", flush=True)
            await server.serve_forever()
        port = server.sockets[0].getsockname()[1]
        for text in await asyncio.gather(*(ask(port, f"hello number {n}") for n in range(3))):
            print(text)


if __name__ == "__main__":
    try:
        # Python 3.12 and newer: asyncio.run(main(...), loop_factory=wsdirect.SanEventLoop)
        with asyncio.Runner(loop_factory=wsdirect.SanEventLoop) as runner:
            runner.run(main(sys.argv[1:]))
    except KeyboardInterrupt:
        pass
