"""Putting the grafts in, module by module, and taking them out."""

from __future__ import annotations

import errno
import os
import sys

from wsdirect import reasons, settings
from wsdirect._core import missing, native
from wsdirect.front import foreign, grafts
from wsdirect.switch import policy
from wsdirect.telling import tell_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LATER = (
    "subprocess", "multiprocessing.connection", "multiprocessing.reduction", "gevent.monkey",
    "eventlet.patcher", "uvloop", "OpenSSL.SSL",
)  # fmt: skip
"""Modules that enable() grafts if the program has them already."""

HOOKED_MODULES = ("socket", "select", "selectors", "ssl", "fcntl", *LATER)
"""Modules that the launcher's import hook reports with graft_module()."""


def graft_module(name: str) -> None:
    """Graft a module that has just been imported; unknown names do nothing."""
    how = _GRAFTS.get(name)
    if how is None or native is None:
        if native is None:
            tell_once("error", f"{missing}; connections stay on TCP")
        return
    if foreign.is_taken():
        return
    if name in _SIGNS and grafts.has(sys.modules[name], _SIGNS[name]):
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
    if not policy.switching and not foreign.is_taken():
        _switch_on()  # after a disable() that had to leave the grafts where they were
    for name in LATER:
        if name in sys.modules:
            graft_module(name)
    if policy.switching:
        from wsdirect.front import passing

        passing.graft_fork_exec()  # what imports subprocess later takes it from there
    try:
        import ssl  # now: without the launcher's import hook nobody would graft it later
    except ImportError:
        return  # a Python without OpenSSL
    graft_module(ssl.__name__)


def disable() -> None:
    """Make no switched connections from now on; those that exist go on.

    The grafts are taken out if nothing needs them: no connection is switched at this moment.
    """
    was_on, policy.switching = policy.switching, False
    if native is None:
        return
    from wsdirect import status
    from wsdirect.switch import listeners

    listeners.close_all()
    if was_on:
        status.page().explain_unseen(reasons.SWITCHED_OFF.number)
    if not native.table_fds():
        grafts.undo()
        for name in ("pollers", "sockets"):  # what they remember goes stale from now on
            module = sys.modules.get(f"wsdirect.front.{name}")
            if module is not None:
                module.forget_all()


def number_of(sock: Any, asker: str) -> int:
    """The descriptor of a socket; -1: closed.

    Errors:
        TypeError: it is none, nor anything that has a descriptor.
    """
    import _socket

    try:
        if isinstance(sock, _socket.socket):
            # not its own fileno(): that is for code which goes on to use the number
            number = _socket.socket.fileno(sock)
        else:
            number = sock.fileno()
    except AttributeError:
        number = None
    if not isinstance(number, int):
        raise TypeError(f"{asker}() takes a socket, not {type(sock).__name__}")
    return number


def is_switched(sock: Any) -> bool:
    """Whether this connected socket bypasses TCP at this moment."""
    fd = number_of(sock, "is_switched")
    if native is None:
        return False
    from wsdirect.switch.connection import connections

    return fd in connections


def info(sock: Any) -> dict[str, Any]:
    """Path, reason, provider, role, addresses, peer process and traffic of a socket."""
    fd = number_of(sock, "info")
    if fd < 0:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    if native is not None:
        from wsdirect.switch.connection import connections, reason_of
        from wsdirect.switch.listening import listeners, listening

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
        listener = listeners.get(fd)
        if listener is not None:
            return {
                "path": listener.route.name,
                "reason": reasons.SWITCHED.code,
                "provider": listener.route.name,
                "role": "listen",
                "local": listener.private.getsockname(),
            }
        reason = reason_of(fd)
        if reason is None and fd in listening and policy.objection() is None:
            reason = reasons.NOT_ACCEPTING_YET
        if reason is not None:
            return {"path": "tcp", "reason": reason.code}
    return {"path": "tcp", "reason": _reason_here(fd).code}


def _reason_here(fd: int) -> reasons.Reason:
    """Why a socket that the switch has not seen is not switched."""
    import _socket

    try:
        view = _socket.socket(fileno=os.dup(fd))
    except OSError:
        return reasons.NOT_TCP  # no socket at all
    with_peer = view.type == _socket.SOCK_STREAM and view.family in (
        _socket.AF_INET, _socket.AF_INET6
    )  # fmt: skip
    view.close()
    if not with_peer:
        return reasons.NOT_TCP
    return policy.objection() or reasons.SWITCHED_OFF


