"""May this connection leave TCP?  The rules that need no network."""

from __future__ import annotations

import _socket
import errno

from wsdirect import reasons, settings
from wsdirect._core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wsdirect.reasons import Reason
    from wsdirect.switch.addresses import Endpoint

_bell: bool | None = None
switching = False
"""Whether new connections of this process may be switched; front.enable sets it."""


def objection() -> Reason | None:
    """Why this process switches nothing at all, or None."""
    global _bell
    if not switching:
        return reasons.SWITCHED_OFF
    if native is None:
        return reasons.NO_CORE
    if _bell is None:
        _bell = native.bell_is_true()
    return None if _bell else reasons.BELL_UNTRUE


def objection_to(endpoint: Endpoint) -> Reason | None:
    """Why connections with this address stay on TCP, or None."""
    if settings.current().excluded(*endpoint):
        return reasons.EXCLUDED
    return None


SO_GET_FILTER = 26
SO_MARK = 36
IP_TRANSPARENT = 19
TCP_ONLY = (
    (_socket.SOL_SOCKET, _socket.SO_BINDTODEVICE, 16),
    (_socket.SOL_SOCKET, SO_MARK, 4),
    (_socket.SOL_SOCKET, SO_GET_FILTER, 4),
    (_socket.IPPROTO_IP, IP_TRANSPARENT, 4),
)
"""Options that say which packets may pass: no SAN can do what they ask for."""
_get = _socket.socket.getsockopt


def objection_to_options(sock: Any) -> Reason | None:
    """Why a socket with the options of this one stays on TCP, or None."""
    for level, name, size in TCP_ONLY:
        try:
            if any(_get(sock, level, name, size)):
                return reasons.UNSUPPORTED_OPTION
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:  # a filter that is longer than that
                return reasons.UNSUPPORTED_OPTION
    return None
