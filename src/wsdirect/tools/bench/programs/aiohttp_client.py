"""aiohttp's client: requests one after another in a session, which keeps its connection."""

from __future__ import annotations

import asyncio

import aiohttp

from wsdirect.tools.bench.programs.pacing import measure_async, port


async def main() -> None:
    """Measure requests."""
    url = f"http://127.0.0.1:{port()}/"
    async with aiohttp.ClientSession() as session:

        async def get() -> None:
            async with session.get(url) as response:
                await response.read()

        await measure_async(get)


if __name__ == "__main__":
    asyncio.run(main())
