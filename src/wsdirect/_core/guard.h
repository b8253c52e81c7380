/* Functions that take a descriptor, guarded; see guard.c. */
#ifndef WSDPY_GUARD_H
#define WSDPY_GUARD_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* `kind`: what makes a call the handler's business, see the table in guard.c; NULL with ValueError. */
PyObject *wsdpy_guard(PyObject *original, PyObject *handler, const char *kind, const char *module);

#endif
