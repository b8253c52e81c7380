"""The SPI's structures as Python values.

Members keep the names of the Windows headers.  Three structures need no class of their own:

* WSABUF, one buffer of a send or receive, is anything with the buffer protocol.
* SOCKET_ADDRESS_LIST is a list of addresses.
* sockaddr_in is an `Address`, the (host, port) tuple of the `socket` module.

Sizes and offsets of all of them in memory are in `wsdirect.spi.layout`.
"""

from __future__ import annotations

from wsdirect.spi import constants
from wsdirect.spi.guid import GUID as GUID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    from typing_extensions import Buffer

    WSABUF: TypeAlias = Buffer
else:
    WSABUF = object  # before Python 3.12 there is no class for the buffer protocol

__all__ = [
    "FLOWSPEC",
    "GUID",
    "LINGER",
    "NULL_GUID",
    "QOS",
    "SOCKET_ADDRESS_LIST",
    "WSABUF",
    "WSABUFEX",
    "WSANETWORKEVENTS",
    "WSAPROTOCOL_INFOW",
    "WSPDATA",
    "AcceptRequest",
    "Address",
    "ConditionProc",
    "make_version",
]

Address = tuple[str, int]
SOCKET_ADDRESS_LIST = list[Address]
NULL_GUID = GUID(bytes_le=bytes(16))


def make_version(major: int, minor: int) -> int:
    """A version as WSPStartupEx takes it: `make_version(2, 2)` is 0x0202.

    Source: R:ff566321.
    """
    return major | minor << 8


class _Structure:
    """Comparison and display by members."""

    __slots__: tuple[str, ...] = ()

    def _members(self) -> list[tuple[str, object]]:
        return [(name, getattr(self, name)) for name in self.__slots__]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Structure) or type(self) is not type(other):
            return NotImplemented
        return self._members() == other._members()

    # Members can be assigned, so equal values may not stay equal.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        members = ", ".join(f"{name}={value!r}" for name, value in self._members())
        return f"{type(self).__name__}({members})"


class WSPDATA(_Structure):
    """What WSPStartupEx tells about the provider.

    Args:
        wVersion: The version that the caller is to use; see `make_version`.
        szDescription: One line of text, at most 255 characters.
        wHighVersion: Not used by the switch; the same as wVersion if left out.

    Source: R:ff566278.
    """

    __slots__ = ("szDescription", "wHighVersion", "wVersion")

    def __init__(
        self, wVersion: int, szDescription: str = "", wHighVersion: int | None = None
    ) -> None:
        if len(szDescription) > constants.WSPDESCRIPTION_LEN:
            raise ValueError(
                f"szDescription has more than {constants.WSPDESCRIPTION_LEN} characters"
            )
        self.wVersion = wVersion
        self.wHighVersion = wVersion if wHighVersion is None else wHighVersion
        self.szDescription = szDescription


