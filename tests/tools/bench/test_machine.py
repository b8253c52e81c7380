"""What is told of the machine, and what is not."""

import json
import os
import socket
import sys

import pytest

from tests.tools.bench import synthetic
from wsdirect.tools.bench import machine

CPUINFO = "processor\t: 0\nmodel name\t: Some  CPU 3000\nflags\t\t: fpu vme{flag} sse\n"


@pytest.fixture
def described(tmp_path):
    """Describe a machine with these files."""

    def describe(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return machine.describe(tmp_path)

    return describe


CPU = "sys__devices__system__cpu"


def test_what_there_is_to_see(described):
    found = described(
        **{
            "proc__cpuinfo": CPUINFO.format(flag=" hypervisor"),
            "proc__meminfo": "MemTotal:       16384 kB\nMemFree: 1 kB\n",
            f"{CPU}__cpu0__cpufreq__scaling_governor": "performance\n",
            f"{CPU}__cpu1__cpufreq__scaling_governor": "powersave\n",
            f"{CPU}__smt__active": "1\n",
            f"{CPU}__cpuidle__current_driver": "haltpoll\n",
            "sys__devices__system__clocksource__clocksource0__current_clocksource": "tsc\n",
        }
    )
    assert found["cpu"] == "Some CPU 3000"
    assert (found["virtual"], found["smt"]) == ("yes", True)
    assert found["memory_bytes"] == 16384 * 1024
    assert found["governor"] == "performance, powersave"
    assert (found["idle_driver"], found["clock"]) == ("haltpoll", "tsc")


def test_bare_metal(described):
    assert described(proc__cpuinfo=CPUINFO.format(flag=""))["virtual"] is None


def test_nothing_to_see(described):
    found = described()
    unknown = ("cpu", "virtual", "memory_bytes", "governor", "smt", "clock", "idle_driver")
    assert [found[name] for name in unknown] == [None] * len(unknown)
    assert found["python"].endswith(".".join(map(str, sys.version_info[:3])))
    # Something is said nevertheless.
    assert machine.sentence(found).startswith(f"{found['usable_cpus']} CPU")


def test_here():
    found = machine.describe()
    text = json.dumps(found)
    assert found["usable_cpus"] == len(os.sched_getaffinity(0))
    assert socket.gethostname() not in text
    for private in (sys.prefix, os.getcwd(), os.path.expanduser("~")):
        assert private not in text or private == "/"


@pytest.mark.parametrize(
    ("release", "kernel"),
    [
        ("6.1.0-27-amd64", "Linux 6.1.0"),
        ("6.6.87.2-builder+", "Linux 6.6.87.2"),
        ("odd", "Linux odd"),
    ],
)
def test_a_kernel_is_told_without_who_built_it(monkeypatch, release, kernel):
    monkeypatch.setattr("platform.release", lambda: release)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    assert machine.describe()["kernel"] == kernel


def test_sentence():
    assert machine.sentence({**synthetic.MACHINE, "governor": "performance"}) == (
        "2 CPUs, A CPU (virtual machine, KVM), Linux 6.1, CPython 3.11.2, "
        "governor performance, clock tsc"
    )
    bare = {**synthetic.MACHINE, "usable_cpus": 1, "virtual": None, "clock": None}
    assert machine.sentence(bare) == "1 CPU, A CPU, Linux 6.1, CPython 3.11.2"


@pytest.mark.parametrize(("load", "said"), [(0.5, False), (3.0, True), (None, False)])
def test_a_busy_machine_is_told(load, said):
    found = machine.busy({**synthetic.MACHINE, "load": load})
    assert (found is not None and "load 3.0" in found) == said
