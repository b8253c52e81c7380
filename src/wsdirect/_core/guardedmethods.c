/* connect, accept, close and all the other methods of socket.socket that know of the switch.
 *
 * What they do for sockets that it concerns is Python (front/sockets.py).  Here is only the question
 * whether it does: the descriptor is looked up, and all others go to the method that stood there
 * before, through its C pointer.
 */
#include "guardedmethods.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include "calling.h"
#include "marks.h"
#include "pollmethods.h"
#include "received.h"
#include "socketmethods.h"
#include "waiting.h"
#include "wsd_arrivals.h"

enum {
    BIND, GETPEERNAME, GETSOCKNAME, GETSOCKOPT, RECVFROM, RECVFROM_INTO, RECVMSG, RECVMSG_INTO, SENDTO,
    SHUTDOWN, SETSOCKOPT, CONNECT, CONNECT_EX, ACCEPT, CLOSE, DEL, METHODS
};
enum { ROLE_CONNECT = 0, ROLE_ACCEPT = 1 }; /* as wsdirect.status numbers them */
#define PEER_NOT_SWITCHED 13 /* wsdirect.reasons */
#define LOOK_ASIDE_EVERY 4   /* TCP connections accepted in a row before the SAN has its turn */

static wsdpy_original originals[METHODS];
static PyObject *handlers[METHODS];
static PyObject *misses_v4, *misses_v6, *listeners_by_fd, *name_san_fd, *name_waiting, *name_take;
static PyObject *plans_v4, *plans_v6, *planned;
static PyTypeObject *grafted_type; /* socket.socket itself */
static wsdpy_original close_of_base;
static destructor finalize_base;
static PyTypeObject *base_type; /* _socket.socket, which is never gone */

static PyObject *handle(int which, PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    const wsdpy_original handler = {handlers[which], NULL, NULL};
    return wsdpy_call_slowly(&handler, self, args, n, kwnames);
}

static PyObject *pass_on(int which, PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    return wsdpy_call(&originals[which], self, args, n, kwnames);
}

/* ---- methods that concern switched connections only ------------------------------------------- */

#define GUARDED(name, which)                                                                             \
    static PyObject *name(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)        \
    {                                                                                                    \
        if (wsd_fd_lookup(wsdpy_socket_fd(self)))                                                        \
            return handle(which, self, args, n, kwnames);                                                \
        return pass_on(which, self, args, n, kwnames);                                                   \
    }

GUARDED(method_bind, BIND)
GUARDED(method_getpeername, GETPEERNAME)
GUARDED(method_getsockname, GETSOCKNAME)
GUARDED(method_getsockopt, GETSOCKOPT)
GUARDED(method_recvfrom, RECVFROM)
GUARDED(method_recvfrom_into, RECVFROM_INTO)
GUARDED(method_recvmsg_plainly, RECVMSG)
GUARDED(method_recvmsg_into_plainly, RECVMSG_INTO)
GUARDED(method_sendto, SENDTO)
GUARDED(method_shutdown, SHUTDOWN)

static PyObject *method_setsockopt(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    int fd = wsdpy_socket_fd(self);
    uint32_t mark = wsdpy_mark_of(fd);
    if (wsd_fd_lookup(fd) || (mark & MARK_LISTENING))
        return handle(SETSOCKOPT, self, args, n, kwnames);
    if (mark & MARK_UNTOUCHED)
        wsdpy_mark_set(fd, mark & ~(uint32_t)MARK_UNTOUCHED);
    return pass_on(SETSOCKOPT, self, args, n, kwnames);
}

/* ---- connecting ------------------------------------------------------------------------------- */

static bool is_tcp(PyObject *self)
{
    const wsdpy_socket_head *head = (const wsdpy_socket_head *)self;
    return (head->family == AF_INET || head->family == AF_INET6) && head->type == SOCK_STREAM &&
           (head->proto == 0 || head->proto == IPPROTO_TCP);
}

/* The reason for which connections to this address go to TCP at this moment; -1: none is known. */
static int known_miss(PyObject *self, PyObject *address)
{
    PyObject *misses = ((const wsdpy_socket_head *)self)->family == AF_INET ? misses_v4 : misses_v6;
    if (PyDict_GET_SIZE(misses) == 0 || !PyTuple_CheckExact(address))
        return -1;
    PyObject *found = PyDict_GetItemWithError(misses, address); /* borrowed */
    if (!found) {
        PyErr_Clear(); /* not hashable: connect() says what it thinks of it */
        return -1;
    }
    unsigned long long entry = PyLong_AsUnsignedLongLong(found);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    uint64_t ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    return ms < entry >> 16 ? (int)(entry & 0xffff) : -1;
}

