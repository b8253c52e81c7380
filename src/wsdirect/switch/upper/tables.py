"""What may be done in which state, and which network event is recorded when: tables only.

What state a socket is in changes by `Socket.step` only, through TRANSITIONS.  What a call is
answered with in which state stands in REFUSALS only.  When an event is recorded stands in
RECORDED_WHEN, and what lets it be recorded again in RE_ENABLED_BY.
"""

from __future__ import annotations

from enum import IntEnum

from wsdirect.spi.constants import FD_ACCEPT, FD_CLOSE, FD_CONNECT, FD_OOB, FD_READ, FD_WRITE
from wsdirect.spi.errors import WsaErrorCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "ALL_EVENTS",
    "RECORDED_WHEN",
    "REFUSALS",
    "RE_ENABLED_BY",
    "TRANSITIONS",
    "Ready",
    "State",
    "Step",
]


class State(IntEnum):
    """What a socket is."""

    FRESH = 0  # From WSPSocket.
    BOUND = 1  # Has a local address.
    LISTENING = 2
    CONNECTING = 3  # No answer yet.
    ACCEPTING = 4  # Waits in an AcceptEx for its connection.
    CONNECTED = 5
    BROKEN = 6  # Was connected; `Socket.error` says why it is not any more.
    DISCONNECTED = 7  # By DisconnectEx.
    REUSABLE = 8  # By DisconnectEx with TF_REUSE_SOCKET: as good as new.
    CLOSED = 9


class Step(IntEnum):
    """What changes a state."""

    BIND = 0
    LISTEN = 1
    CONNECT = 2
    ESTABLISH = 3
    FAIL = 4  # The connect came to nothing,
    FAIL_BOUND = 5  # or that of a bound socket.
    RESERVE = 6  # AcceptEx has it,
    ABANDON = 7  # and has it no more.
    BREAK = 8
    DISCONNECT = 9
    REUSE = 10
    CLOSE = 11


_S = State
_CLOSE: Final[dict[Step, State]] = {Step.CLOSE: _S.CLOSED}

TRANSITIONS: Final[dict[State, dict[Step, State]]] = {
    _S.FRESH: {
        Step.BIND: _S.BOUND,
        Step.CONNECT: _S.CONNECTING,
        Step.RESERVE: _S.ACCEPTING,
        Step.ESTABLISH: _S.CONNECTED,  # accepted sockets
        **_CLOSE,
    },
    _S.BOUND: {
        Step.LISTEN: _S.LISTENING,
        Step.CONNECT: _S.CONNECTING,
        **_CLOSE,
    },
    _S.LISTENING: {Step.LISTEN: _S.LISTENING, **_CLOSE},
    _S.CONNECTING: {
        Step.ESTABLISH: _S.CONNECTED,
        Step.FAIL: _S.FRESH,
        Step.FAIL_BOUND: _S.BOUND,
        **_CLOSE,
    },
    _S.ACCEPTING: {Step.ESTABLISH: _S.CONNECTED, Step.ABANDON: _S.FRESH, **_CLOSE},
    _S.CONNECTED: {
        Step.BREAK: _S.BROKEN,
        Step.DISCONNECT: _S.DISCONNECTED,
        Step.REUSE: _S.REUSABLE,
        **_CLOSE,
    },
    _S.BROKEN: {Step.REUSE: _S.REUSABLE, **_CLOSE},
    _S.DISCONNECTED: {Step.REUSE: _S.REUSABLE, **_CLOSE},
    _S.REUSABLE: {
        Step.CONNECT: _S.CONNECTING,
        Step.RESERVE: _S.ACCEPTING,
        **_CLOSE,
    },
    _S.CLOSED: {},
}

_E = WsaErrorCode
_OWN: Final = 0  # stands for the error that ended the connection

_CLOSED: Final[dict[State, int]] = {_S.CLOSED: _E.WSAENOTSOCK}
_UNCONNECTED: Final[dict[State, int]] = {
    _S.FRESH: _E.WSAENOTCONN,
    _S.BOUND: _E.WSAENOTCONN,
    _S.LISTENING: _E.WSAENOTCONN,
    _S.CONNECTING: _E.WSAENOTCONN,
    _S.ACCEPTING: _E.WSAENOTCONN,
    _S.REUSABLE: _E.WSAENOTCONN,
    **_CLOSED,
}
_TRANSFER: Final[dict[State, int]] = {
    **_UNCONNECTED,
    _S.BROKEN: _OWN,
    _S.DISCONNECTED: _E.WSAESHUTDOWN,
}
_NOT_LISTENING: Final[dict[State, int]] = {
    **{state: _E.WSAEINVAL for state in _S if state is not _S.LISTENING},
    **_CLOSED,
}
_CONNECTED_ALREADY: Final[dict[State, int]] = {
    _S.CONNECTED: _E.WSAEISCONN,
    _S.BROKEN: _E.WSAEISCONN,
    _S.DISCONNECTED: _E.WSAEISCONN,
}

