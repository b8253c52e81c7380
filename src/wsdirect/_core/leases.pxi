# Parts of a ring that Python reads, or fills, in place; included by _native.pyx.

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.exc cimport PyErr_CheckSignals


cdef extern from "wsd_base.h":
    int WSD_ECOPY
    uint64_t wsd_now()


cdef extern from "wsd_lease.h" nogil:
    ctypedef struct wsd_lease:
        uint8_t *at
        uint64_t start
        size_t length
    int wsd_lease_begin(wsd_stream *, size_t want, int flags, wsd_lease *out)
    void wsd_lease_end(wsd_stream *, const wsd_lease *, size_t n, int flags)
    int wsd_lease_reserve(wsd_stream *, size_t size, wsd_lease *out)
    int wsd_lease_spin_room(wsd_stream *, size_t size, uint64_t deadline)
    int wsd_lease_sleep_room(wsd_stream *, size_t size, uint64_t deadline)
    int wsd_lease_commit(wsd_stream *, const wsd_lease *, size_t n, int flags)
    void wsd_lease_cancel(wsd_stream *, const wsd_lease *)
    uint32_t wsd_lease_process()


cdef class Piece:
    """Some bytes of a ring, as a buffer; the mapping lives as long as this does.

    A piece is in use until end(), commit() or cancel(), or until it is gone: bytes to read are
    then left unread, and a part that was to be filled is not sent.
    """

    cdef wsd_stream *_stream  # held: the mapping, and the slot, outlive the connection
    cdef wsd_lease _lease
    cdef int _flags
    cdef Py_ssize_t _exports
    cdef bint _writable
    cdef bint _over
    cdef Py_ssize_t _ending  # when the last export is gone, end with so many; -1: not asked for
    cdef uint32_t _process

    def __cinit__(self):
        self._stream = NULL

    def __init__(self):
        raise TypeError("pieces are made by lease() and reserve()")

    def __getbuffer__(self, Py_buffer *view, int flags):
        if self._over or self._ending >= 0:
            raise BufferError("these bytes of the connection are not leased any more")
        PyBuffer_FillInfo(view, self, self._lease.at, self._lease.length, not self._writable, flags)
        self._exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self._exports -= 1
        if self._exports == 0 and self._ending >= 0:
            self._finish(self._ending)

    def __len__(self):
        return self._lease.length

    @property
    def over(self):
        """It has ended: the bytes are not, or will never be, there any more."""
        return bool(self._over)

    cdef bint _is_mine(self):
        # a forked child has the memory, but the lease is its parent's
        return self._process == wsd_lease_process()

    cdef void _finish(self, Py_ssize_t n):
        self._over = True
        if self._is_mine():
            wsd_lease_end(self._stream, &self._lease, n, self._flags)

    def end(self, Py_ssize_t n):
        """To read: the first n bytes are read.

        BufferError: there are views of it; it ends when the last of them is gone.
        """
        if self._over or self._ending >= 0:
            return
        if not 0 <= n <= <Py_ssize_t>self._lease.length:
            raise ValueError(f"{n} of {self._lease.length} bytes cannot be consumed")
        if self._exports:
            self._ending = n
            raise BufferError("there are views of the leased bytes still")
        self._finish(n)

    def commit(self, Py_ssize_t n):
        """To fill: send the first n bytes; or returns them, as they cannot be sent in this way.

        BufferError: there are views of it; nothing has happened.
        """
        if self._over:
            raise ValueError("the region has been sent, or given up")
        if not 0 <= n <= <Py_ssize_t>self._lease.length:
            raise ValueError(f"{n} of {self._lease.length} bytes cannot be sent")
        if self._exports:
            raise BufferError("there are views of the region still")
        self._over = True
        if self._is_mine() and wsd_lease_commit(self._stream, &self._lease, n, self._flags) == 0:
            return None
        return PyBytes_FromStringAndSize(<const char *>self._lease.at, n)

    def cancel(self):
        """To fill: nothing is sent, whatever views there are."""
        if not self._over:
            self._over = True
            if self._is_mine():
                wsd_lease_cancel(self._stream, &self._lease)

    def __dealloc__(self):
        if self._stream == NULL:
            return
        if not self._over and self._writable:
            wsd_lease_cancel(self._stream, &self._lease)
        elif not self._over:
            self._finish(0 if self._ending < 0 else self._ending)
        wsd_stream_release(self._stream)


cdef class Copy:
    """Private memory that knows of its views, to stand for a Piece."""

    cdef Py_buffer _memory
    cdef bint _writable
    cdef readonly Py_ssize_t exports

    def __cinit__(self, memory):
        PyObject_GetBuffer(memory, &self._memory, PyBUF_SIMPLE)
        self._writable = not self._memory.readonly

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self._memory.buf, self._memory.len, not self._writable, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1

    def __dealloc__(self):
        PyBuffer_Release(&self._memory)


cdef Piece new_piece(Stream stream, bint writable, int flags):
    cdef Piece piece = Piece.__new__(Piece)
    piece._writable = writable
    piece._flags = flags
    piece._over = True  # until there is something
    piece._ending = -1
    piece._process = wsd_lease_process()
    piece._stream = stream._stream
    wsd_stream_hold(stream._stream)
    return piece


def lease(Stream stream not None, size_t size, object timeout=None):
    """A piece of at most `size` bytes that have come; b"" at the end of the stream.

    None: they do not come by a ring, and have to be copied.  BlockingIOError: nothing is here, or
    another piece is in use; TimeoutError, Unattached, and as recv().
    """
    cdef int64_t ns = nanoseconds(timeout)
    cdef uint64_t deadline = 0
    cdef int rc
    cdef Piece piece = new_piece(stream, False, WSD_EXACT if ns == 0 else 0)
    while True:
        rc = wsd_lease_begin(stream._stream, size, piece._flags, &piece._lease)
        if rc == 1:
            piece._over = False
            return piece
        if rc == 0:
            return b""
        if rc == -WSD_ECOPY:
            return None
        if rc == -WSD_EUNATTACHED:
            raise Unattached("nobody attached to the offer in time")
        if rc != -EAGAIN or ns == 0:
            raise_errno(rc)
        if deadline == 0:
            deadline = wsdpy_deadline(ns)
        if not stream._wait(True, deadline):
            raise TimeoutError("timed out")


def reserve(Stream stream not None, size_t size, object timeout=None):
    """A piece of `size` bytes to be filled; None: they have to be copied.

    BlockingIOError: there is no room now, or another piece is in use; TimeoutError.
    """
    cdef int64_t ns = nanoseconds(timeout)
    cdef uint64_t deadline = 0
    cdef int rc
    cdef wsd_stream *raw = stream._stream
    cdef Piece piece = new_piece(stream, True, WSD_EXACT if ns == 0 else 0)
    while True:
        rc = wsd_lease_reserve(raw, size, &piece._lease)
        if rc == 0:
            piece._over = False
            return piece
        if rc == -WSD_ECOPY:
            return None
        if rc != -EAGAIN or ns == 0:
            raise_errno(rc)
        if deadline == 0:
            deadline = wsdpy_deadline(ns)
        with nogil:
            rc = wsd_lease_spin_room(raw, size, deadline)
        if rc == 0:
            PyErr_CheckSignals()
            with nogil:
                rc = wsd_lease_sleep_room(raw, size, deadline)
            if rc == 0:
                PyErr_CheckSignals()
                if wsd_now() >= deadline:
                    raise TimeoutError("timed out")
