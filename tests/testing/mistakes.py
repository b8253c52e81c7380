"""More wrong providers: the loopback provider with single functions replaced.

Each row names the rules that it breaks; the suite has to find every one of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wsdirect.spi.constants import (
    FD_ACCEPT,
    FD_CONNECT,
    SIO_ADDRESS_LIST_QUERY,
    SIO_GET_EXTENSION_FUNCTION_POINTER,
    SIO_SET_QOS,
    SO_DEBUG,
    SO_GROUP_PRIORITY,
    SO_MAX_MSG_SIZE,
    SO_MAX_RDMA_SIZE,
    SO_RDMA_THRESHOLD_SIZE,
    WSA_FLAG_OVERLAPPED,
    XP1_CONNECTIONLESS,
    XP1_IFS_HANDLES,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.extension_ids import (
    WSAID_MEMORYREGISTRATIONCACHECALLBACK,
    WSAID_RDMAREAD,
    WSAID_REGISTERRDMAMEMORY,
)
from wsdirect.spi.structures import NULL_GUID, WSPDATA
from wsdirect.testing.loopback import LoopbackProvider

__all__ = ["MISTAKES", "Mistake"]

E = WsaErrorCode
Wrapped = Callable[..., Any]
"""Called with the provider, the right function, and the arguments."""


@dataclass(frozen=True)
class Mistake:
    """A wrong provider.

    Attributes:
        name: What it does wrong.
        rules: The rules that it breaks.
        make: Gives it.
    """

    name: str
    rules: tuple[str, ...]
    make: Callable[[], LoopbackProvider]


def mistake(rules: str, name: str, info: dict[str, Any] | None = None, **functions: Wrapped):
    """A provider whose functions (and catalogue entry) are these."""
    members: dict[str, Any] = {}
    for function, wrapped in functions.items():
        members[function] = _method(getattr(LoopbackProvider, function), wrapped)
    if info is not None:
        right = LoopbackProvider.protocol_info.fget
        members["protocol_info"] = property(lambda self: right(self).replace(**info))
    return Mistake(name, tuple(rules.split()), type("Wrong", (LoopbackProvider,), members))


def _method(right: Callable[..., Any], wrapped: Wrapped) -> Callable[..., Any]:
    def method(self, *args, **kw):
        return wrapped(self, lambda *given, **more: right(self, *given, **more), *args, **kw)

    method.__name__ = right.__name__
    return method


# --- ways to be wrong ---------------------------------------------------------------------------


def instead(old: int, new: int | None) -> Wrapped:
    """Another error, or success."""

    def wrapped(self, call, *args, **kw):
        try:
            return call(*args, **kw)
        except WSAError as error:
            if error.winerror != old:
                raise
            if new is None:
                return None
        raise WSAError(new, "wrong")

    return wrapped


def fails(code: int, when: Callable[..., bool]) -> Wrapped:
    """An error that nobody expects."""

    def wrapped(self, call, *args, **kw):
        if when(self, *args, **kw):
            raise WSAError(code, "wrong")
        return call(*args, **kw)

    return wrapped


def given(change: Callable[..., tuple[Any, ...]]) -> Wrapped:
    """Other arguments; keyword arguments are kept."""
    return lambda self, call, *args, **kw: call(*change(self, *args), **kw)


def answer(change: Callable[..., Any]) -> Wrapped:
    """Another result; gets the provider, the right result, and the arguments."""
    return lambda self, call, *args, **kw: change(self, call(*args, **kw), *args, **kw)


def outcome(old: int, new: int) -> Wrapped:
    """WSPEnumNetworkEvents that tells another outcome of a connect."""

    def change(self, events, *args):
        if events.lNetworkEvents & FD_CONNECT and events.error(FD_CONNECT) == old:
            events.record(FD_CONNECT, new)
        return events

    return answer(change)


def state(self, s: int) -> str:
    """Name of a socket's state."""
    found = self._sockets._sockets.get(s)
    return found.state.name if found is not None else ""


