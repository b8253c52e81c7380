import os
import struct
import threading
import time
from array import array

import pytest

from tests.providers.helpers import HOST, code_of, eventually
from wsdirect.providers.shm import ioctl as ioctl_module
from wsdirect.spi import catalog
from wsdirect.spi.constants import (
    AF_INET,
    FD_CONNECT,
    INVALID_SOCKET,
    IPPROTO_TCP,
    SIO_ADDRESS_LIST_QUERY,
    SIO_GET_EXTENSION_FUNCTION_POINTER,
    SIO_GET_QOS,
    SIO_SET_QOS,
    SO_DEBUG,
    SO_GROUP_ID,
    SO_GROUP_PRIORITY,
    SO_MAX_MSG_SIZE,
    SO_MAX_RDMA_SIZE,
    SO_RDMA_THRESHOLD_SIZE,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_NODELAY,
)
from wsdirect.spi.errors import WsaErrorCode
from wsdirect.spi.extension_ids import EXTENSION_FUNCTIONS, WSAID_NATIVE_STREAM
from wsdirect.spi.guid import GUID
from wsdirect.spi.overlapped import WSAOVERLAPPED, Event

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
        assert san.provider.WSPGetSockOpt(s, SOL_SOCKET, SO_MAX_RDMA_SIZE) == 64 << 20
        assert san.provider.WSPGetSockOpt(s, SOL_SOCKET, SO_RDMA_THRESHOLD_SIZE) == 16 << 10


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
    assert code_of(get, s, SOL_SOCKET, 0x1234) == E.WSAENOPROTOOPT
    for option in (SO_GROUP_ID, SO_RDMA_THRESHOLD_SIZE, 0x1234):
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
        for guid, name in EXTENSION_FUNCTIONS.items():
            assert san.provider.WSPIoctl(s, code, guid) == getattr(san.provider, name)
        unknown = GUID(bytes_le=bytes(16))
        assert code_of(san.provider.WSPIoctl, s, code, unknown) == E.WSAEOPNOTSUPP
    assert code_of(san.provider.WSPIoctl, INVALID_SOCKET, code, b"") == E.WSAEFAULT


def test_control_codes(san):
    s = san.socket()
    addresses = san.provider.WSPIoctl(s, SIO_ADDRESS_LIST_QUERY)
    assert ("127.0.0.1", 0) in addresses
    assert code_of(san.provider.WSPIoctl, s, 1) == E.WSAEINVAL
    assert code_of(san.provider.WSPIoctl, INVALID_SOCKET, 1) == E.WSAENOTSOCK


def test_the_catalogue_has_it():
    provider = catalog.load("shm")
    assert provider is catalog.load("shm")
    [entry] = [entry for entry in catalog.enum_protocols() if entry.name == "shm"]
    assert entry.protocol_info.ProviderId == provider.provider_id
    assert entry.protocol_info.szProtocol == provider.protocol_info.szProtocol


# --- values in memory ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (1, 1),
        (0, 0),
        (True, 1),
        (-1, 1),
        (b"\1\0\0\0", 1),
        (b"\0\0\0\0", 0),
        (bytearray(b"\0\0\0\x80"), 1),
        (memoryview(b"\1\0\0\0more"), 1),
        (array("i", [1]), 1),
    ],
)
def test_values_of_options(san, value, found):
    s = san.socket()
    san.provider.WSPSetSockOpt(s, IPPROTO_TCP, TCP_NODELAY, value)
    assert san.provider.WSPGetSockOpt(s, IPPROTO_TCP, TCP_NODELAY) == found


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"", E.WSAEFAULT),
        (b"\1\0\0", E.WSAEFAULT),
        (None, E.WSAEFAULT),
        ("1", E.WSAEFAULT),
        (1.0, E.WSAEFAULT),
        (2**32, E.WSAEINVAL),
        (-(2**31) - 1, E.WSAEINVAL),
    ],
)
def test_invalid_values_of_options(san, value, code):
    s = san.socket()
    for option in ((IPPROTO_TCP, TCP_NODELAY), (SOL_SOCKET, SO_GROUP_PRIORITY)):
        san.provider.WSPSetSockOpt(s, *option, 1)
        assert code_of(san.provider.WSPSetSockOpt, s, *option, value) == code
        assert san.provider.WSPGetSockOpt(s, *option) == 1


