"""The session protocol's machines, as tables.

Two rules.  What state something is in changes by `step` and one of these tables only.  An event
that the table does not have for a state is a mistake of the peer's: the connection ends.
"""

from __future__ import annotations

from enum import IntEnum

from wsdirect.spi.errors import WSAError, WsaErrorCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, NoReturn

__all__ = [
    "ARRIVING",
    "LIFE",
    "OFFERING",
    "RECEIVING",
    "SENDING",
    "TABLES",
    "WRITING",
    "Arriving",
    "Event",
    "Life",
    "Offering",
    "Receiving",
    "Sending",
    "Writing",
    "protocol_error",
    "step",
]


class Life(IntEnum):
    """The session as a whole."""

    NEGOTIATING = 0  # The terms are not agreed upon yet.
    OPEN = 1
    SUSPENDING = 2  # This end stops, to be moved to another process; waits for the peer's answer.
    SUSPENDED = 3  # Nothing but receives is pending at either end.
    RESUMING = 4  # In the next process: waits for the peer to go on.
    HELD = 5  # The peer is being moved.
    ENDING = 6  # Both directions have ended; waits for the peer to know it, too.
    CLOSED = 7
    BROKEN = 8  # Ended without a goodbye.


class Sending(IntEnum):
    """The outgoing direction."""

    OPEN = 0
    SHUTTING = 1  # The end is to be sent as soon as all that was sent before it is on its way.
    ENDED = 2


class Receiving(IntEnum):
    """The incoming direction."""

    OPEN = 0
    DEAF = 1  # The program reads no more: what comes is thrown away.
    ENDED = 2


class Offering(IntEnum):
    """An outgoing large transfer that the peer reads."""

    IDLE = 0
    OFFERED = 1  # The peer may read our memory.


class Writing(IntEnum):
    """An outgoing large transfer that we write."""

    IDLE = 0
    ANNOUNCED = 1  # Waits for the peer to name a place.
    WRITING = 2


class Arriving(IntEnum):
    """An incoming large transfer, of either kind."""

    IDLE = 0
    OFFERED = 1  # We are to read, and wait for memory to read into.
    READING = 2
    ANNOUNCED = 3  # We are to name a place, and wait for memory.
    EXPOSED = 4  # The peer may write into our memory.


class Event(IntEnum):
    """What changes a state.  Those that begin with PEER come in messages."""

    AGREE = 0
    SUSPEND = 1
    PEER_SUSPEND = 2
    PEER_SUSPENDED = 3
    RESUME = 4
    PEER_RESUME = 5
    PEER_RESUMED = 6
    FINISH = 7  # Our end is sent and the peer's has come.
    PEER_CLOSE = 8
    ABORT = 9
    LOSE = 10
    SEND = 11
    SHUT = 12
    END_SENT = 13
    PEER_DATA = 14
    PEER_END = 15
    OFFER = 16
    ANNOUNCE = 17
    PEER_OFFER = 18
    PEER_ANNOUNCE = 19
    PEER_EXPOSED = 20
    PEER_READ = 21
    PEER_WRITTEN = 22
    PEER_REFUSED = 23
    EXPOSE = 24
    READ = 25
    READ_DONE = 26
    WRITE_DONE = 27
    REFUSE = 28


_L, _S, _R, _O, _W, _A, _E = Life, Sending, Receiving, Offering, Writing, Arriving, Event

