/* One record for each epoll that has had switched connections, by the epoll's descriptor.  The GIL
 * guards the records; a thread that spins or sleeps gives it away, and the poller knows that it is
 * `inside` (csrc/wsd_poller.h). */
#include "epolling.h"

#include <limits.h>
#include <stdlib.h>

#include "wsd_counters.h"
#include "wsd_fdtable.h"

/* A ring that always has something must not keep the kernel from being asked. */
#define KERNEL_EVERY_NS (20 * WSD_US)

typedef struct {
    wsd_poller poller; /* first: found by its address */
    bool forgotten;    /* while a thread was inside; it frees this */
    int8_t asker;      /* see wsdpy_epoll_asker */
    uint64_t slept;    /* since when, the last time */
} record;

static record **records; /* by number of the epoll */
static int places;

static wsd_poller *poller_of(int epoll)
{
    return (unsigned)epoll < (unsigned)places && records[epoll] ? &records[epoll]->poller : NULL;
}

static wsd_poller *make_poller(int epoll)
{
    wsd_poller *found = poller_of(epoll);
    if (found || epoll < 0)
        return found;
    if (epoll >= places) {
        int more = epoll + 64;
        record **grown = realloc(records, (size_t)more * sizeof *grown);
        if (!grown)
            return NULL;
        memset(grown + places, 0, (size_t)(more - places) * sizeof *grown);
        records = grown;
        places = more;
    }
    record *made = malloc(sizeof *made);
    if (!made)
        return NULL;
    made->forgotten = false;
    made->asker = 0;
    made->slept = 0;
    wsd_poller_init(&made->poller);
    records[epoll] = made;
    return &made->poller;
}

/* False: the epoll was closed meanwhile, and the record may be gone. */
static bool leave(wsd_poller *p)
{
    wsd_poller_leave(p);
    record *r = (record *)p;
    bool stays = !r->forgotten;
    if (!stays && p->inside == 0)
        free(r);
    return stays;
}

int wsdpy_epoll_wants(int epoll, int fd, uint32_t want)
{
    wsd_stream *stream = wsd_fd_lookup(fd);
    wsd_poller *p = poller_of(epoll);
    want &= EPOLLIN | EPOLLOUT;
    if (!stream || want == 0) {
        if (p)
            wsd_poller_cool(p, fd);
        return 0;
    }
    if (!p && !(p = make_poller(epoll)))
        return -1;
    wsd_poller_cool(p, fd); /* as it was registered before; or another stream under this number */
    /* Room is waited for when a ring is full, and data that are here already may have rung nobody. */
    if ((want & EPOLLOUT) || wsd_stream_available(stream) != 0)
        wsd_poller_heat(p, stream, fd, want);
    return 0;
}

int wsdpy_epoll_shown(int epoll)
{
    wsd_poller *p = make_poller(epoll);
    if (!p)
        return -1;
    p->truthful = true;
    wsd_poller_cool_all(p);
    return 0;
}

void wsdpy_epoll_forget(int epoll)
{
    wsd_poller *p = poller_of(epoll);
    if (!p)
        return;
    wsd_poller_end(p);
    record *r = records[epoll];
    records[epoll] = NULL;
    if (p->inside)
        r->forgotten = true;
    else
        free(r);
}

void wsdpy_epoll_cool(int epoll)
{
    wsd_poller *p = poller_of(epoll);
    if (p)
        wsd_poller_cool_all(p);
}

void wsdpy_epolls_cool(void)
{
    for (int i = 0; i < places; i++)
        wsdpy_epoll_cool(i);
}

bool wsdpy_epoll_is_hot(int epoll)
{
    const wsd_poller *p = poller_of(epoll);
    return p && p->count > 0;
}

int8_t *wsdpy_epoll_asker(int epoll)
{
    return wsdpy_epoll_is_hot(epoll) ? &records[epoll]->asker : NULL;
}

bool wsdpy_epoll_sees_all(int epoll, uint32_t unannounced)
{
    const wsd_poller *p = poller_of(epoll);
    uint32_t seen = 0;
    for (uint32_t i = 0; p && i < p->count; i++)
        seen += atomic_load_explicit(&p->hot[i].stream->unannounced, memory_order_relaxed) ? 1 : 0;
    return seen >= unannounced;
}

