#include "wsd_poller.h"

#include "wsd_counters.h"
#include "wsd_relaxed.h"
#include "wsd_urgent.h"

/* How long news of other descriptors may go unnoticed while a ring is waited at. */
#define KERNEL_EVERY_NS (8 * WSD_US)
#define LOOKS_PER_CLOCK 16
/* One that has had nothing for so many looks is not hot any more. */
#define TURNS 1024u

void wsd_poller_init(wsd_poller *p)
{
    *p = (wsd_poller){0};
    wsd_wait_init(&p->wait);
}

bool wsd_poller_may_look(const wsd_stream *s)
{
    const wsd_direction *in = s->in;
    return LOAD(s->attached) && !LOAD(s->closed) && !LOAD(s->peer_gone) && !LOAD(s->broken) && LOAD(in->fin) == 0 &&
           LOAD(in->bare) == 0 && LOAD(in->urgent) == 0 && LOAD(in->rx) != WSD_BARE && LOAD(in->deaf) == 0 &&
           LOAD(s->out->rx) != WSD_BARE && !LOAD(s->write_shut);
}

uint32_t wsd_poller_ready(const wsd_hot *h)
{
    uint32_t want = LOAD(h->want), found = 0;
    if ((want & EPOLLIN) && wsd_has_data(h->stream->in))
        found |= EPOLLIN;
    if ((want & EPOLLOUT) && wsd_stream_writable(h->stream))
        found |= EPOLLOUT;
    return found;
}

static wsd_hot *find(wsd_poller *p, int fd)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (p->hot[i].fd == fd && LOAD(p->hot[i].want) != 0)
            return &p->hot[i];
    return NULL;
}

/* Out of the list, unless a thread is inside, which reads it. */
static void remove_gone(wsd_poller *p)
{
    if (p->inside)
        return;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        if (LOAD(p->hot[i].want) == 0)
            wsd_stream_release(p->hot[i].stream);
        else if (kept++ != i) {
            wsd_hot *to = &p->hot[kept - 1];
            to->stream = p->hot[i].stream;
            to->fd = p->hot[i].fd;
            to->turn = p->hot[i].turn;
            STORE(to->want, LOAD(p->hot[i].want));
        }
    }
    STORE(p->count, kept);
}

/* False: it has data that no token tells of, so it has to be looked at still. */
static bool cool(wsd_hot *h)
{
    wsd_stream *s = h->stream;
    wsd_stream_unhush(s);
    if ((LOAD(h->want) & EPOLLIN) && !LOAD(s->closed) && LOAD(s->unannounced) && wsd_stream_readable(s))
        return false;
    STORE(h->want, 0);
    return true;
}

bool wsd_poller_heat(wsd_poller *p, wsd_stream *s, int fd, uint32_t want)
{
    wsd_hot *h = find(p, fd);
    if (h && h->stream == s) {
        STORE(h->want, want);
        return true;
    }
    if (h)
        wsd_poller_cool(p, fd);
    if (p->inside || !wsd_poller_may_look(s))
        return false;
    for (uint32_t i = 0; i < WSD_HOT_MAX && p->count == WSD_HOT_MAX; i++)
        if (cool(&p->hot[p->hand++ % WSD_HOT_MAX]))
            remove_gone(p);
    if (p->count == WSD_HOT_MAX)
        return false; /* all of them have something to be read first */
    h = &p->hot[p->count];
    wsd_stream_hold(s);
    h->stream = s;
    h->fd = fd;
    h->turn = p->turn;
    STORE(h->want, want);
    STORE(p->count, p->count + 1);
    return true;
}

void wsd_poller_cool(wsd_poller *p, int fd)
{
    wsd_hot *h = find(p, fd);
    if (h) {
        wsd_stream_unhush(h->stream);
        STORE(h->want, 0);
        remove_gone(p);
    }
}

void wsd_poller_cool_all(wsd_poller *p)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (LOAD(p->hot[i].want) != 0)
            cool(&p->hot[i]);
    remove_gone(p);
}

void wsd_poller_end(wsd_poller *p)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (LOAD(p->hot[i].want) != 0) {
            wsd_stream_unhush(p->hot[i].stream);
            STORE(p->hot[i].want, 0);
        }
    remove_gone(p);
}

