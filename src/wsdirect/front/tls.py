"""TLS over switched connections: one graft, `ssl.SSLContext._wrap_socket`.

A switched connection's descriptor carries no data, so OpenSSL must not read it.  ssl.SSLSocket
gets, in place of the object that works on the descriptor, a Pump: the same OpenSSL object on two
memory buffers, and the moves between those and the connection.  SSLSocket itself stays as it is.

The Pump takes from the connection what OpenSSL would take from a socket: one record, when it asks
for one.  So a poller sees what it sees with TCP, SSLSocket.pending() tells the rest, and after
unwrap() the bytes that follow are still in the connection.

A reset connection is a ConnectionResetError here; the ssl module of Python 3.11 and of the first
releases of 3.12 takes it for an end of the stream on TCP.
"""

from __future__ import annotations

import _socket
import select
import ssl
import weakref
from _thread import RLock
from time import monotonic

from wsdirect._core import native
from wsdirect.front import grafts, pollers
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

READ = "The read operation timed out"
WRITE = "The write operation timed out"
HANDSHAKE = "_ssl.c: The handshake operation timed out"


class Limit:
    """How long one operation may wait, all its steps together: the socket's time-out."""

    __slots__ = ("deadline", "waits", "words")

    def __init__(self, timeout: float | None, words: str) -> None:
        self.waits = timeout != 0
        self.deadline = monotonic() + timeout if timeout is not None else None
        self.words = words

    def left(self) -> float | None:
        """Seconds; None: for ever; 0: the socket is non-blocking, or time is up."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - monotonic()) if self.waits else 0.0

    def timed_out(self) -> TimeoutError:
        """What the ssl module raises."""
        return TimeoutError(self.words)


_forever = {words: Limit(None, words) for words in (READ, WRITE, HANDSHAKE)}
_at_once = Limit(0, "")


# -- the connection ------------------------------------------------------------------------------


def _transfer(sock: Any, receiving: bool, buffer: memoryview, limit: Limit) -> int:
    """Receive into, or send from, the buffer: at least one byte, and 0 at the end of the stream.

    BlockingIOError if the socket is non-blocking and nothing can be moved.  Signal handlers run
    while this waits, and at that moment it holds no bytes: they may use the same connection.
    """
    assert native is not None
    fd = base.fileno(sock)
    while True:
        stream = native.table_lookup(fd)
        try:
            if stream is None:
                return _transfer_plain(sock, receiving, buffer, limit)
            flags = native.EXACT if stream.strict else 0
            move = stream.recv_into if receiving else stream.send
            moved: int = move(buffer, limit.left(), flags)
            return moved
        except native.Unattached:
            pollers.expired(fd)
        except BlockingIOError:
            if not limit.waits:
                raise
            raise limit.timed_out() from None
        except TimeoutError as error:
            if error.errno is not None:
                raise  # the network's own ETIMEDOUT
            raise limit.timed_out() from None


def _transfer_plain(sock: Any, receiving: bool, buffer: memoryview, limit: Limit) -> int:
    """The same once the connection has moved to TCP, or is closed."""
    fd = base.fileno(sock)
    left = limit.left()
    if limit.waits and left is not None and fd >= 0:
        # recv and send would wait for the socket's time-out; less may be left of it
        poller = select.poll()
        poller.register(fd, select.POLLIN if receiving else select.POLLOUT)
        if not poller.poll(left * 1000):
            raise limit.timed_out()
    return base.recv_into(sock, buffer) if receiving else base.send(sock, buffer)


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
        "_dry",
        "_encrypted",
        "_have",
        "_incoming",
        "_lock",
        "_odd",
        "_original",
        "_outgoing",
        "_reading",
        "_record",
        "_records",
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
        self._session = session
        self._original = original  # see Undecided
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
        records = self._records  # looked at first: another thread may be taking one
        if self._dry and not (self._unsent or self._outgoing.pending) and _room(length, buffer):
            self._take_record(sock, limit, records)  # OpenSSL would ask for it anyway
        args = (length,) if buffer is None else (length, buffer)
        got = self._repeat(sock, limit, self._decrypt, *args)
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
        view = memoryview(data).cast("B")
        total = len(view)
        if not self._enter(self._writing, limit):
            raise _want_write()  # another thread is at it
        done, self._encrypted = self._encrypted, 0
        try:
            if done > total:
                raise _bad_length()
            self._send_pending(sock, limit)
            while done < total or not total:
                done += self._repeat(sock, limit, self._tls.write, view[done : done + PIECE])
                self._send_pending(sock, limit)
                if not total:
                    break
            return done
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, TimeoutError):
            self._encrypted = done
            raise
        finally:
            self._writing.release()
            if self._outgoing.pending:
                self._send_quietly(sock)  # left by a reading thread while this one held the lock

    def do_handshake(self) -> None:
        """Handshake, or go on with it."""
        sock, limit = self._begin(HANDSHAKE)
        self._send_pending(sock, limit)
        self._repeat(sock, limit, self._tls.do_handshake)
        self._send_pending(sock, limit)

    def shutdown(self) -> Any:
        """Exchange close_notify; returns the socket, for plain text to go on with."""
        sock, limit = self._begin(READ)
        self._send_pending(sock, limit)
        self._repeat(sock, limit, self._tls.shutdown)
        self._send_pending(sock, limit)
        return sock

    # -- the pump --------------------------------------------------------------------------------

    def _begin(self, words: str) -> tuple[Any, Limit]:
        sock = self._sock()
        if sock is None:
            raise ssl.SSLError("Underlying socket connection gone")
        timeout = base.gettimeout(sock)
        return sock, _forever[words] if timeout is None else Limit(timeout, words)

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

    def _enter(self, lock: Any, limit: Limit) -> bool:
        """Acquire within the limit; False: the socket is non-blocking, another thread is at it."""
        left = limit.left()
        if lock.acquire(timeout=-1 if left is None else left):
            return True
        if limit.waits:
            raise limit.timed_out()
        return False

    def _take_record(self, sock: Any, limit: Limit, seen: int) -> bool:
        """Give OpenSSL one more record than the `seen` it had.

        False: the socket is non-blocking, and the record is not here yet; what there is, is kept.
        """
        if not self._enter(self._reading, limit):
            return False
        try:
            if self._records != seen:
                return True  # by another thread
            if not self._record:
                self._record = memoryview(bytearray(HEADER + LONGEST_BODY))
            while self._have < self._size:
                got = _transfer(sock, True, self._record[self._have : self._size], limit)
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
                    sent = _transfer(sock, False, self._unsent, limit)
                    self._unsent = self._unsent[sent:]
            except BlockingIOError:
                raise _want_write() from None
            finally:
                self._writing.release()

    def _send_quietly(self, sock: Any) -> None:
        """As far as possible at once: what remains goes with the next operation."""
        try:
            self._send_pending(sock, _at_once)
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


def _want_write() -> ssl.SSLError:
    error = ssl.SSLWantWriteError(
        ssl.SSL_ERROR_WANT_WRITE, "The operation did not complete (write) (_ssl.c)"
    )
    error.library = error.reason = None  # type: ignore[assignment]
    return error


def _bad_length() -> ssl.SSLError:
    error = ssl.SSLError(ssl.SSL_ERROR_SSL, "[SSL: BAD_LENGTH] bad length (_ssl.c)")
    error.library, error.reason = "SSL", "BAD_LENGTH"
    return error


# -- the graft -----------------------------------------------------------------------------------


def graft(ssl_module: Any) -> None:
    """Put the graft into the ssl module."""
    original = ssl_module.SSLContext._wrap_socket
    if getattr(original, "__wsdirect__", False):
        return

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
