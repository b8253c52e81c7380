#include "waiting.h"

#include "wsd_ring.h"

/* Below this a copy is shorter than giving the GIL away and getting it back. */
#define KEEP_GIL_BYTES 32768

uint64_t wsdpy_deadline(int64_t timeout_ns)
{
    return timeout_ns < 0 ? WSD_FOREVER : wsd_now() + (uint64_t)timeout_ns;
}

typedef int (*step)(wsd_stream *, uint64_t);

static int wait_with(wsd_stream *s, uint64_t deadline, step spin, step sleep_on_bell, bool for_read)
{
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
    if (wsd_iov_total(iov, count) <= KEEP_GIL_BYTES)
        return wsd_stream_recv(s, iov, count, flags);
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
    if (wsd_iov_total(iov, count) <= KEEP_GIL_BYTES)
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
    errno = (int)-negative_errno;
    return PyErr_SetFromErrno(PyExc_OSError);
}
