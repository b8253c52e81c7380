"""Constants of the SPI, with Winsock's values.

Generated from spec/constants.toml by tools_dev/generate_spi.py; do not edit.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "AF_INET",
    "BASE_PROTOCOL",
    "CF_ACCEPT",
    "CF_DEFER",
    "CF_REJECT",
    "FD_ACCEPT",
    "FD_ACCEPT_BIT",
    "FD_CLOSE",
    "FD_CLOSE_BIT",
    "FD_CONNECT",
    "FD_CONNECT_BIT",
    "FD_GROUP_QOS",
    "FD_GROUP_QOS_BIT",
    "FD_MAX_EVENTS",
    "FD_OOB",
    "FD_OOB_BIT",
    "FD_QOS",
    "FD_QOS_BIT",
    "FD_READ",
    "FD_READ_BIT",
    "FD_WRITE",
    "FD_WRITE_BIT",
    "FIOASYNC",
    "FIONBIO",
    "FIONREAD",
    "FROM_PROTOCOL_INFO",
    "INVALID_SOCKET",
    "IPPROTO_TCP",
    "MAX_PROTOCOL_CHAIN",
    "MEM_READ",
    "MEM_READWRITE",
    "MEM_WRITE",
    "MSG_DONTROUTE",
    "MSG_OOB",
    "MSG_PARTIAL",
    "MSG_PEEK",
    "MSG_PUSH_IMMEDIATE",
    "MSG_WAITALL",
    "NEGOTIATION_MAX",
    "PFL_HIDDEN",
    "PFL_MATCHES_PROTOCOL_ZERO",
    "PFL_MULTIPLE_PROTO_ENTRIES",
    "PFL_RECOMMENDED_PROTO_ENTRY",
    "POLLERR",
    "POLLHUP",
    "POLLNVAL",
    "POLLPRI",
    "POLLRDBAND",
    "POLLRDNORM",
    "POLLWRBAND",
    "POLLWRNORM",
    "QOS_NOT_SPECIFIED",
    "SD_BOTH",
    "SD_RECEIVE",
    "SD_SEND",
    "SERVICETYPE_BESTEFFORT",
    "SERVICETYPE_CONTROLLEDLOAD",
    "SERVICETYPE_GUARANTEED",
    "SERVICETYPE_NOCHANGE",
    "SERVICETYPE_NOTRAFFIC",
    "SG_CONSTRAINED_GROUP",
    "SG_UNCONSTRAINED_GROUP",
    "SIOCATMARK",
    "SIO_ADDRESS_LIST_CHANGE",
    "SIO_ADDRESS_LIST_QUERY",
    "SIO_FLUSH",
    "SIO_GET_EXTENSION_FUNCTION_POINTER",
    "SIO_GET_GROUP_QOS",
    "SIO_GET_QOS",
    "SIO_KEEPALIVE_VALS",
    "SIO_SET_GROUP_QOS",
    "SIO_SET_QOS",
    "SOCKET_ERROR",
    "SOCK_STREAM",
    "SOL_SOCKET",
    "SOMAXCONN",
    "SO_ACCEPTCONN",
    "SO_BROADCAST",
    "SO_CONDITIONAL_ACCEPT",
    "SO_CONNECT_TIME",
    "SO_DEBUG",
    "SO_DONTLINGER",
    "SO_DONTROUTE",
    "SO_ERROR",
    "SO_EXCLUSIVEADDRUSE",
    "SO_GROUP_ID",
    "SO_GROUP_PRIORITY",
    "SO_KEEPALIVE",
    "SO_LINGER",
    "SO_MAX_MSG_SIZE",
    "SO_MAX_RDMA_SIZE",
    "SO_OOBINLINE",
    "SO_OPENTYPE",
    "SO_PORT_SCALABILITY",
    "SO_PROTOCOL_INFO",
    "SO_PROTOCOL_INFOA",
    "SO_RANDOMIZE_PORT",
    "SO_RCVBUF",
    "SO_RCVLOWAT",
    "SO_RCVTIMEO",
    "SO_RDMA_THRESHOLD_SIZE",
    "SO_REUSEADDR",
    "SO_REUSE_UNICASTPORT",
    "SO_SNDBUF",
    "SO_SNDLOWAT",
    "SO_SNDTIMEO",
    "SO_TYPE",
    "SO_UPDATE_ACCEPT_CONTEXT",
    "SO_UPDATE_CONNECT_CONTEXT",
    "SO_USELOOPBACK",
    "TCP_EXPEDITED_1122",
    "TCP_FASTOPEN",
    "TCP_KEEPALIVE",
    "TCP_KEEPCNT",
    "TCP_KEEPINTVL",
    "TCP_MAXRT",
    "TCP_MAXSEG",
    "TCP_NODELAY",
    "TCP_TIMESTAMPS",
    "TF_DISCONNECT",
    "TF_REUSE_SOCKET",
    "TF_WRITE_BEHIND",
    "WINSOCK_VERSION",
    "WSAPROTOCOL_LEN",
    "WSA_FLAG_OVERLAPPED",
    "WSA_INFINITE",
    "WSA_MAXIMUM_WAIT_EVENTS",
    "WSA_WAIT_EVENT_0",
    "WSA_WAIT_FAILED",
    "WSA_WAIT_IO_COMPLETION",
    "WSA_WAIT_TIMEOUT",
    "WSPDESCRIPTION_LEN",
    "WSS_OPERATION_IN_PROGRESS",
    "XP1_CONNECTIONLESS",
    "XP1_CONNECT_DATA",
    "XP1_DISCONNECT_DATA",
    "XP1_EXPEDITED_DATA",
    "XP1_GRACEFUL_CLOSE",
    "XP1_GUARANTEED_DELIVERY",
    "XP1_GUARANTEED_ORDER",
    "XP1_IFS_HANDLES",
    "XP1_INTERRUPT",
    "XP1_MESSAGE_ORIENTED",
    "XP1_MULTIPOINT_CONTROL_PLANE",
    "XP1_MULTIPOINT_DATA_PLANE",
    "XP1_PARTIAL_MESSAGE",
    "XP1_PSEUDO_STREAM",
    "XP1_QOS_SUPPORTED",
    "XP1_SAN_SUPPORT_SDP",
    "XP1_SUPPORT_BROADCAST",
    "XP1_SUPPORT_MULTIPOINT",
    "XP1_UNI_RECV",
    "XP1_UNI_SEND",
    "Condition",
    "ExtendedFlag",
    "IoctlCode",
    "MemoryAccess",
    "MessageFlag",
    "MoreMessageFlag",
    "NetworkEvent",
    "NetworkEventBit",
    "PollFlag",
    "ProviderFlag",
    "ServiceFlag",
    "ServiceType",
    "SocketLevel",
    "SocketOption",
    "StreamIoctl",
    "StreamOption",
    "StreamTcpOption",
    "TcpOption",
]


class SocketLevel(IntEnum):
    """Level argument of WSPGetSockOpt and WSPSetSockOpt."""

    IPPROTO_TCP = 0x6  # Options of TCP: TCP_NODELAY only.
    SOL_SOCKET = 0xFFFF  # Options of the socket itself.


class SocketOption(IntEnum):
    """Options at level SOL_SOCKET that can reach a SAN provider."""

    SO_DEBUG = 0x1  # BOOL, get and set: write debug output.
    SO_GROUP_ID = 0x2001  # Unsigned, get: group number; with QoS only.
    SO_GROUP_PRIORITY = 0x2002  # int, get and set: priority in the group; with QoS only.
    SO_MAX_MSG_SIZE = 0x2003  # Unsigned, get: longest message in bytes.
    SO_MAX_RDMA_SIZE = 0x700D  # Unsigned, get: longest RDMA transfer in bytes.
    SO_RDMA_THRESHOLD_SIZE = 0x700E  # Unsigned, get: use RDMA above this many bytes.


class TcpOption(IntEnum):
    """Options at level IPPROTO_TCP."""

    TCP_NODELAY = 1  # BOOL, get and set: do not delay small segments.


class IoctlCode(IntEnum):
    """Control codes of WSPIoctl."""

    SIO_ADDRESS_LIST_CHANGE = 0x28000017  # Tell of address changes; never asked of a SAN.
    SIO_ADDRESS_LIST_QUERY = 0x48000016  # The local addresses of this provider's network cards.
    SIO_SET_QOS = 0x8800000B  # Set the quality of service; with QoS only.
    SIO_SET_GROUP_QOS = 0x8800000C  # Set it for the group; with QoS only.
    SIO_GET_EXTENSION_FUNCTION_POINTER = 0xC8000006  # Look up an extension function by its GUID.
    SIO_GET_QOS = 0xC8000007  # Get the quality of service; with QoS only.
    SIO_GET_GROUP_QOS = 0xC8000008  # Get it for the group; with QoS only.


class NetworkEvent(IntFlag):
    """Network events; only FD_ACCEPT and FD_CONNECT are asked of a SAN provider."""

    FD_READ = 0x1  # Data can be read.
    FD_WRITE = 0x2  # Data can be written.
    FD_OOB = 0x4  # Urgent data arrived.
    FD_ACCEPT = 0x8  # A connection request is queued.
    FD_CONNECT = 0x10  # A connect has finished, well or badly.
    FD_CLOSE = 0x20  # The connection was closed.
    FD_QOS = 0x40  # The quality of service changed.
    FD_GROUP_QOS = 0x80  # The quality of service of the group changed.


class NetworkEventBit(IntEnum):
    """Bit numbers of the events: the index into WSANETWORKEVENTS.iErrorCode."""

    FD_READ_BIT = 0  # Slot of FD_READ.
    FD_WRITE_BIT = 1  # Slot of FD_WRITE.
    FD_OOB_BIT = 2  # Slot of FD_OOB.
    FD_ACCEPT_BIT = 3  # Slot of FD_ACCEPT.
    FD_CONNECT_BIT = 4  # Slot of FD_CONNECT.
    FD_CLOSE_BIT = 5  # Slot of FD_CLOSE.
    FD_QOS_BIT = 6  # Slot of FD_QOS.
    FD_GROUP_QOS_BIT = 7  # Slot of FD_GROUP_QOS.


class Condition(IntEnum):
    """What the condition function of WSPAccept answers."""

    CF_ACCEPT = 0  # Make the connection.
    CF_REJECT = 1  # Refuse it; WSPAccept ends with WSAECONNREFUSED.
    CF_DEFER = 2  # Leave it queued; WSPAccept ends with WSATRY_AGAIN.


class ProviderFlag(IntFlag):
    """WSAPROTOCOL_INFOW.dwProviderFlags."""

    PFL_MULTIPLE_PROTO_ENTRIES = 1  # One of several entries for one protocol.
    PFL_RECOMMENDED_PROTO_ENTRY = 2  # The preferred one of them.
    PFL_HIDDEN = 4  # Not shown to applications; every SAN entry has it.
    PFL_MATCHES_PROTOCOL_ZERO = 8  # Protocol 0 means this entry.


class ServiceFlag(IntFlag):
    """WSAPROTOCOL_INFOW.dwServiceFlags1."""

    XP1_CONNECTIONLESS = 0x1  # Datagrams; never set by a SAN provider.
    XP1_GUARANTEED_DELIVERY = 0x2  # All data arrives or the connection ends.
    XP1_GUARANTEED_ORDER = 0x4  # Data arrives in order and once.
    XP1_MESSAGE_ORIENTED = 0x8  # Message boundaries are kept.
    XP1_PSEUDO_STREAM = 0x10  # Messages whose boundaries are ignored.
    XP1_GRACEFUL_CLOSE = 0x20  # Two-phase close.
    XP1_EXPEDITED_DATA = 0x40  # Urgent data.
    XP1_CONNECT_DATA = 0x80  # User data with the connect.
    XP1_DISCONNECT_DATA = 0x100  # User data with the disconnect.
    XP1_SUPPORT_BROADCAST = 0x200  # Broadcast.
    XP1_SUPPORT_MULTIPOINT = 0x400  # Multicast.
    XP1_MULTIPOINT_CONTROL_PLANE = 0x800  # The multicast control plane is rooted.
    XP1_MULTIPOINT_DATA_PLANE = 0x1000  # The multicast data plane is rooted.
    XP1_QOS_SUPPORTED = 0x2000  # The whole of the QoS functions is there.
    XP1_INTERRUPT = 0x4000  # Reserved.
    XP1_UNI_SEND = 0x8000  # One way: send.
    XP1_UNI_RECV = 0x10000  # One way: receive.
    XP1_IFS_HANDLES = 0x20000  # Descriptors are system handles; clear for a SAN.
    XP1_PARTIAL_MESSAGE = 0x40000  # MSG_PARTIAL is supported.
    XP1_SAN_SUPPORT_SDP = 0x80000  # Sockets Direct Protocol on the wire.


class ServiceType(IntEnum):
    """FLOWSPEC.ServiceType."""

    SERVICETYPE_NOTRAFFIC = 0  # No traffic in this direction.
    SERVICETYPE_BESTEFFORT = 1  # No promise.
    SERVICETYPE_CONTROLLEDLOAD = 2  # As on a lightly loaded network.
    SERVICETYPE_GUARANTEED = 3  # Rate and delay are guaranteed.
    SERVICETYPE_NOCHANGE = 6  # SIO_SET_QOS: leave this direction as it is.


class MessageFlag(IntFlag):
    """Flags of send and receive; the switch emulates them, providers see 0."""

    MSG_OOB = 0x1  # Urgent data.
    MSG_PEEK = 0x2  # Look without taking.
    MSG_DONTROUTE = 0x4  # Bypass routing.
    MSG_PARTIAL = 0x8000  # Part of a message.


class MemoryAccess(IntFlag):
    """Access asked for in the register functions."""

    MEM_READ = 1  # Local: source of transfers.  RDMA: the peer may read.
    MEM_WRITE = 2  # Local: target of transfers.  RDMA: the peer may write.
    MEM_READWRITE = 3  # Both.


class StreamOption(IntEnum):
    """Options at level SOL_SOCKET that only the switch's own upper interface has."""

    SO_ACCEPTCONN = 0x2  # BOOL, get: the socket listens.
    SO_REUSEADDR = 0x4  # BOOL: bind to an address in use.
    SO_EXCLUSIVEADDRUSE = -5  # BOOL: nobody else may bind to the address.
    SO_KEEPALIVE = 0x8  # BOOL: probe an idle connection.
    SO_DONTROUTE = 0x10  # BOOL: bypass routing; stored only.
    SO_BROADCAST = 0x20  # BOOL: stored only.
    SO_USELOOPBACK = 0x40  # BOOL: stored only.
    SO_LINGER = 0x80  # LINGER: what closing does with unsent data.
    SO_DONTLINGER = -129  # BOOL: the opposite of l_onoff.
    SO_OOBINLINE = 0x100  # BOOL: urgent data stand in the stream.
    SO_SNDBUF = 0x1001  # int: bytes that may wait to be sent.
    SO_RCVBUF = 0x1002  # int: bytes that may wait to be received.
    SO_SNDLOWAT = 0x1003  # Not supported by Winsock.
    SO_RCVLOWAT = 0x1004  # Not supported by Winsock.
    SO_SNDTIMEO = 0x1005  # Milliseconds that a blocking send waits; 0 for ever.
    SO_RCVTIMEO = 0x1006  # Milliseconds that a blocking receive waits; 0 for ever.
    SO_ERROR = 0x1007  # int, get: the error of the last connect.
    SO_TYPE = 0x1008  # int, get: SOCK_STREAM.
    SO_PROTOCOL_INFOA = 0x2004  # Get: the protocol information, with bytes for text.
    SO_PROTOCOL_INFO = 0x2005  # Get: WSAPROTOCOL_INFOW.
    SO_CONDITIONAL_ACCEPT = 0x3002  # BOOL: stored only.
    SO_RANDOMIZE_PORT = 0x3005  # BOOL: stored only.
    SO_PORT_SCALABILITY = 0x3006  # BOOL: stored only.
    SO_REUSE_UNICASTPORT = 0x3007  # BOOL: stored only.
    SO_OPENTYPE = 0x7008  # int: stored only.
    SO_UPDATE_ACCEPT_CONTEXT = 0x700B  # Set: after AcceptEx, take over the listener's options.
    SO_CONNECT_TIME = 0x700C  # Unsigned, get: seconds connected; 0xFFFFFFFF: not connected.
    SO_UPDATE_CONNECT_CONTEXT = 0x7010  # Set: after ConnectEx.


