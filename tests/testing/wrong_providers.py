"""Providers with gross mistakes, to see what the frame makes of them."""

from __future__ import annotations

import os
import signal
import time

from wsdirect.spi.errors import WSAError
from wsdirect.testing.loopback import LoopbackProvider


class Hanging(LoopbackProvider):
    """Does not come back from a call."""

    def WSPSocket(self, *args, **kw):
        time.sleep(600)


class Crashing(LoopbackProvider):
    """Brings its process down."""

    def WSPSocket(self, *args, **kw):
        os.kill(os.getpid(), signal.SIGKILL)
        return super().WSPSocket(*args, **kw)


class Leaving(LoopbackProvider):
    """Ends the process as if all were well."""

    def WSPSocket(self, *args, **kw):
        os._exit(0)


class Talking(LoopbackProvider):
    """Writes a lot, everywhere."""

    def WSPSocket(self, *args, **kw):
        for descriptor in (1, 2):
            os.write(descriptor, b"socket\n" * 100_000)
        return super().WSPSocket(*args, **kw)


class Raising(LoopbackProvider):
    """Lets an exception out that is none of Winsock's."""

    def WSPSocket(self, *args, **kw):
        raise ZeroDivisionError("in the provider")


class Unstarted(LoopbackProvider):
    """Cannot be started at all."""

    def WSPStartupEx(self, *args):
        raise WSAError(10091, "WSPStartupEx")


class Unmakeable(LoopbackProvider):
    """Cannot even be made a second time."""

    made = 0

    def __init__(self):
        Unmakeable.made += 1
        if Unmakeable.made > 1:
            raise RuntimeError("one is enough")
        super().__init__()


class Blind(LoopbackProvider):
    """Finds addresses in use: breaks a MUST, R-057."""

    def WSPBind(self, s, address):
        for other in self._sockets:
            if other.address == address:
                raise WSAError(10048, "WSPBind")
        super().WSPBind(s, address)


class Narrow(LoopbackProvider):
    """Breaks a SHOULD, R-044, and nothing else."""

    def WSPSocket(self, af, type, protocol, *args, **kw):
        if not protocol:
            raise WSAError(10043, "WSPSocket")
        return super().WSPSocket(af, type, protocol, *args, **kw)


no_provider = 7


def gives_no_provider():
    return object()
