/* selectors.EpollSelector.select; see selectormethod.c. */
#ifndef WSDPY_SELECTORMETHOD_H
#define WSDPY_SELECTORMETHOD_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* The method for the class; `original` does what this does not. */
PyObject *wsdpy_selector_method(PyObject *selector_class, PyObject *original);

#endif
