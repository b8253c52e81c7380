"""Winsock errors as Python exceptions, and the way there from POSIX errors.

    raise WSAError(WsaErrorCode.WSAECONNREFUSED, "WSPConnect")

is caught by `except ConnectionRefusedError`; see `WSAError`.  There is one class per code, in
`wsdirect.spi.error_types` and importable from here.
"""

from __future__ import annotations

import errno
import os

from wsdirect.spi import error_types
from wsdirect.spi._error_base import WSAError as WSAError
from wsdirect.spi.error_types import *  # noqa: F403  # all names are WSAE..., none can clash
from wsdirect.spi.errors_table import ERRORS as ERRORS
from wsdirect.spi.errors_table import FROM_ERRNO as FROM_ERRNO
from wsdirect.spi.errors_table import WsaErrorCode as WsaErrorCode

__all__ = [
    "ERRORS",
    "FROM_ERRNO",
    "WSAError",
    "WsaErrorCode",
    "from_errno",
    "from_oserror",
]
__all__ += error_types.__all__


def from_errno(number: int, operation: str | None = None, hint: str | None = None) -> WSAError:
    """The Winsock error for a POSIX errno.

    A connect under way (EINPROGRESS) is WSAEWOULDBLOCK, as Winsock reports it.  An errno without a
    counterpart becomes WSASYSCALLFAILURE, and the hint names it.

    Args:
        number: A POSIX errno.
        operation: What was being done; begins the message.
        hint: One more sentence; ends the message.
    """
    code = FROM_ERRNO.get(number)
    if code is None:
        code = WsaErrorCode.WSASYSCALLFAILURE
        name = errno.errorcode.get(number, str(number))
        told = f"The system said {name}: {os.strerror(number)}."
        hint = f"{told} {hint}" if hint else told
    return WSAError(code, operation, hint)


def from_oserror(error: OSError, operation: str | None = None, hint: str | None = None) -> WSAError:
    """The Winsock error for an exception of the standard library.

    A WSAError comes back as it is.  Exceptions raised without an errno, as `TimeoutError("timed
    out")` is by sockets, go by their class.

    Args:
        error: What was caught.  Use `raise from_oserror(error) from error`.
        operation: What was being done; begins the message.
        hint: One more sentence; ends the message.
    """
    if isinstance(error, WSAError):
        return error
    if error.errno is not None:
        return from_errno(error.errno, operation, hint)
    for kind, number in _ERRNO_OF_CLASS:
        if isinstance(error, kind):
            return from_errno(number, operation, hint)
    told = f"Python said {error!r}."
    return WSAError(WsaErrorCode.WSASYSCALLFAILURE, operation, f"{told} {hint}" if hint else told)


_ERRNO_OF_CLASS = (
    (TimeoutError, errno.ETIMEDOUT),
    (BlockingIOError, errno.EAGAIN),
    (InterruptedError, errno.EINTR),
    (ConnectionRefusedError, errno.ECONNREFUSED),
    (ConnectionAbortedError, errno.ECONNABORTED),
    (ConnectionResetError, errno.ECONNRESET),
    (BrokenPipeError, errno.EPIPE),
    (PermissionError, errno.EACCES),
)
