"""Fault injection: what `wsdirect.testing.faults` asks of a provider that wants it all proven."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.testing.faults import Fault, FaultInjector

if TYPE_CHECKING:
    from wsdirect.testing.loopback.network import Network

__all__ = ["LoopbackFaults"]

_E = WsaErrorCode

# What a connect ends with under a fault, whatever the destination.
_UNREACHED: Final = {
    Fault.REFUSE: _E.WSAECONNREFUSED,
    Fault.UNREACHABLE: _E.WSAEHOSTUNREACH,
    Fault.NO_WSD: _E.WSAETIMEDOUT,
}

# What a call that needs something fails with, in the order in which they are looked at.
_SCARCE: Final = {
    Fault.NO_DESCRIPTORS: _E.WSAEMFILE,
    Fault.NO_BUFFERS: _E.WSAENOBUFS,
}


class LoopbackFaults(FaultInjector):
    """The faults of one network: the provider asks here wherever one could strike."""

    supported = frozenset(Fault)

    def __init__(self, network: Network) -> None:
        self._network = network
        self._active: Counter[Fault] = Counter()

    def active(self, fault: Fault) -> bool:
        """Whether it strikes now."""
        return self._active[fault] > 0

    @contextmanager
    def inject(self, fault: Fault) -> Iterator[None]:
        """Let it strike inside a `with` block."""
        self._active[fault] += 1
        engine = self._network.engine
        if fault is Fault.DELAY:
            engine.hold()
        elif fault is Fault.KEEPALIVE:
            self._lose_all()
        try:
            yield
        finally:
            self._active[fault] -= 1
            if fault is Fault.DELAY:
                engine.go_on()

    def _lose_all(self) -> None:
        """Keep-alive packets go out on every connection, and none is answered."""
        with self._network.engine.lock:
            for socket in self._network.connected_sockets():
                if socket.end is not None:
                    socket.end.break_both(_E.WSAENETRESET)

    # --- where they strike ------------------------------------------------------------------------

    def check_up(self, call: str) -> None:
        """Raise WSAENETDOWN if the network subsystem has failed."""
        if self._active[Fault.NET_DOWN]:
            raise WSAError(_E.WSAENETDOWN, call)

    def check_room(self, call: str, *needed: Fault) -> None:
        """Raise WSAEMFILE or WSAENOBUFS if one of these things that a call needs is scarce."""
        for fault, code in _SCARCE.items():
            if self._active[fault] and fault in needed:
                raise WSAError(code, call)

    def check_start(self, call: str) -> None:
        """Raise what keeps the provider from starting."""
        if self._active[Fault.NOT_READY]:
            raise WSAError(_E.WSASYSNOTREADY, call)
        if self._active[Fault.CLIENT_LIMIT]:
            raise WSAError(_E.WSAEPROCLIM, call)

    def unreached(self) -> int:
        """What every connect ends with; 0 for its proper outcome."""
        return next((int(code) for fault, code in _UNREACHED.items() if self._active[fault]), 0)

    def breaking(self) -> Fault | None:
        """The fault that breaks a connection at its next transfer, if one does."""
        return next((one for one in (Fault.DROP, Fault.KEEPALIVE) if self._active[one]), None)