def nothing(*args, **kw) -> None:
    """Does nothing."""


# --- starting -----------------------------------------------------------------------------------


def _other_upcalls(self, call, version, info, upcalls):
    if upcalls is not None:
        upcalls.WPUStartThread  # noqa: B018  # no such upcall
    return call(version, info, upcalls)


class _Mute:
    """A table that completes requests without telling the switch."""

    def __init__(self, right):
        self._right = right

    def __getattr__(self, name):
        return getattr(self._right, name)

    def WPUCompleteOverlappedRequest(self, s, overlapped, error, transferred):
        overlapped.publish(transferred)


def _only_itself(self, call, version, info, upcalls):
    if info.ProviderId != self.provider_id:
        raise WSAError(E.WSAEINVAL)
    return call(version, info, upcalls)


def _half_started_for_others(self, call, version, info, upcalls):
    self.direct = info.ProviderId == self.provider_id
    return call(version, info, upcalls)


def _only_once(self, call, *args):
    if getattr(self, "ended", False):
        raise WSAError(E.WSASYSNOTREADY)
    return call(*args)


def _ended(self, call):
    call()
    self.ended = not self._users


_lock = threading.RLock()


def _locking_start(self, call, *args):
    _lock.acquire()
    result = call(*args)
    _lock.release()
    return result


def _locking_cleanup(self, call):
    with _lock:
        call()


STARTING = [
    mistake("R-001", "applications see it", {"dwProviderFlags": 0}),
    mistake("R-003", "it has no number", {"ProviderId": NULL_GUID}),
    mistake("R-004", "it is for datagrams", {"dwServiceFlags1": XP1_CONNECTIONLESS}),
    mistake("R-006", "its handles are the system's", {"dwServiceFlags1": XP1_IFS_HANDLES}),
    mistake("R-009", "a function is only a name",
            WSPEventSelect=fails(E.WSAEOPNOTSUPP, lambda *args: True)),
    mistake("R-010 R-018 R-017", "the version has its bytes mixed up",
            WSPStartupEx=answer(lambda self, data, *args: WSPDATA(0x0300, "x"))),
    mistake("R-010", "a start returns 0", WSPStartupEx=answer(lambda self, data, *args: 0)),
    mistake("R-011", "a seventeenth upcall is used", WSPStartupEx=_other_upcalls),
    mistake("R-024 R-011", "the end of requests is not told",
            WSPStartupEx=given(lambda self, version, info, upcalls:
                               (version, info, upcalls and _Mute(upcalls)))),
    mistake("R-012", "only its own entry is accepted", WSPStartupEx=_only_itself),
    mistake("R-014", "no table is accepted",
            WSPStartupEx=lambda self, call, version, info, upcalls:
            call(version, info, upcalls) if upcalls else WSPDATA(0x0202)),
    mistake("R-015", "not ready is too many",
            WSPStartupEx=instead(E.WSASYSNOTREADY, E.WSAEPROCLIM)),
    mistake("R-016", "too many is not ready",
            WSPStartupEx=instead(E.WSAEPROCLIM, E.WSASYSNOTREADY)),
    mistake("R-017", "the high byte is the major number",
            WSPStartupEx=given(lambda self, version, *args:
                               (version >> 8 | (version & 0xFF) << 8, *args))),
    mistake("R-019", "the description has two lines",
            WSPStartupEx=answer(lambda self, data, *args: WSPDATA(0x0202, "two\nlines"))),
    mistake("R-020", "newer versions are too new",
            WSPStartupEx=fails(E.WSAVERNOTSUPPORTED,
                               lambda self, version, *args: version not in (0x0202, 0, 0x0901))),
    mistake("R-025", "direct callers get no sockets", WSPStartupEx=_half_started_for_others,
            WSPSocket=fails(E.WSAENETDOWN, lambda self, *args, **kw: self.direct)),
    mistake("R-027 R-028", "a cleanup too many is invalid",
            WSPCleanup=instead(E.WSANOTINITIALISED, E.WSAEINVAL)),
    mistake("R-032", "it starts only once", WSPStartupEx=_only_once, WSPCleanup=_ended),
    mistake("T-05", "a start that fails keeps a lock", WSPStartupEx=_locking_start,
            WSPCleanup=_locking_cleanup),
]  # fmt: skip


