/* recv, recv_into, send, sendall, sendmsg and fileno for socket.socket.
 *
 * They look the descriptor up in the fd table; a socket that is not switched goes straight to the
 * method of _socket.socket, called through its C pointer: METH_FASTCALL in, one tuple, and out, which
 * costs an unswitched socket nothing measurable.  (A Cython def in this place costs 2 to 19 %.)
 */
#include "socketmethods.h"

#include <limits.h>
#include <sys/socket.h>

#include "marks.h"
#include "waiting.h"
#include "wsd_fdtable.h"
#include "wsd_ring.h"

/* ---- the originals ------------------------------------------------------------------------- */

typedef struct {
    const char *name;
    PyObject *descriptor; /* _socket.socket's own */
    PyMethodDef *method;
} original;

enum { RECV, RECV_INTO, SEND, SENDALL, SENDMSG, FILENO, METHODS };
static original originals[METHODS] = {
    {"recv", NULL, NULL}, {"recv_into", NULL, NULL}, {"send", NULL, NULL},
    {"sendall", NULL, NULL}, {"sendmsg", NULL, NULL}, {"fileno", NULL, NULL},
};
static PyObject *unattached_callback;
static PyObject *passing_callback;

static PyObject *call_original(int which, PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    const original *o = &originals[which];
    int flags = o->method ? o->method->ml_flags : 0;
    bool plain = kwnames == NULL || PyTuple_GET_SIZE(kwnames) == 0;
    if (flags == METH_NOARGS && plain && n == 0)
        return o->method->ml_meth(self, NULL);
    if (plain && (flags == METH_VARARGS || flags == (METH_VARARGS | METH_KEYWORDS))) {
        PyObject *tuple = PyTuple_New(n);
        if (!tuple)
            return NULL;
        for (Py_ssize_t i = 0; i < n; i++) {
            Py_INCREF(args[i]);
            PyTuple_SET_ITEM(tuple, i, args[i]);
        }
        PyObject *result =
            flags == METH_VARARGS
                ? o->method->ml_meth(self, tuple)
                : ((PyCFunctionWithKeywords)(void (*)(void))o->method->ml_meth)(self, tuple, NULL);
        Py_DECREF(tuple);
        return result;
    }
    Py_ssize_t keywords = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    PyObject *stack[16];
    if (n + keywords + 1 > 16) {
        PyErr_Format(PyExc_TypeError, "%s() takes fewer arguments than that", o->name);
        return NULL;
    }
    stack[0] = self;
    memcpy(stack + 1, args, (size_t)(n + keywords) * sizeof *stack);
    return PyObject_Vectorcall(o->descriptor, stack, (size_t)n + 1, kwnames);
}

/* ---- what a socket object knows ------------------------------------------------------------- */

bool wsdpy_layout_is_known;
static PyObject *base_fileno; /* _socket.socket's own: socket.socket's may be a graft */

static int fd_slowly(PyObject *self)
{
    PyObject *number = base_fileno ? PyObject_CallOneArg(base_fileno, self) : NULL;
    long fd = number ? PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    if (PyErr_Occurred())
        PyErr_Clear(); /* the original method will say what is wrong with this socket */
    return fd > INT_MAX || fd < INT_MIN ? -1 : (int)fd;
}

static inline int fd_of(PyObject *self)
{
    return wsdpy_layout_is_known ? ((wsdpy_socket_head *)self)->fd : fd_slowly(self);
}

int wsdpy_socket_fd(PyObject *self)
{
    return fd_of(self);
}

/* As the format unit "i" of the originals; -1 with an exception set on failure. */
static int int_of(PyObject *number)
{
    long value = PyLong_AsLong(number);
    if (value > INT_MAX || value < INT_MIN) {
        PyErr_Format(PyExc_OverflowError, "signed integer is %s than %s", value > 0 ? "greater" : "less",
                     value > 0 ? "maximum" : "minimum");
        return -1;
    }
    return (int)value;
}

