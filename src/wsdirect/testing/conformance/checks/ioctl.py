"""WSPIoctl: rules R-074 to R-087."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
import threading
from typing import Any

from wsdirect.spi.constants import (
    INVALID_SOCKET,
    SIO_ADDRESS_LIST_CHANGE,
    SIO_ADDRESS_LIST_QUERY,
    SIO_GET_EXTENSION_FUNCTION_POINTER,
    SIO_GET_GROUP_QOS,
    SIO_GET_QOS,
    SIO_SET_GROUP_QOS,
    SIO_SET_QOS,
    XP1_QOS_SUPPORTED,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.extension_ids import (
    EXTENSION_FUNCTIONS,
    REQUIRED_EXTENSIONS,
    WSAID_MEMORYREGISTRATIONCACHECALLBACK,
    WSAID_NATIVE_STREAM,
    WSAID_RDMAREAD,
    WSAID_RDMAWRITE,
)
from wsdirect.spi.guid import GUID
from wsdirect.spi.overlapped import WSAOVERLAPPED
from wsdirect.spi.structures import FLOWSPEC, NULL_GUID, QOS
from wsdirect.testing import expect
from wsdirect.testing.conformance.calls import bad_descriptors
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver
from wsdirect.testing.faults import Fault

_E = WsaErrorCode
_POINTER = 8
_LIST = 8  # bytes before the entries of a SOCKET_ADDRESS_LIST
_ENTRY = 16 + 16  # a SOCKET_ADDRESS and its sockaddr_in


def _query(driver: Driver, s: int, **more: Any) -> list[tuple[str, int]]:
    return list(expect.succeeds(driver.provider.WSPIoctl, s, SIO_ADDRESS_LIST_QUERY, **more))


def _extension(driver: Driver, guid: Any, s: int = INVALID_SOCKET, **more: Any) -> Any:
    return driver.provider.WSPIoctl(s, SIO_GET_EXTENSION_FUNCTION_POINTER, guid, **more)


_extension.__name__ = "WSPIoctl"  # in messages


# --- extension functions ------------------------------------------------------------------------


@check("R-074")
def the_required_functions(driver: Driver) -> None:
    s = driver.socket()
    found = [expect.succeeds(_extension, driver, guid, s) for guid in REQUIRED_EXTENSIONS]
    expect.true("functions", all(callable(function) for function in found), f"{found}")
    different = len({getattr(function, "__func__", function) for function in found})
    expect.equal("the number of different functions", different, len(found))


def _optional(driver: Driver, guid: GUID) -> None:
    s = driver.socket()
    try:
        function = _extension(driver, guid, s)
    except WSAError as error:
        expect.one_of("the code", error.winerror, (_E.WSAEOPNOTSUPP,))
    else:
        expect.true("a function", callable(function), f"it is {function!r}")


@check("R-075")
def reading_is_optional(driver: Driver) -> None:
    _optional(driver, WSAID_RDMAREAD)


@check("R-075")
def reading_can_be_missing(driver: Driver) -> None:
    with driver.fault(Fault.NO_RDMA_READ):
        expect.error(_E.WSAEOPNOTSUPP, _extension, driver, WSAID_RDMAREAD)
        for guid in REQUIRED_EXTENSIONS:
            expect.succeeds(_extension, driver, guid)


@check("R-076")
def the_cache_callback_is_optional(driver: Driver) -> None:
    _optional(driver, WSAID_MEMORYREGISTRATIONCACHECALLBACK)


@check("R-077")
def writing_is_writing_and_reading_reading(driver: Driver) -> None:
    c, s = driver.pair()
    for guid, wanted in ((WSAID_RDMAWRITE, b"local"), (WSAID_RDMAREAD, b"there")):
        descriptor, remote = driver.expose(s, bytearray(b"there"))
        local = driver.register(c, bytearray(b"local"))
        try:
            function = _extension(driver, guid)
        except WSAError:
            continue  # reading is optional
        overlapped = WSAOVERLAPPED(None, True)
        expect.pending(function, c, [local.wsabufex()], descriptor, 0, 0, overlapped)
        expect.equal("the result", driver.finish(c, overlapped), (0, 5))
        expect.equal("what is on both sides", (bytes(local), bytes(remote)), (wanted, wanted))


@check("R-078")
def functions_that_do_not_exist(driver: Driver) -> None:
    unknown = (_E.WSAEOPNOTSUPP, _E.WSAEINVAL)
    for guid in (GUID("C0B422FB-F58C-11D1-AD6C-00C04FA34A2D"), NULL_GUID,
                 GUID("B5367DF1-CBAC-11CF-95CA-00805F48A192")):  # AcceptEx  # fmt: skip
        for s in (driver.socket(), INVALID_SOCKET):
            expect.error(unknown, _extension, driver, guid, s)


@check("R-079")
def buffers_that_are_too_small(driver: Driver) -> None:
    s = driver.socket()
    guid = REQUIRED_EXTENSIONS[0]
    for size in (0, 1, _POINTER - 1):
        expect.error(_E.WSAEFAULT, _extension, driver, guid, s, out_size=size)
    for wrong in (b"", guid.bytes_le[:15], None):
        expect.error(_E.WSAEFAULT, _extension, driver, wrong, s)


@check("R-080")
def a_function_takes_eight_bytes(driver: Driver) -> None:
    s = driver.socket()
    for guid in REQUIRED_EXTENSIONS:
        expect.succeeds(_extension, driver, guid, s, out_size=_POINTER)
        error = expect.error(_E.WSAEFAULT, _extension, driver, guid, s, out_size=_POINTER - 1)
        expect.one_of("the size that is needed", error.required or _POINTER, (_POINTER,))


@check("T-04")
def functions_whatever_the_socket(driver: Driver) -> None:
    s = driver.socket()
    for guid in EXTENSION_FUNCTIONS:
        if guid == WSAID_NATIVE_STREAM:
            continue
        answer = expect.code(_extension, driver, guid, s)
        for wrong in bad_descriptors(driver):
            code = expect.code(_extension, driver, guid, wrong, out_size=_POINTER)
            expect.equal(f"the answer for {EXTENSION_FUNCTIONS[guid]}", code, answer)


# --- addresses ----------------------------------------------------------------------------------


@check("R-081")
def the_addresses_are_the_providers(driver: Driver) -> None:
    s = driver.socket()
    listed = _query(driver, s)
    expect.true("an address", listed, "the list is empty")
    expect.equal("the number of different addresses", len(set(listed)), len(listed))
    for host, port in listed:
        expect.equal("the port", port, 0)
        number = struct.unpack("!I", socket.inet_aton(host))[0]
        usable = 0 < number >> 24 < 224  # neither a wildcard nor for groups
        expect.true("the address of one computer", usable, f"it is {host}")
        expect.equal("the usual form", socket.inet_ntoa(socket.inet_aton(host)), host)
        driver.bound(host=host)
    for state in (driver.bound(), driver.listener()[0], *driver.pair()):
        expect.equal("the list on another socket", sorted(_query(driver, state)), sorted(listed))


@check("R-081", "R-082")
def addresses_come_and_go(driver: Driver) -> None:
    s = driver.socket()
    before = _query(driver, s)
    with driver.fault(Fault.ADDRESSES):
        now = sorted(host for host, _ in _query(driver, s))
        expect.equal("the addresses", now, ["127.0.0.2", "127.0.0.3"])
    expect.equal("the addresses afterwards", _query(driver, s), before)


@check("T-46")
def no_adapter_at_all(driver: Driver) -> None:
    s = driver.socket()
    before = _query(driver, s)
    with driver.fault(Fault.NO_ADDRESSES):
        expect.equal("the addresses", _query(driver, s), [])
        expect.equal("the addresses in a small buffer", _query(driver, s, out_size=_LIST), [])
    expect.equal("the addresses afterwards", _query(driver, s), before)


_CLONE_NEWNET, _CLONE_NEWUSER = 0x4000_0000, 0x1000_0000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFADDR, _UP = 0x8913, 0x8914, 0x8916, 1


def _own_network() -> None:
    """Move this process into a network namespace without any address."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) and libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
        raise expect.NotApplicable("this process may not have a network of its own")


