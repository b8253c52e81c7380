"""Errors that say why a peer was not reached."""

from __future__ import annotations

from wsdirect import reasons
from wsdirect.spi.errors import WSAError, WsaErrorCode

__all__ = ["because", "unreached"]

_E = WsaErrorCode


def because(error: WSAError, reason: reasons.Reason) -> WSAError:
    """The error with the attribute `reason`, for `raise`."""
    error.reason = reason  # type: ignore[attr-defined]
    return error


def unreached(reason: reasons.Reason, native_stream: bool) -> WSAError:
    """The error of a connect that found no listener for this reason.

    None of it is a promise that TCP/IP would fail as well, but for a full queue of a listener for
    messages, as R-110 has it.
    """
    if reason is reasons.BACKLOG_FULL:
        code = _E.WSAENOBUFS if native_stream else _E.WSAECONNREFUSED
    else:
        code = _E.WSAETIMEDOUT
    return because(WSAError(code, "WSPConnect"), reason)
