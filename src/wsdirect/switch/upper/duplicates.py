"""WSPDuplicateSocket: further handles of a socket.

Within a process all handles stand for the same socket, which ends with the last of them.  To
another process a socket goes by its descriptor, so a switched connection, which is more than a
descriptor, cannot go: see `WSPDuplicateSocket`.
"""

from __future__ import annotations

import _socket
import os

from wsdirect.reasons import PEER_NOT_SWITCHED
from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.spi.structures import LINGER
from wsdirect.switch.upper.core import Core
from wsdirect.switch.upper.endpoints import TcpEndpoint
from wsdirect.switch.upper.names import SIZES
from wsdirect.switch.upper.options import OPTIONS, Kind
from wsdirect.switch.upper.passing import Offer, take
from wsdirect.switch.upper.paths import UpperListener, plain_lead
from wsdirect.switch.upper.sockets import Socket
from wsdirect.switch.upper.tables import State, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wsdirect.spi.structures import WSAPROTOCOL_INFOW

__all__ = ["Duplicates"]

MOST = 4096  # duplicates that were prepared and never made
STEPS = {
    State.FRESH: (),
    State.BOUND: (Step.BIND,),
    State.LISTENING: (Step.BIND, Step.LISTEN),
    State.CONNECTED: (Step.ESTABLISH,),
}
"""The states in which a socket can go to another process, and how it gets there again."""


class Duplicates(Core):
    """See `service_provider.SwitchProvider`."""

    def __init__(self, switched: bool = True) -> None:
        super().__init__(switched)
        self._prepared: dict[int, Socket] = {}
        self._offers: list[Offer] = []

    def WSPDuplicateSocket(self, s: int, process_id: int) -> WSAPROTOCOL_INFOW:
        """Prepare another handle of the socket.

        In this process the new handle stands for the same socket.  In another one, of the same
        user, it stands for the same TCP socket, with the options of this moment; events and
        blocking mode are each process's own, and a listener accepts over TCP only there.

        Args:
            s: Handle.
            process_id: The process that may take it over, within a minute if it is another one.

        Returns:
            For that process's WSPSocket, once: dwProviderReserved names the socket.

        Errors:
            WSAENOTSOCK: s is not a socket; looked at first.
            WSAEINVAL: there is no such process.
            WSAEOPNOTSUPP: another process, and a switched connection or one under way.

        Source: S:lpwspduplicatesocket.
        """
        call = "WSPDuplicateSocket"
        sock = self._get(s, call)
        if process_id != os.getpid() and not _exists(process_id):
            raise WSAError(WsaErrorCode.WSAEINVAL, call, f"No process {process_id}.")
        cookie = 0
        with self._lock:
            while not cookie or cookie in self._prepared:
                cookie = int.from_bytes(os.urandom(4), "little")
            while len(self._prepared) >= MOST:
                self._prepared.pop(next(iter(self._prepared)))
            if process_id == os.getpid():
                self._prepared[cookie] = sock
        if process_id != os.getpid():
            self._offer(sock, process_id, cookie, call)
        info: WSAPROTOCOL_INFOW = sock.info.replace(dwProviderReserved=cookie)
        return info

    def _offer(self, sock: Socket, process_id: int, cookie: int, call: str) -> None:
        with sock.lock:
            endpoint = sock.endpoint
            settled = endpoint is None or (not endpoint.switched and endpoint.settled())
            if sock.state not in STEPS or not settled or sock.sends:
                raise WSAError(
                    WsaErrorCode.WSAEOPNOTSUPP,
                    call,
                    "A switched connection cannot go to another process.",
                )
            description = {
                "family": sock.family,
                "state": int(sock.state),
                "ended": [sock.receive_ended, sock.send_ended],
                "options": [[*key, value] for key, value in sock.options.items()],
            }
            offer = Offer(sock.tcp.fileno(), description, process_id, cookie)
        with self._lock:
            self._offers = [known for known in self._offers if not known.over] + [offer]

    def WSPCleanup(self) -> None:  # noqa: D102
        super().WSPCleanup()
        if not self._users:
            offers, self._offers = self._offers, []
            for offer in offers:
                offer.withdraw()
            self._prepared.clear()

    def _in_child(self) -> None:
        super()._in_child()
        for offer in self._offers:
            offer.forget()
        self._offers = []
        self._prepared = {}

    # --- taking over ----------------------------------------------------------------------------

    def _take_over(self, protocol_info: WSAPROTOCOL_INFOW) -> int:
        call = "WSPSocket"
        cookie = protocol_info.dwProviderReserved
        with self._lock:
            sock = self._prepared.pop(cookie, None)
            if sock is not None:
                if sock.state is State.CLOSED or not sock.handles:
                    raise WSAError(WsaErrorCode.WSAEINVAL, call, "It was closed meanwhile.")
                return self._add(sock, call)
        fd, description = take(cookie)
        try:
            made = self._rebuilt(fd, description)
        except (KeyError, TypeError, ValueError, OSError) as error:
            os.close(fd)
            raise WSAError(WsaErrorCode.WSAEINVAL, call, "Not a description.") from error
        try:
            return self._add(made, call)
        except BaseException:
            made.tcp.close()
            raise

    def _rebuilt(self, fd: int, description: Any) -> Socket:
        """The socket of a descriptor; ValueError and its like for nonsense."""
        family, state = description["family"], State(description["state"])
        if family not in SIZES or state not in STEPS:
            raise ValueError("unknown family or state")
        options = {(level, option): value for level, option, value in description["options"]}
        for key, value in options.items():
            if OPTIONS[key].kind is Kind.LINGER:
                options[key] = LINGER(*value)
            elif not isinstance(value, int):
                raise ValueError("not an option")
        tcp = _socket.socket(family, _socket.SOCK_STREAM, 0, fd)
        try:
            sock = Socket(family, tcp, self._info(family))
            sock.options = options
            sock.receive_ended, sock.send_ended = (bool(end) for end in description["ended"])
            sock.bound = state is not State.FRESH
            if state is State.CONNECTED:
                sock.lead = plain_lead("accept", tcp, tcp.getpeername(), PEER_NOT_SWITCHED)
                self._serving.established(sock, TcpEndpoint(tcp))
                return sock
            tcp.settimeout(0.0)
            if state is State.LISTENING:
                sock.listener = UpperListener(tcp, family, False)
            for step in STEPS[state]:
                sock.step(step)
        except BaseException:
            tcp.detach()  # the caller closes it
            raise
        return sock


def _exists(process_id: int) -> bool:
    if process_id <= 0:
        return False
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    except OverflowError:
        return False
    return True
