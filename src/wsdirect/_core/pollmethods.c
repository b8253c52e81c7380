/* select, poll and epoll on descriptors most of which have nothing to do with the switch.
 *
 * What is to be done for switched connections and listeners is Python (front/watches.py).  Here a call
 * that concerns none of them goes to the original through its C pointer, and an answer of epoll that
 * means what it says goes back as it is, of a switched connection, too: its descriptor tells the truth.
 */
#include "pollmethods.h"

#include <limits.h>
#include <math.h>
#include <sys/select.h>

#include "calling.h"
#include "epolling.h"
#include "marks.h"
#include "socketmethods.h"
#include "wsd_stream.h"

enum { REGISTER, MODIFY, UNREGISTER, POLL, CLOSE, INIT, FILENO, FINISH, METHODS };

typedef struct {
    wsdpy_original originals[METHODS];
    PyObject *handlers[METHODS];
    PyObject *watches; /* what is registered of interest, by the poller's key */
} family;

static family epolls, polls;
static PyTypeObject *socket_base;
static PyObject *connections, *listeners; /* by descriptor number */
static PyObject *busy[8]; /* sets: while one is not empty, each poll is Python's business */
static Py_ssize_t busy_count;
static PyObject *special; /* a set: keys of pollers that always are */
static PyObject *listening; /* a set: listeners that accept TCP only so far, too */

static bool somebody_is_busy(void)
{
    for (Py_ssize_t i = 0; i < busy_count; i++)
        if (PySet_GET_SIZE(busy[i]) > 0)
            return true;
    return false;
}

static bool needs_attention(void)
{
    return atomic_load_explicit(&wsd_unannounced_now, memory_order_relaxed) != 0 || somebody_is_busy();
}

static bool nothing_is_switched(void)
{
    return !connections || (PyDict_GET_SIZE(connections) == 0 && PyDict_GET_SIZE(listeners) == 0);
}

static bool somebody_listens(void)
{
    return listening && PySet_GET_SIZE(listening) > 0;
}

/* The descriptor that `item` is or has; -1: none, and the original says so.  A socket's own fileno()
 * is not called: who asks for the number may be about to use it without us. */
static int descriptor_of(PyObject *item)
{
    if (PyLong_CheckExact(item)) {
        int overflow;
        long fd = PyLong_AsLongAndOverflow(item, &overflow);
        return overflow || fd < 0 || fd > INT_MAX ? -1 : (int)fd;
    }
    if (socket_base && PyObject_TypeCheck(item, socket_base))
        return wsdpy_socket_fd(item);
    int fd = PyObject_AsFileDescriptor(item);
    if (fd < 0)
        PyErr_Clear();
    return fd;
}

static bool is_polled(int fd)
{
    return wsd_fd_lookup(fd) != NULL || (wsdpy_mark_of(fd) & MARK_POLLED);
}

static PyObject *handle(const family *f, int which, PyObject *self, PyObject *const *args, Py_ssize_t n,
                        PyObject *kwnames)
{
    const wsdpy_original handler = {f->handlers[which], NULL, NULL};
    return wsdpy_call_slowly(&handler, self, args, n, kwnames);
}

/* ---- register, modify, unregister --------------------------------------------------------------- */

static PyObject *change(const family *f, int which, PyObject *self, PyObject *const *args, Py_ssize_t n,
                        PyObject *kwnames)
{
    if (n < 1 || n > 2)
        return handle(f, which, self, args, n, kwnames);
    int fd = descriptor_of(args[0]);
    if (is_polled(fd))
        return handle(f, which, self, args, n, kwnames);
    if (fd < 0 || PyLong_CheckExact(args[0]) || kwnames)
        return wsdpy_call(&f->originals[which], self, args, n, kwnames);
    PyObject *with_number[] = {PyLong_FromLong(fd), n > 1 ? args[1] : NULL};
    if (!with_number[0])
        return NULL;
    PyObject *result = wsdpy_call(&f->originals[which], self, with_number, n, NULL);
    Py_DECREF(with_number[0]);
    return result;
}

/* ---- polling ------------------------------------------------------------------------------------ */

/* Whether an event of the kernel has to be put into TCP's terms. */
static bool event_is_strange(int fd, uint32_t events)
{
    const wsd_stream *stream = wsd_fd_lookup(fd);
    if (!stream)
        return wsdpy_mark_of(fd) & MARK_SAN;
    return (events & (EPOLLHUP | EPOLLERR | EPOLLPRI)) ||
           atomic_load_explicit(&stream->in->urgent, memory_order_relaxed) != 0 ||
           atomic_load_explicit(&stream->in->bare, memory_order_relaxed) != 0;
}

