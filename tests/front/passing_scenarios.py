"""Connections whose descriptors go to other processes, each scenario as a function.

Run as a program: `passing_scenarios.py NAME` prints one JSON object.  test_passing.py runs every
scenario on plain TCP and under the launcher and demands the same answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import hashlib
import json
import multiprocessing
import os
import select
import selectors
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import warnings

HOST = "127.0.0.1"
LARGE = bytes(range(256)) * 8192  # 2 MiB: more than ring and kernel buffers hold
scenarios = {}
seen_switched: list[bool] = []
LAUNCHED = [sys.executable, "-c"]
PLAIN = [sys.executable, "-I", "-c"]  # the launcher does not reach it


def scenario(*cases):
    """Register a function once, or once for each value of its argument."""

    def register(function):
        for case in cases or [None]:
            name = function.__name__ if case is None else f"{function.__name__}-{case}"
            scenarios[name] = function if case is None else lambda case=case: function(case)
        return function

    return register


def front():
    return sys.modules.get("wsdirect.front.enable")


def is_switched(sock) -> bool:
    return front() is not None and front().is_switched(sock)


@contextlib.contextmanager
def listener():
    with socket.create_server((HOST, 0)) as server:
        server.settimeout(0.01)  # the first accept is what opens the SAN side
        with contextlib.suppress(TimeoutError):
            server.accept()
        server.settimeout(30)
        yield server


@contextlib.contextmanager
def pair():
    """(client, what the server accepted), switched where that is possible."""
    with listener() as server:
        client = socket.create_connection(server.getsockname(), timeout=30)
        accepted, _ = server.accept()
        accepted.settimeout(None)  # whoever gets it has no time-out of its own
        seen_switched.append(is_switched(client) and is_switched(accepted))
        with client, accepted:
            yield client, accepted


def read_all(sock) -> bytes:
    data = bytearray()
    while piece := sock.recv(65536):
        data += piece
    return bytes(data)


def read_exactly(sock, size) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise EOFError(f"{len(data)} of {size} bytes")
        data += piece
    return bytes(data)


def digest(data) -> list:
    return [len(data), hashlib.sha256(data).hexdigest()]


def send_and_end(sock, data) -> threading.Thread:
    def run():
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def outcome(call, *args):
    try:
        return call(*args)
    except OSError as error:
        return type(error).__name__


def chat(client, accepted):
    """Some traffic both ways, and some that nobody has read when the descriptor goes away."""
    client.sendall(b"ping")
    answers = [accepted.recv(100).decode()]
    accepted.sendall(b"pong")
    answers.append(client.recv(100).decode())
    client.sendall(b"unread by the server,")
    accepted.sendall(b"unread by the client,")
    return answers


# -- pickles -------------------------------------------------------------------------------------


def report(connection):
    """First line of whoever has got a connection from a pickle."""
    line = [is_switched(connection), connection.getsockname(), connection.getpeername()]
    line += [connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), connection.family.name]
    connection.sendall(json.dumps(line).encode() + b"\n")


def serve_echo(connection):
    report(connection)
    with connection:
        while piece := connection.recv(65536):
            connection.sendall(piece)


def serve_quietly(connection):
    with connection:
        while piece := connection.recv(65536):
            connection.sendall(piece)


def serve_by_programs(connection):
    """Gives it away once more."""
    with connection, subprocess.Popen(["cat"], stdin=connection, stdout=connection):
        pass


def serve_from_queue(queue):
    serve_echo(queue.get())


def serve_from_pipe(pipe):
    serve_echo(pipe.recv())


def serve_handle(pipe):
    from multiprocessing.reduction import recv_handle

    with socket.socket(fileno=recv_handle(pipe)) as connection:
        while piece := connection.recv(65536):
            connection.sendall(piece)


def check_echo(client, accepted, tells=True):
    """The other side of serve_echo, once the program has given `accepted` away."""
    names = [list(accepted.getsockname()), list(accepted.getpeername())]
    accepted.close()
    told = b""
    while tells and not told.endswith(b"\n"):
        told += client.recv(1)
    answers = []
    if tells:
        switched, *shown = json.loads(told)
        seen_switched.append(switched)
        answers += [shown[:2] == names, *shown[2:]]
    thread = send_and_end(client, LARGE)
    answers.append(digest(read_all(client)))
    thread.join()
    return answers


@scenario("spawn", "fork", "forkserver")
def pickled_as_argument(method):
    with pair() as (client, accepted):
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = multiprocessing.get_context(method)
        process = context.Process(target=serve_echo, args=(accepted,))
        process.start()
        answer = check_echo(client, accepted)
        process.join()
        return answer, process.exitcode


@scenario("spawn", "fork", "forkserver")
def pickled_into_a_queue(method):
    with pair() as (client, accepted):
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        process = context.Process(target=serve_from_queue, args=(queue,))
        process.start()
        queue.put(accepted)
        queue.close()
        queue.join_thread()
        answer = check_echo(client, accepted)
        process.join()
        return answer, process.exitcode


@scenario("spawn", "forkserver")
def pickled_and_served_without_a_word(method):
    return pickled_for(serve_quietly, method)


@scenario("spawn", "fork")
def pickled_and_given_to_a_program(method):
    return pickled_for(serve_by_programs, method)


def pickled_for(function, method):
    with pair() as (client, accepted):
        answers = chat(client, accepted)
        context = multiprocessing.get_context(method)
        process = context.Process(target=function, args=(accepted,))
        process.start()
        answers += check_echo(client, accepted, tells=False)
        process.join()
        return answers, process.exitcode


@scenario("server", "client")
def both_ends_are_given_away(first):
    """One end is in another process; then the other end goes, too."""
    with pair() as (client, accepted):
        context = multiprocessing.get_context("spawn")
        ours, theirs = (accepted, client) if first == "server" else (client, accepted)
        ours.settimeout(None)
        theirs.settimeout(None)
        process = context.Process(target=serve_quietly, args=(ours,))
        process.start()
        ours.close()
        theirs.sendall(b"hello")
        answers = [read_exactly(theirs, 5).decode()]
        program = "printf 'some words'; head -c 10 >&2"
        with subprocess.Popen(
            ["sh", "-c", program], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE
        ) as shell:
            answers.append(shell.stderr.read().decode())
        theirs.sendall(b"and more")
        answers.append(read_exactly(theirs, 8).decode())
        theirs.close()
        process.join()
        return answers, process.exitcode


def answer_in_a_pool(connection):
    with connection:
        connection.sendall(connection.recv(100).upper())
        return is_switched(connection)


@scenario("pool", "executor", "manager")
def pickled_by(what):
    """Indirectly, by parts of the library that use queues and pipes of their own."""
    from concurrent.futures import ProcessPoolExecutor

    with pair() as (client, accepted):
        client.sendall(b"hello")
        if what == "pool":
            with multiprocessing.get_context("fork").Pool(1) as pool:
                seen_switched.append(pool.apply(answer_in_a_pool, (accepted,)))
        elif what == "executor":
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as executor:
                seen_switched.append(executor.submit(answer_in_a_pool, accepted).result())
        else:
            with multiprocessing.get_context("fork").Manager() as manager:
                queue = manager.Queue()
                queue.put(accepted)
                accepted.close()
                copy = queue.get()
                seen_switched.append(answer_in_a_pool(copy))
        accepted.close()
        return read_all(client).decode()


@scenario("closed at once", "kept")
def pickled_into_a_pipe(sender):
    with pair() as (client, accepted):
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve_from_pipe, args=(theirs,))
        process.start()
        client.sendall(b"already here,")
        ours.send(accepted)
        with accepted.dup() as copy:
            if sender == "closed at once":
                copy.close()
            told = b""
            names = [list(accepted.getsockname()), list(accepted.getpeername())]
            accepted.close()
            while not told.endswith(b"\n"):
                told += client.recv(1)
            switched, *shown = json.loads(told)
            seen_switched.append(switched)
            thread = send_and_end(client, LARGE)
            wanted = len(LARGE) + len(b"already here,")
            data = read_exactly(client, wanted)
            thread.join()
        process.join()
        return shown[:2] == names, digest(data), client.recv(1).hex(), process.exitcode


@scenario()
def pickled_and_back_again():
    """A process that sends a connection to itself."""
    with pair() as (client, accepted):
        ours, theirs = multiprocessing.Pipe()
        ours.send(accepted)
        copy = theirs.recv()
        seen_switched.append(is_switched(copy))
        accepted.close()
        client.sendall(b"hello")
        answers = [copy.recv(100).decode(), outcome(copy.sendall, b"answer")]
        copy.close()
        return [*answers, read_all(client).decode()]


@scenario("spawn", "forkserver")
def pickled_in_vain(method):
    """The process never takes it: the peer sees the end when the last holder is gone."""
    with pair() as (client, accepted):
        context = multiprocessing.get_context(method)
        process = context.Process(target=serve_echo, args=(accepted,))
        process.start()
        process.kill()
        process.join()
        client.settimeout(20)
        copy = accepted.dup()
        accepted.close()
        client.sendall(b"still here?")
        answers = [copy.recv(100).decode()]
        copy.close()
        return [*answers, outcome(client.recv, 100) in (b"", "ConnectionResetError")]


@scenario()
def pickle_that_fails():
    with pair() as (client, accepted):
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=serve_echo, args=(accepted, lambda: None))
        try:
            process.start()
        except Exception as error:
            answers = [type(error).__name__]
        accepted.close()
        return [*answers, client.recv(100).decode()]


@scenario("spawn", "fork")
def handle(method):
    from multiprocessing.reduction import send_handle

    with pair() as (client, accepted):
        context = multiprocessing.get_context(method)
        ours, theirs = context.Pipe()
        process = context.Process(target=serve_handle, args=(theirs,))
        process.start()
        send_handle(ours, accepted.fileno(), process.pid)
        answer = check_echo(client, accepted, tells=False)
        process.join()
        return answer, process.exitcode


def accept_one(server):
    connection, _ = server.accept()
    with connection:
        connection.settimeout(30)
        serve_echo(connection)


@scenario("spawn", "forkserver")
def pickled_listener(method):
    with socket.create_server((HOST, 0)) as server:
        address = server.getsockname()
        context = multiprocessing.get_context(method)
        process = context.Process(target=accept_one, args=(server,))
        process.start()
        server.close()
        with socket.create_connection(address, timeout=30) as client:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            answer = read_all(client).splitlines()[1].decode()
        process.join()
        return answer, process.exitcode


def answer_connection(connection):
    connection.send({"got": connection.recv()})


@scenario("spawn", "fork")
def pickled_connection_of_multiprocessing(method):
    """multiprocessing's own connections over TCP, which are no sockets."""
    from multiprocessing.connection import Client, Listener

    context = multiprocessing.get_context(method)
    with Listener((HOST, 0), authkey=b"secret") as server:
        found = []
        thread = threading.Thread(target=lambda: found.append(server.accept()))
        thread.start()
        client = Client(server.address, authkey=b"secret")
        thread.join()
        process = context.Process(target=answer_connection, args=(found[0],))
        process.start()
        found[0].close()
        client.send([1, "two", LARGE[:1000]])
        answer = client.recv()["got"][:2]
        process.join()
        client.close()
        return answer, process.exitcode


