"""WSPIoctl: one table of control codes."""

from __future__ import annotations

import _socket
import struct
from _thread import get_ident
from fcntl import ioctl

from wsdirect.spi import constants as c
from wsdirect.spi.errors import WSAError, WsaErrorCode, from_oserror
from wsdirect.spi.guid import GUID
from wsdirect.switch.upper import names
from wsdirect.switch.upper.core import Core
from wsdirect.switch.upper.names import AF_INET
from wsdirect.switch.upper.options import set_option
from wsdirect.switch.upper.progress import attempt
from wsdirect.switch.upper.sockets import Request, Socket, begin
from wsdirect.switch.upper.tables import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from wsdirect.spi.overlapped import WSAOVERLAPPED

__all__ = ["EXTENSIONS", "Controls"]

SIOCGIFADDR = 0x8915
SIO_BASE_HANDLE = 0x48000022
SIO_BSP_HANDLE = 0x4800001B
SIO_IDEAL_SEND_BACKLOG_QUERY = 0x4004747B
SIO_ROUTING_INTERFACE_QUERY = 0xC8000014
IDEAL_BACKLOG = 65536  # bytes on their way that keep a connection busy
POINTER = 8  # bytes of a function pointer

WSAID_ACCEPTEX: Final = GUID("B5367DF1-CBAC-11CF-95CA-00805F48A192")
WSAID_CONNECTEX: Final = GUID("25A207B9-DDF3-4660-8EE9-76E58C74063E")
WSAID_DISCONNECTEX: Final = GUID("7FDA2E11-8630-436F-A031-F536A6EEC157")
WSAID_GETACCEPTEXSOCKADDRS: Final = GUID("B5367DF2-CBAC-11CF-95CA-00805F48A192")
WSAID_TRANSMITFILE: Final = GUID("B5367DF0-CBAC-11CF-95CA-00805F48A192")

EXTENSIONS: Final = {
    WSAID_ACCEPTEX: "AcceptEx",
    WSAID_CONNECTEX: "ConnectEx",
    WSAID_DISCONNECTEX: "DisconnectEx",
    WSAID_GETACCEPTEXSOCKADDRS: "GetAcceptExSockaddrs",
    WSAID_TRANSMITFILE: "TransmitFile",
}
"""Microsoft's well-known GUIDs of mswsock.h and the methods that they stand for."""


def _word(value: Any, call: str) -> int:
    if isinstance(value, int):
        return value
    try:
        raw = bytes(value)
    except TypeError:
        raise WSAError(WsaErrorCode.WSAEFAULT, call) from None
    if len(raw) < 4:
        raise WSAError(WsaErrorCode.WSAEFAULT, call, "Four bytes are needed.")
    return int.from_bytes(raw[:4], "little")


def addresses_of_this_host(family: int) -> list[tuple[str, int]]:
    """All addresses of all interfaces, each as (host, 0)."""
    found: list[tuple[str, int]] = []
    if family == AF_INET:
        probe = _socket.socket(AF_INET, _socket.SOCK_DGRAM)
        for _, name in _socket.if_nameindex():
            asked = struct.pack("256s", name.encode()[:15])
            try:
                raw = ioctl(probe.fileno(), SIOCGIFADDR, asked)
            except OSError:
                continue  # an interface without an IPv4 address
            found.append((_socket.inet_ntop(AF_INET, raw[20:24]), 0))
        probe.close()
        return found
    try:
        with open("/proc/net/if_inet6") as table:
            for line in table:
                raw = bytes.fromhex(line.split()[0])
                found.append((_socket.inet_ntop(_socket.AF_INET6, raw), 0))
    except OSError:
        pass  # no IPv6 here
    return found


