/* How waiting adapts: what a wait teaches the next one, without a clock to be judged by. */
#include <pthread.h>

#include "testing.h"

/* As if a token sent `ago` before now had ended a sleep that began `slept` before now. */
static void learn(wsd_wait *w, uint64_t slept, uint64_t ago)
{
    uint64_t now = wsd_now();
    wsd_wait_learn(w, now - slept, now - ago);
}

static void the_spin_is_twice_the_latency(void)
{
    wsd_wait w;
    wsd_wait_init(&w);
    CHECK_IS(w.budget_ns, WSD_SPIN_START_NS);
    for (int i = 0; i < 50; i++)
        learn(&w, 10 * WSD_MS, 0); /* no latency at all: the least spin */
    CHECK(w.full_ns >= WSD_SPIN_MIN_NS && w.full_ns < WSD_SPIN_START_NS);
    for (int i = 0; i < 50; i++)
        learn(&w, 10 * WSD_MS, 5 * WSD_MS); /* a terrible one: the longest */
    CHECK_IS(w.full_ns, WSD_SPIN_MAX_NS);
}

static void four_late_events_shorten_it(void)
{
    wsd_wait w;
    wsd_wait_init(&w);
    for (int i = 0; i < 3; i++)
        learn(&w, 50 * WSD_MS, 0);
    CHECK(w.budget_ns >= WSD_SPIN_MIN_NS);
    learn(&w, 50 * WSD_MS, 0);
    CHECK_IS(w.budget_ns, w.full_ns / 16);
    wsd_wait_in_time(&w); /* one in time restores it */
    CHECK_IS(w.budget_ns, w.full_ns);
    for (int i = 0; i < 4; i++)
        learn(&w, 50 * WSD_MS, 0);
    CHECK_IS(w.budget_ns, w.full_ns / 16);
    uint64_t now = wsd_now();
    wsd_wait_learn(&w, now - WSD_MS, now - WSD_MS + 1); /* rung as soon as we slept: nearly in time */
    CHECK_IS(w.budget_ns, w.full_ns);
}

static void a_spin_in_vain_is_part_of_the_wait(void)
{
    wsd_wait w;
    wsd_wait_init(&w);
    for (int i = 0; i < 4; i++) {
        uint64_t now = wsd_now();
        wsd_wait_learn(&w, now - WSD_MS, now - WSD_MS + 15 * WSD_US);
        /* a latency of a millisecond: the full spin is the longest */
        CHECK_IS(w.full_ns, WSD_SPIN_MAX_NS);
        CHECK_IS(w.budget_ns, w.full_ns); /* 15 us after the wait began is in time */
    }
    for (int i = 0; i < 4; i++) {
        uint64_t now = wsd_now();
        w.spun_ns = w.full_ns;
        wsd_wait_learn(&w, now - WSD_MS, now - WSD_MS + 15 * WSD_US);
    }
    CHECK_IS(w.budget_ns, w.full_ns / 16); /* 15 us after a full spin in vain is not */
}

static void stamps_from_nowhere_teach_nothing(void)
{
    wsd_wait w, before;
    wsd_wait_init(&w);
    memcpy(&before, &w, sizeof w);
    uint64_t now = wsd_now();
    wsd_wait_learn(&w, now, 0);
    wsd_wait_learn(&w, now, now - 1);
    wsd_wait_learn(&w, now, UINT64_MAX);
    wsd_wait_learn(&w, now, now + 3600ull * 1000 * WSD_MS);
    CHECK(memcmp(&before, &w, sizeof w) == 0);
}

typedef struct {
    int looks, until;
} countdown;

static bool ready_after(const void *context)
{
    countdown *c = (countdown *)context;
    return ++c->looks > c->until;
}

