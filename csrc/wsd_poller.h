/* A poller's own look at rings: what has come lately is looked for there before the kernel is asked.
 *
 * A poller may watch thousands of connections.  Those that had news since it last slept are hot; it
 * looks at their rings only, and at most at WSD_HOT_MAX of them.  All others are armed: what comes for
 * them shows in the kernel.  While hot, a ring is quiet: nobody rings for new bytes, so the poller has
 * to make it cool again before it sleeps, or leaves the waiting to anybody else.
 *
 * One thread at a time calls these (Python's lock sees to that), but for wsd_poller_spin: others may
 * change the poller while a thread is `inside`.  They can mark what is hot as gone, not take it away.
 */
#ifndef WSD_POLLER_H
#define WSD_POLLER_H

#include <sys/epoll.h>

#include "wsd_stream.h"

#define WSD_HOT_MAX 64u

typedef struct {
    wsd_stream *stream; /* held */
    int fd;             /* as it is registered */
    _Atomic uint32_t want; /* EPOLLIN, EPOLLOUT; 0: gone, see above */
    uint32_t turn;         /* when it last had something */
} wsd_hot;

typedef struct {
    wsd_hot hot[WSD_HOT_MAX];
    _Atomic uint32_t count;
    uint32_t hand;   /* what makes room for the next one when all places are taken */
    uint32_t turn;   /* counts looks */
    uint32_t inside; /* threads that spin or sleep here at this moment */
    bool truthful;   /* the epoll is itself polled by others: its descriptors stay true */
    _Atomic uint64_t asked; /* when the kernel was last asked */
    wsd_wait wait;
} wsd_poller;

void wsd_poller_init(wsd_poller *p);
/* Whether this connection's ring tells all that its descriptor would. */
bool wsd_poller_may_look(const wsd_stream *s);
/* News of a connection: look at its ring from now on, for these of EPOLLIN and EPOLLOUT.  The caller
 * watches the stream (wsd_stream_watch) for as long as it is registered, hot or not.
 * False: not now; the kernel tells of what comes, not of what came in silence. */
bool wsd_poller_heat(wsd_poller *p, wsd_stream *s, int fd, uint32_t want);
/* Leave it to the kernel. */
void wsd_poller_cool(wsd_poller *p, int fd);
/* All but those with data that no token tells of. */
void wsd_poller_cool_all(wsd_poller *p);
/* The epoll is closed. */
void wsd_poller_end(wsd_poller *p);
/* Before a sleep.  False: a ring has something, or something happened meanwhile: look again. */
bool wsd_poller_rest(wsd_poller *p);

/* What is true of a hot connection, of what is wanted. */
uint32_t wsd_poller_ready(const wsd_hot *h);
/* Whether any is; what the kernel has to tell about is made cool. */
bool wsd_poller_look(wsd_poller *p);

/* Wait at the rings, within the budget and never past the deadline.  Without the caller's lock, between
 * wsd_poller_enter and _leave.  Returns what epoll_wait has found meanwhile; see wsd_poller_look. */
int wsd_poller_spin(wsd_poller *p, int epoll, struct epoll_event *events, int most, uint64_t deadline);
void wsd_poller_enter(wsd_poller *p);
void wsd_poller_leave(wsd_poller *p);

#endif
