/* select, poll and epoll, guarded in C; see pollmethods.c. */
#ifndef WSDPY_POLLMETHODS_H
#define WSDPY_POLLMETHODS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

/* What the Python half (front/watches.py) keeps; the containers are looked at, never changed. */
int wsdpy_poll_state(PyObject *socket_base, PyObject *connections, PyObject *listeners, PyObject *busy,
                     PyObject *special, PyObject *listening);
/* {name: descriptor} for select.epoll ("epoll") or the type of select.poll() ("poll"). */
PyObject *wsdpy_poll_methods(PyObject *kind, const char *which, PyObject *handlers, PyObject *watches);

/* For guard.c: whether the switch is concerned in a call of select.select, of select.poll, or of a
 * function whose first argument is a descriptor or an object that has one. */
bool wsdpy_select_concerns(PyObject *const *args, Py_ssize_t n);
bool wsdpy_new_poll_concerns(PyObject *const *args, Py_ssize_t n);
bool wsdpy_any_connection(void);
bool wsdpy_file_concerns(PyObject *const *args, Py_ssize_t n);

#endif