# -- new programs --------------------------------------------------------------------------------

ECHO = """
import socket, sys
connection = socket.socket(fileno={fd})
while piece := connection.recv(65536):
    connection.sendall(piece)
"""
COPY = """
import os
while piece := os.read(0, 65536):
    view = memoryview(piece)
    while view:
        view = view[os.write(1, view):]
"""
PROGRAMS = {
    "cat": ["cat"],
    "python": [*PLAIN, COPY],
    "python socket": [*PLAIN, ECHO.format(fd=0)],
    "launched python": [*LAUNCHED, COPY],
    "launched python socket": [*LAUNCHED, ECHO.format(fd=0)],
}


@scenario(*PROGRAMS)
def standard_input_and_output(program):
    """What was not read before, what comes after, much of it, and the end."""
    with pair() as (client, accepted):
        answers = chat(client, accepted)
        with subprocess.Popen(PROGRAMS[program], stdin=accepted, stdout=accepted) as process:
            accepted.close()
            thread = send_and_end(client, LARGE)
            answers.append(digest(read_all(client)))
            thread.join()
        return answers, process.returncode


@scenario("cat", "launched python")
def client_end_as_standard_input_and_output(program):
    with pair() as (client, accepted):
        answers = chat(client, accepted)
        client.settimeout(None)
        with subprocess.Popen(PROGRAMS[program], stdin=client, stdout=client) as process:
            client.close()
            thread = send_and_end(accepted, LARGE)
            answers.append(digest(read_all(accepted)))
            thread.join()
        return answers, process.returncode