class WSAPROTOCOL_INFOW(_Structure):
    """A catalogue entry: what a provider is and does.

    The defaults are those of a SAN provider: hidden from applications, one reliable ordered
    message transport for IPv4 TCP sockets.

    Args:
        szProtocol: Name of the protocol, at most 255 characters.
        ProviderId: GUID of the provider.
        dwServiceFlags1: `ServiceFlag` bits.
        dwProviderFlags: `ProviderFlag` bits.
        dwCatalogEntryId: Number of the entry in the catalogue.
        ProtocolChain: Catalogue numbers of the layers; one element if it is not layered.
        iVersion: Version of the protocol.
        iAddressFamily: AF_INET.
        iMaxSockAddr: Longest address in bytes.
        iMinSockAddr: Shortest address in bytes.
        iSocketType: SOCK_STREAM.
        iProtocol: IPPROTO_TCP.
        iProtocolMaxOffset: How many protocol numbers after iProtocol mean the same.
        iNetworkByteOrder: 0 for big endian.
        iSecurityScheme: 0 for none.
        dwMessageSize: Longest message in bytes; 0xFFFFFFFF for no limit.
        dwProviderReserved: 0, or the number by which WSPSocket finds a duplicated socket.

    Source: R:ff565963; H:winsock2.h.
    """

    __slots__ = (
        "ProtocolChain",
        "ProviderId",
        "dwCatalogEntryId",
        "dwMessageSize",
        "dwProviderFlags",
        "dwProviderReserved",
        "dwServiceFlags1",
        "dwServiceFlags2",
        "dwServiceFlags3",
        "dwServiceFlags4",
        "iAddressFamily",
        "iMaxSockAddr",
        "iMinSockAddr",
        "iNetworkByteOrder",
        "iProtocol",
        "iProtocolMaxOffset",
        "iSecurityScheme",
        "iSocketType",
        "iVersion",
        "szProtocol",
    )

    def __init__(
        self,
        szProtocol: str = "",
        ProviderId: GUID = NULL_GUID,
        *,
        dwServiceFlags1: int = (
            constants.XP1_GUARANTEED_DELIVERY
            | constants.XP1_GUARANTEED_ORDER
            | constants.XP1_MESSAGE_ORIENTED
            | constants.XP1_GRACEFUL_CLOSE
        ),
        dwProviderFlags: int = constants.PFL_HIDDEN,
        dwCatalogEntryId: int = 0,
        ProtocolChain: Sequence[int] = (0,),
        iVersion: int = 2,
        iAddressFamily: int = constants.AF_INET,
        iMaxSockAddr: int = 16,
        iMinSockAddr: int = 16,
        iSocketType: int = constants.SOCK_STREAM,
        iProtocol: int = constants.IPPROTO_TCP,
        iProtocolMaxOffset: int = 0,
        iNetworkByteOrder: int = 0,
        iSecurityScheme: int = 0,
        dwMessageSize: int = 0xFFFFFFFF,
        dwProviderReserved: int = 0,
    ) -> None:
        if len(szProtocol) > constants.WSAPROTOCOL_LEN:
            raise ValueError(f"szProtocol has more than {constants.WSAPROTOCOL_LEN} characters")
        if len(ProtocolChain) > constants.MAX_PROTOCOL_CHAIN:
            raise ValueError(f"ProtocolChain has more than {constants.MAX_PROTOCOL_CHAIN} entries")
        self.szProtocol = szProtocol
        self.ProviderId = ProviderId
        self.dwServiceFlags1 = int(dwServiceFlags1)
        # Reserved by Winsock for later, and still reserved.
        self.dwServiceFlags2 = 0
        self.dwServiceFlags3 = 0
        self.dwServiceFlags4 = 0
        self.dwProviderFlags = int(dwProviderFlags)
        self.dwCatalogEntryId = dwCatalogEntryId
        self.ProtocolChain = tuple(ProtocolChain)
        self.iVersion = iVersion
        self.iAddressFamily = iAddressFamily
        self.iMaxSockAddr = iMaxSockAddr
        self.iMinSockAddr = iMinSockAddr
        self.iSocketType = iSocketType
        self.iProtocol = int(iProtocol)
        self.iProtocolMaxOffset = iProtocolMaxOffset
        self.iNetworkByteOrder = iNetworkByteOrder
        self.iSecurityScheme = iSecurityScheme
        self.dwMessageSize = dwMessageSize
        self.dwProviderReserved = dwProviderReserved

    def replace(self, **changes: Any) -> WSAPROTOCOL_INFOW:
        """A copy with some members changed."""
        copy = WSAPROTOCOL_INFOW()
        for name, value in self._members():
            setattr(copy, name, changes.pop(name, value))
        if changes:
            raise TypeError(f"WSAPROTOCOL_INFOW has no member {next(iter(changes))!r}")
        return copy


