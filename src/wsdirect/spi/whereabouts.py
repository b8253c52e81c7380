"""Whether anybody can be reached over a SAN, asked before its provider is loaded.

Most programs that run under the switch also connect to servers that do not, and many to nothing
else.  Loading a provider for those would cost each of them a good part of its start.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["may_reach"]

# of providers that have one: a function of host and port, in a module that loads little
_BUILT_IN: Final = {"shm": ("wsdirect.providers.shm.probe", "is_listening")}


def may_reach(providers: tuple[str, ...], host: str, port: int) -> bool:
    """Whether one of the providers may have a listener for byte streams there.

    Args:
        providers: Names as in the catalogue.
        host: A numeric address of this host.
        port: The TCP port.

    Returns:
        False if all of them know that there is none; a provider that cannot tell without being
        loaded counts as one that has.
    """
    for name in providers:
        place = _BUILT_IN.get(name)
        if place is None:
            return True
        ask = getattr(import_module(place[0]), place[1])
        if ask(host, port):
            return True
    return False
