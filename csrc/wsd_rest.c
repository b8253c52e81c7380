/* Coming to rest at a stream: what pollers announce, spins, and sleeps on the bell. */
#include "wsd_inner.h"

#include <poll.h>

#include "wsd_bare.h"
#include "wsd_bell.h"
#include "wsd_counters.h"
#include "wsd_grow.h"
#include "wsd_urgent.h"

/* ---- announcing ---------------------------------------------------------------------------- */

void wsd_stream_set_strict(wsd_stream *s, bool on)
{
    STORE(s->strict, on);
    if (!on || wsd_stream_lock_in(s) < 0)
        return;
    wsd_bell_rest(s, true); /* from here on what comes is announced */
    bool unannounced = LOAD(s->in->rx) != WSD_RUNG && !wsd_bare_reads(s) && wsd_has_data(s->in);
    wsd_stream_note_unannounced(s);
    wsd_lock_drop(&s->in->consumer_lock);
    if (!unannounced || wsd_stream_lock_out(s) < 0)
        return;
    STORE(s->out->ask, 1);
    wsd_full_fence(); /* ask, then rx: pairs with rx, then ask, of a peer that comes to rest */
    if (!wsd_bare_writes(s))
        wsd_bell_wake(s);
    wsd_lock_drop(&s->out->producer_lock);
}

void wsd_stream_arm(wsd_stream *s, bool for_read, bool for_write)
{
    wsd_bare_flush(s);
    if (for_read && wsd_stream_lock_in(s) == 0) {
        wsd_bell_rest(s, true);
        /* Pollers do not believe the bell of such a stream: it may have come for an urgent byte.  So
         * whatever else has made it readable is found out here. */
        if (WSD_UNLIKELY(LOAD(s->in->urgent) != 0) && !wsd_bare_reads(s) && !wsd_stream_readable(s))
            wsd_bell_check(s);
        wsd_stream_note_unannounced(s);
        wsd_lock_drop(&s->in->consumer_lock);
    }
    wsd_stream_answer(s);
    if (for_write && !wsd_bare_writes(s) && wsd_stream_queued(s) >= wsd_window(s) && wsd_stream_lock_out(s) == 0) {
        uint64_t head = LOAD(s->out->head) & WSD_HEAD;
        if (head - LOAD(s->out->tail) >= wsd_window(s))
            wsd_bell_full(s, head);
        wsd_lock_drop(&s->out->producer_lock);
    }
}

void wsd_stream_watch(wsd_stream *s, bool on)
{
    if (on)
        atomic_fetch_add_explicit(&s->watchers, 1, memory_order_relaxed);
    else
        atomic_fetch_sub_explicit(&s->watchers, 1, memory_order_relaxed);
    /* Under the consumer's lock, so that who spins in silence is found, and who comes later sees us. */
    if (on)
        wsd_stream_arm(s, true, false);
}

void wsd_stream_unarm(wsd_stream *s)
{
    if (s->strict || LOAD(s->watchers) || LOAD(s->closed) || wsd_stream_lock_in(s) < 0)
        return;
    if (LOAD(s->in->sleepers) == 0)
        wsd_bell_unarm(s);
    wsd_lock_drop(&s->in->consumer_lock);
}

void wsd_stream_hush(wsd_stream *s)
{
    if ((LOAD(s->polled) && LOAD(s->in->rx) == WSD_QUIET) || LOAD(s->closed) || wsd_stream_lock_in(s) < 0)
        return;
    STORE(s->polled, true);
    bool silent = wsd_may_be_silent(s) && !wsd_bare_reads(s);
    STORE(s->polled, silent);
    if (silent)
        wsd_bell_unarm(s);
    wsd_lock_drop(&s->in->consumer_lock);
}

void wsd_stream_unhush(wsd_stream *s)
{
    STORE(s->polled, false); /* a recv that has not seen it holds the lock, which the arm takes */
    if (!LOAD(s->closed))
        wsd_stream_arm(s, true, false);
}

void wsd_stream_rearm(wsd_stream *s)
{
    if (LOAD(s->closed) || wsd_stream_lock_in(s) < 0)
        return;
    wsd_bell_rearm(s);
    wsd_stream_note_unannounced(s);
    wsd_lock_drop(&s->in->consumer_lock);
}

/* ---- waiting ------------------------------------------------------------------------------- */

static bool rx_event(const void *context)
{
    const wsd_stream *s = context;
    return wsd_has_data(s->in) || LOAD(s->in->fin) || LOAD(s->closed) || wsd_bare_reads(s);
}

static bool tx_event(const void *context)
{
    const wsd_stream *s = context;
    uint64_t used = (LOAD(s->out->head) & WSD_HEAD) -
                    atomic_load_explicit(&s->out->tail, memory_order_acquire);
    return used < wsd_window(s) || (LOAD(s->in->fin) & WSD_CLOSED) || wsd_peer_is_deaf(s) || LOAD(s->closed) ||
           LOAD(s->out->rx) == WSD_BARE;
}

bool wsd_stream_glance(wsd_stream *s, bool for_read)
{
    if (!LOAD(s->attached) || LOAD(s->closed) || WSD_UNLIKELY(for_read ? wsd_bare_reads(s) : wsd_bare_writes(s)))
        return false; /* only a wait knows what to do */
    return for_read ? wsd_wait_glance(&s->rx_wait, rx_event, s, &s->in->producer_cpu)
                    : wsd_wait_glance(&s->tx_wait, tx_event, s, &s->out->consumer_cpu);
}

