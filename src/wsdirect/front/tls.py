"""TLS over switched connections: one graft, `ssl.SSLContext._wrap_socket`.

A switched connection's descriptor carries no data, so OpenSSL must not read it.  ssl.SSLSocket
gets, in place of the object that works on the descriptor, a Pump: the same OpenSSL object on two
memory buffers, and the moves between those and the connection.  SSLSocket itself stays as it is.

The Pump takes from the connection what OpenSSL would take from a socket: one record, when it asks
for one.  So a poller sees what it sees with TCP, SSLSocket.pending() tells the rest, and after
unwrap() the bytes that follow are still in the connection.

What the connection fails with is told as this Python's ssl module tells it, see tls_words.
"""

from __future__ import annotations

import _socket
import os
import ssl
import weakref
from _thread import RLock

from wsdirect.front import grafts, tls_words
from wsdirect.front.tls_transfer import Limit, at_once, forever, transfer
from wsdirect.front.tls_words import HANDSHAKE, READ, SHUTDOWN, WRITE
from wsdirect.switch.connection import connections

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

base = _socket.socket

HEADER = 5  # content type, version (2 bytes), length (2 bytes)
CONTENT_TYPES = range(20, 25)
LONGEST_BODY = 16384 + 2048  # of a TLS 1.2 record, encrypted
PIECE = 4 * 16384  # encrypted at once: some records, so that memory stays bounded

forks = 0
"""How many forks lie between this process and the first: locks of before have unknown holders."""


# -- what SSLSocket calls ------------------------------------------------------------------------


def _passed_on(name: str) -> Any:
    """An attribute that the OpenSSL object holds."""

    def get(self: Pump) -> Any:
        return getattr(self._tls, name)

    def put(self: Pump, value: Any) -> None:
        setattr(self._tls, name, value)

    return property(get, put)


