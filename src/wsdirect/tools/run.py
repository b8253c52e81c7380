"""`wsdirect run`: start a program so that it, and its children, switch their connections.

The program gets a fresh interpreter by exec: sys.argv, sys.path, __main__, signals and the exit
status are then its own, exactly as without wsdirect.  What makes it switch is the environment:
a directory at the head of PYTHONPATH whose `sitecustomize` readies the interpreter (see
wsdirect/_launch), and the settings.  Children inherit both.
"""

from __future__ import annotations

import os
import sys

from wsdirect import settings
from wsdirect.tools.text import nearest, stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

__all__ = ["environment", "main", "without_switch"]

HELP = """\
usage: wsdirect run [options] script.py [arguments]
       wsdirect run [options] -m module [arguments]
       wsdirect run [options] -c code [arguments]
       wsdirect run [options] command [arguments]

Runs a program with its TCP connections switched wherever the peer runs this way, too; all others
stay on TCP. Python programs that it starts are included, whatever starts them, unless they run
with python -I, -E or -S. Interpreter options go with a command: wsdirect run python -X dev app.py

options:
  --require         a connection that cannot be switched raises ConnectionError
  --strict          descriptors tell the truth to pollers outside Python, too
  --spin-us N       longest busy wait in microseconds: auto, or 0 to 10000
  --ring SIZE       bytes a connection holds in each direction: 4K to 16M, a power of two
  --exclude LIST    host:port, host or port, with commas between them, that stay on TCP
  --log LEVEL       off, error, info or debug
  --no-switch       run the program on plain TCP
  --help            this text

wsdirect env lists all settings; each can be set in the environment instead.
"""

FLAGS = {
    "--require": ("WSDIRECT_REQUIRE", "1"),
    "--strict": ("WSDIRECT_STRICT", "1"),
    "--no-switch": ("WSDIRECT", "0"),
}
VALUES = {
    "--spin-us": "WSDIRECT_SPIN_US",
    "--ring": "WSDIRECT_RING",
    "--exclude": "WSDIRECT_EXCLUDE",
    "--log": "WSDIRECT_LOG",
}
SCRIPT_ENDINGS = (".py", ".pyw", ".pyz")


def main(words: list[str]) -> int:
    """Parse the command line and become the program; returns only for --help."""
    changes, target = _options(words)
    if changes is None:
        print(HELP, end="")
        return 0
    if not target:
        stop("run needs a program: a script, -m module, -c code or a command.")
    given = {value: option for option, value in VALUES.items() if value in changes}
    try:
        environ = environment(os.environ, changes)
    except settings.SettingError as error:
        if error.name in given:
            text = str(error).replace(error.name, given[error.name], 1)
            raise settings.SettingError(error.name, text) from None
        raise
    file, arguments = command_line(target)
    _without_core(environ)
    _become(file, arguments, environ)


def _without_core(environ: dict[str, str]) -> None:
    """Where there is no compiled core, say it here, once, and not in every child."""
    if environ["WSDIRECT"] == "0" or _core_is_there():
        return
    if settings.load(environ).require:
        stop("switching is required, but this platform has no compiled core; see wsdirect doctor.")
    say = "wsdirect: this platform has no compiled core: all connections stay on TCP."
    if settings.load(environ).logs("error"):
        print(say, file=sys.stderr, flush=True)
    environ["WSDIRECT"] = "0"


def _core_is_there() -> bool:
    """Whether the extension module has been built; loading it is the program's business."""
    folder = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "_core")
    return any(name.startswith("_native.") and name.endswith(".so") for name in os.listdir(folder))


BOOTSTRAP = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "_launch")


