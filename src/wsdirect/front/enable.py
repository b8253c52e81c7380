"""Putting the grafts in, module by module, and taking them out."""

from __future__ import annotations

import sys

from wsdirect import reasons, settings
from wsdirect._core import missing, native
from wsdirect.front import grafts
from wsdirect.switch import policy
from wsdirect.telling import tell_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

HOOKED_MODULES = ("socket", "select", "selectors", "ssl", "fcntl")
"""Modules that the launcher's import hook reports with graft_module()."""

PATCHERS = ("gevent", "eventlet")


def graft_module(name: str) -> None:
    """Graft a module that has just been imported; unknown names do nothing."""
    how = _GRAFTS.get(name)
    if how is None or native is None:
        if native is None:
            tell_once("error", f"{missing}; connections stay on TCP")
        return
    how(sys.modules[name])


def enable() -> None:
    """Switch this process's TCP connections from now on, where both ends can.

    Errors:
        SettingError (ValueError): a WSDIRECT_* variable is wrong.
        ImportError: the compiled core is missing.
    """
    settings.current()
    if native is None:
        raise ImportError(missing)
    import fcntl
    import select
    import selectors
    import socket

    for module in (select, socket, selectors, fcntl):
        graft_module(module.__name__)
    try:
        import ssl  # now: without the launcher's import hook nobody would graft it later
    except ImportError:
        return  # a Python without OpenSSL
    graft_module(ssl.__name__)


def disable() -> None:
    """Make no switched connections from now on; those that exist go on.

    The grafts are taken out if nothing needs them: no connection is switched at this moment.
    """
    policy.switching = False
    if native is None:
        return
    from wsdirect.switch import listeners

    listeners.close_all()
    if not native.table_fds():
        grafts.undo()


def is_switched(sock: Any) -> bool:
    """Whether this connected socket bypasses TCP at this moment."""
    if native is None:
        return False
    from wsdirect.switch.connection import connections

    return sock.fileno() in connections


def info(sock: Any) -> dict[str, Any]:
    """Path, reason, provider, role, addresses, peer process and traffic of a socket."""
    fd = sock.fileno()
    if native is not None:
        from wsdirect.switch.connection import connections, plain

        known = connections.get(fd)
        if known is not None:
            sent, received = known.stream.traffic
            return {
                "path": known.provider,
                "reason": known.reason.code,
                "provider": known.provider,
                "role": known.role,
                "local": known.shown_local(),
                "peer": known.shown_peer(),
                "peer_pid": known.peer_pid,
                "sent": sent,
                "received": received,
            }
        seen = plain.get(fd)
        if seen is not None:
            return {"path": "tcp", "reason": seen.reason.code}
    objection = policy.objection()
    return {"path": "tcp", "reason": (objection or reasons.SWITCHED_OFF).code}


def _other_patcher() -> str | None:
    for name in PATCHERS:
        monkey = sys.modules.get(f"{name}.monkey") or sys.modules.get(f"{name}.patcher")
        if monkey is None:
            continue
        patched: Callable[[str], bool] | None = getattr(monkey, "is_module_patched", None)
        if patched is None or patched("socket"):
            return name
    return None


def _graft_socket(socket: Any) -> None:
    other = _other_patcher()
    if other is not None:
        tell_once("error", f"{other} has patched the socket module: connections stay on TCP")
        return
    from wsdirect import status
    from wsdirect.front import descriptors, pollers, processes, sockets

    assert native is not None
    now = settings.current()
    native.set_spin_limit(now.spin_us)
    cls = socket.socket
    methods = native.socket_methods(cls, pollers.expired, descriptors.passing)
    sockets.self_recv = methods["recv"]
    sockets.self_recv_into = methods["recv_into"]
    sockets.self_send = methods["send"]
    for name in ("connect", "connect_ex", "_accept", "getsockname", "getpeername", "bind"):
        methods[name] = getattr(sockets, name)
    for name in ("setsockopt", "getsockopt", "recvfrom", "recvfrom_into", "sendto", "recvmsg"):
        methods[name] = getattr(sockets, name)
    for name in ("recvmsg_into", "shutdown", "__del__"):
        methods[name] = getattr(sockets, name)
    methods["listen"] = sockets.listen_
    methods["_real_close"] = sockets.make_real_close(cls._real_close)
    methods["__init__"] = sockets.make_init(cls.__init__)
    for name, method in methods.items():
        original = getattr(cls, name)
        if name not in HOT:
            method = grafts.like(original)(method)
        grafts.graft(cls, name, method)
    grafts.graft(socket, "dup", descriptors.socket_dup(socket.dup))
    import os

    for name, function in descriptors.grafts().items():
        original = getattr(os, name)
        grafts.graft(os, name, grafts.like(original)(function) if name in PYTHON_OS else function)
    if pollers.offers.add not in sockets.began:
        sockets.began.append(pollers.offers.add)
        sockets.began.append(pollers.moved)
    processes.register()
    native.count_process_into(status.page().counters)
    policy.switching = True
    if now.session == "always" and policy.objection() is None:
        from wsdirect.switch.session.warming import warm_up

        warm_up()


HOT = ("recv", "recv_into", "send", "sendall", "sendmsg")
PYTHON_OS = ("close", "closerange", "dup", "dup2", "_exit")


def _graft_select(select: Any) -> None:
    from wsdirect.front import pollers

    assert native is not None
    for name in ("select", "poll"):
        # as built-in functions: classes hold them as attributes, where a Python function would bind
        function = grafts.like(getattr(select, name))(getattr(pollers, name))
        grafts.graft(select, name, native.guard(function, function))
    for which, poll in ((pollers.epolls, pollers.epoll_poll), (pollers.polls, pollers.poll_poll)):
        for name, method in {**pollers.methods_of(which), "poll": poll}.items():
            grafts.graft(which.kind, name, grafts.like(getattr(which.kind, name))(method))
    grafts.graft(pollers.epolls.kind, "__init__", pollers.epoll_init)
    close = grafts.like(pollers.epolls.kind.close)(pollers.epoll_close)  # type: ignore[attr-defined]
    grafts.graft(pollers.epolls.kind, "close", close)


def _graft_selectors(selectors: Any) -> None:
    """Classes that took their select or poll from the select module when they were made."""
    import select

    grafts.graft(selectors.SelectSelector, "_select", select.select)
    if hasattr(selectors, "PollSelector"):
        grafts.graft(selectors.PollSelector, "_selector_cls", select.poll)


def _graft_ssl(ssl: Any) -> None:
    """TLS over a switched connection: one graft, see tls."""
    from wsdirect.front import tls

    tls.graft(ssl)


def _graft_fcntl(fcntl: Any) -> None:
    """FIONREAD, SIOCATMARK and their kin."""
    from wsdirect.front import ioctls

    grafts.graft(fcntl, "ioctl", ioctls.graft(fcntl.ioctl))


_GRAFTS: dict[str, Callable[[Any], None]] = {
    "socket": _graft_socket,
    "select": _graft_select,
    "selectors": _graft_selectors,
    "ssl": _graft_ssl,
    "fcntl": _graft_fcntl,
}