@scenario("standard output", "standard error", "makefile")
def output_only(which):
    with pair() as (client, accepted):
        with accepted.makefile("wb") as file:
            target = {
                "standard output": {"stdout": accepted},
                "standard error": {"stderr": accepted},
                "makefile": {"stdout": file},
            }[which]
            redirect = " 1>&2" if which == "standard error" else ""
            subprocess.run(["sh", "-c", f"echo two{redirect}"], check=True, **target)
        accepted.sendall(b"three")
        accepted.close()
        return sorted(read_all(client).decode().split())


@scenario()
def parent_goes_on_after_the_child():
    """As inetd's kin: the child takes a part, the parent what follows."""
    with pair() as (client, accepted):
        client.sendall(b"a" * 1000)
        done = subprocess.run(
            ["head", "-c", "1000"], stdin=accepted, stdout=subprocess.PIPE, check=True
        )
        answers = [digest(done.stdout)]
        client.sendall(b"for the parent")
        answers.append(accepted.recv(100).decode())
        accepted.sendall(b"from the parent")
        answers.append(client.recv(100).decode())
        thread = send_and_end(client, LARGE)
        answers.append(digest(read_all(accepted)))
        thread.join()
        thread = send_and_end(accepted, LARGE)
        answers.append(digest(read_all(client)))
        thread.join()
        return answers


