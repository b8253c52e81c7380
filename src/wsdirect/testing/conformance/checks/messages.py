"""Sends and receives: rules R-153 to R-177."""

from __future__ import annotations

from wsdirect.testing import expect
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver


@check("R-158")
def boundaries_are_kept(driver: Driver) -> None:
    c, s = driver.pair()
    first, one = driver.recv(s, 100)
    second, two = driver.recv(s, 100)
    driver.send(c, b"one")
    driver.send(c, b"three")
    expect.equal("the first message's result", driver.finish(s, first), (0, 3))
    expect.equal("the second message's result", driver.finish(s, second), (0, 5))
    expect.equal("the messages", (bytes(one[:3]), bytes(two[:5])), (b"one", b"three"))
