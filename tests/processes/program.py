"""What programs do with processes, threads and signals, each a function that returns what it saw.

Run as a program: `program.py NAME` prints one JSON object.  test_like_tcp.py runs every scenario on
plain TCP and under the launcher and demands the same answer: the kernel is the oracle.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import json
import multiprocessing
import os
import select
import selectors
import signal
import socket
import socketserver
import sys
import threading
import time

HOST = "127.0.0.1"
PATIENCE = 30
scenarios = {}
seen_switched: list[bool] = []


def scenario(function):
    scenarios[function.__name__] = function
    return function


def is_switched(sock) -> bool:
    enable = sys.modules.get("wsdirect.front.enable")
    return enable is not None and enable.is_switched(sock)


@contextlib.contextmanager
def listener(**kwargs):
    with socket.create_server((HOST, 0), **kwargs) as server:
        server.settimeout(0.01)  # the first accept is what opens the SAN side
        with contextlib.suppress(TimeoutError):
            server.accept()
        server.settimeout(PATIENCE)
        yield server


def connect(server):
    client = socket.create_connection(server.getsockname(), timeout=PATIENCE)
    seen_switched.append(is_switched(client))
    return client


@contextlib.contextmanager
def pair():
    with listener() as server, connect(server) as client:
        accepted, _ = server.accept()
        accepted.settimeout(PATIENCE)
        with accepted:
            yield client, accepted


def outcome(call, *args):
    """What a call returns, or the exception that it raises, in a form that can be compared."""
    try:
        value = call(*args)
    except OSError as error:
        return [type(error).__name__, errno.errorcode.get(error.errno, error.errno)]
    except (Exception, KeyboardInterrupt) as error:
        return [type(error).__name__]
    return value.hex() if isinstance(value, bytes) else value


def read_all(sock) -> bytes:
    data = bytearray()
    while piece := sock.recv(65536):
        data += piece
    return bytes(data)


def read_exactly(sock, size) -> bytes:
    data = bytearray()
    while len(data) < size and (piece := sock.recv(size - len(data))):
        data += piece
    return bytes(data)


def fill(sock) -> int:
    """Send until nothing more fits."""
    sock.setblocking(False)
    total = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            total += sock.send(bytes(65536))
    return total


def in_child(call) -> int:
    """Run it in a forked child, whose exit status tells whether it came to its end."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            call()
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


def status_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def pattern(seed: int, size: int) -> bytes:
    return hashlib.shake_128(b"%d" % seed).digest(size)


def waiting(call, *args):
    """Call it in a thread; returns (thread, list that gets the outcome)."""
    found = []
    thread = threading.Thread(target=lambda: found.append(outcome(call, *args)))
    thread.start()
    time.sleep(0.03)
    return thread, found


def finished(thread) -> None:
    thread.join(PATIENCE)
    if thread.is_alive():
        raise AssertionError("a thread still waits")


# -- threads -------------------------------------------------------------------------------------


def wait_select(sock, mode):
    lists = ([sock], []) if mode == "r" else ([], [sock])
    return [len(found) for found in select.select(*lists, [], PATIENCE)]


def wait_poll(sock, mode):
    poller = select.poll()
    poller.register(sock, select.POLLIN if mode == "r" else select.POLLOUT)
    return [bool(events & select.POLLIN) for _, events in poller.poll(PATIENCE * 1000)]


def wait_epoll(sock, mode):
    with selectors.EpollSelector() as selector:
        selector.register(sock, selectors.EVENT_READ if mode == "r" else selectors.EVENT_WRITE)
        return [events for _, events in selector.select(PATIENCE)]


READS = {
    "recv": lambda sock: sock.recv(10),
    "recv_into": lambda sock: sock.recv_into(bytearray(10)),
    "recv all": lambda sock: sock.recv(10, socket.MSG_WAITALL),
    "select": lambda sock: wait_select(sock, "r"),
    "poll": lambda sock: wait_poll(sock, "r"),
    "epoll": lambda sock: wait_epoll(sock, "r"),
    "makefile": lambda sock: sock.makefile("rb").read(10),
}
WRITES = {
    "send": lambda sock: sock.send(b"x"),
    "sendall": lambda sock: sock.sendall(b"x"),
    "sendmsg": lambda sock: sock.sendmsg([b"x"]),
}


