"""The compiled core: sealed segments, byte streams with their bell, messages, the fd table.

Every function that takes a buffer takes anything with the buffer protocol; lengths are bytes,
time-outs are seconds (None: for ever, 0: do not wait).  Failures raise OSError with a POSIX errno.
"""

from collections.abc import Callable, Iterable, Sized
from typing import Any, Final
from weakref import ref

from typing_extensions import Buffer

OFFERED: Final = 1
ATTACHED: Final = 2
REVOKED: Final = 3
PEEK: Final = 1
EXACT: Final = 2
COUNTER_NAMES: Final[tuple[str, ...]]

class Unattached(Exception):
    """Nobody attached to the offer in time."""

class Segment:
    """One sealed memfd: a header and `slots` connection slots of two rings each."""

    @classmethod
    def create(cls, *, slots: int = 64, ring: int = 262144, large: int = 0) -> Segment:
        """Make a segment; `ring` is a power of two from 4096 to 16 MiB, bytes per direction.

        Rings that carry much grow to `large` bytes, a larger power of two; 0: they do not.
        """
    @classmethod
    def adopt(cls, fd: int) -> Segment:
        """Map a segment made by another process (the descriptor is duplicated, not taken).

        ValueError names what is wrong: not sealed, wrong size, unknown version, bad header.
        """
    @property
    def id(self) -> int:
        """Random 64-bit number, the same in every process that maps the segment."""
    @property
    def slots(self) -> int: ...
    @property
    def ring(self) -> int: ...
    @property
    def large(self) -> int:
        """What its rings can grow to; 0: they do not."""
    @property
    def stride(self) -> int:
        """Bytes from one slot to the next; the first begins at 4096."""
    @property
    def in_use(self) -> int:
        """Slots that are not free at this moment."""
    @property
    def streams(self) -> int:
        """How many streams of this process hold slots of it."""
    def fileno(self) -> int: ...
    def take(self) -> int:
        """Reserve and reset a free slot for an offer; -1 when none is free."""
    def generation(self, slot: int) -> int:
        """The slot's generation: part of an offer, so that none is mistaken for a later one."""

class Dialer:
    """Connects again and again from one address to one listener whose process is known."""

    def __init__(
        self,
        listener: bytes,
        process: int,
        own: int,
        home: int,
        local: bytes,
        remote: bytes,
        port: int,
        seconds: float,
    ) -> None:
        """Listener's name and process; our process number and network namespace; the addresses.

        `local` and `remote` are 16 bytes, `seconds` is what the listener has to accept in.
        """
    def dial(self, segment: Segment, fd: int, port: int) -> Stream | None:
        """Put a connection in the place of a fresh TCP socket; None: nothing has happened.

        `port` is the local one; the segment is one that the listener's process has.
        """

class Acceptor:
    """Takes the usual callers of one listener for byte streams."""

    def __init__(
        self,
        listener: int,
        port: int,
        segments: dict[tuple[tuple[int, int], int], ref[Segment]],
        meant: Callable[[bytes, bytes], tuple[str, str] | None],
    ) -> None:
        """The listening descriptor, its TCP port, and segments by ((pid, uid), id).

        `meant(local, remote)` judges the caller's addresses (16 bytes each, the remote one being
        ours): their texts, or None if they cannot be true.  It is believed for a second.
        """
    def close(self) -> None:
        """The descriptor is the caller's to close."""
    def take(self) -> Any:
        """The next caller, without waiting.

        None: nobody waits.  (stream, own address, peer's address, peer's process): a connection.
        (descriptor, name): one who is not as usual; the descriptor is the receiver's to close.
        False: accept failed in an unusual way, and is to be tried again by other means.
        """

class Rows:
    """Writes the rows of a status page; what stands in them is wsdirect.status's business."""

    def __init__(self, page: Buffer, first: int, count: int) -> None:
        """`page`: writable memory; `first`: where its rows begin; `count`: how many there are."""
    def write(
        self, index: int, body: bytes, fd: int, local_port: int, peer_port: int, stream: Stream
    ) -> None:
        """Fill a row from a body, but for what differs from row to row; the stream counts there."""

