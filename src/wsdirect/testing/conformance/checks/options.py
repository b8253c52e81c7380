"""WSPGetSockOpt and WSPSetSockOpt: rules R-059 to R-073."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wsdirect.spi.constants import (
    FD_ACCEPT,
    IPPROTO_TCP,
    MEM_READ,
    MEM_WRITE,
    SO_DEBUG,
    SO_GROUP_ID,
    SO_GROUP_PRIORITY,
    SO_MAX_MSG_SIZE,
    SO_MAX_RDMA_SIZE,
    SO_RDMA_THRESHOLD_SIZE,
    SOL_SOCKET,
    TCP_NODELAY,
    XP1_QOS_SUPPORTED,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.overlapped import Event
from wsdirect.testing import expect
from wsdirect.testing.conformance.calls import bad_descriptors
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver
from wsdirect.testing.faults import Fault

_E = WsaErrorCode
_SETTABLE = ((SOL_SOCKET, SO_DEBUG), (IPPROTO_TCP, TCP_NODELAY), (SOL_SOCKET, SO_GROUP_PRIORITY))
_SIZES = (SO_MAX_MSG_SIZE, SO_MAX_RDMA_SIZE)
_LARGE = 16 << 20
"""Bytes of the longest message or transfer that is tried."""


def _get(driver: Driver, s: int, option: int, **more: Any) -> int:
    value = expect.succeeds(driver.provider.WSPGetSockOpt, s, SOL_SOCKET, option, **more)
    expect.true("a whole number", isinstance(value, int), f"it is {value!r}")
    expect.true("a value of four bytes", 0 <= value <= 0xFFFF_FFFF, f"it is {value}")
    return int(value)


def _supported(driver: Driver) -> list[tuple[int, int]]:
    """The options that can be set, and then be got again; NotApplicable if there are none."""
    s = driver.socket()
    found: list[tuple[int, int]] = []
    for level, option in _SETTABLE:
        code = expect.code(driver.provider.WSPSetSockOpt, s, level, option, 1)
        if code == 0:
            found.append((level, option))
        else:
            expect.one_of(
                f"the code for option {option:#x}", code, (_E.WSAENOPROTOOPT, _E.WSAEINVAL)
            )
    if not found:
        raise expect.NotApplicable("no option can be set")
    return found


def _states(driver: Driver) -> dict[str, int]:
    """A socket in each state."""
    listener, port = driver.listener()
    connecting, _, _ = driver.connecting(port)
    c, s = driver.pair()
    return {
        "new": driver.socket(),
        "bound": driver.bound(),
        "listening": listener,
        "connecting": connecting,
        "connected": c,
        "accepted": s,
    }


@check("R-059")
def options_between_bind_and_connect(driver: Driver) -> None:
    supported = _supported(driver)
    call = driver.provider.WSPSetSockOpt
    listener, c = driver.bound(port := driver.port()), driver.bound()
    for s in (listener, c):
        for level, option in supported:
            expect.succeeds(call, s, level, option, 1)
    expect.succeeds(driver.provider.WSPListen, listener, 4)
    expect.succeeds(driver.provider.WSPEventSelect, listener, Event(), FD_ACCEPT)
    c, event, outcome = driver.connecting(port, s=c)
    s = driver.accept(listener)
    expect.equal("the outcome of the connect", driver.connected(c, event, outcome), 0)
    driver.alive(c, s)


@check("R-060")
def options_that_do_not_exist(driver: Driver) -> None:
    get, put = driver.provider.WSPGetSockOpt, driver.provider.WSPSetSockOpt
    for state, s in _states(driver).items():
        for option in (0x7777, 0x1234_5678, -1):
            expect.error(_E.WSAENOPROTOOPT, get, s, SOL_SOCKET, option)
            expect.error(_E.WSAENOPROTOOPT, put, s, SOL_SOCKET, option, 1)
        # whether there are options of TCP at all is left open
        unknown = (_E.WSAENOPROTOOPT, _E.WSAEINVAL)
        expect.one_of(f"the code on a {state} socket",
                      expect.code(put, s, IPPROTO_TCP, 0x7777, 1), unknown)  # fmt: skip
    for option in (*_SIZES, SO_RDMA_THRESHOLD_SIZE):  # only to be got
        code = expect.code(put, driver.socket(), SOL_SOCKET, option, 4096)
        expect.one_of("the code for setting what can be got only", code, unknown)


@check("R-061")
def levels_that_do_not_exist(driver: Driver) -> None:
    for s in (driver.socket(), *driver.pair()):
        for level in (0x1234, 0x7FFF_FFFF, -1):
            for option in (SO_MAX_MSG_SIZE, 0x7777):
                expect.error(_E.WSAEINVAL, driver.provider.WSPGetSockOpt, s, level, option)
                expect.error(_E.WSAEINVAL, driver.provider.WSPSetSockOpt, s, level, option, 1)


@check("R-062")
def too_little_room(driver: Driver) -> None:
    s = driver.socket()
    for option in _SIZES:
        for size in range(4):
            expect.error(_E.WSAEFAULT, driver.provider.WSPGetSockOpt, s, SOL_SOCKET, option, size)
        _get(driver, s, option, size=4)


@check("R-063")
def values_that_are_too_short(driver: Driver) -> None:
    supported = _supported(driver)
    s = driver.socket()
    for level, option in supported:
        for wrong in (b"", b"\1", b"\1\0\0", None, object()):
            expect.error(_E.WSAEFAULT, driver.provider.WSPSetSockOpt, s, level, option, wrong)
        value = (1).to_bytes(4, "little")
        expect.succeeds(driver.provider.WSPSetSockOpt, s, level, option, value)


@check("R-063")
def priorities_that_do_not_exist(driver: Driver) -> None:
    if (SOL_SOCKET, SO_GROUP_PRIORITY) not in _supported(driver):
        raise expect.NotApplicable("there are no priorities")
    wrong = (_E.WSAEINVAL, _E.WSAEFAULT)
    call = driver.provider.WSPSetSockOpt
    expect.error(wrong, call, driver.socket(), SOL_SOCKET, SO_GROUP_PRIORITY, 2**40)


@check("R-064")
def options_of_a_reset_connection(driver: Driver) -> None:
    supported = _supported(driver)
    c, s = driver.pair()
    received, _ = driver.recv(c)
    driver.provider.WSPCloseSocket(s)
    expect.equal("the result of the receive", driver.finish(c, received)[0],
                 int(_E.WSAECONNRESET))  # fmt: skip
    for level, option in supported:
        expect.error(_E.WSAENOTCONN, driver.provider.WSPSetSockOpt, c, level, option, 1)


@check("R-064")
def options_after_a_failure_of_keep_alive(driver: Driver) -> None:
    supported = _supported(driver)
    c, _ = driver.pair()
    with driver.fault(Fault.KEEPALIVE):
        for level, option in supported:
            expect.error(_E.WSAENETRESET, driver.provider.WSPSetSockOpt, c, level, option, 1)


@check("R-065")
def options_of_what_is_no_socket(driver: Driver) -> None:
    for s in bad_descriptors(driver):
        for level, option in ((SOL_SOCKET, SO_MAX_MSG_SIZE), (0x1234, 0x7777)):
            expect.error(_E.WSAENOTSOCK, driver.provider.WSPGetSockOpt, s, level, option)
            expect.error(_E.WSAENOTSOCK, driver.provider.WSPSetSockOpt, s, level, option, 1)


def _size_in_every_state(driver: Driver, option: int) -> None:
    for state, s in _states(driver).items():
        size = _get(driver, s, option)
        expect.true(f"a size on a {state} socket", size > 0, "it is 0")


@check("R-066")
def longest_message(driver: Driver) -> None:
    _size_in_every_state(driver, SO_MAX_MSG_SIZE)


@check("R-067")
def longest_rdma_transfer(driver: Driver) -> None:
    _size_in_every_state(driver, SO_MAX_RDMA_SIZE)


@check("R-068")
def preferred_threshold(driver: Driver) -> None:
    c, s = driver.pair()
    call = driver.provider.WSPGetSockOpt
    code = expect.code(call, c, SOL_SOCKET, SO_RDMA_THRESHOLD_SIZE)
    if code:
        expect.one_of("the code", code, (_E.WSAENOPROTOOPT,))
        raise expect.NotApplicable("the provider has no preference")
    threshold = _get(driver, c, SO_RDMA_THRESHOLD_SIZE)
    # the switch may use messages above it and RDMA below
    above = min(threshold + 1, driver.message_limit(c), _LARGE)
    expect.equal("the message", driver.transfer(c, s, b"m" * above), b"m" * above)
    below = min(max(threshold, 1), driver.rdma_limit(c), 64)
    descriptor, target = driver.expose(s, below, MEM_WRITE)
    local = driver.register(c, bytearray(b"r" * below), MEM_READ)
    written = driver.write(c, [local.wsabufex()], descriptor)
    expect.equal("the result of the write", driver.finish(c, written), (0, below))
    expect.equal("the memory", bytes(target), b"r" * below)


def _pattern(size: int) -> bytes:
    block = bytes(range(251))
    return (block * (size // len(block) + 1))[:size]


@check("R-069")
def the_longest_message_arrives(driver: Driver) -> None:
    c, s = driver.pair()
    size = min(driver.message_limit(c), _LARGE)
    for source, target in ((c, s), (s, c)):
        received, view = driver.recv(target, size)
        data = driver.register(source, bytearray(_pattern(size)), MEM_READ)
        sent = driver.send(source, data.view)
        expect.equal("the result of the receive", driver.finish(target, received), (0, size))
        expect.equal("the result of the send", driver.finish(source, sent), (0, size))
        expect.true("the same bytes", view == data.view, "they are others")


@check("R-070")
def the_longest_rdma_transfers_arrive(driver: Driver) -> None:
    c, s = driver.pair()
    size = min(driver.rdma_limit(c), _LARGE)
    remote, target = driver.expose(s, size)
    local = driver.register(c, bytearray(_pattern(size)))
    written = driver.write(c, [local.wsabufex()], remote)
    expect.equal("the result of the write", driver.finish(c, written), (0, size))
    expect.true("the same bytes", target == local.view, "they are others")
    target[:] = bytes(reversed(target))
    try:
        read = driver.read(c, [local.wsabufex()], remote)
    except expect.NotApplicable:
        return
    expect.equal("the result of the read", driver.finish(c, read), (0, size))
    expect.true("the same bytes", target == local.view, "they are others")


@check("R-071")
def options_for_groups(driver: Driver) -> None:
    if not driver.provider.protocol_info.dwServiceFlags1 & XP1_QOS_SUPPORTED:
        raise expect.NotApplicable("the provider has no quality of service")
    s = driver.socket()
    _get(driver, s, SO_GROUP_ID)
    _get(driver, s, SO_GROUP_PRIORITY)
    for priority in (3, 0):
        expect.succeeds(driver.provider.WSPSetSockOpt, s, SOL_SOCKET, SO_GROUP_PRIORITY, priority)
        expect.equal("the priority", _get(driver, s, SO_GROUP_PRIORITY), priority)


@check("R-072")
def debugging(driver: Driver) -> None:
    s = driver.socket()
    get: Callable[[], Any] = lambda: driver.provider.WSPGetSockOpt(s, SOL_SOCKET, SO_DEBUG)  # noqa: E731
    try:
        before = get()
    except WSAError as error:
        expect.one_of("the code", error.winerror, (_E.WSAENOPROTOOPT,))
        raise expect.NotApplicable("SO_DEBUG is not supported") from None
    expect.true("no debugging at first", not before, f"it is {before}")
    for value in (1, 0):
        expect.succeeds(driver.provider.WSPSetSockOpt, s, SOL_SOCKET, SO_DEBUG, value)
        expect.equal("SO_DEBUG", bool(get()), bool(value))


@check("R-073")
def more_room_than_needed(driver: Driver) -> None:
    s = driver.socket()
    for option in _SIZES:
        value = _get(driver, s, option)
        for size in (4, 8, 100):
            expect.equal("the value", _get(driver, s, option, size=size), value)