def test_priority_in_memory(san):
    s = san.socket()
    san.provider.WSPSetSockOpt(s, SOL_SOCKET, SO_GROUP_PRIORITY, struct.pack("i", 258))
    assert san.provider.WSPGetSockOpt(s, SOL_SOCKET, SO_GROUP_PRIORITY) == 258
    negative = struct.pack("i", -2)
    assert (
        code_of(san.provider.WSPSetSockOpt, s, SOL_SOCKET, SO_GROUP_PRIORITY, negative)
        == E.WSAEINVAL
    )


@pytest.mark.parametrize(
    "option",
    [
        (SOL_SOCKET, SO_DEBUG),
        (SOL_SOCKET, SO_MAX_MSG_SIZE),
        (SOL_SOCKET, SO_MAX_RDMA_SIZE),
        (SOL_SOCKET, SO_GROUP_ID),
        (IPPROTO_TCP, TCP_NODELAY),
    ],
)
def test_room_for_a_value(san, option):
    s = san.socket()
    get = san.provider.WSPGetSockOpt
    value = get(s, *option)
    for size in (4, 8, 1000):
        assert get(s, *option, size) == value
    for size in (0, 1, 3, -1, "4"):
        assert code_of(get, s, *option, size) == E.WSAEFAULT
    with pytest.raises(OSError, match="4 bytes") as caught:
        get(s, *option, 3)
    assert caught.value.required == 4
    # what is unknown is that, whatever the room
    assert code_of(get, s, SOL_SOCKET, 0x1234, 0) == E.WSAENOPROTOOPT


def test_every_option_call_looks_at_the_descriptor_first(san):
    for s in (INVALID_SOCKET, 0, 12345):
        assert code_of(san.provider.WSPGetSockOpt, s, 99, 99, 0) == E.WSAENOTSOCK
        assert code_of(san.provider.WSPSetSockOpt, s, 99, 99, None) == E.WSAENOTSOCK


def test_largest_message_is_exactly_the_limit(san, port):
    a, b = san.pair(port)
    data = os.urandom(san.limit(a))
    request = san.send(a, data)
    assert san.receive(b, len(data)) == data
    assert san.wait(a, request) == len(data)
    assert code_of(san.send, a, data + b"x") == E.WSAEMSGSIZE
    assert code_of(san.send, a, data, b"x") == E.WSAEMSGSIZE
    san.send(a, b"fine")
    assert san.receive(b) == b"fine"


def test_setting_options_of_a_reset_connection(san, port):
    set_ = san.provider.WSPSetSockOpt
    a, b = san.pair(port)
    set_(a, IPPROTO_TCP, TCP_NODELAY, 1)
    san.provider.WSPCloseSocket(b)  # with nobody waiting who would notice
    assert code_of(set_, a, IPPROTO_TCP, TCP_NODELAY, 0) == E.WSAENOTCONN
    assert code_of(san.receive, a) == E.WSAECONNRESET
    assert code_of(set_, a, SOL_SOCKET, SO_GROUP_PRIORITY, 1) == E.WSAENOTCONN
    assert code_of(set_, a, SOL_SOCKET, 0x1234, 0) == E.WSAENOPROTOOPT
    assert code_of(set_, a, 99, 1, 0) == E.WSAEINVAL
    assert san.provider.WSPGetSockOpt(a, IPPROTO_TCP, TCP_NODELAY) == 1


