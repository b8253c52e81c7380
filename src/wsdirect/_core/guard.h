/* Functions of os that take a descriptor first, guarded; see guard.c. */
#ifndef WSDPY_GUARD_H
#define WSDPY_GUARD_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

PyObject *wsdpy_guard(PyObject *original, PyObject *handler);

#endif