class StreamTcpOption(IntEnum):
    """Options at level IPPROTO_TCP that only the switch's own upper interface has."""

    TCP_EXPEDITED_1122 = 2  # BOOL: stored only.
    TCP_KEEPALIVE = 3  # Seconds of idleness before the first probe.
    TCP_MAXSEG = 4  # int, get: longest segment.
    TCP_MAXRT = 5  # Seconds of retransmission; stored only.
    TCP_TIMESTAMPS = 10  # BOOL: stored only.
    TCP_FASTOPEN = 15  # BOOL: stored only.
    TCP_KEEPCNT = 16  # Number of probes.
    TCP_KEEPINTVL = 17  # Seconds between probes.


class StreamIoctl(IntEnum):
    """Control codes that only the switch's own upper interface has."""

    FIONREAD = 0x4004667F  # Bytes that a receive would take.
    FIONBIO = 0x8004667E  # Blocking mode: 0 blocking, otherwise non-blocking.
    FIOASYNC = 0x8004667D  # Not supported by Winsock 2.
    SIOCATMARK = 0x40047307  # Whether no urgent data wait before or at the reading position.
    SIO_FLUSH = 0x28000004  # Not supported for streams.
    SIO_KEEPALIVE_VALS = 0x98000004  # Keep-alive: on, ms of idleness, ms between probes.


