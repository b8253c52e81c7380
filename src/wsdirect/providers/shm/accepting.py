"""Accepting: the condition function, its answers, and turning requests down."""

from __future__ import annotations

from wsdirect.providers.qos import Service, mirrored, refuse_unmet, settled
from wsdirect.providers.shm.handshake import (
    ACCEPTED,
    DATA_MAX,
    REFUSED,
    WAIT,
    Greeting,
    pack_answer,
    read_frame,
    unpack_hello,
)
from wsdirect.providers.shm.options import message_max
from wsdirect.providers.shm.sockets import SanSocket, end_stream
from wsdirect.providers.socket_table import State, Step
from wsdirect.spi.constants import CF_ACCEPT, CF_DEFER, CF_REJECT, FD_ACCEPT
from wsdirect.spi.errors import WSAError, WsaErrorCode, from_oserror
from wsdirect.spi.structures import AcceptRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from wsdirect.providers.shm.events import Selection
    from wsdirect.providers.shm.listener import Arrival, Listener
    from wsdirect.providers.shm.san import San
    from wsdirect.spi.structures import Address, ConditionProc

__all__ = ["accept", "close_listener", "turn_down", "watch"]

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
        request = None
        if condition is not None:
            request = _request_of(listening, arrival, callback_data)
            try:
                answer = condition(request)
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
        try:
            accepted = _make(san, listening, arrival, request)
        except BaseException:
            turn_down(arrival, listening.native)
            raise
        finally:
            _enable(listening)
        if accepted is not None:
            caller = arrival.offer
            if listening.debug:
                listening.note(f"accepted {caller.local.text}:{caller.local_port}")
            return accepted.descriptor, (accepted.shown(caller.local), caller.local_port)


def _next_request(listening: SanSocket) -> Arrival:
    """The first valid request; waits for one unless the socket is non-blocking."""
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
            except MemoryError:
                raise WSAError(_E.WSAENOBUFS, _CALL) from None
        if arrival is not None:
            if listening.native or _greeted(listening, arrival):
                return arrival
            turn_down(arrival, listening.native)
            continue
        if listening.selection is not None:
            _enable(listening)
            raise WSAError(_E.WSAEWOULDBLOCK, _CALL)
        listener.pending(_NAP)


def _greeted(listening: SanSocket, arrival: Arrival) -> bool:
    """Read the hello of a request, which came before the request itself."""
    try:
        frame = read_frame(arrival.stream)
        greeting = unpack_hello(frame) if frame else None
        if greeting is None or not _lives(arrival):
            return False
        for asked in (greeting.sqos, greeting.gqos):
            if asked is not None:
                refuse_unmet(asked, _CALL, message_max(listening))
    except OSError:  # it has ended, or asks for what we would not give
        return False
    arrival.greeting = greeting
    return True


def _lives(arrival: Arrival) -> bool:
    """Whether the peer still waits: one that was killed has left everything but its bell.

    Errors:
        OSError: it does not.
    """
    return arrival.stream.message_size() < 0


def _request_of(listening: SanSocket, arrival: Arrival, callback_data: Any) -> AcceptRequest:
    """What the condition function is shown."""
    offer, greeting = arrival.offer, arrival.greeting
    caller = (listening.shown(offer.local), offer.local_port)
    callee = (listening.shown(offer.remote), offer.remote_port)
    if greeting is None:
        return AcceptRequest(caller, callee, callback_data=callback_data)
    return AcceptRequest(
        caller,
        callee,
        greeting.data or None,
        mirrored(greeting.sqos) if greeting.sqos is not None else None,
        mirrored(greeting.gqos) if greeting.gqos is not None else None,
        callback_data,
        DATA_MAX,
    )


def _defer(listening: SanSocket, arrival: Arrival) -> None:
    """Put the request back as the first, and have the peer wait for longer (R-148)."""
    if not listening.native:
        try:
            arrival.stream.send_message((pack_answer(WAIT),))
        except OSError:  # it has given up; the next WSPAccept finds out
            pass
    with listening.lock:
        if listening.state is State.LISTENING:
            listening.deferred.insert(0, arrival)
            return
    turn_down(arrival, listening.native)


