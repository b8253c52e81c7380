/* wsdirect._core._floor: how fast two processes could be without Python, for `wsdirect bench` alone.
 *
 * An end is a capsule; the loops run without the interpreter's lock and cannot be interrupted but by
 * the end of the process.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "ends.h"

#define CAPSULE "wsdirect._core._floor.end"
#define SIZE_MAX_BYTES (1u << 28)

static PyObject *fail(int negative_errno)
{
    errno = -negative_errno;
    return PyErr_SetFromErrno(PyExc_OSError);
}

static void dropped(PyObject *capsule)
{
    floor_end *end = PyCapsule_GetPointer(capsule, CAPSULE);
    if (end)
        end->drop(end);
}

static PyObject *in_capsule(floor_end *end)
{
    PyObject *capsule = PyCapsule_New(end, CAPSULE, dropped);
    if (!capsule)
        end->drop(end);
    return capsule;
}

static PyObject *ring_length(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSize_t(floor_ring_length());
}

static PyObject *ring(PyObject *Py_UNUSED(module), PyObject *args)
{
    int fd, yield;
    unsigned side;
    floor_end *end;
    if (!PyArg_ParseTuple(args, "iIp", &fd, &side, &yield))
        return NULL;
    int r = floor_ring_open(fd, side, yield, &end);
    return r < 0 ? fail(r) : in_capsule(end);
}

static PyObject *stream_offer(PyObject *Py_UNUSED(module), PyObject *args)
{
    int fd, segment;
    uint32_t slot, generation;
    floor_end *end;
    if (!PyArg_ParseTuple(args, "i", &fd))
        return NULL;
    int r = floor_stream_offer(fd, &end, &segment, &slot, &generation);
    if (r < 0)
        return fail(r);
    PyObject *capsule = in_capsule(end);
    return capsule ? Py_BuildValue("(NiII)", capsule, segment, slot, generation) : NULL;
}

static PyObject *stream_attach(PyObject *Py_UNUSED(module), PyObject *args)
{
    int fd, segment;
    unsigned slot, generation;
    floor_end *end;
    if (!PyArg_ParseTuple(args, "iiII", &fd, &segment, &slot, &generation))
        return NULL;
    int r = floor_stream_attach(fd, segment, slot, generation, &end);
    return r < 0 ? fail(r) : in_capsule(end);
}

/* An end, a size and a count from the arguments, and a buffer of that size; NULL: an exception. */
static uint8_t *prepared(PyObject *args, floor_end **end, Py_ssize_t *size, Py_ssize_t *count,
                         Py_ssize_t *batch)
{
    PyObject *capsule;
    *batch = 1;
    if (!PyArg_ParseTuple(args, "Onn|n", &capsule, size, count, batch))
        return NULL;
    *end = PyCapsule_GetPointer(capsule, CAPSULE);
    if (!*end)
        return NULL;
    if (*size < 1 || *size > SIZE_MAX_BYTES || *count < 0 || *batch < 1) {
        PyErr_SetString(PyExc_ValueError, "size, count or batch is out of range");
        return NULL;
    }
    uint8_t *buffer = malloc((size_t)*size);
    if (!buffer)
        return (uint8_t *)PyErr_NoMemory();
    memset(buffer, 'x', (size_t)*size);
    return buffer;
}

static PyObject *finished(uint8_t *buffer, int r)
{
    free(buffer);
    if (r < 0)
        return fail(r);
    Py_RETURN_NONE;
}

enum { SEND = 1, RECEIVE = 2 };

static PyObject *looped(PyObject *args, int first, int second)
{
    floor_end *end;
    Py_ssize_t size, count, batch;
    uint8_t *buffer = prepared(args, &end, &size, &count, &batch);
    if (!buffer)
        return NULL;
    int r = 0;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < count && r == 0; i++) {
        r = first == SEND ? end->put(end, buffer, (size_t)size) : end->get(end, buffer, (size_t)size);
        if (second && r == 0)
            r = second == SEND ? end->put(end, buffer, (size_t)size) : end->get(end, buffer, (size_t)size);
    }
    Py_END_ALLOW_THREADS
    return finished(buffer, r);
}

static PyObject *echo(PyObject *Py_UNUSED(module), PyObject *args)
{
    return looped(args, RECEIVE, SEND);
}