int wsd_stream_spin_readable(wsd_stream *s, uint64_t deadline)
{
    wsd_bare_flush(s);
    if (wsd_stream_readable(s))
        return 1;
    if (WSD_UNLIKELY(wsd_bare_reads(s)))
        return LOAD(s->closed) ? -EBADF : 0; /* there is nothing to look at but the socket */
    if (wsd_offer_is_dead(s))
        return -WSD_EUNATTACHED;
    if (LOAD(s->in->rx) == WSD_ARMED) {
        if (wsd_stream_lock_in(s) < 0)
            return (int)wsd_locked_out(s);
        if (wsd_may_be_silent(s))
            wsd_bell_unarm(s); /* watching: a token would only cost both of us a system call */
        wsd_lock_drop(&s->in->consumer_lock);
    }
    if (wsd_wait_spin(&s->rx_wait, rx_event, s, &s->in->producer_cpu, deadline))
        return LOAD(s->closed) ? -EBADF : 1;
    return 0;
}

/* What a sleep on the bell ended with, when it is not the event itself. */
static int judge_poll(wsd_stream *s, int rc, int error, short revents, uint64_t deadline)
{
    if (LOAD(s->closed) || (revents & POLLNVAL))
        return -EBADF;
    if (rc < 0)
        return error == EINTR ? -EINTR : -error;
    if (revents & (POLLHUP | POLLRDHUP | POLLERR)) {
        if (!wsd_is_attached(s))
            return -WSD_EUNATTACHED; /* whoever took our offer from the queue refused it */
        wsd_bell_ended(s);
        return 1;
    }
    uint64_t now = wsd_now();
    if (now >= deadline)
        return -ETIMEDOUT;
    if (now >= s->offer_deadline && !wsd_is_attached(s))
        return -WSD_EUNATTACHED;
    return 0;
}

static uint64_t wake_by(wsd_stream *s, uint64_t deadline)
{
    return !wsd_is_attached(s) && s->offer_deadline < deadline ? s->offer_deadline : deadline;
}

int wsd_stream_sleep_readable(wsd_stream *s, uint64_t deadline)
{
    if (WSD_UNLIKELY(wsd_bare_reads(s) || wsd_bare_left(s)))
        return wsd_bare_sleep(s, true, deadline);
    if (wsd_stream_lock_in(s) < 0)
        return (int)wsd_locked_out(s);
    /* announced under the lock: from here on no other user of this end goes QUIET */
    STORE(s->in->sleepers, LOAD(s->in->sleepers) + 1);
    wsd_bell_rest(s, true);
    wsd_lock_drop(&s->in->consumer_lock);
    wsd_stream_answer(s);
    int result = 1;
    if (!wsd_stream_readable(s)) {
        uint64_t since = wsd_now();
        struct pollfd p = {LOAD(s->fd), POLLIN | POLLRDHUP, 0};
        WSD_COUNT(sleeps);
        int rc = poll(&p, 1, wsd_wait_ms(since, wake_by(s, deadline)));
        int error = errno;
        if (rx_event(s)) {
            wsd_wait_learn(&s->rx_wait, since, LOAD(s->in->rx_stamp));
            result = LOAD(s->closed) ? -EBADF : 1;
        } else {
            result = judge_poll(s, rc, error, p.revents, deadline);
        }
    }
    if (wsd_take_in_lock(s) == 0) {
        uint32_t sleepers = LOAD(s->in->sleepers);
        STORE(s->in->sleepers, sleepers ? sleepers - 1 : 0);
        if (result == 0 && !wsd_has_left(s))
            wsd_bell_check(s); /* woken for nothing: remove what woke us, or we never sleep again */
        wsd_lock_drop(&s->in->consumer_lock);
    }
    return result;
}

int wsd_stream_spin_writable(wsd_stream *s, uint64_t deadline)
{
    if (WSD_UNLIKELY(wsd_bare_writes(s)) && !LOAD(s->closed) && !LOAD(s->write_shut))
        return wsd_bare_writable(s);
    if (tx_event(s) || LOAD(s->write_shut) || LOAD(s->peer_gone))
        return 1;
    if (wsd_offer_is_dead(s))
        return -WSD_EUNATTACHED;
    if (wsd_wait_spin(&s->tx_wait, tx_event, s, &s->out->consumer_cpu, deadline))
        return LOAD(s->closed) ? -EBADF : 1;
    return 0;
}

int wsd_stream_sleep_writable(wsd_stream *s, uint64_t deadline)
{
    if (WSD_UNLIKELY(wsd_bare_writes(s)))
        return wsd_bare_sleep(s, false, deadline);
    if (wsd_stream_lock_out(s) < 0)
        return (int)wsd_locked_out(s);
    uint64_t head = LOAD(s->out->head) & WSD_HEAD;
    bool room = head - LOAD(s->out->tail) < wsd_window(s) || wsd_peer_is_deaf(s) || wsd_bell_full(s, head);
    wsd_lock_drop(&s->out->producer_lock);
    wsd_stream_answer(s);
    if (room || LOAD(s->peer_gone))
        return 1;
    uint64_t since = wsd_now();
    struct pollfd p = {LOAD(s->fd), POLLOUT, 0};
    WSD_COUNT(sleeps);
    int rc = poll(&p, 1, wsd_wait_ms(since, wake_by(s, deadline)));
    int error = errno;
    if (tx_event(s)) {
        wsd_wait_learn(&s->tx_wait, since, LOAD(s->out->tx_stamp));
        return LOAD(s->closed) ? -EBADF : 1;
    }
    return judge_poll(s, rc, error, p.revents, deadline);
}
