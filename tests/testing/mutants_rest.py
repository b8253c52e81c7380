"""Mistakes about transfers, memory, closing and duplicating that the other tables do not have.

Here a mutant has to fail every one of the rules that it names.
"""

from __future__ import annotations

from tests.testing.mutation import wrong

MUTANTS = [
    # --- messages ---------------------------------------------------------------------------------
    wrong(
        "long messages lose their end",
        "R-157 R-227",
        "requests",
        'return b"".join(part.view for part in parts)',
        'data = b"".join(part.view for part in parts);'
        ' return data if len(data) < 1000 else data[:-1] + b"x"',
    ),
    wrong(
        "only short messages are carried",
        "R-156",
        "connections",
        """
        self.early.append(message)
        self._match()
        """,
        """
        if len(message) <= 256: self.early.append(message)
        self._match()
        """,
    ),
    wrong(
        "a procedure call is queued for each request",
        "R-160",
        "requests",
        """
        for part in self._memory():
            part.done()
        """,
        """
        table.WPUQueueApc(__import__("threading").main_thread().ident, id, None)
        for part in self._memory():
            part.done()
        """,
    ),
    wrong(
        "a receive waits for its message",
        "R-161",
        "provider",
        """
        transfers.receive(self._network, self._socket(s, "WSPRecv"), buffers, flags, overlapped)
        """,
        """
        transfers.receive(self._network, self._socket(s, "WSPRecv"), buffers, flags, overlapped)
        self._network.engine.wait(lambda: not overlapped.in_progress)
        """,
    ),
    wrong(
        "a count is returned although the send goes on",
        "R-162",
        "provider",
        """
        transfers.send(self._network, self._socket(s, "WSPSend"), buffers, flags, overlapped)
        return None
        """,
        """
        transfers.send(self._network, self._socket(s, "WSPSend"), buffers, flags, overlapped)
        return sum(memoryview(buffer).nbytes for buffer in buffers)
        """,
    ),
    wrong(
        "results have a flag",
        "R-164 R-187",
        "requests",
        "complete_request(table, socket.handle, self.overlapped, error, count)",
        "complete_request(table, socket.handle, self.overlapped, error, count, 1)",
    ),
    wrong(
        "the list of buffers is looked at again later",
        "R-168",
        "transfers",
        "request = Request(record, socket.memory.by_address(buffers, MEM_WRITE, call))",
        "request = Request(record, _Late("
        "lambda: socket.memory.by_address(buffers, MEM_WRITE, call)))",
        "transfers",
        """
        def _check_count(running: int, call: str) -> None:
        """,
        """
        class _Late:
            def __init__(self, parts):
                self.parts = parts

            def __iter__(self):
                return iter(self.parts())

        def _check_count(running: int, call: str) -> None:
        """,
    ),
    wrong(
        "a part of a region is taken for its begin",
        "R-169",
        "memory",
        """
        region = self.local.find(address, length, access, call)
        parts.append(Part(region, region.part(address - region.address, length, call)))
        """,
        """
        region = self.local.find(address, length, access, call)
        parts.append(Part(region, region.part(0, length, call)))
        """,
    ),
    wrong(
        "one receive at a time",
        "R-175 T-41",
        "transfers",
        "_check_count(len(end.receives), call)",
        "_check_count(len(end.receives) and 9999, call)",
    ),
    wrong(
        "no send while a receive is pending",
        "R-176",
        "transfers",
        """
        _check_count(len(end.outgoing), call)
        end.post(request)
        """,
        """
        _check_count(len(end.receives) and 9999, call)
        end.post(request)
        """,
    ),
    # --- how requests end -------------------------------------------------------------------------
    wrong(
        "the error is announced, but not recorded",
        "R-181 R-188",
        "requests",
        "complete_request, table, socket.handle, self.overlapped, int(error), count",
        "table.WPUCompleteOverlappedRequest, socket.handle, self.overlapped, int(error), count",
    ),
    wrong(
        "a polled request must not have an event",
        "R-184",
        "provider",
        """
        if overlapped.in_progress:
            if wait:
        """,
        """
        if overlapped.in_progress:
            if overlapped.hEvent is not None and overlapped.polled:
                raise WSAError(_E.WSA_INVALID_HANDLE, call)
            if wait:
        """,
    ),
    wrong(
        "a closed descriptor has results",
        "R-190 T-01",
        "provider",
        """
        call = "WSPGetOverlappedResult"
        self._socket(s, call)
        """,
        """
        call = "WSPGetOverlappedResult"
        """,
    ),
    wrong(
        "a result is there once",
        "R-192",
        "provider",
        "return overlapped.result()",
        "result = overlapped.result(); overlapped.InternalHigh = 0; return result",
    ),
    wrong(
        "the provider publishes what the switch is to publish",
        "R-178 R-193",
        "requests",
        "socket.upcalls.post(",
        "self.overlapped.publish(count); socket.upcalls.post(",
    ),
    wrong(
        "two threads announce at a time",
        "T-17",
        "announcing",
        "if self._running or not self._waiting:",
        "if not self._waiting:",
    ),
    wrong(
        "a lock is held while requests are announced",
        "T-16",
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
    # --- memory -----------------------------------------------------------------------------------
    wrong(
        "handles are 0",
        "R-195 R-196",
        "memory",
        'return self._register(self.local, buffer, access, "WSPRegisterMemory").handle',
        'return self._register(self.local, buffer, access, "WSPRegisterMemory").handle * 0',
    ),
    wrong(
        "memory is registered once",
        "R-198 R-199",
        "memory",
        """
        if region.references == 1:
        """,
        """
        if region.references > 1: raise WSAError(_E.WSAEINVAL, call)
        if region.references == 1:
        """,
    ),
    wrong(
        "RDMA knows other handles",
        "R-201",
        "memory",
        """
        region = self.local.get_part(handle, address, length, access, call)
        """,
        """
        region = self.exposed.get_part(handle, address, length, access, call)
        """,
    ),
    wrong(
        "any handle can be deregistered",
        "R-202",
        "memory",
        """
        self.local.deregister(handle, "WSPDeregisterMemory")
        """,
        """
        try: self.local.deregister(handle, "WSPDeregisterMemory")
        except WSAError: pass
        """,
    ),
    wrong(
        "a descriptor is a number",
        "R-205 R-206",
        "memory",
        'return _descriptor(self._register(self.exposed, buffer, access, "WSPRegisterRdmaMemory"))',
        'return self._register(self.exposed, buffer, access, "WSPRegisterRdmaMemory").handle',
    ),
    wrong(
        "the length of a descriptor is told wrong",
        "R-206 R-207 T-39",
        "provider",
        "raise WSAError.too_small(call, DESCRIPTOR_SIZE)",
        "raise WSAError.too_small(call, DESCRIPTOR_SIZE - 1)",
    ),
    wrong(
        "read-only memory is registered for writing",
        "R-197 R-208",
        "memory",
        "view = capture(buffer, access, call)",
        "view = capture(buffer, access & 1, call)",
    ),
    wrong(
        "only the first descriptor is known",
        "R-209",
        "memory",
        "for region in self.exposed:",
        "for region in list(self.exposed)[:1]:",
    ),
    wrong(
        "memory stays exposed after a close",
        "R-213",
        "memory",
        """
        self.exposed.clear()
        """,
        """
        pass
        """,
    ),
    wrong(
        "any descriptor can be deregistered",
        "R-215 T-34",
        "memory",
        """
        self.exposed.deregister(self._named(descriptor, call), call)
        """,
        """
        try: self.exposed.deregister(self._named(descriptor, call), call)
        except WSAError: pass
        """,
    ),
    wrong(
        "one deregistration ends all",
        "R-217",
        "memory",
        """
        self.exposed.deregister(self._named(descriptor, call), call)
        """,
        """
        handle = self._named(descriptor, call)
        while self.exposed.deregister(handle, call).references: pass
        """,
    ),
    wrong(
        "memory is kept for ever",
        "R-204 R-218 R-221 R-226",
        "memory",
        "view = capture(buffer, access, call)",
        "view = capture(buffer, access, call);"
        ' _ranges.__dict__.setdefault("kept", []).append(memoryview(buffer))',
    ),
    wrong(
        "the cache remembers access, too",
        "R-219",
        "memory",
        "region = table.register(view, address_of(view), access, call)",
        "known = self._cache._cache.lookup(address_of(view), view.nbytes, 3);"
        " region = table.register(view, address_of(view), 3 if known else access, call)",
    ),
    wrong(
        "the callback drops nothing",
        "R-222",
        "memory",
        "self._cache.invalidate(address, size, call)",
        "if self._cache.lookup(address, size, 0) is None: raise WSAError(_E.WSAEINVAL, call)",
    ),
    wrong(
        "a part of known memory gives all of it",
        "T-31",
        "memory",
        """
        return Part(region, region.part(offset, length, call))
        """,
        """
        known = max([*self.local, region], key=lambda one: one.length)
        return Part(region, known.part(region.address - known.address + offset, length, call))
        """,
    ),
    wrong(
        "unknown descriptors mean the first",
        "R-210 R-235",
        "memory",
        """
        raise WSAError(_E.WSAEINVAL, call, "No memory has this descriptor here.")
        """,
        """
        return next(iter(self.exposed)).handle
        """,
    ),
    wrong(
        "a missing function is called invalid",
        "R-237 T-52",
        "provider",
        'raise WSAError(_E.WSAEOPNOTSUPP, call, "There is no WSPRdmaRead.")',
        'raise WSAError(_E.WSAEINVAL, call, "There is no WSPRdmaRead.")',
    ),
    # --- the end of sockets -----------------------------------------------------------------------
    wrong(
        "any descriptor can be closed",
        "R-238 R-239",
        "provider",
        """
        self._network.close_socket(s, "WSPCloseSocket")
        """,
        """
        try: self._network.close_socket(s, "WSPCloseSocket")
        except WSAError: pass
        """,
    ),
    wrong(
        "two threads can close one socket",
        "R-272",
        "socket_table",
        """
            return self._sockets.pop(s)
        except (KeyError, TypeError):
        """,
        """
            found = self._sockets[s]
            __import__("time").sleep(0.01)
            self._sockets.pop(s, None)
            return found
        except (KeyError, TypeError):
        """,
        "network",
        """
        with self.engine.lock:
            socket = self.sockets.take(s, call)
            socket.step(Step.CLOSE)
        """,
        """
        socket = self.sockets.take(s, call)
        with self.engine.lock:
            socket.step(Step.CLOSE)
        """,
    ),
    wrong(
        "aborts are announced, polled or not",
        "R-249",
        "requests",
        """
        if self.overlapped.polled:
        """,
        """
        if error == 995:
            upcall = table.WPUCompleteOverlappedRequest
            socket.upcalls.post(upcall, socket.handle, self.overlapped, int(error), count)
        elif self.overlapped.polled:
        """,
    ),
    wrong(
        "the end of the connection changes old results",
        "R-250",
        "connections",
        "self.receives.append(request)",
        "self.receives.append(request); _old.setdefault(id(self), []).append(request)",
        "connections",
        """
        self._finish_all(self.receives, code)
        self._finish_all(self.outgoing, code)
        """,
        """
        self._finish_all(self.receives, code)
        self._finish_all(self.outgoing, code)
        for request in _old.get(id(self), []): request.overlapped.OffsetHigh = code
        """,
        "connections",
        """
        class End:
        """,
        """
        _old = {}

        class End:
        """,
    ),
    wrong(
        "listeners stay after their close",
        "R-245",
        "network",
        """
            self.listeners.remove(listener)
            listener.close()
        if end is not None and end.socket is socket:
        """,
        """
            pass
        if end is not None and end.socket is socket:
        """,
    ),
    # --- duplication ------------------------------------------------------------------------------
    wrong(
        "all duplicates have one name",
        "R-253",
        "handover",
        "next(self._numbers) & 0xFFFF",
        "1",
    ),
    wrong(
        "high process numbers are refused",
        "R-255",
        "handover",
        "if not 0 <= process_id <= 0xFFFFFFFF:",
        "if not 0 <= process_id <= 0x7FFFFFFF:",
    ),
    wrong(
        "all process numbers are taken",
        "R-256",
        "handover",
        "if not 0 <= process_id <= 0xFFFFFFFF:",
        "if False:",
    ),
    wrong(
        "a swap ends the peer's receives",
        "R-262",
        "handover",
        "socket.end.flush()",
        "socket.end.flush(); socket.end.peer.flush()",
    ),
    wrong(
        "each swap leaves a descriptor behind",
        "R-267 T-26",
        "handover",
        "del self._parcels[number]",
        "del self._parcels[number]; os.dup(0)",
    ),
    wrong(
        "a connection has no socket after a swap",
        "R-264",
        "handover",
        """
        if self.end is not None:
            self.end.socket = socket
            socket.step(Step.ESTABLISH)
        """,
        """
        if self.end is not None:
            self.end.ended = _E.WSAECONNRESET
            self.end.socket = socket
            socket.step(Step.ESTABLISH)
        """,
    ),
    wrong(
        "the peer of a swap gets codes of its own",
        "T-20",
        "handover",
        """
        socket.step(Step.MOVE)
        """,
        """
        socket.step(Step.MOVE)
        if socket.end is not None: socket.end.peer.ended = 1
        """,
    ),
    wrong(
        "taking over never fails",
        "R-266 T-24",
        "handover",
        """
            network.dismiss(socket)
            raise
        """,
        """
            pass
        """,
    ),
    # --- the rest ---------------------------------------------------------------------------------
    wrong(
        "a function that is not needed crashes",
        "R-273",
        "provider",
        """
        def WSPGetQOSByName(self, s: int, name: str) -> QOS | list[str]:
        """,
        """
        def WSPSelect(self, *arguments):
            raise KeyError(arguments)

        def WSPGetQOSByName(self, s: int, name: str) -> QOS | list[str]:
        """,
    ),
    wrong(
        "addresses never change",
        "R-274",
        "options",
        """
        addresses = network.addresses
        """,
        """
        addresses = ("127.0.0.1",)
        """,
    ),
    wrong(
        "the thread looks again and again",
        "T-51",
        "engine",
        """
        if not self._ready():
            self._changed.wait()
        """,
        """
        if not self._ready():
            self._changed.wait(1e-6)
        """,
    ),
]
"""All of them."""
