"""websockets, with asyncio and with threads: small messages, a large one, a ping, a time-out.

websockets_client.py asyncio|sync PORT
"""

import asyncio
import sys

from parts import MB, blob, finish, same

url = f"ws://127.0.0.1:{sys.argv[2]}"
OPTIONS = {"max_size": None, "compression": None}


async def with_asyncio():
    from websockets.asyncio.client import connect

    async def talk(number):
        async with connect(url, **OPTIONS) as there:
            for turn in range(10):
                await there.send(f"{number} {turn}")
                same((await there.recv()).encode(), f"{number} {turn}".encode())

    await asyncio.gather(*map(talk, range(10)))
    async with connect(url, **OPTIONS) as there:
        await there.send(blob(2 * MB))
        same(await there.recv(), blob(2 * MB))
        await (await there.ping())
        finish(kind="asyncio")


def with_sync():
    from websockets.sync.client import connect

    with connect(url, **OPTIONS) as there:
        for turn in range(50):
            there.send(str(turn))
            same(there.recv(timeout=30).encode(), str(turn).encode())
        there.send(blob(2 * MB))
        same(there.recv(timeout=30), blob(2 * MB))
        try:
            late = there.recv(timeout=0.05)
        except TimeoutError:
            late = None
        finish(kind="sync", late=late)


if sys.argv[1] == "asyncio":
    asyncio.run(with_asyncio())
else:
    with_sync()