def _interface(asker: socket.socket, name: bytes, up: bool) -> None:
    given = struct.pack("16sH22x", name, 0)
    (flags,) = struct.unpack_from("H", fcntl.ioctl(asker, _SIOCGIFFLAGS, given), 16)
    flags = flags | _UP if up else flags & ~_UP
    fcntl.ioctl(asker, _SIOCSIFFLAGS, struct.pack("16sH22x", name, flags))


def _address(asker: socket.socket, name: bytes, host: str) -> None:
    given = struct.pack("16sHH4s16x", name, socket.AF_INET, 0, socket.inet_aton(host))
    fcntl.ioctl(asker, _SIOCSIFADDR, given)


@check("R-082", "T-46", start=False)
def addresses_of_the_system_come_and_go(driver: Driver) -> None:
    _own_network()
    driver.start()
    s = driver.socket()
    if _query(driver, s):
        raise expect.NotApplicable("the provider's addresses are not those of the system")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        try:
            _interface(asker, b"lo", up=True)
        except OSError as error:
            raise expect.NotApplicable(f"no addresses can be made: {error}") from None

        def shown(*hosts: str) -> None:
            expect.equal("the addresses", sorted(host for host, _ in _query(driver, s)),
                         sorted(hosts))  # fmt: skip

        shown("127.0.0.1")
        _address(asker, b"lo:1", "10.1.2.3")
        shown("10.1.2.3", "127.0.0.1")
        driver.bound(host="10.1.2.3")
        _interface(asker, b"lo:1", up=False)
        shown("127.0.0.1")