def address_of(buffer: Buffer) -> tuple[int, int]:
    """(address, length in bytes) of a buffer that is one piece.

    TypeError, BufferError: it is none.
    """

def memory_of(fd: int) -> tuple[int, int]:
    """(size, inode) of memory that other processes may map; ValueError if it is not sealed."""

class PeerMemory:
    """Memory of another process, mapped here until this object is gone."""

    def __init__(self, pid: int, fd: int, inode: int) -> None:
        """Map what descriptor `fd` of process `pid` stands for, if it is sealed and this inode.

        OSError: it is not, or it cannot be opened or mapped.
        """
    @property
    def size(self) -> int: ...

class Stream:
    """One end of a connection in a slot: byte stream or messages, never both at once."""

    segment: Segment
    slot: int
    strict: bool
    """Never go QUIET: the descriptor tells the truth to pollers that nobody hooked.

    When it is set with data unannounced, the peer is asked to ring for them at its next call.
    """

    @classmethod
    def offer(cls, segment: Segment, slot: int, fd: int, deadline: float | None = 3.0) -> Stream:
        """The connecting end; `fd` is its AF_UNIX bell socket (owned by the caller).

        `deadline`: seconds after which waits raise Unattached if nobody attached (None: never).
        """
    @classmethod
    def attach(cls, segment: Segment, slot: int, generation: int, fd: int) -> Stream:
        """The accepting end.  ConnectionAbortedError if the offer was revoked or is not one."""
    @classmethod
    def join(
        cls,
        segment: Segment,
        slot: int,
        generation: int,
        side: int,
        fd: int,
        shared: bool = False,
    ) -> Stream:
        """An end that another process handed over; it may close its own only after this.

        `shared`: it called share() for us, and need not wait.

        ConnectionAbortedError if the slot has no such connection.
        """
    def share(self) -> None:
        """Before a fork: count one more holder of this end, the child."""
    def unshare(self) -> None:
        """Take back a share() that nobody has used."""
    @property
    def fd(self) -> int: ...
    @fd.setter
    def fd(self, value: int) -> None: ...
    @property
    def side(self) -> int:
        """0: this end offered (connected), 1: it attached (accepted)."""
    @property
    def generation(self) -> int: ...
    @property
    def state(self) -> int:
        """OFFERED, ATTACHED or REVOKED, as the slot says now."""
    @property
    def closed(self) -> bool: ...
    @property
    def reset(self) -> bool:
        """The peer closed with unread data or SO_LINGER 0, or died."""
    @property
    def ended(self) -> bool:
        """The peer has sent everything it will ever send."""
    @property
    def peer_deaf(self) -> bool:
        """The peer was shut down for receiving: what it has is all that it will have."""
    @property
    def write_ended(self) -> bool:
        """This end was shut down for sending."""
    @property
    def offer_deadline(self) -> float | None: ...
    def limit(self, size: int) -> None:
        """Let at most `size` bytes stand unread, as a program that sets SO_SNDBUF expects."""
    def revoke(self) -> bool:
        """OFFERED -> REVOKED; False when the peer has attached meanwhile."""
    def pending_out(self) -> bytes:
        """After revoke(): the bytes written so far, to be relayed elsewhere."""
    def readable(self) -> bool:
        """recv would not block: data, end of stream, or an error to report."""
    def writable(self) -> bool: ...
    def available(self) -> int:
        """Bytes that recv could take now: up to the mark of an urgent byte."""
    @property
    def grown(self) -> bool:
        """What this end sends goes into the large ring."""
    def queued(self) -> int:
        """Bytes sent that the peer has not taken."""
    def arm(self, for_read: bool = True, for_write: bool = True) -> None:
        """Make the descriptor true for a poller that is about to sleep."""
    def unarm(self) -> None:
        """For one who polls readable(): no bell for new data until the next arm() or wait."""
    def watch(self, on: bool) -> None:
        """A poller begins, or ends, to wait for data: meanwhile no blocking recv hides them."""
    def rearm(self) -> None:
        """For an edge-triggered poller that was told of all that is here: ring for what comes next.

        The descriptor does not tell of what is here any more; unannounced() does.
        """
    @property
    def arrived(self) -> int:
        """Bytes that have come so far, read or not."""
    @property
    def aborted(self) -> bool:
        """TCP's socket would be closed: reset, or a send after the peer's close was answered so."""
    def error(self, take: bool = False) -> int:
        """What SO_ERROR says on TCP: ECONNRESET, EPIPE or 0; `take`: it is told from now on."""
    def wait_readable(self, timeout: float | None = None) -> bool:
        """Spin, then sleep on the bell.  False: timed out.  Signals are handled (PEP 475)."""
    def spin(self, timeout: float | None = None) -> bool:
        """For a poller of this one end, which sleeps elsewhere: only the spin.  True: readable."""
    def slept(self, since: float) -> None:
        """The same poller has slept since then (time.monotonic()), and there are data now."""
    def wait_writable(self, timeout: float | None = None) -> bool: ...
    def recv_into(self, buffer: Buffer, timeout: float | None = None, flags: int = 0) -> int: ...
    def recv(self, size: int, timeout: float | None = None, flags: int = 0) -> bytes:
        """`flags`: PEEK and EXACT of this module, not MSG_*.  Stops before an urgent byte."""
    def recv_scatter(self, buffers: Iterable[Buffer], flags: int = 0) -> int:
        """recv into several buffers, in order, without waiting."""
    def send(self, data: Buffer, timeout: float | None = None, flags: int = 0) -> int:
        """At least one byte unless the time-out strikes: BlockingIOError, TimeoutError, EPIPE."""
    # bare ends
    @property
    def bare(self) -> bool:
        """This end's bytes travel in the kernel socket, for whoever has its descriptor."""
    @classmethod
    def wrap(cls, segment: Segment, fd: int) -> Stream:
        """An end that is bare from the start: a kernel socket whose peer has another segment.

        It takes a slot of a segment of this process, for the words that processes share.
        """
    def go_bare(self) -> bytes | None:
        """Make the descriptor an ordinary byte stream, for a process that is to get it.

        The peer follows at its next call; this object goes on working, and its close() leaves the
        socket to the other holders of the descriptor.

        Returns:
            None: done, or done before.  bytes: the peer is gone, nothing was changed, and these
            are what it has sent and nobody has read: no socket can be made to hold them.

        Raises:
            OSError: EBUSY: the peer is stopped in the middle of a call (waited for a second), or
                the socket cannot carry what stands in the rings; nothing was changed.  EINVAL: the
                end carries messages.
            Unattached: nobody has taken the offer.
        """
    # urgent data
    def send_urgent(self, data: Buffer, timeout: float | None = None, flags: int = 0) -> int:
        """As send(); the last byte sent is urgent, and replaces the mark of an earlier one."""
    def recv_urgent(self, peek: bool = False) -> bytes:
        """The urgent byte, without waiting; `peek` leaves it unread.  The mark stays where it is.

        OSError(EINVAL): there is none, it was read already, recv went past it, or `inline` is on.
        BlockingIOError: announced, but not here yet (b"" if the stream has ended without it).
        OSError(ENOTCONN): the peer has reset the connection.
        """
    @property
    def urgent_pending(self) -> bool:
        """An urgent byte is here that nobody has read or passed: exceptional condition, POLLPRI."""
    @property
    def marked(self) -> bool:
        """An urgent byte has ever come: readable() may be false while the descriptor polls so."""
    def hush_urgent(self) -> None:
        """For one who polls for urgent data only: the bell says POLLPRI for as long as its token is
        unread, even if urgent_pending is false.  Data in front of it are unannounced() then."""
    def at_mark(self) -> bool:
        """The next byte of the stream is the latest urgent one, read or not (SIOCATMARK)."""
    @property
    def inline(self) -> bool:
        """SO_OOBINLINE of this end, shared with the processes that share it: urgent bytes stay in
        the stream.  recv() stops before an urgent byte either way; without `inline` the next recv()
        leaves it out."""
    @inline.setter
    def inline(self, value: bool) -> None: ...
    def unread(self) -> int:
        """What FIONREAD says: bytes in front of the mark; all if there is none or it is inline."""
    def urgent_out(self) -> list[int]:
        """After revoke(): which bytes of pending_out() must be sent as urgent ones, in order."""
    def shutdown(self, how: int) -> None: ...
    def close(self, reset: bool = False) -> None:
        """End this end.  The bell descriptor stays the caller's to close, right after this."""
    # messages
    @property
    def max_message(self) -> int: ...
    def send_message(self, buffers: Iterable[Buffer]) -> bool:
        """Queue one message whole, or False when it does not fit now; EMSGSIZE if it never can.

        After False for a message of up to half a ring the descriptor polls writable once there is
        room.
        """
    def message_size(self) -> int:
        """Length of the first queued message; -1 when there is none.

        ConnectionResetError at the end of the connection, ConnectionAbortedError on a bad frame.
        """
    def recv_message(self, buffers: Iterable[Buffer]) -> int:
        """Take the first message into the buffers, in order; BlockingIOError when there is none.

        OSError(EMSGSIZE) when it is longer than the buffers together: it stays queued.
        """
    def discard_message(self) -> None: ...
    def send_control(self, buffers: Iterable[Buffer]) -> bool:
        """send_message, for the peer's provider; the peer's bell rings even if silenced."""
    def recv_control(self, buffers: Iterable[Buffer]) -> int:
        """Take the first message if it is for the provider; OSError(EPROTO): it is not."""
    @property
    def controls(self) -> int:
        """How many control messages the peer says it has sent, modulo 2**32."""
    # RDMA; csrc/wsd_region.h has the rules
    def expose(
        self,
        index: int,
        generation: int,
        key: int,
        address: int,
        length: int,
        access: int,
        memory: int,
        memory_offset: int,
        memory_fd: int,
        pid: int,
    ) -> None:
        """Owner: let the peer get at memory by entry `index`."""
    def end_exposure(self, index: int, generation: int, force: bool = False) -> bool:
        """Owner: end it; False while a transfer of the peer is in it, and it goes on."""
    def exposure_busy(self, index: int) -> bool:
        """Owner, after an end by force: whether a transfer of the peer is still in it."""
    def enter_exposure(
        self, index: int, generation: int, key: int, access: int, offset: int, length: int
    ) -> tuple[int, int, int, int, int, int, int]:
        """Peer: get into an exposure of the other side, for one transfer.

        Returns (address, length, access, memory, memory_offset, memory_fd, pid) as the owner has
        it.  OSError: EINVAL no such exposure, EACCES, EFAULT out of its range.
        """
    def leave_exposure(self, index: int, generation: int) -> None:
        """Peer: the transfer is over."""
    def copy_direct(
        self,
        index: int,
        generation: int,
        pid: int,
        address: int,
        buffers: Iterable[Buffer],
        write: bool,
    ) -> int:
        """Peer, entered: copy to (write) or from the owner's memory through the kernel; bytes."""
    def copy_shared(
        self,
        index: int,
        generation: int,
        memory: PeerMemory,
        at: int,
        buffers: Iterable[Buffer],
        write: bool,
    ) -> int:
        """Peer, entered: copy to (write) or from mapped memory of the owner; bytes."""
    # counters
    @property
    def traffic(self) -> tuple[int, int]:
        """(bytes sent, bytes received) through this end in this process."""
    def count_into(self, counters: Buffer) -> None:
        """Add bytes sent and received to two native uint64 in this writable buffer from now on."""
    def count_alone(self) -> None:
        """Stop counting into the buffer given to count_into()."""