/* Nanoseconds; negative: blocking.  -2 with an exception set on failure. */
static int64_t timeout_of(PyObject *self)
{
    if (wsdpy_layout_is_known)
        return ((wsdpy_socket_head *)self)->timeout_ns;
    PyObject *value = PyObject_CallMethod(self, "gettimeout", NULL);
    if (!value)
        return -2;
    double seconds = value == Py_None ? -1.0 : PyFloat_AsDouble(value);
    Py_DECREF(value);
    if (PyErr_Occurred())
        return -2;
    return seconds < 0 ? -1 : (int64_t)(seconds * 1e9);
}

static bool probe_layout(PyTypeObject *socket_type)
{
    PyObject *probe = PyObject_CallFunction((PyObject *)socket_type, "ii", AF_UNIX, SOCK_STREAM);
    PyObject *set = probe ? PyObject_CallMethod(probe, "settimeout", "d", 1.25) : NULL;
    bool known = false;
    if (set && Py_TYPE(probe)->tp_basicsize >= (Py_ssize_t)sizeof(wsdpy_socket_head)) {
        wsdpy_layout_is_known = false;
        const wsdpy_socket_head *head = (const wsdpy_socket_head *)probe;
        known = head->fd >= 0 && head->fd == fd_slowly(probe) && head->family == AF_UNIX &&
                head->type == SOCK_STREAM && head->timeout_ns == 1250000000;
    }
    Py_XDECREF(set);
    if (probe) {
        PyObject *closed = PyObject_CallMethod(probe, "close", NULL);
        Py_XDECREF(closed);
        Py_DECREF(probe);
    }
    if (PyErr_Occurred())
        PyErr_Clear(); /* not known then: the slow way works on any socket */
    return known;
}

static inline wsd_stream *stream_of(PyObject *self)
{
    return wsd_fd_lookup(fd_of(self));
}

/* ---- waiting in a method -------------------------------------------------------------------- */

typedef struct {
    wsd_stream *stream;
    int fd;
    int64_t timeout_ns;
    uint64_t deadline; /* computed at the first wait */
    int flags;         /* for wsd_stream_recv and _send */
    bool may_wait, have_deadline;
    bool wait_all; /* MSG_WAITALL, which only a blocking descriptor pays attention to */
    bool held;
} call;

/* Before anything that lets other Python code run: it may close this socket. */
static inline void keep(call *c)
{
    if (!c->held) {
        wsd_stream_hold(c->stream);
        c->held = true;
    }
}

static inline void finish(call *c)
{
    if (WSD_UNLIKELY(c->held))
        wsd_stream_release(c->stream);
}

/* After the arguments are converted, which may have run Python code.  1; 0: the socket is not switched,
 * or not any more; -1 with an exception set. */
static inline int begin(call *c, PyObject *self, int msg_flags, size_t length, bool receiving)
{
    c->timeout_ns = timeout_of(self);
    if (WSD_UNLIKELY(c->timeout_ns == -2) && PyErr_Occurred())
        return -1;
    c->fd = fd_of(self);
    c->stream = wsd_fd_lookup(c->fd);
    if (WSD_UNLIKELY(!c->stream))
        return 0;
    c->held = false;
    if (length > WSDPY_KEEP_GIL_BYTES)
        keep(c); /* such copies are made without the interpreter's lock */
    /* with a time-out CPython waits in poll(), which knows nothing of MSG_DONTWAIT */
    c->may_wait = c->timeout_ns > 0 || (c->timeout_ns < 0 && !(msg_flags & MSG_DONTWAIT));
    c->have_deadline = false;
    c->flags = c->may_wait ? 0 : receiving ? WSD_NOWAIT : WSD_EXACT;
    c->wait_all = false;
    if (WSD_UNLIKELY(msg_flags)) {
        c->wait_all = (msg_flags & MSG_WAITALL) && !(msg_flags & MSG_PEEK) && c->timeout_ns < 0 && c->may_wait;
        c->flags |= (msg_flags & MSG_PEEK ? WSD_PEEK : 0) | (msg_flags & MSG_OOB ? WSD_URGENT : 0);
    }
    return 1;
}

