"""An end is handed to a process that knows nothing of wsdirect: its bytes go by the kernel socket.

The receiver uses nothing but the descriptor (here: the bell, as a socket).  The peer notices.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from tests.core.pairs import End, bells, exit_status, fork_pair, make_pair
from wsdirect._core import native

RING = 4096
PATIENCE = 20.0  # seconds; only a bound against hangs


def gather(sock: socket.socket, size: int) -> bytes:
    """What a process without wsdirect reads: exactly so many bytes, or up to the end."""
    sock.settimeout(PATIENCE)
    out = b""
    while len(out) < size and (piece := sock.recv(size - len(out))):
        out += piece
    return out


def take(end: End, size: int) -> bytes:
    """What the peer, with its stream, reads: so many bytes, or up to the end."""
    out = b""
    while len(out) < size and (piece := end.stream.recv(size - len(out), PATIENCE)):
        out += piece
    return out


def put(end: End, data: bytes) -> None:
    at = 0
    while at < len(data):
        at += end.stream.send(data[at:], PATIENCE)


def test_bytes_on_their_way_arrive_in_order() -> None:
    a, b = make_pair()
    a.stream.send(b"to the peer, ", 0)
    b.stream.send(b"to the receiver, ", 0)
    assert not a.stream.bare
    assert a.stream.go_bare() is None
    assert a.stream.bare
    assert not b.stream.bare
    assert a.stream.go_bare() is None, "once more is the same"
    b.stream.send(b"and more", 0)
    assert gather(a.bell, 25) == b"to the receiver, and more"
    a.bell.send(b"and more")
    assert take(b, 21) == b"to the peer, and more"
    with pytest.raises(BlockingIOError):
        b.stream.recv(1, 0)
    assert not b.stream.readable()
    assert b.events() == select.POLLOUT
    assert a.events() == select.POLLOUT


def test_the_receiver_sees_what_stood_unread_though_the_peer_makes_no_call() -> None:
    """It may be waiting for the receiver's doing, and not at its socket."""
    a, b = make_pair()
    b.stream.send(b"job", 0)
    assert a.stream.go_bare() is None
    assert gather(a.bell, 3) == b"job"


@pytest.mark.parametrize("filled", ["neither", "out", "in", "both"])
def test_full_rings(filled: str) -> None:
    a, b = make_pair(RING)
    out, back = bytes(range(256)) * 16, bytes(reversed(range(256))) * 16
    sizes = {"neither": (0, 0), "out": (RING, 0), "in": (0, RING), "both": (RING, RING)}[filled]
    for end, data, size in ((a, out, sizes[0]), (b, back, sizes[1])):
        if size:
            assert end.stream.send(data, 0) == size
            with pytest.raises(BlockingIOError):
                end.stream.send(b"!", 0)
            assert not end.writable()
    assert a.stream.go_bare() is None
    assert a.writable()
    assert b.writable(), "its ring is a socket's buffer now"
    b.stream.send(b"end", 0)
    assert gather(a.bell, sizes[1] + 3) == back[: sizes[1]] + b"end"
    a.bell.send(b"end")
    assert take(b, sizes[0] + 3) == out[: sizes[0]] + b"end"
    assert b.events() == a.events() == select.POLLOUT


def test_many_bytes_both_ways() -> None:
    a, b = make_pair(RING)
    data = os.urandom(3_000_000)
    assert a.stream.go_bare() is None
    got: list[bytes] = []
    threads = [
        threading.Thread(target=put, args=(b, data)),
        threading.Thread(target=lambda: got.append(gather(a.bell, len(data)))),
    ]
    for thread in threads:
        thread.start()
    sender = threading.Thread(target=a.bell.sendall, args=(data,))
    sender.start()
    assert take(b, len(data)) == data
    for thread in (*threads, sender):
        thread.join(PATIENCE)
    assert got == [data]


