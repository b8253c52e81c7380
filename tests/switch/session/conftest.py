from __future__ import annotations

import pytest

from tests.switch.session.sans import San
from wsdirect._core import native


@pytest.fixture(params=["loopback", "shm"])
def san(request):
    if request.param == "loopback":
        from wsdirect.testing.loopback import LoopbackProvider as Provider
    else:
        if native is None:
            pytest.skip("the core is not compiled")
        from wsdirect.providers.shm.service_provider import SharedMemoryProvider as Provider
    made = San(Provider())
    yield made
    made.close()
