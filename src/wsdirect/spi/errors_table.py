"""Winsock error codes and their POSIX meaning, as data.

Generated from spec/errors.toml by tools_dev/generate_spi.py; do not edit.
"""

from __future__ import annotations

import errno
from enum import IntEnum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "ERRORS",
    "FROM_ERRNO",
    "WsaErrorCode",
]


class WsaErrorCode(IntEnum):
    """Winsock error codes by name."""

    WSA_INVALID_HANDLE = 6
    WSA_NOT_ENOUGH_MEMORY = 8
    ERROR_NOT_SUPPORTED = 50
    ERROR_NETNAME_DELETED = 64
    WSA_INVALID_PARAMETER = 87
    WSA_OPERATION_ABORTED = 995
    WSA_IO_INCOMPLETE = 996
    WSA_IO_PENDING = 997
    ERROR_CONNECTION_REFUSED = 1225
    ERROR_CONNECTION_ABORTED = 1236
    WSAEINTR = 10004
    WSAEBADF = 10009
    WSAEACCES = 10013
    WSAEFAULT = 10014
    WSAEINVAL = 10022
    WSAEMFILE = 10024
    WSAEWOULDBLOCK = 10035
    WSAEINPROGRESS = 10036
    WSAEALREADY = 10037
    WSAENOTSOCK = 10038
    WSAEDESTADDRREQ = 10039
    WSAEMSGSIZE = 10040
    WSAEPROTOTYPE = 10041
    WSAENOPROTOOPT = 10042
    WSAEPROTONOSUPPORT = 10043
    WSAESOCKTNOSUPPORT = 10044
    WSAEOPNOTSUPP = 10045
    WSAEPFNOSUPPORT = 10046
    WSAEAFNOSUPPORT = 10047
    WSAEADDRINUSE = 10048
    WSAEADDRNOTAVAIL = 10049
    WSAENETDOWN = 10050
    WSAENETUNREACH = 10051
    WSAENETRESET = 10052
    WSAECONNABORTED = 10053
    WSAECONNRESET = 10054
    WSAENOBUFS = 10055
    WSAEISCONN = 10056
    WSAENOTCONN = 10057
    WSAESHUTDOWN = 10058
    WSAETOOMANYREFS = 10059
    WSAETIMEDOUT = 10060
    WSAECONNREFUSED = 10061
    WSAELOOP = 10062
    WSAENAMETOOLONG = 10063
    WSAEHOSTDOWN = 10064
    WSAEHOSTUNREACH = 10065
    WSAEPROCLIM = 10067
    WSASYSNOTREADY = 10091
    WSAVERNOTSUPPORTED = 10092
    WSANOTINITIALISED = 10093
    WSAEDISCON = 10101
    WSAEINVALIDPROCTABLE = 10104
    WSAEINVALIDPROVIDER = 10105
    WSAEPROVIDERFAILEDINIT = 10106
    WSASYSCALLFAILURE = 10107
    WSAHOST_NOT_FOUND = 11001
    WSATRY_AGAIN = 11002


