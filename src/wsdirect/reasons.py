"""Why a connection took the path it took: one reason each, with a number, a code and a way out.

The number stands in status pages and messages between processes and never changes its meaning;
the code is what people and scripts see.
"""

from __future__ import annotations

__all__ = ["ALL", "Reason", "by_code", "by_number"]


class Reason:
    """A reason: stable `number`, kebab-case `code`, one `sentence`, and `advice` what to do."""

    __slots__ = ("advice", "code", "number", "sentence")

    def __init__(self, number: int, code: str, sentence: str, advice: str = "") -> None:
        self.number = number
        self.code = code
        self.sentence = sentence
        self.advice = advice

    def __repr__(self) -> str:
        return f"<Reason {self.number} {self.code}>"

    def __str__(self) -> str:
        return self.code

    def explain(self) -> str:
        """Code, sentence and advice in one line of text."""
        return f"{self.code}: {self.sentence}{' ' + self.advice if self.advice else ''}"


# fmt: off
SWITCHED = Reason(
    0, "switched",
    "The connection bypasses TCP.",
)
NO_LISTENER = Reason(
    1, "no-listener",
    "Nobody accepts switched connections on that address.",
    "Start the server with wsdirect run too.",
)
NOT_ACCEPTING_YET = Reason(
    2, "not-accepting-yet",
    "The server listens, but had not called accept for the first time yet.",
    "Later connections are switched; connect again if this one lives long.",
)
REMOTE_PEER = Reason(
    3, "remote-peer",
    "The peer is on another host and no fabric provider reaches it.",
    "Add fabric to WSDIRECT_PROVIDERS if the hosts share a fabric.",
)
FOREIGN_UID = Reason(
    4, "foreign-uid",
    "The peer's program belongs to another user.",
    "Name that user's number in WSDIRECT_ALLOW_UIDS on both sides if you trust it.",
)
EXCLUDED = Reason(
    5, "excluded",
    "WSDIRECT_EXCLUDE keeps this address on TCP.",
    "Take the address out of WSDIRECT_EXCLUDE.",
)
SWITCHED_OFF = Reason(
    6, "switched-off",
    "Switching is off in this process.",
    "Start the program with wsdirect run, or call wsdirect.enable().",
)
BACKLOG_FULL = Reason(
    7, "backlog-full",
    "The server's queue of switched connections was full.",
    "Let the server accept faster or listen with a longer backlog.",
)
NO_CORE = Reason(
    8, "no-core",
    "The compiled core of wsdirect is not available to this Python.",
    "wsdirect doctor says why; reinstalling wsdirect for this Python usually helps.",
)
UNSUPPORTED_OPTION = Reason(
    9, "unsupported-option",
    "The program set a socket option that only TCP has.",
    "Leave that option out for connections that are to be switched.",
)
OFFER_EXPIRED = Reason(
    10, "offer-expired",
    "The peer did not accept in time, so the connection moved to TCP.",
    "Raise WSDIRECT_OFFER_TIMEOUT if the server is just slow to accept.",
)
REFUSED_BY_PEER = Reason(
    11, "refused-by-peer",
    "The peer turned the switched connection down.",
    "Set WSDIRECT_LOG=info on the peer's side: it says why.",
)
OUT_OF_SLOTS = Reason(
    12, "out-of-slots",
    "No shared memory was left for another connection.",
    "Make room in /dev/shm and under the descriptor limit, or lower WSDIRECT_RING.",
)
PEER_NOT_SWITCHED = Reason(
    13, "peer-not-switched",
    "The peer connected over TCP.",
    "Start the client with wsdirect run too.",
)
UNHOOKED_ACCEPT = Reason(
    14, "unhooked-accept",
    "The listening socket is served by code that the switch does not reach, such as uvloop.",
    "Use the standard event loop, or leave it on TCP.",
)
BELL_UNTRUE = Reason(
    15, "bell-untrue",
    "This kernel's local sockets do not poll as switched connections need it.",
    "Report the kernel's version; meanwhile everything stays on TCP.",
)
PROVIDER_FAILED = Reason(
    16, "provider-failed",
    "The provider met an error while connecting.",
    "Set WSDIRECT_LOG=error: it shows the error.",
)
TLS_NOT_SUPPORTED = Reason(
    17, "tls-not-supported",
    "The TLS connection is of a kind that is not carried over switched connections.",
    "Leave it on TCP, or use the ssl module of the standard library.",
)
GEVENT_PRESENT = Reason(
    18, "gevent-present",
    "gevent or eventlet has replaced the socket module's functions.",
    "Run that program without wsdirect.",
)
NOT_TCP = Reason(
    19, "not-tcp",
    "The socket is not a TCP stream socket.",
)
OTHER_NAMESPACE = Reason(
    20, "other-namespace",
    "The peer lives in another network namespace.",
    "Let both containers share a network namespace.",
)
BY_SESSION = Reason(
    21, "session",
    "The connection bypasses TCP by the switch's session protocol, over messages and RDMA.",
)
PASSED_ON = Reason(
    22, "passed-on",
    "The connection went to another process, and goes on through a plain kernel socket.",
    "Programs under wsdirect keep the fast path if the socket is inherited by fork or pickled.",
)
UNHOOKED_CONNECT = Reason(
    23, "unhooked-connect",
    "The connection was made by a library with network code of its own, such as libpq or gRPC.",
    "Use a library that goes through Python's sockets, or leave it on TCP.",
)

LINK_LOCAL = Reason(
    24, "link-local",
    "The address is link-local, and no provider knows which interface is meant.",
    "Use another address of the host.",
)

ALL: tuple[Reason, ...] = (
    SWITCHED, NO_LISTENER, NOT_ACCEPTING_YET, REMOTE_PEER, FOREIGN_UID, EXCLUDED, SWITCHED_OFF,
    BACKLOG_FULL, NO_CORE, UNSUPPORTED_OPTION, OFFER_EXPIRED, REFUSED_BY_PEER, OUT_OF_SLOTS,
    PEER_NOT_SWITCHED, UNHOOKED_ACCEPT, BELL_UNTRUE, PROVIDER_FAILED, TLS_NOT_SUPPORTED,
    GEVENT_PRESENT, NOT_TCP, OTHER_NAMESPACE, BY_SESSION, PASSED_ON,
    UNHOOKED_CONNECT, LINK_LOCAL,
)
# fmt: on

_BY_CODE = {reason.code: reason for reason in ALL}


def by_code(code: str) -> Reason:
    """The reason with this code; KeyError if there is none."""
    return _BY_CODE[code]


def by_number(number: int) -> Reason | None:
    """The reason with this number, or None: a newer wsdirect may know more of them."""
    return ALL[number] if 0 <= number < len(ALL) else None
