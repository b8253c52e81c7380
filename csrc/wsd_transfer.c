/* A stream's bytes: into the ring and out of it. */
#include "wsd_inner.h"

#include "wsd_bare.h"
#include "wsd_bell.h"
#include "wsd_counters.h"
#include "wsd_grow.h"
#include "wsd_lease.h"
#include "wsd_ring.h"
#include "wsd_urgent.h"

/* Published in pieces of this size, so that the other side copies while we do. */
#define CHUNK_MAX (64u << 10)
/* How often a peer's death is looked for by one who polls by recv alone. */
#define CHECK_EVERY_NS (20 * WSD_US)

/* ---- whose turn it is ---------------------------------------------------------------------- */

int wsd_take_out_lock(wsd_stream *s)
{
    int rc = wsd_lock_take(&s->out->producer_lock);
    if (WSD_UNLIKELY(rc > 0)) {
        WSD_COUNT(takeovers);
        wsd_bell_repair_producer(s);
    }
    return rc < 0 ? rc : 0;
}

int wsd_take_in_lock(wsd_stream *s)
{
    int rc = wsd_lock_take(&s->in->consumer_lock);
    if (WSD_UNLIKELY(rc > 0)) {
        WSD_COUNT(takeovers);
        wsd_bell_repair_consumer(s);
    }
    if (WSD_UNLIKELY(LOAD(s->in->urgent) != 0) && rc >= 0)
        wsd_urgent_settle(s);
    return rc < 0 ? rc : 0;
}

int wsd_stream_lock_out(wsd_stream *s)
{
    int rc = wsd_take_out_lock(s);
    if (rc < 0 || WSD_LIKELY(!wsd_has_left(s)))
        return rc;
    wsd_lock_drop(&s->out->producer_lock);
    return -EBADF;
}

int wsd_stream_lock_in(wsd_stream *s)
{
    int rc = wsd_take_in_lock(s);
    if (rc < 0 || WSD_LIKELY(!wsd_has_left(s)))
        return rc;
    wsd_lock_drop(&s->in->consumer_lock);
    return -EBADF;
}

/* What a call that did not get its lock ends with. */
int64_t wsd_locked_out(wsd_stream *s)
{
    return LOAD(s->closed) ? -EBADF : wsd_offer_is_dead(s) ? -WSD_EUNATTACHED : wsd_broken(s);
}

/* ---- reading ------------------------------------------------------------------------------- */

static void show_cpu(_Atomic uint32_t *word)
{
    uint32_t cpu = wsd_cpu();
    if (LOAD(*word) != cpu) /* a store for nothing would take the line from the other side */
        STORE(*word, cpu);
}

static uint64_t chunk_of(const wsd_stream *s)
{
    return s->size / 4 < CHUNK_MAX ? s->size / 4 : CHUNK_MAX;
}

/* Consumer's lock held. */
static void publish_tail(wsd_stream *s, uint64_t tail)
{
    /* release: our copy is finished before the producer may write over it */
    atomic_store_explicit(&s->in->tail, tail, memory_order_release);
    show_cpu(&s->in->consumer_cpu);
    wsd_bell_consumed(s, tail);
}

/* Consumer's lock held. */
static int64_t take_bytes(wsd_stream *s, wsd_cursor *to, size_t want, bool peek)
{
    wsd_direction *d = s->in;
    uint64_t tail = LOAD(d->tail), chunk = chunk_of(s);
    size_t done = 0;
    while (done < want) {
        uint64_t ready = s->seen_head - tail;
        if (ready == 0 || ready > s->large) {
            s->seen_head = wsd_head_of(d);
            ready = s->seen_head - tail;
            if (WSD_UNLIKELY(ready > s->large))
                return wsd_broken(s);
            if (ready == 0)
                break;
        }
        if (WSD_UNLIKELY(LOAD(d->urgent) != 0)) {
            int64_t before = wsd_urgent_before(d, tail, ready);
            if (before <= 0 && done > 0)
                break; /* at the mark: it goes no further in one call */
            if (before < 0) {
                tail += (uint64_t)-before;
                if (!peek)
                    publish_tail(s, tail);
                continue;
            }
            ready = before ? (uint64_t)before : ready;
        }
        size_t n = want - done;
        if (n > ready)
            n = ready;
        if (n > chunk)
            n = chunk;
        wsd_area ring = wsd_area_in(s, tail, &n);
        wsd_ring_scatter(ring.data, ring.size, tail, to, n);
        tail += n;
        done += n;
        if (!peek)
            publish_tail(s, tail);
    }
    if (!peek)
        s->traffic->received += done;
    return (int64_t)done;
}

/* Nobody took our offer and nobody will: refused (the kernel socket has ended), withdrawn or late. */
static bool offer_has_failed(wsd_stream *s)
{
    if (WSD_LIKELY(wsd_is_attached(s)))
        return false;
    return LOAD(s->peer_gone) || wsd_stream_state(s) == WSD_REVOKED || wsd_now() >= s->offer_deadline;
}

