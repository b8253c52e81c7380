import os
import shutil
import stat
import subprocess
import sys
import zipapp
from pathlib import Path

import pytest

from wsdirect.tools import run
from wsdirect.tools.text import Usage

SHOW = "import os, sys; print(sys.argv, __name__, os.environ.get('WSDIRECT'))"


def test_a_script(cli, tmp_path):
    (tmp_path / "show.py").write_text(SHOW + "\nprint(sys.path[0], sys.executable)")
    ended = cli("run", "show.py", "--log", "x")
    assert ended.stdout.splitlines() == [
        "['show.py', '--log', 'x'] __main__ 1",
        f"{tmp_path} {sys.executable}",
    ]


def test_a_script_by_another_name(cli, tmp_path):
    (tmp_path / "show").write_text(SHOW)
    assert cli("run", "show", "1").stdout == "['show', '1'] __main__ 1\n"


def test_a_module(cli, tmp_path):
    (tmp_path / "shown.py").write_text(SHOW)
    expected = f"['{tmp_path / 'shown.py'}', '-c'] __main__ 1\n"
    assert cli("run", "-m", "shown", "-c").stdout == expected
    assert cli("run", "-mshown", "-c").stdout == expected


def test_code(cli):
    assert cli("run", "-c", SHOW, "a", "-b").stdout == "['-c', 'a', '-b'] __main__ 1\n"


def test_a_command(cli, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho $WSDIRECT $0 $@\nexit 7\n")
    program.chmod(0o755)
    ended = cli("run", "./program", "a", "b")
    assert ended.stdout == "1 ./program a b\n"
    assert ended.returncode == 7
    assert cli("run", "program").returncode == 7
    assert cli("run", "env").returncode == 0


def test_interpreter_options_with_a_command(cli):
    ended = cli("run", sys.executable, "-X", "dev", "-c", "import sys; print(sys.flags.dev_mode)")
    assert ended.stdout == "True\n"


def test_interpreter_options_before_the_module(python):
    code = "import sys; print(sys.flags.dev_mode, sys.flags.optimize)"
    ended = python("-X", "dev", "-O", "-m", "wsdirect", "run", "-c", code)
    assert ended.stdout == "True 1\n"
    ended = python("-I", "-S", "-c", "print()")
    assert ended.returncode == 0


def test_an_interpreter_option_in_the_wrong_place(cli):
    ended = cli("run", "-X", "dev", "show.py")
    assert ended.returncode == 2
    assert "wsdirect run python -X" in ended.stderr


def test_a_directory_and_an_archive(cli, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").write_text(SHOW)
    assert cli("run", "app", "x").stdout == "['app', 'x'] __main__ 1\n"
    zipapp.create_archive(tmp_path / "app", tmp_path / "packed.pyz")
    assert cli("run", "packed.pyz").stdout == "['packed.pyz'] __main__ 1\n"


@pytest.mark.parametrize("status", [0, 1, 3, 255])
def test_the_exit_status_is_the_programs(cli, status):
    assert cli("run", "-c", f"raise SystemExit({status})").returncode == status


def test_death_by_signal_is_the_programs(cli):
    ended = cli("run", "-c", "import os; os.kill(os.getpid(), 9)")
    assert ended.returncode == -9


def test_the_program_gets_the_process_itself(cli):
    ended = cli("run", "-c", "import os; print(os.getppid())")
    assert ended.stdout == f"{os.getpid()}\n"


@pytest.mark.parametrize(
    ("options", "name", "text"),
    [
        (["--require"], "WSDIRECT_REQUIRE", "1"),
        (["--strict"], "WSDIRECT_STRICT", "1"),
        (["--no-switch"], "WSDIRECT", "0"),
        (["--spin-us", "50"], "WSDIRECT_SPIN_US", "50"),
        (["--spin-us=auto"], "WSDIRECT_SPIN_US", "auto"),
        (["--ring", "1M", "--require"], "WSDIRECT_RING", "1M"),
        (["--exclude", "80,host:1", "--"], "WSDIRECT_EXCLUDE", "80,host:1"),
        (["--log=debug"], "WSDIRECT_LOG", "debug"),
    ],
)
def test_options_are_settings_for_the_program(cli, options, name, text):
    ended = cli("run", *options, "-c", f"import os; print(os.environ[{name!r}])")
    assert (ended.stdout, ended.returncode) == (f"{text}\n", 0)


def test_options_go_before_the_environment(cli):
    code = "import os; print(os.environ['WSDIRECT_LOG'])"
    assert cli("run", "--log", "off", "-c", code, env={"WSDIRECT_LOG": "info"}).stdout == "off\n"


def test_a_run_within_a_run(cli):
    inner = "import os; print(os.environ['PYTHONPATH'].count('_launch'), os.environ['WSDIRECT'])"
    ended = cli("run", sys.executable, "-m", "wsdirect", "run", "-c", inner)
    assert ended.stdout == "1 1\n"
    ended = cli("run", sys.executable, "-m", "wsdirect", "run", "--no-switch", "-c", inner)
    assert ended.stdout == "1 0\n"


def test_the_users_python_path_stays(cli, environ, tmp_path):
    path = os.pathsep.join([environ["PYTHONPATH"], str(tmp_path)])
    ended = cli("run", "-c", "import os; print(os.environ['PYTHONPATH'])", env={"PYTHONPATH": path})
    assert ended.stdout.endswith(f"{os.sep}_launch{os.pathsep}{path}\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "run needs a program: a script, -m module, -c code or a command."),
        (["--require"], "run needs a program: a script, -m module, -c code or a command."),
        (["-m"], "-m needs a module to run."),
        (["-c"], "-c needs code to run."),
        (["--ring"], "--ring needs a value: a power of two from 4096 (4K) to 16777216 (16M), "
         "in bytes."),
        (["--rong", "4K"], "run has no option --rong: did you mean --ring?"),
        (["--zzz"], "run has no option --zzz: wsdirect run --help lists the options."),
        (["--require=1", "x"], "--require takes no value."),
        (["--ring", "5000", "-c", "0"], "--ring is '5000', which does not fit: valid is a power "
         "of two from 4096 (4K) to 16777216 (16M), in bytes."),
        (["servr.py"], "cannot run servr.py: there is no such file here or on PATH; did you mean "
         "server.py?"),
        (["./sub/x.py"], "cannot run ./sub/x.py: there is no directory ./sub."),
        (["no-such-command"], "cannot run no-such-command: there is no such file here or on "
         "PATH."),
        (["folder"], "folder is a directory without a __main__.py, so there is nothing to run."),
        (["./bad"], "cannot run ./bad: Exec format error."),
    ],
)  # fmt: skip
def test_mistakes(cli, tmp_path, words, sentence):
    (tmp_path / "server.py").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "bad").write_bytes(b"\0\1\2")
    (tmp_path / "bad").chmod(0o755)
    ended = cli("run", *words)
    assert ended.returncode == 2
    assert ended.stderr == f"wsdirect: {sentence}\n"
    assert ended.stdout == ""