class MoreMessageFlag(IntFlag):
    """Flags of receives that only the switch's own upper interface has."""

    MSG_WAITALL = 0x8  # Receive until the buffers are full.
    MSG_PUSH_IMMEDIATE = 0x20  # Do not wait for more data; the switch never does.


class PollFlag(IntFlag):
    """Events of WSAPoll."""

    POLLERR = 0x1  # The connection failed; result only.
    POLLHUP = 0x2  # The peer ended its sending; result only.
    POLLNVAL = 0x4  # Not a socket; result only.
    POLLWRNORM = 0x10  # Data can be sent.
    POLLWRBAND = 0x20  # Not supported.
    POLLRDNORM = 0x100  # Data can be received.
    POLLRDBAND = 0x200  # Urgent data can be received.
    POLLPRI = 0x400  # Not supported.


class ExtendedFlag(IntFlag):
    """Flags of TransmitFile and DisconnectEx."""

    TF_DISCONNECT = 1  # Disconnect when all has been sent.
    TF_REUSE_SOCKET = 2  # Make the socket ready for another connection.
    TF_WRITE_BEHIND = 4  # Finish early; ignored.


IPPROTO_TCP: Final = SocketLevel.IPPROTO_TCP
SOL_SOCKET: Final = SocketLevel.SOL_SOCKET