@scenario
def shutdown_from_another_thread_ends_waits():
    answers = {}
    for name, wait in READS.items():
        for how in (socket.SHUT_RD, socket.SHUT_RDWR):
            with pair() as (a, _):
                a.settimeout(None)
                thread, found = waiting(wait, a)
                a.shutdown(how)
                finished(thread)
                answers[f"{name} {how}"] = found
    for name, wait in WRITES.items():
        with pair() as (a, _):
            fill(a)
            a.settimeout(None)
            thread, found = waiting(wait, a)
            a.shutdown(socket.SHUT_WR)
            finished(thread)
            answers[name] = found
    return answers


@scenario
def shutdown_of_a_listener_ends_accepts():
    """How many servers stop their threads."""
    answers = []
    for timeout in (None, PATIENCE):
        with listener() as server:
            server.settimeout(timeout)
            threads = [waiting(server.accept) for _ in range(2)]
            server.shutdown(socket.SHUT_RDWR)
            for thread, found in threads:
                finished(thread)
                answers += found
            answers.append(outcome(server.accept))
    for wait in (wait_select, wait_poll, wait_epoll):
        with listener() as server:
            thread, found = waiting(wait, server, "r")
            server.shutdown(socket.SHUT_RDWR)
            finished(thread)
            answers += found
    return answers


@scenario
def many_threads_on_one_connection():
    """Writers of marked blocks and readers of any size: every byte comes once."""
    with pair() as (a, b):
        counts = [0] * 256
        lock = threading.Lock()

        def read(size):
            while piece := b.recv(size):
                with lock:
                    for mark in set(piece):
                        counts[mark] += piece.count(mark)

        def write(mark):
            for size in (1, 100, 70_000, 3, 300_000):
                a.sendall(bytes([mark]) * size)

        readers = [threading.Thread(target=read, args=(size,)) for size in (1, 1000, 100_000)]
        writers = [threading.Thread(target=write, args=(mark,)) for mark in range(8)]
        for thread in readers + writers:
            thread.start()
        for thread in writers:
            finished(thread)
        a.shutdown(socket.SHUT_WR)
        for thread in readers:
            finished(thread)
        return counts[:10]


@scenario
def threads_that_outlive_the_main_one():
    """What a non-daemon thread sends while the interpreter waits for it arrives."""
    with listener() as server:
        code = """
import socket, sys, threading, time
def work():
    time.sleep(0.2)
    client.sendall(b"late but whole" * 10000)
    client.close()
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
threading.Thread(target=work).start()
"""
        pid = spawn(code, server)
        accepted, _ = server.accept()
        data = read_all(accepted)
        accepted.close()
        return [len(data), status_of(pid)]


def spawn(code, server) -> int:
    """A child process that runs the code as a program; under the launcher if this one is."""
    command = [sys.executable, "-c", code, str(server.getsockname()[1])]
    return os.posix_spawn(command[0], command, os.environ)


DAEMONS = {
    "recv": "client.recv(10)",
    "recv with a time-out": "client.settimeout(60); client.recv(10)",
    "send": "client.sendall(bytes(50_000_000))",
    "accept": "server.accept()",
    "select": "select.select([client, server], [], [])",
    "poll": "p = select.poll(); p.register(server); p.register(client, 1); p.poll()",
    "epoll": "e = select.epoll(); e.register(server, 1); e.register(client, 1); e.poll()",
    "makefile": "client.makefile('rb').read()",
}


@scenario
def exit_with_daemon_threads_that_wait():
    """The interpreter ends though threads wait in every kind of call, without a word."""
    answers = {}
    with listener() as peer:
        for name, call in DAEMONS.items():
            code = f"""
import select, socket, sys, threading, time
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
server = socket.create_server(("127.0.0.1", 0))
def wait():
    {call}
client.send(b"?")
for _ in range(3):
    threading.Thread(target=wait, daemon=True).start()
time.sleep(0.1)
"""
            pid = spawn(code, peer)
            accepted, _ = peer.accept()
            with accepted:
                answers[name] = status_of(pid)
    return answers


