"""WSPStartupEx and WSPCleanup: rules R-008 to R-033."""

from __future__ import annotations

import gc
import unicodedata
from collections.abc import Callable
from typing import Any

from wsdirect.spi.constants import AF_INET, IPPROTO_TCP, SOCK_STREAM, WINSOCK_VERSION
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.overlapped import WSAOVERLAPPED
from wsdirect.spi.structures import WSPDATA, make_version
from wsdirect.spi.upcalls import UpcallTable
from wsdirect.testing import expect
from wsdirect.testing.conformance.calls import calls, other_calls
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import TCPIP_INFO, Driver, resources
from wsdirect.testing.faults import Fault
from wsdirect.testing.processes import Child, Link

_E = WsaErrorCode
_UPCALLS = frozenset(name for name in vars(UpcallTable) if name.startswith("WPU"))


class _Relay:
    """An upcall table that is nothing but the sixteen functions: another table's, written down."""

    def __init__(self, target: UpcallTable) -> None:
        self.used: list[str] = []
        self._target = target

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in _UPCALLS:
            raise AttributeError(f"an upcall table has no {name}")
        self.used.append(name)
        found: Callable[..., Any] = getattr(self._target, name)
        return found


def _start(driver: Driver, version: int = WINSOCK_VERSION, table: Any = None) -> WSPDATA:
    """WSPStartupEx without the driver's count of starts."""
    return driver.provider.WSPStartupEx(version, TCPIP_INFO, table or driver.switch)


_start.__name__ = "WSPStartupEx"  # in messages


def _running(driver: Driver) -> bool:
    """Whether the provider is started: whether it makes sockets."""
    try:
        s = driver.provider.WSPSocket(AF_INET, SOCK_STREAM, IPPROTO_TCP)
    except WSAError:
        return False
    driver.provider.WSPCloseSocket(s)
    return True


def _not_running(driver: Driver) -> None:
    expect.error(_E.WSANOTINITIALISED, driver.provider.WSPCleanup)


# --- starting -----------------------------------------------------------------------------------


@check("R-009")
def the_functions_are_there(driver: Driver) -> None:
    provider = driver.provider
    for name, call in calls(driver).items():
        code = expect.code(call, -1)
        allowed = code != 0 and (code != _E.WSAEOPNOTSUPP or name == "WSPGetQOSByName")
        expect.true(f"{name} to do something", allowed, f"it answers {expect.name(code)}")
    for name in ("WSPStartupEx", "WSPCleanup", "WSPSocket", "WSPCloseSocket"):
        expect.true(f"{name} to be there", callable(getattr(provider, name, None)))


@check("R-010", "R-018", start=False)
def the_answer_to_a_start(driver: Driver) -> None:
    answer = expect.succeeds(_start, driver)
    expect.true("a WSPDATA", isinstance(answer, WSPDATA), f"it is {answer!r}")
    expect.equal("the version to use", answer.wVersion, make_version(2, 2))
    driver.provider.WSPCleanup()
    failure = expect.error(_E.WSAVERNOTSUPPORTED, _start, driver, make_version(0, 0))
    expect.equal("the code", failure.winerror, int(_E.WSAVERNOTSUPPORTED))


@check("R-011", "R-024", start=False)
def sixteen_upcalls_and_no_more(driver: Driver) -> None:
    table = _Relay(driver.switch)
    expect.succeeds(_start, driver, table=table)
    c, s = driver.pair()
    received, _ = driver.recv(s, polled=False)
    sent = driver.send(c, b"told", polled=False)
    expect.equal("the result of the send", driver.announced(sent)[1:], (0, 4))
    expect.equal("the result of the receive", driver.announced(received)[1:], (0, 4))
    for wanted in ("WPUCreateSocketHandle", "WPUCompleteOverlappedRequest"):
        expect.true(f"the table's {wanted} to be called", wanted in table.used)
    expect.succeeds(driver.provider.WSPCleanup)
    expect.true(
        "the table's WPUCloseSocketHandle to be called", "WPUCloseSocketHandle" in table.used
    )


@check("R-012", start=False)
def started_by_the_switch(driver: Driver) -> None:
    expect.true(
        "an own ProviderId",
        driver.provider.protocol_info.ProviderId != TCPIP_INFO.ProviderId,
        "it is that of TCP/IP",
    )
    driver.start()
    c, s = driver.pair()
    driver.alive(c, s)


