#include "waiting.h"

#include "wsd_ring.h"

uint64_t wsdpy_deadline(int64_t timeout_ns)
{
    return timeout_ns < 0 ? WSD_FOREVER : wsd_now() + (uint64_t)timeout_ns;
}

typedef int (*step)(wsd_stream *, uint64_t);

/* No other thread can want the interpreter's lock. */
static bool is_only_thread(void)
{
    PyThreadState *own = PyThreadState_Get();
    PyInterpreterState *interpreter = PyThreadState_GetInterpreter(own);
    return PyThreadState_Next(own) == NULL && PyInterpreterState_ThreadHead(interpreter) == own &&
           PyInterpreterState_Next(interpreter) == NULL && PyInterpreterState_Head() == interpreter;
}

static int wait_with(wsd_stream *s, uint64_t deadline, step spin, step sleep_on_bell, bool for_read)
{
    /* A peer that is running answers sooner than the lock is given away and taken again. */
    if (is_only_thread() && wsd_stream_glance(s, for_read))
        return WSDPY_READY;
    /* held: another thread may close the socket and drop the table's reference while we wait */
    wsd_stream_hold(s);
    int outcome = WSDPY_READY;
    for (;;) {
        int r;
        Py_BEGIN_ALLOW_THREADS
        r = spin(s, deadline);
        Py_END_ALLOW_THREADS
        if (r == 0 || r == -EINTR) {
            if (PyErr_CheckSignals() < 0) {
                wsd_stream_arm(s, for_read, false); /* leave the descriptor true */
                outcome = WSDPY_RAISED;
                break;
            }
            Py_BEGIN_ALLOW_THREADS
            r = sleep_on_bell(s, deadline);
            Py_END_ALLOW_THREADS
        }
        if (r == 1)
            break;
        if (r == 0)
            continue;
        if (r == -EINTR) {
            if (PyErr_CheckSignals() == 0)
                continue;
            outcome = WSDPY_RAISED;
        } else if (r == -ETIMEDOUT) {
            outcome = WSDPY_TIMED_OUT;
        } else if (r == -WSD_EUNATTACHED) {
            outcome = WSDPY_UNATTACHED;
        } else {
            wsdpy_raise(r);
            outcome = WSDPY_RAISED;
        }
        break;
    }
    wsd_stream_release(s);
    return outcome;
}

int wsdpy_wait_readable(wsd_stream *s, uint64_t deadline)
{
    return wait_with(s, deadline, wsd_stream_spin_readable, wsd_stream_sleep_readable, true);
}

int wsdpy_wait_writable(wsd_stream *s, uint64_t deadline)
{
    return wait_with(s, deadline, wsd_stream_spin_writable, wsd_stream_sleep_writable, false);
}

int64_t wsdpy_recv(wsd_stream *s, const struct iovec *iov, int count, int flags)
{
    if (wsd_iov_total(iov, count) <= WSDPY_KEEP_GIL_BYTES)
        return wsd_stream_recv(s, iov, count, flags);
    if (count == 1 && wsd_stream_available(s) <= WSDPY_KEEP_GIL_BYTES) {
        /* a large buffer for a little; what comes meanwhile is for the next call */
        struct iovec front = {iov->iov_base, WSDPY_KEEP_GIL_BYTES};
        return wsd_stream_recv(s, &front, 1, flags);
    }
    int64_t n;
    wsd_stream_hold(s);
    Py_BEGIN_ALLOW_THREADS
    n = wsd_stream_recv(s, iov, count, flags);
    Py_END_ALLOW_THREADS
    wsd_stream_release(s);
    return n;
}

int64_t wsdpy_send(wsd_stream *s, const struct iovec *iov, int count, int flags)
{
    if (wsd_iov_total(iov, count) <= WSDPY_KEEP_GIL_BYTES)
        return wsd_stream_send(s, iov, count, flags);
    int64_t n;
    wsd_stream_hold(s);
    Py_BEGIN_ALLOW_THREADS
    n = wsd_stream_send(s, iov, count, flags);
    Py_END_ALLOW_THREADS
    wsd_stream_release(s);
    return n;
}

PyObject *wsdpy_raise(int64_t negative_errno)
{
    if (negative_errno == -WSD_ELEASED) { /* not a wait: its holder may be this very thread */
        PyObject *args = Py_BuildValue("(is)", EAGAIN, "bytes of this connection are in use in place: see leases");
        if (args)
            PyErr_SetObject(PyExc_BlockingIOError, args);
        Py_XDECREF(args);
        return NULL;
    }
    errno = (int)-negative_errno;
    return PyErr_SetFromErrno(PyExc_OSError);
}
