/* selectors.EpollSelector.select in one call: from the rings, or the kernel, to the selector's keys.
 *
 * It is what an asyncio loop calls once a turn, and on a connection by shared memory a turn is all that
 * a message costs. */
#include "selectormethod.h"

#include <limits.h>
#include <math.h>

#include "epolling.h"
#include "pollmethods.h"

enum { EVENT_READ = 1, EVENT_WRITE = 2 };
#define MOST (1 << 20) /* descriptors, as many as the switch can know of */

static PyObject *original_select;
static PyObject *str_selector, *str_keys, *str_events;

static long events_of(PyObject *key)
{
    PyObject *events;
    if (PyTuple_Check(key) && PyTuple_GET_SIZE(key) == 4)
        events = Py_NewRef(PyTuple_GET_ITEM(key, 2)); /* SelectorKey(fileobj, fd, events, data) */
    else if (!(events = PyObject_GetAttr(key, str_events)))
        return -1;
    long found = PyLong_AsLong(events);
    Py_DECREF(events);
    return found;
}

/* One (key, events) more; -1 with an exception. */
static int add(PyObject *ready, PyObject *keys, PyObject *number, uint32_t event)
{
    PyObject *key = number ? PyDict_GetItemWithError(keys, number) : NULL;
    Py_XDECREF(number);
    if (!key)
        return PyErr_Occurred() ? -1 : 0;
    Py_INCREF(key);
    long registered = events_of(key);
    long events = (event & ~(uint32_t)EPOLLIN ? EVENT_WRITE : 0) | (event & ~(uint32_t)EPOLLOUT ? EVENT_READ : 0);
    PyObject *mask = registered == -1 && PyErr_Occurred() ? NULL : PyLong_FromLong(events & registered);
    PyObject *pair = mask ? PyTuple_Pack(2, key, mask) : NULL;
    int rc = pair ? PyList_Append(ready, pair) : -1;
    Py_XDECREF(pair);
    Py_XDECREF(mask);
    Py_DECREF(key);
    return rc;
}

static int add_list(PyObject *ready, PyObject *keys, PyObject *answer)
{
    int rc = PyList_Check(answer) ? 0 : -1;
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(answer); i++) {
        PyObject *pair = PyList_GET_ITEM(answer, i);
        uint32_t event = (uint32_t)PyLong_AsUnsignedLongMask(PyTuple_GET_ITEM(pair, 1));
        rc = add(ready, keys, Py_NewRef(PyTuple_GET_ITEM(pair, 0)), event);
    }
    return rc;
}

/* An event loop asks between any two of its turns, not because it knows that something has come. */
static bool is_patient(int epoll)
{
    int8_t *asker = wsdpy_epoll_asker(epoll);
    if (asker && *asker == 0) {
        PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
        PyObject *globals = frame ? PyFrame_GetGlobals(frame) : NULL;
        PyObject *name = globals ? PyDict_GetItemString(globals, "__name__") : NULL;
        bool loop = name && PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, "asyncio.base_events") == 0;
        *asker = loop ? 1 : -1;
        Py_XDECREF(globals);
        Py_XDECREF(frame);
    }
    return asker && *asker > 0;
}

static PyObject *wait(PyObject *selector, int epoll, PyObject *keys, int64_t timeout_ns)
{
    Py_ssize_t size = PyDict_GET_SIZE(keys);
    int most = size <= 0 ? 1 : size > MOST ? MOST : (int)size;
    struct epoll_event few[WSDPY_FEW_EVENTS], *events = wsdpy_events_take(few, most);
    if (!events)
        return NULL;
    uint64_t begin = timeout_ns > 0 ? wsd_now() : 0;
    int count = wsdpy_epoll_wait(epoll, events, most, timeout_ns, timeout_ns == 0 && is_patient(epoll));
    PyObject *ready = count < 0 ? NULL : PyList_New(0);
    int rc = 0;
    if (ready && WSD_UNLIKELY(wsdpy_epoll_is_strange(events, count))) {
        PyObject *number = PyLong_FromLong(most), *answer = wsdpy_epoll_answer(events, count);
        if (answer && number)
            Py_SETREF(answer, wsdpy_epoll_finish(selector, answer, wsdpy_left_of(timeout_ns, begin), number));
        rc = answer && number ? add_list(ready, keys, answer) : -1;
        Py_XDECREF(number);
        Py_XDECREF(answer);
    } else {
        for (int i = 0; ready && rc == 0 && i < count; i++)
            rc = add(ready, keys, PyLong_FromLong(events[i].data.fd), events[i].events);
    }
    wsdpy_events_give(few, events, most);
    if (rc < 0)
        Py_CLEAR(ready);
    return ready;
}

/* Nanoseconds, negative for ever; -2: not so simple. */
static int64_t nanoseconds(PyObject *timeout)
{
    if (timeout == NULL || timeout == Py_None)
        return -1;
    double seconds = PyFloat_CheckExact(timeout)  ? PyFloat_AS_DOUBLE(timeout)
                     : PyLong_CheckExact(timeout) ? PyLong_AsDouble(timeout)
                                                  : NAN;
    if (seconds == -1 && PyErr_Occurred())
        PyErr_Clear();
    if (seconds <= 0)
        return 0;
    /* in milliseconds, rounded up, as an epoll counts them */
    return seconds < 2e6 ? (int64_t)ceil(seconds * 1e3) * (int64_t)WSD_MS : -2;
}

static PyObject *method_select(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    Py_ssize_t keywords = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    bool usual = n + keywords <= 1 &&
                 (keywords == 0 || PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "timeout") == 0);
    int64_t timeout_ns = usual ? nanoseconds(n + keywords ? args[0] : NULL) : -2;
    PyObject *selector = PyObject_GetAttr(self, str_selector);
    PyObject *keys = selector ? PyObject_GetAttr(self, str_keys) : NULL;
    PyObject *result = NULL;
    int epoll = keys && timeout_ns != -2 && PyDict_CheckExact(keys) ? wsdpy_epoll_ours(selector) : -1;
    if (epoll >= 0)
        result = wait(selector, epoll, keys, timeout_ns);
    Py_XDECREF(selector);
    Py_XDECREF(keys);
    if (epoll >= 0)
        return result;
    PyErr_Clear();
    PyObject *stack[3] = {self};
    if (n + keywords > 2) {
        PyErr_SetString(PyExc_TypeError, "select() takes one argument, the time-out");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < n + keywords; i++)
        stack[i + 1] = args[i];
    return PyObject_Vectorcall(original_select, stack, (size_t)n + 1, kwnames);
}

static PyMethodDef method = {"select", (PyCFunction)(void (*)(void))method_select, METH_FASTCALL | METH_KEYWORDS,
                             "select($self, /, timeout=None)\n--\n\n"};

PyObject *wsdpy_selector_method(PyObject *selector_class, PyObject *original)
{
    if (!PyType_Check(selector_class)) {
        PyErr_SetString(PyExc_TypeError, "selector_method() takes a class");
        return NULL;
    }
    if (!str_selector && (!(str_selector = PyUnicode_InternFromString("_selector")) ||
                          !(str_keys = PyUnicode_InternFromString("_fd_to_key")) ||
                          !(str_events = PyUnicode_InternFromString("events"))))
        return NULL;
    Py_XSETREF(original_select, Py_NewRef(original));
    return PyDescr_NewMethod((PyTypeObject *)selector_class, &method);
}