def test_debug_output(san, port, capfd):
    def told():
        return [line for line in capfd.readouterr().err.splitlines() if "wsdirect" in line]

    listener = san.listen(port)
    s, event = san.connect(port)
    san.accept(listener)
    assert san.connected(s, event) == 0
    assert told() == []  # nobody asked for any
    san.provider.WSPSetSockOpt(listener, SOL_SOCKET, SO_DEBUG, 1)
    s, event = san.connect(port)
    accepted, _ = san.accept(listener)
    assert san.connected(s, event) == 0
    [line] = told()
    assert f"{listener:#x}: accepted 127.0.0.1:45000" in line
    assert san.provider.WSPGetSockOpt(accepted, SOL_SOCKET, SO_DEBUG) == 1  # inherited
    san.provider.WSPCloseSocket(accepted)
    assert f"{accepted:#x}: closed" in told()[0]
    san.provider.WSPSetSockOpt(listener, SOL_SOCKET, SO_DEBUG, 0)
    san.provider.WSPCloseSocket(listener)
    assert told() == []


def test_debug_output_of_a_connect(san, port, capfd):
    listener, s = san.listen(port), san.socket()
    san.provider.WSPSetSockOpt(s, SOL_SOCKET, SO_DEBUG, 1)
    event = Event()
    san.provider.WSPEventSelect(s, event, FD_CONNECT)
    assert code_of(san.provider.WSPConnect, s, (HOST, port)) == E.WSAEWOULDBLOCK
    san.accept(listener)
    assert san.connected(s, event) == 0
    assert "connect ended with 0" in capfd.readouterr().err


# --- control codes ------------------------------------------------------------------------------

EXTENSION = SIO_GET_EXTENSION_FUNCTION_POINTER


@pytest.mark.parametrize("s", [INVALID_SOCKET, 12345, None, "x"])
def test_extension_query_with_whatever_descriptor(san, s):
    ioctl = san.provider.WSPIoctl
    for guid, name in EXTENSION_FUNCTIONS.items():
        found = getattr(san.provider, name)
        for given in (guid, guid.bytes_le, bytearray(guid.bytes_le), guid.bytes_le + b"more"):
            assert ioctl(s, EXTENSION, given, 8) == found
    guid = next(iter(EXTENSION_FUNCTIONS))
    for short in (b"", guid.bytes_le[:15], None, 5, "F5"):
        assert code_of(ioctl, s, EXTENSION, short) == E.WSAEFAULT
    for size in (0, 7, -1):
        assert code_of(ioctl, s, EXTENSION, guid, size) == E.WSAEFAULT
    with pytest.raises(OSError, match="8 bytes") as caught:
        ioctl(s, EXTENSION, guid, 4)
    assert caught.value.required == 8
    assert code_of(ioctl, s, EXTENSION, bytes(16)) == E.WSAEOPNOTSUPP


def test_room_for_the_address_list(san, monkeypatch):
    s = san.provider.WSPSocket(AF_INET, SOCK_STREAM, IPPROTO_TCP)  # fresh: R-045
    for addresses in ([], ["127.0.0.1"], ["127.0.0.1", "10.0.0.1", "10.0.0.2"]):
        monkeypatch.setattr(ioctl_module, "local_addresses", lambda found=addresses: found)
        needed = 8 + 32 * len(addresses)
        for size in (0, needed - 1):
            with pytest.raises(OSError, match="too small") as caught:
                san.provider.WSPIoctl(s, SIO_ADDRESS_LIST_QUERY, b"", size)
            assert caught.value.winerror == E.WSAEFAULT
            assert caught.value.required == needed
        for size in (needed, None):
            found = san.provider.WSPIoctl(s, SIO_ADDRESS_LIST_QUERY, b"", size)
            assert found == [(address, 0) for address in addresses]


