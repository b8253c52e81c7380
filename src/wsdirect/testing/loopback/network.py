"""The network: who listens where, and what becomes of connection requests.

Everything here runs under the engine's lock, unless it says otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsdirect.locality import tcp_listens
from wsdirect.providers.qos import Groups, mirrored
from wsdirect.providers.socket_table import SocketTable, State, Step
from wsdirect.spi.constants import FD_ACCEPT
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.testing.faults import Fault
from wsdirect.testing.loopback.connections import join
from wsdirect.testing.loopback.engine import Engine
from wsdirect.testing.loopback.faults import LoopbackFaults
from wsdirect.testing.loopback.handover import Handovers
from wsdirect.testing.loopback.limits import ADDRESSES, BACKLOG_MAX
from wsdirect.testing.loopback.memory import MemoryCache, SocketMemory
from wsdirect.testing.loopback.sockets import LoopbackSocket

if TYPE_CHECKING:
    from wsdirect.spi.structures import QOS, Address

__all__ = ["WILDCARD", "ConnectRequest", "Listener", "Network"]

WILDCARD = "0.0.0.0"
_E = WsaErrorCode


class ConnectRequest:
    """A connect that has no outcome yet.

    Attributes:
        client: The connecting socket, until there is an outcome.
        destination: Where it wants to.
        caller_data: User data for the condition function; None if there is none.
        callee_data: Where the answer's user data go, or None.
        sqos: Quality of service asked for, as the acceptor sees it.
        gqos: The same for the group.
        listener: Where it is queued.
        taken: A WSPAccept is busy with it.
        deferred: A condition function has put it off.
    """

    def __init__(
        self,
        client: LoopbackSocket,
        destination: Address,
        caller_data: bytes | None = None,
        callee_data: bytearray | None = None,
        sqos: QOS | None = None,
        gqos: QOS | None = None,
    ) -> None:
        self.client = client
        self.destination = destination
        self.caller_data = caller_data
        self.callee_data = callee_data
        self.sqos = sqos and mirrored(sqos)
        self.gqos = gqos and mirrored(gqos)
        self.listener: Listener | None = None
        self.taken = False
        self.deferred = False

    @property
    def open(self) -> bool:
        """Whether the client still waits for an outcome."""
        return self.client.connecting is self

    def leave(self) -> None:
        """Leave the queue of the listener."""
        if self.listener is not None:
            self.listener.queue.remove(self)
            self.listener = None

    def fail(self, code: int) -> None:
        """The connect has come to nothing: tell the client why."""
        self.leave()
        client = self.client
        client.connecting = None
        client.step(Step.FAIL)
        if client.service is not None:
            client.service.free()
        client.selection.connected(code)

    def withdraw(self) -> None:
        """The client is being closed: nobody is to hear of the request any more (R-120, R-121)."""
        self.leave()
        self.client.connecting = None

    def succeed(self, network: Network, accepted: LoopbackSocket, answer: bytes) -> None:
        """The acceptor has accepted: from here on both sockets are connected (R-138)."""
        self.leave()
        client = self.client
        client.connecting = None
        join(network, client, accepted)
        if self.callee_data is not None:
            try:
                self.callee_data[:] = answer
            except BufferError:  # its owner has it pinned at another length: as much as fits
                size = min(len(self.callee_data), len(answer))
                self.callee_data[:size] = answer[:size]
        client.selection.connected(0)


class Listener:
    """What makes a socket a listening one.

    Attributes:
        socket: The socket; None while it is handed over.
        address: Where it listens.
        backlog: How many requests may wait.
        queue: Requests that wait, in order, those that a WSPAccept is busy with included.
    """

    def __init__(self, socket: LoopbackSocket, address: Address, backlog: int) -> None:
        self.socket: LoopbackSocket | None = socket
        self.address = address
        self.queue: list[ConnectRequest] = []
        self.set_backlog(backlog)

    def set_backlog(self, backlog: int) -> None:
        """Change how many requests may wait; requests that do wait stay."""
        self.backlog = min(max(backlog, 1), BACKLOG_MAX)

    def takes(self, request: ConnectRequest) -> bool:
        """Queue a request and tell FD_ACCEPT; False if there is no room (R-128 to R-132)."""
        if len(self.queue) >= self.backlog:
            return False
        self.queue.append(request)
        request.listener = self
        if self.socket is not None:
            self.socket.selection.note(FD_ACCEPT)
        return True

    def first(self) -> ConnectRequest | None:
        """The first request that nobody is busy with."""
        return next((request for request in self.queue if not request.taken), None)

    def announce_again(self) -> None:
        """After a WSPAccept: tell of those that wait (R-146), but not of a deferred one (R-148)."""
        if self.socket is not None and any(
            not request.taken and not request.deferred for request in self.queue
        ):
            self.socket.selection.note(FD_ACCEPT)

    def close(self) -> None:
        """Refuse everybody who waits (R-248)."""
        for request in list(self.queue):
            request.fail(_E.WSAECONNREFUSED)


class Network:
    """All that a provider knows.

    Attributes:
        engine: The queue of actions, and the lock.
        sockets: All sockets by descriptor.
        listeners: All listeners, the oldest first.
        handovers: Sockets on their way to a process.
        groups: Socket groups.
        cache: The registration cache.
        faults: Fault injection.
        upcalls: The switch's upcalls, from the latest WSPStartupEx.
    """

    def __init__(self) -> None:
        self.engine = Engine()
        self.sockets: SocketTable[LoopbackSocket] = SocketTable()
        self.listeners: list[Listener] = []
        self.handovers = Handovers()
        self.groups = Groups()
        self.cache = MemoryCache()
        self.faults = LoopbackFaults(self)
        self.upcalls: Any = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of the network adapters, as they are now (R-081, R-082)."""
        if self.faults.active(Fault.NO_ADDRESSES):
            return ()
        if self.faults.active(Fault.ADDRESSES):
            return ("127.0.0.2", "127.0.0.3")
        return ADDRESSES

    def new_socket(self, catalog_id: int) -> LoopbackSocket:
        """A socket that nobody knows yet."""
        return LoopbackSocket(SocketMemory(self.cache), catalog_id)

    def admit(self, socket: LoopbackSocket) -> None:
        """Give a socket its descriptor, and its handle from the switch; without the lock.

        Errors:
            What WPUCreateSocketHandle raises; the socket then has neither (R-043).
        """
        descriptor = self.sockets.add(socket)
        try:
            socket.handle = self.upcalls.WPUCreateSocketHandle(socket.catalog_id, descriptor)
        except BaseException:
            self.sockets.take(descriptor, "WSPSocket")
            raise

    def dismiss(self, socket: LoopbackSocket) -> None:
        """Undo `admit`; without the lock."""
        self.sockets.take(socket.descriptor, "WSPSocket")
        self.groups.leave(socket.service)
        self.upcalls.WPUCloseSocketHandle(socket.handle)

    # --- connection requests ----------------------------------------------------------------------

    def arrive(self, request: ConnectRequest) -> None:
        """A connection request reaches its destination (R-109 to R-114)."""
        if not request.open:
            return
        outcome = self._judge(request)
        if outcome:
            request.fail(outcome)

    def _judge(self, request: ConnectRequest) -> int:
        """Queue the request, and answer 0; or why not."""
        code = self.faults.unreached()
        if code:
            return code
        listener = self._listener(request.destination)
        if listener is None:
            # WSAECONNRESET keeps the switch from trying TCP/IP, so TCP/IP must not do better.
            host_listens = tcp_listens(request.destination[1])
            return _E.WSAETIMEDOUT if host_listens else _E.WSAECONNRESET
        return 0 if listener.takes(request) else _E.WSAECONNREFUSED

    def _listener(self, destination: Address) -> Listener | None:
        host, port = destination
        for wanted in (host, WILDCARD):
            for listener in self.listeners:
                if listener.address == (wanted, port):
                    return listener
        return None

    # --- ends -------------------------------------------------------------------------------------

    def close_socket(self, s: int, call: str) -> None:
        """WSPCloseSocket; without the lock.

        Errors:
            WSAENOTSOCK: s is not a socket.
        """
        with self.engine.lock:
            socket = self.sockets.take(s, call)
            socket.step(Step.CLOSE)
            socket.selection.select(None, 0)
            if socket.connecting is not None:
                socket.connecting.withdraw()
            self._drop(socket)
            socket.memory.clear()
            self.groups.leave(socket.service)
            socket.upcalls.post(self.upcalls.WPUCloseSocketHandle, socket.handle)
        # Behind the announcements that wait, and behind one that is being made now.
        self.engine.tell(socket.upcalls)

    def _drop(self, socket: LoopbackSocket) -> None:
        """End the listener or the connection of a socket, unless another socket has it now."""
        listener, end = socket.listener, socket.end
        if listener is not None and listener.socket is socket:
            self.listeners.remove(listener)
            listener.close()
        if end is not None and end.socket is socket:
            end.close()

    def close(self) -> None:
        """End everything: the last WSPCleanup; without the lock."""
        for socket in self.sockets:
            try:
                self.close_socket(socket.descriptor, "WSPCleanup")
            except WSAError:  # another thread was faster
                pass
        with self.engine.lock:
            for parcel in self.handovers.take_all():
                if parcel.listener is not None:
                    self.listeners.remove(parcel.listener)
                    parcel.listener.close()
                if parcel.end is not None:
                    parcel.end.close()
            self.cache.clear()
        self.engine.stop()

    def connected_sockets(self) -> list[LoopbackSocket]:
        """All sockets with a connection that is not broken."""
        return [socket for socket in self.sockets if socket.state is State.CONNECTED]

    def after_fork_in_child(self) -> None:
        """Nothing of this is the child's: it begins with an empty network (R-272)."""
        self.engine.abandon()
        self.engine = Engine()
        self.sockets.clear()
        self.listeners.clear()
        self.handovers = Handovers()
        self.groups.reset()
        self.cache = MemoryCache()
