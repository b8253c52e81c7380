/* The hot methods of socket.socket as C method descriptors; see socketmethods.c. */
#ifndef WSDPY_SOCKETMETHODS_H
#define WSDPY_SOCKETMETHODS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* {name: descriptor} for the Python-level socket class; a second call replaces the first's callbacks. */
PyObject *wsdpy_socket_methods(PyObject *socket_class, PyObject *on_unattached, PyObject *on_passing);

#endif