/* How a wait inside a method ends. */
enum { AGAIN, MOVED /* to TCP: use the original method */, WOULD_BLOCK, LATE, RAISED };

/* Nobody attached to the offer: the switch moves the connection to TCP, or finds that it is. */
static int move_away(call *c)
{
    keep(c);
    PyObject *done = PyObject_CallFunction(unattached_callback, "i", c->fd);
    if (!done)
        return RAISED;
    Py_DECREF(done);
    return wsd_fd_lookup(c->fd) == c->stream ? AGAIN : MOVED;
}

static int wait_in(call *c, bool for_read)
{
    if (!c->may_wait)
        return WOULD_BLOCK;
    keep(c);
    if (!c->have_deadline) {
        c->deadline = wsdpy_deadline(c->timeout_ns);
        c->have_deadline = true;
    }
    int r = for_read ? wsdpy_wait_readable(c->stream, c->deadline) : wsdpy_wait_writable(c->stream, c->deadline);
    if (r == WSDPY_READY)
        return AGAIN;
    if (r == WSDPY_TIMED_OUT)
        return LATE;
    if (r == WSDPY_RAISED)
        return RAISED;
    return move_away(c);
}

/* The exception for a wait that did not end in AGAIN or MOVED. */
static void raise_for(int ending)
{
    if (ending == WOULD_BLOCK)
        wsdpy_raise(-EAGAIN);
    else if (ending == LATE)
        PyErr_SetString(PyExc_TimeoutError, "timed out");
}

/* ---- receiving ------------------------------------------------------------------------------ */

static int check_recv_flags(int flags)
{
    if (WSD_LIKELY(!(flags & MSG_ERRQUEUE)))
        return 0;
    wsdpy_raise(-EAGAIN); /* what TCP says when there is nothing in the error queue */
    return -1;
}

/* MSG_OOB: as receive().  The call never blocks, but a time-out makes CPython poll before it, and an
 * urgent byte alone does not end that. */
static int64_t receive_urgent(call *c, char *buffer, size_t length)
{
    if (length == 0)
        return 0;
    while (c->timeout_ns > 0 && !wsd_stream_readable(c->stream)) {
        int ending = wait_in(c, true);
        if (ending == MOVED)
            return -2;
        if (ending != AGAIN) {
            raise_for(ending);
            return -1;
        }
    }
    int n = wsd_stream_recv_urgent(c->stream, (uint8_t *)buffer, c->flags & WSD_PEEK);
    if (n < 0)
        wsdpy_raise(n);
    return n < 0 ? -1 : n;
}

/* Fills `buffer`; the count, -1 with an exception, or -2: use the original method. */
static int64_t receive(call *c, char *buffer, size_t length)
{
    if (WSD_UNLIKELY(c->flags & WSD_URGENT))
        return receive_urgent(c, buffer, length);
    size_t done = 0;
    for (;;) {
        if (WSD_UNLIKELY(wsd_stream_has_urgent(c->stream)) && wsd_stream_at_mark(c->stream)) {
            if (done > 0)
                return (int64_t)done;
            keep(c);
            /* the handler of SIGURG comes first: below, the urgent byte is passed and gone */
            if (PyErr_CheckSignals() < 0)
                return -1;
        }
        struct iovec iov = {buffer + done, length - done};
        /* who would wait need not first be told that there is nothing */
        int64_t n = c->may_wait && done < length && !wsd_stream_readable(c->stream)
                        ? -EAGAIN
                        : wsdpy_recv(c->stream, &iov, 1, c->flags);
        if (n > 0)
            done += (size_t)n;
        bool enough = done == length || !c->wait_all;
        if (n == 0 || (done > 0 && (enough || (n < 0 && n != -EAGAIN))))
            return (int64_t)done; /* at the end, or all that is wanted, or all before an error */
        if (n < 0 && n != -EAGAIN && n != -WSD_EUNATTACHED) {
            wsdpy_raise(n);
            return -1;
        }
        if (n > 0)
            continue;
        int ending = n == -WSD_EUNATTACHED ? move_away(c) : wait_in(c, true);
        if (ending == MOVED)
            return done ? (int64_t)done : -2;
        if (ending == RAISED)
            return -1;
        if (ending != AGAIN) {
            if (done > 0)
                return (int64_t)done; /* as the kernel does for MSG_WAITALL */
            raise_for(ending);
            return -1;
        }
    }
}