SO_DEBUG: Final = SocketOption.SO_DEBUG
SO_GROUP_ID: Final = SocketOption.SO_GROUP_ID
SO_GROUP_PRIORITY: Final = SocketOption.SO_GROUP_PRIORITY
SO_MAX_MSG_SIZE: Final = SocketOption.SO_MAX_MSG_SIZE
SO_MAX_RDMA_SIZE: Final = SocketOption.SO_MAX_RDMA_SIZE
SO_RDMA_THRESHOLD_SIZE: Final = SocketOption.SO_RDMA_THRESHOLD_SIZE

TCP_NODELAY: Final = TcpOption.TCP_NODELAY

SIO_ADDRESS_LIST_CHANGE: Final = IoctlCode.SIO_ADDRESS_LIST_CHANGE
SIO_ADDRESS_LIST_QUERY: Final = IoctlCode.SIO_ADDRESS_LIST_QUERY
SIO_SET_QOS: Final = IoctlCode.SIO_SET_QOS
SIO_SET_GROUP_QOS: Final = IoctlCode.SIO_SET_GROUP_QOS
SIO_GET_EXTENSION_FUNCTION_POINTER: Final = IoctlCode.SIO_GET_EXTENSION_FUNCTION_POINTER
SIO_GET_QOS: Final = IoctlCode.SIO_GET_QOS
SIO_GET_GROUP_QOS: Final = IoctlCode.SIO_GET_GROUP_QOS

