"""The contenders: ways for two processes of a host to exchange bytes, behind one interface.

The table says everything that can be known without loading one.  Their code stands in the modules
beside, is loaded by workers only, and follows `contenders.end.End`.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

__all__ = ["CONTENDERS", "OURS", "Contender", "missing"]

BOTH = frozenset({"ping-pong", "one-way"})


@dataclass(frozen=True)
class Contender:
    """What can be known of a contender without loading it.

    Attributes:
        name: What options and results call it.
        title: For tables and charts.
        end: module:class below `contenders`, the code of its two ends.
        abilities: What its ends can do: "ping-pong", "one-way", "connections" (one after another),
            "many" (connections at a time), "memory" (of many idle ones), "idle", "copy".
        switched: Its processes run under the launcher's environment.
        ours: It stands for wsdirect: ratios are taken of these against all others.
        modules: What has to be importable.
        largest: The most bytes that one message can have; None: any number.
    """

    name: str
    title: str
    end: str
    abilities: frozenset[str] = BOTH
    switched: bool = False
    ours: bool = False
    modules: tuple[str, ...] = ()
    largest: int | None = None


_STREAM = BOTH | {"connections", "idle"}
_MANY = BOTH | {"many"}

_TABLE = (
    Contender(
        "switched", "wsdirect run, blocking", "blocking:Tcp", _STREAM | {"memory"},
        switched=True, ours=True,
    ),
    Contender(
        "switched-selectors", "wsdirect run, selectors", "selecting:Tcp", _MANY,
        switched=True, ours=True,
    ),
    Contender(
        "switched-asyncio", "wsdirect run, asyncio streams", "aio:Streams", _MANY,
        switched=True, ours=True,
    ),
    Contender(
        "switched-san", "SanEventLoop, asyncio streams", "aio:San", _MANY,
        ours=True,
    ),
    Contender(
        "spi-messages", "SPI messages, polled", "spi:Messages", ours=True, largest=65536,
    ),
    Contender("spi-rdma", "SPI RDMA writes, polled", "spi:Rdma", ours=True, largest=16 << 20),
    Contender("tcp", "TCP, blocking", "blocking:Tcp", _STREAM | {"memory"}),
    Contender("unix", "AF_UNIX, blocking", "blocking:Unix", _STREAM | {"memory"}),
    Contender("tcp-selectors", "TCP, selectors", "selecting:Tcp", _MANY),
    Contender("unix-selectors", "AF_UNIX, selectors", "selecting:Unix", _MANY),
    Contender("asyncio-tcp", "asyncio streams on TCP", "aio:Streams", _MANY),
    Contender("uvloop-tcp", "uvloop streams on TCP", "aio:Uvloop", _MANY, modules=("uvloop",)),
    Contender("pipe", "multiprocessing.Pipe", "pipe:Pipe"),
    Contender("pyzmq", "pyzmq over ipc", "zmq:Pair", modules=("zmq",)),
    Contender("pynng", "pynng over ipc", "nng:Pair", modules=("pynng",)),
    Contender("iceoryx2", "iceoryx2, polled", "iceoryx:PublishSubscribe", modules=("iceoryx2",)),
    Contender(
        "c-stream", "C on wsdirect's stream", "floor:Stream",
        modules=("wsdirect._core._floor",),
    ),
    Contender("c-ring", "C on a bare ring", "floor:Ring", modules=("wsdirect._core._floor",)),
    Contender(
        "c-memcpy", "C memcpy", "floor:Memcpy", frozenset({"copy"}),
        modules=("wsdirect._core._floor",),
    ),
    # Of the scenario "unswitched": its sockets stay on TCP, and this is what that costs.
    Contender("under-run", "TCP, under wsdirect run", "blocking:Tcp", frozenset(), ours=True),
)  # fmt: skip

CONTENDERS = {contender.name: contender for contender in _TABLE}
"""All contenders by name, in the order of tables."""

OURS = tuple(contender.name for contender in _TABLE if contender.ours)


def missing(contender: Contender) -> str | None:
    """Why it cannot take part, without loading it; None if nothing is known to be missing."""
    for module in contender.modules:
        if importlib.util.find_spec(module) is None:
            name = "its extension module" if module.startswith("wsdirect.") else module
            return f"{name} is not installed"
    return None
