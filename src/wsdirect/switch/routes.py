"""Which SAN provider reaches an address; providers are started when the first one is asked for."""

from __future__ import annotations

from _thread import RLock

from wsdirect import reasons, settings
from wsdirect.locality import is_local
from wsdirect.spi import catalog
from wsdirect.spi.native import NativeStream, native_stream_of
from wsdirect.spi.provider import ServiceProvider
from wsdirect.spi.structures import WSAPROTOCOL_INFOW
from wsdirect.spi.upcalls import HandleSpace
from wsdirect.telling import tell_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wsdirect.reasons import Reason
    from wsdirect.spi.overlapped import WSAOVERLAPPED
    from wsdirect.switch.session.functions import Functions

VERSION = 0x0202  # Winsock 2.2


class Route:
    """A started provider, with what the switch needs of it at every connection.

    Attributes:
        name: As in the catalogue.
        provider: It.
        handles: Its upcalls.
        info: The TCP/IP provider's entry.
        native: Its byte streams, if it has any that are to be used.
        functions: What sessions call, if there are no byte streams.
    """

    __slots__ = ("functions", "handles", "info", "name", "native", "provider")

    def __init__(self, name: str, provider: ServiceProvider) -> None:
        self.name = name
        self.provider = provider
        self.handles = HandleSpace(_finished)
        # the base TCP/IP provider: the sign for a SAN provider that the switch is calling
        self.info = WSAPROTOCOL_INFOW("TCP/IP")
        provider.WSPStartupEx(VERSION, self.info, self.handles)
        self.native: NativeStream | None = None
        self.functions: Functions | None = None
        if settings.current().session != "always":
            self.native = native_stream_of(provider)
        if self.native is None:
            from wsdirect.switch.session.functions import Functions

            self.functions = Functions(provider)


def _finished(s: int, overlapped: WSAOVERLAPPED, error: int, transferred: int) -> None:
    """A request has finished: tell the session that made it, see `session.functions.Request`."""
    owner = getattr(overlapped, "owner", None)
    if owner is not None:
        owner()


_lock = RLock()
_started: dict[str, Route | None] = {}


def _route(name: str) -> Route | None:
    """The provider of that name, started; None if it cannot be (said once)."""
    with _lock:
        if name not in _started:
            _started[name] = None
            try:
                _started[name] = Route(name, catalog.load(name))
            except (OSError, LookupError, ImportError) as error:
                tell_once("error", f"provider {name} cannot be used: {error}")
        return _started[name]


def route_to(host: str) -> Route | Reason:
    """The first provider, in the order of WSDIRECT_PROVIDERS, that reaches this address."""
    if not is_local(host):
        return reasons.REMOTE_PEER
    failed = False
    for name in settings.current().providers:
        route = _route(name)
        if route is not None:
            return route
        failed = True
    return reasons.PROVIDER_FAILED if failed else reasons.REMOTE_PEER


def listening_route() -> Route | None:
    """The provider that a listener of this host accepts on."""
    for name in settings.current().providers:
        route = _route(name)
        if route is not None:
            return route
    return None


def after_fork_child() -> None:
    """Another thread of the parent may have held the lock."""
    global _lock
    _lock = RLock()
    for name in [name for name, route in _started.items() if route is None]:
        del _started[name]  # or it was starting one
