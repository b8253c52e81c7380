"""logging's SocketHandler and HTTPHandler send records to a server; logging.config listens.

logging_client.py socket|http|config PORT
"""

import hashlib
import json
import logging
import logging.config
import logging.handlers
import socket
import struct
import sys
import time
from urllib.request import urlopen

from parts import blob, finish

port = int(sys.argv[2])
log = logging.getLogger("app")
log.setLevel(logging.INFO)
log.propagate = False
MESSAGES = [blob(10_000, number).hex() for number in range(60)]
WANTED = hashlib.sha256("".join(MESSAGES).encode()).hexdigest()


def by_socket():
    handler = logging.handlers.SocketHandler("127.0.0.1", port)
    log.addHandler(handler)
    for message in MESSAGES:
        log.info(message)
    handler.sock.sendall(bytes(4))
    return handler.sock.recv(64).decode()


def by_http():
    log.addHandler(logging.handlers.HTTPHandler(f"127.0.0.1:{port}", "/log", "POST"))
    for message in MESSAGES:
        log.info(message)
    with urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
        return answer.read().decode()


def by_config():
    """The configuration comes over TCP, is large, and is there a moment later."""
    thread = logging.config.listen(port)
    thread.start()
    thread.ready.wait(30)
    time.sleep(0.2)  # it says so a little too early
    text = json.dumps({"version": 1, "x": "".join(MESSAGES), "root": {"level": "CRITICAL"}})
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(struct.pack(">L", len(text)) + text.encode())
    deadline = time.monotonic() + 30
    while logging.getLogger().level != logging.CRITICAL and time.monotonic() < deadline:
        time.sleep(0.01)
    logging.config.stopListening()
    thread.join(30)
    return WANTED if logging.getLogger().level == logging.CRITICAL else "not configured"


got = globals()[f"by_{sys.argv[1]}"]()
if got != WANTED:
    raise SystemExit(f"the server has seen other messages: {got}")
finish(digest=got)
