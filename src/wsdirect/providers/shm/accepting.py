"""Accepting: the condition function, its answers, and turning requests down."""

from __future__ import annotations

from wsdirect.providers.shm.connecting import ACCEPTED, REFUSED, WAIT
from wsdirect.providers.shm.sockets import SanSocket, end_stream
from wsdirect.providers.socket_table import State, Step
from wsdirect.spi.constants import CF_ACCEPT, CF_DEFER, CF_REJECT, FD_ACCEPT
from wsdirect.spi.errors import WSAError, WsaErrorCode, from_oserror
from wsdirect.spi.structures import AcceptRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from wsdirect.providers.shm.listener import Arrival, Listener
    from wsdirect.providers.shm.san import San
    from wsdirect.spi.structures import Address, ConditionProc

__all__ = ["accept", "close_listener", "turn_down", "watch_listener"]

_CALL: Final = "WSPAccept"
_NAP: Final = 0.2  # seconds between looks whether the listener still exists
_E = WsaErrorCode


def accept(
    san: San, listening: SanSocket, condition: ConditionProc | None, callback_data: Any
) -> tuple[int, Address]:
    """WSPAccept on a listening socket; errors as there."""
    while True:
        arrival = _next_request(listening)
        answer: int = CF_ACCEPT
        if condition is not None:
            try:
                answer = _ask(condition, listening, arrival, callback_data)
            except BaseException:
                turn_down(arrival, listening.native)
                _enable(listening)
                raise
        if answer == CF_DEFER and listening.state is State.LISTENING:
            _defer(listening, arrival)
            raise WSAError(_E.WSATRY_AGAIN, _CALL)
        if answer != CF_ACCEPT or listening.state is not State.LISTENING:
            turn_down(arrival, listening.native)
            _enable(listening)
            if listening.state is not State.LISTENING:
                raise WSAError(_E.WSAENOTSOCK, _CALL, "It was closed meanwhile.")
            raise WSAError(_E.WSAECONNREFUSED if answer == CF_REJECT else _E.WSAEINVAL, _CALL)
        accepted = _make(san, listening, arrival)
        _enable(listening)
        if accepted is not None:
            caller = arrival.offer
            return accepted.descriptor, (accepted.shown(caller.local), caller.local_port)


def _next_request(listening: SanSocket) -> Arrival:
    """The first request; waits for one unless the socket is non-blocking."""
    while True:
        with listening.lock:
            listener = listening.listener
            if listener is None:
                listening.refuse(_CALL)
            if listening.deferred:
                return listening.deferred.pop(0)
            # under the lock: nobody may close the listener in the middle of this
            try:
                arrival = listener.accept()
            except OSError as error:
                raise from_oserror(error, _CALL) from error
        if arrival is not None:
            return arrival
        if listening.selection is not None:
            _enable(listening)
            raise WSAError(_E.WSAEWOULDBLOCK, _CALL)
        listener.pending(_NAP)


def _ask(
    condition: ConditionProc, listening: SanSocket, arrival: Arrival, callback_data: Any
) -> int:
    offer = arrival.offer
    return condition(
        AcceptRequest(
            (listening.shown(offer.local), offer.local_port),
            (listening.shown(offer.remote), offer.remote_port),
            callback_data=callback_data,
        )
    )


def _defer(listening: SanSocket, arrival: Arrival) -> None:
    """Put the request back as the first, and have the peer wait for longer (R-148)."""
    if not listening.native:
        try:
            arrival.stream.send_message((WAIT,))
        except OSError:  # it has given up; the next WSPAccept finds out
            pass
    with listening.lock:
        if listening.state is State.LISTENING:
            listening.deferred.insert(0, arrival)
            return
    turn_down(arrival, listening.native)


def _make(san: San, listening: SanSocket, arrival: Arrival) -> SanSocket | None:
    """The accepted socket, told to the peer; None if the peer has withdrawn."""
    accepted = SanSocket(listening.family, listening.catalog_id)
    accepted.inherit(listening, arrival)
    accepted.step(Step.BIND)
    san.establish(accepted, arrival.stream)
    try:
        san.admit(accepted)
    except BaseException:
        turn_down(arrival, listening.native)
        _enable(listening)
        raise
    if not accepted.native:
        try:
            arrival.stream.send_message((ACCEPTED,))
        except OSError:
            san.sockets.take(accepted.descriptor, _CALL)
            end_stream(arrival.stream, reset=True)
            san.upcalls.WPUCloseSocketHandle(accepted.handle)
            return None
    return accepted


def turn_down(arrival: Arrival, native_stream: bool) -> None:
    """Refuse a request."""
    if not native_stream:
        try:
            arrival.stream.send_message((REFUSED,))
        except OSError:
            pass
    end_stream(arrival.stream, reset=native_stream)


def _enable(listening: SanSocket) -> None:
    """After a WSPAccept: the next request is to be announced, at once if it is there (R-146)."""
    selection, listener = listening.selection, listening.listener
    if selection is not None and listener is not None:
        selection.announce_accept(listener, again=True)


def watch_listener(san: San, listening: SanSocket) -> None:
    """Announce FD_ACCEPT if that is selected, now and from now on.

    Errors:
        OSError: no descriptor left for the progress thread.
    """
    selection, listener = listening.selection, listening.listener
    if selection is None or listener is None or not selection.wanted & FD_ACCEPT:
        return
    san.progress.watch(listener.fileno(), lambda: selection.announce_accept(listener))
    selection.announce_accept(listener)


def close_listener(san: San, listener: Listener, native_stream: bool) -> None:
    """Stop listening and refuse what is queued (R-248)."""
    san.progress.unwatch(listener.fileno())
    if not native_stream:  # native streams fall back to TCP/IP, whose listener may go on
        try:
            while (arrival := listener.accept()) is not None:
                turn_down(arrival, native_stream)
        except OSError:
            pass
    listener.close()
