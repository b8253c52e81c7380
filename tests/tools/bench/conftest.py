import pytest


@pytest.fixture
def bench_cli(cli):
    """Start `wsdirect bench` with these arguments."""

    def start(*arguments):
        return cli("bench", *arguments)

    return start
