#include "wsd_wait.h"

#include <limits.h>

#include "wsd_counters.h"
#include "wsd_relaxed.h"

#define LATENCY_MAX_NS (2 * WSD_MS)
#define LATE_LIMIT 4
/* Looks between two readings of the clock: about half a microsecond of pauses. */
#define LOOKS_PER_CLOCK 16
/* The budget that is saved up at most, as time in which it comes back. */
#define SAVED_NS (100 * WSD_MS)
/* Waits in a row, in whose yields the rough clock ticked, before others are believed to use this CPU. */
#define SLOW_YIELDS 2
/* Waits that sleep at once after yields in vain, or slow ones; doubled each time that this is found again. */
#define WAITS_WITHOUT_VAIN_YIELDS 2u
#define WAITS_WITHOUT_SLOW_YIELDS 32u
#define MOST_DOUBLINGS 8u

_Atomic uint64_t wsd_spin_limit_ns = UINT64_MAX;

/* ---- the budget ----------------------------------------------------------------------------- */

static _Atomic uint32_t budget_percent = 100;
/* When all that was spent will have come back.  Empty: SAVED_NS ahead of the clock. */
static _Atomic uint64_t repaid_at;

void wsd_budget_set(unsigned percent)
{
    STORE(budget_percent, percent < 100 ? percent : 100);
}

unsigned wsd_budget_percent(void)
{
    return LOAD(budget_percent);
}

uint64_t wsd_budget_ask(uint64_t now, uint64_t want_ns)
{
    uint64_t limit = LOAD(wsd_spin_limit_ns), percent = LOAD(budget_percent);
    if (want_ns > limit)
        want_ns = limit;
    if (WSD_LIKELY(percent == 100))
        return want_ns;
    uint64_t repaid = LOAD(repaid_at), owed = repaid > now ? repaid - now : 0;
    uint64_t left = owed < SAVED_NS ? (SAVED_NS - owed) * percent / 100 : 0;
    return want_ns <= left ? want_ns : 0;
}

void wsd_budget_charge(uint64_t from, uint64_t to)
{
    uint64_t spun = to > from ? to - from : 0;
    uint32_t percent = LOAD(budget_percent);
    WSD_COUNT_BY(spin_ns, spun);
    if (WSD_LIKELY(percent == 100 || percent == 0))
        return;
    uint64_t cost = spun * 100 / percent, repaid = LOAD(repaid_at), next;
    do
        next = (repaid > from ? repaid : from) + cost;
    while (!atomic_compare_exchange_weak_explicit(&repaid_at, &repaid, next, memory_order_relaxed,
                                                  memory_order_relaxed));
}

/* ---- what waits teach ------------------------------------------------------------------------- */

void wsd_wait_init(wsd_wait *wait)
{
    atomic_init(&wait->full_ns, WSD_SPIN_START_NS);
    atomic_init(&wait->budget_ns, WSD_SPIN_START_NS);
    atomic_init(&wait->latency_ns, 0);
    atomic_init(&wait->spun_ns, 0);
    atomic_init(&wait->late, 0);
    atomic_init(&wait->no_yields, 0);
    atomic_init(&wait->slow_yields, 0);
    atomic_init(&wait->vain_yields, 0);
}

