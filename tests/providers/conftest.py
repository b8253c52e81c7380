import itertools
import os

import pytest

from tests.providers.helpers import San

# Names are per network namespace: runs at the same time must not meet.
_ports = itertools.count(10000 + os.getpid() % 200 * 200)


@pytest.fixture
def san():
    san = San()
    yield san
    san.close()


@pytest.fixture
def port():
    """A number no other test has; nothing really listens there."""
    return next(_ports)
