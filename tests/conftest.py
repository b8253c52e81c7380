"""Set-up for all tests."""

import os

import hypothesis

# Settings of whoever runs the tests must not decide what is tested, here or in child processes.
for name in [name for name in os.environ if name.startswith("WSDIRECT_")]:
    del os.environ[name]

# No deadline: on a busy machine the first example of a test that makes connections is always late.
hypothesis.settings.register_profile("wsdirect", deadline=None)
hypothesis.settings.load_profile("wsdirect")