# --- sockets ------------------------------------------------------------------------------------


def _second_handle(self, call, *args, **kw):
    s = call(*args, **kw)
    self._network.upcalls.WPUCreateSocketHandle(0, 0)
    return s


def _own_numbers(self, call, *args, **kw):
    # upcalls with the descriptor in place of the handle
    s = call(*args, **kw)
    self._sockets.get(s, "").handle = s
    return s


SOCKETS = [
    mistake("R-034", "overlapped sockets cannot be made",
            WSPSocket=fails(E.WSAEINVAL, lambda self, *args, flags=0, **kw:
                            flags & WSA_FLAG_OVERLAPPED)),
    mistake("R-036", "descriptors are no whole numbers",
            WSPSocket=answer(lambda self, s, *args, **kw: float(s))),
    mistake("R-035", "a socket has two handles", WSPSocket=_second_handle),
    mistake("R-037 R-035", "upcalls carry descriptors", WSPSocket=_own_numbers),
    mistake("R-039", "another type is another family",
            WSPSocket=instead(E.WSAESOCKTNOSUPPORT, E.WSAEAFNOSUPPORT)),
    mistake("R-040", "another protocol is another type",
            WSPSocket=instead(E.WSAEPROTONOSUPPORT, E.WSAESOCKTNOSUPPORT)),
    mistake("R-042", "no descriptors is no memory", WSPSocket=instead(E.WSAEMFILE, E.WSAENOBUFS)),
    mistake("R-042", "no memory is no descriptors", WSPSocket=instead(E.WSAENOBUFS, E.WSAEMFILE)),
    mistake("R-043 T-48", "an error about the handle is replaced",
            WSPSocket=instead(E.WSAENETDOWN, E.WSAENOBUFS)),
    mistake("R-044", "0 is no family", WSPSocket=fails(E.WSAEAFNOSUPPORT,
                                                       lambda self, af, *args, **kw: not af)),
    mistake("R-045", "a new socket answers no questions",
            WSPIoctl=fails(E.WSAENOTCONN, lambda self, s, *args, **kw: state(self, s) == "FRESH")),
    mistake("R-007 R-049 R-131", "no listening on all addresses",
            WSPBind=fails(E.WSAEADDRNOTAVAIL, lambda self, s, name: name and name[0] == "0.0.0.0")),
    mistake("R-047 R-142", "a port is rounded",
            WSPBind=given(lambda self, s, name: (s, (name[0], name[1] ^ 1) if
                          isinstance(name, tuple) and len(name) == 2
                          and isinstance(name[1], int) else name))),
    mistake("R-048", "the first address only",
            WSPBind=fails(E.WSAEADDRNOTAVAIL, lambda self, s, name:
                          name and name[0] in self._network.addresses[1:])),
    mistake("R-051 R-052 R-053", "a bad name is invalid",
            WSPBind=instead(E.WSAEFAULT, E.WSAEINVAL)),
    mistake("R-052", "another family is what it is",
            WSPBind=fails(E.WSAEAFNOSUPPORT, lambda self, s, name: name and ":" in str(name[0]))),
    mistake("R-054", "sockets are bound twice", WSPBind=instead(E.WSAEINVAL, None)),
    mistake("R-055", "no memory to bind is no descriptors",
            WSPBind=instead(E.WSAENOBUFS, E.WSAEMFILE)),
    mistake("R-056 T-53", "binding what is no socket is invalid",
            WSPBind=instead(E.WSAENOTSOCK, E.WSAEINVAL)),
    mistake("R-058 R-105", "every address is the first one",
            WSPConnect=given(lambda self, s, name, *args:
                             (s, ("127.0.0.1", self._network.listeners[0].address[1]), *args)
                             if self._network.listeners else (s, name, *args)),),
    mistake("T-49", "closing is always fine", WSPCloseSocket=instead(E.WSAENOTSOCK, None)),
    mistake("T-53", "a request of no socket has no result yet",
            WSPGetOverlappedResult=instead(E.WSAENOTSOCK, None)),
]  # fmt: skip


