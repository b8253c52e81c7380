"""TLS on plain TCP and switched: the same programs must see the same."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("tls_scenarios.py")
_spec = importlib.util.spec_from_file_location("tls_scenarios", PROGRAM)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

LATE = "a_server_that_accepts_too_late"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    trustme = pytest.importorskip("trustme")
    where = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(where / "ca.pem"))
    for name, identity in (("server", "localhost"), ("client", "client@example.org")):
        certificate = authority.issue_cert(identity)
        certificate.private_key_and_cert_chain_pem.write_to_path(str(where / f"{name}.pem"))
    return where


def run(*command: str | Path, **settings: str) -> dict[str, dict[str, object]]:
    """What each scenario saw; those that a crash or a hang took with it are missing."""
    environment = {key: text for key, text in os.environ.items() if not key.startswith("WSDIRECT")}
    try:
        output = subprocess.run(
            [sys.executable, *map(str, command)],
            stdout=subprocess.PIPE,
            timeout=100,
            env=environment | settings,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
    return {line["name"]: line for line in map(json.loads, output.splitlines())}


@pytest.fixture(scope="module")
def on_tcp(certificates):
    return run(PROGRAM, certificates)


@pytest.fixture(scope="module")
def on_the_san(certificates):
    names = [name for name in _module.scenarios if name != LATE]
    seen = run("-m", "wsdirect", "run", PROGRAM, certificates, *names)
    late = ("-m", "wsdirect", "run", PROGRAM, certificates, LATE)
    return seen | run(*late, WSDIRECT_OFFER_TIMEOUT="0.3")


@pytest.mark.parametrize("name", _module.scenarios)
def test_same_as_tcp(name, on_tcp, on_the_san):
    plain, switched = on_tcp[name], on_the_san[name]
    assert (plain["result"] or [])[:1] != ["failed"], plain["result"][1]
    assert switched["result"] == plain["result"]
    assert switched["switched"]
    assert all(switched["switched"])


def test_ssl_may_be_imported_after_enable():
    program = (
        "import wsdirect; wsdirect.enable(); import ssl; ssl.SSLContext._wrap_socket.__wsdirect__"
    )
    subprocess.run([sys.executable, "-c", program], stderr=subprocess.DEVNULL, check=True)
