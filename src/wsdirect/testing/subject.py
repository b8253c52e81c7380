"""What is tested: a provider, how to make one, and what it can be tried with."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager

from wsdirect.spi import catalog
from wsdirect.spi.provider import ServiceProvider
from wsdirect.testing.expect import NotApplicable
from wsdirect.testing.faults import Fault, FaultInjector

__all__ = ["Subject"]

LOOPBACK = "wsdirect.testing.loopback:LoopbackProvider"


class Subject:
    """A provider under test.

    Args:
        name: What reports call it.
        make: Gives a new provider that is not started, each time it is called: usually the
            provider's class.
        host: An address of the provider to use; None: the first that it lists.
        one_process: Why connections between two processes are not possible; empty if they are.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], ServiceProvider],
        host: str | None = None,
        one_process: str = "",
    ) -> None:
        self.name = name
        self.make = make
        self.host = host
        self.one_process = one_process

    @classmethod
    def load(cls, name: str) -> Subject:
        """The subject for a name.

        Args:
            name: "loopback", a name of the catalogue, or "module:attribute" for something that
                gives a provider when it is called, or for a `Subject`.

        Raises:
            UnknownProviderError: There is none of that name.
            ImportError: The module cannot be imported.
            TypeError: It is something else.
        """
        if name == "loopback":
            name, shown = LOOPBACK, "loopback"
        else:
            shown = name
        if ":" in name:
            module, _, attribute = name.partition(":")
            found = importlib.import_module(module)
            for part in attribute.split("."):
                try:
                    found = getattr(found, part)
                except AttributeError:
                    raise ImportError(f"{module} has no {attribute}") from None
            if isinstance(found, cls):
                return found
            if not callable(found):
                raise TypeError(f"{name} is no provider, and gives none when called")
            made = found()
            make: Callable[[], ServiceProvider] = found
        else:
            made = catalog.load(name)
            make = type(made)
        if not isinstance(made, ServiceProvider):
            raise TypeError(f"{name} gives a {type(made).__name__}, not a ServiceProvider")
        return cls(shown, make, one_process=getattr(made, "one_process", ""))

    def inject(self, provider: ServiceProvider, *faults: Fault) -> AbstractContextManager[None]:
        """Have the first of these faults that the provider can make happen in a `with` block.

        Raises:
            NotApplicable: It can make none of them.
        """
        injector = getattr(provider, "fault_injector", None)
        if isinstance(injector, FaultInjector):
            for fault in faults:
                if fault in injector.supported:
                    return injector.inject(fault)
        raise NotApplicable(f"cannot be provoked: {faults[0].value}")

    def two_processes(self) -> None:
        """Raise NotApplicable if the provider does not connect processes."""
        if self.one_process:
            raise NotApplicable(self.one_process)
