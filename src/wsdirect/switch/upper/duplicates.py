"""WSPDuplicateSocket: further handles of a socket.

Within a process all handles stand for the same socket, which ends with the last of them.  To
another process a socket goes by its descriptor, so only sockets without a switched connection and
without a SAN listener can be passed on: see `WSPDuplicateSocket`.
"""

from __future__ import annotations

import os

from wsdirect.spi.errors import WSAError, WsaErrorCode
from wsdirect.switch.upper.core import Core
from wsdirect.switch.upper.sockets import Socket
from wsdirect.switch.upper.tables import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wsdirect.spi.structures import WSAPROTOCOL_INFOW

__all__ = ["Duplicates"]

MOST = 4096  # duplicates that were prepared and never made


class Duplicates(Core):
    """See `service_provider.SwitchProvider`."""

    def __init__(self, switched: bool = True) -> None:
        super().__init__(switched)
        self._prepared: dict[int, Socket] = {}

    def WSPDuplicateSocket(self, s: int, process_id: int) -> WSAPROTOCOL_INFOW:
        """Prepare another handle of the socket.

        Args:
            s: Handle.
            process_id: This process.  Other processes are refused (WSAEOPNOTSUPP): pass them the
                listener before they start, or the connection's data.

        Returns:
            For WSPSocket, once: dwProviderReserved names the socket.

        Errors:
            WSAENOTSOCK: s is not a socket; looked at first.
            WSAEINVAL: there is no such process.
            WSAEOPNOTSUPP: it is another process.

        Source: S:lpwspduplicatesocket.
        """
        call = "WSPDuplicateSocket"
        sock = self._get(s, call)
        if process_id != os.getpid():
            if not _exists(process_id):
                raise WSAError(WsaErrorCode.WSAEINVAL, call, f"No process {process_id}.")
            raise WSAError(
                WsaErrorCode.WSAEOPNOTSUPP, call, "Sockets of this interface stay in their process."
            )
        cookie = 0
        with self._lock:
            while not cookie or cookie in self._prepared:
                cookie = int.from_bytes(os.urandom(4), "little")
            while len(self._prepared) >= MOST:
                self._prepared.pop(next(iter(self._prepared)))
            self._prepared[cookie] = sock
        info: WSAPROTOCOL_INFOW = sock.info.replace(dwProviderReserved=cookie)
        return info

    def _take_over(self, protocol_info: WSAPROTOCOL_INFOW) -> int:
        call = "WSPSocket"
        with self._lock:
            sock = self._prepared.pop(protocol_info.dwProviderReserved, None)
            if sock is None or sock.state is State.CLOSED or not sock.handles:
                raise WSAError(WsaErrorCode.WSAEINVAL, call, "Nothing was duplicated like this.")
            return self._add(sock, call)


def _exists(process_id: int) -> bool:
    if process_id <= 0:
        return False
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return process_id < 1 << 22
    return True
