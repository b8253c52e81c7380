"""WSPSocket and WSPBind: rules R-034 to R-058."""

from __future__ import annotations

from wsdirect.spi.constants import INVALID_SOCKET
from wsdirect.testing import expect
from wsdirect.testing.conformance.registry import check
from wsdirect.testing.driver import Driver


@check("R-034")
def a_stream_socket(driver: Driver) -> None:
    s = driver.socket()
    expect.true("a descriptor", s != INVALID_SOCKET, "it is INVALID_SOCKET")


@check("R-057")
def two_sockets_on_one_address(driver: Driver) -> None:
    port = driver.port()
    driver.bound(port)
    driver.bound(port)
