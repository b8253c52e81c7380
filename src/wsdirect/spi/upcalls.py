"""Upcalls: what a provider may call in its caller, the switch.

`UpcallTable` is the interface, `HandleSpace` a small implementation of it, and
`complete_request` the one right way for a provider to end an overlapped request.
"""

from __future__ import annotations

import itertools
from _thread import get_ident
from collections import deque

from wsdirect.spi.errors import WSAError, WsaErrorCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from wsdirect.spi.overlapped import WSAOVERLAPPED, Event

__all__ = ["HandleSpace", "UpcallTable", "complete_request"]


def _unsupported(name: str) -> NoReturn:
    raise WSAError(WsaErrorCode.WSAEOPNOTSUPP, name)


class UpcallTable:
    """The sixteen upcalls; each here raises WSAEOPNOTSUPP.

    A SAN provider uses the handle functions, WPUCompleteOverlappedRequest and WPUQueueApc only.
    Handles are the switch's, never the provider's own descriptors.  A provider must hold no lock
    during an upcall: the switch may call it back from inside, WSPCloseSocket included.
    """

    __slots__ = ()

    def WPUCloseEvent(self, event: Event) -> None:
        """Close an event object.

        Errors:
            WSAEOPNOTSUPP: SAN providers use `Event.close`.

        Source: H:ws2spi.h.
        """
        _unsupported("WPUCloseEvent")

    def WPUCloseSocketHandle(self, s: int) -> None:
        """Give a switch handle back: the last upcall for it.

        Args:
            s: The switch's handle.

        Errors:
            WSAENOTSOCK: s is not such a handle.

        Source: C:closing-a-san-socket; S:wpuclosesockethandle.
        """
        _unsupported("WPUCloseSocketHandle")

    def WPUCreateEvent(self) -> Event:
        """Make an event object.

        Errors:
            WSAEOPNOTSUPP: SAN providers make an `Event`.

        Source: H:ws2spi.h.
        """
        _unsupported("WPUCreateEvent")

    def WPUCreateSocketHandle(self, catalog_entry_id: int, context: Any) -> int:
        """Get a handle of the switch for a new socket; from WSPSocket and WSPAccept.

        Args:
            catalog_entry_id: dwCatalogEntryId of the WSPSocket call, or of the listening socket.
            context: What WPUQuerySocketHandleContext is to return for the handle.

        Returns:
            The handle to use in all upcalls about this socket.

        Errors:
            WSAENOBUFS: there is no room for another handle.

        Source: C:creating-and-binding-san-sockets; S:wpucreatesockethandle.
        """
        _unsupported("WPUCreateSocketHandle")

    def WPUFDIsSet(self, s: int, fd_set: Any) -> bool:
        """Whether a socket is in a set for select.

        Errors:
            WSAEOPNOTSUPP: select is not a SAN provider's work.

        Source: H:ws2spi.h.
        """
        _unsupported("WPUFDIsSet")

    def WPUGetProviderPath(self, provider_id: Any) -> str:
        """The library that a provider was installed from.

        Errors:
            WSAEOPNOTSUPP: not for SAN providers.

        Source: H:ws2spi.h.
        """
        _unsupported("WPUGetProviderPath")

    def WPUModifyIFSHandle(self, catalog_entry_id: int, proposed_handle: int) -> int:
        """Turn a system handle into a socket handle.

        Errors:
            WSAEOPNOTSUPP: descriptors of SAN providers are not system handles.

        Source: H:ws2spi.h.
        """
        _unsupported("WPUModifyIFSHandle")

    def WPUPostMessage(self, window: int, message: int, wparam: int, lparam: int) -> bool:
        """Post a message to a window.

        Errors:
            WSAEOPNOTSUPP: not for SAN providers.

        Source: H:ws2spi.h.
        """
        _unsupported("WPUPostMessage")

    def WPUQueryBlockingCallback(self, catalog_entry_id: int) -> Any:
        """The hook that runs during blocking calls.

        Errors:
            WSAEOPNOTSUPP: SAN providers have no blocking calls.

        Source: H:ws2spi.h.
        """
        _unsupported("WPUQueryBlockingCallback")

    def WPUQuerySocketHandleContext(self, s: int) -> Any:
        """The context that belongs to a handle.

        Args:
            s: The switch's handle.

        Errors:
            WSAENOTSOCK: s is not such a handle.

        Source: C:creating-and-binding-san-sockets; S:wpuquerysockethandlecontext.
        """
        _unsupported("WPUQuerySocketHandleContext")

    def WPUQueueApc(self, thread_id: int, function: Callable[[Any], object], context: Any) -> None:
        """Have a thread of the caller run a function: the completion routine of a WSPIoctl.

        Args:
            thread_id: `threading.get_ident()` of the thread.
            function: Called with `context` in that thread.
            context: Its argument.

        Errors:
            WSAEFAULT: there is no such thread.

        Source: R:ff566296; S:wpuqueueapc.
        """
        _unsupported("WPUQueueApc")

    def WPUResetEvent(self, event: Event) -> None:
        """Reset an event object.

        Errors:
            WSAEOPNOTSUPP: SAN providers use `Event.reset`.

        Source: C:synchronizing-operations-on-a-san.
        """
        _unsupported("WPUResetEvent")

    def WPUSetEvent(self, event: Event) -> None:
        """Set an event object.

        Errors:
            WSAEOPNOTSUPP: SAN providers use `Event.set`.

        Source: C:synchronizing-operations-on-a-san.
        """
        _unsupported("WPUSetEvent")

    def WPUOpenCurrentThread(self) -> int:
        """An identification of this thread for WPUQueueApc.

        Errors:
            WSAEOPNOTSUPP: not for SAN providers.

        Source: H:ws2spi.h.
        """
        _unsupported("WPUOpenCurrentThread")

    def WPUCloseThread(self, thread_id: int) -> None:
        """Give such an identification back.

        Errors:
            WSAEOPNOTSUPP: not for SAN providers.

        Source: H:ws2spi.h.
        """
        _unsupported("WPUCloseThread")

    def WPUCompleteOverlappedRequest(
        self, s: int, overlapped: WSAOVERLAPPED, error: int, transferred: int
    ) -> None:
        """Announce the end of an overlapped request; once each, never for a polled one.

        Writes InternalHigh, then Internal, and notifies whoever waits.  The provider has written
        Offset and OffsetHigh before: `complete_request` does all of it.

        Args:
            s: The switch's handle of the socket.
            overlapped: The request.
            error: Winsock code of the result, 0 for success; the same as in OffsetHigh.
            transferred: Bytes transferred.

        Errors:
            WSAEINVAL: s is not such a handle.

        Source: R:ff566321; R:ff565952; S:wpucompleteoverlappedrequest.
        """
        _unsupported("WPUCompleteOverlappedRequest")