static PyObject *method_recv(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    if (WSD_LIKELY(!stream_of(self)) || n < 1 || n > 2)
        return call_original(RECV, self, args, n, NULL);
    Py_ssize_t want = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
    if (want == -1 && PyErr_Occurred())
        return NULL;
    int msg_flags = n > 1 ? int_of(args[1]) : 0;
    if (msg_flags == -1 && PyErr_Occurred())
        return NULL;
    if (want < 0) {
        PyErr_SetString(PyExc_ValueError, "negative buffersize in recv");
        return NULL;
    }
    call c;
    if (check_recv_flags(msg_flags) < 0)
        return NULL;
    int begun = begin(&c, self, msg_flags, (size_t)want, true);
    if (WSD_UNLIKELY(begun <= 0))
        return begun < 0 ? NULL : call_original(RECV, self, args, n, NULL);
    wsd_stream *stream = c.stream;
    PyObject *result = NULL;
    for (;;) {
        /* size the object by what is there: asyncio asks for 256 KiB to get 64 bytes */
        size_t size = (size_t)want;
        if (!c.wait_all && !(c.flags & WSD_URGENT)) {
            size_t ready = (size_t)wsd_stream_available(stream);
            if (ready == 0 && c.may_wait && want > 0 && !wsd_stream_readable(stream)) {
                int ending = wait_in(&c, true);
                if (ending == AGAIN)
                    continue;
                if (ending == MOVED)
                    result = call_original(RECV, self, args, n, NULL);
                else
                    raise_for(ending);
                break;
            }
            size_t least = 4096; /* nothing there yet, but something may come before we look */
            if (size > ready)
                size = ready ? ready : size < least ? size : least;
        }
        result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
        if (!result)
            break;
        int64_t got = receive(&c, PyBytes_AS_STRING(result), size);
        if (got == -2) {
            Py_SETREF(result, call_original(RECV, self, args, n, NULL));
        } else if (got < 0) {
            Py_CLEAR(result);
        } else if ((size_t)got != size) {
            _PyBytes_Resize(&result, (Py_ssize_t)got);
        }
        break;
    }
    finish(&c);
    return result;
}

/* The usual case, with nothing to wait for and so nobody who could resize the array meanwhile.  NULL
 * without an exception: it is not that case. */
static PyObject *fill_at_once(PyObject *self, PyObject *array)
{
    wsd_stream *stream = stream_of(self);
    struct iovec iov = {PyByteArray_AS_STRING(array), (size_t)PyByteArray_GET_SIZE(array)};
    if (iov.iov_len > WSDPY_KEEP_GIL_BYTES || wsd_stream_has_urgent(stream) || wsd_stream_available(stream) == 0)
        return NULL;
    int64_t got = wsd_stream_recv(stream, &iov, 1, 0);
    if (WSD_LIKELY(got >= 0))
        return PyLong_FromSsize_t((Py_ssize_t)got);
    if (got != -EAGAIN && got != -WSD_EUNATTACHED)
        wsdpy_raise(got);
    return NULL;
}

