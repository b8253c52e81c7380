"""What a fork does to the loopback provider.

A forked child has one thread, the one that forked, and locks as they were.  So the lock is taken
before a fork, and the child gets a new engine and no sockets: those are the parent's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    from wsdirect.testing.loopback.network import Network

__all__ = ["include"]

_networks: WeakSet[Network] = WeakSet()
_locked: list[Network] = []


def include(network: Network) -> None:
    """Look after a network as long as it exists."""
    _networks.add(network)


def _before() -> None:
    for network in list(_networks):
        network.engine.lock.acquire()
        _locked.append(network)


def _after_in_parent() -> None:
    while _locked:
        _locked.pop().engine.lock.release()


def _after_in_child() -> None:
    while _locked:
        _locked.pop().after_fork_in_child()


os.register_at_fork(
    before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
)
