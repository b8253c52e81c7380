"""The shared-memory SAN's service provider: each WSP function by its name.

What the functions do in the end is in the modules beside this one: meeting a peer in `rendezvous`,
requests and their progress in `transfer`, connects that wait for an answer in `connecting`, a
socket on its way to another process in `duplicate`.

An error that comes from not reaching a peer has one attribute more, `reason`: a
`wsdirect.reasons.Reason`, which says why in the switch's terms.
"""

from __future__ import annotations

from time import monotonic

from wsdirect import reasons, settings
from wsdirect._core import missing, native
from wsdirect.providers.shm import forking
from wsdirect.providers.shm.addresses import is_local, local_addresses
from wsdirect.providers.shm.connecting import ACCEPTED, REFUSED, WAIT, Connecting, tcp_listens
from wsdirect.providers.shm.duplicate import Handover, Parcel, take_over
from wsdirect.providers.shm.events import Selection
from wsdirect.providers.shm.names import MESSAGES, STREAMS, Host, parse_host
from wsdirect.providers.shm.native_streams import NativeStreams
from wsdirect.providers.shm.options import get_option, set_option
from wsdirect.providers.shm.progress import Progress
from wsdirect.providers.shm.rendezvous import Arrival, Connector, Listener
from wsdirect.providers.shm.segments import AdoptedSegments, SegmentPool
from wsdirect.providers.shm.sockets import SanSocket, end_stream
from wsdirect.providers.shm.transfer import Channel
from wsdirect.providers.socket_table import SocketTable, State, Step
from wsdirect.spi.constants import (
    AF_INET,
    CF_ACCEPT,
    CF_DEFER,
    CF_REJECT,
    FD_ACCEPT,
    FD_CONNECT,
    FROM_PROTOCOL_INFO,
    IPPROTO_TCP,
    SIO_ADDRESS_LIST_QUERY,
    SIO_GET_EXTENSION_FUNCTION_POINTER,
    SIO_GET_GROUP_QOS,
    SIO_GET_QOS,
    SIO_SET_GROUP_QOS,
    SIO_SET_QOS,
    SOCK_STREAM,
    SOMAXCONN,
    WSA_FLAG_OVERLAPPED,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode, from_oserror
from wsdirect.spi.guid import GUID
from wsdirect.spi.native import AF_INET6
from wsdirect.spi.overlapped import WSAOVERLAPPED
from wsdirect.spi.provider import ServiceProvider
from wsdirect.spi.structures import WSAPROTOCOL_INFOW, WSPDATA, AcceptRequest, make_version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

    from typing_extensions import Buffer

    from wsdirect._core import _native
    from wsdirect.spi.overlapped import Event
    from wsdirect.spi.structures import QOS, WSANETWORKEVENTS, Address, ConditionProc
    from wsdirect.spi.upcalls import UpcallTable

    Stream = _native.Stream

__all__ = ["SharedMemoryProvider"]

_E = WsaErrorCode
_core: Any = native

_DESCRIPTION: Final = "wsdirect shared memory SAN"
_FAMILIES: Final = frozenset((0, FROM_PROTOCOL_INFO, AF_INET, AF_INET6))
_TYPES: Final = frozenset((0, FROM_PROTOCOL_INFO, SOCK_STREAM))
_PROTOCOLS: Final = frozenset((0, FROM_PROTOCOL_INFO, int(IPPROTO_TCP)))
_OTHER_PROTOCOLS: Final = frozenset((1, 17))  # ICMP and UDP: known, but not for streams
_QOS_CODES: Final = frozenset((SIO_GET_QOS, SIO_SET_QOS, SIO_GET_GROUP_QOS, SIO_SET_GROUP_QOS))
_ACCEPT_NAP: Final = 0.2  # seconds between looks whether the listener still exists
_HANDOVER_TIME: Final = 30.0  # seconds that a duplicated socket waits to be fetched


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
        self._handovers: list[Handover] = []
        self._pool = SegmentPool()
        self._adopted = AdoptedSegments()
        self._connector = Connector(self._pool)
        self._progress = Progress()
        self._native_streams = NativeStreams(self._sockets)
        self.native_stream = self._native_streams

    @property
    def protocol_info(self) -> WSAPROTOCOL_INFOW:
        """The catalogue entry: reliable ordered messages, hidden from applications (R-001)."""
        return WSAPROTOCOL_INFOW(_DESCRIPTION, self.provider_id)

    # --- life of the provider -------------------------------------------------------------------

    def WSPStartupEx(
        self, version_requested: int, protocol_info: WSAPROTOCOL_INFOW, upcalls: UpcallTable
    ) -> WSPDATA:
        """Start, or count one more user (R-010 to R-025).

        Errors:
            WSAEFAULT: no upcall table.
            WSASYSNOTREADY: no compiled core, or a kernel whose local sockets do not fit.
            WSAVERNOTSUPPORTED: a version below 2.2.

        Source: R:ff566321.
        """
        call = "WSPStartupEx"
        if upcalls is None:
            raise WSAError(_E.WSAEFAULT, call)
        if (version_requested & 0xFF, version_requested >> 8) < (2, 2):
            raise WSAError(_E.WSAVERNOTSUPPORTED, call, "The version is 2.2.")
        if _core is None:
            raise _because(WSAError(_E.WSASYSNOTREADY, call, missing), reasons.NO_CORE)
        if not self._users and not _core.bell_is_true():
            raise _because(WSAError(_E.WSASYSNOTREADY, call), reasons.BELL_UNTRUE)
        forking.include(self)
        self._users += 1
        self._upcalls = self._native_streams.upcalls = upcalls
        return WSPDATA(make_version(2, 2), _DESCRIPTION)

    def WSPCleanup(self) -> None:
        """Count one user less; with the last one everything ends (R-026 to R-032).

        Errors:
            WSANOTINITIALISED: there was no WSPStartupEx.

        Source: R:ff566270.
        """
        if not self._users:
            raise WSAError(_E.WSANOTINITIALISED, "WSPCleanup")
        self._users -= 1
        if self._users:
            return
        for socket in self._sockets:
            try:
                self.WSPCloseSocket(socket.descriptor)
            except WSAError:  # another thread was faster
                pass
        for handover in self._handovers:
            handover.close()
        self._handovers.clear()
        self._progress.stop()
        self._forget()

    def _forget(self) -> None:
        self._connector.clear()
        self._pool.clear()
        self._adopted.clear()

    def before_fork(self) -> None:
        """Count the child as one more holder of every connection, until it lets go of them."""
        for socket in self._sockets:
            for stream in socket.held_streams():
                stream.share()
        for handover in self._handovers:
            if handover.stream is not None:
                handover.stream.share()

    def after_fork_in_child(self) -> None:
        """Let go of all that is the parent's; its listeners must not hold clients up here."""
        self._progress.after_fork()
        for socket in self._sockets:
            for stream in socket.held_streams():
                end_stream(stream)
            if socket.listener is not None:
                socket.listener.close()
        self._sockets.clear()
        for handover in self._handovers:
            handover.abandon()
        self._handovers.clear()
        self._forget()

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
        """Make a socket, or take over a duplicated one (R-034 to R-046, R-257 to R-260).

        Besides AF_INET there is AF_INET6 (Winsock's number, in wsdirect.spi.native).

        Errors:
            WSANOTINITIALISED: there was no WSPStartupEx.
            Otherwise as for ServiceProvider.WSPSocket.

        Source: R:ff566319.
        """
        call = "WSPSocket"
        if not self._users:
            raise WSAError(_E.WSANOTINITIALISED, call)
        catalog_id = 0
        if protocol_info is not None:
            catalog_id = protocol_info.dwCatalogEntryId
            if protocol_info.dwProviderReserved:
                return self._take_over(protocol_info.dwProviderReserved, catalog_id)
        if af not in _FAMILIES:
            raise WSAError(_E.WSAEAFNOSUPPORT, call)
        if type not in _TYPES:
            raise WSAError(_E.WSAESOCKTNOSUPPORT, call)
        if protocol not in _PROTOCOLS:
            known = protocol in _OTHER_PROTOCOLS
            raise WSAError(_E.WSAEPROTOTYPE if known else _E.WSAEPROTONOSUPPORT, call)
        if group:
            raise WSAError(_E.WSAEINVAL, call, "There are no socket groups.")
        return self._admit(SanSocket(AF_INET6 if af == AF_INET6 else AF_INET, catalog_id))

    def _admit(self, socket: SanSocket) -> int:
        """Give a socket its descriptor and its handle."""
        descriptor = self._sockets.add(socket)
        try:
            socket.handle = self._upcalls.WPUCreateSocketHandle(socket.catalog_id, descriptor)
        except BaseException:
            self._sockets.take(descriptor, "WSPSocket")
            raise
        return descriptor

    def _take_over(self, cookie: int, catalog_id: int) -> int:
        try:
            socket, stream = take_over(cookie, catalog_id, self._pool, self._adopted)
        except OSError as error:
            raise from_oserror(error, "WSPSocket") from error
        socket.step(Step.BIND)
        if stream is None:
            socket.step(Step.LISTEN)
        else:
            self._establish(socket, stream)
        try:
            return self._admit(socket)
        except BaseException:
            if stream is not None:
                end_stream(stream, reset=True)
            elif socket.listener is not None:
                socket.listener.close()
            raise

    def _establish(self, socket: SanSocket, stream: Stream) -> None:
        if socket.native:
            socket.stream = stream
        else:
            socket.channel = Channel(socket, stream, self._upcalls, self._progress)
        socket.step(Step.ESTABLISH)

    def WSPCloseSocket(self, s: int) -> None:
        """Close at once, in any state (R-238 to R-250).

        Source: R:ff566273.
        """
        socket = self._sockets.take(s, "WSPCloseSocket")
        with socket.lock:
            socket.step(Step.CLOSE)
            connecting, socket.connecting = socket.connecting, None
            stream, socket.stream = socket.stream, None
            listener, socket.listener = socket.listener, None
            deferred, socket.deferred = socket.deferred, []
            if socket.channel is not None:
                socket.channel.close()
        if connecting is not None and connecting.stream is not None:
            self._progress.unwatch(connecting.stream.fd)
            end_stream(connecting.stream, reset=True)
        if stream is not None:
            end_stream(stream)
        for arrival in deferred:
            _turn_down(arrival, socket.native)
        if listener is not None:
            self._close_listener(listener, socket.native)
        if socket.channel is None:
            self._upcalls.WPUCloseSocketHandle(socket.handle)
        else:
            # After the upcalls that wait, and after one that runs now: R-242.
            socket.channel.upcalls.post(self._upcalls.WPUCloseSocketHandle, socket.handle)
            socket.channel.upcalls.run()

    def _close_listener(self, listener: Listener, native_stream: bool) -> None:
        self._progress.unwatch(listener.fileno())
        if not native_stream:  # those fall back to TCP/IP by themselves
            try:
                while (arrival := listener.accept()) is not None:
                    _turn_down(arrival, native_stream)
            except OSError:
                pass
        listener.close()

    def WSPDuplicateSocket(self, s: int, process_id: int) -> WSAPROTOCOL_INFOW:
        """Offer a connected or listening socket to one other process (R-251 to R-267).

        It waits 30 seconds to be fetched; closing s does not change that.

        Errors:
            WSAEINVAL: sends are not finished, or as for ServiceProvider.WSPDuplicateSocket.

        Source: R:ff566282; C:duplicating-socket-handles-for-a-san.
        """
        call = "WSPDuplicateSocket"
        socket = self._sockets.get(s, call)
        if not isinstance(process_id, int) or not 0 <= process_id <= 0xFFFFFFFF:
            raise WSAError(_E.WSAEINVAL, call)
        with socket.lock:
            socket.require(call)
            channel, listener = socket.channel, socket.listener
            if channel is not None and channel.sends_wait:
                raise WSAError(_E.WSAEINVAL, call, "Sends are not finished.")
            stream = channel.stream if channel is not None else socket.stream
            try:
                handover = Handover(
                    process_id, Parcel.of(socket, stream), stream, listener, self._progress
                )
            except OSError as error:
                raise from_oserror(error, call) from error
            if channel is not None:
                channel.flush()
                channel.release()
            socket.stream = socket.listener = None
            deferred, socket.deferred = socket.deferred, []
            socket.handover = handover
            socket.step(Step.MOVE)
        self._handovers = [other for other in self._handovers if not other.done] + [handover]
        self._progress.at(monotonic() + _HANDOVER_TIME, handover.close)
        if listener is not None:
            self._progress.unwatch(listener.fileno())
        for arrival in deferred:
            _turn_down(arrival, socket.native)
        if channel is not None:
            channel.upcalls.run()
        return self.protocol_info.replace(
            dwCatalogEntryId=socket.catalog_id, dwProviderReserved=handover.cookie
        )

    # --- connections ----------------------------------------------------------------------------

    def WSPBind(self, s: int, address: Address) -> None:
        """Give the socket its local address (R-047 to R-058); port 0 is for connecting only.

        Source: R:ff566268.
        """
        socket = self._sockets.get(s, "WSPBind")
        socket.require("WSPBind")
        host, port = _parse(socket, address, "WSPBind", _E.WSAEFAULT)
        if not host.wildcard and not is_local(host):
            raise WSAError(_E.WSAEADDRNOTAVAIL, "WSPBind")
        with socket.lock:
            socket.require("WSPBind")
            socket.host = host
            socket.port = port
            socket.step(Step.BIND)

    def WSPConnect(
        self,
        s: int,
        address: Address,
        caller_data: Buffer | None = None,
        sqos: QOS | None = None,
        gqos: QOS | None = None,
    ) -> None:
        """Connect a bound socket (R-105 to R-123).

        A native stream is connected as soon as the request is queued.  A socket for messages waits
        for the acceptor: in the background after WSPEventSelect, else in this call.

        Errors:
            WSAEADDRNOTAVAIL: the destination is not this host, or no address to connect to.
            WSAECONNREFUSED: the acceptor refused, or (messages only) its queue is full.
            WSAECONNRESET: (messages only) neither this SAN nor TCP/IP has a listener there.
            WSAENOBUFS: (native streams) the listener's queue is full; or no memory.
            WSAEOPNOTSUPP: quality of service.
            WSAEPROTONOSUPPORT: caller data.
            WSAETIMEDOUT: no listener on this SAN, or no answer within WSDIRECT_OFFER_TIMEOUT.
            Otherwise as for ServiceProvider.WSPConnect.

        Source: R:ff566275; C:initiating-a-connection.
        """
        call = "WSPConnect"
        socket = self._sockets.get(s, call)
        socket.require(call)
        remote, port = _parse(socket, address, call, _E.WSAEAFNOSUPPORT)
        if caller_data is not None and memoryview(caller_data).nbytes:
            raise WSAError(_E.WSAEPROTONOSUPPORT, call)
        if sqos is not None or gqos is not None:
            raise WSAError(_E.WSAEOPNOTSUPP, call)
        local = socket.host
        assert local is not None  # it is bound
        if remote.wildcard or not port or (local.v4 is not remote.v4 and not local.wildcard):
            raise WSAError(_E.WSAEADDRNOTAVAIL, call)
        if not is_local(remote):
            raise _because(WSAError(_E.WSAEADDRNOTAVAIL, call), reasons.REMOTE_PEER)
        with socket.lock:
            socket.require(call)
            socket.step(Step.CONNECT)
        timeout = settings.current().offer_timeout
        if local.wildcard:
            local = remote  # as TCP chooses for destinations on the same host
        try:
            found = self._connector.connect(
                STREAMS if socket.native else MESSAGES,
                local,
                socket.port,
                remote,
                port,
                timeout if socket.native else None,
            )
        except OSError as error:
            self._give_up(socket)
            raise _because(from_oserror(error, call), reasons.OUT_OF_SLOTS) from error
        if isinstance(found, reasons.Reason):
            if socket.native or found is not reasons.NO_LISTENER:
                self._give_up(socket)
                raise _unreached(found, socket.native)
            self._await_answer(socket, None, port, timeout)
            return
        socket.host, socket.peer, socket.peer_port = local, remote, port
        if not socket.native:
            self._await_answer(socket, found.stream, port, timeout)
            return
        with socket.lock:
            if socket.state is State.CONNECTING:
                self._establish(socket, found.stream)
        if socket.stream is not found.stream:
            end_stream(found.stream)
            raise WSAError(_E.WSAENOTSOCK, call, "It was closed meanwhile.")
        if socket.selection is not None:
            socket.selection.announce_connect(0, FD_CONNECT)

    def _give_up(self, socket: SanSocket) -> None:
        with socket.lock:
            if socket.state is State.CONNECTING:
                socket.step(Step.FAIL)

    def _await_answer(
        self, socket: SanSocket, stream: Stream | None, port: int, timeout: float
    ) -> None:
        """Wait for the acceptor, or find out why there is none; in the background if it may."""

        def finish(outcome: int) -> None:
            self._finish_connect(socket, connecting, outcome)

        def find_out() -> None:
            # Only if nothing listens on that port, TCP/IP is certain to fail too.
            finish(_E.WSAETIMEDOUT if tcp_listens(port) else _E.WSAECONNRESET)

        def expire() -> None:
            connecting.on_ready()
            if socket.connecting is connecting:  # put off by the acceptor
                self._progress.at(connecting.deadline, expire)

        connecting = Connecting(stream, timeout, finish)
        with socket.lock:
            if socket.state is State.CONNECTING:
                socket.connecting = connecting
        if socket.connecting is not connecting:
            if stream is not None:
                end_stream(stream, reset=True)
            raise WSAError(_E.WSAENOTSOCK, "WSPConnect", "It was closed meanwhile.")
        if socket.selection is None:
            outcome = connecting.wait(find_out)
            if outcome is not None:
                finish(outcome)
            if connecting.outcome:
                raise WSAError(connecting.outcome, "WSPConnect")
            return
        if stream is None:
            self._progress.submit(find_out)
        else:
            self._progress.watch(stream.fd, connecting.on_ready)
            self._progress.at(connecting.deadline, expire)
        raise WSAError(_E.WSAEWOULDBLOCK, "WSPConnect")