static void it_ends_by_itself(void)
{
    wsd_wait w;
    wsd_wait_init(&w);
    _Atomic uint32_t elsewhere = UINT32_MAX, here;
    countdown never = {0, INT32_MAX}, soon = {0, 3};
    CHECK(!wsd_wait_spin(&w, ready_after, &never, &elsewhere, WSD_FOREVER));
    CHECK(never.looks > 16);
    CHECK(wsd_wait_spin(&w, ready_after, &soon, &elsewhere, WSD_FOREVER));
    CHECK_IS(soon.looks, 4);

    never.looks = 0;
    CHECK(!wsd_wait_spin(&w, ready_after, &never, &elsewhere, 0)); /* the deadline has passed */
    CHECK(never.looks <= 16);

    cpu_set_t old, one;
    CHECK_IS(sched_getaffinity(0, sizeof old, &old), 0);
    CPU_ZERO(&one);
    CPU_SET(wsd_cpu(), &one);
    CHECK_IS(sched_setaffinity(0, sizeof one, &one), 0);
    atomic_init(&here, wsd_cpu());
    never.looks = 0;
    CHECK(!wsd_wait_spin(&w, ready_after, &never, &here, WSD_FOREVER)); /* it cannot run while we spin */
    CHECK_IS(never.looks, WSD_SAME_CPU_YIELDS);
    CHECK_IS(sched_setaffinity(0, sizeof old, &old), 0);

    atomic_store(&wsd_spin_limit_ns, 0);
    never.looks = 0;
    CHECK(!wsd_wait_spin(&w, ready_after, &never, &elsewhere, WSD_FOREVER));
    CHECK_IS(never.looks, 1);
}

static void a_glance_is_short(void)
{
    wsd_wait w;
    wsd_wait_init(&w);
    _Atomic uint32_t elsewhere = UINT32_MAX;
    countdown never = {0, INT32_MAX}, soon = {0, 3};
    atomic_store(&wsd_spin_limit_ns, UINT64_MAX);
    CHECK(!wsd_wait_glance(&w, ready_after, &never, &elsewhere));
    CHECK_IS(never.looks, WSD_GLANCES);
    CHECK(wsd_wait_glance(&w, ready_after, &soon, &elsewhere));
    wsd_budget_set(50); /* a spin that is charged for reads the clock */
    CHECK(!wsd_wait_glance(&w, ready_after, &soon, &elsewhere));
    wsd_budget_set(100);
    atomic_store(&wsd_spin_limit_ns, 0);
    CHECK(!wsd_wait_glance(&w, ready_after, &soon, &elsewhere));
    atomic_store(&wsd_spin_limit_ns, UINT64_MAX);
}

/* How many of so many waits gave the CPU away. */
static int yielding(wsd_wait *w, int waits)
{
    int found = 0;
    for (int i = 0; i < waits; i++) {
        countdown never = {0, INT32_MAX};
        found += w->no_yields == 0;
        CHECK(!wsd_wait_yield(w, ready_after, &never));
    }
    return found;
}

static void yields_in_vain_become_rare(void)
{
    wsd_wait w;
    wsd_wait_init(&w);
    CHECK_IS(yielding(&w, 2), 2); /* one alone is chance */
    CHECK(w.no_yields > 0);
    CHECK(yielding(&w, 10000) < 40);
    _Atomic uint32_t here = wsd_cpu();
    w.no_yields = 2;
    countdown soon = {0, 0};
    CHECK(!wsd_wait_glance(&w, ready_after, &soon, &here) || wsd_cpu() != atomic_load(&here));
    CHECK_IS(w.no_yields, 2); /* the wait that follows counts */
    CHECK_IS(yielding(&w, 2), 0);
    soon.looks = 0;
    CHECK(wsd_wait_yield(&w, ready_after, &soon)); /* one that is in time makes good for all before */
    CHECK_IS(w.vain_yields, 0);
    CHECK_IS(yielding(&w, 1), 1);
    CHECK_IS(w.no_yields, 0);
}

/* The time in these is made up. */
#define SECOND (1000 * WSD_MS)
#define SPIN (100 * WSD_US)