/* Once more to an address where a connection was switched: 1 done, 0 nothing has happened, -1 raised. */
static int connect_as_planned(PyObject *self, int fd, PyObject *address)
{
    PyObject *plans = ((const wsdpy_socket_head *)self)->family == AF_INET ? plans_v4 : plans_v6;
    uint32_t mark = wsdpy_mark_of(fd);
    if (PyDict_GET_SIZE(plans) == 0 || !Py_IS_TYPE(self, grafted_type) || !(mark & MARK_UNTOUCHED) ||
        (mark & MARK_RECORDED))
        return 0;
    if (!PyTuple_CheckExact(address) || PyTuple_GET_SIZE(address) < 2 ||
        !PyUnicode_CheckExact(PyTuple_GET_ITEM(address, 0)) || !PyLong_CheckExact(PyTuple_GET_ITEM(address, 1)))
        return 0;
    PyObject *plan = PyDict_GetItemWithError(plans, address); /* borrowed */
    if (!plan) {
        PyErr_Clear(); /* not hashable: connect() says what it thinks of it */
        return 0;
    }
    Py_INCREF(plan);
    PyObject *number = PyLong_FromLong(fd);
    PyObject *done = number ? PyObject_CallFunctionObjArgs(planned, self, number, plan, NULL) : NULL;
    int result = done ? PyObject_IsTrue(done) : -1;
    Py_XDECREF(done);
    Py_XDECREF(number);
    Py_DECREF(plan);
    return result;
}

static PyObject *connect_with(int which, PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    int fd = wsdpy_socket_fd(self);
    if (!wsdpy_layout_is_known || n != 1 || wsd_fd_lookup(fd))
        return handle(which, self, args, n, kwnames);
    if (fd >= 0 && is_tcp(self)) {
        int reason = known_miss(self, args[0]);
        int done = reason < 0 ? connect_as_planned(self, fd, args[0]) : 0;
        if (done < 0)
            return NULL;
        if (done)
            return which == CONNECT_EX ? PyLong_FromLong(0) : Py_NewRef(Py_None);
        if (reason < 0)
            return handle(which, self, args, n, kwnames);
        wsdpy_mark_plain(fd, ROLE_CONNECT, (uint32_t)reason);
    }
    return pass_on(which, self, args, n, kwnames);
}

static PyObject *method_connect(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    return connect_with(CONNECT, self, args, n, kwnames);
}

static PyObject *method_connect_ex(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    return connect_with(CONNECT_EX, self, args, n, kwnames);
}

/* ---- accepting -------------------------------------------------------------------------------- */

/* As _socket shows it. */
static PyObject *address_tuple(const struct sockaddr_storage *address)
{
    char text[INET6_ADDRSTRLEN];
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        return Py_BuildValue("si", text, ntohs(v4->sin_port));
    }
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
    inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    return Py_BuildValue("siII", text, ntohs(v6->sin6_port), ntohl(v6->sin6_flowinfo), v6->sin6_scope_id);
}

static PyObject *accepted(int made, const struct sockaddr_storage *address)
{
    PyObject *peer = wsdpy_is_recorded(made) && wsdpy_reused(made) < 0 ? NULL : address_tuple(address);
    PyObject *result = peer ? Py_BuildValue("iN", made, peer) : NULL;
    if (result)
        wsdpy_mark_plain(made, ROLE_ACCEPT, PEER_NOT_SWITCHED);
    else
        close(made);
    return result;
}

/* New; NULL without an exception: there is none. */
static PyObject *listener_of(int fd)
{
    PyObject *number = PyLong_FromLong(fd);
    PyObject *listener = number ? PyDict_GetItemWithError(listeners_by_fd, number) : NULL;
    Py_XDECREF(number);
    return Py_XNewRef(listener);
}

/* A switched connection that waits, as (descriptor, address); None: none does. */
static PyObject *take_switched(int fd)
{
    PyObject *listener = listener_of(fd);
    if (!listener)
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    PyObject *taken = PyObject_CallMethodNoArgs(listener, name_take);
    Py_DECREF(listener);
    return taken;
}

