# The usual beginning of a connection, each side in one call; included by _native.pyx.

from cpython.bytes cimport PyBytes_GET_SIZE
from libc.string cimport memcmp, memcpy


cdef extern from "wsd_meet.h":
    int WSD_OFFER_NATIVE
    unsigned int WSD_NAME_MAX
    ctypedef struct wsd_offer:
        uint8_t flags
        uint32_t pid
        uint64_t segment
        unsigned short slot
        uint32_t generation
        uint8_t local[16]
        uint8_t remote[16]
        unsigned short local_port
        unsigned short remote_port
    ctypedef struct wsd_destination:
        uint8_t name[108]
        uint32_t length
        int pid
        uint64_t home
    ctypedef struct wsd_caller:
        int fd
        int pid
        uint32_t uid
        bint usual
        wsd_offer offer
        uint8_t name[108]
        uint32_t length
    int wsd_meet_connect(const wsd_destination *to, const wsd_offer *what, int like)
    int wsd_meet_replace(int bell, int fd)
    int wsd_meet_accept(int listener, wsd_caller *out)


cdef extern from "wsd_arrivals.h":
    ctypedef struct wsd_arrivals:
        pass
    wsd_arrivals *wsd_arrivals_open(int listener)
    void wsd_arrivals_close(wsd_arrivals *)
    void wsd_arrivals_came(wsd_arrivals *, wsd_segment *segment)
    void wsd_arrivals_announce(wsd_segment *segment)


cdef class Dialer:
    """Connects again and again from one address to one listener whose process is known."""

    cdef wsd_destination _to
    cdef wsd_offer _offer
    cdef uint64_t _patience

    def __init__(self, bytes listener not None, int process, int own, uint64_t home,
                 bytes local not None, bytes remote not None, unsigned short port, double seconds):
        """Listener's name and process; our process number and network namespace; the addresses.

        `local` and `remote` are 16 bytes, `seconds` is what the listener has to accept in.
        """
        if len(listener) > <Py_ssize_t>WSD_NAME_MAX or len(local) != 16 or len(remote) != 16:
            raise ValueError("this is no destination")
        memcpy(self._to.name, PyBytes_AS_STRING(listener), PyBytes_GET_SIZE(listener))
        self._to.length = <uint32_t>PyBytes_GET_SIZE(listener)
        self._to.pid = process
        self._to.home = home
        self._offer.flags = <uint8_t>WSD_OFFER_NATIVE
        self._offer.pid = <uint32_t>own
        memcpy(self._offer.local, PyBytes_AS_STRING(local), 16)
        memcpy(self._offer.remote, PyBytes_AS_STRING(remote), 16)
        self._offer.remote_port = port
        self._patience = <uint64_t>(seconds * 1e9)

    def dial(self, Segment segment not None, int fd, unsigned short port):
        """Put a connection in the place of a fresh TCP socket; its stream, or None.

        None: something is not as usual, and nothing has happened.  `port` is the local one; the
        segment is one that the listener's process has.
        """
        cdef int slot = wsd_segment_take(segment._segment), bell, rc
        if slot < 0:
            return None
        cdef Stream stream = Stream.__new__(Stream)
        rc = wsd_stream_offer(segment._segment, slot, -1, self._patience, &stream._stream)
        if rc < 0:
            wsd_slot_leave(wsd_segment_slot(segment._segment, slot), 0)
            return None
        stream.segment = segment
        stream.slot = slot
        cdef wsd_offer offer = self._offer  # a copy: other threads use this, too
        offer.segment = segment._segment.id
        offer.slot = <unsigned short>slot
        offer.generation = stream._stream.generation
        offer.local_port = port
        bell = wsd_meet_connect(&self._to, &offer, fd)
        if bell >= 0:
            wsd_arrivals_announce(segment._segment)
        rc = bell if bell < 0 else wsd_meet_replace(bell, fd)
        if rc < 0:
            if not wsd_stream_revoke(stream._stream):
                wsd_stream_close(stream._stream, True)  # attached already, by whoever that was
            return None
        wsd_stream_set_fd(stream._stream, fd)
        return stream


