"""What programs do with sockets, each as a function that returns what it saw.

Run as a program: `scenarios.py NAME` prints one JSON object.  test_scenarios.py runs every scenario
on plain TCP and under the launcher and demands the same answer: the kernel is the oracle.
Values that depend on the run (ports, descriptor numbers) are left out by the scenarios themselves.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import selectors
import signal
import socket
import struct
import sys
import threading
import time

HOST = "127.0.0.1"
scenarios = {}
seen_switched: list[bool] = []


def scenario(function):
    scenarios[function.__name__] = function
    return function


def is_switched(sock) -> bool:
    if "wsdirect.front.enable" not in sys.modules:
        return False
    return sys.modules["wsdirect.front.enable"].is_switched(sock)


@contextlib.contextmanager
def listener(host=HOST, **kwargs):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, **kwargs) as server:
        server.settimeout(20)
        # the first accept is what opens the SAN side
        server.settimeout(0.01)
        with contextlib.suppress(TimeoutError):
            server.accept()
        server.settimeout(20)
        yield server


@contextlib.contextmanager
def pair(host=HOST, **kwargs):
    with listener(host, **kwargs) as server:
        client = socket.create_connection(server.getsockname()[:2], timeout=20)
        accepted, _ = server.accept()
        accepted.settimeout(20)
        seen_switched.append(is_switched(client) and is_switched(accepted))
        with client, accepted:
            yield client, accepted


def outcome(call, *args, **kwargs):
    """What a call returns, or the exception that it raises, in a form that can be compared."""
    try:
        value = call(*args, **kwargs)
    except OSError as error:
        return [type(error).__name__, errno.errorcode.get(error.errno, error.errno)]
    except Exception as error:
        return [type(error).__name__]
    return value.hex() if isinstance(value, bytes) else value


def read_all(sock) -> bytes:
    data = bytearray()
    while piece := sock.recv(65536):
        data += piece
    return bytes(data)


# -- bytes ---------------------------------------------------------------------------------------


@scenario
def echo_of_many_sizes():
    with pair() as (a, b):
        answers = []
        for size in (0, 1, 2, 63, 64, 4095, 4096, 65536, 200_001):
            data = os.urandom(size)
            thread = threading.Thread(target=a.sendall, args=(data,))
            thread.start()
            got = bytearray()
            while len(got) < size:
                got += b.recv(70_000)
            thread.join()
            answers.append(bytes(got) == data)
        return answers


@scenario
def more_than_the_ring_holds_both_ways():
    with pair() as (a, b):
        data = os.urandom(3_000_000)
        results = {}

        def push(sock):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

        def pull(sock, name):
            results[name] = read_all(sock) == data

        jobs = [(push, (a,)), (push, (b,)), (pull, (a, "a")), (pull, (b, "b"))]
        threads = [threading.Thread(target=job, args=args) for job, args in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


@scenario
def flags_of_recv():
    with pair() as (a, b):
        a.sendall(b"abcdefgh")
        wait_for(b)
        b.settimeout(0.05)
        answers = [
            outcome(b.recv, 3, socket.MSG_PEEK),
            outcome(b.recv, 3),
            outcome(b.recv, 0),
            outcome(b.recv, 100, socket.MSG_DONTWAIT),
            outcome(b.recv, 100, socket.MSG_DONTWAIT),
            outcome(b.recv, -1),
        ]
        b.settimeout(None)  # else the descriptor is non-blocking and MSG_WAITALL does nothing
        threading.Timer(0.1, a.sendall, (b"later",)).start()
        a.sendall(b"now")
        answers.append(outcome(b.recv, 8, socket.MSG_WAITALL))
        a.sendall(b"xy")
        a.shutdown(socket.SHUT_WR)
        answers.append(outcome(b.recv, 8, socket.MSG_WAITALL))
        answers.append(outcome(b.recv, 8, socket.MSG_WAITALL))
        return answers


def wait_for(sock):
    select.select([sock], [], [], 10)


@scenario
def every_way_to_receive():
    with pair() as (a, b):
        a.sendall(b"0123456789" * 10)
        wait_for(b)
        buffer, other = bytearray(7), bytearray(5)
        answers = [outcome(b.recv_into, buffer), buffer.hex()]
        answers.append(outcome(b.recv_into, buffer, 2))
        answers.append(outcome(b.recv_into, buffer, nbytes=3, flags=0))
        answers += [outcome(b.recv_into, buffer, 8), outcome(b.recv_into, b"read-only")]
        answers.append(b.recvfrom(4)[0].hex())
        answers.append(b.recvfrom(4)[1])
        count, address = b.recvfrom_into(buffer, 3)
        answers += [count, address]
        data, control, flags, address = b.recvmsg(6, 100)
        answers += [data.hex(), control, flags & ~socket.MSG_CTRUNC, address]
        count, control, flags, address = b.recvmsg_into([buffer, other], 0)
        answers += [count, control, flags, address, buffer.hex(), other.hex()]
        with b.makefile("rb") as file:
            answers.append(file.read(5).hex())
        return answers


@scenario
def every_way_to_send():
    with pair() as (a, b):
        answers = [
            outcome(a.send, b"one"),
            outcome(a.send, memoryview(b"two")),
            outcome(a.send, "text"),
            outcome(a.sendall, bytearray(b"three")),
            outcome(a.sendmsg, [b"four", b"", bytearray(b"five")]),
            outcome(a.sendmsg, []),
            outcome(a.sendto, b"six", (HOST, 1)),
            outcome(a.send, b""),
            outcome(a.sendall, b""),
        ]
        with a.makefile("wb") as file:
            file.write(b"seven")
        a.shutdown(socket.SHUT_WR)
        answers.append(read_all(b).decode())
        return answers


@scenario
def sendfile_falls_back():
    import tempfile

    with pair() as (a, b), tempfile.TemporaryFile() as file:
        data = os.urandom(500_000)
        file.write(data)
        file.seek(0)
        got = []
        thread = threading.Thread(target=lambda: got.append(read_all(b)))
        thread.start()
        sent = a.sendfile(file)
        a.shutdown(socket.SHUT_WR)
        thread.join()
        return [sent, got[0] == data]


# -- time-outs and blocking modes ----------------------------------------------------------------


@scenario
def timeouts():
    with pair() as (a, b):
        answers = []
        for value in (0.05, 0):
            b.settimeout(value)
            answers.append(outcome(b.recv, 10))
            answers.append(outcome(b.recv_into, bytearray(5)))
        b.settimeout(0.05)
        a.settimeout(0.05)
        total = 0
        with contextlib.suppress(TimeoutError):
            while True:
                total += a.send(b"x" * 50_000)
        answers.append(total > 0)
        answers.append(outcome(a.sendall, b"x" * 10_000_000))
        return answers


@scenario
def nonblocking_round_trip():
    with pair() as (a, b):
        a.setblocking(False)
        b.setblocking(False)
        answers = [outcome(b.recv, 1)]
        a.send(b"ping")
        wait_for(b)
        answers.append(outcome(b.recv, 100))
        answers.append(outcome(b.recv, 100))
        answers.append(select.select([b], [a], [], 0) == ([], [a], []))
        return answers


@scenario
def default_timeout():
    socket.setdefaulttimeout(7.5)
    try:
        with pair() as (_a, b):
            b.settimeout(None)
            with listener() as server:
                server.settimeout(None)
                other = socket.create_connection(server.getsockname())
                accepted, _ = server.accept()
                answers = [other.gettimeout(), accepted.gettimeout()]
                other.close()
                accepted.close()
            return answers
    finally:
        socket.setdefaulttimeout(None)


# -- ends ----------------------------------------------------------------------------------------


@scenario
def half_close():
    with pair() as (a, b):
        a.sendall(b"last words")
        a.shutdown(socket.SHUT_WR)
        answers = [outcome(a.send, b"more"), read_all(b).decode(), outcome(b.recv, 1)]
        b.sendall(b"answer")
        answers.append(outcome(a.recv, 100))
        b.close()
        answers.append(outcome(a.recv, 100))
        return answers


@scenario
def shutdown_arguments():
    with pair() as (a, b):
        answers = [outcome(a.shutdown, 17), outcome(a.shutdown, socket.SHUT_RD)]
        answers += [outcome(a.recv, 10), outcome(a.shutdown, socket.SHUT_RDWR)]
        answers += [outcome(b.recv, 10), outcome(a.send, b"x")]
    fresh = socket.socket()
    answers.append(outcome(fresh.shutdown, socket.SHUT_WR))
    fresh.close()
    return answers


@scenario
def close_with_unread_data_resets():
    with pair() as (a, b):
        a.sendall(b"never read")
        wait_for(b)
        b.close()
        time.sleep(0.05)
        return [outcome(a.recv, 10), outcome(a.recv, 10)]


@scenario
def linger_zero_resets():
    with pair() as (a, b):
        b.sendall(b"before")
        b.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        b.close()
        time.sleep(0.05)
        return [outcome(a.recv, 10), outcome(a.recv, 10), outcome(a.recv, 10)]


@scenario
def sending_to_a_closed_peer():
    with pair() as (a, b):
        b.close()
        time.sleep(0.05)
        answers = [outcome(a.recv, 10), outcome(a.send, b"x")]
        time.sleep(0.05)
        answers.append(outcome(a.send, b"x"))
        return answers


@scenario
def data_survive_a_graceful_close():
    with pair() as (a, b):
        b.sendall(b"goodbye" * 1000)
        b.close()
        return len(read_all(a))


@scenario
def closed_sockets():
    with pair() as (a, _b):
        a.close()
        return [
            outcome(a.recv, 1),
            outcome(a.send, b"x"),
            outcome(a.getpeername),
            a.fileno(),
            outcome(a.close),
        ]


@scenario
def makefile_keeps_the_connection():
    with pair() as (a, b):
        file = a.makefile("rwb")
        a.close()
        file.write(b"still here\n")
        file.flush()
        answers = [outcome(b.recv, 100)]
        b.sendall(b"line\n")
        answers.append(file.readline().decode())
        file.close()
        answers.append(outcome(b.recv, 10))
        return answers


# -- names and options ---------------------------------------------------------------------------


@scenario
def names():
    with listener() as server:
        address = server.getsockname()
        with socket.create_connection(address) as client:
            accepted, peer = server.accept()
            with accepted:
                seen_switched.append(is_switched(client))
                return [
                    client.getpeername() == address,
                    accepted.getsockname() == address,
                    accepted.getpeername() == peer == client.getsockname(),
                    client.getsockname()[0],
                    client.family.name,
                    accepted.family.name,
                    client.type.name,
                    accepted.proto,
                    "raddr" in repr(client),
                ]


@scenario
def names_of_a_bound_client():
    with listener() as server, socket.socket() as client:
        client.bind((HOST, 0))
        name = client.getsockname()
        client.connect(server.getsockname())
        accepted, peer = server.accept()
        with accepted:
            seen_switched.append(is_switched(client))
            again = socket.socket()
            answers = [client.getsockname() == name == peer, outcome(again.bind, name)]
            again.close()
            return answers


@scenario
def ipv6():
    with pair("::1") as (a, b):
        a.sendall(b"six")
        return [
            outcome(b.recv, 10),
            a.getpeername()[0],
            len(a.getsockname()),
            b.getsockname()[2:],
            a.family.name,
        ]


@scenario
def dual_stack_listener():
    if not socket.has_dualstack_ipv6():
        return None
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        server.settimeout(0.01)
        with contextlib.suppress(TimeoutError):
            server.accept()
        server.settimeout(20)
        answers = []
        for host in ("127.0.0.1", "::1", "localhost"):
            with socket.create_connection((host, server.getsockname()[1])) as client:
                accepted, peer = server.accept()
                with accepted:
                    seen_switched.append(is_switched(client))
                    answers.append([peer[0], accepted.getsockname()[0], len(peer)])
        return answers


@scenario
def options():
    with pair() as (a, b):
        tcp, sol = socket.IPPROTO_TCP, socket.SOL_SOCKET
        answers = []
        for sock in (a, b):
            answers += [
                sock.getsockopt(sol, socket.SO_TYPE),
                sock.getsockopt(sol, socket.SO_ERROR),
                sock.getsockopt(sol, socket.SO_ACCEPTCONN),
                sock.getsockopt(sol, socket.SO_DOMAIN),
                sock.getsockopt(sol, socket.SO_PROTOCOL),
                sock.getsockopt(tcp, socket.TCP_NODELAY),
                outcome(sock.setsockopt, tcp, socket.TCP_NODELAY, 5),
                sock.getsockopt(tcp, socket.TCP_NODELAY),
                outcome(sock.setsockopt, sol, socket.SO_KEEPALIVE, True),
                sock.getsockopt(sol, socket.SO_KEEPALIVE),
                outcome(sock.setsockopt, tcp, socket.TCP_KEEPIDLE, 77),
                sock.getsockopt(tcp, socket.TCP_KEEPIDLE),
                outcome(sock.setsockopt, tcp, socket.TCP_KEEPIDLE, -1),
                outcome(sock.setsockopt, sol, socket.SO_LINGER, struct.pack("ii", 1, 9)),
                sock.getsockopt(sol, socket.SO_LINGER, 8).hex(),
                outcome(sock.setsockopt, sol, socket.SO_RCVBUF, 50_000),
                sock.getsockopt(sol, socket.SO_RCVBUF),
                outcome(sock.setsockopt, sol, 9999, 1),
                outcome(sock.getsockopt, 9999, 1),
                outcome(sock.getsockopt, sol),
                outcome(sock.bind, (HOST, 0)),
            ]
        answers.append(outcome(b.connect, (HOST, 1)))
        return answers


@scenario
def options_are_inherited():
    with listener() as server, socket.socket() as client:
        for sock in (server, client):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 33)
        client.connect(server.getsockname())
        accepted, _ = server.accept()
        seen_switched.append(is_switched(client))
        with accepted:
            return [
                [
                    sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                    sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                    sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                ]
                for sock in (client, accepted)
            ]


# -- connecting and accepting --------------------------------------------------------------------


@scenario
def connect_errors():
    with socket.socket() as closed:
        closed.bind((HOST, 0))
        port = closed.getsockname()[1]
    answers = []
    nonsense = (("no such host.invalid", 1), HOST, (HOST,))
    for address in ((HOST, port), (HOST, 0), (HOST, 70000), *nonsense):
        with socket.socket() as sock:
            answers.append(outcome(sock.connect, address))
        with socket.socket() as sock:
            if address[0] == HOST:
                answers.append(outcome(sock.connect_ex, address))
    return answers


@scenario
def connect_ex_and_nonblocking_connect():
    with listener() as server, socket.socket() as client:
        client.setblocking(False)
        first = client.connect_ex(server.getsockname())
        _, writable, _ = select.select([], [client], [], 10)
        accepted, _ = server.accept()
        seen_switched.append(is_switched(client))
        with accepted:
            return [
                first in (0, errno.EINPROGRESS),
                bool(writable),
                client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
                client.getblocking(),
                accepted.getblocking(),
                outcome(client.recv, 1),
            ]


@scenario
def one_thread_connects_writes_and_accepts():
    with listener() as server:
        clients = []
        for number in range(20):
            client = socket.create_connection(server.getsockname())
            client.sendall(b"number %d" % number)
            clients.append(client)
        answers = set()
        for _ in clients:
            accepted, _ = server.accept()
            answers.add(accepted.recv(100).decode())
            accepted.sendall(b"ok")
            accepted.close()
        answers.update(client.recv(10).decode() for client in clients)
        seen_switched.append(all(is_switched(client) for client in clients))
        for client in clients:
            client.close()
        return sorted(answers)


@scenario
def accept_modes():
    with listener() as server:
        answers = []
        server.settimeout(0.05)
        answers.append(outcome(server.accept))
        server.setblocking(False)
        answers.append(outcome(server.accept))
        return answers


@scenario
def listener_polls_readable():
    with listener() as server:
        answers = []
        pollers = [selectors.SelectSelector(), selectors.PollSelector(), selectors.EpollSelector()]
        for selector in pollers:
            selector.register(server, selectors.EVENT_READ)
            answers.append(len(selector.select(0)))
        with socket.create_connection(server.getsockname()) as client:
            seen_switched.append(is_switched(client))
            for selector in pollers:
                answers.append([key.fd == server.fileno() for key, _ in selector.select(5)])
            accepted, _ = server.accept()
            accepted.close()
            for selector in pollers:
                answers.append(len(selector.select(0)))
                selector.unregister(server)
                answers.append(len(selector.select(0)))
                selector.close()
        return answers


# -- pollers -------------------------------------------------------------------------------------


def states(sock) -> list[object]:
    """Readiness as every poller sees it."""
    poll, epoll = select.poll(), select.epoll()
    poll.register(sock, select.POLLIN | select.POLLOUT)
    epoll.register(sock, select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP)
    r, w, _ = select.select([sock], [sock], [], 0)
    answer = [bool(r), bool(w)]
    for _, events in poll.poll(0):
        answer.append(events & (select.POLLIN | select.POLLOUT))
    for _, events in epoll.poll(0):
        answer.append(events & (select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP))
    epoll.close()
    return answer


@scenario
def readiness_at_rest():
    with pair() as (a, b):
        answers = [states(a), states(b)]
        a.sendall(b"0123456789")
        wait_for(b)
        answers.append(states(b))
        b.recv(4)
        answers.append(states(b))
        b.recv(100)
        answers += [states(b), states(a)]
        a.shutdown(socket.SHUT_WR)
        wait_for(b)
        answers += [states(b), outcome(b.recv, 1), states(b)]
        return answers


@scenario
def readiness_of_a_full_connection():
    with pair() as (a, b):
        a.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                a.send(b"x" * 100_000)
        answers = [states(a)[:2], states(b)[0]]
        total = 0
        b.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                total += len(b.recv(100_000))
                select.select([b], [], [], 0.05)
        _, writable, _ = select.select([], [a], [], 5)
        answers += [bool(writable), total > 0]
        return answers


@scenario
def small_send_buffer_fills_soon():
    with listener() as server, socket.socket() as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.connect(server.getsockname())
        accepted, _ = server.accept()
        seen_switched.append(is_switched(client))
        with accepted:
            client.setblocking(False)
            total = 0
            with contextlib.suppress(BlockingIOError):
                while total < 1_000_000:
                    total += client.send(b"x" * 100_000)
            accepted.setblocking(False)
            drained = 0
            while drained < total:
                select.select([accepted], [], [], 5)
                drained += len(accepted.recv(100_000))
            _, writable, _ = select.select([], [client], [], 5)
            return [total < 100_000, bool(writable)]


@scenario
def poller_sleeps_until_data_come():
    with pair() as (a, b):
        answers = []
        for kind in (selectors.SelectSelector, selectors.PollSelector, selectors.EpollSelector):
            with kind() as selector:
                selector.register(b, selectors.EVENT_READ)
                answers.append(len(selector.select(0.01)))
                threading.Timer(0.05, a.sendall, (b"x",)).start()
                answers.append(len(selector.select(10)))
                answers.append(outcome(b.recv, 10))
        return answers


@scenario
def idle_connection_is_not_readable():
    with pair() as (a, b):
        answers = []
        for _ in range(200):
            a.sendall(b"request")
            b.recv(100)
            b.sendall(b"response")
            a.recv(100)
            answers.append(select.select([a, b], [], [], 0)[0] == [])
        return all(answers)


@scenario
def edge_triggered_epoll():
    with pair() as (a, b):
        b.setblocking(False)
        with select.epoll() as epoll:
            epoll.register(b, select.EPOLLIN | select.EPOLLET)
            answers = []
            for _ in range(5):
                a.sendall(b"x" * 10)
                answers.append(len(epoll.poll(5)))
                answers.append(len(epoll.poll(0)))
                with contextlib.suppress(BlockingIOError):
                    while b.recv(3):
                        pass
            return answers


# -- descriptors ---------------------------------------------------------------------------------


@scenario
def dup_detach_and_fileno():
    with pair() as (a, b):
        twin = b.dup()
        a.sendall(b"abcdef")
        answers = [outcome(b.recv, 3), outcome(twin.recv, 3), twin.family.name]
        b.close()
        a.sendall(b"gh")
        answers.append(outcome(twin.recv, 10))
        fd = twin.detach()
        again = socket.socket(fileno=fd)
        a.sendall(b"ij")
        answers += [outcome(again.recv, 10), again.family.name, again.type.name, again.proto]
        copy = socket.fromfd(again.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        copy.sendall(b"from the copy")
        answers.append(outcome(a.recv, 100))
        copy.close()
        again.close()
        answers.append(outcome(a.recv, 100))
        return answers


@scenario
def read_and_write_on_the_descriptor():
    with pair() as (a, b):
        a.settimeout(None)
        b.settimeout(None)
        answers = [outcome(os.write, a.fileno(), b"hello"), outcome(os.read, b.fileno(), 100)]
        answers.append(outcome(os.writev, a.fileno(), [b"x", b"yz"]))
        buffers = [bytearray(2), bytearray(2)]
        answers += [outcome(os.readv, b.fileno(), buffers), [part.hex() for part in buffers]]
        b.setblocking(False)
        answers.append(outcome(os.read, b.fileno(), 1))
        os.close(a.detach())
        wait_for(b)
        answers.append(outcome(os.read, b.fileno(), 1))
        return answers


@scenario
def descriptor_numbers_are_reused():
    answers = []
    with listener() as server:
        for _ in range(5):
            client = socket.create_connection(server.getsockname())
            accepted, _ = server.accept()
            seen_switched.append(is_switched(client))
            os.close(client.detach())
            with socket.socket() as other:
                answers.append(outcome(other.recv, 1))
            accepted.close()
            left, right = socket.socketpair()
            left.sendall(b"plain")
            answers.append(outcome(right.recv, 10))
            left.close()
            right.close()
    return answers


# -- threads, signals, processes -----------------------------------------------------------------


@scenario
def threads_share_a_connection():
    with pair() as (a, b):
        received = []
        lock = threading.Lock()

        def read():
            while True:
                piece = b.recv(1000)
                with lock:
                    received.append(len(piece))
                if not piece:
                    return

        readers = [threading.Thread(target=read) for _ in range(3)]
        writers = [threading.Thread(target=lambda: a.sendall(b"x" * 300_000)) for _ in range(3)]
        for thread in readers + writers:
            thread.start()
        for thread in writers:
            thread.join()
        a.shutdown(socket.SHUT_WR)
        for thread in readers:
            thread.join()
        return [sum(received), received.count(0)]


@scenario
def signals_interrupt_waits():
    with pair() as (_a, b):
        b.settimeout(None)

        class Interrupted(Exception):
            pass

        def handler(*_):
            raise Interrupted

        calls = []
        answers = []
        signal.signal(signal.SIGALRM, lambda *_: calls.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        threading.Timer(0.2, _a.sendall, (b"late",)).start()
        answers += [outcome(b.recv, 10), len(calls)]
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        answers.append(outcome(b.recv, 10))
        answers.append(select.select([b], [], [], 0)[0] == [])
        return answers


@scenario
def forked_child_serves():
    with listener() as server:
        client = socket.create_connection(server.getsockname(), timeout=20)
        accepted, _ = server.accept()
        seen_switched.append(is_switched(client))
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                server.close()
                client.close()
                accepted.settimeout(20)
                accepted.sendall(b"child got " + accepted.recv(100))
                accepted.shutdown(socket.SHUT_WR)
            os._exit(0)
        accepted.close()
        client.sendall(b"this")
        answer = read_all(client).decode()
        os.waitpid(pid, 0)
        client.close()
        return answer


@scenario
def killed_peer():
    with listener() as server:
        pid = os.fork()
        if pid == 0:
            peer = socket.create_connection(server.getsockname())
            peer.sendall(b"alive")
            time.sleep(60)
            os._exit(0)
        accepted, _ = server.accept()
        accepted.settimeout(20)
        seen_switched.append(is_switched(accepted))
        answers = [outcome(accepted.recv, 100)]
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        answers.append(outcome(accepted.recv, 100))
        accepted.close()
        return answers


@scenario
def many_connections_one_after_another():
    with listener() as server:
        total = 0
        for number in range(300):
            client = socket.create_connection(server.getsockname())
            accepted, _ = server.accept()
            seen_switched.append(is_switched(client))
            client.sendall(b"%d" % number)
            total += int(accepted.recv(100))
            accepted.close()
            total += client.recv(1) == b""
            client.close()
        return total


@scenario
def many_connections_at_once():
    with listener(backlog=200) as server:
        pairs = []
        for _ in range(150):
            client = socket.create_connection(server.getsockname())
            accepted, _ = server.accept()
            pairs.append((client, accepted))
        seen_switched.append(all(is_switched(client) for client, _ in pairs))
        for number, (client, _) in enumerate(pairs):
            client.sendall(b"%d" % number)
        total = sum(int(accepted.recv(100)) for _, accepted in pairs)
        for client, accepted in pairs:
            client.close()
            accepted.close()
        return total


# -- urgent data ---------------------------------------------------------------------------------

SIOCATMARK, FIONREAD = 0x8905, 0x541B


def number_from(sock, request) -> int:
    import fcntl

    return struct.unpack("i", fcntl.ioctl(sock, request, b"1234"))[0]


def urgency(sock):
    """What everybody says of a socket that may have urgent data."""
    poll, epoll = select.poll(), select.epoll()
    poll.register(sock, select.POLLIN | select.POLLPRI)
    epoll.register(sock, select.EPOLLIN | select.EPOLLPRI)
    answers = [
        [len(found) for found in select.select([sock], [], [sock], 0)],
        sum(events for _, events in poll.poll(0)),
        sum(events for _, events in epoll.poll(0)),
        number_from(sock, SIOCATMARK),
        number_from(sock, FIONREAD),
    ]
    epoll.close()
    return answers


def wait_for_urgent(sock):
    select.select([], [], [sock], 10)


def settled(sock, sender, data=b""):
    """Until everything sent has arrived: urgent bytes say nothing of what follows them."""
    sender.sendall(data)
    time.sleep(0.02)


OOB, INLINE = socket.MSG_OOB, (socket.SOL_SOCKET, socket.SO_OOBINLINE)


@scenario
def urgent_byte_apart():
    with pair() as (a, b):
        b.setblocking(False)
        answers = [outcome(b.recv, 1, OOB), urgency(b)]
        answers.append(a.send(b"abc", OOB))
        wait_for_urgent(b)
        answers.append(urgency(b))
        a.sendall(b"def")
        settled(b, a)
        answers.append(urgency(b))
        answers += [outcome(b.recv, 10, socket.MSG_PEEK), outcome(b.recv, 10), urgency(b)]
        answers += [outcome(b.recv, 0, OOB), outcome(b.recv, 9, OOB | socket.MSG_PEEK)]
        answers += [outcome(b.recv, 9, OOB), outcome(b.recv, 1, OOB), urgency(b)]
        answers += [outcome(b.recv, 10), outcome(b.recv, 10), urgency(b)]
        return answers


@scenario
def urgent_byte_passed_unread():
    with pair() as (a, b):
        b.setblocking(False)
        answers = []
        a.send(b"1", OOB)
        wait_for_urgent(b)
        answers += [urgency(b), outcome(b.recv, 10), urgency(b), outcome(b.recv, 1, OOB)]
        a.send(b"2", OOB)
        wait_for_urgent(b)
        settled(b, a, b"after")
        answers += [urgency(b), outcome(b.recv, 10), urgency(b), outcome(b.recv, 1, OOB)]
        return answers


@scenario
def a_later_urgent_byte_takes_the_mark():
    with pair() as (a, b):
        b.setblocking(False)
        answers = []
        for _ in range(2):
            a.sendall(b"front")
            a.send(b"A", OOB)
            settled(b, a, b"between")
            a.send(b"B", OOB)
            settled(b, a, b"behind")
            answers += [urgency(b), outcome(b.recv, 1, OOB)]
            answers += [outcome(b.recv, 100), urgency(b), outcome(b.recv, 100), urgency(b)]
        for byte in (b"C", b"D", b"E"):  # the reader stands at each of them when the next one comes
            a.send(byte, OOB)
            settled(b, a)
            answers += [urgency(b), outcome(b.recv, 1, OOB | socket.MSG_PEEK)]
        settled(b, a, b"end")
        answers += [outcome(b.recv, 100), outcome(b.recv, 1, OOB), urgency(b)]
        return answers


@scenario
def urgent_byte_inline():
    with pair() as (a, b):
        b.setblocking(False)
        answers = [b.getsockopt(*INLINE)]
        b.setsockopt(*INLINE, 1)
        answers.append(b.getsockopt(*INLINE))
        a.send(b"ab!", OOB)
        settled(b, a, b"cd")
        answers += [urgency(b), outcome(b.recv, 1, OOB), outcome(b.recv, 10), urgency(b)]
        answers += [outcome(b.recv, 10), urgency(b)]
        a.send(b"?", OOB)
        wait_for_urgent(b)
        answers += [urgency(b)]
        b.setsockopt(*INLINE, 0)
        answers += [b.getsockopt(*INLINE), urgency(b), outcome(b.recv, 1, OOB)]
        return answers


@scenario
def urgent_byte_inline_from_the_listener():
    with listener() as server:
        server.setsockopt(*INLINE, 1)
        with socket.create_connection(server.getsockname()) as a, server.accept()[0] as b:
            seen_switched.append(is_switched(a) and is_switched(b))
            a.send(b"!", OOB)
            wait_for(b)
            return [b.getsockopt(*INLINE), a.getsockopt(*INLINE), outcome(b.recv, 9)]


@scenario
def every_way_to_urgent_data():
    with pair() as (a, b):
        b.setblocking(False)
        buffer, answers = bytearray(4), []
        sends = [
            lambda: a.send(b"x1", OOB),
            lambda: a.sendall(b"x2", OOB),
            lambda: a.sendmsg([b"x", b"", b"3"], [], OOB),
            lambda: a.sendto(b"x4", OOB, (HOST, 1)),
            lambda: a.send(b"", OOB),
        ]
        receives = [
            lambda: b.recv(3, OOB),
            lambda: [b.recv_into(buffer, 3, OOB), buffer.hex()],
            lambda: b.recvfrom(3, OOB)[0],
            lambda: repr(b.recvmsg(3, 0, OOB)[:3]),
            lambda: repr([b.recvmsg_into([buffer], 0, OOB)[:3], buffer]),
        ]
        for send, receive in zip(sends, receives, strict=True):
            answers.append(outcome(send))
            settled(b, a)
            answers += [outcome(receive), outcome(receive), outcome(b.recv, 10)]
        return answers


@scenario
def urgent_byte_and_waits():
    with pair() as (a, b):
        answers = []
        a.send(b"!", OOB)
        wait_for_urgent(b)
        b.settimeout(0.05)
        answers += [outcome(b.recv, 1), outcome(b.recv, 1, OOB), urgency(b)]  # it is not readable
        settled(b, a, b"data")
        answers += [outcome(b.recv, 1, OOB), outcome(b.recv, 100), urgency(b)]
        b.settimeout(None)
        a.sendall(b"12")
        a.send(b"3", OOB)
        settled(b, a, b"45678")
        answers += [outcome(b.recv, 5, socket.MSG_WAITALL), outcome(b.recv, 5, socket.MSG_WAITALL)]
        threading.Timer(0.05, a.send, (b"u", OOB)).start()
        threading.Timer(0.15, a.sendall, (b"later",)).start()
        answers += [outcome(b.recv, 100), urgency(b)]
        for kind in (selectors.SelectSelector, selectors.PollSelector, selectors.EpollSelector):
            with kind() as selector:
                selector.register(b, selectors.EVENT_READ)
                threading.Timer(0.05, a.send, (b"u", OOB)).start()  # wakes nobody who wants to read
                answers += [len(selector.select(0.15)), len(selector.select(0))]
                threading.Timer(0.05, a.sendall, (b"data",)).start()
                answers += [len(selector.select(10)), outcome(b.recv, 1, OOB), outcome(b.recv, 9)]
        return answers


@scenario
def urgent_byte_wakes_pollers():
    """With and without ordinary data that stand unread before it."""
    with pair() as (a, b):
        b.setblocking(False)
        answers = []
        for data in (b"", b"unread"):
            settled(b, a, data)
            for mode in ("select", "poll", "epoll"):
                timer = threading.Timer(0.05, a.send, (b"!", OOB))
                timer.start()
                if mode == "select":
                    answers.append(len(select.select([], [], [b], 10)[2]))
                else:
                    poller = select.poll() if mode == "poll" else select.epoll()
                    poller.register(b, select.POLLPRI)
                    answers += [len(poller.poll(10_000 if mode == "poll" else 10)), poller.poll(0)]
                    answers[-1] = [events for _, events in answers[-1]]
                    answers += [outcome(b.recv, 1, OOB), len(poller.poll(0))]
                timer.join()
                answers += [outcome(b.recv, 1, OOB), outcome(b.recv, 100, socket.MSG_DONTWAIT)]
                answers += [outcome(b.recv, 100, socket.MSG_DONTWAIT)]
        return answers


@scenario
def urgent_byte_raises_sigurg():
    import fcntl

    with pair() as (a, b):
        answers, got = [], []

        def on_urgent(signum, frame):
            got.append(outcome(b.recv, 1, OOB | socket.MSG_DONTWAIT))

        b.settimeout(None)
        signal.signal(signal.SIGURG, on_urgent)
        fcntl.fcntl(b, fcntl.F_SETOWN, os.getpid())
        for data in (b"", b"unread"):
            settled(b, a, data)
            a.send(b"1", OOB)
            for _ in range(500):
                if got:
                    break
                time.sleep(0.01)
            answers += [list(got), outcome(b.recv, 100, socket.MSG_DONTWAIT)]
            answers += [outcome(b.recv, 100, socket.MSG_DONTWAIT)]
            got.clear()
        threading.Timer(0.1, a.send, (b"2", OOB)).start()  # while recv sleeps
        threading.Timer(0.3, a.sendall, (b"data",)).start()
        answers += [outcome(b.recv, 100), got]
        signal.signal(signal.SIGURG, signal.SIG_DFL)
        return answers


@scenario
def urgent_byte_and_the_end():
    answers = []
    for how in ("shut", "close", "shut after reading"):
        with pair() as (a, b):
            a.setblocking(False)
            b.setblocking(False)
            a.send(b"ab!", OOB)
            wait_for_urgent(b)
            if how == "shut after reading":
                answers += [outcome(b.recv, 10), outcome(b.recv, 1, OOB)]
            if how == "close":
                a.close()
            else:
                a.shutdown(socket.SHUT_WR)
            time.sleep(0.05)
            answers += [urgency(b), outcome(b.recv, 1, OOB), outcome(b.recv, 10), urgency(b)]
            answers += [outcome(b.recv, 10), outcome(b.recv, 10), outcome(b.recv, 1, OOB)]
            if how != "close":
                answers += [outcome(a.send, b"!", OOB), outcome(a.recv, 1, OOB)]
    for unread in (b"", b"x"):  # closed by the reader, with the urgent byte read or not
        with pair() as (a, b):
            b.setblocking(False)
            a.send(b"!", OOB)
            wait_for_urgent(b)
            if not unread:
                b.recv(1, OOB)
            b.close()
            time.sleep(0.05)
            answers += [outcome(a.recv, 1), outcome(a.recv, 1), outcome(a.send, b"!", OOB)]
    with pair() as (a, b):  # reset, with an urgent byte unread
        b.setblocking(False)
        a.send(b"x!", OOB)
        wait_for_urgent(b)
        a.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        a.close()
        time.sleep(0.05)
        answers += [outcome(b.recv, 1, OOB), outcome(b.recv, 1, OOB)]
    return answers


@scenario
def urgent_bytes_in_a_full_stream():
    with pair() as (a, b):
        data = os.urandom(400_000)

        def push():
            a.sendall(data)
            a.sendall(b"!", OOB)
            a.sendall(data)
            a.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=push)
        thread.start()
        got, marks = bytearray(), []
        while len(got) < 300_000:
            got += b.recv(10_000)
        wait_for_urgent(b)  # there is room for it now
        while True:
            if number_from(b, SIOCATMARK):
                marks.append([len(got), outcome(b.recv, 1, OOB)])
            piece = b.recv(10_000)
            if not piece:
                break
            got += piece
        thread.join()
        return [bytes(got) == data * 2, marks]


@scenario
def urgent_byte_in_a_forked_child():
    with pair() as (a, b):
        b.setblocking(False)
        a.send(b"ab!", OOB)
        settled(b, a, b"cd")
        answers = [outcome(b.recv, 1)]
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            said = [urgency(b), outcome(b.recv, 1, OOB), outcome(b.recv, 9)]
            b.setsockopt(*INLINE, 1)
            os.write(writer, json.dumps(said).encode())
            os._exit(0)
        os.waitpid(child, 0)
        answers += [json.loads(os.read(reader, 10_000)), urgency(b), outcome(b.recv, 1, OOB)]
        answers += [b.getsockopt(*INLINE), outcome(b.recv, 9)]
        with b.dup() as copy:
            answers += [urgency(copy), copy.getsockopt(*INLINE)]
        os.close(reader)
        os.close(writer)
        return answers


# -- what is not switched ------------------------------------------------------------------------


@scenario
def udp_and_unix_sockets():
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as two:
        two.bind((HOST, 0))
        one.connect(two.getsockname())
        one.send(b"datagram")
        answers = [two.recvfrom(100)[0].decode(), two.recvfrom is not None]
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"local")
        answers.append(right.recv(100).decode())
        reader, writer = os.pipe()
        socket.send_fds(left, [b"fd"], [writer])
        _, fds, _, _ = socket.recv_fds(right, 10, 1)
        os.write(fds[0], b"through")
        answers.append(os.read(reader, 100).decode())
        for fd in (reader, writer, *fds):
            os.close(fd)
    return answers


def main() -> None:
    result = scenarios[sys.argv[1]]()
    print(json.dumps({"result": result, "switched": seen_switched}))


if __name__ == "__main__":
    main()
