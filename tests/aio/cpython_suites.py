"""CPython's tests that take any event loop, with SanEventLoop: cpython_suites.py NAME."""

from __future__ import annotations

import asyncio
import sys
import unittest
import warnings
from typing import Any

import test.test_asyncio.test_events as events
import test.test_asyncio.test_sendfile as sendfile
import test.test_asyncio.test_server as server
import test.test_asyncio.test_sock_lowlevel as sockets
import test.test_asyncio.test_ssl as tls
import test.test_asyncio.test_streams as streams
import test.test_asyncio.utils as utils

from wsdirect.aio import SanEventLoop


class OnSanLoop:
    def create_event_loop(self) -> Any:
        return SanEventLoop()

    new_loop = create_event_loop


class Events(
    OnSanLoop, events.SubprocessTestsMixin, events.UnixEventLoopTestsMixin, utils.TestCase
):
    def setUp(self) -> None:
        super().setUp()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            asyncio.set_child_watcher(asyncio.ThreadedChildWatcher())


class Sockets(OnSanLoop, sockets.BaseSockTestsMixin, utils.TestCase):
    pass


class Sendfile(
    OnSanLoop, sendfile.SendfileTestsBase, sendfile.SendfileMixin, sendfile.SockSendfileMixin,
    utils.TestCase,
):  # fmt: skip
    pass


class Server(OnSanLoop, server.BaseStartServer, unittest.TestCase):
    pass


class Tls(OnSanLoop, tls.TestSSL):
    pass


CASES = {
    "events": Events, "sockets": Sockets, "sendfile": Sendfile, "server": Server, "tls": Tls,
}  # fmt: skip


def main(name: str) -> bool:
    if name == "streams":
        asyncio.new_event_loop = SanEventLoop  # what its set-up calls
        suite = unittest.defaultTestLoader.loadTestsFromModule(streams)
    else:
        suite = unittest.defaultTestLoader.loadTestsFromTestCase(CASES[name])
    return unittest.TextTestRunner().run(suite).wasSuccessful()


if __name__ == "__main__":
    sys.exit(not main(sys.argv[1]))
