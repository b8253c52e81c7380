"""Windows Sockets 2 for Python on Linux: the calls of ws2_32, over a SAN where both ends can.

A thin layer over `wsdirect.switch.upper.service_provider.SwitchProvider`, for programs and tests
that are written in Winsock's terms: overlapped requests, event objects, completion routines.

* Functions have Winsock's names and argument order.  What C writes through pointers is returned,
  a failure raises `WSAError`, and None means WSA_IO_PENDING or WSA_IO_INCOMPLETE.
* Where ws2_32 refuses a null pointer, the argument for it may be given as None: see `RETURNED`.
* Times are milliseconds, as in C; WSA_INFINITE is for ever.

    from wsdirect import winsock as ws

    ws.WSAStartup(0x0202)
    s = ws.WSASocket(ws.AF_INET, ws.SOCK_STREAM, ws.IPPROTO_TCP)
    ws.connect(s, ("127.0.0.1", 7))
    overlapped = ws.WSAOVERLAPPED(ws.WSACreateEvent())
    if ws.WSARecv(s, [buffer], 0, overlapped) is None:
        ws.WSAWaitForMultipleEvents([overlapped.hEvent], True, ws.WSA_INFINITE, False)
    received = ws.WSAGetOverlappedResult(s, overlapped)
"""

from __future__ import annotations

import select as _select
import threading
import time
from collections import deque

