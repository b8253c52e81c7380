"""SanEventLoop: asyncio's Unix event loop, with connections over SANs.

Everything that is not a switched connection, or a listener for such, is the standard loop's own:
its code, on a selector that happens to serve overlapped requests as well.
"""

from __future__ import annotations

import _socket
import asyncio
import errno
import io
import os
import socket
from asyncio import constants, exceptions, proactor_events, sslproto, trsock
from functools import partial
from typing import Any

from wsdirect import reasons, settings
from wsdirect.aio.proactor import Operation, Proactor
from wsdirect.aio.sockets import End, accepted, become, end_of, plain_error
from wsdirect.aio.transports import SanTransport
from wsdirect.reasons import Reason
from wsdirect.spi.errors import WSAError
from wsdirect.switch.connect import is_fresh
from wsdirect.switch.upper.paths import may_wait

__all__ = ["SanEventLoop", "SanEventLoopPolicy"]

_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_STARVED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_base: Any = asyncio.SelectorEventLoop  # its private names are unknown to type checkers
_send_file: Any = proactor_events.BaseProactorEventLoop._sendfile_native  # type: ignore[attr-defined]


def _borrowed(sock: socket.socket) -> _socket.socket:
    """The kernel's socket; detach it, or leave the descriptor to it."""
    return _socket.socket(sock.family, sock.type, sock.proto, sock.fileno())


def _is_plain(sock: Any) -> bool:
    """Whether this is a TCP socket of the standard class, which can become a SanSocket."""
    return (
        type(sock) is socket.socket
        and sock.family in _FAMILIES
        and sock.type == socket.SOCK_STREAM
        and sock.fileno() >= 0
    )


