"""Reaching a listener over a SAN: a byte stream of the provider's own, or one over a session."""

from __future__ import annotations

from wsdirect import reasons, settings
from wsdirect.spi.constants import IPPROTO_TCP, SOCK_STREAM, SOL_SOCKET
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.native import SO_EARLY, SO_NATIVE_STREAM
from wsdirect.switch import addresses
from wsdirect.switch.ports import Lease, pool
from wsdirect.telling import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wsdirect.reasons import Reason
    from wsdirect.spi.native import NativeStream
    from wsdirect.switch.addresses import Endpoint
    from wsdirect.switch.routes import Route
    from wsdirect.switch.session.session import Session

__all__ = ["Reached", "reach"]

_SESSION_REASONS: dict[int, Reason] = {
    WsaErrorCode.WSAECONNREFUSED: reasons.REFUSED_BY_PEER,
    WsaErrorCode.WSAECONNRESET: reasons.NO_LISTENER,
    WsaErrorCode.WSAETIMEDOUT: reasons.NO_LISTENER,
    WsaErrorCode.WSAENOBUFS: reasons.OUT_OF_SLOTS,
}
"""What the end of a WSPConnect for messages means."""


class Reached:
    """A connection over a SAN.

    Attributes:
        stream: The byte stream, with a descriptor that is the holder's to close.
        peer_pid: The peer's process if a session told it, 0 if it did not; None: ask the stream.
    """

    __slots__ = ("_session", "peer_pid", "stream")

    def __init__(self, stream: Any, session: Session | None = None) -> None:
        self.stream = stream
        self._session = session
        self.peer_pid: int | None = None
        if session is not None:
            terms = session.engine.peer
            self.peer_pid = 0 if terms is None else terms.process

    def confirm(self) -> None:
        """Once the program has the connection: whoever accepts may rely on our being connected."""
        if self._session is not None:
            self._session.confirm()


def reach(
    route: Route, local: Endpoint, peer: Endpoint, lease: Lease | None, early: bool = False
) -> Reached | Reason:
    """Connect over a SAN.

    Args:
        route: Where to.
        local: The name that the peer is to see.
        peer: The destination.
        lease: The pooled port of `local`, given back if this fails; None: the program's own.
        early: Whether a listener whose program has not accepted anything yet will do; the caller
            moves the connection to TCP if it does not in time, even if it is closed before.

    Returns:
        The connection, or why it has to be TCP.
    """
    try:
        if route.native is not None:
            return Reached(_native_stream(route, route.native, local, peer, early))
        return _over_session(route, local, peer)
    except OSError as error:
        if lease is not None:
            pool.release(lease)
        # a provider of ours says why in the switch's terms; of others, the code must do
        reason: Reason = getattr(error, "reason", None) or reasons.PROVIDER_FAILED
        if route.native is None and isinstance(error, WSAError):
            reason = _SESSION_REASONS.get(error.winerror, reason)
        tell("debug", f"connect to {peer[0]} port {peer[1]} stays on TCP: {error}")
        return reason


def _native_stream(
    route: Route, native: NativeStream, local: Endpoint, peer: Endpoint, early: bool
) -> Any:
    provider = route.provider
    descriptor = -1
    try:
        family = addresses.spi_family(peer[0])
        descriptor = provider.WSPSocket(family, SOCK_STREAM, IPPROTO_TCP, route.info)
        provider.WSPBind(descriptor, local)
        provider.WSPSetSockOpt(descriptor, SOL_SOCKET, SO_NATIVE_STREAM, 1)
        if early:
            provider.WSPSetSockOpt(descriptor, SOL_SOCKET, SO_EARLY, 1)
        provider.WSPConnect(descriptor, peer)
        return native.stream(descriptor)
    except WSAError as error:
        if descriptor >= 0 and error.winerror != WsaErrorCode.WSAENOTSOCK:
            provider.WSPCloseSocket(descriptor)
        raise


def _over_session(route: Route, local: Endpoint, peer: Endpoint) -> Reached:
    from wsdirect.switch.session import connecting, pump

    assert route.functions is not None
    session = connecting.connect(
        route.functions,
        route.info,
        addresses.spi_family(peer[0]),
        local,
        peer,
        settings.current().offer_timeout,
        confirm=False,
    )
    return Reached(pump.attach(session), session)