@check("R-013", start=False)
def versions_that_are_too_old(driver: Driver) -> None:
    for major, minor in ((0, 0), (1, 0), (1, 1), (2, 0), (2, 1)):
        version = make_version(major, minor)
        try:
            answer = _start(driver, version)
        except WSAError as error:
            what = f"the code for version {major}.{minor}"
            expect.one_of(what, error.winerror, (_E.WSAVERNOTSUPPORTED,))
            _not_running(driver)
        else:
            expect.true("version 0.0 not to be served", major)
            expect.equal("the version to use", answer.wVersion, version)
            driver.provider.WSPCleanup()


@check("R-014", start=False)
def no_table(driver: Driver) -> None:
    wanted = (_E.WSAEFAULT, _E.WSAEINVAL)
    expect.error(wanted, driver.provider.WSPStartupEx, WINSOCK_VERSION, TCPIP_INFO, None)
    _not_running(driver)
    driver.start()


@check("R-015", "R-023", start=False)
def network_not_ready(driver: Driver) -> None:
    with driver.fault(Fault.NOT_READY):
        expect.error(_E.WSASYSNOTREADY, _start, driver)
    _not_running(driver)
    driver.start()


@check("R-016", "R-023", start=False)
def too_many_clients(driver: Driver) -> None:
    with driver.fault(Fault.CLIENT_LIMIT):
        expect.error(_E.WSAEPROCLIM, _start, driver)
    _not_running(driver)
    driver.start()


@check("R-017", start=False)
def low_byte_is_the_major_number(driver: Driver) -> None:
    answer = expect.succeeds(_start, driver, 0x0202)
    expect.equal("the version to use", answer.wVersion, 0x0202)
    expect.succeeds(driver.provider.WSPCleanup)
    # 0x0300 is version 0.3 and 0x0901 is 1.9, both older than Winsock 2
    expect.error(_E.WSAVERNOTSUPPORTED, _start, driver, 0x0300)
    try:
        answer = _start(driver, 0x0901)
    except WSAError as error:
        expect.one_of("the code for 1.9", error.winerror, (_E.WSAVERNOTSUPPORTED,))
    else:
        expect.true("a version below 2", answer.wVersion & 0xFF < 2, f"{answer.wVersion:#06x}")
        driver.provider.WSPCleanup()


@check("R-019", start=False)
def a_printable_description(driver: Driver) -> None:
    answer = expect.succeeds(_start, driver)
    text = answer.szDescription
    expect.true("a description", text, "it is empty")
    expect.true("at most 255 characters", len(text.encode("utf-16-le")) <= 510, f"{len(text)}")
    bad = [char for char in text if unicodedata.category(char).startswith(("C", "Zl", "Zp"))]
    expect.true("no control or formatting characters", not bad, f"there is {bad!r}")
    driver.provider.WSPCleanup()


@check("R-020", start=False)
def newer_versions_get_2_2(driver: Driver) -> None:
    for major, minor in ((2, 3), (3, 0), (9, 1), (255, 255)):
        answer = expect.succeeds(_start, driver, make_version(major, minor))
        expect.equal("the version to use", answer.wVersion, make_version(2, 2))
        expect.succeeds(driver.provider.WSPCleanup)


@check("R-021", "R-026", start=False)
def users_are_counted(driver: Driver) -> None:
    for _ in range(3):
        driver.start()
    c, s = driver.pair()
    driver.cleanup()
    driver.alive(c, s)
    driver.cleanup()
    driver.alive(c, s)
    driver.start()
    driver.cleanup()
    driver.alive(c, s)
    driver.cleanup()
    expect.eventually(
        "the last WSPCleanup to close all handles",
        lambda: not driver.switch.handles,
        lambda: f"{len(driver.switch.handles)} were open",
    )
    _not_running(driver)


@check("R-021")
def a_forked_process_counts_for_itself(driver: Driver) -> None:
    c, s = driver.pair()

    def forked(link: Link) -> None:
        with Driver(driver.subject) as other:
            other.alive(*other.pair())
        # and so does the provider that it has inherited
        while not expect.code(driver.provider.WSPCleanup):
            pass
        expect.succeeds(_start, driver)
        expect.succeeds(driver.provider.WSPCleanup)

    with Child(forked):
        pass
    driver.alive(c, s)