static PyObject *method_recv_into(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    if (WSD_LIKELY(!stream_of(self)))
        return call_original(RECV_INTO, self, args, n, kwnames);
    if (n == 1 && !kwnames && PyByteArray_CheckExact(args[0])) {
        PyObject *result = fill_at_once(self, args[0]);
        if (WSD_LIKELY(result != NULL) || PyErr_Occurred())
            return result;
    }
    static const char *const names[] = {"buffer", "nbytes", "flags"};
    PyObject *given[3] = {NULL, NULL, NULL};
    Py_ssize_t keywords = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t i = 0; i < n && i < 3; i++)
        given[i] = args[i];
    bool odd = n > 3;
    for (Py_ssize_t k = 0; k < keywords; k++) {
        int at = 0;
        while (at < 3 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, k), names[at]) != 0)
            at++;
        odd = odd || at == 3 || given[at < 3 ? at : 0] != NULL;
        if (at < 3)
            given[at] = args[n + k];
    }
    if (odd || !given[0])
        return call_original(RECV_INTO, self, args, n, kwnames); /* raises the TypeError */
    Py_ssize_t want = given[1] ? PyNumber_AsSsize_t(given[1], PyExc_OverflowError) : 0;
    if (want == -1 && PyErr_Occurred())
        return NULL;
    int msg_flags = given[2] ? int_of(given[2]) : 0;
    if (msg_flags == -1 && PyErr_Occurred())
        return NULL;
    Py_buffer buffer;
    if (check_recv_flags(msg_flags) < 0)
        return NULL;
    if (PyObject_GetBuffer(given[0], &buffer, PyBUF_WRITABLE) < 0) {
        PyErr_Clear();
        return call_original(RECV_INTO, self, args, n, kwnames); /* its own words for the TypeError */
    }
    call c;
    PyObject *result = NULL;
    if (want < 0)
        PyErr_SetString(PyExc_ValueError, "negative buffersize in recv_into");
    else if (want > buffer.len)
        PyErr_SetString(PyExc_ValueError, "buffer too small for requested bytes");
    else {
        size_t length = (size_t)(want ? want : buffer.len);
        int begun = begin(&c, self, msg_flags, length, true);
        int64_t got = begun > 0 ? receive(&c, buffer.buf, length) : begun < 0 ? -1 : -2;
        if (got == -2)
            result = call_original(RECV_INTO, self, args, n, kwnames);
        else if (got >= 0)
            result = PyLong_FromSsize_t((Py_ssize_t)got);
        if (begun > 0)
            finish(&c);
    }
    PyBuffer_Release(&buffer);
    return result;
}

/* ---- sending -------------------------------------------------------------------------------- */

static void advance(struct iovec **iov, int *count, size_t done)
{
    while (*count > 0 && done >= (*iov)->iov_len) {
        done -= (*iov)->iov_len;
        (*iov)++;
        (*count)--;
    }
    if (*count > 0) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + done;
        (*iov)->iov_len -= done;
    }
}

/* Sends the list (which it changes); the count, -1 with an exception.  *moved: the stream left this
 * descriptor after that many bytes, the rest is for the original method. */
static int64_t transmit(call *c, struct iovec *iov, int count, bool all, bool *moved)
{
    size_t done = 0;
    *moved = false;
    /* a blocking TCP socket's send returns when everything is queued; one with a time-out, or a
     * non-blocking one, returns what fitted */
    bool whole = all || (c->timeout_ns < 0 && c->may_wait);
    for (;;) {
        int64_t n = wsdpy_send(c->stream, iov, count, c->flags);
        if (n > 0) {
            done += (size_t)n;
            advance(&iov, &count, (size_t)n);
        }
        if (n < 0 && n != -EAGAIN && n != -WSD_EUNATTACHED) {
            if (done > 0 && !all)
                return (int64_t)done;
            wsdpy_raise(n);
            return -1;
        }
        while (count > 0 && iov->iov_len == 0) {
            iov++;
            count--;
        }
        if (count == 0 || (done > 0 && !whole))
            return (int64_t)done;
        if (n > 0)
            continue;
        int ending = n == -WSD_EUNATTACHED ? move_away(c) : wait_in(c, false);
        if (ending == MOVED) {
            *moved = true;
            return (int64_t)done;
        }
        if (ending == RAISED)
            return -1;
        if (ending != AGAIN) {
            if (done > 0 && !all)
                return (int64_t)done;
            raise_for(ending);
            return -1;
        }
    }
}

