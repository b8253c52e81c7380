"""Listening under a name, and checking everything about those who come.

The client's offer comes with the connection, in the name that its socket is bound to; the kernel
says which process and user it is (SO_PEERCRED).
"""

from __future__ import annotations

import errno
import os
import select
import struct
from _socket import (
    AF_UNIX,
    CMSG_LEN,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_DONTWAIT,
    SCM_RIGHTS,
    SHUT_RD,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)

from wsdirect._core import native
from wsdirect.locality import is_at_home
from wsdirect.providers.shm.addresses import is_local
from wsdirect.providers.shm.names import (
    EARLY,
    MESSAGES,
    NATIVE,
    NEW_SEGMENT,
    SLOTS_MAX,
    STREAMS,
    Host,
    Offer,
    host_of,
    listener_name,
    unpack_offer,
)
from wsdirect.providers.shm.peers import is_number_of, is_trusted, peer_of
from wsdirect.providers.shm.segments import own_segment
from wsdirect.telling import tell_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from wsdirect._core import _native
    from wsdirect.providers.shm.handshake import Greeting
    from wsdirect.providers.shm.segments import AdoptedSegments
    from wsdirect.providers.shm.sockets import SanSocket

    Segment = _native.Segment
    Stream = _native.Stream
    Endpoint = tuple[str, int]

__all__ = ["Arrival", "Listener", "receive_descriptors"]

BACKLOG_MAX: Final = 4096
_DESCRIPTORS_PER_REQUEST: Final = 3  # the connection, a segment as it comes, and as it is kept
_PASS_WAIT: Final = 100  # ms that a promised segment may take

_core: Any = native


class Arrival:
    """A connection request, already attached to its slot.

    Attributes:
        offer: What the client offered.
        stream: The accepting end.  Its descriptor is the holder's to close.
        peer: Process number of the client, 0 if unknown.
        greeting: What came with a request for messages, once it has been read.
    """

    __slots__ = ("greeting", "offer", "peer", "stream")

    def __init__(self, offer: Offer, stream: Stream, peer: int) -> None:
        self.greeting: Greeting | None = None
        self.offer = offer
        self.stream = stream
        self.peer = peer