# --- options and control codes ------------------------------------------------------------------


def _without(option: int) -> Wrapped:
    return fails(E.WSAENOPROTOOPT, lambda self, s, level, wanted, *args, **kw: wanted == option)


def _deaf(option: int) -> Wrapped:
    def wrapped(self, call, s, level, wanted, value):
        if wanted != option:
            call(s, level, wanted, value)

    return wrapped


def _guid(guid: Any, result: Any) -> Wrapped:
    """WSPIoctl that gives something else for an extension function."""

    def wrapped(self, call, s, code, in_buffer=b"", *args, **kw):
        if code == SIO_GET_EXTENSION_FUNCTION_POINTER and in_buffer == guid:
            if isinstance(result, int):
                raise WSAError(result, "wrong")
            return result
        return call(s, code, in_buffer, *args, **kw)

    return wrapped


def _any_function(self, call, s, code, in_buffer=b"", *args, **kw):
    try:
        return call(s, code, in_buffer, *args, **kw)
    except WSAError:
        if code == SIO_GET_EXTENSION_FUNCTION_POINTER and in_buffer != WSAID_RDMAREAD:
            return nothing
        raise


def _without_room(self, call, *args, out_size=None, **kw):
    return call(*args, **kw)


def _unsized(self, call, *args, **kw):
    try:
        return call(*args, **kw)
    except WSAError as error:
        error.required = None
        raise


def _one_list(self, call, s, code, *args, **kw):
    result = call(s, code, *args, **kw)
    if code != SIO_ADDRESS_LIST_QUERY:
        return result
    if not hasattr(self, "list"):
        self.list = result
    return self.list


def _addresses(change: Callable[[list[Any]], list[Any]]) -> Wrapped:
    def wrapped(self, call, s, code, *args, **kw):
        result = call(s, code, *args, **kw)
        return change(result) if code == SIO_ADDRESS_LIST_QUERY else result

    return wrapped


def _own_thread(self, call, *args, thread_id=None, **kw):
    return call(*args, thread_id=thread_id and threading.get_ident(), **kw)


