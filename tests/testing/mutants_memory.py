"""Mistakes about registered memory and RDMA."""

from __future__ import annotations

from tests.testing.mutation import wrong

MUTANTS = [
    # --- registration -----------------------------------------------------------------------------
    wrong(
        "any access can be asked for",
        "R-197",
        "registration",
        """
        if access in (_READ, _WRITE, _BOTH):
        """,
        """
        if True:
        """,
    ),
    wrong(
        "memory is registered without a connection",
        "R-197 T-40",
        "provider",
        """
        call = "WSPRegisterMemory"
        socket = self._socket(s, call)
        with self._network.engine.lock:
            socket.require(call)
        """,
        """
        call = "WSPRegisterMemory"
        socket = self._socket(s, call)
        with self._network.engine.lock:
        """,
    ),
    wrong(
        "registrations are not counted",
        "R-199 R-204",
        "registration",
        """
        region.references += 1
        """,
        "",
    ),
    wrong(
        "memory in use is deregistered",
        "R-203 T-35",
        "registration",
        "        if region.in_use or (last and",
        "        if False or (last and",
    ),
    wrong(
        "memory stays registered for good",
        "R-204",
        "registration",
        """
        region.references -= 1
        """,
        "",
    ),
    wrong(
        "the peer has access for good",
        "R-216 T-29",
        "memory",
        """
        self.exposed.deregister(self._named(descriptor, call), call)
        """,
        """
        self._named(descriptor, call)
        """,
    ),
    wrong(
        "handles are good for every socket",
        "R-200",
        "memory",
        "self.local = RegistrationTable(REGIONS_MAX)",
        'self.local = cache.__dict__.setdefault("local", RegistrationTable(REGIONS_MAX))',
    ),
    wrong(
        "read-only memory is written to",
        "R-211 T-30",
        "registration",
        """
        if region.access & access != access:
        """,
        """
        if False:
        """,
    ),
    wrong(
        "the length of a descriptor cannot be asked for",
        "R-207 T-39",
        "provider",
        "if capacity is not None and capacity < DESCRIPTOR_SIZE:",
        "if False:",
    ),
    wrong(
        "descriptors are good for every connection",
        "R-210 T-32",
        "memory",
        "self.exposed = RegistrationTable(REGIONS_MAX)",
        'self.exposed = cache.__dict__.setdefault("exposed", RegistrationTable(REGIONS_MAX))',
    ),
    wrong(
        "altered descriptors are accepted",
        "T-34",
        "memory",
        "if (region.handle, region.length) == (handle, length):",
        "if region.handle >> 8 == handle >> 8:",
    ),
    # --- the cache --------------------------------------------------------------------------------
    wrong(
        "the callback drops only what lies wholly in its range",
        "R-224 T-36",
        "registration",
        """
        if self._ranges[where].end > address:
        """,
        """
        if address <= self._ranges[where].address and self._ranges[where].end <= address + length:
        """,
    ),
    wrong(
        "the callback knows all memory",
        "R-223 T-38",
        "memory",
        """
        if error.winerror != _E.WSAEINVAL or not revoked:
            raise
        """,
        """
        pass
        """,
    ),
    wrong(
        "handles outlive the memory that was given up",
        "R-225 T-37",
        "memory",
        """
        revoked += table.revoke(address, size)[0]
        """,
        """
        pass
        """,
    ),
    # --- RDMA -------------------------------------------------------------------------------------
    wrong(
        "an RDMA write does nothing",
        "R-227",
        "connections",
        """
        scatter(gather(request.parts), [request.remote])
        """,
        """
        pass
        """,
    ),
    wrong(
        "an RDMA read fills the first buffer only",
        "R-228",
        "connections",
        """
        scatter(bytes(request.remote.view), request.parts)
        """,
        """
        scatter(bytes(request.remote.view), request.parts[:1])
        """,
    ),
    wrong(
        "the handle of a local buffer is ignored",
        "R-229",
        "memory",
        "self.local.get_part(handle, address, length, access, call)",
        "self.local.find(address, length, access, call)",
    ),
    wrong(
        "the offset is ignored",
        "R-230",
        "memory",
        "region.part(offset, length, call)",
        "region.part(0, length, call)",
    ),
    wrong(
        "an RDMA write uses up a receive",
        "R-232",
        "connections",
        """
        scatter(gather(request.parts), [request.remote])
        """,
        """
        scatter(gather(request.parts), [request.remote])
        self.peer.deliver(b'')
        """,
    ),
    wrong(
        "a message overtakes an RDMA write",
        "R-233",
        "connections",
        """
        self.outgoing.append(request)
        """,
        """
        if request.remote is not None and not request.reads:
            import threading
            def later():
                with self._network.engine.lock:
                    self.outgoing.append(request)
                    self.flow()
            threading.Timer(0.02, later).start()
            return
        self.outgoing.append(request)
        """,
    ),
    wrong(
        "one byte behind the memory is reached",
        "R-212 R-234 T-33",
        "registration",
        "offset + length > self.length:",
        "offset + length > self.length + 1:",
    ),
    wrong(
        "offset and length wrap round at 32 bits",
        "T-33",
        "registration",
        """
        if offset < 0 or length < 0 or offset + length > self.length:
        """,
        """
        if (offset + length) & 0xFFFFFFFF > self.length:
        """,
    ),
    wrong(
        "the longest RDMA transfer is refused",
        "R-070",
        "transfers",
        "if length > RDMA_MAX:",
        "if length >= RDMA_MAX:",
    ),
    wrong(
        "RDMA is announced although it is polled",
        "R-231",
        "requests",
        """
        if self.overlapped.polled:
        """,
        """
        if self.overlapped.polled and self.remote is not None:
            socket.upcalls.post(
                table.WPUCompleteOverlappedRequest, socket.handle, self.overlapped, 0, 0)
        elif self.overlapped.polled:
        """,
    ),
    wrong(
        "RDMA is not aborted by a close",
        "R-247",
        "connections",
        """
        self._finish_all(self.outgoing, _E.WSA_OPERATION_ABORTED)
        """,
        """
        pass
        """,
    ),
]
