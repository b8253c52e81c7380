"""The sockets of a provider: descriptors, states, and upcalls in their order.

Two rules.  What state a socket is in changes in this file only, by `Socket.step`.  What a call
may be made in which state stands in this file only, in `REFUSALS`.  Nothing here knows what a
connection is made of, so every provider can use it.
"""

from __future__ import annotations

from enum import IntEnum
from itertools import count

from wsdirect.announcing import Upcalls as Upcalls
from wsdirect.spi.errors import WSAError, WsaErrorCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final, Generic, NoReturn, TypeVar

    from wsdirect.providers.qos import Service

    SocketT = TypeVar("SocketT", bound="Socket")
else:
    SocketT = None

    class Generic:  # importing `typing` would cost every process milliseconds
        """Stands for typing.Generic."""

        def __class_getitem__(cls, item):
            return cls


__all__ = ["REFUSALS", "TRANSITIONS", "Socket", "SocketTable", "State", "Step", "Upcalls"]


class State(IntEnum):
    """What a socket is."""

    FRESH = 0  # From WSPSocket.
    BOUND = 1  # Has a local address.
    LISTENING = 2
    CONNECTING = 3  # The peer has not answered yet.
    CONNECTED = 4
    BROKEN = 5  # Was connected; `Socket.error` says why it is not any more.
    MOVED = 6  # Duplicated into another process: only to be closed.
    CLOSED = 7


class Step(IntEnum):
    """What changes a state."""

    BIND = 0
    LISTEN = 1
    CONNECT = 2
    ESTABLISH = 3  # The peer accepted, or we accepted the peer.
    FAIL = 4  # The connect came to nothing.
    BREAK = 5
    MOVE = 6
    CLOSE = 7


TRANSITIONS: Final[dict[State, dict[Step, State]]] = {
    State.FRESH: {
        Step.BIND: State.BOUND,
        Step.CLOSE: State.CLOSED,
    },
    State.BOUND: {
        Step.LISTEN: State.LISTENING,
        Step.CONNECT: State.CONNECTING,
        Step.ESTABLISH: State.CONNECTED,  # accepted and duplicated sockets start here
        Step.CLOSE: State.CLOSED,
    },
    State.LISTENING: {
        Step.LISTEN: State.LISTENING,  # changes the backlog
        Step.MOVE: State.MOVED,
        Step.CLOSE: State.CLOSED,
    },
    State.CONNECTING: {
        Step.ESTABLISH: State.CONNECTED,
        Step.FAIL: State.BOUND,
        Step.CLOSE: State.CLOSED,
    },
    State.CONNECTED: {
        Step.BREAK: State.BROKEN,
        Step.MOVE: State.MOVED,
        Step.CLOSE: State.CLOSED,
    },
    State.BROKEN: {
        Step.CLOSE: State.CLOSED,
    },
    State.MOVED: {
        Step.CLOSE: State.CLOSED,
    },
    State.CLOSED: {},
}

_E = WsaErrorCode
_OWN: Final = 0  # stands for the error that ended the connection

_UNCONNECTED: Final = {
    State.FRESH: _E.WSAENOTCONN,
    State.BOUND: _E.WSAENOTCONN,
    State.LISTENING: _E.WSAENOTCONN,
    State.CONNECTING: _E.WSAENOTCONN,
    State.MOVED: _E.WSAEINVAL,
    State.CLOSED: _E.WSAENOTSOCK,
}

