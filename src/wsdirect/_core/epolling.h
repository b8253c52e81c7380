/* Waiting in an epoll that has switched connections: at their rings first, then in the kernel. */
#ifndef WSDPY_EPOLLING_H
#define WSDPY_EPOLLING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "wsd_poller.h"

/* The descriptor `fd` is registered in this epoll for these events; 0: no more.  -1: no memory. */
int wsdpy_epoll_wants(int epoll, int fd, uint32_t want);
/* Others poll this epoll: what is in it stays true for the kernel. */
int wsdpy_epoll_shown(int epoll);
/* It is closed, or another one stands under its number. */
void wsdpy_epoll_forget(int epoll);
/* All connections' descriptors become true; for a fork, and for pollers that do not look at rings. */
void wsdpy_epolls_cool(void);
void wsdpy_epoll_cool(int epoll);

/* Whether one has to look at rings here. */
bool wsdpy_epoll_is_hot(int epoll);
/* Whether these are all the rings of the process that hold data which no descriptor tells of. */
bool wsdpy_epoll_sees_all(int epoll, uint32_t unannounced);

/* Who waits here: 0: not found out; positive: one who comes again and again, and need not be told within
 * some microseconds; negative: anybody.  For the caller to keep; NULL: there are no rings to look at. */
int8_t *wsdpy_epoll_asker(int epoll);

/* There are data at a connection that is not in the fd table: its ring is looked at from now on.
 * 0: not now (see wsd_poller_heat); -1: no memory. */
int wsdpy_epoll_heat(int epoll, int fd, wsd_stream *stream);

/* As epoll_wait: the count, or -1 with an exception; signals are handled and waiting goes on.
 * timeout_ns: negative waits for ever.  `patient`: if it is 0 the kernel need not be asked each time. */
int wsdpy_epoll_wait(int epoll, struct epoll_event *events, int most, int64_t timeout_ns, bool patient);
/* The same as a list of pairs. */
PyObject *wsdpy_epoll_poll(int epoll, int most, int64_t timeout_ns, bool patient);
PyObject *wsdpy_epoll_answer(const struct epoll_event *events, int count);

/* Room for `most` events: on the caller's stack, where there is WSDPY_FEW_EVENTS', or kept between calls.
 * NULL with an exception. */
#define WSDPY_FEW_EVENTS 64
struct epoll_event *wsdpy_events_take(struct epoll_event *few, int most);
void wsdpy_events_give(struct epoll_event *few, struct epoll_event *events, int most);

#endif
