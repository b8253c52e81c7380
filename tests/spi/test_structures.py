"""Constants, GUIDs and the value types."""

import copy
import pickle
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdirect.spi import constants, extension_ids
from wsdirect.spi.constants import (
    FD_ACCEPT,
    FD_CONNECT,
    PFL_HIDDEN,
    XP1_CONNECTIONLESS,
    XP1_IFS_HANDLES,
    NetworkEvent,
    NetworkEventBit,
)
from wsdirect.spi.guid import GUID
from wsdirect.spi.structures import (
    FLOWSPEC,
    QOS,
    WSABUFEX,
    WSANETWORKEVENTS,
    WSAPROTOCOL_INFOW,
    WSPDATA,
    AcceptRequest,
    make_version,
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SOL_SOCKET", 0xFFFF),
        ("SO_MAX_MSG_SIZE", 0x2003),
        ("SO_MAX_RDMA_SIZE", 0x700D),
        ("SO_RDMA_THRESHOLD_SIZE", 0x700E),
        ("SIO_GET_EXTENSION_FUNCTION_POINTER", 0xC8000006),
        ("SIO_ADDRESS_LIST_QUERY", 0x48000016),
        ("SIO_SET_GROUP_QOS", 0x8800000C),
        ("FD_ACCEPT", 8),
        ("FD_CONNECT", 16),
        ("CF_DEFER", 2),
        ("PFL_HIDDEN", 4),
        ("XP1_QOS_SUPPORTED", 0x2000),
        ("XP1_SAN_SUPPORT_SDP", 0x80000),
        ("MEM_READWRITE", 3),
        ("WSS_OPERATION_IN_PROGRESS", 0x103),
        ("SOMAXCONN", 0x7FFFFFFF),
        ("WINSOCK_VERSION", 0x0202),
    ],
)
def test_constant(name: str, value: int) -> None:
    assert getattr(constants, name) == value


def test_event_bits_belong_to_their_flags() -> None:
    for event in NetworkEvent:
        assert 1 << NetworkEventBit[f"{event.name}_BIT"] == event


def test_memory_access_combines() -> None:
    assert constants.MEM_READ | constants.MEM_WRITE == constants.MEM_READWRITE


def test_guid_bytes_are_little_endian_in_front() -> None:
    expected = bytes.fromhex("F522B4C08CF5D111AD6C00C04FA34A2D")
    assert extension_ids.WSAID_REGISTERMEMORY.bytes_le == expected


def test_write_comes_before_read() -> None:
    assert str(extension_ids.WSAID_RDMAWRITE).startswith("C0B422F9")
    assert str(extension_ids.WSAID_RDMAREAD).startswith("C0B422FA")


def test_extension_guids_differ() -> None:
    assert len(extension_ids.EXTENSION_FUNCTIONS) == 9
    assert len(extension_ids.REQUIRED_EXTENSIONS) == 5


@given(st.uuids())
def test_guid_agrees_with_uuid(number: uuid.UUID) -> None:
    guid = GUID(f"{{{number}}}")
    assert guid.bytes_le == number.bytes_le
    assert str(guid) == str(number).upper()
    assert guid == GUID(bytes_le=number.bytes_le) == copy.copy(guid)
    assert pickle.loads(pickle.dumps(guid)) == guid
    assert hash(guid) == hash(GUID(str(number)))


def test_guid_is_a_value() -> None:
    guid = extension_ids.WSAID_RDMAREAD
    with pytest.raises(AttributeError):
        guid.bytes_le = bytes(16)
    with pytest.raises(ValueError, match="not a GUID"):
        GUID("C0B422F5-F58C")
    assert guid != str(guid)


def test_protocol_info_defaults_are_those_of_a_san() -> None:
    info = WSAPROTOCOL_INFOW("x", extension_ids.WSAID_RDMAREAD)
    assert info.dwProviderFlags & PFL_HIDDEN
    assert not info.dwServiceFlags1 & (XP1_CONNECTIONLESS | XP1_IFS_HANDLES)
    assert (info.iAddressFamily, info.iSocketType, info.iProtocol) == (2, 1, 6)
    assert info.dwProviderReserved == 0


def test_protocol_info_replace() -> None:
    info = WSAPROTOCOL_INFOW("x", dwCatalogEntryId=7)
    changed = info.replace(dwProviderReserved=99)
    assert (info.dwProviderReserved, changed.dwProviderReserved) == (0, 99)
    assert changed.dwCatalogEntryId == 7
    assert changed != info
    assert changed.replace(dwProviderReserved=0) == info
    with pytest.raises(TypeError, match="dwTypo"):
        info.replace(dwTypo=1)
    assert pickle.loads(pickle.dumps(changed)) == changed


def test_texts_fit_their_arrays() -> None:
    assert WSPDATA(make_version(2, 2), "x" * 255).wHighVersion == 0x0202
    with pytest.raises(ValueError, match="255"):
        WSPDATA(0x0202, "x" * 256)
    with pytest.raises(ValueError, match="255"):
        WSAPROTOCOL_INFOW("x" * 256)


def test_version_has_the_minor_in_the_high_byte() -> None:
    assert make_version(2, 1) == 0x0102


def test_bufex_is_a_pair() -> None:
    buffer = bytearray(8)
    pair = WSABUFEX(buffer, 5)
    buf, handle = pair
    assert buf is pair.buf is buffer
    assert handle == pair.handle == 5
    assert copy.copy(pair) == pair


def test_network_events_record() -> None:
    record = WSANETWORKEVENTS()
    record.record(FD_CONNECT, 10061)
    record.record(FD_ACCEPT)
    assert record.iErrorCode[4] == record.error(FD_CONNECT) == 10061
    taken = record.take()
    assert taken.lNetworkEvents == FD_CONNECT | FD_ACCEPT
    assert taken.error(FD_CONNECT) == 10061
    assert record == WSANETWORKEVENTS()
    record.record(FD_CONNECT, 10060)
    assert taken.error(FD_CONNECT) == 10061, "the copy must not share the codes"
    with pytest.raises(ValueError, match="10 slots"):
        WSANETWORKEVENTS(0, [0])


def test_qos_defaults_do_not_share() -> None:
    first, second = QOS(), QOS(FLOWSPEC(TokenRate=1000))
    first.SendingFlowspec.Latency = 5
    assert second.SendingFlowspec.Latency == constants.QOS_NOT_SPECIFIED
    assert "TokenRate=1000" in repr(second)


def test_structures_of_different_types_differ() -> None:
    assert FLOWSPEC() != QOS()
    request = AcceptRequest(("127.0.0.1", 1), ("127.0.0.1", 2))
    assert request.caller_data is None
