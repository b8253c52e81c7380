/* The rarer methods of socket.socket, guarded in C; see guardedmethods.c. */
#ifndef WSDPY_GUARDEDMETHODS_H
#define WSDPY_GUARDEDMETHODS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* {name: descriptor} for the Python-level socket class, and two functions for its __init__: "opening"
 * says of a descriptor and a family whether Python must look at it; "opened" is called last, with the
 * socket and whether its descriptor is a new one.  `handlers`: name -> function(self, ...), called
 * where the switch is concerned.  `misses`: address family -> {address as given to connect(): until when
 * (ms of CLOCK_MONOTONIC) << 16 | reason}, destinations that go straight to TCP.  `listeners`: number ->
 * object with san_fd and _waiting.  `plain_close`: socket._real_close does nothing but close. */
PyObject *wsdpy_guarded_methods(PyObject *socket_class, PyObject *handlers, PyObject *misses,
                                PyObject *listeners, int plain_close);

#endif
