"""The shared-memory SAN's service provider: each WSP function by its name.

What the functions do in the end is in the modules beside this one: meeting a peer in `rendezvous`,
messages and progress in `transfer`, handing a socket to another process in `duplicate`.

An error that comes from not reaching a peer has one attribute more, `reason`: a
`wsdirect.reasons.Reason`, which says why in the switch's terms.
"""

from __future__ import annotations

import os

from wsdirect import reasons, settings
from wsdirect._core import missing, native
from wsdirect.providers.shm.addresses import is_local, local_addresses
from wsdirect.providers.shm.names import MESSAGES, STREAMS, Host, parse_host
from wsdirect.providers.shm.native_streams import NativeStreams
from wsdirect.providers.shm.rendezvous import Arrival, Connector, Listener
from wsdirect.providers.shm.segments import AdoptedSegments, SegmentPool
from wsdirect.providers.shm.sockets import SanSocket, end_stream
from wsdirect.providers.socket_table import Socket, SocketTable, State, Step
from wsdirect.spi.constants import (
    AF_INET,
    FROM_PROTOCOL_INFO,
    IPPROTO_TCP,
    SIO_ADDRESS_LIST_QUERY,
    SIO_GET_EXTENSION_FUNCTION_POINTER,
    SIO_GET_GROUP_QOS,
    SIO_GET_QOS,
    SIO_SET_GROUP_QOS,
    SIO_SET_QOS,
    SO_DEBUG,
    SO_MAX_MSG_SIZE,
    SO_MAX_RDMA_SIZE,
    SO_RDMA_THRESHOLD_SIZE,
    SOCK_STREAM,
    SOL_SOCKET,
    SOMAXCONN,
    TCP_NODELAY,
    WSA_FLAG_OVERLAPPED,
    Condition,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode, from_oserror
from wsdirect.spi.guid import GUID
from wsdirect.spi.native import AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, SO_NATIVE_STREAM
from wsdirect.spi.provider import ServiceProvider
from wsdirect.spi.structures import WSPDATA, AcceptRequest, make_version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from wsdirect._core import _native
    from wsdirect.spi.structures import WSAPROTOCOL_INFOW, Address, ConditionProc
    from wsdirect.spi.upcalls import UpcallTable

    Stream = _native.Stream

__all__ = ["SharedMemoryProvider"]

_E = WsaErrorCode
_core: Any = native
_TCP_ANY: Final = (0, IPPROTO_TCP, FROM_PROTOCOL_INFO)
_OTHER_PROTOCOLS: Final = frozenset((1, 17))  # ICMP and UDP: known, but not for streams


class SharedMemoryProvider(ServiceProvider):
    """The SAN that this host is to its own processes.

    Every method may be called from any thread.  After a fork the child has none of the parent's
    sockets: their descriptors are WSAENOTSOCK there, and the parent's connections do not notice.
    """

    name = "shm"
    provider_id = GUID("E024FE3D-1C92-4B37-B3FA-55EFDE3CDC90")

    def __init__(self) -> None:
        self._users = 0
        self._upcalls: Any = None
        self._sockets: SocketTable[SanSocket] = SocketTable()
        self._pool = SegmentPool()
        self._adopted = AdoptedSegments()
        self._connector = Connector(self._pool)
        self.native_stream: NativeStreams = NativeStreams(self._sockets)

    # --- life of the provider -------------------------------------------------------------------

    def WSPStartupEx(
        self, version_requested: int, protocol_info: WSAPROTOCOL_INFOW, upcalls: UpcallTable
    ) -> WSPDATA:
        """Start, or count one more user (R-013..R-023).

        Errors:
            WSAEFAULT: no upcall table.
            WSASYSNOTREADY: no compiled core, or a kernel whose local sockets do not fit.
            WSAVERNOTSUPPORTED: version below 2.2.

        Source: R:ff566321.
        """
        if upcalls is None:
            raise WSAError(_E.WSAEFAULT, "WSPStartupEx")
        if (version_requested & 0xFF, version_requested >> 8) < (2, 2):
            raise WSAError(_E.WSAVERNOTSUPPORTED, "WSPStartupEx", "It takes version 2.2.")
        if _core is None:
            raise _with_reason(
                WSAError(_E.WSASYSNOTREADY, "WSPStartupEx", missing), reasons.NO_CORE
            )
        if not self._users and not _core.bell_is_true():
            raise _with_reason(WSAError(_E.WSASYSNOTREADY, "WSPStartupEx"), reasons.BELL_UNTRUE)
        self._users += 1
        self._upcalls = self.native_stream.upcalls = upcalls
        return WSPDATA(make_version(2, 2), "wsdirect shared memory SAN")

    def WSPCleanup(self) -> None:
        if not self._users:
            raise WSAError(_E.WSANOTINITIALISED, "WSPCleanup")
        self._users -= 1
        if self._users:
            return
        for socket in self._sockets:
            try:
                self.WSPCloseSocket(socket.descriptor)
            except WSAError:
                pass
        self._connector.clear()
        self._pool.clear()
        self._adopted.clear()

    # --- life of a socket -----------------------------------------------------------------------

    def WSPSocket(
        self,
        af: int,
        type: int,
        protocol: int,
        protocol_info: WSAPROTOCOL_INFOW | None = None,
        group: int = 0,
        flags: int = WSA_FLAG_OVERLAPPED,
    ) -> int:
        if not self._users:
            raise WSAError(_E.WSANOTINITIALISED, "WSPSocket")
        if af not in _FAMILIES:
            raise WSAError(_E.WSAEAFNOSUPPORT, "WSPSocket")
        if type not in _TYPES:
            raise WSAError(_E.WSAESOCKTNOSUPPORT, "WSPSocket")
        if protocol not in _TCP_ANY:
            known = protocol in _OTHER_PROTOCOLS
            raise WSAError(_E.WSAEPROTOTYPE if known else _E.WSAEPROTONOSUPPORT, "WSPSocket")
        if group:
            raise WSAError(_E.WSAEINVAL, "WSPSocket", "There are no socket groups.")
        socket = SanSocket(
            AF_INET6 if af == AF_INET6 else AF_INET,
            protocol_info.dwCatalogEntryId if protocol_info is not None else 0,
        )
        return self._admit(socket)

    def _admit(self, socket: SanSocket) -> int:
        descriptor = self._sockets.add(socket)
        try:
            socket.handle = self._upcalls.WPUCreateSocketHandle(socket.catalog_id, descriptor)
        except BaseException:
            self._sockets.take(descriptor, "WSPSocket")
            raise
        return descriptor

    def WSPCloseSocket(self, s: int) -> None:
        socket = self._sockets.take(s, "WSPCloseSocket")
        socket.step(Step.CLOSE)
        stream, socket.stream = socket.stream, None
        if stream is not None:
            end_stream(stream)
        listener, socket.listener = socket.listener, None
        if listener is not None:
            listener.close()
        self._upcalls.WPUCloseSocketHandle(socket.handle)

    def WSPDuplicateSocket(self, s: int, process_id: int) -> WSAPROTOCOL_INFOW:
        raise WSAError(_E.WSAEOPNOTSUPP)

    # --- connections ----------------------------------------------------------------------------

    def WSPBind(self, s: int, address: Address) -> None:
        socket = self._sockets.get(s, "WSPBind")
        socket.require("WSPBind")
        host, port = _parse(socket, address, "WSPBind", _E.WSAEFAULT)
        if not host.wildcard and not is_local(host):
            raise WSAError(_E.WSAEADDRNOTAVAIL, "WSPBind")
        socket.host = host
        socket.port = port
        socket.step(Step.BIND)

    def WSPConnect(
        self,
        s: int,
        address: Address,
        caller_data: Any = None,
        sqos: Any = None,
        gqos: Any = None,
    ) -> None:
        socket = self._sockets.get(s, "WSPConnect")
        socket.require("WSPConnect")
        remote, port = _parse(socket, address, "WSPConnect", _E.WSAEAFNOSUPPORT)
        if caller_data is not None and len(caller_data):
            raise WSAError(_E.WSAEPROTONOSUPPORT, "WSPConnect")
        if sqos is not None or gqos is not None:
            raise WSAError(_E.WSAEOPNOTSUPP, "WSPConnect")
        local = socket.host
        assert local is not None
        if remote.wildcard or not port or local.v4 is not remote.v4 and not local.wildcard:
            raise WSAError(_E.WSAEADDRNOTAVAIL, "WSPConnect")
        if not is_local(remote):
            raise _with_reason(
                WSAError(_E.WSAEADDRNOTAVAIL, "WSPConnect"), reasons.REMOTE_PEER
            )
        if local.wildcard:
            local = remote  # as TCP chooses for destinations on the same host
        socket.step(Step.CONNECT)
        try:
            found = self._connector.connect(
                STREAMS if socket.native else MESSAGES,
                local,
                socket.port,
                remote,
                port,
                settings.current().offer_timeout,
            )
        except OSError as error:
            socket.step(Step.FAIL)
            raise _with_reason(from_oserror(error, "WSPConnect"), reasons.OUT_OF_SLOTS) from error
        if type(found) is reasons.Reason:
            socket.step(Step.FAIL)
            raise _unreached(found, socket.native)
        socket.host = local
        socket.peer = remote
        socket.peer_port = port
        socket.stream = found.stream
        socket.step(Step.ESTABLISH)

    def WSPListen(self, s: int, backlog: int = SOMAXCONN) -> None:
        socket = self._sockets.get(s, "WSPListen")
        socket.require("WSPListen")
        if socket.listener is not None:
            socket.listener.set_backlog(backlog)
            return
        assert socket.host is not None
        if not socket.port:
            raise WSAError(_E.WSAEINVAL, "WSPListen")
        both = socket.family == AF_INET6 and not socket.v6only
        try:
            socket.listener = Listener.open(
                self._pool,
                self._adopted,
                STREAMS if socket.native else MESSAGES,
                socket.host,
                socket.port,
                both,
                backlog,
            )
        except OSError as error:
            raise from_oserror(error, "WSPListen") from error
        socket.step(Step.LISTEN)

    def WSPAccept(
        self, s: int, condition: ConditionProc | None = None, callback_data: Any = None
    ) -> tuple[int, Address]:
        socket = self._sockets.get(s, "WSPAccept")
        listener = socket.listener
        if listener is None:
            socket.refuse("WSPAccept")
        try:
            arrival = listener.accept()
        except OSError as error:
            raise from_oserror(error, "WSPAccept") from error
        if arrival is None:
            raise WSAError(_E.WSAEWOULDBLOCK, "WSPAccept")
        accepted = SanSocket(socket.family, socket.catalog_id)
        accepted.inherit(socket, arrival)
        accepted.step(Step.BIND)
        accepted.step(Step.ESTABLISH)
        accepted.stream = arrival.stream
        try:
            descriptor = self._admit(accepted)
        except BaseException:
            end_stream(arrival.stream, reset=True)
            raise
        return descriptor, (accepted.shown(arrival.offer.local), arrival.offer.local_port)

    # --- events ---------------------------------------------------------------------------------

    def WSPEventSelect(self, s, event, network_events):
        raise WSAError(_E.WSAEOPNOTSUPP)

    def WSPEnumNetworkEvents(self, s, event=None):
        raise WSAError(_E.WSAEOPNOTSUPP)

    def WSPSend(self, s, buffers, flags=0, overlapped=None):
        raise WSAError(_E.WSAEOPNOTSUPP)

    def WSPRecv(self, s, buffers, flags=0, overlapped=None):
        raise WSAError(_E.WSAEOPNOTSUPP)

    def WSPGetOverlappedResult(self, s, overlapped, wait=False):
        raise WSAError(_E.WSAEOPNOTSUPP)

    # --- options --------------------------------------------------------------------------------

    def WSPGetSockOpt(self, s: int, level: int, option: int) -> int:
        socket = self._sockets.get(s, "WSPGetSockOpt")
        raise WSAError(_E.WSAEOPNOTSUPP)

    def WSPSetSockOpt(self, s: int, level: int, option: int, value: int) -> None:
        socket = self._sockets.get(s, "WSPSetSockOpt")
        if level == SOL_SOCKET:
            if option == SO_NATIVE_STREAM:
                socket.require("SO_NATIVE_STREAM")
                socket.native = bool(value)
                return
            if option == SO_DEBUG:
                socket.debug = bool(value)
                return
        elif level == IPPROTO_TCP:
            if option == TCP_NODELAY:
                socket.no_delay = bool(value)
                return
        elif level == IPPROTO_IPV6:
            if option == IPV6_V6ONLY:
                socket.v6only = bool(value)
                return
        else:
            raise WSAError(_E.WSAEINVAL, "WSPSetSockOpt", f"There is no level {level}.")
        raise WSAError(_E.WSAENOPROTOOPT, "WSPSetSockOpt")

    def WSPIoctl(
        self,
        s: int,
        code: int,
        in_buffer: Any = b"",
        overlapped: Any = None,
    ) -> Any:
        if code == SIO_GET_EXTENSION_FUNCTION_POINTER:
            return self.extension_function(in_buffer)  # whatever s is: R-045
        self._sockets.get(s, "WSPIoctl")
        if code == SIO_ADDRESS_LIST_QUERY:
            return [(host, 0) for host in local_addresses()]
        raise WSAError(_E.WSAEINVAL)


_FAMILIES = frozenset((0, FROM_PROTOCOL_INFO, AF_INET, AF_INET6))
_TYPES = frozenset((0, FROM_PROTOCOL_INFO, SOCK_STREAM))


def _parse(
    socket: SanSocket, address: Address, call: str, wrong_family: int
) -> tuple[Host, int]:
    try:
        host, port = parse_host(address[0]), address[1]
    except (OSError, ValueError, TypeError, LookupError):
        raise WSAError(_E.WSAEFAULT, call, f"{address!r} is no IP address.") from None
    if not isinstance(port, int) or not 0 <= port <= 0xFFFF:
        raise WSAError(_E.WSAEFAULT, call, f"{port!r} is no port.")
    if socket.family == AF_INET and not host.v4:
        raise WSAError(wrong_family, call)
    return host, port


def _with_reason(error: WSAError, reason: reasons.Reason) -> WSAError:
    error.reason = reason  # type: ignore[attr-defined]
    return error


def _unreached(reason: reasons.Reason, native_stream: bool) -> WSAError:
    if reason is reasons.BACKLOG_FULL:
        code = _E.WSAENOBUFS if native_stream else _E.WSAECONNREFUSED
    else:
        code = _E.WSAETIMEDOUT
    return _with_reason(WSAError(code, "WSPConnect"), reason)