OPTIONS = [
    mistake("R-059", "bound sockets have no options",
            WSPSetSockOpt=fails(E.WSAEINVAL, lambda self, s, *args: state(self, s) == "BOUND")),
    mistake("R-060", "an unknown option is invalid",
            WSPGetSockOpt=instead(E.WSAENOPROTOOPT, E.WSAEINVAL)),
    mistake("R-061", "an unknown level is an unknown option",
            WSPSetSockOpt=instead(E.WSAEINVAL, E.WSAENOPROTOOPT)),
    mistake("R-062", "too little room for an option is enough",
            WSPGetSockOpt=given(lambda self, s, level, option, size=None: (s, level, option))),
    mistake("R-063", "values may be too short", WSPSetSockOpt=instead(E.WSAEFAULT, None)),
    mistake("R-064", "a reset connection has options", WSPSetSockOpt=instead(E.WSAENOTCONN, None)),
    mistake("R-064", "a connection without keep-alive has options",
            WSPSetSockOpt=instead(E.WSAENETRESET, None)),
    mistake("R-065 T-53", "options of what is no socket are unknown",
            WSPGetSockOpt=instead(E.WSAENOTSOCK, E.WSAENOPROTOOPT)),
    mistake("R-065 T-53", "options of what is no socket can be set",
            WSPSetSockOpt=instead(E.WSAENOTSOCK, None)),
    mistake("R-066", "messages have no size", WSPGetSockOpt=_without(SO_MAX_MSG_SIZE)),
    mistake("R-067", "RDMA has no size", WSPGetSockOpt=_without(SO_MAX_RDMA_SIZE)),
    mistake("R-067", "RDMA has no size before a connection",
            WSPGetSockOpt=fails(E.WSAENOTCONN, lambda self, s, level, option, *args, **kw:
                                option == SO_MAX_RDMA_SIZE and state(self, s) == "BOUND")),
    mistake("R-068", "the threshold is negative",
            WSPGetSockOpt=answer(lambda self, value, s, level, option, *args, **kw:
                                 -1 if option == SO_RDMA_THRESHOLD_SIZE else value)),
    mistake("R-071", "priorities are forgotten", WSPSetSockOpt=_deaf(SO_GROUP_PRIORITY)),
    mistake("R-072", "debugging is forgotten", WSPSetSockOpt=_deaf(SO_DEBUG)),
    mistake("R-073", "more room, another value",
            WSPGetSockOpt=answer(lambda self, value, s, level, option, size=None:
                                 value << 1 if size and size > 4 else value)),
    mistake("R-074", "a required function is missing",
            WSPIoctl=_guid(WSAID_REGISTERRDMAMEMORY, int(E.WSAEOPNOTSUPP))),
    mistake("R-075", "no function for reading, and no error", WSPIoctl=_guid(WSAID_RDMAREAD, None)),
    mistake("R-076", "no callback is invalid",
            WSPIoctl=_guid(WSAID_MEMORYREGISTRATIONCACHECALLBACK, int(E.WSAEINVAL))),
    mistake("R-078", "there is a function for every number", WSPIoctl=_any_function),
    mistake("R-079 R-080 R-083", "room for results does not matter", WSPIoctl=_without_room),
    mistake("R-079", "a bad number of a function is invalid",
            WSPIoctl=instead(E.WSAEFAULT, E.WSAEINVAL)),
    mistake("R-081", "an address is another computer's",
            WSPIoctl=_addresses(lambda found: [*found, ("203.0.113.9", 0)])),
    mistake("R-081", "an address is there twice",
            WSPIoctl=_addresses(lambda found: [*found, *found[:1]])),
    mistake("R-081", "addresses have ports",
            WSPIoctl=_addresses(lambda found: [(host, 1) for host, _ in found])),
    mistake("R-082 R-084 T-46", "there is only one list", WSPIoctl=_one_list),
    mistake("R-083", "the size of the list is a secret", WSPIoctl=_unsized),
    mistake("R-085", "quality of service is forgotten",
            WSPIoctl=lambda self, call, s, code, *args, **kw:
            None if code == SIO_SET_QOS else call(s, code, *args, **kw)),
    mistake("R-086", "completion routines are for the calling thread", WSPIoctl=_own_thread),
    mistake("R-087", "unknown codes do nothing", WSPIoctl=instead(E.WSAEINVAL, None)),
    mistake("R-087", "codes need no socket", WSPIoctl=instead(E.WSAENOTSOCK, None)),
    mistake("T-04 R-009", "functions need a socket",
            WSPIoctl=fails(E.WSAENOTSOCK, lambda self, s, *args, **kw:
                           s not in self._sockets._sockets)),
]  # fmt: skip


# --- events -------------------------------------------------------------------------------------


def _waits(self, call, *args):
    while True:
        try:
            return call(*args)
        except WSAError as error:
            if error.winerror != E.WSAEWOULDBLOCK:
                raise
        time.sleep(0.01)


def _not_overlapped(self, call, s, event, events):
    if state(self, s) == "CONNECTED":
        self.waits = False
    return call(s, event, events)