REFUSALS: Final[dict[str, dict[State, int]]] = {
    "WSPBind": {
        State.BOUND: _E.WSAEINVAL,
        State.LISTENING: _E.WSAEINVAL,
        State.CONNECTING: _E.WSAEINVAL,
        State.CONNECTED: _E.WSAEINVAL,
        State.BROKEN: _E.WSAEINVAL,
        State.MOVED: _E.WSAEINVAL,
        State.CLOSED: _E.WSAENOTSOCK,
    },
    "WSPListen": {
        State.FRESH: _E.WSAEINVAL,
        State.CONNECTING: _E.WSAEINVAL,
        State.CONNECTED: _E.WSAEISCONN,
        State.BROKEN: _E.WSAEISCONN,
        State.MOVED: _E.WSAEINVAL,
        State.CLOSED: _E.WSAENOTSOCK,
    },
    "WSPConnect": {
        State.FRESH: _E.WSAEINVAL,
        State.LISTENING: _E.WSAEINVAL,
        State.CONNECTING: _E.WSAEALREADY,
        State.CONNECTED: _E.WSAEISCONN,
        State.BROKEN: _E.WSAEISCONN,
        State.MOVED: _E.WSAEINVAL,
        State.CLOSED: _E.WSAENOTSOCK,
    },
    "WSPAccept": {
        State.FRESH: _E.WSAEINVAL,
        State.BOUND: _E.WSAEINVAL,
        State.CONNECTING: _E.WSAEINVAL,
        State.CONNECTED: _E.WSAEINVAL,
        State.BROKEN: _E.WSAEINVAL,
        State.MOVED: _E.WSAEINVAL,
        State.CLOSED: _E.WSAENOTSOCK,
    },
    "WSPSend": {**_UNCONNECTED, State.BROKEN: _OWN},
    "WSPRecv": {**_UNCONNECTED, State.BROKEN: _OWN},
    "WSPRdmaRead": {**_UNCONNECTED, State.BROKEN: _OWN},
    "WSPRdmaWrite": {**_UNCONNECTED, State.BROKEN: _OWN},
    "WSPRegisterMemory": {**_UNCONNECTED, State.BROKEN: _OWN},
    "WSPRegisterRdmaMemory": {**_UNCONNECTED, State.BROKEN: _OWN},
    "WSPDuplicateSocket": {
        State.FRESH: _E.WSAEINVAL,
        State.BOUND: _E.WSAEINVAL,
        State.CONNECTING: _E.WSAEINVAL,
        State.BROKEN: _E.WSAEINVAL,
        State.MOVED: _E.WSAEINVAL,
        State.CLOSED: _E.WSAENOTSOCK,
    },
    # The byte stream of a socket, and a new kind for it: extensions of wsdirect.
    "stream": {
        State.FRESH: _E.WSAENOTCONN,
        State.BOUND: _E.WSAENOTCONN,
        State.LISTENING: _E.WSAENOTCONN,
        State.BROKEN: _OWN,
        State.MOVED: _E.WSAEINVAL,
        State.CLOSED: _E.WSAENOTSOCK,
    },
    "SO_NATIVE_STREAM": {
        State.LISTENING: _E.WSAEINVAL,
        State.CONNECTING: _E.WSAEINVAL,
        State.CONNECTED: _E.WSAEINVAL,
        State.BROKEN: _E.WSAEINVAL,
        State.MOVED: _E.WSAEINVAL,
        State.CLOSED: _E.WSAENOTSOCK,
    },
}
"""Winsock code by call and state; what is not here is allowed.  0: the socket's own error."""


class Socket:
    """What all sockets of all providers have.

    Attributes:
        descriptor: The provider's number for it, given out by the table.
        handle: The switch's number for it; 0 before WPUCreateSocketHandle.
        catalog_id: dwCatalogEntryId for WPUCreateSocketHandle.
        state: The state; only `step` changes it.
        error: Why the connection is broken, a Winsock code; 0 if it is not.
        service: Quality of service; None for a socket that has nothing to do with it.
    """

    __slots__ = ("catalog_id", "descriptor", "error", "handle", "service", "state")

    def __init__(self, catalog_id: int = 0) -> None:
        self.descriptor = 0
        self.handle = 0
        self.catalog_id = catalog_id
        self.state = State.FRESH
        self.error = 0
        self.service: Service | None = None

    def step(self, step: Step) -> None:
        """Change the state; a step that the table does not have is a mistake of the provider."""
        self.state = TRANSITIONS[self.state][step]

    def require(self, call: str) -> None:
        """Raise what the call is answered with in this state, if it is not allowed."""
        if self.state in REFUSALS[call]:
            self.refuse(call)

    def refuse(self, call: str) -> NoReturn:
        """Raise what the call is answered with in this state."""
        raise WSAError(REFUSALS[call].get(self.state) or self.error, call)


class SocketTable(Generic[SocketT]):
    """All sockets of a provider by descriptor.

    Descriptors are numbers that are never used twice, so a late call for a closed socket cannot
    meet another one.  They do not look like file descriptors, and mistakes show.
    """

    __slots__ = ("_numbers", "_sockets")

    def __init__(self) -> None:
        self._numbers = count(0x10000, 4)
        # No lock: every change is a single operation of a dict, and a lock could be held by
        # another thread at a fork.
        self._sockets: dict[int, SocketT] = {}

    def add(self, socket: SocketT) -> int:
        """Give the socket a descriptor."""
        socket.descriptor = descriptor = next(self._numbers)
        self._sockets[descriptor] = socket
        return descriptor

    def get(self, s: int, call: str) -> SocketT:
        """The socket with this descriptor.

        Errors:
            WSAENOTSOCK: there is none, or not any more.
        """
        try:
            return self._sockets[s]
        except (KeyError, TypeError):
            raise WSAError(WsaErrorCode.WSAENOTSOCK, call) from None

    def find(self, s: int) -> SocketT | None:
        """The socket with this descriptor, or None."""
        try:
            return self._sockets.get(s)
        except TypeError:
            return None

    def take(self, s: int, call: str) -> SocketT:
        """Remove the socket from the table; of two threads that try, one gets it.

        Errors:
            WSAENOTSOCK: there is none, or not any more.
        """
        try:
            return self._sockets.pop(s)
        except (KeyError, TypeError):
            raise WSAError(WsaErrorCode.WSAENOTSOCK, call) from None

    def __len__(self) -> int:
        return len(self._sockets)

    def __iter__(self) -> Iterator[SocketT]:
        return iter(list(self._sockets.values()))

    def clear(self) -> None:
        """Forget all sockets, as in a forked child; their numbers stay used."""
        self._sockets.clear()
