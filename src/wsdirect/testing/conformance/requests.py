"""Listeners, and connection requests that wait there."""

from __future__ import annotations

from typing import Any

from wsdirect.spi.constants import CF_ACCEPT, FD_ACCEPT
from wsdirect.spi.overlapped import Event
from wsdirect.spi.structures import AcceptRequest
from wsdirect.testing import expect
from wsdirect.testing.driver import Driver

__all__ = ["Connecting", "Seen", "accept", "filled", "listening", "waiting"]

_MANY = 40
"""More requests than a short queue takes, even if a provider's queue is a little longer."""

Connecting = tuple[int, Event, int | None]
"""A socket, its event, and the outcome if there is one: what `Driver.connecting` returns."""


def accept(driver: Driver, listener: int, answer: Any = CF_ACCEPT, data: Any = None) -> int:
    """WSPAccept with a condition function that gives this answer: the new socket."""
    return driver.provider.WSPAccept(listener, lambda request: answer, data)[0]


accept.__name__ = "WSPAccept"  # in messages


class Seen:
    """A condition function that accepts, and keeps what it was given."""

    def __init__(self) -> None:
        self.requests: list[AcceptRequest] = []

    def __call__(self, request: AcceptRequest) -> int:  # noqa: D102
        self.requests.append(request)
        return CF_ACCEPT

    @property
    def request(self) -> AcceptRequest:
        """The only one that there should be."""
        expect.equal("the calls of the condition function", len(self.requests), 1)
        return self.requests[0]


def listening(driver: Driver, **more: Any) -> tuple[int, int, Event]:
    """A listener with its event for FD_ACCEPT, and its port."""
    listener, port = driver.listener(**more)
    event = Event()
    expect.succeeds(driver.provider.WSPEventSelect, listener, event, FD_ACCEPT)
    return listener, port, event


def waiting(driver: Driver, count: int = 1) -> tuple[int, Event, list[Connecting]]:
    """A listener, its event, and so many requests that wait there in this order."""
    listener, port, event = listening(driver)
    found = [driver.connecting(port) for _ in range(count)]
    driver.requested(listener, event)
    return listener, event, found


def filled(driver: Driver, port: int) -> tuple[list[Connecting], Connecting]:
    """Requests until one is refused: those that wait, and that one."""
    made: list[Connecting] = []
    for _ in range(_MANY):
        made.append(driver.connecting(port))
        _, event, outcome = made[-1]
        expect.true("no connect to succeed before WSPAccept", outcome != 0, "one did")
        # a refusal comes at once; a request that waits would go on for seconds
        if outcome is not None or event.wait(0.05):
            # requests are looked at in their order, so none of the others will be refused now
            refused = [one for one in made if one[2] is not None or one[1].is_set()]
            return [one for one in made if one not in refused], refused[0]
    expect.fail("a full queue to refuse requests", f"it took {_MANY}")