static bool is_strange(PyObject *answer)
{
    if (!PyList_CheckExact(answer))
        return false;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(answer); i++) {
        PyObject *pair = PyList_GET_ITEM(answer, i);
        if (event_is_strange(descriptor_of(PyTuple_GET_ITEM(pair, 0)),
                             (uint32_t)PyLong_AsUnsignedLongMask(PyTuple_GET_ITEM(pair, 1))))
            return true;
    }
    return false;
}

static PyObject *argument(PyObject *const *args, Py_ssize_t n, PyObject *kwnames, Py_ssize_t at, const char *name)
{
    if (n > at)
        return args[at];
    for (Py_ssize_t i = 0; kwnames && i < PyTuple_GET_SIZE(kwnames); i++)
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, i), name) == 0)
            return args[n + i];
    return NULL;
}

/* Poll, and let Python finish what the kernel has not answered in TCP's terms.  `unit`: of the time-out,
 * in seconds. */
static PyObject *poll_and_look(const family *f, PyObject *self, PyObject *const *args, Py_ssize_t n,
                               PyObject *kwnames, double unit, PyObject *most)
{
    PyObject *given = argument(args, n, kwnames, 0, "timeout");
    double timeout = given && given != Py_None ? PyFloat_AsDouble(given) : -1;
    if (timeout == -1 && PyErr_Occurred())
        PyErr_Clear(); /* the original says what is wrong with it */
    uint64_t begin = timeout > 0 ? wsd_now() : 0;
    PyObject *answer = wsdpy_call(&f->originals[POLL], self, args, n, kwnames);
    if (!answer || !is_strange(answer))
        return answer;
    PyObject *left = Py_None;
    if (timeout >= 0) {
        double seconds = timeout > 0 ? timeout * unit - (double)(wsd_now() - begin) / 1e9 : 0;
        left = PyFloat_FromDouble(seconds > 0 ? seconds : 0);
    } else {
        Py_INCREF(left);
    }
    PyObject *rest[] = {answer, left, most};
    PyObject *result = left ? handle(f, FINISH, self, rest, most ? 3 : 2, NULL) : NULL;
    Py_XDECREF(left);
    Py_DECREF(answer);
    return result;
}

/* ---- an epoll's polling --------------------------------------------------------------------------- */

/* The head of select's pyEpoll_Object: documented nowhere, so probed before it is relied upon. */
typedef struct {
    PyObject_HEAD
    int epfd;
} epoll_head;

static PyTypeObject *epoll_type; /* NULL: its layout is not known, and Python does it all */

static void probe_epoll(PyObject *kind)
{
    PyObject *probe = PyObject_CallNoArgs(kind);
    PyObject *number = probe ? PyObject_CallMethod(probe, "fileno", NULL) : NULL;
    bool known = number && Py_TYPE(probe)->tp_basicsize >= (Py_ssize_t)sizeof(epoll_head) &&
                 ((epoll_head *)probe)->epfd >= 0 && ((epoll_head *)probe)->epfd == descriptor_of(number);
    Py_XDECREF(number);
    Py_XDECREF(probe);
    PyErr_Clear();
    epoll_type = known ? (PyTypeObject *)kind : NULL;
}

static int epoll_number(PyObject *epoll)
{
    if (epoll_type)
        return ((epoll_head *)epoll)->epfd;
    PyObject *number = wsdpy_call(&epolls.originals[FILENO], epoll, NULL, 0, NULL);
    int fd = number ? descriptor_of(number) : -1;
    Py_XDECREF(number);
    PyErr_Clear(); /* a closed one: the original says so */
    return fd;
}

static bool is_special(int epoll)
{
    if (!special || PySet_GET_SIZE(special) == 0)
        return false;
    PyObject *number = PyLong_FromLong(epoll);
    bool found = number && PySet_Contains(special, number) == 1;
    Py_XDECREF(number);
    return found;
}

/* Whether Python has to see to this poll. */
static bool is_for_python(int epoll)
{
    uint32_t unannounced = atomic_load_explicit(&wsd_unannounced_now, memory_order_relaxed);
    return somebody_is_busy() || is_special(epoll) ||
           (WSD_UNLIKELY(unannounced != 0) && !wsdpy_epoll_sees_all(epoll, unannounced));
}

