"""The provider's life, and what all its functions share: handles, locks, closing, fork."""

from __future__ import annotations

import _socket
import atexit
import os
import sys
import threading
import time
from abc import abstractmethod
from itertools import count
from weakref import WeakSet

from wsdirect import status
from wsdirect.spi.constants import (
    FROM_PROTOCOL_INFO,
    IPPROTO_TCP,
    PFL_MATCHES_PROTOCOL_ZERO,
    SG_CONSTRAINED_GROUP,
    SG_UNCONSTRAINED_GROUP,
    SOCK_STREAM,
    WINSOCK_VERSION,
    WSA_FLAG_OVERLAPPED,
    XP1_EXPEDITED_DATA,
    XP1_GRACEFUL_CLOSE,
    XP1_GUARANTEED_DELIVERY,
    XP1_GUARANTEED_ORDER,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode, from_oserror
from wsdirect.spi.guid import GUID
from wsdirect.spi.provider import ServiceProvider
from wsdirect.spi.structures import WSAPROTOCOL_INFOW, WSPDATA
from wsdirect.spi.upcalls import UpcallTable
from wsdirect.switch.ports import pool
from wsdirect.switch.upper.endpoints import StreamEndpoint, TcpEndpoint
from wsdirect.switch.upper.engine import Engine
from wsdirect.switch.upper.names import AF_INET6, SIZES, kernel_family, winsock_family
from wsdirect.switch.upper.options import linger_of
from wsdirect.switch.upper.progress import Serving
from wsdirect.switch.upper.sockets import Socket, not_a_socket
from wsdirect.switch.upper.tables import State, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wsdirect.switch.upper.paths import Arrival

__all__ = ["Core"]

SOCK_DGRAM, SOCK_RAW = 2, 3
LINGER_STEP = 0.002  # seconds between looks at what a closing socket has not sent
_providers: WeakSet[Core] = WeakSet()
_hooked = False


class Core(ServiceProvider):
    """See `service_provider.SwitchProvider`."""

    name = "switch"
    provider_id = GUID("0B8B9E2B-5E7C-4A7D-9A0F-6B2D2C1E7A55")

    def __init__(self, switched: bool = True) -> None:
        self.switched = switched
        self._users = 0
        self._lock = threading.RLock()
        self._sockets: dict[int, Socket] = {}
        self._numbers = count(0x100, 4)
        self._upcalls = UpcallTable()
        self._own_handles = True
        self._engine = self._new_engine()
        self._serving = Serving(self._engine, self._upcalls)

    def _new_engine(self) -> Engine:
        return Engine(self._advance)

    @property
    def protocol_info(self) -> WSAPROTOCOL_INFOW:
        """What SO_PROTOCOL_INFO says of an IPv4 socket."""
        return self._info(int(_socket.AF_INET))

    def _info(self, family: int) -> WSAPROTOCOL_INFOW:
        flags = XP1_GUARANTEED_DELIVERY | XP1_GUARANTEED_ORDER | XP1_GRACEFUL_CLOSE
        return WSAPROTOCOL_INFOW(
            "wsdirect TCP/IP" if family != AF_INET6 else "wsdirect TCP/IPv6",
            self.provider_id,
            dwServiceFlags1=flags | XP1_EXPEDITED_DATA,
            dwProviderFlags=PFL_MATCHES_PROTOCOL_ZERO,
            dwCatalogEntryId=1001 if family != AF_INET6 else 1002,
            ProtocolChain=(1001 if family != AF_INET6 else 1002,),
            iAddressFamily=winsock_family(family),
            iMaxSockAddr=SIZES[family],
            iMinSockAddr=SIZES[family],
            dwMessageSize=0,
        )

    # --- life of the provider -------------------------------------------------------------------

    def WSPStartupEx(  # noqa: D102
        self,
        version_requested: int,
        protocol_info: WSAPROTOCOL_INFOW | None = None,
        upcalls: UpcallTable | None = None,
    ) -> WSPDATA:
        global _hooked
        if not version_requested & 0xFF:
            raise WSAError(WsaErrorCode.WSAVERNOTSUPPORTED, "WSPStartupEx")
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._engine = self._new_engine()
            if upcalls is not None:
                self._upcalls = upcalls
            self._serving = Serving(self._engine, self._upcalls)
            _providers.add(self)
            if not _hooked:
                _hooked = True
                atexit.register(_leave)
                os.register_at_fork(
                    before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child
                )
        asked = (version_requested & 0xFF, version_requested >> 8)
        version = version_requested if asked < (2, 2) else WINSOCK_VERSION
        return WSPDATA(version, "wsdirect: Windows Sockets over SANs and TCP/IP", WINSOCK_VERSION)

    def WSPCleanup(self) -> None:  # noqa: D102
        with self._lock:
            if not self._users:
                raise WSAError(WsaErrorCode.WSANOTINITIALISED, "WSPCleanup")
            self._users -= 1
            if self._users:
                return
            handles = list(self._sockets)
        for s in handles:
            try:
                self._close(s, "WSPCleanup", hard=True)
            except WSAError:
                pass  # closed by its owner meanwhile
        self._engine.stop()

    def _started(self, call: str) -> None:
        if not self._users:
            raise WSAError(WsaErrorCode.WSANOTINITIALISED, call)

    # --- handles --------------------------------------------------------------------------------

    def _get(self, s: Any, call: str) -> Socket:
        try:
            return self._sockets[s]
        except (KeyError, TypeError):
            self._started(call)
            raise not_a_socket(call) from None

    def _add(self, sock: Socket, call: str) -> int:
        """Give the socket a(nother) handle."""
        try:
            s = self._upcalls.WPUCreateSocketHandle(sock.info.dwCatalogEntryId, sock)
        except WSAError as error:
            if error.winerror != WsaErrorCode.WSAEOPNOTSUPP:
                raise
            s = next(self._numbers)
        with self._lock:
            self._sockets[s] = sock
            sock.handles.add(s)
        return s

    def _advance(self, sock: Socket) -> None:
        """What the engine does with a socket that it was woken for."""
        with sock.lock:
            self._serving.settle(sock)
        sock.announcer.run()

    # --- life of a socket -----------------------------------------------------------------------

    def WSPSocket(  # noqa: D102
        self,
        af: int,
        type: int,
        protocol: int,
        protocol_info: WSAPROTOCOL_INFOW | None = None,
        group: int = 0,
        flags: int = WSA_FLAG_OVERLAPPED,
    ) -> int:
        call = "WSPSocket"
        self._started(call)
        if protocol_info is not None:
            if protocol_info.dwProviderReserved:
                return self._take_over(protocol_info)
            af = protocol_info.iAddressFamily if af == FROM_PROTOCOL_INFO else af
            type = protocol_info.iSocketType if type == FROM_PROTOCOL_INFO else type
            protocol = protocol_info.iProtocol if protocol == FROM_PROTOCOL_INFO else protocol
        family = _judge(af, type, protocol, call)
        if group not in (0, SG_UNCONSTRAINED_GROUP, SG_CONSTRAINED_GROUP):
            raise WSAError(WsaErrorCode.WSAEINVAL, call, "There is no such group.")
        try:
            tcp = _socket.socket(family, _socket.SOCK_STREAM)
            if family == AF_INET6:
                tcp.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
            tcp.settimeout(0.0)
        except OSError as error:
            raise from_oserror(error, call) from error
        sock = Socket(family, tcp, self._info(family))
        try:
            return self._add(sock, call)
        except BaseException:
            tcp.close()
            raise

    @abstractmethod
    def _take_over(self, protocol_info: WSAPROTOCOL_INFOW) -> int:
        """A handle for a socket that was duplicated (see `duplicates`)."""

    def _adopt(self, sock: Socket, arrival: Arrival) -> None:
        """Make a fresh or reserved socket the end of an accepted connection.  Its lock is held."""
        endpoint = arrival.endpoint
        sock.lead = arrival.lead
        if isinstance(endpoint, TcpEndpoint):
            if sock.tcp is not None:
                sock.tcp.close()
            sock.tcp = endpoint.sock
        self._serving.established(sock, endpoint)
        sock.outcome = None

    def WSPCloseSocket(self, s: int) -> None:
        """Close: gracefully, after waiting or hard, as SO_LINGER says.

        Pending requests end with WSA_OPERATION_ABORTED, calls that wait with WSAEINTR.

        Errors:
            WSAENOTSOCK: s is not a socket.
            WSAEWOULDBLOCK: it would have to linger, and is non-blocking.

        Source: S:lpwspclosesocket.
        """
        self._close(s, "WSPCloseSocket")

    def _close(self, s: int, call: str, hard: bool = False) -> None:
        sock = self._get(s, call)
        if not hard:
            self._linger(sock, call)
        with self._lock:
            if self._sockets.pop(s, None) is None:
                raise not_a_socket(call)
            sock.handles.discard(s)
            last = not sock.handles
        if last:
            self._end(sock)
        sock.announcer.post(self._give_back, s)
        sock.announcer.run()

    def _give_back(self, s: int) -> None:
        try:
            self._upcalls.WPUCloseSocketHandle(s)
        except WSAError as error:
            if error.winerror != WsaErrorCode.WSAEOPNOTSUPP:
                raise

    def _linger(self, sock: Socket, call: str) -> None:
        on, seconds = linger_of(sock)
        if not on or not seconds or len(sock.handles) > 1:
            return
        deadline = time.monotonic() + seconds
        while True:
            with sock.lock:
                endpoint = sock.endpoint
                if sock.state is not State.CONNECTED or endpoint is None:
                    return
                self._serving.settle(sock)
                unsent = endpoint.unsent() if not endpoint.failure else 0
            if not unsent or time.monotonic() >= deadline:
                return
            if sock.nonblocking:
                raise WSAError(WsaErrorCode.WSAEWOULDBLOCK, call, "It would have to linger.")
            time.sleep(LINGER_STEP)

    def _end(self, sock: Socket) -> None:
        """Close the socket itself."""
        serving = self._serving
        if sock.reserved is not None:
            listener, request = sock.reserved
            with listener.lock:
                if request in listener.accepts:
                    listener.accepts.remove(request)
                    serving.end(listener, request, WsaErrorCode.WSA_OPERATION_ABORTED)
            listener.announcer.run()
        with sock.lock:
            self._engine.leave(sock)
            aborted = WsaErrorCode.WSA_OPERATION_ABORTED
            for queue in (sock.sends, sock.urgents, sock.receives):
                serving.end_all(sock, queue, aborted)
            if sock.connecting is not None:
                connecting, sock.connecting = sock.connecting, None
                serving.end(sock, connecting, aborted)
            while sock.accepts:
                request = sock.accepts.popleft()
                request.abandon()
                serving.end(sock, request, aborted)
            if sock.listener is not None:
                sock.listener.close()
            if sock.lead is not None:
                sock.lead.hide()  # before the stream goes: it counts into the row
            sock.step(Step.CLOSE)
            if sock.endpoint is not None:
                if sock.inside:
                    sock.endpoint.wake()
                sock.endpoint.close(linger_of(sock) == (1, 0), sock.wait_out)
            if sock.lead is not None:
                sock.lead.end()
            if sock.tcp is not None:
                sock.tcp.close()
            sock.event = None
            for waiter in list(sock.waiters):
                waiter.tell()
        sock.announcer.run()

    # --- fork -----------------------------------------------------------------------------------

    def _before_fork(self) -> None:
        self._lock.acquire()
        for sock in set(self._sockets.values()):
            for stream in _streams(sock):
                stream.share()

    def _after_fork(self) -> None:
        self._lock.release()

    def _in_child(self) -> None:
        """The sockets are the parent's: this process gives up its share of them."""
        _own_status_page()
        sockets = set(self._sockets.values())
        self._sockets = {}
        self._lock = threading.RLock()
        self._engine.abandon()
        self._engine = self._new_engine()
        self._serving = Serving(self._engine, self._upcalls)
        for sock in sockets:
            if sock.lead is not None:
                sock.lead.hide()
            for stream in _streams(sock):
                fd = stream.fd
                stream.close()
                os.close(fd)
            if sock.tcp is not None:
                sock.tcp.close()
        pool.forget()


def _streams(sock: Socket) -> list[Any]:
    found = sock.listener.streams() if sock.listener is not None else []
    if isinstance(sock.endpoint, StreamEndpoint) and sock.state is not State.CLOSED:
        found.append(sock.endpoint.stream)
    return found


def _judge(af: int, type: int, protocol: int, call: str) -> int:
    """The kernel's address family, if sockets like this can be made here."""
    if af == 0 and type == 0 and protocol == 0:
        raise WSAError(WsaErrorCode.WSAEINVAL, call)
    family = kernel_family(af if af else 2)
    if family is None:
        raise WSAError(WsaErrorCode.WSAEAFNOSUPPORT, call)
    if type not in (0, SOCK_STREAM):
        hint = "This interface has stream sockets only." if type in (SOCK_DGRAM, SOCK_RAW) else None
        raise WSAError(WsaErrorCode.WSAESOCKTNOSUPPORT, call, hint)
    if protocol not in (0, IPPROTO_TCP):
        raise WSAError(WsaErrorCode.WSAEPROTONOSUPPORT, call)
    return family


def _own_status_page() -> None:
    """In a child: a page of its own, unless the front, whose hooks run for everybody, saw to it."""
    front = sys.modules.get("wsdirect.front.processes")
    if front is None or not front._registered:
        status.page().after_fork_child()


def _leave() -> None:
    """The process ends: sessions' bytes are in its hands, not in the kernel's."""
    pump = sys.modules.get("wsdirect.switch.session.pump")
    if pump is not None:
        pump.drain()


def _before_fork() -> None:
    for provider in list(_providers):
        provider._before_fork()


def _after_fork() -> None:
    for provider in list(_providers):
        provider._after_fork()


def _in_child() -> None:
    for provider in list(_providers):
        provider._in_child()
