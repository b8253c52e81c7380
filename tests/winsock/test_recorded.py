"""Every case has its test, or stands in the table with its reason, which is documented."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
# fmt: off
CASES = (
    1, 2, 5, 8, 9, 10, 12, 13, 15, 18, 19, 23, 24, 27, 30, 32, 35, 37, 38, 39, 40, 43, 45, 46, 48,
    50, 51, 52, 55, 56, 57, 58, 61, 62, 63, 64, 65, 66, 67, 69, 70, 71, 73, 77, 78, 80, 81, 82, 83,
    84, 85, 87, 89, 94, 97, 98, 99, 100, 101, 102, 103, 106, 107, 108, 109, 110, 112, 113, 115, 116,
    117, 118, 119, 122, 123, 126, 127, 128, 130, 131, 132, 140, 141, 144, 145, 146, 147, 148, 149,
    150, 151, 154, 155, 156, 158, 161, 162, 163, 164, 165, 167, 168, 170, 171, 172, 176, 177, 178,
    180, 181, 182, 183, 185, 186, 189, 190, 191, 192, 194, 195, 197, 200, 201,
)
# fmt: on


def recorded():
    with (HERE / "recorded.toml").open("rb") as file:
        return tomllib.load(file)["recorded"]


def test_every_case_is_tested_or_recorded():
    found = set()
    for path in HERE.glob("test_*.py"):
        for name in re.findall(r"^def (test_W\w+)", path.read_text(), re.MULTILINE):
            found.update(int(number) for number in re.findall(r"W(\d{3})", name))
    found.update(int(entry["case"][1:]) for entry in recorded() if entry["case"][1:].isdigit())
    assert [case for case in CASES if case not in found] == []


def test_the_documentation_shows_what_is_recorded():
    text = (ROOT / "docs" / "winsock.md").read_text()
    for entry in recorded():
        assert set(entry) == {"case", "what", "reason"}
        assert f"| {entry['case']} | {entry['what']} | {entry['reason']} |" in text