class Pump:
    """What `SSLSocket._sslobj` is for a switched connection; stands for `_ssl._SSLSocket`.

    Three locks, so that one thread may read while another writes.  `_reading` belongs to whoever
    takes a record from the connection, `_writing` to whoever sends; both may be held while waiting.
    `_lock` is for the OpenSSL object and its buffers, never held while waiting, and taken last.
    They may be taken twice: a signal handler may use the connection that it interrupts.
    """

    __slots__ = (
        "_connection",
        "_dry",
        "_encrypted",
        "_fd",
        "_forks",
        "_have",
        "_incoming",
        "_lock",
        "_odd",
        "_original",
        "_outgoing",
        "_reading",
        "_record",
        "_records",
        "_server_side",
        "_session",
        "_size",
        "_sock",
        "_tls",
        "_unsent",
        "_writing",
    )

    def __init__(
        self,
        original: Callable[..., Any],
        context: Any,
        sock: Any,
        server_side: bool,
        server_hostname: str | None,
        owner: Any,
        session: Any,
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context._wrap_bio(
            self._incoming,
            self._outgoing,
            server_side,
            server_hostname,
            owner=sock if owner is None else owner,  # whom callbacks get
            session=session,
        )
        self._sock = weakref.ref(sock)  # it holds this object, and must go when it is dropped
        self._fd = base.fileno(sock)
        self._connection = connections.get(self._fd)
        self._session = session
        self._server_side = server_side
        self._original = original  # see Undecided
        self._forks = forks
        self._lock, self._reading, self._writing = RLock(), RLock(), RLock()
        self._record = memoryview(b"")  # the record under way: made when the first one comes
        self._have = 0  # bytes of it
        self._size = HEADER  # as far as known
        self._odd = False  # what comes is not TLS
        self._records = 0  # taken so far
        self._dry = False  # OpenSSL can give no more plain text without another record
        self._unsent = memoryview(b"")
        self._encrypted = 0  # bytes of the data whose write() did not end

    context = _passed_on("context")
    owner = _passed_on("owner")

    @property
    def session(self) -> Any:
        """The TLS session."""
        return self._tls.session

    @session.setter
    def session(self, session: Any) -> None:
        self._tls.session = session
        self._session = session

    def __getattr__(self, name: str) -> Any:
        """version(), cipher(), getpeercert(), pending() ...: no I/O in them."""
        return getattr(self._tls, name)

    def read(self, length: int, buffer: Any = None, /) -> Any:
        """Up to `length` bytes of plain text, or their number if there is a buffer for them."""
        sock, limit = self._begin(READ)
        args = (length,) if buffer is None else (length, buffer)
        records = self._records  # looked at first: another thread may be taking one
        try:
            if self._dry and not (self._unsent or self._outgoing.pending) and _room(length, buffer):
                self._take_record(sock, limit, records)  # OpenSSL would ask for it anyway
            got = self._repeat(sock, limit, self._decrypt, *args)
        except OSError as error:
            raise tls_words.told(error, READ) from None
        if self._outgoing.pending:
            self._send_quietly(sock)  # an answer to a key update, say; this call has its data
        return got

    def _decrypt(self, *args: Any) -> Any:
        got = self._tls.read(*args)
        self._dry = bool(got) and not self._incoming.pending and not self._tls.pending()
        return got

    def write(self, data: Any, /) -> int:
        """Encrypt and send everything; returns its length.

        As with OpenSSL on a socket, a write that could not end (non-blocking, or timed out) must be
        repeated with the same data, and goes on where it stopped.
        """
        sock, limit = self._begin(WRITE)
        try:
            view = memoryview(data)
            view = view.cast("B") if view.nbytes else memoryview(b"")
        except TypeError:
            written: int = self._tls.write(data)  # raises its own
            return written
        if limit.waits and limit.deadline is not None and base.fileno(sock) < 0:
            raise ssl.SSLError(tls_words.CLOSED)
        if not self._enter(self._writing, limit, receiving=False):
            raise tls_words.want_write(WRITE)  # another thread is at it
        try:
            return self._write(sock, limit, view)
        except OSError as error:
            raise tls_words.told(error, WRITE) from None
        finally:
            self._writing.release()
            if self._outgoing.pending:
                self._send_quietly(sock)  # left by a reading thread while this one held the lock

    def _write(self, sock: Any, limit: Limit, view: memoryview) -> int:
        total = len(view)
        if limit.waits:
            self._send_pending(sock, limit)  # first, as the ssl module waits for the socket
        if self._encrypted > total:
            raise tls_words.bad_length()
        done, self._encrypted = self._encrypted, 0
        try:
            self._send_pending(sock, limit)
            while done < total or not total:
                done += self._repeat(sock, limit, self._tls.write, view[done : done + PIECE])
                self._send_pending(sock, limit)
                if not total:
                    break
            return done
        except OSError:
            self._encrypted = done
            raise

    def do_handshake(self) -> None:
        """Handshake, or go on with it."""
        sock, limit = self._begin(HANDSHAKE)
        try:
            self._send_pending(sock, limit)
            self._repeat(sock, limit, self._tls.do_handshake)
            self._send_last(sock, limit)
        except OSError as error:
            raise tls_words.told(error, HANDSHAKE) from None

    def _send_last(self, sock: Any, limit: Limit) -> None:
        """The end of the handshake.

        What a TLS 1.3 server has left to send are tickets: OpenSSL does not mind if its client has
        gone meanwhile, for what the client has sent can still be read.
        """
        try:
            self._send_pending(sock, limit)
        except (BrokenPipeError, ConnectionResetError):
            if not (self._server_side and self._tls.version() == "TLSv1.3"):
                raise
            self._unsent = memoryview(b"")

    def shutdown(self) -> Any:
        """Exchange close_notify; returns the socket, for plain text to go on with."""
        sock, limit = self._begin(SHUTDOWN)
        if base.fileno(sock) < 0:
            raise tls_words.gone()
        try:
            self._send_before_shutdown(sock, limit)
            self._repeat(sock, limit, self._tls.shutdown)
            self._send_pending(sock, limit)
        except OSError as error:
            raise tls_words.told(error, SHUTDOWN) from None
        return sock

    def _send_before_shutdown(self, sock: Any, limit: Limit) -> None:
        try:
            self._send_pending(sock, limit)
        except (BrokenPipeError, ConnectionResetError):
            with self._lock:
                try:
                    self._tls.shutdown()  # what OpenSSL says of its own state comes first
                except ssl.SSLWantReadError:
                    pass
            raise

    # -- the pump --------------------------------------------------------------------------------

    def _begin(self, operation: str) -> tuple[Any, Limit]:
        sock = self._sock()
        if sock is None:
            raise ssl.SSLError("Underlying socket connection gone")
        if self._forks != forks:
            self._after_fork()
        timeout = base.gettimeout(sock)
        return sock, forever[operation] if timeout is None else Limit(timeout, operation)

    def _after_fork(self) -> None:
        """Threads of the parent may have held the locks."""
        self._lock, self._reading, self._writing = RLock(), RLock(), RLock()
        self._forks = forks

    def _number(self, sock: Any) -> int:
        """The descriptor; after SSLSocket.detach() it is the same as long as nobody closes it."""
        fd = base.fileno(sock)
        if fd < 0 and self._connection and connections.get(self._fd) is self._connection:
            return self._fd
        return fd

    def _repeat(self, sock: Any, limit: Limit, call: Callable[..., Any], *args: Any) -> Any:
        """Call OpenSSL until it does not ask for another record any more, or none can be had."""
        came = True
        while True:
            try:
                with self._lock:
                    records = self._records
                    return call(*args)
            except ssl.SSLWantReadError:
                if not came:
                    raise
            except ssl.SSLError:
                self._send_quietly(sock)  # the alert that tells the peer
                raise
            if self._unsent:
                self._send_quietly(sock)  # an earlier call could not: this one need not, to read
            else:
                self._send_pending(sock, limit)
            came = self._take_record(sock, limit, records)

    def _enter(self, lock: Any, limit: Limit, receiving: bool) -> bool:
        """Acquire within the limit; False: the socket is non-blocking, another thread is at it."""
        left = limit.left()
        if lock.acquire(timeout=-1 if left is None else left):
            return True
        if limit.waits:
            raise limit.timed_out(receiving)
        return False

    def _take_record(self, sock: Any, limit: Limit, seen: int) -> bool:
        """Give OpenSSL one more record than the `seen` it had.

        False: the socket is non-blocking, and the record is not here yet; what there is, is kept.
        """
        if not self._enter(self._reading, limit, receiving=True):
            return False
        try:
            if self._records != seen:
                return True  # by another thread
            if not self._record:
                self._record = memoryview(bytearray(HEADER + LONGEST_BODY))
            while self._have < self._size:
                place = self._record[self._have : self._size]
                got = transfer(sock, self._number(sock), True, place, limit)
                if got == 0:
                    self._hand_over(ended=True)
                    return True
                self._have += got
                if self._have == HEADER == self._size:
                    self._size += self._length_of_body()
            self._hand_over(ended=False)
            return True
        except BlockingIOError:
            return False
        finally:
            self._reading.release()

    def _length_of_body(self) -> int:
        """From the header; 0 if it is none, for OpenSSL to judge (an HTTP request, an SSL 2 hello).

        What follows then goes to it byte by byte: never too much, whatever it turns out to be.
        """
        content, major, _, high, low = self._record[:HEADER]
        length = high << 8 | low
        if content in CONTENT_TYPES and major == 3 and length <= LONGEST_BODY:
            return length
        self._odd = True
        return 0

    def _hand_over(self, ended: bool) -> None:
        with self._lock:
            self._incoming.write(self._record[: self._have])
            if ended:
                self._incoming.write_eof()
            self._have, self._size = 0, 1 if self._odd else HEADER
            self._dry = False
            self._records += 1

    def _send_pending(self, sock: Any, limit: Limit) -> None:
        """Send what OpenSSL has for the peer; a thread that is at it already sends this, too."""
        while (self._unsent or self._outgoing.pending) and self._writing.acquire(False):
            try:
                if not self._unsent:
                    with self._lock:
                        self._unsent = memoryview(self._outgoing.read())
                while self._unsent:
                    sent = transfer(sock, self._number(sock), False, self._unsent, limit)
                    self._unsent = self._unsent[sent:]
            except BlockingIOError:
                raise tls_words.want_write(limit.operation) from None
            finally:
                self._writing.release()

    def _send_quietly(self, sock: Any) -> None:
        """As far as possible at once: what remains goes with the next operation."""
        try:
            self._send_pending(sock, at_once[READ])
        except OSError:
            return


class Undecided(Pump):
    """For a socket wrapped before connect(), which decides whether it will be switched.

    The first operation after that makes this a Pump, or puts the ssl module's own object in its
    place.
    """

    __slots__ = ()

    def _decide(self) -> Any:
        sock, _ = self._begin(HANDSHAKE)
        if base.fileno(sock) in connections:
            self.__class__ = Pump  # type: ignore[assignment]
            self._connection = connections[base.fileno(sock)]
            return self
        tls, owner = self._tls, self._tls.owner
        own = self._original(
            tls.context, sock, False, tls.server_hostname, owner=owner, session=self._session
        )
        if getattr(owner, "_sslobj", None) is self:
            owner._sslobj = own
        return own

    def read(self, *args: Any) -> Any:
        """As Pump's."""
        return self._decide().read(*args)

    def write(self, data: Any, /) -> int:
        """As Pump's."""
        written: int = self._decide().write(data)
        return written

    def do_handshake(self) -> None:
        """As Pump's."""
        self._decide().do_handshake()

    def shutdown(self) -> Any:
        """As Pump's."""
        return self._decide().shutdown()


def _room(length: int, buffer: Any) -> bool:
    return length > 0 and (buffer is None or memoryview(buffer).nbytes > 0)


# -- the graft -----------------------------------------------------------------------------------


def graft(ssl_module: Any) -> None:
    """Put the graft into the ssl module."""
    original = ssl_module.SSLContext._wrap_socket
    if getattr(original, "__wsdirect__", False):
        return
    tls_words.wrap, tls_words.context_class = original, ssl_module.SSLContext

    def _wrap_socket(
        self: Any,
        sock: Any,
        server_side: bool,
        server_hostname: str | None = None,
        *,
        owner: Any = None,
        session: Any = None,
    ) -> Any:
        if base.fileno(sock) in connections:
            return Pump(original, self, sock, server_side, server_hostname, owner, session)
        if not server_side and _is_unconnected(sock, owner):
            return Undecided(original, self, sock, server_side, server_hostname, owner, session)
        return original(self, sock, server_side, server_hostname, owner=owner, session=session)

    dressed = grafts.like(original)(_wrap_socket)
    dressed.__wsdirect__ = True
    grafts.graft(ssl_module.SSLContext, "_wrap_socket", dressed)


def _is_unconnected(sock: Any, owner: Any) -> bool:
    """Whether this is SSLSocket.connect(), which wraps first."""
    tcp = sock.family in (_socket.AF_INET, _socket.AF_INET6)
    return tcp and not getattr(owner, "_connected", True)


def _forked() -> None:
    global forks
    forks += 1


os.register_at_fork(after_in_child=_forked)
