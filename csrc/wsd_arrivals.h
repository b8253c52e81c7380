/* Waiting for the next caller of a listener: a short spin before the kernel's sleep.
 *
 * A client counts its offers in the segment that it shares with the server.  A server that accepts one
 * connection after the other from it watches that count for as long as other waits spin, too, and need
 * not be woken: neither has its client to pay for that.  The count is a hint; the listener is the truth.
 *
 * The caller serialises all functions but the spin (the GIL does).
 */
#ifndef WSD_ARRIVALS_H
#define WSD_ARRIVALS_H

#include "wsd_segment.h"
#include "wsd_wait.h"

typedef struct wsd_arrivals {
    int listener;
    wsd_segment *segment; /* held: where the latest caller is from; NULL: nobody has come yet */
    uint32_t users;       /* the owner, and threads that spin */
    wsd_wait wait;
    struct wsd_arrivals *next;
} wsd_arrivals;

/* NULL: no memory. */
wsd_arrivals *wsd_arrivals_open(int listener);
void wsd_arrivals_close(wsd_arrivals *a);
/* Of a listening descriptor; NULL: there are none. */
wsd_arrivals *wsd_arrivals_of(int listener);
/* One has been accepted who had an offer in this segment. */
void wsd_arrivals_came(wsd_arrivals *a, wsd_segment *segment);

/* A spin by any thread, between begin and end.  begin takes the count, after which nobody must have been
 * found waiting; the spin ends when it changes: offers are counted after they are queued, so none is
 * missed for good.  False: there is nothing to watch; nothing has come. */
bool wsd_arrivals_begin(wsd_arrivals *a, uint32_t *seen);
bool wsd_arrivals_spin(wsd_arrivals *a, uint32_t seen, uint64_t deadline);
void wsd_arrivals_end(wsd_arrivals *a);
/* A sleep that began then has ended with somebody at the listener. */
void wsd_arrivals_slept(wsd_arrivals *a, uint64_t since);

/* Client: one more offer is queued at the process that has this segment. */
void wsd_arrivals_announce(wsd_segment *segment);

#endif
