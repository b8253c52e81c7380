"""Installs the grafted methods and runs one check: see test_socket_methods.py."""

import _socket
import array
import errno
import itertools
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.core.pairs import bells, make_pair
from wsdirect._core import native

RING = 4096
NAMES = ("recv", "recv_into", "send", "sendall", "sendmsg", "fileno")
unattached_calls: list[int] = []


def install() -> None:
    before = {name: getattr(socket.socket, name) for name in NAMES}
    grafts = native.socket_methods(socket.socket, unattached_calls.append)
    assert set(grafts) == set(NAMES)
    for name, method in grafts.items():
        setattr(socket.socket, name, method)
        assert getattr(socket.socket, name).__name__ == name
        assert getattr(socket.socket, name).__doc__ == before[name].__doc__


def outcome(call: Callable[[], Any]) -> Any:
    """The result, or what was raised (two runs are compared, so with all its details)."""
    try:
        return call()
    except Exception as error:
        return type(error), error.args


def switched(ring: int = RING) -> tuple[socket.socket, socket.socket]:
    """Two socket objects whose bytes go through rings."""
    a, b = make_pair(ring)
    native.table_bind(a.bell.fileno(), a.stream)
    native.table_bind(b.bell.fileno(), b.stream)
    return a.bell, b.bell


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        a = socket.create_connection(listener.getsockname())
        return a, listener.accept()[0]


class Index:
    def __index__(self) -> int:
        return 3


VALUES: list[Any] = [
    0, 1, 5, -1, True, Index(), 1 << 40, 1 << 80, -(1 << 80), 2.5, None, "x", b"abc", b"",
    bytearray(4), memoryview(bytearray(6))[::2], array.array("H", [1, 2]), [b"a", b"bc"], (b"z",),
    [], [1], ["x"], object(), socket.MSG_PEEK, socket.MSG_DONTWAIT,
]  # fmt: skip


def comparable(value: Any) -> Any:
    return repr(value) if isinstance(value, tuple) and value and value[0] is TypeError else value


def check_unswitched_sockets_see_no_difference() -> None:
    """Every method, every combination of up to three arguments: as _socket.socket's own."""
    count = 0
    for name in NAMES:
        original, grafted = getattr(_socket.socket, name), getattr(socket.socket, name)
        for n in range(4):
            values = VALUES if n < 3 else VALUES[:12]
            for args in itertools.product(values, repeat=n):
                if any(isinstance(x, int) and 1 << 30 < x < 1 << 63 for x in args[:1]):
                    continue  # a terabyte would be allocated
                results = []
                for method in (original, grafted):
                    a, b = socket.socketpair()
                    a.setblocking(False)
                    b.send(b"0123456789")
                    mine = [bytearray(x) if isinstance(x, bytearray) else x for x in args]
                    result = outcome(lambda method=method, a=a, mine=mine: method(a, *mine))
                    b.setblocking(False)
                    arrived = outcome(lambda b=b: _socket.socket.recv(b, 1000))
                    results.append((comparable(result), arrived, [*map(repr, mine)]))
                    a.close()
                    b.close()
                assert results[0] == results[1], (name, args, results)
                count += 1
    assert count > 2000


def check_keywords_on_unswitched_sockets() -> None:
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("recv", (), {"bufsize": 1}),
        ("recv", (1,), {"flags": 0}),
        ("recv_into", (), {"buffer": bytearray(5)}),
        ("recv_into", (bytearray(5),), {"nbytes": 2}),
        ("recv_into", (bytearray(5),), {"nbytes": 2, "flags": socket.MSG_PEEK}),
        ("recv_into", (bytearray(5), 1), {"nbytes": 2}),
        ("recv_into", (bytearray(5),), {"size": 2}),
        ("recv_into", (), {}),
        ("send", (), {"data": b"x"}),
        ("sendall", (b"x",), {"flags": 0}),
        ("sendmsg", ([b"x"],), {"ancdata": []}),
    ]
    for name, args, keywords in calls:
        results = []
        for kind in (_socket.socket, socket.socket):
            a, b = socket.socketpair()
            b.sendall(b"0123456789")
            method = getattr(kind, name)
            result = outcome(lambda m=method, a=a, args=args, k=keywords: m(a, *args, **k))
            results.append(repr(result))
            a.close()
            b.close()
        assert results[0] == results[1], (name, args, keywords, results)


