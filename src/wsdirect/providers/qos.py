"""Quality of service for every provider: templates, checks, negotiation, groups of sockets.

What a provider grants is its own decision, made with `refuse_unmet`; the rest is the same for all.
How it is used:

* `Socket.service` is a `Service`, made when a socket first has to do with any of this.
* WSPSocket: `Groups.join`.  WSPCloseSocket: `Groups.leave`.
* WSPConnect: `asked_for` gives what goes to the peer, as seen from here (`pack_qos`).  The acceptor
  turns it round (`mirrored`), shows it to the condition function, and answers with `settled`.
* WSPIoctl: `control`.  WSPGetQOSByName: `by_name`.
* WSPSend, WSPRecv and RDMA: `Service.check_direction`.

No locks but the one of `Groups`, which no upcall is made under.
"""

from __future__ import annotations

import os
import struct
from _thread import allocate_lock

from wsdirect.spi.constants import (
    QOS_NOT_SPECIFIED,
    SERVICETYPE_BESTEFFORT,
    SERVICETYPE_CONTROLLEDLOAD,
    SERVICETYPE_GUARANTEED,
    SERVICETYPE_NOCHANGE,
    SERVICETYPE_NOTRAFFIC,
    SG_CONSTRAINED_GROUP,
    SG_UNCONSTRAINED_GROUP,
    SIO_GET_GROUP_QOS,
    SIO_GET_QOS,
    SIO_SET_GROUP_QOS,
    SIO_SET_QOS,
)
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.structures import FLOWSPEC, QOS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable
    from typing import Final

__all__ = [
    "QOS_CODES",
    "QOS_PACKED",
    "QOS_SIZE",
    "Group",
    "Groups",
    "Service",
    "asked_for",
    "by_name",
    "checked",
    "control",
    "copied",
    "mirrored",
    "pack_qos",
    "refuse_unmet",
    "settled",
    "unpack_qos",
]

_E = WsaErrorCode
_OPEN: Final = QOS_NOT_SPECIFIED

QOS_CODES: Final = frozenset((SIO_GET_QOS, SIO_SET_QOS, SIO_GET_GROUP_QOS, SIO_SET_GROUP_QOS))
"""The control codes that `control` answers."""

_TYPES: Final = frozenset(
    (
        SERVICETYPE_NOTRAFFIC,
        SERVICETYPE_BESTEFFORT,
        SERVICETYPE_CONTROLLEDLOAD,
        SERVICETYPE_GUARANTEED,
    )
)
# The order of the members in memory, and of FLOWSPEC's arguments.
_MEMBERS: Final = (
    "TokenRate",
    "TokenBucketSize",
    "PeakBandwidth",
    "Latency",
    "DelayVariation",
    "ServiceType",
    "MaxSduSize",
    "MinimumPolicedSize",
)
QOS_SIZE: Final = 80
"""Length of a QOS in memory (`wsdirect.spi.layout`, which would have to be loaded for it)."""
_FLOWS: Final = struct.Struct("<16I")
QOS_PACKED: Final = _FLOWS.size
"""Length of `pack_qos` in bytes."""

# --- templates ----------------------------------------------------------------------------------

# Codecs: payload rate, packets per second.  A packet has 40 bytes more for IP, UDP and RTP, as
# these figures are what a sender plans with wherever the data go.
_HEADERS: Final = 40
_PACKET_MAX: Final = 1500
_CODECS: Final = {
    "G711": (8000, 50),
    "G723.1": (800, 33),
    "G729": (1000, 50),
    "GSM6.10": (1650, 50),
    "H261CIF": (48000, 30),
    "H261QCIF": (8000, 30),
    "H263CIF": (40000, 30),
    "H263QCIF": (6000, 30),
}
_VOICE_DELAY: Final = 150_000  # us from mouth to ear that nobody notices (ITU-T G.114)
_VIDEO_DELAY: Final = 250_000