@check("R-022")
def the_latest_table_counts(driver: Driver) -> None:
    table = _Relay(driver.switch)
    expect.succeeds(_start, driver, table=table)
    before = len(driver.switch.made)
    driver.alive(*driver.pair())
    made = sum(name == "WPUCreateSocketHandle" for name, _, _ in driver.switch.made[before:])
    expect.equal("handles from the latest table", table.used.count("WPUCreateSocketHandle"), made)
    expect.true("handles to be made", made)
    expect.succeeds(driver.provider.WSPCleanup)


@check("R-023", start=False)
def a_failed_start_does_not_count(driver: Driver) -> None:
    old = make_version(0, 0)
    expect.error(_E.WSAVERNOTSUPPORTED, _start, driver, old)
    _not_running(driver)
    driver.start()
    expect.error(_E.WSAVERNOTSUPPORTED, _start, driver, old)
    expect.true("it to run still", _running(driver), "it makes no sockets")
    driver.cleanup()
    _not_running(driver)


@check("T-05", start=False)
def a_failed_start_blocks_nobody(driver: Driver) -> None:
    expect.error(_E.WSAVERNOTSUPPORTED, _start, driver, make_version(0, 0))
    expect.promptly(_not_running, driver)
    expect.promptly(driver.start)
    expect.error(_E.WSAVERNOTSUPPORTED, _start, driver, make_version(0, 0))
    expect.promptly(driver.start)
    driver.alive(*driver.pair())
    expect.promptly(driver.cleanup)
    expect.promptly(driver.cleanup)


@check("T-05", start=False)
def a_start_that_had_no_network_blocks_nobody(driver: Driver) -> None:
    with driver.fault(Fault.NOT_READY, Fault.CLIENT_LIMIT):
        expect.code(_start, driver)
    expect.promptly(driver.start)
    expect.promptly(driver.cleanup)


@check("R-025", start=False)
def a_direct_caller(driver: Driver) -> None:
    provider = driver.provider
    code = expect.code(
        provider.WSPStartupEx, WINSOCK_VERSION, provider.protocol_info, driver.switch
    )
    if code:
        _not_running(driver)
        return
    expect.true("sockets", _running(driver), "it makes none")
    expect.succeeds(provider.WSPCleanup)


# --- ending -------------------------------------------------------------------------------------


@check("R-027", start=False)
def cleanup_without_a_start(driver: Driver) -> None:
    _not_running(driver)
    driver.start()
    driver.cleanup()
    _not_running(driver)
    _not_running(driver)


@check("R-028", start=False)
def cleanup_is_never_invalid(driver: Driver) -> None:
    codes = [expect.code(driver.provider.WSPCleanup)]
    expect.succeeds(_start, driver)
    driver.pair()
    driver.listener()
    expect.succeeds(_start, driver)
    codes += [expect.code(driver.provider.WSPCleanup) for _ in range(4)]
    for code in codes:
        expect.true("no WSAEINVAL", code != _E.WSAEINVAL, "WSPCleanup failed with it")
    expect.equal("the successes", codes.count(0), 2)


def _left_over(driver: Driver) -> tuple[list[WSAOVERLAPPED], list[WSAOVERLAPPED]]:
    """Connections with pending receives, and other sockets: the notified and polled requests."""
    notified, polled = [], []
    for _ in range(2):
        for s in driver.pair():
            for _ in range(3):
                notified.append(driver.recv(s, polled=False)[0])
                polled.append(driver.recv(s, polled=True)[0])
    driver.socket()
    driver.bound()
    _, port = driver.listener()
    driver.connecting(port)  # stays in the queue
    return notified, polled


