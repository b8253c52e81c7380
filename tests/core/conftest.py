"""No test leaves an end open for the next one to be warned of."""

from collections.abc import Iterator

import pytest

from tests.core import pairs


@pytest.fixture(autouse=True)
def ends_are_closed() -> Iterator[None]:
    yield
    pairs.close_opened()
