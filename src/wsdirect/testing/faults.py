"""Faults that a test can ask a provider for.

Some rules say what a provider answers when something fails: no memory, no descriptors, a network
that is down.  A provider that wants those rules proven has an attribute `fault_injector`, a
`FaultInjector`.  Without one the rules are reported as not applicable.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from enum import Enum

__all__ = ["Fault", "FaultInjector"]


class Fault(Enum):
    """What can be made to fail."""

    NOT_READY = "the network is not ready when the provider is started"
    CLIENT_LIMIT = "the provider serves as many processes as it can already"
    NET_DOWN = "the network subsystem has failed"
    NO_DESCRIPTORS = "no socket can be made for lack of descriptors"
    NO_BUFFERS = "no memory for sockets, requests or registrations"
    REFUSE = "the remote side refuses every connect"
    UNREACHABLE = "the destination certainly does not exist"
    NO_WSD = "the peer is on the network but does not speak Winsock Direct"
    DELAY = "connects and transfers take their time: nothing is finished while this lasts"
    DROP = "every connection breaks at the next transfer"
    KEEPALIVE = "keep-alive finds every connection broken"
    NO_RDMA_READ = "WSPRdmaRead is not there"
    ADDRESSES = "the network adapters have the addresses 127.0.0.2 and 127.0.0.3 only"
    NO_ADDRESSES = "there is no network adapter"


class FaultInjector(ABC):
    """What a provider offers to tests.

    Attributes:
        supported: The faults it can make.
    """

    supported: frozenset[Fault] = frozenset()

    @abstractmethod
    def inject(self, fault: Fault) -> AbstractContextManager[None]:
        """Have something fail inside a `with` block, and no longer.

        Args:
            fault: One of `supported`.
        """
