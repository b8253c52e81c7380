/* The rarer methods of socket.socket, guarded in C; see guardedmethods.c. */
#ifndef WSDPY_GUARDEDMETHODS_H
#define WSDPY_GUARDEDMETHODS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* {name: descriptor} for the Python-level socket class, and two functions for its __init__: "opening"
 * says of a descriptor and a family whether Python must look at it; "opened" is called last, with the
 * socket and whether its descriptor is a new one.  `handlers`: name -> function(self, ...), called
 * where the switch is concerned.  `tables`: (misses, plans), both by address family and
 * then by address as given to connect().  A miss is until when (ms of CLOCK_MONOTONIC) << 16 | reason: a
 * destination that goes straight to TCP.  A plan is what handlers["planned"] is called with, besides the
 * socket and its number, to connect once more as before; it says whether it did.  `listeners`: number ->
 * object with san_fd, _waiting and take().  `plain_close`: socket._real_close does nothing but close. */
PyObject *wsdpy_guarded_methods(PyObject *socket_class, PyObject *handlers, PyObject *tables,
                                PyObject *listeners, int plain_close);

#endif