FD_READ: Final = NetworkEvent.FD_READ
FD_WRITE: Final = NetworkEvent.FD_WRITE
FD_OOB: Final = NetworkEvent.FD_OOB
FD_ACCEPT: Final = NetworkEvent.FD_ACCEPT
FD_CONNECT: Final = NetworkEvent.FD_CONNECT
FD_CLOSE: Final = NetworkEvent.FD_CLOSE
FD_QOS: Final = NetworkEvent.FD_QOS
FD_GROUP_QOS: Final = NetworkEvent.FD_GROUP_QOS

FD_READ_BIT: Final = NetworkEventBit.FD_READ_BIT
FD_WRITE_BIT: Final = NetworkEventBit.FD_WRITE_BIT
FD_OOB_BIT: Final = NetworkEventBit.FD_OOB_BIT
FD_ACCEPT_BIT: Final = NetworkEventBit.FD_ACCEPT_BIT
FD_CONNECT_BIT: Final = NetworkEventBit.FD_CONNECT_BIT
FD_CLOSE_BIT: Final = NetworkEventBit.FD_CLOSE_BIT
FD_QOS_BIT: Final = NetworkEventBit.FD_QOS_BIT
FD_GROUP_QOS_BIT: Final = NetworkEventBit.FD_GROUP_QOS_BIT

