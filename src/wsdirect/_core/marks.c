#include "marks.h"

#include <time.h>

uint32_t wsdpy_marks[WSDPY_MARKS];
static int highest; /* one more than the highest number that was ever marked */

static uint32_t *public_highest;
static wsdpy_plain *public_table;
static uint32_t public_entries;

static void publish(int fd, uint32_t mark)
{
    if ((uint32_t)fd >= public_entries)
        return;
    if (mark) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC_COARSE, &now); /* a few nanoseconds; right to some milliseconds */
        public_table[fd].since = (uint32_t)((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
        if ((uint32_t)fd >= *public_highest)
            *public_highest = (uint32_t)fd + 1;
    }
    public_table[fd].mark = mark;
}

void wsdpy_mark_set(int fd, uint32_t mark)
{
    if ((unsigned)fd >= WSDPY_MARKS)
        return;
    uint32_t before = wsdpy_marks[fd];
    wsdpy_marks[fd] = mark;
    if (fd >= highest)
        highest = fd + 1;
    if ((before & MARK_PLAIN) && !(mark & MARK_PLAIN))
        publish(fd, 0);
}

void wsdpy_mark_plain(int fd, uint32_t role, uint32_t reason)
{
    if ((unsigned)fd >= WSDPY_MARKS)
        return;
    uint32_t mark = MARK_PLAIN | role << MARK_ROLE_SHIFT | reason << MARK_REASON_SHIFT;
    wsdpy_marks[fd] = (wsdpy_marks[fd] & MARK_WATCHED) | mark;
    if (fd >= highest)
        highest = fd + 1;
    publish(fd, mark);
}

void wsdpy_mark_wipe(int from, int to)
{
    for (int fd = from < 0 ? 0 : from; fd < to && fd < highest; fd++)
        if (wsdpy_marks[fd]) /* the pollers' records stay: they are looked at when the number comes again */
            wsdpy_mark_set(fd, wsdpy_marks[fd] & MARK_WATCHED);
}

bool wsdpy_marks_are_public(void)
{
    return public_entries != 0;
}

void wsdpy_mark_publish(uint32_t *high, wsdpy_plain *table, uint32_t entries)
{
    public_highest = high;
    public_table = table;
    public_entries = entries;
    for (int fd = 0; fd < highest; fd++)
        if (wsdpy_marks[fd] & MARK_PLAIN)
            publish(fd, wsdpy_marks[fd] & ~(uint32_t)MARK_WATCHED);
}

static PyObject *released_callback, *reused_callback;

void wsdpy_mark_listeners(PyObject *on_released, PyObject *on_reused)
{
    Py_XSETREF(released_callback, Py_NewRef(on_released));
    Py_XSETREF(reused_callback, Py_NewRef(on_reused));
}

static int tell(PyObject *callback, int fd)
{
    PyObject *done = callback ? PyObject_CallFunction(callback, "i", fd) : Py_NewRef(Py_None);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

int wsdpy_released(int fd)
{
    return tell(released_callback, fd);
}

int wsdpy_reused(int fd)
{
    return tell(reused_callback, fd);
}