int wsdpy_epoll_ours(PyObject *epoll)
{
    if (!epoll_type || !Py_IS_TYPE(epoll, epoll_type))
        return -1;
    int fd = ((epoll_head *)epoll)->epfd;
    return fd < 0 || is_for_python(fd) ? -1 : fd;
}

bool wsdpy_epoll_is_strange(const struct epoll_event *events, int count)
{
    for (int i = 0; i < count; i++)
        if (event_is_strange(events[i].data.fd, events[i].events))
            return true;
    return false;
}

PyObject *wsdpy_epoll_finish(PyObject *epoll, PyObject *answer, int64_t left_ns, PyObject *most)
{
    wsdpy_epoll_cool(epoll_number(epoll));
    PyObject *left = left_ns < 0 ? Py_NewRef(Py_None) : PyFloat_FromDouble((double)left_ns / 1e9);
    PyObject *rest[] = {answer, left, most};
    PyObject *result = left ? handle(&epolls, FINISH, epoll, rest, most ? 3 : 2, NULL) : NULL;
    Py_XDECREF(left);
    return result;
}

int64_t wsdpy_left_of(int64_t timeout_ns, uint64_t begin)
{
    if (timeout_ns <= 0)
        return timeout_ns;
    uint64_t gone = wsd_now() - begin;
    return gone < (uint64_t)timeout_ns ? timeout_ns - (int64_t)gone : 0;
}

/* Nanoseconds, negative for ever; -2: the original has to say what this is. */
static int64_t seconds_given(PyObject *given)
{
    if (!given || given == Py_None)
        return -1;
    if (!PyFloat_CheckExact(given) && !PyLong_CheckExact(given))
        return -2;
    double seconds = PyFloat_AsDouble(given);
    if (seconds == -1 && PyErr_Occurred())
        PyErr_Clear(); /* the original says so in its words */
    if (seconds < 0)
        return -1;
    /* as the original: in milliseconds, rounded up, and not more than an int of them */
    return seconds < 2e6 ? (int64_t)ceil(seconds * 1e3) * (int64_t)WSD_MS : -2;
}

static PyObject *epoll_poll(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    const family *f = &epolls;
    int fd = epoll_number(self);
    if (is_for_python(fd)) {
        wsdpy_epoll_cool(fd);
        return handle(f, POLL, self, args, n, kwnames);
    }
    if (nothing_is_switched())
        return wsdpy_call(&f->originals[POLL], self, args, n, kwnames);
    PyObject *given = argument(args, n, kwnames, 1, "maxevents");
    int64_t timeout_ns = seconds_given(argument(args, n, kwnames, 0, "timeout"));
    long most = -1;
    if (given && PyLong_CheckExact(given)) {
        int overflow;
        most = PyLong_AsLongAndOverflow(given, &overflow);
    }
    if (most == -1)
        most = FD_SETSIZE - 1; /* as the original */
    Py_ssize_t all = n + (kwnames ? PyTuple_GET_SIZE(kwnames) : 0);
    if (timeout_ns == -2 || fd < 0 || all > 2 || most <= 0 || most > INT_MAX / (long)sizeof(struct epoll_event) ||
        (given && !PyLong_CheckExact(given))) {
        wsdpy_epoll_cool(fd);
        return poll_and_look(f, self, args, n, kwnames, 1, given);
    }
    struct epoll_event few[WSDPY_FEW_EVENTS], *events = wsdpy_events_take(few, (int)most);
    if (!events)
        return NULL;
    uint64_t begin = timeout_ns > 0 ? wsd_now() : 0;
    int count = wsdpy_epoll_wait(fd, events, (int)most, timeout_ns, false);
    PyObject *answer = count < 0 ? NULL : wsdpy_epoll_answer(events, count);
    if (answer && wsdpy_epoll_is_strange(events, count))
        Py_SETREF(answer, wsdpy_epoll_finish(self, answer, wsdpy_left_of(timeout_ns, begin), given));
    wsdpy_events_give(few, events, (int)most);
    return answer;
}