/* No lock held.  Only the producer can make a consumer's descriptor readable.  Looked at by everybody
 * who comes to rest, after that: see wsd_stream_set_strict. */
static void ring_if_asked(wsd_stream *s)
{
    if (WSD_LIKELY(LOAD(s->in->ask) == 0) || wsd_stream_lock_out(s) < 0)
        return;
    uint64_t head = LOAD(s->out->head) & WSD_HEAD;
    if (atomic_exchange_explicit(&s->in->ask, 0, memory_order_acq_rel) && !wsd_bare_writes(s) &&
        LOAD(s->out->tail) != head)
        wsd_bell_insist(s, head);
    wsd_lock_drop(&s->out->producer_lock);
}

void wsd_stream_answer(wsd_stream *s)
{
    ring_if_asked(s);
}

/* Consumer's lock held, nothing to read.  A peer that died has set no flag: ask the kernel, but not
 * each time that somebody who polls by recv alone comes round. */
static void look_for_death(wsd_stream *s, int flags)
{
    uint64_t now = flags & WSD_EXACT ? 0 : wsd_now();
    if (now && now - s->checked_at < CHECK_EVERY_NS)
        return;
    s->checked_at = now;
    wsd_bell_check(s);
}

int64_t wsd_stream_recv(wsd_stream *s, const struct iovec *iov, int count, int flags)
{
    size_t want = wsd_iov_total(iov, count);
    if (WSD_UNLIKELY(LOAD(s->closed)))
        return -EBADF;
    if (WSD_UNLIKELY(LOAD(s->broken)))
        return -ECONNABORTED;
    if (want == 0)
        return 0;
    if (wsd_stream_lock_in(s) < 0)
        return wsd_locked_out(s);
    if (WSD_UNLIKELY(!wsd_may_be_silent(s)))
        flags |= WSD_EXACT;
    if (WSD_UNLIKELY(LOAD(s->in->leased) || (flags & WSD_PASS)) && !(flags & WSD_PEEK) &&
        wsd_lease_forbids(s, true, flags)) {
        wsd_lock_drop(&s->in->consumer_lock);
        return -WSD_ELEASED;
    }
    wsd_cursor to = {iov, count, 0};
    if (WSD_UNLIKELY(flags & WSD_PASS)) {
        to.count = 0; /* it was read in place */
        want = s->pass_to - LOAD(s->in->tail);
    }
    wsd_bell_pay(s);
    bool own = wsd_bare_own(s); /* then what is in the ring comes by the socket, too */
    int64_t done = own ? 0 : take_bytes(s, &to, want, flags & WSD_PEEK);
    if (done >= 0) {
        wsd_bell_rest(s, flags & WSD_EXACT);
        if (done == 0 && (flags & (WSD_EXACT | WSD_NOWAIT)) && !LOAD(s->in->fin))
            look_for_death(s, flags);
        wsd_stream_note_unannounced(s);
    }
    wsd_lock_drop(&s->in->consumer_lock);
    ring_if_asked(s);
    if (done != 0)
        return done;
    if (WSD_UNLIKELY(wsd_bare_reads(s)))
        return wsd_bare_recv(s, iov, count, flags);
    if (WSD_UNLIKELY(offer_has_failed(s)))
        return -WSD_EUNATTACHED;
    int end = wsd_stream_ending(s);
    return end == 0 ? -EAGAIN : end < 0 ? end : 0;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* What TCP says of a peer that has closed: a reset is told once; without one, the first send goes
 * nowhere (and provokes the reset), later ones are EPIPE. */
static int64_t send_to_nobody(wsd_stream *s, size_t length)
{
    if (wsd_stream_was_reset(s))
        return atomic_exchange_explicit(&s->reset_told, true, memory_order_relaxed) ? -EPIPE : -ECONNRESET;
    if (atomic_exchange_explicit(&s->sent_to_none, true, memory_order_relaxed) || (LOAD(s->in->fin) & WSD_PIPE)) {
        STORE(s->pipe_told, true);
        return -EPIPE;
    }
    uint64_t window = wsd_window(s); /* as much as TCP's send buffer would have taken */
    return (int64_t)(length < window ? length : window);
}

/* Producer's lock held; *head is left at the last byte published. */
static int64_t put_bytes(wsd_stream *s, wsd_cursor *from, size_t want, uint64_t *head)
{
    wsd_direction *d = s->out;
    uint64_t chunk = chunk_of(s), window = wsd_window(s);
    size_t done = 0;
    while (done < want) {
        uint64_t used = *head - s->seen_tail;
        if (used > window || window - used < want - done) {
            /* acquire: the consumer's copy is finished; pairs with the release in take_bytes */
            s->seen_tail = atomic_load_explicit(&d->tail, memory_order_acquire);
            used = *head - s->seen_tail;
            if (WSD_UNLIKELY(used > s->large))
                return wsd_broken(s);
            if (used >= window) {
                if (!wsd_grow(s, *head))
                    break;
                window = wsd_window(s);
                continue;
            }
        }
        size_t n = want - done;
        if (n > window - used)
            n = window - used;
        if (n > chunk)
            n = chunk;
        wsd_area ring = wsd_area_out(s, *head, &n);
        wsd_ring_gather(ring.data, ring.size, *head, from, n);
        *head += n;
        done += n;
        /* release: the bytes are written before head says so; pairs with head_of */
        atomic_store_explicit(&d->head, *head, memory_order_release);
        show_cpu(&d->producer_cpu);
        wsd_bell_published(s, *head);
    }
    return (int64_t)done;
}

/* Producer's lock held: as put_bytes, with a mark on the last byte there is room for now. */
static __attribute__((noinline, cold)) int64_t put_urgent(wsd_stream *s, wsd_cursor *from, size_t want, uint64_t *head)
{
    wsd_direction *d = s->out;
    uint64_t window = wsd_window(s);
    s->seen_tail = atomic_load_explicit(&d->tail, memory_order_acquire); /* as in put_bytes */
    uint64_t used = *head - s->seen_tail;
    if (WSD_UNLIKELY(used > s->large))
        return wsd_broken(s);
    if (want == 0 || used >= window)
        return 0;
    size_t n = want < window - used ? want : window - used;
    int64_t done = put_bytes(s, from, n - 1, head);
    if (done < 0 || (size_t)done < n - 1)
        return done; /* another thread has made the window smaller */
    bool alone = wsd_urgent_mark(d, *head);
    size_t one = 1;
    wsd_area ring = wsd_area_out(s, *head, &one);
    wsd_ring_gather(ring.data, ring.size, *head, from, one);
    ++*head;
    /* release: the byte and its mark come first; pairs with head_of */
    atomic_store_explicit(&d->head, *head, memory_order_release);
    show_cpu(&d->producer_cpu);
    if (!alone)
        wsd_bell_published(s, *head);
    wsd_bell_urgent(s, *head);
    return (int64_t)n;
}

int64_t wsd_stream_send(wsd_stream *s, const struct iovec *iov, int count, int flags)
{
    flags |= WSD_UNLIKELY(LOAD(s->strict)) ? WSD_EXACT : 0;
    size_t want = wsd_iov_total(iov, count);
    if (WSD_UNLIKELY(LOAD(s->closed)))
        return -EBADF;
    if (WSD_UNLIKELY(LOAD(s->broken)))
        return -ECONNABORTED;
    if (WSD_UNLIKELY(LOAD(s->write_shut)))
        return wsd_stream_was_reset(s) ? send_to_nobody(s, want) : -EPIPE;
    if (WSD_UNLIKELY(wsd_peer_will_not_read(s)))
        return wsd_is_attached(s) ? send_to_nobody(s, want) : -WSD_EUNATTACHED;
    if (want == 0)
        return 0;
    if (wsd_stream_lock_out(s) < 0)
        return wsd_locked_out(s);
    if (WSD_UNLIKELY(LOAD(s->out->fin))) { /* shut down by another user of this end, or just now */
        wsd_lock_drop(&s->out->producer_lock);
        return -EPIPE;
    }
    if (WSD_UNLIKELY(LOAD(s->out->reserved)) && wsd_lease_forbids(s, false, flags)) {
        wsd_lock_drop(&s->out->producer_lock);
        return -WSD_ELEASED;
    }
    if (WSD_UNLIKELY(wsd_bare_writes(s))) {
        int64_t sent = wsd_bare_send(s, iov, count, flags);
        wsd_lock_drop(&s->out->producer_lock);
        return sent;
    }
    uint64_t head = LOAD(s->out->head) & WSD_HEAD;
    wsd_cursor from = {iov, count, 0};
    size_t done = 0;
    int64_t n;
    do {
        n = WSD_UNLIKELY(flags & WSD_URGENT) ? put_urgent(s, &from, want - done, &head)
                                             : put_bytes(s, &from, want - done, &head);
        if (n > 0)
            done += (size_t)n;
        /* Short, or exactly full: a non-blocking user polls next, so the socket must say "full".  Messages of
         * the ring's own size never find it full; this is where it grows for them. */
    } while (n >= 0 && (flags & WSD_EXACT) &&
             (done < want || head - s->seen_tail >= wsd_window(s)) &&
             head - LOAD(s->out->tail) >= wsd_window(s) && !wsd_peer_is_deaf(s) && !wsd_grow(s, head) &&
             wsd_bell_full(s, head) && done < want);
    s->traffic->sent += done;
    wsd_lock_drop(&s->out->producer_lock);
    ring_if_asked(s);
    if (n >= 0 && wsd_peer_is_deaf(s))
        return (int64_t)want;
    if (done == 0 && n >= 0) {
        if (flags & WSD_EXACT)
            wsd_bell_ended(s); /* a peer that died sets no flag, and no token of ours finds out here */
        if (offer_has_failed(s))
            return -WSD_EUNATTACHED;
        if (wsd_peer_will_not_read(s))
            return send_to_nobody(s, want);
    }
    return done ? (int64_t)done : n < 0 ? n : -EAGAIN;
}