class Piece:
    """Some bytes of a ring, as a buffer; the mapping lives as long as this does.

    A piece is in use until end(), commit() or cancel(), or until it is gone: bytes to read are
    then left unread, and a part that was to be filled is not sent.
    """

    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __len__(self) -> int: ...
    @property
    def over(self) -> bool:
        """It has ended: the bytes are not, or will never be, there any more."""
    def end(self, n: int) -> None:
        """To read: the first n bytes are read.

        BufferError: there are views of it; it ends when the last of them is gone.
        """
    def commit(self, n: int) -> bytes | None:
        """To fill: send the first n bytes; or returns them, as they cannot be sent in this way.

        BufferError: there are views of it; nothing has happened.
        """
    def cancel(self) -> None:
        """To fill: nothing is sent, whatever views there are."""

class Copy:
    """Private memory that knows of its views, to stand for a Piece."""

    exports: int
    def __init__(self, memory: Buffer) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

def lease(stream: Stream, size: int, timeout: float | None = None) -> Piece | bytes | None:
    """A piece of at most `size` bytes that have come; b"" at the end of the stream.

    None: they do not come by a ring, and have to be copied.  BlockingIOError: nothing is here, or
    another piece is in use; TimeoutError, Unattached, and as recv().
    """

def reserve(stream: Stream, size: int, timeout: float | None = None) -> Piece | None:
    """A piece of `size` bytes to be filled; None: they have to be copied.

    BlockingIOError: there is no room now, or another piece is in use; TimeoutError.
    """

