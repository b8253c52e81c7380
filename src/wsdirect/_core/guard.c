/* os.read, os.write, os.close and their kin are called for every kind of file: what the switch adds to
 * them must not be noticed.  A guarded function looks its descriptor up, and that is all. */
#include "guard.h"

#include <limits.h>
#include <stdbool.h>

#include "calling.h"
#include "marks.h"
#include "pollmethods.h"

typedef bool (*concern)(PyObject *const *args, Py_ssize_t n);

typedef struct {
    PyMethodDef method;
    wsdpy_original original;
    PyObject *handler;
    concern concerns;
    bool makes; /* the result is a descriptor that did not exist before */
    char *name, *doc;
} guard;

/* The argument as a descriptor; -1: it is none, or one that the original complains of. */
static int number(PyObject *const *args, Py_ssize_t n, Py_ssize_t at)
{
    if (n <= at || !PyLong_CheckExact(args[at]))
        return -1;
#if PY_VERSION_HEX >= 0x030C0000
    if (PyUnstable_Long_IsCompact((PyLongObject *)args[at]))
        return (int)PyUnstable_Long_CompactValue((PyLongObject *)args[at]);
#endif
    int overflow;
    long fd = PyLong_AsLongAndOverflow(args[at], &overflow);
    return overflow || fd < 0 || fd > INT_MAX ? -1 : (int)fd;
}

static bool is_switched(PyObject *const *args, Py_ssize_t n)
{
    return wsd_fd_lookup(number(args, n, 0)) != NULL;
}

/* The number gets free, or another meaning. */
static bool ends(int fd)
{
    if (wsdpy_is_recorded(fd))
        return true;
    if (wsdpy_mark_of(fd))
        wsdpy_mark_set(fd, 0);
    return false;
}

static bool closes(PyObject *const *args, Py_ssize_t n)
{
    return ends(number(args, n, 0));
}

static bool copies(PyObject *const *args, Py_ssize_t n)
{
    return wsdpy_is_recorded(number(args, n, 0));
}

static bool copies_onto(PyObject *const *args, Py_ssize_t n)
{
    return wsdpy_is_recorded(number(args, n, 0)) || ends(number(args, n, 1));
}

static bool always(PyObject *const *args, Py_ssize_t n)
{
    (void)args;
    (void)n;
    return true;
}

/* Sessions' bytes are in the process's hands, not in the kernel's; connections have a count of holders. */
static bool leaves(PyObject *const *args, Py_ssize_t n)
{
    (void)args;
    (void)n;
    static PyObject *name;
    if (wsdpy_any_connection())
        return true;
    if (!name && !(name = PyUnicode_InternFromString("wsdirect.switch.session.driver")))
        return true;
    return PyDict_Contains(PyImport_GetModuleDict(), name) != 0;
}

static const struct {
    const char *name;
    concern concerns;
    bool makes;
} kinds[] = {
    {"uses", is_switched, false}, /* the first argument is a descriptor that it works on */
    {"closes", closes, false},    /* ... that it closes */
    {"copies", copies, true},     /* ... that it makes a second one of */
    {"copies onto", copies_onto, true}, /* ... the second argument, whatever that was */
    {"leaves", leaves, false},    /* os._exit */
    {"always", always, false},    /* rare ones, such as os.execv: the handler sees for itself */
    {"asks", wsdpy_file_concerns, false},        /* as the first, or an object that has one */
    {"selects", wsdpy_select_concerns, false},   /* select.select */
    {"makes a poll", wsdpy_new_poll_concerns, false}, /* select.poll */
};

static PyObject *guarded(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    const guard *g = PyModule_GetState(module);
    if (g->concerns(args, n))
        return PyObject_Vectorcall(g->handler, args, (size_t)n, kwnames);
    PyObject *result = wsdpy_call(&g->original, NULL, args, n, kwnames);
    if (g->makes && result && PyLong_CheckExact(result)) {
        int made = number(&result, 1, 0);
        if (ends(made) && wsdpy_reused(made) < 0)
            Py_CLEAR(result);
    }
    return result;
}

static void forget_guard(void *module)
{
    guard *g = PyModule_GetState(module);
    Py_CLEAR(g->original.callable);
    Py_CLEAR(g->handler);
    PyMem_Free(g->name);
    PyMem_Free(g->doc);
}

static PyModuleDef guard_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "wsdirect.guard",
    .m_size = sizeof(guard),
    .m_free = forget_guard,
};

static char *copy_of(const char *text)
{
    char *copy = PyMem_Malloc(strlen(text) + 1);
    return copy ? strcpy(copy, text) : (char *)PyErr_NoMemory();
}

/* The documentation, with the signature that the interpreter works out for some built-in functions from how
 * they take their arguments (CPython 3.13), which is not how a guard takes them.  New; NULL: raised. */
static char *doc_of(PyObject *original, const char *name, const char *doc)
{
    static const char end[] = "\n--\n\n";
    PyObject *signature = PyObject_GetAttrString(original, "__text_signature__");
    PyErr_Clear();
    const char *text = signature && PyUnicode_Check(signature) ? PyUnicode_AsUTF8(signature) : NULL;
    bool complete = text == NULL || strstr(doc, end) != NULL;
    PyErr_Clear();
    size_t size = complete ? strlen(doc) + 1 : strlen(name) + strlen(text) + strlen(end) + strlen(doc) + 1;
    char *made = PyMem_Malloc(size);
    if (!made)
        PyErr_NoMemory();
    else if (complete)
        memcpy(made, doc, size);
    else
        snprintf(made, size, "%s%s%s%s", name, text, end, doc);
    Py_XDECREF(signature);
    return made;
}

PyObject *wsdpy_guard(PyObject *original, PyObject *handler, const char *kind, const char *module)
{
    size_t which = 0;
    while (which < sizeof kinds / sizeof *kinds && strcmp(kinds[which].name, kind) != 0)
        which++;
    if (which == sizeof kinds / sizeof *kinds) {
        PyErr_Format(PyExc_ValueError, "no such kind of guard: %s", kind);
        return NULL;
    }
    PyObject *name = PyObject_GetAttrString(original, "__name__");
    const char *text = name ? PyUnicode_AsUTF8(name) : NULL;
    /* A module as the function's self, as built-in functions have: pickle asks for that. */
    PyObject *self = text ? PyModule_Create(&guard_definition) : NULL;
    guard *g = self ? PyModule_GetState(self) : NULL;
    PyObject *result = NULL, *home = g ? PyUnicode_FromString(module) : NULL;
    if (home && (g->name = copy_of(text)) != NULL) {
        wsdpy_original_set(&g->original, original, false);
        g->handler = Py_NewRef(handler);
        g->concerns = kinds[which].concerns;
        g->makes = kinds[which].makes;
        g->method.ml_name = g->name;
        g->method.ml_meth = (PyCFunction)(void (*)(void))guarded;
        g->method.ml_flags = METH_FASTCALL | METH_KEYWORDS;
        const char *doc = g->original.method ? g->original.method->ml_doc : NULL;
        g->doc = doc ? doc_of(original, text, doc) : NULL;
        g->method.ml_doc = g->doc; /* help() as before */
        if (!doc || g->doc)
            result = PyCFunction_NewEx(&g->method, self, home);
    }
    Py_XDECREF(home);
    Py_XDECREF(self);
    Py_XDECREF(name);
    return result;
}
