/* Adaptive waiting: how long to spin before it is cheaper to sleep.
 *
 * Peer on another CPU: spin up to twice the wake latency we measure (a shorter spin is worse than
 * none: both ends then fall asleep in turn); after four events that came too late, only a sixteenth
 * of that, until an event comes in time again.  Peer on my CPU: it cannot run while I spin, so give
 * the CPU away a few times, then sleep.
 *
 * All spinning of a process is charged to one budget, a share of one CPU.
 */
#ifndef WSD_WAIT_H
#define WSD_WAIT_H

#include "wsd_base.h"

/* Atomic because several threads may wait on one end; what they lose to each other is no harm. */
typedef struct {
    _Atomic uint64_t full_ns;    /* twice the measured wake latency, within the bounds below */
    _Atomic uint64_t budget_ns;  /* what the next spin may take */
    _Atomic uint64_t latency_ns; /* moving average of bell -> running */
    _Atomic uint64_t spun_ns;    /* what the last spin took, in vain, before the sleep */
    _Atomic uint32_t late;       /* events in a row that came after the full budget */
    _Atomic uint32_t no_yields;   /* so many waits more go without */
    _Atomic uint32_t slow_yields; /* waits in a row whose yields took long */
    _Atomic uint32_t vain_yields; /* in a row: yields that brought nothing, or took long */
} wsd_wait;

#define WSD_SPIN_MIN_NS (20 * WSD_US)
#define WSD_SPIN_MAX_NS (300 * WSD_US)
#define WSD_SPIN_START_NS (100 * WSD_US)
#define WSD_SAME_CPU_YIELDS 2
/* Looks before the clock is read: a peer that is running answers within them.  About a microsecond. */
#define WSD_GLANCES 32

/* UINT64_MAX: no bound but the measured one; 0: never spin. */
extern _Atomic uint64_t wsd_spin_limit_ns;

/* ---- the budget: any thread, no locks; a forked child starts with a copy ---------------------- */

/* Percent of one CPU, 0 to 100, that this process may spend on spinning, over time.  0: none; 100:
 * no bound.  What is not used is saved up, for a tenth of a second. */
void wsd_budget_set(unsigned percent);
unsigned wsd_budget_percent(void);
/* The spin that a wait may make from `now` on, of the `want_ns` that it would: at most the limit above,
 * and nothing at all when the budget has less than that, as a spin cut short is worse than none. */
uint64_t wsd_budget_ask(uint64_t now, uint64_t want_ns);
/* So much was spun, in time or in vain. */
void wsd_budget_charge(uint64_t from, uint64_t to);

/* ---- one end's waits --------------------------------------------------------------------------- */

void wsd_wait_init(wsd_wait *wait);
/* An event came while we were spinning. */
void wsd_wait_in_time(wsd_wait *wait);
/* We slept from `since`; the peer rang at `stamp` (its clock is ours, its honesty is not assumed). */
void wsd_wait_learn(wsd_wait *wait, uint64_t since, uint64_t stamp);

/* Milliseconds for poll(): rounded up, so that nobody wakes just before the deadline in a loop. */
int wsd_wait_ms(uint64_t now, uint64_t deadline);

typedef bool (*wsd_ready)(const void *context);
/* A few looks, or one sched_yield, without a wait's full price: for one who holds what nobody else
 * wants at the moment.  False at once where a spin would be pointless. */
bool wsd_wait_glance(wsd_wait *wait, wsd_ready ready, const void *context, const _Atomic uint32_t *peer_cpu);
/* Give the CPU away a few times, for a peer that needs it. */
bool wsd_wait_yield(wsd_wait *wait, wsd_ready ready, const void *context);
/* Spin or yield until ready(), at most the budget and never past the deadline. */
bool wsd_wait_spin(wsd_wait *wait, wsd_ready ready, const void *context, const _Atomic uint32_t *peer_cpu,
                   uint64_t deadline);

#endif