CF_ACCEPT: Final = Condition.CF_ACCEPT
CF_REJECT: Final = Condition.CF_REJECT
CF_DEFER: Final = Condition.CF_DEFER

PFL_MULTIPLE_PROTO_ENTRIES: Final = ProviderFlag.PFL_MULTIPLE_PROTO_ENTRIES
PFL_RECOMMENDED_PROTO_ENTRY: Final = ProviderFlag.PFL_RECOMMENDED_PROTO_ENTRY
PFL_HIDDEN: Final = ProviderFlag.PFL_HIDDEN
PFL_MATCHES_PROTOCOL_ZERO: Final = ProviderFlag.PFL_MATCHES_PROTOCOL_ZERO

XP1_CONNECTIONLESS: Final = ServiceFlag.XP1_CONNECTIONLESS
XP1_GUARANTEED_DELIVERY: Final = ServiceFlag.XP1_GUARANTEED_DELIVERY
XP1_GUARANTEED_ORDER: Final = ServiceFlag.XP1_GUARANTEED_ORDER
XP1_MESSAGE_ORIENTED: Final = ServiceFlag.XP1_MESSAGE_ORIENTED
XP1_PSEUDO_STREAM: Final = ServiceFlag.XP1_PSEUDO_STREAM
XP1_GRACEFUL_CLOSE: Final = ServiceFlag.XP1_GRACEFUL_CLOSE
XP1_EXPEDITED_DATA: Final = ServiceFlag.XP1_EXPEDITED_DATA
XP1_CONNECT_DATA: Final = ServiceFlag.XP1_CONNECT_DATA
XP1_DISCONNECT_DATA: Final = ServiceFlag.XP1_DISCONNECT_DATA
XP1_SUPPORT_BROADCAST: Final = ServiceFlag.XP1_SUPPORT_BROADCAST
XP1_SUPPORT_MULTIPOINT: Final = ServiceFlag.XP1_SUPPORT_MULTIPOINT
XP1_MULTIPOINT_CONTROL_PLANE: Final = ServiceFlag.XP1_MULTIPOINT_CONTROL_PLANE
XP1_MULTIPOINT_DATA_PLANE: Final = ServiceFlag.XP1_MULTIPOINT_DATA_PLANE
XP1_QOS_SUPPORTED: Final = ServiceFlag.XP1_QOS_SUPPORTED
XP1_INTERRUPT: Final = ServiceFlag.XP1_INTERRUPT
XP1_UNI_SEND: Final = ServiceFlag.XP1_UNI_SEND
XP1_UNI_RECV: Final = ServiceFlag.XP1_UNI_RECV
XP1_IFS_HANDLES: Final = ServiceFlag.XP1_IFS_HANDLES
XP1_PARTIAL_MESSAGE: Final = ServiceFlag.XP1_PARTIAL_MESSAGE
XP1_SAN_SUPPORT_SDP: Final = ServiceFlag.XP1_SAN_SUPPORT_SDP

