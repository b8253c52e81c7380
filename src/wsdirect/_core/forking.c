/* A forked child copies each page of memory that it writes to, and Python code writes to many: it
 * counts references.  Most children have nothing to do with the switch and start another program at
 * once, so whether there is anything to do is found out here, in the parent. */
#include "forking.h"

#include <stdbool.h>

#include "marks.h"
#include "wsd_lock.h"

static PyObject *before_callback, *child_callback, *watched;
static bool concerned;

static bool other_threads(void)
{
    PyThreadState *first = PyInterpreterState_ThreadHead(PyInterpreterState_Get());
    return first && PyThreadState_Next(first) != NULL; /* which may hold locks */
}

static PyObject *before(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    concerned = wsdpy_marks_are_public() || other_threads();
    for (Py_ssize_t i = 0; !concerned && i < PyTuple_GET_SIZE(watched); i++)
        concerned = PyObject_Size(PyTuple_GET_ITEM(watched, i)) != 0;
    PyErr_Clear();
    return concerned ? PyObject_CallNoArgs(before_callback) : Py_NewRef(Py_None);
}

static PyObject *in_child(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    wsd_tid_reset();
    return concerned ? PyObject_CallNoArgs(child_callback) : Py_NewRef(Py_None);
}

static PyMethodDef functions[] = {
    {"before_fork", before, METH_NOARGS, NULL},
    {"after_fork_in_child", in_child, METH_NOARGS, NULL},
};

PyObject *wsdpy_fork_hooks(PyObject *on_before, PyObject *on_child, PyObject *containers)
{
    PyObject *tuple = PySequence_Tuple(containers);
    if (!tuple)
        return NULL;
    Py_XSETREF(watched, tuple);
    Py_XSETREF(before_callback, Py_NewRef(on_before));
    Py_XSETREF(child_callback, Py_NewRef(on_child));
    return Py_BuildValue("NN", PyCFunction_New(&functions[0], NULL), PyCFunction_New(&functions[1], NULL));
}