def _make(
    san: San, listening: SanSocket, arrival: Arrival, request: AcceptRequest | None
) -> SanSocket | None:
    """The accepted socket, told to the peer; None if the peer has withdrawn.

    Errors:
        WSAEINVAL: the condition function has set something invalid.
        What WPUCreateSocketHandle raises.
    """
    accepted = SanSocket(listening.family, listening.catalog_id)
    accepted.inherit(listening, arrival)
    answer = None if listening.native and request is None else Greeting()
    if request is not None and answer is not None:
        answer.data = _callee_data(request)
        accepted.service = san.groups.join(request.group, _CALL)
    try:
        if answer is not None:
            _agree(listening, accepted, arrival, answer)
        accepted.step(Step.BIND)
        san.establish(accepted, arrival.stream)
        san.admit(accepted)
    except BaseException:
        san.groups.leave(accepted.service)
        raise
    if accepted.native:
        return accepted
    try:
        told = _lives(arrival) and arrival.stream.send_message((pack_answer(ACCEPTED, answer),))
    except OSError:
        told = False
    if not told:
        san.sockets.take(accepted.descriptor, _CALL)
        end_stream(arrival.stream, reset=True)
        san.groups.leave(accepted.service)
        san.upcalls.WPUCloseSocketHandle(accepted.handle)
        return None
    return accepted


def _callee_data(request: AcceptRequest) -> bytes:
    """What the condition function wants to send back."""
    try:
        data = bytes(memoryview(request.callee_data))
    except TypeError as error:
        raise WSAError(_E.WSAEINVAL, _CALL, f"callee_data: {error}.") from None
    if len(data) > request.callee_data_max:
        raise WSAError(_E.WSAEINVAL, _CALL, f"At most {request.callee_data_max} bytes can go back.")
    return data


def _agree(listening: SanSocket, accepted: SanSocket, arrival: Arrival, answer: Greeting) -> None:
    """Settle the quality of service, and see whether the group allows this peer.

    Errors:
        WSAEINVAL: the group has connections to another host.
    """
    own = listening.service.qos if listening.service is not None else None
    greeting = arrival.greeting
    asked = greeting.sqos if greeting is not None else None
    holds = settled(mirrored(asked) if asked is not None else None, own)
    if holds is not None:
        if accepted.service is None:
            accepted.service = Service()
        accepted.service.qos = answer.sqos = holds
    if accepted.service is not None and not accepted.service.claim(arrival.offer.local.packed):
        raise WSAError(_E.WSAEINVAL, _CALL, "The group has connections to another host.")


def turn_down(arrival: Arrival, native_stream: bool) -> None:
    """Refuse a request."""
    if not native_stream:
        try:
            arrival.stream.send_message((pack_answer(REFUSED),))
        except OSError:
            pass
    end_stream(arrival.stream, reset=native_stream)


def _enable(listening: SanSocket) -> None:
    """After a WSPAccept: the next request is to be announced, at once if it is there (R-146)."""
    selection, listener = listening.selection, listening.listener
    if selection is not None and listener is not None:
        selection.announce_accept(listener, again=True)


def watch(san: San, selection: Selection | None, listener: Listener | None) -> None:
    """Announce FD_ACCEPT if that is selected and somebody listens, now and from now on.

    Errors:
        OSError: no descriptor left for the progress thread.
    """
    if selection is None or listener is None or not selection.wanted & FD_ACCEPT:
        return
    san.progress.watch(listener.fileno(), lambda: selection.announce_accept(listener))
    selection.announce_accept(listener)


def close_listener(san: San | None, listener: Listener, native_stream: bool) -> None:
    """Stop listening and refuse what is queued (R-248).

    Args:
        san: Whose progress thread watches the listener; None: nobody does.
        listener: What to close.
        native_stream: It is one for native streams.
    """
    if san is not None:
        san.progress.unwatch(listener.fileno())
    if not native_stream:  # native streams fall back to TCP/IP, whose listener may go on
        try:
            while (arrival := listener.accept()) is not None:
                turn_down(arrival, native_stream)
        except OSError:
            pass
    listener.close()