def _graft_socket(socket: Any) -> None:
    from wsdirect import status
    from wsdirect.front import descriptors, offers, passing, processes, sockets, watches
    from wsdirect.switch import listening
    from wsdirect.switch.connection import leaving, show_process

    assert native is not None
    now = settings.current()
    native.set_spin_limit(now.spin_us)
    native.set_cpu_budget(now.cpu_budget)
    cls = socket.socket
    methods = native.socket_methods(cls, offers.expired, passing.passing)
    sockets.self_recv = methods["recv"]
    sockets.self_recv_into = methods["recv_into"]
    sockets.self_send = methods["send"]
    methods.update(sockets.guarded(cls))
    methods["listen"] = grafts.like(cls.listen)(sockets.listen_)
    for name, method in methods.items():
        grafts.graft(cls, name, method)
    grafts.graft(socket, "dup", descriptors.socket_dup(socket.dup))
    for name, function in descriptors.grafts().items():
        grafts.graft(os, name, function)
    if offers.offers.add not in sockets.began:
        sockets.began.append(offers.offers.add)
        sockets.began.append(watches.moved)
        offers.on_moved.append(watches.moved)
        leaving.append(watches.leaving)
        listening.began.append(watches.listens)
    passing.note_inherited()
    processes.register()
    status.page().attach = show_process
    _switch_on()


def _switch_on() -> None:
    from wsdirect import status

    policy.switching = True
    status.page().explain_unseen(0)
    if settings.current().session == "always" and policy.objection() is None:
        from wsdirect.switch.session.warming import warm_up

        warm_up()


_SIGNS = {"socket": "dup", "select": "select", "fcntl": "ioctl"}
"""What shows that a module is grafted; the others find out for themselves."""


def _graft_select(select: Any) -> None:
    from wsdirect.front import pollers, selecting, watches
    from wsdirect.switch import ungrafted  # noqa: F401  (takes what stands there before the grafts do)

    for name, function in {**selecting.functions(), **pollers.functions()}.items():
        grafts.graft(select, name, function)
    for which, methods in zip((watches.epolls, watches.polls), pollers.methods(), strict=True):
        for name, method in methods.items():
            grafts.graft(which.kind, name, method)


def _graft_selectors(selectors: Any) -> None:
    """Classes that took their select or poll from the select module when they were made."""
    import select

    grafts.graft(selectors.SelectSelector, "_select", select.select)
    epoll = getattr(selectors, "EpollSelector", None)
    if epoll is not None and type(epoll.select) is type(_graft_selectors):
        assert native is not None
        grafts.graft(epoll, "select", native.selector_method(epoll, epoll.select))
    if hasattr(selectors, "PollSelector"):
        grafts.graft(selectors.PollSelector, "_selector_cls", select.poll)


def _graft_ssl(ssl: Any) -> None:
    """TLS over a switched connection: one graft, see tls."""
    from wsdirect.front import tls

    tls.graft(ssl)


def _graft_pyopenssl(module: Any) -> None:
    """TLS that works on the descriptor itself."""
    from wsdirect.front import tls_foreign

    tls_foreign.graft(module)


def _graft_fcntl(fcntl: Any) -> None:
    """FIONREAD, SIOCATMARK and their kin; F_DUPFD."""
    from wsdirect.front import descriptors, ioctls

    grafts.graft(fcntl, "ioctl", ioctls.graft(fcntl.ioctl))
    grafts.graft(fcntl, "fcntl", descriptors.fcntl_graft(fcntl.fcntl))


def _graft_subprocess(subprocess: Any) -> None:
    """Descriptors that new programs get."""
    from wsdirect.front import passing

    passing.graft_subprocess(subprocess)


def _graft_reduction(reduction: Any) -> None:
    """Sockets in multiprocessing's pickles."""
    from wsdirect.front import pickling

    pickling.graft(reduction)


def _graft_connection(connection: Any) -> None:
    """Functions of os that multiprocessing.connection took as defaults when it was imported."""
    for name in ("_close", "_send", "_recv"):
        function = vars(connection.Connection).get(name)
        defaults = getattr(function, "__defaults__", None) or ()
        if function is not None and defaults:
            # for good: without the switch they do what the originals do
            function.__defaults__ = tuple(
                getattr(os, value.__name__)
                if getattr(value, "__module__", "") == "posix" and hasattr(os, value.__name__)
                else value
                for value in defaults
            )


_GRAFTS: dict[str, Callable[[Any], None]] = {
    "socket": _graft_socket,
    "select": _graft_select,
    "selectors": _graft_selectors,
    "ssl": _graft_ssl,
    "fcntl": _graft_fcntl,
    "subprocess": _graft_subprocess,
    "multiprocessing.connection": _graft_connection,
    "multiprocessing.reduction": _graft_reduction,
    "gevent.monkey": foreign.graft_gevent,
    "eventlet.patcher": foreign.graft_eventlet,
    "uvloop": foreign.graft_uvloop,
    "OpenSSL.SSL": _graft_pyopenssl,
}
