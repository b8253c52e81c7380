"""What a run was measured on: enough to compare runs by, nothing that names the machine.

Everything is read from /proc and /sys, where it may be missing; what cannot be seen is None.
Host names, user names and paths never enter, so that a kept result can be published as it is.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from wsdirect._version import __version__

__all__ = ["LIBRARIES", "busy", "describe", "sentence"]

BUSY = 0.4
"""The load per CPU from which on results are doubtful; one that has just been busy counts, too."""

LIBRARIES = (
    "aiohttp",
    "httpx",
    "iceoryx2",
    "numpy",
    "pynng",
    "pyzmq",
    "redis",
    "uvicorn",
    "uvloop",
)
"""Libraries whose versions decide what is measured, where they are installed."""

SYSTEM = Path("/")


def describe(root: Path = SYSTEM) -> dict[str, Any]:
    """The machine and its software as plain data.

    Args:
        root: Where /proc and /sys are looked for; a test gives a directory of its own.
    """
    cpuinfo = _text(root / "proc/cpuinfo")
    devices = root / "sys/devices/system"
    return {
        "cpu": _cpu_name(cpuinfo),
        "architecture": platform.machine(),
        "cpus": os.cpu_count(),
        "usable_cpus": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "smt": _flag(_text(devices / "cpu/smt/active")),
        "virtual": _virtual(cpuinfo, root),
        "memory_bytes": _memory(_text(root / "proc/meminfo")),
        "governor": _governor(devices / "cpu"),
        "idle_driver": _text(devices / "cpu/cpuidle/current_driver") or None,
        "clock": _text(devices / "clocksource/clocksource0/current_clocksource") or None,
        "kernel": _kernel(platform.release()),
        "libc": " ".join(platform.libc_ver()).strip() or None,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "wsdirect": __version__,
        "libraries": _versions(LIBRARIES),
    }


def sentence(machine: Mapping[str, Any]) -> str:
    """The description in a line: "2 CPUs of an AMD EPYC (virtual: KVM), Linux 6.18.44, ..."."""
    count = machine["usable_cpus"]
    parts = [f"{count} CPU{'s' if count != 1 else ''}, {machine['cpu'] or machine['architecture']}"]
    if machine["virtual"]:
        parts[0] += f" ({_virtual_text(machine['virtual'])})"
    parts += [machine["kernel"], machine["python"]]
    if machine["governor"]:
        parts.append(f"governor {machine['governor']}")
    if machine["clock"]:
        parts.append(f"clock {machine['clock']}")
    return ", ".join(parts)


def busy(machine: Mapping[str, Any]) -> str | None:
    """A warning if others were using the machine when the run began; None if not, or unknown."""
    load, count = machine.get("load") or 0.0, machine.get("usable_cpus") or 1
    if load <= BUSY * count:
        return None
    return f"The machine was busy when this began (load {load:.1f}): figures and ratios suffer."


def _virtual_text(kind: str) -> str:
    return "virtual machine" if kind == "yes" else f"virtual machine, {kind}"


def _text(path: Path) -> str:
    """What stands in a file, without the white space around; "" if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _flag(text: str) -> bool | None:
    return {"1": True, "0": False}.get(text)


def _cpu_name(cpuinfo: str) -> str | None:
    """The model as x86 and some others name it; aarch64 gives numbers only."""
    for key in ("model name", "Processor", "cpu model"):
        found = re.search(rf"^{key}\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
        if found:
            return " ".join(found[1].split())
    found = re.search(r"^CPU part\s*:\s*(\S+)$", cpuinfo, re.MULTILINE)
    return f"part {found[1]}" if found else None


def _virtual(cpuinfo: str, root: Path) -> str | None:
    """The hypervisor's name, "yes" if there is one without a name, None if none is seen."""
    found = re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.MULTILINE)
    if not found and not (root / "proc/device-tree/hypervisor").exists():
        return None
    if root == SYSTEM:
        try:
            listed = subprocess.run(
                ["lscpu"], env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True
            ).stdout
        except OSError:
            listed = ""
        named = re.search(r"^Hypervisor vendor:\s*(.+)$", listed, re.MULTILINE)
        if named:
            return named[1].strip()
    return "yes"


def _memory(meminfo: str) -> int | None:
    found = re.search(r"^MemTotal:\s*(\d+) kB", meminfo, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _governor(cpus: Path) -> str | None:
    """The frequency governors in use, mostly one."""
    seen = {_text(path) for path in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")}
    return ", ".join(sorted(seen - {""})) or None


def _kernel(release: str) -> str:
    """The numbers of the release only; what a builder appended says where it was built."""
    found = re.match(r"\d+(\.\d+)*", release)
    return f"{platform.system()} {found[0] if found else release}"


def _versions(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found
