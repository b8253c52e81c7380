"""The passive side: a provider's listener, and the sessions that have come of it.

Requests are accepted as they come, by the switch's thread, whether or not the program waits for
them: a program may connect and accept in one thread.  Sessions whose terms are agreed upon wait for
the program, at most as many as the backlog says; further requests wait at the provider.

Source: C:listening-for-connections-on-a-san; C:accepting-connection-requests.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from collections import deque
from time import monotonic

from wsdirect.spi.constants import FD_ACCEPT, IPPROTO_TCP, SOCK_STREAM, Condition
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.overlapped import Event
from wsdirect.switch.session.driver import Deadlines, driver
from wsdirect.switch.session.session import Session
from wsdirect.telling import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wsdirect.spi.structures import WSAPROTOCOL_INFOW, AcceptRequest, Address
    from wsdirect.switch.session.functions import Functions

__all__ = ["Acceptor"]

_E = WsaErrorCode


class Acceptor:
    """A listener for sessions.

    Args:
        functions: Of the provider.
        info: The TCP/IP provider's entry.
        family: AF_INET, or what the provider knows besides.
        local: Address, or wildcard, and port.
        backlog: Most sessions that wait for `take`.
        patience: Seconds that a peer has for its terms.
        options: (level, option, value) for WSPSetSockOpt.
        admit: Whether a peer may come: admit(its address, the address it meant).

    Errors:
        Those of WSPSocket, WSPBind, WSPListen and WSPEventSelect.
    """

    def __init__(
        self,
        functions: Functions,
        info: WSAPROTOCOL_INFOW,
        family: int,
        local: Address,
        *,
        backlog: int,
        patience: float,
        options: Iterable[tuple[int, int, int]] = (),
        admit: Callable[[Address, Address], bool] | None = None,
    ) -> None:
        self._functions = functions
        self._backlog = max(backlog, 1)
        self._patience = patience
        self._admit = admit
        self._lock = allocate_lock()
        self._negotiating: dict[Session, tuple[Address, Address]] = {}
        self._deadlines: Deadlines[Session] = Deadlines(self._expired)
        self._waiting: deque[tuple[Session, Address, Address]] = deque()
        self._ready = Event()
        self._event = Event()
        self._closed = False
        self._process = os.getpid()
        provider = functions.provider
        s = self._s = provider.WSPSocket(family, SOCK_STREAM, IPPROTO_TCP, info)
        try:
            for level, option, value in options:
                provider.WSPSetSockOpt(s, level, option, value)
            provider.WSPBind(s, local)
            provider.WSPListen(s, self._backlog)
            provider.WSPEventSelect(s, self._event, FD_ACCEPT)
            driver.watch(self._event.fileno(), self._requests)
        except BaseException:
            provider.WSPCloseSocket(s)
            self._event.close()
            self._ready.close()
            raise

    def fileno(self) -> int:
        """Polls readable while `take` has something."""
        return self._ready.fileno()

    def sessions(self) -> list[Session]:
        """Those that are not taken yet."""
        return [*self._negotiating, *(session for session, _, _ in self._waiting)]

    def take(self) -> tuple[Session, Address, Address] | None:
        """The first open session, the address that was meant, and the peer's; None if none is."""
        with self._lock:
            full = len(self._waiting) >= self._backlog
            taken = self._waiting.popleft() if self._waiting else None
            if not self._waiting and not self._closed:
                self._ready.reset()
        if full:
            driver.submit(self._requests)
        if taken is not None:
            taken[0].on_change = None
        return taken

    def close(self) -> None:
        """Stop listening; whoever was not taken is reset.  In a forked child, only forget it."""
        if driver.ending:
            return  # the kernel does it
        if os.getpid() != self._process:
            self._forget()
            return
        with self._lock:
            if self._closed:
                return
            self._closed = True
            left = self.sessions()
            self._negotiating.clear()
            self._waiting.clear()
            self._deadlines.clear()
        driver.unwatch(self._event.fileno())
        try:
            self._functions.provider.WSPCloseSocket(self._s)
        except WSAError as error:
            tell("debug", f"closing a listener for sessions: {error}")
        for session in left:
            session.on_change = None
            session.abort()
            session.drop()
        self._event.close()
        self._ready.close()

    def _forget(self) -> None:
        self._closed = True
        self._lock = allocate_lock()
        self._negotiating.clear()
        self._waiting.clear()
        self._deadlines.clear()
        self._event.close()
        self._ready.close()

    # --- the switch's thread --------------------------------------------------------------------

    def _requests(self) -> None:
        """Accept what waits at the provider."""
        provider = self._functions.provider
        if self._closed:
            return
        provider.WSPEnumNetworkEvents(self._s, self._event)
        while not self._closed:
            if len(self._waiting) + len(self._negotiating) >= self._backlog:
                return  # until one is taken
            meant: list[Address] = []
            try:
                s, peer = provider.WSPAccept(self._s, self._judge, meant)
            except WSAError as error:
                if error.winerror == _E.WSAEWOULDBLOCK or self._closed:
                    return
                if error.winerror in (_E.WSAEMFILE, _E.WSAENOBUFS):
                    driver.at(monotonic() + 0.1, self._requests)
                    return
                if error.winerror in (_E.WSAENOTSOCK, _E.WSAEINVAL, _E.WSAENETDOWN):
                    tell("error", f"no sessions are accepted any more: {error}")
                    return
                continue  # withdrawn, or refused: the next one
            self._begin(s, meant[0], peer)

    def _judge(self, request: AcceptRequest) -> int:
        request.callback_data.append(request.callee)
        if self._admit is not None and not self._admit(request.caller, request.callee):
            return Condition.CF_REJECT
        return Condition.CF_ACCEPT

    def _begin(self, s: int, local: Address, peer: Address) -> None:
        try:
            session = Session(self._functions, s, active=False)
        except (WSAError, MemoryError) as error:
            tell("error", f"a session could not be accepted: {error}")
            self._functions.provider.WSPCloseSocket(s)
            return
        with self._lock:
            self._negotiating[session] = local, peer
        session.on_change = self._changed
        self._deadlines.add(session, monotonic() + self._patience)
        try:
            session.start()
        except WSAError:
            self._expired(session)

    def _changed(self, session: Session) -> None:
        with self._lock:
            addresses = self._negotiating.get(session)
            confirmed = session.is_open and session.engine.is_confirmed
            if addresses is None or not (confirmed or session.ended):
                return
            del self._negotiating[session]
            self._deadlines.discard(session)
            if not session.engine.is_confirmed:
                return  # it ended before it began
            self._waiting.append((session, *addresses))
            if not self._closed:
                self._ready.set()

    def _expired(self, session: Session) -> None:
        self._deadlines.discard(session)
        with self._lock:
            found = self._negotiating.pop(session, None)
        if found is not None:
            session.drop()
