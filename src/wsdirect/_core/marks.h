/* What this process knows of a descriptor number, beyond the stream in the fd table: one word each.
 *
 * The grafts in C read it to tell sockets that concern the switch from all others, which go on to the
 * functions they called before.  The GIL guards it; a forked child has a copy, as of its descriptors. */
#ifndef WSDPY_MARKS_H
#define WSDPY_MARKS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

#include "wsd_fdtable.h"

enum {
    MARK_LISTENING = 1, /* this process called listen() on it, or found it to listen */
    MARK_NEW = 2,       /* a TCP socket that has not tried to connect through us; or an epoll */
    MARK_UNTOUCHED = 4, /* made by this process, no option set */
    MARK_WATCHED = 8,   /* a poller has a record of the number */
    MARK_SAN = 16,      /* a provider's listener, which pollers watch beside the TCP listener */
    MARK_PLAIN = 32,    /* a TCP connection: its role and reason stand in the upper bits */
    MARK_TCP_ONLY = 64, /* a listener that has no SAN side and will have none */
    MARK_WAITED = 128,  /* the last accept() on it had to wait */

    /* what Python code keeps records of, which must go when the number gets another meaning */
    MARK_RECORDED = MARK_LISTENING | MARK_WATCHED | MARK_SAN,
    /* what pollers must know of */
    MARK_POLLED = MARK_LISTENING | MARK_WATCHED | MARK_SAN | MARK_NEW,

    /* unknown code took the number before there was a connection: strict, once there is one.  Beyond
     * the role, of which a socket that is not connected has none */
    MARK_TAKEN = 1 << 15,

    MARK_ROLE_SHIFT = 8,
    MARK_REASON_SHIFT = 16,
};

#define WSDPY_MARKS (WSD_FD_CHUNK * WSD_FD_CHUNKS)
extern uint32_t wsdpy_marks[WSDPY_MARKS]; /* untouched pages take no memory */

/* Numbers beyond the table belong to nothing that the switch knows. */
static inline uint32_t wsdpy_mark_of(int fd)
{
    return (unsigned)fd < WSDPY_MARKS ? wsdpy_marks[fd] : 0;
}

/* Whether Python code must hear of the end of this number's socket. */
static inline bool wsdpy_is_recorded(int fd)
{
    return wsd_fd_lookup(fd) != NULL || (wsdpy_mark_of(fd) & MARK_RECORDED);
}

void wsdpy_mark_set(int fd, uint32_t mark);
/* A TCP connection from now on, for `wsdirect ss` and info(). */
void wsdpy_mark_plain(int fd, uint32_t role, uint32_t reason);
void wsdpy_mark_wipe(int from, int to);

/* Python code that keeps records by number: told before a recorded one is closed, and when it is found
 * to stand for something new because code that we do not see has closed it.  -1 with an exception. */
void wsdpy_mark_listeners(PyObject *on_released, PyObject *on_reused);
int wsdpy_released(int fd);
int wsdpy_reused(int fd);

/* Where other processes can read which connections are plain: wsdpy_plain[entries] behind a uint32_t
 * with the highest number in use; NULL: nowhere. */
typedef struct {
    uint32_t mark;  /* as above: MARK_PLAIN, role, reason; 0: none */
    uint32_t since; /* milliseconds of CLOCK_MONOTONIC, modulo 2**32 */
} wsdpy_plain;
bool wsdpy_marks_are_public(void);
void wsdpy_mark_publish(uint32_t *high, wsdpy_plain *table, uint32_t entries);

#endif
