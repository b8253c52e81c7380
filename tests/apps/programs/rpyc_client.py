"""rpyc: calls in both directions over one connection."""

import sys

import rpyc
from parts import MB, blob, finish, same

with rpyc.connect("127.0.0.1", int(sys.argv[1])) as there:
    same(there.root.same(blob(MB)), blob(MB))
    squares = list(there.root.call(lambda number: number * number, 30))
    later = rpyc.async_(there.root.same)(17)
    later.wait()
    finish(squares=squares, later=later.value)
