"""The shared-memory SAN's service provider: each WSP function by its name.

What the functions do in the end is in the modules beside this one: meeting a peer in `connecting`
and `accepting`, requests and their progress in `transfer`, a socket on its way to another process
in `duplicate`.

An error that comes from not reaching a peer has one attribute more, `reason`: a
`wsdirect.reasons.Reason`, which says why in the switch's terms.
"""

from __future__ import annotations

from wsdirect import reasons
from wsdirect._core import missing, native
from wsdirect.providers.qos import by_name
from wsdirect.providers.shm import accepting, connecting, forking
from wsdirect.providers.shm.addresses import is_local
from wsdirect.providers.shm.events import Selection
from wsdirect.providers.shm.failures import because
from wsdirect.providers.shm.listener import Listener
from wsdirect.providers.shm.memory_functions import MemoryFunctions
from wsdirect.providers.shm.names import MESSAGES, STREAMS
from wsdirect.providers.shm.native_streams import NativeStreams
from wsdirect.providers.shm.options import get_option, set_option
from wsdirect.providers.shm.san import San
from wsdirect.providers.shm.sockets import SanSocket, end_stream
from wsdirect.providers.socket_table import State, Step
from wsdirect.spi.constants import (
    AF_INET,
    FD_ACCEPT,
    FD_CONNECT,
    FROM_PROTOCOL_INFO,
    IPPROTO_TCP,
    SIO_GET_EXTENSION_FUNCTION_POINTER,
    SOCK_STREAM,
    SOMAXCONN,
    WSA_FLAG_OVERLAPPED,
    XP1_CONNECT_DATA,
    XP1_QOS_SUPPORTED,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode, from_oserror
from wsdirect.spi.guid import GUID
from wsdirect.spi.native import AF_INET6
from wsdirect.spi.overlapped import WSAOVERLAPPED
from wsdirect.spi.provider import ServiceProvider
from wsdirect.spi.structures import WSAPROTOCOL_INFOW, WSPDATA, make_version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final

    from typing_extensions import Buffer

    from wsdirect.providers.shm.transfer import Channel
    from wsdirect.spi.overlapped import Event
    from wsdirect.spi.structures import QOS, WSANETWORKEVENTS, Address, ConditionProc
    from wsdirect.spi.upcalls import UpcallTable

__all__ = ["SharedMemoryProvider"]

_E = WsaErrorCode
_core: Any = native

_DESCRIPTION: Final = "wsdirect shared memory SAN"
_FAMILIES: Final = frozenset((0, FROM_PROTOCOL_INFO, AF_INET, AF_INET6))
_TYPES: Final = frozenset((0, FROM_PROTOCOL_INFO, SOCK_STREAM))
_PROTOCOLS: Final = frozenset((0, FROM_PROTOCOL_INFO, int(IPPROTO_TCP)))
_EVENTS: Final = int(FD_ACCEPT | FD_CONNECT)  # as an IntFlag it would know no bits but its own
_OTHER_PROTOCOLS: Final = frozenset((1, 17))  # ICMP and UDP: known, but not for streams


class SharedMemoryProvider(MemoryFunctions, ServiceProvider):
    """The SAN that this host is to its own processes.

    Every method may be called from any thread.  After a fork the child has none of the parent's
    sockets: their descriptors are WSAENOTSOCK there, and the parent's connections do not notice.
    """

    name = "shm"
    provider_id = GUID("E024FE3D-1C92-4B37-B3FA-55EFDE3CDC90")

    def __init__(self) -> None:
        self._users = 0
        self._san = San()
        self._sockets = self._san.sockets
        self.native_stream = NativeStreams(self._san)

    @property
    def protocol_info(self) -> WSAPROTOCOL_INFOW:
        """The catalogue entry: reliable ordered messages, hidden from applications (R-001)."""
        entry = WSAPROTOCOL_INFOW(_DESCRIPTION, self.provider_id)
        entry.dwServiceFlags1 |= XP1_CONNECT_DATA | XP1_QOS_SUPPORTED
        return entry

    # --- life of the provider -------------------------------------------------------------------

    def WSPStartupEx(
        self, version_requested: int, protocol_info: WSAPROTOCOL_INFOW, upcalls: UpcallTable
    ) -> WSPDATA:
        """Start, or count one more user (R-010 to R-025).

        Errors:
            WSAEFAULT: no upcall table.
            WSAEPROCLIM: never, as memory is not handed out by number of processes (R-016).
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
            raise because(WSAError(_E.WSASYSNOTREADY, call, missing), reasons.NO_CORE)
        if not self._users and not _core.bell_is_true():
            raise because(WSAError(_E.WSASYSNOTREADY, call), reasons.BELL_UNTRUE)
        forking.include(self._san)
        self._users += 1
        self._san.upcalls = upcalls
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
        while len(self._sockets):  # another thread may just be accepting one more
            for socket in self._sockets:
                try:
                    self.WSPCloseSocket(socket.descriptor)
                except WSAError:  # another thread was faster
                    pass
        self._san.close()

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
                try:
                    from wsdirect.providers.shm import duplicate  # few processes ever need it
                except OSError as error:  # no descriptor left to read it with
                    raise from_oserror(error, call) from error

                cookie = protocol_info.dwProviderReserved
                return duplicate.take_over(self._san, cookie, catalog_id)
        if af not in _FAMILIES:
            raise WSAError(_E.WSAEAFNOSUPPORT, call)
        if type not in _TYPES:
            raise WSAError(_E.WSAESOCKTNOSUPPORT, call)
        if protocol not in _PROTOCOLS:
            known = protocol in _OTHER_PROTOCOLS
            raise WSAError(_E.WSAEPROTOTYPE if known else _E.WSAEPROTONOSUPPORT, call)
        socket = SanSocket(AF_INET6 if af == AF_INET6 else AF_INET, catalog_id)
        if not group:
            return self._san.admit(socket)
        socket.service = self._san.groups.join(group, call)
        try:
            return self._san.admit(socket)
        except BaseException:
            self._san.groups.leave(socket.service)
            raise

    def WSPCloseSocket(self, s: int) -> None:
        """Close at once, in any state (R-238 to R-250).

        Source: R:ff566273.
        """
        socket = self._sockets.take(s, "WSPCloseSocket")
        with socket.lock:
            socket.step(Step.CLOSE)
            waiting, socket.connecting = socket.connecting, None
            stream, socket.stream = socket.stream, None
            listener, socket.listener = socket.listener, None
            deferred, socket.deferred = socket.deferred, []
            told, socket.told = socket.told, None
            # The channel knows its socket: left as it is, the slot would wait for the collector.
            channel, socket.channel = socket.channel, None
            if channel is not None:
                channel.close()
        if socket.selection is not None:  # no event is touched from now on: R-121
            socket.selection.select(None, 0)
        if waiting is not None:
            waiting.cancel()
        if stream is not None:
            end_stream(stream)
        for arrival in deferred:
            accepting.turn_down(arrival, socket.native)
        if listener is not None:
            accepting.close_listener(self._san, listener, socket.native)
        if socket.service is not None:
            self._san.groups.leave(socket.service)
        if socket.debug:
            socket.note("closed")
        # After the upcalls that wait, and after one that runs now: R-242.
        if told is None:
            self._close_handle(socket.handle, channel)
        else:
            told.post(self._close_handle, socket.handle, channel)
            told.run()

    def _close_handle(self, handle: int, channel: Channel | None) -> None:
        close = self._san.upcalls.WPUCloseSocketHandle
        if channel is None:
            close(handle)
        else:
            channel.upcalls.post(close, handle)
            channel.upcalls.run()

    def WSPDuplicateSocket(self, s: int, process_id: int) -> WSAPROTOCOL_INFOW:
        """Offer a connected or listening socket to one other process (R-251 to R-267).

        It waits 30 seconds to be fetched; closing s does not change that.

        Errors:
            WSAEINVAL: sends are not finished, or as for ServiceProvider.WSPDuplicateSocket.

        Source: R:ff566282; C:duplicating-socket-handles-for-a-san.
        """
        call = "WSPDuplicateSocket"
        socket = self._sockets.get(s, call)
        try:
            from wsdirect.providers.shm import duplicate
        except OSError as error:
            raise from_oserror(error, call) from error
        cookie = duplicate.hand_over(self._san, socket, process_id)
        return self.protocol_info.replace(
            dwCatalogEntryId=socket.catalog_id, dwProviderReserved=cookie
        )

    # --- connections ----------------------------------------------------------------------------

    def WSPBind(self, s: int, address: Address) -> None:
        """Give the socket its local address (R-047 to R-058); port 0 is for connecting only.

        Source: R:ff566268.
        """
        socket = self._sockets.get(s, "WSPBind")
        if socket.state is not State.FRESH:
            socket.refuse("WSPBind")
        host, port = socket.parse(address, "WSPBind", _E.WSAEFAULT)
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
        callee_data: bytearray | None = None,
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
            WSAEFAULT: the data, or a quality of service, are nothing of the kind.
            WSAEINVAL: an invalid quality of service, or the socket's group has connections to
                another host; or as for ServiceProvider.WSPConnect.
            WSAENOBUFS: (native streams) the listener's queue is full; or no memory; or more than
                1024 bytes of caller data.
            WSAEOPNOTSUPP: a quality of service that cannot be met (see `qos.refuse_unmet`), or any
                with a native stream.
            WSAEPROTONOSUPPORT: data with a native stream.
            WSAETIMEDOUT: no listener on this SAN, or no answer within WSDIRECT_OFFER_TIMEOUT.
            Otherwise as for ServiceProvider.WSPConnect.

        Source: R:ff566275; C:initiating-a-connection.
        """
        socket = self._sockets.get(s, "WSPConnect")
        connecting.connect(self._san, socket, address, caller_data, callee_data, sqos, gqos)

    def WSPListen(self, s: int, backlog: int = SOMAXCONN) -> None:
        """Take connection requests, or change the backlog (R-124 to R-132).

        The kernel queues requests; one that finds the queue full is refused there and then.

        Args:
            s: Descriptor of a socket bound to a port.
            backlog: Longest queue, at least 1 and at most 4096 requests.

        Errors:
            WSAEINVAL: bound to port 0, or as for ServiceProvider.WSPListen.

        Source: R:ff566297.
        """
        call, san = "WSPListen", self._san
        socket = self._sockets.get(s, call)
        with socket.lock:
            socket.require(call)
            if socket.listener is not None:
                socket.listener.set_backlog(backlog)
                return
            if not socket.port or socket.host is None:
                raise WSAError(_E.WSAEINVAL, call, "It has no port.")
            try:
                listener = Listener.open(
                    san.adopted,
                    STREAMS if socket.native else MESSAGES,
                    socket.host,
                    socket.port,
                    not socket.v6only,
                    backlog,
                    socket.early,
                )
                try:
                    accepting.watch(san, socket.selection, listener)
                except OSError:
                    listener.close()
                    raise
            except OSError as error:
                code = from_oserror(error, call)
                if code.winerror == _E.WSAEADDRINUSE:  # by a thousand listeners: R-127
                    code = WSAError(_E.WSAENOBUFS, call)
                raise code from error
            socket.listener = listener
            socket.step(Step.LISTEN)

    def WSPAccept(
        self, s: int, condition: ConditionProc | None = None, callback_data: Any = None
    ) -> tuple[int, Address]:
        """Take the first queued request (R-133 to R-152); waits for one unless non-blocking.

        Invalid and withdrawn requests are passed over.  The condition function may answer with up
        to 1024 bytes and name a group; more, or no such group, is WSAEINVAL and the peer is
        refused.  The new socket gets the lower of the qualities of service that the peer asks for
        and SIO_SET_QOS has set here.

        Source: R:ff566266; C:accepting-connection-requests.
        """
        socket = self._sockets.get(s, "WSPAccept")
        return accepting.accept(self._san, socket, condition, callback_data)

    # --- events ---------------------------------------------------------------------------------

    def WSPEventSelect(self, s: int, event: Event | None, network_events: int) -> None:
        """Choose the event for FD_ACCEPT and FD_CONNECT; non-blocking from now on.

        R-088 to R-096.  Accepted sockets do not inherit the choice: neither can happen there.

        Source: R:ff566287.
        """
        call = "WSPEventSelect"
        socket = self._sockets.get(s, call)
        wanted: object = network_events  # which may be anything
        valid = isinstance(wanted, int) and not wanted & ~_EVENTS
        if not valid or socket.state is State.MOVED:
            raise WSAError(_E.WSAEINVAL, call)
        if network_events and event is None:
            raise WSAError(_E.WSAEINVAL, call, "There is no event.")
        with socket.lock:
            selection = socket.selection
            if selection is None:
                selection = socket.selection = Selection()
        selection.select(event, network_events)
        selection.repeat_connect(FD_CONNECT)
        try:
            accepting.watch(self._san, selection, socket.listener)
        except OSError as error:
            raise from_oserror(error, call) from error

    def WSPEnumNetworkEvents(self, s: int, event: Event | None = None) -> WSANETWORKEVENTS:
        """Fetch and clear the record, and reset the event, in one step (R-097 to R-104).

        Source: R:ff566284.
        """
        selection = self._sockets.get(s, "WSPEnumNetworkEvents").selection
        return (selection or Selection()).take(event)

    # --- data -----------------------------------------------------------------------------------

    def WSPSend(
        self,
        s: int,
        buffers: Sequence[Buffer],
        flags: int = 0,
        overlapped: WSAOVERLAPPED | None = None,
    ) -> int | None:
        """Send one message; always answers None, the request goes on (R-153 to R-177).

        An empty buffer needs no registration.

        Errors:
            WSAEWOULDBLOCK: 128 sends wait already.
            Otherwise as for ServiceProvider.WSPSend.

        Source: R:ff566316.
        """
        channel = self._channel(s, flags, overlapped, "WSPSend")
        channel.send(buffers, overlapped)  # type: ignore[arg-type]  # not None: _channel looked
        return None

    def WSPRecv(
        self,
        s: int,
        buffers: Sequence[Buffer],
        flags: int = 0,
        overlapped: WSAOVERLAPPED | None = None,
    ) -> int | None:
        """Receive one message; always answers None, the request goes on (R-153 to R-177).

        Errors:
            WSAEWOULDBLOCK: 128 receives wait already.
            Otherwise as for ServiceProvider.WSPRecv.

        Source: R:ff566309.
        """
        channel = self._channel(s, flags, overlapped, "WSPRecv")
        channel.receive(buffers, overlapped)  # type: ignore[arg-type]
        return None

    def WSPGetOverlappedResult(
        self, s: int, overlapped: WSAOVERLAPPED, wait: bool = False
    ) -> int | None:
        """The result of a request; looks for progress if there is none yet (R-185 to R-194).

        Source: R:ff566288.
        """
        socket = self._sockets.get(s, "WSPGetOverlappedResult")
        if not isinstance(overlapped, WSAOVERLAPPED):
            raise WSAError(_E.WSAEINVAL, "WSPGetOverlappedResult")
        while True:
            result = overlapped.result()
            if result is not None:
                return result
            channel = socket.channel
            if channel is None:
                with socket.lock:  # another thread that closes it ends all requests under the lock
                    closed = socket.state is State.CLOSED
                result = overlapped.result()
                if closed and result is None:
                    raise WSAError(_E.WSAENOTSOCK, "WSPGetOverlappedResult")
                return result
            channel.poll()
            result = overlapped.result()
            if result is not None or not wait:
                return result
            channel.wait(overlapped)

    # --- options --------------------------------------------------------------------------------

    def WSPGetSockOpt(self, s: int, level: int, option: int, size: int | None = None) -> Any:
        """The value of an option (R-060 to R-073); sizes in bytes.

        Source: R:ff566292.
        """
        return get_option(self._sockets.get(s, "WSPGetSockOpt"), level, option, size)

    def WSPSetSockOpt(self, s: int, level: int, option: int, value: Any) -> None:
        """Set an option (R-059 to R-065); SO_NATIVE_STREAM before WSPConnect or WSPListen.

        Source: R:ff566318.
        """
        set_option(self._sockets.get(s, "WSPSetSockOpt"), level, option, value)

    def WSPIoctl(
        self,
        s: int,
        code: int,
        in_buffer: Any = b"",
        out_size: int | None = None,
        overlapped: WSAOVERLAPPED | None = None,
        completion_routine: Callable[[int, Any, WSAOVERLAPPED, int], object] | None = None,
        thread_id: int | None = None,
    ) -> Any:
        """Extension functions, addresses of this host, quality of service (R-074 to R-087).

        Everything is answered at once; `overlapped` is announced besides.

        Errors:
            WSAEINVAL: unknown code; an overlapped record in use; or what `qos.control` says.
            WSAEOPNOTSUPP: no such extension function, or a quality of service that cannot be met.
            Otherwise as for ServiceProvider.WSPIoctl.

        Source: R:ff566296.
        """
        call = "WSPIoctl"
        extension = code == SIO_GET_EXTENSION_FUNCTION_POINTER
        if extension and isinstance(in_buffer, GUID) and out_size is None and overlapped is None:
            return self.extension_function(in_buffer)
        try:
            from wsdirect.providers.shm import ioctl  # programs on native streams do not come here
        except OSError as error:
            raise from_oserror(error, call) from error

        if extension:
            socket = self._sockets.find(s)
            result: Any = self.extension_function(ioctl.guid_of(in_buffer))
            size = ioctl.pointer_size(out_size)
        else:
            socket = self._sockets.get(s, call)
            if overlapped is not None and not isinstance(overlapped, WSAOVERLAPPED):
                raise WSAError(_E.WSAEINVAL, call, "It is no overlapped record.")
            result, size = ioctl.answer(socket, code, in_buffer, out_size)
        if overlapped is not None:
            overlapped.start()
            ioctl.announce(
                self._san, socket, overlapped, completion_routine, thread_id, result, size
            )
        return result

    def WSPGetQOSByName(self, s: int, name: str) -> QOS | list[str]:
        """A template of quality of service, or the names of all (R-268, R-269).

        They are figures of well-known codecs, and of bulk and interactive traffic.

        Errors:
            WSAEFAULT: it is no name.
            WSAEINVAL: unknown name.
            WSAENOTSOCK: s is not a socket.

        Source: R:ff566290.
        """
        self._sockets.get(s, "WSPGetQOSByName")
        return by_name(name)
