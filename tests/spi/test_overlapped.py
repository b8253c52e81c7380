"""WSAOVERLAPPED, the upcalls, and the order in which a result becomes visible."""

import threading
from typing import Any

import pytest

from wsdirect.spi import layout
from wsdirect.spi.constants import WSS_OPERATION_IN_PROGRESS
from wsdirect.spi.errors import WSAError
from wsdirect.spi.overlapped import WSAOVERLAPPED, Event
from wsdirect.spi.upcalls import HandleSpace, UpcallTable, complete_request


class Recorded(WSAOVERLAPPED):
    """Remembers the order in which its members are written."""

    __slots__ = ("written",)

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(self, "written"):
            self.written.append((name, value))
        super().__setattr__(name, value)

    @classmethod
    def started(cls, **arguments: Any) -> "Recorded":
        record = cls(**arguments)
        record.start()
        record.written: list[tuple[str, Any]] = []
        return record


RESULT = [("Offset", 3), ("OffsetHigh", 10054), ("InternalHigh", 7), ("Internal", 0)]


def test_order_of_a_polled_request() -> None:
    record = Recorded.started(polled=True)
    complete_request(HandleSpace(), 0, record, 10054, 7, 3)
    assert record.written == RESULT


def test_order_of_a_notified_request() -> None:
    upcalls = HandleSpace()
    handle = upcalls.WPUCreateSocketHandle(1001, None)
    record = Recorded.started()
    complete_request(upcalls, handle, record, 10054, 7, 3)
    assert record.written == RESULT


def test_start_sets_in_progress_last() -> None:
    record = WSAOVERLAPPED()
    record.OffsetHigh = 5
    record.start()
    assert record.Internal == WSS_OPERATION_IN_PROGRESS == 0x103
    assert record.in_progress
    assert record.OffsetHigh == 0
    assert record.result() is None


def test_one_request_at_a_time() -> None:
    record = WSAOVERLAPPED(polled=True)
    record.start()
    with pytest.raises(WSAError) as caught:
        record.start()
    assert caught.value.name == "WSAEINVAL"
    complete_request(HandleSpace(), 0, record, 0, 5)
    record.start()
    assert record.result() is None


def test_result() -> None:
    record = WSAOVERLAPPED(polled=True)
    record.start()
    complete_request(HandleSpace(), 0, record, 0, 12)
    assert record.result() == 12
    record.start()
    complete_request(HandleSpace(), 0, record, 10054)
    with pytest.raises(ConnectionResetError):
        record.result()


def test_polled_request_is_never_announced() -> None:
    announced: list[object] = []
    upcalls = HandleSpace(on_complete=lambda *args: announced.append(args))
    handle = upcalls.WPUCreateSocketHandle(1001, None)
    with Event() as event:
        record = WSAOVERLAPPED(event, polled=True)
        record.start()
        complete_request(upcalls, handle, record, 0, 4)
        assert not event.is_set()
        assert announced == []
        record.start()
        with pytest.raises(WSAError, match="polled"):
            upcalls.WPUCompleteOverlappedRequest(handle, record, 0, 4)


def test_notified_request_is_announced_once() -> None:
    announced: list[tuple[object, ...]] = []
    upcalls = HandleSpace(on_complete=lambda *args: announced.append(args))
    handle = upcalls.WPUCreateSocketHandle(1001, None)
    with Event() as event:
        record = WSAOVERLAPPED(event)
        record.start()
        complete_request(upcalls, handle, record, 0, 4)
        assert event.is_set()
        assert announced == [(handle, record, 0, 4)]
        with pytest.raises(WSAError, match="not in progress"):
            upcalls.WPUCompleteOverlappedRequest(handle, record, 0, 4)


def test_the_callback_may_start_the_next_request() -> None:
    first, second = Event(), Event()
    handle = 0

    def again(s: int, record: WSAOVERLAPPED, error: int, transferred: int) -> None:
        record.hEvent = second
        record.start()

    upcalls = HandleSpace(on_complete=again)
    handle = upcalls.WPUCreateSocketHandle(1001, None)
    record = WSAOVERLAPPED(first)
    record.start()
    complete_request(upcalls, handle, record)
    assert first.is_set()
    assert not second.is_set()
    assert record.in_progress
    first.close()
    second.close()


def test_handles() -> None:
    upcalls = HandleSpace(limit=2)
    context = object()
    first = upcalls.WPUCreateSocketHandle(1001, context)
    second = upcalls.WPUCreateSocketHandle(1001, None)
    assert first != second
    assert upcalls.WPUQuerySocketHandleContext(first) is context
    with pytest.raises(WSAError) as caught:
        upcalls.WPUCreateSocketHandle(1001, None)
    assert caught.value.name == "WSAENOBUFS"
    upcalls.WPUCloseSocketHandle(first)
    third = upcalls.WPUCreateSocketHandle(1001, None)
    assert third not in (first, second), "a handle never comes back"
    assert upcalls.handles == [second, third]


def test_unknown_handles() -> None:
    upcalls = HandleSpace()
    record = WSAOVERLAPPED()
    record.start()
    for call, name in (
        (lambda: upcalls.WPUCloseSocketHandle(5), "WSAENOTSOCK"),
        (lambda: upcalls.WPUQuerySocketHandleContext(5), "WSAENOTSOCK"),
        (lambda: upcalls.WPUCompleteOverlappedRequest(5, record, 0, 0), "WSAEINVAL"),
    ):
        with pytest.raises(WSAError) as caught:
            call()
        assert caught.value.name == name
    assert record.in_progress


def test_apcs_run_in_their_thread_in_order() -> None:
    upcalls = HandleSpace()
    ran: list[tuple[int, str]] = []

    def note(word: str) -> None:
        ran.append((threading.get_ident(), word))

    here = threading.get_ident()
    upcalls.WPUQueueApc(here, note, "one")
    upcalls.WPUQueueApc(here, note, "two")
    other = threading.Thread(target=upcalls.run_apcs)
    other.start()
    other.join()
    assert ran == []
    assert upcalls.run_apcs() == 2
    assert ran == [(here, "one"), (here, "two")]
    assert upcalls.run_apcs() == 0


def test_table_has_the_sixteen_upcalls_in_order() -> None:
    functions = [name for name in vars(UpcallTable) if name.startswith("WPU")]
    assert tuple(functions) == layout.UPCALL_TABLE


@pytest.mark.parametrize("name", layout.UPCALL_TABLE)
def test_base_table_supports_nothing(name: str) -> None:
    function = getattr(UpcallTable(), name)
    count = getattr(UpcallTable, name).__code__.co_argcount - 1
    with pytest.raises(WSAError) as caught:
        function(*[None] * count)
    assert caught.value.name == "WSAEOPNOTSUPP"
    assert caught.value.operation == name


@pytest.mark.parametrize("name", layout.UPCALL_TABLE)
def test_upcalls_are_documented(name: str) -> None:
    text = getattr(UpcallTable, name).__doc__
    assert "Errors:" in text
    assert "Source: " in text


@pytest.mark.parametrize("name", layout.UPCALLS_OF_A_SAN)
def test_handle_space_has_what_a_san_needs(name: str) -> None:
    assert getattr(HandleSpace, name) is not getattr(UpcallTable, name)