def table_bind(fd: int, stream: Stream) -> None: ...
def table_lookup(fd: int) -> Stream | None: ...
def table_drop(fd: int) -> Stream | None: ...
def table_fds() -> list[int]: ...
def has_unannounced() -> bool:
    """Whether any ring of this process may hold data that its descriptor does not tell of."""

def unannounced() -> list[int]:
    """The descriptors of those rings: pollers must look at them."""

def note_inherited(descriptors: Iterable[int]) -> None:
    """Look whether one of these is a switched connection that another process has passed on.

    If none is, and none is received later, nothing is looked at when sockets are made of them.
    """

def guard(
    original: Callable[..., Any],
    handler: Callable[..., Any],
    kind: str = "uses",
    module: str = "os",
) -> Callable[..., Any]:
    """A function that calls `handler` where the switch is concerned, else `original`.

    `kind` says when that is: "uses", "closes", "copies" or "copies onto" a descriptor, "asks" of
    a file, "selects", "makes a poll".  `module` is what pickles find the function in.
    """

LISTENING: int
NEW: int
UNTOUCHED: int
WATCHED: int
SAN: int
PLAIN: int
TCP_ONLY: int

def epoll_wants(epoll: int, fd: int, want: int) -> None:
    """A descriptor is registered in an epoll for plain reading or writing, or no more (0)."""

