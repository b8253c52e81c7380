"""XML-RPC calls, from the standard library."""

import sys
from xmlrpc.server import SimpleXMLRPCServer

server = SimpleXMLRPCServer(("127.0.0.1", int(sys.argv[1])), logRequests=False)
server.register_function(lambda data: data, "same")
server.register_function(lambda a, b: a + b, "add")
server.register_multicall_functions()
server.serve_forever()
