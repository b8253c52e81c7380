"""May this connection leave TCP?  The rules that need no network."""

from __future__ import annotations

from wsdirect import reasons, settings
from wsdirect._core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
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