/* The bytes that a move to TCP left over, through the original send or sendall. */
static PyObject *send_rest(int which, PyObject *self, Py_buffer *buffer, int64_t done, PyObject *const *args,
                           Py_ssize_t n)
{
    if (done == 0)
        return call_original(which, self, args, n, NULL);
    if (which == SEND)
        return PyLong_FromLongLong(done);
    PyObject *rest = PyBytes_FromStringAndSize((char *)buffer->buf + done, buffer->len - (Py_ssize_t)done);
    if (!rest)
        return NULL;
    PyObject *again[] = {rest, n > 1 ? args[1] : NULL};
    PyObject *result = call_original(which, self, again, n > 1 ? 2 : 1, NULL);
    Py_DECREF(rest);
    return result;
}

static PyObject *send_with(int which, PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    if (WSD_LIKELY(!stream_of(self)) || n < 1 || n > 2)
        return call_original(which, self, args, n, NULL);
    int msg_flags = n > 1 ? int_of(args[1]) : 0;
    if (msg_flags == -1 && PyErr_Occurred())
        return NULL;
    Py_buffer buffer = {.obj = NULL};
    if (WSD_LIKELY(PyBytes_CheckExact(args[0]))) { /* nobody can change it: it need not be pinned */
        buffer.buf = PyBytes_AS_STRING(args[0]);
        buffer.len = PyBytes_GET_SIZE(args[0]);
    } else if (PyObject_GetBuffer(args[0], &buffer, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    PyObject *result = NULL;
    call c;
    int begun = begin(&c, self, msg_flags, (size_t)buffer.len, false);
    if (begun > 0) {
        struct iovec iov = {buffer.buf, (size_t)buffer.len};
        bool moved;
        int64_t done = transmit(&c, &iov, 1, which == SENDALL, &moved);
        if (moved)
            result = send_rest(which, self, &buffer, done, args, n);
        else if (done >= 0)
            result = which == SENDALL ? Py_NewRef(Py_None) : PyLong_FromSsize_t((Py_ssize_t)done);
        finish(&c);
    } else if (begun == 0) {
        result = call_original(which, self, args, n, NULL);
    }
    PyBuffer_Release(&buffer);
    return result;
}

static PyObject *method_send(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    return send_with(SEND, self, args, n);
}

static PyObject *method_sendall(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    return send_with(SENDALL, self, args, n);
}

#ifndef IOV_MAX
#define IOV_MAX 1024
#endif

static PyObject *send_buffers(PyObject *self, PyObject *sequence, int msg_flags, bool *moved)
{
    Py_ssize_t count = PySequence_Fast_GET_SIZE(sequence);
    if (count > IOV_MAX) {
        PyErr_SetString(PyExc_OSError, "sendmsg() argument 1 is too long");
        return NULL;
    }
    Py_buffer *buffers = PyMem_New(Py_buffer, count ? count : 1);
    struct iovec *iov = PyMem_New(struct iovec, count ? count : 1);
    PyObject *result = NULL;
    Py_ssize_t got = 0;
    call c;
    if (!buffers || !iov) {
        PyErr_NoMemory();
    } else {
        for (; got < count; got++) {
            PyObject *item = PySequence_Fast_GET_ITEM(sequence, got);
            if (PyObject_GetBuffer(item, &buffers[got], PyBUF_SIMPLE) < 0)
                break;
            iov[got] = (struct iovec){buffers[got].buf, (size_t)buffers[got].len};
        }
        int begun = got == count ? begin(&c, self, msg_flags, wsd_iov_total(iov, (int)count), false) : -1;
        if (begun > 0) {
            int64_t done = transmit(&c, iov, (int)count, false, moved);
            if (done >= 0 && !(*moved && done == 0))
                result = PyLong_FromLongLong(done);
            *moved = *moved && done == 0;
            finish(&c);
        }
        *moved = *moved || begun == 0;
    }
    while (got > 0)
        PyBuffer_Release(&buffers[--got]);
    PyMem_Free(buffers);
    PyMem_Free(iov);
    return result;
}

/* Ancillary data as TCP takes it: descriptors and credentials are ignored, all else is EINVAL. */
static int check_ancillary(PyObject *given)
{
    PyObject *items = PySequence_Fast(given, "sendmsg() argument 2 must be an iterable");
    if (!items)
        return -1;
    bool invalid = false;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items) && !PyErr_Occurred(); i++) {
        int level, type;
        Py_buffer data;
        if (PyArg_Parse(PySequence_Fast_GET_ITEM(items, i), "(iiy*):[sendmsg() ancillary data items]", &level,
                        &type, &data)) {
            PyBuffer_Release(&data);
            invalid = invalid || level != SOL_SOCKET || (type != SCM_RIGHTS && type != SCM_CREDENTIALS);
        }
    }
    Py_DECREF(items);
    if (invalid && !PyErr_Occurred())
        wsdpy_raise(-EINVAL);
    return PyErr_Occurred() ? -1 : 0;
}