/* The descriptor that a listener's SAN side waits on; -1: Python code must look; -2: raised. */
static int san_of(int fd)
{
    PyObject *listener = listener_of(fd);
    if (!listener)
        return PyErr_Occurred() ? -2 : -1;
    PyObject *waiting = PyObject_GetAttr(listener, name_waiting), *san = NULL;
    Py_ssize_t count = waiting ? PyObject_Size(waiting) : -1;
    long san_fd = -2;
    if (count >= 0 && (san = PyObject_GetAttr(listener, name_san_fd)) != NULL)
        san_fd = count > 0 ? -1 : PyLong_AsLong(san);
    Py_XDECREF(waiting);
    Py_XDECREF(san);
    Py_DECREF(listener);
    return PyErr_Occurred() ? -2 : (int)san_fd;
}

static int poll_both(int fd, int san_fd, int64_t ns, bool *san_ready)
{
    struct pollfd both[] = {{fd, POLLIN, 0}, {san_fd, POLLIN, 0}};
    struct timespec left = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    int rc;
    Py_BEGIN_ALLOW_THREADS
    rc = ppoll(both, 2, ns < 0 ? NULL : &left, NULL);
    rc = rc < 0 ? -errno : rc;
    Py_END_ALLOW_THREADS
    *san_ready = rc > 0 && both[1].revents != 0;
    return rc;
}

/* Watch for a caller of the SAN side for a moment: as take_switched(). */
static PyObject *take_next(int fd, int san_fd, uint64_t deadline)
{
    for (int i = 0; i < 3; i++) { /* what is said to have come may be the one that was taken before */
        uint32_t seen;
        wsd_arrivals *arrivals = wsd_arrivals_of(san_fd);
        if (!arrivals || !wsd_arrivals_begin(arrivals, &seen))
            break;
        PyObject *taken = take_switched(fd);
        bool came = false;
        if (taken == Py_None) {
            Py_BEGIN_ALLOW_THREADS
            came = wsd_arrivals_spin(arrivals, seen, deadline);
            Py_END_ALLOW_THREADS
        }
        wsd_arrivals_end(arrivals);
        if (taken != Py_None)
            return taken;
        Py_DECREF(taken);
        if (PyErr_CheckSignals() < 0) /* one that came meanwhile will not end the sleep */
            return NULL;
        if (!came)
            break;
    }
    return Py_NewRef(Py_None);
}

/* A listener with a SAN side.  Its TCP connections are accepted here: at once if one waits, so that
 * they cost what they did; now and then, and whenever there is none, the SAN side is looked at, whose
 * connections are Python's business. */
static PyObject *accept_tcp(PyObject *self, int fd, int san_fd)
{
    static unsigned turns;
    int64_t timeout = ((const wsdpy_socket_head *)self)->timeout_ns;
    uint64_t deadline = timeout > 0 ? wsd_now() + (uint64_t)timeout : 0;
    bool san_ready = false, wait_first = timeout != 0 && (wsdpy_mark_of(fd) & MARK_WAITED);
    bool watched = false;
    if (++turns % LOOK_ASIDE_EVERY == 0) { /* neither kind can starve the other */
        if (wait_first)
            wait_first = false;
        else
            poll_both(-1, san_fd, 0, &san_ready);
    }
    for (;;) {
        if (san_ready) {
            PyObject *taken = take_switched(fd);
            if (taken != Py_None)
                return taken;
            Py_DECREF(taken); /* what came was no connection, or somebody else has it */
            int now = san_of(fd);
            if (now == -2)
                return NULL;
            if (now != san_fd)
                break;
            san_ready = false;
        }
        if (!wait_first) {
            struct sockaddr_storage address;
            socklen_t size = sizeof address;
            int made, mode = fcntl(fd, F_GETFL);
            if (mode < 0)
                return PyErr_SetFromErrno(PyExc_OSError);
            if (!(mode & O_NONBLOCK)) /* another process may take what we were told of: never wait here */
                return handle(ACCEPT, self, NULL, 0, NULL);
            Py_BEGIN_ALLOW_THREADS
            made = accept4(fd, (struct sockaddr *)&address, &size, SOCK_CLOEXEC);
            Py_END_ALLOW_THREADS
            if (made >= 0)
                return accepted(made, &address);
            if (errno == EINTR && PyErr_CheckSignals() < 0)
                return NULL;
            if (errno != EAGAIN && errno != EINTR)
                return PyErr_SetFromErrno(PyExc_OSError);
        }
        wait_first = false;
        int64_t left = timeout <= 0 ? timeout : (int64_t)(deadline - wsd_now());
        if (timeout > 0 && left <= 0) {
            PyErr_SetString(PyExc_TimeoutError, "timed out");
            return NULL;
        }
        if (timeout != 0 && !watched) {
            watched = true;
            PyObject *taken = take_next(fd, san_fd, timeout > 0 ? deadline : WSD_FOREVER);
            if (taken != Py_None)
                return taken;
            Py_DECREF(taken);
        }
        uint64_t since = timeout != 0 ? wsd_now() : 0;
        int rc = poll_both(fd, san_fd, left, &san_ready);
        wsd_arrivals *arrivals = san_ready && since ? wsd_arrivals_of(san_fd) : NULL;
        if (arrivals)
            wsd_arrivals_slept(arrivals, since);
        if (rc == -EINTR) {
            if (PyErr_CheckSignals() < 0)
                return NULL;
        } else if (rc < 0) {
            errno = -rc;
            return PyErr_SetFromErrno(PyExc_OSError);
        }
        if (timeout == 0 && !san_ready && rc <= 0) {
            errno = EAGAIN;
            return PyErr_SetFromErrno(PyExc_OSError);
        }
        if (timeout != 0)
            wsdpy_mark_set(fd, wsdpy_mark_of(fd) | MARK_WAITED);
        int now = san_of(fd); /* another thread may have closed it, or taken its connection */
        if (now == -2)
            return NULL;
        if (now != san_fd)
            break;
    }
    if (timeout <= 0)
        return handle(ACCEPT, self, NULL, 0, NULL);
    int64_t left = (int64_t)(deadline - wsd_now());
    PyObject *seconds = PyFloat_FromDouble(left > 0 ? (double)left / 1e9 : 1e-9);
    PyObject *result = seconds ? handle(ACCEPT, self, &seconds, 1, NULL) : NULL;
    Py_XDECREF(seconds);
    return result;
}

