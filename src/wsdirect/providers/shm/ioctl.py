"""Control codes: WSPIoctl, and how an overlapped one is announced.

Every code is answered at once.  A caller that gave an overlapped record gets the answer as the
result of the call and the announcement besides: by polling, by an upcall or by its completion
routine, as the record says.
"""

from __future__ import annotations

from _thread import get_ident

from wsdirect.providers.qos import QOS_CODES, QOS_SIZE, Service, control
from wsdirect.providers.shm.addresses import local_addresses
from wsdirect.providers.shm.options import message_max
from wsdirect.providers.socket_table import State, Upcalls
from wsdirect.spi.constants import (
    SIO_ADDRESS_LIST_QUERY,
    SIO_GET_GROUP_QOS,
    SIO_GET_QOS,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode, from_oserror
from wsdirect.spi.guid import GUID
from wsdirect.spi.layout import SIZES, STRUCTURES
from wsdirect.spi.overlapped import WSAOVERLAPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from wsdirect.providers.shm.san import San
    from wsdirect.providers.shm.sockets import SanSocket
    from wsdirect.spi.structures import Address

    Routine = Callable[[int, Any, WSAOVERLAPPED, int], object]

__all__ = ["announce", "answer", "guid_of"]

_CALL: Final = "WSPIoctl"
_POINTER: Final = 8
_LIST: Final = STRUCTURES["SOCKET_ADDRESS_LIST"]["Address"][0]
_ENTRY: Final = SIZES["SOCKET_ADDRESS"] + SIZES["sockaddr_in"]
_E = WsaErrorCode


def guid_of(in_buffer: object) -> GUID:
    """The GUID that names an extension function.

    Args:
        in_buffer: A GUID, or at least 16 bytes in memory that begin with one.

    Errors:
        WSAEFAULT: it is neither.
    """
    if isinstance(in_buffer, GUID):
        return in_buffer
    try:
        data = bytes(memoryview(in_buffer))  # type: ignore[arg-type]  # which tells if it can be
    except TypeError:
        data = b""
    if len(data) < SIZES["GUID"]:
        raise WSAError(_E.WSAEFAULT, _CALL, "It needs a GUID.")
    return GUID(bytes_le=data[: SIZES["GUID"]])


def room(out_size: int | None, needed: int) -> None:
    """See whether a result has room.

    Errors:
        WSAEFAULT: not enough; `required` says how much it needs.
    """
    if out_size is not None and (type(out_size) is not int or out_size < needed):
        raise WSAError.too_small(_CALL, needed)


def answer(
    socket: SanSocket, code: int, in_buffer: object, out_size: int | None
) -> tuple[Any, int]:
    """The result of every code but SIO_GET_EXTENSION_FUNCTION_POINTER, and its size in bytes."""
    if code == SIO_ADDRESS_LIST_QUERY:
        addresses: list[Address]
        try:
            addresses = [(host, 0) for host in local_addresses()]
        except OSError as error:
            raise from_oserror(error, _CALL) from error
        needed = _LIST + _ENTRY * len(addresses)
        room(out_size, needed)
        return addresses, needed
    if code not in QOS_CODES:
        raise WSAError(_E.WSAEINVAL, _CALL, f"There is no control code {code!r}.")
    if socket.native:
        raise WSAError(_E.WSAEOPNOTSUPP, _CALL, "It is a native stream.")
    with socket.lock:
        if socket.state in (State.MOVED, State.CLOSED):
            raise WSAError(_E.WSAEINVAL, _CALL, "The socket has gone.")
        service = socket.service or Service()
        result = control(service, code, in_buffer, out_size, message_max(socket))
        socket.service = service
    return result, QOS_SIZE if code in (SIO_GET_QOS, SIO_GET_GROUP_QOS) else 0


def pointer_size(out_size: int | None) -> int:
    """Size of the result of SIO_GET_EXTENSION_FUNCTION_POINTER.

    Errors:
        WSAEFAULT: there is less room than that.
    """
    room(out_size, _POINTER)
    return _POINTER


def announce(
    san: San,
    socket: SanSocket | None,
    overlapped: WSAOVERLAPPED,
    routine: Routine | None,
    thread: int | None,
    result: Any,
    size: int,
) -> None:
    """End an overlapped request that has been answered already.

    Args:
        san: Of the provider.
        socket: The socket; None if the caller named none, which leaves nobody to notify.
        overlapped: Record of the request, started.
        routine: Its completion routine: then nobody else is notified.
        thread: The routine's thread; None: the calling one.
        result: What the routine gets.
        size: Bytes of the result.
    """
    overlapped.set_result()
    if routine is not None:
        # The thread's number itself is kept, not whatever the caller has it in.
        number = get_ident() if thread is None else int(thread)
        overlapped.publish(size)
        called = routine
        san.upcalls.WPUQueueApc(number, lambda record: called(0, result, record, 0), overlapped)
    elif overlapped.polled or socket is None:
        overlapped.publish(size)
    else:
        # Not from within the call: its caller may hold what the notification takes.
        upcalls = _upcalls_of(socket)
        complete = san.upcalls.WPUCompleteOverlappedRequest
        upcalls.post(complete, socket.handle, overlapped, 0, size)
        try:
            san.progress.submit(upcalls.run)
        except OSError:  # no descriptor for that thread: rather from within the call than never
            upcalls.run()


def _upcalls_of(socket: SanSocket) -> Upcalls:
    with socket.lock:
        channel = socket.channel
        if channel is not None:
            return channel.upcalls
        if socket.told is None:
            socket.told = Upcalls()
        return socket.told
