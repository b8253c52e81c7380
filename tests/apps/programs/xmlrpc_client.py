"""xmlrpc.client: many small calls over one connection, calls in one, a large one."""

import sys
from xmlrpc.client import Binary, MultiCall, ServerProxy

from parts import MB, blob, finish, same

with ServerProxy(f"http://127.0.0.1:{sys.argv[1]}") as there:
    sums = [there.add(number, number) for number in range(50)]
    same(there.same(Binary(blob(MB))).data, blob(MB))
    calls = MultiCall(there)
    for number in range(50):
        calls.add(number, 1)
    finish(sums=sums, more=list(calls()))