static PyObject *method_accept(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    int fd = wsdpy_socket_fd(self);
    if (!wsdpy_layout_is_known || n != 0)
        return handle(ACCEPT, self, args, n, kwnames);
    if (fd < 0 || !is_tcp(self))
        return pass_on(ACCEPT, self, args, n, kwnames);
    if (wsdpy_mark_of(fd) & MARK_TCP_ONLY) {
        PyObject *result = pass_on(ACCEPT, self, args, n, kwnames);
        long made = result && PyTuple_CheckExact(result) ? PyLong_AsLong(PyTuple_GET_ITEM(result, 0)) : -1;
        if (made >= 0 && wsdpy_is_recorded((int)made) && wsdpy_reused((int)made) < 0)
            Py_CLEAR(result);
        if (made >= 0)
            wsdpy_mark_plain((int)made, ROLE_ACCEPT, wsdpy_mark_of(fd) >> MARK_REASON_SHIFT);
        return result;
    }
    int san_fd = san_of(fd);
    if (san_fd == -2)
        return NULL;
    return san_fd < 0 ? handle(ACCEPT, self, args, n, kwnames) : accept_tcp(self, fd, san_fd);
}

/* ---- the beginning and the end ---------------------------------------------------------------- */

/* What came with a message may be descriptors. */
static PyObject *note_ancillary(PyObject *received)
{
    PyObject *items = received && PyTuple_Check(received) && PyTuple_GET_SIZE(received) > 1
                          ? PyTuple_GET_ITEM(received, 1)
                          : NULL;
    if (items && PyList_Check(items) && PyList_GET_SIZE(items) > 0)
        wsdpy_got_descriptors = true;
    return received;
}

static PyObject *method_recvmsg(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    return note_ancillary(method_recvmsg_plainly(self, args, n, kwnames));
}

static PyObject *method_recvmsg_into(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    return note_ancillary(method_recvmsg_into_plainly(self, args, n, kwnames));
}

/* Whether the number may stand for a connection that another process has passed to this one, or for one
 * that code which we do not see has copied. */
static bool may_have_come(int fd, PyObject *family)
{
    if (!wsdpy_got_descriptors && !wsdpy_any_connection())
        return false;
    if (wsdpy_mark_of(fd) & (MARK_PLAIN | MARK_LISTENING))
        return false;
    if (family && PyLong_Check(family)) {
        int overflow;
        if (PyLong_AsLongAndOverflow(family, &overflow) == AF_UNIX)
            return false; /* the program's own: accept() on a local socket */
    }
    return wsdpy_is_ours(fd);
}

