"""The shared-memory SAN: the host itself is the network.

The catalogue finds it as "wsdirect.providers.shm:provider".  Importing this package does nothing;
the provider's modules are loaded when the provider is made.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wsdirect.spi.provider import ServiceProvider

__all__ = ["provider"]


def provider() -> ServiceProvider:
    """Make the provider; the catalogue keeps one per process."""
    from wsdirect.providers.shm.service_provider import SharedMemoryProvider

    return SharedMemoryProvider()
