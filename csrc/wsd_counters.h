/* What this process did, counted where it happens; read by `wsdirect ss` through the status page. */
#ifndef WSD_COUNTERS_H
#define WSD_COUNTERS_H

#include "wsd_base.h"

typedef struct {
    _Atomic uint64_t rings;      /* bell tokens sent for data */
    _Atomic uint64_t eats;       /* bell tokens read */
    _Atomic uint64_t stale;      /* tokens found for nothing and removed */
    _Atomic uint64_t sleeps;     /* waits that ended in poll() */
    _Atomic uint64_t spins;      /* waits that ended while spinning */
    _Atomic uint64_t yields;     /* waits that ended after sched_yield() */
    _Atomic uint64_t full_marks; /* times a full ring was announced */
    _Atomic uint64_t takeovers;  /* locks taken over from a dead holder */
} wsd_counters;

#define WSD_COUNTERS (sizeof(wsd_counters) / sizeof(uint64_t))

/* Points at a static block until the status page lends its own. */
extern wsd_counters *_Atomic wsd_counters_now;

static inline void wsd_count_up(_Atomic uint64_t *counter)
{
    /* a lost increment between threads is no harm; a locked instruction on every wait would be */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

#define WSD_COUNT(name) \
    wsd_count_up(&atomic_load_explicit(&wsd_counters_now, memory_order_relaxed)->name)

#endif
