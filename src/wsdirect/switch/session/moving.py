"""A session on its way to another process: suspend, hand over, take over.

One process controls a connection at a time.  The controlling one stops and has the peer stop, so
that nothing but receives is pending at either end; the provider gives the socket to the next
process, and that one goes on where the other stopped, with receives of its own.

Source: C:duplicating-socket-handles-for-a-san.
"""

from __future__ import annotations

import struct
from time import monotonic

from wsdirect.spi.constants import FROM_PROTOCOL_INFO
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.switch.session.session import Session
from wsdirect.switch.session.states import Life
from wsdirect.switch.session.wire import Terms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from wsdirect.spi.structures import WSAPROTOCOL_INFOW
    from wsdirect.switch.session.functions import Functions

__all__ = ["hand_over", "suspend", "take_over"]

_E = WsaErrorCode
_PATIENCE: Final = 5.0
_VERSION: Final = 1
# version, urgent mark's place (-1: none), whether the urgent byte is unread, it, inline; unread
# bytes, bytes to send, bytes of the peer's terms, numbers of the engine's state
_STATE = struct.Struct("<BiBcBIIHH")
_NUMBER = struct.Struct("<I")


def suspend(session: Session, timeout: float = _PATIENCE) -> None:
    """Stop a session: its peer answers when it has stopped, too.

    If the peer is about to move its own end, that comes first.

    Args:
        session: An open session; nobody sends on it meanwhile.
        timeout: Seconds.

    Errors:
        WSAETIMEDOUT: the peer does not answer; the session goes on waiting for it.
        WSAENOTCONN: there is no connection any more.
    """
    deadline = monotonic() + timeout

    def settled() -> bool:
        return session.ended or session.engine.life in (Life.OPEN, Life.SUSPENDED, Life.ENDING)

    while True:
        if session.engine.life is Life.OPEN:
            session.suspend()
        session.wait(settled, max(deadline - monotonic(), 0))
        if session.engine.life is Life.SUSPENDED:
            break
        if session.ended or session.engine.life is Life.ENDING:
            raise WSAError(_E.WSAENOTCONN, "suspend")
        if monotonic() >= deadline:
            raise WSAError(_E.WSAETIMEDOUT, "suspend")
    if not session.wait(lambda: not session.link.sending, max(deadline - monotonic(), 0)):
        raise WSAError(_E.WSAETIMEDOUT, "suspend", "A send does not finish.")


def hand_over(session: Session, process_id: int) -> tuple[WSAPROTOCOL_INFOW, bytes]:
    """Give a suspended session to another process; here it is over.

    Args:
        session: It.
        process_id: The process that will take it over.

    Returns:
        For `take_over`: what the provider's WSPSocket needs, and the session's state.

    Errors:
        WSAEINVAL: it is not suspended.
        Those of WSPDuplicateSocket; the session stays as it was.
    """
    if session.engine.life is not Life.SUSPENDED or session.link.sending:
        raise WSAError(_E.WSAEINVAL, "hand_over", "The session is not suspended.")
    pieces, mark, urgent, rest = session.unread()
    moved = session.engine.export()
    peer = session.engine.peer
    assert peer is not None
    terms = peer.pack()
    data = b"".join(
        [
            _STATE.pack(
                _VERSION,
                mark,
                bool(urgent),
                urgent or b"\0",
                session.inbox.inline,
                len(pieces),
                len(rest),
                len(terms),
                len(moved),
            ),
            terms,
            *(_NUMBER.pack(number) for number in moved.values()),
            pieces,
            rest,
        ]
    )
    info = session.link.give_away(process_id)
    session.drop()
    return info, data


def take_over(
    functions: Functions, info: WSAPROTOCOL_INFOW, data: bytes, timeout: float = _PATIENCE
) -> Session:
    """The session in the next process, open again.

    Args:
        functions: Of the provider here.
        info: From `hand_over`.
        data: From `hand_over`.
        timeout: Seconds for the peer's answer.

    Errors:
        WSAEINVAL: `data` is no session's state, or as WSPSocket has it.
        WSAETIMEDOUT: the peer does not answer.
        Those of WSPSocket, WSPRegisterMemory and WSPRecv.
    """
    try:
        state = _STATE.unpack_from(data)
        version, mark, has_urgent, urgent, inline, unread, unsent, described, numbers = state
        at = _STATE.size
        terms = Terms.unpack(memoryview(data)[at : at + described])
        at += described
        moved = [_NUMBER.unpack_from(data, at + 4 * index)[0] for index in range(numbers)]
        at += 4 * numbers
    except (struct.error, WSAError):
        version = 0
    if version != _VERSION or len(data) != at + unread + unsent or not -1 <= mark < unread:
        raise WSAError(_E.WSAEINVAL, "take_over", "This is no session's state.")
    s = functions.provider.WSPSocket(
        FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, info
    )
    session = None
    try:
        session = Session(functions, s, bool(moved[0]), moved=(terms, moved))
        session.inbox.inline = bool(inline)
        session.reread(
            data[at : at + unread], mark, urgent if has_urgent else b"", data[at + unread :]
        )
        session.start()
        opened = session
        session.wait(lambda: opened.engine.life is not Life.RESUMING, timeout)
        if session.engine.life in (Life.RESUMING, Life.BROKEN):
            raise WSAError(_E.WSAETIMEDOUT, "take_over", "The peer did not answer.")
    except BaseException:
        if session is not None:
            session.drop()
        else:
            functions.provider.WSPCloseSocket(s)
        raise
    return session
