"""TLS on plain TCP and switched: the same programs must see the same."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LATE = "a_server_that_accepts_too_late"
OVER_SESSIONS = (
    "echo_of_many_sizes", "non_blocking", "one_thread_reads_while_another_writes",
    "names_and_certificates", "client_certificates", "start_tls_and_back",
    "wrapped_before_connect", "ends_of_the_stream", "a_web_server",
)  # fmt: skip
"""Scenarios that are also run with the switch's session protocol below TLS."""


def names_in(program: str) -> list[str]:
    """The scenarios of a program, in its order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        spec = importlib.util.spec_from_file_location(program, HERE / f"{program}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return list(module.scenarios)


NAMES = {program: names_in(program) for program in ("tls_scenarios", "tls_libraries")}


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


@pytest.fixture(scope="module")
def run(certificates):
    """run(program, launcher's arguments, names, settings): what each scenario saw.

    Each combination runs once.  Scenarios that a crash or a hang took with it are missing.
    """

    @cache
    def once(program, launched, names, settings=()):
        launcher = ("-m", "wsdirect", "run") if launched else ()
        command = [*launcher, str(HERE / f"{program}.py"), str(certificates), *names]
        inherited = {
            key: text for key, text in os.environ.items() if not key.startswith("WSDIRECT")
        }
        try:
            output = subprocess.run(
                [sys.executable, *command],
                stdout=subprocess.PIPE,
                timeout=100,
                env=inherited | dict(settings),
                check=False,
            ).stdout
        except subprocess.TimeoutExpired as error:
            output = error.stdout or b""
        return {line["name"]: line for line in map(json.loads, output.splitlines())}

    return once


def demand_the_same(plain, switched):
    if "missing" in plain:
        pytest.skip(f"{plain['missing']} is not installed")
    assert (plain["result"] or [])[:1] != ["failed"], plain["result"][1]
    assert (switched["result"] or [])[:1] != ["failed"], switched["result"][1]
    assert switched["result"] == plain["result"]
    assert switched["switched"]
    assert all(switched["switched"])


@pytest.mark.parametrize(
    ("program", "name"), [(program, name) for program, names in NAMES.items() for name in names]
)
def test_same_as_tcp(program, name, run):
    plain = run(program, False, ())
    if name == LATE:
        switched = run(program, True, (LATE,), (("WSDIRECT_OFFER_TIMEOUT", "0.3"),))
    else:
        switched = run(program, True, tuple(one for one in NAMES[program] if one != LATE))
    demand_the_same(plain[name], switched[name])


@pytest.mark.parametrize("name", OVER_SESSIONS)
def test_same_as_tcp_over_sessions(name, run):
    switched = run("tls_scenarios", True, OVER_SESSIONS, (("WSDIRECT_SESSION", "always"),))
    demand_the_same(run("tls_scenarios", False, ())[name], switched[name])


def test_ssl_may_be_imported_after_enable():
    program = (
        "import wsdirect; wsdirect.enable(); import ssl; ssl.SSLContext._wrap_socket.__wsdirect__"
    )
    subprocess.run([sys.executable, "-c", program], stderr=subprocess.DEVNULL, check=True)