def test_peek_scatter_and_counts() -> None:
    a, b = make_pair()
    a.stream.send(b"ring", 0)
    a.stream.go_bare()
    a.bell.send(b"socket")
    assert b.stream.available() == 10
    assert take(b, 4) == b"ring"
    assert b.stream.available() == b.stream.unread() == 6
    assert b.stream.recv(3, 0, native.PEEK) == b"soc"
    parts = [bytearray(2), bytearray(10)]
    assert b.stream.recv_scatter(parts) == 6
    assert parts[0] + parts[1][:4] == b"socket"
    assert b.stream.traffic == (0, 10)
    with pytest.raises(TimeoutError):
        b.stream.recv(1, 0.01)
    assert b.stream.send(b"", 0) == 0


def waiting(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    results: list[object] = []

    def run() -> None:
        try:
            results.append(call())
        except OSError as error:
            results.append(type(error))

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.02)  # asleep by then, or spinning: both are right
    return thread, results


def test_a_peer_that_sleeps_in_recv() -> None:
    a, b = make_pair()
    thread, results = waiting(lambda: b.stream.recv(100))
    a.stream.go_bare()
    time.sleep(0.01)
    assert not results, "the marker is nothing to receive"
    a.bell.send(b"hello")
    thread.join(PATIENCE)
    assert results == [b"hello"]


def test_a_peer_that_sleeps_in_send() -> None:
    a, b = make_pair(RING)
    data = os.urandom(100_000)
    thread, results = waiting(lambda: put(b, data))
    a.stream.go_bare()
    assert gather(a.bell, len(data)) == data
    thread.join(PATIENCE)
    assert results == [None]


def test_a_peer_that_polls_its_descriptor() -> None:
    """It may be woken by the marker for nothing, once; then the kernel tells the truth."""
    a, b = make_pair(RING)
    assert b.stream.send(bytes(RING), 0) == RING
    a.stream.go_bare()
    poller = select.epoll()
    poller.register(b.bell, select.EPOLLIN)
    poller.poll(0)
    with pytest.raises(BlockingIOError):
        b.stream.recv(1, 0)
    assert poller.poll(0) == []
    a.bell.send(b"x")
    assert poller.poll(PATIENCE)
    assert b.stream.recv(10, 0) == b"x"
    assert poller.poll(0) == []
    assert len(gather(a.bell, RING)) == RING
    a.bell.close()
    assert poller.poll(PATIENCE)
    assert b.stream.recv(10, 0) == b""
    poller.close()


@pytest.mark.parametrize("unread", [b"", b"last words"])
@pytest.mark.parametrize("how", ["before", "after"])
def test_half_close_by_the_peer(unread: bytes, how: str) -> None:
    """A client sends its request and shuts down; the server hands the socket to a program."""
    a, b = make_pair()
    if unread:
        b.stream.send(unread, 0)
    if how == "before":
        b.stream.shutdown(socket.SHUT_WR)
    assert a.stream.go_bare() is None
    if how == "after":
        b.stream.shutdown(socket.SHUT_WR)
    assert gather(a.bell, 100) == unread
    a.bell.send(b"answer")
    a.bell.close()
    assert take(b, 100) == b"answer"
    with pytest.raises(BrokenPipeError):
        b.stream.send(b"x", 0)


@pytest.mark.parametrize("unread", [b"", b"last words"])
@pytest.mark.parametrize("how", ["before", "after", "by the receiver"])
def test_half_close_by_the_bare_end(unread: bytes, how: str) -> None:
    a, b = make_pair()
    if unread:
        a.stream.send(unread, 0)
    if how == "before":
        a.stream.shutdown(socket.SHUT_WR)
    assert a.stream.go_bare() is None
    if how == "after":
        a.stream.shutdown(socket.SHUT_WR)
    elif how == "by the receiver":
        a.bell.shutdown(socket.SHUT_WR)
    assert take(b, 100) == unread
    assert b.stream.recv(100, 0) == b""
    assert b.readable()
    b.stream.send(b"answer", 0)
    b.close()
    assert gather(a.bell, 100) == b"answer"


