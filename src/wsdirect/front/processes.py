"""fork: both processes hold every switched connection; listeners and status page are each one's."""

from __future__ import annotations

import atexit
import os
import sys

from wsdirect._core import native
from wsdirect.front import pollers
from wsdirect.switch import connection, listeners
from wsdirect.switch.ports import pool

WITH_LOCKS = ("wsdirect.switch.routes", "wsdirect.switch.handover")  # if they are loaded
_registered = False


def _before() -> None:
    assert native is not None
    native.before_fork()
    listeners.before_fork()


def _in_child() -> None:
    assert native is not None
    native.after_fork_child()
    listeners.after_fork_child()
    pool.forget()
    pollers.after_fork_child()
    connection.after_fork_child()
    for name in WITH_LOCKS:
        module = sys.modules.get(name)
        if module is not None:
            module.after_fork_child()


def leave() -> None:
    """The process ends: sessions' bytes are in its hands, not in the kernel's."""
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
        os.register_at_fork(before=_before, after_in_child=_in_child)
