import fcntl
import mmap
import os
import struct
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsdirect import status


@pytest.fixture
def page():
    made = status.Page()
    yield made
    if made.fd >= 0:
        os.close(made.fd)


def read(page):
    """The page as another process reads it."""
    return status._read_page(page.fd, os.getpid())


def test_nothing_is_made_before_the_first_row(page):
    assert page.fd == -1


def test_a_row_is_read_as_it_was_written(page):
    index = page.open_row(
        fd=7, role="connect", path="shm", reason=3, provider="shm",
        local=("127.0.0.1", 40000), peer=("127.0.0.1", 80), peer_pid=99,
    )  # fmt: skip
    traffic = page.traffic(index).cast("Q")
    traffic[0] = 123
    traffic[1] = 2**63
    (row,) = read(page).rows
    assert (row.index, row.fd, row.role, row.path, row.reason) == (index, 7, "connect", "shm", 3)
    assert (row.provider, row.peer_pid) == ("shm", 99)
    assert (row.local, row.peer) == (("127.0.0.1", 40000), ("127.0.0.1", 80))
    assert (row.tx, row.rx) == (123, 2**63)
    assert row.since > 0


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("::1", 80, 0, 0), ("::1", 80)),
        (("fe80::1%eth0", 80, 0, 2), ("fe80::1", 80)),
        (("0.0.0.0", 8000), ("0.0.0.0", 8000)),
        (None, None),
        (("not.an.address", 1), None),
        ((), None),
        ("/tmp/path", None),
    ],
)
def test_addresses(page, address, expected):
    page.open_row(fd=1, role="listen", local=address)
    assert read(page).rows[0].local == expected


def test_updates_and_closing(page):
    index = page.open_row(fd=7, role="accept")
    page.update_row(index, path="fabric", fd=8)
    assert [(row.path, row.fd) for row in read(page).rows] == [("fabric", 8)]
    with pytest.raises(TypeError):
        page.update_row(index, colour="red")
    page.close_row(index)
    page.close_row(index)
    page.update_row(index, path="tcp")
    assert read(page).rows == []


def test_a_path_by_the_name_of_somebodys_provider(page):
    page.open_row(fd=1, role="connect", path="warp", provider="warp")
    (row,) = read(page).rows
    assert (row.path, row.provider) == ("san", "warp")


def test_rows_are_used_again_with_traffic_at_zero(page):
    first = page.open_row(fd=1, role="connect")
    page.traffic(first).cast("Q")[0] = 5
    page.close_row(first)
    assert page.open_row(fd=2, role="connect") == first
    assert read(page).rows[0].tx == 0


def test_a_full_page_has_no_row_left(page):
    rows = [page.open_row(fd=1, role="connect") for _ in range(status.ROWS + 1)]
    assert rows[-1] == -1
    assert sorted(rows[:-1]) == list(range(status.ROWS))
    assert len(read(page).rows) == status.ROWS
    page.update_row(-1, fd=3)
    page.close_row(-1)
    assert page.traffic(-1).nbytes == 16
    page.close_row(rows[5])
    assert page.open_row(fd=1, role="connect") == rows[5]


def test_rows_never_used_take_no_memory(page):
    page.open_row(fd=1, role="connect")
    read(page)
    assert os.fstat(page.fd).st_blocks * 512 <= 16384