/* What the kernel has answered: look at these rings the next time. */
static void told_of(int epoll, const struct epoll_event *events, int count)
{
    wsd_poller *p = NULL;
    for (int i = 0; i < count; i++) {
        int fd = events[i].data.fd;
        wsd_stream *stream = events[i].events & EPOLLIN ? wsd_fd_lookup(fd) : NULL;
        if (!stream)
            continue;
        if (!p && !(p = make_poller(epoll)))
            return;
        uint32_t room = events[i].events & EPOLLOUT; /* it is registered for that, too */
        wsd_poller_heat(p, stream, fd, EPOLLIN | room);
    }
}

static void learn(wsd_poller *p, const wsd_stream *stream)
{
    uint64_t since = ((const record *)p)->slept;
    wsd_wait_learn(&p->wait, since, atomic_load_explicit(&stream->in->rx_stamp, memory_order_relaxed));
}

int wsdpy_epoll_heat(int epoll, int fd, wsd_stream *stream)
{
    wsd_poller *p = make_poller(epoll);
    if (!p)
        return -1;
    if (p->count == 0)
        learn(p, stream); /* it may be what the kernel woke us for */
    return wsd_poller_heat(p, stream, fd, EPOLLIN);
}

/* What the rings have to say beside the kernel. */
static int with_rings(const wsd_poller *p, struct epoll_event *events, int count, int most)
{
    int told = count;
    for (uint32_t i = 0; i < p->count; i++) {
        const wsd_hot *h = &p->hot[i];
        const wsd_stream *known = wsd_fd_lookup(h->fd); /* NULL: of an event loop's own */
        uint32_t ready = known == NULL || known == h->stream ? wsd_poller_ready(h) : 0;
        if (!ready)
            continue;
        int at = 0;
        while (at < told && events[at].data.fd != h->fd)
            at++;
        if (at < told) {
            events[at].events |= ready;
        } else if (count < most) {
            events[count].events = ready;
            events[count++].data.fd = h->fd;
        }
    }
    return count;
}

/* A ring has something: with what the kernel has, if it was not asked for a while. */
static int answer(wsd_poller *p, int epoll, struct epoll_event *events, int most, bool at_once)
{
    uint64_t now = wsd_now();
    int found = 0;
    if (at_once || now - atomic_load_explicit(&p->asked, memory_order_relaxed) >= KERNEL_EVERY_NS) {
        atomic_store_explicit(&p->asked, now, memory_order_relaxed);
        found = epoll_wait(epoll, events, most, 0);
        if (found > 0)
            told_of(epoll, events, found);
    }
    return with_rings(p, events, found > 0 ? found : 0, most);
}

enum { RAISED = -1, NOTHING = -2 };

/* The count, RAISED, or NOTHING: the descriptors are true, and the kernel can wait for them. */
static int look_at_rings(wsd_poller *p, int epoll, struct epoll_event *events, int most, uint64_t deadline,
                         bool patient)
{
    if (p->inside) {
        wsd_poller_cool_all(p); /* another thread polls here: each is told by the kernel */
        return NOTHING;
    }
    if (deadline == 0) {
        bool ready = wsd_poller_look(p);
        return ready || (patient && wsd_now() - atomic_load_explicit(&p->asked, memory_order_relaxed) < KERNEL_EVERY_NS)
                   ? answer(p, epoll, events, most, !patient)
                   : NOTHING;
    }
    for (bool spun = false;; spun = true) {
        if (wsd_poller_look(p))
            return answer(p, epoll, events, most, false);
        if (!spun) {
            wsd_poller_enter(p);
            int found;
            Py_BEGIN_ALLOW_THREADS
            found = wsd_poller_spin(p, epoll, events, most, deadline);
            Py_END_ALLOW_THREADS
            if (!leave(p))
                return found > 0 ? found : NOTHING;
            if (found > 0) {
                told_of(epoll, events, found);
                return with_rings(p, events, found, most);
            }
            if (wsd_poller_look(p))
                return answer(p, epoll, events, most, false);
            if (PyErr_CheckSignals() < 0) {
                wsdpy_epoll_cool(epoll);
                return RAISED;
            }
        }
        /* the handler of a signal may have done anything */
        if (poller_of(epoll) != p || p->inside || wsd_poller_rest(p))
            return NOTHING;
    }
}

