"""What is installed is what was meant to be: complete, compiled, free of dependencies, quiet."""

import importlib.machinery
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import wsdirect
from wsdirect._version import __version__

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
DIST = importlib.metadata.distribution("wsdirect")


def is_editable() -> bool:
    return '"editable": true' in (DIST.read_text("direct_url.json") or "")


def shipped_sources() -> list[Path]:
    """Every file under src/ that a user's installation has to have."""
    return [
        path.relative_to(SOURCE)
        for path in sorted((SOURCE / "wsdirect").rglob("*"))
        if path.suffix in {".py", ".pyi"} or path.name == "py.typed"
    ]


def test_version_has_one_source():
    assert DIST.version == __version__
    assert re.fullmatch(r"\d+\.\d+\.\d+([a-z]+\d+)?", __version__)


@pytest.mark.skipif(is_editable(), reason="an editable installation imports the clone on purpose")
def test_tests_see_the_installed_package():
    for folder in wsdirect.__path__:
        assert SOURCE not in Path(folder).resolve().parents


@pytest.mark.skipif(is_editable(), reason="an editable installation does not copy files")
def test_every_source_file_is_installed_as_it_is():
    stale = [
        str(path)
        for path in shipped_sources()
        if not (there := Path(str(DIST.locate_file(path)))).exists()
        or there.read_bytes() != (SOURCE / path).read_bytes()
    ]
    assert not stale, "the installation is older than the clone: run `make build`"


def test_types_are_shipped():
    names = {str(path) for path in shipped_sources()}
    assert "wsdirect/py.typed" in names
    assert "wsdirect/_core/_native.pyi" in names


@pytest.mark.skipif(is_editable(), reason="an editable installation imports the clone on purpose")
def test_no_build_inputs_are_installed():
    files = DIST.files or []
    assert not [str(file) for file in files if file.suffix in {".pyx", ".pxd", ".pxi", ".c", ".h"}]


@pytest.mark.skipif(sys.platform != "linux", reason="the core is compiled on Linux only")
def test_core_is_compiled():
    spec = importlib.util.find_spec("wsdirect._core._native")
    assert spec is not None
    assert isinstance(spec.loader, importlib.machinery.ExtensionFileLoader)


def test_no_runtime_dependencies():
    assert all("extra ==" in requirement for requirement in DIST.requires or [])


def test_console_script():
    (script,) = DIST.entry_points.select(group="console_scripts")
    assert (script.name, script.value) == ("wsdirect", "wsdirect.__main__:main")


def test_import_is_cheap_and_changes_nothing():
    """The launcher imports the package into every process of a user's program."""
    code = """if True:
        import socket, sys, threading
        before = dict(vars(socket.socket))
        import wsdirect
        heavy = {"asyncio", "ssl", "importlib.metadata", "multiprocessing"} & set(sys.modules)
        assert not heavy, heavy
        assert dict(vars(socket.socket)) == before
        assert threading.active_count() == 1
    """
    subprocess.run([sys.executable, "-I", "-c", code], check=True, timeout=60)


def test_readme_starts_with_the_two_commands_that_ci_runs():
    blocks = re.findall(r"^```\w*\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    assert lines[0].endswith(".venv/bin/wsdirect demo")
    assert lines[1].endswith(".venv/bin/pytest")