bool wsd_poller_rest(wsd_poller *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        wsd_stream_unhush(p->hot[i].stream);
        if (LOAD(p->hot[i].want) & EPOLLOUT)
            wsd_stream_arm(p->hot[i].stream, false, true);
    }
    if (wsd_poller_look(p))
        return false;
    for (uint32_t i = 0; i < p->count; i++)
        STORE(p->hot[i].want, 0);
    remove_gone(p);
    return true;
}

bool wsd_poller_look(wsd_poller *p)
{
    bool any = false, odd = false, sweep = (++p->turn & (TURNS - 1)) == 0;
    for (uint32_t i = 0; i < p->count; i++) {
        wsd_hot *h = &p->hot[i];
        if (WSD_UNLIKELY(!wsd_poller_may_look(h->stream))) {
            if (LOAD(h->want) != 0 && !cool(h))
                any = true;
            odd = true;
        } else if (wsd_poller_ready(h)) {
            h->turn = p->turn;
            any = true;
        } else if (WSD_UNLIKELY(sweep) && p->turn - h->turn > TURNS) {
            if (LOAD(h->want) & EPOLLIN) {
                any |= !cool(h); /* something has come just now */
                odd = true;
            }
        }
    }
    if (WSD_UNLIKELY(odd))
        remove_gone(p);
    return any;
}

void wsd_poller_enter(wsd_poller *p)
{
    if (p->inside++ != 0 || p->truthful)
        return;
    for (uint32_t i = 0; i < p->count; i++)
        if (LOAD(p->hot[i].want) & EPOLLIN)
            wsd_stream_hush(p->hot[i].stream);
}

void wsd_poller_leave(wsd_poller *p)
{
    p->inside--;
    remove_gone(p);
}

typedef struct {
    const wsd_poller *poller;
    uint32_t count;
} view;

/* Something of a ring's, or something that the kernel has to tell about. */
static bool has_news(const void *context)
{
    const view *v = context;
    for (uint32_t i = 0; i < v->count; i++) {
        const wsd_hot *h = &v->poller->hot[i];
        if (wsd_poller_ready(h) || WSD_UNLIKELY(!wsd_poller_may_look(h->stream)))
            return true;
    }
    return false;
}

enum { NONE_HERE, SOME_HERE, ALL_HERE };

/* Where the peers run: one that waits for this very CPU can do nothing while we spin. */
static int where(const view *v)
{
    uint32_t here = 0, cpu = wsd_cpu();
    for (uint32_t i = 0; i < v->count; i++)
        here += LOAD(v->poller->hot[i].stream->in->producer_cpu) == cpu;
    return here == 0 ? NONE_HERE : here == v->count ? ALL_HERE : SOME_HERE;
}

int wsd_poller_spin(wsd_poller *p, int epoll, struct epoll_event *events, int most, uint64_t deadline)
{
    const view v = {p, LOAD(p->count)};
    STORE(p->wait.spun_ns, 0);
    if (LOAD(wsd_spin_limit_ns) == 0 || wsd_budget_percent() == 0)
        return 0;
    int place = where(&v), found = 0;
    if (place == ALL_HERE) {
        wsd_wait_yield(&p->wait, has_news, &v);
        return 0;
    }
    uint64_t began = wsd_now(), now = began;
    uint64_t end = began + wsd_budget_ask(began, LOAD(p->wait.budget_ns));
    if (deadline < end)
        end = deadline;
    bool came = false;
    while (!came && found == 0 && now < end && place != ALL_HERE) { /* else it has moved next to us */
        for (int i = 0; i < LOOKS_PER_CLOCK && !came; i++) {
            wsd_pause();
            came = has_news(&v);
        }
        now = wsd_now();
        if (!came && now - LOAD(p->asked) >= KERNEL_EVERY_NS) {
            STORE(p->asked, now);
            found = epoll_wait(epoll, events, most, 0);
        }
        place = where(&v);
        if (place == SOME_HERE && !came)
            sched_yield();
    }
    wsd_budget_charge(began, now);
    if (came) {
        wsd_wait_in_time(&p->wait);
        WSD_COUNT(spins);
    } else if (found == 0) {
        STORE(p->wait.spun_ns, now - began);
    }
    return found;
}