/* An address is of no use on a connected stream, but it must be one. */
static int check_address(PyObject *address)
{
    if (address == Py_None || PyTuple_Check(address))
        return 0;
    PyErr_Format(PyExc_TypeError, "sendmsg(): address must be tuple, not %.500s", Py_TYPE(address)->tp_name);
    return -1;
}

/* Ancillary data of another socket may carry the descriptor of a switched connection: the front
 * looks at it, and raises if that cannot be done. */
static int let_pass(PyObject *ancillary)
{
    if (passing_callback == NULL || passing_callback == Py_None)
        return 0;
    PyObject *checked = PyObject_CallOneArg(passing_callback, ancillary);
    Py_XDECREF(checked);
    return checked ? 0 : -1;
}

/* Ancillary data that can be gone through only once. */
static PyObject *sendmsg_listed(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    PyObject *stack[4] = {NULL};
    PyObject *list = n <= 4 ? PySequence_List(args[1]) : NULL;
    if (!list) {
        PyErr_Clear();
        return call_original(SENDMSG, self, args, n, NULL); /* raises the TypeError */
    }
    memcpy(stack, args, (size_t)n * sizeof *stack);
    stack[1] = list;
    PyObject *result = let_pass(list) < 0 ? NULL : call_original(SENDMSG, self, stack, n, NULL);
    Py_DECREF(list);
    return result;
}

static PyObject *method_sendmsg(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    wsd_stream *stream = stream_of(self);
    if (!stream && n > 1 && !(PyList_CheckExact(args[1]) || PyTuple_CheckExact(args[1])))
        return sendmsg_listed(self, args, n);
    if (!stream && n > 1 && PySequence_Fast_GET_SIZE(args[1]) > 0 && let_pass(args[1]) < 0)
        return NULL;
    if (WSD_LIKELY(!stream) || n < 1 || n > 4)
        return call_original(SENDMSG, self, args, n, NULL);
    int msg_flags = n > 2 ? int_of(args[2]) : 0;
    if (msg_flags == -1 && PyErr_Occurred())
        return NULL;
    if ((n > 1 && check_ancillary(args[1]) < 0) || (n > 3 && check_address(args[3]) < 0))
        return NULL;
    PyObject *sequence = PySequence_Fast(args[0], "sendmsg() argument 1 must be an iterable");
    if (!sequence)
        return NULL;
    bool moved = false;
    PyObject *result = send_buffers(self, sequence, msg_flags, &moved);
    Py_DECREF(sequence);
    return moved ? call_original(SENDMSG, self, args, n, NULL) : result;
}

/* ---- the number ------------------------------------------------------------------------------ */

/* Modules that ask for the number and use it only by what is grafted. */
static bool is_harmless(PyObject *module)
{
    static const char *const names[] = {"selectors", "socket", "socketserver", "ssl", "subprocess"};
    static const char *const packages[] = {"asyncio.", "multiprocessing.", "wsdirect."};
    const char *name = module && PyUnicode_Check(module) ? PyUnicode_AsUTF8(module) : NULL;
    if (!name) {
        PyErr_Clear();
        return false;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof packages / sizeof *packages; i++)
        if (strncmp(name, packages[i], strlen(packages[i])) == 0)
            return true;
    return false;
}