static PyObject *send_(PyObject *Py_UNUSED(module), PyObject *args)
{
    return looped(args, SEND, 0);
}

static PyObject *receive(PyObject *Py_UNUSED(module), PyObject *args)
{
    return looped(args, RECEIVE, 0);
}

static PyObject *ping(PyObject *Py_UNUSED(module), PyObject *args)
{
    floor_end *end;
    Py_ssize_t size, count, batch;
    uint8_t *buffer = prepared(args, &end, &size, &count, &batch);
    if (!buffer)
        return NULL;
    Py_ssize_t batches = count / batch;
    uint64_t *times = calloc((size_t)batches + 1, sizeof *times);
    if (!times) {
        free(buffer);
        return PyErr_NoMemory();
    }
    int r = 0;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < batches && r == 0; i++) {
        uint64_t start = wsd_now();
        for (Py_ssize_t j = 0; j < batch && r == 0; j++) {
            r = end->put(end, buffer, (size_t)size);
            if (r == 0)
                r = end->get(end, buffer, (size_t)size);
        }
        times[i] = wsd_now() - start;
    }
    Py_END_ALLOW_THREADS
    free(buffer);
    PyObject *list = r < 0 ? fail(r) : PyList_New(batches);
    for (Py_ssize_t i = 0; list && i < batches; i++) {
        PyObject *time = PyLong_FromUnsignedLongLong(times[i]);
        if (time)
            PyList_SET_ITEM(list, i, time);
        else
            Py_CLEAR(list);
    }
    free(times);
    return list;
}

static PyObject *copy(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_ssize_t size;
    double seconds;
    if (!PyArg_ParseTuple(args, "nd", &size, &seconds))
        return NULL;
    if (size < 1 || size > SIZE_MAX_BYTES || !(seconds >= 0 && seconds < 1e6))
        return PyErr_Format(PyExc_ValueError, "size or seconds is out of range");
    uint8_t *from = malloc((size_t)size), *to = malloc((size_t)size);
    if (!from || !to) {
        free(from);
        free(to);
        return PyErr_NoMemory();
    }
    uint64_t copies = 0, piece = (uint64_t)(1 + (1 << 20) / size), took;
    Py_BEGIN_ALLOW_THREADS
    memset(from, 'x', (size_t)size);
    memset(to, 'y', (size_t)size);
    uint64_t start = wsd_now(), end = start + (uint64_t)(seconds * 1e9);
    do {
        for (uint64_t i = 0; i < piece; i++) {
            memcpy(to, from, (size_t)size);
            /* somebody might look at it: the copy must not be optimized away */
            __asm__ volatile("" : : "r"(from), "r"(to) : "memory");
        }
        copies += piece;
    } while (wsd_now() < end);
    took = wsd_now() - start;
    Py_END_ALLOW_THREADS
    free(from);
    free(to);
    return Py_BuildValue("d", (double)copies * (double)size / (double)(took ? took : 1));
}

static PyMethodDef functions[] = {
    {"ring_length", ring_length, METH_NOARGS, "Bytes of memory that a pair of rings needs."},
    {"ring", ring, METH_VARARGS, "ring(fd, side, yield): an end of the bare rings in that memory."},
    {"stream_offer", stream_offer, METH_VARARGS,
     "stream_offer(fd): an end on that bell, and its segment's descriptor, slot and generation."},
    {"stream_attach", stream_attach, METH_VARARGS,
     "stream_attach(fd, segment, slot, generation): the other end."},
    {"ping", ping, METH_VARARGS,
     "ping(end, size, count, batch=1): nanoseconds of each batch of round trips."},
    {"echo", echo, METH_VARARGS, "echo(end, size, count): answer round trips."},
    {"send", send_, METH_VARARGS, "send(end, size, count)"},
    {"receive", receive, METH_VARARGS, "receive(end, size, count)"},
    {"copy", copy, METH_VARARGS, "copy(size, seconds): gigabytes per second that memcpy reaches."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "wsdirect._core._floor",
    .m_doc = "What two processes could reach without Python: for wsdirect bench alone.",
    .m_size = 0,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__floor(void)
{
    return PyModuleDef_Init(&definition);
}