class Listener:
    """A listening socket under the first free slot of its name."""

    __slots__ = (
        "_acceptor",
        "_adopted",
        "_both_families",
        "_host",
        "_kind",
        "_port",
        "_socket",
        "backlog",
    )

    def __init__(
        self,
        adopted: AdoptedSegments,
        kind: str,
        host: Host,
        port: int,
        both_families: bool,
        listening: socket,
    ) -> None:
        self._adopted = adopted
        self._kind = kind
        self._host = host
        self._port = port
        self._both_families = both_families
        self._socket = listening
        self._acceptor = _core.Acceptor(listening.fileno(), port, adopted.table, self._can_be)
        self.backlog = 1

    @classmethod
    def open(
        cls,
        adopted: AdoptedSegments,
        kind: str,
        host: Host,
        port: int,
        both_families: bool,
        backlog: int,
        early: bool = False,
    ) -> Listener:
        """Listen.

        Args:
            adopted: Where the segments of clients are kept.
            kind: STREAMS or MESSAGES.
            host: An address of this host, or a wildcard.
            port: The TCP port it stands for.
            both_families: The IPv6 wildcard takes IPv4 connections as well.
            backlog: Most requests that wait; more are refused by the kernel.
            early: Under the name for those who have not accepted yet; one process can have it.

        Errors:
            OSError: no descriptor left, or EADDRINUSE: SLOTS_MAX processes listen there.
        """
        base = listener_name(kind, host, port, both_families)
        listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
        try:
            if not is_at_home(listening):  # this thread has entered another network namespace
                raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
            for slot in range(SLOTS_MAX):
                try:
                    listening.bind(base + (EARLY if early else b"%d" % slot))
                    break
                except OSError as error:
                    if error.errno != errno.EADDRINUSE or early or slot == SLOTS_MAX - 1:
                        raise
            self = cls(adopted, kind, host, port, both_families, listening)
            self.set_backlog(backlog)
        except BaseException:
            listening.close()
            raise
        return self

    @classmethod
    def inherited(
        cls,
        adopted: AdoptedSegments,
        like: SanSocket,
        descriptor: int,
        backlog: int,
    ) -> Listener:
        """Go on with a listening descriptor of another process, for a socket like this one.

        Errors:
            OSError: it is no such descriptor; it has been closed.
        """
        assert like.host is not None
        try:
            listening = socket(AF_UNIX, SOCK_STREAM, 0, descriptor)
        except OSError:  # no socket at all
            os.close(descriptor)
            raise
        try:
            listening.setblocking(False)
            kind = STREAMS if like.native else MESSAGES
            self = cls(adopted, kind, like.host, like.port, not like.v6only, listening)
            self.set_backlog(backlog)
        except BaseException:
            listening.close()
            raise
        return self

    def set_backlog(self, backlog: int) -> None:
        """Change how many requests may wait; also tells clients which process serves them."""
        self.backlog = min(max(backlog, 1), BACKLOG_MAX)
        self._socket.listen(self.backlog - 1)  # the kernel lets one more wait than it is told

    def end(self) -> None:
        """Refuse whoever comes from now on; who waits can still be accepted."""
        self._socket.shutdown(SHUT_RD)  # the kernel's connect looks at this

    def fileno(self) -> int:
        """Readable while a request waits."""
        return self._socket.fileno()

    def pending(self, timeout: float | None = 0) -> bool:
        """Whether a request waits, or comes within so many seconds (None: for ever)."""
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        return bool(poller.poll(None if timeout is None else timeout * 1000))

    def accept(self) -> Arrival | None:
        """The next valid request; None if none waits.

        Errors:
            OSError: no descriptor left; the request stays queued.
        """
        while True:
            if self._kind is MESSAGES and not self._has_room():
                return None
            try:
                descriptor, name = self._socket._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                if error.errno in (errno.EBADF, errno.EINVAL):  # closed by another thread
                    return None
                continue
            arrival = self._look_at(descriptor, name)
            if arrival is not None:
                return arrival

    def _look_at(self, descriptor: int, name: object) -> Arrival | None:
        """Whoever came with this descriptor, if it is a valid request; else it is closed."""
        connection = socket(AF_UNIX, SOCK_STREAM, 0, descriptor)
        try:
            arrival = self._welcome(connection, name)
            if arrival is not None:
                connection.detach()
            return arrival
        except OSError as error:
            tell_once("error", f"a connection request failed: {error}")
            return None
        finally:
            connection.close()

    def take(self) -> tuple[Stream, Endpoint, Endpoint, int] | None:
        """accept() for byte streams; what is usual is done in one call.

        Returns:
            The stream, our address and the client's, and the client's process; None if no valid
            request waits.

        Errors:
            As for accept().
        """
        found = self._acceptor.take()
        if found is None or (found and len(found) == 4):
            return found
        arrival = self._look_at(*found) if found else None
        if arrival is None:
            arrival = self.accept()
        if arrival is None:
            return None
        os.set_blocking(arrival.stream.fd, True)  # setdefaulttimeout() was not meant for it
        offer = arrival.offer
        own, caller = (offer.remote.text, offer.remote_port), (offer.local.text, offer.local_port)
        return arrival.stream, own, caller, arrival.peer

    def _has_room(self) -> bool:
        """Whether there are descriptors for all that comes with a request, or no request.

        What arrives when there is none left is lost, so it is found out before (R-152).

        Errors:
            OSError: there are none, and a request waits.
        """
        probes: list[int] = []
        try:
            while len(probes) < _DESCRIPTORS_PER_REQUEST:
                probes.append(os.dup(self._socket.fileno()))
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE) and self.pending():
                raise
            return False
        finally:
            for probe in probes:
                os.close(probe)
        return True

    def _welcome(self, connection: socket, name: object) -> Arrival | None:
        """Check everything about a request and attach to its slot; None if it is turned down."""
        pid, uid = peer_of(connection)
        if not is_trusted(uid):
            tell_once("error", f"user {uid} wanted a switched connection and did not get it")
            return None
        offer = unpack_offer(name)
        if offer is None:
            tell_once("info", f"process {pid} connected without a valid offer")
            return None
        if not (is_number_of(offer.pid, pid) and self._is_meant(offer)):
            tell_once("info", f"process {pid} made an offer that does not fit")
            return None
        segment = self._segment_of(connection, offer, (pid, uid))
        if segment is None:
            return None
        try:
            _core.prepare_bell(connection.fileno())
            stream = _core.Stream.attach(segment, offer.slot, offer.generation, connection.fileno())
        except ConnectionAbortedError:  # withdrawn
            return None
        return Arrival(offer, stream, pid)

    def _is_meant(self, offer: Offer) -> bool:
        """Whether the offer is for this listener, and the addresses in it can be true."""
        wanted = offer.remote
        if bool(offer.flags & NATIVE) is not (self._kind is STREAMS):
            return False
        if offer.remote_port != self._port:
            return False
        return self._stands_for(wanted) and is_local(offer.local) and is_local(wanted)

    def _stands_for(self, wanted: Host) -> bool:
        """Whether this listener is the one of that address."""
        return wanted is self._host or (self._host.wildcard and self._takes(wanted))

    def _can_be(self, local: bytes, remote: bytes) -> tuple[str, str] | None:
        """The addresses of an offer as texts, if they can be true: the client's, and ours."""
        caller, wanted = host_of(local), host_of(remote)
        if self._stands_for(wanted) and is_local(caller) and is_local(wanted):
            return caller.text, wanted.text
        return None

    def _takes(self, wanted: Host) -> bool:
        """Whether this wildcard stands for that address, too."""
        return self._host.v4 is wanted.v4 or (self._both_families and not self._host.v4)

    def _segment_of(
        self, connection: socket, offer: Offer, client: tuple[int, int]
    ) -> Segment | None:
        descriptor = -1
        if offer.flags & NEW_SEGMENT:
            descriptor = _receive_segment(connection)
            if descriptor < 0:
                return None
        try:
            segment = self._adopted.find(client, offer.segment)
            if segment is None and client[0] == os.getpid():
                segment = own_segment(offer.segment)
            if segment is None and descriptor >= 0:
                return self._adopted.adopt(client, offer.segment, descriptor)
            if segment is not None and descriptor >= 0 and client[0] != os.getpid():
                self._adopted.keep(client, segment)
            return segment
        except (ValueError, OSError) as error:
            tell_once("info", f"process {client[0]} passed something unusable: {error}")
            return None
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def close(self) -> None:
        """Stop listening; the kernel closes the requests that wait."""
        self._acceptor.close()
        self._socket.close()


