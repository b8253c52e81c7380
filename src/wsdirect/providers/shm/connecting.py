"""Connecting for messages: the acceptor's answer, and what to make of silence.

The first message from the acceptor is its answer.  Until it comes the socket is connecting, and
the connection can be called off on either side.
"""

from __future__ import annotations

from time import monotonic

from wsdirect.spi.errors import WsaErrorCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from wsdirect._core import _native

    Stream = _native.Stream

__all__ = ["ACCEPTED", "PATIENCE", "REFUSED", "WAIT", "Connecting", "tcp_listens"]

ACCEPTED: Final = b"A"
REFUSED: Final = b"R"
WAIT: Final = b"W"
"""The acceptor put the request off: it is to be waited for some more."""
PATIENCE: Final = 10.0
"""Seconds that WAIT asks for."""

_E = WsaErrorCode
_LOCAL_TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTEN: Final = "0A"


class Connecting:
    """A request that the acceptor has not answered.

    Args:
        stream: The connecting end; None while it is still being found out why there is no
            listener.
        timeout: Seconds to wait for an answer.
        finish: Called once, without a lock held, with the outcome: 0 or a Winsock code.
    """

    __slots__ = ("_finish", "deadline", "stream")

    def __init__(
        self, stream: Stream | None, timeout: float, finish: Callable[[int], object]
    ) -> None:
        self.stream = stream
        self.deadline = monotonic() + timeout
        self._finish = finish

    def on_ready(self) -> None:
        """Look for the answer and tell the outcome if there is one."""
        outcome = self.look()
        if outcome is not None:
            self._finish(outcome)

    def look(self) -> int | None:
        """The outcome: 0, a Winsock code, or None if there is none yet."""
        stream = self.stream
        if stream is None or stream.closed:
            return None
        try:
            while (size := stream.message_size()) >= 0:
                if size != 1:
                    return _E.WSAETIMEDOUT  # no answer of ours: TCP/IP may do better
                answer = bytearray(1)
                stream.recv_message((answer,))
                if answer == ACCEPTED:
                    return 0
                if answer == REFUSED:
                    return _E.WSAECONNREFUSED
                if answer != WAIT:
                    return _E.WSAETIMEDOUT
                self.deadline = monotonic() + PATIENCE
        except OSError:
            # It ended without an answer, or was never looked at: what TCP/IP would say is open.
            return _E.WSAETIMEDOUT
        return _E.WSAETIMEDOUT if monotonic() >= self.deadline else None


def tcp_listens(port: int) -> bool:
    """Whether TCP may have a listener on this port: a socket of this network namespace listens.

    True also if that cannot be found out.  Takes as long as reading the table of all connections.
    """
    wanted = f":{port:04X}"
    for path in _LOCAL_TABLES:
        try:
            with open(path, encoding="ascii") as table:
                next(table, None)
                for line in table:
                    fields = line.split(None, 4)
                    if fields[3] == _LISTEN and fields[1].endswith(wanted):
                        return True
        except FileNotFoundError:
            if path == _LOCAL_TABLES[0]:
                return True
        except (OSError, IndexError, ValueError):
            return True
    return False
