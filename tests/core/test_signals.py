"""Signals while a call waits (PEP 475): the handler runs, its exception comes through, and the
descriptor is true afterwards."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.core.pairs import End, make_pair
from wsdirect._core import native

RING = 4096
# These tests take the alarm clock away from pytest-timeout's other method.
pytestmark = pytest.mark.timeout(60, method="thread")


class InterruptedByTestError(Exception):
    pass


def interrupt(number: int, frame: Any) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)  # once is enough
    raise InterruptedByTestError


@contextmanager
def alarm(seconds: float, handler: Callable[[int, Any], None]) -> Iterator[None]:
    """SIGALRM after that time, and again: one that comes between the last look for signals and the
    system call is not seen until something interrupts that, here as in socket.socket."""
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.05)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


WAITS: dict[str, Callable[[End], Any]] = {
    "recv": lambda end: end.stream.recv(10),
    "recv_into": lambda end: end.stream.recv_into(bytearray(10), 1000.0),
    "wait_readable": lambda end: end.stream.wait_readable(),
    "send": lambda end: end.stream.send(b"x"),
    "wait_writable": lambda end: end.stream.wait_writable(1000.0),
}


def is_for_reading(name: str) -> bool:
    return name.startswith("recv") or name == "wait_readable"


@pytest.mark.parametrize("name", WAITS)
@pytest.mark.parametrize("seconds", [0.02, 0.0002, 0.00002])
def test_an_exception_of_the_handler_ends_the_wait(name: str, seconds: float) -> None:
    """0.02 s: while it sleeps.  The others: while it spins, or on the way there and back."""
    a, b = make_pair()
    if not is_for_reading(name):
        while a.writable():
            a.stream.send(b"x" * RING, 0)
    for _ in range(1 if seconds > 0.01 else 100):
        with pytest.raises(InterruptedByTestError), alarm(seconds, interrupt):
            WAITS[name](a)  # nobody sends anything
        if is_for_reading(name):
            assert not a.readable()
            b.stream.send(b"!", 0)
            assert a.readable(), "armed again, though it may have been spinning"
            assert a.stream.recv(10, 0) == b"!"
            assert not a.readable()
        else:
            assert not a.writable()
    if not is_for_reading(name):
        b.stream.recv(RING, 0)
        assert a.writable()


@pytest.mark.parametrize("limit", [None, 0])
def test_without_an_exception_it_goes_on_waiting(limit: float | None) -> None:
    a, b = make_pair()
    calls = []

    def handler(number: int, frame: Any) -> None:
        calls.append(number)
        if len(calls) < 5:
            signal.setitimer(signal.ITIMER_REAL, 0.005)
        else:
            b.stream.send(b"from the handler", 0)

    native.set_spin_limit(limit)
    try:
        with alarm(0.005, handler):
            assert a.stream.recv(100) == b"from the handler"
    finally:
        native.set_spin_limit(None)
    assert len(calls) == 5


def test_the_time_out_is_not_prolonged() -> None:
    """A signal every 5 ms does not keep a wait of 50 ms alive."""
    a, _ = make_pair()
    calls = []

    def handler(number: int, frame: Any) -> None:
        calls.append(number)
        signal.setitimer(signal.ITIMER_REAL, 0.005)

    with alarm(0.005, handler), pytest.raises(TimeoutError):
        a.stream.recv(1, 0.05)
    assert calls


def test_while_another_thread_waits_the_main_thread_gets_it() -> None:
    a, b = make_pair()
    got: list[bytes] = []
    waiter = threading.Thread(target=lambda: got.append(a.stream.recv(10)))
    waiter.start()
    with pytest.raises(InterruptedByTestError), alarm(0.02, interrupt):
        time.sleep(30)
    assert not got
    b.stream.send(b"x", 0)
    waiter.join()
    assert got == [b"x"]


def test_keyboard_interrupt() -> None:
    a, _ = make_pair()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            a.stream.recv(1)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
