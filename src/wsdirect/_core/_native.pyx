# cython: language_level=3, freethreading_compatible=False
"""Python's view of the C core: segments, streams, messages, the fd table."""

from cpython.buffer cimport (
    PyBUF_SIMPLE,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EBUSY, EINVAL, ENOBUFS, EPROTO
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc

import os


cdef extern from "sys/uio.h":
    struct iovec:
        void *iov_base
        size_t iov_len


cdef extern from *:
    """
    #define WSDPY_SET_SPIN(v) atomic_store_explicit(&wsd_spin_limit_ns, (v), memory_order_relaxed)
    #define WSDPY_COUNTERS() atomic_load_explicit(&wsd_counters_now, memory_order_relaxed)
    #define WSDPY_SET_COUNTERS(p) \
        atomic_store_explicit(&wsd_counters_now, (p), memory_order_relaxed)
    #define WSDPY_COUNT_OWNER(n) \
        do { WSD_COUNT(rdma_owner); WSD_COUNT_BY(rdma_owner_bytes, (n)); } while (0)
    #define WSDPY_REFERENCES(g) atomic_load_explicit(&(g)->references, memory_order_relaxed)
    #define WSDPY_FD(s) atomic_load_explicit(&(s)->fd, memory_order_relaxed)
    #define WSDPY_CLOSED(s) atomic_load_explicit(&(s)->closed, memory_order_relaxed)
    #define WSDPY_FIN(s) atomic_load_explicit(&(s)->in->fin, memory_order_acquire)
    #define WSDPY_WRITE_SHUT(s) atomic_load_explicit(&(s)->write_shut, memory_order_relaxed)
    #define WSDPY_UNANNOUNCED(s) atomic_load_explicit(&(s)->unannounced, memory_order_relaxed)
    #define WSDPY_UNANNOUNCED_NOW() atomic_load_explicit(&wsd_unannounced_now, memory_order_relaxed)
    #define WSDPY_GONE(s) atomic_load_explicit(&(s)->peer_gone, memory_order_relaxed)
    #define WSDPY_GROWN(s) (atomic_load_explicit(&(s)->out->grown, memory_order_relaxed) != 0)
    #define WSDPY_DEAF(s) atomic_load_explicit(&(s)->out->deaf, memory_order_relaxed)
    /* or: its peer has gone bare, and what makes the socket readable is the marker of that */
    #define WSDPY_MARKED(s) (atomic_load_explicit(&(s)->in->urgent, memory_order_relaxed) != 0 || \
                             atomic_load_explicit(&(s)->in->bare, memory_order_relaxed) != 0)
    #define WSDPY_LEARN(s, since) wsd_wait_learn(&(s)->rx_wait, (since), \
        atomic_load_explicit(&(s)->in->rx_stamp, memory_order_relaxed))
    #define WSDPY_POLLED(s) atomic_load_explicit(&(s)->polled, memory_order_relaxed)
    #define WSDPY_OWN_BARE(s) \
        (atomic_load_explicit(&(s)->in->rx, memory_order_relaxed) == WSD_BARE)
    /* as after wsd_stream_go_bare, but there never was a peer in this slot */
    #define WSDPY_BE_BARE(s) \
        (atomic_store_explicit(&(s)->in->rx, WSD_BARE, memory_order_relaxed), \
         atomic_store_explicit(&(s)->out->bare, 1, memory_order_relaxed))
    """
    void WSDPY_SET_SPIN(uint64_t)
    wsd_counters *WSDPY_COUNTERS()
    void WSDPY_SET_COUNTERS(wsd_counters *)
    void WSDPY_COUNT_OWNER(uint64_t)
    uint32_t WSDPY_REFERENCES(wsd_segment *)
    int WSDPY_FD(wsd_stream *)
    bint WSDPY_CLOSED(wsd_stream *)
    uint32_t WSDPY_FIN(wsd_stream *)
    bint WSDPY_GONE(wsd_stream *)
    bint WSDPY_GROWN(wsd_stream *)
    bint WSDPY_DEAF(wsd_stream *)
    bint WSDPY_MARKED(wsd_stream *)
    bint WSDPY_WRITE_SHUT(wsd_stream *)
    void WSDPY_LEARN(wsd_stream *, uint64_t)
    bint WSDPY_POLLED(wsd_stream *)
    bint WSDPY_OWN_BARE(wsd_stream *)
    void WSDPY_BE_BARE(wsd_stream *)
    bint WSDPY_UNANNOUNCED(wsd_stream *)
    uint32_t WSDPY_UNANNOUNCED_NOW()


cdef extern from "wsd_base.h":
    int WSD_EUNATTACHED
    int WSD_ELEASED


cdef extern from "wsd_counters.h":
    ctypedef struct wsd_counters:
        pass
    const size_t WSD_COUNTERS


cdef extern from "wsd_wait.h":
    void wsd_budget_set(unsigned int percent)


cdef extern from "wsd_lock.h":
    void wsd_tid_reset()
    void wsd_lock_before_fork()


cdef extern from "wsd_segment.h":
    ctypedef struct wsd_slot:
        pass
    ctypedef struct wsd_segment:
        int fd
        uint32_t slots
        uint64_t ring
        uint64_t large
        uint64_t id
    int WSD_RESET
    int wsd_segment_create_growing(
        uint32_t slots, uint64_t ring, uint64_t large, wsd_segment **out)
    int wsd_segment_adopt(int fd, wsd_segment **out, const char **why)
    void wsd_segment_release(wsd_segment *segment)
    wsd_slot *wsd_segment_slot(const wsd_segment *segment, uint32_t index)
    int wsd_segment_take(wsd_segment *segment)
    uint32_t wsd_slot_generation(const wsd_slot *slot)
    void wsd_slot_leave(wsd_slot *slot, unsigned side)
    size_t wsd_segment_stride(const wsd_segment *segment)
    uint32_t wsd_segment_in_use(const wsd_segment *segment)


cdef extern from "wsd_stream.h":
    ctypedef struct wsd_traffic:
        uint64_t sent
        uint64_t received
    ctypedef struct wsd_stream:
        bint strict
        unsigned side
        uint32_t generation
        uint64_t size
        uint64_t offer_deadline
        wsd_traffic *traffic
    int WSD_PEEK
    int WSD_EXACT
    int WSD_NOWAIT
    int WSD_URGENT
    uint64_t WSD_FOREVER
    int wsd_stream_offer(wsd_segment *, uint32_t slot, int fd, uint64_t offer_ns, wsd_stream **out)
    int wsd_stream_attach(
        wsd_segment *, uint32_t slot, uint32_t generation, int fd, wsd_stream **out)
    int wsd_stream_join(wsd_segment *, uint32_t slot, uint32_t generation, unsigned side, int fd,
                        wsd_stream **out)
    void wsd_stream_set_fd(wsd_stream *, int fd)
    void wsd_stream_hold(wsd_stream *)
    void wsd_stream_release(wsd_stream *)
    unsigned wsd_stream_state(const wsd_stream *)
    void wsd_stream_set_window(wsd_stream *, uint64_t bytes)
    bint wsd_stream_revoke(wsd_stream *)
    int64_t wsd_stream_sent_so_far(wsd_stream *, uint64_t start, void *buffer, size_t length)
    int wsd_stream_recv_urgent(wsd_stream *, uint8_t *byte, bint peek)
    bint wsd_stream_urgent_pending(wsd_stream *)
    void wsd_stream_hush_urgent(wsd_stream *)
    bint wsd_stream_at_mark(const wsd_stream *)
    uint64_t wsd_stream_unread(wsd_stream *)
    void wsd_stream_set_inline(wsd_stream *, bint on)
    bint wsd_stream_is_inline(const wsd_stream *)
    int wsd_stream_urgent_sent(wsd_stream *, uint64_t *start, uint64_t *to, uint64_t *mark)
    bint wsd_stream_readable(wsd_stream *)
    bint wsd_stream_writable(wsd_stream *)
    uint64_t wsd_stream_available(wsd_stream *)
    uint64_t wsd_stream_queued(wsd_stream *)
    void wsd_stream_arm(wsd_stream *, bint for_read, bint for_write)
    void wsd_stream_unarm(wsd_stream *)
    int wsd_stream_spin_readable(wsd_stream *, uint64_t deadline) nogil
    void wsd_stream_watch(wsd_stream *, bint on)
    void wsd_stream_rearm(wsd_stream *)
    uint64_t wsd_stream_arrived(const wsd_stream *)
    int wsd_stream_error(wsd_stream *, bint take)
    bint wsd_stream_aborted(wsd_stream *)
    void wsd_stream_note_place(wsd_stream *)
    void wsd_stream_set_strict(wsd_stream *, bint on)
    int wsd_stream_go_bare(wsd_stream *) nogil
    int wsd_stream_shutdown(wsd_stream *, int how)
    void wsd_stream_close(wsd_stream *, bint reset)
    void wsd_stream_forked(wsd_stream *)
    void wsd_stream_count_into(wsd_stream *, wsd_traffic *place)


cdef extern from "wsd_message.h":
    uint64_t wsd_message_max(const wsd_stream *)
    int wsd_message_send(wsd_stream *, const iovec *, int count)
    int64_t wsd_message_size(wsd_stream *)
    int64_t wsd_message_recv(wsd_stream *, const iovec *, int count)
    int wsd_message_discard(wsd_stream *)
    int wsd_message_send_control(wsd_stream *, const iovec *, int count)
    int64_t wsd_message_recv_control(wsd_stream *, const iovec *, int count)
    uint32_t wsd_message_controls(const wsd_stream *)


cdef extern from "wsd_region.h" nogil:
    ctypedef struct wsd_region:
        uint64_t key
        uint64_t address
        uint64_t length
        uint64_t memory
        uint64_t memory_offset
        uint32_t access
        int memory_fd
        int pid
    ctypedef struct wsd_mapping:
        unsigned char *base
        uint64_t size
    int wsd_region_expose(wsd_stream *, uint32_t index, uint32_t generation, const wsd_region *)
    int wsd_region_end(wsd_stream *, uint32_t index, uint32_t generation, bint force)
    bint wsd_region_busy(wsd_stream *, uint32_t index)
    int wsd_region_enter(wsd_stream *, uint32_t index, uint32_t generation, uint64_t key,
                         uint32_t access, uint64_t offset, uint64_t length, wsd_region *out)
    void wsd_region_leave(wsd_stream *, uint32_t index, uint32_t generation)
    int64_t wsd_region_direct(wsd_stream *, uint32_t index, uint32_t generation, int pid,
                              uint64_t address, const iovec *, int count, bint write)
    int64_t wsd_region_shared(wsd_stream *, uint32_t index, uint32_t generation,
                              const wsd_mapping *, uint64_t at, const iovec *, int count,
                              bint write)
    int wsd_memory_look(int fd, uint64_t *size, uint64_t *inode)
    int wsd_memory_map(int pid, int fd, uint64_t inode, wsd_mapping *out)
    void wsd_memory_unmap(wsd_mapping *)


cdef extern from "wsd_base.h":
    uint64_t wsd_now()


cdef extern from "wsd_bell.h":
    bint wsd_bell_is_true()
    int wsd_bell_prepare(int fd)
    int wsd_bell_peer(int fd)


cdef extern from "wsd_fdtable.h":
    int wsd_fd_swap(int fd, void *value, void **old)


cdef extern from "waiting.h":
    int WSDPY_READY
    int WSDPY_TIMED_OUT
    int WSDPY_RAISED
    uint64_t wsdpy_deadline(int64_t timeout_ns)
    int wsdpy_wait_readable(wsd_stream *, uint64_t deadline)
    int wsdpy_wait_writable(wsd_stream *, uint64_t deadline)
    int64_t wsdpy_recv(wsd_stream *, const iovec *, int count, int flags)
    int64_t wsdpy_send(wsd_stream *, const iovec *, int count, int flags)


cdef extern from "socketmethods.h":
    object wsdpy_socket_methods(object socket_type, object on_unattached, object on_passing)


cdef extern from "received.h":
    bint wsdpy_got_descriptors
    bint wsdpy_is_ours(int fd)


cdef extern from "guard.h":
    object wsdpy_guard(object original, object handler, const char *kind, const char *module)


cdef extern from "guardedmethods.h":
    object wsdpy_guarded_methods(object socket_class, object handlers, object tables,
                                 object listeners, bint plain_close)


cdef extern from "forking.h":
    object wsdpy_fork_hooks(object before, object in_child, object containers)


cdef extern from "pollmethods.h":
    int wsdpy_poll_state(object base, object connections, object listeners, object busy,
                         object special, object listening) except -1
    object wsdpy_poll_methods(object kind, const char *which, object handlers, object watches)


cdef extern from "epolling.h":
    int wsdpy_epoll_wants(int epoll, int fd, uint32_t want)
    int wsdpy_epoll_shown(int epoll)
    int wsdpy_epoll_heat(int epoll, int fd, wsd_stream *)
    object wsdpy_epoll_poll(int epoll, int most, int64_t timeout_ns, bint patient)
    void wsdpy_epoll_forget(int epoll)
    void wsdpy_epolls_cool()


cdef extern from "selectormethod.h":
    object wsdpy_selector_method(object selector_class, object original)


cdef extern from "marks.h":
    ctypedef struct wsdpy_plain:
        pass
    enum:
        MARK_LISTENING
        MARK_NEW
        MARK_UNTOUCHED
        MARK_WATCHED
        MARK_SAN
        MARK_PLAIN
        MARK_TCP_ONLY
        MARK_TAKEN
    uint32_t wsdpy_mark_of(int fd)
    void wsdpy_mark_set(int fd, uint32_t mark)
    void wsdpy_mark_plain(int fd, uint32_t role, uint32_t reason)
    void wsdpy_mark_wipe(int first, int last)
    void wsdpy_mark_listeners(object on_released, object on_reused)
    void wsdpy_mark_publish(uint32_t *high, wsdpy_plain *table, uint32_t entries)


OFFERED = 1
ATTACHED = 2
REVOKED = 3

PEEK = 1
EXACT = 2


cdef object raise_errno(int64_t negative_errno):
    cdef int number = <int>-negative_errno
    if number == WSD_ELEASED:
        raise BlockingIOError(EAGAIN, "bytes of this connection are in use in place: see leases")
    raise OSError(number, os.strerror(number))


cdef class Unattached(Exception):
    """Nobody attached to the offer in time."""


cdef class Segment:
    """One sealed memfd: a header and `slots` connection slots of two rings each."""

    cdef wsd_segment *_segment
    cdef object __weakref__

    def __cinit__(self):
        self._segment = NULL

    def __init__(self):
        raise TypeError("segments are made by Segment.create() and Segment.adopt()")

    @classmethod
    def create(cls, *, unsigned int slots=64, uint64_t ring=262144, uint64_t large=0):
        """Make a segment; `ring` is a power of two from 4096 to 16 MiB, bytes per direction.

        Rings that carry much grow to `large` bytes, a larger power of two; 0: they do not.
        """
        cdef Segment self = Segment.__new__(Segment)
        cdef int rc = wsd_segment_create_growing(slots, ring, large, &self._segment)
        if rc == -EINVAL:
            raise ValueError(
                f"a segment of {slots} slots with rings of {ring} (to {large}) bytes cannot be made"
            )
        if rc < 0:
            raise_errno(rc)
        return self

    @classmethod
    def adopt(cls, int fd):
        """Map a segment made by another process; the descriptor is duplicated, not taken."""
        cdef Segment self = Segment.__new__(Segment)
        cdef const char *why = NULL
        cdef int rc = wsd_segment_adopt(fd, &self._segment, &why)
        if rc == -EPROTO and why != NULL:
            raise ValueError(why.decode())
        if rc < 0:
            raise_errno(rc)
        return self

    def __dealloc__(self):
        if self._segment != NULL:
            wsd_segment_release(self._segment)

    @property
    def id(self):
        return self._segment.id

    @property
    def slots(self):
        return self._segment.slots

    @property
    def ring(self):
        return self._segment.ring

    @property
    def large(self):
        """What its rings can grow to; 0: they do not."""
        return self._segment.large

    @property
    def stride(self):
        """Bytes from one slot to the next; the first begins at 4096."""
        return wsd_segment_stride(self._segment)

    @property
    def in_use(self):
        return wsd_segment_in_use(self._segment)

    @property
    def streams(self):
        """How many streams of this process hold slots of it."""
        return WSDPY_REFERENCES(self._segment) - 1

    def fileno(self):
        return self._segment.fd

    def take(self):
        """Reserve and reset a free slot for an offer; -1 when none is free."""
        return wsd_segment_take(self._segment)

    def generation(self, unsigned int slot):
        """The slot's generation: part of an offer, so that none is mistaken for a later one."""
        if slot >= self._segment.slots:
            raise ValueError(f"segment has no slot {slot}")
        return wsd_slot_generation(wsd_segment_slot(self._segment, slot))


cdef int64_t nanoseconds(object timeout) except? -2:
    if timeout is None:
        return -1
    cdef double seconds = timeout
    if seconds <= 0:
        return 0
    return <int64_t>(seconds * 1e9) if seconds < 9e9 else -1


cdef class _Buffers:
    """A list of buffers held for one call."""

    cdef Py_buffer *views
    cdef iovec *iov
    cdef int count

    def __cinit__(self, sequence, int flags):
        cdef list items = list(sequence)
        cdef Py_ssize_t n = len(items)
        self.count = 0
        self.views = <Py_buffer *>malloc((n or 1) * sizeof(Py_buffer))
        self.iov = <iovec *>malloc((n or 1) * sizeof(iovec))
        if self.views == NULL or self.iov == NULL:
            raise MemoryError()
        for item in items:
            PyObject_GetBuffer(item, &self.views[self.count], flags)
            self.iov[self.count].iov_base = self.views[self.count].buf
            self.iov[self.count].iov_len = self.views[self.count].len
            self.count += 1

    def __dealloc__(self):
        while self.count > 0:
            self.count -= 1
            PyBuffer_Release(&self.views[self.count])
        free(self.views)
        free(self.iov)


def address_of(buffer):
    """(address, length in bytes) of a buffer that is one piece.

    TypeError, BufferError: it is none.
    """
    cdef Py_buffer view
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
    address, length = <uintptr_t>view.buf, view.len
    PyBuffer_Release(&view)
    return address, length


def memory_of(int fd):
    """(size, inode) of memory that other processes may map; ValueError if it is not sealed."""
    cdef uint64_t size = 0, inode = 0
    if wsd_memory_look(fd, &size, &inode) < 0:
        raise ValueError("this is no sealed memory")
    return size, inode


cdef class PeerMemory:
    """Memory of another process, mapped here until this object is gone."""

    cdef wsd_mapping _mapping

    def __init__(self, int pid, int fd, uint64_t inode):
        """Map what descriptor `fd` of process `pid` stands for, if it is sealed and this inode.

        OSError: it is not, or it cannot be opened or mapped.
        """
        if self._mapping.base != NULL:
            raise RuntimeError("it is mapped already")
        cdef int rc = wsd_memory_map(pid, fd, inode, &self._mapping)
        if rc < 0:
            self._mapping.base = NULL
            raise_errno(rc)

    def __dealloc__(self):
        wsd_memory_unmap(&self._mapping)

    @property
    def size(self):
        return self._mapping.size


cdef class Stream:
    """One end of a connection in a slot: byte stream or messages, never both at once."""

    cdef wsd_stream *_stream
    cdef readonly Segment segment
    cdef readonly int slot
    cdef Py_buffer _counters
    cdef bint _counting
    cdef bint _paged  # counts into a page that stays for good
    cdef object __weakref__

    def __cinit__(self):
        self._stream = NULL
        self._counting = False

    def __init__(self):
        raise TypeError("streams are made by Stream.offer(), Stream.attach() and Stream.join()")

    @classmethod
    def offer(cls, Segment segment not None, unsigned int slot, int fd, object deadline=3.0):
        """The connecting end; `fd` is its AF_UNIX bell socket (owned by the caller)."""
        cdef Stream self = Stream.__new__(Stream)
        cdef int64_t ns = nanoseconds(deadline)
        cdef int rc = wsd_stream_offer(segment._segment, slot, fd,
                                       WSD_FOREVER if ns < 0 else <uint64_t>ns, &self._stream)
        if rc < 0:
            raise_errno(rc)
        self.segment = segment
        self.slot = slot
        return self

    @classmethod
    def attach(cls, Segment segment not None, unsigned int slot, unsigned int generation, int fd):
        """The accepting end.  ConnectionAbortedError if the offer was revoked or is not one."""
        cdef Stream self = Stream.__new__(Stream)
        cdef int rc = wsd_stream_attach(segment._segment, slot, generation, fd, &self._stream)
        if rc < 0:
            raise_errno(rc)
        self.segment = segment
        self.slot = slot
        return self

    @classmethod
    def join(cls, Segment segment not None, unsigned int slot, unsigned int generation,
             unsigned int side, int fd, bint shared=False):
        """An end that another process handed over; it may close its own only after this.

        `shared`: it called share() for us, and need not wait.
        """
        cdef Stream self = Stream.__new__(Stream)
        cdef int rc = wsd_stream_join(segment._segment, slot, generation, side, fd, &self._stream)
        if rc < 0:
            raise_errno(rc)
        if shared:  # two holds now: that one is over
            wsd_slot_leave(wsd_segment_slot(segment._segment, slot), side)
        self.segment = segment
        self.slot = slot
        return self

    def __dealloc__(self):
        if self._stream != NULL:
            if self._counting or self._paged:
                wsd_stream_count_into(self._stream, NULL)
            wsd_stream_release(self._stream)
        if self._counting:
            PyBuffer_Release(&self._counters)

    @property
    def fd(self):
        return WSDPY_FD(self._stream)

    @fd.setter
    def fd(self, int value):
        wsd_stream_set_fd(self._stream, value)

    @property
    def side(self):
        return self._stream.side

    @property
    def generation(self):
        return self._stream.generation

    @property
    def state(self):
        """OFFERED, ATTACHED or REVOKED, as the slot says now."""
        return wsd_stream_state(self._stream)

    @property
    def closed(self):
        return bool(WSDPY_CLOSED(self._stream))

    @property
    def reset(self):
        """The peer closed with unread data or SO_LINGER 0, or died."""
        cdef uint32_t fin = WSDPY_FIN(self._stream)
        return bool(fin & WSD_RESET) or (fin == 0 and WSDPY_GONE(self._stream))

    @property
    def ended(self):
        """The peer has sent everything it will ever send."""
        return WSDPY_FIN(self._stream) != 0 or WSDPY_GONE(self._stream)

    @property
    def peer_deaf(self):
        """The peer was shut down for receiving: what it has is all that it will have."""
        return bool(WSDPY_DEAF(self._stream))

    @property
    def write_ended(self):
        """This end was shut down for sending."""
        return bool(WSDPY_WRITE_SHUT(self._stream))

    @property
    def strict(self):
        return bool(self._stream.strict)

    @strict.setter
    def strict(self, bint value):
        wsd_stream_set_strict(self._stream, value)

    @property
    def offer_deadline(self):
        """time.monotonic() after which an offer that nobody took moves to TCP; None: never."""
        if self._stream.offer_deadline == WSD_FOREVER:
            return None
        return self._stream.offer_deadline / 1e9

    def share(self):
        """Before a fork: count one more holder of this end, the child."""
        wsd_stream_forked(self._stream)

    def unshare(self):
        """Take back a share() that nobody has used."""
        wsd_slot_leave(wsd_segment_slot(self.segment._segment, self.slot), self._stream.side)

    def limit(self, uint64_t size):
        """Let at most `size` bytes stand unread, as a program that sets SO_SNDBUF expects."""
        wsd_stream_set_window(self._stream, size)

    def revoke(self):
        """OFFERED -> REVOKED; False when the peer has attached meanwhile."""
        return bool(wsd_stream_revoke(self._stream))

    def pending_out(self):
        """After revoke(): the bytes written so far, to be relayed elsewhere."""
        cdef size_t length = wsd_stream_queued(self._stream)
        cdef bytes data = PyBytes_FromStringAndSize(NULL, length)
        cdef int64_t n = wsd_stream_sent_so_far(self._stream, 0, PyBytes_AS_STRING(data), length)
        if n < 0:
            raise_errno(n)
        return data[:n]

    def readable(self):
        """recv would not block: data, end of stream, or an error to report."""
        return bool(wsd_stream_readable(self._stream))

    def writable(self):
        return bool(wsd_stream_writable(self._stream))

    def available(self):
        """Bytes that recv could take now: up to the mark of an urgent byte."""
        return wsd_stream_available(self._stream)

    @property
    def grown(self):
        """What this end sends goes into the large ring."""
        return bool(WSDPY_GROWN(self._stream))

    def queued(self):
        """Bytes sent that the peer has not taken."""
        return wsd_stream_queued(self._stream)

    def arm(self, bint for_read=True, bint for_write=True):
        """Make the descriptor true for a poller that is about to sleep."""
        wsd_stream_arm(self._stream, for_read, for_write)

    def unarm(self):
        """For one who polls readable(): no bell for new data until the next arm() or wait."""
        wsd_stream_unarm(self._stream)

    def watch(self, bint on):
        """A poller begins, or ends, to wait for data: meanwhile no blocking recv hides them."""
        wsd_stream_watch(self._stream, on)

    def rearm(self):
        """For an edge-triggered poller: ring for new data though older ones are unread."""
        wsd_stream_rearm(self._stream)

    @property
    def arrived(self):
        """Bytes that have come so far, read or not."""
        return wsd_stream_arrived(self._stream)

    @property
    def aborted(self):
        """TCP's socket would be closed: reset, or a send after the peer's close was answered."""
        return bool(wsd_stream_aborted(self._stream))

    def error(self, bint take=False):
        """What SO_ERROR says on TCP: ECONNRESET, EPIPE or 0; `take`: told from now on."""
        return wsd_stream_error(self._stream, take)

    cdef bint _wait(self, bint for_read, uint64_t deadline) except -1:
        cdef int r
        if for_read:
            r = wsdpy_wait_readable(self._stream, deadline)
        else:
            r = wsdpy_wait_writable(self._stream, deadline)
        if r == WSDPY_READY:
            return True
        if r == WSDPY_TIMED_OUT:
            return False
        if r == WSDPY_RAISED:
            return -1
        raise Unattached("nobody attached to the offer in time")

    def wait_readable(self, object timeout=None):
        """Spin, then sleep on the bell.  False: timed out.  Signals are handled (PEP 475)."""
        return bool(self._wait(True, wsdpy_deadline(nanoseconds(timeout))))

    def spin(self, object timeout=None):
        """For a poller of this one end, which sleeps elsewhere: only the spin.  True: readable."""
        cdef uint64_t deadline = wsdpy_deadline(nanoseconds(timeout))
        cdef int r
        with nogil:
            r = wsd_stream_spin_readable(self._stream, deadline)
        return r == 1

    def slept(self, double since):
        """The same poller has slept since then (time.monotonic()), and there are data now."""
        WSDPY_LEARN(self._stream, <uint64_t>(since * 1e9))

    def wait_writable(self, object timeout=None):
        return bool(self._wait(False, wsdpy_deadline(nanoseconds(timeout))))

    cdef int64_t _move(
        self, bint receiving, iovec *iov, int count, object timeout, int flags
    ) except? -1:
        cdef int64_t ns = nanoseconds(timeout), n
        cdef uint64_t deadline = 0
        if ns == 0:
            flags |= WSD_EXACT
        while True:
            if receiving:
                n = wsdpy_recv(self._stream, iov, count, flags)
            else:
                n = wsdpy_send(self._stream, iov, count, flags)
            if n >= 0:
                return n
            if n == -WSD_EUNATTACHED:
                raise Unattached("nobody attached to the offer in time")
            if n != -EAGAIN or ns == 0:
                raise_errno(n)
            if deadline == 0:
                deadline = wsdpy_deadline(ns)
            if not self._wait(receiving, deadline):
                raise TimeoutError("timed out")

    def recv_into(self, buffer, object timeout=None, int flags=0):
        cdef _Buffers held = _Buffers((buffer,), PyBUF_WRITABLE)
        return self._move(True, held.iov, held.count, timeout, flags)

    def recv(self, Py_ssize_t size, object timeout=None, int flags=0):
        cdef bytearray data = bytearray(size)
        n = self.recv_into(data, timeout, flags)
        return bytes(memoryview(data)[:n])

    def send(self, data, object timeout=None, int flags=0):
        """At least one byte unless the time-out strikes: BlockingIOError, TimeoutError, EPIPE."""
        cdef _Buffers held = _Buffers((data,), PyBUF_SIMPLE)
        return self._move(False, held.iov, held.count, timeout, flags)

    def take(self, Py_ssize_t size):
        """What is there now, at most `size` bytes, b"" at the end; None: nothing.  For pollers."""
        cdef uint64_t ready = wsd_stream_available(self._stream)
        if <uint64_t>size > ready:
            size = ready if ready else min(size, 4096)
        cdef bytes data = PyBytes_FromStringAndSize(NULL, size)
        cdef iovec iov = iovec(PyBytes_AS_STRING(data), size)
        cdef int64_t n = wsdpy_recv(
            self._stream, &iov, 1, WSD_NOWAIT if WSDPY_POLLED(self._stream) else WSD_EXACT)
        if n == size:
            return data
        if n >= 0:
            return data[:n]
        if n == -EAGAIN:
            return None
        if n == -WSD_EUNATTACHED:
            raise Unattached("nobody attached to the offer in time")
        raise_errno(n)

    def give(self, data):
        """Send what fits now; how many bytes that is, 0 included.  For pollers."""
        cdef Py_buffer view
        cdef iovec iov
        cdef int64_t n
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        iov.iov_base, iov.iov_len = view.buf, view.len
        n = wsdpy_send(self._stream, &iov, 1, WSD_EXACT)
        PyBuffer_Release(&view)
        if n >= 0:
            return n
        if n == -EAGAIN:
            return 0
        if n == -WSD_EUNATTACHED:
            raise Unattached("nobody attached to the offer in time")
        raise_errno(n)

    def recv_scatter(self, buffers, int flags=0):
        """recv into several buffers, in order, without waiting."""
        cdef _Buffers held = _Buffers(buffers, PyBUF_WRITABLE)
        return self._move(True, held.iov, held.count, 0, flags)

    # -- bare ends -----------------------------------------------------------------------------

    @property
    def bare(self):
        """This end's bytes travel in the kernel socket, for whoever has its descriptor."""
        return bool(WSDPY_OWN_BARE(self._stream))

    @classmethod
    def wrap(cls, Segment segment not None, int fd):
        """An end that is bare from the start: a kernel socket whose peer has another segment.

        It takes a slot of a segment of this process, for the words that processes share.
        """
        cdef Stream self = Stream.__new__(Stream)
        cdef wsd_stream *other = NULL
        cdef int slot = wsd_segment_take(segment._segment)
        if slot < 0:
            raise_errno(-ENOBUFS)
        cdef uint32_t generation = wsd_slot_generation(wsd_segment_slot(segment._segment, slot))
        cdef int rc = wsd_stream_offer(segment._segment, slot, fd, WSD_FOREVER, &self._stream)
        if rc == 0:
            rc = wsd_stream_attach(segment._segment, slot, generation, -1, &other)
        if rc < 0:
            raise_errno(rc)
        WSDPY_BE_BARE(self._stream)
        wsd_stream_release(other)
        self.segment = segment
        self.slot = slot
        return self

    def go_bare(self):
        """Make the descriptor an ordinary byte stream, for a process that is to get it.

        None: it is one now.  bytes: the peer is gone, and these it has sent are left to read, which
        no socket can be made to hold any more.  OSError(EBUSY): the
        peer is stopped in the middle of a call, or the socket cannot carry what stands in the
        rings, and nothing has changed; EINVAL: it carries messages.  Unattached: nobody has taken
        the offer.
        """
        cdef wsd_stream *stream = self._stream
        cdef int rc
        wsd_stream_hold(stream)
        with nogil:
            rc = wsd_stream_go_bare(stream)
        wsd_stream_release(stream)
        if rc == 0:
            return None
        if rc == -WSD_EUNATTACHED:
            raise Unattached("nobody has attached to the offer")
        if rc < 0:
            raise_errno(rc)
        left = []
        try:
            while piece := self.recv(65536, 0):
                left.append(piece)
        except OSError:  # reset, which comes after the bytes
            pass
        return b"".join(left)

    # -- urgent data ---------------------------------------------------------------------------

    def send_urgent(self, data, object timeout=None, int flags=0):
        """As send(); the last byte sent is urgent, and replaces the mark of an earlier one."""
        return self.send(data, timeout, flags | WSD_URGENT)

    def recv_urgent(self, bint peek=False):
        """The urgent byte, without waiting; `peek` leaves it unread.  The mark stays."""
        cdef uint8_t byte = 0
        cdef int rc = wsd_stream_recv_urgent(self._stream, &byte, peek)
        if rc < 0:
            raise_errno(rc)
        return PyBytes_FromStringAndSize(<const char *>&byte, rc)

    @property
    def urgent_pending(self):
        """An urgent byte is here that nobody has read or passed: exceptional condition, POLLPRI."""
        return bool(wsd_stream_urgent_pending(self._stream))

    @property
    def marked(self):
        """An urgent byte has ever come: readable() may be false while the descriptor polls so."""
        return bool(WSDPY_MARKED(self._stream))

    def hush_urgent(self):
        """Nothing is urgent: keep the bell from saying so to one who polls for that only."""
        wsd_stream_hush_urgent(self._stream)

    def at_mark(self):
        """The next byte of the stream is the latest urgent one, read or not (SIOCATMARK)."""
        return bool(wsd_stream_at_mark(self._stream))

    @property
    def inline(self):
        """SO_OOBINLINE of this end."""
        return bool(wsd_stream_is_inline(self._stream))

    @inline.setter
    def inline(self, bint value):
        if value != wsd_stream_is_inline(self._stream):
            wsd_stream_set_inline(self._stream, value)

    def unread(self):
        """FIONREAD: bytes in front of the mark; all if there is none or it is inline."""
        return wsd_stream_unread(self._stream)

    def urgent_out(self):
        """After revoke(): which bytes of pending_out() must be sent as urgent ones, in order."""
        cdef uint64_t start = 0, to = 0, mark = 0
        cdef int rc = wsd_stream_urgent_sent(self._stream, &start, &to, &mark)
        if rc < 0:
            raise_errno(rc)
        return [*range(start, to), *([mark - 1] if mark > to else [])]

    def shutdown(self, int how):
        cdef int rc = wsd_stream_shutdown(self._stream, how)
        if rc < 0:
            raise_errno(rc)

    def close(self, bint reset=False):
        """End this end.  The bell descriptor stays the caller's to close, right after this."""
        wsd_stream_close(self._stream, reset)

    # -- messages ------------------------------------------------------------------------------

    @property
    def max_message(self):
        return wsd_message_max(self._stream)

    def send_message(self, buffers):
        """Queue one message whole, or False when it does not fit now; EMSGSIZE if it never can."""
        cdef _Buffers held = _Buffers(buffers, PyBUF_SIMPLE)
        cdef int rc = wsd_message_send(self._stream, held.iov, held.count)
        if rc == -EAGAIN:
            return False
        if rc < 0:
            raise_errno(rc)
        return True

    def message_size(self):
        """Length of the first queued message; -1 when there is none.

        ConnectionResetError at the end of the connection, ConnectionAbortedError on a bad frame.
        """
        cdef int64_t n = wsd_message_size(self._stream)
        if n == -EAGAIN:
            return -1
        if n < 0:
            raise_errno(n)
        return n

    def recv_message(self, buffers):
        """Take the first message into the buffers, in order; BlockingIOError when there is none.

        OSError(EMSGSIZE) when it is longer than the buffers together: it stays queued.
        """
        cdef _Buffers held = _Buffers(buffers, PyBUF_WRITABLE)
        cdef int64_t n = wsd_message_recv(self._stream, held.iov, held.count)
        if n < 0:
            raise_errno(n)
        return n

    def discard_message(self):
        cdef int rc = wsd_message_discard(self._stream)
        if rc < 0:
            raise_errno(rc)

    def send_control(self, buffers):
        """send_message, for the peer's provider; the peer's bell rings even if silenced."""
        cdef _Buffers held = _Buffers(buffers, PyBUF_SIMPLE)
        cdef int rc = wsd_message_send_control(self._stream, held.iov, held.count)
        if rc == -EAGAIN:
            return False
        if rc < 0:
            raise_errno(rc)
        return True

    def recv_control(self, buffers):
        """Take the first message if it is for the provider; OSError(EPROTO): it is not."""
        cdef _Buffers held = _Buffers(buffers, PyBUF_WRITABLE)
        cdef int64_t n = wsd_message_recv_control(self._stream, held.iov, held.count)
        if n < 0:
            raise_errno(n)
        return n

    @property
    def controls(self):
        """How many control messages the peer says it has sent, modulo 2**32."""
        return wsd_message_controls(self._stream)

    # -- RDMA ----------------------------------------------------------------------------------

    def expose(self, unsigned int index, unsigned int generation, uint64_t key, uint64_t address,
               uint64_t length, unsigned int access, uint64_t memory, uint64_t memory_offset,
               int memory_fd, int pid):
        """Owner: let the peer get at memory by entry `index`; see wsd_region.h."""
        cdef wsd_region region = wsd_region(
            key, address, length, memory, memory_offset, access, memory_fd, pid)
        cdef int rc = wsd_region_expose(self._stream, index, generation, &region)
        if rc < 0:
            raise_errno(rc)

    def end_exposure(self, unsigned int index, unsigned int generation, bint force=False):
        """Owner: end it; False while a transfer of the peer is in it, and it goes on."""
        cdef int rc = wsd_region_end(self._stream, index, generation, force)
        if rc == -EBUSY:
            return False
        if rc < 0:
            raise_errno(rc)
        return True

    def exposure_busy(self, unsigned int index):
        """Owner, after an end by force: whether a transfer of the peer is still in it."""
        return bool(wsd_region_busy(self._stream, index))

    def enter_exposure(self, unsigned int index, unsigned int generation, uint64_t key,
                       unsigned int access, uint64_t offset, uint64_t length):
        """Peer: get into an exposure of the other side, for one transfer.

        Returns (address, length, access, memory, memory_offset, memory_fd, pid) as the owner has
        it.  OSError: EINVAL no such exposure, EACCES, EFAULT out of its range.
        """
        cdef wsd_region region
        cdef int rc = wsd_region_enter(
            self._stream, index, generation, key, access, offset, length, &region)
        if rc < 0:
            raise_errno(rc)
        return (region.address, region.length, region.access, region.memory,
                region.memory_offset, region.memory_fd, region.pid)

    def leave_exposure(self, unsigned int index, unsigned int generation):
        """Peer: the transfer is over."""
        wsd_region_leave(self._stream, index, generation)

    def copy_direct(self, unsigned int index, unsigned int generation, int pid, uint64_t address,
                    buffers, bint write):
        """Peer, entered: copy to (write) or from the owner's memory through the kernel; bytes."""
        cdef _Buffers held = _Buffers(buffers, PyBUF_SIMPLE if write else PyBUF_WRITABLE)
        cdef int64_t n
        with nogil:
            n = wsd_region_direct(
                self._stream, index, generation, pid, address, held.iov, held.count, write)
        if n < 0:
            raise_errno(n)
        return n

    def copy_shared(self, unsigned int index, unsigned int generation,
                    PeerMemory memory not None, uint64_t at, buffers, bint write):
        """Peer, entered: copy to (write) or from mapped memory of the owner; bytes."""
        cdef _Buffers held = _Buffers(buffers, PyBUF_SIMPLE if write else PyBUF_WRITABLE)
        cdef int64_t n
        with nogil:
            n = wsd_region_shared(
                self._stream, index, generation, &memory._mapping, at, held.iov, held.count, write)
        if n < 0:
            raise_errno(n)
        return n

    # -- counters ------------------------------------------------------------------------------

    @property
    def traffic(self):
        """(bytes sent, bytes received) through this object's end in this process."""
        return self._stream.traffic.sent, self._stream.traffic.received

    def count_into(self, counters):
        """Add bytes sent and received to two native uint64 in this writable buffer from now on."""
        cdef Py_buffer view
        PyObject_GetBuffer(counters, &view, PyBUF_WRITABLE)
        if view.len < <Py_ssize_t>sizeof(wsd_traffic) or <uintptr_t>view.buf % sizeof(uint64_t):
            PyBuffer_Release(&view)
            raise ValueError("counters need 16 aligned bytes")
        wsd_stream_count_into(self._stream, <wsd_traffic *>view.buf)
        if self._counting:
            PyBuffer_Release(&self._counters)
        self._counters = view
        self._counting = True
        self._paged = False

    def count_alone(self):
        """Stop counting into the buffer given to count_into(), or into a row."""
        if self._counting or self._paged:
            wsd_stream_count_into(self._stream, NULL)
        if self._counting:
            PyBuffer_Release(&self._counters)
        self._counting = self._paged = False


include "meeting.pxi"


include "leases.pxi"


# -- the fd table ------------------------------------------------------------------------------

# The C table holds bare pointers for the hot methods; this dictionary keeps the objects alive.
cdef dict bound = {}


def table_bind(int fd, Stream stream not None):
    """Let the grafted methods of descriptor `fd` use `stream`."""
    cdef void *old = NULL
    cdef int rc = wsd_fd_swap(fd, stream._stream, &old)
    if rc < 0:
        raise_errno(rc)
    bound[fd] = stream
    if wsdpy_mark_of(fd) & MARK_TAKEN:
        wsd_stream_set_strict(stream._stream, True)


def table_lookup(int fd):
    return bound.get(fd)


def table_drop(int fd):
    """Forget the descriptor; returns what stood there."""
    cdef void *old = NULL
    stream = bound.pop(fd, None)
    if stream is not None:
        wsd_fd_swap(fd, NULL, &old)
    return stream


def table_fds():
    return list(bound)


def has_unannounced():
    """Whether any ring of this process may hold data that its descriptor does not tell of."""
    return WSDPY_UNANNOUNCED_NOW() != 0


def unannounced():
    """The descriptors of those rings."""
    cdef Stream stream
    if WSDPY_UNANNOUNCED_NOW() == 0:
        return []
    return [fd for fd, stream in bound.items() if WSDPY_UNANNOUNCED(stream._stream)]


cdef wsd_counters *given_counters = NULL
cdef Py_buffer counters_view


def before_fork():
    """Count one more holder of every end: the parent may close before the child has started."""
    cdef Stream stream
    wsdpy_epolls_cool()  # the child will poll the same connections
    if bound:
        wsd_lock_before_fork()
    for stream in set(bound.values()):  # once, however many descriptors stand for it
        wsd_stream_forked(stream._stream)


def after_fork_child():
    cdef Stream stream
    wsd_tid_reset()
    for stream in bound.values():
        wsd_stream_note_place(stream._stream)


def socket_methods(socket_type, on_unattached, on_passing=None):
    """Method descriptors for `socket.socket`: recv, recv_into, send, sendall, sendmsg, fileno.

    `on_unattached(fd)` is called when a wait finds that nobody attached to the offer in time: it
    moves the connection to TCP under the same descriptor, or raises.  `on_passing(ancillary)` is
    called when a socket that is not switched is about to send ancillary data; it may raise.
    """
    return wsdpy_socket_methods(socket_type, on_unattached, on_passing)


def note_inherited(descriptors):
    """Look whether one of these is a switched connection that another process has passed on.

    If none is, and none is received later, nothing is looked at when sockets are made of them.
    """
    global wsdpy_got_descriptors
    if any(wsdpy_is_ours(fd) for fd in descriptors):
        wsdpy_got_descriptors = True


def guard(original, handler, kind="uses", module="os"):
    """A function that calls `handler` where the switch is concerned, else `original`.

    `kind` says when that is, see guard.c; `module` is what pickles find the function in.  Made for
    functions that take a descriptor first: it costs them some nanoseconds.
    """
    return wsdpy_guard(original, handler, kind.encode(), module.encode())


# -- what is known of descriptors, see marks.h -----------------------------------------------------

LISTENING = MARK_LISTENING
NEW = MARK_NEW
UNTOUCHED = MARK_UNTOUCHED
WATCHED = MARK_WATCHED
SAN = MARK_SAN
PLAIN = MARK_PLAIN
TCP_ONLY = MARK_TCP_ONLY


def mark_of(int fd):
    """The mark of a descriptor: the flags above, for PLAIN role << 8 and reason << 16, too."""
    return wsdpy_mark_of(fd)


def mark(int fd, uint32_t flags):
    """Add flags to a descriptor's mark."""
    wsdpy_mark_set(fd, wsdpy_mark_of(fd) | flags)


def unmark(int fd, uint32_t flags=0xffffffff):
    """Take flags, or all, from a descriptor's mark."""
    wsdpy_mark_set(fd, wsdpy_mark_of(fd) & ~flags)


def mark_plain(int fd, unsigned int role, unsigned int reason):
    """A TCP connection from now on, with the numbers of its role and its reason."""
    wsdpy_mark_plain(fd, role, reason)


def unmark_range(int first, int last):
    """Forget the marks of a range of descriptors, the last not included."""
    wsdpy_mark_wipe(first, last)


def mark_callbacks(on_released, on_reused):
    """Functions that are told of recorded numbers: before they are closed, or found reused."""
    wsdpy_mark_listeners(on_released, on_reused)


def publish_marks(high, table):
    """Show plain connections to other processes: writable buffers of 4 and 8 bytes per descriptor.

    None, None: to nobody.
    """
    cdef Py_buffer word, entries
    if table is None:
        wsdpy_mark_publish(NULL, NULL, 0)
        return
    PyObject_GetBuffer(high, &word, PyBUF_WRITABLE)
    PyObject_GetBuffer(table, &entries, PyBUF_WRITABLE)
    if word.len < 4 or <uintptr_t>word.buf % 4 or <uintptr_t>entries.buf % 4:
        PyBuffer_Release(&word)
        PyBuffer_Release(&entries)
        raise ValueError("marks need aligned words")
    # the buffers stay exported for good: see count_process_into()
    wsdpy_mark_publish(<uint32_t *>word.buf, <wsdpy_plain *>entries.buf, entries.len // 8)


def guarded_methods(socket_class, handlers, tables, listeners, plain_close=False):
    """Method descriptors for `socket.socket`: connect, accept, close and the rarer ones.

    See guardedmethods.h.
    """
    return wsdpy_guarded_methods(socket_class, handlers, tables, listeners, plain_close)


def fork_hooks(before, in_child, containers):
    """(before, after in child) for os.register_at_fork: nothing happens while nothing is there."""
    return wsdpy_fork_hooks(before, in_child, containers)


def poll_state(base, connections, listeners, busy, special, listening):
    """What the pollers' methods look at: see pollmethods.h."""
    wsdpy_poll_state(base, connections, listeners, busy, special, listening)


def epoll_wants(int epoll, int fd, uint32_t want):
    """A descriptor is registered in an epoll for plain reading or writing, or no more (0)."""
    if wsdpy_epoll_wants(epoll, fd, want) < 0:
        raise MemoryError()


def epoll_shown(int epoll):
    """Others may poll this epoll, and know only what the kernel says of it."""
    if wsdpy_epoll_shown(epoll) < 0:
        raise MemoryError()


def epoll_heat(int epoll, int fd, Stream stream not None):
    """There are data at a connection that is none of the table's: its ring is looked at, too.

    False: not now; see epolling.h.
    """
    cdef int looked = wsdpy_epoll_heat(epoll, fd, stream._stream)
    if looked < 0:
        raise MemoryError()
    return looked != 0


def epoll_cool(int epoll, int fd):
    """Look at this one's ring no more."""
    wsdpy_epoll_wants(epoll, fd, 0)


def epoll_poll(int epoll, timeout, int most):
    """For an event loop: wait in an epoll, and at the rings of its connections that are hot.

    Seconds, None: for ever; 0: news of some microseconds may be told later.  A list of pairs.
    """
    return wsdpy_epoll_poll(epoll, most, nanoseconds(timeout), True)


def epoll_forget(int epoll):
    """The epoll is closed."""
    wsdpy_epoll_forget(epoll)


def selector_method(selector_class, original):
    """A method descriptor for selectors.EpollSelector: select; see selectormethod.c."""
    return wsdpy_selector_method(selector_class, original)


def poll_methods(kind, which, handlers, watches):
    """Method descriptors for select.epoll ("epoll") or the type of select.poll() ("poll")."""
    return wsdpy_poll_methods(kind, which.encode(), handlers, watches)


def set_spin_limit(object microseconds):
    """Bound of one busy wait; 0: never spin; None: the measured default (20-300 us)."""
    WSDPY_SET_SPIN(WSD_FOREVER if microseconds is None else <uint64_t>(microseconds * 1000))


def set_cpu_budget(unsigned int percent):
    """Percent of one CPU that all busy waits of this process may take together; 100: no bound."""
    wsd_budget_set(percent)


COUNTER_NAMES = ("rings", "eats", "stale", "sleeps", "spins", "yields", "full_marks", "takeovers",
                 "rdma_shared", "rdma_direct", "rdma_owner", "rdma_shared_bytes",
                 "rdma_direct_bytes", "rdma_owner_bytes", "bare", "spin_ns")


def process_counters():
    """What this process did so far, by name (COUNTER_NAMES)."""
    cdef uint64_t *values = <uint64_t *>WSDPY_COUNTERS()
    return {name: values[i] for i, name in enumerate(COUNTER_NAMES)}


def count_rdma_by_owner(uint64_t size):
    """One more transfer of so many bytes was done by the memory's owner."""
    WSDPY_COUNT_OWNER(size)


def count_process_into(counters):
    """Keep the counters in this buffer from now on: native uint64, as COUNTER_NAMES orders them."""
    global given_counters, counters_view
    cdef Py_buffer view
    cdef size_t i
    cdef uint64_t *before = <uint64_t *>WSDPY_COUNTERS()
    PyObject_GetBuffer(counters, &view, PyBUF_WRITABLE)
    if view.len < <Py_ssize_t>sizeof(wsd_counters) or <uintptr_t>view.buf % sizeof(uint64_t):
        PyBuffer_Release(&view)
        raise ValueError(f"counters need {sizeof(wsd_counters)} aligned bytes")
    for i in range(WSD_COUNTERS):
        (<uint64_t *>view.buf)[i] = before[i]
    WSDPY_SET_COUNTERS(<wsd_counters *>view.buf)
    # an older buffer stays exported for good: another thread may be counting into it right now
    given_counters = <wsd_counters *>view.buf
    counters_view = view


def peer_pid(int fd):
    """The process at the other end of an AF_UNIX socket; 0 if it is not to be known."""
    return wsd_bell_peer(fd)


def bell_is_true():
    """Whether this kernel's AF_UNIX sockets poll as the bell protocol needs."""
    return bool(wsd_bell_is_true())


def prepare_bell(int fd):
    """Give a socket the smallest send buffer, without which it would never poll as full."""
    cdef int rc = wsd_bell_prepare(fd)
    if rc < 0:
        raise_errno(rc)
