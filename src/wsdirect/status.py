"""The status page of a process: what it is connected to and how, for `wsdirect ss` to read.

A page is a sealed memfd named `wsdirect-status`, found by other processes through /proc/<pid>/fd.
It has a header with counters of the whole process and one row for each open connection.  The
process itself writes its page and never reads another's; the tools read and never write.

Connections that stay on TCP have no row, as that would cost more than they can afford: the core
writes their reason into an array by descriptor, and the reader asks the kernel for the rest.

Each row carries a sequence number which is odd while the row is being written, so that readers
need no lock.  The two byte counters of a row stand apart from that: the compiled core adds to
them directly.  The memory is sparse: rows never used take no space.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import time
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from _thread import RLock

from wsdirect._core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from wsdirect._core._native import Stream

__all__ = [
    "PATHS", "PROCESS_COUNTERS", "ROLES", "Page", "Row", "Snapshot", "body_of", "page",
    "process_name", "read_all", "read_process",
]  # fmt: skip

NAME = "wsdirect-status"
MAGIC = b"WSDSTAT\0"
VERSION = 2
ROWS = 16384
ROW_SIZE = 256
HEADER_SIZE = 4096
# TCP connections, one small entry for each descriptor: mark, time (milliseconds)
PLAINS = 65536
PLAIN_SIZE = 8
PLAINS_AT = HEADER_SIZE + ROWS * ROW_SIZE
SIZE = PLAINS_AT + PLAINS * PLAIN_SIZE

# magic, version, header size, row size, rows, pid, high-water mark of rows, start time
HEADER = struct.Struct("=8sIIIIiIq")
HIGH_WATER_AT = 28
PLAIN_HIGH_AT = 40  # one more than the highest descriptor with an entry
UNSEEN_AT = 64  # a reason's number, see Page.explain_unseen
COUNTERS_AT = 128
COUNTERS_SIZE = 16 * 8
PROCESS_COUNTERS = (
    "rings",
    "eats",
    "stale",
    "sleeps",
    "spins",
    "yields",
    "full_marks",
    "takeovers",
    "rdma_shared",
    "rdma_direct",
    "rdma_owner",
    "rdma_shared_bytes",
    "rdma_direct_bytes",
    "rdma_owner_bytes",
    "bare",
    "spin_ns",
)
"""Names of the process counters in their order: all of the sixteen."""

# in use, family, path, role, fd, reason, peer pid, local port, peer port, since,
# local address, peer address, provider; the sequence number stands before it
BODY = struct.Struct("=BBBBiHxxiHHq16s16s32s")
BODY_AT = 4
TRAFFIC_AT = 128
TRAFFIC_SIZE = 16

PATHS = ("tcp", "shm", "fabric", "san")  # san: any other provider, by its name
ROLES = ("connect", "accept", "listen")
FAMILIES = (0, 4, 6)
FIELDS = ("fd", "role", "path", "reason", "provider", "local", "peer", "peer_pid")

# Away from the numbers that programs use and test for; see _high().
HIGH_DESCRIPTOR = 900

# Native, as each is one store then.
_WORD = struct.Struct("@I")
_TRAFFIC = struct.Struct("@QQ")
_PLAIN = struct.Struct("=II")
PLAIN = 32  # MARK_PLAIN of marks.h; above it the role << 8 and the reason << 16
_TCP_LISTEN = "0A"


# ---- writing -------------------------------------------------------------------------------


class Page:
    """This process's page; it takes memory and a descriptor when the first row is opened.

    A page that cannot be made (no memfd, no descriptor left) or is full makes rows numbered -1,
    for which everything does nothing: the user's program must not fail for being watched.
    """

    def __init__(self) -> None:
        self._map: mmap.mmap | None = None
        self._view = memoryview(bytearray(0))
        self._fd = -1
        self._failed = False
        self._retired: list[mmap.mmap] = []
        self._making = RLock()
        self._unseen = 0
        self.attach: Callable[[], None] | None = None
        """Called when there is a page, and again when a forked child has its own."""
        self._reset()

    def _reset(self) -> None:
        # None: what open_row_of() wrote is to be read back, should anybody ask
        self._open: dict[int, dict[str, Any] | None] = {}
        self._rows: Any = None
        self._free: list[int] = []
        self._fresh = iter(range(ROWS))  # its next() is one step for threads and signal handlers

    @property
    def fd(self) -> int:
        """The page's descriptor, or -1 while there is none."""
        return self._fd

    @property
    def counters(self) -> memoryview:
        """The sixteen process counters (native uint64, 128 writable bytes)."""
        if not self.make():
            return memoryview(bytearray(COUNTERS_SIZE))
        return self._view[COUNTERS_AT : COUNTERS_AT + COUNTERS_SIZE]

    @property
    def plains(self) -> tuple[memoryview, memoryview] | tuple[None, None]:
        """Where the core tells of TCP connections: the high-water mark, and the array."""
        if not self.make():
            return None, None
        high = self._view[PLAIN_HIGH_AT : PLAIN_HIGH_AT + 4]
        return high, self._view[PLAINS_AT : PLAINS_AT + PLAINS * PLAIN_SIZE]

    def traffic(self, index: int) -> memoryview:
        """Bytes sent and received of a row: two native uint64, 16 writable bytes.

        The connection must have stopped counting before close_row: the row's next user has the
        same bytes.
        """
        if index < 0 or self._map is None:
            return memoryview(bytearray(TRAFFIC_SIZE))
        at = _row_at(index) + TRAFFIC_AT
        return self._view[at : at + TRAFFIC_SIZE]

    def open_row(
        self,
        *,
        fd: int,
        role: str,
        path: str = "tcp",
        reason: int = 0,
        provider: str = "",
        local: tuple[Any, ...] | None = None,
        peer: tuple[Any, ...] | None = None,
        peer_pid: int = 0,
    ) -> int:
        """Take a row, its traffic at zero; returns its index, or -1.

        `role` is one of ROLES, `path` one of PATHS (a name that is not counts as "san"), `reason`
        the number of a reason, `local` and `peer` addresses as sockets have them.
        """
        if not self.make():
            return -1
        index = self._take()
        if index < 0:
            return -1
        fields: dict[str, Any] = {
            "fd": fd, "role": role, "path": path, "reason": reason, "provider": provider,
            "local": local, "peer": peer, "peer_pid": peer_pid, "since": time.monotonic_ns(),
        }  # fmt: skip
        _TRAFFIC.pack_into(self._view, _row_at(index) + TRAFFIC_AT, 0, 0)
        self._open[index] = fields
        self._write(index, fields)
        return index

    def open_row_of(
        self, body: bytes, fd: int, local_port: int, peer_port: int, stream: Stream
    ) -> int:
        """As open_row, for a switched connection; its stream counts into the row from now on.

        `body` is from body_of(), for all that connections of one kind have in common.
        """
        if self._rows is None and not self.make():
            return -1
        rows = self._rows
        index = self._take()
        if index < 0 or rows is None:
            return -1
        self._open[index] = None
        rows.write(index, body, fd, local_port, peer_port, stream)
        return index

    def _take(self) -> int:
        """A free row; -1: none is left."""
        try:
            return self._free.pop()
        except IndexError:
            index = next(self._fresh, -1)
        if index >= 0:
            # Rounded up, so that threads which store it in the wrong order lose nothing.
            self._word(HIGH_WATER_AT, min(ROWS, (index // 64 + 2) * 64), at_least=True)
        return index

    def _fields(self, index: int) -> dict[str, Any] | None:
        """What an open row says; None if it is not open."""
        known = self._open.get(index)
        if known is None and index in self._open:
            at = _row_at(index)
            row = _read_row(bytes(self._view[at : at + ROW_SIZE]), index)
            if row is not None:
                known = {name: getattr(row, name) for name in (*FIELDS, "since")}
                self._open[index] = known
        return known

    def update_row(self, index: int, **fields: Any) -> None:
        """Change some of the fields that open_row takes; TypeError for others."""
        unknown = [name for name in fields if name not in FIELDS]
        if unknown:
            raise TypeError(f"rows have no field {unknown[0]!r}")
        known = self._fields(index)
        if known is not None:
            known.update(fields)
            self._write(index, known)
            # Another thread may have closed it meanwhile, and even opened it again.
            now = self._open.get(index)
            if now is not known:
                self._write(index, now)

    def close_row(self, index: int) -> None:
        """Give a row back; closing it twice does nothing."""
        if self._open.pop(index, self) is not self:
            self._view[_row_at(index) + BODY_AT] = 0  # "in use"; one byte needs no sequence
            self._free.append(index)

    def forget_row(self, index: int) -> None:
        """In a new child: the row is the parent's alone, and stays as it is on its page."""
        self._open.pop(index, None)

    def explain_unseen(self, reason: int) -> None:
        """The number of the reason why TCP connections of this process have no rows; 0: none."""
        if reason == self._unseen:
            return
        self._unseen = reason
        if self.make():
            self._word(UNSEEN_AT, reason)

    def after_fork_child(self) -> list[int]:
        """Take a page of one's own in a new child; returns the rows that connections still have.

        Rows keep their indexes; their traffic starts at zero, as this process has moved nothing.
        Every view taken before belongs to the parent's page: take `counters` and `traffic` anew.
        """
        self._making = RLock()
        if self._map is None:
            return []
        if sys.version_info < (3, 13):
            # Its destructor closes a descriptor number which the program may have closed and
            # be using for something else by now.
            self._retired.append(self._map)
        if _is_page(self._fd):
            os.close(self._fd)
        inherited = {index: fields for index in self._open if (fields := self._fields(index))}
        self._map, self._view, self._fd = None, memoryview(bytearray(0)), -1
        self._reset()
        if not inherited or not self.make():
            return []
        highest = max(inherited)
        self._fresh = iter(range(highest + 1, ROWS))
        self._free = [index for index in range(highest, -1, -1) if index not in inherited]
        self._word(HIGH_WATER_AT, min(ROWS, (highest // 64 + 2) * 64))
        for index, fields in inherited.items():
            self._open[index] = fields
            self._write(index, fields)
        return sorted(inherited)

    def make(self) -> bool:
        """See that there is a page; whether there is."""
        if self._map is None and not self._failed:
            with self._making:
                try:
                    if self._map is None:
                        self._create()
                        if self.attach is not None:
                            self.attach()
                except (OSError, ValueError, AttributeError):
                    self._failed = True
        return self._map is not None

    def _create(self) -> None:
        import fcntl

        fd = os.memfd_create(NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, SIZE)
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
            fd = _high(fd)
            if sys.version_info >= (3, 13):
                made = mmap.mmap(fd, SIZE, trackfd=False)
            else:
                made = mmap.mmap(fd, SIZE)
        except BaseException:
            os.close(fd)
            raise
        view = memoryview(made)
        header = HEADER.pack(
            MAGIC, VERSION, HEADER_SIZE, ROW_SIZE, ROWS, os.getpid(), 0, time.monotonic_ns()
        )
        view[8 : HEADER.size] = header[8:]
        _WORD.pack_into(view, UNSEEN_AT, self._unseen)
        if native is not None:
            self._rows = native.Rows(made, HEADER_SIZE, ROWS)
        view[:8] = MAGIC  # last: from here on readers take it for a page
        self._map, self._view, self._fd = made, view, fd

    def _word(self, at: int, value: int, at_least: bool = False) -> None:
        if not at_least or _WORD.unpack_from(self._view, at)[0] < value:
            _WORD.pack_into(self._view, at, value)

    def _write(self, index: int, fields: dict[str, Any] | None) -> None:
        at = _row_at(index)
        body = _pack(fields) if fields else bytes(BODY.size)
        sequence = _WORD.unpack_from(self._view, at)[0] | 1
        _WORD.pack_into(self._view, at, sequence)
        self._view[at + BODY_AT : at + BODY_AT + BODY.size] = body
        _WORD.pack_into(self._view, at, (sequence + 1) & 0xFFFFFFFF)


def body_of(
    *,
    role: str,
    path: str,
    reason: int,
    provider: str,
    local: tuple[Any, ...],
    peer: tuple[Any, ...],
    peer_pid: int,
) -> bytes:
    """What rows of connections that differ in descriptor, ports and time have in common."""
    return _pack({
        "fd": 0, "role": role, "path": path, "reason": reason, "provider": provider,
        "local": local, "peer": peer, "peer_pid": peer_pid, "since": 0,
    })  # fmt: skip


def _row_at(index: int) -> int:
    return HEADER_SIZE + index * ROW_SIZE


def _high(fd: int) -> int:
    """The same file under a high descriptor number, if the limit of descriptors allows it."""
    import fcntl

    try:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR)
    except OSError:
        return fd
    os.close(fd)
    return high


def _is_page(fd: int) -> bool:
    """Whether the descriptor still is a page: programs close numbers which are not theirs."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith(f"/memfd:{NAME}")
    except OSError:
        return False


def _pack(fields: dict[str, Any]) -> bytes:
    local_family, local, local_port = _pack_address(fields["local"])
    peer_family, peer, peer_port = _pack_address(fields["peer"])
    return BODY.pack(
        1,
        local_family or peer_family,
        PATHS.index(fields["path"]) if fields["path"] in PATHS else 3,
        ROLES.index(fields["role"]),
        fields["fd"],
        fields["reason"],
        fields["peer_pid"],
        local_port,
        peer_port,
        fields["since"],
        local,
        peer,
        fields["provider"].encode()[:32],
    )


def _pack_address(address: tuple[Any, ...] | None) -> tuple[int, bytes, int]:
    if not address:
        return 0, b"", 0
    try:
        host, port = address[0], address[1] & 0xFFFF
        if ":" in host:
            return 6, inet_pton(AF_INET6, host.partition("%")[0]), port
        return 4, inet_pton(AF_INET, host), port
    except (OSError, ValueError, IndexError, TypeError):
        return 0, b"", 0  # a name, or no IP address at all


_page = Page()


def page() -> Page:
    """The page of this process; taking it costs nothing before the first row."""
    return _page


# ---- reading -------------------------------------------------------------------------------


class Row:
    """One connection or listener as its process shows it; all that is unknown is None or ""."""

    __slots__ = (
        "family", "fd", "index", "local", "path", "peer", "peer_pid", "provider", "reason",
        "role", "rx", "since", "tx",
    )  # fmt: skip

    index: int
    fd: int
    family: int
    path: str
    role: str
    reason: int
    provider: str
    local: tuple[str, int] | None
    peer: tuple[str, int] | None
    peer_pid: int
    since: int  # time.monotonic_ns() at the start
    tx: int
    rx: int

    def __repr__(self) -> str:
        return f"Row({ {name: getattr(self, name) for name in self.__slots__} })"


class Snapshot:
    """A page as it was read: `pid`, `name` (the process's), `since`, `counters` and `rows`.

    `unseen` is the number of the reason why connections have no rows; 0: the page does not say.
    """

    __slots__ = ("counters", "name", "pid", "rows", "since", "unseen")

    def __init__(
        self,
        pid: int,
        name: str,
        since: int,
        counters: dict[str, int],
        rows: list[Row],
        unseen: int = 0,
    ) -> None:
        self.pid = pid
        self.name = name
        self.since = since
        self.counters = counters
        self.rows = rows
        self.unseen = unseen

    def __repr__(self) -> str:
        return f"Snapshot(pid={self.pid}, name={self.name!r}, rows={len(self.rows)})"


def read_all() -> Iterator[Snapshot]:
    """The pages of all processes that this one may look at, by process number.

    Processes that end meanwhile and pages that make no sense are left out.
    """
    try:
        pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    except OSError:
        return
    for pid in pids:
        snapshot = read_process(pid)
        if snapshot is not None:
            yield snapshot


def read_process(pid: int) -> Snapshot | None:
    """The page of one process, or None: it has none, is gone, or may not be looked at."""
    folder = f"/proc/{pid}/fd"
    try:
        numbers = os.listdir(folder)
    except OSError:
        return None
    for number in numbers:
        link = f"{folder}/{number}"
        try:
            if not os.readlink(link).startswith(f"/memfd:{NAME}"):
                continue
            # The descriptor may be something else by now: a pipe must not make us wait.
            fd = os.open(link, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            continue
        try:
            snapshot = _read_page(fd, pid)
        except OSError:
            snapshot = None
        finally:
            os.close(fd)
        if snapshot is not None:
            return snapshot
    return None


def _read_page(fd: int, pid: int) -> Snapshot | None:
    """Read and check a page that anybody may have written.

    It is read, not mapped: a mapping dies with SIGBUS when its file shrinks, and looking at
    untouched rows through a mapping would make them take memory.
    """
    head = os.pread(fd, HEADER_SIZE, 0)
    if len(head) < HEADER_SIZE:
        return None
    magic, version, *sizes, writer, high, since = HEADER.unpack_from(head)
    if magic != MAGIC or version != VERSION or sizes != [HEADER_SIZE, ROW_SIZE, ROWS]:
        return None
    # A child that has not made its own page yet still has its parent's.
    if writer != pid and writer not in _inner_pids(pid):
        return None
    values = struct.unpack_from(f"={len(PROCESS_COUNTERS)}Q", head, COUNTERS_AT)
    rows: list[Row] = []
    high = min(high, ROWS)
    for first in range(0, high, 64):
        rows += _read_rows(fd, first, min(64, high - first))
    if _WORD.unpack_from(head, PLAIN_HIGH_AT)[0]:
        high = min(_WORD.unpack_from(head, PLAIN_HIGH_AT)[0], PLAINS)
        rows += _plain_rows(pid, os.pread(fd, high * PLAIN_SIZE, PLAINS_AT))
    return Snapshot(
        pid,
        process_name(pid),
        since,
        dict(zip(PROCESS_COUNTERS, values, strict=True)),
        rows,
        _WORD.unpack_from(head, UNSEEN_AT)[0],
    )


def _read_rows(fd: int, first: int, count: int) -> list[Row]:
    """The rows in use of one stretch; a row that is being written is tried some more times."""
    rows: dict[int, Row] = {}
    wanted = set(range(count))
    at, size = _row_at(first), count * ROW_SIZE
    for _ in range(8):
        # Three looks: the numbers before, the rows, the numbers after.  Bytes within one read
        # are copied in no particular order.
        before, data, after = (os.pread(fd, size, at) for _look in range(3))
        if not len(before) == len(data) == len(after) == size:
            break
        for slot in sorted(wanted):
            start = slot * ROW_SIZE
            sequence = _WORD.unpack_from(before, start)[0]
            if sequence & 1 or sequence != _WORD.unpack_from(after, start)[0]:
                continue
            wanted.discard(slot)
            row = _read_row(data[start : start + ROW_SIZE], first + slot)
            if row is not None:
                rows[slot] = row
        if not wanted:
            break
    return [rows[slot] for slot in sorted(rows)]


def _read_row(data: bytes, index: int) -> Row | None:
    (used, family, path, role, fd, reason, peer_pid, local_port, peer_port, since, local, peer,
     provider) = BODY.unpack_from(data, BODY_AT)  # fmt: skip
    if used != 1 or family not in FAMILIES or path >= len(PATHS) or role >= len(ROLES) or fd < 0:
        return None
    row = Row()
    row.index, row.fd, row.family = index, fd, family
    row.path, row.role, row.reason = PATHS[path], ROLES[role], reason
    row.provider = _printable(provider.rstrip(b"\0").decode("ascii", "replace"))
    row.local = _unpack_address(family, local, local_port)
    row.peer = _unpack_address(family, peer, peer_port)
    row.peer_pid, row.since = max(peer_pid, 0), since
    row.tx, row.rx = _TRAFFIC.unpack_from(data, TRAFFIC_AT)
    return row


def _plain_rows(pid: int, data: bytes) -> list[Row]:
    """The TCP connections of a process: what it says of them, and where the kernel says they go.

    A descriptor that is something else by now, closed by code that the switch does not see, is no
    TCP socket in the kernel's tables, or one that has another peer: its reason may be stale then.
    """
    marks = {
        fd: (mark, since)
        for fd, (mark, since) in enumerate(_PLAIN.iter_unpack(data[: len(data) & -PLAIN_SIZE]))
        if mark & PLAIN and (mark >> 8 & 0xFF) < len(ROLES)
    }
    inodes: dict[str, int] = {}
    for fd in marks:
        try:
            link = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
        if link.startswith("socket:["):
            inodes[link[8:-1]] = fd
    if not inodes:
        return []
    now = time.monotonic_ns()
    rows = []
    for inode, (local, peer) in _tcp_sockets(pid, inodes).items():
        fd = inodes[inode]
        mark, since = marks[fd]
        row = Row()
        row.index, row.fd, row.family = -1, fd, 6 if ":" in local[0] else 4
        row.path, row.role, row.reason = "tcp", ROLES[mark >> 8 & 0xFF], mark >> 16
        row.provider, row.peer_pid, row.tx, row.rx = "", 0, 0, 0
        row.local, row.peer = local, peer
        row.since = now - (now // 1_000_000 - since) % (1 << 32) * 1_000_000
        rows.append(row)
    return sorted(rows, key=lambda row: row.fd)


def _tcp_sockets(
    pid: int, inodes: dict[str, int]
) -> dict[str, tuple[tuple[str, int], tuple[str, int]]]:
    """Addresses of TCP sockets that have a peer, by inode, as the process's namespace has them."""
    found = {}
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{name}", encoding="ascii") as table:
                next(table, None)
                for line in table:
                    fields = line.split(None, 10)
                    if len(fields) > 9 and fields[9] in inodes and fields[3] != _TCP_LISTEN:
                        found[fields[9]] = _kernel_address(fields[1]), _kernel_address(fields[2])
        except (OSError, ValueError):
            continue
    return found


def _kernel_address(text: str) -> tuple[str, int]:
    """An address of /proc/net/tcp: 32-bit words in the host's order, and the port."""
    host, _, port = text.partition(":")
    raw = bytes.fromhex(host)
    words = struct.unpack(f">{len(raw) // 4}I", raw)
    raw = struct.pack(f"={len(words)}I", *words)
    shown = inet_ntop(AF_INET if len(raw) == 4 else AF_INET6, raw)
    return shown.removeprefix("::ffff:") if "." in shown else shown, int(port, 16)


def _unpack_address(family: int, host: bytes, port: int) -> tuple[str, int] | None:
    if family == 0 or (port == 0 and not any(host)):
        return None
    if family == 4:
        return inet_ntop(AF_INET, host[:4]), port
    return inet_ntop(AF_INET6, host), port


def _inner_pids(pid: int) -> list[int]:
    """The process's numbers in the PID namespaces it lives in."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith(b"NSpid:"):
                    return [int(number) for number in line.split()[1:]]
    except (OSError, ValueError):
        pass
    return []


def process_name(pid: int) -> str:
    """What the process calls itself, fit to print; "?" if it is gone."""
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            text = file.read().decode(errors="replace").rstrip("\n")
    except OSError:
        return "?"
    return _printable(text)


def _printable(text: str) -> str:
    """For terminals: whoever wrote a page or a process name may mean harm."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
