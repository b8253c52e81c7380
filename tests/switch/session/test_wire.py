"""The messages: what is packed comes back, and nothing else gets through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdirect.spi.errors import WSAECONNABORTED
from wsdirect.switch.session import wire
from wsdirect.switch.session.wire import Header, Kind, Terms

WORD = st.integers(0, 0xFFFFFFFF)


def packed(kind: Kind, payload: bytes = b"", **fields) -> bytearray:
    header = Header(kind, 7, length=len(payload), **fields)
    return bytearray(header.pack() + payload)


VALID = [
    packed(Kind.NEGOTIATE, Terms(16, 4096, 3, 65536, 12).pack()),
    packed(Kind.DATA, b"abc", flags=wire.URGENT, credits=3),
    packed(Kind.CREDIT, credits=9),
    packed(Kind.LARGE, b"first", descriptor=b"d" * 24, transfer=1, total=100),
    packed(Kind.LARGE, b"first", transfer=1, total=6),
    packed(Kind.EXPOSED, descriptor=b"d" * 32, transfer=2),
    packed(Kind.READ, transfer=1),
    packed(Kind.WRITTEN, transfer=1),
    packed(Kind.REFUSED, transfer=1),
    packed(Kind.END, flags=wire.DEAF),
    *(packed(kind) for kind in (Kind.GONE, Kind.CLOSE, Kind.RESET, Kind.SUSPEND, Kind.RESUMED)),
    packed(Kind.RESUME, Terms(8, 256).pack()),
]


@given(
    kind=st.sampled_from(Kind),
    sequence=WORD,
    credits=st.integers(0, 0xFFFF),
    descriptor=st.binary(max_size=wire.DESCRIPTOR_MAX),
    payload=st.binary(min_size=1, max_size=300),
    transfer=WORD,
    more=st.integers(1, 1 << 20),
    flags=st.integers(0, 3),
)
def test_round_trip(kind, sequence, credits, descriptor, payload, transfer, more, flags):
    known, may_describe, has_payload, about, has_total = wire._USES[kind]
    if kind == Kind.EXPOSED:
        descriptor = descriptor or b"x"
    payload = payload if has_payload else b""
    header = Header(
        kind,
        sequence,
        flags=flags & known,
        credits=credits,
        descriptor=descriptor if may_describe else b"",
        length=len(payload),
        transfer=transfer if about else 0,
        total=len(payload) + more if has_total else 0,
    )
    back = Header.unpack(memoryview(header.pack() + payload))
    for name in Header.__slots__:
        assert getattr(back, name) == getattr(header, name)


@given(st.binary(max_size=400))
def test_garbage_is_refused_or_read_and_never_crashes(data):
    try:
        Header.unpack(memoryview(data))
    except WSAECONNABORTED:
        pass


@given(st.sampled_from(VALID), st.integers(0, 23), st.integers(0, 255))
def test_changed_headers_are_refused_or_consistent(message, at, value):
    changed = bytearray(message)
    changed[at] = value
    try:
        header = Header.unpack(memoryview(changed))
    except WSAECONNABORTED:
        return
    assert wire.HEADER_SIZE + len(header.descriptor) + header.length == len(message)
    assert header.total == 0 or header.total > header.length


@pytest.mark.parametrize("message", VALID, ids=lambda message: Kind(message[1]).name)
def test_valid_messages_pass_and_other_lengths_do_not(message):
    Header.unpack(memoryview(message))
    for wrong in (message[:-1], message + b"x", message[:23], b""):
        with pytest.raises(WSAECONNABORTED):
            Header.unpack(memoryview(wrong))


@pytest.mark.parametrize("kind", [0, 17, 255])
def test_unknown_kinds_are_refused(kind):
    message = packed(Kind.CREDIT, credits=1)
    message[1] = kind
    with pytest.raises(WSAECONNABORTED):
        Header.unpack(memoryview(message))


def test_other_versions_are_refused():
    message = packed(Kind.CREDIT, credits=1)
    message[0] = 2
    with pytest.raises(WSAECONNABORTED, match="version 2"):
        Header.unpack(memoryview(message))


def test_terms_round_trip_and_later_versions_may_add_to_them():
    terms = Terms(16, 4120, wire.FEATURE_RDMA | wire.FEATURE_READ, 1 << 18, 99)
    assert Terms.unpack(memoryview(terms.pack())) == terms
    assert Terms.unpack(memoryview(terms.pack() + bytes(50))) == terms
    assert len(packed(Kind.NEGOTIATE, terms.pack())) <= wire.NEGOTIATION_MAX


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        Terms(16, 4096).pack()[:-1],
        Terms(wire.RECEIVES_MIN - 1, 4096).pack(),
        Terms(wire.RECEIVES_MAX + 1, 4096).pack(),
        Terms(16, wire.SIZE_MIN - 1).pack(),
        Terms(16, 4096).pack() + bytes(wire.NEGOTIATION_MAX),
    ],
)
def test_terms_that_nobody_can_work_with(payload):
    with pytest.raises(WSAECONNABORTED):
        Terms.unpack(memoryview(payload))


def test_reading_without_rdma_is_no_rdma():
    assert Terms.unpack(memoryview(Terms(16, 4096, wire.FEATURE_READ, 5).pack())).features == 0
    assert Terms.unpack(memoryview(Terms(16, 4096, wire.FEATURE_RDMA, 0).pack())).features == 0
