/* The hot methods of socket.socket as C method descriptors; see socketmethods.c. */
#ifndef WSDPY_SOCKETMETHODS_H
#define WSDPY_SOCKETMETHODS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

/* The head of _socket's PySocketSockObject, the same on 3.11-3.14 but documented nowhere: probed with
 * a socket of known values before it is relied upon. */
typedef struct {
    PyObject_HEAD
    int fd, family, type, proto;
    void *errorhandler;
    int64_t timeout_ns;
} wsdpy_socket_head;

extern bool wsdpy_layout_is_known;

/* The number of a socket object; -1: closed, or no socket.  Never raises. */
int wsdpy_socket_fd(PyObject *self);

/* Whether the code that asks for a descriptor's number is known to use it only by what is grafted. */
bool wsdpy_asked_harmlessly(void);
/* {name: descriptor} for the Python-level socket class; a second call replaces the first's callbacks. */
PyObject *wsdpy_socket_methods(PyObject *socket_class, PyObject *on_unattached, PyObject *on_passing);

#endif
