"""Write the generated half of `wsdirect.spi`, and `csrc/wsd_spi.h`, from the tables in `spec/`.

    python tools_dev/generate_spi.py            write what differs
    python tools_dev/generate_spi.py --check    write nothing; exit 1 and show what differs

The output is laid out as `ruff format` would, so that formatting the tree never disagrees with it.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import sys
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 100
DIFF_LINES = 40

# The built-in class that Python itself would choose for an OSError with this errno (PEP 3151).
BUILTIN_BASES = {
    "EAGAIN": "BlockingIOError",
    "EALREADY": "BlockingIOError",
    "EINPROGRESS": "BlockingIOError",
    "EPIPE": "BrokenPipeError",
    "ESHUTDOWN": "BrokenPipeError",
    "ECONNABORTED": "ConnectionAbortedError",
    "ECONNREFUSED": "ConnectionRefusedError",
    "ECONNRESET": "ConnectionResetError",
    "EINTR": "InterruptedError",
    "EACCES": "PermissionError",
    "EPERM": "PermissionError",
    "ETIMEDOUT": "TimeoutError",
}

Table = dict[str, Any]


def load(spec: Path, name: str, key: str) -> list[Table]:
    """The entries of one table; each must say where it is from."""
    with (spec / f"{name}.toml").open("rb") as file:
        entries: list[Table] = tomllib.load(file)[key]
    names = [entry["name"] for entry in entries]
    if len(set(names)) != len(names):
        raise SystemExit(f"spec/{name}.toml: a name occurs twice in {key!r}")
    for entry in entries:
        for part in entry["members"] if key == "group" else [entry]:
            if not part.get("source"):
                raise SystemExit(f"spec/{name}.toml: {part['name']} has no source")
    return entries


def heading(table: str, summary: str) -> list[str]:
    """First lines of a generated Python module."""
    made = f"Generated from spec/{table} by tools_dev/generate_spi.py; do not edit."
    return [f'"""{summary}', "", made, '"""', "", "from __future__ import annotations", ""]


def final_import() -> list[str]:
    """`Final` for type checkers only: importing `typing` would cost every process milliseconds."""
    return ["TYPE_CHECKING = False", "if TYPE_CHECKING:", "    from typing import Final", ""]


def call(indent: str, head: str, parts: Iterable[str], tail: str) -> list[str]:
    """`head(parts)tail` on one line if it fits, else one part per line."""
    parts = list(parts)
    line = f"{indent}{head}({', '.join(parts)}){tail}"
    if len(line) <= WIDTH:
        return [line]
    return [f"{indent}{head}(", *(f"{indent}    {part}," for part in parts), f"{indent}){tail}"]


def sequence(name: str, kind: str, items: Iterable[str], brackets: str = "()") -> list[str]:
    """A constant with one item per line; the comma after the last keeps it so."""
    return [f"{name}: {kind} = {brackets[0]}", *(f"    {item}," for item in items), brackets[1]]


def public_names(names: Iterable[str]) -> list[str]:
    """`__all__`, constants before classes as ruff sorts it."""
    ordered = sorted(names, key=lambda name: (not name.isupper(), name))
    return ["__all__ = [", *(f'    "{name}",' for name in ordered), "]"]


def text(lines: Iterable[str]) -> str:
    """Join, and refuse lines that ruff would complain about."""
    lines = list(lines)
    for line in lines:
        if len(line) > WIDTH:
            raise SystemExit(f"generated line is longer than {WIDTH} characters, shorten: {line}")
    return "\n".join(lines) + "\n"


def number(value: int, like: int) -> str:
    """Hexadecimal where the family has large values, as the Windows headers print them."""
    return f"0x{value:X}" if value >= 0 and like > 0x1F else str(value)


# --- errors -------------------------------------------------------------------------------------


def check_errors(errors: list[Table]) -> None:
    """Every errno exists, and stands for one Winsock code only on the way back."""
    seen: dict[int, str] = {}
    for error in errors:
        for name in [error["errno"], *error.get("from_errno", [])]:
            if not hasattr(errno, name):
                raise SystemExit(f"spec/errors.toml: {error['name']}: no errno {name}")
        for name in error.get("from_errno", []):
            other = seen.setdefault(getattr(errno, name), error["name"])
            if other != error["name"]:
                raise SystemExit(f"spec/errors.toml: {name} in {other} and in {error['name']}")


def errors_table(spec: Path) -> str:
    """`spi/errors_table.py`: the codes, and what each is in POSIX terms."""
    errors = load(spec, "errors", "error")
    check_errors(errors)
    lines = heading("errors.toml", "Winsock error codes and their POSIX meaning, as data.")
    lines += ["import errno", "from enum import IntEnum", "", *final_import()]
    lines += [*public_names(["ERRORS", "FROM_ERRNO", "WsaErrorCode"]), "", ""]
    lines += ["class WsaErrorCode(IntEnum):", '    """Winsock error codes by name."""', ""]
    lines += [f"    {error['name']} = {error['code']}" for error in errors]
    lines += ["", "", "# code: (name, errno, sentence)"]
    lines += ["ERRORS: Final[dict[int, tuple[str, int, str]]] = {"]
    for error in errors:
        parts = [f'"{error["name"]}"', f"errno.{error['errno']}", f'"{error["text"]}"']
        lines += call("    ", f"{error['code']}: ", parts, ",")
    lines += ["}", "", "# errno: the code it is reported as"]
    lines += ["FROM_ERRNO: Final[dict[int, int]] = {"]
    lines += [
        f"    errno.{name}: {error['code']},"
        for error in errors
        for name in error.get("from_errno", [])
    ]
    return text([*lines, "}"])


def error_types(spec: Path) -> str:
    """`spi/error_types.py`: one exception class per code."""
    errors = load(spec, "errors", "error")
    lines = heading("errors.toml", "One exception class per Winsock error code.")
    lines += ["from wsdirect.spi._error_base import WSAError", ""]
    lines += public_names(error["name"] for error in errors)
    for error in errors:
        base = BUILTIN_BASES.get(error["errno"])
        bases = ["WSAError", *([base] if base else []), f"code={error['code']}"]
        lines += ["", "", f"class {error['name']}({', '.join(bases)}):"]
        lines += [f'    """{error["text"]}"""']
    return text(lines)


# --- constants, GUIDs, tables -------------------------------------------------------------------


def constants(spec: Path) -> str:
    """`spi/constants.py`: the enums, and every constant under its own name."""
    groups = load(spec, "constants", "group")
    enums = [group for group in groups if group["kind"] != "values"]
    names = [group["name"] for group in enums]
    names += [member["name"] for group in groups for member in group["members"]]
    lines = heading("constants.toml", "Constants of the SPI, with Winsock's values.")
    lines += ["from enum import IntEnum, IntFlag", "", *final_import(), *public_names(names)]
    for group in enums:
        largest = max(member["value"] for member in group["members"])
        lines += ["", "", f"class {group['name']}({group['kind']}):"]
        lines += [f'    """{group["doc"]}"""', ""]
        for member in group["members"]:
            value = number(member["value"], largest)
            lines += [f"    {member['name']} = {value}  # {member['doc']}"]
    lines += [""]
    for group in groups:
        lines += [""]
        for member in group["members"]:
            if group["kind"] == "values":
                value = number(member["value"], member["value"])
                lines += [f"{member['name']}: Final = {value}  # {member['doc']}"]
            else:
                lines += [f"{member['name']}: Final = {group['name']}.{member['name']}"]
    return text(lines)


def extension_ids(spec: Path) -> str:
    """`spi/extension_ids.py`: the GUIDs of the extension functions."""
    extensions = load(spec, "extensions", "extension")
    lines = heading("extensions.toml", "GUIDs of the extension functions.")
    lines += ["from wsdirect.spi.guid import GUID", "", *final_import()]
    names = [extension["name"] for extension in extensions]
    lines += [*public_names([*names, "EXTENSION_FUNCTIONS", "REQUIRED_EXTENSIONS"]), ""]
    for extension in extensions:
        lines += call("", f"{extension['name']}: Final = GUID", [f'"{extension["guid"]}"'], "")
    lines += ["", "# GUID: the function it asks for"]
    functions = [f'{extension["name"]}: "{extension["function"]}"' for extension in extensions]
    lines += sequence("EXTENSION_FUNCTIONS", "Final[dict[GUID, str]]", functions, "{}")
    lines += ["", "# A SAN provider without one of these is not used."]
    required = [extension["name"] for extension in extensions if extension["required"]]
    lines += sequence("REQUIRED_EXTENSIONS", "Final[tuple[GUID, ...]]", required)
    return text(lines)


def layout(spec: Path) -> str:
    """`spi/layout.py`: structures in memory, and the order of the function tables."""
    structures = load(spec, "structures", "structure")
    procedures = load(spec, "tables", "procedure")
    upcalls = load(spec, "tables", "upcall")
    lines = heading(
        "structures.toml and spec/tables.toml", "Memory layout of the SPI's structures and tables."
    )
    names = ["PROC_TABLE", "REQUIRED_PROCEDURES", "SIZES", "STRUCTURES"]
    lines += [*final_import(), *public_names([*names, "UPCALLS_OF_A_SAN", "UPCALL_TABLE"])]
    lines += ["", "# Index times the size of a pointer is the offset in WSPPROC_TABLE."]
    quoted = [f'"{procedure["name"]}"' for procedure in procedures]
    lines += sequence("PROC_TABLE", "Final[tuple[str, ...]]", quoted)
    lines += ["", "# What a SAN provider has to supply; the other entries are never called."]
    quoted = [f'"{procedure["name"]}"' for procedure in procedures if procedure["required"]]
    lines += sequence("REQUIRED_PROCEDURES", "Final[tuple[str, ...]]", quoted)
    lines += ["", "# Likewise the order of WSPUPCALLTABLEEX."]
    quoted = [f'"{upcall["name"]}"' for upcall in upcalls]
    lines += sequence("UPCALL_TABLE", "Final[tuple[str, ...]]", quoted)
    lines += ["", "# The upcalls that a SAN provider makes."]
    quoted = [f'"{upcall["name"]}"' for upcall in upcalls if upcall["used"]]
    lines += sequence("UPCALLS_OF_A_SAN", "Final[tuple[str, ...]]", quoted)
    lines += ["", "# Bytes, 64-bit."]
    sizes = [f'"{structure["name"]}": {structure["size"]}' for structure in structures]
    lines += sequence("SIZES", "Final[dict[str, int]]", sizes, "{}")
    lines += ["", "# structure: {member: (offset in bytes, size in bytes, type)}"]
    lines += ["STRUCTURES: Final[dict[str, dict[str, tuple[int, int, str]]]] = {"]
    for structure in structures:
        lines += [f'    "{structure["name"]}": {{']
        for member in structure["members"]:
            parts = [str(member["offset"]), str(member["size"]), f'"{member["type"]}"']
            lines += call("        ", f'"{member["name"]}": ', parts, ",")
        lines += ["    },"]
    return text([*lines, "}"])


# --- C ------------------------------------------------------------------------------------------


def macro(name: str, items: Iterable[str]) -> list[str]:
    """An X macro: `#define NAME(X)` and one item per line."""
    body = [f"#define {name}(X)", *(f"    {item}" for item in items)]
    return [*(f"{line} \\" for line in body[:-1]), body[-1]]


def guid_bytes(guid: str) -> str:
    """C initialiser of a GUID; its first three fields are little-endian in memory."""
    first, second, third, *rest = guid.split("-")
    fields = [bytes.fromhex(field)[::-1] for field in (first, second, third)]
    raw = b"".join(fields) + bytes.fromhex("".join(rest))
    return "{" + ", ".join(f"0x{byte:02X}" for byte in raw) + "}"


def c_header(spec: Path) -> str:
    """`csrc/wsd_spi.h`: the same for C."""
    errors = load(spec, "errors", "error")
    lines = ["/* Generated from spec/ by tools_dev/generate_spi.py; do not edit. */"]
    lines += ["#ifndef WSD_SPI_H", "#define WSD_SPI_H", "", "#include <stdint.h>", ""]
    lines += ["/* Winsock's values differ from those of the system headers: hence the prefix. */"]
    lines += ["enum wsd_error {"]
    lines += [f"    WSD_{error['name']} = {error['code']}," for error in errors]
    lines += ["};", "", "/* X(name, Winsock code, errno); needs <errno.h> */"]
    lines += macro("WSD_ERRORS", [f"X({e['name']}, {e['code']}, {e['errno']})" for e in errors])
    lines += ["", "/* X(errno, Winsock code): what a POSIX error is reported as */"]
    pairs = [
        f"X({name}, {error['code']})" for error in errors for name in error.get("from_errno", [])
    ]
    lines += macro("WSD_ERRORS_FROM_ERRNO", pairs)
    for group in load(spec, "constants", "group"):
        lines += ["", f"/* {group['doc']} */"]
        for member in group["members"]:
            value = member["value"]
            # INVALID_SOCKET is the only constant of a type other than int or uint32_t.
            if member["name"] == "INVALID_SOCKET":
                shown = "UINT64_MAX"
            elif value < 0:
                shown = f"({value})"
            else:
                shown = number(value, value) + ("u" if value > 0x7FFFFFFF else "")
            lines += [f"#define WSD_{member['name']} {shown}"]
    lines += ["", "/* GUIDs of the extension functions, as 16 bytes in memory. */"]
    for extension in load(spec, "extensions", "extension"):
        lines += [f"#define WSD_{extension['name']} \\", f"    {guid_bytes(extension['guid'])}"]
    lines += ["", "/* Sizes and offsets of the structures in the 64-bit ABI, in bytes. */"]
    for structure in load(spec, "structures", "structure"):
        lines += [f"#define WSD_SIZEOF_{structure['name']} {structure['size']}"]
        lines += [
            f"#define WSD_OFFSETOF_{structure['name']}_{member['name']} {member['offset']}"
            for member in structure["members"]
        ]
    lines += ["", "/* X(index, name, required) in the order of WSPPROC_TABLE */"]
    procedures = enumerate(load(spec, "tables", "procedure"))
    lines += macro(
        "WSD_PROC_TABLE", [f"X({i}, {p['name']}, {int(p['required'])})" for i, p in procedures]
    )
    lines += ["", "/* X(index, name, used by a SAN provider) in the order of WSPUPCALLTABLEEX */"]
    upcalls = enumerate(load(spec, "tables", "upcall"))
    lines += macro(
        "WSD_UPCALL_TABLE", [f"X({i}, {u['name']}, {int(u['used'])})" for i, u in upcalls]
    )
    return text([*lines, "", "#endif"])


# --- files --------------------------------------------------------------------------------------

OUTPUTS: dict[str, Callable[[Path], str]] = {
    "src/wsdirect/spi/errors_table.py": errors_table,
    "src/wsdirect/spi/error_types.py": error_types,
    "src/wsdirect/spi/constants.py": constants,
    "src/wsdirect/spi/extension_ids.py": extension_ids,
    "src/wsdirect/spi/layout.py": layout,
    "csrc/wsd_spi.h": c_header,
}


def read(path: Path) -> str:
    """The file as it is; one that does not exist differs in every line."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def main(arguments: list[str] | None = None) -> int:
    """Generate or check; the exit status."""
    parser = argparse.ArgumentParser(description="Generate wsdirect.spi and csrc/wsd_spi.h.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree to work on")
    options = parser.parse_args(arguments)
    stale = 0
    for name, make in OUTPUTS.items():
        path = options.root / name
        old, new = read(path), make(options.root / "spec")
        if old == new:
            continue
        stale += 1
        if options.check:
            difference = difflib.unified_diff(
                old.splitlines(), new.splitlines(), name, f"{name} (generated)", lineterm=""
            )
            print(*list(difference)[:DIFF_LINES], sep="\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(new, encoding="utf-8")
            print(f"wrote {name}")
    if options.check and stale:
        print(f"{stale} generated file(s) differ; run: python tools_dev/generate_spi.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