def test_polled_control_code(san):
    s = san.socket()
    overlapped = WSAOVERLAPPED(polled=True)
    found = san.provider.WSPIoctl(s, SIO_ADDRESS_LIST_QUERY, b"", None, overlapped)
    assert san.provider.WSPGetOverlappedResult(s, overlapped) == 8 + 32 * len(found)
    assert san.wait(s, overlapped) == 8 + 32 * len(found)
    san.provider.WSPIoctl(INVALID_SOCKET, EXTENSION, WSAID_NATIVE_STREAM, 8, overlapped)
    assert overlapped.result() == 8
    assert san.completed == []


def test_notified_control_code(san, port):
    a, _ = san.pair(port)
    fresh = san.socket()
    inside = []
    san.on_complete = lambda *told: inside.append(threading.get_ident())
    for s in (fresh, a):
        overlapped = WSAOVERLAPPED()
        inside.clear()
        san.provider.WSPIoctl(s, SIO_GET_QOS, b"", 80, overlapped)
        assert eventually(lambda: len(inside) == 1)
        assert inside != [threading.get_ident()]  # not from within the call
        [(handle, record, error, size)] = san.completed
        assert san.switch.WPUQuerySocketHandleContext(handle) == s
        assert (record, error, size) == (overlapped, 0, 80)
        assert san.wait(s, overlapped) == 80
        san.completed.clear()
    san.provider.WSPIoctl(INVALID_SOCKET, EXTENSION, WSAID_NATIVE_STREAM, 8, WSAOVERLAPPED())
    assert san.completed == []  # of which socket?


def test_control_code_and_close(san):
    """The notification comes before the handle is closed, and then nothing more (R-242)."""
    told = []
    san.on_complete = lambda s, *rest: told.append(s in san.switch.handles)
    for _ in range(50):
        s = san.socket()
        for _ in range(3):
            san.provider.WSPIoctl(s, SIO_GET_QOS, b"", None, WSAOVERLAPPED())
        san.provider.WSPCloseSocket(s)
    assert eventually(lambda: len(told) == 150)
    assert all(told)
    assert eventually(lambda: san.switch.handles == [])


def test_failing_control_code_starts_nothing(san):
    s = san.socket()
    overlapped = WSAOVERLAPPED()
    ioctl = san.provider.WSPIoctl
    assert code_of(ioctl, s, 1, b"", None, overlapped) == E.WSAEINVAL
    assert code_of(ioctl, s, SIO_GET_QOS, b"", 8, overlapped) == E.WSAEFAULT
    assert code_of(ioctl, s, SIO_SET_QOS, b"", None, overlapped) == E.WSAEFAULT
    assert code_of(ioctl, s, SIO_GET_QOS, b"", None, "record") == E.WSAEINVAL
    assert not overlapped.in_progress
    overlapped.start()
    assert code_of(ioctl, s, SIO_GET_QOS, b"", None, overlapped) == E.WSAEINVAL  # in use
    assert san.completed == []


def test_completion_routine_runs_in_its_thread(san):
    s = san.socket()
    overlapped = WSAOVERLAPPED()
    told = []

    def routine(*arguments):
        told.append((threading.get_ident(), *arguments))

    def program():
        number.append(threading.get_ident())
        ready.set()
        while not told:
            san.switch.run_apcs()
            time.sleep(0.001)

    number, ready = [], threading.Event()
    thread = threading.Thread(target=program)
    thread.start()
    ready.wait()
    mine = list(number)
    found = san.provider.WSPIoctl(
        s, SIO_ADDRESS_LIST_QUERY, b"", None, overlapped, routine, mine[0]
    )
    mine[0] = 0  # what the caller has it in may change
    thread.join()
    assert told == [(number[0], 0, found, overlapped, 0)]
    assert san.wait(s, overlapped) == 8 + 32 * len(found)
    # its own thread, if none is named
    san.provider.WSPIoctl(s, SIO_GET_QOS, b"", None, WSAOVERLAPPED(), routine)
    assert san.switch.run_apcs() == 1
    assert told[1][0] == threading.get_ident()
    assert san.completed == []