def epoll_shown(epoll: int) -> None:
    """Others may poll this epoll, and know only what the kernel says of it."""

def epoll_heat(epoll: int, fd: int, stream: Stream) -> bool:
    """There are data at a connection that is none of the table's: its ring is looked at, too.

    The caller watches the stream (`Stream.watch`) for as long as the descriptor is registered.

    Returns:
        False: not now.  What has come in silence is told by nobody; ask again.
    """

def epoll_cool(epoll: int, fd: int) -> None:
    """Look at this one's ring no more."""

def epoll_poll(epoll: int, timeout: float | None, most: int) -> list[tuple[int, int]]:
    """For an event loop: wait in an epoll, and at the rings of its connections that are hot.

    Seconds, None: for ever; 0: news of some microseconds may be told later.  A list of pairs.
    """

def epoll_forget(epoll: int) -> None:
    """The epoll is closed."""

def selector_method(selector_class: type, original: Callable[..., Any]) -> Any:
    """A method descriptor for selectors.EpollSelector: select; see selectormethod.c."""

def mark_of(fd: int) -> int:
    """What is known of a descriptor: the flags above; for PLAIN role << 8, reason << 16, too."""

def mark(fd: int, flags: int) -> None:
    """Add flags to a descriptor's mark."""

def unmark(fd: int, flags: int = 0xFFFFFFFF) -> None:
    """Take flags, or all, from a descriptor's mark."""