def test_the_page_is_sealed_and_not_inherited(page):
    page.open_row(fd=1, role="connect")
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(page.fd, 10)
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(page.fd, status.SIZE * 2)
    assert not os.get_inheritable(page.fd)
    assert fcntl.fcntl(page.fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SEAL


def test_process_counters(page):
    counters = page.counters.cast("Q")
    assert len(counters) == 16
    counters[0], counters[6] = 11, 17
    assert read(page).counters["rings"] == 11
    assert read(page).counters["full_marks"] == 17


def test_a_program_that_cannot_have_a_page_goes_on(page, monkeypatch):
    def refuse(*_):
        raise PermissionError("no memory files here")

    monkeypatch.setattr(os, "memfd_create", refuse)
    assert page.open_row(fd=1, role="connect") == -1
    assert page.counters.nbytes == 128
    assert page.traffic(-1).nbytes == 16
    assert page.after_fork_child() == []


def test_own_page_is_found_through_proc():
    index = status.page().open_row(fd=12345, role="connect", path="shm")
    try:
        snapshots = [one for one in status.read_all() if one.pid == os.getpid()]
        assert 12345 in [row.fd for one in snapshots for row in one.rows]
    finally:
        status.page().close_row(index)


def test_processes_without_a_page_or_gone():
    assert status.read_process(1 << 30) is None


def in_child(work):
    """Run `work` in a forked child; its result, a string, comes back."""
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(receiver)
            os.write(sender, str(work()).encode())
        finally:
            os._exit(0)
    os.close(sender)
    with os.fdopen(receiver, "rb") as pipe:
        text = pipe.read().decode()
    os.waitpid(pid, 0)
    return text


def test_a_child_has_a_page_of_its_own(page):
    gone = page.open_row(fd=4, role="connect")
    kept = page.open_row(fd=5, role="connect", path="shm", peer=("127.0.0.1", 9))
    page.close_row(gone)
    page.traffic(kept).cast("Q")[0] = 77

    def child():
        before = status._read_page(page.fd, os.getpid())
        rows = page.after_fork_child()
        page.traffic(kept).cast("Q")[0] = 1
        page.update_row(kept, fd=6)
        new = page.open_row(fd=9, role="accept")
        snapshot = read(page)
        return (before, rows, new, [(row.index, row.fd, row.tx, row.peer) for row in snapshot.rows])

    peer = ("127.0.0.1", 9)
    assert in_child(child) == str((None, [kept], gone, [(gone, 9, 0, None), (kept, 6, 1, peer)]))
    assert [(row.fd, row.tx) for row in read(page).rows] == [(5, 77)]


def test_a_child_leaves_alone_what_the_program_put_in_the_pages_place(page):
    page.open_row(fd=4, role="connect")

    def child():
        receiver, _sender = os.pipe()
        os.dup2(receiver, page.fd)  # as after closing every descriptor and opening others
        number = page.fd
        page.after_fork_child()
        return os.fstat(number).st_ino == os.fstat(receiver).st_ino

    assert in_child(child) == "True"


def test_readers_see_whole_rows_only(page):
    """While a writer changes a row all the time, its fields always belong together."""
    index = page.open_row(fd=1, role="connect", provider="a", peer_pid=1)
    done = threading.Event()

    def write():
        for number in range(1, 4000):
            page.update_row(index, fd=number, peer_pid=number, provider=f"p{number}")
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while not done.is_set():
            for row in read(page).rows:
                assert row.fd == row.peer_pid
                assert row.provider in ("a", f"p{row.fd}")
    finally:
        writer.join()


def test_threads_get_different_rows(page):
    taken = []

    def take():
        for _ in range(300):
            index = page.open_row(fd=1, role="connect")
            taken.append(index)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1200))
    assert len(read(page).rows) == 1200


# ---- input that nobody honest wrote


def page_of(data):
    fd = os.memfd_create("garbage")
    os.write(fd, data)
    try:
        return status._read_page(fd, os.getpid())
    finally:
        os.close(fd)


def good_header(high=status.ROWS):
    head = status.HEADER.pack(
        status.MAGIC, status.VERSION, status.HEADER_SIZE, status.ROW_SIZE, status.ROWS,
        os.getpid(), high, 0,
    )  # fmt: skip
    return head.ljust(status.HEADER_SIZE, b"\0")


@given(st.binary(max_size=9000))
def test_garbage_is_no_page(data):
    assert page_of(data) is None


@settings(max_examples=200)
@given(st.binary(max_size=status.ROW_SIZE * 6), st.integers(0, 2**32 - 1))
def test_garbage_rows_are_left_out_or_valid(data, high):
    snapshot = page_of(good_header(high) + data)
    for row in snapshot.rows:
        assert row.path in status.PATHS
        assert row.role in status.ROLES
        assert row.provider.isprintable() or not row.provider


@given(
    st.integers(0, 2**32 - 1).map(lambda number: number & ~1),
    st.binary(min_size=status.BODY.size - 1, max_size=status.BODY.size - 1),
)
def test_garbage_in_a_row_in_use(sequence, body):
    row = struct.pack("=IB", sequence, 1) + body
    snapshot = page_of(good_header(64) + row.ljust(status.ROW_SIZE * 64, b"\0"))
    repr(snapshot.rows)


def test_a_row_that_is_never_finished_is_left_out(page):
    page.open_row(fd=1, role="connect")
    index = page.open_row(fd=2, role="connect")
    with mmap.mmap(page.fd, status.SIZE) as raw:
        at = status.HEADER_SIZE + index * status.ROW_SIZE
        raw[at : at + 4] = struct.pack("=I", 5)
    assert [row.fd for row in read(page).rows] == [1]


def test_a_page_of_another_version_or_process_is_not_read(page):
    page.open_row(fd=1, role="connect")
    assert status._read_page(page.fd, os.getppid()) is None
    with mmap.mmap(page.fd, status.SIZE) as raw:
        raw[8:12] = struct.pack("=I", status.VERSION + 1)
    assert read(page) is None


def test_a_pipe_in_the_pages_place_does_not_block():
    receiver, sender = os.pipe()
    try:
        with pytest.raises(OSError, match="seek"):
            status._read_page(receiver, os.getpid())
    finally:
        os.close(receiver)
        os.close(sender)
