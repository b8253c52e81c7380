"""gRPC: a large message and some small ones."""

import sys

import grpc
from parts import MB, blob, finish, same

limits = [("grpc.max_receive_message_length", 1 << 24), ("grpc.max_send_message_length", 1 << 24)]
with grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}", limits) as channel:
    ask = channel.unary_unary("/Echo/Same")
    same(ask(blob(MB), timeout=30), blob(MB))
    for number in range(20):
        same(ask(blob(100, number), timeout=30), blob(100, number))
    finish(asked=21)
