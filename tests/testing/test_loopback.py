"""The reference provider: what it promises beyond the contract, and what only it can show."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from tests.testing.mutants import MUTANTS
from wsdirect.spi.constants import (
    MEM_READ,
    MEM_READWRITE,
    MEM_WRITE,
    SERVICETYPE_CONTROLLEDLOAD,
    SG_CONSTRAINED_GROUP,
    SIO_ADDRESS_LIST_QUERY,
    SIO_GET_QOS,
    SO_GROUP_ID,
    SOL_SOCKET,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.overlapped import WSAOVERLAPPED
from wsdirect.spi.structures import FLOWSPEC, QOS, AcceptRequest
from wsdirect.testing import Fault, Subject, run
from wsdirect.testing.driver import Driver
from wsdirect.testing.loopback import LoopbackProvider
from wsdirect.testing.loopback.engine import Engine
from wsdirect.testing.loopback.limits import EARLY_MAX, REQUESTS_MAX
from wsdirect.testing.loopback.memory import address_of

E = WsaErrorCode


@pytest.fixture
def driver() -> Iterator[Driver]:
    with Driver(Subject.load("loopback")) as driver:
        yield driver


def workers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "wsdirect-loopback"]


def test_it_follows_every_rule() -> None:
    report = run(Subject.load("loopback"), jobs=4)
    assert {result.rule.id: result.detail for result in report.failed()} == {}
    passed = {result.rule.id for result in report.rules if result.outcome == "passed"}
    assert passed >= {rule for mutant in MUTANTS for rule in mutant.rules}
    # The others are about other processes, or about what there is in C only.
    assert len(passed) > 300


def test_it_says_that_it_is_one_process() -> None:
    assert Subject.load("loopback").one_process == LoopbackProvider.one_process


# --- the queue of actions -------------------------------------------------------------------------


def test_polling_alone_makes_progress(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    c, s = driver.pair()
    monkeypatch.setattr(Engine, "_wake", lambda self: None)  # the thread sleeps on
    assert driver.transfer(c, s, b"polled") == b"polled"


def test_what_is_held_does_not_move(driver: Driver) -> None:
    c, s = driver.pair()
    received, view = driver.recv(s)
    with driver.fault(Fault.DELAY):
        sent = driver.send(c, b"later")
        for _ in range(10):
            assert driver.poll(c, sent) is None
            assert driver.poll(s, received) is None
    assert driver.finish(s, received) == (0, 5)
    assert driver.finish(c, sent) == (0, 5)
    assert bytes(view[:5]) == b"later"


def test_a_close_does_not_wait_for_what_is_held(driver: Driver) -> None:
    c, s = driver.pair()
    received, _ = driver.recv(s)
    with driver.fault(Fault.DELAY):
        sent = driver.send(c, b"never", polled=False)
        driver.provider.WSPCloseSocket(c)
        assert driver.announced(sent)[1:] == (E.WSA_OPERATION_ABORTED, 0)
        assert driver.finish(s, received) == (E.WSAECONNRESET, 0)


def test_announcements_come_in_one_order() -> None:
    """The same steps give the same announcements in the same order, every time."""

    def once() -> list[tuple[int, int, int]]:
        with Driver(Subject.load("loopback")) as driver:
            pairs = [driver.pair() for _ in range(3)]
            requests: list[WSAOVERLAPPED] = []
            with driver.fault(Fault.DELAY):
                for number, (c, s) in enumerate(pairs):
                    requests += [driver.recv(s, polled=False)[0] for _ in range(2)]
                    requests.append(driver.send(c, bytes(number + 1), polled=False))
            for number in range(3):
                driver.announced(requests[3 * number])
                driver.announced(requests[3 * number + 2])
            return [
                (requests.index(arguments[1]), arguments[2], arguments[3])
                for name, arguments, _ in driver.switch.made
                if name == "WPUCompleteOverlappedRequest"
            ]

    first = once()
    assert [number for number, _, _ in first] == [0, 2, 3, 5, 6, 8]
    assert all(once() == first for _ in range(5))


def test_the_thread_is_there_when_it_is_needed() -> None:
    before = len(workers())
    driver = Driver(Subject.load("loopback"))
    driver.socket()
    assert len(workers()) == before
    c, s = driver.pair()
    assert len(workers()) == before + 1
    driver.alive(c, s)
    driver.close()
    assert len(workers()) == before


def test_the_last_cleanup_from_within_an_announcement() -> None:
    driver = Driver(Subject.load("loopback"))
    c, s = driver.pair()
    done = threading.Event()

    def cleanup(*_: object) -> None:
        driver.switch.on_completion = None
        driver.cleanup()
        done.set()

    driver.switch.on_completion = cleanup
    driver.recv(s, polled=False)
    driver.send(c, b"x")
    assert done.wait(10)
    driver.close()
    for worker in workers():
        worker.join(10)
    assert not workers()


def test_the_last_cleanup_does_not_wait_for_an_announcement() -> None:
    driver = Driver(Subject.load("loopback"))
    c, s = driver.pair()
    begun, go_on = threading.Event(), threading.Event()

    def wait(*_: object) -> None:
        begun.set()
        assert go_on.wait(10)

    driver.switch.on_completion = wait
    driver.recv(s, polled=False)
    driver.send(c, b"x")
    assert begun.wait(10)
    driver.cleanup()
    assert not go_on.is_set()
    go_on.set()
    driver.close()
    for worker in workers():
        worker.join(10)
    assert not workers()


# --- messages and connections ---------------------------------------------------------------------


def test_early_messages_have_a_limit_and_then_sends_wait(driver: Driver) -> None:
    c, s = driver.pair()
    sends = [driver.send(c, bytes([number])) for number in range(EARLY_MAX)]
    assert [driver.finish(c, one) for one in sends] == [(0, 1)] * EARLY_MAX
    sends += [driver.send(c, bytes([EARLY_MAX + number])) for number in range(REQUESTS_MAX)]
    assert driver.poll(c, sends[EARLY_MAX]) is None
    word = driver.register(c, 1)
    with pytest.raises(WSAError) as caught:
        driver.provider.WSPSend(c, [word.view], 0, WSAOVERLAPPED(None, True))
    assert caught.value.winerror == E.WSAEWOULDBLOCK
    got = []
    for _ in sends:
        overlapped, view = driver.recv(s, 1)
        assert driver.finish(s, overlapped) == (0, 1)
        got.append(view[0])
    assert got == list(range(len(sends)))
    assert [driver.finish(c, one) for one in sends] == [(0, 1)] * len(sends)


def test_what_a_closed_peer_has_sent_can_be_received(driver: Driver) -> None:
    c, s = driver.pair()
    for data in (b"first", b"second"):
        assert driver.finish(c, driver.send(c, data)) == (0, len(data))
    driver.provider.WSPCloseSocket(c)
    spare = driver.register(s, 1).view
    with pytest.raises(WSAError) as caught:
        driver.provider.WSPSend(s, [spare], 0, WSAOVERLAPPED(None, True))
    assert caught.value.winerror == E.WSAECONNRESET
    for data in (b"first", b"second"):
        overlapped, view = driver.recv(s)
        assert driver.finish(s, overlapped) == (0, len(data))
        assert bytes(view[: len(data)]) == data
    with pytest.raises(WSAError) as caught:
        driver.provider.WSPRecv(s, [spare], 0, WSAOVERLAPPED(None, True))
    assert caught.value.winerror == E.WSAECONNRESET


@pytest.mark.parametrize(
    ("fault", "code"), [(Fault.DROP, E.WSAECONNABORTED), (Fault.KEEPALIVE, E.WSAENETRESET)]
)
def test_broken_connections(driver: Driver, fault: Fault, code: int) -> None:
    c, s = driver.pair()
    received, _ = driver.recv(s)
    word = driver.register(c, bytearray(b"x"))
    with driver.fault(fault):
        if fault is Fault.DROP:
            assert driver.finish(c, driver.send(c, word.view))[0] == code
        assert driver.finish(s, received) == (code, 0)
    with pytest.raises(WSAError) as caught:
        driver.provider.WSPSend(c, [word.view], 0, WSAOVERLAPPED(None, True))
    assert caught.value.winerror == code
    driver.alive(*driver.pair())


def test_connect_data_go_both_ways(driver: Driver) -> None:
    listener, port = driver.listener()
    answer = bytearray(b"longer than the answer")
    s, event, outcome = driver.connecting(port, caller_data=b"question", callee_data=answer)
    asked: list[AcceptRequest] = []

    def condition(request: AcceptRequest) -> int:
        asked.append(request)
        request.callee_data = b"answer"
        return 0

    driver.accept(listener, condition)
    assert driver.connected(s, event, outcome) == 0
    assert asked[0].caller_data == b"question"
    assert answer == b"answer"


def test_connect_data_that_cannot_grow_are_cut(driver: Driver) -> None:
    listener, port = driver.listener()
    answer = bytearray(3)
    pinned = memoryview(answer)
    s, event, outcome = driver.connecting(port, callee_data=answer)

    def condition(request: AcceptRequest) -> int:
        request.callee_data = b"answer"
        return 0

    driver.accept(listener, condition)
    assert driver.connected(s, event, outcome) == 0
    assert bytes(pinned) == b"ans"


def test_both_ends_know_the_quality_of_service(driver: Driver) -> None:
    listener, port = driver.listener()
    wanted = QOS(FLOWSPEC(TokenRate=1000, ServiceType=SERVICETYPE_CONTROLLEDLOAD))
    c, event, outcome = driver.connecting(port, sqos=wanted)
    asked: list[QOS | None] = []

    def condition(request: AcceptRequest) -> int:
        asked.append(request.sqos)
        return 0

    s = driver.accept(listener, condition)
    assert driver.connected(c, event, outcome) == 0
    assert asked[0] is not None
    assert asked[0].ReceivingFlowspec == wanted.SendingFlowspec
    there = driver.provider.WSPIoctl(s, SIO_GET_QOS)
    here = driver.provider.WSPIoctl(c, SIO_GET_QOS)
    assert here.SendingFlowspec == there.ReceivingFlowspec == wanted.SendingFlowspec


def test_a_group_of_the_condition_function(driver: Driver) -> None:
    first = driver.socket(group=SG_CONSTRAINED_GROUP)
    group = driver.provider.WSPGetSockOpt(first, SOL_SOCKET, SO_GROUP_ID)
    listener, port = driver.listener()
    c, event, outcome = driver.connecting(port)

    def condition(request: AcceptRequest) -> int:
        request.group = group
        return 0

    s = driver.accept(listener, condition)
    assert driver.connected(c, event, outcome) == 0
    assert driver.provider.WSPGetSockOpt(s, SOL_SOCKET, SO_GROUP_ID) == group


def test_a_completion_routine_is_called_in_its_thread(driver: Driver) -> None:
    s = driver.socket()
    called: list[tuple[object, ...]] = []
    overlapped = WSAOVERLAPPED(None, True)
    result = driver.provider.WSPIoctl(
        s,
        SIO_ADDRESS_LIST_QUERY,
        overlapped=overlapped,
        completion_routine=lambda *arguments: called.append((*arguments, threading.get_ident())),
        thread_id=threading.get_ident(),
    )
    while not called:
        driver.switch.run_apcs()
    assert called == [(0, result, overlapped, 0, threading.get_ident())]
    assert driver.poll(s, overlapped) == (0, 8 + 32 * len(result))


# --- duplication ----------------------------------------------------------------------------------


def test_a_parcel_that_nobody_fetches_ends_with_the_provider() -> None:
    driver = Driver(Subject.load("loopback"))
    c, s = driver.pair()
    driver.provider.WSPDuplicateSocket(s, 1)
    driver.provider.WSPCloseSocket(s)
    received, _ = driver.recv(c, polled=False)
    driver.close()
    assert driver.switch.completions(received)[0][1] in (E.WSAECONNRESET, E.WSA_OPERATION_ABORTED)


def test_a_connection_that_ends_on_its_way_arrives_broken(driver: Driver) -> None:
    c, s = driver.pair()
    info = driver.provider.WSPDuplicateSocket(s, os.getpid())
    driver.provider.WSPCloseSocket(c)
    new = driver.socket(protocol_info=info)
    with pytest.raises(WSAError) as caught:
        driver.provider.WSPSend(new, [b""], 0, WSAOVERLAPPED(None, True))
    assert caught.value.winerror == E.WSAECONNRESET


def test_requests_wait_for_a_listener_on_its_way(driver: Driver) -> None:
    listener, port = driver.listener()
    info = driver.provider.WSPDuplicateSocket(listener, os.getpid())
    c, event, outcome = driver.connecting(port)
    new = driver.socket(protocol_info=info)
    s = driver.accept(new)
    assert driver.connected(c, event, outcome) == 0
    driver.provider.WSPCloseSocket(listener)
    driver.alive(c, s)
    driver.connecting(port)
    driver.requested(new)


# --- memory ---------------------------------------------------------------------------------------


def test_the_address_of_read_only_memory() -> None:
    data = bytearray(100)
    view = memoryview(data)
    assert address_of(view[10:]) == address_of(view.toreadonly()) + 10


def test_the_cache_keeps_what_was_registered_once(driver: Driver) -> None:
    c, _ = driver.pair()
    cache = driver.provider._network.cache  # type: ignore[attr-defined]
    memory = bytearray(8192)
    before = cache.pinned
    for _ in range(3):
        driver.provider.WSPDeregisterMemory(c, driver.register(c, memory).handle)
    assert cache.pinned == before + 1
    address = address_of(memoryview(memory))
    driver.provider.WSPMemoryRegistrationCacheCallback(address + 100, 1)
    driver.register(c, memory)
    assert cache.pinned == before + 2


def test_a_descriptor_tells_every_byte(driver: Driver) -> None:
    c, s = driver.pair()
    target = bytearray(64)
    descriptor = driver.provider.WSPRegisterRdmaMemory(s, target, MEM_WRITE)
    source = driver.register(c, b"\1" * 64, MEM_READ)
    for place in range(len(descriptor)):
        altered = bytearray(descriptor)
        altered[place] ^= 0x40
        with pytest.raises(WSAError) as caught:
            driver.provider.WSPRdmaWrite(
                c, [source.wsabufex()], altered, overlapped=WSAOVERLAPPED(None, True)
            )
        assert caught.value.winerror == E.WSAEINVAL
    assert target == bytearray(64)


def test_rdma_and_the_message_behind_it_keep_their_order(driver: Driver) -> None:
    c, s = driver.pair()
    target = bytearray(1 << 16)
    descriptor = driver.provider.WSPRegisterRdmaMemory(s, target, MEM_READWRITE)
    source = driver.register(c, bytes(range(256)) * 256, MEM_READ)
    received, _ = driver.recv(s)
    with driver.fault(Fault.DELAY):
        written = WSAOVERLAPPED(None, True)
        driver.provider.WSPRdmaWrite(c, [source.wsabufex()], descriptor, overlapped=written)
        sent = driver.send(c, b"written")
        assert bytes(target) == bytes(len(target))
        with pytest.raises(WSAError):  # in use
            driver.provider.WSPDeregisterRdmaMemory(s, descriptor)
    assert driver.finish(s, received) == (0, 7)
    assert bytes(target) == bytes(source)
    assert driver.finish(c, written) == (0, len(target))
    assert driver.finish(c, sent) == (0, 7)
    driver.provider.WSPDeregisterRdmaMemory(s, descriptor)


# --- faults and forks -----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", list(Fault))
def test_every_fault_ends_with_its_block(fault: Fault) -> None:
    with Driver(Subject.load("loopback")) as driver:
        assert fault in driver.provider.fault_injector.supported  # type: ignore[attr-defined]
        with driver.fault(fault), driver.fault(fault):
            pass
        driver.alive(*driver.pair())


def in_child(function: object) -> int:
    pid = os.fork()
    if not pid:
        status = 1
        try:
            status = 0 if function() else 2  # type: ignore[operator]
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_forked_child_has_no_sockets_and_can_have_its_own(driver: Driver) -> None:
    c, s = driver.pair()
    listener, port = driver.listener()

    def child() -> bool:
        for one in (c, s, listener):
            try:
                driver.provider.WSPCloseSocket(one)
                return False
            except WSAError as error:
                if error.winerror != E.WSAENOTSOCK:
                    return False
        _, _, outcome = driver.connecting(port)
        assert outcome is None
        driver.alive(*driver.pair())
        return True

    assert in_child(child) == 0
    driver.alive(c, s)
    event = driver.connecting(port)[1]
    driver.accept(listener)
    assert event.wait(5)


def test_a_fork_from_within_an_announcement(driver: Driver) -> None:
    c, s = driver.pair()
    ended: list[int] = []

    def fork(*_: object) -> None:
        driver.switch.on_completion = None
        ended.append(in_child(lambda: driver.alive(*driver.pair()) is None))

    driver.switch.on_completion = fork
    received, _ = driver.recv(s, polled=False)
    driver.send(c, b"x")
    driver.announced(received)
    while not ended:
        time.sleep(0.001)
    assert ended == [0]
    driver.alive(c, s)


def test_a_condition_function_may_use_the_provider(driver: Driver) -> None:
    listener, port = driver.listener()
    c, event, outcome = driver.connecting(port)
    pairs: list[tuple[int, int]] = []

    def condition(request: AcceptRequest) -> int:
        pairs.append(driver.pair())
        return 0

    s = driver.accept(listener, condition)
    assert driver.connected(c, event, outcome) == 0
    driver.alive(c, s)
    driver.alive(*pairs[0])
