"""Echo in Winsock's terms: AcceptEx, overlapped receives and sends, one event object for each.

    python examples/overlapped_echo.py            server and client in one go
    python examples/overlapped_echo.py serve 7007
    python examples/overlapped_echo.py ask 7007

Both ends on this host: the bytes go through shared memory, and nothing else changes.
"""

from __future__ import annotations

import sys
import threading

from wsdirect import winsock as ws

HOST = "127.0.0.1"
ADDRESS = 16 + 16  # what AcceptEx wants for a sockaddr_in
CLIENTS = 4


class Connection:
    """One client of the server: always exactly one request is under way."""

    def __init__(self, listener: int) -> None:
        self.socket = ws.WSASocket(ws.AF_INET, ws.SOCK_STREAM, ws.IPPROTO_TCP)
        self.overlapped = ws.WSAOVERLAPPED(ws.WSACreateEvent())
        self.buffer = bytearray(65536)
        self.finished = self.accepted
        ws.AcceptEx(listener, self.socket, self.buffer, 0, ADDRESS, ADDRESS, self.overlapped)
        self.listener = listener

    def accepted(self, _: int) -> bool:
        ws.setsockopt(self.socket, ws.SOL_SOCKET, ws.SO_UPDATE_ACCEPT_CONTEXT, self.listener)
        return self.receive()

    def received(self, size: int) -> bool:
        if size == 0:
            return False
        self.finished = self.sent
        ws.WSASend(self.socket, [memoryview(self.buffer)[:size]], 0, self.overlapped)
        return True

    def sent(self, _: int) -> bool:
        return self.receive()

    def receive(self) -> bool:
        self.finished = self.received
        ws.WSARecv(self.socket, [self.buffer], 0, self.overlapped)
        return True

    def advance(self) -> bool:
        """The request has ended: whether the connection goes on."""
        try:
            size = ws.WSAGetOverlappedResult(self.socket, self.overlapped)
            return size is None or self.finished(size)
        except ws.WSAError as error:
            print(f"a client is gone: {error}")
            return False

    def close(self) -> None:
        ws.closesocket(self.socket)
        ws.WSACloseEvent(self.overlapped.hEvent)


def serve(listener: int, clients: int | None = None) -> None:
    """Echo until this many clients have come and gone; None: for ever."""
    connections = [Connection(listener) for _ in range(CLIENTS)]
    gone = 0
    while clients is None or gone < clients:
        events = [connection.overlapped.hEvent for connection in connections]
        index = ws.WSAWaitForMultipleEvents(events, False, ws.WSA_INFINITE, False)
        connection = connections[index - ws.WSA_WAIT_EVENT_0]
        if not connection.advance():
            connection.close()
            connections[index - ws.WSA_WAIT_EVENT_0] = Connection(listener)
            gone += 1
    ws.closesocket(listener)
    for connection in connections:
        connection.close()


def listen(port: int = 0) -> int:
    listener = ws.WSASocket(ws.AF_INET, ws.SOCK_STREAM, ws.IPPROTO_TCP)
    ws.bind(listener, (HOST, port))
    ws.listen(listener, ws.SOMAXCONN)
    return listener


def ask(port: int, text: str) -> str:
    """Send, and read the echo with a completion routine."""
    s = ws.WSASocket(ws.AF_INET, ws.SOCK_STREAM, ws.IPPROTO_TCP)
    ws.connect(s, (HOST, port))
    question, answer, buffer = text.encode(), bytearray(), bytearray(1024)
    overlapped = ws.WSAOVERLAPPED()

    def received(error: int, size: int, record: ws.WSAOVERLAPPED, flags: int) -> None:
        if error:
            raise ws.WSAError(error, "WSARecv")
        answer.extend(buffer[:size])

    ws.send(s, question)
    while len(answer) < len(question):
        ws.WSARecv(s, [buffer], 0, overlapped, received)
        ws.SleepEx(ws.WSA_INFINITE, True)  # the routine runs in here
    ws.closesocket(s)
    return answer.decode()


def main(arguments: list[str]) -> None:
    ws.WSAStartup(0x0202)
    if arguments[:1] == ["serve"]:
        serve(listen(int(arguments[1])))
    elif arguments[:1] == ["ask"]:
        print(ask(int(arguments[1]), "hello, overlapped world"))
    else:
        listener = listen()
        port = ws.getsockname(listener)[1]
        server = threading.Thread(target=serve, args=(listener, 3))
        server.start()
        for number in range(3):
            print(ask(port, f"hello number {number}"))
        server.join()
    ws.WSACleanup()


if __name__ == "__main__":
    main(sys.argv[1:])
