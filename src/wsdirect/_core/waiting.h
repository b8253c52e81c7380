/* Waiting from Python: the GIL released, signals handled between the spin and each sleep (PEP 475). */
#ifndef WSDPY_WAITING_H
#define WSDPY_WAITING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "wsd_stream.h"

enum {
    WSDPY_READY = 1,
    WSDPY_TIMED_OUT = 0,
    WSDPY_RAISED = -1,     /* a Python exception is set */
    WSDPY_UNATTACHED = -2, /* nobody took the offer: see the switch's handover */
};

/* timeout_ns < 0: for ever */
uint64_t wsdpy_deadline(int64_t timeout_ns);
int wsdpy_wait_readable(wsd_stream *s, uint64_t deadline);
int wsdpy_wait_writable(wsd_stream *s, uint64_t deadline);

/* Up to this size a copy is shorter than giving the GIL away and getting it back. */
#define WSDPY_KEEP_GIL_BYTES 32768

/* recv and send with the GIL released for copies that would hold others up. */
int64_t wsdpy_recv(wsd_stream *s, const struct iovec *iov, int count, int flags);
int64_t wsdpy_send(wsd_stream *s, const struct iovec *iov, int count, int flags);

/* Sets OSError from -errno; returns NULL. */
PyObject *wsdpy_raise(int64_t negative_errno);

#endif
