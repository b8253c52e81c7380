"""Setting attributes on other people's classes and modules, and taking them back."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ABSENT = object()
_done: list[tuple[Any, str, Any]] = []


def graft(owner: Any, name: str, value: Any) -> None:
    """Set `owner.name`, remembering what stood there in its own namespace."""
    before = vars(owner).get(name, _ABSENT)
    if before is value:
        return
    setattr(owner, name, value)
    _done.append((owner, name, before))


def has(owner: Any, name: str) -> bool:
    """Whether this attribute is a graft now."""
    return any(known is owner and which == name for known, which, _ in _done)


def undo() -> None:
    """Take every graft out, the latest first."""
    while _done:
        owner, name, before = _done.pop()
        if before is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


def like(original: Any) -> Any:
    """Decorator: the graft looks like what it stands for in help(), tracebacks and pickles."""

    def dress(function: Any) -> Any:
        for name in ("__name__", "__qualname__", "__doc__", "__module__"):
            value = getattr(original, name, None)
            if value is not None:
                setattr(function, name, value)
        return function

    return dress
