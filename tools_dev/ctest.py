"""Builds and runs csrc/tests/*.c under each sanitizer: `make ctest`.

A test is one C file with a main() that returns 0. It is linked with all of csrc/wsd_*.c, three
times: optimised as shipped, under the thread sanitizer, and under address + undefined behaviour.

    python tools_dev/ctest.py                  everything
    python tools_dev/ctest.py ring --flavour tsan   tests with "ring" in the name, one flavour
"""

import argparse
import contextlib
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
BUILD = ROOT / "build" / "ctest"

COMMON = ["-std=gnu11", "-D_GNU_SOURCE", "-pthread", "-Wall", "-Wextra", "-Werror", "-g"]
FLAVOURS = {
    "plain": ["-O2"],
    "tsan": ["-O1", "-fsanitize=thread"],
    "asan": ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
}
# A hang is the failure to expect of code that waits, so every run ends by itself.
TIME_LIMIT = {"plain": 60, "tsan": 180, "asan": 180}
SANITIZER_ENV = {
    "TSAN_OPTIONS": "halt_on_error=1 second_deadlock_stack=1",
    "ASAN_OPTIONS": "detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CC", "cc"))


def cc_flags(flavour: str) -> list[str]:
    flags = [*COMMON, *FLAVOURS[flavour], f"-I{CSRC}"]
    if flavour == "tsan" and is_gcc():
        # gcc warns that TSan does not model fences. The core uses them, and knows.
        flags.append("-Wno-tsan")
    return flags


def is_gcc() -> bool:
    macros = subprocess.run(
        [*compiler(), "-dM", "-E", "-x", "c", os.devnull], capture_output=True, text=True
    )
    return "__GNUC__" in macros.stdout and "__clang__" not in macros.stdout


def compile_all(jobs: list[list[str]]) -> None:
    """Runs compiler commands side by side; the first error's text ends the program."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for command, done in zip(
            jobs,
            pool.map(lambda job: subprocess.run(job, capture_output=True, text=True), jobs),
            strict=True,
        ):
            if done.returncode:
                sys.exit(f"ctest: {shlex.join(command)}\n{done.stdout}{done.stderr}")


def build(flavour: str, sources: list[Path], tests: list[Path]) -> list[Path]:
    folder = BUILD / flavour
    folder.mkdir(parents=True, exist_ok=True)
    flags = cc_flags(flavour)
    objects = [folder / f"{source.stem}.o" for source in sources]
    programs = [folder / test.stem for test in tests]
    compile_all(
        [
            [*compiler(), *flags, "-c", str(source), "-o", str(out)]
            for source, out in zip(sources, objects, strict=True)
        ]
    )
    compile_all(
        [
            [*compiler(), *flags, str(test), *map(str, objects), "-o", str(out)]
            for test, out in zip(tests, programs, strict=True)
        ]
    )
    return programs


def tsan_prefix() -> list[str]:
    """What to put before a program under TSan, so that it starts on this kernel.

    TSan expects the program at certain addresses, and kernels that randomise more bits than it
    was made for put it elsewhere ("unexpected memory mapping"); setarch -R turns that off.
    The mapping is drawn anew for every run, hence several tries.
    """
    probe = BUILD / "tsan" / "probe"
    probe.parent.mkdir(parents=True, exist_ok=True)
    source = probe.with_suffix(".c")
    source.write_text("int main(void) { return 0; }\n")
    compile_all([[*compiler(), "-fsanitize=thread", str(source), "-o", str(probe)]])
    for prefix in ([], ["setarch", platform.machine(), "-R"]):
        try:
            runs = [subprocess.run([*prefix, probe], capture_output=True) for _ in range(10)]
        except FileNotFoundError:
            continue
        if all(run.returncode == 0 for run in runs):
            return prefix
    sys.exit("ctest: programs under the thread sanitizer do not start here, nor under setarch -R")


def run(program: Path, flavour: str, prefix: list[str]) -> bool:
    log = program.with_suffix(".log")
    started = time.monotonic()
    with log.open("wb") as output:
        # A session of its own, so that children the test forked end with it, hung or not.
        process = subprocess.Popen(
            [*prefix, str(program)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | SANITIZER_ENV,
            start_new_session=True,
        )
        try:
            code = process.wait(TIME_LIMIT[flavour])
            failure = f"exit {code}" if code else ""
        except subprocess.TimeoutExpired:
            failure = f"still running after {TIME_LIMIT[flavour]} s"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    took = time.monotonic() - started
    verdict = "FAIL" if failure else "ok"
    print(f"{verdict:4}  {flavour:5}  {program.name:28}  {took:6.1f} s  {failure}".rstrip())
    if failure:
        print(log.read_text(errors="replace"))
    sys.stdout.flush()
    return not failure


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", default="", help="only tests with this in their name")
    parser.add_argument("--flavour", choices=FLAVOURS, action="append")
    options = parser.parse_args()

    everything = sorted((CSRC / "tests").glob("*.c"))
    tests = [test for test in everything if options.name in test.stem]
    if not everything:
        print("ctest: NO C TESTS: csrc/tests has no *.c, nothing was checked")
        return 0
    if not tests:
        print(f"ctest: no test has {options.name!r} in its name")
        return 1

    results = []
    for flavour in options.flavour or FLAVOURS:
        prefix = tsan_prefix() if flavour == "tsan" else []
        # One after the other: these tests measure waiting, and must have the CPUs to themselves.
        programs = build(flavour, sorted(CSRC.glob("wsd_*.c")), tests)
        results += [run(program, flavour, prefix) for program in programs]
    print(f"ctest: {sum(results)} of {len(results)} ok")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
