"""wsdirect.spi: one flat list of names, each loaded when it is used."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import wsdirect.spi

FOLDER = Path(wsdirect.spi.__file__).parent


def fresh(code: str) -> None:
    """Run code in a new interpreter that has this package on its path and nothing loaded."""
    start = f"import sys; sys.path.insert(0, {str(FOLDER.parents[1])!r}); "
    subprocess.run([sys.executable, "-S", "-c", start + code], check=True)


def test_every_name_is_there() -> None:
    for name in wsdirect.spi.__all__:
        assert getattr(wsdirect.spi, name) is not None
    assert dir(wsdirect.spi) == wsdirect.spi.__all__


def test_checkers_see_the_same_names() -> None:
    tree = ast.parse((FOLDER / "__init__.py").read_text())
    seen = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("wsdirect"):
            for alias in node.names:
                assert alias.asname == alias.name
                seen[alias.name] = node.module
    assert sorted(seen) == wsdirect.spi.__all__
    for name, module in seen.items():
        assert getattr(importlib.import_module(module), name) is getattr(wsdirect.spi, name)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        wsdirect.spi.no_such_thing  # noqa: B018


def test_every_module_lists_its_names() -> None:
    for module in pkgutil.iter_modules([str(FOLDER)]):
        loaded = importlib.import_module(f"wsdirect.spi.{module.name}")
        for name in loaded.__all__:
            assert hasattr(loaded, name), f"{module.name}.{name}"


def test_importing_the_package_loads_none_of_its_modules() -> None:
    fresh(
        "import wsdirect.spi; "
        "assert [m for m in sys.modules if m.startswith('wsdirect.spi.')] == []; "
        "wsdirect.spi.WSAError; "
        "assert 'wsdirect.spi.provider' not in sys.modules"
    )


def test_nothing_heavy_is_imported() -> None:
    """The launcher loads these modules into other people's processes."""
    names = ", ".join(f"wsdirect.spi.{m.name}" for m in pkgutil.iter_modules([str(FOLDER)]))
    heavy = "{'typing', 'dataclasses', 'inspect', 'asyncio', 'socket', 'uuid', 're', 'logging'}"
    fresh(
        "import wsdirect; before = set(sys.modules); "
        f"import {names}; "
        f"new = (set(sys.modules) - before) & {heavy}; assert not new, new"
    )