REFUSALS: Final[dict[str, dict[State, int]]] = {
    "WSPBind": {
        **{state: _E.WSAEINVAL for state in _S if state is not _S.FRESH},
        **_CLOSED,
    },
    "WSPListen": {
        _S.FRESH: _E.WSAEINVAL,
        _S.CONNECTING: _E.WSAEINVAL,
        _S.ACCEPTING: _E.WSAEINVAL,
        _S.REUSABLE: _E.WSAEINVAL,
        **_CONNECTED_ALREADY,
        **_CLOSED,
    },
    "WSPConnect": {
        _S.LISTENING: _E.WSAEINVAL,
        _S.CONNECTING: _E.WSAEALREADY,
        _S.ACCEPTING: _E.WSAEINVAL,
        **_CONNECTED_ALREADY,
        **_CLOSED,
    },
    "ConnectEx": {
        _S.FRESH: _E.WSAEINVAL,  # the one that must be bound
        _S.LISTENING: _E.WSAEINVAL,
        _S.CONNECTING: _E.WSAEINVAL,
        _S.ACCEPTING: _E.WSAEINVAL,
        **_CONNECTED_ALREADY,
        **_CLOSED,
    },
    "WSPAccept": _NOT_LISTENING,
    "AcceptEx": _NOT_LISTENING,
    "acceptor of AcceptEx": {
        **{state: _E.WSAEINVAL for state in _S if state not in (_S.FRESH, _S.REUSABLE)},
        **_CLOSED,
    },
    "WSPSend": _TRANSFER,
    "WSPRecv": _TRANSFER,
    "TransmitFile": _TRANSFER,
    "WSPShutdown": {**_UNCONNECTED, _S.BROKEN: _OWN},
    "DisconnectEx": {**_UNCONNECTED, _S.BROKEN: _OWN},
    "WSPGetPeerName": _UNCONNECTED,
    "WSPGetSockName": {
        _S.FRESH: _E.WSAEINVAL,
        _S.ACCEPTING: _E.WSAEINVAL,
        _S.REUSABLE: _E.WSAEINVAL,
        **_CLOSED,
    },
}
"""Winsock code by call and state; what is not here is allowed.  0: the socket's own error."""


class Ready:
    """What is true of a socket at a moment, as bits."""

    DATA = 1  # bytes to receive
    ROOM = 2  # room to send
    URGENT = 4  # urgent data to receive
    END = 8  # the peer sends no more, and all it sent was received
    RESET = 16  # the connection is broken
    WAITING = 32  # a connection to accept
    CONNECT = 64  # a connect has ended, well or badly

    READABLE = DATA | END | RESET | WAITING  # a receive or an accept would not wait


RECORDED_WHEN: Final[tuple[tuple[int, int], ...]] = (
    (FD_ACCEPT, Ready.WAITING),
    (FD_CONNECT, Ready.CONNECT),
    (FD_WRITE, Ready.ROOM),
    (FD_READ, Ready.DATA),
    (FD_OOB, Ready.URGENT),
    (FD_CLOSE, Ready.END | Ready.RESET),
)
"""(event, any of these): recorded if it is selected and was not recorded since it was enabled."""

ALL_EVENTS: Final = FD_ACCEPT | FD_CONNECT | FD_WRITE | FD_READ | FD_OOB | FD_CLOSE

RE_ENABLED_BY: Final[dict[str, int]] = {
    "WSPAccept": int(FD_ACCEPT),
    "AcceptEx": int(FD_ACCEPT),
    "WSPRecv": int(FD_READ),
    "WSPRecv MSG_OOB": int(FD_OOB),
    "WSPSend that would block": int(FD_WRITE),
    "WSPConnect": int(ALL_EVENTS),
    "DisconnectEx": int(ALL_EVENTS),
}
"""These calls take the events out of the record, too: they may have used up what was recorded."""