# code: (name, errno, sentence)
ERRORS: Final[dict[int, tuple[str, int, str]]] = {
    6: ("WSA_INVALID_HANDLE", errno.EBADF, "The event handle is not valid."),
    8: ("WSA_NOT_ENOUGH_MEMORY", errno.ENOMEM, "There is not enough memory."),
    50: (
        "ERROR_NOT_SUPPORTED",
        errno.EOPNOTSUPP,
        "GetOverlappedResult: the request is not supported (WSAEOPNOTSUPP).",
    ),
    64: (
        "ERROR_NETNAME_DELETED",
        errno.ECONNRESET,
        "GetOverlappedResult: the peer reset the connection (WSAECONNRESET).",
    ),
    87: ("WSA_INVALID_PARAMETER", errno.EINVAL, "A parameter is not valid."),
    995: (
        "WSA_OPERATION_ABORTED",
        errno.ECANCELED,
        "The request was abandoned because its socket was closed.",
    ),
    996: ("WSA_IO_INCOMPLETE", errno.EINPROGRESS, "The overlapped request has not finished yet."),
    997: (
        "WSA_IO_PENDING",
        errno.EINPROGRESS,
        "The overlapped request was started and finishes later.",
    ),
    1225: (
        "ERROR_CONNECTION_REFUSED",
        errno.ECONNREFUSED,
        "GetOverlappedResult: the connect was refused (WSAECONNREFUSED).",
    ),
    1236: (
        "ERROR_CONNECTION_ABORTED",
        errno.ECONNABORTED,
        "GetOverlappedResult: the connection was ended on this side (WSAECONNABORTED).",
    ),
    10004: ("WSAEINTR", errno.EINTR, "The call was interrupted."),
    10009: ("WSAEBADF", errno.EBADF, "The file handle is not valid."),
    10013: (
        "WSAEACCES",
        errno.EACCES,
        "Access is denied, or the request was withdrawn before it was accepted.",
    ),
    10014: ("WSAEFAULT", errno.EFAULT, "An address or buffer is outside the process or too small."),
    10022: (
        "WSAEINVAL",
        errno.EINVAL,
        "An argument is not valid, or not in this state of the socket.",
    ),
    10024: ("WSAEMFILE", errno.EMFILE, "No more socket descriptors are available."),
    10035: ("WSAEWOULDBLOCK", errno.EAGAIN, "The operation cannot finish at once."),
    10036: (
        "WSAEINPROGRESS",
        errno.EINPROGRESS,
        "A blocking call is under way; no SAN provider reports this.",
    ),
    10037: ("WSAEALREADY", errno.EALREADY, "A connect is already under way on this socket."),
    10038: (
        "WSAENOTSOCK",
        errno.ENOTSOCK,
        "The descriptor is not an open socket of this provider.",
    ),
    10039: ("WSAEDESTADDRREQ", errno.EDESTADDRREQ, "A destination address is required."),
    10040: (
        "WSAEMSGSIZE",
        errno.EMSGSIZE,
        "The message is longer than the limit or the receive buffers.",
    ),
    10041: ("WSAEPROTOTYPE", errno.EPROTOTYPE, "The protocol does not fit the socket type."),
    10042: ("WSAENOPROTOOPT", errno.ENOPROTOOPT, "The socket option is unknown or not supported."),
    10043: ("WSAEPROTONOSUPPORT", errno.EPROTONOSUPPORT, "The protocol is not supported."),
    10044: (
        "WSAESOCKTNOSUPPORT",
        errno.ESOCKTNOSUPPORT,
        "The socket type is not supported in this address family.",
    ),
    10045: ("WSAEOPNOTSUPP", errno.EOPNOTSUPP, "The provider does not support this operation."),
    10046: ("WSAEPFNOSUPPORT", errno.EPFNOSUPPORT, "The protocol family is not supported."),
    10047: ("WSAEAFNOSUPPORT", errno.EAFNOSUPPORT, "The address family is not supported."),
    10048: ("WSAEADDRINUSE", errno.EADDRINUSE, "The address is already in use."),
    10049: (
        "WSAEADDRNOTAVAIL",
        errno.EADDRNOTAVAIL,
        "The address is not one that this provider can use here.",
    ),
    10050: ("WSAENETDOWN", errno.ENETDOWN, "The network subsystem of the provider has failed."),
    10051: ("WSAENETUNREACH", errno.ENETUNREACH, "The network cannot be reached from here."),
    10052: ("WSAENETRESET", errno.ENETRESET, "Keep-alive found the connection broken."),
    10053: (
        "WSAECONNABORTED",
        errno.ECONNABORTED,
        "The connection was ended by a fault on this side.",
    ),
    10054: (
        "WSAECONNRESET",
        errno.ECONNRESET,
        "The peer closed or reset the connection, or nobody listens there.",
    ),
    10055: (
        "WSAENOBUFS",
        errno.ENOBUFS,
        "There is no room for more buffers, sockets or registrations.",
    ),
    10056: ("WSAEISCONN", errno.EISCONN, "The socket is already connected."),
    10057: ("WSAENOTCONN", errno.ENOTCONN, "The socket is not connected."),
    10058: ("WSAESHUTDOWN", errno.EPIPE, "This direction of the connection was shut down."),
    10059: ("WSAETOOMANYREFS", errno.ETOOMANYREFS, "Too many references to a kernel object."),
    10060: (
        "WSAETIMEDOUT",
        errno.ETIMEDOUT,
        "There was no answer in time; TCP/IP may still get through.",
    ),
    10061: ("WSAECONNREFUSED", errno.ECONNREFUSED, "The peer refused the connection."),
    10062: ("WSAELOOP", errno.ELOOP, "A name cannot be translated because it refers to itself."),
    10063: ("WSAENAMETOOLONG", errno.ENAMETOOLONG, "A name is too long."),
    10064: ("WSAEHOSTDOWN", errno.EHOSTDOWN, "The destination host is down."),
    10065: ("WSAEHOSTUNREACH", errno.EHOSTUNREACH, "The destination address does not exist."),
    10067: ("WSAEPROCLIM", errno.EUSERS, "The provider serves no more processes."),
    10091: ("WSASYSNOTREADY", errno.ENETDOWN, "The network subsystem is not ready."),
    10092: (
        "WSAVERNOTSUPPORTED",
        errno.EPROTONOSUPPORT,
        "The requested version of Windows Sockets is not supported.",
    ),
    10093: ("WSANOTINITIALISED", errno.ENXIO, "No successful WSPStartupEx came before this call."),
    10101: ("WSAEDISCON", errno.EPIPE, "The peer shut the connection down in an orderly way."),
    10104: (
        "WSAEINVALIDPROCTABLE",
        errno.ENOEXEC,
        "The provider left required functions out of its table.",
    ),
    10105: (
        "WSAEINVALIDPROVIDER",
        errno.ENOEXEC,
        "The provider reported a version that cannot be used.",
    ),
    10106: ("WSAEPROVIDERFAILEDINIT", errno.ENODEV, "The provider could not be loaded or started."),
    10107: ("WSASYSCALLFAILURE", errno.EIO, "A system call failed that should never fail."),
    11001: ("WSAHOST_NOT_FOUND", errno.EHOSTUNREACH, "The host name is not known."),
    11002: ("WSATRY_AGAIN", errno.EAGAIN, "No decision yet; the call can be repeated."),
}