def _first_choice(self, call, s, event, events):
    chosen = self.__dict__.setdefault("chosen", set())
    if s not in chosen:
        chosen.add(s)
        call(s, event, events)


def _keeps_the_record(self, call, s, event, events):
    selection = self._sockets.get(s, "").selection
    kept = selection._record
    call(s, event, events)
    for bit in (FD_ACCEPT, FD_CONNECT):
        if kept.lNetworkEvents & bit:
            selection._record.record(bit, kept.error(bit))


def _slow_look(self, call, s, event=None):
    record = self._sockets.get(s, "").selection._record
    told = type(record)(record.lNetworkEvents, record.iErrorCode)
    time.sleep(0.01)
    call(s, event)
    return told


def _rotated(self, events, *args):
    events.iErrorCode = events.iErrorCode[1:] + events.iErrorCode[:1]
    return events


def _everywhere(self, events, *args):
    events.iErrorCode = [max(events.iErrorCode)] * len(events.iErrorCode)
    return events


def _empties_first(self, call, s, event=None):
    if s in self._sockets._sockets:
        call(s, None)
    return call(s, event)


def _clears_on_failure(self, call, s, event=None):
    try:
        return call(s, event)
    except WSAError as error:
        if error.winerror == E.WSAEINVAL:
            call(s, None)
        raise


EVENTS = [
    mistake("R-088", "two events are too many",
            WSPEventSelect=fails(E.WSAEINVAL, lambda self, s, event, events:
                                 events == FD_ACCEPT | FD_CONNECT)),
    mistake("R-089 R-147", "WSPAccept waits", WSPAccept=_waits),
    mistake("R-090", "receives do not wait after WSPEventSelect", WSPEventSelect=_not_overlapped,
            WSPRecv=fails(E.WSAEWOULDBLOCK, lambda self, *args: not getattr(self, "waits", True))),
    mistake("R-091", "unknown events are ignored",
            WSPEventSelect=given(lambda self, s, event, events: (s, event, events & 0x18))),
    mistake("R-091", "an event is not needed", WSPEventSelect=instead(E.WSAEINVAL, None)),
    mistake("R-092 R-097", "nothing is recorded", WSPEnumNetworkEvents=_empties_first),
    mistake("R-093", "the first choice counts", WSPEventSelect=_first_choice),
    mistake("R-093 R-094", "the record outlives the choice", WSPEventSelect=_keeps_the_record),
    mistake("R-097", "outcomes are in the wrong places", WSPEnumNetworkEvents=answer(_rotated)),
    mistake("R-101", "outcomes are in all places", WSPEnumNetworkEvents=answer(_everywhere)),
    mistake("R-098", "the event is not reset",
            WSPEnumNetworkEvents=given(lambda self, s, event=None: (s, None))),
    mistake("R-099", "events are told twice", WSPEnumNetworkEvents=_slow_look),
    mistake("R-100", "an event has to be reset",
            WSPEnumNetworkEvents=fails(E.WSAEINVAL, lambda self, s, event=None: event is None)),
    mistake("R-102", "a failure clears the record", WSPEnumNetworkEvents=_clears_on_failure),
    mistake("R-103", "a bad event is a bad socket",
            WSPEnumNetworkEvents=instead(E.WSAEINVAL, E.WSAENOTSOCK)),
    mistake("R-103", "what is no socket is invalid",
            WSPEnumNetworkEvents=instead(E.WSAENOTSOCK, E.WSAEINVAL)),
]  # fmt: skip


# --- connecting ---------------------------------------------------------------------------------


def _to_the_end(self, call, s, *args, **kw):
    try:
        call(s, *args, **kw)
    except WSAError as error:
        if error.winerror != E.WSAEWOULDBLOCK:
            raise
        while state(self, s) == "CONNECTING":
            time.sleep(0.01)


def _looks_up(self, call, s, name, *args, **kw):
    if name and name[0] not in self._network.addresses:
        time.sleep(600)
    return call(s, name, *args, **kw)


