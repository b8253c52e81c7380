"""Programs with other ideas of sockets: uvloop, which is C; gevent and eventlet, which patch too.

uvloop reads, writes and accepts in libuv, where no graft reaches: its connections stay on TCP, its
listeners say why, and a switched socket that is handed to it goes bare, or is refused.  gevent and
eventlet replace the socket module's classes by their own: the grafts make room for them, once.
"""

from __future__ import annotations

import sys

from wsdirect import reasons, status
from wsdirect.front import grafts
from wsdirect.switch import listeners, policy
from wsdirect.switch.connection import connections, forget_plain, note_plain
from wsdirect.telling import tell_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PATCHERS = {
    "gevent.monkey": ("gevent", "is_module_patched"),
    "eventlet.patcher": ("eventlet", "is_monkey_patched"),
}
"""Modules that patch -> whose they are, and their function that says whether they have."""

IN_LIBUV = "uvloop reads sockets with code of its own and cannot use this switched connection: "
OF_UNIX_CONNECTIONS = ("ssl", "server_hostname", "ssl_handshake_timeout", "ssl_shutdown_timeout")
WAY_OUT = "use the standard event loop, or keep its address on TCP with WSDIRECT_EXCLUDE"

_made_room = False


# -- gevent and eventlet -------------------------------------------------------------------------


def patcher() -> str | None:
    """Who has patched the socket module, if anybody has."""
    for module, (name, question) in PATCHERS.items():
        patched: Callable[[str], bool] | None = getattr(sys.modules.get(module), question, None)
        if patched is not None and (patched("socket") or patched("select")):
            return name
    return None


def is_taken() -> bool:
    """Whether the socket module is somebody else's, and nothing must be grafted; tells it once."""
    if not _made_room:
        name = patcher()
        if name is None:
            return False
        make_room(name)
    return True


def make_room(name: str) -> None:
    """Take the grafts out, so that `name` patches what it knows; connections that exist go on."""
    global _made_room
    _made_room = True
    policy.switching = False
    status.page().explain_unseen(reasons.GEVENT_PRESENT.number)
    tell_once("error", f"{name} patches the socket module: connections stay on TCP")
    listeners.close_all()
    if not connections:
        grafts.undo()


def graft_gevent(monkey: Any) -> None:
    """gevent.monkey, just imported: it may patch now or later."""
    for name in ("patch_socket", "patch_select"):
        _graft_patch(monkey, name, "gevent", lambda _: True)


def graft_eventlet(module: Any) -> None:
    """eventlet.patcher, just imported."""

    def concerned(on: dict[str, bool]) -> bool:
        default = on.get("all")
        if default is None:
            default = True not in on.values()
        return on.get("socket", default) or on.get("select", default)

    _graft_patch(module, "monkey_patch", "eventlet", concerned)


def _graft_patch(
    module: Any, name: str, whose: str, concerned: Callable[[dict[str, Any]], bool]
) -> None:
    original = getattr(module, name)

    def patch(*args: Any, **kwargs: Any) -> Any:
        if not _made_room and concerned(kwargs):
            make_room(whose)
        return original(*args, **kwargs)

    setattr(module, name, grafts.like(original)(patch))  # for good: undo() comes from within


# -- uvloop --------------------------------------------------------------------------------------


def graft_uvloop(uvloop: Any) -> None:
    """The methods of uvloop.Loop that take sockets, or listen."""
    cls = uvloop.Loop
    server, connection = cls.create_server, cls.create_connection
    accepted, close = cls.connect_accepted_socket, cls.close
    unhooked: dict[int, set[int]] = {}  # loop -> its listeners' descriptors

    async def create_server(self: Any, *args: Any, **kwargs: Any) -> Any:
        made = await server(self, *args, **kwargs)
        for sock in made.sockets:
            fd = sock.fileno()
            listeners.close_listener(fd)
            note_plain(fd, "listen", reasons.UNHOOKED_ACCEPT, local=sock.getsockname())
            unhooked.setdefault(id(self), set()).add(fd)
        tell_once("info", f"uvloop's listeners: {reasons.UNHOOKED_ACCEPT.explain()}")
        return made

    async def create_connection(
        self: Any, protocol_factory: Any, *args: Any, sock: Any = None, **kwargs: Any
    ) -> Any:
        bell = _released(sock)
        if bell is None:
            return await connection(self, protocol_factory, *args, sock=sock, **kwargs)
        # libuv sets options of TCP on what it is told to be TCP
        options = {name: value for name, value in kwargs.items() if name in OF_UNIX_CONNECTIONS}
        return await self.create_unix_connection(protocol_factory, sock=bell, **options)

    async def connect_accepted_socket(
        self: Any, protocol_factory: Any, sock: Any, **kwargs: Any
    ) -> Any:
        return await accepted(self, protocol_factory, _released(sock) or sock, **kwargs)

    def close_loop(self: Any) -> None:
        close(self)
        for fd in unhooked.pop(id(self), ()):
            forget_plain(fd)

    for name, method in (
        ("create_server", create_server),
        ("create_connection", create_connection),
        ("connect_accepted_socket", connect_accepted_socket),
        ("close", close_loop),
    ):
        grafts.graft(cls, name, grafts.like(getattr(cls, name))(method))


def _released(sock: Any) -> Any:
    """What libuv can read and write in place of a switched socket, which is given up for it.

    None: the socket is not switched, or has moved to TCP. RuntimeError: it can never be used.
    """
    fd = -1 if sock is None else sock.fileno()
    if fd not in connections:
        return None
    from wsdirect.front import passing

    try:
        passing.go_bare(fd)
    except OSError as error:
        raise RuntimeError(f"{IN_LIBUV}{error.strerror}; {WAY_OUT}") from error
    if fd not in connections:
        return None
    import socket

    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=sock.detach())