static PyObject *poll_poll(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    const family *f = &polls;
    if (needs_attention())
        return handle(f, POLL, self, args, n, kwnames);
    if (PyDict_GET_SIZE(f->watches) == 0)
        return wsdpy_call(&f->originals[POLL], self, args, n, kwnames);
    PyObject *key = PyLong_FromVoidPtr(self);
    int is_known = key ? PyDict_Contains(f->watches, key) : -1;
    int always = is_known > 0 && special ? PySet_Contains(special, key) : 0;
    Py_XDECREF(key);
    if (is_known < 0 || always < 0)
        return NULL;
    if (always)
        return handle(f, POLL, self, args, n, kwnames);
    if (!is_known)
        return wsdpy_call(&f->originals[POLL], self, args, n, kwnames);
    return poll_and_look(f, self, args, n, kwnames, 1e-3, NULL);
}

/* ---- new and closed pollers --------------------------------------------------------------------- */

static PyObject *epoll_close(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    int fd = epoll_number(self);
    wsdpy_epoll_forget(fd);
    if (wsdpy_is_recorded(fd) && wsdpy_released(fd) < 0)
        return NULL;
    wsdpy_mark_set(fd, 0);
    if (PyDict_GET_SIZE(epolls.watches) > 0)
        return handle(&epolls, CLOSE, self, args, n, kwnames);
    return wsdpy_call(&epolls.originals[CLOSE], self, args, n, kwnames);
}

static PyObject *epoll_init(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    int fd = epoll_number(self);
    wsdpy_epoll_forget(fd); /* of another epoll, which was never closed through us */
    if (wsdpy_is_recorded(fd) && wsdpy_reused(fd) < 0)
        return NULL;
    wsdpy_mark_set(fd, MARK_NEW); /* a poller that waits for it must know */
    if (PyDict_GET_SIZE(epolls.watches) > 0)
        return handle(&epolls, INIT, self, args, n, kwnames);
    Py_RETURN_NONE; /* all is done in __new__ */
}

/* Code outside Python may poll this number, and whoever does must be told by the kernel. */
static PyObject *epoll_fileno(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    int fd = epoll_number(self);
    if (fd >= 0 && !wsdpy_asked_harmlessly() && wsdpy_epoll_shown(fd) < 0)
        return PyErr_NoMemory();
    return wsdpy_call(&epolls.originals[FILENO], self, args, n, kwnames);
}

bool wsdpy_new_poll_concerns(PyObject *const *args, Py_ssize_t n)
{
    (void)args;
    (void)n;
    return polls.watches && PyDict_GET_SIZE(polls.watches) > 0;
}

/* ---- select and its like ------------------------------------------------------------------------ */

static bool item_is_polled(PyObject *item)
{
    if (!PyLong_CheckExact(item) && !(socket_base && PyObject_TypeCheck(item, socket_base)))
        return true; /* its fileno() may do anything, to the list, too */
    return is_polled(descriptor_of(item));
}

static bool any_is_polled(PyObject *items)
{
    if (PyAnySet_CheckExact(items)) { /* as selectors.SelectSelector has them */
        PyObject *iterator = PyObject_GetIter(items), *item;
        bool found = iterator == NULL;
        while (!found && (item = PyIter_Next(iterator)) != NULL) {
            found = item_is_polled(item);
            Py_DECREF(item);
        }
        Py_XDECREF(iterator);
        PyErr_Clear();
        return found;
    }
    if (!PyList_CheckExact(items) && !PyTuple_CheckExact(items))
        return true; /* an iterator can be read only once */
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items); i++)
        if (item_is_polled(PySequence_Fast_GET_ITEM(items, i)))
            return true;
    return false;
}

bool wsdpy_select_concerns(PyObject *const *args, Py_ssize_t n)
{
    if (n < 3 || (nothing_is_switched() && !somebody_listens() && !needs_attention()))
        return false; /* a listener begins to accept switched connections when it is looked at */
    return any_is_polled(args[0]) || any_is_polled(args[1]) || any_is_polled(args[2]);
}

bool wsdpy_any_connection(void)
{
    return connections && PyDict_GET_SIZE(connections) > 0;
}

bool wsdpy_file_concerns(PyObject *const *args, Py_ssize_t n)
{
    return n > 0 && connections && PyDict_GET_SIZE(connections) > 0 && wsd_fd_lookup(descriptor_of(args[0]));
}

/* ---- handing them out --------------------------------------------------------------------------- */

#define CHANGE(name, f, which)                                                                           \
    static PyObject *name(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)        \
    {                                                                                                    \
        return change(f, which, self, args, n, kwnames);                                                 \
    }

CHANGE(epoll_register, &epolls, REGISTER)
CHANGE(epoll_modify, &epolls, MODIFY)
CHANGE(epoll_unregister, &epolls, UNREGISTER)
CHANGE(poll_register, &polls, REGISTER)
CHANGE(poll_modify, &polls, MODIFY)
CHANGE(poll_unregister, &polls, UNREGISTER)

