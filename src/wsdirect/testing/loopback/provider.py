"""The loopback provider: each WSP function by its name.

A function here finds the socket, checks what it was given in the order in which the contract
wants it, and leaves the work to the modules beside this one.  Nothing that a function starts ends
before it has returned: see `engine`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from wsdirect.providers.qos import by_name
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
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.extension_ids import WSAID_RDMAREAD
from wsdirect.spi.guid import GUID
from wsdirect.spi.overlapped import WSAOVERLAPPED, Event
from wsdirect.spi.provider import ServiceProvider
from wsdirect.spi.structures import WSAPROTOCOL_INFOW, WSPDATA, make_version
from wsdirect.testing.faults import Fault
from wsdirect.testing.loopback import (
    accepting,
    connecting,
    forking,
    handover,
    options,
    transfers,
)
from wsdirect.testing.loopback.limits import MESSAGE_MAX
from wsdirect.testing.loopback.memory import DESCRIPTOR_SIZE
from wsdirect.testing.loopback.network import WILDCARD, Listener, Network
from wsdirect.testing.loopback.requests import check_record
from wsdirect.testing.loopback.sockets import LoopbackSocket, parse

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from wsdirect.spi.structures import QOS, WSABUFEX, WSANETWORKEVENTS, Address, ConditionProc
    from wsdirect.spi.upcalls import UpcallTable

__all__ = ["LoopbackProvider"]

_E = WsaErrorCode

_DESCRIPTION: Final = "wsdirect loopback SAN"
_VERSION: Final = (2, 2)
_FAMILIES: Final = (0, FROM_PROTOCOL_INFO, AF_INET)
_TYPES: Final = (0, FROM_PROTOCOL_INFO, SOCK_STREAM)
_PROTOCOLS: Final = (0, FROM_PROTOCOL_INFO, IPPROTO_TCP)
_OTHER_PROTOCOLS: Final = (1, 17)  # ICMP and UDP: known, but not for streams


class LoopbackProvider(ServiceProvider):
    """A SAN within one process.  Every method may be called from any thread.

    After a fork the child has no sockets, and the parent's do not notice.

    Attributes:
        one_process: Why the conformance suite must not use two processes.
        fault_injector: What the suite provokes failures with.
    """

    name = "loopback"
    provider_id = GUID("7D3B0D5C-6E1A-4C53-9B0F-2E6F5D1C8A47")
    one_process = "it connects sockets of one process only"

    def __init__(self) -> None:
        self._users = 0
        self._network = Network()
        self._sockets = self._network.sockets
        self.fault_injector = self._faults = self._network.faults

    @property
    def protocol_info(self) -> WSAPROTOCOL_INFOW:
        """The catalogue entry: a SAN, with quality of service and data with the connect."""
        usual = WSAPROTOCOL_INFOW(_DESCRIPTION, self.provider_id, dwMessageSize=MESSAGE_MAX)
        more = XP1_QOS_SUPPORTED | XP1_CONNECT_DATA
        return usual.replace(dwServiceFlags1=usual.dwServiceFlags1 | more)

    # --- what every function begins with ----------------------------------------------------------

    def _socket(self, s: int, call: str) -> LoopbackSocket:
        self._faults.check_up(call)
        return self._sockets.get(s, call)

    # --- life of the provider ---------------------------------------------------------------------

    def WSPStartupEx(
        self, version_requested: int, protocol_info: WSAPROTOCOL_INFOW, upcalls: UpcallTable
    ) -> WSPDATA:
        """Start, or count one more user (R-010 to R-025).

        Source: R:ff566321.
        """
        call = "WSPStartupEx"
        if upcalls is None:
            raise WSAError(_E.WSAEFAULT, call)
        if (version_requested & 0xFF, version_requested >> 8) < _VERSION:
            raise WSAError(_E.WSAVERNOTSUPPORTED, call, "The version is 2.2.")
        self._faults.check_start(call)
        forking.include(self._network)
        with self._network.engine.lock:
            self._users += 1
            self._network.upcalls = upcalls
        return WSPDATA(make_version(*_VERSION), _DESCRIPTION)

    def WSPCleanup(self) -> None:
        """Count one user less; with the last one everything ends (R-026 to R-032).

        Source: R:ff566270.
        """
        self._faults.check_up("WSPCleanup")
        with self._network.engine.lock:
            if not self._users:
                raise WSAError(_E.WSANOTINITIALISED, "WSPCleanup")
            self._users -= 1
            if self._users:
                return
        self._network.close()

    # --- life of a socket -------------------------------------------------------------------------

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

        Source: R:ff566319.
        """
        call = "WSPSocket"
        if not self._users:
            raise WSAError(_E.WSANOTINITIALISED, call)
        self._faults.check_up(call)
        self._faults.check_room(call, Fault.NO_DESCRIPTORS, Fault.NO_BUFFERS)
        catalog_id = protocol_info.dwCatalogEntryId if protocol_info is not None else 0
        if protocol_info is not None and protocol_info.dwProviderReserved:
            return handover.take_over(self._network, protocol_info.dwProviderReserved, catalog_id)
        if af not in _FAMILIES:
            raise WSAError(_E.WSAEAFNOSUPPORT, call)
        if type not in _TYPES:
            raise WSAError(_E.WSAESOCKTNOSUPPORT, call)
        if protocol not in _PROTOCOLS:
            known = protocol in _OTHER_PROTOCOLS
            raise WSAError(_E.WSAEPROTOTYPE if known else _E.WSAEPROTONOSUPPORT, call)
        socket = self._network.new_socket(catalog_id)
        socket.service = self._network.groups.join(group, call)
        try:
            self._network.admit(socket)
        except BaseException:
            self._network.groups.leave(socket.service)
            raise
        return socket.descriptor

    def WSPCloseSocket(self, s: int) -> None:
        """Close at once, in any state (R-238 to R-250).

        Source: R:ff566273.
        """
        self._faults.check_up("WSPCloseSocket")
        self._network.close_socket(s, "WSPCloseSocket")

    def WSPDuplicateSocket(self, s: int, process_id: int) -> WSAPROTOCOL_INFOW:
        """Offer a connected or listening socket to this process (R-251 to R-267).

        Other process numbers are taken, too, but nobody can use what they get.

        Source: R:ff566282; C:duplicating-socket-handles-for-a-san.
        """
        call = "WSPDuplicateSocket"
        socket = self._socket(s, call)
        self._faults.check_room(call, Fault.NO_DESCRIPTORS, Fault.NO_BUFFERS)
        number = handover.hand_over(self._network, socket, process_id)
        return self.protocol_info.replace(
            dwCatalogEntryId=socket.catalog_id, dwProviderReserved=number
        )

    # --- connections ------------------------------------------------------------------------------

    def WSPBind(self, s: int, address: Address) -> None:
        """Give the socket its local address (R-047 to R-058).

        Source: R:ff566268.
        """
        call = "WSPBind"
        socket = self._socket(s, call)
        with self._network.engine.lock:
            socket.require(call)
            self._faults.check_room(call, Fault.NO_BUFFERS)
            host, port = parse(address, call, _E.WSAEFAULT)
            if host != WILDCARD and host not in self._network.addresses:
                raise WSAError(_E.WSAEADDRNOTAVAIL, call, f"No network adapter has {host}.")
            socket.address = (host, port)
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
        """Connect a bound socket (R-105 to R-123); always goes on after the call.

        Source: R:ff566275; C:initiating-a-connection.
        """
        call = "WSPConnect"
        connecting.connect(
            self._network, self._socket(s, call), address, caller_data, callee_data, sqos, gqos
        )
        raise WSAError(_E.WSAEWOULDBLOCK, call)

    def WSPListen(self, s: int, backlog: int = SOMAXCONN) -> None:
        """Take connection requests, or change the backlog (R-124 to R-132).

        Source: R:ff566297.
        """
        call = "WSPListen"
        socket = self._socket(s, call)
        with self._network.engine.lock:
            socket.require(call)
            self._faults.check_room(call, Fault.NO_DESCRIPTORS, Fault.NO_BUFFERS)
            if socket.listener is not None:
                socket.listener.set_backlog(backlog)
                return
            assert socket.address is not None  # it is bound
            socket.listener = Listener(socket, socket.address, backlog)
            self._network.listeners.append(socket.listener)
            socket.step(Step.LISTEN)

    def WSPAccept(
        self, s: int, condition: ConditionProc | None = None, callback_data: Any = None
    ) -> tuple[int, Address]:
        """Take the first queued request (R-133 to R-152); never waits for one.

        Source: R:ff566266; C:accepting-connection-requests.
        """
        socket = self._socket(s, "WSPAccept")
        return accepting.accept(self._network, socket, condition, callback_data)

    # --- events -----------------------------------------------------------------------------------

    def WSPEventSelect(self, s: int, event: Event | None, network_events: int) -> None:
        """Choose the event for FD_ACCEPT and FD_CONNECT (R-088 to R-096).

        Source: R:ff566287.
        """
        call = "WSPEventSelect"
        socket = self._socket(s, call)
        # int: turning a flag round leaves out the bits that have no name
        if network_events & ~int(FD_ACCEPT | FD_CONNECT):
            raise WSAError(_E.WSAEINVAL, call, "The events are FD_ACCEPT and FD_CONNECT.")
        if network_events and (not isinstance(event, Event) or event.closed):
            raise WSAError(_E.WSAEINVAL, call, "There is no event object.")
        with self._network.engine.lock:
            if socket.state in (State.MOVED, State.CLOSED):
                raise WSAError(_E.WSAEINVAL, call)
            socket.selection.select(event, network_events)
            if socket.listener is not None and socket.listener.first() is not None:
                socket.selection.note(FD_ACCEPT)

    def WSPEnumNetworkEvents(self, s: int, event: Event | None = None) -> WSANETWORKEVENTS:
        """Fetch and clear the record, and reset the event, in one step (R-097 to R-104).

        Source: R:ff566284.
        """
        socket = self._socket(s, "WSPEnumNetworkEvents")
        with self._network.engine.lock:
            return socket.selection.take(event)

    # --- data -------------------------------------------------------------------------------------

    def WSPSend(
        self,
        s: int,
        buffers: Sequence[Buffer],
        flags: int = 0,
        overlapped: WSAOVERLAPPED | None = None,
    ) -> int | None:
        """Send one message (R-153 to R-177); always goes on after the call.

        Source: R:ff566316.
        """
        transfers.send(self._network, self._socket(s, "WSPSend"), buffers, flags, overlapped)
        return None

    def WSPRecv(
        self,
        s: int,
        buffers: Sequence[Buffer],
        flags: int = 0,
        overlapped: WSAOVERLAPPED | None = None,
    ) -> int | None:
        """Receive one message (R-153 to R-177); always goes on after the call.

        Source: R:ff566309.
        """
        transfers.receive(self._network, self._socket(s, "WSPRecv"), buffers, flags, overlapped)
        return None

    def WSPGetOverlappedResult(
        self, s: int, overlapped: WSAOVERLAPPED, wait: bool = False
    ) -> int | None:
        """The result of a request; polling makes progress (R-185 to R-194).

        Source: R:ff566288.
        """
        call = "WSPGetOverlappedResult"
        self._socket(s, call)
        if not isinstance(overlapped, WSAOVERLAPPED):
            raise WSAError(_E.WSAEINVAL, call, "It needs an overlapped record.")
        engine = self._network.engine
        if overlapped.in_progress:
            if wait:
                event = overlapped.hEvent
                if event is not None and not overlapped.polled and event.closed:
                    raise WSAError(_E.WSA_INVALID_HANDLE, call, "The event is closed.")
                engine.wait(lambda: not overlapped.in_progress)
            else:
                engine.progress()
        return overlapped.result()

    # --- memory and RDMA: the extension functions -------------------------------------------------

    def extension_function(self, guid: GUID) -> Any:
        """All seven functions; WSPRdmaRead can be taken away by fault injection (R-075)."""
        if guid == WSAID_RDMAREAD:
            self._check_rdma_read("WSPIoctl")
        return super().extension_function(guid)

    def _check_rdma_read(self, call: str) -> None:
        if self._faults.active(Fault.NO_RDMA_READ):
            raise WSAError(_E.WSAEOPNOTSUPP, call, "There is no WSPRdmaRead.")

    def WSPRegisterMemory(self, s: int, buffer: Buffer, access: int) -> int:
        """Make local memory usable for transfers on the socket (R-195 to R-201).

        Source: R:ff566311.
        """
        call = "WSPRegisterMemory"
        socket = self._socket(s, call)
        with self._network.engine.lock:
            socket.require(call)
            self._faults.check_room(call, Fault.NO_BUFFERS)
            return socket.memory.register(buffer, access)

    def WSPDeregisterMemory(self, s: int, handle: int) -> None:
        """End one registration (R-202 to R-204).

        Source: R:ff566279.
        """
        socket = self._socket(s, "WSPDeregisterMemory")
        with self._network.engine.lock:
            socket.memory.deregister(handle)

    def WSPRegisterRdmaMemory(
        self, s: int, buffer: Buffer, access: int, capacity: int | None = None
    ) -> bytes:
        """Let the peer read or write local memory (R-205 to R-209).

        Source: R:ff566313.
        """
        call = "WSPRegisterRdmaMemory"
        socket = self._socket(s, call)
        if capacity is not None and capacity < DESCRIPTOR_SIZE:
            raise WSAError.too_small(call, DESCRIPTOR_SIZE)
        with self._network.engine.lock:
            socket.require(call)
            self._faults.check_room(call, Fault.NO_BUFFERS)
            return socket.memory.expose(buffer, access)

    def WSPDeregisterRdmaMemory(self, s: int, descriptor: Buffer) -> None:
        """End one registration for the peer (R-215 to R-217).

        Source: R:ff566281.
        """
        socket = self._socket(s, "WSPDeregisterRdmaMemory")
        with self._network.engine.lock:
            socket.memory.conceal(descriptor)

    def WSPRdmaWrite(
        self,
        s: int,
        buffers: Sequence[WSABUFEX],
        descriptor: Buffer,
        offset: int = 0,
        flags: int = 0,
        overlapped: WSAOVERLAPPED | None = None,
    ) -> int | None:
        """Write local buffers into memory of the peer (R-227 to R-236).

        Source: R:ff566306.
        """
        socket = self._socket(s, "WSPRdmaWrite")
        transfers.rdma(
            self._network, socket, buffers, descriptor, offset, flags, overlapped, reads=False
        )
        return None

    def WSPRdmaRead(
        self,
        s: int,
        buffers: Sequence[WSABUFEX],
        descriptor: Buffer,
        offset: int = 0,
        flags: int = 0,
        overlapped: WSAOVERLAPPED | None = None,
    ) -> int | None:
        """Read memory of the peer into local buffers (R-227 to R-237).

        Source: R:ff566304.
        """
        socket = self._socket(s, "WSPRdmaRead")
        self._check_rdma_read("WSPRdmaRead")
        transfers.rdma(
            self._network, socket, buffers, descriptor, offset, flags, overlapped, reads=True
        )
        return None

    def WSPMemoryRegistrationCacheCallback(self, address: int, size: int) -> None:
        """Forget what is cached of memory that is about to be given up (R-221 to R-225).

        Source: R:ff566299.
        """
        self._faults.check_up("WSPMemoryRegistrationCacheCallback")
        with self._network.engine.lock:
            memories = [socket.memory for socket in self._sockets]
            self._network.cache.forget(memories, address, size)

    # --- options ----------------------------------------------------------------------------------

    def WSPGetSockOpt(self, s: int, level: int, option: int, size: int | None = None) -> Any:
        """The value of an option (R-060 to R-073).

        Source: R:ff566292.
        """
        return options.get_option(self._socket(s, "WSPGetSockOpt"), level, option, size)

    def WSPSetSockOpt(self, s: int, level: int, option: int, value: Any) -> None:
        """Set an option (R-059 to R-065).

        Source: R:ff566318.
        """
        call = "WSPSetSockOpt"
        socket = self._socket(s, call)
        if socket.state is State.BROKEN:
            lost = socket.error == _E.WSAENETRESET
            raise WSAError(_E.WSAENETRESET if lost else _E.WSAENOTCONN, call)
        options.set_option(socket, level, option, value)

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
        """Query or control (R-074 to R-087); finished when it returns.

        A completion routine is called with the result all the same, as Winsock does it.

        Source: R:ff566296.
        """
        call = "WSPIoctl"
        if code == SIO_GET_EXTENSION_FUNCTION_POINTER:
            self._faults.check_up(call)
            if not isinstance(in_buffer, GUID):
                raise WSAError(_E.WSAEFAULT, call, "It needs a GUID.")
            if out_size is not None and out_size < 8:
                raise WSAError.too_small(call, 8)
            return self.extension_function(in_buffer)
        socket = self._socket(s, call)
        network = self._network
        record = None if overlapped is None else check_record(overlapped, call)
        with network.engine.lock:
            result = options.query(network, socket, code, in_buffer, out_size)
            if record is not None:
                record.start()
                record.set_result(0)
                record.publish(options.result_size(code, len(network.addresses)))
                if completion_routine is not None:
                    routine = completion_routine
                    socket.upcalls.post(
                        network.upcalls.WPUQueueApc,
                        thread_id,
                        lambda context: routine(0, context, record, 0),
                        result,
                    )
                    network.engine.announce(socket.upcalls)
        return result

    def WSPGetQOSByName(self, s: int, name: str) -> QOS | list[str]:
        """A template of quality of service, or all their names (R-269).

        Source: R:ff566290.
        """
        self._socket(s, "WSPGetQOSByName")
        return by_name(name)