def _once_per_address(self, call, s, name, *args, **kw):
    used = self.__dict__.setdefault("used", set())
    own = self._sockets.get(s, "").address
    if own in used:
        raise WSAError(E.WSAEADDRINUSE)
    used.add(own)
    return call(s, name, *args, **kw)


def _late_event(self, call, s):
    found = self._sockets._sockets.get(s)
    event = found.selection._event if found is not None else None
    number = event.fileno() if event is not None else -1
    call(s)
    if number >= 0:
        threading.Timer(0.02, _set_number, (number,)).start()


def _set_number(number: int) -> None:
    import os

    try:
        os.eventfd_write(number, 1)
    except OSError:
        pass


CONNECTING = [
    mistake("R-106", "WSPConnect waits", WSPConnect=_to_the_end),
    mistake("R-109 R-140", "a refusal is a time-out",
            WSPEnumNetworkEvents=outcome(E.WSAECONNREFUSED, E.WSAETIMEDOUT)),
    mistake("R-110 R-130", "a full queue is a reset",
            WSPEnumNetworkEvents=outcome(E.WSAECONNREFUSED, E.WSAECONNRESET)),
    mistake("R-111", "nobody there is a refusal",
            WSPEnumNetworkEvents=outcome(E.WSAECONNRESET, E.WSAECONNREFUSED)),
    mistake("R-112", "what does not exist times out",
            WSPEnumNetworkEvents=outcome(E.WSAEHOSTUNREACH, E.WSAETIMEDOUT)),
    mistake("R-113 R-114 T-08", "a time-out is a refusal",
            WSPEnumNetworkEvents=outcome(E.WSAETIMEDOUT, E.WSAECONNREFUSED)),
    mistake("R-113 T-07", "what is elsewhere does not exist",
            WSPConnect=instead(E.WSAEADDRNOTAVAIL, E.WSAEHOSTUNREACH)),
    mistake("T-07", "addresses are looked up", WSPConnect=_looks_up),
    mistake("R-115 T-09", "a second connect is invalid",
            WSPConnect=instead(E.WSAEALREADY, E.WSAEINVAL)),
    mistake("R-116 T-09", "an address is in use", WSPConnect=_once_per_address),
    mistake("R-117", "a connected socket is invalid",
            WSPConnect=instead(E.WSAEISCONN, E.WSAEINVAL)),
    mistake("R-118", "no address is invalid",
            WSPConnect=instead(E.WSAEADDRNOTAVAIL, E.WSAEINVAL)),
    mistake("R-118", "another family is a bad address",
            WSPConnect=instead(E.WSAEAFNOSUPPORT, E.WSAEFAULT)),
    mistake("R-119", "data are left behind",
            WSPConnect=lambda self, call, *args, caller_data=None, **kw: call(*args, **kw)),
    mistake("R-119", "quality of service is left behind",
            WSPConnect=lambda self, call, *args, sqos=None, **kw: call(*args, **kw)),
    mistake("R-121", "the event is set after the close", WSPCloseSocket=_late_event),
    mistake("R-122", "no RDMA after all", WSPRdmaWrite=fails(E.WSAEOPNOTSUPP, lambda *a: True)),
    mistake("R-108 R-138", "success is told as a failure",
            WSPEnumNetworkEvents=outcome(0, E.WSAECONNREFUSED)),
]  # fmt: skip


# --- listening and accepting --------------------------------------------------------------------


def _last_first(self, call, s, *args):
    listener = self._sockets.get(s, "").listener
    if listener is not None:
        listener.queue.reverse()
    return call(s, *args)


def _condition(change: Callable[[Any], None]) -> Wrapped:
    def wrapped(self, call, s, condition=None, data=None):
        def changed(request):
            change(request)
            return condition(request)

        return call(s, changed, data)

    return wrapped


def _swap(request: Any) -> None:
    request.caller, request.callee = request.callee, request.caller


