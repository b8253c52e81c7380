#include "wsd_arrivals.h"

#include <stdlib.h>

#include "wsd_relaxed.h"

static wsd_arrivals *first; /* programs have few listeners */

static wsd_segment_header *header_of(const wsd_segment *segment)
{
    return (wsd_segment_header *)segment->base;
}

wsd_arrivals *wsd_arrivals_open(int listener)
{
    wsd_arrivals *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->listener = listener;
    a->users = 1;
    wsd_wait_init(&a->wait);
    a->next = first;
    first = a;
    return a;
}

static void leave(wsd_arrivals *a)
{
    if (--a->users > 0)
        return;
    if (a->segment)
        wsd_segment_release(a->segment);
    free(a);
}

void wsd_arrivals_close(wsd_arrivals *a)
{
    for (wsd_arrivals **at = &first; *at; at = &(*at)->next)
        if (*at == a) {
            *at = a->next;
            break;
        }
    leave(a);
}

wsd_arrivals *wsd_arrivals_of(int listener)
{
    wsd_arrivals *a = first;
    while (a && a->listener != listener)
        a = a->next;
    return a;
}

void wsd_arrivals_came(wsd_arrivals *a, wsd_segment *segment)
{
    if (a->segment == segment || a->users > 1) /* a thread watches it: it is changed the next time */
        return;
    if (a->segment)
        wsd_segment_release(a->segment);
    wsd_segment_hold(segment);
    a->segment = segment;
}

bool wsd_arrivals_begin(wsd_arrivals *a, uint32_t *seen)
{
    /* on one CPU the client's connect lets us in at once if we sleep, and not if we yield */
    if (!a->segment || LOAD(header_of(a->segment)->last_cpu[0]) == wsd_cpu())
        return false;
    a->users++;
    *seen = LOAD(header_of(a->segment)->offers);
    return true;
}

typedef struct {
    const wsd_segment_header *header;
    uint32_t seen;
} watched;

static bool somebody_came(const void *context)
{
    const watched *w = context;
    return LOAD(w->header->offers) != w->seen;
}

bool wsd_arrivals_spin(wsd_arrivals *a, uint32_t seen, uint64_t deadline)
{
    watched w = {header_of(a->segment), seen};
    return wsd_wait_spin(&a->wait, somebody_came, &w, &w.header->last_cpu[0], deadline);
}

void wsd_arrivals_end(wsd_arrivals *a)
{
    leave(a);
}

void wsd_arrivals_slept(wsd_arrivals *a, uint64_t since)
{
    if (a->segment)
        wsd_wait_learn(&a->wait, since, LOAD(header_of(a->segment)->offer_stamp));
}

void wsd_arrivals_announce(wsd_segment *segment)
{
    wsd_segment_header *header = header_of(segment);
    STORE(header->offer_stamp, wsd_now());
    /* release: with the count the stamp shows; nothing else hangs on it */
    atomic_fetch_add_explicit(&header->offers, 1, memory_order_release);
}
