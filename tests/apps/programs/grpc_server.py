"""gRPC without generated code: one method that gives back what it got."""

import sys
from concurrent import futures

import grpc

LIMITS = [("grpc.max_receive_message_length", 1 << 24), ("grpc.max_send_message_length", 1 << 24)]
server = grpc.server(futures.ThreadPoolExecutor(4), options=LIMITS)
same = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("Echo", {"Same": same})])
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
server.wait_for_termination()
