"""Waiting until one of several sockets is ready: WSPSelect, WSAPoll and all blocking calls."""

from __future__ import annotations

import time

from wsdirect.spi.constants import (
    POLLERR,
    POLLHUP,
    POLLNVAL,
    POLLPRI,
    POLLRDBAND,
    POLLRDNORM,
    POLLWRBAND,
    POLLWRNORM,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.switch.upper.sockets import CLOSING, Waiter
from wsdirect.switch.upper.tables import Ready, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from wsdirect.switch.upper.progress import Serving
    from wsdirect.switch.upper.sockets import Socket

__all__ = ["poll", "select", "wait_for"]

READS = Ready.READABLE
EXCEPTIONAL = Ready.URGENT | Ready.CONNECT


def wait_for(
    serving: Serving,
    wanted: dict[Socket, int],
    judge: Callable[[dict[Socket, int]], Any],
    seconds: float | None,
) -> Any:
    """Wait until `judge` answers something for the sockets' `Ready` bits.

    Args:
        serving: The provider's.
        wanted: The sockets with the bits that wake the wait up.
        judge: Gets the bits of all sockets, -1 for those that were closed.
        seconds: None waits for ever, 0 only looks.

    Returns:
        Its answer; the last one, which is false, if time ran out.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        waiter = Waiter()
        try:
            now = {}
            for sock, bits in wanted.items():
                with sock.lock:
                    if sock.state is State.CLOSED:
                        now[sock] = CLOSING
                        continue
                    if seconds != 0:
                        sock.waiters[waiter] = bits
                    now[sock] = serving.settle(sock)
                sock.announcer.run()
            answer = judge(now)
            if answer or seconds == 0:
                return answer
            left = None if deadline is None else deadline - time.monotonic()
            if (left is not None and left <= 0) or not waiter.wait(left):
                return answer
        finally:
            for sock in wanted:
                with sock.lock:
                    sock.waiters.pop(waiter, None)


def is_writable(sock: Socket, ready: int) -> bool:
    """Whether select has it in the set for writing."""
    return bool(ready & Ready.ROOM)


def is_exceptional(sock: Socket, ready: int) -> bool:
    """Whether select has it in the third set: a failed connect, or urgent data."""
    return bool(ready & Ready.URGENT or (ready & Ready.CONNECT and sock.outcome))


def select(
    serving: Serving,
    read: Sequence[tuple[int, Socket]],
    write: Sequence[tuple[int, Socket]],
    exceptional: Sequence[tuple[int, Socket]],
    seconds: float | None,
) -> tuple[list[int], list[int], list[int]]:
    """WSPSelect, with the sockets of the handles."""
    wanted: dict[Socket, int] = {}
    for entries, bits in ((read, READS), (write, Ready.ROOM), (exceptional, EXCEPTIONAL)):
        for _, sock in entries:
            wanted[sock] = wanted.get(sock, 0) | bits

    def judge(now: dict[Socket, int]) -> Any:
        if CLOSING in now.values():
            raise WSAError(WsaErrorCode.WSAENOTSOCK, "WSPSelect")
        found = (
            [s for s, sock in read if now[sock] & READS],
            [s for s, sock in write if is_writable(sock, now[sock])],
            [s for s, sock in exceptional if is_exceptional(sock, now[sock])],
        )
        return found if any(found) else None

    return wait_for(serving, wanted, judge, seconds) or ([], [], [])


# Ready bits and what WSAPoll calls them; POLLERR and POLLHUP are told unasked.
POLLED = (
    (Ready.DATA | Ready.WAITING, POLLRDNORM),
    (Ready.URGENT, POLLRDBAND),
    (Ready.ROOM, POLLWRNORM),
    (Ready.END, POLLHUP),
    (Ready.RESET, POLLERR | POLLHUP),
)
UNASKED = int(POLLERR | POLLHUP)


def poll_events(sock: Socket, ready: int) -> int:
    """What is true of a socket, in WSAPoll's terms."""
    events = 0
    for bits, event in POLLED:
        if ready & bits:
            events |= event
    if sock.state in (State.FRESH, State.BOUND, State.REUSABLE, State.ACCEPTING):
        events |= POLLHUP | POLLWRNORM
        if sock.outcome:
            events |= POLLERR
    elif sock.state is State.DISCONNECTED:
        events |= POLLHUP
    return events


def poll(
    serving: Serving, entries: Sequence[tuple[int, Socket | None, int]], seconds: float | None
) -> list[int]:
    """WSAPoll: the resulting events of each (handle, socket, events); a socket of None is none."""
    for _, _, events in entries:
        if events & (POLLPRI | POLLWRBAND | POLLNVAL | UNASKED):
            raise WSAError(WsaErrorCode.WSAEINVAL, "WSAPoll", "Events that cannot be asked for.")
    if not any(sock is not None for _, sock, _ in entries):
        raise WSAError(WsaErrorCode.WSAENOTSOCK, "WSAPoll")
    every = Ready.READABLE | Ready.ROOM | Ready.URGENT | Ready.CONNECT
    wanted: dict[Socket, int] = {}
    for _, sock, events in entries:
        if sock is None:
            continue
        bits = every & ~(Ready.DATA | Ready.WAITING | Ready.URGENT | Ready.ROOM)
        for ready, event in POLLED:
            if event & events:
                bits |= ready
        wanted[sock] = wanted.get(sock, 0) | bits

    def results(now: dict[Socket, int]) -> list[int]:
        found = []
        for s, sock, events in entries:
            if s < 0:
                found.append(0)
            elif sock is None or now[sock] == CLOSING:
                found.append(int(POLLNVAL))
            else:
                found.append(poll_events(sock, now[sock]) & int(events | UNASKED))
        return found

    last: list[list[int]] = [[]]

    def judge(now: dict[Socket, int]) -> bool:
        last[0] = results(now)
        return any(last[0])

    wait_for(serving, wanted, judge, seconds)
    return last[0]