def _receive_segment(connection: socket) -> int:
    """The one descriptor that the client promised to pass; -1 if it does not."""
    _, descriptors = receive_descriptors(connection, 1, 1, _PASS_WAIT)
    return descriptors[0] if descriptors else -1


def receive_descriptors(
    connection: socket, length: int, most: int, patience: int
) -> tuple[bytes, list[int]]:
    """One message and the descriptors that came with it; the caller's to close.

    Args:
        connection: From the sender.
        length: Longest message in bytes.
        most: Most descriptors.
        patience: Milliseconds to wait for it.

    Returns:
        Nothing and none if nothing came.

    Errors:
        OSError: this process has no room for the descriptors (EMFILE); they are lost.
    """
    poller = select.poll()
    poller.register(connection, select.POLLIN)
    if not poller.poll(patience):
        return b"", []
    try:
        message, ancillary, flags, _ = connection.recvmsg(
            length, CMSG_LEN(4 * most), MSG_CMSG_CLOEXEC | MSG_DONTWAIT
        )
    except OSError:
        return b"", []
    descriptors = [
        number
        for level, kind, data in ancillary
        if level == SOL_SOCKET and kind == SCM_RIGHTS
        for (number,) in struct.iter_unpack("=i", data[: len(data) // 4 * 4])
    ]
    if flags & MSG_CTRUNC and len(descriptors) < most:
        for descriptor in descriptors:
            os.close(descriptor)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    # no room for more, but what somebody else's kernel thinks of room is not to be relied on
    for extra in descriptors[most:]:
        os.close(extra)
    return message, descriptors[:most]
