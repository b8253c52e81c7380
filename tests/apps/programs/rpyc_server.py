"""A service with rpyc."""

import sys

import rpyc
from rpyc.utils.server import ThreadedServer


class Service(rpyc.Service):
    def exposed_same(self, data):
        return data

    def exposed_call(self, function, number):
        return [function(each) for each in range(number)]


ThreadedServer(Service, hostname="127.0.0.1", port=int(sys.argv[1])).start()
