"""The command `wsdirect`: finds the subcommand and hands over.

`wsdirect run` goes through here on its way to the user's program, so nothing is imported that
it does not need: no argparse, no json, not even the other subcommands.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

SUBCOMMANDS = {
    "run": "run a Python program with its TCP connections switched",
    "demo": "move a file between two standard programs, with the switch and without",
    "bench": "measure it against other ways to exchange bytes on this machine",
    "ss": "list the connections of running programs and the path that each takes",
    "doctor": "check what switching needs on this machine",
    "env": "list the settings: value, source, default",
}

HELP = """\
usage: wsdirect <command> [options]

{commands}

wsdirect <command> --help tells more about each; wsdirect --version prints the version.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the result is the exit status (2 for a mistake in the command line).

    `run` does not come back when it succeeds: the user's program takes the process over.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        width = max(map(len, SUBCOMMANDS))
        commands = "\n".join(f"  {name:{width}}  {doc}" for name, doc in SUBCOMMANDS.items())
        print(HELP.format(commands=commands), end="")
        return 0
    name, *rest = words
    if name in ("-V", "--version"):
        from wsdirect._version import __version__

        print(f"wsdirect {__version__}")
        return 0

    from wsdirect.settings import SettingError
    from wsdirect.tools.text import Usage

    try:
        status = _subcommand(name, rest)
        sys.stdout.flush()
        return status
    except (Usage, SettingError) as error:
        sys.stdout.flush()
        print(f"wsdirect: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) has seen enough; keep the interpreter from complaining at exit.
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _subcommand(name: str, words: list[str]) -> int:
    if name == "run":
        from wsdirect.tools import run

        return run.main(words)
    if name == "demo":
        from wsdirect.tools import demo

        return demo.main(words)
    if name == "bench":
        from wsdirect.tools import bench

        return bench.main(words)
    if name == "ss":
        from wsdirect.tools import ss

        return ss.main(words)
    if name == "doctor":
        from wsdirect.tools import doctor

        return doctor.main(words)
    if name == "env":
        from wsdirect.tools import env

        return env.main(words)

    from wsdirect.tools.text import nearest, stop

    near = nearest(name, SUBCOMMANDS)
    meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(SUBCOMMANDS)}."
    stop(f"there is no command {name!r}: {meant}")
