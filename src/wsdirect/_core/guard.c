/* os.read, os.write and their kin are called for every kind of file: what the switch adds to them must
 * not be noticed.  A guarded function looks its first argument up in the fd table, and that is all. */
#include "guard.h"

#include <limits.h>

#include "wsd_fdtable.h"

static PyObject *guarded(PyObject *pair, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    PyObject *target = PyTuple_GET_ITEM(pair, 0);
    if (n > 0 && PyLong_CheckExact(args[0])) {
        int overflow;
        long fd = PyLong_AsLongAndOverflow(args[0], &overflow);
        if (!overflow && fd >= 0 && fd <= INT_MAX && wsd_fd_lookup((int)fd) != NULL)
            target = PyTuple_GET_ITEM(pair, 1);
    }
    return PyObject_Vectorcall(target, args, (size_t)n, kwnames);
}

static void forget_method(PyObject *capsule)
{
    PyMem_Free(PyCapsule_GetPointer(capsule, "wsdirect.guard"));
}

PyObject *wsdpy_guard(PyObject *original, PyObject *handler)
{
    PyObject *name = PyObject_GetAttrString(original, "__name__");
    const char *text = name ? PyUnicode_AsUTF8(name) : NULL;
    PyMethodDef *method = text ? PyMem_Calloc(1, sizeof *method + strlen(text) + 1) : NULL;
    if (!method) {
        Py_XDECREF(name);
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    }
    char *own = (char *)(method + 1);
    strcpy(own, text);
    Py_DECREF(name);
    method->ml_name = own;
    method->ml_meth = (PyCFunction)(void (*)(void))guarded;
    method->ml_flags = METH_FASTCALL | METH_KEYWORDS;
    /* the capsule owns the definition and lives as long as the function's self */
    PyObject *owner = PyCapsule_New(method, "wsdirect.guard", forget_method);
    PyObject *pair = owner ? PyTuple_Pack(3, original, handler, owner) : NULL;
    Py_XDECREF(owner);
    PyObject *module = pair ? PyObject_GetAttrString(original, "__module__") : NULL;
    PyObject *result = module ? PyCFunction_NewEx(method, pair, module) : NULL;
    Py_XDECREF(module);
    Py_XDECREF(pair);
    return result;
}