def test_a_bad_setting_in_the_environment(cli):
    ended = cli("run", "-c", "print(1)", env={"WSDIRECT_SLOTS": "many"})
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "wsdirect: WSDIRECT_SLOTS is 'many', which does not fit: valid is 1 to 1024.\n"
    )


def test_help_does_not_need_a_program(cli):
    ended = cli("run", "--help")
    assert ended.returncode == 0
    assert ended.stdout.startswith("usage: wsdirect run")
    for option in (*run.FLAGS, *run.VALUES):
        assert f"  {option}" in ended.stdout


def test_the_way_to_the_program_is_light(python):
    """What the launcher imports is paid by every start."""
    code = (
        "import sys; before = set(sys.modules)\n"
        "import os; os.execve = lambda *_: sys.exit(' '.join(sorted(set(sys.modules) - before)))\n"
        "from wsdirect.__main__ import main; sys.exit(main(['run', '--ring', '4K', '-c', '1']))"
    )
    loaded = python("-c", code).stderr.split()
    assert "wsdirect.tools.run" in loaded
    others = {name for name in loaded if not name.startswith("wsdirect")}
    assert others <= {"__future__"}


def test_an_executable_python_file_is_a_script(tmp_path):
    script = tmp_path / "tool.py"
    script.write_text("#!/bin/false\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    file, arguments = run.command_line([str(script)])
    assert file == sys.executable
    assert arguments[-1] == str(script)


def test_an_interpreter_that_ignores_the_environment(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["wsdirect", "run", "x"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-I", "-m", "wsdirect", "run", "x"])

    class Flags:
        ignore_environment = 1
        no_site = 0

    monkeypatch.setattr(sys, "flags", Flags)
    with pytest.raises(Usage, match="keep the switch out"):
        run.command_line(["-c", "1"])


def test_without_switch_undoes_environment():
    environ = {"A": "b", "WSDIRECT_LOG": "info"}
    made = run.environment(environ, {})
    assert made["WSDIRECT"] == "1"
    undone = run.without_switch(made)
    assert undone.pop("PYTHONPATH", "").count("_launch") == 0
    assert undone == environ


def _without_core(tmp_path):
    """A copy of the package whose compiled core was never built."""
    package = Path(run.__file__).parent.parent
    ignore = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(package, tmp_path / "wsdirect", ignore=ignore)
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def test_without_compiled_core_it_says_so_once_and_stays_on_tcp(tmp_path):
    program = (
        "import socket, subprocess, sys\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "client = socket.create_connection(server.getsockname())\n"
        "subprocess.run([sys.executable, '-c', 'import socket'], check=True)\n"
        "print('worked')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "wsdirect", "run", "-c", program],
        env=_without_core(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "worked\n")
    assert done.stderr.count("compiled core") == 1


def test_without_compiled_core_a_required_switch_is_refused(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "wsdirect", "run", "--require", "-c", "pass"],
        env=_without_core(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "compiled core" in done.stderr
    assert "Traceback" not in done.stderr
