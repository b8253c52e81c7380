/* select, poll and epoll, guarded in C; see pollmethods.c. */
#ifndef WSDPY_POLLMETHODS_H
#define WSDPY_POLLMETHODS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <sys/epoll.h>

/* What the Python half (front/watches.py) keeps; the containers are looked at, never changed. */
int wsdpy_poll_state(PyObject *socket_base, PyObject *connections, PyObject *listeners, PyObject *busy,
                     PyObject *special, PyObject *listening);
/* {name: descriptor} for select.epoll ("epoll") or the type of select.poll() ("poll"). */
PyObject *wsdpy_poll_methods(PyObject *kind, const char *which, PyObject *handlers, PyObject *watches);

/* For those that wait in an epoll without select.epoll's poll.  The descriptor, if all that can happen
 * there is seen to by wsdpy_epoll_wait and the two below; -1: Python has to. */
int wsdpy_epoll_ours(PyObject *epoll);
/* These events must be put into TCP's terms, by wsdpy_epoll_finish: a list of pairs for such a list. */
bool wsdpy_epoll_is_strange(const struct epoll_event *events, int count);
PyObject *wsdpy_epoll_finish(PyObject *epoll, PyObject *answer, int64_t left_ns, PyObject *most);
/* What is left of a time-out that began then; negative: for ever. */
int64_t wsdpy_left_of(int64_t timeout_ns, uint64_t begin);

/* For guard.c: whether the switch is concerned in a call of select.select, of select.poll, or of a
 * function whose first argument is a descriptor or an object that has one. */
bool wsdpy_select_concerns(PyObject *const *args, Py_ssize_t n);
bool wsdpy_new_poll_concerns(PyObject *const *args, Py_ssize_t n);
bool wsdpy_any_connection(void);
bool wsdpy_file_concerns(PyObject *const *args, Py_ssize_t n);

#endif
