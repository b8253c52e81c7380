"""The catalogue of service providers: what there is, and loading it by name.

The built-in providers stand in a table here.  Other packages add theirs under the entry-point
group `wsdirect.providers`: the name is the provider's, the value its `ServiceProvider` class, or
anything else that gives a `ServiceProvider` when called without arguments.

Nothing is imported before it is asked for, entry points are not even looked at.
"""

from __future__ import annotations

from importlib import import_module

from wsdirect.spi.constants import XP1_CONNECT_DATA, XP1_QOS_SUPPORTED
from wsdirect.spi.guid import GUID
from wsdirect.spi.structures import WSAPROTOCOL_INFOW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from wsdirect.spi.provider import ServiceProvider

__all__ = [
    "ENTRY_POINT_GROUP",
    "SHM_PROVIDER_ID",
    "CatalogEntry",
    "UnknownProviderError",
    "enum_protocols",
    "load",
]

ENTRY_POINT_GROUP: Final = "wsdirect.providers"

SHM_PROVIDER_ID: Final = GUID("E024FE3D-1C92-4B37-B3FA-55EFDE3CDC90")

# Numbers of entries count from here, as on a fresh Windows.
_FIRST_ENTRY_ID = 1001

# name: (target, name of the protocol, ProviderId, service flags besides those of every SAN)
_BUILT_IN: dict[str, tuple[str, str, GUID, int]] = {
    "shm": (
        "wsdirect.providers.shm:provider",
        "wsdirect shared memory SAN",
        SHM_PROVIDER_ID,
        int(XP1_CONNECT_DATA | XP1_QOS_SUPPORTED),
    ),
}

# One object per provider and process: WSPStartupEx counts its users process-wide.
_loaded: dict[str, ServiceProvider] = {}


class UnknownProviderError(LookupError):
    """There is no provider of this name.

    Attributes:
        name: The name asked for.
        known: The names that there are.
    """

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(name, known)
        self.name = name
        self.known = known

    def __str__(self) -> str:
        from difflib import get_close_matches

        nearest = get_close_matches(self.name, self.known, n=1, cutoff=0.5)
        question = f" Did you mean {nearest[0]!r}?" if nearest else ""
        known = ", ".join(self.known)
        return f"There is no service provider {self.name!r}.{question} Known: {known}."


class CatalogEntry:
    """One provider of the catalogue.

    Attributes:
        name: Name for `load`.
        target: Where it is, as "module:attribute".
        origin: "built-in", or the distribution that brought it.
        catalog_id: Its dwCatalogEntryId.
    """

    __slots__ = ("_info", "catalog_id", "name", "origin", "target")

    def __init__(
        self,
        name: str,
        target: str,
        origin: str,
        catalog_id: int,
        info: WSAPROTOCOL_INFOW | None = None,
    ) -> None:
        self.name = name
        self.target = target
        self.origin = origin
        self.catalog_id = catalog_id
        self._info = info

    @property
    def protocol_info(self) -> WSAPROTOCOL_INFOW:
        """Its WSAPROTOCOL_INFOW.  That of a provider from elsewhere has to be loaded for it."""
        if self._info is None:
            self._info = self.load().protocol_info.replace(
                dwCatalogEntryId=self.catalog_id, ProtocolChain=(self.catalog_id,)
            )
        return self._info

    def load(self) -> ServiceProvider:
        """The provider: made at the first call, the same object ever after."""
        provider = _loaded.get(self.name)
        if provider is None:
            # Threads that meet here make two and keep one; making one has no effects by contract.
            provider = _loaded.setdefault(self.name, _make(self.target))
        return provider

    def __repr__(self) -> str:
        return f"<CatalogEntry {self.catalog_id} {self.name!r}: {self.target} ({self.origin})>"


def _make(target: str) -> ServiceProvider:
    """Import "module:attribute" and get a provider out of it."""
    from wsdirect.spi.provider import ServiceProvider

    module, _, path = target.partition(":")
    found: object = import_module(module)
    for attribute in path.split(".") if path else ():
        found = getattr(found, attribute)
    if callable(found):
        found = found()
    if not isinstance(found, ServiceProvider):
        raise TypeError(f"{target} gives a {type(found).__name__}, not a ServiceProvider")
    return found


def _built_in(name: str, catalog_id: int) -> CatalogEntry:
    target, protocol, provider_id, flags = _BUILT_IN[name]
    info = WSAPROTOCOL_INFOW(
        protocol, provider_id, dwCatalogEntryId=catalog_id, ProtocolChain=(catalog_id,)
    )
    info.dwServiceFlags1 |= flags
    return CatalogEntry(name, target, "built-in", catalog_id, info)


def enum_protocols() -> list[CatalogEntry]:
    """All providers: the built-in ones, then those of other packages by name.

    A built-in name cannot be taken over.  Of two packages with the same name the first in
    alphabetical order counts.
    """
    from importlib.metadata import entry_points

    entries = [_built_in(name, _FIRST_ENTRY_ID + i) for i, name in enumerate(_BUILT_IN)]
    taken = set(_BUILT_IN)
    found = [
        (point.name, point.dist.name if point.dist else "", point.value)
        for point in entry_points(group=ENTRY_POINT_GROUP)
    ]
    for name, distribution, target in sorted(found):
        if name not in taken:
            taken.add(name)
            number = _FIRST_ENTRY_ID + len(entries)
            entries.append(CatalogEntry(name, target, distribution, number))
    return entries


def load(name: str) -> ServiceProvider:
    """The provider of this name, imported and made if it was not yet; not started.

    Args:
        name: As in the catalogue.

    Raises:
        UnknownProviderError: There is none; the message names the nearest one.
        TypeError: The name stands for something that is no provider.
        ImportError: The provider cannot be imported.
    """
    if name in _BUILT_IN:  # without a scan of all installed packages
        return _built_in(name, _FIRST_ENTRY_ID + list(_BUILT_IN).index(name)).load()
    entries = {entry.name: entry for entry in enum_protocols()}
    if name not in entries:
        raise UnknownProviderError(name, list(entries))
    return entries[name].load()