def environment(environ: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """The environment for a program under the switch; SettingError if a setting is bad.

    `changes` are settings (WSDIRECT_*) to put over those in `environ`.
    """
    made = {**environ, "WSDIRECT": "1", **changes}
    settings.load(made)
    path = [BOOTSTRAP, *_python_path(environ)]
    parent = os.path.dirname(os.path.dirname(BOOTSTRAP))
    if parent not in sys.path[1:] and parent not in path:
        path.append(parent)  # found through the current directory: the program's is another
    made["PYTHONPATH"] = os.pathsep.join(path)
    return made


def without_switch(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a program outside the switch, even if this one is under it."""
    made = {name: value for name, value in environ.items() if name != "WSDIRECT"}
    path = _python_path(environ)
    if path:
        made["PYTHONPATH"] = os.pathsep.join(path)
    else:
        made.pop("PYTHONPATH", None)
    return made


def _python_path(environ: Mapping[str, str]) -> list[str]:
    entries = environ.get("PYTHONPATH", "").split(os.pathsep)
    return [entry for entry in entries if entry and entry != BOOTSTRAP]


def _options(words: list[str]) -> tuple[dict[str, str] | None, list[str]]:
    """Settings from the options, and the rest; None for the settings means --help."""
    changes: dict[str, str] = {}
    place = 0
    while place < len(words):
        word = words[place]
        if word in ("-m", "-c", "-") or not word.startswith("-"):
            break
        place += 1
        if word == "--":
            break
        if word in ("-h", "--help"):
            return None, []
        option, equals, value = word.partition("=")
        if option in FLAGS and not equals:
            name, text = FLAGS[option]
            changes[name] = text
        elif option in VALUES:
            if not equals:
                if place == len(words):
                    stop(f"{option} needs a value: {settings_valid(VALUES[option])}.")
                value = words[place]
                place += 1
            changes[VALUES[option]] = value
        elif option in FLAGS:
            stop(f"{option} takes no value.")
        elif word[:2] in ("-m", "-c"):
            # python accepts -mmodule and -ccode
            return changes, [word[:2], word[2:], *words[place:]]
        else:
            near = nearest(option, [*FLAGS, *VALUES])
            hint = f"did you mean {near[0]}?" if near else "wsdirect run --help lists the options."
            if not word.startswith("--"):
                hint = f"interpreter options go with a command: wsdirect run python {word} ..."
            stop(f"run has no option {option}: {hint}")
    return changes, words[place:]


def settings_valid(name: str) -> str:
    """What would be valid for the setting of this name."""
    return next(setting.valid for setting in settings.ALL if setting.name == name)


def command_line(target: list[str]) -> tuple[str, list[str]]:
    """The file to execute and its argv (the first is the program's name); Usage if none."""
    word = target[0]
    if word in ("-m", "-c"):
        if len(target) == 1 or not target[1]:
            stop(f"{word} needs {'a module' if word == '-m' else 'code'} to run.")
        return _python(target)
    if word == "-" or _is_script(word):
        return _python(target)
    command = _find(word)
    if command is None:
        _missing(word)
    return command, target


def _python(target: list[str]) -> tuple[str, list[str]]:
    if not sys.executable:
        stop("this Python does not know its own path; name it: wsdirect run python3 ...")
    return sys.executable, [sys.executable, *_interpreter_options(), *target]


def _interpreter_options() -> list[str]:
    """Options of `python <options> -m wsdirect run`: the user meant them for the program."""
    before = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
    if before[-2:] != ["-m", "wsdirect"]:
        return []
    if sys.flags.ignore_environment or sys.flags.no_site:
        stop("python -I, -E and -S keep the switch out; run wsdirect without them.")
    return before[:-2]


def _is_script(word: str) -> bool:
    if os.path.isdir(word):
        return os.path.isfile(os.path.join(word, "__main__.py"))
    if not os.path.exists(word):
        return False
    if word.lower().endswith(SCRIPT_ENDINGS):
        return True
    return os.path.isfile(word) and os.access(word, os.R_OK) and not os.access(word, os.X_OK)


def _find(word: str) -> str | None:
    """The executable that a shell would run for this word."""
    if os.sep in word:
        return word if os.path.isfile(word) and os.access(word, os.X_OK) else None
    for folder in (*os.get_exec_path(), ""):  # and, unlike a shell, a file right here
        path = os.path.join(folder or os.curdir, word)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def _missing(word: str) -> NoReturn:
    if os.path.isdir(word):
        stop(f"{word} is a directory without a __main__.py, so there is nothing to run.")
    if os.path.exists(word):
        stop(f"{word} can be neither read nor executed.")
    folder, name = os.path.split(word)
    try:
        files = os.listdir(folder or os.curdir)
    except OSError:
        stop(f"cannot run {word}: there is no directory {folder}.")
    where = f"in {folder}" if folder else "here or on PATH"
    near = [os.path.join(folder, match) for match in nearest(name, files, 3)]
    hint = f"; did you mean {' or '.join(near)}?" if near else "."
    stop(f"cannot run {word}: there is no such file {where}{hint}")


def _become(file: str, arguments: list[str], environ: dict[str, str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(file, arguments, environ)
    except OSError as error:
        stop(f"cannot run {file}: {error.strerror}.")
