/* How waiting adapts: what a wait teaches the next one, without a clock to be judged by. */
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

int main(void)
{
    watchdog(50);
    RUN(the_spin_is_twice_the_latency);
    RUN(four_late_events_shorten_it);
    RUN(stamps_from_nowhere_teach_nothing);
    RUN(it_ends_by_itself);
    return 0;
}