@scenario("child ends first", "parent closes first")
def close_is_the_last_holder_s(order):
    with pair() as (client, accepted):
        process = subprocess.Popen(["cat"], stdin=accepted, stdout=subprocess.DEVNULL)
        poller = select.poll()
        poller.register(client, select.POLLIN)
        if order == "parent closes first":
            accepted.close()
            answers = [len(poller.poll(100))]
            process.kill()
            process.wait()
        else:
            process.kill()
            process.wait()
            answers = [len(poller.poll(100))]
            accepted.close()
        return [*answers, client.recv(1).hex()]


@scenario("pass_fds", "close_fds=False", "posix_spawn")
def inherited(how):
    with pair() as (client, accepted):
        answers = chat(client, accepted)
        accepted.set_inheritable(how != "pass_fds")
        command = [*PLAIN, ECHO.format(fd=accepted.fileno())]
        if how == "pass_fds":
            process = subprocess.Popen(command, pass_fds=[accepted.fileno()])
        elif how == "posix_spawn":
            pid = os.posix_spawn(command[0], command, os.environ)
            process = None
        else:
            process = subprocess.Popen(command, close_fds=False)
        accepted.close()
        thread = send_and_end(client, LARGE)
        answers.append(digest(read_all(client)))
        thread.join()
        code = process.wait() if process else os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return answers, code


@scenario()
def spawned_with_file_actions():
    with pair() as (client, accepted):
        fd = accepted.fileno()
        actions = [(os.POSIX_SPAWN_DUP2, fd, 0), (os.POSIX_SPAWN_DUP2, fd, 1)]
        actions.append((os.POSIX_SPAWN_CLOSE, fd))
        pid = os.posix_spawn("/bin/cat", ["cat"], os.environ, file_actions=actions)
        accepted.close()
        thread = send_and_end(client, LARGE)
        answer = digest(read_all(client))
        thread.join()
        return answer, os.waitpid(pid, 0)[1]


@scenario()
def descriptors_that_stay_are_left_alone():
    """A child that does not get the connection does not change it."""
    with pair() as (client, accepted):
        subprocess.run(["true"], check=True)
        subprocess.run(["cat"], stdin=subprocess.DEVNULL, check=True)
        os.waitpid(os.posix_spawn("/bin/true", ["true"], os.environ), 0)
        os.system("true")
        seen_switched.extend(
            front() is None or front().info(sock)["reason"] == "switched"
            for sock in (client, accepted)
        )
        client.sendall(b"hello")
        return accepted.recv(100).decode()


def in_a_child(function):
    pid = os.fork()
    if pid == 0:
        try:
            function()
        finally:
            os._exit(1)
    return pid


