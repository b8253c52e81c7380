"""The catalogue: built-in and foreign providers, found and loaded only when asked for."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsdirect.spi import catalog

FOREIGN = """
from wsdirect.spi.provider import ServiceProvider

loaded = []


def _nothing(self, *arguments):
    raise NotImplementedError


Provider = type(
    "Provider",
    (ServiceProvider,),
    dict.fromkeys(ServiceProvider.__abstractmethods__, _nothing) | {"name": "pigeon"},
)
ready_made = Provider()
wrong = dict
"""


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An installed package with providers of its own; the name of its module."""
    module = f"foreign_san_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{module}.py").write_text(FOREIGN)
    information = tmp_path / "pigeon_san-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeon-san\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[wsdirect.providers]\n"
        f"pigeon = {module}:Provider\n"
        f"ready = {module}:ready_made\n"
        f"broken = {module}:wrong\n"
        "gone = no_such_module_at_all:provider\n"
        f"shm = {module}:Provider\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(catalog, "_loaded", {})
    importlib.invalidate_caches()
    yield module
    sys.modules.pop(module, None)


def test_enumeration(foreign: str) -> None:
    entries = catalog.enum_protocols()
    assert entries[0].name == "shm"
    assert {"pigeon", "ready", "broken", "gone"} <= {entry.name for entry in entries}
    assert [entry.catalog_id for entry in entries] == list(range(1001, 1001 + len(entries)))
    pigeon = next(entry for entry in entries if entry.name == "pigeon")
    assert (pigeon.origin, pigeon.target) == ("pigeon-san", f"{foreign}:Provider")
    assert foreign not in sys.modules, "enumerating must not import"


def test_a_built_in_name_cannot_be_taken(foreign: str) -> None:
    shm = [entry for entry in catalog.enum_protocols() if entry.name == "shm"]
    assert [entry.origin for entry in shm] == ["built-in"]
    assert shm[0].target == "wsdirect.providers.shm:provider"


def test_built_in_protocol_info_needs_no_import() -> None:
    entry = catalog.enum_protocols()[0]
    before = set(sys.modules)
    info = entry.protocol_info
    assert set(sys.modules) == before
    assert info.dwCatalogEntryId == 1001
    assert info.ProtocolChain == (1001,)
    assert info.ProviderId == catalog.SHM_PROVIDER_ID
    assert info.dwProviderFlags & 4


def test_foreign_protocol_info(foreign: str) -> None:
    entry = next(e for e in catalog.enum_protocols() if e.name == "pigeon")
    assert entry.protocol_info.szProtocol == "pigeon"
    assert entry.protocol_info.dwCatalogEntryId == entry.catalog_id
    assert foreign in sys.modules


def test_load_makes_one_provider(foreign: str) -> None:
    provider = catalog.load("pigeon")
    assert provider.name == "pigeon"
    assert catalog.load("pigeon") is provider
    entry = next(e for e in catalog.enum_protocols() if e.name == "pigeon")
    assert entry.load() is provider


def test_load_takes_a_ready_made_provider(foreign: str) -> None:
    assert catalog.load("ready") is sys.modules[foreign].ready_made


def test_load_refuses_what_is_no_provider(foreign: str) -> None:
    with pytest.raises(TypeError, match="gives a dict, not a ServiceProvider"):
        catalog.load("broken")
    with pytest.raises(ImportError):
        catalog.load("gone")


def test_unknown_name(foreign: str) -> None:
    with pytest.raises(LookupError) as caught:
        catalog.load("pidgeon")
    told = str(caught.value)
    assert "'pidgeon'" in told
    assert "Did you mean 'pigeon'?" in told
    assert "shm" in told.partition("Known:")[2]
    assert isinstance(caught.value, catalog.UnknownProviderError)


def test_unknown_name_with_nothing_near() -> None:
    with pytest.raises(catalog.UnknownProviderError) as caught:
        catalog.load("zzzzzzzz")
    assert "Did you mean" not in str(caught.value)
    assert "Known: shm" in str(caught.value)


def test_importing_the_catalogue_imports_no_provider() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(catalog.__file__).parents[2])!r});"
        "from wsdirect.spi import catalog;"
        "assert not [m for m in sys.modules if m.startswith('wsdirect.providers')];"
        "assert 'importlib.metadata' not in sys.modules"
    )
    # -S: the start-up files of site-packages may import anything
    subprocess.run([sys.executable, "-S", "-c", code], check=True)


def test_built_in_entries_say_what_the_providers_say() -> None:
    for entry in catalog.enum_protocols():
        if entry.origin == "built-in":
            assert entry.protocol_info.dwServiceFlags1 == entry.load().protocol_info.dwServiceFlags1
            assert entry.protocol_info.ProviderId == entry.load().protocol_info.ProviderId