/* Whether a descriptor that a socket object is to be made of is a switched connection's, or may be. */
static PyObject *opening(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
    (void)module;
    int overflow = 1;
    long fd = n == 2 && PyLong_Check(args[0]) ? PyLong_AsLongAndOverflow(args[0], &overflow) : -1;
    bool known = !overflow && fd >= 0 && fd <= INT_MAX &&
                 (wsd_fd_lookup((int)fd) || may_have_come((int)fd, args[1]));
    return PyBool_FromLong(known);
}

/* A socket object has been made, of a new descriptor or of one that was there.  Its __init__ itself is
 * Python: inspect takes a C one for a method of something else (CPython 3.13). */
static PyObject *opened(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
    (void)module;
    if (n != 2 || !PyBool_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "opened() takes a socket and a bool");
        return NULL;
    }
    int fd = wsdpy_socket_fd(args[0]);
    if (fd < 0)
        Py_RETURN_NONE;
    bool tcp = wsdpy_layout_is_known && is_tcp(args[0]);
    uint32_t mark = wsdpy_mark_of(fd);
    if (args[1] == Py_False) {
        if (tcp && !(mark & (MARK_PLAIN | MARK_LISTENING)))
            mark |= MARK_NEW; /* for all we know */
        wsdpy_mark_set(fd, mark & ~(uint32_t)MARK_UNTOUCHED);
        Py_RETURN_NONE;
    }
    /* closed behind our back (by C code): the number is all they have in common */
    if (wsdpy_is_recorded(fd) && wsdpy_reused(fd) < 0)
        return NULL;
    wsdpy_mark_set(fd, tcp ? MARK_NEW | MARK_UNTOUCHED : 0);
    Py_RETURN_NONE;
}

/* Before a socket is closed. */
static int release(int fd)
{
    if (fd < 0)
        return 0;
    if (wsdpy_is_recorded(fd))
        return wsdpy_released(fd);
    if (wsdpy_mark_of(fd))
        wsdpy_mark_set(fd, 0);
    return 0;
}

static PyObject *method_real_close(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    if (release(wsdpy_socket_fd(self)) < 0)
        return NULL;
    if (close_of_base.callable && n == 0 && kwnames == NULL)
        return wsdpy_call(&close_of_base, self, NULL, 0, NULL);
    return pass_on(CLOSE, self, args, n, kwnames);
}

static PyObject *method_del(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    int fd = wsdpy_socket_fd(self);
    bool switched = fd >= 0 && wsd_fd_lookup(fd) != NULL;
    /* the base's warning shows the socket's addresses, and soon this one has them no more */
    if (switched && PyErr_ResourceWarning(self, 1, "unclosed %R", self) < 0)
        PyErr_WriteUnraisable(self);
    if (fd >= 0 && release(fd) < 0)
        PyErr_WriteUnraisable(self);
    if (switched && base_type) { /* so that the base finds nothing to warn of */
        PyObject *closed = PyObject_CallMethod((PyObject *)base_type, "close", "O", self);
        if (!closed)
            PyErr_WriteUnraisable(self);
        Py_XDECREF(closed);
    }
    if (finalize_base && n == 0) {
        finalize_base(self);
        Py_RETURN_NONE;
    }
    return pass_on(DEL, self, args, n, kwnames);
}

/* ---- handing them out ------------------------------------------------------------------------- */

#define METHOD(name, function) {name, (PyCFunction)(void (*)(void))function, METH_FASTCALL | METH_KEYWORDS, NULL}

static PyMethodDef methods[METHODS] = {
    [BIND] = METHOD("bind", method_bind),
    [GETPEERNAME] = METHOD("getpeername", method_getpeername),
    [GETSOCKNAME] = METHOD("getsockname", method_getsockname),
    [GETSOCKOPT] = METHOD("getsockopt", method_getsockopt),
    [RECVFROM] = METHOD("recvfrom", method_recvfrom),
    [RECVFROM_INTO] = METHOD("recvfrom_into", method_recvfrom_into),
    [RECVMSG] = METHOD("recvmsg", method_recvmsg),
    [RECVMSG_INTO] = METHOD("recvmsg_into", method_recvmsg_into),
    [SENDTO] = METHOD("sendto", method_sendto),
    [SHUTDOWN] = METHOD("shutdown", method_shutdown),
    [SETSOCKOPT] = METHOD("setsockopt", method_setsockopt),
    [CONNECT] = METHOD("connect", method_connect),
    [CONNECT_EX] = METHOD("connect_ex", method_connect_ex),
    [ACCEPT] = METHOD("_accept", method_accept),
    [CLOSE] = METHOD("_real_close", method_real_close),
    [DEL] = METHOD("__del__", method_del),
};