@scenario("execv", "execve", "execvp", "system", "print", "fdopen")
def forked_child(how):
    """As CGI servers do it: standard input and output are the connection, then another program."""
    with pair() as (client, accepted):
        answers = chat(client, accepted)

        def child():
            if how != "fdopen":
                os.dup2(accepted.fileno(), 0)
                os.dup2(accepted.fileno(), 1)
            if how == "execv":
                os.execv("/bin/cat", ["cat"])
            elif how == "execve":
                os.execve("/bin/cat", ["cat"], {})
            elif how == "execvp":
                os.execvp("cat", ["cat"])  # several places are tried
            elif how == "system":
                os.system("cat")
            elif how == "print":
                while piece := sys.stdin.buffer.read1(65536):
                    sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
            else:
                with os.fdopen(accepted.detach(), "rb+", 0) as file:
                    while piece := file.read(65536):
                        view = memoryview(piece)
                        while view:
                            view = view[file.write(view) :]
            os._exit(0)

        pid = in_a_child(child)
        accepted.close()
        thread = send_and_end(client, LARGE)
        answers.append(digest(read_all(client)))
        thread.join()
        return answers, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@scenario()
def exec_of_this_program():
    """Inheritable descriptors stay, the others end."""
    with pair() as (client, accepted), pair() as (other, gone):
        answers = chat(client, accepted)

        def child():
            accepted.set_inheritable(True)
            os.execv(sys.executable, [*PLAIN, ECHO.format(fd=accepted.fileno())])

        pid = in_a_child(child)
        accepted.close()
        gone.close()
        answers.append(other.recv(1).hex())
        thread = send_and_end(client, LARGE)
        answers.append(digest(read_all(client)))
        thread.join()
        return answers, os.waitpid(pid, 0)[1]


# -- SCM_RIGHTS ----------------------------------------------------------------------------------

RECEIVE = """
import socket, sys
left = socket.socket(fileno=int(sys.argv[1]))
data, fds, flags, _ = socket.recv_fds(left, 100, 4)
connection = socket.socket(fileno=fds[0])
left.sendall(b"got it")
left.close()
while piece := connection.recv(65536):
    connection.sendall(piece)
connection.close()
"""


@scenario("plain", "launched")
def sent_as_a_right(receiver):
    with pair() as (client, accepted):
        answers = chat(client, accepted)
        ours, theirs = socket.socketpair()
        command = PLAIN if receiver == "plain" else LAUNCHED
        process = subprocess.Popen(
            [*command, RECEIVE, str(theirs.fileno())], pass_fds=[theirs.fileno()]
        )
        theirs.close()
        socket.send_fds(ours, [b"a connection"], [accepted.fileno()])
        accepted.close()  # at once: only the message holds it
        answers.append(ours.recv(100).decode())
        ours.close()
        thread = send_and_end(client, LARGE)
        answers.append(digest(read_all(client)))
        thread.join()
        return answers, process.wait()


@scenario()
def sent_as_a_right_to_oneself():
    import array

    with pair() as (client, accepted):
        ours, theirs = socket.socketpair()
        rights = array.array("i", [accepted.fileno()])
        ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        accepted.close()
        _, fds, _, _ = socket.recv_fds(theirs, 10, 4)
        copy = socket.socket(fileno=fds[0])
        client.sendall(b"hello")
        answers = [copy.recv(100).decode()]
        copy.sendall(b"answer")
        answers.append(client.recv(100).decode())
        client.close()
        answers.append(copy.recv(100).decode())
        for sock in (copy, ours, theirs):
            sock.close()
        return answers


# -- peers, which know nothing of all this -------------------------------------------------------


@scenario("recv", "recv with a time-out", "send", "select", "poll", "epoll", "asyncio")
def peer_that_waits(how):
    """The peer is in the middle of a call, or of its event loop, when the descriptor goes."""
    with pair() as (client, accepted):
        answers = []
        started = threading.Event()

        def peer():
            started.set()
            if how == "recv":
                client.settimeout(None)
                answers.append(client.recv(100).decode())
            elif how == "recv with a time-out":
                answers.append(client.recv(100).decode())
            elif how == "send":
                client.sendall(LARGE)
                client.shutdown(socket.SHUT_WR)
                answers.append(read_all(client).decode())
            elif how == "asyncio":
                answers.append(asyncio.run(talk()))
            else:
                client.setblocking(False)
                if how == "select":
                    select.select([client], [], [], 30)
                else:
                    poller = getattr(select, how)()
                    poller.register(client, select.POLLIN)
                    poller.poll(30 if how == "epoll" else 30000)
                answers.append(client.recv(100).decode())

        async def talk():
            reader, writer = await asyncio.open_connection(sock=client.dup())
            got = (await reader.readexactly(5)).decode()
            writer.write(LARGE)
            writer.write_eof()
            data = await reader.read()
            writer.close()
            await writer.wait_closed()
            return [got, digest(data)]

        thread = threading.Thread(target=peer)
        thread.start()
        started.wait()
        time.sleep(0.2)
        command = ["sh", "-c", {"send": "wc -c", "asyncio": "echo told; cat"}.get(how, "echo told")]
        with subprocess.Popen(command, stdin=accepted, stdout=accepted) as process:
            accepted.close()
            thread.join()
        return answers, process.returncode