from wsdirect.spi import constants as _constants
from wsdirect.spi.constants import *  # noqa: F403  # Winsock's own names
from wsdirect.spi.constants import (
    FROM_PROTOCOL_INFO,
    WSA_INFINITE,
    WSA_MAXIMUM_WAIT_EVENTS,
    WSA_WAIT_EVENT_0,
    WSA_WAIT_IO_COMPLETION,
    WSA_WAIT_TIMEOUT,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.native import AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY
from wsdirect.spi.overlapped import WSAOVERLAPPED, Event
from wsdirect.spi.structures import (
    GUID,
    LINGER,
    QOS,
    WSANETWORKEVENTS,
    WSAPROTOCOL_INFOW,
    WSPDATA,
    AcceptRequest,
)
from wsdirect.spi.upcalls import HandleSpace
from wsdirect.switch.upper.controls import (
    WSAID_ACCEPTEX,
    WSAID_CONNECTEX,
    WSAID_DISCONNECTEX,
    WSAID_GETACCEPTEXSOCKADDRS,
    WSAID_TRANSMITFILE,
)
from wsdirect.switch.upper.service_provider import SwitchProvider

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from wsdirect.spi.structures import ConditionProc

    Routine = Callable[[int, int, WSAOVERLAPPED, int], object]

__all__ = [
    "AF_INET6", "GUID", "IPPROTO_IPV6", "IPV6_V6ONLY", "LINGER", "QOS", "RETURNED",
    "WSAID_ACCEPTEX", "WSAID_CONNECTEX", "WSAID_DISCONNECTEX", "WSAID_GETACCEPTEXSOCKADDRS",
    "WSAID_TRANSMITFILE", "WSANETWORKEVENTS", "WSAOVERLAPPED", "WSAPROTOCOL_INFOW", "WSPDATA",
    "AcceptEx", "AcceptRequest", "CancelIoEx", "ConnectEx", "DisconnectEx", "Event",
    "GetAcceptExSockaddrs", "GetOverlappedResult", "SleepEx", "TransmitFile", "WSAAccept",
    "WSAAddressToString", "WSAAsyncSelect", "WSACleanup", "WSACloseEvent", "WSAConnect",
    "WSACreateEvent", "WSADuplicateSocket", "WSAEnumNetworkEvents", "WSAEnumProtocols",
    "WSAError", "WSAEventSelect",
    "WSAGetOverlappedResult", "WSAGetQOSByName", "WSAIoctl", "WSAPoll", "WSARecv",
    "WSARecvDisconnect", "WSAResetEvent", "WSASend", "WSASendDisconnect", "WSASetEvent",
    "WSASocket", "WSAStartup", "WSAStringToAddress", "WSAWaitForMultipleEvents", "WsaErrorCode",
    "accept", "bind", "closesocket", "connect", "getpeername", "getsockname", "getsockopt",
    "ioctlsocket", "listen", "provider", "recv", "select", "send", "setsockopt", "shutdown",
    "socket", "use_san",
]  # fmt: skip
__all__ += _constants.__all__

RETURNED: Any = object()
"""Stands for the address of a result, which is returned instead; None is a null pointer."""

# What GetOverlappedResult says, as it knows files and not sockets.
_FILE_ERRORS = {
    WsaErrorCode.WSAECONNRESET: WsaErrorCode.ERROR_NETNAME_DELETED,
    WsaErrorCode.WSAECONNREFUSED: WsaErrorCode.ERROR_CONNECTION_REFUSED,
    WsaErrorCode.WSAECONNABORTED: WsaErrorCode.ERROR_CONNECTION_ABORTED,
    WsaErrorCode.WSAEOPNOTSUPP: WsaErrorCode.ERROR_NOT_SUPPORTED,
}


class _Upcalls(HandleSpace):
    """Handles and completions, and a queue of routines for each thread that waits alertably."""

    __slots__ = ("_bells",)

    def __init__(self) -> None:
        super().__init__()
        self._bells: dict[int, Event] = {}

    def bell(self, thread_id: int) -> Event:
        """Set while routines wait for this thread."""
        found = self._bells.get(thread_id)
        return found if found is not None else self._bells.setdefault(thread_id, Event())

    def WPUQueueApc(self, thread_id: int, function: Callable[[Any], object], context: Any) -> None:
        self._apcs.setdefault(thread_id, deque()).append((function, context))
        self.bell(thread_id).set()

    def run_apcs(self) -> int:
        bell = self._bells.get(threading.get_ident())
        if bell is not None:
            bell.reset()
        return super().run_apcs()


_upcalls = _Upcalls()
provider = SwitchProvider()
"""The service provider that all functions call."""


def use_san(on: bool) -> None:
    """Whether connections and listeners made from now on may use a SAN; True at first."""
    provider.switched = on


def _fault(call: str, *pointers: Any) -> None:
    if any(pointer is None for pointer in pointers):
        raise WSAError(WsaErrorCode.WSAEFAULT, call, "A null pointer.")


def _seconds(milliseconds: int | None) -> float | None:
    if milliseconds is None or milliseconds == WSA_INFINITE or milliseconds < 0:
        return None
    return milliseconds / 1000


# --- start and end ------------------------------------------------------------------------------


def WSAStartup(version: int = 0x0202) -> WSPDATA:
    """Start Winsock for this process, or count one more user."""
    return provider.WSPStartupEx(version, provider.protocol_info, _upcalls)


def WSACleanup() -> None:
    """Undo one WSAStartup; the last one closes all sockets."""
    provider.WSPCleanup()


# --- sockets ------------------------------------------------------------------------------------


def WSASocket(
    af: int,
    type: int,
    protocol: int,
    protocol_info: WSAPROTOCOL_INFOW | None = None,
    group: int = 0,
    flags: int = 1,
) -> int:
    """Make a socket, or a further handle of a duplicated one."""
    return provider.WSPSocket(af, type, protocol, protocol_info, group, flags)


def socket(af: int, type: int, protocol: int = 0) -> int:
    """Make a socket."""
    return provider.WSPSocket(af, type, protocol)


def WSAEnumProtocols(protocols: Sequence[int] | None = None) -> list[WSAPROTOCOL_INFOW]:
    """What sockets there are; each can be given to WSASocket."""
    return provider.enum_protocols(protocols)


def closesocket(s: int) -> None:
    """Close a handle; the last one ends the connection."""
    provider.WSPCloseSocket(s)


def WSADuplicateSocket(s: int, process_id: int, info: Any = RETURNED) -> WSAPROTOCOL_INFOW:
    """Prepare a further handle; give the result to WSASocket with FROM_PROTOCOL_INFO."""
    made = provider.WSPDuplicateSocket(s, process_id)
    _fault("WSADuplicateSocket", info)
    return made


def socket_from(info: WSAPROTOCOL_INFOW) -> int:
    """WSASocket(FROM_PROTOCOL_INFO, ..., info)."""
    known = FROM_PROTOCOL_INFO
    return provider.WSPSocket(known, known, known, info)


def bind(s: int, address: Any, length: int | None = None) -> None:
    """Bind; `length` bytes of an address that is given as bytes."""
    provider.WSPBind(s, _cut(address, length))


def _cut(address: Any, length: int | None) -> Any:
    if length is None:
        return address
    if isinstance(address, tuple):
        return address if length >= 16 else b""
    return address if address is None else bytes(address)[:length]


def listen(s: int, backlog: int) -> None:
    """Listen."""
    provider.WSPListen(s, backlog)


def WSAAccept(
    s: int,
    address: Any = RETURNED,
    length: int | None = 128,
    condition: ConditionProc | None = None,
    callback_data: Any = None,
) -> tuple[int, Any]:
    """Accept; `length` is the room for the peer's address if that is wanted."""
    wanted = address is not None and length is not None
    return provider.WSPAccept(s, condition, callback_data, length if wanted else None)


def accept(s: int, address: Any = RETURNED, length: int | None = 128) -> tuple[int, Any]:
    """Accept: the new socket and the peer's address."""
    return WSAAccept(s, address, length)


def WSAConnect(
    s: int,
    address: Any,
    caller_data: Any = None,
    callee_data: Any = None,
    sqos: QOS | None = None,
    gqos: QOS | None = None,
) -> None:
    """Connect."""
    provider.WSPConnect(s, address, caller_data, callee_data, sqos, gqos)


def connect(s: int, address: Any, length: int | None = None) -> None:
    """Connect."""
    provider.WSPConnect(s, _cut(address, length))


def getsockname(s: int, name: Any = RETURNED, length: int | None = 128) -> Any:
    """The local address."""
    found = provider.WSPGetSockName(s)
    _room("getsockname", found, name, length)
    return found


def getpeername(s: int, name: Any = RETURNED, length: int | None = 128) -> Any:
    """The peer's address."""
    found = provider.WSPGetPeerName(s)
    _room("getpeername", found, name, length)
    return found


def _room(call: str, found: tuple[Any, ...], name: Any, length: int | None) -> None:
    _fault(call, name, length)
    needed = 16 if len(found) == 2 else 28
    if length is not None and length < needed:
        raise WSAError.too_small(call, needed)


def shutdown(s: int, how: int) -> None:
    """End sending, receiving or both."""
    provider.WSPShutdown(s, how)


def WSASendDisconnect(s: int, data: Any = None) -> None:
    """Send no more."""
    provider.WSPSendDisconnect(s, data)


def WSARecvDisconnect(s: int, data: Any = None) -> bytes:
    """Receive no more."""
    return provider.WSPRecvDisconnect(s)


# --- data ---------------------------------------------------------------------------------------


def send(s: int, data: Any, flags: int = 0) -> int:
    """Send; bytes sent."""
    sent = provider.WSPSend(s, [data], flags)
    assert sent is not None
    return sent


def recv(s: int, buffer: Any, flags: int = 0) -> Any:
    """Receive: bytes received into a buffer; or, given a number, that many bytes at most."""
    if isinstance(buffer, int):
        room = bytearray(buffer)
        got = provider.WSPRecv(s, [room], flags)
        return bytes(room[:got])
    return provider.WSPRecv(s, [buffer], flags)


def WSASend(
    s: int,
    buffers: Sequence[Any],
    flags: int = 0,
    overlapped: WSAOVERLAPPED | None = None,
    completion_routine: Routine | None = None,
    sent: Any = RETURNED,
) -> int | None:
    """Send; None: the request goes on."""
    _counted("WSASend", s, sent, overlapped)
    return provider.WSPSend(s, buffers, flags, overlapped, completion_routine)


def WSARecv(
    s: int,
    buffers: Sequence[Any],
    flags: int | None = 0,
    overlapped: WSAOVERLAPPED | None = None,
    completion_routine: Routine | None = None,
    received: Any = RETURNED,
) -> int | None:
    """Receive; None: the request goes on."""
    _counted("WSARecv", s, received, overlapped)
    if flags is None:
        raise WSAError(WsaErrorCode.WSAEFAULT, "WSARecv", "A null pointer.")
    return provider.WSPRecv(s, buffers, flags, overlapped, completion_routine)


def _counted(call: str, s: int, count: Any, overlapped: WSAOVERLAPPED | None) -> None:
    """Without a record there must be a place for the number of bytes."""
    if count is None and overlapped is None:
        provider._get(s, call)  # whether it is a socket at all is looked at first
        _fault(call, count)


def WSAGetOverlappedResult(
    s: int, overlapped: WSAOVERLAPPED | None, wait: bool = False
) -> int | None:
    """How a request ended; None: it goes on.  Winsock's error codes."""
    return provider.WSPGetOverlappedResult(s, overlapped, wait)  # type: ignore[arg-type]


def GetOverlappedResult(s: int, overlapped: WSAOVERLAPPED, wait: bool = False) -> int | None:
    """The same with the error codes of files; the handle is not looked at."""
    while wait and overlapped.in_progress:
        try:
            provider.WSPGetOverlappedResult(s, overlapped, True)
        except WSAError:
            time.sleep(0.001)  # a handle of nothing: only the record can tell
    try:
        return overlapped.result()
    except WSAError as error:
        code = _FILE_ERRORS.get(WsaErrorCode(error.winerror), error.winerror)
        raise WSAError(code, "GetOverlappedResult") from None


def CancelIoEx(s: int, overlapped: WSAOVERLAPPED | None = None) -> int:
    """End pending requests with WSA_OPERATION_ABORTED."""
    return provider.CancelIoEx(s, overlapped)


# --- events -------------------------------------------------------------------------------------


def WSACreateEvent() -> Event:
    """A manual-reset event that is not set."""
    return Event()


def WSACloseEvent(event: Event) -> None:
    """Close an event."""
    _handle(event).close()


def WSASetEvent(event: Event) -> None:
    """Set an event."""
    _handle(event).set()


def WSAResetEvent(event: Event) -> None:
    """Reset an event."""
    _handle(event).reset()


def _handle(event: Any) -> Event:
    if not isinstance(event, Event) or event.closed:
        raise WSAError(WsaErrorCode.WSA_INVALID_HANDLE)
    return event


def WSAEventSelect(s: int, event: Event | None, network_events: int) -> None:
    """Choose network events; makes the socket non-blocking."""
    provider.WSPEventSelect(s, event, network_events)


def WSAEnumNetworkEvents(
    s: int, event: Event | None = None, network_events: Any = RETURNED
) -> WSANETWORKEVENTS:
    """What has happened; resets the event."""
    provider._get(s, "WSAEnumNetworkEvents")
    _fault("WSAEnumNetworkEvents", network_events)
    return provider.WSPEnumNetworkEvents(s, event)


def WSAAsyncSelect(s: int, window: int, message: int, network_events: int) -> None:
    """WSAEOPNOTSUPP: there are no windows."""
    provider.WSPAsyncSelect(s, window, message, network_events)


def WSAWaitForMultipleEvents(
    events: Sequence[Event], wait_all: bool, milliseconds: int, alertable: bool = False
) -> int:
    """Wait for one event or all; WSA_WAIT_EVENT_0 + index, or another WSA_WAIT value.

    An alertable wait runs the completion routines of this thread and then returns
    WSA_WAIT_IO_COMPLETION.
    """
    if not events or len(events) > WSA_MAXIMUM_WAIT_EVENTS:
        raise WSAError(WsaErrorCode.WSA_INVALID_PARAMETER, "WSAWaitForMultipleEvents")
    return _wait([_handle(event) for event in events], wait_all, milliseconds, alertable)


def SleepEx(milliseconds: int, alertable: bool = False) -> int:
    """Sleep; 0, or WSA_WAIT_IO_COMPLETION if completion routines were run."""
    found = _wait([], False, milliseconds, alertable)
    return 0 if found == WSA_WAIT_TIMEOUT else found


def _wait(events: list[Event], wait_all: bool, milliseconds: int, alertable: bool) -> int:
    seconds = _seconds(milliseconds)
    deadline = None if seconds is None else time.monotonic() + seconds
    bell = _upcalls.bell(threading.get_ident()) if alertable else None
    while True:
        found = _taken(events, wait_all)
        if found is not None:
            return found
        if alertable and _upcalls.run_apcs():
            return WSA_WAIT_IO_COMPLETION
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return WSA_WAIT_TIMEOUT
        poller = _select.poll()
        for event in events:
            if not wait_all or not event.is_set():
                poller.register(event.fileno(), _select.POLLIN)
        if bell is not None:
            poller.register(bell.fileno(), _select.POLLIN)
        poller.poll(None if left is None else max(1.0, left * 1000))


def _taken(events: list[Event], wait_all: bool) -> int | None:
    """Use up what is set, if that is enough."""
    if not wait_all:
        for index, event in enumerate(events):
            if event.wait(0):
                return WSA_WAIT_EVENT_0 + index
        return None
    if not events or not all(event.is_set() for event in events):
        return None
    for index, event in enumerate(events):
        if not event.wait(0):  # another thread was faster: give back what was taken
            for taken in events[:index]:
                taken.set()
            return None
    return WSA_WAIT_EVENT_0


# --- select and poll ----------------------------------------------------------------------------


def select(
    read: Sequence[int] | None,
    write: Sequence[int] | None,
    exceptional: Sequence[int] | None,
    seconds: float | None = None,
) -> tuple[list[int], list[int], list[int]]:
    """Which sockets are ready; `seconds` as in a timeval, None waits for ever."""
    return provider.WSPSelect(read or (), write or (), exceptional or (), seconds)


def WSAPoll(descriptors: Any, milliseconds: int = -1) -> list[int]:
    """The resulting events of each (socket, events) pair; negative times are for ever."""
    _fault("WSAPoll", descriptors)
    return provider.WSAPoll(descriptors, _seconds(milliseconds))


# --- options and control ------------------------------------------------------------------------


def getsockopt(s: int, level: int, option: int, size: int | None = 4096) -> Any:
    """The value of an option; `size` is the room for it."""
    provider._get(s, "getsockopt")
    _fault("getsockopt", size)
    return provider.WSPGetSockOpt(s, level, option, size)


def setsockopt(s: int, level: int, option: int, value: Any) -> None:
    """Set an option to an int, a LINGER, or bytes."""
    provider.WSPSetSockOpt(s, level, option, value)


def ioctlsocket(s: int, code: int, value: Any = 0) -> Any:
    """FIONBIO, FIONREAD or SIOCATMARK."""
    return provider.WSPIoctl(s, code, value)


def WSAIoctl(
    s: int,
    code: int,
    in_buffer: Any = b"",
    out_size: int | None = None,
    overlapped: WSAOVERLAPPED | None = None,
    completion_routine: Any = None,
    returned: Any = RETURNED,
) -> Any:
    """Query or control; see SwitchProvider.WSPIoctl."""
    if returned is None and overlapped is None:
        provider._get(s, "WSAIoctl")
        _fault("WSAIoctl", returned)
    return provider.WSPIoctl(s, code, in_buffer, out_size, overlapped, completion_routine)


def WSAGetQOSByName(s: int, name: str) -> Any:
    """WSAEOPNOTSUPP."""
    return provider.WSPGetQOSByName(s, name)


def WSAAddressToString(address: Any, info: WSAPROTOCOL_INFOW | None = None) -> str:
    """The text of an address."""
    return provider.WSPAddressToString(address, info)


def WSAStringToAddress(text: str, family: int, info: WSAPROTOCOL_INFOW | None = None) -> Any:
    """The address of a text."""
    return provider.WSPStringToAddress(text, info, family)


# --- extension functions ------------------------------------------------------------------------


def AcceptEx(
    listener: int,
    acceptor: int,
    buffer: Any,
    receive_length: int,
    local_length: int,
    remote_length: int,
    overlapped: WSAOVERLAPPED | None,
) -> int | None:
    """Accept into a socket; see SwitchProvider.AcceptEx."""
    return provider.AcceptEx(
        listener, acceptor, buffer, receive_length, local_length, remote_length, overlapped
    )


def GetAcceptExSockaddrs(
    buffer: Any, receive_length: int, local_length: int, remote_length: int
) -> tuple[Any, Any]:
    """The two addresses in the buffer of an AcceptEx."""
    return provider.GetAcceptExSockaddrs(buffer, receive_length, local_length, remote_length)


def ConnectEx(
    s: int, address: Any, data: Any = None, overlapped: WSAOVERLAPPED | None = None
) -> int | None:
    """Connect a bound socket; see SwitchProvider.ConnectEx."""
    return provider.ConnectEx(s, address, data, overlapped)


def DisconnectEx(
    s: int, overlapped: WSAOVERLAPPED | None = None, flags: int = 0, reserved: int = 0
) -> int | None:
    """Disconnect; see SwitchProvider.DisconnectEx."""
    return provider.DisconnectEx(s, overlapped, flags, reserved)


def TransmitFile(
    s: int,
    file: Any,
    length: int = 0,
    per_send: int = 0,
    overlapped: WSAOVERLAPPED | None = None,
    buffers: tuple[Any, Any] | None = None,
    flags: int = 0,
) -> int | None:
    """Send a file between the two buffers; see SwitchProvider.TransmitFile."""
    head, tail = buffers or (None, None)
    return provider.TransmitFile(s, file, length, per_send, overlapped, head, tail, flags)
