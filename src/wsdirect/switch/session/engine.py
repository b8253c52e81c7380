"""The session protocol without any input or output.

The engine is told what has arrived and what the program wants; it says what may be sent now and
what is to be done with memory.  It holds no data: a caller that is told that there is room puts its
bytes behind the header that it gets, and sends the message before it asks for the next header.

Flow control: every message takes one receive at the peer, so each end counts how many the peer has
posted and it has not used yet, its credits.  A receive is posted again as soon as its bytes have
been read, and credits go back with whatever message comes next, or alone once half of them are due.
Messages whose receive may stay taken (data, which a program need not read) leave `RESERVE` credits
alone.  Control messages, whose receives are free again at once, leave one, and that one is for
messages that do nothing but give credits.  So neither end can stop the other for good, whatever the
programs do not read.
"""

from __future__ import annotations

from collections import deque

from wsdirect.switch.session.states import (
    ARRIVING,
    LIFE,
    OFFERING,
    RECEIVING,
    SENDING,
    WRITING,
    Arriving,
    Event,
    Life,
    Offering,
    Receiving,
    Sending,
    Writing,
    protocol_error,
    step,
)
from wsdirect.switch.session.wire import (
    DEAF,
    FEATURE_RDMA,
    FEATURE_READ,
    HEADER_SIZE,
    URGENT,
    Header,
    Kind,
    Terms,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Final

__all__ = ["RESERVE", "Engine"]

RESERVE: Final = 4
"""Credits that data leave alone: END, GONE or CLOSE, an answer about a transfer, and one to spare
besides the last, which only gives credits."""
_WRAP: Final = 0xFFFFFFFF

# What may come while one end is on its way to another process.
_WHILE_MOVING: Final = {
    Life.SUSPENDED: frozenset((Kind.RESET,)),
    Life.RESUMING: frozenset((Kind.RESUMED, Kind.RESET)),
    Life.HELD: frozenset(
        (Kind.READ, Kind.EXPOSED, Kind.REFUSED, Kind.CREDIT, Kind.RESUME, Kind.RESET)
    ),
}


class Engine:
    """One end of a session.

    Attributes:
        active: This end connected; the other accepted.
        terms: What this end has told, or will tell, the peer.
        peer: What the peer has told; None before that.
        life: The session as a whole.
        sending: The outgoing direction.
        receiving: The incoming direction.
        offering: An outgoing large transfer that the peer reads.
        writing: An outgoing large transfer that this end writes.
        arriving: An incoming large transfer.
        credits: Messages that the peer has receives for.
        owed: Receives posted since the last message to the peer.
        peer_deaf: The peer's program reads no more.
        rest: Of a transfer that the peer refused there are bytes to send as data, the next ones
            that may go; the caller ends it.
        was_reset: The peer gave the connection up.
        tasks: What is to be done, before the next message is looked at, as it may be data that
            follow a transfer: (name, header) pairs, the oldest first; the names
            are "write", "release", "refused", "arrived" and "yielded".
        arrival: The incoming transfer that waits for memory, as ("read" or "expose", header).  It
            may wait long, if the program does not read; so it must not hold up the tasks.
    """

    __slots__ = (
        "_close_due",
        "_confirm_due",
        "_expected",
        "_gone_due",
        "_incoming",
        "_number",
        "_outgoing",
        "_replies",
        "_reset_due",
        "_resume_due",
        "_resumed_due",
        "_silent",
        "_suspend_due",
        "_written_due",
        "active",
        "arrival",
        "arriving",
        "credits",
        "life",
        "offering",
        "owed",
        "peer",
        "peer_deaf",
        "receiving",
        "rest",
        "sending",
        "tasks",
        "terms",
        "was_reset",
        "writing",
    )

    def __init__(self, active: bool, terms: Terms) -> None:
        self.active = active
        self.terms = terms
        self.peer: Terms | None = None
        self.life: Any = Life.NEGOTIATING
        self.sending: Any = Sending.OPEN
        self.receiving: Any = Receiving.OPEN
        self.offering: Any = Offering.IDLE
        self.writing: Any = Writing.IDLE
        self.arriving: Any = Arriving.IDLE
        self.credits = 0
        self.owed = 0
        self.peer_deaf = False
        self.rest = False
        self.was_reset = False
        self.tasks: deque[tuple[str, Header]] = deque()
        self.arrival: tuple[str, Header] | None = None
        self._number = 0  # of the next message to the peer
        self._expected = 0  # of the next message from the peer
        self._outgoing = 0  # number of the last large transfer, each way
        self._incoming = 0
        self._replies: deque[tuple[Kind, int, bytes]] = deque()
        self._written_due = False
        self._silent = False  # nothing is sent until the peer's next process comes
        self._gone_due = False
        self._close_due = False
        self._confirm_due = False
        self._reset_due = False
        self._suspend_due = False
        self._resume_due = False
        self._resumed_due = False

    # --- what goes out --------------------------------------------------------------------------

    def start(self) -> bytes:
        """The active end's first message, whole.  It needs no credit: the provider holds it."""
        return self._message(Kind.NEGOTIATE, payload=self.terms.pack(), charge=False)

    def control(self) -> bytes | None:
        """The next control message that is due and may be sent now, whole."""
        if self._silent or self.peer is None:
            return None
        if self._reset_due:
            self._reset_due = False
            self._silent = True
            return self._message(Kind.RESET) if self.credits else None
        if self.life in (Life.CLOSED, Life.BROKEN):
            return None
        if self.credits > 1:
            found = self._due()
            if found is not None:
                return found
        enough = 1 if self._confirm_due else max(1, self.terms.receives // 2)
        if self.credits and self.owed >= enough:
            self._confirm_due = False
            return self._message(Kind.CREDIT)
        return None

    def _due(self) -> bytes | None:
        life, idle = self.life, self.is_idle
        if life is Life.NEGOTIATING:  # the accepting end's answer
            self.life = step(LIFE, life, Event.AGREE)
            return self._message(Kind.NEGOTIATE, payload=self.terms.pack())
        if self._resume_due:
            self._resume_due = False
            return self._message(Kind.RESUME, payload=self.terms.pack())
        if self._resumed_due:
            self._resumed_due = False
            return self._message(Kind.RESUMED)
        if self._replies:
            kind, transfer, descriptor = self._replies.popleft()
            if kind is Kind.WRITTEN:
                self._written_due = False
            return self._message(kind, transfer=transfer, descriptor=descriptor)
        if life is Life.SUSPENDING and self._suspend_due and self._sends_nothing:
            self._suspend_due = False
            return self._message(Kind.SUSPEND)
        if life is Life.HELD and idle:
            self._silent = True
            return self._message(Kind.SUSPENDED)
        shutting = self.sending is Sending.SHUTTING and not self.rest
        if life is Life.OPEN and shutting and self._sends_nothing:
            self._gone_due = False
            deaf = DEAF if self.receiving is Receiving.DEAF else 0
            message = self._message(Kind.END, flags=deaf)
            self.sending = step(SENDING, self.sending, Event.END_SENT)
            self._look_for_finish()
            return message
        if life is Life.OPEN and self._gone_due and self.sending is Sending.ENDED:
            self._gone_due = False
            return self._message(Kind.GONE)
        if life is Life.ENDING and self._close_due:
            self._close_due = False
            return self._message(Kind.CLOSE)
        return None

    @property
    def _sends_nothing(self) -> bool:
        idle = self.offering is Offering.IDLE and self.writing is Writing.IDLE
        return idle and not self._written_due

    @property
    def is_idle(self) -> bool:
        """Whether no large transfer is under way and every answer about one is sent."""
        return self._sends_nothing and self.arriving is Arriving.IDLE and not self._replies

    @property
    def may_send(self) -> bool:
        """Whether the program may send at all; there need not be room."""
        return self.sending is Sending.OPEN and self.life not in (
            Life.CLOSED,
            Life.BROKEN,
            Life.ENDING,
        )

    def room(self) -> int:
        """Most bytes of payload that a message of data may have now; 0: none may be sent."""
        if (
            self.life is not Life.OPEN
            or not (self.sending is Sending.OPEN or self.rest)
            or not self._sends_nothing
            or self._resumed_due  # that comes first
            or self.credits <= RESERVE
            or self.peer is None
        ):
            return 0
        return min(self.peer.size, self.terms.size) - HEADER_SIZE

    def data(self, length: int, urgent: bool = False) -> bytes:
        """The header of a message of data, with at most `room` bytes behind it."""
        self.sending = step(SENDING, self.sending, Event.SEND)
        return self._header(Kind.DATA, flags=URGENT if urgent else 0, length=length)

    @property
    def rdma_max(self) -> int:
        """Most bytes of a large transfer that may go by RDMA; 0: no RDMA with this peer."""
        if self.peer is None or not self.terms.features & self.peer.features & FEATURE_RDMA:
            return 0
        return min(self.terms.rdma_max, self.peer.rdma_max)

    @property
    def peer_reads(self) -> bool:
        """Whether the peer reads large transfers, so that `large` needs a descriptor."""
        return self.peer is not None and bool(self.peer.features & FEATURE_READ)

    def large(self, first: int, total: int, descriptor: bytes = b"") -> bytes:
        """Begin a large transfer: header and descriptor, with its first bytes to go behind them.

        Args:
            first: Bytes behind the header: at least one, and with the descriptor within `room`.
            total: Bytes of the whole; the others, at most `rdma_max`, go by RDMA.
            descriptor: Of those others, for the peer to read; without it this end writes them.
        """
        self.sending = step(SENDING, self.sending, Event.SEND)
        if descriptor:
            self.offering = step(OFFERING, self.offering, Event.OFFER)
        else:
            self.writing = step(WRITING, self.writing, Event.ANNOUNCE)
        self._outgoing = (self._outgoing + 1) & _WRAP or 1
        return self._header(
            Kind.LARGE,
            descriptor=descriptor,
            length=first,
            transfer=self._outgoing,
            total=total,
        )

    def _message(
        self,
        kind: Kind,
        *,
        flags: int = 0,
        descriptor: bytes = b"",
        payload: bytes = b"",
        transfer: int = 0,
        charge: bool = True,
    ) -> bytes:
        header = self._header(
            kind,
            flags=flags,
            descriptor=descriptor,
            length=len(payload),
            transfer=transfer,
            charge=charge,
        )
        return header + payload

    def _header(
        self,
        kind: Kind,
        *,
        flags: int = 0,
        descriptor: bytes = b"",
        length: int = 0,
        transfer: int = 0,
        total: int = 0,
        charge: bool = True,
    ) -> bytes:
        if charge:
            self.credits -= 1
        credits, self.owed = self.owed, 0
        number, self._number = self._number, (self._number + 1) & _WRAP
        return Header(
            kind,
            number,
            flags=flags,
            credits=credits,
            descriptor=descriptor,
            length=length,
            transfer=transfer,
            total=total,
        ).pack()

    # --- what the program wants -----------------------------------------------------------------

    def confirm(self) -> None:
        """The program has the connection: let the accepting end's have it, too."""
        self._confirm_due = True

    @property
    def is_confirmed(self) -> bool:
        """Whether the connecting end has said anything since the terms were agreed upon."""
        return self.active or self._expected > 1

    def shutdown(self) -> None:
        """Nothing more will be sent; what was sent before arrives."""
        self.sending = step(SENDING, self.sending, Event.SHUT)

    def stop_reading(self) -> None:
        """Nothing more will be read: what arrives is thrown away, and the peer is told."""
        if self.receiving is Receiving.OPEN:
            self._gone_due = True
        self.receiving = step(RECEIVING, self.receiving, Event.SHUT)

    def abort(self) -> None:
        """Give the connection up; the peer is told if there is a credit left for it."""
        if self.life not in (Life.CLOSED, Life.BROKEN, Life.NEGOTIATING):
            self._reset_due = True
        self.life = step(LIFE, self.life, Event.ABORT)

    def suspend(self) -> None:
        """Stop, for this end to be moved; `life` is SUSPENDED when the peer has stopped, too."""
        self.life = step(LIFE, self.life, Event.SUSPEND)
        self._suspend_due = True

    def resume(self, terms: Terms) -> None:
        """Go on in the next process, which has posted its receives."""
        self.life = step(LIFE, self.life, Event.RESUME)
        self.terms = terms
        self.owed = 0
        self._silent = False
        self._resume_due = True

    # --- what the caller has done ---------------------------------------------------------------

    def reposted(self) -> None:
        """A receive was posted again.  The first terms count all that are posted by then."""
        if self.life is not Life.NEGOTIATING:
            self.owed += 1

    def exposed(self, descriptor: bytes) -> None:
        """The arrival has memory: the peer may write to memory with this descriptor."""
        self.arriving = step(ARRIVING, self.arriving, Event.EXPOSE)
        self._replies.append((Kind.EXPOSED, self._incoming, descriptor))

    def reading(self) -> None:
        """The arrival has memory, and is being read."""
        self.arriving = step(ARRIVING, self.arriving, Event.READ)

    def read(self) -> None:
        """The arrival was read."""
        self.arriving = step(ARRIVING, self.arriving, Event.READ_DONE)
        self._replies.append((Kind.READ, self._incoming, b""))

    def refuse(self) -> None:
        """There is no memory for the arrival: the peer is to send it as data."""
        self.arriving = step(ARRIVING, self.arriving, Event.REFUSE)
        self._replies.append((Kind.REFUSED, self._incoming, b""))

    def written(self) -> None:
        """Task "write" is done."""
        self.writing = step(WRITING, self.writing, Event.WRITE_DONE)
        self._replies.append((Kind.WRITTEN, self._outgoing, b""))
        self._written_due = True  # nothing may overtake it

    def lost(self) -> None:
        """The connection is gone."""
        self._silent = True
        self.life = step(LIFE, self.life, Event.LOSE)

    # --- what comes in --------------------------------------------------------------------------

    def message(self, message: memoryview) -> Header:
        """A message has arrived.

        Returns:
            Its header.  Of DATA and LARGE the last `length` bytes of the message are the program's.

        Errors:
            WSAECONNABORTED: the peer broke the protocol; nothing else may be done but `lost`.
        """
        header = Header.unpack(message)
        if header.sequence != self._expected:
            protocol_error(f"Message {header.sequence} came in place of {self._expected}.")
        self._expected = (self._expected + 1) & _WRAP
        allowed = _WHILE_MOVING.get(self.life)
        if allowed is not None and header.kind not in allowed:
            protocol_error(f"{Kind(header.kind).name} came while an end is being moved.")
        if self.peer is None:
            self._agree(header, message)
            return header
        self.credits += header.credits
        if self.credits > self.peer.receives and header.kind != Kind.RESUME:
            protocol_error("The peer gives more credits than it has receives.")
        handler = _HANDLERS.get(header.kind)
        if handler is None:
            protocol_error(f"{Kind(header.kind).name} came after the negotiation.")
        handler(self, header, message)
        return header

    def _agree(self, header: Header, message: memoryview) -> None:
        if header.kind == Kind.RESET:
            self._on_reset(header, message)
            return
        if header.kind != Kind.NEGOTIATE or header.credits:
            protocol_error("The peer did not begin with its terms.")
        self.peer = Terms.unpack(message[HEADER_SIZE:])
        self.credits = self.peer.receives
        if self.active:
            self.life = step(LIFE, self.life, Event.AGREE)

    def _about(self, header: Header, transfer: int) -> None:
        if header.transfer != transfer:
            protocol_error("The peer means another transfer.")

    def _on_credit(self, header: Header, message: memoryview) -> None:
        if not header.credits:
            protocol_error("A message gives no credits.")

    def _on_data(self, header: Header, message: memoryview) -> None:
        if self.arriving is not Arriving.IDLE:
            protocol_error("Data came in the middle of a large transfer.")
        self.receiving = step(RECEIVING, self.receiving, Event.PEER_DATA)

    def _on_large(self, header: Header, message: memoryview) -> None:
        self.receiving = step(RECEIVING, self.receiving, Event.PEER_DATA)
        self._incoming = (self._incoming + 1) & _WRAP or 1
        self._about(header, self._incoming)
        if header.total - header.length > self.rdma_max:
            protocol_error("A large transfer is larger than was agreed.")
        if header.descriptor:
            if not self.terms.features & FEATURE_READ:
                protocol_error("The peer wants its memory read, which this end never offered.")
            self.arriving = step(ARRIVING, self.arriving, Event.PEER_OFFER)
            self.arrival = "read", header
        else:
            self.arriving = step(ARRIVING, self.arriving, Event.PEER_ANNOUNCE)
            self.arrival = "expose", header

    def _on_exposed(self, header: Header, message: memoryview) -> None:
        self._about(header, self._outgoing)
        self.writing = step(WRITING, self.writing, Event.PEER_EXPOSED)
        self.tasks.append(("write", header))

    def _on_read(self, header: Header, message: memoryview) -> None:
        self._about(header, self._outgoing)
        self.offering = step(OFFERING, self.offering, Event.PEER_READ)
        self.tasks.append(("release", header))

    def _on_written(self, header: Header, message: memoryview) -> None:
        self._about(header, self._incoming)
        self.arriving = step(ARRIVING, self.arriving, Event.PEER_WRITTEN)
        self.tasks.append(("arrived", header))

    def _on_refused(self, header: Header, message: memoryview) -> None:
        self._about(header, self._outgoing)
        if self.offering is not Offering.IDLE:
            self.offering = step(OFFERING, self.offering, Event.PEER_REFUSED)
        else:
            self.writing = step(WRITING, self.writing, Event.PEER_REFUSED)
        self.rest = True
        self.tasks.append(("refused", header))

    def _on_end(self, header: Header, message: memoryview) -> None:
        if self.arriving is not Arriving.IDLE:
            protocol_error("The end came in the middle of a large transfer.")
        self.receiving = step(RECEIVING, self.receiving, Event.PEER_END)
        self._gone_due = False  # whoever sends no more need not know that nobody reads
        if header.flags & DEAF:
            self.peer_deaf = True
        self._look_for_finish()

    def _on_gone(self, header: Header, message: memoryview) -> None:
        if self.receiving is not Receiving.ENDED:
            protocol_error("The peer is gone before its end came.")
        self.peer_deaf = True

    def _on_close(self, header: Header, message: memoryview) -> None:
        self.life = step(LIFE, self.life, Event.PEER_CLOSE)

    def _on_reset(self, header: Header, message: memoryview) -> None:
        self.was_reset = True
        self.lost()

    def _on_suspend(self, header: Header, message: memoryview) -> None:
        if self.life is Life.SUSPENDING:
            if self.active:
                return  # the peer gives way, and answers
            self._suspend_due = False
            self.tasks.append(("yielded", header))
        self.life = step(LIFE, self.life, Event.PEER_SUSPEND)

    def _on_suspended(self, header: Header, message: memoryview) -> None:
        if self._suspend_due or self.arriving is not Arriving.IDLE:
            protocol_error("The peer has stopped without being asked to, or in a transfer.")
        self.life = step(LIFE, self.life, Event.PEER_SUSPENDED)
        self._silent = True

    def _on_resume(self, header: Header, message: memoryview) -> None:
        if not self._silent:
            protocol_error("The peer goes on before this end has stopped.")
        self.life = step(LIFE, self.life, Event.PEER_RESUME)
        self.peer = Terms.unpack(message[HEADER_SIZE:])
        self.credits = self.peer.receives
        self._silent = False
        self._resumed_due = True

    def _on_resumed(self, header: Header, message: memoryview) -> None:
        self.life = step(LIFE, self.life, Event.PEER_RESUMED)
        self._look_for_finish()

    def _look_for_finish(self) -> None:
        if (
            self.life is Life.OPEN
            and self.sending is Sending.ENDED
            and self.receiving is Receiving.ENDED
        ):
            self.life = step(LIFE, self.life, Event.FINISH)
            self._close_due = True

    # --- to another process ---------------------------------------------------------------------

    def export(self) -> dict[str, int]:
        """What the next process needs besides both ends' terms, while SUSPENDED."""
        if self.life is not Life.SUSPENDED:
            protocol_error("Only a suspended session can be moved.")
        return {name: int(getattr(self, name)) for name in _MOVED}

    @classmethod
    def adopt(cls, terms: Terms, peer: Terms, numbers: Iterable[int]) -> Engine:
        """The same end in the next process; `resume` comes next.

        Errors:
            WSAECONNABORTED: these are no numbers that `export` gave.
        """
        moved = dict(zip(_MOVED, numbers, strict=False))
        if len(moved) != len(_MOVED) or moved["sending"] > 2 or moved["receiving"] > 2:
            protocol_error("This is no state of a session.")
        engine = cls(bool(moved["active"]), terms)
        engine.peer = peer
        engine.life = Life.SUSPENDED
        engine.sending = Sending(moved["sending"])
        engine.receiving = Receiving(moved["receiving"])
        engine.credits = int(moved["credits"])
        engine.peer_deaf = bool(moved["peer_deaf"])
        engine._number = int(moved["_number"])
        engine._expected = int(moved["_expected"])
        engine._outgoing = int(moved["_outgoing"])
        engine._incoming = int(moved["_incoming"])
        engine._gone_due = bool(moved["_gone_due"])
        engine.rest = bool(moved["rest"])
        return engine


_MOVED: Final = (
    "active",
    "sending",
    "receiving",
    "credits",
    "peer_deaf",
    "_number",
    "_expected",
    "_outgoing",
    "_incoming",
    "_gone_due",
    "rest",
)

_HANDLERS: Final[dict[int, Any]] = {
    Kind.DATA: Engine._on_data,
    Kind.CREDIT: Engine._on_credit,
    Kind.LARGE: Engine._on_large,
    Kind.EXPOSED: Engine._on_exposed,
    Kind.READ: Engine._on_read,
    Kind.WRITTEN: Engine._on_written,
    Kind.REFUSED: Engine._on_refused,
    Kind.END: Engine._on_end,
    Kind.GONE: Engine._on_gone,
    Kind.CLOSE: Engine._on_close,
    Kind.RESET: Engine._on_reset,
    Kind.SUSPEND: Engine._on_suspend,
    Kind.SUSPENDED: Engine._on_suspended,
    Kind.RESUME: Engine._on_resume,
    Kind.RESUMED: Engine._on_resumed,
}