/* The kernel's turn; *error is set if the count is negative. */
static int sleep_in_kernel(int epoll, struct epoll_event *events, int most, uint64_t deadline, int *error)
{
    uint64_t since = wsd_now();
    wsd_poller *p = poller_of(epoll);
    int found, ms = wsd_wait_ms(since, deadline);
    if (p)
        p->inside++;
    WSD_COUNT(sleeps);
    Py_BEGIN_ALLOW_THREADS
    found = epoll_wait(epoll, events, most, ms);
    *error = errno;
    Py_END_ALLOW_THREADS
    if (p && leave(p)) {
        ((record *)p)->slept = since;
        atomic_store_explicit(&p->asked, wsd_now(), memory_order_relaxed);
        for (int i = 0; i < found; i++) {
            const wsd_stream *stream = wsd_fd_lookup(events[i].data.fd);
            if (stream) {
                learn(p, stream);
                break;
            }
        }
    }
    return found;
}

int wsdpy_epoll_wait(int epoll, struct epoll_event *events, int most, int64_t timeout_ns, bool patient)
{
    uint64_t deadline = timeout_ns > 0 ? wsd_now() + (uint64_t)timeout_ns : timeout_ns == 0 ? 0 : WSD_FOREVER;
    for (;;) {
        wsd_poller *p = poller_of(epoll);
        if (p && p->count > 0) {
            int found = look_at_rings(p, epoll, events, most, deadline, patient);
            if (found != NOTHING)
                return found;
        }
        int error = 0, found;
        if (deadline == 0) {
            found = epoll_wait(epoll, events, most, 0);
            error = errno;
        } else {
            found = sleep_in_kernel(epoll, events, most, deadline, &error);
        }
        if (found >= 0) {
            told_of(epoll, events, found);
            return found;
        }
        if (error != EINTR) {
            errno = error;
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        if (PyErr_CheckSignals() < 0)
            return -1;
        if (deadline != WSD_FOREVER && wsd_now() >= deadline)
            return 0;
    }
}

/* ---- room for the answer ------------------------------------------------------------------------ */

static struct epoll_event *spare; /* for one caller at a time, who may give the GIL away */
static int spare_room;

struct epoll_event *wsdpy_events_take(struct epoll_event *few, int most)
{
    if (most <= WSDPY_FEW_EVENTS)
        return few;
    if (spare && spare_room >= most) {
        struct epoll_event *taken = spare;
        spare = NULL;
        return taken;
    }
    struct epoll_event *made = PyMem_New(struct epoll_event, most);
    if (!made)
        PyErr_NoMemory();
    return made;
}

void wsdpy_events_give(struct epoll_event *few, struct epoll_event *events, int most)
{
    if (events == few)
        return;
    if (!spare || spare_room < most) {
        struct epoll_event *before = spare;
        spare = events;
        spare_room = most;
        events = before;
    }
    PyMem_Free(events);
}

PyObject *wsdpy_epoll_answer(const struct epoll_event *events, int count)
{
    PyObject *answer = PyList_New(count);
    for (int i = 0; answer && i < count; i++) {
        PyObject *pair = Py_BuildValue("iI", events[i].data.fd, (unsigned)events[i].events);
        if (pair)
            PyList_SET_ITEM(answer, i, pair);
        else
            Py_CLEAR(answer);
    }
    return answer;
}

PyObject *wsdpy_epoll_poll(int epoll, int most, int64_t timeout_ns, bool patient)
{
    struct epoll_event few[WSDPY_FEW_EVENTS], *events = wsdpy_events_take(few, most);
    if (!events)
        return NULL;
    int count = wsdpy_epoll_wait(epoll, events, most, timeout_ns, patient);
    PyObject *answer = count < 0 ? NULL : wsdpy_epoll_answer(events, count);
    wsdpy_events_give(few, events, most);
    return answer;
}
