"""Addresses of all kinds: who is reached and what every socket is called is exactly TCP's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.network.spaces import answer_of, in_namespace, need_namespaces, python

PROGRAM = str(Path(__file__).with_name("address_program.py"))
INTERFACE = """
ip link set lo up
ip link add d0 type veth peer name d1
ip link set d0 up
ip link set d1 up
ip addr add 10.9.8.7/24 dev d0
ip addr add 10.9.8.6/24 dev d0
ip addr add fd00::7/64 dev d0 nodad
ip addr add fe80::77/64 dev d0 nodad
"""

# What no SAN carries, with the reasons that both ends give; everything else must be switched.
ON_TCP = {
    "through loopback": ["unsupported-option", "peer-not-switched"],
    "marked": ["unsupported-option", "peer-not-switched"],
    "transparent": ["unsupported-option", "peer-not-switched"],
    "listens on loopback": ["no-listener", "unsupported-option"],
    "listens marked": ["no-listener", "unsupported-option"],
    "listens transparent": ["no-listener", "unsupported-option"],
    "listens filtered": ["no-listener", "unsupported-option"],
    "link-local": ["link-local", "link-local"],
    "any: link-local": ["link-local", "peer-not-switched"],
}


@pytest.fixture(scope="module")
def both() -> tuple[dict[str, Any], dict[str, Any]]:
    need_namespaces(INTERFACE)
    return (
        answer_of(in_namespace(python(PROGRAM, switched=False), INTERFACE)),
        answer_of(in_namespace(python(PROGRAM, switched=True), INTERFACE)),
    )


def test_everything_is_called_as_tcp_calls_it(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    plain, switched = both
    assert len(plain["answers"]) > 60
    different = {
        name: (answer, switched["answers"].get(name))
        for name, answer in plain["answers"].items()
        if switched["answers"].get(name) != answer
    }
    assert not different


def test_everything_that_a_san_can_carry_is_switched(
    both: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    paths = both[1]["paths"]
    assert {name: path for name, path in paths.items() if set(path) != {"shm"}} == ON_TCP
