"""tools_dev/generate_spi.py: the tree is what the tables say, and a difference is found."""

import shutil
from pathlib import Path

import pytest

from tools_dev import generate_spi


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    shutil.copytree(generate_spi.ROOT / "spec", tmp_path / "spec")
    assert generate_spi.main(["--root", str(tmp_path)]) == 0
    return tmp_path


def test_generated_files_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate_spi.main(["--check"]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", list(generate_spi.OUTPUTS))
def test_a_changed_file_is_found(tree: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tree / name
    path.write_text(path.read_text() + "SPOILT = 1\n")
    capsys.readouterr()
    assert generate_spi.main(["--root", str(tree), "--check"]) == 1
    told = capsys.readouterr().out
    assert f"--- {name}" in told
    assert "-SPOILT = 1" in told
    assert path.read_text().endswith("SPOILT = 1\n"), "--check must not write"


def test_a_missing_file_is_found_and_made_again(tree: Path) -> None:
    path = tree / "csrc" / "wsd_spi.h"
    before = path.read_text()
    path.unlink()
    assert generate_spi.main(["--root", str(tree), "--check"]) == 1
    assert generate_spi.main(["--root", str(tree)]) == 0
    assert path.read_text() == before


def test_a_changed_table_changes_the_output(tree: Path) -> None:
    table = tree / "spec" / "errors.toml"
    table.write_text(table.read_text().replace("code = 10061", "code = 10999"))
    assert generate_spi.main(["--root", str(tree), "--check"]) == 1


def test_every_entry_needs_a_source(tree: Path) -> None:
    table = tree / "spec" / "errors.toml"
    table.write_text(table.read_text().replace('source = "R:ff566288"', 'source = ""', 1))
    with pytest.raises(SystemExit, match="WSA_INVALID_HANDLE has no source"):
        generate_spi.main(["--root", str(tree), "--check"])


def test_one_errno_cannot_become_two_codes(tree: Path) -> None:
    table = tree / "spec" / "errors.toml"
    table.write_text(table.read_text().replace('["EINTR"]', '["EINTR", "ECONNRESET"]', 1))
    with pytest.raises(SystemExit, match="ECONNRESET"):
        generate_spi.main(["--root", str(tree), "--check"])


def test_generated_files_say_so() -> None:
    for name in generate_spi.OUTPUTS:
        head = (generate_spi.ROOT / name).read_text()[:300]
        assert "enerated from spec/" in head
        assert "do not edit" in head