def test_the_half_close_of_a_ring_with_data_shows_when_they_are_read() -> None:
    a, b = make_pair()
    b.stream.send(b"data", 0)
    b.stream.shutdown(socket.SHUT_WR)
    assert a.readable()
    assert a.stream.recv(2, 0) == b"da"
    assert a.readable()
    assert a.stream.recv(100, 0) == b"ta"
    assert a.events() & (select.POLLIN | select.POLLRDHUP) == select.POLLIN | select.POLLRDHUP
    assert a.stream.recv(100, 0) == b""
    a.stream.send(b"and the other way", 0)
    assert b.stream.recv(100, 0) == b"and the other way"


@pytest.mark.parametrize("unread", [b"", b"what is left"])
@pytest.mark.parametrize("reset", [False, True])
def test_a_peer_that_has_closed(unread: bytes, reset: bool) -> None:
    """Its bytes cannot be put into a socket any more: they are returned."""
    a, b = make_pair()
    b.stream.send(unread, 0)
    b.close(reset)
    assert a.stream.go_bare() == unread
    assert not a.stream.bare


def test_a_peer_that_was_killed() -> None:
    def child(end: End) -> None:
        end.stream.send(b"unread", 0)
        signal.pause()

    end, pid = fork_pair(child)
    assert end.stream.wait_readable(PATIENCE)
    os.kill(pid, signal.SIGKILL)
    assert exit_status(pid) == -signal.SIGKILL
    assert end.stream.go_bare() == b"unread"


def test_a_peer_that_is_killed_afterwards() -> None:
    end, pid = fork_pair(lambda _: signal.pause())
    while end.stream.state != native.ATTACHED:
        time.sleep(0.001)
    assert end.stream.go_bare() is None
    os.kill(pid, signal.SIGKILL)
    assert exit_status(pid) == -signal.SIGKILL
    end.bell.settimeout(PATIENCE)
    try:
        assert end.bell.recv(1) == b""
    except ConnectionResetError:
        pass  # the marker was unread
    with pytest.raises(BrokenPipeError):
        end.stream.send(b"x", 0)
    assert end.stream.recv(1, 0) == b""


def test_the_receiver_goes() -> None:
    a, b = make_pair()
    a.stream.send(b"before", 0)
    a.stream.go_bare()
    a.bell.send(b" and after")
    a.bell.close()
    assert take(b, 100) == b"before and after"
    with pytest.raises(BrokenPipeError):
        b.stream.send(b"x", 0)
    assert b.stream.writable()
    assert b.stream.readable()


def test_both_ends_go_bare() -> None:
    a, b = make_pair(RING)
    a.stream.send(bytes(RING), 0)
    b.stream.send(b"back", 0)
    assert a.stream.go_bare() is None
    assert b.stream.go_bare() is None
    assert gather(b.bell, RING) == bytes(RING)
    assert gather(a.bell, 4) == b"back"
    a.bell.send(b"1")
    b.bell.send(b"2")
    assert (b.bell.recv(10), a.bell.recv(10)) == (b"1", b"2")
    a.stream.send(b"3", 0)
    assert b.stream.recv(10, 0) == b"3"


def test_the_bare_end_goes_on_with_its_stream() -> None:
    a, b = make_pair(RING)
    b.stream.send(b"12", 0)
    a.stream.go_bare()
    assert a.stream.recv(1, 0) == b"1"
    assert a.stream.available() == 1
    assert a.stream.readable()
    assert a.bell.recv(1) == b"2", "another holder of the descriptor"
    assert not a.stream.readable()
    assert a.stream.writable()
    a.stream.send(b"3", 0)
    assert take(b, 1) == b"3"
    thread, results = waiting(lambda: a.stream.recv(10))
    b.stream.send(b"45", 0)
    thread.join(PATIENCE)
    assert results == [b"45"]
    sent = 0
    while a.stream.writable():
        sent += a.stream.send(bytes(10_000), 0)
    with contextlib.suppress(BlockingIOError):
        sent += a.stream.send(bytes(10_000_000), 0)
    with pytest.raises(BlockingIOError):
        a.stream.send(b"x", 0)
    assert len(take(b, sent)) == sent
    assert a.stream.wait_writable(PATIENCE)