void wsd_wait_in_time(wsd_wait *wait)
{
    uint64_t full = LOAD(wait->full_ns);
    if (WSD_LIKELY(LOAD(wait->late) == 0 && LOAD(wait->budget_ns) == full))
        return;
    STORE(wait->late, 0);
    STORE(wait->budget_ns, full);
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
    /* the wait began with the spin: what came later than a full one, a full one would have missed */
    if (LOAD(wait->spun_ns) + (stamp - since) <= full) {
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

/* ---- spinning --------------------------------------------------------------------------------- */

/* Whether the next wait yields at all. */
static void learn_yields(wsd_wait *wait, bool came, bool slow)
{
    uint32_t slow_before = LOAD(wait->slow_yields);
    if (WSD_UNLIKELY(slow))
        STORE(wait->slow_yields, slow_before + 1);
    else if (WSD_UNLIKELY(slow_before))
        STORE(wait->slow_yields, 0);
    slow = slow && slow_before + 1 >= SLOW_YIELDS; /* a tick now and then is chance */
    uint32_t failed = LOAD(wait->vain_yields);
    if (WSD_LIKELY(came && !slow)) {
        if (WSD_UNLIKELY(failed))
            STORE(wait->vain_yields, 0);
        return;
    }
    if (failed < MOST_DOUBLINGS)
        STORE(wait->vain_yields, failed + 1);
    if (slow)
        STORE(wait->no_yields, WAITS_WITHOUT_SLOW_YIELDS << failed);
    else if (failed > 0) /* one alone is chance */
        STORE(wait->no_yields, WAITS_WITHOUT_VAIN_YIELDS << failed);
}

/* A yield lets everybody run who is queued behind us, at the price of a system call: less than being
 * woken.  But a third process on this CPU runs for its whole time slice, where one who sleeps is let in
 * at once when he is woken; and the kernel keeps the one with us who has run less when the peer belongs to
 * another group of its scheduler (another terminal, service or container): then it does nothing. */
bool wsd_wait_yield(wsd_wait *wait, wsd_ready ready, const void *context)
{
    uint32_t without = LOAD(wait->no_yields);
    if (without) {
        STORE(wait->no_yields, without - 1);
        return ready(context);
    }
    uint64_t began = wsd_roughly_now();
    bool came = false;
    for (int i = 0; i < WSD_SAME_CPU_YIELDS && !came; i++) {
        sched_yield();
        came = ready(context);
    }
    if (came)
        WSD_COUNT(yields);
    learn_yields(wait, came, wsd_roughly_now() != began);
    return came;
}

/* The first of a wait's yields: often enough for a peer that only had to run. */
static bool yield_once(wsd_wait *wait, wsd_ready ready, const void *context)
{
    if (LOAD(wait->no_yields))
        return false; /* the wait counts it */
    uint64_t began = wsd_roughly_now();
    sched_yield();
    if (!ready(context))
        return false;
    WSD_COUNT(yields);
    learn_yields(wait, true, wsd_roughly_now() != began);
    return true;
}

bool wsd_wait_glance(wsd_wait *wait, wsd_ready ready, const void *context, const _Atomic uint32_t *peer_cpu)
{
    uint32_t percent = LOAD(budget_percent);
    if (LOAD(wsd_spin_limit_ns) == 0 || percent == 0)
        return false;
    if (LOAD(*peer_cpu) == wsd_cpu())
        return yield_once(wait, ready, context);
    if (percent != 100)
        return false; /* a spin that is charged for needs the clock */
    for (int i = 0; i < WSD_GLANCES; i++) {
        if (ready(context)) {
            wsd_wait_in_time(wait);
            WSD_COUNT(spins);
            return true;
        }
        wsd_pause();
    }
    return false;
}

bool wsd_wait_spin(wsd_wait *wait, wsd_ready ready, const void *context, const _Atomic uint32_t *peer_cpu,
                   uint64_t deadline)
{
    STORE(wait->spun_ns, 0);
    if (LOAD(wsd_spin_limit_ns) == 0 || LOAD(budget_percent) == 0)
        return ready(context);
    if (LOAD(*peer_cpu) == wsd_cpu())
        return wsd_wait_yield(wait, ready, context);
    uint64_t began = wsd_now(), now = began;
    uint64_t end = began + wsd_budget_ask(began, LOAD(wait->budget_ns));
    if (deadline < end)
        end = deadline;
    bool came = ready(context);
    while (!came && now < end) {
        for (int i = 0; i < LOOKS_PER_CLOCK && !came; i++) {
            wsd_pause();
            came = ready(context);
        }
        now = wsd_now();
        /* moved next to the peer meanwhile: spinning on would keep it from running */
        if (LOAD(*peer_cpu) == wsd_cpu())
            break;
    }
    wsd_budget_charge(began, now);
    if (came) {
        wsd_wait_in_time(wait);
        WSD_COUNT(spins);
    } else {
        STORE(wait->spun_ns, now - began);
    }
    return came;
}
