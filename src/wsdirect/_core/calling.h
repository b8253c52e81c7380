/* Calling a built-in function or method through its C pointer, as the interpreter itself does: a graft
 * that only lets a call through must cost nothing that can be noticed. */
#ifndef WSDPY_CALLING_H
#define WSDPY_CALLING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

/* Public names of these differ between versions. */
typedef PyObject *(*wsdpy_fast)(PyObject *, PyObject *const *, Py_ssize_t);
typedef PyObject *(*wsdpy_fast_keywords)(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);

typedef struct {
    PyObject *callable;  /* what stood there before: a method descriptor or a function */
    PyMethodDef *method; /* its definition if it is a built-in one, else NULL */
    PyObject *self;      /* a function's own (its module); NULL: a method, which is given one */
} wsdpy_original;

/* Borrows nothing: keeps `callable`.  `as_method`: it will be called with a self. */
static inline void wsdpy_original_set(wsdpy_original *o, PyObject *callable, bool as_method)
{
    o->method = NULL;
    o->self = NULL;
    if (as_method && Py_IS_TYPE(callable, &PyMethodDescr_Type)) {
        o->method = ((PyMethodDescrObject *)callable)->d_method;
    } else if (!as_method && PyCFunction_CheckExact(callable)) {
        o->method = ((PyCFunctionObject *)callable)->m_ml;
        o->self = PyCFunction_GET_SELF(callable); /* lives as long as the function */
    }
    Py_INCREF(callable);
    Py_XSETREF(o->callable, callable);
}

static inline PyObject *wsdpy_call_slowly(const wsdpy_original *o, PyObject *self, PyObject *const *args,
                                          Py_ssize_t n, PyObject *kwnames)
{
    if (!self)
        return PyObject_Vectorcall(o->callable, args, (size_t)n, kwnames);
    Py_ssize_t all = n + (kwnames ? PyTuple_GET_SIZE(kwnames) : 0);
    PyObject *few[12], **stack = all < 12 ? few : PyMem_New(PyObject *, all + 1);
    if (!stack)
        return PyErr_NoMemory();
    stack[0] = self;
    if (all > 0)
        memcpy(stack + 1, args, (size_t)all * sizeof *stack);
    PyObject *result = PyObject_Vectorcall(o->callable, stack, (size_t)n + 1, kwnames);
    if (stack != few)
        PyMem_Free(stack);
    return result;
}

/* `self`: for a method its object, for a function NULL. */
static inline PyObject *wsdpy_call(const wsdpy_original *o, PyObject *self, PyObject *const *args, Py_ssize_t n,
                                   PyObject *kwnames)
{
    if (!o->method)
        return wsdpy_call_slowly(o, self, args, n, kwnames);
    int flags = o->method->ml_flags & ~METH_COEXIST;
    PyCFunction meth = o->method->ml_meth;
    PyObject *first = self ? self : o->self;
    bool positional = kwnames == NULL || PyTuple_GET_SIZE(kwnames) == 0;
    if (flags == (METH_FASTCALL | METH_KEYWORDS))
        return ((wsdpy_fast_keywords)(void (*)(void))meth)(first, args, n, kwnames);
    if (!positional)
        return wsdpy_call_slowly(o, self, args, n, kwnames);
    if (flags == METH_FASTCALL)
        return ((wsdpy_fast)(void (*)(void))meth)(first, args, n);
    if (flags == METH_NOARGS && n == 0)
        return meth(first, NULL);
    if (flags == METH_O && n == 1)
        return meth(first, args[0]);
    if (flags != METH_VARARGS && flags != (METH_VARARGS | METH_KEYWORDS))
        return wsdpy_call_slowly(o, self, args, n, kwnames);
    PyObject *tuple = PyTuple_New(n);
    if (!tuple)
        return NULL;
    for (Py_ssize_t i = 0; i < n; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    PyObject *result = flags == METH_VARARGS
                           ? meth(first, tuple)
                           : ((PyCFunctionWithKeywords)(void (*)(void))meth)(first, tuple, NULL);
    Py_DECREF(tuple);
    return result;
}

#endif
