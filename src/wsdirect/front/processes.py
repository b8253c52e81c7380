"""fork: both processes hold every switched connection; listeners and status page are each one's."""

from __future__ import annotations

import atexit
import os
import sys

from wsdirect._core import native
from wsdirect.front import pollers, watches
from wsdirect.front.sockets import forget_plans, is_offered, settle
from wsdirect.switch import connection, listeners, listening
from wsdirect.switch.ports import pool

IF_LOADED = (
    "wsdirect.switch.routes", "wsdirect.switch.handover",
    "wsdirect.switch.bare", "wsdirect.front.passing",
)  # fmt: skip
_registered = False


LATE = ("wsdirect.switch.connect", "wsdirect.switch.listen", "wsdirect.switch.handover")
"""Modules that are loaded when a program first needs them."""


def _let_imports_end() -> None:
    """Another thread may be loading one of ours: the child would wait for that thread for ever."""
    for name in LATE:
        module = sys.modules.get(name)
        if module is not None and getattr(module.__spec__, "_initializing", False):
            __import__(name)


def _before() -> None:
    assert native is not None
    native.before_fork()
    listeners.before_fork()


def _in_child() -> None:
    assert native is not None
    native.after_fork_child()
    listeners.after_fork_child()
    pool.forget()
    forget_plans()
    pollers.after_fork_child()
    connection.after_fork_child()
    for name in IF_LOADED:
        module = sys.modules.get(name)
        if module is not None:
            module.after_fork_child()


def leave() -> None:
    """The process ends: what is still in its hands, and not in the kernel's, goes out."""
    for fd, known in list(connection.connections.items()):
        if is_offered(known):
            settle(fd)
    pump = sys.modules.get("wsdirect.switch.session.pump")
    if pump is not None:
        pump.drain()
    driver = sys.modules.get("wsdirect.switch.session.driver")
    if driver is not None:
        driver.driver.ending = True


def register() -> None:
    """Once per process; hooks cannot be taken back, and do nothing where nothing is switched."""
    global _registered
    if not _registered:
        _registered = True
        atexit.register(leave)
        assert native is not None
        there = (
            connection.connections, connection.plain, listening.listening, listening.listeners,
            pool.addresses, watches.epolls.watches, watches.polls.watches,
        )  # fmt: skip
        os.register_at_fork(before=_let_imports_end)
        before, in_child = native.fork_hooks(_before, _in_child, there)
        os.register_at_fork(before=before, after_in_child=in_child)
