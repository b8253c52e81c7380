"""The import hook that readies a program for the switch when it first imports `socket`.

Nothing of the switch is loaded before: a program without sockets pays for this module only.
This directory is on the program's sys.path (see sitecustomize.py), so no module may be added
here: it would hide the program's own module of that name.
"""

from __future__ import annotations

import sys
from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

__all__ = ["install", "start", "uninstall"]

TRIGGER = "socket"
"""Without this module no Python program has a TCP socket."""

MODULES = (
    TRIGGER, "select", "selectors", "ssl", "fcntl", "socketserver", "subprocess",
    "multiprocessing.connection", "multiprocessing.reduction", "gevent.monkey",
    "eventlet.patcher", "uvloop", "OpenSSL.SSL",
)  # fmt: skip
"""What is watched; the front's HOOKED_MODULES are those of them that it wants to hear of."""


def start(environ: Mapping[str, str]) -> None:
    """Install the hook if the environment asks for the switch (WSDIRECT=1); never raises."""
    if environ.get("WSDIRECT", "").strip().lower() in ("1", "on", "true", "yes"):
        install()


def install() -> None:
    """Graft `socket` and its companions when they are imported, or now where they are already.

    Doing it twice is the same as doing it once.
    """
    if _hook not in sys.meta_path:
        sys.meta_path.insert(0, _hook)
    if TRIGGER in sys.modules:
        _hook.enter()
        _hook.leave(TRIGGER)


def uninstall() -> None:
    """Take the hook out; what is grafted stays grafted."""
    if _hook in sys.meta_path:
        sys.meta_path.remove(_hook)


class _Loader:
    """The real loader of one module, with word to the hook when the module has been executed."""

    def __init__(self, real: Any, spec: ModuleSpec) -> None:
        self._real = real
        self._spec = spec

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)  # get_code, get_source, ...: as runpy and inspect need

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the real loader does."""
        module: ModuleType | None = self._real.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """As the real loader does; then pass word."""
        # Put everything back first: the module must never see that it was watched.
        self._spec.loader = module.__loader__ = self._real
        if module.__spec__ is not None:
            module.__spec__.loader = self._real
        name = self._spec.name
        _hook.enter()
        try:
            self._real.exec_module(module)
        except BaseException:
            _hook.leave(None)
            raise
        _hook.leave(name)


class _Hook:
    """A finder that finds nothing itself, but learns when the modules of interest come.

    The front is loaded when `socket` has come.  Modules import each other (ssl imports socket,
    which imports selectors, which imports select): the front is told when the outermost is done,
    so that it never meets a half-made module.
    """

    def __init__(self) -> None:
        self.waiting = set(MODULES)  # not grafted yet; who takes a name out must graft it
        self._here: set[str] = set()  # executed before the front was there
        self._depth: dict[int, int] = {}  # thread -> imports of interest under way
        self._come: dict[int, list[str]] = {}  # thread -> modules that came meanwhile
        self._front: Any = None

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The real spec of a module of interest, with its loader wrapped; else None."""
        if name not in self.waiting or name in sys.modules:
            return None
        for finder in list(sys.meta_path):
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find(name, path, target) if find else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, spec)  # type: ignore[assignment]
                return spec
        return None

    def enter(self) -> None:
        """A module of interest begins to be executed in this thread."""
        thread = get_ident()
        self._depth[thread] = self._depth.get(thread, 0) + 1

    def leave(self, name: str | None) -> None:
        """It has been executed (`name`), or failed (None)."""
        thread = get_ident()
        come = self._come.setdefault(thread, [])
        if name is not None:
            come.append(name)
        if self._depth[thread] > 1:
            self._depth[thread] -= 1
            return
        # Still counted as under way here: what the front itself imports is for this loop, too.
        try:
            for came in come:
                self.imported(came)
        finally:
            del self._depth[thread]
            del self._come[thread]

    def imported(self, name: str) -> None:
        """A module of interest has been executed: graft it, and with `socket` all the others."""
        try:
            if name == TRIGGER:
                self._begin()
            else:
                # In this order: then either this thread or the one in _begin sees the other.
                self._here.add(name)
                if self._front is not None:
                    self._graft(name)
        except Exception as error:
            self.waiting.clear()
            uninstall()
            _give_up(error)
        else:
            if not self.waiting:
                uninstall()

    def _begin(self) -> None:
        if TRIGGER not in self.waiting:
            return
        from wsdirect import settings

        settings.current()  # a bad setting shows here, before anything is changed
        from wsdirect.front import enable

        self.waiting.intersection_update(enable.HOOKED_MODULES)
        self._front = enable
        self._graft(TRIGGER)
        for name in enable.HOOKED_MODULES:
            module = sys.modules.get(name)
            if module is None:
                continue
            # A module that is still being executed, in this thread or another, comes later.
            spec = getattr(module, "__spec__", None)
            if name in self._here or not getattr(spec, "_initializing", False):
                self._graft(name)

    def _graft(self, name: str) -> None:
        try:
            self.waiting.remove(name)
        except KeyError:
            return  # done, or another thread is at it
        self._front.graft_module(name)


def _give_up(error: Exception) -> None:
    """Go on with plain TCP and say so once; ImportError if the user cannot accept that."""
    from wsdirect import settings

    if isinstance(error, settings.SettingError):
        _say(str(error) + " Going on with TCP.")
        return
    required, told = False, True
    try:
        now = settings.current()
        required, told = now.require, now.logs("error")
    except settings.SettingError:
        pass
    if isinstance(error, ImportError):
        from wsdirect import reasons

        text = f"{reasons.NO_CORE.explain()} ({error})"
    else:
        text = f"the switch failed to start: {type(error).__name__}: {error}"
    if required:
        raise ImportError(f"WSDIRECT_REQUIRE is set and wsdirect cannot switch: {text}") from error
    if told:
        _say(f"going on with TCP: {text}")


def _say(text: str) -> None:
    if sys.stderr is not None:
        try:
            sys.stderr.write(f"wsdirect: {text}\n")
        except (OSError, ValueError):
            pass  # closed or broken: nobody to tell


_hook = _Hook()
