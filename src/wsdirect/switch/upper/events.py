"""Network events, select, poll, options."""

from __future__ import annotations

from wsdirect.spi.constants import SO_UPDATE_ACCEPT_CONTEXT, SO_UPDATE_CONNECT_CONTEXT, SOL_SOCKET
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.overlapped import Event
from wsdirect.switch.upper import waiting
from wsdirect.switch.upper.core import Core
from wsdirect.switch.upper.options import carry, get_option, inherit, set_option
from wsdirect.switch.upper.tables import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from wsdirect.spi.structures import QOS, WSANETWORKEVENTS

__all__ = ["Events"]

ANY_EVENT = 0x3FF  # the ten bits; those without a meaning here never happen


class Events(Core):
    """See `service_provider.SwitchProvider`."""

    def WSPEventSelect(self, s: int, event: Event | None, network_events: int) -> None:
        """Choose the events that are recorded and the object that tells of them.

        Makes the socket non-blocking.  What is true already, and was not recorded since it was
        enabled, is recorded at once.  What the record still holds is recorded anew.

        Args:
            s: Handle.
            event: Set, never closed.  May be None if `network_events` is 0.
            network_events: FD_READ, FD_WRITE, FD_OOB, FD_ACCEPT, FD_CONNECT, FD_CLOSE; 0 for none
                any more.

        Errors:
            WSAEINVAL: unknown events, or no event object.
            WSAENOTSOCK: s is not a socket.

        Source: S:lpwspeventselect.
        """
        call = "WSPEventSelect"
        sock = self._get(s, call)
        if network_events & ~ANY_EVENT:
            raise WSAError(WsaErrorCode.WSAEINVAL, call)
        if network_events and not isinstance(event, Event):
            raise WSAError(WsaErrorCode.WSAEINVAL, call, "An event object is needed.")
        with sock.lock:
            sock.reported &= ~sock.record.lNetworkEvents
            sock.record.take()
            sock.selected = int(network_events)
            sock.event = event if network_events else None
            sock.nonblocking = True
            self._serving.settle(sock)
        sock.announcer.run()

    def WSPEnumNetworkEvents(self, s: int, event: Event | None = None) -> WSANETWORKEVENTS:  # noqa: D102
        sock = self._get(s, "WSPEnumNetworkEvents")
        with sock.lock:
            self._serving.settle(sock)
            if event is not None:
                event.reset()
            taken = sock.record.take()
        sock.announcer.run()
        return taken

    def WSPAsyncSelect(self, s: int, window: int, message: int, network_events: int) -> None:
        """WSAEOPNOTSUPP: there are no windows; see WSPEventSelect.

        Source: S:lpwspasyncselect.
        """
        self._get(s, "WSPAsyncSelect")
        raise WSAError(
            WsaErrorCode.WSAEOPNOTSUPP, "WSPAsyncSelect", "Use WSPEventSelect: no windows here."
        )

    def WSPSelect(
        self,
        read: Sequence[int],
        write: Sequence[int],
        exceptional: Sequence[int],
        timeout: float | None = None,
    ) -> tuple[list[int], list[int], list[int]]:
        """Which of the sockets are ready; waits until one is.

        Errors:
            WSAEINVAL: no sockets at all, or a negative time.
            WSAENOTSOCK: one of them is no socket, or is closed meanwhile.

        Source: S:lpwspselect.
        """
        call = "WSPSelect"
        self._started(call)
        sets = [
            [(s, self._get(s, call)) for s in handles or ()]
            for handles in (read, write, exceptional)
        ]
        if not any(sets) or (timeout is not None and timeout < 0):
            raise WSAError(WsaErrorCode.WSAEINVAL, call)
        return waiting.select(self._serving, sets[0], sets[1], sets[2], timeout)

    def WSAPoll(
        self, descriptors: Sequence[tuple[int, int]], timeout: float | None = None
    ) -> list[int]:
        """What is true of the sockets; waits until something is.

        Args:
            descriptors: (handle, events) pairs; negative handles are left out.
            timeout: Seconds; None waits for ever.

        Returns:
            The resulting events of each.

        Errors:
            WSAEINVAL: no descriptors, or events that cannot be asked for.
            WSAENOTSOCK: none of them is a socket.

        Source: winsock2.h.
        """
        self._started("WSAPoll")
        if not descriptors:
            raise WSAError(WsaErrorCode.WSAEINVAL, "WSAPoll")
        entries = [(s, self._sockets.get(s), int(events)) for s, events in descriptors]
        return waiting.poll(self._serving, entries, timeout)

    # --- options --------------------------------------------------------------------------------

    def WSPGetSockOpt(self, s: int, level: int, option: int, size: int | None = None) -> Any:  # noqa: D102
        sock = self._get(s, "WSPGetSockOpt")
        with sock.lock:
            return get_option(sock, level, option, size)

    def WSPSetSockOpt(self, s: int, level: int, option: int, value: Any) -> None:  # noqa: D102
        call = "WSPSetSockOpt"
        sock = self._get(s, call)
        if level == SOL_SOCKET and option == SO_UPDATE_ACCEPT_CONTEXT:
            self._update_accept_context(s, value, call)
            return
        with sock.lock:
            if level == SOL_SOCKET and option == SO_UPDATE_CONNECT_CONTEXT:
                if sock.state is not State.CONNECTED:
                    raise WSAError(WsaErrorCode.WSAENOTCONN, call)
                return
            set_option(sock, level, option, value)

    def _update_accept_context(self, s: int, value: Any, call: str) -> None:
        if isinstance(value, (bytes, bytearray, memoryview)):
            if len(value) < 4:
                raise WSAError(WsaErrorCode.WSAEFAULT, call)
            value = int.from_bytes(bytes(value), "little")
        if not isinstance(value, int):
            raise WSAError(WsaErrorCode.WSAEFAULT, call, "The listener's handle is needed.")
        sock, listener = self._get(s, call), self._get(value, call)
        with sock.lock:
            if sock.state is not State.CONNECTED:
                raise WSAError(WsaErrorCode.WSAENOTCONN, call)
            inherit(listener, sock)
            carry(sock)

    def WSPGetQOSByName(self, s: int, name: str) -> QOS | list[str]:
        """WSAEOPNOTSUPP: there is no quality of service (WSAENOTSOCK comes first)."""
        self._get(s, "WSPGetQOSByName")
        raise WSAError(WsaErrorCode.WSAEOPNOTSUPP, "WSPGetQOSByName")