# -- signals -------------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


def interrupt(*_):
    signal.setitimer(signal.ITIMER_REAL, 0)
    raise Interrupted


def alarm(handler, seconds=0.05, again=0.05):
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds, again)


def calm():
    signal.setitimer(signal.ITIMER_REAL, 0)


def blocked_calls():
    """Every blocking call, ready to block: (name, call, what lets it go on)."""
    for name in ("recv", "recv all", "select", "poll", "epoll", "makefile"):
        with pair() as (a, b):
            read = READS[name]
            a.settimeout(None)
            yield name, lambda read=read, a=a: read(a), lambda b=b: b.sendall(b"0123456789")
    for name, write in WRITES.items():
        with pair() as (a, b):
            fill(a)
            a.settimeout(None)
            yield name, lambda write=write, a=a: write(a), lambda b=b: drain(b)
    for timeout in (None, PATIENCE):
        with listener() as server:
            server.settimeout(timeout)

            def accept(server=server):
                accepted, _ = server.accept()
                accepted.close()

            def come(server=server):
                connect(server).close()

            yield f"accept {timeout}", accept, come


def drain(sock):
    sock.settimeout(0.05)
    with contextlib.suppress(TimeoutError):
        while sock.recv(1 << 20):
            pass


@scenario
def handlers_run_and_calls_go_on():
    """PEP 475: a handler that returns does not disturb a call."""
    answers = {}
    for name, call, go_on in blocked_calls():
        seen = []
        alarm(lambda *_: seen.append(1), 0.01, 0.01)  # noqa: B023
        timer = threading.Timer(0.1, go_on)
        timer.start()
        answers[name] = [outcome(call), len(seen) > 1]
        calm()
        timer.join()
    return answers


@scenario
def handlers_that_raise_end_the_call():
    answers = {}
    for name, call, go_on in blocked_calls():
        alarm(interrupt, 0.02)
        answers[name] = [outcome(call)]
        calm()
        timer = threading.Timer(0.02, go_on)
        timer.start()
        answers[name].append(outcome(call))  # nothing is lost, and it can be called again
        timer.join()
    return answers


@scenario
def keyboard_interrupts():
    answers = {}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name, call, _ in blocked_calls():
        alarm(lambda *_: signal.raise_signal(signal.SIGINT), 0.02)
        answers[name] = outcome(call)
        calm()
    return answers


@scenario
def a_handler_uses_the_socket_that_is_waited_on():
    answers = []
    with pair() as (a, b):
        a.settimeout(None)

        def send(*_):
            calm()
            a.sendall(b"from the handler")

        alarm(send)
        threading.Timer(0.2, b.sendall, (b"answer",)).start()
        answers += [outcome(a.recv, 10), outcome(b.recv, 100)]

        def receive(*_):
            calm()
            b.sendall(b"for the handler")
            answers.append(outcome(a.recv, 100))

        alarm(receive)
        threading.Timer(0.2, b.sendall, (b"for the call",)).start()
        answers.append(outcome(a.recv, 100))

        filled = fill(a)

        def receive_here(*_):
            calm()
            b.sendall(b"while sending")
            answers.append(outcome(a.recv, 100))
            draining.start()

        draining = threading.Thread(target=drain, args=(b,))
        a.settimeout(None)
        alarm(receive_here)
        answers.append(outcome(a.sendall, bytes(1000)))
        answers.append(filled > 0)
        finished(draining)
    with pair() as (a, b):

        def close(*_):
            calm()
            a.close()

        a.settimeout(None)
        alarm(close)
        answers.append(outcome(a.recv, 10))
        answers.append(outcome(b.recv, 10))
    return answers


@scenario
def a_storm_of_signals_loses_no_byte():
    """Handlers run thousands of times while both ends move data."""
    with pair() as (a, b):
        calls = []
        data = pattern(1, 3_000_000)
        received = []
        thread = threading.Thread(target=lambda: received.append(read_all(a)))
        thread.start()
        alarm(lambda *_: calls.append(1), 0.0005, 0.0005)
        b.settimeout(None)
        for at in range(0, len(data), 300_000):
            b.sendall(data[at : at + 300_000])
            time.sleep(0.002)
        b.shutdown(socket.SHUT_WR)
        finished(thread)
        calm()
        return [received[0] == data, len(calls) > 3]