def test_closing_the_stream_leaves_the_socket_to_the_receiver() -> None:
    a, b = make_pair()
    receiver = a.bell.dup()
    a.stream.go_bare()
    a.close()
    b.stream.send(b"still there", 0)
    assert gather(receiver, 11) == b"still there"
    receiver.send(b"yes")
    assert take(b, 3) == b"yes"
    receiver.close()
    assert b.stream.recv(1, PATIENCE) == b""


def test_urgent_data() -> None:
    a, b = make_pair()
    b.stream.send_urgent(b"ring!", 0)
    a.stream.go_bare()
    assert gather(a.bell, 4) == b"ring"
    assert a.bell.recv(1, socket.MSG_OOB) == b"!"
    b.stream.send_urgent(b"?", 0)
    assert a.bell.recv(1, socket.MSG_OOB) == b"?"
    assert take(b, 0) == b""
    a.bell.send(b"x!", socket.MSG_OOB)
    assert b.stream.recv(10, 0) == b"x"
    assert b.stream.urgent_pending
    assert b.stream.at_mark()
    assert b.stream.recv_urgent() == b"!"
    assert not b.stream.urgent_pending
    with pytest.raises(BlockingIOError):
        b.stream.recv(10, 0)


def test_urgent_data_before_going_bare_are_read_from_the_ring() -> None:
    a, b = make_pair()
    a.stream.send_urgent(b"ring!", 0)
    a.stream.go_bare()
    assert b.stream.urgent_pending
    assert b.stream.recv_urgent() == b"!"
    a.bell.send(b" socket")
    assert take(b, 11) == b"ring socket"


def test_what_cannot_go_bare() -> None:
    segment = native.Segment.create(slots=1, ring=RING)
    ours, theirs = bells()
    stream = native.Stream.offer(segment, segment.take(), ours.fileno(), None)
    with pytest.raises(native.Unattached):
        stream.go_bare()
    stream.revoke()
    with pytest.raises(native.Unattached):
        stream.go_bare()
    ours.close()
    theirs.close()
    a, b = make_pair()
    a.stream.send_message([b"whole"])
    with pytest.raises(OSError, match="Invalid argument"):
        a.stream.go_bare()
    b.close()
    a.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        a.stream.go_bare()


PROGRAM = "import sys; sys.stdout.write(sys.stdin.readline().upper()); sys.stdout.flush()"


@pytest.mark.parametrize(
    "command", [["cat"], ["tr", "a-z", "A-Z"], [sys.executable, "-S", "-c", PROGRAM]]
)
def test_a_program_with_the_socket_as_its_standard_input_and_output(command: list[str]) -> None:
    """In another process than the peer's, which waits for the answer as any client does."""

    def client(end: End) -> None:
        put(end, b"hello\n")
        end.stream.shutdown(socket.SHUT_WR)
        answer = take(end, 100)
        assert answer == (b"hello\n" if command[0] == "cat" else b"HELLO\n"), answer
        end.close()

    end, pid = fork_pair(client)
    while end.stream.state != native.ATTACHED:
        time.sleep(0.001)
    assert end.stream.go_bare() is None
    with subprocess.Popen(command, stdin=end.bell, stdout=end.bell) as program:
        end.close()
        assert program.wait(PATIENCE) == 0
    assert exit_status(pid) == 0


def test_the_counter() -> None:
    before = native.process_counters()["bare"]
    a, _ = make_pair()
    a.stream.go_bare()
    a.stream.go_bare()
    assert native.process_counters()["bare"] == before + 1