cdef class Acceptor:
    """Takes the usual callers of one listener for byte streams."""

    cdef int _listener
    cdef wsd_arrivals *_arrivals
    cdef unsigned short _port
    cdef dict _segments
    cdef object _meant
    cdef uint8_t _known_local[16]
    cdef uint8_t _known_remote[16]
    cdef uint64_t _known_until
    cdef object _local_text
    cdef object _local

    def __init__(self, int listener, unsigned short port, dict segments not None, meant):
        """The listening descriptor, its TCP port, weak references to segments by ((pid, uid), id).

        `meant(local, remote)` judges the caller's addresses (16 bytes each, the remote one being
        ours): their texts, or None if they cannot be true.  It is believed for a second.
        """
        if self._arrivals != NULL:
            raise RuntimeError("it is made already")
        self._listener = listener
        self._arrivals = wsd_arrivals_open(listener)
        if self._arrivals == NULL:
            raise MemoryError()
        self._port = port
        self._segments = segments
        self._meant = meant
        self._known_until = 0

    def close(self):
        """The descriptor is the caller's to close."""
        self._listener = -1
        if self._arrivals != NULL:
            wsd_arrivals_close(self._arrivals)
            self._arrivals = NULL

    def __dealloc__(self):
        self.close()

    cdef bint _knows(self, wsd_offer *offer) except -1:
        if (wsd_now() < self._known_until
                and memcmp(self._known_local, offer.local, 16) == 0
                and memcmp(self._known_remote, offer.remote, 16) == 0):
            return True
        found = self._meant(PyBytes_FromStringAndSize(<const char *>offer.local, 16),
                            PyBytes_FromStringAndSize(<const char *>offer.remote, 16))
        if found is None:
            return False
        self._local_text = found[0]
        self._local = (found[1], self._port)
        memcpy(self._known_local, offer.local, 16)
        memcpy(self._known_remote, offer.remote, 16)
        self._known_until = wsd_now() + 1000000000
        return True

    def take(self):
        """The next caller, without waiting.

        None: nobody waits.  (stream, own address, peer's address, peer's process): a connection.
        (descriptor, name): one who is not as usual; the descriptor is the receiver's to close.
        False: accept failed in an unusual way, and is to be tried again by other means.
        """
        cdef wsd_caller caller
        cdef Segment segment
        cdef Stream stream
        cdef int rc = wsd_meet_accept(self._listener, &caller)
        if rc == -EAGAIN:
            return None
        if rc < 0:
            return False
        if (caller.usual and caller.offer.flags == <uint8_t>WSD_OFFER_NATIVE
                and caller.offer.remote_port == self._port and self._knows(&caller.offer)):
            known = self._segments.get(((caller.pid, caller.uid), caller.offer.segment))
            found = None if known is None else known()
            if found is not None:
                segment = found
                stream = Stream.__new__(Stream)
                if wsd_stream_attach(segment._segment, caller.offer.slot, caller.offer.generation,
                                     caller.fd, &stream._stream) == 0:
                    stream.segment = segment
                    stream.slot = caller.offer.slot
                    if self._arrivals != NULL:
                        wsd_arrivals_came(self._arrivals, segment._segment)
                    return stream, self._local, (self._local_text, caller.offer.local_port), \
                        caller.pid
        return caller.fd, PyBytes_FromStringAndSize(<const char *>caller.name, caller.length)


# -- rows of the status page -----------------------------------------------------------------------

cdef extern from *:
    """
    /* The reader takes three looks and compares the numbers: see wsdirect.status. */
    static void wsdpy_row_begin(uint32_t *sequence)
    {
        uint32_t now = __atomic_load_n(sequence, __ATOMIC_RELAXED);
        __atomic_store_n(sequence, now | 1, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_RELEASE); /* odd before the first byte changes */
    }
    static void wsdpy_row_end(uint32_t *sequence)
    {
        uint32_t now = __atomic_load_n(sequence, __ATOMIC_RELAXED);
        __atomic_store_n(sequence, now + 1, __ATOMIC_RELEASE); /* after the last byte has changed */
    }
    """
    void wsdpy_row_begin(uint32_t *sequence)
    void wsdpy_row_end(uint32_t *sequence)


cdef list pages = []  # that streams count into; for good: another thread may be doing so just now


cdef class Rows:
    """Writes the rows of a status page; what stands in them is wsdirect.status's business."""

    cdef Py_buffer _view
    cdef unsigned char *_first
    cdef Py_ssize_t _count
    cdef bint _kept

    ROW = 256
    TRAFFIC_AT = 128

    def __init__(self, page, Py_ssize_t first, Py_ssize_t count):
        """`page`: writable memory; `first`: where its rows begin; `count`: how many there are."""
        PyObject_GetBuffer(page, &self._view, PyBUF_WRITABLE)
        if self._view.len < first + count * 256 or (<uintptr_t>self._view.buf + first) % 8:
            PyBuffer_Release(&self._view)
            raise ValueError("there is no room for so many rows")
        self._first = <unsigned char *>self._view.buf + first
        self._count = count
        self._kept = False

    def __dealloc__(self):
        PyBuffer_Release(&self._view)

    def write(self, Py_ssize_t index, bytes body not None, int fd, unsigned short local_port,
              unsigned short peer_port, Stream stream not None):
        """Fill a row from a body, but for what differs from row to row; the stream counts there."""
        if index < 0 or index >= self._count or len(body) != 92:
            raise ValueError("this is no row")
        if not self._kept:
            self._kept = True
            pages.append(self)
        cdef unsigned char *row = self._first + index * 256
        cdef unsigned char *at = row + 4
        cdef wsd_traffic *traffic = <wsd_traffic *>(row + 128)
        cdef uint64_t since = wsd_now()
        wsdpy_row_begin(<uint32_t *>row)
        memcpy(at, PyBytes_AS_STRING(body), 92)
        memcpy(at + 4, &fd, 4)
        memcpy(at + 16, &local_port, 2)
        memcpy(at + 18, &peer_port, 2)
        memcpy(at + 20, &since, 8)
        wsdpy_row_end(<uint32_t *>row)
        traffic.sent = traffic.received = 0
        wsd_stream_count_into(stream._stream, traffic)
        stream._paged = True
