"""Mistakes about messages, the end of requests, and the end of sockets."""

from __future__ import annotations

from tests.testing.mutation import wrong

MUTANTS = [
    # --- messages ---------------------------------------------------------------------------------
    wrong(
        "messages are merged",
        "R-155 R-158",
        "connections",
        """
        self.early.append(message)
        """,
        """
        if self.early: self.early[-1] += message
        else: self.early.append(message)
        """,
    ),
    wrong(
        "a message that is too long is split",
        "R-173",
        "connections",
        """
        if len(message) > receive.length:
        """,
        """
        if len(message) > receive.length:
            self.early.appendleft(message[receive.length:])
            message = message[:receive.length]
        if False:
        """,
    ),
    wrong(
        "a message that is too long is cut",
        "R-173",
        "connections",
        """
        if len(message) > receive.length:
        """,
        """
        message = message[:receive.length]
        if False:
        """,
    ),
    wrong(
        "the latest message comes first",
        "R-155",
        "connections",
        "self.early.popleft()",
        "self.early.pop()",
    ),
    wrong(
        "messages before the first receive are lost",
        "R-153 R-154 T-50",
        "connections",
        """
        if not self.receives and len(self.early) >= EARLY_MAX:
            return False
        """,
        """
        if not self.receives:
            return True
        """,
    ),
    wrong(
        "the latest receive is served first",
        "R-159",
        "connections",
        "self.receives.popleft()",
        "self.receives.pop()",
    ),
    wrong(
        "the longest message is refused",
        "R-069 T-45",
        "transfers",
        "if request.length > MESSAGE_MAX:",
        "if request.length >= MESSAGE_MAX:",
    ),
    wrong(
        "messages of any length are sent",
        "R-172",
        "transfers",
        "if request.length > MESSAGE_MAX:",
        "if False:",
    ),
    wrong(
        "flags are ignored",
        "R-165",
        "transfers",
        """
        if flags:
        """,
        """
        if False:
        """,
    ),
    wrong(
        "too many requests are called a dead network",
        "R-174 T-41",
        "transfers",
        "raise WSAError(_E.WSAEWOULDBLOCK, call, f",
        "raise WSAError(_E.WSAENETDOWN, call, f",
    ),
    wrong(
        "a call that failed leaves its record in progress",
        "R-163 T-42",
        "transfers",
        """
        return socket.end, check_record(overlapped, call)
        """,
        """
        record = check_record(overlapped, call)
        record.start()
        return socket.end, record
        """,
        "requests",
        """
        self.overlapped.start()
        """,
        "",
    ),
    wrong(
        "any registration will do for a send",
        "R-171",
        "transfers",
        "socket.memory.by_address(buffers, MEM_READ, call)",
        "socket.memory.by_address(buffers, 0, call)",
    ),
    wrong(
        "an unconnected socket is called invalid",
        "R-170 R-171",
        "socket_table",
        """
        _UNCONNECTED: Final = {
            State.FRESH: _E.WSAENOTCONN,
            State.BOUND: _E.WSAENOTCONN,
        """,
        """
        _UNCONNECTED: Final = {
            State.FRESH: _E.WSAEINVAL,
            State.BOUND: _E.WSAEINVAL,
        """,
    ),
    wrong(
        "buffers are gathered from the last to the first",
        "R-167",
        "requests",
        'b"".join(part.view for part in parts)',
        'b"".join(part.view for part in reversed(list(parts)))',
    ),
    wrong(
        "messages without bytes vanish",
        "R-177 T-18",
        "connections",
        """
        self.early.append(message)
        """,
        """
        if not message:
            return True
        self.early.append(message)
        """,
    ),
    # --- the end of requests ----------------------------------------------------------------------
    wrong(
        "polled requests are announced",
        "R-179",
        "requests",
        """
        if self.overlapped.polled:
        """,
        """
        if self.overlapped.polled:
            socket.upcalls.post(
                table.WPUCompleteOverlappedRequest, socket.handle, self.overlapped, 0, 0)
        if self.overlapped.polled:
        """,
    ),
    wrong(
        "notified requests are not announced",
        "R-178",
        "requests",
        """
        socket.upcalls.post(
            complete_request, table, socket.handle, self.overlapped, int(error), count
        )
        """,
        """
        self.overlapped.set_result(error)
        self.overlapped.publish(count)
        """,
    ),
    wrong(
        "notified requests are announced twice",
        "R-178",
        "requests",
        """
        socket.upcalls.post(
            complete_request, table, socket.handle, self.overlapped, int(error), count
        )
        """,
        """
        socket.upcalls.post(
            complete_request, table, socket.handle, self.overlapped, int(error), count
        )
        socket.upcalls.post(
            complete_request, table, socket.handle, self.overlapped, int(error), count
        )
        """,
    ),
    wrong(
        "the provider's own descriptor goes with the announcement",
        "R-180 R-037",
        "requests",
        """
        socket.upcalls.post(
            complete_request, table, socket.handle, self.overlapped, int(error), count
        )
        """,
        """
        socket.upcalls.post(
            complete_request, table, socket.descriptor, self.overlapped, int(error), count
        )
        """,
    ),
    wrong(
        "requests end inside the call that made them",
        "R-182",
        "provider",
        """
        transfers.send(self._network, self._socket(s, "WSPSend"), buffers, flags, overlapped)
        """,
        """
        transfers.send(self._network, self._socket(s, "WSPSend"), buffers, flags, overlapped)
        self._network.engine.progress()
        """,
    ),
    wrong(
        "the provider sets the event of a request",
        "R-178",
        "requests",
        """
        socket.upcalls.post(
            complete_request, table, socket.handle, self.overlapped, int(error), count
        )
        """,
        """
        if self.overlapped.hEvent: self.overlapped.hEvent.set()
        socket.upcalls.post(
            complete_request, table, socket.handle, self.overlapped, int(error), count
        )
        """,
    ),
    wrong(
        "the record says finished before the result is in it",
        "R-183",
        "requests",
        """
        complete_request(table, socket.handle, self.overlapped, error, count)
        """,
        """
        self.overlapped.publish(0)
        __import__('time').sleep(0.001)
        self.overlapped.set_result(error)
        self.overlapped.InternalHigh = count
        """,
    ),
    wrong(
        "the record is written to after the end",
        "R-194",
        "requests",
        """
        complete_request(table, socket.handle, self.overlapped, error, count)
        """,
        """
        complete_request(table, socket.handle, self.overlapped, error, count)
        self.overlapped.Offset = 1
        """,
    ),
    wrong(
        "memory is given back after the announcement",
        "R-241",
        "requests",
        """
        for part in self._memory():
            part.done()
        """,
        """
        def give_back(parts=tuple(self._memory())):
            for part in parts:
                part.done()
        """,
        "requests",
        """
        socket.upcalls.post(
            complete_request, table, socket.handle, self.overlapped, int(error), count
        )
        """,
        """
        socket.upcalls.post(
            complete_request, table, socket.handle, self.overlapped, int(error), count
        )
        socket.upcalls.post(give_back)
        """,
        "requests",
        """
        complete_request(table, socket.handle, self.overlapped, error, count)
        """,
        """
        complete_request(table, socket.handle, self.overlapped, error, count)
        give_back()
        """,
    ),
    wrong(
        "the error of a request is lost",
        "R-188",
        "requests",
        """
        complete_request(table, socket.handle, self.overlapped, error, count)
        """,
        """
        complete_request(table, socket.handle, self.overlapped, 0, count)
        """,
    ),
    wrong(
        "the lock is held during announcements",
        "R-271 T-16",
        "engine",
        """
        try:
            upcalls.run()
        finally:
            with self.lock:
                self._telling -= 1
                self._moved()
        """,
        """
        with self.lock:
            upcalls.run()
            self._telling -= 1
            self._moved()
        """,
    ),
    wrong(
        "a request that goes on has a result",
        "R-185 R-191 T-02",
        "provider",
        "        return overlapped.result()",
        "        return overlapped.result() or 0",
    ),
    wrong(
        "the result is that of another request",
        "R-185 T-44",
        "provider",
        """
        return overlapped.result()
        """,
        """
        result = overlapped.result()
        latest = self.__dict__.get('latest')
        self.__dict__['latest'] = result
        return latest if result is None else result
        """,
    ),
    wrong(
        "waiting does not wait",
        "R-186 T-03",
        "provider",
        """
        if wait:
        """,
        """
        if False:
        """,
    ),
    # --- the end of sockets -----------------------------------------------------------------------
    wrong(
        "requests end with WSAECONNRESET in the socket that closes",
        "R-240",
        "connections",
        """
        self._finish_all(self.receives, _E.WSA_OPERATION_ABORTED)
        """,
        """
        self._finish_all(self.receives, _E.WSAECONNRESET)
        """,
    ),
    wrong(
        "requests end with WSA_OPERATION_ABORTED at the peer",
        "R-244 T-19",
        "connections",
        """
        self._end(_E.WSAECONNRESET)
        """,
        """
        self._end(_E.WSA_OPERATION_ABORTED)
        """,
    ),
    wrong(
        "a socket vanishes when its peer closes",
        "R-243",
        "connections",
        """
        self.socket.error = code
        """,
        """
        self.socket.error = code
        self._network.sockets.take(self.socket.descriptor, '')
        """,
    ),
    wrong(
        "the switch's handle is never closed",
        "R-242",
        "network",
        """
        socket.upcalls.post(self.upcalls.WPUCloseSocketHandle, socket.handle)
        """,
        "",
    ),
    wrong(
        "the switch's handle is closed twice",
        "R-242",
        "network",
        """
        socket.upcalls.post(self.upcalls.WPUCloseSocketHandle, socket.handle)
        """,
        """
        socket.upcalls.post(self.upcalls.WPUCloseSocketHandle, socket.handle)
        socket.upcalls.post(self.upcalls.WPUCloseSocketHandle, socket.handle)
        """,
    ),
    wrong(
        "the switch's handle is closed before the requests end",
        "R-242",
        "network",
        """
        socket.upcalls.post(self.upcalls.WPUCloseSocketHandle, socket.handle)
        """,
        "",
        "network",
        """
        self._drop(socket)
        """,
        """
        socket.upcalls.post(self.upcalls.WPUCloseSocketHandle, socket.handle)
        self._drop(socket)
        """,
    ),
    wrong(
        "a close waits for an announcement that runs",
        "T-16",
        "network",
        """
        self.engine.tell(socket.upcalls)
        """,
        """
        while socket.upcalls: __import__('time').sleep(0.001)
        self.engine.tell(socket.upcalls)
        """,
    ),
    # --- duplication ------------------------------------------------------------------------------
    wrong(
        "a number can be used twice",
        "R-266 T-24",
        "handover",
        """
        del self._parcels[number]
        """,
        """
        pass
        """,
    ),
    wrong(
        "a number works in any process",
        "R-254",
        "handover",
        "if parcel is None or parcel.process_id != os.getpid():",
        "if parcel is None:",
    ),
    wrong(
        "receives are aborted by a duplication",
        "R-251",
        "connections",
        """
        self._finish_all(self.receives, 0)
        """,
        """
        self._finish_all(self.receives, _E.WSA_OPERATION_ABORTED)
        """,
    ),
    wrong(
        "receives outlast a duplication",
        "R-251 R-252",
        "connections",
        """
        self._finish_all(self.receives, 0)
        """,
        """
        pass
        """,
    ),
    wrong(
        "listening sockets cannot be duplicated",
        "R-261 T-27",
        "socket_table",
        """
        "WSPDuplicateSocket": {
        """,
        """
        "WSPDuplicateSocket": {
            State.LISTENING: _E.WSAENOTCONN,
        """,
    ),
    wrong(
        "an unknown number is no socket",
        "T-23",
        "handover",
        'raise WSAError(_E.WSAEINVAL, call, "Nothing',
        'raise WSAError(_E.WSAENOTSOCK, call, "Nothing',
    ),
    wrong(
        "a duplicate has no connection",
        "R-260",
        "handover",
        """
        socket.step(Step.ESTABLISH)
        """,
        """
        pass
        """,
    ),
    wrong(
        "the old descriptor ends with the duplication",
        "R-263",
        "handover",
        """
        socket.step(Step.MOVE)
        """,
        """
        socket.step(Step.MOVE)
        network.sockets.take(socket.descriptor, call)
        """,
    ),
]
