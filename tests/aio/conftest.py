"""Coroutines run on SanEventLoop, and whoever runs one finds everything given back afterwards."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

import wsdirect
from wsdirect.aio import sockets
from wsdirect.switch.ports import pool

PATIENCE = 60.0
"""Seconds after which a coroutine is given up; nothing is expected to take that long."""

SEGMENTS = 24
"""Descriptors that a process keeps for the sake of further connections to the same peer."""

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def _patiently(work: Coroutine[Any, Any, Any]) -> Any:
    return await asyncio.wait_for(work, PATIENCE)


def run_on(factory: Any, work: Coroutine[Any, Any, Any]) -> Any:
    """Run it on a loop of this kind; an exception that nobody handled is an error of the test."""
    told: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: told.append(context))
        answer = runner.run(_patiently(work))
        # tasks of the other end may need a turn to see that everything is over
        runner.run(asyncio.sleep(0))
    assert not told, told
    return answer


@pytest.fixture
def run() -> Iterator[Run]:
    run_on(wsdirect.SanEventLoop, _warm_up())  # what a process keeps: segments, ports, pages
    gc.collect()
    pool.forget()
    before = descriptors(), threading.active_count()

    def runs(work: Coroutine[Any, Any, Any]) -> Any:
        return run_on(wsdirect.SanEventLoop, work)

    yield runs
    gc.collect()
    assert not sockets._ends, "sockets were left open"
    pool.forget()  # the ports that stay with the process for its next connections
    assert descriptors() <= before[0] + SEGMENTS
    assert threading.active_count() <= before[1]


async def _warm_up() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*address_of(server))
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


def address_of(server: asyncio.Server) -> tuple[str, int]:
    host, port = server.sockets[0].getsockname()[:2]
    return host, port