@scenario
def sendall_that_is_interrupted():
    """A prefix has been sent, nothing else."""
    with pair() as (a, b):
        data = pattern(2, 20_000_000)
        a.settimeout(None)
        alarm(interrupt)
        answer = outcome(a.sendall, data)
        a.close()
        got = read_all(b)
        return [answer, data.startswith(got), 0 < len(got) < len(data)]


@scenario
def wakeup_descriptor_of_signals():
    """set_wakeup_fd with a selector that also has switched sockets."""
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    signal.signal(signal.SIGALRM, lambda *_: None)
    before = signal.set_wakeup_fd(writing.fileno())
    with pair() as (a, b), selectors.DefaultSelector() as selector:
        selector.register(reading, selectors.EVENT_READ, "signal")
        selector.register(a, selectors.EVENT_READ, "data")
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        answers = [[key.data for key, _ in selector.select(PATIENCE)], reading.recv(10).hex()]
        b.sendall(b"x")
        answers.append([key.data for key, _ in selector.select(PATIENCE)])
    signal.set_wakeup_fd(before)
    reading.close()
    writing.close()
    return answers


@scenario
def a_stopped_peer_goes_on():
    with listener() as server:

        def echo():
            with connect(server) as client:
                client.sendall(b"ready")
                client.sendall(read_all(client))

        pid = in_child(echo)
        accepted, _ = server.accept()
        with accepted:
            read_exactly(accepted, 5)
            os.kill(pid, signal.SIGSTOP)
            os.waitpid(pid, os.WUNTRACED)
            data = pattern(3, 100_000)
            accepted.sendall(data)
            accepted.settimeout(0.2)
            answers = [outcome(accepted.recv, 10)]
            os.kill(pid, signal.SIGCONT)
            accepted.settimeout(PATIENCE)
            accepted.shutdown(socket.SHUT_WR)
            answers += [read_all(accepted) == data, status_of(pid)]
        return answers


# -- processes -----------------------------------------------------------------------------------


@scenario
def data_of_a_process_that_is_gone():
    """What was sent before os._exit, or before a kill, arrives; then the end."""
    answers = []
    for ending in ("exit", "kill", "unread"):
        for size in (1, 1000, 100_000):
            with listener() as server:

                def send(server=server, size=size, ending=ending):
                    client = connect(server)
                    if ending == "unread":
                        client.recv(1, socket.MSG_PEEK)
                    client.sendall(pattern(4, size))
                    if ending == "kill":
                        os.kill(os.getpid(), signal.SIGKILL)
                    os._exit(0)

                pid = in_child(send)
                accepted, _ = server.accept()
                accepted.settimeout(PATIENCE)
                with accepted:
                    if ending == "unread":
                        accepted.sendall(b"nobody reads this")
                        status_of(pid)
                        answers.append(outcome(read_all, accepted)[:1] == ["ConnectionResetError"])
                    else:
                        answers.append(outcome(read_all, accepted) == pattern(4, size).hex())
                        answers.append(status_of(pid))
    return answers


@scenario
def a_peer_that_is_killed_in_the_middle():
    """Whoever waits, in any call, learns of it."""
    answers = {}
    ends = {"": "end", "ConnectionResetError": "end", "BrokenPipeError": "end"}

    def until_the_end(call):
        while True:
            found = outcome(call)
            if isinstance(found, list) or found in ("", 0):
                return ends.get(found[0] if found else "", found)

    for side in ("reads", "writes", "idles"):
        for name, call in {
            "recv": lambda sock: sock.recv(100_000),
            "send": lambda sock: sock.send(bytes(100_000)),
            "poll": lambda sock: wait_poll(sock, "r") and sock.recv(100_000),
            "epoll": lambda sock: wait_epoll(sock, "r") and sock.recv(100_000),
        }.items():
            with listener() as server:

                def peer(server=server, side=side):
                    client = connect(server)
                    client.sendall(b"x")
                    while True:
                        if side == "reads":
                            client.recv(1000)
                        elif side == "writes":
                            client.send(bytes(1000))
                        else:
                            time.sleep(1)

                pid = in_child(peer)
                accepted, _ = server.accept()
                accepted.settimeout(PATIENCE)
                with accepted:
                    accepted.recv(1)
                    threading.Timer(0.03, os.kill, (pid, signal.SIGKILL)).start()
                    answers[f"{side} {name}"] = until_the_end(lambda: call(accepted))  # noqa: B023
                    answers[f"{side} {name} status"] = status_of(pid)
    return answers