class SanEventLoop(_base):  # type: ignore[misc]
    """An event loop whose TCP connections go over a SAN where both ends can.

        asyncio.run(main(), loop_factory=wsdirect.SanEventLoop)     # Python 3.12 and newer

    Connections to and from programs that cannot are TCP, and the standard loop's in every respect.
    """

    def __init__(self) -> None:
        self._proactor = Proactor()
        self._accepting: dict[int, Operation] = {}
        super().__init__(self._proactor)
        self._proactor.set_loop(self)

    def close(self) -> None:
        """Close the loop; sockets that are still open stay so."""
        if not self.is_running() and not self.is_closed():
            for operation in list(self._accepting.values()):
                operation.cancel()
            self._accepting.clear()
        super().close()

    # -- sockets -------------------------------------------------------------------------------

    def _end(self, sock: Any, checked: bool = True) -> End | None:
        """The end of a switched socket, which is this loop's from now on."""
        end = end_of(sock)
        if end is None:
            return None
        if checked and self._debug and end.timeout != 0:
            raise ValueError("the socket must be non-blocking")
        return self._proactor.own(end)

    async def sock_recv(self, sock: Any, n: int) -> Any:
        """See asyncio."""
        end = self._end(sock)
        if end is None:
            return await super().sock_recv(sock, n)
        return await self._proactor.recv(end, n)

    async def sock_recv_into(self, sock: Any, buf: Any) -> Any:
        """See asyncio."""
        end = self._end(sock)
        if end is None:
            return await super().sock_recv_into(sock, buf)
        return await self._proactor.recv_into(end, buf)

    async def sock_recvfrom(self, sock: Any, bufsize: int) -> Any:
        """See asyncio."""
        end = self._end(sock)
        if end is None:
            return await super().sock_recvfrom(sock, bufsize)
        return await self._proactor.recv(end, bufsize), None

    async def sock_recvfrom_into(self, sock: Any, buf: Any, nbytes: int = 0) -> Any:
        """See asyncio."""
        end = self._end(sock)
        if end is None:
            return await super().sock_recvfrom_into(sock, buf, nbytes)
        view = memoryview(buf).cast("B")
        return await self._proactor.recv_into(end, view[:nbytes] if nbytes else view), None

    async def sock_sendall(self, sock: Any, data: Any) -> Any:
        """See asyncio."""
        end = self._end(sock)
        if end is None:
            return await super().sock_sendall(sock, data)
        await self._proactor.send_all(end, data)
        return None

    async def sock_sendto(self, sock: Any, data: Any, address: Any) -> Any:
        """See asyncio."""
        end = self._end(sock)
        if end is None:
            return await super().sock_sendto(sock, data, address)
        return await self._proactor.send_all(end, data)

    async def sock_accept(self, sock: Any) -> Any:
        """See asyncio; the new socket is a SanSocket if its connection is switched."""
        self._listen_on_san(sock)
        end = self._end(sock)
        if end is None:
            return await super().sock_accept(sock)
        return await self._proactor.accept(end)

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """See asyncio; the socket becomes a SanSocket if the connection is switched."""
        if _is_plain(sock) and self._proactor.provider.switched:
            if self._debug and sock.gettimeout() != 0:
                raise ValueError("the socket must be non-blocking")
            resolved = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
            )
            address = resolved[0][4]
            if sock.fileno() >= 0 and is_fresh(sock):
                reason = await self._connect_over_san(sock, address)
                if reason is reasons.SWITCHED:
                    return
                if settings.current().require:
                    raise ConnectionError(
                        f"connection to {address[0]} port {address[1]} cannot be switched: "
                        f"{reason.explain()}"
                    )
        elif self._end(sock) is not None:
            raise OSError(errno.EISCONN, os.strerror(errno.EISCONN))
        await super().sock_connect(sock, address)

    async def _connect_over_san(self, sock: socket.socket, address: Any) -> Reason:
        provider = self._proactor.provider
        if may_wait(address, provider.switched):
            return await self._connect_apart(sock, address)
        tcp = _borrowed(sock)
        try:
            found = provider.connect_adopted(tcp, address)
        except BaseException:
            tcp.detach()
            raise
        if isinstance(found, Reason):
            tcp.detach()
            return found
        become(sock, provider, found)
        return reasons.SWITCHED

    async def _connect_apart(self, sock: socket.socket, address: Any) -> Reason:
        """The same in a thread, with a descriptor of its own: the peer has to be waited for."""
        provider = self._proactor.provider
        copy = sock.dup()
        tcp = _socket.socket(copy.family, copy.type, copy.proto, copy.detach())

        def connect() -> int | Reason:
            try:
                found = provider.connect_adopted(tcp, address)
            except BaseException:
                tcp.close()
                raise
            if isinstance(found, Reason):
                tcp.close()
            return found

        future = self.run_in_executor(None, connect)
        try:
            found = await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(partial(_drop, provider))
            raise
        if isinstance(found, Reason):
            return found
        fd = sock.fileno()
        become(sock, provider, found)
        if fd >= 0:
            os.close(fd)
        return reasons.SWITCHED

    # -- files ---------------------------------------------------------------------------------

    async def _sock_sendfile_native(self, sock: Any, file: Any, offset: int, count: Any) -> Any:
        end = self._end(sock)
        if end is None:
            return await super()._sock_sendfile_native(sock, file, offset, count)
        try:
            size = os.fstat(file.fileno()).st_size
        except (AttributeError, io.UnsupportedOperation, OSError):
            raise exceptions.SendfileNotAvailableError("not a regular file") from None
        left = max(0, size - offset) if count is None else min(count, max(0, size - offset))
        sent = 0
        try:
            if left:
                sent = await self._proactor.sendfile(end, file, offset, left)
        finally:
            if sent:
                file.seek(offset + sent)
        return sent

    async def _sendfile_native(self, transp: Any, file: Any, offset: int, count: Any) -> Any:
        if isinstance(transp, SanTransport):
            return await _send_file(self, transp, file, offset, count)
        return await super()._sendfile_native(transp, file, offset, count)

    # -- transports ----------------------------------------------------------------------------

    def _make_socket_transport(
        self, sock: Any, protocol: Any, waiter: Any = None, *, extra: Any = None, server: Any = None
    ) -> Any:
        end = self._end(sock, False)
        if end is None:
            return super()._make_socket_transport(
                sock, protocol, waiter, extra=extra, server=server
            )
        self._ensure_fd_no_transport(sock)
        return SanTransport(self, sock, end, protocol, waiter, extra, server)

    def _make_ssl_transport(
        self, rawsock: Any, protocol: Any, sslcontext: Any, waiter: Any = None, *,
        server_side: bool = False, server_hostname: Any = None, extra: Any = None,
        server: Any = None, **timeouts: Any,
    ) -> Any:  # fmt: skip
        end = self._end(rawsock, False)
        if end is None:
            return super()._make_ssl_transport(
                rawsock, protocol, sslcontext, waiter, server_side=server_side,
                server_hostname=server_hostname, extra=extra, server=server, **timeouts,
            )  # fmt: skip
        self._ensure_fd_no_transport(rawsock)
        over: Any = sslproto.SSLProtocol(
            self, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts
        )
        SanTransport(self, rawsock, end, over, extra=extra, server=server)
        return over._app_transport

    # -- servers -------------------------------------------------------------------------------

    def _listen_on_san(self, sock: Any) -> None:
        """Let a listening TCP socket accept over SANs, too, if it can."""
        if not _is_plain(sock) or not self._proactor.provider.switched:
            return
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return
        tcp = _borrowed(sock)
        try:
            handle = self._proactor.provider.listen_adopted(tcp)
        except BaseException:
            tcp.detach()
            raise
        if handle is None:
            tcp.detach()
            return
        become(sock, self._proactor.provider, handle)

    def _start_serving(
        self, protocol_factory: Any, sock: Any, sslcontext: Any = None, server: Any = None,
        backlog: int = 100, *timeouts: Any, **named: Any,
    ) -> None:  # fmt: skip
        self._listen_on_san(sock)
        end = self._end(sock, False)
        arguments = (protocol_factory, sock, sslcontext, server, backlog, *timeouts)
        if end is None:
            super()._start_serving(*arguments, **named)
        else:
            self._accept_more(end, arguments, named)

    def _accept_more(self, end: End, arguments: Any, named: Any) -> None:
        """Call `_accept_waiting` when there is a connection."""
        if end_of(arguments[1]) is not end:
            return  # closed meanwhile
        operation = Operation(self._proactor, end.handle)
        operation.tell = lambda _: self.call_soon(self._accept_waiting, end, arguments, named)
        self._accepting[end.handle] = operation
        if not self._proactor.begin(operation, self._proactor.provider.await_arrival):
            self.call_soon(self._accept_waiting, end, arguments, named)

    def _accept_waiting(self, end: End, arguments: Any, named: Any) -> None:
        protocol_factory, sock, sslcontext, server, backlog, *timeouts = arguments
        provider = self._proactor.provider
        if self._accepting.pop(end.handle, None) is None or end_of(sock) is not end:
            return  # serves no more
        for _ in range(max(1, backlog)):
            try:
                arrival = provider.take_arrival(end.handle)
                if arrival is None:
                    break
                conn = accepted(provider, end.handle, arrival)
            except OSError as error:
                told = plain_error(error) if isinstance(error, WSAError) else error
                if told.errno not in _STARVED:
                    raise told from None
                self.call_exception_handler(
                    {
                        "message": "socket.accept() out of system resource",
                        "exception": told,
                        "socket": trsock.TransportSocket(sock),
                    }
                )
                delay = constants.ACCEPT_RETRY_DELAY
                self.call_later(delay, self._accept_again, end, arguments, named)
                return
            self.create_task(
                self._accept_connection2(
                    protocol_factory, conn, {"peername": arrival.peer}, sslcontext, server,
                    *timeouts, **named,
                )
            )  # fmt: skip
        self._accept_more(end, arguments, named)

    def _accept_again(self, end: End, arguments: Any, named: Any) -> None:
        if not self.is_closed():
            self._accept_more(end, arguments, named)

    def _stop_serving(self, sock: Any) -> None:
        end = end_of(sock)
        if end is None:
            super()._stop_serving(sock)
            return
        operation = self._accepting.pop(end.handle, None)
        if operation is not None:
            operation.cancel()
        sock.close()


def _drop(provider: Any, future: Any) -> None:
    """Nobody wanted the connection any more."""
    if not future.cancelled() and future.exception() is None and isinstance(future.result(), int):
        provider.WSPCloseSocket(future.result())


class SanEventLoopPolicy(asyncio.DefaultEventLoopPolicy):
    """For programs that cannot pass a loop_factory: asyncio.set_event_loop_policy()."""

    _loop_factory = SanEventLoop
