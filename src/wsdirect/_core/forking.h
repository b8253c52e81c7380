/* fork in a process that has nothing of the switch's; see forking.c. */
#ifndef WSDPY_FORKING_H
#define WSDPY_FORKING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* (before, after in the child) for os.register_at_fork: they call the functions given if one of the
 * containers has members, the status page is there, or there are other threads. */
PyObject *wsdpy_fork_hooks(PyObject *before, PyObject *in_child, PyObject *containers);

#endif