@scenario("plain", "large")
def peer_that_has_gone(size):
    """What it sent before can still be read by whoever gets the descriptor."""
    data = b"last words" if size == "plain" else LARGE[:150000]
    with pair() as (client, accepted):
        client.sendall(data)
        client.close()
        done = subprocess.run(["cat"], stdin=accepted, stdout=subprocess.PIPE, check=True)
        return digest(done.stdout), accepted.recv(10).hex()


@scenario("half-closed by the peer", "half-closed by us")
def half_closed(which):
    with pair() as (client, accepted):
        if which == "half-closed by us":
            accepted.shutdown(socket.SHUT_WR)
            answers = [client.recv(1).hex()]
            with subprocess.Popen(["cat"], stdin=accepted, stdout=subprocess.PIPE) as process:
                accepted.close()
                thread = send_and_end(client, LARGE)
                answers.append(digest(process.stdout.read()))
                thread.join()
                return answers
        client.sendall(b"all there is")
        client.shutdown(socket.SHUT_WR)
        with subprocess.Popen(["cat"], stdin=accepted, stdout=accepted):
            accepted.close()
            return read_all(client).decode()


@scenario()
def receiver_that_is_killed():
    with pair() as (client, accepted):
        process = subprocess.Popen(["sleep", "60"], stdin=accepted, stdout=accepted)
        accepted.close()
        client.sendall(b"never read")
        process.send_signal(signal.SIGKILL)
        process.wait()
        return outcome(client.recv, 100)


@scenario()
def not_accepted_yet():
    """A client gives its end away before the server has taken the connection."""
    with listener() as server:
        client = socket.create_connection(server.getsockname(), timeout=30)
        seen_switched.append(is_switched(client))
        client.sendall(b"before,")
        client.settimeout(None)
        with subprocess.Popen(["cat"], stdin=client, stdout=client) as process:
            client.close()
            accepted, _ = server.accept()
            with accepted:
                accepted.settimeout(30)
                answers = [read_exactly(accepted, 7).decode()]
                thread = send_and_end(accepted, LARGE)
                answers.append(digest(read_all(accepted)))
                thread.join()
        return answers, process.returncode


# -- who takes a descriptor under the launcher ---------------------------------------------------

LOOK = """
import json, select, socket, struct, sys
connection = socket.socket(fileno=0)
with socket.fromfd(0, socket.AF_INET, socket.SOCK_STREAM) as copy:
    answers = [copy.getpeername(), copy.getsockname()]
answers += [connection.family.name, connection.type.name, connection.getpeername()]
answers.append(connection.getsockname())
for level, name in [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY), (socket.SOL_SOCKET, socket.SO_KEEPALIVE)
]:
    connection.setsockopt(level, name, 1)
    answers.append(connection.getsockopt(level, name))
answers.append(connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
answers.append(connection.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE))
connection.settimeout(20)
answers.append(connection.recv(100).decode())
connection.setblocking(False)
try:
    connection.recv(1)
except BlockingIOError:
    answers.append("nothing more")
poller = select.poll()
poller.register(connection, select.POLLIN | select.POLLOUT)
answers.append(poller.poll(1000)[0][1])
connection.setblocking(True)
connection.sendall(json.dumps(answers).encode())
connection.shutdown(socket.SHUT_WR)
connection.recv(1)
connection.close()
"""


