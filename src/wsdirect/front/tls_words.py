"""What the ssl module of this Python says when a socket fails it.

Which class an error is of, and the line of C in its text, differ between releases: a reset
connection is an SSLEOFError where an older one reads or writes and a ConnectionResetError where a
newer one does.  So the module is asked, on a socket pair, when the first such error comes.
"""

from __future__ import annotations

import errno
import socket
import ssl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

READ, WRITE, HANDSHAKE, SHUTDOWN = "read", "write", "do_handshake", "shutdown"
CLOSED = "Underlying socket has been closed."
EOF = "EOF occurred in violation of protocol"

wrap: Callable[..., Any] | None = None
"""The ssl module's own SSLContext._wrap_socket."""
context_class: type[ssl.SSLContext] = ssl.SSLContext
"""The ssl module's own, too: truststore puts another in its place."""
_heard: dict[str, Any] = {}


def _ask(what: str, job: Callable[[Any, Any, Any], object]) -> Any:
    """What `job(tls, ours, theirs)` raises, or returns; asked once."""
    if what not in _heard:
        context = context_class(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        _heard[what] = _asked(context, job)
    return _heard[what]


def _asked(context: ssl.SSLContext, job: Callable[[Any, Any, Any], object]) -> Any:
    assert wrap is not None
    ours, theirs = socket.socketpair()
    try:
        ours.setblocking(False)
        return job(wrap(context, ours, False), ours, theirs)
    except (OSError, ValueError) as error:
        return error
    finally:
        ours.close()
        theirs.close()


def _line(operation: str) -> str:
    """Where the operation's errors are raised, as their texts have it."""

    def job(tls: Any, ours: Any, theirs: Any) -> object:
        call = getattr(tls, operation)
        return call(*_ARGUMENTS[operation])

    said = str(_ask(f"line of {operation}", job))
    return said[said.rfind("(") :] if said.endswith(")") and "(_ssl.c" in said else "(_ssl.c)"


_ARGUMENTS: dict[str, tuple[Any, ...]] = {READ: (1,), WRITE: (b"x",), HANDSHAKE: (), SHUTDOWN: ()}


def _error(kind: type[ssl.SSLError], number: int, text: str, operation: str) -> ssl.SSLError:
    error = kind(int(number), f"{text} {_line(operation)}")
    error.library = error.reason = None  # type: ignore[assignment]
    return error


def told(error: OSError, operation: str) -> OSError:
    """The error of a connection, as the ssl module tells it; its own errors stay what they are."""
    if isinstance(error, (ssl.SSLError, TimeoutError)) and error.errno != errno.ETIMEDOUT:
        return error

    def job(tls: Any, ours: Any, theirs: Any) -> object:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        theirs.close()  # with bytes unread: a reset
        return getattr(tls, operation)(*_ARGUMENTS[operation])

    if operation == SHUTDOWN or not isinstance(_ask(f"reset of {operation}", job), ssl.SSLEOFError):
        return error
    return _error(ssl.SSLEOFError, ssl.SSL_ERROR_EOF, EOF, operation)


def timed_out(operation: str, receiving: bool) -> TimeoutError:
    """The time-out of a socket's operation struck."""
    if operation == HANDSHAKE:

        def job(tls: Any, ours: Any, theirs: Any) -> object:
            ours.settimeout(1e-6)
            return tls.do_handshake()

        said = _ask("time-out", job)
        if isinstance(said, TimeoutError):
            return TimeoutError(*said.args)
        return TimeoutError("_ssl.c: The handshake operation timed out")
    if operation == SHUTDOWN:
        operation = READ if receiving else WRITE
    return TimeoutError(f"The {operation} operation timed out")


def want_write(operation: str) -> ssl.SSLError:
    """A non-blocking socket takes no more."""
    text = "The operation did not complete (write)"
    return _error(ssl.SSLWantWriteError, ssl.SSL_ERROR_WANT_WRITE, text, operation)


def bad_length() -> ssl.SSLError:
    """A write is repeated with less than it had before."""
    error = _error(ssl.SSLError, ssl.SSL_ERROR_SSL, "[SSL: BAD_LENGTH] bad length", WRITE)
    error.library, error.reason = "SSL", "BAD_LENGTH"
    return error


def gone() -> ssl.SSLError:
    """The socket was closed before unwrap()."""

    def job(tls: Any, ours: Any, theirs: Any) -> object:
        ours.close()
        return tls.shutdown()

    said = _ask("gone", job)
    error = ssl.SSLError(*said.args) if isinstance(said, ssl.SSLError) else ssl.SSLError(CLOSED)
    error.library = error.reason = None  # type: ignore[assignment]
    return error
