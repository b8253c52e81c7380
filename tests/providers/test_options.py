import pytest

from tests.providers.helpers import code_of
from wsdirect.spi import catalog
from wsdirect.spi.constants import (
    INVALID_SOCKET,
    IPPROTO_TCP,
    SIO_ADDRESS_LIST_QUERY,
    SIO_GET_EXTENSION_FUNCTION_POINTER,
    SIO_GET_QOS,
    SIO_SET_GROUP_QOS,
    SO_DEBUG,
    SO_GROUP_ID,
    SO_GROUP_PRIORITY,
    SO_MAX_MSG_SIZE,
    SO_MAX_RDMA_SIZE,
    SO_RDMA_THRESHOLD_SIZE,
    SOL_SOCKET,
    TCP_NODELAY,
)
from wsdirect.spi.errors import WsaErrorCode
from wsdirect.spi.extension_ids import EXTENSION_FUNCTIONS, WSAID_NATIVE_STREAM
from wsdirect.spi.guid import GUID

E = WsaErrorCode


@pytest.mark.parametrize("option", [(SOL_SOCKET, SO_DEBUG), (IPPROTO_TCP, TCP_NODELAY)])
def test_switches(san, option):
    s = san.socket()
    assert san.provider.WSPGetSockOpt(s, *option) == 0
    san.provider.WSPSetSockOpt(s, *option, 1)
    assert san.provider.WSPGetSockOpt(s, *option) == 1


def test_limits_are_known_in_every_state(san, port):
    a, b = san.pair(port)
    for s in (a, b, san.socket(), san.listen(port)):
        assert san.provider.WSPGetSockOpt(s, SOL_SOCKET, SO_MAX_MSG_SIZE) == 65536
        assert san.provider.WSPGetSockOpt(s, SOL_SOCKET, SO_MAX_RDMA_SIZE) == 0
        assert san.provider.WSPGetSockOpt(s, SOL_SOCKET, SO_RDMA_THRESHOLD_SIZE) == 0xFFFFFFFF


def test_largest_message_of_a_small_ring(san, port, monkeypatch):
    from wsdirect import settings

    monkeypatch.setenv("WSDIRECT_RING", "4096")
    settings.forget()
    try:
        a, b = san.pair(port)
    finally:
        monkeypatch.undo()
        settings.forget()
    limit = san.limit(a)
    assert limit == 2040
    data = bytes(limit)
    requests = [san.send(a, data, polled=False) for _ in range(20)]
    assert [san.receive(b) for _ in requests] == [data] * 20
    assert code_of(san.send, a, data + b"x") == E.WSAEMSGSIZE


def test_what_is_not_supported(san):
    s = san.socket()
    get, set_ = san.provider.WSPGetSockOpt, san.provider.WSPSetSockOpt
    for option in (SO_GROUP_ID, SO_GROUP_PRIORITY, 0x1234):
        assert code_of(get, s, SOL_SOCKET, option) == E.WSAENOPROTOOPT
        assert code_of(set_, s, SOL_SOCKET, option, 1) == E.WSAENOPROTOOPT
    assert code_of(set_, s, SOL_SOCKET, SO_MAX_MSG_SIZE, 1) == E.WSAENOPROTOOPT
    assert code_of(get, s, IPPROTO_TCP, 99) == E.WSAENOPROTOOPT
    assert code_of(get, s, 0, 1) == E.WSAEINVAL
    assert code_of(set_, s, 99, 1, 1) == E.WSAEINVAL
    assert code_of(set_, s, SOL_SOCKET, SO_DEBUG, "on") == E.WSAEFAULT


def test_extension_functions(san):
    code = SIO_GET_EXTENSION_FUNCTION_POINTER
    for s in (INVALID_SOCKET, 12345, san.socket()):
        found = san.provider.WSPIoctl(s, code, WSAID_NATIVE_STREAM)
        assert found is san.provider.native_stream
        for guid in (*EXTENSION_FUNCTIONS, GUID(bytes_le=bytes(16))):
            if guid != WSAID_NATIVE_STREAM:
                assert code_of(san.provider.WSPIoctl, s, code, guid) == E.WSAEOPNOTSUPP
    assert code_of(san.provider.WSPIoctl, INVALID_SOCKET, code, b"") == E.WSAEFAULT


def test_control_codes(san):
    s = san.socket()
    addresses = san.provider.WSPIoctl(s, SIO_ADDRESS_LIST_QUERY)
    assert ("127.0.0.1", 0) in addresses
    assert code_of(san.provider.WSPIoctl, s, SIO_GET_QOS) == E.WSAEOPNOTSUPP
    assert code_of(san.provider.WSPIoctl, s, SIO_SET_GROUP_QOS) == E.WSAEOPNOTSUPP
    assert code_of(san.provider.WSPIoctl, s, 1) == E.WSAEINVAL
    assert code_of(san.provider.WSPGetQOSByName, s, "") == E.WSAEOPNOTSUPP


def test_the_catalogue_has_it():
    provider = catalog.load("shm")
    assert provider is catalog.load("shm")
    [entry] = [entry for entry in catalog.enum_protocols() if entry.name == "shm"]
    assert entry.protocol_info.ProviderId == provider.provider_id
    assert entry.protocol_info.szProtocol == provider.protocol_info.szProtocol
