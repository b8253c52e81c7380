"""Runs that were never measured: a figure for every contender in every scenario, from a formula."""

from wsdirect.tools.bench import budgets, measure
from wsdirect.tools.bench.contenders import CONTENDERS, OURS
from wsdirect.tools.bench.results import Document, Result

SIZES = (1, 64, 1024, 4096, 16384, 65536, 262144, 1048576)
LARGE = (*SIZES[1:], 16 << 20)
COUNTS = (1, 100, 1000, 10000)
ROUNDS = (0.99, 1.0, 1.01)
PROGRAMS = ("http-server", "http-server-new", "http-aiohttp", "http-uvicorn", "redis")
STARTS = ("start-up", "start-up-listen", "start-up-connect")
MACHINE = {
    "cpu": "A CPU",
    "architecture": "x86_64",
    "usable_cpus": 2,
    "virtual": "KVM",
    "kernel": "Linux 6.1",
    "python": "CPython 3.11.2",
    "governor": None,
    "clock": "tsc",
}


def run(scale: float = 1.0) -> Document:
    """A full run.

    Args:
        scale: How many times slower the machine is than in a run without this argument.
    """
    document = Document("2026-01-02T03:04:05+00:00", dict(MACHINE))
    for result in _results():
        faster = result.unit.endswith("/s")
        factor = 1 / scale if faster else scale
        result.median *= factor
        result.samples = [sample * factor for sample in result.samples]
        document.results.append(result)
    finish(document)
    return document


def finish(document):
    """Compute what follows from the results."""
    document.ratios = measure.ratios(document.results, OURS)
    document.budgets = budgets.compute(document)


def result(scenario, contender, pinning, unit, median, **more):
    """A result whose rounds are all but the same."""
    samples = [median * share for share in ROUNDS]
    return Result(scenario, contender, pinning, unit, samples, median, **more)


def _results():
    times = {name: 0.5 * 1.4**place for place, name in enumerate(CONTENDERS)}
    for pinning in ("two", "one", "free"):
        for name, contender in CONTENDERS.items():
            able, time = contender.abilities, times[name]
            if "ping-pong" in able:
                for size in SIZES:
                    us = time * (1 + size / 20000)
                    yield result("ping-pong", name, pinning, "us", us, size=size, p99=us * 2)
            if "one-way" in able or "copy" in able:
                for size in LARGE:
                    rate = 20 / time * size / (size + 20000)
                    yield result("one-way", name, pinning, "GB/s", rate, size=size)
            if "one-way" in able:
                yield result("messages", name, pinning, "msg/s", 3e6 / time, size=64)
                yield result("cpu-per-gb", name, pinning, "s/GB", 0.05 * time, size=262144)
            if "connections" in able:
                yield result("connections", name, pinning, "conn/s", 3e4 / time)
            if "many" in able:
                for count in COUNTS:
                    us = time * count**0.1
                    yield result("active", name, pinning, "us", us, size=64, count=count)
            if "idle" in able:
                yield result("idle-cpu", name, pinning, "ms", 0.0)
                yield result("paced-cpu", name, pinning, "ms", 20 * time)
        for name in PROGRAMS:
            yield result(name, "tcp", pinning, "req/s", 7000)
            yield result(name, "switched", pinning, "req/s", 20000)
        for name in ("switched", "tcp", "unix"):
            us = times[name]
            yield result(
                "busy-neighbour", name, pinning, "us", us, size=64, p99=us * 3, p999=4000.0
            )
    for name in ("switched", "tcp", "unix"):
        for count in COUNTS:
            yield result("idle-memory", name, "free", "KiB", 2 * times[name], count=count)
    for name in STARTS:
        yield result(name, "tcp", "one", "ms", 12)
        yield result(name, "switched", "one", "ms", 23)
    for name in ("unswitched", "unswitched-new"):
        yield result(name, "tcp", "one", "us", 13, size=64)
        yield result(name, "under-run", "one", "us", 13, size=64)