class Controls(Core):
    """See `service_provider.SwitchProvider`."""

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
        """Query or control.

        | code                               | in_buffer           | returns                  |
        | ---------------------------------- | ------------------- | ------------------------ |
        | FIONREAD                           |                     | bytes to receive         |
        | FIONBIO                            | int, or its bytes   | None                     |
        | SIOCATMARK                         |                     | bool                     |
        | SIO_KEEPALIVE_VALS                 | three ints or bytes | None                     |
        | SIO_ADDRESS_LIST_QUERY             |                     | a list of (host, 0)      |
        | SIO_GET_EXTENSION_FUNCTION_POINTER | a GUID or its bytes | the function             |
        | SIO_ROUTING_INTERFACE_QUERY        | an address          | the local address for it |
        | SIO_BASE_HANDLE, SIO_BSP_HANDLE    |                     | the handle itself        |
        | SIO_IDEAL_SEND_BACKLOG_QUERY       |                     | bytes                    |

        With a record, a request that succeeds has ended when the call returns, and one that is
        not supported ends later, with WSAEOPNOTSUPP; the other failures leave the record alone.

        Errors:
            WSAENOTSOCK: s is not a socket.
            WSAEFAULT: too little room, or an in_buffer that is not what the code needs.
            WSAEINVAL: not in this state, or an unknown GUID.
            WSAEOPNOTSUPP: an unknown code.

        Source: S:lpwspioctl.
        """
        call = "WSPIoctl"
        sock = self._get(s, call)
        request = Request(s, overlapped, completion_routine, thread_id or get_ident())
        handler = _CONTROLS.get(code)
        if handler is None:
            if overlapped is None:
                raise WSAError(WsaErrorCode.WSAEOPNOTSUPP, call)
            with sock.lock:
                sock.began(begin(request))
                self._serving.end(sock, request, WsaErrorCode.WSAEOPNOTSUPP)
            sock.announcer.run()
            return None
        needed = _OUT.get(code, 0)
        if out_size is not None and out_size < needed:
            raise WSAError.too_small(call, needed)
        with sock.lock:
            answer: Any = s if code in _SAME_HANDLE else handler(self, sock, in_buffer)
            if code == c.SIO_ADDRESS_LIST_QUERY and out_size is not None:
                needed = 8 + len(answer) * (16 + sock.info.iMaxSockAddr)
                if out_size < needed:
                    raise WSAError.too_small(call, needed)
            self._serving.settle(sock)
        sock.announcer.run()
        if overlapped is not None:
            begin(request)
            request.transferred = needed
            request.announce(self._upcalls)
        return answer

    def _unread(self, sock: Socket, _: Any) -> int:
        if sock.state is not State.CONNECTED or sock.endpoint is None:
            return 0
        try:
            found: int = attempt(sock, "available")
        except OSError:
            return 0
        return found

    def _blocking(self, sock: Socket, value: Any) -> None:
        on = _word(value, "WSPIoctl")
        if not on and sock.selected:
            raise WSAError(
                WsaErrorCode.WSAEINVAL, "WSPIoctl", "WSPEventSelect keeps it non-blocking."
            )
        sock.nonblocking = bool(on)

    def _at_mark(self, sock: Socket, _: Any) -> bool:
        if sock.state is not State.CONNECTED or sock.endpoint is None:
            return True
        from wsdirect.switch.upper.progress import look
        from wsdirect.switch.upper.tables import Ready

        if sock.inline:
            found: bool = attempt(sock, "at_mark") or not attempt(sock, "mark_ahead")
            return found
        return not look(sock) & Ready.URGENT

    def _keep_alive(self, sock: Socket, value: Any) -> None:
        call = "WSPIoctl"
        if isinstance(value, (tuple, list)) and len(value) == 3:
            on, idle, interval = (int(part) for part in value)
        else:
            try:
                raw = bytes(value) if not isinstance(value, int) else b""
            except TypeError:
                raw = b""
            if len(raw) < 12:
                raise WSAError(WsaErrorCode.WSAEFAULT, call, "Twelve bytes are needed.")
            on, idle, interval = struct.unpack_from("<III", raw)
        set_option(sock, c.SOL_SOCKET, c.SO_KEEPALIVE, int(bool(on)))
        if on:
            set_option(sock, c.IPPROTO_TCP, c.TCP_KEEPALIVE, max(1, idle // 1000))
            set_option(sock, c.IPPROTO_TCP, c.TCP_KEEPINTVL, max(1, interval // 1000))

    def _addresses(self, sock: Socket, _: Any) -> list[tuple[str, int]]:
        return addresses_of_this_host(sock.family)

    def _handle(self, sock: Socket, _: Any) -> int:
        return next(iter(sock.handles))

    def _backlog(self, sock: Socket, _: Any) -> int:
        if sock.state is not State.CONNECTED:
            raise WSAError(WsaErrorCode.WSAENOTCONN, "WSPIoctl")
        return IDEAL_BACKLOG

    def _routing(self, sock: Socket, value: Any) -> tuple[Any, ...]:
        """The local address that would be used to reach another."""
        name = names.parse(value, sock.family, "WSPIoctl")
        probe = _socket.socket(sock.family, _socket.SOCK_DGRAM)
        try:
            probe.connect((name[0], 9, *name[2:]))
            found: tuple[Any, ...] = probe.getsockname()
        except OSError as error:
            raise from_oserror(error, "WSPIoctl") from error
        finally:
            probe.close()
        return (found[0], 0, *found[2:])

    def _extension(self, sock: Socket, value: Any) -> Any:
        if not isinstance(value, GUID):
            try:
                value = GUID(bytes_le=bytes(value)[:16])
            except (TypeError, ValueError):
                raise WSAError(WsaErrorCode.WSAEFAULT, "WSPIoctl", "A GUID is needed.") from None
        name = EXTENSIONS.get(value)
        if name is None:
            raise WSAError(WsaErrorCode.WSAEINVAL, "WSPIoctl", f"No extension function {value}.")
        return getattr(self, name)


_CONTROLS: Final[dict[int, Callable[[Controls, Socket, Any], Any]]] = {
    c.FIONREAD: Controls._unread,
    c.FIONBIO: Controls._blocking,
    c.SIOCATMARK: Controls._at_mark,
    c.SIO_KEEPALIVE_VALS: Controls._keep_alive,
    c.SIO_ADDRESS_LIST_QUERY: Controls._addresses,
    c.SIO_GET_EXTENSION_FUNCTION_POINTER: Controls._extension,
    SIO_BASE_HANDLE: Controls._handle,
    SIO_BSP_HANDLE: Controls._handle,
    SIO_IDEAL_SEND_BACKLOG_QUERY: Controls._backlog,
    SIO_ROUTING_INTERFACE_QUERY: Controls._routing,
}
_SAME_HANDLE = frozenset({SIO_BASE_HANDLE, SIO_BSP_HANDLE})  # there is no layer beneath
_OUT: Final[dict[int, int]] = {
    c.FIONREAD: 4,
    c.SIOCATMARK: 4,
    c.SIO_GET_EXTENSION_FUNCTION_POINTER: POINTER,
    SIO_BASE_HANDLE: POINTER,
    SIO_BSP_HANDLE: POINTER,
    SIO_IDEAL_SEND_BACKLOG_QUERY: 4,
}
"""Bytes that the C structures of the answers would need."""