@scenario
def an_end_that_several_processes_hold():
    """The connection ends when the last of them is gone, however that happens."""
    answers = []
    with pair() as (a, b):
        pids = []
        for ending in ("close", "exit", "kill"):

            def hold(ending=ending):
                a.close()
                time.sleep(0.2)
                b.sendall(ending.encode())
                if ending == "close":
                    b.close()
                elif ending == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)

            pids.append(in_child(hold))
        b.close()
        data = read_all(a)
        answers.append(sorted(data))
        answers.append(sorted(status_of(pid) for pid in pids))
    return answers


@scenario
def parent_and_child_use_one_connection_at_once():
    with pair() as (a, b):

        def write(mark):
            for size in (1, 1000, 100_000) * 3:
                b.sendall(mark * size)

        pids = [in_child(lambda mark=mark: (a.close(), write(mark))) for mark in (b"x", b"y")]
        thread = threading.Thread(target=write, args=(b"z",))
        thread.start()
        received = []
        reader = threading.Thread(target=lambda: received.append(read_all(a)))
        reader.start()
        finished(thread)
        b.close()
        finished(reader)
        data = received[0]
        return [len(data), *(data.count(mark) for mark in b"xyz"), *map(status_of, pids)]


@scenario
def forks_while_threads_transfer():
    """A thread forks again and again; the children make connections of their own."""
    with listener() as server:

        def serve(accepted):
            with accepted:
                while piece := accepted.recv(50_000):
                    accepted.sendall(piece)

        def accept():
            for _ in range(4 + 8):
                accepted, _ = server.accept()
                threads.append(threading.Thread(target=serve, args=(accepted,)))
                threads[-1].start()

        def transfer(seed):
            data = pattern(seed, 200_000)
            with connect(server) as client:
                for _ in range(5):
                    sender = threading.Thread(target=client.sendall, args=(data,))
                    sender.start()
                    assert read_exactly(client, len(data)) == data
                    sender.join()
            done.append(seed)

        threads: list[threading.Thread] = []
        done: list[int] = []
        accepting = threading.Thread(target=accept)
        accepting.start()
        transfer(3)  # what Python loads for it is loaded: its own import locks survive no fork
        users = [threading.Thread(target=transfer, args=(seed,)) for seed in range(3)]
        for user in users:
            user.start()
        statuses = []
        for _ in range(8):
            statuses.append(status_of(in_child(lambda: transfer(9))))
        for thread in (*users, accepting, *threads):
            finished(thread)
        return [sorted(done), statuses]


def work(connection, index):
    request = connection.recv(100)
    connection.sendall(b"worker %d: %s" % (index, request))
    connection.close()


@scenario
def multiprocessing_workers():
    """fork: the connection is the worker's; the parent closes its copy at once."""
    context = multiprocessing.get_context("fork")
    answers = []
    with listener() as server:
        for index in range(3):
            with connect(server) as client:
                accepted, _ = server.accept()
                worker = context.Process(target=work, args=(accepted, index))
                worker.start()
                accepted.close()
                client.sendall(b"job")
                answers.append(read_all(client).decode())
                worker.join()
                answers.append(worker.exitcode)
    return answers


class Shout(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())


