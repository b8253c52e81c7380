"""An object served by Pyro5."""

import sys

import Pyro5.api


@Pyro5.api.expose
class Thing:
    def same(self, data):
        return bytes(data) if isinstance(data, bytes) else data

    def count(self, to):
        yield from range(to)


daemon = Pyro5.api.Daemon("127.0.0.1", int(sys.argv[1]))
daemon.register(Thing, "thing")
daemon.requestLoop()
