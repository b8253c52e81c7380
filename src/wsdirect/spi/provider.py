"""ServiceProvider: the functions that a SAN service provider supplies.

The functions have the SPI's own names, and these rules in Python:

* Addresses are (host, port) tuples, buffers anything with the buffer protocol.
* What C writes through pointers is returned.  A failure raises `WSAError`.
* Where C has room for a result (optlen, cbOutBuffer, lpdwDescriptorLength) a caller may say how
  much there is; it is WSAEFAULT if that is too little, and the error's `required` tells what is
  needed.  None, the default, is "enough".
* None is the Python form of "goes on": WSPSend, WSPRecv and the RDMA functions return None for
  WSA_IO_PENDING, WSPGetOverlappedResult returns None for WSA_IO_INCOMPLETE.
* `s` is a descriptor of the provider's own; the handles of upcalls are the switch's.

Besides the errors listed with each function, all of them may raise WSAENETDOWN: the network
subsystem of the provider has failed.  None raises WSAEINPROGRESS, as there are no blocking calls.

A provider does no work before WSPStartupEx.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from wsdirect.spi.constants import SOMAXCONN, WSA_FLAG_OVERLAPPED
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.extensions import ExtensionFunctions
from wsdirect.spi.other_functions import OtherFunctions
from wsdirect.spi.structures import NULL_GUID, WSAPROTOCOL_INFOW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from typing_extensions import Buffer

    from wsdirect.spi.guid import GUID
    from wsdirect.spi.overlapped import WSAOVERLAPPED, Event
    from wsdirect.spi.structures import QOS, WSANETWORKEVENTS, WSPDATA, Address, ConditionProc
    from wsdirect.spi.upcalls import UpcallTable

__all__ = ["ServiceProvider"]


class ServiceProvider(ExtensionFunctions, OtherFunctions, ABC):
    """Abstract base of all service providers.

    Attributes:
        name: Short name, as in the catalogue.
        provider_id: GUID of the provider.
    """

    name: str = ""
    provider_id: GUID = NULL_GUID

    @property
    def protocol_info(self) -> WSAPROTOCOL_INFOW:
        """What the catalogue says about the provider; a SAN of this name unless overridden."""
        return WSAPROTOCOL_INFOW(self.name, self.provider_id)

    # --- life of the provider -------------------------------------------------------------------

    @abstractmethod
    def WSPStartupEx(
        self, version_requested: int, protocol_info: WSAPROTOCOL_INFOW, upcalls: UpcallTable
    ) -> WSPDATA:
        """Start the provider, or count one more user; WSPCleanup is its counterpart.

        Args:
            version_requested: Highest version that the caller can use, see `make_version`.
            protocol_info: The TCP/IP provider's entry: the sign that the switch is calling.
            upcalls: What the provider may call.  The table of the latest call counts.

        Returns:
            The version to use and a description.

        Errors:
            WSAEPROCLIM: no more processes can be served.
            WSASYSNOTREADY: the network subsystem is not ready.
            WSAVERNOTSUPPORTED: the version is too old.

        Source: R:ff566321.
        """

    @abstractmethod
    def WSPCleanup(self) -> None:
        """Undo one WSPStartupEx; the last one ends all requests and closes all sockets.

        Errors:
            WSANOTINITIALISED: there was no WSPStartupEx.
            WSAENETDOWN: the network subsystem has failed.

        Source: R:ff566270.
        """

    # --- life of a socket -----------------------------------------------------------------------

    @abstractmethod
    def WSPSocket(
        self,
        af: int,
        type: int,
        protocol: int,
        protocol_info: WSAPROTOCOL_INFOW | None = None,
        group: int = 0,
        flags: int = WSA_FLAG_OVERLAPPED,
    ) -> int:
        """Make a socket, or take over one that another process has duplicated.

        Gets a handle from WPUCreateSocketHandle for the upcalls.

        Args:
            af: AF_INET.
            type: SOCK_STREAM.
            protocol: IPPROTO_TCP.
            protocol_info: Its dwCatalogEntryId is passed on to WPUCreateSocketHandle; a
                dwProviderReserved other than 0 comes from WSPDuplicateSocket.
            group: 0; with quality of service also the number of a group to join, or
                SG_UNCONSTRAINED_GROUP or SG_CONSTRAINED_GROUP for a new one.
            flags: WSA_FLAG_OVERLAPPED.

        Returns:
            The descriptor: not -1, and not used again before WSPCloseSocket.

        Errors:
            WSAEAFNOSUPPORT: the address family is not supported.
            WSAEINVAL: invalid group, or nothing was duplicated under that number.
            WSAEMFILE: no more descriptors.
            WSAENOBUFS: no more room.
            WSAEPROTONOSUPPORT: the protocol is not supported.
            WSAEPROTOTYPE: the protocol does not fit the type.
            WSAESOCKTNOSUPPORT: the type is not supported.

        Source: R:ff566319.
        """

    @abstractmethod
    def WSPCloseSocket(self, s: int) -> None:
        """Close at once: graceful endings are the switch's business.

        Pending requests end with WSA_OPERATION_ABORTED, the peer's with WSAECONNRESET.  Then comes
        WPUCloseSocketHandle, as the last upcall.

        Args:
            s: Descriptor.

        Errors:
            WSAENOTSOCK: s is not a socket.

        Source: R:ff566273.
        """

    @abstractmethod
    def WSPDuplicateSocket(self, s: int, process_id: int) -> WSAPROTOCOL_INFOW:
        """Prepare a listening or connected socket for use in another process.

        Pending receives end with success and 0 bytes.  The old descriptor stays, idle, until
        WSPCloseSocket.

        Args:
            s: Descriptor; the switch has nothing but receives pending on it.
            process_id: The only process that may take it over, once.

        Returns:
            For that process's WSPSocket; dwProviderReserved (32 bits) names the socket.

        Errors:
            WSAEINVAL: invalid process, or not in this state.
            WSAEMFILE: no more descriptors.
            WSAENOBUFS: no more room.
            WSAENOTSOCK: s is not a socket.

        Source: R:ff566282.
        """

    # --- connections ----------------------------------------------------------------------------

    @abstractmethod
    def WSPBind(self, s: int, address: Address) -> None:
        """Give the socket its local address.

        Several sockets may have the same one: who may reuse an address is decided above.

        Args:
            s: Descriptor.
            address: An address of this provider, or "0.0.0.0" for all of them; with a port.

        Errors:
            WSAEADDRNOTAVAIL: not an address of this provider.
            WSAEFAULT: not an IPv4 address.
            WSAEINVAL: already bound.
            WSAENOBUFS: no more room.
            WSAENOTSOCK: s is not a socket.

        Source: R:ff566268.
        """

    @abstractmethod
    def WSPConnect(
        self,
        s: int,
        address: Address,
        caller_data: Buffer | None = None,
        callee_data: bytearray | None = None,
        sqos: QOS | None = None,
        gqos: QOS | None = None,
    ) -> None:
        """Connect a bound socket; returns if that is done already.

        WSPEventSelect came before, so it never waits: usually it raises WSAEWOULDBLOCK, and
        FD_CONNECT tells the outcome.  WSAECONNREFUSED, WSAECONNRESET and WSAEHOSTUNREACH promise
        that TCP/IP would fail as well; a provider that is not certain of it says something else.

        Args:
            s: Descriptor.
            address: Of the peer, as an IP address.
            caller_data: User data for the peer's condition function; the switch sends none.
            callee_data: Takes the data that the condition function answers with, in place of
                what was in it, before the connect is announced.
            sqos: Quality of service asked for.
            gqos: Reserved.

        Errors:
            WSAEWOULDBLOCK: the connect goes on.
            WSAEADDRNOTAVAIL: the address cannot be reached on this SAN.
            WSAEALREADY: a connect is under way.
            WSAECONNREFUSED: the peer refused, or its queue is full.
            WSAECONNRESET: nobody listens there.
            WSAEHOSTUNREACH: the address does not exist.
            WSAEINVAL: not bound, or listening.
            WSAEISCONN: connected.
            WSAENOBUFS: no more room, or more data than can go with a connect.
            WSAENOTSOCK: s is not a socket.
            WSAEOPNOTSUPP: quality of service is not supported.
            WSAEPROTONOSUPPORT: data with the connect are not supported.
            WSAETIMEDOUT: no answer, or a peer without WSD.

        Source: R:ff566275; C:initiating-a-connection.
        """

    @abstractmethod
    def WSPListen(self, s: int, backlog: int = SOMAXCONN) -> None:
        """Take connection requests from now on.

        A request that finds the queue full is refused and raises no event.

        Args:
            s: Descriptor of a bound socket.
            backlog: Longest queue; SOMAXCONN leaves it to the provider.

        Errors:
            WSAEINVAL: not bound.
            WSAEISCONN: connected.
            WSAEMFILE: no more descriptors.
            WSAENOBUFS: no more room.
            WSAENOTSOCK: s is not a socket.

        Source: R:ff566297.
        """

    @abstractmethod
    def WSPAccept(
        self, s: int, condition: ConditionProc | None = None, callback_data: Any = None
    ) -> tuple[int, Address]:
        """Take the first queued connection request.

        Args:
            s: Descriptor of a listening socket.
            condition: Called once with an `AcceptRequest`, in this thread, before the peer hears
                anything; answers CF_ACCEPT, CF_REJECT or CF_DEFER.  No function accepts.
            callback_data: Passed on to it.

        Returns:
            Descriptor of the new, connected socket, and the address of the peer.

        Errors:
            WSAECONNREFUSED: CF_REJECT; the peer has been told.
            WSAEINVAL: not listening, or an invalid answer.
            WSAEMFILE: no more descriptors; the request stays queued.
            WSAENOBUFS: no more room.
            WSAENOTSOCK: s is not a socket.
            WSAEWOULDBLOCK: no request is queued.
            WSATRY_AGAIN: CF_DEFER; the request stays queued.

        Source: R:ff566266; C:accepting-connection-requests.
        """

    # --- events ---------------------------------------------------------------------------------

    @abstractmethod
    def WSPEventSelect(self, s: int, event: Event | None, network_events: int) -> None:
        """Choose the event that announces connection requests and finished connects.

        Replaces the earlier choice.  Makes WSPConnect and WSPAccept non-blocking for good.  What
        is already true is announced at once.

        Args:
            s: Descriptor.
            event: Set, never closed, by the provider.  May be None if `network_events` is 0.
            network_events: FD_ACCEPT, FD_CONNECT, both, or 0 for nothing any more.

        Errors:
            WSAEINVAL: other events, no event object, or not in this state.
            WSAENOTSOCK: s is not a socket.

        Source: R:ff566287.
        """

    @abstractmethod
    def WSPEnumNetworkEvents(self, s: int, event: Event | None = None) -> WSANETWORKEVENTS:
        """What has happened since the last call; clears the record and resets the event.

        Args:
            s: Descriptor.
            event: The event to reset together with the record, or None.

        Returns:
            The events and their outcomes; none at all is a valid answer.

        Errors:
            WSAEINVAL: a parameter is invalid.
            WSAENOTSOCK: s is not a socket.

        Source: R:ff566284.
        """

    # --- data -----------------------------------------------------------------------------------

    @abstractmethod
    def WSPSend(
        self,
        s: int,
        buffers: Sequence[Buffer],
        flags: int = 0,
        overlapped: WSAOVERLAPPED | None = None,
    ) -> int | None:
        """Send the buffers, one after the other, as one message.

        The sequence may be changed as soon as the call returns, the buffers when the request has
        finished.  Messages arrive in the order of the calls, one in each receive of the peer.

        Args:
            s: Descriptor of a connected socket.
            buffers: Parts of memory registered with WSPRegisterMemory.
            flags: 0.
            overlapped: Record of the request.  A SAN needs it.

        Returns:
            Bytes sent if it has finished, None if it goes on (WSA_IO_PENDING).  None is the usual
            answer; only then is the end announced, and never before the record was set up.

        Errors:
            WSAECONNABORTED: the connection is broken.
            WSAECONNRESET: the peer has closed the connection.
            WSAEFAULT: a buffer is not in registered memory.
            WSAEINVAL: no overlapped record, or it is in use.
            WSAEMSGSIZE: more bytes than SO_MAX_MSG_SIZE.
            WSAENOTCONN: never connected.
            WSAENOTSOCK: s is not a socket.
            WSAEOPNOTSUPP: flags are not supported.
            WSAEWOULDBLOCK: too many requests at once; at least 16 are possible.

        Source: R:ff566316.
        """

    @abstractmethod
    def WSPRecv(
        self,
        s: int,
        buffers: Sequence[Buffer],
        flags: int = 0,
        overlapped: WSAOVERLAPPED | None = None,
    ) -> int | None:
        """Receive one message into the buffers, filling one after the other.

        Requests are served in order.  A message that arrives before there is a request waits.

        Args:
            s: Descriptor of a connected socket.
            buffers: Writable parts of memory registered with WSPRegisterMemory.
            flags: 0; resulting flags are in `overlapped.Offset`.
            overlapped: Record of the request.  A SAN needs it.

        Returns:
            Length of the message in bytes if it has finished, None if it goes on (WSA_IO_PENDING).

        Errors:
            WSAEMSGSIZE: the result if the message was longer; the connection is then broken.
            WSAENETRESET: keep-alive found the connection broken.
            Otherwise as for WSPSend.

        Source: R:ff566309.
        """

    @abstractmethod
    def WSPGetOverlappedResult(
        self, s: int, overlapped: WSAOVERLAPPED, wait: bool = False
    ) -> int | None:
        """How a request ended, if it has; also what makes polled requests progress.

        Cheap, for any thread, as often as wanted.  The resulting flags are `overlapped.Offset`.

        Args:
            s: Descriptor that the request was made on.
            overlapped: Its record.
            wait: Wait for the end.

        Returns:
            Bytes transferred, or None if it is still going on (WSA_IO_INCOMPLETE).

        Errors:
            The error that the request ended with.
            WSAEINVAL: a parameter is invalid.
            WSAENOTSOCK: s is not a socket.
            WSA_INVALID_HANDLE: waiting for an event that is not valid.

        Source: R:ff566288; R:ff565952.
        """

    # --- options --------------------------------------------------------------------------------

    @abstractmethod
    def WSPGetSockOpt(self, s: int, level: int, option: int, size: int | None = None) -> Any:
        """The value of an option.

        Args:
            s: Descriptor, in any state.
            level: SOL_SOCKET; IPPROTO_TCP for TCP_NODELAY.
            option: A `SocketOption`: SO_MAX_MSG_SIZE, SO_MAX_RDMA_SIZE and SO_RDMA_THRESHOLD_SIZE
                are in bytes, 0xFFFFFFFF is "no limit".
            size: Room for the value in bytes (optlen); options of SANs need four.

        Returns:
            The value, an int for the options of SANs.

        Errors:
            WSAEFAULT: too little room.
            WSAEINVAL: unknown level.
            WSAENOPROTOOPT: unknown option.
            WSAENOTSOCK: s is not a socket.

        Source: R:ff566292.
        """

    @abstractmethod
    def WSPSetSockOpt(self, s: int, level: int, option: int, value: Any) -> None:
        """Set an option; the switch gives a socket up to TCP/IP if that fails.

        Args:
            s: Descriptor.
            level: SOL_SOCKET; IPPROTO_TCP for TCP_NODELAY.
            option: A `SocketOption` or `TcpOption`.
            value: The new value: an int, or its bytes in memory.

        Errors:
            WSAEFAULT: too few bytes, or nothing that could be a value.
            WSAEINVAL: unknown level, or invalid value.
            WSAENETRESET: keep-alive found the connection broken.
            WSAENOPROTOOPT: unknown option.
            WSAENOTCONN: the connection was reset.
            WSAENOTSOCK: s is not a socket.

        Source: R:ff566318.
        """

    @abstractmethod
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
        """Query or control; what goes in and out depends on the code.

        | code                               | in_buffer | returns                               |
        | ---------------------------------- | --------- | ------------------------------------- |
        | SIO_GET_EXTENSION_FUNCTION_POINTER | a GUID    | the function: `extension_function`    |
        | SIO_ADDRESS_LIST_QUERY             |           | addresses of this provider: a list of |
        |                                    |           | (host, 0)                             |
        | SIO_GET_QOS, SIO_GET_GROUP_QOS     |           | a `QOS`                               |
        | SIO_SET_QOS, SIO_SET_GROUP_QOS     | a `QOS`   | None                                  |

        Args:
            s: Descriptor, in any state.  SIO_GET_EXTENSION_FUNCTION_POINTER does not look at it.
            code: An `IoctlCode`.
            in_buffer: See above.
            out_size: Room for the result in bytes, as large as the C structures would be.
            overlapped: Record of the request if it may go on after the call.
            completion_routine: With `overlapped`: called in the thread `thread_id` by way of
                WPUQueueApc as routine(error, result, overlapped, flags).
            thread_id: `threading.get_ident()` of that thread.

        Errors:
            WSAEFAULT: too little room, or an in_buffer that is not what the code needs.
            WSAEINVAL: unknown code, or not the value it needs.
            WSAENOTSOCK: s is not a socket.
            WSAEOPNOTSUPP: the provider cannot do it, or has no such function.

        Source: R:ff566296.
        """

    def WSPGetQOSByName(self, s: int, name: str) -> QOS | list[str]:
        """A named template of quality of service; this base has none.

        Args:
            s: Descriptor.
            name: Name of the template; an empty one asks for the names.

        Returns:
            The template, or all names.

        Errors:
            WSAEINVAL: unknown name.
            WSAENOTSOCK: s is not a socket.
            WSAEOPNOTSUPP: the provider has no quality of service.

        Source: R:ff566290.
        """
        raise WSAError(WsaErrorCode.WSAEOPNOTSUPP, "WSPGetQOSByName")