def check_wrong_receivers() -> None:
    for name in NAMES:
        grafted = getattr(socket.socket, name)
        for wrong in ((), (5,), (object(), 1), (None, b"x")):
            result = outcome(lambda g=grafted, w=wrong: g(*w))
            assert result[0] is TypeError, (name, wrong, result)
    for kind in ("recv", "send"):
        closed = socket.socket()
        closed.close()
        result = outcome(lambda k=kind, c=closed: getattr(c, k)(b"x" if k == "send" else 1))
        assert result == (OSError, (errno.EBADF, "Bad file descriptor"))
        blank = socket.socket.__new__(socket.socket)
        result = outcome(lambda k=kind, c=blank: getattr(c, k)(b"x" if k == "send" else 1))
        assert result[0] is OSError
    for wrong in (int, object, 5):
        result = outcome(lambda w=wrong: native.socket_methods(w, print))
        assert result[0] in (TypeError, AttributeError), result


def check_wrong_arguments_on_switched_sockets() -> None:
    """The kind of error is the same, and nothing was sent or taken."""
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("recv", ()), ("recv", (1, 0, 0)), ("recv", (-1,)), ("recv", ("x",)), ("recv", (1.5,)),
        ("recv", (1 << 80,)), ("recv", (1, "x")), ("recv", (1, 1 << 80)), ("recv", (1, 1 << 40)),
        ("recv_into", ()), ("recv_into", (b"read-only",)), ("recv_into", (bytearray(3), 4)),
        ("recv_into", (bytearray(3), -1)), ("recv_into", (bytearray(3), "x")),
        ("recv_into", (bytearray(3), 1, "x")), ("recv_into", (bytearray(3), 1, 0, 0)),
        ("recv_into", (memoryview(bytearray(6))[::2],)), ("recv_into", (bytearray(3), 1 << 80)),
        ("recv_into", (bytearray(3), 1, 1 << 40)),
        ("send", ()), ("send", ("text",)), ("send", (b"x", "y")), ("send", (b"x", 0, 0)),
        ("send", (b"x", 1 << 40)), ("send", (memoryview(bytearray(6))[::2],)),
        ("sendall", ()), ("sendall", (5,)), ("sendall", (b"x", 1 << 40)),
        ("sendmsg", ()), ("sendmsg", (5,)), ("sendmsg", ([1],)), ("sendmsg", ([b"x"], 5)),
        ("sendmsg", ([b"x"], [], "x")), ("sendmsg", ([b"x"], [], 1 << 40)),
        ("sendmsg", ([b""] * 2000,)),
    ]  # fmt: skip
    for name, args in calls:
        kinds = []
        for a, b in (tcp_pair(), switched()):
            b.send(b"0123456789")
            time.sleep(0)
            result = outcome(lambda a=a, n=name, args=args: getattr(a, n)(*args))
            assert isinstance(result, tuple), (name, args, result)
            kinds.append(result[0])
            assert a.recv(100) == b"0123456789"
            b.setblocking(False)
            nothing = outcome(lambda b=b: b.recv(100))
            assert nothing[0] is BlockingIOError, (name, args, nothing)
        assert kinds[0] is kinds[1], (name, args, kinds)


def check_moving_bytes() -> None:
    a, b = switched()
    assert a.send(b"one") == 3
    assert a.sendall(b" two") is None
    assert a.sendmsg([b" ", bytearray(b"thr"), memoryview(b"ee")]) == 6
    assert a.sendmsg((part for part in (b"!", b"?")), [], 0) == 2
    assert b.recv(3, socket.MSG_PEEK) == b"one"
    assert b.recv(3) == b"one"
    buffer = bytearray(20)
    assert b.recv_into(buffer, 4) == 4
    assert b.recv_into(memoryview(buffer)[4:], nbytes=6, flags=socket.MSG_PEEK) == 6
    assert b.recv_into(buffer=memoryview(buffer)[4:]) == 8
    assert buffer[:12] == b" two three!?"
    assert b.recv(0) == b""
    assert b.recv_into(bytearray(0)) == 0
    assert a.send(b"") == 0
    assert a.sendall(b"") is None
    assert a.sendmsg([]) == 0
    b.setblocking(False)
    assert outcome(lambda: b.recv(1))[0] is BlockingIOError