@check("R-083")
def a_small_buffer_for_the_list(driver: Driver) -> None:
    s = driver.socket()
    listed = _query(driver, s)
    least = _LIST + _ENTRY * len(listed)
    for size in (0, 4, _LIST, least - 1):
        error = expect.error(
            _E.WSAEFAULT, driver.provider.WSPIoctl, s, SIO_ADDRESS_LIST_QUERY, out_size=size
        )
        needed = error.required
        expect.true("the size that is needed", needed is not None, "the error does not tell it")
        expect.true(f"at least {least} bytes", (needed or 0) >= least, f"it says {needed}")
        expect.equal("the list with that", _query(driver, s, out_size=needed), listed)


@check("R-084")
def the_list_is_the_callers(driver: Driver) -> None:
    s = driver.socket()
    first = driver.provider.WSPIoctl(s, SIO_ADDRESS_LIST_QUERY)
    kept = list(first)
    first.clear()
    expect.equal("the next list", _query(driver, s), kept)


# --- quality of service, completion routines, and the rest --------------------------------------


@check("R-085")
def control_codes_for_quality_of_service(driver: Driver) -> None:
    if not driver.provider.protocol_info.dwServiceFlags1 & XP1_QOS_SUPPORTED:
        raise expect.NotApplicable("the provider has no quality of service")
    call = driver.provider.WSPIoctl
    for s in driver.pair():
        expect.true("a QOS", isinstance(expect.succeeds(call, s, SIO_GET_QOS), QOS))
        wanted = QOS(FLOWSPEC(TokenRate=1_000_000), FLOWSPEC(TokenRate=2_000_000))
        expect.succeeds(call, s, SIO_SET_QOS, wanted)
        now = expect.succeeds(call, s, SIO_GET_QOS)
        expect.equal("the rate", now.SendingFlowspec.TokenRate, 1_000_000)
        # a socket that is in no group has no quality of service of a group
        outcomes = (0, _E.WSAEINVAL)
        for code, argument in ((SIO_GET_GROUP_QOS, b""), (SIO_SET_GROUP_QOS, wanted)):
            expect.one_of(
                "the outcome for the group", expect.code(call, s, code, argument), outcomes
            )


@check("R-086")
def a_completion_routine_runs_in_its_thread(driver: Driver) -> None:
    s = driver.socket()
    called: list[tuple[int, Any, Any, int]] = []
    threads: list[int] = []

    def routine(error: int, result: Any, overlapped: Any, flags: int) -> None:
        called.append((error, result, overlapped, flags))
        threads.append(threading.get_ident())

    overlapped = WSAOVERLAPPED()
    me = threading.get_ident()
    listed = _query(driver, s)
    # called by another thread than the one that the routine is for
    expect.promptly(
        expect.succeeds,
        driver.provider.WSPIoctl,
        s,
        SIO_ADDRESS_LIST_QUERY,
        overlapped=overlapped,
        completion_routine=routine,
        thread_id=me,
    )
    expect.true("the routine not to run by itself", not called, "it did")
    expect.eventually(
        "WPUQueueApc to be called", lambda: "WPUQueueApc" in driver.switch.names(), "it was not"
    )
    expect.eventually("the routine to wait for this thread", driver.switch.run_apcs)
    expect.equal("the calls of the routine", len(called), 1)
    error, result, record, _ = called[0]
    expect.equal("the error", error, 0)
    expect.true("the record of the request", record is overlapped, f"it is {record!r}")
    if isinstance(result, list):
        expect.equal("the result", result, listed)
    expect.equal("the thread", threads, [me])


@check("R-087")
def codes_that_do_not_exist(driver: Driver) -> None:
    unknown = (_E.WSAEINVAL, _E.WSAEOPNOTSUPP)
    for s in (driver.socket(), *driver.pair()):
        for code in (0, 0x1234_5678, 0x8004_667E, 0xFFFF_FFFF):  # 0x8004667E: FIONBIO
            expect.error(unknown, driver.provider.WSPIoctl, s, code)
    for s in bad_descriptors(driver):
        for code in (SIO_ADDRESS_LIST_QUERY, SIO_GET_QOS, SIO_ADDRESS_LIST_CHANGE):
            expect.error(_E.WSAENOTSOCK, driver.provider.WSPIoctl, s, code)