class WSABUFEX(tuple["Buffer", int]):
    """A local buffer of an RDMA transfer: a (buffer, handle) pair.

    Args:
        buf: Anything with the buffer protocol, writable for WSPRdmaRead.
        handle: What WSPRegisterMemory returned for memory that contains it.

    Source: R:ff565947.
    """

    __slots__ = ()

    def __new__(cls, buf: WSABUF, handle: int) -> WSABUFEX:  # noqa: D102
        return super().__new__(cls, (buf, handle))

    def __getnewargs__(self) -> tuple[WSABUF, int]:
        return self[0], self[1]

    @property
    def buf(self) -> WSABUF:
        """The buffer."""
        return self[0]

    @property
    def handle(self) -> int:
        """The handle of its registration."""
        return self[1]

    def __repr__(self) -> str:
        return f"WSABUFEX(buf={self[0]!r}, handle={self[1]!r})"


class LINGER(tuple[int, int]):
    """What closing does with unsent data: a (l_onoff, l_linger) pair, the value of SO_LINGER.

    Args:
        l_onoff: 0: closing returns at once and the data go out behind it.
        l_linger: With l_onoff: seconds to wait for that; 0 resets the connection.

    Source: H:winsock2.h.
    """

    __slots__ = ()

    def __new__(cls, l_onoff: int = 0, l_linger: int = 0) -> LINGER:  # noqa: D102
        return super().__new__(cls, (l_onoff, l_linger))

    def __getnewargs__(self) -> tuple[int, int]:
        return self[0], self[1]

    @property
    def l_onoff(self) -> int:
        """Whether closing waits, or resets."""
        return self[0]

    @property
    def l_linger(self) -> int:
        """Seconds."""
        return self[1]

    def __repr__(self) -> str:
        return f"LINGER(l_onoff={self[0]}, l_linger={self[1]})"


class WSANETWORKEVENTS(_Structure):
    """Network events that have happened on a socket, and how each ended.

    A provider keeps one per socket as its record, and WSPEnumNetworkEvents hands out what is in
    it.  There is no locking here.

    Args:
        lNetworkEvents: `NetworkEvent` bits.
        iErrorCode: Ten Winsock codes by bit number; 0 is success.  Only the slots of set bits
            mean anything.

    Source: R:ff566284; R:ff566287.
    """

    __slots__ = ("iErrorCode", "lNetworkEvents")

    def __init__(self, lNetworkEvents: int = 0, iErrorCode: Sequence[int] | None = None) -> None:
        codes = [0] * constants.FD_MAX_EVENTS if iErrorCode is None else list(iErrorCode)
        if len(codes) != constants.FD_MAX_EVENTS:
            raise ValueError(f"iErrorCode has {constants.FD_MAX_EVENTS} slots")
        self.lNetworkEvents = int(lNetworkEvents)
        self.iErrorCode = codes

    def record(self, event: int, error: int = 0) -> None:
        """Note that one event (a single `NetworkEvent` bit) happened, with this outcome."""
        self.lNetworkEvents |= int(event)
        self.iErrorCode[int(event).bit_length() - 1] = int(error)

    def error(self, event: int) -> int:
        """The outcome of one event: 0 or a Winsock code."""
        return self.iErrorCode[int(event).bit_length() - 1]

    def take(self) -> WSANETWORKEVENTS:
        """A copy of the record, which is empty afterwards."""
        taken = WSANETWORKEVENTS(self.lNetworkEvents, self.iErrorCode)
        self.lNetworkEvents = 0
        self.iErrorCode = [0] * constants.FD_MAX_EVENTS
        return taken