#define METHOD(name, function) {name, (PyCFunction)(void (*)(void))function, METH_FASTCALL | METH_KEYWORDS, NULL}

static PyMethodDef epoll_methods[] = {
    METHOD("register", epoll_register), METHOD("modify", epoll_modify), METHOD("unregister", epoll_unregister),
    METHOD("poll", epoll_poll),         METHOD("close", epoll_close),   METHOD("__init__", epoll_init),
    METHOD("fileno", epoll_fileno),
    {NULL, NULL, 0, NULL},
};
static PyMethodDef poll_methods[] = {
    METHOD("register", poll_register), METHOD("modify", poll_modify), METHOD("unregister", poll_unregister),
    METHOD("poll", poll_poll),         {NULL, NULL, 0, NULL},
};

int wsdpy_poll_state(PyObject *base, PyObject *connections_by_fd, PyObject *listeners_by_fd, PyObject *sets,
                     PyObject *special_epolls, PyObject *listening_fds)
{
    if (!PySet_Check(special_epolls) || !PySet_Check(listening_fds) || !PyType_Check(base) || !PyDict_Check(connections_by_fd) || !PyDict_Check(listeners_by_fd) ||
        !PyTuple_Check(sets) || PyTuple_GET_SIZE(sets) > 8) {
        PyErr_SetString(PyExc_TypeError, "poll_state() takes a type, two dictionaries and a tuple of sets");
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(sets); i++) {
        if (!PySet_Check(PyTuple_GET_ITEM(sets, i))) {
            PyErr_SetString(PyExc_TypeError, "poll_state() takes a tuple of sets");
            return -1;
        }
    }
    Py_XSETREF(socket_base, (PyTypeObject *)Py_NewRef(base));
    Py_XSETREF(connections, Py_NewRef(connections_by_fd));
    Py_XSETREF(listeners, Py_NewRef(listeners_by_fd));
    Py_XSETREF(special, Py_NewRef(special_epolls));
    Py_XSETREF(listening, Py_NewRef(listening_fds));
    busy_count = PyTuple_GET_SIZE(sets);
    for (Py_ssize_t i = 0; i < busy_count; i++)
        Py_XSETREF(busy[i], Py_NewRef(PyTuple_GET_ITEM(sets, i)));
    return 0;
}

PyObject *wsdpy_poll_methods(PyObject *kind, const char *which, PyObject *handlers, PyObject *watches)
{
    bool is_epoll = strcmp(which, "epoll") == 0;
    family *f = is_epoll ? &epolls : &polls;
    PyMethodDef *methods = is_epoll ? epoll_methods : poll_methods;
    if (!PyType_Check(kind) || !PyDict_Check(watches)) {
        PyErr_SetString(PyExc_TypeError, "poll_methods() takes a type, handlers and a dictionary");
        return NULL;
    }
    PyObject *result = PyDict_New();
    for (int i = 0; result && methods[i].ml_name; i++) {
        PyObject *callable = PyObject_GetAttrString(kind, methods[i].ml_name);
        PyObject *handler = callable ? PyMapping_GetItemString(handlers, methods[i].ml_name) : NULL;
        PyObject *graft = NULL;
        if (handler) {
            Py_XSETREF(f->handlers[i], Py_NewRef(handler));
            wsdpy_original_set(&f->originals[i], callable, true);
            methods[i].ml_doc = f->originals[i].method ? f->originals[i].method->ml_doc : NULL;
            if (i == INIT)
                methods[i].ml_doc = "__init__($self, /, sizehint=-1, flags=0)\n--\n\n";
            graft = PyDescr_NewMethod((PyTypeObject *)kind, &methods[i]);
        }
        if (!graft || PyDict_SetItemString(result, methods[i].ml_name, graft) < 0)
            Py_CLEAR(result);
        Py_XDECREF(callable);
        Py_XDECREF(handler);
        Py_XDECREF(graft);
    }
    PyObject *finish = result ? PyMapping_GetItemString(handlers, "finish") : NULL;
    if (!finish)
        Py_CLEAR(result);
    else
        Py_XSETREF(f->handlers[FINISH], finish);
    if (result)
        Py_XSETREF(f->watches, Py_NewRef(watches));
    if (result && is_epoll)
        probe_epoll(kind);
    return result;
}
