"""The active side: from an address to an open session, as the switch does it.

Source: C:initiating-a-connection; C:using-session-protocol.
"""

from __future__ import annotations

from time import monotonic

from wsdirect.spi.constants import FD_CONNECT, IPPROTO_TCP, SOCK_STREAM
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.overlapped import Event
from wsdirect.switch.session.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from wsdirect.spi.structures import WSAPROTOCOL_INFOW, Address
    from wsdirect.switch.session.functions import Functions

__all__ = ["connect"]

_E = WsaErrorCode


def connect(
    functions: Functions,
    info: WSAPROTOCOL_INFOW,
    family: int,
    local: Address,
    peer: Address,
    timeout: float,
    options: Iterable[tuple[int, int, int]] = (),
    confirm: bool = True,
) -> Session:
    """Connect, and agree upon the terms.

    Args:
        functions: Of the provider.
        info: The TCP/IP provider's entry.
        family: AF_INET, or what the provider knows besides.
        local: Address and port, both given.
        peer: Address and port.
        timeout: Seconds for all of it.
        options: (level, option, value) for WSPSetSockOpt.
        confirm: Let the peer's accept return now; else the caller does, with `Session.confirm`.

    Errors:
        WSAETIMEDOUT: no answer in time, or none that makes sense.
        Those of WSPSocket, WSPBind, WSPSetSockOpt, WSPConnect and WSPRegisterMemory.
    """
    provider = functions.provider
    deadline = monotonic() + timeout
    s = provider.WSPSocket(family, SOCK_STREAM, IPPROTO_TCP, info)
    session = None
    try:
        provider.WSPBind(s, local)
        for level, option, value in options:
            provider.WSPSetSockOpt(s, level, option, value)
        _connect(functions, s, peer, deadline)
        session = Session(functions, s, active=True)
        session.start()
        opened = session

        def settled() -> bool:
            return opened.is_open or opened.ended

        session.wait(settled, deadline - monotonic())
        if not session.is_open:
            raise WSAError(_E.WSAETIMEDOUT, "session", "The peer did not agree in time.")
    except BaseException:
        if session is not None:
            session.drop()
        else:
            provider.WSPCloseSocket(s)
        raise
    if confirm:
        session.confirm()
    return session


def _connect(functions: Functions, s: int, peer: Address, deadline: float) -> None:
    """WSPConnect to its end."""
    provider = functions.provider
    with Event() as event:
        provider.WSPEventSelect(s, event, FD_CONNECT)
        try:
            _wait_for(functions, s, peer, event, deadline)
        finally:
            provider.WSPEventSelect(s, None, 0)  # the event is about to be closed


def _wait_for(functions: Functions, s: int, peer: Address, event: Event, deadline: float) -> None:
    provider = functions.provider
    try:
        provider.WSPConnect(s, peer)
        return
    except WSAError as error:
        if error.winerror != _E.WSAEWOULDBLOCK:
            raise
    while True:
        if not event.wait(max(deadline - monotonic(), 0)):
            raise WSAError(_E.WSAETIMEDOUT, "WSPConnect")
        events = provider.WSPEnumNetworkEvents(s, event)
        if events.lNetworkEvents & FD_CONNECT:
            break
    outcome = events.error(FD_CONNECT)
    if outcome:
        raise WSAError(outcome, "WSPConnect")