def check_time_outs_and_flags() -> None:
    a, b = switched()
    b.settimeout(0.02)
    assert outcome(lambda: b.recv(1)) == (TimeoutError, ("timed out",))
    assert outcome(lambda: b.recv_into(bytearray(1))) == (TimeoutError, ("timed out",))
    b.settimeout(None)
    again = outcome(lambda: b.recv(1, socket.MSG_DONTWAIT))
    assert again[0] is BlockingIOError
    assert again[1][0] == errno.EAGAIN
    assert outcome(lambda: b.recv(1, socket.MSG_OOB))[1][0] == errno.EINVAL
    assert a.send(b"!", socket.MSG_OOB) == 1
    assert b.recv(1, socket.MSG_OOB | socket.MSG_PEEK) == b"!"
    assert b.recv(5, socket.MSG_OOB) == b"!"
    assert outcome(lambda: b.recv(1, socket.MSG_OOB))[1][0] == errno.EINVAL
    assert outcome(lambda: b.recv(1, socket.MSG_DONTWAIT))[0] is BlockingIOError  # passes the mark

    # full: a socket with a time-out sends what fits, sendall gives up after the time-out
    a.settimeout(0.02)
    assert a.send(b"x" * 10_000) == RING
    assert outcome(lambda: a.send(b"x"))[0] is TimeoutError
    assert outcome(lambda: a.sendall(b"x"))[0] is TimeoutError
    a.setblocking(False)
    assert outcome(lambda: a.send(b"x"))[0] is BlockingIOError
    assert not select.select([], [a], [], 0)[1]
    assert len(b.recv(10_000)) == RING
    assert select.select([], [a], [], 0)[1]


def check_waiting_for_all() -> None:
    a, b = switched()
    sizes = (1, 10, RING, 3 * RING)

    def pieces() -> None:
        for size in sizes:
            for start in range(0, size, 700):
                a.send(b"x" * min(700, size - start))
                time.sleep(0.001)

    thread = threading.Thread(target=pieces)
    thread.start()
    for size in sizes:
        assert b.recv(size, socket.MSG_WAITALL) == b"x" * size
    thread.join()
    a.send(b"the rest")
    a.shutdown(socket.SHUT_WR)
    native.table_lookup(a.fileno()).shutdown(socket.SHUT_WR)
    assert b.recv(100, socket.MSG_WAITALL) == b"the rest"
    assert b.recv(100, socket.MSG_WAITALL) == b""


def check_blocking_sends_are_whole() -> None:
    """A blocking TCP socket's send returns when all is queued, whatever its length."""
    for how in ("send", "sendall", "sendmsg"):
        a, b = switched()
        data = bytes(range(256)) * 500
        received = bytearray()

        def read(b: socket.socket = b, received: bytearray = received) -> None:
            while piece := b.recv(5000):
                received.extend(piece)

        thread = threading.Thread(target=read)
        thread.start()
        if how == "sendmsg":
            assert a.sendmsg([data[:1000], b"", data[1000:]]) == len(data)
        else:
            assert getattr(a, how)(data) in (None, len(data))
        native.table_lookup(a.fileno()).shutdown(socket.SHUT_WR)
        thread.join()
        assert received == data


def check_non_blocking_ends_of_connections() -> None:
    a, b = switched()
    stream = native.table_lookup(b.fileno())
    b.send(b"bye")
    stream.close()
    assert outcome(lambda: b.recv(1)) == (OSError, (errno.EBADF, "Bad file descriptor"))
    assert a.recv(10) == b"bye"
    assert a.recv(10) == b""
    assert a.send(b"x") == 1
    assert outcome(lambda: a.send(b"x"))[0] is BrokenPipeError
    assert outcome(lambda: a.sendall(b"x"))[0] is BrokenPipeError


def check_an_offer_that_nobody_takes() -> None:
    """The callback moves the connection: the call goes on with what stands there now."""
    segment = native.Segment.create(slots=1, ring=RING)
    ours, theirs = bells()
    stream = native.Stream.offer(segment, segment.take(), ours.fileno(), 0.01)
    native.table_bind(ours.fileno(), stream)

    def move(fd: int) -> None:
        assert fd == ours.fileno()
        native.table_drop(fd)
        theirs.send(b"by the kernel")
        unattached_calls.append(fd)

    native.socket_methods(socket.socket, move)
    assert ours.recv(100) == b"by the kernel"
    assert unattached_calls == [ours.fileno()]
    ours.sendall(b"answer")
    assert theirs.recv(100) == b"answer"

    def refuse(fd: int) -> None:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody")

    native.table_bind(ours.fileno(), stream)
    native.socket_methods(socket.socket, refuse)
    assert outcome(lambda: ours.recv(1))[0] is ConnectionRefusedError
    native.table_drop(ours.fileno())


def check_other_threads_may_close() -> None:
    for _ in range(20):
        a, b = switched()
        stream = native.table_lookup(b.fileno())
        results: list[Any] = []

        def read(b: socket.socket = b, results: list[Any] = results) -> None:
            results.append(outcome(lambda: b.recv(1)))

        thread = threading.Thread(target=read)
        thread.start()
        time.sleep(0.002)
        native.table_drop(b.fileno())
        stream.close()
        del stream
        thread.join()
        assert results[0][0] is OSError, results
        a.close()
        b.close()


def main(name: str) -> None:
    install()
    globals()[name]()


if __name__ == "__main__":
    main(sys.argv[1])