class FLOWSPEC(_Structure):
    """Quality of service in one direction; QOS_NOT_SPECIFIED leaves a member open.

    Args:
        TokenRate: Mean rate, bytes per second.
        TokenBucketSize: Largest burst, bytes.
        PeakBandwidth: Highest rate, bytes per second.
        Latency: Longest delay, microseconds.
        DelayVariation: Difference of longest and shortest delay, microseconds.
        ServiceType: A `ServiceType`.
        MaxSduSize: Largest message, bytes.
        MinimumPolicedSize: Smaller messages count as this many bytes.

    Source: H:qos.h.
    """

    __slots__ = (
        "DelayVariation",
        "Latency",
        "MaxSduSize",
        "MinimumPolicedSize",
        "PeakBandwidth",
        "ServiceType",
        "TokenBucketSize",
        "TokenRate",
    )

    def __init__(
        self,
        TokenRate: int = constants.QOS_NOT_SPECIFIED,
        TokenBucketSize: int = constants.QOS_NOT_SPECIFIED,
        PeakBandwidth: int = constants.QOS_NOT_SPECIFIED,
        Latency: int = constants.QOS_NOT_SPECIFIED,
        DelayVariation: int = constants.QOS_NOT_SPECIFIED,
        ServiceType: int = constants.SERVICETYPE_BESTEFFORT,
        MaxSduSize: int = constants.QOS_NOT_SPECIFIED,
        MinimumPolicedSize: int = constants.QOS_NOT_SPECIFIED,
    ) -> None:
        self.TokenRate = TokenRate
        self.TokenBucketSize = TokenBucketSize
        self.PeakBandwidth = PeakBandwidth
        self.Latency = Latency
        self.DelayVariation = DelayVariation
        self.ServiceType = int(ServiceType)
        self.MaxSduSize = MaxSduSize
        self.MinimumPolicedSize = MinimumPolicedSize


class QOS(_Structure):
    """Quality of service of a connection.

    Args:
        SendingFlowspec: For data sent.
        ReceivingFlowspec: For data received.
        ProviderSpecific: More, in a form of the provider's own.

    Source: H:winsock2.h; R:ff566290.
    """

    __slots__ = ("ProviderSpecific", "ReceivingFlowspec", "SendingFlowspec")

    def __init__(
        self,
        SendingFlowspec: FLOWSPEC | None = None,
        ReceivingFlowspec: FLOWSPEC | None = None,
        ProviderSpecific: bytes = b"",
    ) -> None:
        self.SendingFlowspec = SendingFlowspec or FLOWSPEC()
        self.ReceivingFlowspec = ReceivingFlowspec or FLOWSPEC()
        self.ProviderSpecific = ProviderSpecific


class AcceptRequest(_Structure):
    """A waiting connection as WSPAccept shows it to the condition function.

    In C these are the eight arguments of LPCONDITIONPROC.

    Args:
        caller: Address of the peer (lpCallerId).
        callee: Local address that it asked for, never the wildcard (lpCalleeId).
        caller_data: User data sent with the connect; None if there is none.
        sqos: Quality of service that the peer asked for; None without QoS.
        gqos: The same for the group; None.
        callback_data: What was given to WSPAccept.
        callee_data_max: How many bytes of data can go back to the peer; 0: not supported.

    The function may assign two more:

    Attributes:
        callee_data: Bytes for the peer (lpCalleeData), at most `callee_data_max`.
        group: The group that the new socket is to join, as in WSPSocket; 0 for none.

    Source: C:accepting-connection-requests; S:lpwspaccept.
    """

    __slots__ = (
        "callback_data",
        "callee",
        "callee_data",
        "callee_data_max",
        "caller",
        "caller_data",
        "gqos",
        "group",
        "sqos",
    )

    def __init__(
        self,
        caller: Address,
        callee: Address,
        caller_data: bytes | None = None,
        sqos: QOS | None = None,
        gqos: QOS | None = None,
        callback_data: Any = None,
        callee_data_max: int = 0,
    ) -> None:
        self.caller = caller
        self.callee = callee
        self.caller_data = caller_data
        self.sqos = sqos
        self.gqos = gqos
        self.callback_data = callback_data
        self.callee_data_max = callee_data_max
        self.callee_data = b""
        self.group = 0


if TYPE_CHECKING:
    # Answers with a `Condition`.
    ConditionProc: TypeAlias = Callable[[AcceptRequest], int]
else:
    ConditionProc = object
