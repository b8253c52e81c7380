"""Winsock Direct for Python and Linux: TCP connections between programs, without TCP.

`wsdirect run server.py` needs none of what is here.  A program that wants to switch itself calls
`wsdirect.enable()` before it makes connections.  Importing this package does nothing.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

    from wsdirect.leases import Lease, Region, recv_lease, send_region

__all__ = [
    "Lease",
    "Region",
    "__version__",
    "disable",
    "enable",
    "info",
    "is_switched",
    "recv_lease",
    "send_region",
]


def enable() -> None:
    """Switch this process's TCP connections from now on, where both ends can.

    ValueError (`wsdirect.settings.SettingError`) for a bad setting; ImportError when the compiled
    core is missing.
    """
    from wsdirect.front import enable as front

    front.enable()


def disable() -> None:
    """Make no switched connections from now on; those that exist go on."""
    from wsdirect.front import enable as front

    front.disable()


def is_switched(sock: socket.socket) -> bool:
    """Whether this connected socket bypasses TCP at this moment."""
    found = _info_of_loop(sock)
    if found is not None:
        return bool(found["path"] != "tcp")
    from wsdirect.front import enable as front

    return front.is_switched(sock)


def info(sock: socket.socket) -> dict[str, Any]:
    """What is known about a socket: its path, the reason for it, the provider, the peer."""
    found = _info_of_loop(sock)
    if found is not None:
        return found
    from wsdirect.front import enable as front

    return front.info(sock)


def _info_of_loop(sock: Any) -> dict[str, Any] | None:
    """The same for a socket of SanEventLoop, or of its transports; None if it is none."""
    sockets = sys.modules.get("wsdirect.aio.sockets")
    sock = getattr(sock, "_sock", sock)
    if sockets is None or not isinstance(sock, sockets.SanSocket):
        return None
    found: dict[str, Any] = sock.wsdirect_info()
    return found


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from wsdirect._version import __version__

        return __version__
    if name in ("Lease", "Region", "recv_lease", "send_region"):
        from wsdirect import leases

        return getattr(leases, name)
    if name in ("SanEventLoop", "SanEventLoopPolicy"):
        from wsdirect import aio

        return getattr(aio, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
