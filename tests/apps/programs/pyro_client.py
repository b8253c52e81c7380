"""Pyro5: calls with small and large values, a generator on the other side, calls in threads."""

import base64
import sys
from concurrent.futures import ThreadPoolExecutor

import Pyro5.api
from parts import MB, blob, finish, same

uri = f"PYRO:thing@127.0.0.1:{sys.argv[1]}"


def ask(number):
    with Pyro5.api.Proxy(uri) as mine:
        return mine.same(number)


with Pyro5.api.Proxy(uri) as thing:
    there = thing.same(blob(MB))
    same(base64.b64decode(there["data"]) if isinstance(there, dict) else there, blob(MB))
    numbers = [thing.same(number) for number in range(50)]
    with ThreadPoolExecutor(4) as threads:
        more = list(threads.map(ask, range(20)))
    finish(numbers=numbers, more=more, counted=list(thing.count(20)))