def complete_request(
    upcalls: UpcallTable,
    s: int,
    overlapped: WSAOVERLAPPED,
    error: int = 0,
    transferred: int = 0,
    flags: int = 0,
) -> None:
    """End an overlapped request as its requester asked for, by polling or by upcall.

    For providers.  Offset and OffsetHigh are written first, InternalHigh next and Internal last,
    so that nobody who sees the request finished can find an old value.

    Args:
        upcalls: The table from WSPStartupEx.
        s: The switch's handle of the socket, not the provider's descriptor.
        overlapped: The request, started with `WSAOVERLAPPED.start`.
        error: Winsock code of the result, 0 for success.
        transferred: Bytes transferred.
        flags: Resulting flags.
    """
    overlapped.set_result(error, flags)
    if overlapped.polled:
        overlapped.publish(transferred)
    else:
        upcalls.WPUCompleteOverlappedRequest(s, overlapped, error, transferred)


class HandleSpace(UpcallTable):
    """Upcalls for a switch, or a test: hands out handles and completes requests.

    Handles are multiples of four and never come back, so a late upcall cannot meet another socket.
    It is strict where the contract is: a polled or already finished request is not announced.

    Args:
        on_complete: Called as `on_complete(s, overlapped, error, transferred)` after a request
            was published, on the provider's thread.
        limit: Most handles open at once; None for no limit.
    """

    __slots__ = ("_apcs", "_contexts", "_limit", "_numbers", "_on_complete")

    def __init__(
        self,
        on_complete: Callable[[int, WSAOVERLAPPED, int, int], object] | None = None,
        limit: int | None = None,
    ) -> None:
        self._on_complete = on_complete
        self._limit = limit
        self._numbers = itertools.count(4, 4)
        # No lock: every change below is a single operation of a dict or deque, and a lock could be
        # held by another thread at a fork.
        self._contexts: dict[int, Any] = {}
        self._apcs: dict[int, deque[tuple[Callable[[Any], object], Any]]] = {}

    @property
    def handles(self) -> list[int]:
        """Handles that are open now."""
        return list(self._contexts)

    def WPUCreateSocketHandle(self, catalog_entry_id: int, context: Any) -> int:  # noqa: D102
        if self._limit is not None and len(self._contexts) >= self._limit:
            raise WSAError(WsaErrorCode.WSAENOBUFS, "WPUCreateSocketHandle")
        handle = next(self._numbers)
        self._contexts[handle] = context
        return handle

    def WPUCloseSocketHandle(self, s: int) -> None:  # noqa: D102
        try:
            del self._contexts[s]
        except KeyError:
            raise WSAError(WsaErrorCode.WSAENOTSOCK, "WPUCloseSocketHandle") from None

    def WPUQuerySocketHandleContext(self, s: int) -> Any:  # noqa: D102
        try:
            return self._contexts[s]
        except KeyError:
            raise WSAError(WsaErrorCode.WSAENOTSOCK, "WPUQuerySocketHandleContext") from None

    def WPUCompleteOverlappedRequest(  # noqa: D102
        self, s: int, overlapped: WSAOVERLAPPED, error: int, transferred: int
    ) -> None:
        name = "WPUCompleteOverlappedRequest"
        if s not in self._contexts:
            raise WSAError(WsaErrorCode.WSAEINVAL, name, f"{s} is not a handle of the switch.")
        if overlapped.polled:
            raise WSAError(WsaErrorCode.WSAEINVAL, name, "The request is polled.")
        if not overlapped.in_progress:
            raise WSAError(WsaErrorCode.WSAEINVAL, name, "The request is not in progress.")
        # Read first: once published, the record may already serve the next request.
        event = overlapped.hEvent
        overlapped.publish(transferred)
        if event is not None:
            event.set()
        if self._on_complete is not None:
            self._on_complete(s, overlapped, error, transferred)

    def WPUQueueApc(  # noqa: D102
        self, thread_id: int, function: Callable[[Any], object], context: Any
    ) -> None:
        self._apcs.setdefault(thread_id, deque()).append((function, context))

    def run_apcs(self) -> int:
        """Run what WPUQueueApc queued for the calling thread; how many there were."""
        queue = self._apcs.get(get_ident())
        done = 0
        while queue:
            function, context = queue.popleft()
            function(context)
            done += 1
        return done
