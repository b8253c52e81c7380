"""Event: Windows event objects, as threads, pollers and forked processes see them."""

import gc
import os
import pickle
import select
import signal
import threading
import time

import pytest

from wsdirect.spi.errors import WSAError
from wsdirect.spi.overlapped import Event

SHORT = 0.05


def test_manual_reset_stays_set() -> None:
    with Event() as event:
        assert not event.is_set()
        assert not event.wait(0)
        event.set()
        event.set()
        assert event.wait(0)
        assert event.wait()
        assert event.is_set()
        event.reset()
        assert not event.is_set()
        event.reset()
        assert not event.wait(SHORT)


def test_auto_reset_is_consumed_by_one_wait() -> None:
    with Event(manual_reset=False) as event:
        event.set()
        event.set()  # setting a set event changes nothing
        assert event.is_set()
        assert event.is_set(), "looking does not consume"
        assert event.wait(0)
        assert not event.is_set()
        assert not event.wait(0)


@pytest.mark.parametrize("manual_reset", [True, False])
def test_initially_set(manual_reset: bool) -> None:
    with Event(manual_reset, initial=True) as event:
        assert event.wait(0)
        assert event.is_set() is manual_reset


@pytest.mark.parametrize("manual_reset", [True, False])
def test_time_out(manual_reset: bool) -> None:
    with Event(manual_reset) as event:
        begin = time.monotonic()
        assert not event.wait(SHORT)
        assert time.monotonic() - begin >= SHORT * 0.9


def test_auto_reset_lets_one_of_two_waiters_through() -> None:
    with Event(manual_reset=False) as event:
        through: list[int] = []
        ready = threading.Barrier(3)

        def waiter(number: int) -> None:
            ready.wait()
            if event.wait(5):
                through.append(number)

        threads = [threading.Thread(target=waiter, args=(n,)) for n in range(2)]
        for thread in threads:
            thread.start()
        ready.wait()
        time.sleep(SHORT)
        event.set()
        time.sleep(4 * SHORT)
        assert len(through) == 1
        assert not event.is_set()
        event.set()
        for thread in threads:
            thread.join(5)
        assert sorted(through) == [0, 1]


def test_manual_reset_lets_both_through() -> None:
    with Event() as event:
        through: list[bool] = []
        threads = [threading.Thread(target=lambda: through.append(event.wait(5))) for _ in range(2)]
        for thread in threads:
            thread.start()
        event.set()
        for thread in threads:
            thread.join(5)
        assert through == [True, True]


def test_poll_select_and_epoll() -> None:
    with Event(manual_reset=False) as event, select.epoll() as epoll:
        poll = select.poll()
        poll.register(event, select.POLLIN)
        epoll.register(event, select.EPOLLIN)
        assert poll.poll(0) == []
        assert epoll.poll(0) == []
        assert select.select([event], [], [], 0)[0] == []
        event.set()
        assert poll.poll(1000) == [(event.fileno(), select.POLLIN)]
        assert epoll.poll(1) == [(event.fileno(), select.EPOLLIN)]
        assert select.select([event], [], [], 1)[0] == [event]
        assert event.wait(0), "polling does not consume, waiting does"
        assert poll.poll(0) == []


def test_close() -> None:
    event = Event(initial=True)
    descriptor = event.fileno()
    event.close()
    event.close()
    assert event.closed
    assert event.fileno() == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    for use in (event.set, event.reset, event.is_set, event.wait):
        with pytest.raises(WSAError) as caught:
            use()
        assert caught.value.name == "WSA_INVALID_HANDLE"


def test_forgotten_event_closes_itself_silently() -> None:
    descriptor = Event().fileno()
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_close_waits_for_a_set_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the set could write to whatever file gets the descriptor's number next."""
    write = os.eventfd_write
    inside, go_on = threading.Event(), threading.Event()

    def slow_write(descriptor: int, value: int) -> None:
        inside.set()
        go_on.wait(5)
        write(descriptor, value)

    monkeypatch.setattr(os, "eventfd_write", slow_write)
    event = Event()
    setter = threading.Thread(target=event.set)
    setter.start()
    assert inside.wait(5)
    closer = threading.Thread(target=event.close)
    closer.start()
    closer.join(SHORT)
    assert closer.is_alive()
    assert not event.closed
    go_on.set()
    setter.join(5)
    closer.join(5)
    assert event.closed


def test_fork_shares_the_event() -> None:
    with Event() as event:
        child = os.fork()
        if child == 0:
            event.set()
            event.close()
            os._exit(0)
        try:
            assert event.wait(10)
        finally:
            os.waitpid(child, 0)
        assert not event.closed
        event.set()


def test_fork_while_another_thread_sets() -> None:
    """The child can use events although the thread that was in the middle of one is gone."""
    with Event() as event, Event() as other:
        stop = False

        def busy() -> None:
            while not stop:
                event.set()

        thread = threading.Thread(target=busy)
        thread.start()
        try:
            for _ in range(20):
                child = os.fork()
                if child == 0:
                    event.set()
                    second = threading.Thread(target=other.set)  # the lock is free for all threads
                    second.start()
                    second.join()
                    other.close()
                    os._exit(0)
                assert exits(child), "the child hangs"
        finally:
            stop = True
            thread.join()


def exits(child: int) -> bool:
    """Whether a child process ends by itself in good time."""
    deadline = time.monotonic() + 20
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(0.001)
    return True


def test_cannot_be_pickled() -> None:
    with Event() as event, pytest.raises(TypeError, match="pickled"):
        pickle.dumps(event)
