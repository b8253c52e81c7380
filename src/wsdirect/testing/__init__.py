"""For people who write service providers: the conformance suite, and a reference provider.

    python -m wsdirect.testing conformance --provider NAME

or, in a test file of yours:

    from wsdirect.testing import Subject, conformance_tests

    test_conformance = conformance_tests(Subject("mine", MyProvider))

Nothing here is loaded into other people's processes, so it uses the standard library freely.
"""

from __future__ import annotations

from wsdirect.testing.conformance.runner import run
from wsdirect.testing.expect import Deviation, NotApplicable
from wsdirect.testing.faults import Fault, FaultInjector
from wsdirect.testing.pytest_plugin import conformance_tests
from wsdirect.testing.subject import Subject

__all__ = [
    "Deviation",
    "Fault",
    "FaultInjector",
    "NotApplicable",
    "Subject",
    "conformance_tests",
    "run",
]
