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
    /* RDMA that this process asked for, by the way it went (wsd_region.h) */
    _Atomic uint64_t rdma_shared; /* transfers by memory of the peer mapped here */
    _Atomic uint64_t rdma_direct; /* transfers by the kernel, from process to process */
    _Atomic uint64_t rdma_owner;  /* transfers that the memory's owner was asked to do */
    _Atomic uint64_t rdma_shared_bytes;
    _Atomic uint64_t rdma_direct_bytes;
    _Atomic uint64_t rdma_owner_bytes;
    _Atomic uint64_t bare; /* ends handed to processes without wsdirect (wsd_bare.h) */
    _Atomic uint64_t spin_ns; /* time spent on spinning (wsd_wait.h), but for the first few looks */
} wsd_counters;

#define WSD_COUNTERS (sizeof(wsd_counters) / sizeof(uint64_t))

/* Points at a static block until the status page lends its own. */
extern wsd_counters *_Atomic wsd_counters_now;

static inline void wsd_count_up(_Atomic uint64_t *counter, uint64_t by)
{
    /* a lost increment between threads is no harm; a locked instruction on every wait would be */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by,
                          memory_order_relaxed);
}

#define WSD_COUNT_BY(name, by) \
    wsd_count_up(&atomic_load_explicit(&wsd_counters_now, memory_order_relaxed)->name, (by))
#define WSD_COUNT(name) WSD_COUNT_BY(name, 1)

#endif
