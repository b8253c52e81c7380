/* Adaptive waiting: how long to spin before it is cheaper to sleep.
 *
 * Peer on another CPU: spin up to twice the wake latency we measure (a shorter spin is worse than
 * none: both ends then fall asleep in turn); after four events that came too late, only a sixteenth
 * of that, until an event comes in time again.  Peer on my CPU: it cannot run while I spin, so give
 * the CPU away a few times, then sleep.
 */
#ifndef WSD_WAIT_H
#define WSD_WAIT_H

#include "wsd_base.h"

/* Atomic because several threads may wait on one end; what they lose to each other is no harm. */
typedef struct {
    _Atomic uint64_t full_ns;    /* twice the measured wake latency, within the bounds below */
    _Atomic uint64_t budget_ns;  /* what the next spin may take */
    _Atomic uint64_t latency_ns; /* moving average of bell -> running */
    _Atomic uint32_t late;       /* events in a row that came after the full budget */
} wsd_wait;

#define WSD_SPIN_MIN_NS (20 * WSD_US)
#define WSD_SPIN_MAX_NS (300 * WSD_US)
#define WSD_SPIN_START_NS (100 * WSD_US)
#define WSD_SAME_CPU_YIELDS 8

/* UINT64_MAX: no bound but the measured one; 0: never spin. */
extern _Atomic uint64_t wsd_spin_limit_ns;

void wsd_wait_init(wsd_wait *wait);
/* An event came while we were spinning. */
void wsd_wait_in_time(wsd_wait *wait);
/* We slept from `since`; the peer rang at `stamp` (its clock is ours, its honesty is not assumed). */
void wsd_wait_learn(wsd_wait *wait, uint64_t since, uint64_t stamp);

/* Milliseconds for poll(): rounded up, so that nobody wakes just before the deadline in a loop. */
int wsd_wait_ms(uint64_t now, uint64_t deadline);

typedef bool (*wsd_ready)(const void *context);
/* Spin or yield until ready(), at most the budget and never past the deadline. */
bool wsd_wait_spin(wsd_wait *wait, wsd_ready ready, const void *context, const _Atomic uint32_t *peer_cpu,
                   uint64_t deadline);

#endif
