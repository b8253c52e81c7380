"""One exception class per Winsock error code.

Generated from spec/errors.toml by tools_dev/generate_spi.py; do not edit.
"""

from __future__ import annotations

from wsdirect.spi._error_base import WSAError

__all__ = [
    "ERROR_CONNECTION_ABORTED",
    "ERROR_CONNECTION_REFUSED",
    "ERROR_NETNAME_DELETED",
    "ERROR_NOT_SUPPORTED",
    "WSAEACCES",
    "WSAEADDRINUSE",
    "WSAEADDRNOTAVAIL",
    "WSAEAFNOSUPPORT",
    "WSAEALREADY",
    "WSAEBADF",
    "WSAECONNABORTED",
    "WSAECONNREFUSED",
    "WSAECONNRESET",
    "WSAEDESTADDRREQ",
    "WSAEDISCON",
    "WSAEFAULT",
    "WSAEHOSTDOWN",
    "WSAEHOSTUNREACH",
    "WSAEINPROGRESS",
    "WSAEINTR",
    "WSAEINVAL",
    "WSAEINVALIDPROCTABLE",
    "WSAEINVALIDPROVIDER",
    "WSAEISCONN",
    "WSAELOOP",
    "WSAEMFILE",
    "WSAEMSGSIZE",
    "WSAENAMETOOLONG",
    "WSAENETDOWN",
    "WSAENETRESET",
    "WSAENETUNREACH",
    "WSAENOBUFS",
    "WSAENOPROTOOPT",
    "WSAENOTCONN",
    "WSAENOTSOCK",
    "WSAEOPNOTSUPP",
    "WSAEPFNOSUPPORT",
    "WSAEPROCLIM",
    "WSAEPROTONOSUPPORT",
    "WSAEPROTOTYPE",
    "WSAEPROVIDERFAILEDINIT",
    "WSAESHUTDOWN",
    "WSAESOCKTNOSUPPORT",
    "WSAETIMEDOUT",
    "WSAETOOMANYREFS",
    "WSAEWOULDBLOCK",
    "WSAHOST_NOT_FOUND",
    "WSANOTINITIALISED",
    "WSASYSCALLFAILURE",
    "WSASYSNOTREADY",
    "WSATRY_AGAIN",
    "WSAVERNOTSUPPORTED",
    "WSA_INVALID_HANDLE",
    "WSA_INVALID_PARAMETER",
    "WSA_IO_INCOMPLETE",
    "WSA_IO_PENDING",
    "WSA_NOT_ENOUGH_MEMORY",
    "WSA_OPERATION_ABORTED",
]


class WSA_INVALID_HANDLE(WSAError, code=6):
    """The event handle is not valid."""


class WSA_NOT_ENOUGH_MEMORY(WSAError, code=8):
    """There is not enough memory."""


class ERROR_NOT_SUPPORTED(WSAError, code=50):
    """GetOverlappedResult: the request is not supported (WSAEOPNOTSUPP)."""


class ERROR_NETNAME_DELETED(WSAError, ConnectionResetError, code=64):
    """GetOverlappedResult: the peer reset the connection (WSAECONNRESET)."""


class WSA_INVALID_PARAMETER(WSAError, code=87):
    """A parameter is not valid."""


class WSA_OPERATION_ABORTED(WSAError, code=995):
    """The request was abandoned because its socket was closed."""


class WSA_IO_INCOMPLETE(WSAError, BlockingIOError, code=996):
    """The overlapped request has not finished yet."""


class WSA_IO_PENDING(WSAError, BlockingIOError, code=997):
    """The overlapped request was started and finishes later."""


class ERROR_CONNECTION_REFUSED(WSAError, ConnectionRefusedError, code=1225):
    """GetOverlappedResult: the connect was refused (WSAECONNREFUSED)."""


class ERROR_CONNECTION_ABORTED(WSAError, ConnectionAbortedError, code=1236):
    """GetOverlappedResult: the connection was ended on this side (WSAECONNABORTED)."""


class WSAEINTR(WSAError, InterruptedError, code=10004):
    """The call was interrupted."""


class WSAEBADF(WSAError, code=10009):
    """The file handle is not valid."""


class WSAEACCES(WSAError, PermissionError, code=10013):
    """Access is denied, or the request was withdrawn before it was accepted."""


class WSAEFAULT(WSAError, code=10014):
    """An address or buffer is outside the process or too small."""


class WSAEINVAL(WSAError, code=10022):
    """An argument is not valid, or not in this state of the socket."""


class WSAEMFILE(WSAError, code=10024):
    """No more socket descriptors are available."""