static PyMethodDef functions[] = {
    {"opening", (PyCFunction)(void (*)(void))opening, METH_FASTCALL, NULL},
    {"opened", (PyCFunction)(void (*)(void))opened, METH_FASTCALL, NULL},
};

static int take_by_family(PyObject *given, PyObject **for_v4, PyObject **for_v6)
{
    PyObject *v4 = PyMapping_GetItemString(given, "4"), *v6 = PyMapping_GetItemString(given, "6");
    if (v4 && v6 && PyDict_CheckExact(v4) && PyDict_CheckExact(v6)) {
        Py_XSETREF(*for_v4, v4);
        Py_XSETREF(*for_v6, v6);
        return 0;
    }
    Py_XDECREF(v4);
    Py_XDECREF(v6);
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "a table by family is two dictionaries");
    return -1;
}

/* (misses, plans), see front/sockets.py. */
static int take_tables(PyObject *tables)
{
    PyObject *misses, *plans;
    if (!PyArg_ParseTuple(tables, "OO", &misses, &plans) || take_by_family(misses, &misses_v4, &misses_v6) < 0)
        return -1;
    return take_by_family(plans, &plans_v4, &plans_v6);
}

PyObject *wsdpy_guarded_methods(PyObject *socket_class, PyObject *given, PyObject *tables, PyObject *listeners,
                                int plain_close)
{
    if (!PyType_Check(socket_class) || !((PyTypeObject *)socket_class)->tp_base || !PyDict_Check(listeners)) {
        PyErr_SetString(PyExc_TypeError, "guarded_methods() takes the class socket.socket");
        return NULL;
    }
    PyTypeObject *type = (PyTypeObject *)socket_class;
    PyObject *base = (PyObject *)type->tp_base, *result = PyDict_New();
    if (!result || take_tables(tables) < 0)
        goto failed;
    if ((!name_take && !(name_take = PyUnicode_InternFromString("take"))) ||
        (!name_san_fd && !(name_san_fd = PyUnicode_InternFromString("san_fd"))) ||
        (!name_waiting && !(name_waiting = PyUnicode_InternFromString("_waiting"))))
        goto failed;
    Py_XSETREF(listeners_by_fd, Py_NewRef(listeners));
    for (int i = 0; i < METHODS; i++) {
        PyObject *handler = PyMapping_GetItemString(given, methods[i].ml_name);
        if (!handler) {
            if (i != CLOSE && i != DEL)
                goto failed;
            PyErr_Clear(); /* nothing is asked of Python there */
        }
        Py_XSETREF(handlers[i], handler);
        /* what the class itself has of that (a Python function), of the others what it inherits */
        bool own = i == CLOSE;
        PyObject *callable = PyObject_GetAttrString(own ? socket_class : base, methods[i].ml_name);
        if (!callable)
            goto failed;
        wsdpy_original_set(&originals[i], callable, true);
        Py_DECREF(callable);
        methods[i].ml_doc = originals[i].method ? originals[i].method->ml_doc : NULL; /* help() as before */
        PyObject *graft = PyDescr_NewMethod(type, &methods[i]);
        if (!graft || PyDict_SetItemString(result, methods[i].ml_name, graft) < 0) {
            Py_XDECREF(graft);
            goto failed;
        }
        Py_DECREF(graft);
    }
    PyObject *function = PyMapping_GetItemString(given, "planned");
    if (!function)
        goto failed;
    Py_XSETREF(planned, function);
    grafted_type = type;
    finalize_base = type->tp_base->tp_finalize;
    base_type = type->tp_base;
    PyObject *close_base = plain_close ? PyObject_GetAttrString(base, "close") : NULL;
    if (plain_close && !close_base)
        goto failed;
    if (close_base)
        wsdpy_original_set(&close_of_base, close_base, true);
    else
        Py_CLEAR(close_of_base.callable);
    Py_XDECREF(close_base);
    for (int i = 0; i < 2; i++) {
        PyObject *function = PyCFunction_New(&functions[i], NULL);
        int stored = function ? PyDict_SetItemString(result, functions[i].ml_name, function) : -1;
        Py_XDECREF(function);
        if (stored < 0)
            goto failed;
    }
    return result;
failed:
    Py_XDECREF(result);
    return NULL;
}