def mark_plain(fd: int, role: int, reason: int) -> None:
    """A TCP connection from now on, with the numbers of its role and its reason."""

def unmark_range(first: int, last: int) -> None:
    """Forget the marks of a range of descriptors, the last not included."""

def mark_callbacks(on_released: Callable[[int], None], on_reused: Callable[[int], None]) -> None:
    """Functions that are told of recorded numbers: before they are closed, or found reused."""

def publish_marks(high: Buffer | None, table: Buffer | None) -> None:
    """Show plain connections to other processes: a word, and 8 bytes per descriptor."""

def guarded_methods(
    socket_class: type,
    handlers: dict[str, Callable[..., Any]],
    tables: tuple[dict[str, dict[Any, int]], dict[str, dict[Any, Any]]],
    listeners: dict[int, Any],
    plain_close: bool = False,
) -> dict[str, Any]:
    """Method descriptors for `socket.socket`: connect, accept, close and the rarer ones.

    Args:
        socket_class: It.
        handlers: What is called where the switch is concerned, by name.
        misses: "4" and "6": addresses as given to connect() that go straight to TCP, with until
            when (milliseconds of the monotonic clock) << 16 | the number of the reason.
        listeners: By descriptor; each has `san_fd` and `_waiting`.
        plain_close: socket._real_close does nothing but close the socket.
    """

def fork_hooks(
    before: Callable[[], None],
    in_child: Callable[[], None],
    containers: tuple[Sized, ...],
) -> tuple[Callable[[], None], Callable[[], None]]:
    """(before, after in child) for os.register_at_fork.

    They call the functions given if one of the containers has members, there is a status page, or
    there are other threads.
    """

def poll_state(
    base: type,
    connections: dict[int, Any],
    listeners: dict[int, Any],
    busy: tuple[set[int], ...],
    special: set[int],
    listening: set[int],
) -> None:
    """What the pollers' methods look at.

    While a set of `busy` has members, all is Python's; so are always the epolls of `special`.
    """

def poll_methods(
    kind: type, which: str, handlers: dict[str, Callable[..., Any]], watches: dict[int, Any]
) -> dict[str, Any]:
    """Method descriptors for select.epoll ("epoll") or the type of select.poll() ("poll")."""

def before_fork() -> None:
    """Count one more holder of every end: the parent may close before the child has started."""

def after_fork_child() -> None: ...
def socket_methods(
    socket_type: type,
    on_unattached: Callable[[int], None],
    on_passing: Callable[[Any], None] | None = None,
) -> dict[str, Any]:
    """Method descriptors for `socket.socket`: recv, recv_into, send, sendall, sendmsg, fileno.

    `on_unattached(fd)` is called when a wait finds that nobody attached to the offer in time:
    it moves the connection to TCP under the same descriptor, or raises.  `on_passing(ancillary)`
    is called when a socket that is not switched is about to send ancillary data; it may raise.
    """

def set_spin_limit(microseconds: float | None) -> None:
    """Bound of one busy wait; 0: never spin; None: the measured default (20-300 us)."""

def set_cpu_budget(percent: int) -> None:
    """Percent of one CPU that all busy waits of this process may take together; 100: no bound."""

def process_counters() -> dict[str, int]:
    """What this process did so far, by name (COUNTER_NAMES)."""

def count_rdma_by_owner(size: int) -> None:
    """One more transfer of so many bytes was done by the memory's owner."""

def count_process_into(counters: Buffer) -> None:
    """Keep those counters, in that order, as native uint64 in this writable buffer from now on."""

def peer_pid(fd: int) -> int:
    """The process at the other end of an AF_UNIX socket; 0 if it is not to be known."""

def bell_is_true() -> bool:
    """Whether this kernel's AF_UNIX sockets poll as the bell protocol needs."""

def prepare_bell(fd: int) -> None:
    """Give a socket the smallest send buffer, without which it would never poll as full."""
