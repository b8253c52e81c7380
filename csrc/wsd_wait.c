#include "wsd_wait.h"

#include <limits.h>

#include "wsd_counters.h"

#define LATENCY_MAX_NS (2 * WSD_MS)
#define LATE_LIMIT 4
/* Looks between two readings of the clock: about half a microsecond of pauses. */
#define LOOKS_PER_CLOCK 16

_Atomic uint64_t wsd_spin_limit_ns = UINT64_MAX;

#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define STORE(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

void wsd_wait_init(wsd_wait *wait)
{
    atomic_init(&wait->full_ns, WSD_SPIN_START_NS);
    atomic_init(&wait->budget_ns, WSD_SPIN_START_NS);
    atomic_init(&wait->latency_ns, 0);
    atomic_init(&wait->late, 0);
}

void wsd_wait_in_time(wsd_wait *wait)
{
    STORE(wait->late, 0);
    STORE(wait->budget_ns, LOAD(wait->full_ns));
}

void wsd_wait_learn(wsd_wait *wait, uint64_t since, uint64_t stamp)
{
    uint64_t now = wsd_now();
    if (stamp <= since || stamp > now)
        return; /* not rung while we slept, or a stamp from nowhere */
    uint64_t latency = now - stamp;
    if (latency > LATENCY_MAX_NS)
        latency = LATENCY_MAX_NS;
    uint64_t before = LOAD(wait->latency_ns);
    latency = before ? (before * 7 + latency) / 8 : latency;
    STORE(wait->latency_ns, latency);
    uint64_t full = 2 * latency;
    if (full < WSD_SPIN_MIN_NS)
        full = WSD_SPIN_MIN_NS;
    if (full > WSD_SPIN_MAX_NS)
        full = WSD_SPIN_MAX_NS;
    STORE(wait->full_ns, full);
    if (stamp - since <= full) {
        wsd_wait_in_time(wait);
        return;
    }
    uint32_t late = LOAD(wait->late) + 1;
    STORE(wait->late, late);
    if (late >= LATE_LIMIT)
        STORE(wait->budget_ns, full / 16);
}

int wsd_wait_ms(uint64_t now, uint64_t deadline)
{
    if (deadline == WSD_FOREVER)
        return -1;
    if (deadline <= now)
        return 0;
    uint64_t ms = (deadline - now + WSD_MS - 1) / WSD_MS;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

bool wsd_wait_spin(wsd_wait *wait, wsd_ready ready, const void *context, const _Atomic uint32_t *peer_cpu,
                   uint64_t deadline)
{
    uint64_t limit = atomic_load_explicit(&wsd_spin_limit_ns, memory_order_relaxed);
    if (limit == 0)
        return ready(context);
    if (atomic_load_explicit(peer_cpu, memory_order_relaxed) == wsd_cpu()) {
        for (int i = 0; i < WSD_SAME_CPU_YIELDS; i++) {
            sched_yield();
            if (ready(context)) {
                WSD_COUNT(yields);
                return true;
            }
        }
        return false;
    }
    uint64_t budget = LOAD(wait->budget_ns);
    if (budget > limit)
        budget = limit;
    uint64_t end = wsd_now() + budget;
    if (deadline < end)
        end = deadline;
    for (;;) {
        for (int i = 0; i < LOOKS_PER_CLOCK; i++) {
            if (ready(context)) {
                wsd_wait_in_time(wait);
                WSD_COUNT(spins);
                return true;
            }
            wsd_pause();
        }
        if (wsd_now() >= end)
            return false;
        /* moved next to the peer meanwhile: spinning on would keep it from running */
        if (atomic_load_explicit(peer_cpu, memory_order_relaxed) == wsd_cpu())
            return false;
    }
}
