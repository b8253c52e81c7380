"""Tests in this process run with the grafts in; programs are started under the launcher."""

from collections.abc import Iterator

import pytest

import wsdirect


@pytest.fixture(scope="module")
def switch() -> Iterator[None]:
    """This process switches its connections while the module's tests run."""
    wsdirect.enable()
    yield
    wsdirect.disable()