SERVICETYPE_NOTRAFFIC: Final = ServiceType.SERVICETYPE_NOTRAFFIC
SERVICETYPE_BESTEFFORT: Final = ServiceType.SERVICETYPE_BESTEFFORT
SERVICETYPE_CONTROLLEDLOAD: Final = ServiceType.SERVICETYPE_CONTROLLEDLOAD
SERVICETYPE_GUARANTEED: Final = ServiceType.SERVICETYPE_GUARANTEED
SERVICETYPE_NOCHANGE: Final = ServiceType.SERVICETYPE_NOCHANGE

MSG_OOB: Final = MessageFlag.MSG_OOB
MSG_PEEK: Final = MessageFlag.MSG_PEEK
MSG_DONTROUTE: Final = MessageFlag.MSG_DONTROUTE
MSG_PARTIAL: Final = MessageFlag.MSG_PARTIAL

MEM_READ: Final = MemoryAccess.MEM_READ
MEM_WRITE: Final = MemoryAccess.MEM_WRITE
MEM_READWRITE: Final = MemoryAccess.MEM_READWRITE

SO_ACCEPTCONN: Final = StreamOption.SO_ACCEPTCONN
SO_REUSEADDR: Final = StreamOption.SO_REUSEADDR
SO_EXCLUSIVEADDRUSE: Final = StreamOption.SO_EXCLUSIVEADDRUSE
SO_KEEPALIVE: Final = StreamOption.SO_KEEPALIVE
SO_DONTROUTE: Final = StreamOption.SO_DONTROUTE
SO_BROADCAST: Final = StreamOption.SO_BROADCAST
SO_USELOOPBACK: Final = StreamOption.SO_USELOOPBACK
SO_LINGER: Final = StreamOption.SO_LINGER
SO_DONTLINGER: Final = StreamOption.SO_DONTLINGER
SO_OOBINLINE: Final = StreamOption.SO_OOBINLINE
SO_SNDBUF: Final = StreamOption.SO_SNDBUF
SO_RCVBUF: Final = StreamOption.SO_RCVBUF
SO_SNDLOWAT: Final = StreamOption.SO_SNDLOWAT
SO_RCVLOWAT: Final = StreamOption.SO_RCVLOWAT
SO_SNDTIMEO: Final = StreamOption.SO_SNDTIMEO
SO_RCVTIMEO: Final = StreamOption.SO_RCVTIMEO
SO_ERROR: Final = StreamOption.SO_ERROR
SO_TYPE: Final = StreamOption.SO_TYPE
SO_PROTOCOL_INFOA: Final = StreamOption.SO_PROTOCOL_INFOA
SO_PROTOCOL_INFO: Final = StreamOption.SO_PROTOCOL_INFO
SO_CONDITIONAL_ACCEPT: Final = StreamOption.SO_CONDITIONAL_ACCEPT
SO_RANDOMIZE_PORT: Final = StreamOption.SO_RANDOMIZE_PORT
SO_PORT_SCALABILITY: Final = StreamOption.SO_PORT_SCALABILITY
SO_REUSE_UNICASTPORT: Final = StreamOption.SO_REUSE_UNICASTPORT
SO_OPENTYPE: Final = StreamOption.SO_OPENTYPE
SO_UPDATE_ACCEPT_CONTEXT: Final = StreamOption.SO_UPDATE_ACCEPT_CONTEXT
SO_CONNECT_TIME: Final = StreamOption.SO_CONNECT_TIME
SO_UPDATE_CONNECT_CONTEXT: Final = StreamOption.SO_UPDATE_CONNECT_CONTEXT

TCP_EXPEDITED_1122: Final = StreamTcpOption.TCP_EXPEDITED_1122
TCP_KEEPALIVE: Final = StreamTcpOption.TCP_KEEPALIVE
TCP_MAXSEG: Final = StreamTcpOption.TCP_MAXSEG
TCP_MAXRT: Final = StreamTcpOption.TCP_MAXRT
TCP_TIMESTAMPS: Final = StreamTcpOption.TCP_TIMESTAMPS
TCP_FASTOPEN: Final = StreamTcpOption.TCP_FASTOPEN
TCP_KEEPCNT: Final = StreamTcpOption.TCP_KEEPCNT
TCP_KEEPINTVL: Final = StreamTcpOption.TCP_KEEPINTVL

