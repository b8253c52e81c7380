"""TCP connections of programs under the switch that the switch has never seen.

Libraries with network code of their own (libpq, gRPC, ZeroMQ, libuv) connect past Python's sockets,
so there is nothing in the program that could note a reason.  The kernel knows these connections:
they are TCP sockets of the process that its status page has no row for.
"""

from __future__ import annotations

import os
import socket
import sys

from wsdirect import reasons, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wsdirect.status import Row, Snapshot

    Name = tuple[str, int]

__all__ = ["find"]

ESTABLISHED, LISTEN = "01", "0A"
TABLES = (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6))
TRUE_WORDS = (b"1", b"on", b"true", b"yes")  # WSDIRECT, as the launcher's hook reads it


class Namespace:
    """The TCP sockets of a network namespace, by inode number."""

    def __init__(self, pid: int) -> None:
        self.connected: dict[int, tuple[Name, Name]] = {}
        self.listening: set[int] = set()
        for table, family in TABLES:
            try:
                with open(f"/proc/{pid}/net/{table}") as file:
                    lines = file.readlines()[1:]
            except OSError:
                continue
            for line in lines:
                _, local, peer, state, *rest = line.split()
                if state == ESTABLISHED:
                    self.connected[int(rest[5])] = _name(local, family), _name(peer, family)
                elif state == LISTEN:
                    self.listening.add(int(local.rpartition(":")[2], 16))


def find(snapshots: Iterable[Snapshot]) -> Iterator[tuple[Snapshot, Row]]:
    """The connections that the given pages have no row for, as if they had one.

    Also looks at Python programs under the switch that have no page, because they never imported
    `socket`.  What only the program itself could know (start, traffic) is -1 in these rows.
    """
    pages = {snapshot.pid: snapshot for snapshot in snapshots}
    seen: dict[int, Namespace] = {}
    for entry in sorted(os.listdir("/proc")):
        if not entry.isdigit():
            continue
        pid = int(entry)
        try:
            page = pages.get(pid)
            if page is None:
                if not _is_under_the_switch(pid):
                    continue
                page = status.Snapshot(pid, status.process_name(pid), 0, {}, [])
            inodes = _sockets(pid)
            if not inodes:
                continue
            where = os.stat(f"/proc/{pid}/ns/net").st_ino
        except OSError:
            continue  # it has ended, or may not be looked at
        if where not in seen:
            seen[where] = Namespace(pid)
        noted = {row.fd for row in page.rows}
        for inode, fds in inodes.items():
            names = seen[where].connected.get(inode)
            if names is not None and noted.isdisjoint(fds):
                yield page, _row(min(fds), *names, names[0][1] in seen[where].listening, page)


def _row(fd: int, local: Name, peer: Name, accepted: bool, page: Snapshot) -> Row:
    row = status.Row()
    row.index, row.fd, row.family = -1, fd, 6 if ":" in local[0] else 4
    row.path, row.provider, row.peer_pid = "tcp", "", 0
    row.role = "accept" if accepted else "connect"
    reason = reasons.UNHOOKED_ACCEPT if accepted else reasons.UNHOOKED_CONNECT
    row.reason = page.unseen or reason.number
    row.local, row.peer = local, peer
    row.since = row.tx = row.rx = -1
    return row


def _is_under_the_switch(pid: int) -> bool:
    """Whether a process without a page is Python and was started by `wsdirect run`."""
    if not os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith("python"):
        return False
    with open(f"/proc/{pid}/environ", "rb") as file:
        variables = file.read().split(b"\0")
    return any(
        name == b"WSDIRECT" and value.strip().lower() in TRUE_WORDS
        for name, _, value in (variable.partition(b"=") for variable in variables)
    )


def _sockets(pid: int) -> dict[int, set[int]]:
    """The sockets of a process: inode number -> its descriptors."""
    found: dict[int, set[int]] = {}
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{number}")
        except OSError:
            continue
        if target.startswith("socket:["):
            found.setdefault(int(target[8:-1]), set()).add(int(number))
    return found


def _name(text: str, family: int) -> Name:
    """An address of /proc/net/tcp: words of the host in this machine's byte order, port as is."""
    words, _, port = text.partition(":")
    packed = b"".join(
        int(words[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(words), 8)
    )
    host = socket.inet_ntop(family, packed)
    return host.removeprefix("::ffff:") if "." in host else host, int(port, 16)