LIFE: Final[dict[IntEnum, dict[Event, IntEnum]]] = {
    _L.NEGOTIATING: {
        _E.AGREE: _L.OPEN,
        _E.ABORT: _L.CLOSED,
        _E.LOSE: _L.BROKEN,
    },
    _L.OPEN: {
        _E.SUSPEND: _L.SUSPENDING,
        _E.PEER_SUSPEND: _L.HELD,
        _E.FINISH: _L.ENDING,
        _E.ABORT: _L.CLOSED,
        _E.LOSE: _L.BROKEN,
    },
    _L.SUSPENDING: {
        _E.PEER_SUSPENDED: _L.SUSPENDED,
        _E.PEER_SUSPEND: _L.HELD,  # of two at a time the accepting end gives way
        _E.ABORT: _L.CLOSED,
        _E.LOSE: _L.BROKEN,
    },
    _L.SUSPENDED: {
        _E.RESUME: _L.RESUMING,
        _E.ABORT: _L.CLOSED,
        _E.LOSE: _L.BROKEN,
    },
    _L.RESUMING: {
        _E.PEER_RESUMED: _L.OPEN,
        _E.ABORT: _L.CLOSED,
        _E.LOSE: _L.BROKEN,
    },
    _L.HELD: {
        _E.PEER_RESUME: _L.OPEN,
        _E.ABORT: _L.CLOSED,
        _E.LOSE: _L.BROKEN,
    },
    _L.ENDING: {
        _E.PEER_CLOSE: _L.CLOSED,
        _E.ABORT: _L.CLOSED,
        _E.LOSE: _L.CLOSED,  # the peer was faster: it has all of ours, and we of its
    },
    _L.CLOSED: {
        _E.ABORT: _L.CLOSED,
        _E.LOSE: _L.CLOSED,
    },
    _L.BROKEN: {
        _E.ABORT: _L.BROKEN,
        _E.LOSE: _L.BROKEN,
    },
}

SENDING: Final[dict[IntEnum, dict[Event, IntEnum]]] = {
    _S.OPEN: {_E.SEND: _S.OPEN, _E.SHUT: _S.SHUTTING},
    _S.SHUTTING: {
        _E.SEND: _S.SHUTTING,  # the rest of a large transfer that the peer refused
        _E.END_SENT: _S.ENDED,
        _E.SHUT: _S.SHUTTING,
    },
    _S.ENDED: {_E.SHUT: _S.ENDED},
}

RECEIVING: Final[dict[IntEnum, dict[Event, IntEnum]]] = {
    _R.OPEN: {_E.PEER_DATA: _R.OPEN, _E.PEER_END: _R.ENDED, _E.SHUT: _R.DEAF},
    _R.DEAF: {_E.PEER_DATA: _R.DEAF, _E.PEER_END: _R.ENDED, _E.SHUT: _R.DEAF},
    _R.ENDED: {_E.SHUT: _R.ENDED},
}

OFFERING: Final[dict[IntEnum, dict[Event, IntEnum]]] = {
    _O.IDLE: {_E.OFFER: _O.OFFERED},
    _O.OFFERED: {_E.PEER_READ: _O.IDLE, _E.PEER_REFUSED: _O.IDLE},
}

WRITING: Final[dict[IntEnum, dict[Event, IntEnum]]] = {
    _W.IDLE: {_E.ANNOUNCE: _W.ANNOUNCED},
    _W.ANNOUNCED: {_E.PEER_EXPOSED: _W.WRITING, _E.PEER_REFUSED: _W.IDLE},
    _W.WRITING: {_E.WRITE_DONE: _W.IDLE},
}

ARRIVING: Final[dict[IntEnum, dict[Event, IntEnum]]] = {
    _A.IDLE: {_E.PEER_OFFER: _A.OFFERED, _E.PEER_ANNOUNCE: _A.ANNOUNCED},
    _A.OFFERED: {_E.READ: _A.READING, _E.REFUSE: _A.IDLE},
    _A.READING: {_E.READ_DONE: _A.IDLE},
    _A.ANNOUNCED: {_E.EXPOSE: _A.EXPOSED, _E.REFUSE: _A.IDLE},
    _A.EXPOSED: {_E.PEER_WRITTEN: _A.IDLE},
}

TABLES: Final[dict[str, dict[IntEnum, dict[Event, IntEnum]]]] = {
    "session-life": LIFE,
    "session-sending": SENDING,
    "session-receiving": RECEIVING,
    "session-large-peer-reads": OFFERING,
    "session-large-we-write": WRITING,
    "session-large-arriving": ARRIVING,
}
"""All of them by the names of their diagrams."""


def protocol_error(sentence: str) -> NoReturn:
    """The peer broke the protocol: WSAECONNABORTED."""
    raise WSAError(WsaErrorCode.WSAECONNABORTED, "session", sentence)


def step(
    table: dict[IntEnum, dict[Event, IntEnum]], state: IntEnum, event: Event
) -> IntEnum:  # the caller knows which of the enums it is
    """The state after an event.

    Errors:
        WSAECONNABORTED: the event cannot happen in this state.
    """
    following = table[state].get(event)
    if following is None:
        protocol_error(f"{event.name} cannot come in state {state.name}.")
    return following