/* Whose code asks: that of the innermost frame which does not itself answer a fileno(). */
bool wsdpy_asked_harmlessly(void)
{
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
    bool passes_on = true;
    while (frame && passes_on) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        passes_on = PyUnicode_CompareWithASCIIString(code->co_name, "fileno") == 0;
        Py_DECREF(code);
        if (passes_on)
            Py_SETREF(frame, PyFrame_GetBack(frame));
    }
    if (!frame)
        return false;
    PyObject *globals = PyFrame_GetGlobals(frame);
    bool harmless = is_harmless(PyDict_GetItemString(globals, "__name__"));
    Py_DECREF(globals);
    Py_DECREF(frame);
    return harmless;
}

/* Code outside Python may poll this number, and sees the bell only: from now on it is always true. */
static PyObject *method_fileno(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    wsd_stream *stream = stream_of(self);
    if (WSD_UNLIKELY(stream != NULL) && !stream->strict && !wsdpy_asked_harmlessly()) {
        wsd_stream_hold(stream);
        wsd_stream_set_strict(stream, true);
        wsd_stream_release(stream);
    } else if (!stream) {
        int fd = fd_of(self);
        uint32_t mark = wsdpy_mark_of(fd);
        if (WSD_UNLIKELY(mark & MARK_NEW) && !(mark & MARK_TAKEN) && !wsdpy_asked_harmlessly())
            wsdpy_mark_set(fd, (mark & ~(uint32_t)MARK_UNTOUCHED) | MARK_TAKEN);
    }
    return call_original(FILENO, self, NULL, 0, NULL);
}

/* ---- handing them out ----------------------------------------------------------------------- */

static PyMethodDef methods[] = {
    {"recv", (PyCFunction)(void (*)(void))method_recv, METH_FASTCALL, NULL},
    {"recv_into", (PyCFunction)(void (*)(void))method_recv_into, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"send", (PyCFunction)(void (*)(void))method_send, METH_FASTCALL, NULL},
    {"sendall", (PyCFunction)(void (*)(void))method_sendall, METH_FASTCALL, NULL},
    {"sendmsg", (PyCFunction)(void (*)(void))method_sendmsg, METH_FASTCALL, NULL},
    {"fileno", method_fileno, METH_NOARGS, NULL},
};

PyObject *wsdpy_socket_methods(PyObject *socket_class, PyObject *on_unattached, PyObject *on_passing)
{
    if (!PyType_Check(socket_class) || ((PyTypeObject *)socket_class)->tp_base == NULL) {
        PyErr_SetString(PyExc_TypeError, "socket_methods() takes the class socket.socket");
        return NULL;
    }
    PyTypeObject *socket_type = (PyTypeObject *)socket_class;
    PyObject *base = (PyObject *)socket_type->tp_base;
    PyObject *result = PyDict_New();
    if (!result)
        return NULL;
    for (int i = 0; i < METHODS; i++) {
        PyObject *descriptor = PyObject_GetAttrString(base, originals[i].name);
        if (!descriptor)
            goto failed;
        Py_XSETREF(originals[i].descriptor, descriptor);
        bool is_method = Py_IS_TYPE(descriptor, &PyMethodDescr_Type);
        originals[i].method = is_method ? ((PyMethodDescrObject *)descriptor)->d_method : NULL;
        methods[i].ml_doc = is_method ? originals[i].method->ml_doc : NULL; /* help() as before */
        PyObject *graft = PyDescr_NewMethod(socket_type, &methods[i]);
        if (!graft || PyDict_SetItemString(result, originals[i].name, graft) < 0) {
            Py_XDECREF(graft);
            goto failed;
        }
        Py_DECREF(graft);
    }
    PyObject *fileno = PyObject_GetAttrString(base, "fileno");
    if (!fileno)
        goto failed;
    Py_XSETREF(base_fileno, fileno);
    wsdpy_layout_is_known = probe_layout(socket_type);
    Py_INCREF(on_unattached);
    Py_XSETREF(unattached_callback, on_unattached);
    Py_INCREF(on_passing);
    Py_XSETREF(passing_callback, on_passing);
    return result;
failed:
    Py_DECREF(result);
    return NULL;
}