# errno: the code it is reported as
FROM_ERRNO: Final[dict[int, int]] = {
    errno.ENOMEM: 8,
    errno.ECANCELED: 995,
    errno.EINTR: 10004,
    errno.EACCES: 10013,
    errno.EPERM: 10013,
    errno.EFAULT: 10014,
    errno.EINVAL: 10022,
    errno.EMFILE: 10024,
    errno.ENFILE: 10024,
    errno.EAGAIN: 10035,
    errno.EINPROGRESS: 10035,
    errno.EALREADY: 10037,
    errno.ENOTSOCK: 10038,
    errno.EBADF: 10038,
    errno.EDESTADDRREQ: 10039,
    errno.EMSGSIZE: 10040,
    errno.EPROTOTYPE: 10041,
    errno.ENOPROTOOPT: 10042,
    errno.EPROTONOSUPPORT: 10043,
    errno.ESOCKTNOSUPPORT: 10044,
    errno.EOPNOTSUPP: 10045,
    errno.ENOSYS: 10045,
    errno.EPFNOSUPPORT: 10046,
    errno.EAFNOSUPPORT: 10047,
    errno.EADDRINUSE: 10048,
    errno.EADDRNOTAVAIL: 10049,
    errno.ENETDOWN: 10050,
    errno.ENETUNREACH: 10051,
    errno.ENETRESET: 10052,
    errno.ECONNABORTED: 10053,
    errno.ECONNRESET: 10054,
    errno.ENOBUFS: 10055,
    errno.ENOSPC: 10055,
    errno.EISCONN: 10056,
    errno.ENOTCONN: 10057,
    errno.EPIPE: 10058,
    errno.ESHUTDOWN: 10058,
    errno.ETOOMANYREFS: 10059,
    errno.ETIMEDOUT: 10060,
    errno.ECONNREFUSED: 10061,
    errno.ELOOP: 10062,
    errno.ENAMETOOLONG: 10063,
    errno.EHOSTDOWN: 10064,
    errno.EHOSTUNREACH: 10065,
    errno.EUSERS: 10067,
    errno.EIO: 10107,
}
