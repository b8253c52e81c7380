"""An echo server and a client on Twisted's own reactor.

twisted_echo.py serve|ask PORT
"""

import sys

from parts import MB, blob, finish, same
from twisted.internet import protocol, reactor


class Echo(protocol.Protocol):
    def dataReceived(self, data):
        self.transport.write(data)


class Ask(protocol.Protocol):
    def connectionMade(self):
        self.got = bytearray()
        self.transport.write(blob(2 * MB))

    def dataReceived(self, data):
        self.got += data
        if len(self.got) == 2 * MB:
            same(self.got, blob(2 * MB))
            finish(got=len(self.got))
            self.transport.loseConnection()

    def connectionLost(self, reason):
        reactor.stop()


port = int(sys.argv[2])
if sys.argv[1] == "serve":
    reactor.listenTCP(port, protocol.Factory.forProtocol(Echo), interface="127.0.0.1")
else:
    reactor.connectTCP("127.0.0.1", port, protocol.ClientFactory.forProtocol(Ask))
reactor.run()