def _no_data(request: Any) -> None:
    request.caller_data = b"data"


def _deaf_afterwards(self, call, s, *args):
    result = call(s, *args)
    self._sockets.get(s, "").selection.select(None, 0)
    return result


def _last_accept(self, call, s, *args):
    result = call(s, *args)
    self.WSPCloseSocket(s)
    return result


def _leaks_after_a_failure(self, call, s, *args):
    try:
        return call(s, *args)
    except WSAError as error:
        if error.winerror in (E.WSAEINVAL, E.WSAENOTSOCK) and s > 0:
            self._network.upcalls.WPUCreateSocketHandle(0, 0)
        raise


def _stuck_without_memory(self, call, *args, **kw):
    try:
        return call(*args, **kw)
    except WSAError as error:
        if error.winerror == E.WSAENOBUFS:
            self.stuck = True
        raise


ACCEPTING = [
    mistake("R-124", "listening needs no address", WSPListen=instead(E.WSAEINVAL, None)),
    mistake("R-125 T-10", "a connected socket is invalid to listen on",
            WSPListen=instead(E.WSAEISCONN, E.WSAEINVAL)),
    mistake("R-126", "no descriptors to listen is no memory",
            WSPListen=instead(E.WSAEMFILE, E.WSAENOBUFS)),
    mistake("R-126", "no memory to listen is no descriptors",
            WSPListen=instead(E.WSAENOBUFS, E.WSAEMFILE)),
    mistake("R-126 T-53", "listening on what is no socket is invalid",
            WSPListen=instead(E.WSAENOTSOCK, E.WSAEINVAL)),
    mistake("R-127", "one listener for an address",
            WSPListen=fails(E.WSAEADDRINUSE, lambda self, s, *args: any(
                one.address == self._sockets.get(s, "").address
                for one in self._network.listeners))),
    mistake("R-128", "one request waits",
            WSPListen=given(lambda self, s, backlog: (s, 1))),
    mistake("R-110 R-130", "all requests wait",
            WSPListen=given(lambda self, s, backlog: (s, 1000))),
    mistake("R-129", "the last request is the first", WSPAccept=_last_first),
    mistake("R-132", "requests are not announced",
            WSPEventSelect=given(lambda self, s, event, events: (s, event, events & ~8))),
    mistake("R-133", "what does not listen is no socket",
            WSPAccept=instead(E.WSAEINVAL, E.WSAENOTSOCK)),
    mistake("R-137", "the accepted socket is the listener",
            WSPAccept=answer(lambda self, result, s, *args: (s, result[1]))),
    mistake("R-139", "a rejection is invalid",
            WSPAccept=instead(E.WSAECONNREFUSED, E.WSAEINVAL)),
    mistake("R-142", "the peer's port is not told",
            WSPAccept=answer(lambda self, result, *args: (result[0], (result[1][0], 0)))),
    mistake("R-145 R-146 R-150", "one request is announced", WSPAccept=_deaf_afterwards),
    mistake("R-149", "both addresses are swapped", WSPAccept=_condition(_swap)),
    mistake("R-149", "there are data without data", WSPAccept=_condition(_no_data)),
    mistake("R-150 R-129", "one request is accepted", WSPAccept=_last_accept),
    mistake("R-152", "no descriptor for a request is no memory",
            WSPAccept=instead(E.WSAEMFILE, E.WSAENOBUFS)),
    mistake("T-14", "a closed listener leaves a handle", WSPAccept=_leaks_after_a_failure),
    mistake("T-11", "a listener is stuck without memory", WSPConnect=_stuck_without_memory,
            WSPAccept=fails(E.WSAENETDOWN, lambda self, *args: getattr(self, "stuck", False))),
]  # fmt: skip

MISTAKES: list[Mistake] = [
    *STARTING,
    *SOCKETS,
    *OPTIONS,
    *EVENTS,
    *CONNECTING,
    *ACCEPTING,
]
