"""Whether anybody listens for byte streams at an address, asked without loading the provider.

One AF_UNIX connect for each name that a listener may have; who is there drops a connection that
brings no offer.
"""

from __future__ import annotations

from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, socket
from errno import ECONNREFUSED

from wsdirect.providers.shm.names import EARLY, STREAMS, name_bases, parse_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["is_listening"]

_SLOTS: Final = (0, 1, 2, 3)
_LOOK_WIDE_EVERY: Final = 16
_looks = 0


def is_listening(host: str, port: int) -> bool:
    """Whether a listener may be there; True, too, when that cannot be told.

    Mostly the first process's name is tried only.  Now and then, and the first time, those of more
    processes are: the first of several workers may have ended.
    """
    global _looks
    slots = _SLOTS if _looks % _LOOK_WIDE_EVERY == 0 else _SLOTS[:1]
    _looks += 1
    try:
        probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
    except OSError:
        return True
    try:
        for base in name_bases(STREAMS, parse_host(host), port):
            for slot in slots:
                if probe.connect_ex(base + b"%d" % slot) != ECONNREFUSED:
                    return True
            if probe.connect_ex(base + EARLY) != ECONNREFUSED:
                return True
    except (OSError, ValueError):
        return True
    finally:
        probe.close()
    return False