def _codec(name: str) -> QOS:
    payload, packets = _CODECS[name]
    rate = payload + packets * _HEADERS
    packet = -(-rate // packets)
    delay = _VIDEO_DELAY if name.startswith("H26") else _VOICE_DELAY
    # A video codec sends a picture of several packets' size at once, and at times a key frame.
    burst = packet * (8 if name.startswith("H26") else 2)
    largest = min(2 * packet, _PACKET_MAX)
    flow = (rate, burst, rate * 2, delay, delay // 5, SERVICETYPE_CONTROLLEDLOAD, largest, 64)
    return QOS(FLOWSPEC(*flow), FLOWSPEC(*flow))


def _bulk() -> QOS:
    return QOS(FLOWSPEC(MaxSduSize=_OPEN), FLOWSPEC(MaxSduSize=_OPEN))


def _interactive() -> QOS:
    # Keys one way, screens of text the other: little data, soon.
    keys = FLOWSPEC(1 << 10, 1 << 9, 1 << 12, 100_000, _OPEN, SERVICETYPE_CONTROLLEDLOAD)
    screens = FLOWSPEC(1 << 15, 1 << 14, 1 << 17, 100_000, _OPEN, SERVICETYPE_CONTROLLEDLOAD)
    return QOS(keys, screens)


_TEMPLATES: Final = {"BULK": _bulk, "INTERACTIVE": _interactive}


def by_name(name: object) -> QOS | list[str]:
    """What WSPGetQOSByName answers: a template, or all names for an empty one.

    Names are compared without regard to case.

    Args:
        name: A str, or its bytes in memory (UTF-16).

    Errors:
        WSAEFAULT: it is neither.
        WSAEINVAL: unknown name.

    Source: R:ff566290; R-269.
    """
    call = "WSPGetQOSByName"
    if isinstance(name, (bytes, bytearray, memoryview)):
        try:
            name = bytes(name).decode("utf-16-le").partition("\0")[0]
        except UnicodeDecodeError as error:
            raise WSAError(_E.WSAEINVAL, call, f"{error}.") from None
    if not isinstance(name, str):
        raise WSAError(_E.WSAEFAULT, call, f"{name!r} is no name.")
    if not name:
        return sorted([*_CODECS, *_TEMPLATES])
    wanted = name.upper()
    if wanted in _CODECS:
        return _codec(wanted)
    if wanted in _TEMPLATES:
        return _TEMPLATES[wanted]()
    raise WSAError(_E.WSAEINVAL, call, f"There is no template {name!r}.")


# --- flow specs ---------------------------------------------------------------------------------


def _flow(flow: object, call: str, before: FLOWSPEC | None) -> FLOWSPEC:
    if not isinstance(flow, FLOWSPEC):
        raise WSAError(_E.WSAEFAULT, call, f"{flow!r} is no FLOWSPEC.")
    values = [getattr(flow, name) for name in _MEMBERS]
    for name, value in zip(_MEMBERS, values, strict=True):
        if not isinstance(value, int) or not 0 <= value <= _OPEN:
            raise WSAError(_E.WSAEINVAL, call, f"{name} {value!r} is not a 32-bit number.")
    if flow.ServiceType == SERVICETYPE_NOCHANGE and before is not None:
        return FLOWSPEC(*[getattr(before, name) for name in _MEMBERS])
    if flow.ServiceType not in _TYPES:
        raise WSAError(_E.WSAEINVAL, call, f"There is no service type {flow.ServiceType}.")
    if _OPEN not in (flow.TokenRate, flow.PeakBandwidth) and flow.PeakBandwidth < flow.TokenRate:
        raise WSAError(_E.WSAEINVAL, call, "PeakBandwidth is less than TokenRate.")
    if flow.MaxSduSize == 0:
        raise WSAError(_E.WSAEINVAL, call, "MaxSduSize is 0.")
    return FLOWSPEC(*values)


def checked(qos: object, call: str, before: QOS | None = None) -> QOS:
    """A copy of what a caller gave as QOS, with every member in its range.

    Args:
        qos: A `QOS`.
        call: Name of the function, for errors.
        before: What SERVICETYPE_NOCHANGE keeps; without it that is an invalid type.

    Errors:
        WSAEFAULT: it is no QOS.
        WSAEINVAL: a member is out of its range.
        WSAEOPNOTSUPP: it has a ProviderSpecific part, and this provider has defined none.
    """
    if not isinstance(qos, QOS):
        raise WSAError(_E.WSAEFAULT, call, "It needs a QOS.")
    if qos.ProviderSpecific:
        raise WSAError(_E.WSAEOPNOTSUPP, call, "There is no ProviderSpecific part here.")
    return QOS(
        _flow(qos.SendingFlowspec, call, before.SendingFlowspec if before else None),
        _flow(qos.ReceivingFlowspec, call, before.ReceivingFlowspec if before else None),
    )


def refuse_unmet(qos: QOS, call: str, message_max: int) -> None:
    """Refuse what a SAN without reserved bandwidth cannot keep.

    NOTRAFFIC is enforced (`Service.check_direction`).  BESTEFFORT promises nothing.  CONTROLLEDLOAD
    is what a medium with flow control and no queues of strangers is by nature: nothing is dropped;
    the rates are only recorded and shown to the peer.  GUARANTEED would need somebody who reserves
    time and memory for a connection: it is refused.

    Args:
        qos: From `checked`.
        call: Name of the function, for errors.
        message_max: Longest message of the provider in bytes.

    Errors:
        WSAEOPNOTSUPP: this cannot be met.
    """
    for flow in (qos.SendingFlowspec, qos.ReceivingFlowspec):
        if flow.ServiceType == SERVICETYPE_GUARANTEED:
            raise WSAError(_E.WSAEOPNOTSUPP, call, "Nothing is reserved, so nothing guaranteed.")
        if flow.ServiceType == SERVICETYPE_CONTROLLEDLOAD and message_max < flow.MaxSduSize < _OPEN:
            raise WSAError(_E.WSAEOPNOTSUPP, call, f"Messages have at most {message_max} bytes.")


def mirrored(qos: QOS) -> QOS:
    """A copy as the peer sees it: what one end sends, the other receives."""
    return copied(QOS(qos.ReceivingFlowspec, qos.SendingFlowspec))


def copied(qos: QOS) -> QOS:
    """A copy that can be changed without changing the original."""
    return QOS(
        _lower(qos.SendingFlowspec, qos.SendingFlowspec),
        _lower(qos.ReceivingFlowspec, qos.ReceivingFlowspec),
    )


def _lower(one: FLOWSPEC, other: FLOWSPEC) -> FLOWSPEC:
    agreed = FLOWSPEC(*[getattr(one, name) for name in _MEMBERS])
    agreed.ServiceType = min(one.ServiceType, other.ServiceType)
    return agreed


def settled(asked: QOS | None, own: QOS | None) -> QOS | None:
    """What holds for a connection, as its acceptor sees it.

    In each direction the lower service type of what the two ends want; the rates are the caller's.

    Args:
        asked: What the caller asks for, turned round with `mirrored`; None: it did not ask.
        own: What SIO_SET_QOS set on the listening socket; None: nothing.
    """
    if own is None:
        return asked
    if asked is None:
        asked = QOS()
    return QOS(
        _lower(asked.SendingFlowspec, own.SendingFlowspec),
        _lower(asked.ReceivingFlowspec, own.ReceivingFlowspec),
    )


def pack_qos(qos: QOS) -> bytes:
    """The flow specs for a peer: QOS_PACKED bytes, without the ProviderSpecific part."""
    return _FLOWS.pack(
        *[getattr(qos.SendingFlowspec, name) for name in _MEMBERS],
        *[getattr(qos.ReceivingFlowspec, name) for name in _MEMBERS],
    )


def unpack_qos(packed: bytes) -> QOS | None:
    """The QOS that a peer packed; None if it is not a valid one, whoever wrote it."""
    if len(packed) != QOS_PACKED:
        return None
    values = _FLOWS.unpack(packed)
    try:
        return checked(QOS(FLOWSPEC(*values[:8]), FLOWSPEC(*values[8:])), "")
    except WSAError:
        return None


# --- sockets ------------------------------------------------------------------------------------


class Service:
    """The quality of service of one socket.

    Attributes:
        qos: What SIO_SET_QOS set, or what was settled with the peer; None: best effort.
        priority: SO_GROUP_PRIORITY, a hint of the socket's rank in its group: 0 is the highest.
        group: The group it belongs to, or None.
    """

    __slots__ = ("_claims", "group", "priority", "qos")

    def __init__(self) -> None:
        self.qos: QOS | None = None
        self.priority = 0
        self.group: Group | None = None
        self._claims = False

    @property
    def may_send(self) -> bool:
        """Whether data may flow out."""
        return self.qos is None or self.qos.SendingFlowspec.ServiceType != SERVICETYPE_NOTRAFFIC

    @property
    def may_receive(self) -> bool:
        """Whether data may flow in."""
        return self.qos is None or self.qos.ReceivingFlowspec.ServiceType != SERVICETYPE_NOTRAFFIC

    def check_direction(self, call: str) -> None:
        """See whether data may flow as a call wants to make them flow.

        Args:
            call: WSPSend, WSPRecv, WSPRdmaWrite or WSPRdmaRead.

        Errors:
            WSAEOPNOTSUPP: there is no traffic in this direction: the socket is one-way.
        """
        out = call in ("WSPSend", "WSPRdmaWrite")
        if not (self.may_send if out else self.may_receive):
            raise WSAError(_E.WSAEOPNOTSUPP, call, "There is no traffic in this direction.")

    def claim(self, host: Hashable) -> bool:
        """Before a connection to a host: whether the group allows it; it then counts until `free`.

        A constrained group has connections to one host at a time.
        """
        group = self.group
        if group is None or not group.constrained or self._claims:
            return True
        with group.lock:
            if group.claims and group.host != host:
                return False
            group.host = host
            group.claims += 1
            self._claims = True
        return True

    def free(self) -> None:
        """The connection came to nothing or has ended."""
        group = self.group
        if group is not None and self._claims:
            with group.lock:
                self._claims = False
                group.claims -= 1


class Group:
    """A group of sockets.

    Attributes:
        number: SO_GROUP_ID: neither 0 nor one of the SG constants.
        constrained: All connections go to one host.
        qos: What SIO_SET_GROUP_QOS or the gqos of a WSPConnect set; recorded, no more.
        members: How many sockets belong to it.
        host: Where a constrained group is connected to, while `claims` is not 0.
        claims: How many connections it has or tries.
        lock: For host and claims.
    """

    __slots__ = ("claims", "constrained", "host", "lock", "members", "number", "qos")

    def __init__(self, number: int, constrained: bool) -> None:
        self.number = number
        self.constrained = constrained
        self.qos: QOS | None = None
        self.members = 0
        self.host: Hashable = None
        self.claims = 0
        self.lock = allocate_lock()


class Groups:
    """All groups of a provider in this process.  A group ends with its last socket."""

    __slots__ = ("_groups", "_lock")

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._groups: dict[int, Group] = {}

    def __len__(self) -> int:
        return len(self._groups)

    def join(self, group: object, call: str) -> Service | None:
        """The service of a new member of a group.

        Args:
            group: As in WSPSocket: 0, SG_UNCONSTRAINED_GROUP, SG_CONSTRAINED_GROUP, or the number
                of a group.
            call: Name of the function, for errors.

        Returns:
            None for 0; else to be given back with `leave`.

        Errors:
            WSAEINVAL: there is no such group.
        """
        if type(group) is not int:
            raise WSAError(_E.WSAEINVAL, call, f"{group!r} is no group.")
        if not group:
            return None
        service = Service()
        with self._lock:
            if group in (SG_UNCONSTRAINED_GROUP, SG_CONSTRAINED_GROUP):
                found = self._new(group == SG_CONSTRAINED_GROUP)
            else:
                known = self._groups.get(group)
                if known is None:
                    raise WSAError(_E.WSAEINVAL, call, f"There is no group {group}.")
                found = known
            found.members += 1
        service.group = found
        return service

    def _new(self, constrained: bool) -> Group:
        # Random, as numbers travel: a socket that another process takes over keeps its group's.
        while True:
            number = int.from_bytes(os.urandom(4), "little") & 0x7FFFFFFF
            if number > SG_CONSTRAINED_GROUP and number not in self._groups:
                break
        made = self._groups[number] = Group(number, constrained)
        return made

    def rejoin(self, number: int, constrained: bool, qos: QOS | None) -> Group:
        """The group of a socket that comes from another process; made if it is not known here."""
        with self._lock:
            found = self._groups.get(number)
            if found is None or found.constrained is not constrained:
                found = self._groups[number] = Group(number, constrained)
                found.qos = qos
            found.members += 1
        return found

    def leave(self, service: Service | None) -> None:
        """A socket is closed: end its membership and its claim."""
        if service is None:
            return
        service.free()
        group, service.group = service.group, None
        if group is None:
            return
        with self._lock:
            group.members -= 1
            if not group.members and self._groups.get(group.number) is group:
                del self._groups[group.number]

    def reset(self) -> None:
        """In a forked child: no groups, and a lock that nobody holds."""
        self._lock = allocate_lock()
        self._groups.clear()


def asked_for(
    service: Service | None, sqos: object, gqos: object, message_max: int
) -> tuple[QOS | None, QOS | None]:
    """What a WSPConnect asks for, for the socket and for the group.

    An sqos takes the place of what SIO_SET_QOS set; without one, that is asked for.

    Args:
        service: Of the connecting socket.
        sqos: Argument of WSPConnect.
        gqos: Argument of WSPConnect.
        message_max: Longest message of the provider in bytes.

    Errors:
        As `checked` and `refuse_unmet`.
    """
    call = "WSPConnect"
    own = service.qos if service is not None else None
    asked = checked(sqos, call, own or QOS()) if sqos is not None else own
    group = checked(gqos, call) if gqos is not None else None
    for each in (asked, group):
        if each is not None:
            refuse_unmet(each, call, message_max)
    return asked, group


def control(
    service: Service, code: int, in_buffer: object, out_size: int | None, message_max: int
) -> QOS | None:
    """WSPIoctl with one of QOS_CODES.

    On a connected socket SIO_SET_QOS holds for this end from then on; the peer is not told.

    Args:
        service: Of the socket.
        code: The control code.
        in_buffer: The new QOS, for the codes that set.
        out_size: Room for the result in bytes; None: enough.
        message_max: Longest message of the provider in bytes.

    Returns:
        The quality of service, for the codes that get: best effort where nothing was set.

    Errors:
        WSAEFAULT: too little room, or no QOS.
        WSAEINVAL: an invalid QOS, or there is no group to set one for.
        WSAEOPNOTSUPP: it cannot be met.

    Source: C:handling-socket-options-and-control-codes-for-a-san; R-085.
    """
    call = "WSPIoctl"
    of_group = code in (SIO_GET_GROUP_QOS, SIO_SET_GROUP_QOS)
    group = service.group
    now = (group.qos if group is not None else None) if of_group else service.qos
    if code in (SIO_GET_QOS, SIO_GET_GROUP_QOS):
        if out_size is not None and out_size < QOS_SIZE:
            raise WSAError.too_small(call, QOS_SIZE)
        return copied(now or QOS())
    wanted = checked(in_buffer, call, now or QOS())
    refuse_unmet(wanted, call, message_max)
    if not of_group:
        service.qos = wanted
    elif group is not None:
        group.qos = wanted
    else:
        raise WSAError(_E.WSAEINVAL, call, "It belongs to no group.")
    return None
