"""WSPAccept: the condition function, its answers, and what becomes of the request.

The request stays in the queue while the condition function runs, without the lock: it may call
the provider, and the listener or the peer may go away meanwhile.  So everything is looked at
again after it has answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsdirect.providers.qos import Service, mirrored, settled
from wsdirect.providers.socket_table import Step
from wsdirect.spi.constants import CF_ACCEPT, CF_DEFER, CF_REJECT
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.structures import AcceptRequest
from wsdirect.testing.faults import Fault
from wsdirect.testing.loopback.limits import CONNECT_DATA_MAX

if TYPE_CHECKING:
    from wsdirect.spi.structures import Address, ConditionProc
    from wsdirect.testing.loopback.network import ConnectRequest, Network
    from wsdirect.testing.loopback.sockets import LoopbackSocket

__all__ = ["accept"]

_CALL = "WSPAccept"
_E = WsaErrorCode


def accept(
    network: Network, listening: LoopbackSocket, condition: ConditionProc | None, callback_data: Any
) -> tuple[int, Address]:
    """WSPAccept; errors as there, but for those about resources."""
    request = _take(network, listening)
    caller, callee = request.client.address, request.destination
    assert caller is not None  # it is bound
    question = AcceptRequest(
        caller,
        callee,
        request.caller_data,
        request.sqos,
        request.gqos,
        callback_data,
        CONNECT_DATA_MAX,
    )
    try:
        answer = CF_ACCEPT if condition is None else condition(question)
        if answer == CF_DEFER:
            raise WSAError(_E.WSATRY_AGAIN, _CALL)
        if answer == CF_REJECT:
            raise WSAError(_E.WSAECONNREFUSED, _CALL)
        if answer != CF_ACCEPT:
            raise WSAError(_E.WSAEINVAL, _CALL, f"{answer!r} is no answer to a request.")
        accepted = _prepare(network, listening, request, question)
    except BaseException as reason:
        deferred = isinstance(reason, WSAError) and reason.winerror == _E.WSATRY_AGAIN
        _put_back(network, listening, request, deferred)
        raise
    if _establish(network, listening, request, accepted, bytes(question.callee_data)):
        return accepted.descriptor, caller
    network.dismiss(accepted)
    with network.engine.lock:
        listening.require(_CALL)  # it was closed or handed over meanwhile: say that
    return accept(network, listening, condition, callback_data)  # withdrawn: the next one, then


def _take(network: Network, listening: LoopbackSocket) -> ConnectRequest:
    """The first request, which no other WSPAccept gets now."""
    with network.engine.lock:
        listening.require(_CALL)
        assert listening.listener is not None
        request = listening.listener.first()
        if request is None:
            raise WSAError(_E.WSAEWOULDBLOCK, _CALL)
        network.faults.check_room(_CALL, Fault.NO_DESCRIPTORS, Fault.NO_BUFFERS)
        request.taken = True
        return request


def _prepare(
    network: Network, listening: LoopbackSocket, request: ConnectRequest, answer: AcceptRequest
) -> LoopbackSocket:
    """The accepted socket, not connected yet.

    Errors:
        WSAEINVAL: the condition function has chosen a group that is not there or does not fit, or
            has answered with too many data.
        What WPUCreateSocketHandle raises.
    """
    if len(answer.callee_data) > CONNECT_DATA_MAX:
        raise WSAError(_E.WSAEINVAL, _CALL, f"At most {CONNECT_DATA_MAX} bytes can be answered.")
    accepted = network.new_socket(listening.catalog_id)
    accepted.inherit(listening)
    accepted.address, accepted.peer = request.destination, answer.caller
    accepted.service = network.groups.join(answer.group, _CALL)
    try:
        service = accepted.service
        if service is not None and not service.claim(answer.caller[0]):
            raise WSAError(_E.WSAEINVAL, _CALL, "The group has connections to another host.")
        own = listening.service
        agreed = settled(request.sqos, own.qos if own is not None else None)
        if agreed is not None:
            accepted.service = accepted.service or Service()
            accepted.service.qos = agreed
        network.admit(accepted)
    except BaseException:
        network.groups.leave(accepted.service)
        raise
    accepted.step(Step.BIND)
    return accepted


def _establish(
    network: Network,
    listening: LoopbackSocket,
    request: ConnectRequest,
    accepted: LoopbackSocket,
    callee_data: bytes,
) -> bool:
    """Connect both ends, unless the request is not there any more; returns whether it was."""
    with network.engine.lock:
        listener = request.listener
        if listener is None or listener.socket is not listening:
            request.taken = False
            return False
        client = request.client
        client.peer = request.destination
        if accepted.service is not None and accepted.service.qos is not None:
            client.service = client.service or Service()
            client.service.qos = mirrored(accepted.service.qos)
        request.succeed(network, accepted, callee_data)
        listener.announce_again()
        return True


def _put_back(
    network: Network, listening: LoopbackSocket, request: ConnectRequest, deferred: bool
) -> None:
    """The request was not accepted: leave it first in the queue, or refuse it (R-139 to R-141)."""
    with network.engine.lock:
        listener = request.listener
        if listener is None:  # the client or the listener is gone
            return
        request.taken = False
        request.deferred = deferred
        if not deferred:
            request.fail(_E.WSAECONNREFUSED)
            listener.announce_again()
