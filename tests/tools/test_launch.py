"""The bootstrap in real interpreters: what it changes, and all that it must not change."""

import os
import shutil
import textwrap

import pytest


@pytest.fixture
def user_site(tmp_path):
    """Make a directory with a sitecustomize of the user's; returns its path."""

    def make(code, name="site"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(textwrap.dedent(code))
        return str(folder)

    return make


def with_path(under_launcher, *more):
    return {
        **under_launcher,
        "PYTHONPATH": os.pathsep.join([under_launcher["PYTHONPATH"], *more]),
    }


def test_the_users_sitecustomize_runs_in_its_own_name(python, under_launcher, user_site):
    folder = user_site("import sys; value = 42; sys.ran = getattr(sys, 'ran', 0) + 1")
    ended = python(
        "-c",
        "import sys, sitecustomize as s; print(s.value, sys.ran, s.__spec__.origin == s.__file__)\n"
        "print(s.__file__)",
        env=with_path(under_launcher, folder),
    )
    assert ended.stderr == ""
    assert ended.stdout.splitlines() == ["42 1 True", os.path.join(folder, "sitecustomize.py")]


def test_without_one_there_is_none(python, under_launcher):
    ended = python(
        "-c",
        "import sys; print('sitecustomize' in sys.modules, sum('_launch' in p for p in sys.path))",
        env=under_launcher,
    )
    assert (ended.stdout, ended.stderr) == ("False 1\n", "")


@pytest.mark.parametrize("code", ["1 / 0", "import no_such_module", "raise SystemExit(5)"])
def test_a_failing_one_fails_as_without_us(python, under_launcher, environ, user_site, code):
    folder = user_site(code)
    path = os.pathsep.join([environ["PYTHONPATH"], folder])
    plain = python("-c", "print('here')", env={"PYTHONPATH": path})
    ours = python("-c", "print('here')", env=with_path(under_launcher, folder))
    assert (ours.returncode, ours.stdout) == (plain.returncode, plain.stdout)
    if "SystemExit" not in code:
        assert ours.stderr == plain.stderr


def test_two_copies_of_the_bootstrap(python, under_launcher, user_site, tmp_path):
    import wsdirect._launch

    other = tmp_path / "copy"
    shutil.copytree(os.path.dirname(wsdirect._launch.__file__), other)
    folder = user_site("value = 1")
    ended = python(
        "-c",
        "import sys, sitecustomize; print(sitecustomize.value)\n"
        "print(sum(type(f).__module__ == 'wsdirect._launch' for f in sys.meta_path))",
        env=with_path(under_launcher, str(other), folder),
    )
    assert (ended.stdout, ended.stderr) == ("1\n1\n", "")


def test_a_python_without_wsdirect_is_left_alone(python, under_launcher, tmp_path):
    old = tmp_path / "other-version" / "wsdirect"
    old.mkdir(parents=True)
    (old / "__init__.py").write_text("")
    bootstrap = under_launcher["PYTHONPATH"].split(os.pathsep)[0]
    ended = python(
        "-c",
        "import sys, socket; print(len([f for f in sys.meta_path if 'wsd' in repr(f)]))",
        env={"WSDIRECT": "1", "PYTHONPATH": os.pathsep.join([bootstrap, str(old.parent)])},
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("0\n", "", 0)


@pytest.mark.parametrize("switch", ["0", "", "nonsense"])
def test_switched_off(python, under_launcher, switch):
    ended = python(
        "-c",
        "import sys, socket; print('wsdirect.front' in sys.modules)",
        env={**under_launcher, "WSDIRECT": switch},
    )
    assert (ended.stdout, ended.stderr) == ("False\n", "")


def test_programs_without_sockets_load_nothing(python, under_launcher):
    ended = python(
        "-c",
        "import sys, json, subprocess, selectors\n"
        "print([name for name in sys.modules if name.startswith('wsdirect') or name == 'socket'])",
        env=under_launcher,
    )
    assert ended.stdout == "['wsdirect', 'wsdirect._launch']\n"
    assert ended.stderr == ""


def test_modules_are_grafted_when_they_come(python, under_launcher, fake_front):
    ended = python(
        "-c",
        fake_front + "import selectors\nassert grafted == []\n"
        "import socket\nprint(*grafted)\n"
        "import ssl\nprint(*grafted)\n"
        "import multiprocessing.connection\nprint(*grafted)\n"
        "print([f for f in sys.meta_path if 'wsdirect' in type(f).__module__])",
        env=under_launcher,
    )
    assert ended.stderr == ""
    assert ended.stdout.splitlines() == [
        "socket selectors select",
        "socket selectors select ssl",
        "socket selectors select ssl multiprocessing.connection",
        "[]",
    ]


@pytest.mark.parametrize("option", [[], ["-X", "frozen_modules=on"], ["-X", "importtime"]])
def test_modules_look_as_ever(python, under_launcher, fake_front, option):
    ended = python(
        *option,
        "-c",
        fake_front
        + textwrap.dedent("""
            import importlib, inspect, pickle
            import socket, select, ssl, selectors
            assert set(grafted) == {"socket", "selectors", "select", "ssl"}
            for module in (socket, select, ssl, selectors):
                assert "wsdirect" not in type(module.__loader__).__module__, module
                assert module.__spec__.loader is module.__loader__
                assert not getattr(module.__spec__, "_initializing", False)
            assert "class socket" in inspect.getsource(socket)
            assert pickle.loads(pickle.dumps(socket.AF_INET)) is socket.AF_INET
            assert pickle.loads(pickle.dumps(socket.socket)) is socket.socket
            before = list(grafted)
            importlib.reload(selectors)
            importlib.reload(select)
            assert grafted == before
            print("good")
        """),
        env=under_launcher,
    )
    assert ended.stdout == "good\n", ended.stderr


def test_a_spec_can_be_looked_at_before_the_import(python, under_launcher, fake_front):
    ended = python(
        "-c",
        fake_front
        + textwrap.dedent("""
            import importlib.util
            spec = importlib.util.find_spec("socket")
            assert spec.origin.endswith("socket.py")
            assert spec.loader.get_code("socket").co_filename
            assert spec.loader.is_package("socket") is False
            assert grafted == []
            import socket
            assert grafted[0] == "socket"
            print("good")
        """),
        env=under_launcher,
    )
    assert ended.stdout == "good\n", ended.stderr


def test_socket_already_there(python, under_launcher, user_site, fake_front, tmp_path):
    """A .pth file or a sitecustomize before ours may have imported it."""
    ended = python(
        "-c",
        "import socket, ssl\n" + fake_front + "import os, wsdirect._launch\n"
        "wsdirect._launch.start(os.environ)\nwsdirect._launch.install()\nprint(*grafted)",
        env={"WSDIRECT": "1"},
    )
    assert (ended.stdout, ended.stderr) == ("socket selectors select ssl\n", "")


@pytest.mark.parametrize("name", ["ssl", "multiprocessing.connection"])
def test_socket_imported_by_another_of_them(python, under_launcher, fake_front, name):
    code = fake_front + f"import {name}, ssl, multiprocessing.connection\nprint(*sorted(grafted))"
    ended = python("-c", code, env=under_launcher)
    assert ended.stderr == ""
    assert ended.stdout == "multiprocessing.connection select selectors socket ssl\n"


def test_what_the_front_imports_is_grafted_after_it(python, under_launcher, fake_front):
    ended = python(
        "-c",
        fake_front
        + textwrap.dedent("""
            inside = 0
            def graft(name):
                global inside
                assert not inside, "called within itself"
                inside += 1
                if name == "socket":
                    import ssl, multiprocessing.connection
                grafted.append(name)
                inside -= 1
            enable.graft_module = graft
            import socket
            print(*sorted(grafted))
        """),
        env=under_launcher,
    )
    assert ended.stderr == ""
    assert ended.stdout == "multiprocessing.connection select selectors socket ssl\n"


def test_an_import_that_fails_can_be_repeated(python, under_launcher, fake_front):
    ended = python(
        "-c",
        fake_front
        + textwrap.dedent("""
            sys.modules["selectors"] = None  # makes the import of socket fail
            try:
                import socket
            except ImportError:
                pass
            assert grafted == []
            del sys.modules["selectors"]
            import socket
            print(*grafted)
        """),
        env=under_launcher,
    )
    assert (ended.stdout, ended.stderr) == ("socket selectors select\n", "")


def test_threads_that_import_at_the_same_time(python, under_launcher, fake_front):
    ended = python(
        "-c",
        fake_front
        + textwrap.dedent("""
            import importlib, threading
            names = ["socket", "ssl", "select", "selectors", "multiprocessing.connection"] * 4
            start = threading.Barrier(len(names))
            def work(name):
                start.wait()
                importlib.import_module(name)
            threads = [threading.Thread(target=work, args=(name,)) for name in names]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            assert len(grafted) == len(set(grafted)), grafted
            print(*sorted(grafted))
        """),
        env=under_launcher,
    )
    assert ended.stderr == ""
    assert ended.stdout == "multiprocessing.connection select selectors socket ssl\n"


BROKEN = "enable.graft_module = None\n"


def test_a_broken_front_leaves_tcp_and_one_line(python, under_launcher, fake_front):
    code = fake_front + BROKEN + "import socket, ssl, select; print(socket.socket)"
    ended = python("-c", code, env=under_launcher)
    assert ended.stdout == "<class 'socket.socket'>\n"
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("wsdirect: going on with TCP: ")


def test_a_missing_core_is_named(python, under_launcher, fake_front):
    code = fake_front + textwrap.dedent("""
        def missing(name):
            raise ImportError("no _native here")
        del front.enable
        front.__getattr__ = missing
        import socket
    """)
    ended = python("-c", code, env=under_launcher)
    assert ended.returncode == 0
    assert ended.stderr.startswith("wsdirect: going on with TCP: no-core: ")
    assert python("-c", code, env={**under_launcher, "WSDIRECT_LOG": "off"}).stderr == ""


def test_required_but_broken(python, under_launcher, fake_front):
    code = fake_front + BROKEN + "import socket"
    ended = python("-c", code, env={**under_launcher, "WSDIRECT_REQUIRE": "1"})
    assert ended.returncode == 1
    assert "ImportError: WSDIRECT_REQUIRE is set" in ended.stderr


def test_a_bad_setting_outside_the_launcher(python, under_launcher, fake_front):
    ended = python(
        "-c",
        fake_front + "import socket, ssl; print(grafted)",
        env={**under_launcher, "WSDIRECT_RIGN": "1"},
    )
    assert ended.stdout == "[]\n"
    assert ended.stderr == (
        "wsdirect: WSDIRECT_RIGN is not a setting of wsdirect: did you mean WSDIRECT_RING? "
        "Going on with TCP.\n"
    )


@pytest.mark.parametrize("option", ["-I", "-E", "-S"])
def test_options_that_escape_it(python, under_launcher, option):
    ended = python(option, "-c", "import sys; print('wsdirect' in sys.modules)", env=under_launcher)
    assert ended.stdout == "False\n"


def test_children_have_it_too(python, under_launcher, tmp_path):
    (tmp_path / "spawn.py").write_text(
        textwrap.dedent("""
            import multiprocessing, subprocess, sys

            def look():
                print("wsdirect._launch" in sys.modules, flush=True)

            if __name__ == "__main__":
                child = multiprocessing.get_context("spawn").Process(target=look)
                child.start()
                child.join()
                subprocess.run([sys.executable, "-c",
                                "import sys; print('wsdirect._launch' in sys.modules)"])
        """)
    )
    ended = python("spawn.py", env={**under_launcher, "WSDIRECT_LOG": "off"})
    assert ended.stdout == "True\nTrue\n", ended.stderr
