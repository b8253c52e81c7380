"""The compiled core, or the reason why there is none.

`native` is the extension module, or None where it was not built or cannot be loaded; `missing` then
says why in one sentence.  Without it everything stays on TCP.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

native: ModuleType | None
missing: str | None = None
try:
    native = import_module("wsdirect._core._native")
except ImportError as error:
    native = None
    missing = f"the compiled core is not available ({error})"