@scenario("accepted", "connected")
def looks_like_tcp(end):
    with pair() as (client, accepted):
        given, kept = (accepted, client) if end == "accepted" else (client, accepted)
        given.settimeout(None)
        names = [list(given.getpeername()), list(given.getsockname())]
        kept.sendall(b"hello")
        with subprocess.Popen([*LAUNCHED, LOOK], stdin=given):
            given.close()
            answers = json.loads(read_all(kept))
            kept.close()
        return answers[:2] == names, answers[4:6] == names, answers[2:4], answers[6:]


# -- servers -------------------------------------------------------------------------------------


def ask(address, *lines):
    with socket.create_connection(address, timeout=30) as client:
        seen_switched.append(is_switched(client))
        client.sendall("\r\n".join([*lines, "", ""]).encode())
        return read_all(client)


@contextlib.contextmanager
def running(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    # the first accept is what opens the SAN side
    with contextlib.suppress(OSError), socket.create_connection(server.server_address, 30) as first:
        first.shutdown(socket.SHUT_WR)
        read_all(first)
    try:
        yield server.server_address
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@scenario("GET", "POST")
def cgi_server(method):
    import http.server
    import tempfile
    from pathlib import Path

    class Handler(http.server.CGIHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def log_error(self, *args):
            pass

    script = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n%s ' \"$REQUEST_METHOD\"; "
    script += 'head -c "${CONTENT_LENGTH:-0}" | wc -c; head -c 1000000 /dev/zero\n'
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        (Path(folder) / "cgi-bin").mkdir(mode=0o755)
        program = Path(folder) / "cgi-bin" / "script"
        program.write_text(script)
        program.chmod(0o755)
        os.chdir(folder)
        with running(http.server.HTTPServer((HOST, 0), Handler)) as address:
            lines = [f"{method} /cgi-bin/script HTTP/1.0", "Host: there"]
            if method == "POST":
                lines += ["Content-Length: 5", "", "12345"]
            answer = ask(address, *lines)
            ask(address, "GET /nothing HTTP/1.0")  # it goes on
        os.chdir("/")
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split()[1].decode(), body[:7].decode(), digest(body)


@scenario()
def forking_server():
    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            while line := self.rfile.readline().strip():
                self.wfile.write(line.upper() + b"\n")
            subprocess.run(["echo", "bye"], stdout=self.wfile, check=True)

    server = socketserver.ForkingTCPServer((HOST, 0), Handler)
    with running(server) as address:
        return [ask(address, "hello", "there").decode() for _ in range(3)]


@scenario()
def inetd():
    """One program per connection, which the server knows nothing of."""
    with listener() as server:
        address = server.getsockname()

        def serve():
            for _ in range(3):
                connection, _ = server.accept()
                with connection:
                    subprocess.Popen(
                        ["tr", "a-z", "A-Z"], stdin=connection, stdout=connection
                    ).wait()

        thread = threading.Thread(target=serve)
        thread.start()
        answers = []
        for _ in range(3):
            with socket.create_connection(address, timeout=30) as client:
                seen_switched.append(is_switched(client))
                client.sendall(b"hello")
                client.shutdown(socket.SHUT_WR)
                answers.append(read_all(client).decode())
        thread.join()
        return answers


ACCEPT = """
import socket
with socket.socket(fileno=0) as server:
    for _ in range(2):
        connection, _ = server.accept()
        with connection:
            connection.sendall(connection.recv(100).upper())
"""


def leave_to(server, how):
    """Let a program without the switch accept on this listener."""
    if how == "right":
        ours, theirs = socket.socketpair()
        fetch = f"fd = socket.recv_fds(socket.socket(fileno={theirs.fileno()}), 1, 1)[1][0]"
        command = [*PLAIN, f"import os, socket; {fetch}; os.dup2(fd, 0)\n{ACCEPT}"]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        socket.send_fds(ours, [b"x"], [server.fileno()])
        ours.close()
        theirs.close()
        return process.wait
    if how == "exec":
        pid = in_a_child(
            lambda: (
                os.dup2(server.fileno(), 0),
                os.execv(sys.executable, [*PLAIN, ACCEPT]),
            )
        )
        return lambda: os.waitpid(pid, 0)[1]
    return subprocess.Popen([*PLAIN, ACCEPT], stdin=server).wait


@scenario("closed", "kept", "polled", "with a client", "right", "exec")
def listener_for_a_plain_program(how):
    """A program without the switch accepts on a listener that this one has accepted on."""
    with listener() as server, selectors.DefaultSelector() as selector:
        server.settimeout(None)
        address = server.getsockname()
        clients = []
        if how == "polled":
            selector.register(server, selectors.EVENT_READ)
            selector.select(0)
        if how == "with a client":
            clients.append(socket.create_connection(address, timeout=30))
            clients[0].sendall(b"early")
            select.select([server], [], [], 30)
        wait = leave_to(server, how)
        if how == "closed":
            server.close()
        answers = []
        while len(answers) < 2:
            if not clients:
                clients.append(socket.create_connection(address, timeout=30))
                clients[0].sendall(b"hello")
            with clients.pop() as client:
                answers.append(client.recv(100).decode())
        return answers, wait()


# -- within one process --------------------------------------------------------------------------


@scenario()
def descriptors_within_the_process():
    with pair() as (client, accepted), pair() as (second, third):
        answers = [outcome(os.dup2, 12345, accepted.fileno())]  # changes nothing
        client.sendall(b"one")
        answers.append(accepted.recv(100).decode())
        with socket.fromfd(accepted.fileno(), socket.AF_INET, socket.SOCK_STREAM) as copy:
            answers.append([copy.getpeername() == client.getsockname(), copy.get_inheritable()])
            copy.sendall(b"two")
        answers.append(client.recv(100).decode())
        accepted.set_inheritable(True)
        answers.append(accepted.get_inheritable())
        accepted.set_inheritable(False)
        os.dup2(accepted.fileno(), third.fileno())  # third's own connection ends
        answers.append(second.recv(100).decode())
        client.sendall(b"three")
        answers.append(third.recv(100).decode())
        third.close()
        client.sendall(b"four")
        answers.append(accepted.recv(100).decode())
        fd = accepted.detach()
        os.closerange(fd, fd + 1)
        answers.append(client.recv(100).decode())
        return answers


@scenario()
def duplicated_by_fcntl():
    import fcntl

    with pair() as (client, accepted):
        fd = fcntl.fcntl(accepted, fcntl.F_DUPFD_CLOEXEC, 50)
        accepted.close()
        copy = socket.socket(fileno=fd)
        client.sendall(b"hello")
        answers = [fd >= 50, copy.recv(100).decode()]
        copy.close()
        return [*answers, client.recv(10).decode()]


def counted():
    """Descriptors, and slots of shared memory, of this process."""
    import gc

    gc.collect()
    slots = 0
    shared = sys.modules.get("wsdirect.providers.shm.segments")
    for pool in (found() for found in shared._pools) if shared else ():
        for server in pool._servers.values():
            slots += sum(segment.in_use for segment in server.segments)
    return len(os.listdir("/proc/self/fd")), slots


def more(now, then):
    """What there is more of now than there was then."""
    return [max(after - before, 0) for after, before in zip(now, then, strict=True)]


@scenario("subprocess", "rights", "pickles", "exec", "exec of another program", "exit")
def everything_comes_back(how):
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    left, right = socket.socketpair()

    def once():
        with pair() as (client, accepted):
            if how == "subprocess":
                subprocess.run(["true"], stdin=accepted, check=True)
            elif how == "rights":
                socket.send_fds(left, [b"x"], [accepted.fileno()])
                os.close(socket.recv_fds(right, 10, 4)[1][0])
            elif how != "pickles":

                def child():
                    if how == "exec":
                        os.dup2(accepted.fileno(), 0)
                    if how != "exit":
                        os.execv("/bin/true", ["true"])

                os.waitpid(in_a_child(child), 0)
            else:
                ours.send(accepted)
                theirs.recv().close()
            accepted.close()
            client.recv(1)

    for _ in range(3):
        once()
    before = counted()
    for _ in range(10):
        once()
    end = time.monotonic() + 10
    # multiprocessing closes what it has sent in a thread of its own; what it closed only after the
    # first count makes the second one smaller
    while any(left := more(counted(), before)) and time.monotonic() < end:
        time.sleep(0.02)
    return left


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads; CGI servers
    faulthandler.dump_traceback_later(40, exit=True)  # a hang tells where
    if "enable" in sys.argv:
        import wsdirect

        wsdirect.enable()  # in this process, and not in those that it starts
    result = scenarios[sys.argv[1]]()
    print(json.dumps({"result": result, "switched": seen_switched}))