class WSAEWOULDBLOCK(WSAError, BlockingIOError, code=10035):
    """The operation cannot finish at once."""


class WSAEINPROGRESS(WSAError, BlockingIOError, code=10036):
    """A blocking call is under way; no SAN provider reports this."""


class WSAEALREADY(WSAError, BlockingIOError, code=10037):
    """A connect is already under way on this socket."""


class WSAENOTSOCK(WSAError, code=10038):
    """The descriptor is not an open socket of this provider."""


class WSAEDESTADDRREQ(WSAError, code=10039):
    """A destination address is required."""


class WSAEMSGSIZE(WSAError, code=10040):
    """The message is longer than the limit or the receive buffers."""


class WSAEPROTOTYPE(WSAError, code=10041):
    """The protocol does not fit the socket type."""


class WSAENOPROTOOPT(WSAError, code=10042):
    """The socket option is unknown or not supported."""


class WSAEPROTONOSUPPORT(WSAError, code=10043):
    """The protocol is not supported."""


class WSAESOCKTNOSUPPORT(WSAError, code=10044):
    """The socket type is not supported in this address family."""


class WSAEOPNOTSUPP(WSAError, code=10045):
    """The provider does not support this operation."""


class WSAEPFNOSUPPORT(WSAError, code=10046):
    """The protocol family is not supported."""


class WSAEAFNOSUPPORT(WSAError, code=10047):
    """The address family is not supported."""


class WSAEADDRINUSE(WSAError, code=10048):
    """The address is already in use."""


class WSAEADDRNOTAVAIL(WSAError, code=10049):
    """The address is not one that this provider can use here."""


class WSAENETDOWN(WSAError, code=10050):
    """The network subsystem of the provider has failed."""


class WSAENETUNREACH(WSAError, code=10051):
    """The network cannot be reached from here."""


class WSAENETRESET(WSAError, code=10052):
    """Keep-alive found the connection broken."""


class WSAECONNABORTED(WSAError, ConnectionAbortedError, code=10053):
    """The connection was ended by a fault on this side."""


class WSAECONNRESET(WSAError, ConnectionResetError, code=10054):
    """The peer closed or reset the connection, or nobody listens there."""


class WSAENOBUFS(WSAError, code=10055):
    """There is no room for more buffers, sockets or registrations."""


class WSAEISCONN(WSAError, code=10056):
    """The socket is already connected."""


class WSAENOTCONN(WSAError, code=10057):
    """The socket is not connected."""


class WSAESHUTDOWN(WSAError, BrokenPipeError, code=10058):
    """This direction of the connection was shut down."""


class WSAETOOMANYREFS(WSAError, code=10059):
    """Too many references to a kernel object."""


class WSAETIMEDOUT(WSAError, TimeoutError, code=10060):
    """There was no answer in time; TCP/IP may still get through."""


class WSAECONNREFUSED(WSAError, ConnectionRefusedError, code=10061):
    """The peer refused the connection."""


class WSAELOOP(WSAError, code=10062):
    """A name cannot be translated because it refers to itself."""


class WSAENAMETOOLONG(WSAError, code=10063):
    """A name is too long."""


class WSAEHOSTDOWN(WSAError, code=10064):
    """The destination host is down."""


class WSAEHOSTUNREACH(WSAError, code=10065):
    """The destination address does not exist."""


class WSAEPROCLIM(WSAError, code=10067):
    """The provider serves no more processes."""


class WSASYSNOTREADY(WSAError, code=10091):
    """The network subsystem is not ready."""


class WSAVERNOTSUPPORTED(WSAError, code=10092):
    """The requested version of Windows Sockets is not supported."""


class WSANOTINITIALISED(WSAError, code=10093):
    """No successful WSPStartupEx came before this call."""


class WSAEDISCON(WSAError, BrokenPipeError, code=10101):
    """The peer shut the connection down in an orderly way."""


class WSAEINVALIDPROCTABLE(WSAError, code=10104):
    """The provider left required functions out of its table."""


class WSAEINVALIDPROVIDER(WSAError, code=10105):
    """The provider reported a version that cannot be used."""


class WSAEPROVIDERFAILEDINIT(WSAError, code=10106):
    """The provider could not be loaded or started."""


class WSASYSCALLFAILURE(WSAError, code=10107):
    """A system call failed that should never fail."""


class WSAHOST_NOT_FOUND(WSAError, code=11001):
    """The host name is not known."""


class WSATRY_AGAIN(WSAError, BlockingIOError, code=11002):
    """No decision yet; the call can be repeated."""