@check("R-029", "T-06")
def cleanup_ends_everything_once(driver: Driver) -> None:
    notified, polled = _left_over(driver)
    handles = driver.switch.handles
    driver.cleanup()
    for overlapped in notified:
        driver.announced(overlapped)
        told = len(driver.switch.completions(overlapped))
        expect.equal("the upcalls for a notified request", told, 1)
    for overlapped in polled:
        expect.eventually("a polled request to end", lambda o=overlapped: not o.in_progress)  # type: ignore[misc]
        told = len(driver.switch.completions(overlapped))
        expect.equal("the upcalls for a polled request", told, 0)
    expect.eventually("all handles to be closed", lambda: not driver.switch.handles)
    for handle in handles:
        expect.equal("the upcalls that close a handle", driver.switch.closed(handle), 1)


@check("R-030")
def cleanup_aborts(driver: Driver) -> None:
    requests = [[driver.recv(s, polled=polled)[0] for polled in (False, True)]
                for s in driver.pair()]  # fmt: skip
    driver.cleanup()
    ended = [[driver.recorded(overlapped)[0] for overlapped in pair] for pair in requests]
    for code in (code for codes in ended for code in codes):
        # the socket that is closed second may have seen the first one's reset
        expect.one_of("the result", code, (_E.WSA_OPERATION_ABORTED, _E.WSAECONNRESET))
    aborted = any(set(codes) == {_E.WSA_OPERATION_ABORTED} for codes in ended)
    expect.true("a socket whose requests were aborted", aborted, f"the results are {ended}")


@check("R-030", start=False)
def cleanup_aborts_while_the_peer_lives(driver: Driver) -> None:
    driver.subject.two_processes()
    port = driver.port()

    def peer(link: Link) -> None:
        with Driver(driver.subject) as other:
            listener, _ = other.listener(port=port)
            link.put("listening")
            s = other.accept(listener)
            received, _ = other.recv(s)
            link.put("accepted")
            link.get()
            code, _ = other.finish(s, received)
            expect.one_of("the peer's result", code, (_E.WSAECONNRESET,))

    with Child(peer) as child:
        child.link.get()
        driver.start()
        c, outcome = driver.connect(port)
        expect.equal("the outcome of the connect", outcome, 0)
        child.link.get()
        requests = [driver.recv(c, polled=polled)[0] for polled in (False, True)]
        driver.cleanup()
        for overlapped in requests:
            code, _ = driver.recorded(overlapped)
            expect.one_of("the result", code, (_E.WSA_OPERATION_ABORTED,))
        child.link.put("look")


def _held() -> tuple[int, int, int]:
    """Descriptors, threads and shared mappings of this process."""
    gc.collect()  # events close with the last reference
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        shared = sum(line.split(None, 2)[1].endswith("s") for line in maps)
    return (*resources(), shared)


@check("R-031", start=False)
def cleanup_gives_everything_back(driver: Driver) -> None:
    def cycle() -> None:
        driver.start()
        requests = _left_over(driver)
        driver.cleanup()
        for overlapped in (*requests[0], *requests[1]):
            driver.recorded(overlapped)
        driver.release_ports()

    _, threads, _ = _held()
    cycle()
    descriptors, _, shared = _held()  # with what is loaded once and for all
    before = (descriptors, threads, shared)
    for _ in range(3):
        cycle()
    expect.eventually(
        f"descriptors, threads and shared mappings to be {before}",
        lambda: all(now <= then for now, then in zip(_held(), before, strict=True)),
        lambda: f"they were {_held()}",
    )


@check("R-032", start=False)
def starts_again(driver: Driver) -> None:
    for _ in range(3):
        driver.start()
        driver.alive(*driver.pair())
        driver.cleanup()


@check("R-033")
def never_in_progress(driver: Driver) -> None:
    listener, port = driver.listener()
    connecting, _, _ = driver.connecting(port)
    c, s = driver.pair()
    broken, peer = driver.pair()
    driver.provider.WSPCloseSocket(peer)
    sockets = (driver.socket(), driver.bound(), connecting, c, s, broken, -1)
    for name, call in {**calls(driver), **other_calls(driver)}.items():
        for descriptor in sockets:
            code = expect.promptly(expect.code, call, descriptor)
            expect.true(f"{name} not to answer WSAEINPROGRESS", code != _E.WSAEINPROGRESS)
    for descriptor in (*sockets, listener):
        code = expect.promptly(expect.code, driver.provider.WSPCloseSocket, descriptor)
        expect.true("WSPCloseSocket not to answer WSAEINPROGRESS", code != _E.WSAEINPROGRESS)
