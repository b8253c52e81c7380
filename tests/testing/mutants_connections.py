"""Mistakes about starting, sockets, connections and events."""

from __future__ import annotations

from tests.testing.mutation import wrong

MUTANTS = [
    # --- starting ---------------------------------------------------------------------------------
    wrong(
        "versions that are too old are served",
        "R-013",
        "provider",
        "version_requested >> 8) < _VERSION:",
        "version_requested >> 8) < (1, 0):",
    ),
    wrong(
        "a failed start counts",
        "R-023",
        "provider",
        "self._faults.check_start(call)",
        "self._users += 1; self._faults.check_start(call); self._users -= 1",
    ),
    wrong(
        "starts are not counted",
        "R-021 R-026",
        "provider",
        "self._users += 1",
        "self._users = 1",
    ),
    wrong(
        "the first upcall table stays",
        "R-022",
        "provider",
        "self._network.upcalls = upcalls",
        "self._network.upcalls = self._network.upcalls or upcalls",
    ),
    wrong(
        "a cleanup without a start succeeds",
        "R-027",
        "provider",
        'raise WSAError(_E.WSANOTINITIALISED, "WSPCleanup")',
        "return",
    ),
    wrong(
        "the last cleanup aborts nothing",
        "R-029 R-030 T-06",
        "network",
        """
        self.close_socket(socket.descriptor, "WSPCleanup")
        """,
        """
        self.sockets.take(socket.descriptor, 'WSPCleanup')
        self.upcalls.WPUCloseSocketHandle(socket.handle)
        """,
    ),
    wrong(
        "the last cleanup leaves the thread",
        "R-031",
        "network",
        """
        self.engine.stop()
        """,
        "",
    ),
    # --- sockets ----------------------------------------------------------------------------------
    wrong(
        "another family fails with the wrong error",
        "R-038",
        "provider",
        "raise WSAError(_E.WSAEAFNOSUPPORT, call)",
        "raise WSAError(_E.WSAEPROTONOSUPPORT, call)",
    ),
    wrong(
        "groups are not looked at",
        "R-041",
        "provider",
        "socket.service = self._network.groups.join(group, call)",
        "pass",
    ),
    wrong(
        "a socket without a handle is made",
        "R-043 T-48",
        "network",
        """
        self.sockets.take(descriptor, "WSPSocket")
        raise
        """,
        """
        pass
        """,
    ),
    wrong(
        "other socket types are made",
        "R-039",
        "provider",
        "if type not in _TYPES:",
        "if False:",
    ),
    wrong(
        "other protocols are spoken",
        "R-040",
        "provider",
        "if protocol not in _PROTOCOLS:",
        "if False:",
    ),
    wrong(
        "descriptors come again",
        "R-046",
        "socket_table",
        "socket.descriptor = descriptor = next(self._numbers)",
        "socket.descriptor = descriptor = 0x10000 + 4 * len(self._sockets)",
    ),
    wrong(
        "an address in use cannot be bound",
        "R-057",
        "provider",
        """
        socket.address = (host, port)
        socket.step(Step.BIND)
        """,
        """
        if any(other.address == (host, port) for other in self._sockets):
            raise WSAError(_E.WSAEADDRINUSE, call)
        socket.address = (host, port)
        socket.step(Step.BIND)
        """,
    ),
    wrong(
        "WSPBind calls another family WSAEAFNOSUPPORT",
        "R-052",
        "provider",
        "parse(address, call, _E.WSAEFAULT)",
        "parse(address, call, _E.WSAEAFNOSUPPORT)",
    ),
    wrong(
        "addresses of other computers can be bound",
        "R-050",
        "provider",
        "if host != WILDCARD and host not in self._network.addresses:",
        "if False:",
    ),
    wrong(
        "all addresses cannot be bound at once",
        "R-049",
        "provider",
        "if host != WILDCARD and host not in self._network.addresses:",
        "if host not in self._network.addresses:",
    ),
    # --- connecting -------------------------------------------------------------------------------
    wrong(
        "nobody listens, and it is called refused",
        "R-111",
        "network",
        "return _E.WSAETIMEDOUT if host_listens else _E.WSAECONNRESET",
        "return _E.WSAECONNREFUSED",
    ),
    wrong(
        "TCP is kept from a listener of its own",
        "R-113 T-08",
        "network",
        "return _E.WSAETIMEDOUT if host_listens else _E.WSAECONNRESET",
        "return _E.WSAECONNRESET",
    ),
    wrong(
        "a second connect is called invalid",
        "R-115 T-09",
        "socket_table",
        "State.CONNECTING: _E.WSAEALREADY,",
        "State.CONNECTING: _E.WSAEINVAL,",
    ),
    wrong(
        "a second connect is called in progress",
        "R-033 R-115 T-09",
        "socket_table",
        "State.CONNECTING: _E.WSAEALREADY,",
        "State.CONNECTING: _E.WSAEINPROGRESS,",
    ),
    wrong(
        "the error of a connect is lost",
        "R-107 R-108 R-110",
        "events",
        """
        self.note(FD_CONNECT, outcome)
        """,
        """
        self.note(FD_CONNECT, 0)
        """,
    ),
    wrong(
        "only connects that succeed are announced",
        "R-107",
        "network",
        """
        client.selection.connected(code)
        """,
        "",
    ),
    wrong(
        "a connected socket can connect again",
        "R-117",
        "socket_table",
        """
        "WSPConnect": {
            State.FRESH: _E.WSAEINVAL,
            State.LISTENING: _E.WSAEINVAL,
            State.CONNECTING: _E.WSAEALREADY,
            State.CONNECTED: _E.WSAEISCONN,
        """,
        """
        "WSPConnect": {
            State.FRESH: _E.WSAEINVAL,
            State.LISTENING: _E.WSAEINVAL,
            State.CONNECTING: _E.WSAEALREADY,
            State.CONNECTED: _E.WSAEINVAL,
        """,
    ),
    wrong(
        "a connect to port 0 goes on",
        "R-118",
        "connecting",
        "if not port or host not in network.addresses:",
        "if host not in network.addresses:",
    ),
    wrong(
        "data with the connect are lost",
        "R-119",
        "accepting",
        "request.caller_data,",
        "None,",
    ),
    wrong(
        "a close does not abort a connect",
        "R-120 R-121",
        "network",
        """
        if socket.connecting is not None:
            socket.connecting.withdraw()
        """,
        "",
    ),
    wrong(
        "a withdrawn request stays in the queue",
        "R-151 R-120",
        "network",
        """
        self.leave()
        self.client.connecting = None
        """,
        """
        self.client.connecting = None
        """,
    ),
    # --- listening and accepting ------------------------------------------------------------------
    wrong(
        "the backlog is ignored",
        "R-110 R-130",
        "network",
        "if len(self.queue) >= self.backlog:",
        "if False:",
    ),
    wrong(
        "a request that finds no room is announced",
        "R-130",
        "network",
        """
        if len(self.queue) >= self.backlog:
        """,
        """
        if self.socket: self.socket.selection.note(FD_ACCEPT)
        if len(self.queue) >= self.backlog:
        """,
    ),
    wrong(
        "the wildcard takes requests for one address only",
        "R-131",
        "network",
        "for wanted in (host, WILDCARD):",
        "for wanted in (host, WILDCARD if host == '127.0.0.1' else host):",
    ),
    wrong(
        "FD_ACCEPT is lost while requests wait",
        "R-146",
        "network",
        """
        if self.socket is not None and any(
        """,
        """
        if False and any(
        """,
    ),
    wrong(
        "requests from before WSPEventSelect are not announced",
        "R-095 R-096",
        "provider",
        """
        socket.selection.note(FD_ACCEPT)
        """,
        """
        pass
        """,
    ),
    wrong(
        "the peer hears before the condition function does",
        "R-135 R-123",
        "accepting",
        """
        answer = CF_ACCEPT if condition is None else condition(question)
        """,
        """
        client.selection.connected(0)
        answer = CF_ACCEPT if condition is None else condition(question)
        """,
    ),
    wrong(
        "the condition function runs in another thread",
        "R-134",
        "accepting",
        """
        answer = CF_ACCEPT if condition is None else condition(question)
        """,
        """
        from concurrent.futures import ThreadPoolExecutor
        answer = ThreadPoolExecutor().submit(condition, question).result()
        """,
    ),
    wrong(
        "a deferred request is put last",
        "R-148 T-13",
        "accepting",
        """
        request.deferred = deferred
        """,
        """
        request.deferred = deferred
        listener.queue.remove(request)
        listener.queue.append(request)
        """,
    ),
    wrong(
        "a deferred request is announced again",
        "R-148",
        "accepting",
        """
        request.deferred = deferred
        """,
        """
        listener.announce_again()
        """,
    ),
    wrong(
        "callback data are cut to 32 bits",
        "R-136",
        "accepting",
        """
        callback_data,
        CONNECT_DATA_MAX,
        """,
        """
        callback_data & 0xFFFFFFFF if isinstance(callback_data, int) else None,
        CONNECT_DATA_MAX,
        """,
    ),
    wrong(
        "a rejected peer hears nothing",
        "R-140 R-109",
        "accepting",
        """
        if not deferred:
        """,
        """
        if False:
        """,
    ),
    wrong(
        "any answer accepts",
        "R-141 T-12",
        "accepting",
        """
        if answer != CF_ACCEPT:
        """,
        """
        if False:
        """,
    ),
    wrong(
        "the caller's address is that of the listener",
        "R-142",
        "accepting",
        "return accepted.descriptor, caller",
        "return accepted.descriptor, callee",
    ),
    wrong(
        "a full process is called invalid",
        "R-152",
        "accepting",
        """
        network.faults.check_room(_CALL, Fault.NO_DESCRIPTORS, Fault.NO_BUFFERS)
        """,
        """
        if network.faults.active(Fault.NO_DESCRIPTORS): raise WSAError(_E.WSAEINVAL, _CALL)
        """,
    ),
    wrong(
        "the lock is held while the condition function runs",
        "R-271",
        "accepting",
        """
        answer = CF_ACCEPT if condition is None else condition(question)
        """,
        """
        with network.engine.lock:
            answer = CF_ACCEPT if condition is None else condition(question)
        """,
    ),
    wrong(
        "an empty queue is called invalid",
        "R-147",
        "accepting",
        "raise WSAError(_E.WSAEWOULDBLOCK, _CALL)",
        "raise WSAError(_E.WSAEINVAL, _CALL)",
    ),
    wrong(
        "a handle stays when an accept fails",
        "R-151 T-47",
        "accepting",
        """
        network.dismiss(accepted)
        """,
        "",
    ),
    wrong(
        "requests outlive their listener",
        "R-248",
        "network",
        """
        request.fail(_E.WSAECONNREFUSED)
        """,
        """
        pass
        """,
    ),
    # --- events -----------------------------------------------------------------------------------
    wrong(
        "the event is not reset",
        "R-098",
        "events",
        """
        event.reset()
        """,
        """
        pass
        """,
    ),
    wrong(
        "the record is not cleared",
        "R-104",
        "events",
        "taken = self._record.take()",
        "taken = WSANETWORKEVENTS(self._record.lNetworkEvents, self._record.iErrorCode)",
    ),
    wrong(
        "events that no SAN has can be selected",
        "R-091",
        "provider",
        "if network_events & ~int(FD_ACCEPT | FD_CONNECT):",
        "if False:",
    ),
    wrong(
        "no events at all cancels nothing",
        "R-094",
        "events",
        """
        self._event = event if wanted else None
        self._wanted = int(wanted)
        """,
        """
        if wanted:
            self._event = event
            self._wanted = int(wanted)
        """,
    ),
    # --- options and control codes ----------------------------------------------------------------
    wrong(
        "an unknown option is called invalid",
        "R-060",
        "options",
        "_E.WSAENOPROTOOPT if level in _LEVELS else _E.WSAEINVAL",
        "_E.WSAEINVAL",
    ),
    wrong(
        "an unknown level is called an unknown option",
        "R-061",
        "options",
        "_E.WSAENOPROTOOPT if level in _LEVELS else _E.WSAEINVAL",
        "_E.WSAENOPROTOOPT",
    ),
    wrong(
        "the room for an option is not looked at",
        "R-062",
        "options",
        "if size is not None and size < _SIZE:",
        "if False:",
    ),
    wrong(
        "extension functions need a socket",
        "T-04",
        "provider",
        """
        self._faults.check_up(call)
        if not isinstance(in_buffer, GUID):
        """,
        """
        self._socket(s, call)
        if not isinstance(in_buffer, GUID):
        """,
    ),
    wrong(
        "RDMA read and write are mixed up",
        "R-077",
        "provider",
        """
        return super().extension_function(guid)
        """,
        """
        found = super().extension_function(guid)
        return self.WSPRdmaWrite if guid == WSAID_RDMAREAD else found
        """,
    ),
    wrong(
        "options of a broken connection are set",
        "R-064",
        "provider",
        "if socket.state is State.BROKEN:",
        "if False:",
    ),
    wrong(
        "an unknown extension function is there",
        "R-078",
        "provider",
        """
        return super().extension_function(guid)
        """,
        """
        try:
            return super().extension_function(guid)
        except WSAError:
            return self.WSPRegisterMemory
        """,
    ),
    wrong(
        "the room for the address list is not looked at",
        "R-083",
        "options",
        "if out_size is not None and out_size < result_size(code, len(addresses)):",
        "if False:",
    ),
    wrong(
        "a completion routine runs in the wrong thread",
        "R-086",
        "provider",
        """
        network.upcalls.WPUQueueApc,
        thread_id,
        """,
        """
        lambda thread, function, context: function(context),
        thread_id,
        """,
    ),
    wrong(
        "the address list is made once",
        "R-082 T-46",
        "options",
        """
        addresses = network.addresses
        """,
        """
        addresses = ('127.0.0.1', '127.0.0.2')
        """,
    ),
    wrong(
        "quality of service is promised, and is not there",
        "R-005 R-269",
        "provider",
        "        return by_name(name)",
        "        raise WSAError(_E.WSAEOPNOTSUPP, 'WSPGetQOSByName')",
    ),
]