FIONREAD: Final = StreamIoctl.FIONREAD
FIONBIO: Final = StreamIoctl.FIONBIO
FIOASYNC: Final = StreamIoctl.FIOASYNC
SIOCATMARK: Final = StreamIoctl.SIOCATMARK
SIO_FLUSH: Final = StreamIoctl.SIO_FLUSH
SIO_KEEPALIVE_VALS: Final = StreamIoctl.SIO_KEEPALIVE_VALS

MSG_WAITALL: Final = MoreMessageFlag.MSG_WAITALL
MSG_PUSH_IMMEDIATE: Final = MoreMessageFlag.MSG_PUSH_IMMEDIATE

POLLERR: Final = PollFlag.POLLERR
POLLHUP: Final = PollFlag.POLLHUP
POLLNVAL: Final = PollFlag.POLLNVAL
POLLWRNORM: Final = PollFlag.POLLWRNORM
POLLWRBAND: Final = PollFlag.POLLWRBAND
POLLRDNORM: Final = PollFlag.POLLRDNORM
POLLRDBAND: Final = PollFlag.POLLRDBAND
POLLPRI: Final = PollFlag.POLLPRI

TF_DISCONNECT: Final = ExtendedFlag.TF_DISCONNECT
TF_REUSE_SOCKET: Final = ExtendedFlag.TF_REUSE_SOCKET
TF_WRITE_BEHIND: Final = ExtendedFlag.TF_WRITE_BEHIND

WINSOCK_VERSION: Final = 0x202  # Version 2.2 as WSPStartupEx takes it: minor in the high byte.
AF_INET: Final = 2  # The only address family of a SAN socket.
SOCK_STREAM: Final = 1  # The only type of a SAN socket.
WSA_FLAG_OVERLAPPED: Final = 1  # WSPSocket: always set for a SAN socket.
SG_UNCONSTRAINED_GROUP: Final = 1  # WSPSocket: a new group of sockets of any kind.
SG_CONSTRAINED_GROUP: Final = 2  # WSPSocket: a new group of connections to one host.
SD_RECEIVE: Final = 0  # WSPShutdown: receive no more.
SD_SEND: Final = 1  # WSPShutdown: send no more.
SD_BOTH: Final = 2  # WSPShutdown: neither.
FROM_PROTOCOL_INFO: Final = -1  # WSPSocket: take the value from the protocol information.
INVALID_SOCKET: Final = -1  # No descriptor; all bits set in C.
SOCKET_ERROR: Final = -1  # Failure of an int function in C.
SOMAXCONN: Final = 0x7FFFFFFF  # WSPListen: the provider chooses the backlog.
FD_MAX_EVENTS: Final = 10  # Slots of WSANETWORKEVENTS.iErrorCode.
WSA_WAIT_EVENT_0: Final = 0  # WSAWaitForMultipleEvents: the first event was set.
WSA_WAIT_IO_COMPLETION: Final = 0xC0  # A completion routine ran during an alertable wait.
WSA_WAIT_TIMEOUT: Final = 0x102  # No event was set in time.
WSA_WAIT_FAILED: Final = 0xFFFFFFFF  # The wait itself failed.
WSA_MAXIMUM_WAIT_EVENTS: Final = 0x40  # Most events of one wait.
WSA_INFINITE: Final = 0xFFFFFFFF  # Wait for ever, in milliseconds.
WSS_OPERATION_IN_PROGRESS: Final = 0x103  # WSAOVERLAPPED.Internal while the request runs.
WSAPROTOCOL_LEN: Final = 0xFF  # Longest szProtocol, in characters without the final 0.
WSPDESCRIPTION_LEN: Final = 0xFF  # Longest szDescription, in characters without the final 0.
MAX_PROTOCOL_CHAIN: Final = 7  # Entries of WSAPROTOCOLCHAIN.
BASE_PROTOCOL: Final = 1  # WSAPROTOCOLCHAIN.ChainLen of a provider that is not layered.
QOS_NOT_SPECIFIED: Final = 0xFFFFFFFF  # FLOWSPEC member left open.
NEGOTIATION_MAX: Final = 0x100  # Longest first message of a session, in bytes.