static uint64_t spun_of(uint64_t *now, uint64_t length, uint64_t between)
{
    uint64_t spun = 0, end = *now + length;
    while (*now < end) {
        if (wsd_budget_ask(*now, SPIN) > 0) {
            wsd_budget_charge(*now, *now + SPIN);
            *now += SPIN;
            spun += SPIN;
        }
        *now += between;
    }
    return spun;
}

static void the_budget_is_kept(void)
{
    uint64_t now = 1000 * SECOND;
    for (unsigned percent = 1; percent < 50; percent += 7) {
        wsd_budget_set(percent);
        now += SECOND; /* all is saved that can be */
        uint64_t spun = spun_of(&now, 10 * SECOND, 30 * WSD_US), share = SECOND / 10 * percent;
        CHECK(spun <= share + share / 100 + SPIN);
        CHECK(spun >= share - share / 10);
        now += SECOND;
        CHECK(spun_of(&now, SECOND, 100 * SPIN) >= (percent > 2 ? 90 : 50) * SPIN); /* seldom enough: none is refused */
    }
    wsd_budget_set(0);
    CHECK_IS(spun_of(&now, SECOND, SPIN), 0);
    wsd_budget_set(100);
    CHECK(spun_of(&now, SECOND, 1) >= SECOND - SPIN);
}

static void a_spin_is_granted_whole_or_not_at_all(void)
{
    uint64_t now = 5000 * SECOND;
    wsd_budget_set(1); /* a millisecond is saved */
    CHECK_IS(wsd_budget_ask(now, WSD_MS), WSD_MS);
    CHECK_IS(wsd_budget_ask(now, WSD_MS + 1), 0);
    wsd_budget_charge(now, now + WSD_MS - SPIN);
    CHECK_IS(wsd_budget_ask(now, SPIN), SPIN);
    CHECK_IS(wsd_budget_ask(now, SPIN + WSD_US), 0);
    wsd_budget_charge(now + SPIN, now); /* a clock that goes backwards costs nothing */
    CHECK_IS(wsd_budget_ask(now, SPIN), SPIN);
    atomic_store(&wsd_spin_limit_ns, WSD_US);
    CHECK_IS(wsd_budget_ask(now, SPIN), WSD_US);
    atomic_store(&wsd_spin_limit_ns, UINT64_MAX);
    wsd_budget_set(100);
}

#define CHARGERS 4
#define CHARGES 2500
static const uint64_t charged_at = 9000 * SECOND;

static void *charge_often(void *unused)
{
    for (int i = 0; i < CHARGES; i++)
        wsd_budget_charge(charged_at, charged_at + WSD_US);
    return unused;
}

static void threads_lose_no_charge(void)
{
    wsd_budget_set(1);
    pthread_t threads[CHARGERS];
    for (int i = 0; i < CHARGERS; i++)
        CHECK_IS(pthread_create(&threads[i], NULL, charge_often, NULL), 0);
    for (int i = 0; i < CHARGERS; i++)
        CHECK_IS(pthread_join(threads[i], NULL), 0);
    /* ten milliseconds in all: paid off after a second, and the last millisecond of them is the credit */
    uint64_t paid = charged_at + 100 * CHARGERS * CHARGES * WSD_US;
    CHECK_IS(wsd_budget_ask(paid - 100 * WSD_MS, WSD_US), 0);
    CHECK_IS(wsd_budget_ask(paid - 99 * WSD_MS, 10 * WSD_US), 10 * WSD_US);
    CHECK_IS(wsd_budget_ask(paid - 99 * WSD_MS, 10 * WSD_US + 1), 0);
    wsd_budget_set(100);
}

int main(void)
{
    watchdog(50);
    RUN(a_spin_in_vain_is_part_of_the_wait);
    RUN(yields_in_vain_become_rare);
    RUN(the_budget_is_kept);
    RUN(a_spin_is_granted_whole_or_not_at_all);
    RUN(threads_lose_no_charge);
    RUN(a_glance_is_short);
    RUN(the_spin_is_twice_the_latency);
    RUN(four_late_events_shorten_it);
    RUN(stamps_from_nowhere_teach_nothing);
    RUN(it_ends_by_itself);
    return 0;
}
