"""Asks a web server for a large body, many small ones, and an echo: once with each library.

web_client.py LIBRARY PORT
"""

import sys

from parts import MB, blob, finish, same

SMALL = 20


def with_http_client(url):
    from http.client import HTTPConnection

    connection = HTTPConnection(url.removeprefix("http://"), timeout=30)

    def ask(method, path, body=None):
        connection.request(method, path, body)
        return connection.getresponse().read()

    check(ask)
    return connection


def with_urllib(url):
    from urllib.request import Request, urlopen

    def ask(method, path, body=None):
        with urlopen(Request(url + path, body, method=method), timeout=30) as answer:
            return answer.read()

    check(ask)


def with_urllib3(url):
    import urllib3

    pool = urllib3.PoolManager(timeout=30)
    check(lambda method, path, body=None: pool.request(method, url + path, body=body).data)
    with_threads(lambda size: pool.request("GET", f"{url}/blob/{size}").data)
    return pool


def with_requests(url):
    import requests

    session = requests.Session()
    check(
        lambda method, path, body=None: (
            session.request(method, url + path, data=body, timeout=30).content
        )
    )
    with session.get(f"{url}/blob/{MB}", stream=True, timeout=30) as answer:
        same(b"".join(answer.iter_content(10_000)), blob(MB))
    return session


def with_httpx(url):
    import httpx

    client = httpx.Client(base_url=url, timeout=30)
    check(lambda method, path, body=None: client.request(method, path, content=body).content)
    with client.stream("GET", f"/blob/{MB}") as answer:
        same(b"".join(answer.iter_bytes()), blob(MB))
    return client


def with_httpx_async(url):
    import asyncio

    import httpx

    async def all_of_it():
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:

            async def ask(method, path, body=None):
                return (await client.request(method, path, content=body)).content

            await check_async(ask)

    asyncio.run(all_of_it())


def with_aiohttp(url):
    import asyncio

    import aiohttp

    async def all_of_it():
        async with aiohttp.ClientSession() as session:

            async def ask(method, path, body=None):
                async with session.request(method, url + path, data=body) as answer:
                    return await answer.read()

            await check_async(ask)

    asyncio.run(all_of_it())


def with_tornado(url):
    import asyncio

    from tornado.httpclient import AsyncHTTPClient

    async def all_of_it():
        client = AsyncHTTPClient()

        async def ask(method, path, body=None):
            kind = {"Content-Type": "application/octet-stream"}
            return (await client.fetch(url + path, method=method, body=body, headers=kind)).body

        await check_async(ask)

    asyncio.run(all_of_it())


def with_twisted(url):
    from io import BytesIO

    from twisted.internet import defer, task
    from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, readBody

    def main(reactor):
        pool = HTTPConnectionPool(reactor)
        agent = Agent(reactor, pool=pool)

        async def ask(method, path, body=None):
            producer = None if body is None else FileBodyProducer(BytesIO(body))
            answer = await agent.request(
                method.encode(), (url + path).encode(), bodyProducer=producer
            )
            return await readBody(answer)

        async def all_of_it():
            same(await ask("GET", f"/blob/{2 * MB}"), blob(2 * MB))
            same(await ask("POST", "/echo", blob(MB, 2)), blob(MB, 2))
            for size in range(1, SMALL + 1):
                same(await ask("GET", f"/blob/{size}"), blob(size))
            await pool.closeCachedConnections()

        return defer.ensureDeferred(all_of_it())

    task.react(lambda reactor: main(reactor).addCallback(lambda _: finish(small=SMALL)))


def with_gevent(url):
    from gevent import monkey

    monkey.patch_all()
    return with_requests(url)


def with_uvloop(url):
    import uvloop

    uvloop.install()
    with_aiohttp(url)


def check(ask):
    same(ask("GET", f"/blob/{2 * MB}"), blob(2 * MB))
    same(ask("POST", "/echo", blob(MB, 2)), blob(MB, 2))
    for size in range(1, SMALL + 1):
        same(ask("GET", f"/blob/{size}"), blob(size))


def with_threads(get):
    from concurrent.futures import ThreadPoolExecutor

    sizes = range(1000, 60_000, 1000)
    with ThreadPoolExecutor(8) as threads:
        for size, got in zip(sizes, threads.map(get, sizes), strict=True):
            same(got, blob(size))


async def check_async(ask):
    import asyncio

    same(await ask("GET", f"/blob/{2 * MB}"), blob(2 * MB))
    same(await ask("POST", "/echo", blob(MB, 2)), blob(MB, 2))
    sizes = range(1, SMALL + 1)
    answers = await asyncio.gather(*(ask("GET", f"/blob/{size}") for size in sizes))
    for size, got in zip(sizes, answers, strict=True):
        same(got, blob(size))
    finish(small=SMALL)


kept = globals()[f"with_{sys.argv[1]}"](f"http://127.0.0.1:{sys.argv[2]}")
if kept is not None or sys.argv[1] == "urllib":
    finish(small=SMALL)