def use_server(kind):
    """The clients are another process: forked handlers would hold their ends, too."""

    class Server(kind, socketserver.TCPServer):
        daemon_threads = True

    def ask():
        os.read(ready, 1)
        for size in (10, 1000, 200_000):
            with connect(server) as client, client.makefile("rwb") as file:
                for _ in range(3):
                    file.write(b"a" * size + b"\n")
                    file.flush()
                    assert file.readline() == b"A" * size + b"\n"
        os.write(told, json.dumps(seen_switched).encode())

    with Server((HOST, 0), Shout) as server:
        server.getsockname = server.socket.getsockname
        ready, go = os.pipe()
        result, told = os.pipe()
        pid = in_child(ask)
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        time.sleep(0.1)  # a client that comes before the server polls is TCP's
        os.write(go, b"!")
        seen_switched.extend(json.loads(os.read(result, 100)))
        answer = status_of(pid)
        server.shutdown()
        finished(serving)
    return answer


@scenario
def socketserver_with_threads():
    return use_server(socketserver.ThreadingMixIn)


@scenario
def socketserver_with_forks():
    return use_server(socketserver.ForkingMixIn)


@scenario
def several_listeners_on_one_port():
    """SO_REUSEPORT: the clients spread; when one listener dies the others get them all."""
    first = socket.create_server((HOST, 0), reuse_port=True)
    port = first.getsockname()[1]
    ready, told = os.pipe()

    def serve():
        first.close()
        with socket.create_server((HOST, port), reuse_port=True, backlog=100) as server:
            server.settimeout(0.01)
            with contextlib.suppress(TimeoutError):
                server.accept()
            server.settimeout(None)
            os.write(told, b"!")
            while True:
                connection, _ = server.accept()
                connection.sendall(b"%d" % os.getpid())
                connection.close()

    pids = [in_child(serve) for _ in range(3)]
    first.close()
    for _ in pids:
        os.read(ready, 1)

    def ask():
        with socket.create_connection((HOST, port), timeout=PATIENCE) as client:
            seen_switched.append(is_switched(client))
            return int(client.recv(100))

    before = {ask() for _ in range(100)}
    os.kill(pids[0], signal.SIGKILL)
    os.waitpid(pids[0], 0)
    after = {ask() for _ in range(100)}
    for pid in pids[1:]:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return [before == set(pids), after == set(pids[1:])]


@scenario
def a_daemon():
    """The double fork, a session of its own, no standard streams."""
    with listener() as server:
        answer, told = os.pipe()

        def daemon():
            os.setsid()
            if os.fork():
                os._exit(0)
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in range(3):
                os.dup2(null, descriptor)
            os.write(told, b"%d" % os.getpid())
            while True:
                connection, _ = server.accept()
                with connection:
                    if connection.recv(100) == b"stop":
                        os._exit(0)
                    connection.sendall(b"served")

        name = server.getsockname()
        status = status_of(in_child(daemon))
        os.read(answer, 100)
        server.close()
        answers = [status]
        for word in (b"serve", b"serve", b"stop"):
            client = socket.create_connection(name, timeout=PATIENCE)
            with client:
                client.sendall(word)
                answers.append(outcome(client.recv, 100) or "end")
        return answers


@scenario
def an_event_loop_in_a_thread_and_forks():
    async def serve(reader, writer):
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await asyncio.start_server(serve, HOST, 0)
        address.append(server.sockets[0].getsockname())
        started.set()
        async with server:
            await stop.wait()

    address: list[object] = []
    started = threading.Event()
    stop = asyncio.Event()
    loops = []

    async def whole():
        loops.append(asyncio.get_running_loop())
        await main()

    thread = threading.Thread(target=lambda: asyncio.run(whole()))
    thread.start()
    started.wait()

    def ask():
        with socket.create_connection(address[0], timeout=PATIENCE) as client:
            for size in (1, 1000, 5000):
                data = pattern(size, size)
                client.sendall(data)
                assert read_exactly(client, size) == data

    ask()  # opens the SAN side at the latest
    statuses = [status_of(in_child(ask)) for _ in range(5)]
    loops[0].call_soon_threadsafe(stop.set)
    finished(thread)
    return statuses


def main() -> None:
    result = scenarios[sys.argv[1]]()
    print(json.dumps({"result": result, "switched": seen_switched}))


if __name__ == "__main__":
    main()
